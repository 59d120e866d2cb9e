from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.propose.evidence import Level
from analysis.propose.policy_numbers import MAX_BURN, TARGETS, availability, daily, latency_limit


def level(n: int = 0, failed: int = 0, p95: float | None = None) -> Level:
    return Level(n_rows=n, n_known=n, n_failed=failed, latency_p95=p95, cost_usd=None)


@pytest.mark.parametrize(
    ("n", "failed", "target"),
    [
        (10_000, 300, "0.95"),
        (10_000, 0, "0.999"),
        (10_000, 8, "0.999"),
        (10_000, 9, "0.995"),
        (100, 0, "0.95"),
        (3, 0, "0.95"),
        (1_000, 429, "0.4"),
        (1_000, 990, "0.95"),
        (0, 0, "0.95"),
    ],
)
def test_the_target_is_the_highest_round_one_that_the_past_keeps_with_room(
    n: int, failed: int, target: str
) -> None:
    assert availability(level(n, failed), "in the baseline")[0] == target


@given(st.integers(10, 10**7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n * 7 // 10))))
def test_the_past_keeps_the_target_and_no_higher_one(counts: tuple[int, int]) -> None:
    n, failed = counts
    target, _ = availability(level(n, failed), "x")
    worst = max(failed / n, 3 / n)
    assert worst / (1 - float(target)) <= MAX_BURN + 1e-9
    higher = TARGETS[: TARGETS.index(target)]
    assert all(worst / (1 - float(t)) > MAX_BURN for t in higher)


def test_a_target_says_what_was_seen() -> None:
    _, why = availability(level(10_000, 300), "in the baseline")
    assert why.startswith("3 % of 10,000 interactions with a known outcome in the baseline failed")
    assert "burn 0.6" in why
    assert "keeps no target" in availability(level(10, 10), "x")[1]
    assert "stays inconclusive" in availability(level(), "x")[1]


@pytest.mark.parametrize(
    ("p95", "limit"), [(2000.0, 2200.0), (2009.0, 2300.0), (0.0, None), (None, None), (0.01, 0.011)]
)
def test_the_limit_of_latency_has_a_tenth_of_room(p95: float | None, limit: float | None) -> None:
    assert latency_limit(level(p95=p95)) == limit


def test_failures_a_day_are_unknown_without_any() -> None:
    assert daily(level(10, 5), 2.0) == 2.5
    assert daily(level(10, 0), 2.0) is None
