"""What each threshold would have done in each part, under the day's capacity, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.intervals import t_quantile
from analysis.stats.nested_totals import LEVEL, NestedTotals, rate_limits, total_limits
from analysis.stats.queue_forecast import MIN_FORECAST_DAYS
from analysis.views.triage_policy import Costs, Queue, within_capacity

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Limits = tuple[Floats, Floats]

WITH_LIMITS = ("demand_per_day", "reviewed_per_day", "precision", "recall", "cost_usd_per_day")
CURVE_COLUMNS = (
    "part",
    "threshold",
    "chosen",
    "demand_per_day",
    "reviewed_per_day",
    "reviewed",
    "tp",
    "fp",
    "fn",
    "tn",
    "precision",
    "recall",
    "cost_usd",
    "cost_usd_per_day",
    *(f"{name}_{end}" for name in WITH_LIMITS for end in ("low", "high")),
)
N_THRESHOLDS = 60
APART, N_NEXT = 0.1, 2


def threshold_curve(
    queues: Mapping[str, Queue], grid_from: Queue, chosen: float | None, costs: Costs
) -> pd.DataFrame:
    """A row a part and threshold; `*_low`, `*_high` are 95 % limits.

    A day's queue is worked by risk, so the rows that a threshold reaches are those of
    `top_by_capacity` at or above it. Thresholds are quantiles of the part that chose.
    """
    tail = np.geomspace(1.0, 1e-3, N_THRESHOLDS)
    risks = grid_from.risk[grid_from.risk >= 0]
    grid = {0.0, 1.0, costs.break_even} | ({chosen} if chosen is not None else set())
    if len(risks):
        grid |= {float(v) for v in np.quantile(risks, 1.0 - tail, method="inverted_cdf")}
    thresholds = np.array(sorted(grid))
    frames = [_curve(part, queue, thresholds, chosen, costs) for part, queue in queues.items()]
    if not frames:
        return pd.DataFrame({c: [] for c in CURVE_COLUMNS})
    return pd.concat(frames, ignore_index=True)


def next_best(curve: pd.DataFrame, chosen: float, part: str = "choose") -> tuple[float, ...]:
    """The two other thresholds of least cost on a part; fewer where there are none.

    Each asks for at least 10 % more or fewer reviews than the chosen one, and than each other.
    Whether they fit the guard is not asked. Of equal costs the demand nearest to the chosen one's.
    """
    rows = curve[curve["part"] == part]
    demand = rows["demand_per_day"].to_numpy(dtype=float)
    cost = rows["cost_usd_per_day"].to_numpy(dtype=float)
    thresholds = rows["threshold"].to_numpy(dtype=float)
    taken = [k for k in range(len(rows)) if thresholds[k] == chosen]
    if not taken:
        return ()
    distance = np.abs(demand - demand[taken[0]])

    def apart(k: int) -> bool:
        gaps = [abs(demand[k] - demand[j]) / max(float(demand[j]), 1e-12) for j in taken]
        return min(gaps) >= APART

    for k in np.lexsort((thresholds, distance, cost)).tolist():
        if len(taken) <= N_NEXT and apart(k):
            taken.append(k)
    return tuple(float(thresholds[k]) for k in taken[1:])


def _curve(
    part: str, queue: Queue, thresholds: Floats, chosen: float | None, costs: Costs
) -> pd.DataFrame:
    every = np.ones(len(queue.risk), dtype=bool)
    reached = within_capacity(queue, costs, every, by_risk=True)
    days = max(float(queue.coverage.sum()), 1e-9)
    support, positives = int(queue.known.sum()), int((queue.known & queue.bad).sum())

    def at_least(rows: Bools) -> Ints:
        risks = np.sort(queue.risk[rows])
        return np.asarray(len(risks) - np.searchsorted(risks, thresholds, side="left"))

    tp = at_least(reached & queue.known & queue.bad)
    reviewed = at_least(reached & queue.known)
    fp, fn = reviewed - tp, positives - tp
    cost = costs.review_usd * reviewed + costs.missed_usd * fn
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(reviewed > 0, tp / np.maximum(reviewed, 1), np.nan)
        recall = tp / positives if positives else np.full(len(tp), np.nan)
    demand, worked = at_least(every), at_least(reached)
    limits = _Limits(queue, thresholds, costs)
    precise, recalled = limits.rates(reached)
    bounds: list[Limits] = [
        _per_day(limits.demand(), days),
        limits.worked(reached, worked / days),
        precise,
        recalled,
        _per_day(limits.cost(reached, cost, fn), days),
    ]
    columns = {
        "part": part,
        "threshold": thresholds,
        "chosen": [chosen is not None and t == chosen for t in thresholds.tolist()],
        "demand_per_day": demand / days,
        "reviewed_per_day": worked / days,
        "reviewed": reviewed,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": support - positives - fp,
        "precision": precision,
        "recall": recall,
        "cost_usd": cost,
        "cost_usd_per_day": cost / days,
    }
    for name, (low, high) in zip(WITH_LIMITS, bounds, strict=True):
        columns |= {f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns, columns=list(CURVE_COLUMNS))


class _Limits:
    """Limits of a part's figures by threshold. Rows enter sets that grow as the threshold falls."""

    def __init__(self, queue: Queue, thresholds: Floats, costs: Costs) -> None:
        self.queue, self.costs, self.n_sets = queue, costs, len(thresholds)
        self.n_clusters = int(queue.cluster.max()) + 1 if len(queue.cluster) else 0
        place = np.searchsorted(thresholds, queue.risk, side="right") - 1
        self.step = len(thresholds) - 1 - np.maximum(place, 0)

    def demand(self) -> Limits:
        """Of rows in the window at or above each threshold."""
        rows = np.arange(len(self.step))
        ones = np.ones((1, len(rows)))
        low, high = self._totals(rows, self.step, ones)
        return np.maximum(low, 0.0), high

    def worked(self, reached: Bools, per_day: Floats) -> Limits:
        """Of reviews a day, at most the capacity.

        Days are the units: capacity makes them depend within a day, which clusters know nothing of.
        """
        rows, n_days = np.flatnonzero(reached), self.queue.n_days
        ones = np.ones((1, len(rows)))
        if n_days < MIN_FORECAST_DAYS:
            low, high = _per_day(
                self._totals(rows, self.step[rows], ones),
                max(float(self.queue.coverage.sum()), 1e-9),
            )
        else:
            days = NestedTotals.of(self.step[rows], self.queue.day[rows], ones, self.n_sets)
            total, squares = days.totals(0), days.products(0, 0)
            between = np.maximum(squares - total**2 / n_days, 0.0) / (n_days - 1.0)
            half = t_quantile(LEVEL, n_days - 1.0) * np.sqrt(between / n_days)
            low, high = per_day - half[::-1], per_day + half[::-1]
        most = np.maximum(self.costs.capacity_per_day, per_day)
        return np.maximum(low, 0.0), np.minimum(high, most)

    def rates(self, reached: Bools) -> tuple[Limits, Limits]:
        """Of precision, and of recall."""
        queue = self.queue
        rows = np.flatnonzero(reached & queue.known)
        values = np.array([queue.bad[rows], np.ones(len(rows))], dtype=float)
        precision = self._rates(rows, self.step[rows], values)
        failures = np.flatnonzero(queue.known & queue.bad)
        caught = rows[queue.bad[rows]]
        both = np.concatenate([caught, failures])
        step = np.concatenate([self.step[caught], np.zeros(len(failures), dtype=np.int64)])
        hit = np.concatenate([np.ones(len(caught)), np.zeros(len(failures))])
        recall = self._rates(both, step, np.array([hit, 1.0 - hit]))
        return precision, recall

    def cost(self, reached: Bools, cost: Floats, missed: Ints) -> Limits:
        """Of the cost over the window: those of `triage_policy.outcome`, at every threshold."""
        queue, costs = self.queue, self.costs
        failures = np.flatnonzero(queue.known & queue.bad)
        rows = np.flatnonzero(reached & queue.known)
        change = costs.review_usd - costs.missed_usd * queue.bad[rows]
        low, high = self._totals(
            np.concatenate([failures, rows]),
            np.concatenate([np.zeros(len(failures), dtype=np.int64), self.step[rows]]),
            np.concatenate([np.full(len(failures), costs.missed_usd), change])[None, :],
        )
        none = cost + costs.missed_usd * -math.log(0.025)  # exact Poisson limit of 0 events
        return np.maximum(low, 0.0), np.where(missed < 1, np.maximum(high, none), high)

    def _totals(self, rows: Ints, step: Ints, values: Floats) -> Limits:
        queue = self.queue
        clusters = NestedTotals.of(step, queue.cluster[rows], values, self.n_sets)
        days = NestedTotals.of(step, queue.day[rows], values, self.n_sets)
        low, high = total_limits(
            clusters.totals(0),
            clusters.products(0, 0),
            days.products(0, 0),
            self.n_clusters,
            queue.n_days,
            MIN_FORECAST_DAYS,
        )
        return low[::-1], high[::-1]

    def _rates(self, rows: Ints, step: Ints, values: Floats) -> Limits:
        queue = self.queue
        clusters = NestedTotals.of(step, queue.cluster[rows], values, self.n_sets)
        days = NestedTotals.of(step, queue.day[rows], values, self.n_sets)
        groups, n_days = clusters.groups(), days.groups()
        by_day = days.ratio_variance(0, 1, n_days)
        by_day[n_days < MIN_FORECAST_DAYS] = np.nan
        n = clusters.totals(1)
        kish = n**2 / np.maximum(clusters.products(1, 1), 1.0)
        low, high = rate_limits(
            clusters.totals(0),
            n,
            clusters.ratio_variance(0, 1, groups),
            by_day,
            groups,
            n_days,
            kish,
        )
        return low[::-1], high[::-1]


def _per_day(limits: Limits, days: float) -> Limits:
    return limits[0] / days, limits[1] / days
