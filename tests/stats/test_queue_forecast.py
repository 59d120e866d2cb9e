"""Queues of days to come: exact where days are alike, and true where weekdays differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from scipy import stats

from analysis.stats.queue_forecast import (
    LEVELS,
    QueueModel,
    Week,
    fit,
    forecast,
    root,
    unroot,
)
from analysis.stats.weekday_factors import WeekdayFactors, weekday_factors

ALIKE = np.ones(7)
SURE = np.zeros(7)
STRONG = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1 / 3, 1 / 3]) * 21 / 17


def volumes(rng: np.random.Generator, n: int, spread: float, correlation: float) -> np.ndarray:
    """(n,) lognormal volumes of mean 1: AR(1) between days."""
    x = np.zeros(n)
    shock = rng.standard_normal(n)
    for k in range(n):
        before = x[k - 1] if k else shock[0]
        x[k] = correlation * before + math.sqrt(1 - correlation**2) * shock[k]
    sigma = math.sqrt(math.log1p(spread**2))
    return np.exp(sigma * x - sigma**2 / 2)


def true_days(mean: float, factors: np.ndarray, spread: float) -> np.ndarray:
    """P(q ≤ k) for k = 0, 1, …: Poisson about a lognormal volume, on a weekday at random."""
    sigma = math.sqrt(math.log1p(spread**2))
    volume = np.exp(sigma * stats.norm.ppf((np.arange(100) + 0.5) / 100) - sigma**2 / 2)
    rates = (mean * np.unique(factors)[:, None] * volume).ravel()
    weight = np.repeat([(factors == f).mean() for f in np.unique(factors)], 100) / 100
    return np.asarray(stats.poisson.cdf(np.arange(int(mean * 5 + 30))[:, None], rates) @ weight)


@dataclass(frozen=True)
class World:
    """mean: reviews of a mean day. spread, correlation: of the days' volumes. n: days seen."""

    factors: np.ndarray
    mean: float
    spread: float
    correlation: float
    n: int


# Counts are normal only nearly: 6 % where 5 % are meant, 9 % where days are also AR(1). 8 % where the
# interval is a few counts wide, as the true p90 is a whole one, and where volumes vary by a third.
WORLDS = [
    (World(ALIKE, 25, 0.0, 0.0, 14), 0.06),
    (World(ALIKE, 80, 0.2, 0.0, 14), 0.06),
    (World(ALIKE, 80, 0.2, 0.3, 21), 0.09),
    (World(STRONG, 25, 0.0, 0.0, 14), 0.06),
    (World(STRONG, 80, 0.2, 0.0, 14), 0.06),
    (World(STRONG, 80, 0.2, 0.3, 21), 0.09),
    (World(ALIKE, 25, 0.0, 0.0, 7), 0.06),
    (World(ALIKE, 25, 0.2, 0.0, 42), 0.08),
    (World(STRONG, 25, 0.2, 0.0, 7), 0.06),
    (World(STRONG, 25, 0.35, 0.0, 21), 0.08),
]


def judged(world: World, promised: float, replicates: int) -> None:
    """Both intervals hold the truth. Factors are those of four weeks' arrivals before."""
    rng = np.random.default_rng(int(world.mean + 10 * world.n))
    below = true_days(world.mean, world.factors, world.spread)
    p90, capacity = int(np.searchsorted(below, 0.9)), 1.3 * world.mean
    beyond = 1 - below[int(capacity)]
    days = np.arange(28 + world.n)
    missed, overflown = 0, 0
    for _ in range(replicates):
        volume = volumes(rng, len(days), world.spread, world.correlation)
        came = rng.poisson(2000 * world.factors[(days + 3) % 7] * volume)
        daily = rng.binomial(came, world.mean / 2000)[28:].astype(float)
        week = Week.of(days[28:], weekday_factors(days[:28], came[:28]))
        found = forecast(daily, capacity, week)
        assert found.low is not None
        assert found.high is not None
        assert found.overflow_low is not None
        assert found.overflow_high is not None
        missed += not found.low <= p90 <= found.high
        overflown += not found.overflow_low <= beyond <= found.overflow_high
    limit = promised + 1.645 * math.sqrt(promised * (1 - promised) / replicates)
    assert missed / replicates <= limit
    assert overflown / replicates <= limit


class TestAlike:
    @pytest.mark.parametrize("n", [3, 7, 14, 30])
    def test_limits_are_those_by_the_noncentral_t(self, n: int) -> None:
        # Tolerance factors k with P(mean + k s < μ + z σ) = level: noncentral t / √n.
        daily = np.sort(np.random.default_rng(n).poisson(60, n).astype(float) * 3)
        daily = daily[np.argsort([k if k % 2 else n - k for k in range(n)])]  # neighbours differ
        found, roots = forecast(daily, 200.0), np.sqrt(daily + 0.375)
        model = fit(daily)
        assert model is not None
        f = math.sqrt(n / model.inflation)
        spread = model.deviation
        if model.correlation == 0:
            assert spread == pytest.approx(max(0.5, roots.std(ddof=1)))
        for level, limit in zip(LEVELS, (found.low, found.high), strict=True):
            factor = stats.nct.ppf(level, n - 1, stats.norm.ppf(0.9) * f) / f
            assert limit == pytest.approx(unroot(roots.mean() + factor * spread), rel=1e-6)
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.p90 < found.high

    def test_days_that_hang_together_tell_less(self) -> None:
        rising = np.repeat([20.0, 60.0], 7)
        mixed = np.tile([20.0, 60.0], 7)
        one, other = fit(rising), fit(mixed)
        assert one is not None
        assert other is not None
        assert one.correlation == 0.8  # 11/14 + 1/14, cut
        assert other.correlation == 0.0
        low, high = one.quantile_limits(0.9)
        assert high - low > 2 * np.diff(other.quantile_limits(0.9))[0]

    @pytest.mark.parametrize("n", [3, 7, 14, 42])
    def test_the_quadrature_is_exact(self, n: int) -> None:
        daily = np.random.default_rng(n).poisson(50, n).astype(float) * 2
        exact = fit(daily)
        assert exact is not None
        nearly = QueueModel(
            exact.level, exact.deviation, exact.days,
            WeekdayFactors(ALIKE + [0, 0, 0, 1e-9, 0, 0, 0], SURE), exact.correlation,
        )  # fmt: skip
        assert not nearly.alike
        assert nearly.quantile_limits(0.9) == pytest.approx(exact.quantile_limits(0.9), rel=1e-5)
        assert nearly.overflow(120) == pytest.approx(exact.overflow(120), abs=1e-5)

    @pytest.mark.parametrize("n", [3, 14])
    def test_limits_of_the_overflow_are_exact(self, n: int) -> None:
        # The tail δ/√n at which the noncentral t of the observed margin is `level` (Owen 1968).
        daily = np.tile([90.0, 120.0, 104.0], 14)[:n]
        model = fit(daily)
        assert model is not None
        f = math.sqrt(n / model.inflation)
        margin = (root(130.5) - model.level) / model.deviation * f
        for level, limit in zip(LEVELS, model.overflow_limits(130), strict=True):
            shift = stats.norm.isf(limit) * f
            assert stats.nct.sf(margin, n - 1, shift) == pytest.approx(1 - level, abs=2e-4)

    def test_expectations_are_those_of_counts(self) -> None:
        for mean in (4.0, 25.0, 80.0):
            model = QueueModel(root(mean - 0.25), 0.5, np.ones(7), WeekdayFactors.alike())
            for capacity in (0.7 * mean, mean, 1.5 * mean, 10 * mean):
                counts = np.arange(1000)
                true = (stats.poisson.pmf(counts, mean) * np.minimum(counts, capacity)).sum()
                found = model.expected(partial(np.minimum, capacity), 0)
                assert found == pytest.approx(true, rel=0.02)


class TestWeeks:
    def test_the_quantile_is_that_of_the_mixture(self) -> None:
        daily = np.random.default_rng(1).poisson(40 * STRONG[(np.arange(21) + 3) % 7])
        model = fit(daily.astype(float), Week.of(np.arange(21), WeekdayFactors(STRONG, SURE)))
        assert model is not None
        rng = np.random.default_rng(2)
        weekday = rng.integers(0, 7, 400_000)
        drawn = np.sqrt(STRONG[weekday]) * model.level
        drawn += model.spread()[weekday] * rng.standard_normal(len(weekday))
        drawn = np.maximum(drawn, 0) ** 2 - 0.375
        for level in (0.1, 0.5, 0.9):
            assert model.quantile(level) == pytest.approx(np.quantile(drawn, level), rel=0.01)
            one = drawn[weekday == 6]
            assert model.quantile(level, 6) == pytest.approx(np.quantile(one, level), abs=0.3)

    def test_every_limit_takes_its_side(self) -> None:
        daily = np.random.default_rng(3).poisson(40 * STRONG[(np.arange(14) + 3) % 7])
        model = fit(daily.astype(float), Week.of(np.arange(14), WeekdayFactors(STRONG, SURE)))
        assert model is not None
        for weekday in (None, 0, 6):
            low, high = model.quantile_limits(0.9, weekday)
            assert low < model.quantile(0.9, weekday) < high
            least, most = model.overflow_limits(45, weekday)
            assert 0 <= least < model.overflow(45, weekday) < most <= 1
        assert model.overflow(45, 0) > 10 * model.overflow(45, 6)

    @pytest.mark.parametrize(("world", "promised"), WORLDS[:6])
    def test_limits_hold_the_truth(self, world: World, promised: float) -> None:
        judged(world, promised, 100)

    @pytest.mark.simulate
    @pytest.mark.parametrize(("world", "promised"), WORLDS)
    def test_limits_hold_the_truth_in_many_worlds(self, world: World, promised: float) -> None:
        judged(world, promised, 1000)


class TestFactors:
    def test_they_are_those_of_the_traffic_whatever_its_trend(self) -> None:
        days = np.arange(20_000, 20_042)
        came = np.round(1e6 * STRONG[(days + 3) % 7] * np.repeat(1.1 ** np.arange(6), 7))
        assert weekday_factors(days, came.astype(np.int64)).factors == pytest.approx(
            STRONG, rel=1e-4
        )
        some = np.r_[0:9, 12:42]  # some days are not whole
        assert weekday_factors(days[some], came[some].astype(np.int64)).factors == pytest.approx(
            STRONG, rel=1e-3
        )

    @pytest.mark.parametrize(
        ("why", "days", "came"),
        [
            ("thirteen days", np.arange(13), np.full(13, 900)),
            ("a weekday seen once", np.r_[0:10, 11:14], np.full(13, 900)),
            ("no day", np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)),
            ("nothing came", np.arange(28), np.zeros(28, dtype=np.int64)),
        ],
    )
    def test_below_two_weeks_all_are_one(
        self, why: str, days: np.ndarray, came: np.ndarray
    ) -> None:
        found = weekday_factors(days, came)
        assert found.factors.tolist() == [1.0] * 7
        assert found.errors.tolist() == [0.0] * 7

    def test_noise_makes_no_week(self) -> None:
        # A test at 5 %; R = 400.
        rng, weeks = np.random.default_rng(6), 0
        for k in range(400):
            n = int(rng.choice([14, 28, 42]))
            volume = volumes(rng, n, 0.2, 0.0) if k % 2 else np.ones(n)
            found = weekday_factors(np.arange(n), rng.poisson(1000 * volume)).factors
            weeks += found.tolist() != [1.0] * 7
        assert weeks / 400 <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 400)

    def test_a_closed_weekday_has_no_queue(self) -> None:
        days = np.arange(28)
        shut = np.where((days + 3) % 7 == 6, 0, 1000)
        known = weekday_factors(days, shut)
        assert known.factors[6] < 0.01
        assert known.factors[:6] == pytest.approx(7 / 6, rel=0.01)
        daily = np.random.default_rng(4).poisson(shut / 50).astype(float)
        model = fit(daily, Week.of(days, known))
        assert model is not None
        assert model.quantile(0.9, 6) < 1.5
        assert model.quantile(0.5, 0) == pytest.approx(20, abs=3)
        assert model.quantile_limits(0.9)[1] < 40
