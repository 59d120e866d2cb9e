"""Drift: which distributions moved, and why the failure rate did (STATISTICS section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from analysis.check import Check, Interval, RegressionTest, rounded
from analysis.policy import Policy
from analysis.stats.kitagawa import decompose_rate_change
from analysis.stats.multiple import simes
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.cluster_choice import MAX_CLUSTERS, MAX_ROWS, N_CERTAIN
from analysis.telemetry.outcome_cells import outcome_cells
from analysis.views.drift_features import (
    RANK,
    Feature,
    binned_features,
    drift_columns,
    judge,
    measure,
    or_least,
    short,
)
from analysis.views.health_checks import MAX_CLUSTER_SHARE, MIN_EFFECTIVE_CLUSTERS
from analysis.views.result import ViewResult

MIN_CELL_ROWS = 50
MAX_SHOWN = 12
NOTHING_TESTED = "no column could be tested for drift"
JOINT_REASON = "the joint comparison of context columns is not computed yet"
FIRST_RELEASE = "there is no baseline: this is declared as a first release"


@dataclass(frozen=True)
class Joint:
    """A classifier's power to tell the windows apart by the context columns together."""

    auc: float | None
    low: float | None
    high: float | None
    p_value: float | None
    reason: str | None


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
    features: tuple[Feature, ...]
    joint: Joint
    outcome_change: OutcomeChange


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[DriftSection]:
    """Every feature's drift, why the failure rate changed, and the three checks."""
    joint = Joint(None, None, None, None, JOINT_REASON)
    if telemetry.baseline is None:
        nothing = OutcomeChange(None, None, None, None, None, 0, FIRST_RELEASE)
        return ViewResult(
            section=DriftSection((), replace(joint, reason=FIRST_RELEASE), nothing),
            checks=tuple(
                _unjudged(f"drift.{name}", "note", FIRST_RELEASE)
                for name in ("high", "medium", "joint")
            ),
            tables={"drift_report.csv": _report(())},
            series={"drift_features": _ranking(()), "drift_distributions": _distributions((), {})},
            notes=(f"Drift is not tested: {FIRST_RELEASE}.",),
        )
    names, notes = drift_columns(telemetry, policy)
    binned = binned_features(telemetry, names)
    measured = [measure(telemetry, name, binned[name]) for name in names]
    features = judge(measured, policy)
    change = _outcome_change(telemetry, policy)
    floor = _below_floors(telemetry)
    notes += [
        f"“{short(f.feature)}” is missing in {100 * (f.missing_baseline or 0):.1f} % of the "
        f"baseline and {100 * (f.missing_candidate or 0):.1f} % of the candidate: missing counts as a value"
        for f in features
        if f.p_value is not None
        and max(f.missing_baseline or 0.0, f.missing_candidate or 0.0) > policy.missing.max_rate
    ]
    notes += _bounded(list(binned.values()))
    if change.reason:
        notes.append(f"The change of the failure rate is not decomposed: {change.reason}.")
    return ViewResult(
        section=DriftSection(features, joint, change),
        checks=(
            _high_check(telemetry, policy, features, floor),
            _medium_check(policy, features, floor),
            _unjudged("drift.joint", "note", JOINT_REASON),
        ),
        tables={"drift_report.csv": _report(features)},
        series={
            "drift_features": _ranking(features),
            "drift_distributions": _distributions(features, binned),
        },
        notes=tuple(notes),
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


def _outcome_change(telemetry: Telemetry, policy: Policy) -> OutcomeChange:
    def unknown(reason: str, total: float | None = None) -> OutcomeChange:
        return OutcomeChange(total, None, None, None, None, 0, reason)

    reason = telemetry.unusable("is_failure")
    if reason:
        return unknown(reason)
    context = [c for c in policy.routing.context if telemetry.has(c)]
    action = [c for c in policy.routing.action if telemetry.has(c)]
    cells = outcome_cells(telemetry.engine, context, action, MIN_CELL_ROWS)
    found = decompose_rate_change(cells, MIN_CELL_ROWS)
    if found is None:
        return unknown("a window has no known outcome")
    for kind, wanted, there in (
        ("context", policy.routing.context, context),
        ("action", policy.routing.action, action),
    ):
        if wanted and not there:
            return unknown(
                f"the telemetry has no column of routing.{kind} ({', '.join(wanted)})", found.total
            )
    return OutcomeChange(
        found.total,
        found.mix,
        found.mix_context,
        found.mix_action,
        found.within,
        found.n_cells,
        None,
    )


# ── checks ───────────────────────────────────────────────────────────────────────────────


def _high_check(
    telemetry: Telemetry, policy: Policy, features: Sequence[Feature], floor: str | None
) -> RegressionTest | Check:
    counted = [f for f in features if f.counted and f.p_value is not None]
    if not counted or telemetry.baseline is None:
        return _unjudged("drift.high", "hold", NOTHING_TESTED)
    high = [f for f in counted if f.severity == "high"]
    edge = policy.drift.high.psi
    tested = _tested(counted)
    worst = max(counted, key=lambda f: (rounded(or_least(f.psi)), f.feature))
    story = (
        f"{len(high)} of {tested} drift{'s' if len(high) == 1 else ''} strongly, "
        f"with a stability index of {edge:g} or more: {_named(high)}"
        if high
        else f"{_none_drifts(counted)} strongly; the largest stability index is "
        f"{worst.psi:.3f} (“{short(worst.feature)}”), "
        + (
            f"beyond {edge:g}, but within what chance explains"
            if rounded(or_least(worst.psi)) >= edge
            else f"and {edge:g} or more would count"
        )
    )
    doubt = "it is not beyond chance at the gate's error rate" if high else None
    unresolved = floor or doubt
    return RegressionTest(
        id="drift.high",
        view="drift",
        severity="hold",
        value=float(len(high)),
        low=None,
        high=None,
        limit=0.0,
        unit="features",
        support=telemetry.candidate.n_interactions + telemetry.baseline.n_interactions,
        p_value=None if floor else float(simes([f.p_value or 0.0 for f in counted])),
        material=bool(high),
        passes=not high,
        reason=unresolved,
        subject="Strong drift",
        sentences={
            "pass": f"{story}.",
            "fail": f"{story}.",
            "inconclusive": f"{story}; not decided, because {unresolved}.",
        },
        actions={
            "pass": "Nothing to do.",
            "fail": f"Find out why {_named(high, bare=True)} moved. If it is meant, move the baseline; if "
            "not, fix the traffic, the routing or what feeds it.",
            "inconclusive": "Wait for more traffic, then review again.",
        },
    )


def _below_floors(telemetry: Telemetry) -> str | None:
    """Why the windows are too small for a verdict on drift, or None."""
    moments = telemetry.moments([Metric("rows", "1", "1")])["rows"]
    for name, window in (("baseline", moments.baseline), ("candidate", moments.candidate)):
        effective = window.n**2 / window.nn if window.nn else 0.0
        if effective < MIN_EFFECTIVE_CLUSTERS:
            return (
                f"the {name} window has {effective:.0f} effective clusters; "
                f"at least {MIN_EFFECTIVE_CLUSTERS} are needed"
            )
        if window.largest > MAX_CLUSTER_SHARE * window.n:
            share = 100 * window.largest / window.n
            return f"one cluster holds {share:.0f} % of the {name} window"
    return None


def _medium_check(policy: Policy, features: Sequence[Feature], floor: str | None) -> Check:
    """Whether a counted feature is medium or high."""
    counted = [f for f in features if f.counted and f.p_value is not None]
    if not counted or floor:
        return _unjudged("drift.medium", "note", floor or NOTHING_TESTED)
    found = [f for f in counted if RANK[f.severity] >= RANK["medium"]]
    edge = f"stability index of {policy.drift.medium.psi:g} or more"
    tested = _tested(counted)
    verb = "drifts" if len(found) == 1 else "drift"
    return replace(
        _unjudged("drift.medium", "note", ""),
        outcome="fail" if found else "pass",
        value=float(len(found)),
        support=max(f.support for f in counted),
        reason=None,
        sentence=(
            f"{len(found)} of {tested} {verb} at medium or above ({edge}): {_named(found)}."
            if found
            else f"{_none_drifts(counted)} at medium or above ({edge})."
        ),
        action="Compare these columns before and after on the drift page, and say whether each change is meant."
        if found
        else "Nothing to do.",
    )


_SUBJECTS = {
    "drift.high": "Strong drift",
    "drift.medium": "Medium drift",
    "drift.joint": "Joint drift of the context",
}


def _unjudged(check_id: str, severity: Literal["hold", "note"], reason: str) -> Check:
    joint = check_id == "drift.joint"
    return Check.of(
        check_id,
        "drift",
        "inconclusive",
        severity,
        Interval.unknown(),
        limit=None if joint else 0.0,
        unit="AUC" if joint else "features",
        reason=reason,
        sentence=f"{_SUBJECTS[check_id]} is not judged: {reason}.",
        action="Read the drift page column by column."
        if joint and reason == JOINT_REASON
        else "Nothing to do."
        if reason == FIRST_RELEASE
        else "Provide what is missing, or wait for more traffic, then review again.",
    )


def _tested(counted: Sequence[Feature]) -> str:
    return "1 tested column" if len(counted) == 1 else f"{len(counted)} tested columns"


def _none_drifts(counted: Sequence[Feature]) -> str:
    if len(counted) == 1:
        return "The one tested column does not drift"
    return f"None of {_tested(counted)} drifts"


def _named(features: Sequence[Feature], *, bare: bool = False) -> str:
    shown = [f"“{short(f.feature)}”" + ("" if bare else f" ({f.psi:.3f})") for f in features[:5]]
    more = f" and {len(features) - 5} more" if len(features) > 5 else ""
    return ", ".join(shown) + more


# ── tables and series ────────────────────────────────────────────────────────────────────

_REPORT = ("feature", "role", "kind", "statistic", "effect", "effect_unit", "psi", "p_value",
           "q_value", "severity", "counted", "n_bins", "new_share", "missing_baseline",
           "missing_candidate", "support", "reason")  # fmt: skip


def _report(features: Sequence[Feature]) -> pd.DataFrame:
    return pd.DataFrame([[getattr(f, c) for c in _REPORT] for f in features], columns=list(_REPORT))


def _ranking(features: Sequence[Feature]) -> pd.DataFrame:
    """Every tested feature, the most severe first."""
    columns = ["rank", "feature", "role", "psi", "severity", "q_value", "counted", "effect",
               "effect_unit"]  # fmt: skip
    tested = [f for f in features if f.p_value is not None]
    rows = [[i + 1, *(getattr(f, c) for c in columns[1:])] for i, f in enumerate(tested)]
    return pd.DataFrame(rows, columns=columns)


def _distributions(features: Sequence[Feature], binned: dict[str, BinnedColumn]) -> pd.DataFrame:
    """Shares by bin of the `MAX_SHOWN` features that moved most."""
    rows = []
    tested = [f for f in features if f.p_value is not None][:MAX_SHOWN]
    for rank, feature in enumerate(tested, start=1):
        column = binned[feature.feature]
        shares = column.clusters.shares
        for index, label in enumerate(column.labels):
            rows.append([rank, feature.feature, feature.severity, column.kind, index, label,
                         float(shares[0][index]), float(shares[1][index])])  # fmt: skip
    return pd.DataFrame(
        rows,
        columns=["rank", "feature", "severity", "kind", "bin", "label", "baseline", "candidate"],
    )
