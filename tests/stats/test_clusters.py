from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.stats.clusters import (
    CrossMoments,
    DayTotals,
    WindowMoments,
    compare_means,
    compare_rates,
    compare_ratios,
    day_variance,
    design_effect,
    difference_variance,
    intraclass_correlation,
    mean_interval,
)

NONE = WindowMoments(0, 0, 0, 0, 0, 0, 0, 0)


def _window(n: np.ndarray, y: np.ndarray) -> WindowMoments:
    n, y = (np.asarray(v, dtype=object).ravel() for v in (n, y))
    return WindowMoments(
        n=int(n.sum()),
        y=int(y.sum()),
        nn=int((n * n).sum()),
        yy=int((y * y).sum()),
        ny=int((n * y).sum()),
        clusters=int((n > 0).sum()),
        largest=int(n.max()),
        bad_clusters=int((y > 0).sum()),
    )


def _cross(n1: np.ndarray, y1: np.ndarray, n0: np.ndarray, y0: np.ndarray) -> CrossMoments:
    n1, y1, n0, y0 = (np.asarray(v, dtype=object) for v in (n1, y1, n0, y0))
    either = int(((n1 > 0) | (n0 > 0)).sum())
    return CrossMoments(
        int((n1 * n0).sum()),
        int((y1 * y0).sum()),
        int((n1 * y0).sum()),
        int((y1 * n0).sum()),
        either,
    )


def _days(n1: np.ndarray, y1: np.ndarray, n0: np.ndarray, y0: np.ndarray) -> DayTotals:
    """From arrays (days, clusters)."""
    rows = [(1, d, int(n1[d].sum()), int(y1[d].sum())) for d in range(len(n1))]
    rows += [(0, d, int(n0[d].sum()), int(y0[d].sum())) for d in range(len(n0))]
    return DayTotals(tuple(rows))


def _shared_clusters(seed: int) -> tuple[np.ndarray, ...]:
    """n1, y1, n0, y0 of 60 clusters, some in one window only."""
    rng = np.random.default_rng(seed)
    n1, n0 = rng.integers(0, 8, 60), rng.integers(0, 8, 60)
    return n1, rng.binomial(n1, 0.2), n0, rng.binomial(n0, 0.15)


def test_the_variance_is_that_of_the_scores() -> None:
    n1, y1, n0, y0 = _shared_clusters(0)
    m1, m0, cross = _window(n1, y1), _window(n0, y0), _cross(n1, y1, n0, y0)
    for weight in (1.0, 1.5):
        score = (y1 - m1.rate * n1) / m1.n - weight * (y0 - m0.rate * n0) / m0.n
        groups = cross.clusters
        expected = groups / (groups - 1) * (score**2).sum()
        assert difference_variance(m1, m0, cross, weight) == pytest.approx(expected, rel=1e-12)


def test_the_variance_is_the_clustered_sandwich_of_statsmodels() -> None:
    n1, y1, n0, y0 = _shared_clusters(1)
    rows = [
        (cluster, window, int(i < bad))
        for window, (n, y) in enumerate(((n0, y0), (n1, y1)))
        for cluster, (size, bad) in enumerate(zip(n, y, strict=True))
        for i in range(size)
    ]
    cluster, window, bad = np.asarray(rows).T
    groups = len(set(cluster))
    fit = sm.OLS(bad, sm.add_constant(window)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    expected = fit.cov_params()[1, 1] * groups / (groups - 1)
    m1, m0, cross = _window(n1, y1), _window(n0, y0), _cross(n1, y1, n0, y0)
    assert compare_rates(m1, m0, cross).variance == pytest.approx(expected, rel=1e-9)
    assert compare_rates(m1, m0, cross).delta == pytest.approx(fit.params[1])


def test_huge_totals_lose_no_digits() -> None:
    # The same scores, shifted by a constant value a row: nano-USD beyond 2^53.
    n1, y1, n0, y0 = (v.astype(object) for v in _shared_clusters(2))
    shift = 10**17
    plain = compare_means(_window(n1, y1), _window(n0, y0), _cross(n1, y1, n0, y0))
    moved = (n1, y1 + shift * n1, n0, y0 + shift * n0)
    far = compare_means(_window(*moved[:2]), _window(*moved[2:]), _cross(*moved))
    assert far.variance == pytest.approx(plain.variance, rel=1e-12)
    assert far.delta == pytest.approx(plain.delta, rel=1e-12)


def test_intraclass_correlation_is_recovered_and_stays_in_its_range() -> None:
    rng = np.random.default_rng(3)
    n = rng.integers(1, 10, 40_000)
    for rho in (0.05, 0.2, 0.5):
        y = rng.binomial(n, rng.beta(0.1 * (1 - rho) / rho, 0.9 * (1 - rho) / rho, n.size))
        assert intraclass_correlation(_window(n, y)) == pytest.approx(rho, abs=0.02)
    assert intraclass_correlation(_window(np.full(9, 2), np.full(9, 1))) == 0.0
    assert intraclass_correlation(_window([3, 3], [3, 0])) == 1.0
    for nothing in (
        NONE,
        _window([2, 3], [0, 0]),
        _window([2, 3], [2, 3]),
        _window([1, 1], [1, 0]),
    ):
        assert intraclass_correlation(nothing) == 0.0


def test_a_design_effect_is_never_below_one() -> None:
    assert design_effect(100, 500, 0.2) == pytest.approx(1.8)
    assert design_effect(100, 500, 0.0) == 1.0
    assert design_effect(0, 0, 0.5) == 1.0


def test_day_variance_and_its_degrees_of_freedom_are_welchs() -> None:
    # Days of equal size: the ratio estimator is the mean of daily rates.
    y1, y0 = np.asarray([4, 7, 3, 9]), np.asarray([2, 3, 5, 4, 1, 6])
    n1, n0 = np.full(4, 50), np.full(6, 50)
    days = _days(n1[:, None], y1[:, None], n0[:, None], y0[:, None])
    variance, df = day_variance(days, _window(n1, y1), _window(n0, y0))
    welch = stats.ttest_ind(y1 / 50, y0 / 50, equal_var=False)
    assert df == pytest.approx(welch.df)
    assert (y1.mean() - y0.mean()) / 50 / math.sqrt(variance) == pytest.approx(welch.statistic)


def test_one_candidate_day_borrows_the_variance_of_the_baselines() -> None:
    y0 = np.asarray([2, 3, 5, 4, 1, 6])
    n1, n0, y1 = np.full(1, 50), np.full(6, 50), np.asarray([9])
    days = _days(n1[:, None], y1[:, None], n0[:, None], y0[:, None])
    variance, df = day_variance(days, _window(n1, y1), _window(n0, y0))
    assert variance == pytest.approx(np.var(y0 / 50, ddof=1) * (1 + 1 / 6))
    assert df == 5
    single = DayTotals(((1, 0, 50, 9), (0, 0, 50, 3)))
    assert all(math.isnan(x) for x in day_variance(single, _window([50], [9]), _window([50], [3])))


def test_days_that_never_differ_leave_the_cluster_variance() -> None:
    n, y = np.ones((4, 50), dtype=int), np.zeros((4, 50), dtype=int)
    y[:, :5] = 1
    m, days = _window(n, y), _days(n, y, n, y)
    assert day_variance(days, m, m) == (0.0, 6.0)
    assert compare_rates(m, m, None, days).variance == difference_variance(m, m, None)


DEGENERATE = {
    "no failure anywhere": (0, 0),
    "only failures": (500, 500),
    "failures in the candidate only": (500, 0),
    "failures in the baseline only": (0, 500),
    "one failure": (1, 0),
}


@pytest.mark.parametrize(("y1", "y0"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_intervals_never_collapse(y1: int, y0: int) -> None:
    def window(y: int) -> WindowMoments:
        bad = np.minimum(np.maximum(y - 5 * np.arange(100), 0), 5)
        return _window(np.full(100, 5), bad)

    c = compare_rates(window(y1), window(y0), None)
    assert c.low < c.high
    assert -1 <= c.low <= c.delta <= c.high <= 1
    assert c.high - c.low > 0.01
    assert 0 <= c.p_greater <= 1
    assert (c.p_greater < 0.05) == (y1 == 500 and y0 == 0)
    assert c.upper(0.95) >= min(1.0, c.delta + 0.01)


def test_nothing_is_claimed_of_an_empty_window() -> None:
    full = _window([3, 2], [1, 0])
    for m1, m0 in ((NONE, full), (full, NONE), (NONE, NONE)):
        c = compare_rates(m1, m0, None)
        assert all(
            math.isnan(x) for x in (c.delta, c.low, c.high, c.p_greater, c.upper(), c.lower())
        )
        r = compare_ratios(m1, m0, None)
        assert all(math.isnan(x) for x in (r.ratio, r.low, r.high, r.p_greater(), r.upper()))
        d = compare_means(m1, m0, None)
        assert all(math.isnan(x) for x in (d.delta, d.low, d.high, d.p_greater))
    assert all(math.isnan(x) for x in mean_interval(NONE))


def test_one_cluster_has_a_value_and_no_certainty() -> None:
    one, many = _window([40], [10]), _window(np.full(50, 4), np.tile([0, 1], 25))
    assert math.isnan(compare_ratios(one, many, None).high)
    assert compare_ratios(one, many, None).ratio == pytest.approx(2.0)
    c = compare_rates(one, many, None)
    assert c.low < 0 < c.high
    assert mean_interval(one)[0] == 0.25
    assert math.isnan(mean_interval(one)[1])


@pytest.mark.parametrize(("y1", "y0"), [(3, 9), (5, 9), (40, 270), (52, 300)])
def test_the_p_value_is_the_level_at_which_the_lower_bound_reaches_zero(y1: int, y0: int) -> None:
    one = _window(np.ones(1000), np.arange(1000) < y1)
    c = compare_rates(one, _window(np.ones(9000), np.arange(9000) < y0), None)
    assert c.lower(1 - c.p_greater) == pytest.approx(0.0, abs=1e-6)
    assert c.lower(1 - c.p_greater / 2) < 0
    assert c.upper(0.3) == c.lower(0.7)


def test_bounds_grow_with_the_level_up_to_the_extremes() -> None:
    c = compare_rates(
        _window(np.ones(500), np.arange(500) < 20), _window(np.ones(900), np.arange(900) < 30), None
    )
    levels = [0.1, 0.5, 0.9, 0.95, 0.99, 1 - 1e-9, 1.0]
    upper = [c.upper(level) for level in levels]
    assert upper == sorted(upper)
    assert upper[-1] <= 1.0
    assert c.high == c.upper(0.975)


def test_the_ratio_of_means_is_the_delta_method_on_cluster_totals() -> None:
    rng = np.random.default_rng(4)
    n1, n0 = rng.integers(1, 8, 80), rng.integers(1, 8, 80)
    y1, y0 = rng.poisson(30 * n1), rng.poisson(25 * n0)
    m1, m0, cross = _window(n1, y1), _window(n0, y0), _cross(n1, y1, n0, y0)
    r = compare_ratios(m1, m0, cross)
    score = (y1 - m1.rate * n1) / m1.y - (y0 - m0.rate * n0) / m0.y
    assert r.log_variance == pytest.approx(80 / 79 * (score**2).sum(), rel=1e-12)
    half = stats.t.ppf(0.975, 79) * math.sqrt(r.log_variance)
    assert (r.low, r.high) == pytest.approx((r.ratio * math.exp(-half), r.ratio * math.exp(half)))
    assert r.p_greater(r.lower(0.99)) == pytest.approx(0.01)
    assert r.upper(0.975) == pytest.approx(r.high)


def test_a_ratio_with_a_mean_of_zero_is_unknown() -> None:
    zero, some = _window([1, 1, 1], [0, 0, 0]), _window([1, 1, 1], [2, 3, 4])
    assert math.isnan(compare_ratios(some, zero, None).ratio)
    assert math.isnan(compare_ratios(zero, some, None).p_greater(1.0))


def test_constant_values_are_certain() -> None:
    same = _window(np.ones(30), np.full(30, 7))
    dearer = _window(np.ones(30), np.full(30, 8))
    assert compare_ratios(same, same, None).p_greater() == 1.0
    assert compare_ratios(dearer, same, None).p_greater() == 0.0
    assert mean_interval(same) == pytest.approx((7.0, 7.0, 7.0))


def test_the_mean_of_single_rows_has_the_t_interval_on_its_scale() -> None:
    values = np.asarray([3, 5, 2, 8, 6, 7])
    mean, low, high = mean_interval(_window(np.ones(6), values))
    half = stats.t.ppf(0.975, 5) * stats.sem(values) / values.mean()
    assert (low, high) == pytest.approx((mean * math.exp(-half), mean * math.exp(half)))
    mean, low, high = mean_interval(_window(np.ones(6), values - 9))
    expected = stats.ttest_1samp(values - 9, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


# ── error rates ──────────────────────────────────────────────────────────────────────────


def _world(
    rng: np.random.Generator, days: int, a_day: int, rate: float, day_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sessions of 1 to 9 rows with intraclass correlation 0.2, and log-normal days."""
    n = rng.integers(1, 10, (days, a_day))
    daily = rate * np.exp(rng.normal(-(day_sd**2) / 2, day_sd, (days, 1)))
    return n, rng.binomial(n, rng.beta(4 * daily, 4 * (1 - daily), n.shape))


def _bound(level: float, repetitions: int) -> float:
    return level + 1.645 * math.sqrt(level * (1 - level) / repetitions)


@pytest.mark.parametrize("day_sd", [0.0, 0.4])
def test_before_and_after_keep_their_error_rates(day_sd: float) -> None:
    """14 days against 42 at 4 %: R = 2000 releases that change nothing."""
    rng = np.random.default_rng(20)
    repetitions = 2000
    alarms = misses = ignored = 0
    for _ in range(repetitions):
        world = (*_world(rng, 14, 30, 0.04, day_sd), *_world(rng, 42, 30, 0.04, day_sd))
        m1, m0 = _window(*world[:2]), _window(*world[2:])
        c = compare_rates(m1, m0, None, _days(*world))
        alarms += c.p_greater < 0.05
        misses += not c.low <= 0 <= c.high
        ignored += compare_rates(m1, m0, None).p_greater < 0.05
    assert alarms / repetitions <= _bound(0.05, repetitions)
    assert misses / repetitions <= _bound(0.05, repetitions)
    assert alarms / repetitions > 0.01
    # The days are what this is about: clusters alone would give false alarms.
    if day_sd:
        assert ignored / repetitions > _bound(0.05, repetitions)


def test_concurrent_arms_that_share_clusters_keep_their_error_rates() -> None:
    """Users with rows in both arms: R = 2000 comparisons of equal rates."""
    rng = np.random.default_rng(21)
    repetitions = 2000
    alarms = misses = 0
    for _ in range(repetitions):
        rate = rng.beta(0.04 * 4, 0.96 * 4, 400)
        n1, n0 = rng.integers(0, 6, 400), rng.integers(0, 6, 400)
        y1, y0 = rng.binomial(n1, rate), rng.binomial(n0, rate)
        c = compare_rates(_window(n1, y1), _window(n0, y0), _cross(n1, y1, n0, y0))
        alarms += c.p_greater < 0.05
        misses += not c.low <= 0 <= c.high
    assert alarms / repetitions <= _bound(0.05, repetitions)
    assert misses / repetitions <= _bound(0.05, repetitions)
    assert misses / repetitions > 0.02


def test_a_rate_at_the_pass_limit_seldom_passes() -> None:
    """6 % against 4 %, 4,000 rows against 12,000: p₁ − 1.5 p₀ = 0 may seem below 0 in 5 %."""
    rng = np.random.default_rng(22)
    repetitions = 2000
    passed = 0
    for _ in range(repetitions):
        m1, m0 = _window(*_world(rng, 1, 800, 0.06, 0.0)), _window(*_world(rng, 1, 2400, 0.04, 0.0))
        passed += compare_rates(m1, m0, None, weight=1.5).upper(0.95) < 0
    assert passed / repetitions <= _bound(0.05, repetitions)
    assert passed / repetitions > 0.02


def test_few_failures_keep_the_coverage_of_the_difference() -> None:
    """150 sessions at 2 %: the sandwich alone would miss far more than 5 %."""
    rng = np.random.default_rng(23)
    repetitions = 2000
    misses = sandwich = 0
    for _ in range(repetitions):
        m1, m0 = _window(*_world(rng, 1, 60, 0.02, 0.0)), _window(*_world(rng, 1, 150, 0.02, 0.0))
        c = compare_rates(m1, m0, None)
        misses += not c.low <= 0 <= c.high
        sandwich += abs(c.delta) > stats.norm.ppf(0.975) * math.sqrt(c.variance)
    assert misses / repetitions <= _bound(0.05, repetitions)
    assert sandwich / repetitions > _bound(0.05, repetitions)
