"""Opens the three tables in DuckDB, typed by the contract; nothing is loaded that is not needed.

Parquet is read where it lies. A CSV is read once as text (`csv_file`), cast in the engine (`cells`)
and kept as typed Parquet in a private temporary directory until the source is closed. A cell that
holds something and does not fit becomes null in the table, and stays readable in a column of its
own, so that it is counted and located, not fatal. What cannot be read at all becomes a violation of
rule `files` or `columns`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import disk, leftovers
from analysis.contract import TABLES, Contract, RuleId, Table
from analysis.errors import UsageError
from analysis.telemetry import csv_file
from analysis.telemetry.address import Address
from analysis.telemetry.columns import Cells, engine_names, typed_cells
from analysis.telemetry.database import Database, Opened
from analysis.telemetry.engine import DuckDB, Engine
from analysis.telemetry.files import (
    Found,
    InputFile,
    Stamp,
    Unreadable,
    digest_inputs,
    find,
    listing,
    sha256,
    staging_directory,
)
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.violations import Violation, clean

TOO_LITTLE_MEMORY = (
    "the engine's memory is too small for the telemetry; give more with --memory-limit"
)


MEMORY_MIB = 2500


@contextmanager
def reading() -> Iterator[None]:
    """While the embedded engine works. Raises UsageError where it lacks memory or disk for that."""
    room = (
        "it holds what the engine cannot keep in memory; free some, or set TMPDIR to another folder"
    )
    try:
        with disk.writing(Path(tempfile.gettempdir()), room, spills=True):
            yield
    except duckdb.OutOfMemoryException:
        raise UsageError(TOO_LITTLE_MEMORY) from None


@dataclass(frozen=True)
class Source:
    """The tables in the engine.

    columns: table → its columns, spelled as in the contract where it declares them, else as in the
    data; one without a name, or whose name differs only in case from another, goes by a name of its
    own. Each table has `source_row`, the 1-based data row. Beside it `cells_<table>` holds the same
    and, for each column in `misfits[table]`, the text of the cells that do not fit, under that name;
    for each in `zoned[table]`, whether the text of a time said that it is UTC.
    """

    engine: Engine
    inputs: tuple[InputFile, ...]
    columns: Mapping[str, tuple[str, ...]]
    misfits: Mapping[str, Mapping[str, str]]
    zoned: Mapping[str, Mapping[str, str]]
    violations: tuple[Violation, ...]
    stamps: tuple[Stamp, ...]
    staging: Path | None

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The embedded engine's connection: for what is done with files alone."""
        assert isinstance(self.engine, DuckDB)
        return self.engine.con

    def rows(self, table: str) -> int:
        """Data rows of a table."""
        return sum(i.rows for i in self.inputs if i.table == table)

    def check_unchanged(self) -> None:
        """Raises UsageError where a file is no longer the one that was digested."""
        for stamp in self.stamps:
            if not stamp.holds:
                raise UsageError(f"{stamp.path}: the telemetry changed while it was read; again")

    def close(self) -> None:
        """Ends the engine's session, and removes what was staged."""
        self.engine.close()
        if self.staging is not None:
            leftovers.remove(self.staging)


@reading()
def open_source(
    data: Path | Address,
    contract: Contract,
    *,
    threads: int | None = None,
    memory_limit: str | None = None,
    temp_dir: Path | None = None,
) -> Source:
    """Opens what is in `data`, a directory or a DuckDB file.

    Raises UsageError where that itself cannot be read, or the memory is too small.
    """
    names = frozenset[str]() if isinstance(data, Address) else listing(data)
    staging = staging_directory(temp_dir)
    con = connect(threads, memory_limit, staging)
    inputs: list[InputFile] = []
    stamps: list[Stamp] = []
    columns: dict[str, tuple[str, ...]] = {}
    misfits: dict[str, Mapping[str, str]] = {}
    zones: dict[str, Mapping[str, str]] = {}
    violations: list[Violation] = []
    try:
        database = Database.attach(con, data) if isinstance(data, Address) else None
        for table in TABLES:
            try:
                if database is not None:
                    opened = database.open(con, table, contract.tables[table])
                else:
                    assert isinstance(data, Path)
                    found = find(data, names, table)
                    opened = _open(con, data, found, contract.tables[table], staging)
            except Unreadable as error:
                violations.append(whole(contract, error.rule, table, error.hint, error.column))
                continue
            columns[table] = opened.cells.columns
            misfits[table], zones[table] = opened.cells.misfits, opened.cells.zoned
            inputs += opened.inputs
            stamps += opened.stamps
            violations += declared_columns(contract, table, contract.tables[table], columns[table])
    except BaseException:
        con.close()
        leftovers.remove(staging)
        raise
    return Source(
        DuckDB(con),
        tuple(inputs),
        columns,
        misfits,
        zones,
        tuple(violations),
        tuple(stamps),
        staging,
    )


def whole(
    contract: Contract, rule: RuleId, table: str, hint: str, column: str | None = None
) -> Violation:
    """A violation of the table as a whole."""
    return Violation(rule, table, column, contract.severities[rule], 0, 1.0, hint)


def connect(
    threads: int | None, memory_limit: str | None, staging: Path
) -> duckdb.DuckDBPyConnection:
    """The embedded engine, which spills into `staging`. Raises UsageError."""
    con = duckdb.connect(":memory:")
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = true")
    con.execute("SET enable_progress_bar = false")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute(f"SET temp_directory = {literal(str(staging / 'spill'))}")
    if threads is not None:
        con.execute(f"SET threads = {int(threads)}")
    try:
        con.execute(f"SET memory_limit = {literal(memory_limit or _memory_limit(con))}")
    except duckdb.Error:
        con.close()
        leftovers.remove(staging)
        raise UsageError(
            f"--memory-limit {memory_limit}: not a size that the engine takes"
        ) from None
    return con


def _memory_limit(con: duckdb.DuckDBPyConnection) -> str:
    """The engine's own limit, a share of what the machine or its container has; at most `MEMORY_MIB`.

    Beyond it the engine spills to disk: a laptop does other work, too.
    """
    own = str(con.execute("SELECT current_setting('memory_limit')").fetchall()[0][0])
    number, unit = own.split()
    mib = float(number) * {"KiB": 2**-10, "MiB": 1, "GiB": 2**10, "TiB": 2**20}.get(unit, 0)
    return f"{min(mib, MEMORY_MIB) or MEMORY_MIB:.0f}MiB"


# ── opening one table ────────────────────────────────────────────────────────────────────


def _open(
    con: duckdb.DuckDBPyConnection, data: Path, found: Found, declared: Table, staging: Path
) -> Opened:
    """Makes the views of one table. Raises Unreadable."""
    try:
        stamps = tuple(Stamp.of(path) for path in found.paths)
        if found.format == "parquet":
            cells, rows = _open_parquet(con, found, declared)
        else:
            cells, rows = _stage_csv(con, found, declared, staging)
        inputs = tuple(
            InputFile(
                found.table,
                path.relative_to(data).as_posix(),
                found.format,
                stamp.size,
                n,
                sha256(path),
            )
            for path, stamp, n in zip(found.paths, stamps, rows, strict=True)
        )
    except duckdb.OutOfMemoryException:
        raise
    except (OSError, duckdb.Error, pa.ArrowException, UnicodeError) as error:
        if disk.refusal(error) is not None:
            raise
        why = getattr(error, "strerror", None) or csv_file.reason(error)
        raise Unreadable("files", f"{found.paths[0].name}: {why}") from None
    if not sum(rows):
        raise Unreadable("files", f"{inputs[0].file} has a header and no rows")
    listed = ", ".join(map(identifier, cells.columns))
    con.execute(
        f"CREATE VIEW {found.table} AS SELECT {listed}, source_row FROM cells_{found.table}"
    )
    return Opened(cells, inputs, stamps)


def _open_parquet(
    con: duckdb.DuckDBPyConnection, found: Found, declared: Table
) -> tuple[Cells, list[int]]:
    """`cells_<table>`: a view over the files, which are read when somebody asks."""
    names, relation, rows = _parquet_relation(found, declared)
    cells = typed_cells(con, relation, names, declared)
    con.execute(
        f"CREATE VIEW cells_{found.table} AS SELECT {cells.select}, source_row FROM {relation}"
    )
    return cells, rows


def _stage_csv(
    con: duckdb.DuckDBPyConnection, found: Found, declared: Table, staging: Path
) -> tuple[Cells, list[int]]:
    """`cells_<table>`: a view over a Parquet file of typed cells, written in one pass.

    Numbers and booleans are read as such, which costs least. Where a cell does not fit, is spelled
    in another way, or needs more than 53 bits, the file is read once more, all of it as text.
    """
    path, gzipped = found.paths[0], found.format == "csv.gz"
    staged = staging / f"{found.table}.parquet"
    try:
        held = csv_file.header(path, gzipped=gzipped)
    except csv_file.NoCsv as error:
        raise Unreadable("files", f"{path.name}: {error}") from None
    names = engine_names(held, declared, path.name)
    wanted = {
        theirs: _ARROW[rule.type]
        for theirs, name in zip(held, names, strict=True)
        if (rule := declared.column(name)) is not None and rule.type in _ARROW
    }
    types = csv_file.readable(path, held, wanted, gzipped=gzipped)
    try:
        cells = _stage(con, path, held, names, declared, types, staged, gzipped)
        if types and _is_doubtful(con, staged, cells, declared):
            cells = _stage(con, path, held, names, declared, {}, staged, gzipped)
    except (duckdb.Error, pa.ArrowInvalid) as error:
        if not csv_file.is_misread(error):
            raise
        cells = _stage(con, path, held, names, declared, {}, staged, gzipped)
    con.execute(
        f"CREATE VIEW cells_{found.table} AS SELECT * FROM read_parquet({literal(no_pattern(staged))})"
    )
    return cells, [pq.read_metadata(staged).num_rows]


_ARROW = {"integer": pa.float64(), "number": pa.float64(), "boolean": pa.bool_()}
_DUCKDB = {pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}


def _stage(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    held: tuple[str, ...],
    names: tuple[str, ...],
    declared: Table,
    types: Mapping[str, pa.DataType],
    staged: Path,
    gzipped: bool,
) -> Cells:
    con.register("csv_records", csv_file.records(path, held, types, gzipped=gzipped))
    try:
        relation = "csv_records AS records({})".format(
            ", ".join(map(identifier, (*names, csv_file.ROW)))
        )
        read_as = {
            name: _DUCKDB[types[theirs]] if theirs in types else "VARCHAR"
            for theirs, name in zip(held, names, strict=True)
        }
        cells = typed_cells(con, relation, names, declared, read_as)
        con.execute("SET preserve_insertion_order = false")  # source_row says it already
        con.execute(
            f"COPY (SELECT {cells.select}, {csv_file.ROW} FROM {relation}) "
            f"TO {literal(str(staged))} (FORMAT parquet)"
        )
    finally:
        con.execute("SET preserve_insertion_order = true")
        con.unregister("csv_records")
    return cells


def _is_doubtful(
    con: duckdb.DuckDBPyConnection, staged: Path, cells: Cells, declared: Table
) -> bool:
    """Whether a cell does not fit, so that its text is wanted, or needs more than 53 bits."""
    doubts = [f"count({misfit}) > 0" for misfit in cells.misfits.values()]
    doubts += [
        f"coalesce(max(abs({identifier(c)})) >= {2**53}, false)"
        for c in cells.columns
        if (rule := declared.column(c)) is not None and rule.type == "integer"
    ]
    if not doubts:
        return False
    row = con.execute(
        f"SELECT {' OR '.join(doubts)} FROM read_parquet({literal(no_pattern(staged))})"
    ).fetchall()
    return bool(row[0][0])


def _parquet_relation(found: Found, declared: Table) -> tuple[tuple[str, ...], str, list[int]]:
    """The names, the files as one relation of these and `source_row`, and the rows of each file."""
    parts: list[str] = []
    rows: list[int] = []
    first: tuple[str, ...] = ()
    for path in found.paths:
        try:
            head = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(
                "files", f"{path.name} is no complete Parquet file ({clean(str(error), 120)})"
            ) from None
        held = tuple(head.schema.to_arrow_schema().names)
        first = first or held
        engine_names(held, declared, path.name)
        if set(held) != set(first):
            raise Unreadable("files", f"{path.name} has other columns than {found.paths[0].name}")
        place = {name: f"c{i}" for i, name in enumerate(first)}
        # The engine has a column for the row, unless the data have one of its name.
        own = any(n.lower() == "file_row_number" for n in held)
        row = "row_number() OVER () - 1" if own else "file_row_number"
        parts.append(
            f"SELECT {', '.join(place.values())}, {row} + {sum(rows) + 1} AS source_row "
            f"FROM read_parquet({literal(no_pattern(path))}, hive_partitioning = false, "
            f"file_row_number = {str(not own).lower()}) AS file({', '.join(place[n] for n in held)})"
        )
        rows.append(head.num_rows)
    names = engine_names(first, declared, found.paths[0].name)
    listed = ", ".join(map(identifier, (*names, "source_row")))
    return names, f"({' UNION ALL '.join(parts)}) AS files({listed})", rows


def declared_columns(
    contract: Contract, name: str, declared: Table, names: Sequence[str]
) -> list[Violation]:
    """Required columns that are missing, and declared ones in another case."""
    lowered = {n.lower(): n for n in names}
    out = []
    for column, rule in declared.columns.items():
        if column in names:
            continue
        theirs = declared.names.get(column)
        other = lowered.get(column.lower())
        if other is not None:
            hint = f"the column is spelled {clean(other, 60)!r}; rename it to {column!r}"
            out.append(whole(contract, "columns", name, hint, column))
        elif theirs is not None:
            hint = (
                f"the contract calls it {clean(theirs, 60)!r} in the data, which lack that column"
            )
            out.append(whole(contract, "columns", name, hint, column))
        elif rule.required:
            out.append(
                whole(contract, "columns", name, f"the required column {column} is missing", column)
            )
    return out


def no_pattern(path: Path) -> str:
    """The path as a pattern that matches nothing else: the engine expands *, ? and [ ]."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))


def unreadable_tables(source: Source, contract: Contract) -> list[Violation]:
    """Tables whose files open, and then cannot be read to their end: rule `files`."""
    out = []
    for table, names in source.columns.items():
        every = ", ".join(f"count({identifier(c)}), max(hash({identifier(c)}))" for c in names)
        try:
            source.engine.rows(f"SELECT {every} FROM {table}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            if disk.refusal(error) is not None:
                raise
            file = next(i.file for i in source.inputs if i.table == table)
            hint = f"{file}: cannot be read to its end ({clean(str(error).splitlines()[0], 120)})"
            out.append(whole(contract, "files", table, hint))
    return out


__all__ = ["InputFile", "Source", "digest_inputs", "open_source", "unreadable_tables", "whole"]
