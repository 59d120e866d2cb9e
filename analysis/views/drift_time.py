"""Since when: changes of level in daily series, and whether they began with the release.

Every series is tested against one level throughout (`stats.change_point_daily`), and those that are not at
one level are dated. There are two families, and each has half of `drift.fdr` (Benjamini & Hochberg 1995): the
key rates and volume, which are looked at in every review, and the columns. A column is a series only where
its distribution drifts, and to test what was chosen because it differs would find changes where chance chose.
So the second family is every column that was tested for drift, and those that were not chosen have p = 1:
p-values are then no smaller than without a choice, and the share of false ones among all that are told is at
most `drift.fdr`. A change has to be significant by its days, too: a column may drift without any day on which
it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.check import rounded
from analysis.policy import Policy
from analysis.stats.change_point_daily import Change, Levels, Shape, change_p_value, date_changes
from analysis.stats.change_point_parts import MIN_DAYS, Series
from analysis.stats.multiple import benjamini_hochberg
from analysis.telemetry import Telemetry
from analysis.telemetry.bins import BinnedColumn
from analysis.telemetry.windows import EPOCH, midnight_of
from analysis.views.drift_features import Feature
from analysis.views.drift_time_series import (
    LEAST_MISSING,
    DailySeries,
    Kind,
    Unit,
    column_series,
    key_series,
    whole_days,
)

Relation = Literal["before_release", "at_release", "within_candidate"]
DAYS = ["rank", "feature", "kind", "day", "value", "level", "spike"]


@dataclass(frozen=True)
class LevelChange:
    """One change of a level.

    since_utc: the first day of the new level, as its midnight; of a gradual change the first that differs.
    low_utc, high_utc: the first and the last such day that 95 % confidence leaves. complete_utc: the day
    from which all of it is there. before, after: the levels of a usual week on either side. shape: unclear
    where a step and a gradual change fit about alike. relation: of the days that confidence leaves to the
    candidate's first day.
    """

    since_utc: str
    low_utc: str
    high_utc: str
    complete_utc: str
    before: float
    after: float
    shape: Shape
    p_value: float
    relation: Relation


@dataclass(frozen=True)
class SeriesChange(LevelChange):
    """A series that is not at one level throughout, and the last change of it.

    name: of a column, else the kind. tracked: the values whose share the series is. p_value, q_value: of
    one level throughout. others: earlier changes, the oldest first. spikes_utc: days that stand alone, and
    count for no level. correlation: of neighbouring days. n_days, support: days and interactions of it.
    """

    name: str
    kind: Kind
    unit: Unit
    tracked: str | None
    q_value: float
    others: tuple[LevelChange, ...]
    spikes_utc: tuple[str, ...]
    correlation: float
    n_days: int
    support: int


@dataclass(frozen=True)
class Changes:
    """What was found. found: by q-value. n_series: that were tested. reason: why none was. days: the frame
    of the series that changed, `rank` being their place in `found`. notes: for the reader."""

    found: tuple[SeriesChange, ...]
    n_series: int
    reason: str | None
    days: pd.DataFrame
    notes: tuple[str, ...]


def no_changes(reason: str) -> Changes:
    """Where nothing is compared."""
    return Changes((), 0, reason, pd.DataFrame(columns=DAYS), ())


def changes_over_time(
    telemetry: Telemetry,
    policy: Policy,
    features: Sequence[Feature],
    binned: Mapping[str, BinnedColumn],
) -> Changes:
    """The series of both windows that changed their level, and when.

    Arms that run side by side have no before and after: there the candidate's own rates are looked at, for a
    change within the window, and no column, whose drift is a difference between the arms from their first day.

    Since when (UTC): the day on which a daily series changed its level, beside its weekdays, with the days on
    which it may have (95 %). Before and after are levels of a usual week.
    """
    alone = telemetry.windows.comparison == "concurrent"
    days = whole_days(telemetry, candidate_only=alone)
    if len(days) < MIN_DAYS:
        window = "candidate window holds" if alone else "windows hold"
        return no_changes(f"the {window} {len(days)} whole days; {MIN_DAYS} are needed")
    keys = key_series(telemetry, days, candidate_only=alone)
    columns = [] if alone else column_series(features, binned, days, keys)
    first = _first_candidate_day(telemetry, days)
    # One thread: the order of sums is the same on every machine.
    with threadpool_limits(limits=1):
        told = [
            *_told(keys, len(keys), policy),
            *_told(columns, 0 if alone else _family(features), policy),
        ]
        dated = [_dated(t, first, alone=alone) for t in told]
    dated.sort(key=lambda pair: (rounded(pair[0].q_value), pair[0].name, pair[0].kind))
    notes = (
        "The arms run side by side: days are looked at within the candidate alone, its rates and cost, for "
        "columns that differ between arms do so from the first day",
    )
    return Changes(
        tuple(change for change, _ in dated),
        len(keys) + len(columns),
        None,
        _days(dated),
        notes if alone else (),
    )


def _first_candidate_day(telemetry: Telemetry, days: Sequence[int]) -> int:
    """The first whole day that begins in the candidate window."""
    start = telemetry.windows.candidate.start
    return next((d for d in days if EPOCH + timedelta(days=d) >= start), days[-1] + 1)


def _family(features: Sequence[Feature]) -> int:
    """Series that columns could have given: of each that was tested, and of missing values where there are any."""
    tested = [f for f in features if f.counted and f.p_value is not None]
    gaps = [
        f for f in tested
        if max(f.missing_baseline or 0.0, f.missing_candidate or 0.0) >= LEAST_MISSING
    ]  # fmt: skip
    return len(tested) + len(gaps)


# ── testing and dating ───────────────────────────────────────────────────────────────────

FAMILIES = 2


@dataclass(frozen=True)
class _Told:
    daily: DailySeries
    series: Series
    p_value: float
    q_value: float
    level: float


def _told(family: Sequence[DailySeries], size: int, policy: Policy) -> list[_Told]:
    """The series of a family of `size` that changed, at its half of the rate of false discoveries."""
    tested = []
    for daily in family:
        series = Series.of(daily.days.tolist(), daily.scaled, daily.weights, daily.sampling)
        if series is not None:
            tested.append((daily, series, change_p_value(series)))
    p = [p for *_, p in tested] + [1.0] * max(size - len(tested), 0)
    q = np.minimum(FAMILIES * benjamini_hochberg(p), 1.0)
    told = [
        (one, own)
        for one, own in zip(tested, q.tolist(), strict=False)
        if rounded(own) <= policy.drift.fdr
    ]
    level = policy.drift.fdr / FAMILIES * len(told) / max(len(p), 1)
    return [
        _Told(daily, series, p_value, own, max(level, p_value))
        for (daily, series, p_value), own in told
    ]


def _dated(told: _Told, first: int, *, alone: bool) -> tuple[SeriesChange, pd.DataFrame]:
    daily = told.daily
    found = date_changes(told.series, told.level)
    listed, shift = [], 0.0
    for change in found.changes:
        listed.append(_change(daily, found, change, shift, first, alone=alone))
        shift += change.size
    last = listed[-1]
    own = SeriesChange(
        **{**vars(last), "p_value": told.p_value},
        name=daily.name,
        kind=daily.kind,
        unit=daily.unit,
        tracked=daily.tracked,
        q_value=told.q_value,
        others=tuple(listed[:-1]),
        spikes_utc=tuple(midnight_of(int(daily.days[t])) for t in found.spikes),
        correlation=found.correlation,
        n_days=len(daily.days),
        support=daily.support,
    )
    return own, _frame(daily, found)


def _change(
    daily: DailySeries, found: Levels, change: Change, shift: float, first: int, *, alone: bool
) -> LevelChange:
    low, high = int(daily.days[change.low]), int(daily.days[change.high])
    relation: Relation = "at_release"
    if alone or low > first:
        relation = "within_candidate"
    elif high < first:
        relation = "before_release"
    return LevelChange(
        since_utc=midnight_of(int(daily.days[change.first])),
        low_utc=midnight_of(low),
        high_utc=midnight_of(high),
        complete_utc=midnight_of(int(daily.days[change.full])),
        before=daily.level(found, shift),
        after=daily.level(found, shift + change.size),
        shape=change.shape,
        p_value=change.p_value,
        relation=relation,
    )


# ── the page's frame ─────────────────────────────────────────────────────────────────────


def _frame(daily: DailySeries, found: Levels) -> pd.DataFrame:
    """The days of a series; of spikes the level is not known, and not drawn."""
    level = np.full(len(daily.days), np.nan)
    at = {round(float(s), 12): daily.level(found, float(s)) for s in found.shift}
    level[found.kept] = [at[round(float(s), 12)] for s in found.shift]
    return pd.DataFrame(
        {
            "feature": daily.name,
            "kind": daily.kind,
            "day": [pd.Timestamp(EPOCH + timedelta(days=int(d))) for d in daily.days],
            "value": daily.values,
            "level": level,
            "spike": np.isin(np.arange(len(daily.days)), found.spikes),
        }
    )


def _days(dated: Sequence[tuple[SeriesChange, pd.DataFrame]]) -> pd.DataFrame:
    frames = [frame.assign(rank=rank) for rank, (_, frame) in enumerate(dated)]
    if not frames:
        return pd.DataFrame(columns=DAYS)
    return pd.concat(frames, ignore_index=True)[DAYS]
