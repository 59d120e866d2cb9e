"""When a budget runs out: laws of the interval, and its coverage over simulated periods."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.exhaustion import MAX_CORRELATION, Pace, crossings, inflation, pace

WEEKENDS_OFF = np.array([1.2, 1.2, 1.2, 1.2, 1.2, 0.5, 0.5])


@pytest.mark.parametrize("r", [0.1, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("k", [2, 3, 7, 14, 60])
def test_the_inflation_is_the_variance_of_a_sum_of_correlated_days(k: int, r: float) -> None:
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    assert inflation(k, r) == pytest.approx((r**distance).sum() / k)


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 10.0])
def test_independent_days_are_not_inflated(k: int) -> None:
    assert inflation(k, 0.0) == 1.0


def test_even_days_end_the_budget_at_their_pace() -> None:
    found = pace([0.5] * 14, [0.5] * 16)
    assert (found.mean, found.deviation, found.correlation) == (0.5, 0.0, 0.0)
    assert crossings(found, 10.0) == pytest.approx((20.0, 20.0))


def test_a_weekly_shape_is_followed_day_by_day() -> None:
    days = np.tile(WEEKENDS_OFF, 6)[:33]  # the next day is a Saturday
    found = pace(days[-14:], days[:-14])
    assert found.weekdays == pytest.approx(np.roll(WEEKENDS_OFF, -5))
    assert found.mean == pytest.approx(1.0)
    assert found.deviation == pytest.approx(0.0, abs=1e-12)
    for t, spent in ((2, 1.0), (3, 2.2), (7, 7.0), (9, 8.0)):
        assert crossings(found, spent) == pytest.approx((t, t))


@pytest.mark.parametrize("n_before", [0, 6])
def test_below_three_weeks_no_weekday_counts(n_before: int) -> None:
    days = np.tile(WEEKENDS_OFF, 4)[: 14 + n_before]
    assert pace(days[-14:], days[:-14]).weekdays == (1.0,) * 7


def test_days_without_a_weekly_shape_get_none() -> None:
    rng = np.random.default_rng(3)
    spread = [
        np.ptp(pace((d := rng.gamma(9.0, 1 / 9, 42))[-14:], d[:-14]).weekdays) for _ in range(200)
    ]
    # Raw weekday means of six weeks would range over 0.37 on average.
    assert np.mean(spread) < 0.15


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
def test_the_correlation_of_days_is_found(r: float) -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(300):
        days = simulated(rng, 44, r, np.ones(7))
        found.append(pace(days[-14:], days[:-14]).correlation)
    # 44 days place r within some 0.15 each; none is below 0, so that at 0 the mean lies above.
    assert np.mean(found) == pytest.approx(r, abs=0.1)
    assert max(found) <= MAX_CORRELATION


def test_correlated_days_say_less_than_independent_ones() -> None:
    apart = crossings(Pace(1.0, 14, 0.3), 10.0)
    together = crossings(Pace(1.0, 14, 0.3, 0.5), 10.0)
    assert together[0] < apart[0]
    assert apart[1] is not None
    assert together[1] is None or together[1] > apart[1]


def test_the_clustered_interval_is_the_least_that_a_day_varies() -> None:
    even = [1.0] * 14
    low, high = crossings(pace(even, fast=0.2, slow=0.1), 10.0)
    assert high is not None
    assert low < 10 < high
    assert 10 - low > high - 10


def test_no_day_before_or_none_that_burns_is_no_evidence() -> None:
    days = [0.5, 1.0, 0.7, 0.9] * 3
    assert pace(days, [0.0] * 30) == pace(days)


def test_a_crumb_of_burn_does_not_end_the_budget_now() -> None:
    # One bad event in a hundred thousand a day: the interval starts in the far future.
    fast, slow = crossings(pace([2e-4] + [0.0] * 13), 30.0)
    assert fast > 1e4
    assert slow is None


def simulated(rng: np.random.Generator, n: int, r: float, weekdays: np.ndarray) -> np.ndarray:
    """Days of burn around 0.8: a weekly shape times a log-normal AR(1), coefficient of variation 0.42."""
    e = rng.normal(0, 0.4, n)
    for i in range(1, n):
        e[i] = r * e[i - 1] + math.sqrt(1 - r * r) * e[i]
    shape = np.resize(np.roll(weekdays, int(rng.integers(7))), n)
    return np.asarray(0.8 * np.exp(e - 0.08) * shape)


def missed(rng: np.random.Generator, periods: int, r: float, weekdays: np.ndarray) -> float:
    """Share of periods whose exhaustion lies outside of its interval, which is exact to the day."""
    out = 0
    for _ in range(periods):
        days = simulated(rng, 430, r, weekdays)
        stock = float(rng.uniform(5, 20))
        day = int(np.searchsorted(np.cumsum(days[30:]), stock)) + 1
        low, high = crossings(pace(days[16:30], days[:16]), stock)
        out += day < math.floor(low) or (high is not None and day - 1 > high)
    return out / periods


WORLDS = {
    "independent days": (0.0, np.ones(7)),
    "weekends are quiet": (0.0, WEEKENDS_OFF),
    "days correlate by 0.3": (0.3, np.ones(7)),
    "days correlate by 0.6": (0.6, np.ones(7)),
    "both": (0.6, WEEKENDS_OFF),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_budget_ends_within_its_interval_in_95_of_100_periods(world: str) -> None:
    # A short run; `make simulate` has the long one. 5 % plus 1.645 standard errors of 100 periods.
    share = missed(np.random.default_rng(8), 100, *WORLDS[world])
    assert share <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 100)


@pytest.mark.simulate
@pytest.mark.parametrize("world", WORLDS)
def test_the_budget_ends_within_its_interval_in_95_of_100_of_400_periods(world: str) -> None:
    share = missed(np.random.default_rng(21), 400, *WORLDS[world])
    assert share <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 400)
