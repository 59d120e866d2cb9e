"""Influences in the engine: the same variances as from the rows themselves, however rows lie."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pandas as pd
import pytest

from analysis.stats import decomposition
from analysis.stats.influence import Day, Spread, spread
from analysis.telemetry import cell_sums, cluster_choice
from analysis.telemetry.cell_sums import Cells, CellSums, Column, Partition
from analysis.telemetry.engine import DuckDB
from analysis.telemetry.moments import Metric
from tests.stats.kitagawa import GONE, NEW, OTHER, Cell, decompose_rate_change, pool_small_cells

METRICS = [Metric.rate("failure", "failure"), Metric.mean("cost", "cost_nano", 10**9)]
PARTS = [Partition(("use", "model"), 1), Partition(("tier",), 1), Partition((), 0)]


def world(n: int = 6000, seed: int = 1) -> pd.DataFrame:
    """Cells of all sizes: large, small, in one window alone, with missing keys; users in both windows."""
    rng = np.random.default_rng(seed)
    outcome = rng.random(n)
    failure = pd.array(outcome < 0.2, dtype="boolean")
    failure[outcome > 0.97] = pd.NA
    win = pd.array(rng.integers(0, 2, n), dtype="Int8")
    win[rng.random(n) < 0.05] = pd.NA
    model = rng.choice(["a", "b", "c", None], n, p=[0.6, 0.3, 0.01, 0.09]).astype(object)
    model[np.flatnonzero((win == 1).fillna(False))[:150]] = "new"
    cost = pd.array(rng.lognormal(15, 1, n).astype(np.int64), dtype="Int64")
    cost[rng.random(n) < 0.02] = pd.NA
    return pd.DataFrame(
        {
            "win": win,
            "failure": failure,
            "cost_nano": cost,
            "weight": rng.integers(0, 4, n),
            "cluster": rng.geometric(0.004, n),
            "day": rng.integers(0, 9, n),
            "use": rng.choice(["x", "y", "rare"], n, p=[0.5, 0.494, 0.006]),
            "tier": pd.array(rng.geometric(0.4, n), dtype="Int64"),
            "model": model,
        }
    )


def engine_of(fact: pd.DataFrame) -> DuckDB:
    con = duckdb.connect()
    con.register("fact_frame", fact)
    con.execute("CREATE TABLE fact AS SELECT * FROM fact_frame")
    con.execute("CREATE TABLE cluster_ids AS SELECT DISTINCT cluster AS code, "
                "'u' || cluster AS id FROM fact")  # fmt: skip
    return DuckDB(con)


def columns_of(cells: list[Cells]) -> list[Column]:
    """within and mix_context of both metrics, over cells by two columns."""
    out = []
    for m in (0, 1):
        found = decomposition.decompose(
            decomposition.CellSums(
                cells[0].n[m].astype(float),
                cells[0].y[m].astype(float),
                np.unique([repr(v[:1]) for v in cells[0].values], return_inverse=True)[1],
            )
        )
        out += [Column(0, m, found.within), Column(0, m, found.mix_context)]
    return out


def measured(
    fact: pd.DataFrame, by_days: bool = True
) -> tuple[list[Cells], list[Column], list[Spread]]:
    engine = engine_of(fact)
    with CellSums(engine, PARTS, METRICS, "f.failure IS NOT NULL", 50, by_days) as sums:
        cells = sums.cells()
        columns = columns_of(cells)
        spreads = sums.spreads(cells, columns, [{0: 1}, {0: 1, 1: -1}, {2: 1}, {2: 1, 3: 1}])
    left = engine.rows("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'conseq%'")
    assert left == []
    return cells, columns, spreads


def influences(fact: pd.DataFrame, cells: Cells, column: Column) -> pd.Series:
    """Each row's own, from the frame alone."""
    rows = fact[fact["win"].notna() & (fact["weight"] > 0)]
    value = rows["failure"] if column.metric == 0 else rows["cost_nano"]
    known = value.notna()
    place = {v: k for k, v in enumerate(cells.values) if v}
    small = {int(c): k for k, c in enumerate(cells.ids) if c <= 0}
    based = rows[rows["failure"].notna() & (rows["win"] == 0)]
    has = set(zip(based["use"], based["model"].astype(str), strict=True))
    out = []
    for use, model, win, weight, v, k in zip(
        rows["use"], rows["model"], rows["win"], rows["weight"], value, known, strict=True
    ):
        key = (use, None if pd.isna(model) else model)
        if key in place:
            at = place[key]
        elif use == "rare":
            at = small.get(0 if (use, str(model)) in has else -1, -1)
        else:
            at = place[use, "(other)"]
        a, b = column.form.on_n[win, at], column.form.on_y[win, at]
        out.append(weight * (a + b * float(v)) if k else 0.0)
    return pd.Series(out, index=rows.index)


@pytest.mark.parametrize("by_days", [True, False])
def test_spreads_are_those_of_the_rows(by_days: bool) -> None:
    fact = world()
    cells, columns, found = measured(fact, by_days)
    each = [influences(fact, cells[0], c) for c in columns]
    wanted = [each[0], each[0] - each[1], each[2], each[2] + each[3]]
    rows = fact.loc[each[0].index]
    n_clusters = rows["cluster"].nunique()
    for place, own in enumerate(wanted):
        squares = float((own.groupby(rows["cluster"]).sum() ** 2).sum())
        known = rows["failure" if place < 2 else "cost_nano"].notna() * rows["weight"]
        daily = own.groupby([rows["win"], rows["day"]]).sum()
        sizes = known.groupby([rows["win"], rows["day"]]).sum()
        days = [Day(int(w), v, float(sizes[w, d])) for (w, d), v in daily.items()]
        expected = spread(squares, n_clusters, days if by_days else None)
        assert found[place].variance == pytest.approx(expected.variance, rel=2e-4)
        assert found[place].df == pytest.approx(expected.df, rel=1e-6)


Key = tuple[object, object]
_POOLS = {"(other)": OTHER, "(other, new)": NEW, "(other, gone)": GONE}


def by_hand(fact: pd.DataFrame, context: list[str], action: list[str]) -> dict[Key, Cell]:
    """The cells of the failure rate from the frame alone, none pooled."""
    rows = fact[fact["win"].notna() & fact["failure"].notna() & (fact["weight"] > 0)]
    cells: dict[Key, Cell] = {}
    for row in rows.itertuples():
        shown = {c: None if pd.isna(v := getattr(row, c)) else str(v) for c in (*context, *action)}
        key = tuple(shown[c] for c in context), tuple(shown[c] for c in action)
        weight = [row.weight if row.win == w else 0 for w in (0, 1)]
        one = Cell(
            (weight[0], weight[1]),
            (weight[0] * row.failure, weight[1] * row.failure),
            (int(row.win == 0), int(row.win == 1)),
        )
        cells[key] = cells[key] + one if key in cells else one
    return cells


def in_engine(fact: pd.DataFrame, context: list[str], action: list[str]) -> dict[Key, Cell]:
    """The same as the engine pools them."""
    part = Partition((*context, *action), len(context))
    with CellSums(engine_of(fact), [part], METRICS, "f.failure IS NOT NULL", 50, True) as sums:
        [cells] = sums.cells()
    found: dict[Key, Cell] = {}
    for k, (cell, values) in enumerate(zip(cells.ids, cells.values, strict=True)):
        of, by = values[: len(context)], values[len(context) :]
        key = (of, _POOLS.get(str(by[0]), by) if by else by) if cell > 0 else (OTHER, OTHER)
        (n0, n1), (y0, y1) = cells.n[0, :, k], cells.y[0, :, k]
        one = Cell((n0, n1), (y0, y1))
        found[key] = found[key] + one if key in found else one
    return found


def sums(cells: dict[Key, Cell]) -> dict[Key, tuple[object, object]]:
    return {key: (c.n, c.y) for key, c in cells.items()}


@pytest.mark.parametrize(
    ("context", "action"),
    [(["tier"], ["model"]), (["tier", "model"], []), ([], ["model"]), ([], [])],
)
def test_cells_are_those_of_the_rows_with_small_ones_pooled(
    context: list[str], action: list[str]
) -> None:
    fact = world()
    found = in_engine(fact, context, action)
    plain = by_hand(fact, context, action)
    assert sums(pool_small_cells(found)) == sums(pool_small_cells(plain))
    assert decompose_rate_change(found) == decompose_rate_change(plain)
    assert len(found) <= len(plain) or not context
    if context and action:
        assert (OTHER, OTHER) in found
        assert len(found) < len(plain)


def test_no_row_is_no_cell() -> None:
    nothing = world().assign(weight=0)
    assert in_engine(nothing, [], []) == {}
    assert in_engine(nothing, ["tier"], ["model"]) == {}


def test_cells_pool_as_those_of_the_failure_rate() -> None:
    fact = world()
    cells, _, _ = measured(fact)
    known = pool_small_cells(by_hand(fact, ["use"], ["model"]), 50)
    n = {tuple(sorted(zip(c.n, c.y, strict=True))) for c in known.values()}
    large = cells[0].ids > 0
    mine = [
        tuple(sorted((int(cells[0].n[0, w, k]), int(cells[0].y[0, w, k])) for w in (0, 1)))
        for k in np.flatnonzero(large)
    ]
    assert len(known) == large.sum() + 1
    assert set(mine) <= n
    assert int(cells[0].n[0].sum()) == sum(int(sum(c.n)) for c in known.values())


def test_no_columns_are_one_cell_and_missing_values_are_one_too() -> None:
    cells, _, _ = measured(world())
    assert len(cells[2].ids) == 1
    assert any(v == ("x", None) for v in cells[0].values)


def test_neither_the_order_of_rows_nor_their_history_changes_a_digit() -> None:
    fact = world()
    shuffled = fact.sample(frac=1.0, random_state=5).reset_index(drop=True)
    one, other = measured(fact), measured(shuffled)
    assert one[2] == other[2]
    assert [c.values for c in one[0]] == [c.values for c in other[0]]


def test_of_many_clusters_a_sample_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fact = world(20_000)
    _, _, exact = measured(fact, by_days=False)
    monkeypatch.setattr(cluster_choice, "MAX_CLUSTERS", 500)
    monkeypatch.setattr(cluster_choice, "N_CERTAIN", 100)
    _, _, sampled = measured(fact, by_days=False)
    for a, b in zip(exact, sampled, strict=True):
        assert b.variance == pytest.approx(a.variance, rel=0.25)
        assert b.variance != a.variance


def test_a_dimension_of_many_values_tells_the_largest_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell_sums, "MAX_VALUES", 3)
    engine = engine_of(world())
    crowded = Partition(("tier",), 1, crowded=True)
    with CellSums(engine, [crowded], METRICS, "f.failure IS NOT NULL", 50, True) as sums:
        [cells] = sums.cells()
    assert [v for v in cells.values if v] == [("1",), ("2",), ("3",)]
    assert math.isclose(float(cells.n[0].sum()), float(
        (world()["failure"].notna() * world()["weight"] * world()["win"].notna()).sum()
    ))  # fmt: skip
