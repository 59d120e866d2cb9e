from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats import sketch

HOURS_3 = 3 * 3600 * 10**6


def test_edges_are_strictly_increasing_exact_integers() -> None:
    edges = sketch.EDGES_US
    assert edges.dtype == np.int64
    assert (np.diff(edges) > 0).all()
    assert edges[0] == 1
    assert edges[-1] >= HOURS_3
    assert len(edges) + 1 == sketch.N_BINS < 2**15
    assert not edges.flags.writeable


def test_every_value_is_within_one_percent_of_its_bin() -> None:
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.uniform(math.log(1000), math.log(HOURS_3), 50_000)).astype(np.int64)
    # The ends of a bin are the worst that a value can be.
    edges = sketch.EDGES_US[sketch.EDGES_US <= HOURS_3]
    values = np.concatenate([drawn, edges, edges[1:] - 1])
    error = np.abs(sketch.VALUES_US[sketch.bin_of(values)] / values - 1)
    assert error.max() <= sketch.RELATIVE_ERROR


@pytest.mark.parametrize(
    ("value", "index"), [(-5, 0), (0, 0), (1, 1), (2, 2), (10**15, sketch.N_BINS - 1)]
)
def test_values_beyond_the_table_have_bins_of_their_own(value: int, index: int) -> None:
    assert int(sketch.bin_of(value)) == index
    assert math.isfinite(sketch.bin_value(index))


@pytest.mark.parametrize("q", [0.0, 0.01, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 19, 100, 5000])
def test_quantiles_are_the_inverted_distribution_function_within_one_percent(
    n: int, q: float
) -> None:
    values = np.random.default_rng(n).lognormal(13.0, 1.0, n).astype(np.int64)
    expected = np.quantile(values, q, method="inverted_cdf")
    assert sketch.quantile(sketch.counts_of(values), q) == pytest.approx(expected, rel=0.01)


def test_a_product_that_rounds_up_does_not_skip_a_rank() -> None:
    values = np.arange(1, 101) * 10**5
    assert 0.07 * 100 > 7
    assert sketch.quantile(sketch.counts_of(values), 0.07) == pytest.approx(7e5, rel=0.01)


def test_merging_sketches_is_sketching_everything() -> None:
    values = np.random.default_rng(4).lognormal(12.0, 2.0, 1000).astype(np.int64)
    parts = [sketch.counts_of(part) for part in np.array_split(values, 7)]
    np.testing.assert_array_equal(sketch.merge(*parts), sketch.counts_of(values))


def test_an_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(sketch.quantile(np.zeros(sketch.N_BINS, dtype=int), 0.5))
