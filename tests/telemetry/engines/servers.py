"""A PostgreSQL server of the tests' own, and telemetry put where each engine finds it.

The server listens on a socket in a temporary directory, and on no port. Its databases sort as English
does, where PostgreSQL was built with ICU: byte order must hold all the same.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.contract import TABLES
from tests.telemetry.worlds import arrow_of

Tables = Mapping[str, pa.Table]
OWNER = "owner"


def binaries() -> Path | None:
    """Where `initdb` is: of Debian's packages the newest, else on PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name))
    found = shutil.which("initdb")
    every = [*places, *([] if found is None else [Path(found).parent])]
    return next((p for p in every if (p / "initdb").exists() and (p / "postgres").exists()), None)


@dataclass(frozen=True)
class Postgres:
    """A running server, in which the tests may do anything as the role `owner`."""

    folder: Path
    icu: bool

    def conninfo(self, database: str = "postgres", role: str = OWNER) -> str:
        """What libpq takes."""
        return f"host={self.folder} dbname={database} user={role}"

    def address(self, database: str, schema: str | None = None, role: str = OWNER) -> str:
        """What `--data` takes."""
        tail = f"&schema={quote(schema)}" if schema is not None else ""
        return f"postgres://{role}@/{database}?host={quote(str(self.folder))}{tail}"

    def run(self, sql: str, database: str = "postgres") -> list[Any]:
        """Runs one statement, which is kept."""
        import psycopg

        with psycopg.connect(self.conninfo(database), autocommit=True) as con:
            done = con.execute(sql)
            return done.fetchall() if done.description else []

    def database(self) -> str:
        """A new and empty database."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def load(self, tables: Tables, database: str, schema: str = "public") -> None:
        """Makes the tables in a schema, which is made where it is not there."""
        import psycopg

        with psycopg.connect(self.conninfo(database)) as con:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            for name, table in tables.items():
                place = f"{quoted(schema)}.{quoted(name)}"
                columns = ", ".join(
                    f"{quoted(f.name)} {postgres_type(f.type)}" for f in table.schema
                )
                con.execute(f"CREATE TABLE {place} ({columns})")
                with con.cursor().copy(f"COPY {place} FROM STDIN") as copy:
                    for row in zip(*(c.to_pylist() for c in table.columns), strict=True):
                        copy.write_row(row)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def postgres_type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision}, {kind.scale})"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return {
        pa.int64(): "bigint",
        pa.int32(): "integer",
        pa.int16(): "smallint",
        pa.float64(): "double precision",
        pa.float32(): "real",
        pa.bool_(): "boolean",
        pa.date32(): "date",
    }[kind]


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Starts a server, and stops it. Skips the test where there is none, and says what is missing."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: requirements-dev.txt has it")
    bin_ = binaries()
    if bin_ is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    # The path of a socket has at most 107 characters; pytest's own directories are long.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            shutil.rmtree(folder)
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder), "TZ": "UTC"}

    def do(program: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(bin_ / program), *options],
            cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120, **who,
        )  # fmt: skip

    try:
        common = ("-D", str(data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "-N")
        icu = do("initdb", *common, "--locale-provider=icu", "--icu-locale=en-US")
        if icu.returncode:
            shutil.rmtree(data, ignore_errors=True)
            plain = do("initdb", *common)
            assert plain.returncode == 0, plain.stderr
        # Another zone than UTC, and few digits: a session must not depend on the server's settings.
        options = (
            f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off -c autovacuum=off "
            "-c timezone=America/New_York -c extra_float_digits=0 -c max_connections=20"
        )
        log = folder / "log"
        start = do(
            "pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(log), "-o", options, "start"
        )
        assert start.returncode == 0, start.stdout + start.stderr
        try:
            yield Postgres(folder, icu=icu.returncode == 0)
        finally:
            do("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ── the same tables for each engine ──────────────────────────────────────────────────────


@dataclass
class Places:
    """Where the same tables lie: files (`csv`, `parquet`), and addresses of engines."""

    tables: Tables
    folder: Path
    made: dict[str, str] = field(default_factory=dict)

    def parquet(self) -> str:
        """A directory of Parquet."""
        if "parquet" not in self.made:
            place = self.folder / "parquet"
            place.mkdir(parents=True)
            for name, table in self.tables.items():
                pq.write_table(table, place / f"{name}.parquet")
            self.made["parquet"] = str(place)
        return self.made["parquet"]

    def csv(self) -> str:
        """A directory of CSV."""
        if "csv" not in self.made:
            place = self.folder / "csv"
            place.mkdir(parents=True)
            for name, table in self.tables.items():
                frame = pd.DataFrame(
                    {f.name: [csv_cell(v) for v in c.to_pylist()] for f, c in fields(table)},
                    dtype=object,
                )
                frame.to_csv(place / f"{name}.csv", index=False)
            self.made["csv"] = str(place)
        return self.made["csv"]

    def duckdb(self, schema: str | None = None) -> str:
        """The address of a DuckDB file."""
        if "duckdb" not in self.made:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "telemetry.db"
            with duckdb.connect(str(path)) as con:
                if schema is not None:
                    con.execute(f"CREATE SCHEMA {quoted(schema)}")
                for name, table in self.tables.items():
                    con.register("given", table)
                    place = f"{quoted(schema or 'main')}.{quoted(name)}"
                    con.execute(f"CREATE TABLE {place} AS SELECT * FROM given")
                    con.unregister("given")
            self.made["duckdb"] = f"duckdb://{path}" + (
                f"?schema={quote(schema)}" if schema else ""
            )
        return self.made["duckdb"]

    def postgres(self, server: Postgres, schema: str | None = None, *, alone: bool = False) -> str:
        """The address of a new schema in PostgreSQL; `alone`: of `public` in a new database."""
        if "postgres" not in self.made:
            # A database costs a thousand files, and a schema none.
            database = server.database() if alone else "postgres"
            if schema is None and not alone:
                schema = f"s_{uuid.uuid4().hex[:12]}"
            server.load(self.tables, database, schema or "public")
            self.made["postgres"] = server.address(database, schema)
        return self.made["postgres"]

    def spark(self) -> str:
        """The address of a local Spark session that reads Parquet."""
        return f"spark:local?path={quote(self.parquet())}"


def fields(table: pa.Table) -> list[tuple[pa.Field, pa.ChunkedArray]]:
    return list(zip(table.schema, table.columns, strict=True))


def csv_cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, pd.Timestamp) or hasattr(value, "isoformat"):
        return str(value.isoformat()) + ("" if getattr(value, "tzinfo", None) else "Z")
    return repr(value) if isinstance(value, float) else str(value)


def typed(frames: Mapping[str, pd.DataFrame]) -> dict[str, pa.Table]:
    """Tables of text cells in the types that the contract declares."""
    return {name: arrow_of(frame, name) for name, frame in frames.items()}


def of_csv(folder: Path, ending: str = "csv.gz") -> dict[str, pa.Table]:
    """The tables of a directory of CSV, typed."""
    return typed(
        {
            name: pd.read_csv(
                folder / f"{name}.{ending}", dtype=str, keep_default_na=False, na_values=[""]
            ).astype(object)
            for name in TABLES
        }
    )


def of_frames(frames: Mapping[str, pd.DataFrame]) -> dict[str, pa.Table]:
    """Typed frames as tables of the few types that every engine has; an empty column is one of text."""
    return {name: _plain(frame) for name, frame in frames.items()}


def _plain(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = []
    for f, column in fields(table):
        kind = f.type.value_type if pa.types.is_dictionary(f.type) else f.type
        if pa.types.is_large_string(kind) or pa.types.is_null(kind):
            kind = pa.string()
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", kind.tz)
        columns.append(column.cast(kind))
    return pa.table(columns, names=table.schema.names)
