from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from analysis.stats.decomposition import (
    CellSums,
    decompose,
    effects,
    reweighted,
    window_rate,
)
from analysis.stats.influence import Day, Linearised, spread
from tests.stats.kitagawa import Cell, decompose_rate_change

PARTS = ("total", "mix_context", "mix_action", "within", "mix")


def random_cells(seed: int, *, holes: bool = True) -> CellSums:
    rng = np.random.default_rng(seed)
    context = np.repeat(np.arange(4), 3)
    n = rng.integers(50, 400, (2, 12)).astype(float)
    if holes:
        n[0, [1, 6, 7, 8]] = 0  # the baseline lacks a cell, and a context
        n[1, [4]] = 0
    y = np.floor(n * rng.uniform(0.02, 0.4, (2, 12)))
    return CellSums(n, y, context)


def numeric(f: Callable[[CellSums], float], cells: CellSums) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives by central differences, of cells that have rows."""
    out = []
    for which in ("n", "y"):
        slopes = np.zeros_like(cells.n)
        for at in np.ndindex(cells.n.shape):
            if cells.n[at] == 0:
                continue
            values = []
            for step in (1e-4, -1e-4):
                moved = {"n": cells.n.copy(), "y": cells.y.copy()}
                moved[which][at] += step
                values.append(f(CellSums(moved["n"], moved["y"], cells.context)))
            slopes[at] = (values[0] - values[1]) / 2e-4
        out.append(slopes)
    return out[0], out[1]


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_those_of_kitagawa_and_sum_to_the_total(seed: int) -> None:
    cells = random_cells(seed)
    found = decompose(cells)
    held = {
        (int(c), k): Cell(tuple(cells.n[:, k]), tuple(cells.y[:, k]))
        for k, c in enumerate(cells.context)
    }
    known = decompose_rate_change(held, min_rows=0)
    assert known is not None
    for name in PARTS:
        assert getattr(found, name).value == pytest.approx(getattr(known, name), abs=1e-14)
    whole = found.mix_context + found.mix_action + found.within
    assert whole.value == pytest.approx(found.total.value, abs=1e-14)
    has = cells.n > 0
    np.testing.assert_allclose(whole.on_n[has], found.total.on_n[has], atol=1e-15)
    np.testing.assert_allclose(whole.on_y[has], found.total.on_y[has], atol=1e-15)


@pytest.mark.parametrize("name", PARTS)
def test_influences_are_the_derivatives_of_each_part(name: str) -> None:
    cells = random_cells(7)
    found = getattr(decompose(cells), name)
    on_n, on_y = numeric(lambda c: float(getattr(decompose(c), name).value), cells)
    has = cells.n > 0
    np.testing.assert_allclose(found.on_n[has], on_n[has], atol=1e-9)
    np.testing.assert_allclose(found.on_y[has], on_y[has], atol=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_influences_sum_to_nothing_in_each_window(name: str) -> None:
    cells = random_cells(8)
    found = getattr(decompose(cells), name)
    sums = (found.on_n * cells.n + found.on_y * cells.y).sum(axis=1)
    np.testing.assert_allclose(sums, 0.0, atol=1e-12)


@pytest.mark.parametrize("by", ["context", "cell"])
@pytest.mark.parametrize("of", ["known", "unknown", "value"])
def test_influences_of_reweighted_rates_are_their_derivatives(by: str, of: str) -> None:
    cells = random_cells(9)
    group = cells.context if by == "context" else np.arange(12)

    def part(c: CellSums) -> Linearised:
        found: Linearised = getattr(reweighted(c, group), of)
        return found

    on_n, on_y = numeric(lambda c: part(c).value, cells)
    has = cells.n > 0
    np.testing.assert_allclose(part(cells).on_n[has], on_n[has], atol=1e-9)
    np.testing.assert_allclose(part(cells).on_y[has], on_y[has], atol=1e-9)


def test_old_rates_in_new_traffic_by_hand() -> None:
    n = np.array([[100.0, 300.0, 0.0], [200.0, 100.0, 100.0]])
    y = np.array([[10.0, 90.0, 0.0], [0.0, 0.0, 50.0]])
    found = reweighted(CellSums(n, y, np.arange(3)), np.arange(3))
    assert found.unknown.value == pytest.approx(0.25)
    assert found.known.value == pytest.approx(0.5 * 0.1 + 0.25 * 0.3)
    assert found.value is not None
    assert found.value.value == pytest.approx((0.5 * 0.1 + 0.25 * 0.3) / 0.75)
    assert found.at(0.0).value == pytest.approx(0.125)
    assert found.at(1.0).value == pytest.approx(0.375)


def test_nothing_is_said_where_the_baseline_has_no_cell_of_the_candidate() -> None:
    n, y = np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    assert reweighted(CellSums(n, y, np.arange(2)), np.arange(2)).value is None


@pytest.mark.parametrize("seed", range(4))
def test_effects_by_value_sum_to_the_parts_of_one_dimension(seed: int) -> None:
    cells = random_cells(seed)
    own = CellSums(cells.n, cells.y, np.arange(12))
    found, whole = effects(own), decompose(own)
    assert math.fsum(found.mix) == pytest.approx(whole.mix.value, abs=1e-14)
    assert math.fsum(found.within) == pytest.approx(whole.within.value, abs=1e-14)
    assert whole.mix_action.value == pytest.approx(0.0, abs=1e-15)


def test_a_value_that_grows_and_fails_more_than_others_adds_through_its_share() -> None:
    n = np.array([[100.0, 900.0], [400.0, 600.0]])
    found = effects(CellSums(n, n * [[0.3, 0.05]], np.arange(2)))
    assert (found.mix > 0).all()
    assert found.within == pytest.approx([0.0, 0.0], abs=1e-15)


def test_the_ratio_of_statistics_has_the_derivative_of_a_ratio() -> None:
    cells = random_cells(3)
    one, zero = window_rate(cells, 1), window_rate(cells, 0)
    ratio = one.over(zero)
    on_n, on_y = numeric(lambda c: window_rate(c, 1).value / window_rate(c, 0).value, cells)
    has = cells.n > 0
    np.testing.assert_allclose(ratio.on_n[has], on_n[has], atol=1e-8)
    np.testing.assert_allclose(ratio.on_y[has], on_y[has], atol=1e-8)


class TestSpread:
    def test_days_count_where_they_vary_more_than_clusters(self) -> None:
        days = [Day(w, 0.1 * (-1) ** d, 10.0) for w in (0, 1) for d in range(4)]
        found = spread(1e-6, 50, days)
        assert found.variance == pytest.approx(2 * 4 / 3 * 4 * 0.01)
        assert found.df == pytest.approx(6.0)
        assert spread(9.0, 50, days).variance == pytest.approx(9.0 * 50 / 49)

    def test_a_window_of_one_day_borrows_from_the_other(self) -> None:
        days = [Day(0, 0.1 * (-1) ** d, 10.0) for d in range(4)] + [Day(1, 0.0, 10.0)]
        own = 4 / 3 * 4 * 0.01
        assert spread(0.0, 50, days).variance == pytest.approx(own + own * 4)
        assert spread(0.0, 50, days).df == 3.0

    def test_one_cluster_tells_nothing(self) -> None:
        assert math.isnan(spread(1.0, 1).variance)
        assert math.isnan(spread(1.0, 1).reach())
