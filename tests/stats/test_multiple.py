from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from analysis.stats.multiple import benjamini_hochberg, fcr_level, holm, simes

FAMILIES = {
    "one test": [0.03],
    "ties": [0.01, 0.01, 0.5, 0.5, 0.04],
    "zeros and ones": [0.0, 1.0, 0.0, 0.2],
    "uniform": list(np.random.default_rng(1).uniform(size=200)),
    "some signals": list(np.random.default_rng(2).uniform(size=50) ** 4),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_adjusted_p_values_are_those_of_statsmodels(family: list[float]) -> None:
    for ours, method in ((benjamini_hochberg, "fdr_bh"), (holm, "holm")):
        np.testing.assert_allclose(
            ours(family), multipletests(family, method=method)[1], rtol=1e-12
        )


def test_missing_p_values_are_no_tests() -> None:
    p = [0.01, math.nan, 0.04, math.nan, 0.2]
    known = [0.01, 0.04, 0.2]
    for adjust in (benjamini_hochberg, holm):
        np.testing.assert_array_equal(adjust(p)[[0, 2, 4]], adjust(known))
        assert np.isnan(adjust(p)[[1, 3]]).all()
        assert adjust([]).shape == (0,)
        assert np.isnan(adjust([math.nan])).all()
    assert simes(p) == simes(known)
    assert math.isnan(simes([]))


def test_simes_is_the_smallest_adjusted_p_value_of_benjamini_and_hochberg() -> None:
    for family in FAMILIES.values():
        assert simes(family) == pytest.approx(benjamini_hochberg(family).min(), rel=1e-12)


def test_simes_holds_its_level_for_independent_nulls() -> None:
    p = np.random.default_rng(7).uniform(size=(4000, 20))
    false = np.mean([simes(row) < 0.05 for row in p])
    assert false <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(
    ("selected", "tested", "expected"), [(1, 100, 0.9995), (100, 100, 0.95), (0, 0, 0.95)]
)
def test_selected_intervals_have_the_false_coverage_level(
    selected: int, tested: int, expected: float
) -> None:
    assert fcr_level(selected, tested, 0.05) == pytest.approx(expected)
