"""Drift: which distributions moved, since when, and what it did (STATISTICS section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.cluster_choice import MAX_CLUSTERS, MAX_ROWS, N_CERTAIN
from analysis.views.drift_checks import (
    FIRST_RELEASE,
    below_floors,
    high_check,
    medium_check,
    unjudged,
)
from analysis.views.drift_consequence import Consequence, consequence, consequence_table
from analysis.views.drift_features import (
    Feature,
    binned_features,
    drift_columns,
    judge,
    measure,
    short,
)
from analysis.views.drift_joint import Joint, assess_joint, unknown
from analysis.views.drift_references import Reference
from analysis.views.drift_tables import distributions, ranking, report
from analysis.views.drift_time import SeriesChange, changes_over_time, no_changes
from analysis.views.drift_weeks import SlowDrift, Weeks, assess_weeks
from analysis.views.drift_words import told
from analysis.views.result import ViewResult


@dataclass(frozen=True)
class OutcomeChange:
    """total = mix_context + mix_action + within, as failure rates; mix is the first two."""

    total: float | None
    mix: float | None
    mix_context: float | None
    mix_action: float | None
    within: float | None
    n_cells: int
    reason: str | None


@dataclass(frozen=True)
class DriftSection:
    """features: every column. joint: the context together. outcome_change: why the failure rate changed,
    in numbers; consequence: the same of every metric, with intervals and prices. changes: since when, of
    `changes_tested` daily series (none, with the reason, where days cannot tell). references, slow:
    against earlier weeks and releases; they change no check. distributions_sha256: of
    `tables/drift_distributions.csv`, with which a later review compares; None without a baseline."""

    features: tuple[Feature, ...]
    joint: Joint
    outcome_change: OutcomeChange
    consequence: Consequence
    changes: tuple[SeriesChange, ...] = ()
    changes_tested: int = 0
    changes_reason: str | None = None
    references: tuple[Reference, ...] = ()
    slow: tuple[SlowDrift, ...] = ()
    distributions_sha256: str | None = None


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[DriftSection]:
    """What moved, since when, what it did, and the three checks."""
    if telemetry.baseline is None:
        return _first_release()
    names, notes = drift_columns(telemetry, policy)
    binned = binned_features(telemetry, names)
    measured = [measure(telemetry, name, binned[name]) for name in names]
    features = told(judge(measured, policy), binned, policy.drift.fdr)
    floor = below_floors(telemetry)
    together = assess_joint(telemetry, policy, names, floor)
    time = changes_over_time(telemetry, policy, features, binned)
    weeks = assess_weeks(telemetry, policy, binned, features)
    effects = consequence(telemetry, policy, floor)
    change = _outcome_change(telemetry, effects)
    notes += [
        f"“{short(f.feature)}” is missing in {100 * (f.missing_baseline or 0):.1f} % of the "
        f"baseline and {100 * (f.missing_candidate or 0):.1f} % of the candidate: missing counts as a value"
        for f in features
        if f.p_value is not None
        and max(f.missing_baseline or 0.0, f.missing_candidate or 0.0) > policy.missing.max_rate
    ]
    notes += [*_bounded(list(binned.values())), *time.notes, *weeks.notes]
    if change.reason:
        notes.append(f"The change of the failure rate is not decomposed: {change.reason}.")
    return ViewResult(
        section=DriftSection(
            features=features,
            joint=together.joint,
            outcome_change=change,
            consequence=effects,
            changes=time.found,
            changes_tested=time.n_series,
            changes_reason=time.reason,
            references=weeks.references,
            slow=weeks.slow,
            distributions_sha256=weeks.distributions_sha256,
        ),
        checks=(
            high_check(telemetry, policy, features, floor),
            medium_check(policy, features, floor),
            together.check,
        ),
        tables={
            "drift_report.csv": report(features),
            "drift_consequence.csv": consequence_table(effects),
            **weeks.tables,
        },
        series={
            "drift_features": ranking(features),
            "drift_distributions": distributions(features, binned),
            "drift_days": time.days,
            **weeks.series,
        },
        notes=tuple(notes),
    )


def _first_release() -> ViewResult[DriftSection]:
    """Nothing to compare with: every table and series is there, and empty."""
    nothing = OutcomeChange(None, None, None, None, None, 0, FIRST_RELEASE)
    together, weeks, time = (
        unknown(FIRST_RELEASE, action="Nothing to do."),
        Weeks.none(),
        no_changes(FIRST_RELEASE),
    )
    return ViewResult(
        section=DriftSection(
            (), together.joint, nothing, Consequence(), changes_reason=FIRST_RELEASE
        ),
        checks=(
            unjudged("drift.high", FIRST_RELEASE),
            unjudged("drift.medium", FIRST_RELEASE),
            together.check,
        ),
        tables={
            "drift_report.csv": report(()),
            "drift_consequence.csv": consequence_table(Consequence()),
            **weeks.tables,
        },
        series={
            "drift_features": ranking(()),
            "drift_distributions": distributions((), {}),
            "drift_days": time.days,
            **weeks.series,
        },
        notes=(f"Drift is not tested: {FIRST_RELEASE}.",),
    )


def _bounded(columns: Sequence[BinnedColumn]) -> list[str]:
    """What was taken of many clusters and rows; nothing where it was all of them."""
    notes = []
    n_clusters = max((c.clusters.units[2] for c in columns), default=0)
    if n_clusters > MAX_CLUSTERS:
        notes.append(
            f"Every row is counted; how far counts vary by chance is told from {MAX_CLUSTERS:,} of "
            f"{n_clusters:,} clusters: the {N_CERTAIN:,} largest, and others drawn by md5 of their ids"
        )
    n_rows = max((c.rows[0] for c in columns if c.points is not None), default=0)
    if n_rows > MAX_ROWS:
        notes.append(
            f"Deciles are those of at most {MAX_ROWS:,} of the baseline's rows, drawn by md5 of their ids"
        )
    return notes


# ── the failure rate ─────────────────────────────────────────────────────────────────────


def _outcome_change(telemetry: Telemetry, effects: Consequence) -> OutcomeChange:
    """The parts of the failure rate without their limits."""
    found = next(m for m in effects.metrics if m.metric == "failure")
    reason = found.reason if found.within.value is None else None
    if found.total.value is None:
        reason = telemetry.unusable("is_failure") or "a window has no known outcome"
    return OutcomeChange(
        found.total.value,
        found.mix.value,
        found.mix_context.value,
        found.mix_action.value,
        found.within.value,
        found.n_cells,
        reason,
    )
