"""A queue worked at a steady rate equals a slow loop over its moments."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.queue_simulation import DAY_US, HOUR_US, QueueDays, simulate

DAYS = np.arange(20_000, 20_006)
FIRST = 20_000 * DAY_US


def slow(arrival: list[int], capacity: float, hours: tuple[int, int]) -> QueueDays:
    """Every moment of the team in turn takes who has waited longest."""
    start, end = hours
    length = (end - start if end > start else end - start + 24) * HOUR_US
    coming, waiting = deque(sorted(arrival)), deque[int]()
    by_day: list[list[float]] = [[] for _ in DAYS]
    slot = 0
    while True:
        worked = int(np.floor((slot + 0.5) / capacity * length))
        now = FIRST + worked // length * DAY_US + start * HOUR_US + worked % length
        if now >= FIRST + len(DAYS) * DAY_US:
            break
        while coming and coming[0] <= now:
            waiting.append(coming.popleft())
        if waiting:
            by_day[(now - FIRST) // DAY_US].append((now - max(waiting.popleft(), FIRST)) / HOUR_US)
        slot += 1
    came = np.bincount([max(0, (a - FIRST) // DAY_US) for a in arrival], minlength=len(DAYS))
    done = np.array([len(waits) for waits in by_day])

    def quantile(level: float) -> np.ndarray:
        return np.array([
            np.quantile(w, level, method="inverted_cdf") if w else np.nan for w in by_day
        ])  # fmt: skip

    return QueueDays(came, done, np.cumsum(came - done), quantile(0.5), quantile(0.9))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-DAY_US, 6 * DAY_US - 1), max_size=60),
    st.sampled_from([0.5, 1.0, 2.5, 4.0, 7.0, 30.0, 1 / 3]),
    st.sampled_from([(0, 24), (8, 17), (22, 6), (9, 10)]),
)
def test_it_equals_a_loop_over_the_teams_moments(
    offsets: list[int], capacity: float, hours: tuple[int, int]
) -> None:
    arrival = [FIRST + o for o in offsets]
    want = slow(arrival, capacity, hours)
    found = simulate(np.array(arrival, dtype=np.int64), DAYS, capacity, hours)
    for name in ("arrivals", "reviewed", "backlog"):
        assert getattr(found, name).tolist() == getattr(want, name).tolist(), name
    for name in ("wait_p50", "wait_p90"):
        assert getattr(found, name) == pytest.approx(getattr(want, name), nan_ok=True), name


@pytest.mark.parametrize("moment", [0, 1, HOUR_US, 8 * HOUR_US, 12 * HOUR_US, 17 * HOUR_US])
def test_one_who_comes_at_any_moment_is_taken_by_the_next_review(moment: int) -> None:
    # Nine reviews from eight to five: at half past each hour.
    found = simulate(np.array([FIRST + moment]), DAYS, 9.0, (8, 17))
    half_past = [8.5 + k for k in range(9)] + [32.5]
    due = min(h for h in half_past if h * HOUR_US >= moment)
    assert found.reviewed.tolist() == [int(due < 24), int(due > 24), 0, 0, 0, 0]
    assert np.nansum(found.wait_p50) == pytest.approx(due - moment / HOUR_US)


def test_what_exceeds_the_capacity_waits_for_the_weekend() -> None:
    # 30 a day from Monday to Thursday, none after; 20 reviews a day.
    came = [FIRST + d * DAY_US + k * (DAY_US // 30) for d in range(4) for k in range(30)]
    found = simulate(np.array(came), DAYS, 20.0)
    assert found.backlog.tolist() == [10, 20, 30, 40, 20, 0]
    assert found.reviewed.tolist() == [20] * 6
    assert (np.diff(found.wait_p90) > 0).all()
    assert found.wait_p50[3] == pytest.approx(29.0, abs=1.0)  # 30 to 50 ahead of 20 a day


def test_nobody_comes() -> None:
    found = simulate(np.zeros(0, dtype=np.int64), DAYS, 5.0)
    assert found.arrivals.tolist() == found.backlog.tolist() == [0] * 6
    assert np.isnan(found.wait_p50).all()


def test_long_queues_wait_as_the_theory_says() -> None:
    # Poisson arrivals at a load of 0.9 to moments one unit apart. Waiting to be taken up is that of
    # M/D/1, ρ/(2(1 − ρ)) (Pollaczek & Khinchine), and half a unit more, to the next moment.
    rng = np.random.default_rng(4)
    n_days, a_day, load = 4_000, 24.0, 0.9
    came = np.cumsum(rng.exponential(1 / (a_day * load), int(n_days * a_day * load)))
    days = np.arange(n_days)
    found = simulate((came * DAY_US).astype(np.int64), days, a_day)
    # Little's law: mean backlog at the ends of days (each a middle between moments) = rate × wait.
    wait = load / (2 * (1 - load)) + 0.5
    assert found.backlog.mean() == pytest.approx(load * wait, rel=0.08)
