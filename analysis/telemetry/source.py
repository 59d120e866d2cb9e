"""Reads the three tables from CSV or Parquet into DuckDB, typed by the contract.

A CSV is read as text (`csv_file`) and cast in the engine (`cells`), so that a cell that does not fit
is counted and located, not fatal; Parquet columns of another type are cast the same way. What
cannot be read at all becomes a violation of rule `files` or `columns`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.contract import INTERACTIONS, TABLES, Column, Contract, RuleId, Table
from analysis.errors import UsageError
from analysis.telemetry import csv_file
from analysis.telemetry.cells import EXPECTED, always_fits, cast, filled, foreign_offset
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.violations import Violation, clean

MAX_FIRST_ROWS = 5
TOO_LITTLE_MEMORY = (
    "the engine's memory is too small for the telemetry; give more with --memory-limit"
)
OTHER_OFFSET = "an offset other than Z or +00:00; convert the times to UTC"
RESERVED = ("source_row", "part")


@dataclass(frozen=True)
class InputFile:
    """One file that was read. `file` is relative to the data directory."""

    table: str
    file: str
    format: str
    bytes: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """The tables in the engine.

    columns: table → its columns, spelled as in the data; one without a name, or whose name differs
    only in case from another, goes by a name of its own. Each table has `source_row`, the 1-based
    data row.
    """

    con: duckdb.DuckDBPyConnection
    inputs: tuple[InputFile, ...]
    columns: Mapping[str, tuple[str, ...]]
    violations: tuple[Violation, ...]

    def close(self) -> None:
        """Ends the connection."""
        self.con.close()


@dataclass(frozen=True)
class _Found:
    """The files of one table."""

    table: str
    format: str
    paths: tuple[Path, ...]


class _Unreadable(Exception):
    def __init__(self, rule: RuleId, hint: str, column: str | None = None) -> None:
        self.rule, self.hint, self.column = rule, hint, column
        super().__init__(hint)


def open_source(
    data: Path,
    contract: Contract,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
    temp_dir: Path | None = None,
) -> Source:
    """Reads what is in `data`.

    Raises UsageError where the directory itself cannot be read, or the memory is too small.
    """
    names = _listing(data)
    con = _connect(threads, memory_limit, temp_dir)
    inputs: list[InputFile] = []
    columns: dict[str, tuple[str, ...]] = {}
    violations: list[Violation] = []
    for table in TABLES:
        try:
            found = _find(data, names, table)
            read, inputs_of, wrong = _read(con, data, found, contract)
        except _Unreadable as error:
            violations.append(_whole(contract, error.rule, table, error.hint, error.column))
            continue
        except duckdb.OutOfMemoryException:
            con.close()
            raise UsageError(TOO_LITTLE_MEMORY) from None
        columns[table] = read
        inputs += inputs_of
        violations += wrong
    return Source(con, tuple(inputs), columns, tuple(violations))


def digest_inputs(data: Path) -> list[tuple[str, str]]:
    """(file, sha256) of every input in `data`, sorted: what a cached review depends on."""
    out = []
    for table in TABLES:
        for path in sorted(data.glob(f"{table}*")):
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for file in files:
                try:
                    out.append((file.relative_to(data).as_posix(), _sha256(file)))
                except OSError as error:
                    out.append((file.name, f"unreadable: {error.strerror}"))
    return out


def _listing(data: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(data))
    except NotADirectoryError:
        raise UsageError(
            f"--data {data}: is a file; expected a directory with the tables"
        ) from None
    except OSError as error:
        raise UsageError(f"--data {data}: {error.strerror or 'cannot be read'}") from None


def _connect(
    threads: int | None, memory_limit: str | None, temp_dir: Path | None
) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:")
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = true")
    con.execute("SET enable_progress_bar = false")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute(
        f"SET temp_directory = {literal(str(temp_dir or Path(tempfile.gettempdir()) / 'release-review-spill'))}"
    )
    if threads is not None:
        con.execute(f"SET threads = {int(threads)}")
    if memory_limit is not None:
        try:
            con.execute(f"SET memory_limit = {literal(memory_limit)}")
        except duckdb.Error:
            raise UsageError(
                f"--memory-limit {memory_limit}: not a size that the engine takes"
            ) from None
    return con


def _find(data: Path, names: frozenset[str], table: str) -> _Found:
    present = [e for e in ("csv", "csv.gz", "parquet") if f"{table}.{e}" in names]
    if table in names:
        present.append("")
    if not present:
        close = sorted(n for n in names if n.lower().startswith(table))
        seen = f"; found {', '.join(clean(n, 80) for n in close[:3])}" if close else ""
        raise _Unreadable(
            "files",
            f"no file {table}.csv, .csv.gz or .parquet, and no folder of Parquet parts{seen}",
        )
    if len(present) > 1:
        files = ", ".join(f"{table}.{e}" if e else f"{table}/" for e in present)
        raise _Unreadable("files", f"the table is there more than once ({files}); keep one")
    extension = present[0]
    path = data / (f"{table}.{extension}" if extension else table)
    try:
        if path.is_dir():
            parts = _parts(path)
            if extension in ("csv", "csv.gz"):
                raise _Unreadable("files", f"{path.name} is a directory; expected a file")
            if not parts:
                raise _Unreadable("files", f"the folder {path.name} holds no .parquet file")
            return _Found(table, "parquet", parts)
        size = path.stat().st_size
    except OSError as error:
        raise _Unreadable("files", f"{path.name}: {error.strerror or 'cannot be read'}") from None
    if not path.is_file():
        raise _Unreadable("files", f"{path.name} is not a regular file")
    if size == 0:
        raise _Unreadable("files", f"{path.name} is empty (0 bytes)")
    if not extension:
        raise _Unreadable("files", f"{path.name} is a file; expected a folder of Parquet parts")
    return _Found(table, extension, (path,))


def _parts(folder: Path) -> tuple[Path, ...]:
    """The Parquet parts; what begins with a dot or an underscore is a writer's own, not data."""
    return tuple(
        sorted(
            path
            for path in folder.rglob("*.parquet")
            if path.is_file()
            and not any(p.startswith((".", "_")) for p in path.relative_to(folder).parts)
        )
    )


def _read(
    con: duckdb.DuckDBPyConnection, data: Path, found: _Found, contract: Contract
) -> tuple[tuple[str, ...], list[InputFile], list[Violation]]:
    """Loads one table. Returns its columns, its files, and the cells that do not fit."""
    raw = f"raw_{found.table}"
    declared = contract.tables[found.table]
    try:
        if found.format == "parquet":
            names = _load_parquet(con, raw, found, declared)
        else:
            names = _load_csv(con, raw, found, declared)
        files = [
            InputFile(
                found.table,
                path.relative_to(data).as_posix(),
                found.format,
                path.stat().st_size,
                rows,
                _sha256(path),
            )
            for path, rows in zip(found.paths, _rows(con, raw, len(found.paths)), strict=True)
        ]
    except duckdb.OutOfMemoryException:
        raise
    except (OSError, duckdb.Error, pa.ArrowException, UnicodeError) as error:
        why = getattr(error, "strerror", None) or csv_file.reason(error)
        raise _Unreadable("files", f"{found.paths[0].name}: {why}") from None
    if not sum(f.rows for f in files):
        raise _Unreadable("files", f"{files[0].file} has a header and no rows")
    wrong = _columns(contract, found.table, declared, names)
    wrong += _typed(con, contract, found.table, declared, raw, names)
    con.execute(f"DROP TABLE {raw}")
    return names, files, wrong


# ── loading ──────────────────────────────────────────────────────────────────────────────


def _load_csv(
    con: duckdb.DuckDBPyConnection, raw: str, found: _Found, declared: Table
) -> tuple[str, ...]:
    path, gzipped = found.paths[0], found.format == "csv.gz"
    try:
        held = csv_file.header(path, gzipped=gzipped)
    except csv_file.NoCsv as error:
        raise _Unreadable("files", f"{path.name}: {error}") from None
    names = _engine_names(held, declared, path.name)
    select = ", ".join(f"c{i} AS {identifier(n)}" for i, n in enumerate(names))
    con.register("csv_records", csv_file.records(path, held, gzipped=gzipped))
    try:
        con.execute(
            f"CREATE TABLE {raw} AS SELECT {select}, {csv_file.ROW} AS source_row, 0 AS part "
            "FROM csv_records"
        )
    finally:
        con.unregister("csv_records")
    return names


def _engine_names(held: Sequence[str], declared: Table, file: str) -> tuple[str, ...]:
    """A name for each column that the engine can tell apart, case aside.

    A declared column keeps its name, and so does the first of several; a later one gets a number.
    Refuses two columns of the very same name: nobody could say which one is meant.
    """
    twice = sorted({n for n in held if n.strip() and held.count(n) > 1})
    if twice:
        shown = ", ".join(clean(n, 60) for n in twice)
        raise _Unreadable("columns", f"{file} has more than one column named {shown}", twice[0])
    taken = {*RESERVED, *(n.lower() for n in held if n in declared.columns)}
    out = []
    for place, name in enumerate(held, start=1):
        wanted = name if name.strip() else f"column {place}"
        number = 1
        if name not in declared.columns:
            while (own := wanted if number == 1 else f"{wanted} ({number})").lower() in taken:
                number += 1
            wanted = own
        taken.add(wanted.lower())
        out.append(wanted)
    return tuple(out)


def _load_parquet(
    con: duckdb.DuckDBPyConnection, raw: str, found: _Found, declared: Table
) -> tuple[str, ...]:
    parts: list[str] = []
    first: tuple[str, ...] = ()
    offset = 0
    for index, path in enumerate(found.paths):
        try:
            head = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise _Unreadable(
                "files", f"{path.name} is no complete Parquet file ({clean(str(error), 120)})"
            ) from None
        held = tuple(head.schema.to_arrow_schema().names)
        first = first or held
        names = _engine_names(held, declared, path.name)
        if set(held) != set(first):
            raise _Unreadable("files", f"{path.name} has other columns than {found.paths[0].name}")
        place = {name: f"c{i}" for i, name in enumerate(first)}
        # The engine has a column for the row, unless the data have one of its name.
        own = any(n.lower() == "file_row_number" for n in held)
        row = "row_number() OVER () - 1" if own else "file_row_number"
        parts.append(
            f"SELECT {', '.join(place.values())}, {row} + {offset + 1} AS source_row, {index} AS part "
            f"FROM read_parquet({literal(_no_pattern(path))}, hive_partitioning = false, "
            f"file_row_number = {str(not own).lower()}) AS file({', '.join(place[n] for n in held)})"
        )
        offset += head.num_rows
    names = _engine_names(first, declared, found.paths[0].name)
    chosen = ", ".join(
        f"{place[old]} AS {identifier(new)}" for old, new in zip(first, names, strict=True)
    )
    con.execute(
        f"CREATE TABLE {raw} AS SELECT {chosen}, source_row, part FROM ({' UNION ALL '.join(parts)})"
    )
    return names


def _no_pattern(path: Path) -> str:
    """The path as a pattern that matches nothing else: the engine expands *, ? and [ ]."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def _rows(con: duckdb.DuckDBPyConnection, raw: str, n_parts: int) -> list[int]:
    counts = dict(con.execute(f"SELECT part, count(*) FROM {raw} GROUP BY part").fetchall())
    return [int(counts.get(i, 0)) for i in range(n_parts)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── typing ───────────────────────────────────────────────────────────────────────────────


def _columns(
    contract: Contract, name: str, declared: Table, names: Sequence[str]
) -> list[Violation]:
    """Required columns that are missing, and declared ones in another case."""
    lowered = {n.lower(): n for n in names}
    out = []
    for column, rule in declared.columns.items():
        if column in names:
            continue
        other = lowered.get(column.lower())
        if other is not None:
            hint = f"the column is spelled {clean(other, 60)!r}; rename it to {column!r}"
            out.append(_whole(contract, "columns", name, hint, column))
        elif rule.required:
            out.append(
                _whole(
                    contract, "columns", name, f"the required column {column} is missing", column
                )
            )
    return out


def _typed(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    name: str,
    declared: Table,
    raw: str,
    names: Sequence[str],
) -> list[Violation]:
    """Creates the typed table, and reports every cell that holds something and does not fit.

    A time that the contract requires must be there: a row without one belongs to no window.
    """
    held = dict(
        con.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            [raw],
        ).fetchall()
    )
    select, n_filled, n_held = [], [], []
    checked: list[tuple[str, Column, str, str]] = []
    for column in names:
        rule = declared.column(column)
        quoted = identifier(column)
        expression = cast(quoted, str(held[column]), rule)
        select.append(f"{expression} AS {quoted}")
        if rule is None:
            continue
        needed = rule.required and rule.role == "time"
        if needed or not always_fits(str(held[column]), rule):
            there = "true" if needed else filled(quoted, str(held[column]))
            checked.append((column, rule, f"({there}) AND ({expression}) IS NULL", quoted))
            n_filled.append(f"count(*) FILTER ({there})")
            n_held.append(f"count({quoted})")
    con.execute(f"CREATE TABLE {name} AS SELECT {', '.join(select)}, source_row FROM {raw}")
    if not checked:
        return []
    before = con.execute(f"SELECT {', '.join(n_filled)} FROM {raw}").fetchall()[0]
    after = con.execute(f"SELECT {', '.join(n_held)} FROM {name}").fetchall()[0]
    out = []
    for (column, rule, wrong, quoted), n, fit in zip(checked, before, after, strict=True):
        if n == fit:
            continue
        # The few columns with cells that do not fit are looked at again.
        faults: list[tuple[RuleId, str, str]] = [
            ("types", wrong, f"expected {EXPECTED[rule.type]}"),
        ]
        if rule.type == "timestamp":
            offset = foreign_offset(quoted)
            faults = [
                ("timestamp_utc", f"{wrong} AND {offset}", OTHER_OFFSET),
                ("types", f"{wrong} AND NOT {offset}", f"expected {EXPECTED[rule.type]}"),
            ]
        for rule_id, condition, hint in faults:
            violation = _cells(con, contract, rule_id, name, column, raw, condition, hint)
            out += [violation] if violation.n_rows else []
    return out


def _cells(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    rule: RuleId,
    name: str,
    column: str,
    raw: str,
    condition: str,
    hint: str,
) -> Violation:
    """The violation by the cells of a column that meet a condition."""
    n, total = con.execute(f"SELECT count(*) FILTER ({condition}), count(*) FROM {raw}").fetchall()[
        0
    ]
    rows = con.execute(
        f"SELECT source_row FROM {raw} WHERE {condition} ORDER BY source_row LIMIT {MAX_FIRST_ROWS}"
    ).fetchall()
    first = tuple(int(r[0]) for r in rows)
    return Violation(
        rule, name, column, contract.severities[rule], int(n), int(n) / int(total), hint, first
    )


def _whole(
    contract: Contract, rule: RuleId, table: str, hint: str, column: str | None = None
) -> Violation:
    """A violation of the table as a whole."""
    return Violation(rule, table, column, contract.severities[rule], 0, 1.0, hint)


__all__ = ["INTERACTIONS", "InputFile", "Source", "digest_inputs", "open_source"]
