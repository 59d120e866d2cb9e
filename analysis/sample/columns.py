"""The three tables of the contract, as Arrow tables, from what happened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.sample import hostile
from analysis.sample.ids import opaque_ids
from analysis.sample.outcomes import Attempts
from analysis.sample.scenarios import Scenario
from analysis.sample.traffic import Days, Ints, Requests, Sessions, Users, stream

Bools = npt.NDArray[np.bool_]

DECIMALS = {
    "cost_usd": 6,
    "session_total_cost_usd": 6,
    "user_total_cost_usd": 6,
    "latency_ms": 1,
    "time_to_first_token_ms": 1,
    "tokens_per_second": 1,
    "temperature": 1,
    "top_p": 2,
    "routing_propensity": 4,
    "response_quality_score": 2,
}
_UTC = pa.timestamp("us", tz="UTC")


def tables(
    s: Scenario,
    days: Days,
    users: Users,
    sessions: Sessions,
    requests: Requests,
    made: Attempts,
    seed: int,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Interactions in order of time, and the rollups of their sessions and users, by id."""
    session = requests.session[made.request]
    user = sessions.user[session]
    session_ids = opaque_ids("s", len(sessions.length), 7, seed)
    user_ids = opaque_ids("u", len(users.tier), 6, seed)
    order = np.lexsort((np.arange(len(session)), made.time))
    interactions = _interactions(s, days, users, sessions, requests, made, seed)
    interactions = interactions.add_column(1, "session_id", _text(session_ids[session]))
    interactions = interactions.add_column(2, "user_id", _text(user_ids[user])).take(order)
    return (
        interactions,
        _session_rollup(sessions, requests, made, session, session_ids, user_ids),
        _user_rollup(requests, made, user, user_ids),
    )


def _interactions(
    s: Scenario,
    days: Days,
    users: Users,
    sessions: Sessions,
    requests: Requests,
    made: Attempts,
    seed: int,
) -> pa.Table:
    count = len(made.request)
    rng = stream(seed, "columns")
    request, failed = made.request, made.failure
    session = requests.session[request]
    user, use_case = sessions.user[session], sessions.use_case[session]
    candidate = days.in_candidate[sessions.day[session]]
    prompt = requests.prompt_tokens[request]
    reasoning_share = np.array([m.reasoning_share for m in s.models])[made.model]
    ttft = np.rint(made.latency_tenths_ms * (0.12 + 0.25 * rng.random(count))).astype(np.int64)
    seconds = np.maximum(made.latency_tenths_ms - ttft, 1) / 10_000
    versions = (s.prompt_version, s.change.prompt_version or s.prompt_version)
    templates = (*(f"{u.name}-v2" for u in s.use_cases), hostile.RIGHT_TO_LEFT)
    template = np.where(rng.random(count) < 0.01, len(templates) - 1, use_case)
    columns = {
        "interaction_id": _text(opaque_ids("i", count, 8, seed)),
        "timestamp_utc": _moments(made.time),
        "trace_id": _text(opaque_ids("t", count, 8, seed)),
        "release_id": _labels(candidate, (s.baseline_release, s.candidate_release)),
        "prompt_version": _labels(candidate, versions),
        "instruction_template": _labels(template, templates),
        "use_case": _labels(use_case, [u.name for u in s.use_cases]),
        "scenario": _labels(requests.scenario[request], s.scenarios.values),
        "account_tier": _labels(users.tier[user], s.tiers.values),
        "channel": _labels(sessions.channel[session], s.channels.values),
        "region": _labels(users.region[user], s.regions.values),
        "country_code": _labels(users.country[user], [c for m in s.countries for c in m.values]),
        "segment": _labels(users.segment[user], s.segments.values),
        "retry_index": pa.array(made.retry_index),
        "prompt_tokens": pa.array(prompt),
        "max_tokens": pa.array(np.array([u.max_tokens for u in s.use_cases])[use_case]),
        "temperature": pa.array(np.array([u.temperature for u in s.use_cases])[use_case]),
        "top_p": pa.array(np.array([u.top_p for u in s.use_cases])[use_case]),
        "model_provider": _labels(made.model, [m.provider for m in s.models]),
        "model_name": _labels(made.model, [m.name for m in s.models]),
        "routing_propensity": pa.array(made.propensity),
        "completion_tokens": pa.array(made.completion_tokens),
        "cached_prompt_tokens": pa.array(requests.cached_tokens[request]),
        "reasoning_tokens": pa.array(
            np.floor(made.completion_tokens * reasoning_share).astype(np.int64)
        ),
        "total_tokens": pa.array(prompt + made.completion_tokens),
        "latency_ms": pa.array(made.latency_tenths_ms / 10),
        "time_to_first_token_ms": pa.array(ttft / 10),
        "tokens_per_second": pa.array(np.rint(10 * made.completion_tokens / seconds) / 10),
        "cost_usd": pa.array(made.cost_micro_usd / 1e6),
        "tool_calls_count": pa.array(made.tool_calls),
        "is_failure": pa.array(failed, mask=~made.known),
        **_later(made, session, rng),
    }
    return pa.table(columns)


def _later(made: Attempts, session: Ints, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Outcomes and feedback: they follow from the failure, and are known after it."""
    count, failed = len(session), made.failure
    types = ("wrong_answer", "tool_error", "timeout", "refusal", "truncated")
    slow = made.latency_tenths_ms > 40_000
    kind = rng.choice(len(types), count, p=[0.45, 0.25, 0.08, 0.14, 0.08])
    kind = np.where(slow & (rng.random(count) < 0.7), types.index("timeout"), kind)
    tools = made.tool_calls > 0
    kind = np.where((kind == types.index("tool_error")) & ~tools, 0, kind)
    quality = rng.beta(np.where(failed, 3.0, 9.0), np.where(failed, 4.0, 2.0))
    graded = rng.random(count) < 0.97
    retried = _followed_by_retry(made, session)
    resolution = np.select([~failed, retried, rng.random(count) < 0.5], [0, 1, 2], 3)
    repair = rng.choice(5, count, p=[0.55, 0.29, 0.12, 0.02, 0.02])
    repair = np.where(retried, 0, np.where(repair == 0, 1, repair))
    score = np.where(failed, 1, 3) + rng.integers(0, 3, count)
    scored = rng.random(count) < 0.12
    rates = {
        "safety_flag": np.where(failed, 0.020, 0.004),
        "hallucination_flag": np.where(failed, 0.220, 0.012),
        "tool_error_flag": tools
        * np.where(kind == types.index("tool_error"), 1.0, 0.015)
        * np.where(failed, 1.0, 0.3),
        "pii_flag": np.full(count, 0.003),
    }
    delay = 60 + np.floor(rng.exponential(1500.0, count)).astype(np.int64)
    known_at = made.time + -(-made.latency_tenths_ms // 10_000) + delay
    return {
        "failure_type": _labels(kind, types, mask=~failed | ~made.known),
        **{name: pa.array(rng.random(count) < rate) for name, rate in rates.items()},
        "response_quality_score": pa.array(np.rint(100 * quality) / 100, mask=~graded),
        "final_resolution_state": _labels(
            resolution, ("resolved", "retried", "escalated", "abandoned")
        ),
        "repair_strategy": _labels(
            repair,
            ("retry", "fallback_answer", "human_handoff", hostile.SCRIPT_REPAIR, hostile.ANSI),
            mask=~failed,
        ),
        "label_available_utc": _moments(known_at, mask=~made.known),
        "user_feedback_score": pa.array(score, mask=~scored),
        "user_feedback_label": _labels((score >= 3).astype(int), ("down", "up"), mask=~scored),
        "user_reported_issue": pa.array(rng.random(count) < np.where(failed, 0.12, 0.006)),
    }


def _followed_by_retry(made: Attempts, session: Ints) -> Bools:
    same = np.r_[made.request[1:] == made.request[:-1], False]
    retried: Bools = same & np.r_[session[1:] == session[:-1], False]
    return retried


def _session_rollup(
    sessions: Sessions,
    requests: Requests,
    made: Attempts,
    session: Ints,
    session_ids: npt.NDArray[np.bytes_],
    user_ids: npt.NDArray[np.bytes_],
) -> pa.Table:
    """One row a session that has interactions, sorted by id; `session` is in runs."""
    first = np.flatnonzero(np.r_[True, session[1:] != session[:-1]])
    last = np.r_[first[1:], len(session)] - 1
    code = session[first]
    ended = made.time[last] + -(-made.latency_tenths_ms[last] // 10_000)
    return pa.table(
        {
            "session_id": _text(session_ids[code]),
            "user_id": _text(user_ids[sessions.user[code]]),
            "start_timestamp_utc": _moments(made.time[first]),
            "end_timestamp_utc": _moments(ended),
            **_totals("session", requests, made, session, code),
        }
    ).sort_by("session_id")


def _user_rollup(
    requests: Requests, made: Attempts, user: Ints, user_ids: npt.NDArray[np.bytes_]
) -> pa.Table:
    code = np.unique(user)
    return pa.table(
        {"user_id": _text(user_ids[code]), **_totals("user", requests, made, user, code)}
    ).sort_by("user_id")


def _totals(
    of: str, requests: Requests, made: Attempts, group: Ints, code: Ints
) -> dict[str, pa.Array]:
    """Sums over each group, in whole units: below 2^53, so that floating sums are exact."""
    tokens = requests.prompt_tokens[made.request] + made.completion_tokens

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.bincount(group, weights=weights)[code]

    return {
        f"{of}_total_cost_usd": pa.array(sums(made.cost_micro_usd) / 1e6),
        f"{of}_total_tokens": pa.array(sums(tokens).astype(np.int64)),
        f"{of}_total_requests": pa.array(np.bincount(group)[code]),
        f"{of}_total_failures": pa.array(sums(made.failure & made.known).astype(np.int64)),
    }


def _labels(codes: np.ndarray, values: Sequence[str], mask: Bools | None = None) -> pa.Array:
    """Strings by code, dictionary-encoded; null where `mask`. Equal values share one entry."""
    distinct = list(dict.fromkeys(values))
    lookup = np.array([distinct.index(value) for value in values], dtype=np.int32)
    indices = pa.array(lookup[np.asarray(codes).astype(np.intp)], mask=mask)
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string()))


def _text(ids: npt.NDArray[np.bytes_]) -> pa.Array:
    return pa.array(ids, type=pa.binary(ids.dtype.itemsize)).cast(pa.binary()).cast(pa.string())


def _moments(seconds: Ints, mask: Bools | None = None) -> pa.Array:
    return pa.array(seconds * 1_000_000, mask=mask).cast(_UTC)
