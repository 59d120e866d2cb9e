"""Triples of tables as columns of text cells, small enough for many of them, for the fuzz to break."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS

CONTRACT = contracts.load()
Cell = str | None
FORMS = ("csv", "csv.gz", "parquet", "parts")
_ARROW = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


@dataclass
class Column:
    """A name, and a text cell a row. `kind`: the Arrow type wanted in Parquet; None: as declared."""

    name: str
    cells: list[Cell]
    kind: pa.DataType | None = None


@dataclass
class Grid:
    """One table: columns of one length, whose names may be anything, also twice the same."""

    columns: list[Column]

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.columns[0].cells) if self.columns else 0

    def column(self, name: str) -> Column | None:
        """The first column of that name."""
        return next((c for c in self.columns if c.name == name), None)

    def take(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order."""
        for column in self.columns:
            column.cells = [column.cells[r] for r in rows]


Triple = dict[str, Grid]


def triple(rng: Random, n: int, days: int = 8) -> Triple:
    """A triple that keeps the contract, with `n` interactions."""
    return summarised(Grid(interactions(rng, n, days)))


def interactions(rng: Random, n: int, days: int) -> list[Column]:
    """The columns of `n` interactions whose sessions start within `days` days."""
    begin = datetime(2026, 9, 7, tzinfo=UTC)
    n_sessions, n_users = rng.randint(1, max(1, n // 2)), rng.randint(1, max(1, n // 4))
    users = [f"u{rng.randrange(n_users)}" for _ in range(n_sessions)]
    starts = [begin + timedelta(seconds=rng.randrange(days * 86_400)) for _ in range(n_sessions)]
    rows: list[dict[str, Any]] = []
    for k in range(n):
        session = rng.randrange(n_sessions)
        prompt, completion = rng.randrange(2_000), rng.randrange(800)
        at = starts[session] + timedelta(seconds=rng.randrange(900))
        use_case = rng.choice(["coding", "support", "summarisation"])
        provider, model = rng.choice([("aurora", "aurora-small"), ("cirrus", "cirrus-flash")])
        rows.append(
            {
                "interaction_id": f"i{k:06d}",
                "session_id": f"s{session}",
                "user_id": users[session],
                "timestamp_utc": instant(at),
                "is_failure": rng.choice(["true", *["false"] * 8]),
                "use_case": use_case,
                "scenario": f"{use_case}-{rng.randrange(3)}",
                "account_tier": rng.choice(["free", "pro"]),
                "region": rng.choice(["eu", "us"]),
                "model_provider": provider,
                "model_name": model,
                "release_id": rng.choice(["r1", "r2"]),
                "routing_propensity": rng.choice(["0.5", "0.25"]),
                "retry_index": rng.choice(["0", "0", "0", "1"]),
                "prompt_tokens": str(prompt),
                "completion_tokens": str(completion),
                "total_tokens": str(prompt + completion),
                "latency_ms": f"{rng.lognormvariate(6.5, 0.8):.3f}",
                "cost_usd": f"{rng.randrange(50_000) / 1e6:.6f}",
                "label_available_utc": instant(at + timedelta(days=rng.choice([0, 1, 5]))),
                "tool_error_flag": rng.choice(["true", "false"]),
                "response_quality_score": f"{rng.random():.4f}",
                "mood": rng.choice(["a", "b"]),
            }
        )
    names = list(rows[0]) if rows else ["interaction_id"]
    return [Column(name, [row[name] for row in rows]) for name in names]


def instant(moment: datetime) -> str:
    """A time as the tables hold it."""
    return moment.isoformat().replace("+00:00", "Z")


def summarised(grid: Grid) -> Triple:
    """The triple of these interactions: sessions and users with what their rows add up to.

    What cannot be added up is left out of the summaries.
    """
    out = {INTERACTIONS: grid}
    for table, prefix, key in ((SESSIONS, "session", "session_id"), (USERS, "user", "user_id")):
        keys = grid.column(key)
        groups: dict[Cell, list[int]] = {}
        for row, value in enumerate(keys.cells if keys else []):
            groups.setdefault(value, []).append(row)
        columns = [Column(key, list(groups))]
        if table == SESSIONS:
            for name, source, best in (
                ("user_id", "user_id", None),
                ("start_timestamp_utc", "timestamp_utc", min),
                ("end_timestamp_utc", "timestamp_utc", max),
            ):
                held = grid.column(source)
                if held is not None:
                    columns.append(
                        Column(name, [_one(held.cells, rows, best) for rows in groups.values()])
                    )
        for name, source in (
            ("cost_usd", "cost_usd"),
            ("tokens", "total_tokens"),
            ("failures", "is_failure"),
        ):
            held = grid.column(source)
            sums = [_sum(held.cells, rows) for rows in groups.values()] if held else [None]
            if None not in sums:
                columns.append(Column(f"{prefix}_total_{name}", list(sums)))
        columns.append(
            Column(f"{prefix}_total_requests", [str(len(rows)) for rows in groups.values()])
        )
        out[table] = Grid(columns)
    return out


def _one(cells: list[Cell], rows: list[int], best: Any) -> Cell:
    held = [c for c in (cells[r] for r in rows) if c is not None]
    return None if not held else held[0] if best is None else str(best(held))


def _sum(cells: list[Cell], rows: list[int]) -> str | None:
    total = Decimal(0)
    for row in rows:
        cell = cells[row]
        if cell in ("true", "false"):
            total += cell == "true"
        elif cell is not None:
            try:
                total += Decimal(cell)
            except InvalidOperation:
                return None
    return str(total) if total.is_finite() else None


# ── writing ──────────────────────────────────────────────────────────────────────────────


def csv_bytes(grid: Grid, end: str = "\n", *, all_quoted: bool = False) -> bytes:
    """The table as CSV; half of a surrogate pair is written as it is."""
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    writer.writerow([c.name for c in grid.columns])
    writer.writerows(zip(*(c.cells for c in grid.columns), strict=True))
    return text.getvalue().encode("utf-8", "surrogatepass")


def arrow(grid: Grid, table: str, *, text: bool = False) -> pa.Table:
    """The table in Arrow: in the declared types where every cell fits, else as text.

    text: every column as text.
    """
    arrays = []
    for column in grid.columns:
        cells = [None if c is None else c.encode("utf-8", "replace").decode() for c in column.cells]
        array = pa.array(cells, pa.string())
        declared = CONTRACT.tables[table].column(column.name)
        if not text:
            array = _as(array, _ARROW[declared.type if declared else "string"])
            array = array if column.kind is None else _as(array, column.kind)
        arrays.append(array)
    names = [c.name.encode("utf-8", "replace").decode() for c in grid.columns]
    return pa.Table.from_arrays(arrays, names=names)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array as another type, where Arrow can."""
    try:
        if pa.types.is_timestamp(kind) and pa.types.is_string(array.type):
            return array.cast(pa.timestamp(kind.unit, "UTC")).cast(kind)
        if pa.types.is_list(kind):
            return pa.array([None if v is None else [v] for v in array.to_pylist()])
        if pa.types.is_struct(kind):
            return pa.array([None if v is None else {"a": v} for v in array.to_pylist()])
        if pa.types.is_map(kind):
            made = [None if v is None else [("k", str(v))] for v in array.to_pylist()]
            return pa.array(made, pa.map_(pa.string(), pa.string()))
        if pa.types.is_dictionary(kind):
            return array.dictionary_encode()
        return array.cast(kind)
    except (pa.ArrowException, TypeError, ValueError):
        return array


def write(grid: Grid, table: str, folder: Path, form: str, rng: Random) -> None:
    """Writes one table in one of `FORMS`."""
    if form in ("csv", "csv.gz"):
        data = csv_bytes(grid, rng.choice(["\n", "\n", "\r\n"]), all_quoted=rng.random() < 0.1)
        data = b"\xef\xbb\xbf" + data if rng.random() < 0.1 else data
        path = folder / f"{table}.{form}"
        path.write_bytes(gzip.compress(data, 1, mtime=0) if form == "csv.gz" else data)
        return
    whole = arrow(grid, table)
    if form == "parquet":
        pq.write_table(
            whole, folder / f"{table}.parquet", row_group_size=rng.choice([7, 100, 10_000])
        )
        return
    parts = folder / table
    parts.mkdir()
    cut = rng.randint(0, grid.n)
    for name, part in (("a", whole.slice(0, cut)), ("b", whole.slice(cut))):
        pq.write_table(part, parts / f"{name}.parquet")


def write_triple(made: Triple, folder: Path, form: str, rng: Random) -> None:
    """Writes all three tables; form `mixed` takes one of the forms for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        write(made[table], table, folder, rng.choice(FORMS) if form == "mixed" else form, rng)
