"""pandera: one polars schema a table.

    python -m benchmarks.validation_peers.with_pandera DIR

Data frames in memory: a lazy frame is read anew for each check, and ibis over DuckDB takes several
times as long at a million rows, and passes over `unique` of a column. Prints `{rule: failed checks}`
as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

os.environ["PANDERA_VALIDATION_DEPTH"] = "SCHEMA_AND_DATA"

import pandera.polars as pa
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

# What the library itself calls a failed check → the rule.
BUILT_IN = {
    "dtype": "types",
    "not_nullable": "key_null",
    "field_uniqueness": "key_unique",
    "multiple_fields_uniqueness": "duplicate_rows",
}


def schema(table: str) -> pa.DataFrameSchema:
    """Everything that the contract says about one table alone."""
    return pa.DataFrameSchema(
        {column: _column(table, column) for column in TYPES[table]},
        checks=_row_checks(table),
        unique=list(CONTENT) if table == INTERACTIONS else None,
    )


def _column(table: str, column: str) -> pa.Column:
    kind, key = TYPES[table][column], column in KEY_COLUMNS[table]
    checks = []
    if key:
        checks.append(_check("key_null", pl.col(column).str.strip_chars(" ") != ""))
    if kind == "number":
        checks.append(_check("types", pl.col(column).is_finite()))
    if column in RANGES[table]:
        low, high = RANGES[table][column]
        bound = pa.Check.gt if column in ABOVE_LOW else pa.Check.ge
        checks.append(bound(low, name="ranges"))
        if high is not None:
            checks.append(pa.Check.le(high, name="ranges"))
    if table == INTERACTIONS and column in NOT_MISSING:
        checks.append(_check("missing_rate", pl.col(column).is_null().mean() <= MAX_MISSING))
    # Texts may come as categories: their type is left open, and keys are text by their check.
    dtype = None if kind == "string" else POLARS_TYPES[kind]
    return pa.Column(dtype, checks, nullable=not key, unique=column == KEYS[table])


def _row_checks(table: str) -> list[pa.Check]:
    if table == SESSIONS:
        ordered = pl.col("end_timestamp_utc") >= pl.col("start_timestamp_utc")
        return [_check("session_order", ordered)]
    if table != INTERACTIONS:
        return []
    total, *parts = TOKEN_SUM
    return [
        _check("token_sum", pl.col(total) == pl.sum_horizontal(parts, ignore_nulls=False)),
        *(_check("token_sum", pl.col(part) <= pl.col(whole)) for part, whole in TOKEN_PARTS),
    ]


def _check(rule: str, holds: pl.Expr) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(holds), name=rule)


def _rule(check: pa.Check | str | None) -> str:
    name = check.name if isinstance(check, pa.Check) else str(check)
    return BUILT_IN.get(name.split("(")[0], name)


def main() -> None:
    """Prints `{rule: failed checks}`."""
    broken: Counter[str] = Counter()
    try:
        for table, rows in tables(Path(sys.argv[1])):
            try:
                schema(table).validate(rows, lazy=True)
            except pa.errors.SchemaErrors as errors:
                broken.update(_rule(error.check) for error in errors.schema_errors)
    except pl.exceptions.PolarsError:
        broken["types"] += 1  # a cell that does not fit stops the reading
    print(json.dumps(broken))


if __name__ == "__main__":
    main()
