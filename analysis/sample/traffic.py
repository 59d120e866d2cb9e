"""Who asks what, and when: users, their sessions, and the logical requests of each session."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from analysis.sample.scenarios import Mix, Scenario

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

SECONDS_A_DAY = 86_400
MIN_PROMPT_TOKENS, MAX_PROMPT_TOKENS = 20, 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stream(seed: int, name: str) -> np.random.Generator:
    """An own stream of random numbers a purpose, so that scenarios of one seed stay comparable."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


@dataclass(frozen=True)
class Days:
    """Day effects over the whole span, shape (days,); `in_candidate` marks the last ones."""

    first_second: int
    in_candidate: npt.NDArray[np.bool_]
    volume: Floats
    failure: Floats
    latency: Floats


@dataclass(frozen=True)
class Users:
    """Attributes that a user keeps, as codes into the scenario's mixes; shape (users,)."""

    tier: Codes
    region: Codes
    country: Codes
    segment: Codes
    frailty: Floats


@dataclass(frozen=True)
class Sessions:
    """One entry a session; times in seconds since 1970 UTC; `length` counts logical requests."""

    user: Ints
    day: Ints
    start: Ints
    use_case: Codes
    channel: Codes
    length: Ints
    frailty: Floats
    slowness: Floats


@dataclass(frozen=True)
class Requests:
    """One entry a logical request, sessions kept together; `size_class` is 0, 1 or 2."""

    session: Ints
    scenario: Codes
    prompt_tokens: Ints
    size_class: Codes
    cached_tokens: Ints
    log_size: Floats


def draw_days(s: Scenario, seed: int) -> Days:
    """Weekday pattern times mild day effects. The newest day is the one before `end_utc`."""
    count = s.baseline_days + s.candidate_days
    first = s.end_utc - timedelta(days=count)
    weekday = (first.weekday() + np.arange(count)) % 7
    rng = stream(seed, "days")
    volume_z, failure_z, latency_z = rng.standard_normal((3, count))
    effect = s.dependence
    volume = np.asarray(s.weekday_volume)[weekday] * np.exp(effect.day_volume_sd * volume_z)
    volume = volume * np.where(np.arange(count) >= s.baseline_days, s.change.volume, 1.0)
    return Days(
        first_second=int((first - _EPOCH).total_seconds()),
        in_candidate=np.arange(count) >= s.baseline_days,
        volume=volume / volume.sum(),
        failure=effect.day_failure_sd * failure_z,
        latency=effect.day_latency_sd * latency_z,
    )


def draw_users(s: Scenario, count: int, seed: int) -> Users:
    """`count` users."""
    rng = stream(seed, "users")
    region = categorical(rng, s.regions, count)
    u = rng.random(count)
    country = np.zeros(count, dtype=np.int8)
    offset = 0
    for code, mix in enumerate(s.countries):
        here = region == code
        country[here] = offset + _codes(u[here], mix)
        offset += len(mix.values)
    return Users(
        tier=categorical(rng, s.tiers, count),
        region=region,
        country=country,
        segment=categorical(rng, s.segments, count),
        frailty=rng.standard_normal(count),
    )


def draw_sessions(s: Scenario, days: Days, users: int, count: int, seed: int) -> Sessions:
    """`count` sessions in random order of time.

    The first two are put on the newest and the oldest day, so that a small sample spans the whole
    period too.
    """
    rng = stream(seed, "sessions")
    activity = np.cumsum(rng.gamma(4.0, size=users))
    user = np.searchsorted(activity, rng.random(count) * activity[-1], side="right")
    day = np.searchsorted(np.cumsum(days.volume)[:-1], rng.random(count), side="right")
    day[:1] = len(days.volume) - 1
    day[1:2] = 0
    hours = np.arange(24)
    by_hour = 1.0 + 0.75 * np.cos((hours - 14) * 2 * math.pi / 24)
    hour = _inverse(rng.random(count), by_hour / by_hour.sum())
    start = days.first_second + day * SECONDS_A_DAY + hour * 3600 + rng.integers(0, 3600, count)
    use_case = _inverse(rng.random(count), _shares([u.weight for u in s.use_cases]))
    length = 1 + _inverse(rng.random(count), _shares(s.requests_per_session))
    u = rng.random(count)
    channel = _codes(u, s.channels)
    if s.change.channels is not None:
        channel = np.where(days.in_candidate[day], _codes(u, s.change.channels), channel)
    return Sessions(
        user=user.astype(np.int64),
        day=day.astype(np.int64),
        start=start.astype(np.int64),
        use_case=use_case.astype(np.int8),
        channel=channel.astype(np.int8),
        length=length.astype(np.int64),
        frailty=rng.standard_normal(count),
        slowness=rng.standard_normal(count),
    )


def draw_requests(s: Scenario, sessions: Sessions, seed: int) -> Requests:
    """The logical requests of all sessions, in the sessions' order."""
    rng = stream(seed, "requests")
    session = np.repeat(np.arange(len(sessions.length)), sessions.length)
    count = len(session)
    medians = np.array([u.prompt_tokens for u in s.use_cases])[sessions.use_case[session]]
    drawn = np.rint(medians * np.exp(s.prompt_sd * rng.standard_normal(count)))
    prompt = np.clip(drawn, MIN_PROMPT_TOKENS, MAX_PROMPT_TOKENS).astype(np.int64)
    log_size = np.log(prompt / medians)
    size_class = np.searchsorted([-0.4, 0.4], log_size, side="right").astype(np.int8)
    hit = rng.random(count) < 0.45
    cached = np.where(hit, np.floor(prompt * rng.beta(3.0, 3.0, count)), 0).astype(np.int64)
    return Requests(
        session=session,
        scenario=categorical(rng, s.scenarios, count),
        prompt_tokens=prompt,
        size_class=size_class,
        cached_tokens=cached,
        log_size=log_size,
    )


def categorical(rng: np.random.Generator, mix: Mix, count: int) -> Codes:
    """`count` codes into `mix.values`."""
    return _codes(rng.random(count), mix)


def _codes(u: Floats, mix: Mix) -> Codes:
    return _inverse(u, np.asarray(mix.shares)).astype(np.int8)


def _inverse(u: Floats, shares: Floats) -> Ints:
    return np.searchsorted(np.cumsum(shares)[:-1], u, side="right").astype(np.int64)


def _shares(weights: list[float] | tuple[float, ...]) -> Floats:
    array = np.asarray(weights, dtype=np.float64)
    shares: Floats = array / array.sum()
    return shares
