"""What was spent: by day, in all, and by model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.lmdi import Cell
from analysis.telemetry.fact import micros
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry


@dataclass(frozen=True)
class Spent:
    """Rows, those with a known cost, their nano-USD, and Σ of the squares of clusters' nano-USD."""

    n_rows: int
    n_known: int
    nano_usd: int
    cluster_squares: int


def spent(telemetry: Telemetry) -> Spent:
    """What the traffic of the candidate's time span cost."""
    row = telemetry.engine.row(
        "SELECT coalesce(sum(n), 0), coalesce(sum(known), 0), coalesce(sum(t), 0), "
        "coalesce(sum(t * t), 0) FROM (SELECT count(*) AS n, count(cost_nano) AS known, "
        "CAST(coalesce(sum(cost_nano), 0) AS HUGEINT) AS t "
        f"FROM fact WHERE {_scope(telemetry)} GROUP BY cluster) clusters"
    )
    return Spent(*(int(v) for v in row))


def spent_by_day(telemetry: Telemetry) -> dict[int, int]:
    """Day number → nano-USD of the candidate's time span."""
    rows = telemetry.engine.rows(
        f"SELECT day, coalesce(sum(cost_nano), 0) FROM fact WHERE {_scope(telemetry)} GROUP BY day"
    )
    return {int(day): int(nano) for day, nano in rows}


def _scope(telemetry: Telemetry) -> str:
    """Rows that the spend a day covers: a canary's span counts all traffic, less the exclusions."""
    if not telemetry.windows.by_release:
        return "win = 1"
    span = telemetry.windows.candidate
    where = f"ts_us >= {micros(span.start)} AND ts_us < {micros(span.end)}"
    for out in telemetry.windows.exclude:
        where += f" AND NOT (ts_us >= {micros(out.start)} AND ts_us < {micros(out.end)})"
    return where


def model_cells(
    telemetry: Telemetry, keys: Sequence[str]
) -> tuple[dict[int, dict[str, Cell]], dict[str, dict[str, str | None]]]:
    """Attempts, first attempts, tokens and cost of each model, weighted by weekday.

    Returns window → name → cell, and name → {key: value}.
    """
    tokens = "0"
    if telemetry.has("total_tokens"):
        tokens = "total_tokens"
    elif telemetry.has("prompt_tokens", "completion_tokens"):
        tokens = "prompt_tokens + completion_tokens"
    select = "".join(f"{identifier(k)}, " for k in keys)
    rows = telemetry.engine.rows(
        f"SELECT win, {select}sum(weight), sum(CASE WHEN first_attempt THEN weight ELSE 0 END), "
        f"sum(weight * coalesce({tokens}, 0)), sum(weight * coalesce(cost_nano, 0)) "
        f"FROM fact WHERE win IS NOT NULL GROUP BY {select}win"
    )
    cells: dict[int, dict[str, Cell]] = {0: {}, 1: {}}
    labels: dict[str, dict[str, str | None]] = {}
    for win, *row in rows:
        values = row[: len(keys)]
        label = {k: None if v is None else str(v) for k, v in zip(keys, values, strict=True)}
        # JSON, for no text of the telemetry may pass for two texts, or for none.
        name = json.dumps(list(label.values()), ensure_ascii=False)
        cells[int(win)][name] = Cell(*(int(v or 0) for v in row[len(keys) :]))
        labels[name] = label
    return cells, labels
