"""Reads the three tables from CSV or Parquet into DuckDB, typed by the contract.

A CSV is read as text and cast in the engine, so that a cell that does not fit is counted and
located, not fatal; Parquet columns of another type are cast the same way. What cannot be read at
all becomes a violation of rule `files` or `columns`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from analysis.contract import INTERACTIONS, TABLES, Column, Contract, RuleId, Table
from analysis.errors import UsageError
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.violations import Violation, clean

TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
}
MAX_FIRST_ROWS = 5
MAX_LINE_BYTES = 16 * 2**20


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

    columns: table → its columns, spelled as in the data. readable: all three tables are there,
    with their required columns. Each table has `source_row`, the 1-based data row.
    """

    con: duckdb.DuckDBPyConnection
    inputs: tuple[InputFile, ...]
    columns: Mapping[str, tuple[str, ...]]
    violations: tuple[Violation, ...]
    readable: bool

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
    """Reads what is in `data`. Raises UsageError where the directory itself cannot be read."""
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
        columns[table] = read
        inputs += inputs_of
        violations += wrong
    readable = len(columns) == len(TABLES) and not any(
        v.rule in ("files", "columns") for v in violations
    )
    return Source(con, tuple(inputs), columns, tuple(violations), readable)


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
            parts = tuple(sorted(p for p in path.rglob("*.parquet") if p.is_file()))
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


def _read(
    con: duckdb.DuckDBPyConnection, data: Path, found: _Found, contract: Contract
) -> tuple[tuple[str, ...], list[InputFile], list[Violation]]:
    """Loads one table. Returns its columns, its files, and the cells that do not fit."""
    raw = f"raw_{found.table}"
    try:
        if found.format == "parquet":
            names = _load_parquet(con, raw, found)
        else:
            names = _load_csv(con, raw, found)
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
    except OSError as error:
        name = found.paths[0].name
        raise _Unreadable("files", f"{name}: {error.strerror or 'cannot be read'}") from None
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise _Unreadable("files", f"{found.paths[0].name}: {_engine_reason(error)}") from None
    if not sum(f.rows for f in files):
        raise _Unreadable("files", f"{files[0].file} has a header and no rows")
    declared = contract.tables[found.table]
    wrong = _columns(contract, found.table, declared, names)
    wrong += _typed(con, contract, found.table, declared, raw, names)
    con.execute(f"DROP TABLE {raw}")
    return names, files, wrong


# ── loading ──────────────────────────────────────────────────────────────────────────────


def _load_csv(con: duckdb.DuckDBPyConnection, raw: str, found: _Found) -> tuple[str, ...]:
    path = found.paths[0]
    names = _header(path, found.format)
    columns = ", ".join(f"{literal(f'c{i}')}: 'VARCHAR'" for i in range(len(names)))
    gzipped = found.format == "csv.gz"
    options = (
        f"columns = {{{columns}}}, header = true, delim = ',', quote = '\"', escape = '\"', "
        "auto_detect = false, null_padding = false, strict_mode = true, parallel = false, "
        f"max_line_size = {MAX_LINE_BYTES}, compression = '{'gzip' if gzipped else 'none'}'"
    )
    if _crlf(path, found.format):
        options += ", new_line = '\\r\\n'"
    select = ", ".join(f"c{i} AS {identifier(n)}" for i, n in enumerate(_unique(names)))
    con.execute(
        f"CREATE TABLE {raw} AS SELECT {select}, row_number() OVER () AS source_row, 0 AS part "
        f"FROM read_csv({literal(str(path))}, {options})"
    )
    _unique_or_refuse(names, path.name)
    return names


def _header(path: Path, kind: str) -> tuple[str, ...]:
    """Column names of a CSV; refuses what is not one."""
    import csv
    import io

    opener = gzip.open if kind == "csv.gz" else open
    try:
        with opener(path, "rb") as file:
            head = file.read(2**20)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _Unreadable(
            "files", f"{path.name} is no complete gzip file ({clean(str(error), 80)})"
        ) from None
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            raise _Unreadable(
                "files", f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8"
            ) from None
        text = head[: error.start].decode("utf-8-sig")
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as error:
        raise _Unreadable("files", f"{path.name}: the header cannot be read ({error})") from None
    if len(names) <= 1:
        other = next((d for d in ("\t", ";", "|") if d in (names[0] if names else "")), None)
        what = f"; it seems to be separated by {other!r}" if other else ""
        raise _Unreadable("files", f"{path.name}: the header has one column; expected commas{what}")
    if any(not n.strip() for n in names):
        raise _Unreadable("columns", f"{path.name}: a column of the header has no name")
    return tuple(names)


def _crlf(path: Path, kind: str) -> bool:
    opener = gzip.open if kind == "csv.gz" else open
    with opener(path, "rb") as file:
        return b"\r\n" in file.read(2**16)


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a suffix where they repeat in any case, so that the engine takes them."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        key = name.lower()
        seen[key] = seen.get(key, 0) + 1
        out.append(name if seen[key] == 1 else f"{name}\x01{seen[key]}")
    return out


def _unique_or_refuse(names: Sequence[str], file: str) -> None:
    lowered = [n.lower() for n in names]
    twice = sorted({n for n in names if lowered.count(n.lower()) > 1})
    if twice:
        shown = ", ".join(clean(n, 60) for n in twice)
        raise _Unreadable(
            "columns", f"{file} has columns that share a name (case aside): {shown}", twice[0]
        )


def _load_parquet(con: duckdb.DuckDBPyConnection, raw: str, found: _Found) -> tuple[str, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    names: tuple[str, ...] | None = None
    for index, path in enumerate(found.paths):
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise _Unreadable(
                "files", f"{path.name} is no complete Parquet file ({clean(str(error), 120)})"
            ) from None
        own = tuple(schema.names)
        if names is not None and set(own) != set(names):
            raise _Unreadable("files", f"{path.name} has other columns than {found.paths[0].name}")
        names = names or own
        _unique_or_refuse(own, path.name)
        parts.append(
            f"SELECT {', '.join(map(identifier, names))}, {index} AS part, file_row_number AS line "
            f"FROM read_parquet({literal(str(path))}, file_row_number = true)"
        )
    assert names is not None
    con.execute(
        f"CREATE TABLE {raw} AS SELECT * EXCLUDE (line), "
        f"row_number() OVER (ORDER BY part, line) AS source_row FROM ({' UNION ALL BY NAME '.join(parts)})"
    )
    return names


def _rows(con: duckdb.DuckDBPyConnection, raw: str, n_parts: int) -> list[int]:
    counts = dict(con.execute(f"SELECT part, count(*) FROM {raw} GROUP BY part").fetchall())
    return [int(counts.get(i, 0)) for i in range(n_parts)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _engine_reason(error: Exception) -> str:
    """The engine's reason in one line: which row, and what is wrong with it."""
    text = str(error)
    line = re.search(r"[Ll]ine:? (\d+)", text)
    where = f"line {line.group(1)}: " if line else ""
    known = (
        ("Expected Number of Columns", "the row has another number of columns than the header"),
        ("utf-8", "not UTF-8; save the file as UTF-8"),
        ("unicode", "not UTF-8; save the file as UTF-8"),
        ("nterminated quote", "a quoted field does not end"),
        ("Maximum line size", f"a line is longer than {MAX_LINE_BYTES} bytes"),
        ("gzip", "no complete gzip file"),
        ("GZIP", "no complete gzip file"),
    )
    for mark, reason in known:
        if mark in text:
            return where + reason
    return where + clean(text.splitlines()[0], 160)


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
    """Creates the typed table, and reports every cell that is not null and does not fit."""
    held = dict(
        con.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            [raw],
        ).fetchall()
    )
    select, faults = [], []
    for column in names:
        rule = declared.column(column)
        quoted = identifier(column)
        if rule is None:
            select.append(quoted)
            continue
        expression = cast(quoted, str(held[column]), rule)
        select.append(f"{expression} AS {quoted}")
        if expression != quoted:
            faults.append(
                (
                    column,
                    rule,
                    f"({quoted} IS NOT NULL AND {blank(quoted)} AND {expression} IS NULL)",
                )
            )
    con.execute(f"CREATE TABLE {name} AS SELECT {', '.join(select)}, source_row FROM {raw}")
    if not faults:
        return []
    counts = con.execute(
        f"SELECT count(*), {', '.join(f'count(*) FILTER {bad}' for _, _, bad in faults)} FROM {raw}"
    ).fetchall()[0]
    out = []
    for (column, rule, bad), n in zip(faults, counts[1:], strict=True):
        if not n:
            continue
        quoted = identifier(column)
        groups: list[tuple[RuleId, str, str]] = [("types", bad, f"expected {_expected(rule)}")]
        if rule.type == "timestamp":
            foreign = f"{bad} AND {_offset(quoted)}"
            groups = [
                (
                    "timestamp_utc",
                    foreign,
                    "an offset other than Z or +00:00; convert the times to UTC",
                ),
                ("types", f"{bad} AND NOT {_offset(quoted)}", f"expected {_expected(rule)}"),
            ]
        for rule_id, condition, hint in groups:
            rows = con.execute(
                f"SELECT source_row FROM {raw} WHERE {condition} ORDER BY source_row LIMIT {MAX_FIRST_ROWS}"
            ).fetchall()
            if not rows:
                continue
            total = con.execute(f"SELECT count(*) FROM {raw} WHERE {condition}").fetchall()[0]
            out.append(
                Violation(
                    rule_id,
                    name,
                    column,
                    contract.severities[rule_id],
                    int(total[0]),
                    int(total[0]) / int(counts[0]),
                    hint,
                    tuple(int(r[0]) for r in rows),
                )
            )
    return out


def blank(quoted: str) -> str:
    """Whether a cell holds more than white space: an empty cell is null, not a fault."""
    return f"(trim(CAST({quoted} AS VARCHAR)) <> '')"


def cast(quoted: str, held: str, rule: Column) -> str:
    """The column as its declared type; null where it does not fit."""
    target = TYPES[rule.type]
    text = f"trim(CAST({quoted} AS VARCHAR))"
    if rule.type == "string":
        return quoted if held == "VARCHAR" else f"CAST({quoted} AS VARCHAR)"
    if rule.type == "boolean":
        if held == "BOOLEAN":
            return quoted
        return (
            f"CASE WHEN lower({text}) IN ('true', '1', '1.0') THEN true "
            f"WHEN lower({text}) IN ('false', '0', '0.0') THEN false END"
        )
    if rule.type == "timestamp":
        if held == "TIMESTAMP":
            return quoted
        if held == "TIMESTAMP WITH TIME ZONE":
            return f"({quoted} AT TIME ZONE 'UTC')"
        if held.startswith("TIMESTAMP"):
            return f"CAST({quoted} AS TIMESTAMP)"
        bare = f"regexp_replace({text}, '(Z|z|[+-]00:?00| ?UTC)$', '')"
        return f"CASE WHEN {_offset(quoted)} THEN NULL ELSE TRY_CAST({bare} AS TIMESTAMP) END"
    if rule.type == "integer":
        if held in (
            "BIGINT",
            "INTEGER",
            "SMALLINT",
            "TINYINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
        ):
            return quoted if held == "BIGINT" else f"CAST({quoted} AS BIGINT)"
        number = f"TRY_CAST({text} AS DOUBLE)"
        return (
            f"coalesce(CASE WHEN regexp_full_match({text}, '[+-]?[0-9]+') THEN TRY_CAST({text} AS BIGINT) END, "
            f"CASE WHEN isfinite({number}) AND {number} = floor({number}) AND abs({number}) < 9e18 "
            f"THEN CAST({number} AS BIGINT) END)"
        )
    number = quoted if held == "DOUBLE" else f"TRY_CAST({text} AS {target})"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _offset(quoted: str) -> str:
    """Whether a cell is a time with an offset other than UTC."""
    text = f"trim(CAST({quoted} AS VARCHAR))"
    return (
        f"(regexp_matches({text}, '[0-9]:[0-9]{{2}}(:[0-9.]+)? ?[+-][0-9]{{2}}(:?[0-9]{{2}})?$') "
        f"AND NOT regexp_matches({text}, '[+-]00(:?00)?$'))"
    )


def _expected(rule: Column) -> str:
    return {
        "boolean": "true or false in any case, or 0 or 1",
        "integer": "a whole number",
        "number": "a finite number",
        "timestamp": "an ISO 8601 time in UTC, such as 2026-11-16T09:30:00Z",
        "string": "text",
    }[rule.type]


def _whole(
    contract: Contract, rule: RuleId, table: str, hint: str, column: str | None = None
) -> Violation:
    """A violation of the table as a whole."""
    return Violation(rule, table, column, contract.severities[rule], 0, 1.0, hint)


__all__ = ["INTERACTIONS", "InputFile", "Source", "digest_inputs", "open_source"]
