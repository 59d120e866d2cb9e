"""What happened: the model that the router drew, each attempt at a request, and its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from analysis.sample.behaviour import Potential, RetryChances, tail
from analysis.sample.scenarios import Scenario
from analysis.sample.traffic import Codes, Floats, Ints, Requests, Sessions, Users, stream

MAX_LATENCY_MS = 120_000.0
MAX_INTERACTIONS_A_SESSION = 9


@dataclass(frozen=True)
class Attempts:
    """One entry an interaction, in the order of the sessions, then of time.

    request: row of `Requests`. failure: the true outcome, known or not. risk: its probability
    given all that was known when the attempt was made. time: seconds since 1970 UTC.
    """

    request: Ints
    retry_index: Ints
    model: Codes
    propensity: Floats
    failure: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    risk: Floats
    completion_tokens: Ints
    cost_micro_usd: Ints
    latency_tenths_ms: Ints
    tool_calls: Ints
    time: Ints


def route(propensity: Floats, seed: int) -> Codes:
    """The model of each request, drawn from the rows of `propensity`."""
    u = stream(seed, "routing").random(len(propensity))
    below = (u[:, None] >= np.cumsum(propensity, axis=1)[:, :-1]).sum(axis=1)
    model: Codes = below.astype(np.int8)
    return model


def draw_attempts(
    s: Scenario,
    users: Users,
    sessions: Sessions,
    requests: Requests,
    propensity: Floats,
    potential: Potential,
    limit: int,
    seed: int,
) -> Attempts:
    """The first `limit` interactions, whole but for the last session.

    A session ends after nine interactions.
    """
    model = route(propensity, seed)
    chosen = (np.arange(len(model)), model)
    first_risk = potential.failure[chosen]
    failed, tries = _failures(s, users, sessions, requests, potential.retries, first_risk, seed)
    request = np.repeat(np.arange(len(tries)), tries)
    retry_index = _position_in_run(tries)
    session = requests.session[request]
    place = _position_in_run(np.bincount(session, minlength=len(sessions.length)))
    keep = np.flatnonzero(place < MAX_INTERACTIONS_A_SESSION)[:limit]
    request, retry_index, session = request[keep], retry_index[keep], session[keep]

    rng = stream(seed, "attempts")
    count = len(request)
    z_completion, z_own = rng.standard_normal((2, count))
    here = (request, model[request])
    caps = np.array([u.max_tokens for u in s.use_cases])[sessions.use_case[session]]
    completion = np.exp(potential.log_completion[here] + s.completion_sd * z_completion)
    completion = np.clip(np.rint(completion), 1, caps).astype(np.int64)
    shared, with_tokens = s.dependence.latency_session_rho, s.dependence.latency_completion_rho
    z_latency = (
        np.sqrt(shared) * sessions.slowness[session]
        + np.sqrt(with_tokens) * z_completion
        + np.sqrt(1 - shared - with_tokens) * z_own
    )
    latency = np.exp(potential.log_latency[here] + s.latency_sd * tail(z_latency, s.latency_tail))
    latency_tenths = np.rint(10 * np.minimum(latency, MAX_LATENCY_MS)).astype(np.int64)
    failure = failed[request, retry_index]
    return Attempts(
        request=request,
        retry_index=retry_index,
        model=model[request],
        propensity=propensity[here],
        failure=failure,
        known=rng.random(count) >= s.unknown_label_rate,
        risk=np.where(retry_index == 0, first_risk[request], potential.retries.failure[request]),
        completion_tokens=completion,
        cost_micro_usd=_cost(
            s, requests, request, model[request], completion, potential.price_factor[here]
        ),
        latency_tenths_ms=latency_tenths,
        tool_calls=_tool_calls(s, requests, request, failure, rng),
        time=_times(sessions, session, retry_index, latency_tenths, rng),
    )


def _failures(
    s: Scenario,
    users: Users,
    sessions: Sessions,
    requests: Requests,
    retries: RetryChances,
    risk: Floats,
    seed: int,
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Whether attempt 0, 1, 2 fails, shape (requests, 3), and how many attempts were made.

    A latent normal, shared in part by user and session, under the quantile of the request's own
    probability: dependent outcomes with exact marginals (Emrich & Piedmonte 1991).
    """
    rng = stream(seed, "failures")
    count = len(risk)
    user_rho, session_rho = s.dependence.user_rho, s.dependence.session_rho
    latent = (
        np.sqrt(user_rho) * users.frailty[sessions.user[requests.session]]
        + np.sqrt(session_rho) * sessions.frailty[requests.session]
        + np.sqrt(1 - user_rho - session_rho) * rng.standard_normal(count)
    )
    failed = np.empty((count, 3), dtype=bool)
    failed[:, 0] = latent < ndtri(risk)
    failed[:, 1:] = rng.random((count, 2)) < retries.failure[:, None]
    again = rng.random((count, 2)) < np.column_stack([retries.first, retries.second])
    second = failed[:, 0] & again[:, 0]
    third = second & failed[:, 1] & again[:, 1]
    return failed, 1 + second.astype(np.int64) + third


def _position_in_run(lengths: Ints) -> Ints:
    """0, 1, … within each run, for runs of these lengths laid end to end."""
    first = np.cumsum(lengths) - lengths
    position: Ints = np.arange(int(lengths.sum())) - np.repeat(first, lengths)
    return position


def _cost(
    s: Scenario,
    requests: Requests,
    request: Ints,
    model: Codes,
    completion: Ints,
    price_factor: Floats,
) -> Ints:
    """Cost in whole micro-USD: tokens times USD per million tokens is micro-USD."""
    prices = np.array(
        [
            (m.prompt_usd_per_million, m.cached_usd_per_million, m.completion_usd_per_million)
            for m in s.models
        ]
    )[model]
    cached = requests.cached_tokens[request]
    fresh = requests.prompt_tokens[request] - cached
    micro = fresh * prices[:, 0] + cached * prices[:, 1] + completion * prices[:, 2]
    cost: Ints = np.rint(micro * price_factor).astype(np.int64)
    return cost


def _tool_calls(
    s: Scenario, requests: Requests, request: Ints, failure: np.ndarray, rng: np.random.Generator
) -> Ints:
    """Tool calls: more in tool use, and more where the attempt goes wrong."""
    scenarios = np.asarray(s.scenarios.values)[requests.scenario[request]]
    mean = np.where(scenarios == "tool-use", 1.4, 0.3) * np.where(failure, 1.5, 1.0)
    calls: Ints = rng.poisson(mean).astype(np.int64)
    return calls


def _times(
    sessions: Sessions,
    session: Ints,
    retry_index: Ints,
    latency_tenths: Ints,
    rng: np.random.Generator,
) -> Ints:
    """Start of each attempt: after the one before has ended, a retry within seconds."""
    wait = np.where(
        retry_index > 0,
        rng.integers(1, 4, len(session)),
        10 + np.floor(rng.exponential(40.0, len(session))).astype(np.int64),
    )
    ended = -(-latency_tenths // 10_000)
    new = np.r_[True, session[1:] != session[:-1]]
    step = np.where(new, 0, wait + np.r_[0, ended[:-1]])
    elapsed = np.cumsum(step)
    first = np.flatnonzero(new)
    since = elapsed - np.repeat(elapsed[first], np.diff(np.r_[first, len(session)]))
    time: Ints = sessions.start[session] + since
    return time
