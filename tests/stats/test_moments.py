from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.mixed_linear_model import MixedLM

from analysis.stats.moments import (
    DayTotals,
    WindowMoments,
    design_effect,
    intraclass_correlation,
)


def window(n: np.ndarray | list[int], y: np.ndarray | list[int]) -> WindowMoments:
    pairs = [(int(a), int(b)) for a, b in zip(n, y, strict=True)]
    return WindowMoments(
        n=sum(a for a, _ in pairs),
        y=sum(b for _, b in pairs),
        nn=sum(a * a for a, _ in pairs),
        yy=sum(b * b for _, b in pairs),
        ny=sum(a * b for a, b in pairs),
        clusters=sum(a > 0 for a, _ in pairs),
        largest=max((a for a, _ in pairs), default=0),
        bad_clusters=sum(b > 0 for _, b in pairs),
    )


CLUSTERS = st.lists(
    st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(CLUSTERS, st.integers(-(10**18), 10**18))
def test_the_residual_is_exact_whatever_the_size_of_the_numbers(
    clusters: list[tuple[int, int]], shift: int
) -> None:
    n, y = zip(*clusters, strict=True)
    moved = [b + shift * a for a, b in clusters]
    m = window(list(n), list(moved))
    rate = Fraction(m.y, m.n)
    assert m.residual == sum((b - rate * a) ** 2 for a, b in zip(n, moved, strict=True))
    # A constant added to every row moves the mean, never the spread.
    assert m.residual == window(list(n), list(y)).residual


@pytest.mark.parametrize(
    ("n", "rate", "effective"),
    [([5, 5, 5, 5], 0.2, 4.0), ([100, 1, 1], 0.2, 102**2 / 10_002), ([], math.nan, 0.0)],
)
def test_effective_clusters_are_equal_ones_of_the_same_variance(
    n: list[int], rate: float, effective: float
) -> None:
    m = window(n, [0] * len(n))
    assert m.effective_clusters == pytest.approx(effective)
    assert math.isnan(m.rate) == math.isnan(rate)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.2, 0.5])
def test_the_intraclass_correlation_of_beta_binomial_clusters_is_found(rho: float) -> None:
    rng = np.random.default_rng(1)
    n = rng.geometric(0.25, 30_000)
    p = rng.beta(0.3 * (1 - rho) / rho, 0.7 * (1 - rho) / rho, n.size) if rho else 0.3
    m = window(n, rng.binomial(n, p))
    assert intraclass_correlation(m) == pytest.approx(rho, abs=0.015)


def test_it_is_that_of_a_random_intercept() -> None:
    rng = np.random.default_rng(2)
    n = np.full(600, 6)
    y = rng.binomial(n, rng.beta(0.3 * 3, 0.7 * 3, 600))
    rows = np.concatenate([[1] * b + [0] * (a - b) for a, b in zip(n, y, strict=True)])
    fit = MixedLM(rows.astype(float), np.ones(len(rows)), groups=np.repeat(np.arange(600), 6)).fit()
    between, within = float(np.asarray(fit.cov_re)[0, 0]), float(fit.scale)
    assert intraclass_correlation(window(n, y)) == pytest.approx(
        between / (between + within), abs=0.01
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(CLUSTERS)
def test_the_correlation_is_between_nought_and_one_and_the_design_effect_is_at_least_one(
    clusters: list[tuple[int, int]],
) -> None:
    n, y = zip(*clusters, strict=True)
    m = window(list(n), list(y))
    rho = intraclass_correlation(m)
    assert 0 <= rho <= 1
    assert 1 <= design_effect(m.n, m.nn, rho) <= max(1.0, m.nn / m.n) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("n", "nn", "rho", "expected"),
    [(100, 500, 0.25, 2.0), (100, 100, 1.0, 1.0), (100, 500, 0.0, 1.0), (0, 0, 0.5, 1.0),
     (100, 500, math.nan, 1.0), (100, 2000, 1.0, 20.0)],
)  # fmt: skip
def test_the_design_effect_is_kishs(n: int, nn: int, rho: float, expected: float) -> None:
    assert design_effect(n, nn, rho) == expected


def test_days_without_rows_are_no_days() -> None:
    days = DayTotals(((1, 3, 10, 2), (1, 4, 0, 0), (0, 1, 7, 1)))
    assert days.of(1) == [(10, 2)]
    assert days.of(0) == [(7, 1)]
