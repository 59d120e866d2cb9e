from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.partial_identification import ab_test_size, explored_share, imbens_manski


class TestBoundsAndSizes:
    def test_bounds_far_apart_take_the_one_sided_quantile(self) -> None:
        low, high = imbens_manski(0.0, 1.0, 100.0, 1.0)
        assert (low, high) == pytest.approx((-1.6449, 101.6449), abs=1e-3)

    def test_bounds_that_meet_take_the_two_sided_quantile(self) -> None:
        low, high = imbens_manski(5.0, 1.0, 5.0, 1.0)
        assert (low, high) == pytest.approx((5 - 1.95996, 5 + 1.95996), abs=1e-4)

    def test_certain_bounds_are_themselves_and_unknown_ones_are_open(self) -> None:
        assert imbens_manski(1.0, 0.0, 2.0, 0.0) == (1.0, 2.0)
        assert imbens_manski(1.0, math.inf, 2.0, 1.0) == (-math.inf, math.inf)

    def test_the_interval_holds_a_partly_known_value_at_its_rate(self) -> None:
        # The hardest place is an end of the identified set. R = 4,000: ≥ 0.95 − 0.0057.
        rng = np.random.default_rng(6)
        held = 0
        for _ in range(4_000):
            low, high = imbens_manski(rng.normal(0, 1), 1.0, rng.normal(3, 1), 1.0)
            held += low <= 0 <= high
        assert held / 4_000 >= 0.944

    def test_the_size_of_a_test_is_the_published_one(self) -> None:
        # Fleiss (1981), without continuity correction: 5 % against 10 %, two-sided 5 %, power 0.8.
        assert ab_test_size(0.05, 0.05) == 432
        assert ab_test_size(0.05, 0.05, deff=2.0) == 864

    def test_of_a_single_cluster_no_size_is_known(self) -> None:
        assert ab_test_size(0.05, 0.05, deff=math.inf) is None


class TestExploredShare:
    def test_at_that_share_the_smaller_arm_just_tells(self) -> None:
        share = explored_share(2_000, 14, 0.05, 0.02)
        assert share is not None
        n, other = 28_000, 0.07
        spread = other * (1 - other) / (n * share) + 0.05 * 0.95 / (n * (1 - share))
        assert (1.959964 + 0.841621) * math.sqrt(spread) == pytest.approx(0.02, rel=1e-5)
        assert share < 0.5

    def test_half_of_all_is_a_test_of_equal_arms(self) -> None:
        size = ab_test_size(0.05, 0.02)
        assert size is not None
        share = explored_share(2 * size / 14, 14, 0.05, 0.02)
        assert share == pytest.approx(0.5, abs=0.15)

    @pytest.mark.parametrize("n_a_day", [0.0, 5.0])
    def test_too_little_traffic_tells_nothing(self, n_a_day: float) -> None:
        assert explored_share(n_a_day, 14, 0.05, 0.02) is None

    def test_clusters_make_it_larger(self) -> None:
        alone, clustered = (explored_share(2_000, 14, 0.05, 0.02, deff) for deff in (1.0, 3.0))
        assert alone is not None
        assert clustered is not None
        assert clustered > 2.5 * alone
