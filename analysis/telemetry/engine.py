"""The engine that reductions run in: one small interface, whatever it is.

Every reduction is written once, in DuckDB's dialect, and in the part of it that other engines know
too (see `telemetry.dialect`). DuckDB runs it as it stands; another engine has it transpiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pandas as pd
import pyarrow as pa

from analysis import leftovers
from analysis.telemetry.sql import identifier

Parameters = Mapping[str, object]
Row = tuple[Any, ...]


class Engine(Protocol):
    """What a reduction may ask of an engine.

    Parameters stand in a statement as `$name`. Tables are temporary, and this session's own.
    """

    name: str

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """The rows of a small result."""

    def row(self, sql: str, parameters: Parameters | None = None) -> Row:
        """The one row of a result."""

    def frame(self, sql: str, parameters: Parameters | None = None) -> pd.DataFrame:
        """A result as a frame. Sums of integers come as float64 above 2⁵³."""

    def stream(
        self, sql: str, parameters: Parameters | None = None, *, size: int = 100_000
    ) -> Iterator[pd.DataFrame]:
        """A result in its order, as frames of about `size` rows, one at a time."""

    def create(self, name: str, select: str, parameters: Parameters | None = None) -> None:
        """Keeps a result as the table `name`, which it replaces."""

    def view(self, name: str, select: str) -> None:
        """Gives a statement a name, which it replaces."""

    def put(self, name: str, frame: pd.DataFrame) -> None:
        """Makes a small table from here: columns of integers, floats, booleans or texts."""

    def drop(self, *names: str) -> None:
        """Removes tables and views of this session, where they are there."""

    def types(self, name: str) -> dict[str, str]:
        """The columns of a table or view, in order, with their types by DuckDB's names."""

    def beside(self) -> Engine | None:
        """A second session over the same tables and views, for another thread; None where there is
        none to be had. What it makes is its own."""

    def close(self) -> None:
        """Ends the session, and removes what it made. Stops what it is doing."""


class DuckDB:
    """The embedded engine, over a connection. Tables are no temporary ones: a cursor would not see them."""

    name = "duckdb"

    def __init__(
        self, con: duckdb.DuckDBPyConnection, *directories: Path, schema: str = "main"
    ) -> None:
        """directories: removed at the end. schema: where tables and views are made."""
        self.con = con
        self._directories = directories
        self._schema = schema

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        return self._run(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters | None = None) -> Row:
        return self.rows(sql, parameters)[0]

    def frame(self, sql: str, parameters: Parameters | None = None) -> pd.DataFrame:
        return self._run(sql, parameters).df()

    def stream(
        self, sql: str, parameters: Parameters | None = None, *, size: int = 100_000
    ) -> Iterator[pd.DataFrame]:
        # A relation, not a statement: that would hold the whole result before the first row.
        found = self._cursor().sql(sql, params=dict(parameters or {}))
        held: list[pa.RecordBatch] = []
        for batch in found.to_arrow_reader(size):
            held.append(batch)
            if sum(b.num_rows for b in held) >= size:
                yield pa.Table.from_batches(held).to_pandas(split_blocks=True)
                held = []
        if any(b.num_rows for b in held):
            yield pa.Table.from_batches(held).to_pandas(split_blocks=True)

    def create(self, name: str, select: str, parameters: Parameters | None = None) -> None:
        self.drop(name)
        self._run(f"CREATE TABLE {identifier(name)} AS {select}", parameters)

    def view(self, name: str, select: str) -> None:
        self.drop(name)
        self.con.execute(f"CREATE VIEW {identifier(name)} AS {select}")

    def put(self, name: str, frame: pd.DataFrame) -> None:
        self.drop(name)
        self.con.register("put_frame", frame)
        self.con.execute(f"CREATE TABLE {identifier(name)} AS SELECT * FROM put_frame")
        self.con.unregister("put_frame")

    def drop(self, *names: str) -> None:
        # Asking the catalog would hold every attached file: whoever lets go of one last has to finish it.
        for name in names:
            for place in (f"memory.{self._schema}", "temp.main"):
                own = f"{place}.{identifier(name)}"
                try:
                    self.con.execute(f"DROP TABLE IF EXISTS {own}")
                except duckdb.CatalogException:
                    self.con.execute(f"DROP VIEW {own}")

    def types(self, name: str) -> dict[str, str]:
        found = self.con.execute(f"DESCRIBE {identifier(name)}").fetchall()
        return {
            str(column): "VARCHAR" if kind.startswith("ENUM") else str(kind)
            for column, kind, *_ in found
        }

    def beside(self) -> DuckDB:
        schema = f"{self._schema}_beside"
        con = self.con.cursor()
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        con.execute(f"SET search_path = '{schema},{self._schema}'")
        return DuckDB(con, schema=schema)

    def close(self) -> None:
        self.con.interrupt()
        self.con.close()
        for directory in self._directories:
            leftovers.remove(directory)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        con = self.con.cursor()
        if self._schema != "main":
            outer = self._schema.removesuffix("_beside")
            con.execute(f"SET search_path = '{self._schema},{outer}'")
        return con

    def _run(self, sql: str, parameters: Parameters | None) -> duckdb.DuckDBPyConnection:
        return self.con.execute(sql, dict(parameters or {}))
