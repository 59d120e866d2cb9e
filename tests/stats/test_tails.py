from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from analysis.stats.intervals import clopper_pearson
from analysis.stats.tails import (
    interval,
    log_beta_terms,
    log_gamma_terms,
    mean_level_test,
    mean_regression_test,
    rate_level_test,
    rate_regression_test,
    rate_terms,
    tail_below_zero,
)


def _random_tables(seed: int, m: int) -> np.ndarray:
    """Rows (y1, n1, y0, n0), from tiny to large, with empty and full cells."""
    rng = np.random.default_rng(seed)
    n1, n0 = rng.integers(1, 400, m), rng.integers(1, 5000, m)
    y1 = rng.binomial(n1, rng.choice([0.0, 0.05, 0.3, 0.9, 1.0], m))
    y0 = rng.binomial(n0, rng.choice([0.0, 0.01, 0.1, 0.5, 1.0], m))
    return np.column_stack([y1, n1, y0, n0])


def test_the_level_test_without_clusters_is_fishers_exact_test() -> None:
    tables = _random_tables(0, 400)
    y1, n1, y0, n0 = tables.T
    p = rate_level_test(y1, n1, 1.0, y0, n0, 1.0)
    exact = np.asarray(
        [
            stats.fisher_exact([[a, b - a], [c, d - c]], alternative="greater").pvalue
            for a, b, c, d in tables
        ]
    )
    near = exact > 1e-290
    np.testing.assert_allclose(p[near], exact[near], rtol=0.005)
    far = near & (exact > 1e-30)
    assert (exact[near] < 1e-12).sum() > 50
    np.testing.assert_allclose(p[far], exact[far], rtol=0.001)
    assert (p[~near] < 1e-280).all()


def test_effective_counts_between_the_integers_agree_with_quadrature() -> None:
    y1, n1, d1, y0, n0, d0 = 23.0, 150.0, 1.9, 61.0, 2000.0, 2.3
    a1, b1 = y1 / d1, (n1 - y1) / d1 + 1
    a0, b0 = y0 / d0 + 1, (n0 - y0) / d0
    expected, _ = integrate.quad(
        lambda x: stats.beta.cdf(x, a1, b1) * stats.beta.pdf(x, a0, b0), 0, 1, points=[0.03, 0.1]
    )
    assert rate_level_test(y1, n1, d1, y0, n0, d0)[0] == pytest.approx(expected, rel=1e-4)


def _log_density(a: float, b: float, x: np.ndarray) -> np.ndarray:
    """Density of log Beta(a, b) at x < 0."""
    return np.exp(a * x + (b - 1) * np.log1p(-np.exp(x)) - special.betaln(a, b))


def _quadrature(lower1: tuple, upper0: tuple, upper_r: tuple, lower_r: tuple) -> float:
    """P(X₁ − X₂ ≤ X₃ − X₄) of four log-betas on a grid: an independent route to the same tail."""

    def grid(a: float, b: float) -> np.ndarray:
        mean = special.digamma(a) - special.digamma(a + b)
        sd = math.sqrt(special.polygamma(1, a) - special.polygamma(1, a + b))
        return np.linspace(mean - 16 * sd, min(mean + 14 * sd, -1e-9), 1201)

    x2, x4 = grid(*upper0), grid(*lower_r)
    f2, f4 = _log_density(*upper0, x2), _log_density(*lower_r, x4)
    x3 = grid(*upper_r)
    s = np.linspace(x3[0] - x4[-1], x3[-1] - x4[0], 1201)
    inner = np.minimum(s[:, None] + x2[None, :], 0.0)
    cdf = np.trapezoid(special.betainc(*lower1, np.exp(inner)) * f2, x2, axis=1)
    at = s[:, None] + x4[None, :]
    density = np.where(at < 0, _log_density(*upper_r, np.minimum(at, -1e-12)), 0.0)
    return float(np.trapezoid(cdf * np.trapezoid(density * f4, x4, axis=1), s))


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ((30, 200, 40, 800, 300, 5000, 900, 20000), "about 1e-4"),
        ((80, 200, 20, 800, 300, 5000, 900, 20000), "far out"),
        ((12, 90, 20, 170, 50, 600, 110, 1500), "near one half"),
    ],
)
def test_the_regression_test_agrees_with_quadrature(counts: tuple[int, ...], name: str) -> None:
    y1s, n1s, y0s, n0s, y1r, n1r, y0r, n0r = counts
    expected = _quadrature(
        (y1s, n1s - y1s + 1), (y0s + 1, n0s - y0s), (y1r + 1, n1r - y1r), (y0r, n0r - y0r + 1)
    )
    p = rate_regression_test(y1s, n1s, 1, y0s, n0s, 1, y1r, n1r, 1, y0r, n0r, 1)
    assert p[0] == pytest.approx(expected, rel=0.003)
    if name == "far out":
        assert expected < 1e-12


def test_the_ratio_of_two_gamma_means_is_an_f_variable() -> None:
    k1, k0 = np.asarray([3.0, 40.0, 200.0, 0.4, 2000.0]), np.asarray([5.0, 400.0, 60.0, 9.0, 900.0])
    ratio = np.asarray([1.5, 2.0, 0.9, 6.0, 1.4])
    p = mean_level_test(ratio, k1, 1.0, 1.0, k0, 1.0)
    # mean₁*/mean₀* = ratio · F(2k₁, 2k₀)
    np.testing.assert_allclose(p, stats.f.cdf(1 / ratio, 2 * k1, 2 * k0), rtol=0.002)
    assert p.min() < 1e-10


def test_intervals_hold_the_quantiles_and_take_a_confidence_each() -> None:
    k1, k0 = np.asarray([3.0, 40.0, 200.0]), np.asarray([5.0, 400.0, 60.0])
    terms = [log_gamma_terms(k1, 2.0), log_gamma_terms(k0, 1.0, -1)]
    confidence = np.asarray([0.95, 0.99, 0.999999])
    low, high = interval(terms, terms, confidence)
    tail = (1 - confidence) / 2
    np.testing.assert_allclose(np.exp(low), 2 * stats.f.ppf(tail, 2 * k1, 2 * k0), rtol=1e-3)
    np.testing.assert_allclose(np.exp(high), 2 * stats.f.isf(tail, 2 * k1, 2 * k0), rtol=1e-3)


def test_a_single_rate_has_the_limits_of_clopper_and_pearson() -> None:
    one = log_gamma_terms(1e8, 1.0, -1)
    for y, n in ((1, 30), (7, 60), (59, 60)):
        low, high = interval([rate_terms(y, n, 1, -1, 1), one], [rate_terms(y, n, 1, 1, 1), one])
        assert (math.exp(low[0]), math.exp(high[0])) == pytest.approx(
            clopper_pearson(y, n), rel=2e-3
        )


def test_the_limit_of_the_interval_is_where_the_test_turns() -> None:
    lower = [rate_terms(30, 300, 1.5, -1, 1), rate_terms(90, 3000, 1.5, 1, -1)]
    upper = [rate_terms(30, 300, 1.5, 1, 1), rate_terms(90, 3000, 1.5, -1, -1)]
    low, high = interval(lower, upper, 0.9)
    assert tail_below_zero(lower, low)[0] == pytest.approx(0.05, rel=1e-3)
    assert tail_below_zero(upper, high)[0] == pytest.approx(0.95, rel=1e-3)
    assert low[0] < math.log(30 / 300) - math.log(90 / 3000) < high[0]


EDGES = {
    "no failure in the slice": ((0, 50, 1, 5, 1000, 1), 1.0),
    "no rows in the slice": ((0, 0, 1, 5, 1000, 1), math.nan),
    "no rows in the reference": ((3, 50, 1, 0, 0, 1), math.nan),
    "everything fails everywhere": ((50, 50, 1, 1000, 1000, 1), 1.0),
    "an unknown count": ((math.nan, 50, 1, 5, 1000, 1), math.nan),
}


@pytest.mark.parametrize(("arguments", "expected"), EDGES.values(), ids=EDGES.keys())
def test_odd_counts_have_an_answer(arguments: tuple[float, ...], expected: float) -> None:
    assert rate_level_test(*arguments)[0] == pytest.approx(expected, nan_ok=True)


def test_no_failure_in_the_reference_leaves_a_finite_test() -> None:
    p = rate_level_test(5, 50, 1, 0, 1000, 1)[0]
    exact = stats.fisher_exact([[5, 45], [0, 1000]], alternative="greater").pvalue
    assert p == pytest.approx(exact, rel=1e-3)
    low, high = interval(
        [rate_terms(5, 50, 1, -1, 1), rate_terms(0, 1000, 1, 1, -1)],
        [rate_terms(5, 50, 1, 1, 1), rate_terms(0, 1000, 1, -1, -1)],
    )
    assert 0 < low[0] < math.inf
    assert high[0] == math.inf


def test_a_regression_needs_something_to_compare_with() -> None:
    ordinary = [20, 200, 1, 40, 800, 1, 300, 5000, 1, 900, 20000, 1]
    for position, expected in ((0, 1.0), (9, 1.0)):
        arguments = list(ordinary)
        arguments[position] = 0
        assert rate_regression_test(*arguments)[0] == expected
    for position in (3, 6):
        arguments = list(ordinary)
        arguments[position] = 0
        assert 0 < rate_regression_test(*arguments)[0] < 1


def test_means_that_cannot_be_compared_are_no_finding() -> None:
    assert mean_level_test(0.0, 50, 1.0, 1.0, 500, 1.0)[0] == 1.0
    assert mean_level_test(1.0, 50, 1.0, 0.0, 500, 1.0)[0] == 1.0
    assert math.isnan(mean_level_test(1.0, 0, 1.0, 1.0, 500, 1.0)[0])
    # A constant cost: certain, once it differs at all.
    assert mean_level_test(2.0, 50, 0.0, 1.0, 500, 0.0)[0] < 1e-200
    assert mean_level_test(1.0, 50, 0.0, 2.0, 500, 0.0)[0] == pytest.approx(1.0)
    p = mean_regression_test(1.2, 60, 1.0, 1.0, 80, 1.0, 1.2, 900, 1.0, 1.0, 2000, 1.0)[0]
    assert 0.4 < p < 0.6


def test_huge_and_tiny_parameters_stay_finite() -> None:
    scales = 10.0 ** np.arange(-3, 10)
    p = tail_below_zero(
        [log_beta_terms(scales, 3 * scales), log_beta_terms(scales, 4 * scales, -1)]
    )
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 0.5 + 1e-6)).all()
    assert (np.diff(p) <= 1e-6).all()


def test_a_level_test_of_equal_rates_keeps_its_error_rate() -> None:
    """4,000 slices of 200 rows at the rate of their 3,000: exact tests stay at or below nominal."""
    rng = np.random.default_rng(5)
    y1, y0 = rng.binomial(200, 0.04, 4000), rng.binomial(3000, 0.04, 4000)
    p = rate_level_test(y1, 200, 1.0, y0, 3000, 1.0)
    for level in (0.05, 0.01):
        assert (p < level).mean() <= level + 1.645 * math.sqrt(level * (1 - level) / 4000)
