from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.wasserstein import distance


@given(st.integers(0, 10_000))
@settings(max_examples=50)
def test_it_is_the_area_between_the_distribution_functions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.normal(size=8) * 1e3, rng.normal(1, 2, size=11) * 1e3
    w0, w1 = rng.integers(1, 5, 8).astype(float), rng.integers(1, 5, 11).astype(float)
    grid = np.sort(np.concatenate([old, new]))
    below = [np.array([w[v <= x].sum() for x in grid]) / w.sum() for v, w in ((old, w0), (new, w1))]
    area = float(np.sum(np.abs(below[0] - below[1])[:-1] * np.diff(grid)))
    found = distance(old, new, w0, w1)
    assert found is not None
    assert found.wasserstein == pytest.approx(area, rel=1e-9)
    deviation = np.sqrt(np.cov(old, aweights=w0, ddof=0))
    assert found.scaled == pytest.approx(area / deviation, rel=1e-9)
    assert found.means == pytest.approx((np.average(old, weights=w0), np.average(new, weights=w1)))


def test_a_shift_is_as_far_as_it_went() -> None:
    values = np.random.default_rng(1).lognormal(6, 1, 1000)
    found = distance(values, values + 250)
    assert found is not None
    assert found.wasserstein == pytest.approx(250)


def test_a_longer_tail_beyond_the_last_decile_counts() -> None:
    values = np.arange(1000.0)
    found = distance(values, np.where(values >= 990, values * 10, values))
    assert found is not None
    assert found.wasserstein == pytest.approx(9 * values[990:].sum() / 1000)


def test_without_spread_in_the_baseline_it_has_a_unit_and_no_scale() -> None:
    found = distance([2.0, 2.0], [3.0])
    assert found is not None
    assert (found.wasserstein, found.scaled) == (1.0, None)


@pytest.mark.parametrize("values", [(1e308, -1e308), (0.0, 0.0)])
def test_no_value_is_too_large_or_too_small(values: tuple[float, float]) -> None:
    with np.errstate(all="raise"):
        found = distance([values[0]], [values[1]])
    assert found is None if values[0] else found is not None and found.wasserstein == 0
