"""Opens the three tables where they lie in another engine, typed by the contract.

Each becomes a temporary table of that engine: `cells_<table>`, and the view `<table>` of it. A column
has the type that the engine gave it; one that cannot hold what the contract declares is a violation
of the whole column (`types`), to be mended with a cast in a view. Rows count in the order of the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from analysis.contract import TABLES, Column, Contract, Table
from analysis.telemetry.address import Address
from analysis.telemetry.cells import EXPECTED, FIRST, LAST
from analysis.telemetry.columns import engine_names
from analysis.telemetry.engine import Engine
from analysis.telemetry.files import InputFile, Unreadable
from analysis.telemetry.source import Source, declared_columns, open_source, whole
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import Violation

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
_TIMES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE")
_DIGITS = "0123456789abcdef"


class Warehouse(Engine, Protocol):
    """An engine that holds tables of its own."""

    def held(self, table: str, schema: str | None) -> Mapping[str, str] | None:
        """The columns of a table with their types by DuckDB's names; None where it is not there."""

    def relation(self, table: str, schema: str | None) -> str:
        """The table as it stands in a FROM clause."""


def connect(
    where: Address, *, threads: int | None = None, memory_limit: str | None = None
) -> Warehouse:
    """A session with the engine. Raises UsageError."""
    if where.kind == "postgres":
        from analysis.telemetry.engines.postgres import Postgres

        return Postgres(where.target, where.shown)
    from analysis.telemetry.engines.spark import Spark

    spark = Spark(where.target, where.shown, threads=threads, memory=memory_limit)
    if where.path is not None:
        spark.read_folder(where.path, TABLES)
    return spark


def open_data(
    data: Path | Address,
    contract: Contract,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Source:
    """Opens telemetry wherever it lies. Raises UsageError."""
    if isinstance(data, Address) and data.is_warehouse:
        return open_warehouse(data, contract, threads=threads, memory_limit=memory_limit)
    return open_source(data, contract, threads=threads, memory_limit=memory_limit)


def open_warehouse(
    where: Address,
    contract: Contract,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
) -> Source:
    """Opens what is there. Raises UsageError where the engine cannot be reached."""
    engine = connect(where, threads=threads, memory_limit=memory_limit)
    inputs: list[InputFile] = []
    columns: dict[str, tuple[str, ...]] = {}
    misfits: dict[str, Mapping[str, str]] = {}
    violations: list[Violation] = []
    try:
        for table in TABLES:
            try:
                held = engine.held(table, where.schema)
                if held is None:
                    raise Unreadable("files", f"{where.shown} has no table {_named(table, where)}")
                names = engine_names(tuple(held), contract.tables[table], table)
                opened = _Opened.of(engine, where, table, contract.tables[table], held, names)
            except Unreadable as error:
                violations.append(whole(contract, error.rule, table, error.hint, error.column))
                continue
            if not opened.rows:
                hint = f"{where.shown}: the table {_named(table, where)} has no rows"
                violations.append(whole(contract, "files", table, hint))
                continue
            columns[table], misfits[table] = names, opened.misfits
            inputs.append(opened.input(engine, where))
            violations += declared_columns(contract, table, contract.tables[table], names)
            violations += [
                whole(contract, "types", table, hint, column)
                for column, hint in opened.wrong.items()
            ]
    except BaseException:
        engine.close()
        raise
    return Source(
        engine,
        tuple(inputs),
        columns,
        misfits,
        {t: {} for t in columns},
        tuple(violations),
        (),
        None,
    )


def _named(table: str, where: Address) -> str:
    return table if where.schema is None else f"{where.schema}.{table}"


class _Opened:
    """One table in the engine: its rows, what may not fit, and what cannot."""

    def __init__(self, table: str, names: Sequence[str]) -> None:
        self.table, self.names = table, tuple(names)
        self.rows = 0
        self.misfits: dict[str, str] = {}
        self.wrong: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        engine: Warehouse,
        where: Address,
        table: str,
        declared: Table,
        held: Mapping[str, str],
        names: Sequence[str],
    ) -> _Opened:
        """Makes the table and its view."""
        out = cls(table, names)
        select: list[str] = []
        for place, (theirs, name) in enumerate(zip(held, names, strict=True)):
            quoted, kind, rule = f"t.{identifier(theirs)}", held[theirs], declared.column(name)
            typed = _typed(quoted, kind, rule)
            if typed is None and rule is not None and _is_empty(engine, where, table, quoted):
                typed = _NOTHING[rule.type]
            elif typed is None:
                assert rule is not None
                out.wrong[name] = (
                    f"the column has the type {kind} there, expected {EXPECTED[rule.type]}; "
                    "cast it in a view"
                )
                typed = _NOTHING[rule.type]
            elif rule is not None and rule.type in ("integer", "number", "timestamp"):
                out.misfits[name] = f"misfit{place}"
                select.append(
                    f"CASE WHEN ({typed}) IS NULL AND {quoted} IS NOT NULL "
                    f"THEN CAST({quoted} AS VARCHAR) END AS misfit{place}"
                )
            select.append(f"{typed} AS {identifier(name)}")
        key = identifier(_theirs(held, names, declared.key))
        order = f"binary_text(CAST(t.{key} AS VARCHAR))"
        engine.create(
            f"cells_{table}",
            f"SELECT {', '.join(select)}, row_number() OVER (ORDER BY {order}) AS source_row "
            f"FROM {engine.relation(table, where.schema)} t",
        )
        listed = ", ".join(map(identifier, names))
        engine.view(table, f"SELECT {listed}, source_row FROM cells_{table}")
        out.rows = int(engine.row(f"SELECT count(*) FROM cells_{table}")[0])
        return out

    def input(self, engine: Engine, where: Address) -> InputFile:
        """The table as an input of the review, with a digest of its rows in any order."""
        row = ", ".join(map(identifier, self.names))
        # A table of its own: planners would put the hash in the place of each of its digits.
        engine.create("digests", f"SELECT hash({row}) AS digest FROM {self.table}")
        halves = engine.row(
            f"SELECT {', '.join(f'sum({_number(start)})' for start in (1, 9, 17, 25))} FROM digests"
        )
        engine.drop("digests")
        told = [self.rows, list(self.names), [str(int(h)) for h in halves]]
        digest = hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()
        return InputFile(self.table, _named(self.table, where), where.kind, None, self.rows, digest)


_NOTHING = {
    "integer": "CAST(NULL AS BIGINT)",
    "number": "CAST(NULL AS DOUBLE)",
    "boolean": "CAST(NULL AS BOOLEAN)",
    "timestamp": "CAST(NULL AS TIMESTAMP)",
}


def _is_empty(engine: Warehouse, where: Address, table: str, quoted: str) -> bool:
    """Whether a column holds nothing: then its type does not matter."""
    return not engine.row(f"SELECT count({quoted}) FROM {engine.relation(table, where.schema)} t")[
        0
    ]


def _theirs(held: Mapping[str, str], names: Sequence[str], wanted: str) -> str:
    """What a column is called there; the first one where it is not there."""
    return next((t for t, n in zip(held, names, strict=True) if n == wanted), next(iter(held)))


def _typed(quoted: str, kind: str, rule: Column | None) -> str | None:
    """A column as its declared type, null where a value does not fit; None where no value can."""
    if rule is None or rule.type == "string":
        if kind == "VARCHAR":
            return f"binary_text(nullif({quoted}, ''))"
        plain = kind in (*_NUMBERS, *_TIMES, "BOOLEAN")
        if rule is None and plain:
            return f"CAST({quoted} AS DOUBLE)" if kind == "DECIMAL" else quoted
        return f"binary_text(CAST({quoted} AS VARCHAR))"
    if rule.type == "boolean":
        if kind == "BOOLEAN":
            return quoted
        cases = f"CASE {quoted} WHEN 1 THEN true WHEN 0 THEN false END"
        return cases if kind in _INTEGERS else None
    if rule.type == "timestamp":
        if kind not in _TIMES:
            return None
        moment = f"CAST({quoted} AS TIMESTAMP)"
        if kind == "TIMESTAMP WITH TIME ZONE":
            moment = f"utc_of({quoted})"
        return f"CASE WHEN {moment} >= {FIRST} AND {moment} <= {LAST} THEN {moment} END"
    if kind not in _NUMBERS:
        return None
    if rule.type == "integer":
        if kind in _INTEGERS:
            return f"CAST({quoted} AS BIGINT)"
        whole_number = f"{quoted} = floor({quoted}) AND abs({quoted}) < 9e18"
        return f"CASE WHEN {whole_number} THEN CAST({quoted} AS BIGINT) END"
    number = f"CAST({quoted} AS DOUBLE)"
    # What is not finite differs from itself, or is no number; so in every engine.
    return f"CASE WHEN {number} - {number} = 0 THEN {number} END"


def _number(start: int) -> str:
    """Eight hexadecimal digits of `digest` as an integer."""
    return " + ".join(
        f"(CAST(strpos('{_DIGITS}', substr(digest, {start + k}, 1)) AS BIGINT) - 1) * {16 ** (7 - k)}"
        for k in range(8)
    )
