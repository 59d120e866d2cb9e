"""What the columns of a table hold, whatever they are called: read in the engine in few scans.

The tables are opened without types. The first rows tell which types a column could have; one scan
of the whole table then counts, for those types alone, how many cells fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from analysis.contract import TABLES, Column, ColumnType, Contract, Table
from analysis.errors import UsageError
from analysis.telemetry import csv_file
from analysis.telemetry.cells import cast, filled
from analysis.telemetry.source import InputFile, Source, open_source
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import one_line

TYPES: tuple[ColumnType, ...] = ("boolean", "integer", "number", "timestamp")
HEAD_ROWS = 10_000
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_NUMBERS = {"FLOAT", "DOUBLE", "UBIGINT", "HUGEINT", "UHUGEINT"}
_COLUMN = Column(type="string", role="carried", known_at="later", description="")
RULES: Mapping[ColumnType, Column] = {
    kind: _COLUMN.model_copy(update={"type": kind}) for kind in (*TYPES, "string")
}


@dataclass(frozen=True)
class ColumnProfile:
    """One column of the data.

    name: as it stands in the file; engine: its name in the engine; kind: the engine's type.
    fits: type → filled cells that are of it (only types that were worth counting). n_distinct is
    exact for columns that were looked at closely, and so is median; both are of filled cells.
    """

    name: str
    engine: str
    kind: str
    is_text: bool
    n_rows: int
    n_filled: int
    n_distinct: int
    fits: Mapping[ColumnType, int]
    longest: int
    n_leading_zero: int
    n_fractional: int
    low: float | None
    high: float | None
    first: datetime | None
    last: datetime | None
    median: float | None

    @property
    def missing(self) -> float:
        """The share of rows without a value."""
        return 1 - self.n_filled / self.n_rows

    @property
    def is_nested(self) -> bool:
        """Whether a cell holds a list or an object."""
        return self.kind.endswith("]") or self.kind.startswith(("STRUCT", "MAP", "UNION"))

    def fit(self, kind: ColumnType) -> bool:
        """Whether every filled cell is of this type, and there is one."""
        return kind == "string" or 0 < self.n_filled == self.fits.get(kind, 0)

    @property
    def only_zero_and_one(self) -> bool:
        """Whether it is a flag or a number: nobody can tell by the cells."""
        return self.fit("boolean") and self.fit("number")


@dataclass(frozen=True)
class Closely:
    """The columns to look at closely: `counted` gets exact distinct values and a median, and the
    types in `also` are counted whatever the first rows say."""

    counted: frozenset[str] = frozenset()
    also: Mapping[str, frozenset[ColumnType]] = field(default_factory=dict)


def open_raw(data: Path, contract: Contract) -> Source:
    """The tables of `data` with no column renamed, typed or refused.

    Raises UsageError where a table is not there or cannot be read, all of them at once.
    """
    bare = {name: Table(key=contract.tables[name].key, columns={}) for name in TABLES}
    source = open_source(data, contract.model_copy(update={"tables": bare}))
    unread = [v for v in source.violations if v.table not in source.columns]
    if unread:
        source.close()
        problems = "\n".join(f"  {v.table}: {one_line(v.hint, 300)}" for v in unread)
        raise UsageError(
            f"--data {data}: expected the three tables {', '.join(TABLES)}, each as .csv, .csv.gz, "
            f".parquet or a folder of Parquet parts; the files have these names, whatever the columns "
            f"are called\n{problems}"
        )
    return source


def headers(data: Path, source: Source, table: str) -> tuple[str, ...]:
    """The names of a table's columns as they stand in its file, in the order of `source.columns`."""
    first: InputFile = next(i for i in source.inputs if i.table == table)
    path = data / first.file
    if first.format == "parquet":
        return tuple(pq.read_schema(path).names)
    return csv_file.header(path, gzipped=first.format == "csv.gz")


def profile(
    source: Source, table: str, names: Sequence[str], closely: Closely
) -> tuple[ColumnProfile, ...]:
    """All columns of a table; `names` are those in the file, in the order of the source."""
    con = source.con
    engine = source.columns[table]
    held = dict(
        con.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            [table],
        ).fetchall()
    )
    from_text = any(i.format != "parquet" for i in source.inputs if i.table == table)
    kinds = [str(held[column]) for column in engine]
    possible = _possible(con, table, engine, kinds)
    asked = [
        _Asked(column, kind, likely | closely.also.get(name, frozenset()), name in closely.counted)
        for name, column, kind, likely in zip(names, engine, kinds, possible, strict=True)
    ]
    answers = _scan(con, table, asked)
    n_rows = int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
    return tuple(
        ColumnProfile(name, one.column, one.kind, from_text, n_rows, **answer)
        for name, one, answer in zip(names, asked, answers, strict=True)
    )


def values(source: Source, table: str, column: ColumnProfile, limit: int) -> list[tuple[str, int]]:
    """The distinct values of a column as text, with their rows, by value; at most `limit` + 1."""
    text = f"CAST({identifier(column.engine)} AS VARCHAR)"
    rows = source.con.execute(
        f"SELECT {text} AS value, count(*) AS n FROM {table} "
        f"WHERE {filled(identifier(column.engine), column.kind)} "
        f"GROUP BY ALL ORDER BY value LIMIT {int(limit) + 1}"
    ).fetchall()
    return [(str(value), int(n)) for value, n in rows]


def inferred(column: ColumnProfile, *, flag: bool = False) -> ColumnType | None:
    """The type that all cells have; None where none is filled, or it is nested.

    flag: whether the name says that 0 and 1 mean no and yes. Text of digits that begins with 0 is
    a code, not a number.
    """
    if column.is_nested or not column.n_filled:
        return None
    if not column.is_text:
        return _native(column.kind)
    if column.fit("boolean") and (flag or not column.only_zero_and_one):
        return "boolean"
    if column.n_leading_zero:
        return "string"
    kinds: tuple[ColumnType, ...] = ("integer", "number", "timestamp")
    return next((kind for kind in kinds if column.fit(kind)), "string")


def _native(kind: str) -> ColumnType:
    if kind == "BOOLEAN":
        return "boolean"
    if kind in _INTEGERS:
        return "integer"
    if kind in _NUMBERS or kind.startswith("DECIMAL"):
        return "number"
    return "timestamp" if kind.startswith(("TIMESTAMP", "DATE")) else "string"


# ── the scans ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Asked:
    column: str
    kind: str
    types: frozenset[ColumnType]
    closely: bool


def _possible(
    con: Any, table: str, engine: Sequence[str], kinds: Sequence[str]
) -> list[frozenset[ColumnType]]:
    """The types that the first rows of each column could be."""
    select = []
    for column, kind in zip(engine, kinds, strict=True):
        name = identifier(column)
        select.append(f"count(*) FILTER ({filled(name, kind)})")
        select += [f"count({cast(name, kind, RULES[t])})" for t in TYPES]
    head = con.execute(
        f"SELECT {', '.join(select)} FROM {table} WHERE source_row <= {HEAD_ROWS}"
    ).fetchall()[0]
    size = len(TYPES) + 1
    rows = [head[i : i + size] for i in range(0, len(head), size)]
    return [
        frozenset(t for t, n in zip(TYPES, fits, strict=True) if n == there)
        for there, *fits in rows
    ]


def _scan(con: Any, table: str, asked: Sequence[_Asked]) -> list[dict[str, Any]]:
    """The answers for all columns, in one statement."""
    parts = [_questions(one) for one in asked]
    select = [f"{sql} AS q{i}" for i, sql in enumerate(q for part in parts for q in part.values())]
    row = iter(con.execute(f"SELECT {', '.join(select)} FROM {table}").fetchall()[0])
    answers = []
    for part in parts:
        found = {name: next(row) for name in part}
        fits = {t: int(found.pop(t)) for t in TYPES if t in found}
        counts = {k: int(found.pop(k) or 0) for k in _COUNTS}
        answers.append({**counts, "fits": fits, **found})
    return answers


_COUNTS = ("n_filled", "n_distinct", "longest", "n_leading_zero", "n_fractional")


def _questions(one: _Asked) -> dict[str, str]:
    name = identifier(one.column)
    text = f"CAST({name} AS VARCHAR)"
    there = filled(name, one.kind)
    number = cast(name, one.kind, RULES["number"])
    moment = cast(name, one.kind, RULES["timestamp"])
    numeric = bool({"integer", "number"} & one.types)
    timed = "timestamp" in one.types
    distinct = f"count(DISTINCT {text})" if one.closely else f"approx_count_distinct({text})"
    return {
        "n_filled": f"count(*) FILTER ({there})",
        "n_distinct": f"{distinct} FILTER ({there})",
        "longest": f"max(length({text}))",
        "n_leading_zero": f"count(*) FILTER ({_code(text)})" if numeric else "0",
        "n_fractional": f"count(*) FILTER ({number} <> floor({number}))" if numeric else "0",
        "low": f"min({number})" if numeric else "NULL",
        "high": f"max({number})" if numeric else "NULL",
        "first": f"min({moment})" if timed else "NULL",
        "last": f"max({moment})" if timed else "NULL",
        "median": f"quantile_disc({number}, 0.5)" if numeric and one.closely else "NULL",
        **{t: f"count({cast(name, one.kind, RULES[t])})" for t in TYPES if t in one.types},
    }


def _code(text: str) -> str:
    """Whether a cell is digits that begin with 0; the pattern is tried on few cells alone."""
    return f"starts_with({text}, '0') AND regexp_full_match({text}, '0[0-9]+')"
