"""PostgreSQL as the engine: one transaction in which everything is read as it was at its start.

Tables of the review are temporary and go with the transaction; nothing is ever written to the
telemetry. Texts are compared byte by byte, whatever the collation of the database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis.errors import ReviewError, UsageError
from analysis.telemetry.dialect import transpile
from analysis.telemetry.engine import Parameters, Row
from analysis.telemetry.frames import frame_of, kind_of, plain
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import clean

_TYPES = {
    "boolean": "BOOLEAN",
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMP WITH TIME ZONE",
}
_TEXTS = ("text", "character varying", "character", "uuid", "name", '"char"', "citext")


class Postgres:
    """An engine over one connection."""

    name = "postgres"

    def __init__(self, url: str, shown: str) -> None:
        """url: what libpq takes. shown: the same without credentials. Raises UsageError."""
        try:
            import psycopg
        except ImportError:
            raise UsageError(
                f"--data {shown}: PostgreSQL needs psycopg; pip install 'psycopg[binary]'"
            ) from None
        self._errors, self._shown = psycopg.errors, shown
        try:
            secrets = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise UsageError(f"--data {shown}: not an address that PostgreSQL takes") from None
        self._hidden = [str(v) for k in ("password", "user") if (v := secrets.get(k))]
        try:
            self._con: psycopg.Connection[Row] = psycopg.connect(url, autocommit=False)
            self._con.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._execute("SET TIME ZONE 'UTC'")
            self._execute("SET extra_float_digits = 3")
            self._execute("SET search_path = pg_temp, public")
        except psycopg.Error as error:
            raise UsageError(f"--data {shown}: {self._reason(error)}") from None

    # ── statements ───────────────────────────────────────────────────────────────────────

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        return self._execute(self._own(sql, parameters)).fetchall()

    def row(self, sql: str, parameters: Parameters | None = None) -> Row:
        return self.rows(sql, parameters)[0]

    def frame(self, sql: str, parameters: Parameters | None = None) -> pd.DataFrame:
        cursor = self._execute(self._own(sql, parameters))
        names = [c.name for c in cursor.description or ()]
        return frame_of(names, cursor.fetchall())

    def stream(
        self, sql: str, parameters: Parameters | None = None, *, size: int = 100_000
    ) -> Iterator[pd.DataFrame]:
        with self._told(), self._con.cursor(name="stream") as cursor:
            cursor.execute(self._own(sql, parameters))
            names = [c.name for c in cursor.description or ()]
            while batch := cursor.fetchmany(size):
                yield frame_of(names, batch)

    def create(self, name: str, select: str, parameters: Parameters | None = None) -> None:
        self.drop(name)
        self._execute(f"CREATE TEMP TABLE {identifier(name)} AS {self._own(select, parameters)}")
        self._execute(f"ANALYZE {identifier(name)}")

    def view(self, name: str, select: str) -> None:
        self.drop(name)
        self._execute(f"CREATE TEMP VIEW {identifier(name)} AS {self._own(select)}")

    def put(self, name: str, frame: pd.DataFrame) -> None:
        self.drop(name)
        kinds = {"BOOLEAN": "boolean", "BIGINT": "bigint", "DOUBLE": "double precision",
                 "VARCHAR": 'text COLLATE "C"'}  # fmt: skip
        columns = ", ".join(f"{identifier(str(c))} {kinds[kind_of(frame[c])]}" for c in frame)
        self._execute(f"CREATE TEMP TABLE {identifier(name)} ({columns})")
        listed = ", ".join(identifier(str(c)) for c in frame)
        with (
            self._told(),
            self._con.cursor() as cursor,
            cursor.copy(f"COPY {identifier(name)} ({listed}) FROM STDIN") as copy,
        ):
            for values in frame.astype(object).itertuples(index=False, name=None):
                copy.write_row([plain(v) for v in values])
        self._execute(f"ANALYZE {identifier(name)}")

    def drop(self, *names: str) -> None:
        for name in names:
            found = self._execute(
                "SELECT relkind FROM pg_class WHERE relname = %s "
                "AND relnamespace = pg_my_temp_schema()",
                [name],
            ).fetchall()
            for (kind,) in found:
                what = "VIEW" if kind in ("v", b"v") else "TABLE"
                self._execute(f"DROP {what} pg_temp.{identifier(name)} CASCADE")

    def types(self, name: str) -> dict[str, str]:
        found = self._execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [name if '"' in name else f"pg_temp.{identifier(name)}"],
        ).fetchall()
        return {str(column): duckdb_type(str(kind)) for column, kind in found}

    def held(self, table: str, schema: str | None) -> dict[str, str] | None:
        """The columns of a table or view with their types; None where it is not there."""
        found = self._execute(
            "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a "
            "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped "
            "ORDER BY a.attnum",
            [self.relation(table, schema)],
        ).fetchall()
        return {str(c): duckdb_type(str(kind)) for c, kind in found} or None

    def relation(self, table: str, schema: str | None) -> str:
        """The table as it stands in a FROM clause; of no schema, the one in `public`."""
        return f"{identifier(schema or 'public')}.{identifier(table)}"

    def beside(self) -> None:
        return None

    def close(self) -> None:
        # What is temporary goes with the session, however it ended.
        self._con.close()

    def _own(self, sql: str, parameters: Parameters | None = None) -> str:
        return transpile(sql, "postgres", parameters)

    def _execute(self, sql: str, parameters: Any = None) -> Any:
        # Without parameters psycopg leaves percent signs alone.
        with self._told():
            return self._con.execute(sql, parameters)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the server refuses, or cannot do, as an error for a person."""
        errors = self._errors
        try:
            yield
        except errors.InsufficientPrivilege as error:
            raise UsageError(
                f"--data {self._shown}: {self._reason(error)}; the role needs USAGE of the schema, "
                "SELECT on the three tables, and TEMPORARY on the database"
            ) from None
        except (errors.OperationalError, errors.ReadOnlySqlTransaction) as error:
            raise ReviewError(f"{self._shown}: PostgreSQL stopped: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        """What the server said, without credentials."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        told = next((x for x in lines if "FATAL" in x or "ERROR" in x), lines[0] if lines else "")
        for hidden in self._hidden:
            told = told.replace(hidden, "…")
        return clean(told or type(error).__name__, 200)


def duckdb_type(kind: str) -> str:
    """A type of PostgreSQL by DuckDB's name; one that DuckDB lacks stays as it is."""
    if kind in _TEXTS or kind.startswith("character"):
        return "VARCHAR"
    if kind == "numeric":
        return "DECIMAL"
    return _TYPES.get(kind, kind)
