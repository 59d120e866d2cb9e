from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from skdr_eval.diagnostics import psis_pareto_k

from analysis.stats.overlap import balance, effective_sample_size, pareto_k


class TestParetoK:
    def test_the_tail_shape_is_that_of_an_independent_implementation(self) -> None:
        rng = np.random.default_rng(4)
        for shape in (0.2, 0.6, 1.0):
            w = stats.genpareto.rvs(shape, size=4_000, random_state=rng) + 1
            # Theirs is not drawn to ½ by ten observations; the tail holds 3 √4000 = 189.
            expected = (psis_pareto_k(w) * 189 + 5) / 199
            assert pareto_k(w) == pytest.approx(expected, abs=0.01)

    @pytest.mark.parametrize(
        "weights",
        [[], [0.0] * 50, [1.0, 2.0, 3.0], [2.0] * 1000, [1.0, 2.0] * 500, [3.0] * 99 + [1.0] * 900],
    )
    def test_without_a_tail_it_is_nan(self, weights: list[float]) -> None:
        assert math.isnan(pareto_k(np.array(weights)))


class TestBalance:
    def rows(self, seed: int, wrong: bool) -> list[float]:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(4_000, 3))
        e = 1 / (1 + np.exp(-x[:, 0]))
        taken = rng.random(4_000) < e
        weights = np.where(taken, 1 / (0.5 if wrong else e), 0.0)
        found = balance(x, weights, np.ones(4_000), np.arange(4_000))
        return [f.p_value for f in found]

    def test_true_propensities_balance_every_feature(self) -> None:
        p = np.array([self.rows(seed, wrong=False) for seed in range(200)])
        assert (p < 0.05).mean() <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 600)

    def test_wrong_ones_are_found_in_the_feature_that_they_forget(self) -> None:
        first, second, third = self.rows(1, wrong=True)
        assert first < 1e-6
        assert min(second, third) > 1e-3

    def test_the_difference_is_in_standard_deviations(self) -> None:
        x = np.array([[0.0], [0.0], [2.0], [2.0]])
        weights = np.array([0.0, 0.0, 2.0, 2.0])
        (found,) = balance(x, weights, np.ones(4), np.arange(4))
        assert found.difference == pytest.approx(1.0)

    def test_a_feature_that_does_not_vary_is_not_looked_at(self) -> None:
        assert balance(np.ones((5, 1)), np.ones(5), np.ones(5), np.arange(5)) == []


def test_equal_weights_of_single_rows_count_each() -> None:
    assert effective_sample_size(np.full(30, 2.5), np.arange(30)) == pytest.approx(30)


def test_effective_clusters_count_equal_ones_in_full() -> None:
    assert effective_sample_size(np.ones(60), np.arange(60) // 3) == pytest.approx(20)
    assert effective_sample_size(np.zeros(0), np.zeros(0, dtype=np.int64)) == 0
