from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from analysis.stats.boosted_tables import (
    MAX_PAIR_CELLS,
    RIDGE,
    BoostedTables,
    CodedColumn,
    Shape,
    fit_one_table,
    fit_tables,
    shapes_of,
)


def coded(*codes: np.ndarray) -> list[CodedColumn]:
    return [CodedColumn((c.astype(np.int64),), (int(c.max()) + 1,)) for c in codes]


def world(seed: int, n: int = 4000) -> tuple[list[CodedColumn], np.ndarray, np.ndarray]:
    """Six columns of three values; y holds where the first two are equal, more often than not."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (6, n))
    y = rng.random(n) < np.where(x[0] == x[1], 0.6, 0.45)
    return coded(*x), y, rng.integers(0, 5, n)


def part(columns: list[CodedColumn], rows: slice) -> list[CodedColumn]:
    return [CodedColumn(tuple(c[rows] for c in k.codes), k.sizes) for k in columns]


def fitted(seed: int) -> tuple[BoostedTables, float]:
    columns, y, fold = world(seed)
    half, rest = slice(0, 2000), slice(2000, 4000)
    model = fit_tables(part(columns, half), y[half], np.ones(2000), fold[half])
    return model, float(roc_auc_score(y[rest], model.log_odds(part(columns, rest))))


@pytest.mark.parametrize("seed", range(3))
def test_two_columns_that_say_nothing_alone_are_found_together(seed: int) -> None:
    """The best possible AUC here is 0.57."""
    model, auc = fitted(seed)
    assert model.tables[0].shape.columns == (0, 1)
    assert auc > 0.55


def test_three_columns_that_say_nothing_in_pairs_are_found_together() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (5, 4000))
    y = rng.random(4000) < np.where((x[0] + x[1] + x[2]) % 2 == 0, 0.6, 0.4)
    model = fit_tables(coded(*x), y, np.ones(4000), rng.integers(0, 5, 4000))
    assert model.tables[0].shape.columns == (0, 1, 2)


def test_a_column_that_says_all_by_itself_is_not_given_company() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, (5, 3000))
    y = rng.random(3000) < np.where(x[4] == 1, 0.6, 0.4)
    model = fit_tables(coded(*x), y, np.ones(3000), rng.integers(0, 5, 3000))
    assert model.tables[0].shape.columns == (4,)


def test_noise_stops_it_early() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, (6, 2000))
    model = fit_tables(coded(*x), rng.random(2000) < 0.4, np.ones(2000), rng.integers(0, 5, 2000))
    assert 1 <= len(model.tables) <= 4
    assert np.ptp(model.log_odds(coded(*x))) < 1.5


def test_one_table_is_a_ridge_newton_step_from_the_overall_rate() -> None:
    x, y = np.array([0, 0, 0, 1, 1]), np.array([True, True, False, False, False])
    model = fit_one_table(coded(x), y, np.ones(5), Shape(((0, 0),), (2,)))
    assert model.intercept == pytest.approx(np.log(0.4 / 0.6))
    expected = [(2 - 3 * 0.4) / (3 * 0.24 + RIDGE), (0 - 2 * 0.4) / (2 * 0.24 + RIDGE)]
    assert model.tables[0].values == pytest.approx(expected)


def test_a_weight_of_two_is_two_rows() -> None:
    columns, y, fold = world(5, 1500)
    weight = 1.0 + (np.arange(1500) % 3 == 0)
    twice = np.repeat(np.arange(1500), weight.astype(int))
    one = fit_tables(columns, y, weight, fold)
    many = fit_tables(
        [CodedColumn((k.codes[0][twice],), k.sizes) for k in columns],
        y[twice], np.ones(len(twice)), fold[twice],
    )  # fmt: skip
    # The mean weight is 1 in both, so that the ridge counts alike only per row; ranks agree.
    a, b = one.log_odds(columns), many.log_odds(columns)
    assert one.tables[0].shape == many.tables[0].shape
    assert np.corrcoef(a, b)[0, 1] > 0.98


def test_the_same_rows_give_the_same_model() -> None:
    assert fitted(0)[1] == fitted(0)[1]


def test_every_pair_is_tried_however_many_columns_there_are() -> None:
    shapes = shapes_of([(40, 10, 5)] * 30)
    pairs = {s.columns for s in shapes if len(s.parts) == 2}
    assert len(pairs) == 30 * 29 // 2
    assert len(shapes) < 3000
    assert max(s.n_cells for s in shapes if len(s.parts) == 2) <= MAX_PAIR_CELLS
