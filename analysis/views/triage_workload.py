"""What a threshold asks of the team by weekday, what it catches, and who waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.intervals import mover_ratio
from analysis.stats.nested_totals import NestedTotals, rate_limits
from analysis.stats.queue_forecast import MIN_FORECAST_DAYS, QueueModel, fit
from analysis.stats.queue_simulation import WHOLE_DAY, simulate
from analysis.stats.weekday_factors import WeekdayFactors
from analysis.views.triage_policy import Costs, Queue, within_capacity

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WAIT_COLUMNS = (
    "role",
    "threshold",
    "day",
    "arrivals",
    "reviewed",
    "backlog",
    "wait_hours_p50",
    "wait_hours_p90",
)


@dataclass(frozen=True)
class WeekdayWorkload:
    """Reviews that a weekday to come asks for, before capacity, and the failures they find.

    demand_p90: with its 95 % interval low, high. overflow_probability: P(more than capacity); its
    limits are those of the probability itself. catches: failures among the reviews that fit into
    capacity. Null where the days seen do not tell.
    """

    weekday: str
    demand_p50: float | None
    demand_p90: float | None
    low: float | None
    high: float | None
    overflow_probability: float | None
    overflow_low: float | None
    overflow_high: float | None
    catches: float | None
    catches_low: float | None
    catches_high: float | None


def by_weekday(
    queue: Queue,
    costs: Costs,
    threshold: float,
    factors: WeekdayFactors,
    *,
    by_risk: bool = True,
) -> tuple[WeekdayWorkload, ...]:
    """The seven weekdays, from the days of a queue.

    factors: of all arrivals before. by_risk: whether the most valuable are reviewed first, or those
    that came first.

    A day of q wanted rows catches the failures among its first min(q, capacity). Their mean risk is
    that of the same share of all wanted rows: less on quiet days, whose line is worked to its end.
    Catches are E[risk reviewed] of the weekday, times the precision over the mean risk of the rows
    reviewed. Limits: the precision's by Clopper & Pearson at effective counts (clusters and days),
    and those of the demand's level by Student's t, combined (Zou & Donner 2008).

    Reviews due (reviews a day): what the mode asks for on a weekday to come, before capacity: the median, and
    the 90th percentile that the queue's guard is held against.

    Above capacity (%): the probability that more reviews are due than the day has room for.
    """
    wanted = queue.risk >= threshold
    daily = queue.daily(wanted)[queue.full_days]
    model = fit(daily, queue.week(factors))
    if model is None or len(daily) < MIN_FORECAST_DAYS:
        level = 0.0 if model is None and len(daily) >= MIN_FORECAST_DAYS else None
        none = (level, level, None, None, level, None, None, level, None, None)
        return tuple(WeekdayWorkload(day, *none) for day in WEEKDAYS)
    catch = _Catch.of(queue, costs, wanted, by_risk)
    return tuple(_weekday(model, costs.capacity_per_day, k, catch) for k in range(len(WEEKDAYS)))


@dataclass(frozen=True)
class _Catch:
    """What reviews find. precision: of the labelled rows reviewed, with its limits. relative: (n + 1,)
    risk of the first k of the n wanted rows, over the mean risk of the rows reviewed."""

    precision: tuple[float, float, float]
    relative: Floats
    capacity: float

    @classmethod
    def of(cls, queue: Queue, costs: Costs, wanted: Bools, by_risk: bool) -> _Catch:
        reached = within_capacity(queue, costs, wanted, by_risk=by_risk) & queue.known
        risk = queue.risk[wanted]
        line = np.sort(risk)[::-1] if by_risk else np.full(len(risk), risk.mean())
        whole = np.concatenate([[0.0], np.cumsum(line)])
        mean = float(queue.risk[reached].mean()) if reached.any() else 1.0
        precision = share(queue, reached, queue.bad)
        return cls(precision, whole / max(mean, 1e-12), costs.capacity_per_day)

    def reviews(self, demand: Floats) -> Floats:
        """Reviews of days with these demands, weighted by their relative risk."""
        n = len(self.relative) - 1
        part = np.minimum(1.0, self.capacity / np.maximum(demand, 1e-12))
        return np.asarray(np.interp(part * n, np.arange(n + 1), self.relative) / n * demand)


def _weekday(model: QueueModel, capacity: float, weekday: int, catch: _Catch) -> WeekdayWorkload:
    low, high = model.quantile_limits(0.9, weekday)
    least, most = model.overflow_limits(capacity, weekday)
    fewest, largest = model.level_limits(weekday)
    reviews, few, many = (
        model.expected(catch.reviews, weekday, level) for level in (None, fewest, largest)
    )
    catches, catches_low, catches_high = _product(catch.precision, (reviews, few, many))
    return WeekdayWorkload(
        weekday=WEEKDAYS[weekday],
        demand_p50=model.quantile(0.5, weekday),
        demand_p90=model.quantile(0.9, weekday),
        low=low,
        high=high,
        overflow_probability=model.overflow(capacity, weekday),
        overflow_low=least,
        overflow_high=most,
        catches=catches,
        catches_low=catches_low,
        catches_high=catches_high,
    )


def waiting(
    arrival_us: Ints,
    risk: Floats,
    days: Ints,
    thresholds: Mapping[str, float],
    costs: Costs,
    hours: tuple[int, int] = WHOLE_DAY,
) -> pd.DataFrame:
    """The queue by day under each threshold, where nothing is dropped: `queue_simulation`.

    arrival_us, risk: (n,) of the window's rows. days: (D,) consecutive day numbers. thresholds: role
    (`chosen`, `next_best_1`, …) → threshold. hours: of the team, in UTC.
    """
    frames = []
    for role, threshold in thresholds.items():
        found = simulate(arrival_us[risk >= threshold], days, costs.capacity_per_day, hours)
        frames.append(
            pd.DataFrame(
                {
                    "role": role,
                    "threshold": threshold,
                    "day": np.asarray(days, dtype="datetime64[D]").astype(str),
                    "arrivals": found.arrivals,
                    "reviewed": found.reviewed,
                    "backlog": found.backlog,
                    "wait_hours_p50": found.wait_p50,
                    "wait_hours_p90": found.wait_p90,
                },
                columns=list(WAIT_COLUMNS),
            )
        )
    if not frames:
        return pd.DataFrame({c: [] for c in WAIT_COLUMNS})
    return pd.concat(frames, ignore_index=True)


def share(queue: Queue, of: Bools, hit: Bools) -> tuple[float, float, float]:
    """(value, low, high) of the share of rows `of` that are `hit`, by clusters and days; nan of none."""
    rows = np.flatnonzero(of)
    values, step = np.array([hit[rows], np.ones(len(rows))], dtype=float), np.zeros_like(rows)
    clusters, days = (
        NestedTotals.of(step, unit[rows], values, 1) for unit in (queue.cluster, queue.day)
    )
    groups, n_days, n = clusters.groups(), days.groups(), clusters.totals(1)
    daily = days.ratio_variance(0, 1, n_days)
    daily[n_days < MIN_FORECAST_DAYS] = np.nan
    own = clusters.ratio_variance(0, 1, groups)
    kish = n**2 / np.maximum(clusters.products(1, 1), 1.0)
    y = clusters.totals(0)
    low, high = rate_limits(y, n, own, daily, groups, n_days, kish)
    value = float(y[0] / n[0]) if n[0] else float("nan")
    return value, float(low[0]), float(high[0])


def _product(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float | None, float | None, float | None]:
    """(value, low, high) of the product of two independent figures, each with its own."""
    if np.isnan(a[0]):
        return None, None, None
    value = a[0] * b[0]
    if value <= 0:
        return 0.0, 0.0, a[2] * b[2]
    inverse = tuple(1.0 / max(x, 1e-12) for x in (b[0], b[2], b[1]))
    low, high = mover_ratio(*a, *inverse)
    return value, low, high
