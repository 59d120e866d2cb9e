"""Who reviews what: costs, capacity, the threshold, and when a model earns its place.

A day's queue holds the rows at or above the threshold, and is worked most valuable first: highest
risk, ties by id. Policies without a model work in order of arrival. What exceeds the day's
capacity is not reviewed. Rows without a known label take their place in the queue, and count
nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.check import Interval
from analysis.stats.intervals import t_quantile
from analysis.stats.queue_forecast import (
    MIN_FORECAST_DAYS,
    Forecast,
    Week,
    fit,
    forecast,
)
from analysis.stats.weekday_factors import WeekdayFactors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

__all__ = [
    "Costs",
    "Forecast",
    "Mode",
    "PolicyResult",
    "Queue",
    "Scores",
    "Week",
    "choose_threshold",
    "fits",
    "forecast",
    "limits",
    "lower_bound",
    "outcome",
    "policy_of",
    "reviewed_by",
    "row_costs",
    "saving",
    "slots",
    "total_error",
    "within_capacity",
]

Mode = Literal["selective", "review_all", "review_none"]

SURE = 5 / 6
"""How surely a demand must fit the guard. At 0.975 the threshold costs up to 14 % more than the best
in hindsight where the guard binds and few days choose, at 5/6 up to 5 %; at 0.5 one window in seven
then breaks the guard by chance."""


@dataclass(frozen=True)
class Costs:
    """USD of one review and of one missed failure; reviews that a full day has room for."""

    review_usd: float
    missed_usd: float
    capacity_per_day: float
    guard_p90: float

    @property
    def break_even(self) -> float:
        """The risk from which a review costs less than it saves."""
        return min(1.0, self.review_usd / self.missed_usd)


@dataclass(frozen=True)
class Scores:
    """Risks of the rows of some days; every array is (n,) unless it says otherwise.

    risk: calibrated, in whole millionths (nan without a model). day: index into the days. days: day
    numbers since 1970, (D,). coverage: share of each day that lies within the window, (D,).
    """

    risk: Floats
    day: Ints
    days: Ints
    coverage: Floats

    @property
    def n_days(self) -> int:
        return len(self.days)

    @property
    def full_days(self) -> Bools:
        """(D,): days that are whole; all, where none is."""
        whole = self.coverage > 0.999
        return whole if whole.any() else np.ones(len(whole), dtype=bool)

    def daily(self, rows: Bools) -> Floats:
        """(D,): these rows a day; days that are cut short are scaled up."""
        counts = np.bincount(self.day[rows], minlength=self.n_days).astype(float)
        return counts / np.where(self.coverage > 0.999, 1.0, np.maximum(self.coverage, 1e-3))

    def demand(self, threshold: float) -> Floats:
        """(full days,): reviews that the threshold asks for, before capacity."""
        return self.daily(self.risk >= threshold)[self.full_days]

    def week(self, factors: WeekdayFactors) -> Week:
        """The weekdays of the days of `demand`; factors: from all arrivals before."""
        return Week.of(self.days[self.full_days], factors)


@dataclass(frozen=True)
class Queue(Scores):
    """Rows of some days, in key order.

    known, bad: whether the label is known, and true. cluster: code. ts_us: µs since 1970. rule:
    flagged by the policy's rule (None without one). own: rows of the candidate itself.
    """

    known: Bools
    bad: Bools
    cluster: Ints
    ts_us: Ints
    rule: Bools | None
    own: Bools

    @cached_property
    def by_risk(self) -> Ints:
        """(n,): rows by day, then by falling risk, then by id."""
        micro = np.rint(self.risk * 1e6).astype(np.int64)
        return _sorted(self.day * 1_000_001 + (1_000_000 - micro))

    @cached_property
    def by_arrival(self) -> Ints:
        """(n,): rows by day, then by arrival, then by id."""
        came = _sorted(self.ts_us)
        return came[_sorted(self.day[came])]


@dataclass(frozen=True)
class PolicyResult:
    """What a policy did in the window. Counts are over rows with a known label, so that reviewed
    = tp + fp; those of `random_at_capacity` are expected counts."""

    name: str
    reviewed: int | float | None
    tp: int | float | None
    fp: int | float | None
    fn: int | float | None
    tn: int | float | None
    precision: float | None
    recall: float | None
    cost_usd: Interval

    @classmethod
    def unknown(cls, name: str, support: int) -> PolicyResult:
        return cls(name, None, None, None, None, None, None, None, Interval.unknown(support))


# ── who is reviewed ──────────────────────────────────────────────────────────────────────


def slots(queue: Queue, costs: Costs) -> Ints:
    """(D,): reviews that each day has room for; fractions carry over to later days."""
    room = np.floor(np.cumsum(queue.coverage * costs.capacity_per_day) + 1e-9)
    return np.diff(np.concatenate([[0.0], room])).astype(np.int64)


def within_capacity(queue: Queue, costs: Costs, rows: Bools, *, by_risk: bool) -> Bools:
    """Those of `rows` that are reached: by risk (ties by id), or in order of arrival."""
    order = queue.by_risk if by_risk else queue.by_arrival
    order = order[rows[order]]
    volume = np.bincount(queue.day[rows], minlength=queue.n_days)
    room = np.minimum(slots(queue, costs), volume)
    begin = np.cumsum(volume) - volume
    reached = np.arange(int(room.sum())) + np.repeat(begin - (np.cumsum(room) - room), room)
    out = np.zeros(len(rows), dtype=bool)
    out[order[reached]] = True
    return out


def policy_of(mode: Mode) -> str:
    """The policy by which a mode reviews."""
    return "selected" if mode == "selective" else mode


def reviewed_by(queue: Queue, costs: Costs, name: str, threshold: float | None) -> Floats:
    """(n,): the probability with which a policy reviews each row."""
    every = np.ones(len(queue.day), dtype=bool)
    if name == "review_none":
        return np.zeros(len(every))
    if name == "review_all":
        return within_capacity(queue, costs, every, by_risk=False).astype(float)
    if name == "random_at_capacity":
        volume = np.bincount(queue.day, minlength=queue.n_days)
        share = np.minimum(slots(queue, costs), volume) / np.maximum(volume, 1)
        return np.asarray(share[queue.day])
    if name == "rule":
        assert queue.rule is not None
        return within_capacity(queue, costs, queue.rule, by_risk=False).astype(float)
    if name == "top_by_capacity":
        return within_capacity(queue, costs, every, by_risk=True).astype(float)
    assert threshold is not None
    return within_capacity(queue, costs, queue.risk >= threshold, by_risk=True).astype(float)


# ── what it costs ────────────────────────────────────────────────────────────────────────


def row_costs(queue: Queue, costs: Costs, reviewed: Floats) -> Floats:
    """(n,): USD of each row: its review, or the failure that was missed."""
    missed = costs.missed_usd * queue.bad * (1.0 - reviewed)
    return np.asarray(queue.known * (costs.review_usd * reviewed + missed))


def outcome(queue: Queue, costs: Costs, name: str, reviewed: Floats) -> PolicyResult:
    """Counts, precision, recall and cost of a policy that reviews with these probabilities.

    Reviewed (count): interactions with a known label that a way of reviewing sends to people in the window,
    within capacity.

    Failures found (count): failures among the reviewed; of a day to come, what the capacity leaves times the
    precision.

    Failures missed (count): failures that nobody reviewed.

    Precision (%): share of reviews that find a failure.

    Recall (%): share of failures that are reviewed.

    Cost of reviewing (USD): reviews at their price plus missed failures at theirs, over the window; what
    exceeds the day's capacity is not reviewed.
    """
    known, bad = queue.known, queue.bad
    support = int(known.sum())
    if not support:
        return PolicyResult.unknown(name, 0)
    tp = float(reviewed[known & bad].sum())
    fp = float(reviewed[known & ~bad].sum())
    positives = int((known & bad).sum())
    fn, tn = positives - tp, support - positives - fp
    value = costs.review_usd * (tp + fp) + costs.missed_usd * fn
    spread, df = total_error(queue, row_costs(queue, costs, reviewed))
    half = t_quantile(0.975, df) * spread
    low, high = max(0.0, value - half), value + half
    if fn < 0.5:
        # No missed failure must not be taken for none to come: exact Poisson limit of 0 events.
        high = max(high, value + costs.missed_usd * -math.log(0.025))
    return PolicyResult(
        name,
        _count(tp + fp),
        _count(tp),
        _count(fp),
        _count(fn),
        _count(tn),
        tp / (tp + fp) if tp + fp > 0 else None,
        tp / positives if positives else None,
        Interval.of(value, low, high, support),
    )


def total_error(queue: Queue, values: Floats) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a total over the window.

    Clusters arrive at random, so their part is Σ_c v_c² (compound Poisson). Days are clusters
    too: D times the variance between them. The larger of the two is taken.
    """
    by_cluster = np.bincount(queue.cluster, weights=values)
    variance, df = float((by_cluster**2).sum()), max(1.0, len(by_cluster) - 1.0)
    by_day = np.bincount(queue.day, weights=values, minlength=queue.n_days)
    if queue.n_days >= MIN_FORECAST_DAYS:
        between = queue.n_days * float(by_day.var(ddof=1))
        if between >= variance:
            variance, df = between, queue.n_days - 1.0
    return math.sqrt(variance), df


def saving(
    queue: Queue, costs: Costs, than: Floats, reviewed: Floats
) -> tuple[float, float, float]:
    """(USD saved, standard error, degrees of freedom) of `reviewed` against `than`, paired by row.

    Saving of reviewing (USD): cost of a way of reviewing without the model minus the cost with it, paired by
    row, on data that neither fitted nor calibrated the model.
    """
    difference = row_costs(queue, costs, than) - row_costs(queue, costs, reviewed)
    return (float(difference.sum()), *total_error(queue, difference))


def limits(saved: tuple[float, float, float]) -> tuple[float, float]:
    """The 95 % limits of a saving."""
    half = t_quantile(0.975, saved[2]) * saved[1]
    return saved[0] - half, saved[0] + half


def lower_bound(saved: tuple[float, float, float], level: float = 0.95) -> float:
    """The one-sided lower bound of a saving.

    Lower bound (USD): the saving that is exceeded with a confidence of 95 %; above 0 the model surely beats
    doing without.
    """
    return saved[0] - t_quantile(level, saved[2]) * saved[1]


# ── how many reviews a day ───────────────────────────────────────────────────────────────


def fits(daily: Floats, costs: Costs, week: Week | None = None) -> bool:
    """Whether a demand fits: median within capacity, and with confidence `SURE` at most one day in
    ten asks for more than the guard.

    daily: (n,) reviews a day. week: their weekdays; without it all days are alike.
    """
    if len(daily) < MIN_FORECAST_DAYS:
        return False
    model = fit(daily, week)
    if model is None:
        return True
    if model.quantile(0.5) > costs.capacity_per_day:
        return False
    return model.confidence(costs.guard_p90, 0.1) >= SURE


def choose_threshold(
    risk: Floats, demand: Callable[[float], Floats], costs: Costs, week: Week | None = None
) -> float | None:
    """The threshold of least expected cost whose demand fits; None where none does.

    With calibrated risks the expected cost falls as the threshold does, down to the break-even
    risk; so the answer is the lowest threshold from there on whose demand fits. It looks at
    scores and counts only, never at a label, and so leaves every label for the test of the mode.
    week: the weekdays of the days that `demand` counts.
    """
    if fits(demand(costs.break_even), costs, week):
        return costs.break_even
    steps = np.unique(risk[risk > costs.break_even])
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if fits(demand(float(steps[middle])), costs, week):
            high = middle
        else:
            low = middle + 1
    return float(steps[low]) if low < len(steps) else None


def _sorted(values: Ints) -> Ints:
    """Indices of a stable sort of integers: numpy's stable one takes several times as long."""
    order = np.argsort(values)
    ordered = values[order]
    run = np.cumsum(np.concatenate([[0], ordered[1:] != ordered[:-1]])) if len(values) else ordered
    key = (run << 32) | order
    key.sort()
    return np.asarray(key & 0xFFFFFFFF)


def _count(value: float) -> int | float:
    whole = round(value)
    return whole if abs(value - whole) < 1e-9 * max(1.0, abs(value)) else value
