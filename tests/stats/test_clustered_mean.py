from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.clustered_mean import ClusteredMean, GuardedMean, clustered_mean, without_gaps


class TestClusteredMean:
    def test_rows_as_clusters_give_the_textbook_error(self) -> None:
        x = np.random.default_rng(3).normal(size=50)
        found = clustered_mean(x, np.arange(50))
        low, high = stats.t.interval(0.95, 49, x.mean(), stats.sem(x))
        assert (found.lower(0.975), found.upper(0.975)) == pytest.approx((low, high))
        assert found.p_greater == pytest.approx(
            stats.ttest_1samp(x, 0.0, alternative="greater").pvalue
        )

    def test_copies_of_a_row_in_its_cluster_add_nothing(self) -> None:
        x = np.random.default_rng(3).normal(size=50)
        once = clustered_mean(x, np.arange(50))
        twice = clustered_mean(np.repeat(x, 4), np.repeat(np.arange(50), 4))
        assert twice.value == pytest.approx(once.value)
        assert twice.variance == pytest.approx(once.variance)

    @pytest.mark.parametrize(
        ("scores", "cluster"), [([], []), ([1.0, math.nan], [0, 1]), ([1.0, math.inf], [0, 1])]
    )
    def test_what_cannot_be_told_is_nan(self, scores: list[float], cluster: list[int]) -> None:
        found = clustered_mean(np.array(scores), np.array(cluster, dtype=np.int64))
        assert math.isnan(found.value)
        assert found.p_greater == 1.0

    def test_one_cluster_has_no_limits(self) -> None:
        found = clustered_mean(np.ones(5), np.zeros(5, dtype=np.int64))
        assert (found.lower(0.975), found.upper(0.975)) == (-math.inf, math.inf)
        assert found.p_greater == 1.0


class TestRareEvents:
    def mean(self, events: int, harm: int = -1, value: float = 1.0) -> GuardedMean:
        return GuardedMean(ClusteredMean(value, 0.04, 1e9, 500), events, 0.05, harm)

    def test_only_the_side_on_which_unseen_events_lie_is_wider(self) -> None:
        plain, saving, rate = self.mean(0).mean, self.mean(3), self.mean(3, 1)
        assert saving.lower(0.975) < plain.lower(0.975)
        assert saving.upper(0.975) == plain.upper(0.975)
        assert rate.upper(0.975) > plain.upper(0.975)
        assert rate.lower(0.975) == plain.lower(0.975)

    def test_no_event_counts_as_up_to_its_exact_poisson_limit(self) -> None:
        only_events = GuardedMean(ClusteredMean(0.0, 0.0, 1e9, 500), 0, 1.0, 1)
        assert only_events.upper(0.975) == pytest.approx(-math.log(0.025))

    def test_many_events_leave_the_variance_as_it_is(self) -> None:
        # (U − k)² / z²k → 1: with 2,000 events the squared reach grows by less than 6 %.
        unit = 0.2 / math.sqrt(2_000)
        many = GuardedMean(ClusteredMean(1.0, 0.04, 1e9, 500), 2_000, unit, -1)
        assert many.lower(0.975) == pytest.approx(many.mean.lower(0.975), rel=0.03)

    @pytest.mark.parametrize("value", [0.3, 0.5, 1.0])
    def test_the_p_value_is_the_level_at_which_the_bound_reaches_zero(self, value: float) -> None:
        mean = self.mean(2, value=value)
        p = mean.p_greater
        assert mean.lower(1 - p) == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize(
        ("value", "least", "most"), [(-1.0, 0.99, 1.0), (0.0, 0.5, 0.5), (50.0, 0.0, 1e-12)]
    )
    def test_p_values_at_the_ends(self, value: float, least: float, most: float) -> None:
        assert least <= self.mean(2, value=value).p_greater <= most

    def test_a_saving_that_rests_on_unseen_failures_is_not_claimed_more_than_promised(self) -> None:
        # The new action fails as often as the old one, and is tried 80 times: without the guard
        # the lower bound lies above the truth far too often (no failure seen, no variance).
        # R = 2,000: at most 0.025 + 1.645 √(0.025 · 0.975 / 2000) = 0.031.
        rng = np.random.default_rng(8)
        wrong = bare = 0
        for _ in range(2_000):
            action = (rng.random(800) < 0.1).astype(np.int64)
            failure = (rng.random(800) < 0.03).astype(float)
            w = np.where(action == 1, 1 / 0.1, 0.0)
            saved = failure - w * failure
            mean = clustered_mean(saved, np.arange(800))
            events = int(failure[action == 1].sum())
            unit = 10.0 / 800
            wrong += GuardedMean(mean, events, unit, -1).lower(0.975) > 0
            bare += mean.lower(0.975) > 0
        assert wrong / 2_000 <= 0.031
        assert bare / 2_000 > 0.05


def test_codes_without_gaps_keep_their_order() -> None:
    np.testing.assert_array_equal(without_gaps(np.array([7, 2, 7, 4])), [2, 0, 2, 1])
