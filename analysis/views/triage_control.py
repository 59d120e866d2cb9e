"""The risk-control option: at most a share α of failures goes unreviewed, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.check import Interval
from analysis.stats.risk_control import control
from analysis.stats.weekday_factors import WeekdayFactors
from analysis.views.triage_policy import Costs, Queue, fits, forecast, limits, row_costs, saving
from analysis.views.triage_workload import share

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RiskControl:
    """The highest threshold below which, with `confidence`, at most `alpha` of failures lie.

    The promise is for a queue that is worked whole: capacity is not applied, only shown.
    threshold: None where no promise can be made, with the `reason`. reviews_per_day_*: that it asks
    for on a day to come. fits: whether these keep capacity and guard. cost_usd_per_day: in the
    window, worked whole. extra_usd_per_day: that less what the chosen mode cost there. missed_share:
    of the window's failures, those below the threshold. n_failures: it was learned from;
    n_needed: from which a promise can be made at all. design_effect: of their clusters and days.
    """

    alpha: float
    confidence: float
    threshold: float | None
    reviews_per_day_p50: float | None
    reviews_per_day_p90: float | None
    fits: bool | None
    cost_usd_per_day: float | None
    extra_usd_per_day: Interval
    missed_share: Interval
    n_failures: int
    n_needed: int
    design_effect: float
    reason: str | None


def risk_control(
    choosing: Queue,
    window: Queue,
    costs: Costs,
    reviewed: Floats,
    factors: WeekdayFactors,
    alpha: float,
    confidence: float,
) -> RiskControl:
    """Learned from the part of the history that chose, shown on the window.

    reviewed: (n,) the probability with which the chosen mode reviews each row of the window.
    factors: of weekdays, from all arrivals before. Source: `stats.risk_control`.
    """
    failed = choosing.known & choosing.bad
    found = control(
        choosing.risk[failed], choosing.cluster[failed], choosing.day[failed], alpha, confidence
    )
    support = int(window.known.sum())
    if found.threshold is None:
        reason = (
            f"{found.n_failures:,} known failures, of the weight of "
            f"{found.n_failures / found.design_effect:.0f} independent ones, are too few to promise "
            f"that at most {alpha:.0%} go unreviewed: {found.n_needed:,} are needed"
        )
        return RiskControl(
            alpha, confidence, None, None, None, None, None, Interval.unknown(support),
            Interval.unknown(support), found.n_failures, found.n_needed, found.design_effect, reason,
        )  # fmt: skip
    wanted = window.risk >= found.threshold
    daily, week = window.demand(found.threshold), window.week(factors)
    ahead = forecast(daily, costs.capacity_per_day, week)
    days = max(float(window.coverage.sum()), 1e-9)
    whole = wanted.astype(float)
    extra = saving(window, costs, whole, reviewed)
    low, high = limits(extra)
    failures = window.known & window.bad
    missed = share(window, failures, ~wanted)
    return RiskControl(
        alpha=alpha,
        confidence=confidence,
        threshold=found.threshold,
        reviews_per_day_p50=ahead.p50,
        reviews_per_day_p90=ahead.p90,
        fits=fits(daily, costs, week),
        cost_usd_per_day=float(row_costs(window, costs, whole).sum()) / days,
        extra_usd_per_day=Interval.of(extra[0] / days, low / days, high / days, support),
        missed_share=Interval.of(*missed, int(np.count_nonzero(failures))),
        n_failures=found.n_failures,
        n_needed=found.n_needed,
        design_effect=found.design_effect,
        reason=None,
    )
