"""Spark as the engine: a local session, or a cluster's.

Tables of the review are temporary views of the session, kept in its memory and on its disks until
they are dropped. Integers overflow loudly: the session is in ANSI mode, and in UTC.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.errors import UsageError
from analysis.telemetry.dialect import transpile
from analysis.telemetry.engine import Parameters, Row
from analysis.telemetry.frames import frame_of, kind_of, plain
from analysis.telemetry.sql import identifier

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TYPES = {
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
}
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # `${env:HOME}` in a text of the policy or a category stays what it is.
    "spark.sql.variable.substitute": "false",
    "spark.sql.maxPlanStringLength": "10000",
}
_LOCAL = {
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": str(max(2, os.cpu_count() or 2)),
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


_THEIRS = "read_"


class Spark:
    """An engine over one session."""

    name = "spark"

    def __init__(
        self, master: str, shown: str, *, threads: int | None = None, memory: str | None = None
    ) -> None:
        """master: `local` or `spark://host:port`. shown: the address as it may be shown.

        Raises UsageError.
        """
        try:
            # It says so wherever it looks at the version; what it makes of frames is not used here.
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(f"--data {shown}: Spark needs pyspark; pip install pyspark") from None
        self._own_session = SparkSession.getActiveSession() is None
        try:
            self._spark: SparkSession = session(master, threads=threads, memory=memory)
        except Exception as error:
            raise UsageError(
                f"--data {shown}: no Spark session can be started ({type(error).__name__}); "
                "it needs Java 17 or newer"
            ) from None
        self._named: dict[str, None] = {}
        self._kept: dict[str, DataFrame] = {}
        self._read: set[str] = set()

    # ── statements ───────────────────────────────────────────────────────────────────────

    def rows(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        return [tuple(row) for row in self._sql(sql, parameters).collect()]

    def row(self, sql: str, parameters: Parameters | None = None) -> Row:
        return self.rows(sql, parameters)[0]

    def frame(self, sql: str, parameters: Parameters | None = None) -> pd.DataFrame:
        found = self._sql(sql, parameters)
        return frame_of(found.columns, [tuple(row) for row in found.collect()])

    def stream(
        self, sql: str, parameters: Parameters | None = None, *, size: int = 100_000
    ) -> Iterator[pd.DataFrame]:
        found = self._sql(sql, parameters)
        rows = found.toLocalIterator()
        while batch := [tuple(row) for row in itertools.islice(rows, size)]:
            yield frame_of(found.columns, batch)

    def create(self, name: str, select: str, parameters: Parameters | None = None) -> None:
        # A checkpoint forgets how it came about: plans of tables made of tables outgrow any memory.
        made = self._sql(select, parameters).localCheckpoint(eager=True)
        self.drop(name)
        made.createOrReplaceTempView(f"`{name}`")
        self._named[name] = None
        self._kept[name] = made

    def view(self, name: str, select: str) -> None:
        made = self._sql(select, None)
        self.drop(name)
        made.createOrReplaceTempView(f"`{name}`")
        self._named[name] = None

    def put(self, name: str, frame: pd.DataFrame) -> None:
        from pyspark.sql import types

        kinds: dict[str, Any] = {
            "BOOLEAN": types.BooleanType(),
            "BIGINT": types.LongType(),
            "DOUBLE": types.DoubleType(),
            "VARCHAR": types.StringType(),
        }
        schema = types.StructType(
            [types.StructField(str(c), kinds[kind_of(frame[c])]) for c in frame]
        )
        rows = [
            tuple(plain(v) for v in values)
            for values in frame.astype(object).itertuples(index=False, name=None)
        ]
        self.drop(name)
        self._spark.createDataFrame(rows, schema).createOrReplaceTempView(f"`{name}`")
        self._named[name] = None

    def drop(self, *names: str) -> None:
        for name in names:
            self._spark.catalog.dropTempView(name)
            self._named.pop(name, None)
            kept = self._kept.pop(name, None)
            if kept is not None:
                kept.unpersist()

    def types(self, name: str) -> dict[str, str]:
        return {column: duckdb_type(kind) for column, kind in self._spark.table(name).dtypes}

    def read_folder(self, path: str, tables: Sequence[str]) -> None:
        """Makes Parquet in a folder, a file or a folder of parts a table, the session's tables."""
        for table in tables:
            for name in (f"{table}.parquet", table):
                if "://" in path or os.path.exists(os.path.join(path, name)):
                    try:
                        read = self._spark.read.parquet(f"{path.rstrip('/')}/{name}")
                    except Exception:
                        continue
                    read.createOrReplaceTempView(f"`{_THEIRS}{table}`")
                    self._read.add(table)
                    break

    def held(self, table: str, schema: str | None) -> dict[str, str] | None:
        """The columns of a table or view with their types; None where it is not there."""
        from pyspark.errors import AnalysisException

        try:
            dtypes = self._spark.table(self.relation(table, schema).replace('"', "`")).dtypes
        except AnalysisException:
            return None
        return {column: duckdb_type(kind) for column, kind in dtypes}

    def relation(self, table: str, schema: str | None) -> str:
        """The table as it stands in a FROM clause."""
        if table in self._read:
            return identifier(f"{_THEIRS}{table}")
        return identifier(table) if schema is None else f"{identifier(schema)}.{identifier(table)}"

    def beside(self) -> None:
        return None

    def close(self) -> None:
        self.drop(*self._named, *(f"{_THEIRS}{table}" for table in self._read))
        if self._own_session:
            self._spark.stop()

    def _sql(self, sql: str, parameters: Parameters | None) -> DataFrame:
        return self._spark.sql(transpile(sql, "spark", parameters))


def session(
    master: str,
    *,
    threads: int | None = None,
    memory: str | None = None,
    warehouse: Path | None = None,
) -> SparkSession:
    """The session that runs, or a new one. warehouse: where one of our own keeps tables."""
    from pyspark.sql import SparkSession

    local = master == "local"
    builder = SparkSession.builder.appName("release-review")
    builder = builder.master(f"local[{threads or '*'}]" if local else master)
    settings = {**_SETTINGS, **(_LOCAL if local else {})}
    if memory is not None:
        settings["spark.driver.memory"] = _java_size(memory)
    if warehouse is not None:
        settings["spark.sql.warehouse.dir"] = str(warehouse)
    for key, value in settings.items():
        builder = builder.config(key, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    for key, value in _SETTINGS.items():
        made.conf.set(key, value)
    return made


def duckdb_type(kind: str) -> str:
    """A type of Spark by DuckDB's name; one that DuckDB lacks stays as it is."""
    return "DECIMAL" if kind.startswith("decimal") else _TYPES.get(kind, kind)


def _java_size(size: str) -> str:
    """`4GB` and `4 GiB` as Java spells them."""
    number = size.strip().rstrip("iIbB ").rstrip("kKmMgGtT ")
    unit = next((u for u in "kmgt" if u in size.lower()), "m")
    return f"{float(number):.0f}{unit}"
