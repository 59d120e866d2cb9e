"""Writes a world's tables and `truth.json` to a folder: complete or not at all."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import UsageError
from analysis.sample.columns import DECIMALS
from analysis.sample.world import World

FORMATS = ("csv", "csv.gz", "parquet")
TRUTH = "truth.json"
_AT_FDCWD = -100


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
    except OSError as error:
        raise UsageError(
            f"cannot write the sample to {target}: {error.strerror or error}; "
            "give another folder with --out"
        ) from error
    return target


def _write(world: World, target: Path, format: str) -> None:
    _check_replaceable(target, world)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, table in world.tables.items():
            _write_table(table, staging / f"{name}.{format}", format)
        text = json.dumps(world.truth, indent=2, ensure_ascii=True, allow_nan=False)
        (staging / TRUTH).write_text(text + "\n", encoding="utf-8")
        staging.chmod(0o755)
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def _swap(staging: Path, target: Path) -> None:
    """Puts `staging` where `target` is, in one step where the system can exchange two folders."""
    if not target.exists():
        staging.rename(target)
        return
    if _exchange(staging, target):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(aside / "previous")
    try:
        staging.rename(target)
    except OSError:
        (aside / "previous").rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Linux's renameat2 with RENAME_EXCHANGE; false where there is no such call."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    exchanged: bool = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), 2) == 0
    return exchanged
