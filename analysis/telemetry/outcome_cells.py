"""Outcomes of both windows by cells of some columns, small cells pooled in the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from analysis.stats.kitagawa import GONE, MIN_ACTION_ROWS, NEW, OTHER, Cell
from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier

SMALL, ALONE, OTHERS, ONLY_NEW, ONLY_GONE = range(5)
"""What a cell counts as: part of what is small, itself, or part of its context's small actions."""
_POOLS: dict[int, Hashable] = {SMALL: OTHER, OTHERS: OTHER, ONLY_NEW: NEW, ONLY_GONE: GONE}


def kind_of_cell(alone: str = "", *, has_actions: bool = True) -> str:
    """The kind as SQL over rows0, rows1 of a cell and context0, context1 of its context.

    alone: further conditions of a cell that stands alone, each after AND. has_actions: whether a cell is
    less than its context. Reads $least and $least_action.
    """

    def large(rows: str, least: str) -> str:
        return " AND ".join(f"({rows}{w} >= ${least} OR {rows}{w} = 0)" for w in (0, 1))

    inside = (
        f"WHEN rows0 = 0 THEN {ONLY_NEW} WHEN rows1 = 0 THEN {ONLY_GONE} ELSE {OTHERS}"
        if has_actions
        else f"ELSE {SMALL}"
    )
    return (
        f"CASE WHEN rows0 + rows1 = 0 OR NOT ({large('context', 'least')}) THEN {SMALL} "
        f"WHEN {large('rows', 'least_action')} {alone} THEN {ALONE} {inside} END"
    )


def outcome_cells(
    engine: Engine, context: Sequence[str], action: Sequence[str], min_rows: int
) -> dict[tuple[Hashable, Hashable], Cell]:
    """Labelled and failed rows of each context × action.

    Small contexts come as one, under the key (`OTHER`, `OTHER`), and so do the small actions of a
    context, under the actions `OTHER`, `NEW` and `GONE` (`stats.kitagawa.pool_small_cells`).
    """
    keys = [f"f.{identifier(c)} AS k{i}" for i, c in enumerate((*context, *action))]
    names = [f"k{i}" for i in range(len(keys))]
    sums = ", ".join(
        f"coalesce(sum(f.weight) FILTER (WHERE f.win = {win}), 0) AS n{win}, "
        f"coalesce(sum(f.weight) FILTER (WHERE f.win = {win} AND f.failure), 0) AS y{win}, "
        f"count(*) FILTER (WHERE f.win = {win}) AS rows{win}"
        for win in (0, 1)
    )
    grouped = f"GROUP BY {', '.join(str(i + 1) for i in range(len(keys)))}" if keys else ""
    split = len(context)
    within = f"PARTITION BY {', '.join(names[:split])}" if split else ""
    single = [f"CASE WHEN kind > 0 THEN {k} END, " for k in names[:split]]
    single += [f"CASE WHEN kind = 1 THEN {k} END, " for k in names[split:]]
    listed = "".join(f"{k}, " for k in names)
    rows = engine.rows(
        f"""
        WITH cells AS (
            SELECT {"".join(f"{k}, " for k in keys)} {sums} FROM fact f
            WHERE f.win IS NOT NULL AND f.failure IS NOT NULL AND f.weight > 0 {grouped}
        ), placed AS (
            SELECT {listed} n0, y0, rows0, n1, y1, rows1,
                   sum(rows0) OVER ({within}) AS context0, sum(rows1) OVER ({within}) AS context1
            FROM cells
        ), judged AS (
            SELECT {listed} n0, y0, rows0, n1, y1, rows1, {kind_of_cell()} AS kind FROM placed
        )
        SELECT {"".join(single)} kind, sum(n0), sum(y0), sum(rows0), sum(n1), sum(y1), sum(rows1)
        FROM judged GROUP BY {", ".join(str(i + 1) for i in range(len(keys) + 1))}
        """,
        {"least": min_rows, "least_action": min(MIN_ACTION_ROWS, min_rows)},
    )
    found: dict[tuple[Hashable, Hashable], Cell] = {}
    for row in rows:
        *values, kind = row[: len(keys) + 1]
        n0, y0, rows0, n1, y1, rows1 = (int(v) for v in row[len(keys) + 1 :])
        of: Hashable = tuple(map(repr, values[:split])) if kind else OTHER
        by: Hashable = tuple(map(repr, values[split:])) if kind == ALONE else _POOLS[kind]
        found[of, by] = Cell((n0, n1), (y0, y1), (rows0, rows1))
    return found
