"""Strata as one comparison: beside statsmodels, and by what a weighted sum varies."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from analysis.stats.stratified import pooled

Y, N = np.array([12.0, 3.0, 40.0]), np.array([100.0, 40.0, 900.0])
REST_Y, REST_N = np.array([90.0, 30.0, 4.0]), np.array([1_000.0, 600.0, 80.0])


def test_the_ratio_is_that_of_mantel_and_haenszel() -> None:
    found = pooled(Y, N, REST_Y, REST_N, counts=True)
    tables = [
        np.array([[y, n - y], [ry, rn - ry]])
        for y, n, ry, rn in zip(Y, N, REST_Y, REST_N, strict=True)
    ]
    ratio = (found.y / found.n) / (found.rest_y / found.rest_n)
    assert ratio == pytest.approx(StratifiedTable(tables).riskratio_pooled)


@pytest.mark.parametrize("counts", [True, False])
def test_one_stratum_is_worth_its_own_numbers(counts: bool) -> None:
    found = pooled(Y[:1], N[:1], REST_Y[:1], REST_N[:1], counts=counts)
    assert (found.y, found.n, found.rest_y, found.rest_n) == pytest.approx((12, 100, 90, 1_000))


def test_strata_with_one_side_alone_say_nothing() -> None:
    empty = np.zeros(3)
    found = pooled(Y, N, np.array([90.0, 0, 0]), np.array([1_000.0, 0, 0]), counts=True)
    assert (found.y, found.n) == pytest.approx((12, 100))
    assert pooled(Y, N, empty, empty, counts=True).n == 0


def test_without_a_bad_event_rows_still_count() -> None:
    found = pooled(np.zeros(3), N, REST_Y, REST_N, counts=True)
    assert found.y == 0
    assert 0 < found.n < N.sum()


def test_what_strata_are_worth_varies_as_so_many_poisson_counts() -> None:
    rng = np.random.default_rng(4)
    ratios = []
    for _ in range(4_000):
        y, rest_y = rng.poisson(N * 0.1).astype(float), rng.poisson(REST_N * 0.1).astype(float)
        found = pooled(y, N, rest_y, REST_N, counts=True)
        ratios.append(np.log(found.y / found.n / (found.rest_y / found.rest_n)))
    expected = pooled(N * 0.1, N, REST_N * 0.1, REST_N, counts=True)
    assert np.var(ratios) == pytest.approx(1 / expected.y + 1 / expected.rest_y, rel=0.1)
