"""A DuckDB file as `--data`: its tables or views are read where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from analysis.contract import Table
from analysis.errors import UsageError
from analysis.telemetry import csv_file
from analysis.telemetry.address import Address
from analysis.telemetry.columns import Cells, engine_names, typed_cells
from analysis.telemetry.files import (
    InputFile,
    Stamp,
    Unreadable,
    sha256,
)
from analysis.telemetry.sql import identifier, literal


@dataclass(frozen=True)
class Opened:
    """One table in the engine: its cells, its inputs, and what tells whether these have changed."""

    cells: Cells
    inputs: tuple[InputFile, ...]
    stamps: tuple[Stamp, ...]


@dataclass(frozen=True)
class Database:
    """A DuckDB file whose tables are read where they lie."""

    path: Path
    schema: str
    stamp: Stamp
    digest: str

    @classmethod
    def attach(cls, con: duckdb.DuckDBPyConnection, where: Address) -> Database:
        """Opens the file to be read. Raises UsageError."""
        path = Path(where.target)
        try:
            found = cls(path, where.schema or "main", Stamp.of(path), sha256(path))
            con.execute(f"ATTACH {literal(str(path))} AS theirs (READ_ONLY)")
        except (OSError, duckdb.Error) as error:
            why = getattr(error, "strerror", None) or csv_file.reason(error)
            raise UsageError(f"--data {where.shown}: {why}") from None
        return found

    def open(self, con: duckdb.DuckDBPyConnection, table: str, declared: Table) -> Opened:
        """Makes the views of one table or view. Raises Unreadable."""
        kinds = con.execute(
            "SELECT table_type FROM information_schema.tables WHERE table_catalog = 'theirs' "
            "AND table_schema = ? AND table_name = ?",
            [self.schema, table],
        ).fetchall()
        if not kinds:
            raise Unreadable("files", f"{self.path.name} has no table {self.schema}.{table}")
        # Views have no row ids of their own.
        row = "rowid + 1" if kinds[0][0] == "BASE TABLE" else "row_number() OVER ()"
        place = f"theirs.{identifier(self.schema)}.{identifier(table)}"
        try:
            held = [r[0] for r in con.execute(f"DESCRIBE {place}").fetchall()]
            names = engine_names(held, declared, table)
            listed = ", ".join(map(identifier, (*names, "source_row")))
            relation = f"(SELECT *, {row} FROM {place}) AS held({listed})"
            cells = typed_cells(con, relation, names, declared)
            con.execute(
                f"CREATE VIEW cells_{table} AS SELECT {cells.select}, source_row FROM {relation}"
            )
            n = con.execute(f"SELECT count(*) FROM {place}").fetchall()[0][0]
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            why = csv_file.reason(error)
            raise Unreadable("files", f"{self.path.name}, {table}: {why}") from None
        if not n:
            raise Unreadable("files", f"{self.path.name}: the table {table} has no rows")
        listed = ", ".join(map(identifier, cells.columns))
        con.execute(f"CREATE VIEW {table} AS SELECT {listed}, source_row FROM cells_{table}")
        one = InputFile(table, self.path.name, "duckdb", self.stamp.size, int(n), self.digest)
        return Opened(cells, (one,), (self.stamp,))
