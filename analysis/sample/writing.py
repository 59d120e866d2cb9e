"""Writes a world's tables and `truth.json` to a folder: complete or not at all."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.disk import refusal
from analysis.errors import UsageError
from analysis.in_place import put_in_place, staging
from analysis.sample.columns import DECIMALS
from analysis.sample.world import World

FORMATS = ("csv", "csv.gz", "parquet")
TRUTH = "truth.json"


def write(world: World, out: Path | str, format: str = "csv") -> Path:
    """The three tables and `truth.json` in the folder `out`, which is made or replaced as a whole.

    Equal worlds give equal bytes. A folder that holds anything but an earlier sample is left as
    it is. Raises ValueError for an unknown format, UsageError for such a folder, and where the
    system refuses to write.
    """
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}; expected one of: {', '.join(FORMATS)}")
    target = Path(out).resolve()
    try:
        _write(world, target, format)
    except (OSError, duckdb.Error) as error:
        why = refusal(error)
        if why is None and not isinstance(error, OSError):
            raise
        raise UsageError(
            f"cannot write the sample to {target}: {why or getattr(error, 'strerror', None) or error}; "
            "give another folder with --out"
        ) from error
    return target


def _write(world: World, target: Path, format: str) -> None:
    _check_replaceable(target, world)
    with staging(target) as building:
        for name, table in world.tables.items():
            _write_table(table, building / f"{name}.{format}", format)
        text = json.dumps(world.truth, indent=2, ensure_ascii=True, allow_nan=False)
        (building / TRUTH).write_text(text + "\n", encoding="utf-8")
        put_in_place(building, target)


def _check_replaceable(target: Path, world: World) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{target} is a file; give a folder with --out")
    ours = {TRUTH, *(f"{name}.{format}" for name in world.tables for format in FORMATS)}
    foreign = sorted(p.name for p in target.iterdir() if p.name not in ours)
    if foreign:
        some = ", ".join(foreign[:5])
        raise UsageError(
            f"{target} holds other files ({some}); give an empty or new folder with --out"
        )


def _write_table(table: pa.Table, path: Path, format: str) -> None:
    if format == "parquet":
        pq.write_table(table, path, compression="zstd", use_dictionary=True)
        return
    plain = path.with_name(path.name.removesuffix(".gz"))
    _write_csv(table, plain)
    if format == "csv.gz":
        # No name and no time in the header: equal tables give equal bytes.
        with (
            plain.open("rb") as source,
            path.open("wb") as sink,
            gzip.GzipFile("", "wb", 6, sink, mtime=0) as packed,
        ):
            shutil.copyfileobj(source, packed, 1 << 20)
        plain.unlink()


def _write_csv(table: pa.Table, path: Path) -> None:
    con = duckdb.connect()
    try:
        con.execute("SET preserve_insertion_order = true")
        con.register("source", _naive(table))
        columns = ", ".join(_csv_column(field) for field in table.schema)
        con.execute(
            f"COPY (SELECT {columns} FROM source) TO '{_quoted(str(path))}' (FORMAT csv, HEADER)"
        )
    finally:
        con.close()


def _naive(table: pa.Table) -> pa.Table:
    """The same table with timestamps without zone: DuckDB then needs no time-zone data."""
    for place, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(
                place, column.name, table.column(place).cast(pa.timestamp("us"))
            )
    return table


def _csv_column(column: pa.Field) -> str:
    """The text of a column; names are the contract's own, never telemetry."""
    if pa.types.is_timestamp(column.type):
        return f"strftime({column.name}, '%Y-%m-%dT%H:%M:%SZ') AS {column.name}"
    if column.name in DECIMALS:
        return f"CAST({column.name} AS DECIMAL(18, {DECIMALS[column.name]})) AS {column.name}"
    return str(column.name)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
