"""What would settle a candidate that the log does not: more of the same traffic, or a trial."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from analysis.policy import Policy, RoutingCandidate
from analysis.stats.clustered_mean import GuardedMean, clustered_mean
from analysis.stats.partial_identification import ab_test_size, explored_share
from analysis.views.routing_backtest import Backtest
from analysis.views.routing_decision import (
    MIN_EFFECTIVE_SAMPLE_SIZE,
    MIN_MATCHED_FAILURES,
    WORTH_SHARE,
    Verdict,
    sure_level,
)
from analysis.views.routing_log import FAILURE, Log

POWER = 0.8
MOST_WINDOWS = 10
TRIAL_DAYS = 14
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Needs:
    """More logical requests of today's mix, and the days that they take; null where waiting does not
    help, or days mean nothing."""

    requests: int | None
    days: float | None


@dataclass(frozen=True)
class Exploration:
    """A trial: of the requests that the candidate changes, send `share` its way at random.

    requests: an arm's, in a test of equal arms. days: how long at this share. usd_per_day: what the
    trial costs in unit cost a day, negative where it saves: low and high as far as the log bounds it.
    """

    share: float | None
    days: int | None
    requests: int
    usd_per_day_low: float | None
    usd_per_day_high: float | None


def needs(log: Log, policy: Policy, candidate: RoutingCandidate, result: Backtest,
          verdict: Verdict, days: float | None) -> Needs | None:  # fmt: skip
    """Of a candidate that is not settled. days: the window's, None where days mean nothing."""
    if verdict.recommendation != "insufficient_evidence":
        return None
    n = log.n_requests
    factor = math.inf
    if verdict.why == "floors":
        ess = MIN_EFFECTIVE_SAMPLE_SIZE / max(result.effective_sample_size, 1e-9)
        factor = max(ess, MIN_MATCHED_FAILURES / max(result.matched_failures, 1e-9))
    elif verdict.why == "undecided" and result.saving is not None:
        factor = max(_for_saving(policy, result, result.saving), _for_failures(candidate, result))
    if not factor <= MOST_WINDOWS:
        return Needs(None, None)
    more = max(math.ceil(n * (factor - 1)), 1)
    return Needs(more, None if days is None else round(more * days / n, 1))


def exploration(log: Log, result: Backtest, verdict: Verdict,
                days: float | None) -> Exploration | None:  # fmt: skip
    """The smallest trial that would show a rise of failures by the limit, and what it costs.

    Trial: the smallest randomised test that would settle a candidate: the share of requests to send its way,
    for how many days, how many an arm, and what it costs a day.
    """
    if verdict.recommendation != "insufficient_evidence" or not result.n_changed:
        return None
    rate, deff = float(log.outcomes[:, FAILURE].mean()), _design_effect(log)
    size = ab_test_size(rate, result.failure_limit, deff)
    if size is None:
        return None
    share, span, low, high = None, None, None, None
    if days is not None:
        a_day = log.n_requests * result.changed_share / days
        for span in (TRIAL_DAYS, 2 * TRIAL_DAYS, 4 * TRIAL_DAYS):
            share = explored_share(a_day, span, rate, result.failure_limit, deff)
            if share is not None:
                break
        if share is None:
            span = None
        else:
            share = max(math.ceil(share / LEAST_SHARE) * LEAST_SHARE, LEAST_SHARE)
            low, high = _cost(result, share * log.n_requests / days)
    return Exploration(share, span, size, low, high)


def _cost(result: Backtest, requests: float) -> tuple[float | None, float | None]:
    """Per day; `saving` and bounds are per request of all."""
    if result.bounds is not None:
        return -result.bounds[1] * requests, -result.bounds[0] * requests
    if result.saving is None:
        return None, None
    ends = (-result.saving.upper(0.975) * requests, -result.saving.lower(0.975) * requests)
    return ends if all(map(math.isfinite, ends)) else (None, None)


def _for_saving(policy: Policy, result: Backtest, saving: GuardedMean) -> float:
    """How many times the log would show that it saves, or that it does not."""
    level = sure_level(policy)
    if saving.lower(level) > 0:
        return 1.0
    aim = saving.value if saving.value > 0 else (
        WORTH_SHARE * result.present_unit_cost - saving.value
    )  # fmt: skip
    return _times(saving, level, aim)


def _for_failures(candidate: RoutingCandidate, result: Backtest) -> float:
    if candidate.max_failure_rate is not None and result.failure is not None:
        return _times(result.failure, 0.95, candidate.max_failure_rate - result.failure.value)
    if result.failure_change is None:
        return math.inf
    return _times(result.failure_change, 0.95, result.failure_limit - result.failure_change.value)


def _times(figure: GuardedMean, level: float, distance: float) -> float:
    if distance == 0 or not math.isfinite(figure.mean.variance):
        return math.inf
    z = float(special.ndtri(level) + special.ndtri(POWER))
    return max(1.0, z * z * figure.mean.variance / (distance * distance))


def _design_effect(log: Log) -> float:
    """Variance of the failure rate relative to independent requests."""
    failure = log.outcomes[:, FAILURE]
    rate = float(failure.mean())
    if not 0 < rate < 1:
        return 1.0
    variance = clustered_mean(failure, log.cluster).variance
    return max(1.0, variance * len(failure) / (rate * (1 - rate)))
