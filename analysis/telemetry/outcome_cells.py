"""Outcomes of both windows by cells of some columns, small cells pooled in the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from analysis.stats.kitagawa import OTHER, Cell
from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier


def outcome_cells(
    engine: Engine, context: Sequence[str], action: Sequence[str], min_rows: int
) -> dict[tuple[Hashable, Hashable], Cell]:
    """Labelled and failed rows of each context × action.

    Cells under `min_rows` in either window come as one, under the key (`OTHER`, `OTHER`), but for
    those that are absent in one window and large in the other (`stats.kitagawa.pool_small_cells`).
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
    single = "".join(f"CASE WHEN large = 1 THEN {k} END, " for k in names)
    rows = engine.rows(
        f"""
        WITH cells AS (
            SELECT {"".join(f"{k}, " for k in keys)} {sums} FROM fact f
            WHERE f.win IS NOT NULL AND f.failure IS NOT NULL AND f.weight > 0 {grouped}
        ), judged AS (
            SELECT {"".join(f"{k}, " for k in names)} n0, y0, rows0, n1, y1, rows1,
                   CASE WHEN (rows0 >= $least OR rows0 = 0) AND (rows1 >= $least OR rows1 = 0)
                        THEN 1 ELSE 0 END AS large
            FROM cells
        )
        SELECT {single} large, sum(n0), sum(y0), sum(rows0), sum(n1), sum(y1), sum(rows1)
        FROM judged GROUP BY {", ".join(str(i + 1) for i in range(len(keys) + 1))}
        """,
        {"least": min_rows},
    )
    found: dict[tuple[Hashable, Hashable], Cell] = {}
    split = len(context)
    for row in rows:
        *values, large = row[: len(keys) + 1]
        n0, y0, rows0, n1, y1, rows1 = (int(v) for v in row[len(keys) + 1 :])
        key: tuple[Hashable, Hashable] = (OTHER, OTHER)
        if large:
            key = (tuple(map(repr, values[:split])), tuple(map(repr, values[split:])))
        found[key] = Cell((n0, n1), (y0, y1), (rows0, rows1))
    return found
