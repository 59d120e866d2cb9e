"""Weekly baselines: the candidate against any number of earlier windows and releases, and slow drift.

What is found here is for the reader. The `drift.*` checks are about two windows and stay so; where slow
drift is large and the checks do not see it, that is said.

Slow drift is a trend over the whole weeks that end with the candidate (over all traffic, whatever its
release): beyond chance, large from the first week to the last, and in no single step. A step shows itself that is
beyond chance (Bonferroni over steps), and holds more than half of the whole or lies in its band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.check import rounded
from analysis.policy import Policy
from analysis.stats.multiple import benjamini_hochberg
from analysis.stats.reference import Compared, of_days, spread_of
from analysis.stats.slow_drift import MIN_WEEKS, Trend, trend
from analysis.tables import csv_bytes
from analysis.telemetry import Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.day_bins import DayBins, day_bins
from analysis.telemetry.windows import day_number, midnight_of
from analysis.views.drift_distributions import FILE, digest, distributions
from analysis.views.drift_features import (
    RANK,
    DriftSeverity,
    Feature,
    band_of,
    severity_of,
    short,
)
from analysis.views.drift_references import (
    MAX_WEEKS,
    MIN_ROWS,
    MIN_WEEK_DAYS,
    Calendar,
    Column,
    Line,
    Reference,
    calendar,
    compare_all,
)

MAX_LINES = 6


@dataclass(frozen=True)
class SlowDrift:
    """A column that moves slowly.

    psi: of the last whole week against the first. step_psi: mean of a week against the one before;
    largest_step_psi: the largest of these. severity: by `psi`. p_value, q_value: of the trend.
    start_utc, end_utc: of the weeks together; n_weeks: those with enough data.
    """

    feature: str
    severity: DriftSeverity
    psi: float
    step_psi: float
    largest_step_psi: float
    n_weeks: int
    start_utc: str
    end_utc: str
    p_value: float
    q_value: float


@dataclass(frozen=True)
class Weeks:
    """What the drift view publishes of it: parts of its section, tables, series and notes."""

    references: tuple[Reference, ...] = ()
    slow: tuple[SlowDrift, ...] = ()
    distributions_sha256: str | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    series: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Weeks:
        """Of a first release, which has no bins."""
        return cls(
            tables={FILE: distributions({}), "drift_references.csv": _table((), ())},
            series={"drift_weeks": _series((), ())},
        )


def assess_weeks(
    telemetry: Telemetry,
    policy: Policy,
    binned: Mapping[str, BinnedColumn],
    features: Sequence[Feature],
) -> Weeks:
    """The references, slow drift, and the counts that a later review compares with.

    features: as they were judged against the baseline.
    """
    if not binned:
        return Weeks.none()
    when, days = _days(telemetry, policy, binned)
    by_session = telemetry.cluster == "session"
    columns = {
        name: _column(column, days[name], when, by_session=by_session)
        for name, column in binned.items()
    }
    references, lines = compare_all(telemetry, policy, columns, when)
    trends = _trends(columns, when, policy)
    slow = tuple(one for one in trends if one.is_slow)
    frame = distributions(
        {
            name: (column.binned.counted, (column.baseline, column.candidate), column.spread)
            for name, column in columns.items()
        }
    )  # fmt: skip
    found = tuple(one.found for one in slow)
    return Weeks(
        references=references,
        slow=found,
        distributions_sha256=digest(csv_bytes(frame)),
        tables={FILE: frame, "drift_references.csv": _table(lines, trends)},
        series={"drift_weeks": _series(lines, references)},
        notes=tuple(_notes(when, references, found, features)),
    )


def _days(
    telemetry: Telemetry, policy: Policy, binned: Mapping[str, BinnedColumn]
) -> tuple[Calendar, dict[str, DayBins]]:
    """Rows by day and bin, as far back as any reference reaches."""
    named = policy.drift.references
    releases = list(dict.fromkeys(r.release_id for r in named if r.release_id is not None))
    when = calendar(telemetry, 0)
    ago = min(when.start - MAX_WEEKS * 7, when.seasonal[1][0])
    first = min([ago, *(day_number(r.start) for r in named if r.start is not None)])
    end = max([when.end, *(day_number(r.end) for r in named if r.end is not None)])
    days = day_bins(telemetry.engine, binned, first, end, releases, telemetry.windows.exclude)
    seen = [day for one in days.values() for day in one.everything]
    return calendar(telemetry, min(seen, default=when.start)), days


def _column(binned: BinnedColumn, days: DayBins, when: Calendar, *, by_session: bool) -> Column:
    weeks = [days.span(days.earlier, *week) for week in when.earlier_weeks]
    # Without a whole week, what days there are stand in for one.
    blocks = weeks or [days.span(days.earlier, when.first, max(when.start, when.first))]
    held = binned.days.units[:2]
    spread = spread_of(binned.clusters, blocks, days.size, held, one_day=by_session)
    baseline, candidate = (of_days(days.rows(own)) for own in (days.baseline, days.candidate))
    return Column(binned, days, spread, baseline, candidate)


# ── slow drift ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Judged:
    """A column's trend, whether it counts as slow drift or not."""

    found: SlowDrift
    is_slow: bool


def _trends(columns: Mapping[str, Column], when: Calendar, policy: Policy) -> tuple[_Judged, ...]:
    """Every column's trend, the largest slow drift first."""
    measured: list[tuple[str, Trend, list[tuple[int, int]]]] = []
    for name, column in columns.items():
        held = [(week, column.days.span(column.days.everything, *week)) for week in when.weeks]
        held = [(week, rows) for week, rows in held if _is_enough(rows)]
        samples = [of_days(rows) for _, rows in held]
        found = trend(samples, [week[0] / 7 for week, _ in held], column.spread)
        if found is not None:
            measured.append((name, found, [week for week, _ in held]))
    q_values = benjamini_hochberg([one.p_value for _, one, _ in measured])
    judged = []
    for (name, one, weeks), q in zip(measured, q_values, strict=True):
        severity = severity_of(one.first_to_last, float(q), policy)
        shown = any(_shows(step, one, severity, policy) for step in one.steps)
        steps = [step.psi for step in one.steps]
        found_here = SlowDrift(
            name, severity, one.first_to_last, float(np.mean(steps)), max(steps), len(weeks),
            midnight_of(weeks[0][0]), midnight_of(weeks[-1][1]), one.p_value, float(q),
        )  # fmt: skip
        judged.append(_Judged(found_here, severity != "none" and not shown))
    return tuple(
        sorted(judged, key=lambda j: (not j.is_slow, -rounded(j.found.psi), j.found.feature))
    )


def _shows(step: Compared, of: Trend, severity: DriftSeverity, policy: Policy) -> bool:
    """Whether one step shows the drift of the whole by itself."""
    if rounded(step.p_value * len(of.steps)) > policy.drift.fdr:
        return False
    large = rounded(step.psi) > rounded(of.first_to_last / 2)
    return large or RANK[band_of(step.psi, policy)] >= RANK[severity]


def _is_enough(rows: np.ndarray) -> bool:
    by_day = rows.sum(axis=1)
    return int((by_day > 0).sum()) >= MIN_WEEK_DAYS and by_day.sum() >= MIN_ROWS


# ── what the reader must know ────────────────────────────────────────────────────────────


def _notes(
    when: Calendar,
    references: Sequence[Reference],
    slow: Sequence[SlowDrift],
    features: Sequence[Feature],
) -> list[str]:
    judged = {f.feature: f.severity for f in features}
    notes = [
        f"“{short(one.feature)}” drifts slowly: {sentence(one)}; drift.high compares two windows and "
        "does not see it"
        for one in slow
        if one.severity == "high" and judged.get(one.feature) != "high"
    ]
    unused = [one for one in references if one.kind != "week" and one.reason]
    notes += [f"Reference “{short(one.name)}”: {one.reason}" for one in unused]
    empty = [one for one in references if one.kind == "week" and one.reason]
    if empty:
        notes.append(
            f"{len(empty)} of {sum(r.kind == 'week' for r in references)} earlier weeks have too little "
            f"data to compare with; “{empty[0].name}”: {empty[0].reason}"
        )
    if (when.end - when.start) % 7:
        notes.append(
            "The candidate is not of whole weeks: an earlier week differs from it in weekdays too, and "
            "the reference of the same weekdays does not"
        )
    if len(when.weeks) < MIN_WEEKS:
        notes.append(
            f"Slow drift is not tested: the telemetry has {len(when.weeks)} whole weeks up to the "
            f"candidate's end, and at least {MIN_WEEKS} are needed"
        )
    return notes


def sentence(one: SlowDrift) -> str:
    """A slow drift in a clause of a sentence."""
    return (
        f"a stability index of {max(one.step_psi, 0.0):.3f} from one week to the next on average, and "
        f"of {one.psi:.3f} from the first to the last of {one.n_weeks} weeks"
    )


# ── tables and series ────────────────────────────────────────────────────────────────────

_COLUMNS = ("reference", "kind", "start_utc", "end_utc", "feature", "n_reference", "n_candidate", "psi",
            "p_value", "q_value", "severity", "step_psi", "largest_step_psi", "reason")  # fmt: skip


def _table(lines: Sequence[Line], trends: Sequence[_Judged]) -> pd.DataFrame:
    """Every column against every reference, then every trend."""
    rows: list[list[object]] = [
        [one.reference, one.kind, None, None, one.feature, one.n_reference, one.n_candidate, one.psi,
         one.p_value, one.q_value, one.severity, None, None, one.reason]
        for one in lines
    ]  # fmt: skip
    for judged in trends:
        one = judged.found
        kind = "slow drift" if judged.is_slow else "trend"
        rows.append(
            [f"{one.n_weeks} weeks", kind, one.start_utc, one.end_utc, one.feature, None, None, one.psi,
             one.p_value, one.q_value, one.severity, one.step_psi, one.largest_step_psi, None]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _series(lines: Sequence[Line], references: Sequence[Reference]) -> pd.DataFrame:
    """PSI of the candidate against each earlier week, of the columns that moved most."""
    starts = {one.name: one.start_utc for one in references if one.kind == "week"}
    weekly = [one for one in lines if one.kind == "week" and one.psi is not None]
    peak: dict[str, tuple[int, float]] = {}
    for one in weekly:
        reached = (RANK[one.severity], rounded(one.psi or 0.0))
        peak[one.feature] = max(peak.get(one.feature, reached), reached)
    moved = [name for name in peak if peak[name][0] > 0]
    chosen = sorted(moved, key=lambda n: (-peak[n][0], -peak[n][1], n))[:MAX_LINES]
    rows = [
        [chosen.index(one.feature) + 1, one.feature, starts[one.reference], one.psi, one.severity]
        for one in weekly
        if one.feature in chosen
    ]
    frame = pd.DataFrame(rows, columns=["rank", "feature", "week", "psi", "severity"])
    return frame.sort_values(["rank", "week"], kind="stable").reset_index(drop=True)
