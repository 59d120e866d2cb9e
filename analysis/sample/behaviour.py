"""What each model would do with each request: the potential outcomes' exact means.

Marginal means only: random effects of users and sessions enter through a Gaussian copula, which
leaves each request's own probability exactly as it stands here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from analysis.sample.scenarios import Scenario
from analysis.sample.traffic import Codes, Days, Floats, Requests, Sessions, Users

PROPENSITY_STEPS = 10_000


@dataclass(frozen=True)
class RetryChances:
    """`Retries` of each request, shape (requests,): they may change with the candidate."""

    first: Floats
    second: Floats
    failure: Floats


@dataclass(frozen=True)
class Potential:
    """Means for each request and model, shape (requests, models).

    failure: probability that the first attempt fails. breach: probability that an attempt is over
    the latency limit. cost_usd, completion_tokens: means an attempt. log_completion, log_latency:
    location of the log of completion tokens and latency. price_factor: of the model's prices, 1 but
    where the candidate changes them.
    """

    failure: Floats
    breach: Floats
    cost_usd: Floats
    completion_tokens: Floats
    log_completion: Floats
    log_latency: Floats
    price_factor: Floats
    retries: RetryChances


def propensity_table(s: Scenario, candidate: bool = False) -> Floats:
    """P(model | use case, tier, size class), shape (use cases, tiers, 3, models), in one window.

    A softmax with a floor, in steps of 1/10,000 by largest remainders: what is logged is exactly
    what is drawn from, and each context sums to one exactly.
    """
    logits = (
        np.array([u.router for u in s.use_cases])[:, None, None, :]
        + np.array(s.tier_router)[None, :, None, :]
        + np.array([m.size_preference for m in s.models]) * np.array([-1, 0, 1])[:, None]
    )
    favoured = s.change.favoured
    if candidate and favoured is not None:
        logits = logits + favoured.logit * np.array(
            [m.name == favoured.model_name for m in s.models]
        )
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax = weights / weights.sum(axis=-1, keepdims=True)
    floor = s.router_floor
    wanted = PROPENSITY_STEPS * (floor + (1 - len(s.models) * floor) * softmax)
    steps = np.floor(wanted)
    short = np.rint(PROPENSITY_STEPS - steps.sum(axis=-1, keepdims=True))
    rank = np.argsort(np.argsort(-(wanted - steps), axis=-1, kind="stable"), axis=-1, kind="stable")
    table: Floats = (steps + (rank < short)) / PROPENSITY_STEPS
    return table


def propensities(
    s: Scenario, days: Days, users: Users, sessions: Sessions, requests: Requests
) -> Floats:
    """P(model | context) of each request, shape (requests, models)."""
    session = requests.session
    table = np.stack([propensity_table(s), propensity_table(s, candidate=True)])
    rows: Floats = table[
        days.in_candidate[sessions.day[session]].astype(int),
        sessions.use_case[session],
        users.tier[sessions.user[session]],
        requests.size_class,
    ]
    return rows


def potential_outcomes(
    s: Scenario, days: Days, sessions: Sessions, requests: Requests
) -> Potential:
    """The means of every model on every request, in the window that the request lies in."""
    use_case = sessions.use_case[requests.session]
    day = sessions.day[requests.session]
    candidate = days.in_candidate[day]
    log_completion = _log_completion(s, use_case, candidate)
    caps = np.array([u.max_tokens for u in s.use_cases], dtype=np.float64)[use_case]
    completion = _capped_lognormal_mean(log_completion, s.completion_sd, caps[:, None])
    log_latency = (
        s.latency_intercept
        + np.array([u.latency for u in s.use_cases])[use_case][:, None]
        + np.array([m.latency for m in s.models])
        + (s.latency_size_slope * requests.log_size + days.latency[day])[:, None]
    )
    price_factor = _price_factor(s, candidate)
    return Potential(
        failure=_failure(s, days, sessions, requests),
        breach=ndtr(
            -untail((np.log(s.latency_limit_ms) - log_latency) / s.latency_sd, s.latency_tail)
        ),
        cost_usd=(_prompt_cost(s, requests) + completion * _prices(s, 2) / 1e6) * price_factor,
        completion_tokens=completion,
        log_completion=log_completion,
        log_latency=log_latency,
        price_factor=price_factor,
        retries=_retries(s, candidate),
    )


def tail(z: Floats, weight: float) -> Floats:
    """A standard normal with heavier tails: sinh(w z)/w (Johnson 1949, the S_U system)."""
    heavy: Floats = np.sinh(weight * z) / weight
    return heavy


def untail(x: Floats, weight: float) -> Floats:
    """The inverse of `tail`."""
    z: Floats = np.arcsinh(weight * x) / weight
    return z


def _failure(s: Scenario, days: Days, sessions: Sessions, requests: Requests) -> Floats:
    use_case = sessions.use_case[requests.session]
    day = sessions.day[requests.session]
    context = (
        s.failure_intercept
        + np.array([u.failure for u in s.use_cases])[use_case]
        + np.asarray(s.scenario_failure)[requests.scenario]
        + np.array([u.size_slope for u in s.use_cases])[use_case] * requests.log_size
        + days.failure[day]
    )
    if s.change.hotspot is not None:
        context = context + s.change.hotspot.logit * in_hotspot(s, days, sessions, requests)
    by_model = np.array([m.failure for m in s.models]) + np.array(
        [u.model_failure for u in s.use_cases]
    )
    probability: Floats = expit(context[:, None] + by_model[use_case])
    return probability


def in_hotspot(s: Scenario, days: Days, sessions: Sessions, requests: Requests) -> Floats:
    """1 for each request of the candidate window in the planted slice, else 0."""
    spot = s.change.hotspot
    if spot is None:
        return np.zeros(len(requests.session))
    names = [u.name for u in s.use_cases]
    here = (
        (sessions.use_case[requests.session] == names.index(spot.use_case))
        & (requests.scenario == s.scenarios.values.index(spot.scenario))
        & days.in_candidate[sessions.day[requests.session]]
    )
    indicator: Floats = here.astype(np.float64)
    return indicator


def _log_completion(s: Scenario, use_case: Codes, candidate: np.ndarray) -> Floats:
    location = np.log([u.completion_tokens for u in s.use_cases])[use_case][:, None] + np.array(
        [m.completion for m in s.models]
    )
    longer = s.change.longer_outputs
    if longer is not None:
        column = [m.name for m in s.models].index(longer.model_name)
        location[candidate, column] += np.log(longer.factor)
    shifted: Floats = location
    return shifted


def _price_factor(s: Scenario, candidate: np.ndarray) -> Floats:
    factor = np.ones((len(candidate), len(s.models)))
    repriced = s.change.repriced
    if repriced is not None:
        column = [m.name for m in s.models].index(repriced.model_name)
        factor[candidate, column] = repriced.factor
    return factor


def _retries(s: Scenario, candidate: np.ndarray) -> RetryChances:
    old, new = s.retries, s.change.retries or s.retries
    return RetryChances(
        first=np.where(candidate, new.first, old.first),
        second=np.where(candidate, new.second, old.second),
        failure=np.where(candidate, new.failure, old.failure),
    )


def _capped_lognormal_mean(location: Floats, sd: float, cap: Floats) -> Floats:
    """E[min(X, cap)] for log X ~ N(location, sd²)."""
    edge = (np.log(cap) - location) / sd
    mean: Floats = np.exp(location + sd * sd / 2) * ndtr(edge - sd) + cap * ndtr(-edge)
    return mean


def _prices(s: Scenario, part: int) -> Floats:
    return np.array(
        [
            (m.prompt_usd_per_million, m.cached_usd_per_million, m.completion_usd_per_million)[part]
            for m in s.models
        ]
    )


def _prompt_cost(s: Scenario, requests: Requests) -> Floats:
    fresh = (requests.prompt_tokens - requests.cached_tokens)[:, None]
    cost: Floats = (fresh * _prices(s, 0) + requests.cached_tokens[:, None] * _prices(s, 1)) / 1e6
    return cost
