"""Outcomes by context and action: the engine pools small cells, and nothing else changes."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from analysis.stats.kitagawa import OTHER, Cell, decompose_rate_change, pool_small_cells
from analysis.telemetry.engine import DuckDB
from analysis.telemetry.outcome_cells import outcome_cells


def world(n: int = 4000) -> pd.DataFrame:
    """Cells of all sizes: large, small, in one window alone, and with missing keys."""
    rng = np.random.default_rng(1)
    outcome = rng.random(n)
    failure = pd.array(outcome < 0.2, dtype="boolean")
    failure[outcome > 0.9] = pd.NA
    win = pd.array(rng.integers(0, 2, n), dtype="Int8")
    win[rng.random(n) < 0.1] = pd.NA
    model = rng.choice(["a", "b", "c", None], n, p=[0.6, 0.3, 0.01, 0.09]).astype(object)
    model[np.flatnonzero((win == 1).fillna(False))[:100]] = "new"
    return pd.DataFrame(
        {
            "win": win,
            "failure": failure,
            "weight": rng.integers(0, 4, n),
            "tier": pd.array(rng.geometric(0.4, n), dtype="Int64"),
            "model": model,
        }
    )


def by_hand(
    fact: pd.DataFrame, context: list[str], action: list[str]
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], Cell]:
    rows = fact[fact["win"].notna() & fact["failure"].notna() & (fact["weight"] > 0)]
    cells: dict[tuple[tuple[str, ...], tuple[str, ...]], Cell] = {}
    for row in rows.itertuples():
        held = {c: getattr(row, c) for c in (*context, *action)}
        shown = {
            c: repr(None if pd.isna(v) else int(v) if c == "tier" else v) for c, v in held.items()
        }
        values = [tuple(shown[c] for c in names) for names in (context, action)]
        weight = [row.weight if row.win == w else 0 for w in (0, 1)]
        one = Cell(
            (weight[0], weight[1]),
            (weight[0] * row.failure, weight[1] * row.failure),
            (int(row.win == 0), int(row.win == 1)),
        )
        key = (values[0], values[1])
        cells[key] = cells[key] + one if key in cells else one
    return cells


@pytest.mark.parametrize(
    ("context", "action"),
    [(["tier"], ["model"]), (["tier", "model"], []), ([], ["model"]), ([], [])],
)
def test_cells_are_those_of_the_rows_with_small_ones_pooled(
    context: list[str], action: list[str]
) -> None:
    fact = world()
    engine = DuckDB(duckdb.connect())
    engine.put("fact", fact)
    found = outcome_cells(engine, context, action, 50)
    plain = by_hand(fact, context, action)
    assert pool_small_cells(found) == pool_small_cells(plain)
    assert decompose_rate_change(found) == decompose_rate_change(plain)
    assert len(found) <= len(plain) or not context
    if context and action:
        assert (OTHER, OTHER) in found
        assert len(found) < len(plain)


def test_no_row_is_no_cell() -> None:
    engine = DuckDB(duckdb.connect())
    engine.put("fact", world().assign(weight=0))
    assert pool_small_cells(outcome_cells(engine, [], [], 50)) == {}
    assert outcome_cells(engine, ["tier"], ["model"], 50) == {}
