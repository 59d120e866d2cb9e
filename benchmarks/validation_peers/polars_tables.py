"""The tables as polars reads them, for the contenders that take polars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.validation_peers.rules import TIME_FORMAT, TYPES

POLARS_TYPES = {
    "string": pl.String,
    "integer": pl.Int64,
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "timestamp": pl.Datetime("us", "UTC"),
}


def tables(data: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """(name, rows) of one table after the other. Raises PolarsError where a cell has another type."""
    for table in TYPES:
        yield table, _scan(data, table).collect()


def _scan(data: Path, table: str) -> pl.LazyFrame:
    parquet = data / f"{table}.parquet"
    types = TYPES[table]
    if parquet.exists():
        rows = pl.scan_parquet(parquet)
        numbers = [c for c, kind in types.items() if kind == "number"]
        return rows.with_columns(pl.col(numbers).cast(pl.Float64))
    text = {c: POLARS_TYPES["string" if k == "timestamp" else k] for c, k in types.items()}
    times = [c for c, kind in types.items() if kind == "timestamp"]
    return pl.scan_csv(data / f"{table}.csv", schema=text).with_columns(
        pl.col(times).str.to_datetime(TIME_FORMAT, time_unit="us", time_zone="UTC")
    )
