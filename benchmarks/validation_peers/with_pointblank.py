"""pointblank: one plan of validation steps a table, over polars.

    python -m benchmarks.validation_peers.with_pointblank DIR

Data frames in memory: lazy frames take longer, and ibis over DuckDB several times as long. Prints
`{rule: failed steps}` as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pointblank as pb
import polars as pl

from benchmarks.validation_peers.polars_tables import POLARS_TYPES, tables
from benchmarks.validation_peers.rules import (
    ABOVE_LOW,
    CONTENT,
    INTERACTIONS,
    KEY_COLUMNS,
    KEYS,
    MAX_MISSING,
    NOT_MISSING,
    RANGES,
    SESSIONS,
    TOKEN_PARTS,
    TOKEN_SUM,
    TYPES,
)


def plan(table: str, rows: pl.DataFrame) -> pb.Validate:
    """Everything that the contract says about one table alone; `brief` names the rule."""
    keys, numbers = list(KEY_COLUMNS[table]), []
    steps = pb.Validate(rows).col_schema_match(_schema(table), complete=False, brief="types")
    steps = steps.col_vals_not_null(keys, brief="key_null")
    for key in keys:
        steps = steps.col_vals_expr(pl.col(key).str.strip_chars(" ") != "", brief="key_null")
    steps = steps.rows_distinct([KEYS[table]], brief="key_unique")
    for column, (low, high) in RANGES[table].items():
        steps = _range(steps, column, low, high)
    numbers = [c for c, kind in TYPES[table].items() if kind == "number"]
    for column in numbers:
        steps = steps.col_vals_expr(pl.col(column).is_finite().fill_null(True), brief="types")
    if table == SESSIONS:
        steps = _at_most(steps, "session_order", "start_timestamp_utc", "end_timestamp_utc")
    return _of_interactions(steps) if table == INTERACTIONS else steps


def _schema(table: str) -> pb.Schema:
    """Texts may come as categories: their type is left open."""
    kinds = {c: kind for c, kind in TYPES[table].items() if kind != "string"}
    return pb.Schema(columns=[(c, str(POLARS_TYPES[kind])) for c, kind in kinds.items()])


def _range(steps: pb.Validate, column: str, low: float, high: float | None) -> pb.Validate:
    if high is None:
        return steps.col_vals_ge(column, low, na_pass=True, brief="ranges")
    inclusive = (column not in ABOVE_LOW, True)
    return steps.col_vals_between(
        column, low, high, inclusive=inclusive, na_pass=True, brief="ranges"
    )


def _at_most(steps: pb.Validate, rule: str, small: str, large: str) -> pb.Validate:
    return steps.col_vals_le(small, pb.col(large), na_pass=True, brief=rule)


def _of_interactions(steps: pb.Validate) -> pb.Validate:
    total, first, second = TOKEN_SUM
    adds_up = pl.col(total) == pl.col(first) + pl.col(second)
    steps = steps.rows_distinct(list(CONTENT), brief="duplicate_rows")
    steps = steps.col_vals_expr(adds_up.fill_null(True), brief="token_sum")
    for part, whole in TOKEN_PARTS:
        steps = _at_most(steps, "token_sum", part, whole)
    return steps.col_vals_not_null(list(NOT_MISSING), brief="missing_rate")


def _fails(step: object) -> bool:
    """A share is tolerated for missing values, nothing elsewhere."""
    if step.eval_error:
        raise RuntimeError(f"{step.assertion_type} of {step.column} could not be evaluated")
    if step.brief == "missing_rate":
        return step.n_failed > MAX_MISSING * step.n
    return not step.all_passed


def main() -> None:
    """Prints `{rule: failed steps}`."""
    broken: Counter[str] = Counter()
    try:
        for table, rows in tables(Path(sys.argv[1])):
            steps = plan(table, rows).interrogate(collect_extracts=False).validation_info
            broken.update(step.brief for step in steps if _fails(step))
    except pl.exceptions.PolarsError:
        broken["types"] += 1  # a cell that does not fit stops the reading
    print(json.dumps(broken))


if __name__ == "__main__":
    main()
