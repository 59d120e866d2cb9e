"""The candidate against each earlier week, window and release, column by column.

References are by time and over all traffic: a week holds every row of a session that began in it (in
release windows every row of it), whatever its release, exclusions left out. So a canary, whose candidate is
its own rows, is compared with what the whole system did in the weeks before its first hour. The
candidate's own rows are in no reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import numpy as np

from analysis.check import rounded
from analysis.policy import Policy
from analysis.stats.multiple import benjamini_hochberg
from analysis.stats.reference import (
    WEEK,
    Sample,
    Spread,
    compare_counts,
    of_days,
    total_design_effect,
    without_days,
)
from analysis.tables import safe_cell
from analysis.telemetry import Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.day_bins import DayBins, Days, recorded_bins
from analysis.telemetry.recorded import RecordedColumn, RecordedRelease
from analysis.telemetry.windows import EPOCH, day_number, midnight_of
from analysis.views.drift_features import RANK, DriftSeverity, severity_of

MAX_WEEKS = 26
MIN_ROWS = 200
MIN_WEEK_DAYS = 5
MAX_DRIFTED = 10

Kind = Literal["week", "seasonal", "window", "release", "recorded"]


@dataclass(frozen=True)
class DriftedColumn:
    """A column that differs from a reference; see `drift_features.Feature`."""

    feature: str
    severity: DriftSeverity
    psi: float
    q_value: float


@dataclass(frozen=True)
class Reference:
    """An earlier window or release, and what differs from it now.

    kind: week, seasonal (the candidate's weekdays, whole weeks earlier), window, release, recorded.
    n_interactions: rows of the reference. n_drifted: columns of severity low or above; `drifted` are the
    first of them. reason: why nothing was compared.
    """

    name: str
    kind: Kind
    start_utc: str | None
    end_utc: str | None
    n_interactions: int
    n_tested: int
    n_drifted: int
    drifted: tuple[DriftedColumn, ...]
    reason: str | None


@dataclass(frozen=True)
class Line:
    """One column against one reference. p_value: None where it could not be tested, with the reason."""

    reference: str
    kind: Kind
    feature: str
    n_reference: int
    n_candidate: int
    psi: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    severity: DriftSeverity = "none"
    reason: str | None = None


@dataclass(frozen=True)
class Calendar:
    """Days since 1970 that matter. first: the first day with rows. start, end: of the candidate.

    Whole weeks are counted back from `start` to compare with, and from `end` to see a trend.
    """

    first: int
    start: int
    end: int

    @property
    def earlier_weeks(self) -> list[tuple[int, int]]:
        """[first, end) days of the weeks before the candidate, the newest first."""
        return self._back(self.start)

    @property
    def weeks(self) -> list[tuple[int, int]]:
        """The same of the weeks that end with the candidate, the oldest first."""
        return self._back(self.end)[::-1]

    @property
    def seasonal(self) -> tuple[int, tuple[int, int]]:
        """The candidate's weekdays in the last weeks that end before it begins, and how many weeks ago."""
        end = max(self.end, self.start + 1)  # a canary of hours is held against whole days
        weeks = math.ceil((end - self.start) / WEEK)
        return weeks, (self.start - weeks * WEEK, end - weeks * WEEK)

    def _back(self, end: int) -> list[tuple[int, int]]:
        n = min(MAX_WEEKS, max(0, end - self.first) // WEEK)
        return [(end - (k + 1) * WEEK, end - k * WEEK) for k in range(n)]


@dataclass(frozen=True)
class Column:
    """A column as it is compared: how it was cut, its rows by day, and how far they vary by chance."""

    binned: BinnedColumn
    days: DayBins
    spread: Spread
    baseline: Sample
    candidate: Sample


def calendar(telemetry: Telemetry, first: int) -> Calendar:
    """The candidate's days. first: the first day with rows."""
    span = telemetry.windows.candidate
    start = day_number(span.start)
    if telemetry.windows.by_release:
        return Calendar(first, start, day_number(span.end))
    # A day that the candidate has only a part of is not whole for others either.
    return Calendar(first, start, math.ceil((span.end - EPOCH) / timedelta(days=1)))


def compare_all(
    telemetry: Telemetry, policy: Policy, columns: Mapping[str, Column], when: Calendar
) -> tuple[tuple[Reference, ...], tuple[Line, ...]]:
    """Every reference, and every line of the table."""
    references, lines = [], []
    for wanted in _wanted(telemetry, policy, when):
        found, own = _against(wanted, columns, policy)
        references.append(found)
        lines += own
    for recorded in telemetry.recorded:
        found, own = _against_recorded(telemetry, recorded, columns, policy)
        references.append(found)
        lines += own
    return tuple(references), tuple(lines)


# ── by day ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Wanted:
    """A reference by days, of all rows or of one release; `need_days` of its days have to have rows."""

    name: str
    kind: Kind
    first: int | None
    end: int | None
    release: str | None = None
    need_days: int = 1

    def rows(self, days: DayBins) -> np.ndarray:
        """(D, B) rows of the reference by day, days without any left out."""
        held: Days = days.earlier if self.release is None else days.releases[self.release]
        first = min(held, default=0) if self.first is None else self.first
        end = max(held, default=-1) + 1 if self.end is None else self.end
        counts = days.span(held, first, end)
        return counts[counts.sum(axis=1) > 0]


def _wanted(telemetry: Telemetry, policy: Policy, when: Calendar) -> list[_Wanted]:
    wanted = []
    for k, (first, end) in enumerate(when.earlier_weeks, start=1):
        name = "last week" if k == 1 else f"{k} weeks before"
        wanted.append(_Wanted(name, "week", first, end, need_days=MIN_WEEK_DAYS))
    ago, (first, end) = when.seasonal
    if first >= when.first:
        name = f"the same weekdays, {ago} week{'s' if ago > 1 else ''} earlier"
        need = min(end - first, math.ceil(MIN_WEEK_DAYS * (end - first) / WEEK))
        wanted.append(_Wanted(name, "seasonal", first, end, need_days=need))
    for one in policy.drift.references:
        if one.start is not None and one.end is not None:
            span = day_number(one.start), day_number(one.end)
            wanted.append(_Wanted(one.name, "window", *span))
        elif one.release_id is not None:
            wanted.append(_Wanted(one.name, "release", None, None, one.release_id))
    return wanted


def _against(
    wanted: _Wanted, columns: Mapping[str, Column], policy: Policy
) -> tuple[Reference, list[Line]]:
    rows = {name: wanted.rows(column.days) for name, column in columns.items()}
    n = max((int(held.sum()) for held in rows.values()), default=0)
    n_days = max((len(held) for held in rows.values()), default=0)
    reference = Reference(
        wanted.name,
        wanted.kind,
        None if wanted.first is None else midnight_of(wanted.first),
        None if wanted.end is None else midnight_of(wanted.end),
        n, 0, 0, (), None,
    )  # fmt: skip
    reason = _too_little(wanted, n, n_days)
    if reason:
        return replace(reference, reason=reason), []
    lines = []
    for name, column in columns.items():
        line = Line(wanted.name, wanted.kind, name, int(rows[name].sum()), int(column.candidate.n))
        lines.append(_compared(line, of_days(rows[name]), column.candidate, column.spread))
    return _judged(reference, lines, policy)


def _too_little(wanted: _Wanted, n: int, n_days: int) -> str | None:
    if not n and wanted.release is not None:
        return f"no interaction but the candidate's has release_id {wanted.release!r}"
    if not n:
        return "it holds no interactions"
    if n_days < wanted.need_days:
        assert wanted.first is not None and wanted.end is not None
        return f"only {n_days} of its {wanted.end - wanted.first} days have interactions"
    if n < MIN_ROWS:
        return f"it holds {n} interactions; at least {MIN_ROWS} are needed"
    return None


def _compared(line: Line, reference: Sample, candidate: Sample, spread: Spread) -> Line:
    """The line with its PSI and p-value."""
    if min(reference.n, candidate.n) <= 0:
        return replace(line, reason="a window has no usable row")
    found = compare_counts(reference, candidate, spread)
    if found is None:
        return replace(line, reason="every row holds the same value")
    return replace(line, psi=found.psi, p_value=found.p_value)


def _judged(
    reference: Reference, lines: Sequence[Line], policy: Policy
) -> tuple[Reference, list[Line]]:
    """q-values over the reference's columns, severities, and what the artifact lists."""
    q = benjamini_hochberg([np.nan if one.p_value is None else one.p_value for one in lines])
    judged = [
        one
        if one.p_value is None
        else replace(
            one, q_value=float(value), severity=severity_of(one.psi or 0.0, float(value), policy)
        )
        for one, value in zip(lines, q, strict=True)
    ]
    drifted = sorted(
        (one for one in judged if one.severity != "none"),
        key=lambda one: (-RANK[one.severity], -rounded(one.psi or 0.0), one.feature),
    )
    listed = tuple(
        DriftedColumn(one.feature, one.severity, one.psi or 0.0, one.q_value or 0.0)
        for one in drifted[:MAX_DRIFTED]
    )
    tested = sum(one.p_value is not None for one in judged)
    reason = None if tested else "no column could be compared"
    found = replace(
        reference, n_tested=tested, n_drifted=len(drifted), drifted=listed, reason=reason
    )
    return found, judged


# ── recorded releases ────────────────────────────────────────────────────────────────────


def _against_recorded(
    telemetry: Telemetry,
    recorded: RecordedRelease,
    columns: Mapping[str, Column],
    policy: Policy,
) -> tuple[Reference, list[Line]]:
    """The candidate, cut by the recorded bins, against the recorded counts.

    Neither window has days in these bins: both are worth what their design effects say, days included.
    """
    pairs = [(name, _same(name, recorded)) for name in columns]
    usable = [
        (name, held)
        for name, held in pairs
        if held is not None and held.is_number == columns[name].binned.counted.reading.is_number
    ]
    counts = recorded_bins(
        telemetry.engine, [(columns[name].binned, held) for name, held in usable]
    )
    now = dict(zip((name for name, _ in usable), counts, strict=True))
    lines = []
    for name, held in pairs:
        column = columns[name]
        n = int(sum(held.counts)) if held is not None else 0
        line = Line(recorded.name, "recorded", name, n, int(column.candidate.n))
        if held is None or name not in now:
            why = "that review had no such column" if held is None else "its type is another"
            lines.append(replace(line, reason=why))
            continue
        old = Sample(np.array(held.counts, dtype=float), 0.0, held.design_effect)
        effect = total_design_effect(column.candidate, column.spread)
        new = Sample(now[name], 0.0, effect)
        spread = without_days(column.spread, column.candidate, len(old.counts))
        lines.append(_compared(line, old, new, spread))
    reference = Reference(
        recorded.name, "recorded", recorded.start_utc, recorded.end_utc,
        recorded.n_interactions, 0, 0, (), None,
    )  # fmt: skip
    return _judged(reference, lines, policy)


def _same(name: str, recorded: RecordedRelease) -> RecordedColumn | None:
    """The recorded column of this name, which a table writes as a spreadsheet may open it."""
    return recorded.columns.get(safe_cell(name))
