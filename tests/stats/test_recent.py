"""A value beside the last few: known answers, and its rates where nothing changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.recent import against_recent

R = 4000


def bound(nominal: float) -> float:
    return nominal + 1.645 * math.sqrt(nominal * (1 - nominal) / R)


def test_where_releases_differ_it_is_the_prediction_interval_of_student() -> None:
    earlier = [0.031, 0.042, 0.038, 0.035, 0.029]
    found = against_recent(0.045, 1e-9, earlier, [1e-9] * 5)
    spread = np.std(earlier, ddof=1) * math.sqrt(1 + 1 / 5)
    t = (0.045 - np.mean(earlier)) / spread
    assert found.p_greater == pytest.approx(stats.t.sf(t, 4))
    low, high = found.delta + spread * stats.t.ppf([0.025, 0.975], 4)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_where_they_happen_to_agree_the_noise_of_sampling_is_left() -> None:
    found = against_recent(1.2, 0.01, [1.0, 1.0, 1.0], [0.04, 0.04, 0.04])
    assert found.se == pytest.approx(math.sqrt(0.01 + 0.12 / 9))


def test_a_value_like_the_others_has_a_p_value_of_a_half() -> None:
    assert against_recent(1.0, 0.0, [1.0, 1.0], [0.0, 0.0]).p_greater == 1.0
    assert against_recent(2.0, 0.1, [1.0, 3.0], [0.1, 0.1]).p_greater == pytest.approx(0.5)


def test_one_value_has_no_spread() -> None:
    with pytest.raises(ValueError, match="two"):
        against_recent(1.0, 0.1, [1.0], [0.1])


@pytest.mark.parametrize("k", [3, 4, 8])
@pytest.mark.parametrize("between", [0.0, 1.0, 5.0])
def test_false_alarms_and_coverage_keep_their_rates(k: int, between: float) -> None:
    """between: how much releases differ, in standard errors of one."""
    rng = np.random.default_rng(100 * k + int(10 * between))
    alarms = missed = 0
    for _ in range(R):
        true = rng.normal(0, between, k + 1)
        seen = true + rng.normal(size=k + 1)
        found = against_recent(float(seen[0]), 1.0, seen[1:].tolist(), [1.0] * k)
        alarms += found.p_greater < 0.05
        missed += not found.low <= 0 <= found.high
    assert alarms / R <= bound(0.05)
    assert missed / R <= bound(0.05)


def test_a_rise_of_many_errors_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [
        against_recent(8.0 + rng.normal(), 1.0, rng.normal(size=4).tolist(), [1.0] * 4).p_greater
        for _ in range(500)
    ]
    assert np.mean(np.array(found) < 0.05) > 0.9
