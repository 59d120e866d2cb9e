from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from analysis.stats.multiple import benjamini_hochberg, fcr_level, focused_bh, holm, simes

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


def test_focused_bh_without_a_filter_is_bh() -> None:
    for family in FAMILIES.values():
        kept, _ = focused_bh(family, lambda rejected: rejected, 0.1)
        expected = np.flatnonzero(multipletests(family, alpha=0.1, method="fdr_bh")[0])
        np.testing.assert_array_equal(kept, expected)


def test_focused_bh_lowers_the_threshold_until_what_is_kept_pays_for_it() -> None:
    p = [0.001, 0.002, 0.003, 0.012, math.nan]
    # Pairs (0, 1) and (2, 3) fold to their first member: four are rejected, two are kept.
    fold = lambda rejected: np.unique(rejected // 2 * 2)  # noqa: E731
    kept, threshold = focused_bh(p, fold, 0.02)
    # t = 0.012: 4 · 0.012 / 2 = 0.024 > 0.02; t = 0.003: 4 · 0.003 / 2 = 0.006.
    assert kept.tolist() == [0, 2]
    assert threshold == 0.003
    mask = lambda rejected: rejected % 2 == 0  # noqa: E731
    assert focused_bh(p, mask, 0.02)[0].tolist() == [0, 2]


def test_focused_bh_keeps_nothing_where_nothing_is_rejected() -> None:
    for p in ([], [math.nan], [0.5, 0.9]):
        kept, threshold = focused_bh(p, lambda rejected: rejected, 0.05)
        assert kept.size == 0
        assert threshold == 0.0


def test_focused_bh_holds_its_rate_after_folding() -> None:
    """Nested slices: 30 pairs of correlated p-values, 6 pairs real; a pair folds to its smaller."""
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(800):
        shared = rng.normal(size=(30, 1))
        z = 0.7 * shared + math.sqrt(1 - 0.49) * rng.normal(size=(30, 2))
        z[:6] += 3.5
        p = np.asarray([0.5 * math.erfc(v / math.sqrt(2)) for v in z.ravel()])

        def fold(rejected: np.ndarray, p: np.ndarray = p) -> np.ndarray:
            best = {int(i) // 2: int(i) for i in rejected[np.argsort(-p[rejected])]}
            return np.asarray(sorted(best.values()), dtype=np.intp)

        kept, _ = focused_bh(p, fold, 0.1)
        shares.append(np.mean(kept // 2 >= 6) if kept.size else 0.0)
    assert np.mean(shares) <= 0.1 + 1.645 * np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) > 0.02
