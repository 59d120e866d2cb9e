from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analysis.stats import sketch
from analysis.stats.intervals import (
    clopper_pearson,
    mover_difference,
    mover_ratio,
    one_sided_binomial_tail,
    rate_interval,
    t_interval,
    t_prediction,
    wilson_limits,
    woodruff,
)
from analysis.stats.moments import WindowMoments


@pytest.mark.parametrize(("y", "n"), [(0, 10), (10, 10), (1, 30), (40, 1000), (3, 10**6)])
def test_limits_of_a_rate_are_those_of_statsmodels(y: int, n: int) -> None:
    expected = proportion_confint(y, n, 0.05, method="beta")
    np.testing.assert_allclose(clopper_pearson(y, n), np.nan_to_num(expected), rtol=1e-9)
    np.testing.assert_allclose(
        wilson_limits(y / n, n, float(stats.norm.ppf(0.975))),
        proportion_confint(y, n, 0.05, method="wilson"),
        rtol=1e-9,
        atol=1e-15,
    )


def test_a_design_effect_divides_the_counts() -> None:
    assert clopper_pearson(30, 300, 3.0) == pytest.approx(clopper_pearson(10, 100))
    low, high = clopper_pearson(7, 100, 2.5)
    assert low < clopper_pearson(7, 100)[0]
    assert high > clopper_pearson(7, 100)[1]


def test_no_failures_leave_room_and_no_rows_say_nothing() -> None:
    low, high = clopper_pearson(0, 50)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert all(math.isnan(x) for x in clopper_pearson(0, 0))


def test_a_rate_of_equal_clusters_that_agree_counts_clusters() -> None:
    # 100 clusters of 5 rows, 10 of them all bad: intraclass correlation 1.
    m = WindowMoments(
        n=500, y=50, nn=2500, yy=250, ny=250, clusters=100, largest=5, bad_clusters=10
    )
    value, low, high = rate_interval(m)
    assert value == 0.1
    assert (low, high) == pytest.approx(clopper_pearson(10, 100))
    assert rate_interval(m, rho=0.0)[1:] == pytest.approx(clopper_pearson(50, 500))
    assert all(math.isnan(x) for x in rate_interval(WindowMoments(0, 0, 0, 0, 0, 0, 0, 0)))


@pytest.mark.parametrize(
    ("y", "n", "p"), [(0, 10, 0.3), (3, 10, 0.3), (10, 10, 0.3), (25, 400, 0.02), (1, 5, 0.0)]
)
def test_the_binomial_tail_is_that_of_scipy(y: int, n: int, p: float) -> None:
    assert one_sided_binomial_tail(y, n, p) == pytest.approx(stats.binom.sf(y - 1, n, p), rel=1e-9)


def test_the_binomial_tail_takes_real_counts_and_arrays() -> None:
    tail = one_sided_binomial_tail([2.0, 2.5, 3.0, 11.0, math.nan], 10, 0.2)
    assert tail[0] > tail[1] > tail[2] > tail[3] == 0.0
    assert math.isnan(tail[4])
    assert one_sided_binomial_tail(2, 10, 1.5) == 1.0


def test_woodruff_covers_the_quantile_at_its_level() -> None:
    rng = np.random.default_rng(11)
    truth = math.exp(13.0 + 0.8 * stats.norm.ppf(0.95))
    hits = 0
    for _ in range(1000):
        counts = sketch.counts_of(rng.lognormal(13.0, 0.8, 600).astype(np.int64))
        low, high = woodruff(counts, 0.95)
        hits += low <= truth <= high
    assert 1 - hits / 1000 <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 1000)


def test_woodruff_widens_with_the_design_effect_and_needs_tail_clusters() -> None:
    values = np.random.default_rng(1).lognormal(13.0, 0.8, 2000).astype(np.int64)
    counts = sketch.counts_of(values)
    narrow, wide = woodruff(counts, 0.9, 1.0), woodruff(counts, 0.9, 4.0)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert all(math.isnan(x) for x in woodruff(counts, 0.9, tail_clusters=9))
    assert woodruff(counts, 0.9, tail_clusters=10) == narrow
    assert all(math.isnan(x) for x in woodruff(np.zeros(sketch.N_BINS), 0.9))


def test_t_intervals_are_those_of_scipy() -> None:
    values = [3.0, 4.5, 2.0, 6.0, 5.5]
    mean, low, high = t_interval(values, 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(4.2)
    half = stats.t.ppf(0.975, 4) * np.std(values, ddof=1) * math.sqrt(1 / 7 + 1 / 5)
    assert t_prediction(values, horizon=7)[1:] == pytest.approx((4.2 - half, 4.2 + half))


def test_too_few_values_have_a_mean_at_most() -> None:
    assert t_interval([2.0])[0] == 2.0
    assert math.isnan(t_interval([2.0])[1])
    assert all(math.isnan(x) for x in t_prediction([]))


def test_recovered_limits_from_wilson_are_newcombes() -> None:
    y1, n1, y0, n0 = 56, 70, 48, 80
    z = float(stats.norm.ppf(0.975))
    l1, u1 = wilson_limits(y1 / n1, n1, z)
    l0, u0 = wilson_limits(y0 / n0, n0, z)
    expected = confint_proportions_2indep(y1, n1, y0, n0, method="newcomb", compare="diff")
    assert mover_difference(y1 / n1, l1, u1, y0 / n0, l0, u0) == pytest.approx(expected)


def test_recovered_limits_of_a_ratio_are_those_of_log_normals() -> None:
    half1, half0 = 0.3, 0.4
    low, high = mover_ratio(
        2.0,
        2 * math.exp(-half1),
        2 * math.exp(half1),
        4.0,
        4 * math.exp(-half0),
        4 * math.exp(half0),
    )
    assert (low, high) == pytest.approx((0.5 * math.exp(-0.5), 0.5 * math.exp(0.5)))
    assert mover_ratio(1.0, 0.0, 2.0, 1.0, 0.0, 2.0) == (0.0, math.inf)
    assert all(math.isnan(x) for x in mover_ratio(0.0, 0.0, 2.0, 1.0, 0.5, 2.0))
