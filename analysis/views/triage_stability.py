"""Whether the risks are still as good as on the part of the history that chose the threshold.

The comparison is before/after, so that days are clusters too (STATISTICS section 1), and users come back on
other days: with clusters and days as units of one table a figure's change has the variance V_cluster + V_day −
V_cluster×day of Cameron, Gelbach & Miller (2011), at least the larger of the first two, and Welch's degrees of
freedom over days. The larger of both alone misses 7 % where days and users differ.

Users may be in both parts. With codes that both parts share their rows are paired; without them clusters of
the two parts count as different ones, which leaves out a covariance that is positive where a user stays as
hard to judge as before, and so makes the interval too wide rather than too short.

Figures that are no smooth functions of the rows, those that are 0 at best, have a change whose limits are
recovered from each part's own (Zou & Donner 2008): the wider of those with clusters and with days as units.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.check import Interval
from analysis.stats import calibration
from analysis.stats.brier_parts import brier_parts
from analysis.stats.divergence import BinMoments, compare_distributions, occupied, psi
from analysis.stats.influence import Day, over_days
from analysis.stats.intervals import mover_difference, t_quantile
from analysis.stats.linear import MIN_CLASS_CLUSTERS, Estimate, Units
from analysis.views.triage_policy import Queue
from analysis.views.triage_quality import Labelled, Quality

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PSI_BINS = 10


@dataclass(frozen=True)
class Change:
    """A figure of the part that chose the threshold, of the window, and how far it moved."""

    measure: str
    history: Interval
    window: Interval
    change: Interval


@dataclass(frozen=True)
class Stability:
    """risk_psi: population stability index of the risks between the two, over the deciles of the part that chose,
    less what noise alone makes of it; it has no interval, risk_p_value tests that nothing moved."""

    figures: tuple[Change, ...]
    risk_psi: float | None
    risk_p_value: float | None


def stability(
    choosing: Queue, window: Queue | Labelled, shared: tuple[Ints, Ints] | None = None
) -> Stability:
    """Both parts by their own labelled rows. shared: cluster codes of the rows of `choosing` and of `window` that
    mean the same cluster in both; without them see above.

    Stability: a figure of the part of the history that chose, which neither fitted nor calibrated the model,
    beside that of the candidate window, and how far it moved.
    """
    old, new = _Part.of(choosing, shared and shared[0]), _Part.of(window, shared and shared[1])
    paired = shared is not None
    return Stability(_changes(old, new, paired), *_moved(old, new, paired))


@dataclass(frozen=True)
class _Part:
    """A part's rows. cluster: codes, shared between both parts where there are such. crossed: a cluster's rows of
    one day as units."""

    rows: Labelled
    cluster: Ints
    crossed: Units
    daily: _Daily

    @classmethod
    def of(cls, queue: Queue | Labelled, shared: Ints | None) -> _Part:
        rows = Labelled.of(queue)
        code = rows.units.code if shared is None else shared[rows.rows]
        n_days = int(rows.day.max(initial=0)) + 1
        crossed = Units.of(rows.y, rows.units.code * n_days + rows.day)
        return cls(rows, code, crossed, _Daily.of(rows))


@dataclass(frozen=True)
class _Daily:
    """The figures whose change is recovered, with days as units."""

    calibration_error: Estimate
    brier_reliability: Estimate
    brier_resolution: Estimate

    @classmethod
    def of(cls, rows: Labelled) -> _Daily:
        days = Units.of(rows.y, rows.day)
        bins = calibration.reliability(rows.y, rows.p, days)
        parts = brier_parts(rows.y, rows.p, days, bins=bins)
        error = calibration.calibration_error(rows.y, rows.p, days, bins=bins)
        return cls(error, parts.reliability, parts.resolution)


def _changes(old: _Part, new: _Part, paired: bool) -> tuple[Change, ...]:
    out = []
    for field in dataclasses.fields(Quality):
        name = field.name
        history: Interval = getattr(old.rows.measured.quality, name)
        window: Interval = getattr(new.rows.measured.quality, name)
        support = history.support + window.support
        if history.value is None or window.value is None:
            change = Interval.unknown(support)
        elif hasattr(old.daily, name):
            by_day: tuple[Estimate, Estimate] = getattr(old.daily, name), getattr(new.daily, name)
            low, high = _recovered(history, window, *by_day)
            change = Interval.of(window.value - history.value, low, high, support)
        else:
            value = window.value - history.value
            reach = _reach(name, old, new, paired)
            change = Interval.of(value, value - reach, value + reach, support)
        out.append(Change(name, history, window, change))
    return tuple(out)


def _reach(name: str, old: _Part, new: _Part, paired: bool) -> float:
    """t √V of the change of a smooth figure; nan without ten clusters of either label in both parts, or days."""
    before, after = (getattr(part.rows.measured.influences, name, None) for part in (old, new))
    if before is None or after is None or not (old.rows.units.known and new.rows.units.known):
        return math.nan
    size = max(int(part.cluster.max()) + 1 for part in (old, new))
    totals = [
        np.bincount(part.cluster, weights=linear.influence, minlength=size)
        for part, linear in ((old, before), (new, after))
    ]
    if paired:
        held = [np.bincount(part.cluster, minlength=size) > 0 for part in (old, new)]
        groups = int(np.count_nonzero(held[0] | held[1]))
        squares = float(((totals[1] - totals[0]) ** 2).sum())
    else:
        groups = old.rows.units.n + new.rows.units.n
        squares = float((totals[0] ** 2).sum() + (totals[1] ** 2).sum())
    days = [
        Day(win, total, n)
        for win, part, linear in ((0, old, before), (1, new, after))
        for total, n in _days(part.rows.day, linear.influence)
    ]
    by_day = over_days(days)
    by_cluster = groups / (groups - 1.0) * squares
    within = sum(
        part.crossed.variance(linear.influence) for part, linear in ((old, before), (new, after))
    )
    variance = max(by_cluster, by_day.variance, by_cluster + by_day.variance - within)
    return t_quantile(0.975, by_day.df) * math.sqrt(variance)


def _days(day: Ints, influence: Floats) -> list[tuple[float, float]]:
    """Each day's sum of influences, and its rows."""
    totals, rows = np.bincount(day, weights=influence), np.bincount(day)
    return list(zip(totals.tolist(), rows.astype(float).tolist(), strict=True))


def _recovered(
    history: Interval, window: Interval, old_days: Estimate, new_days: Estimate
) -> tuple[float, float]:
    """Limits of window − history from the wider limits of each; nan where one of them is not known."""
    limits: list[float] = []
    for one, by_day in ((window, new_days), (history, old_days)):
        if one.value is None or one.low is None or one.high is None:
            return math.nan, math.nan
        limits += [one.value, min(one.low, by_day.low), max(one.high, by_day.high)]
    if any(math.isnan(x) for day in (old_days, new_days) for x in (day.low, day.high)):
        return math.nan, math.nan
    return mover_difference(*limits)


def _moved(old: _Part, new: _Part, paired: bool) -> tuple[float | None, float | None]:
    """(PSI of the risks without its bias, p-value of no change); None where a part has no rows."""
    if min(old.rows.units.n, new.rows.units.n) < MIN_CLASS_CLUSTERS:
        return None, None
    p = old.rows.p
    cuts = np.unique(p[(np.arange(1, PSI_BINS) * len(p)) // PSI_BINS])
    bins = [np.searchsorted(cuts, part.rows.p, side="right") for part in (old, new)]
    size = len(cuts) + 1
    counts = np.array([np.bincount(b, minlength=size) for b in bins])
    by_cluster = _moments(counts, bins, [old.cluster, new.cluster], paired)
    by_day = _moments(counts, bins, [old.rows.day, new.rows.day], paired=False)
    test = compare_distributions(occupied(by_cluster), occupied(by_day))
    if test is None:
        return None, None
    return psi(occupied(by_cluster).counts) - test.expected, test.p_value


def _moments(counts: Ints, bins: list[Ints], unit: list[Ints], paired: bool) -> BinMoments:
    """Bin counts with their second moments over units."""
    size = counts.shape[1]
    n_units = max(int(u.max()) for u in unit) + 1
    tables = [
        np.bincount(u * size + b, minlength=n_units * size).reshape(n_units, size).astype(float)
        for u, b in zip(unit, bins, strict=True)
    ]
    held = [table.any(axis=1) for table in tables]
    each = [int(np.count_nonzero(h)) for h in held]
    second = np.zeros((2 * size, 2 * size))
    for w in (0, 1):
        for v in (0, 1):
            if w == v or paired:
                block = tables[w].T @ tables[v]
                second[w * size : (w + 1) * size, v * size : (v + 1) * size] = block
    either = int(np.count_nonzero(held[0] | held[1])) if paired else sum(each)
    return BinMoments(counts, second, (each[0], each[1], either))
