"""Makes the telemetry that the validation benchmark reads.

    python -m benchmarks.validation_peers.data SIZE FORMAT OUT
    python -m benchmarks.validation_peers.data broken FORMAT OUT RULE…

The first writes valid telemetry of SIZE interactions as `csv` or `parquet`: the healthy sample up to
a million, and beyond it copies of the million under other ids. A CSV is made from the Parquet beside
it. The second writes a small sample in which each RULE is broken. An output is complete or absent.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb

from benchmarks.validation_peers.broken import CASES, Tables
from benchmarks.validation_peers.rules import TIME_FORMAT, TYPES

PROJECT = Path(__file__).resolve().parents[2]
MILLION = 1_000_000
BYTES_PER_ROW = 600  # of the CSV and its Parquet, with room to spare


def make(size: int, end: str, out: Path) -> None:
    """Writes `out`, and what it is made from, where they are absent."""
    if out.exists():
        return
    if shutil.disk_usage(out.parent).free < size * BYTES_PER_ROW:
        raise SystemExit(f"{out}: not enough free disk for {size:,} interactions")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if end == "csv":
        parquet = _beside(out, size)
        make(size, "parquet", parquet)
        _as_csv(parquet, part)
    elif size > MILLION:
        if size % MILLION:
            raise SystemExit(f"{size:,}: above a million, only whole millions")
        million = _beside(out, MILLION)
        make(MILLION, "parquet", million)
        _copies(million, size // MILLION, part)
    else:
        _sample(size, part)
    part.rename(out)


def _beside(out: Path, size: int) -> Path:
    return out.with_name(f"{size}-parquet")


def _sample(size: int, out: Path) -> None:
    options = ["--scenario", "healthy", "--seed", "3", "--format", "parquet", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "analysis", "sample", "--interactions", str(size), "--out", str(out)]
        + options,
        cwd=PROJECT,
        check=True,
    )


def _copies(million: Path, n: int, out: Path) -> None:
    out.mkdir()
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for table, types in TYPES.items():
        ids = [c for c in types if c.endswith("_id") and c != "release_id"]
        renamed = ", ".join(f"{c} || '-' || copy AS {c}" for c in ids)
        con.execute(
            f"COPY (SELECT t.* REPLACE ({renamed}) FROM range({n}) r(copy), "
            f"'{million / f'{table}.parquet'}' t) TO '{out / f'{table}.parquet'}' (FORMAT parquet)"
        )


def _as_csv(parquet: Path, out: Path) -> None:
    out.mkdir()
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    for table, types in TYPES.items():
        cells = ", ".join(
            f"strftime({c}, '{TIME_FORMAT}') AS {c}" if kind == "timestamp" else c
            for c, kind in types.items()
        )
        con.execute(
            f"COPY (SELECT {cells} FROM '{parquet / f'{table}.parquet'}') "
            f"TO '{out / f'{table}.csv'}' (FORMAT csv, HEADER)"
        )


def make_broken(end: str, out: Path, rules: Sequence[str]) -> None:
    """One broken cell or row for each rule and table, of what both formats can hold."""
    cases = {(c.rule, c.table): c for c in CASES if not c.csv_only and c.rule in rules}
    shutil.rmtree(out, ignore_errors=True)
    Tables(PROJECT / "data" / "sample", 200).write(out, end, cases.values())


def main() -> None:
    """As the module says."""
    what, end, out, *rules = sys.argv[1:]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if what == "broken":
        make_broken(end, Path(out), rules)
    else:
        make(int(what), end, Path(out))


if __name__ == "__main__":
    main()
