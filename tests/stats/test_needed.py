"""So many rows settle whether a rate is beyond its limit, and no fewer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.intervals import clopper_pearson
from analysis.stats.needed import rows_to_settle


@pytest.mark.parametrize("limit", [0.5, 0.05, 0.001])
@pytest.mark.parametrize("deff", [1.0, 2.5])
def test_without_a_failure_the_rows_are_exact(limit: float, deff: float) -> None:
    n = math.ceil(rows_to_settle(0.0, limit, deff))
    assert clopper_pearson(0, n, deff)[1] <= limit < clopper_pearson(0, n - 1, deff)[1]
    n = math.ceil(rows_to_settle(1.0, limit, deff))
    assert clopper_pearson(n, n, deff)[0] >= limit
    assert n == 1 or clopper_pearson(n - 1, n - 1, deff)[0] < limit


def test_a_target_of_three_nines_takes_the_known_number_without_a_failure() -> None:
    # log(0.025) / log(0.999): 3,687 requests, 15.4 days at 10 an hour.
    assert math.ceil(rows_to_settle(0.0, 0.001, 1.0)) == 3688


@pytest.mark.parametrize(("rate", "limit"), [(0.03, 0.05), (0.08, 0.05), (0.0005, 0.001)])
def test_so_many_rows_decide_in_eighty_of_a_hundred_cases(rate: float, limit: float) -> None:
    n = math.ceil(rows_to_settle(rate, limit, 1.0))
    rng, decided = np.random.default_rng(4), 0
    for y in rng.binomial(n, rate, 1000):
        low, high = clopper_pearson(int(y), n)
        decided += low > limit or high <= limit
    # The normal formula plans for 0.8; exact limits are a little wider, and few events are skewed.
    assert 0.72 <= decided / 1000 <= 0.9


def test_at_the_limit_no_traffic_decides() -> None:
    assert rows_to_settle(0.05, 0.05, 1.0) == math.inf
    assert rows_to_settle(0.0, 0.0, 1.0) == math.inf


def test_rows_grow_with_the_design_effect() -> None:
    assert rows_to_settle(0.03, 0.05, 3.0) == pytest.approx(3 * rows_to_settle(0.03, 0.05, 1.0))
