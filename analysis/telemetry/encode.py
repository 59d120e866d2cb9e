"""Encodes validated interactions once, in the engine: what `fact` and every reduction read.

    encoded       every usable column of the interactions but those set apart; texts of few values as ENUM
                  where the engine is the embedded one; session, usr (codes), ts_us, ts_day,
                  started_us, started_day, label_us, traced (true where there is a trace id)
    session_ids, user_ids   code, id: whose a code is

Codes are row numbers in the embedded engine, and the ids themselves in any other. All of it depends on
the telemetry and the contract alone, not on windows or limits: a policy that changes those reads it
again (`telemetry.store`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry.engine import DuckDB, Engine
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier, literal

MAX_ENUM = 10_000
"""A text column with more values is kept as it is."""
DAY_US = 86_400_000_000
TABLES = ("encoded", "session_ids", "user_ids")


def encode_into(source: Source, columns: Sequence[str], path: Path, *, joined: bool) -> None:
    """Makes the three tables in a file of the embedded engine, over a cursor of its own.

    columns: those of the interactions table that somebody may read. joined: whether every
    interaction's session is in the sessions table.
    """
    con = source.con.cursor()
    into = "encoding"
    con.execute(f"ATTACH {literal(str(path))} AS {into}")
    try:
        enums = _enums(con, columns, into)
        starts = _starts(DuckDB(con), source.columns[SESSIONS], joined=joined)
        con.execute(f"CREATE OR REPLACE TEMP TABLE session_starts AS {starts}")
        for table, select in _selects(
            columns, source.columns[INTERACTIONS], enums, code="source_row"
        ).items():
            con.execute(f"CREATE TABLE {into}.{table} AS {select}")
        con.execute("DROP TABLE session_starts")
    finally:
        con.execute(f"DETACH {into}")
        con.close()


def encode(source: Source, columns: Sequence[str], *, joined: bool) -> None:
    """Makes the three tables in the engine that holds the telemetry."""
    engine = source.engine
    engine.create("session_starts", _starts(engine, source.columns[SESSIONS], joined=joined))
    for name, select in _selects(columns, source.columns[INTERACTIONS], {}, code="user_id").items():
        engine.create(name, select)
    engine.drop("session_starts")


def _starts(engine: Engine, columns: Sequence[str], *, joined: bool) -> str:
    """Sessions with their codes and starts: the declared one, else that of the first interaction."""
    code = "source_row" if isinstance(engine, DuckDB) else "session_id"
    declared = "start_timestamp_utc" in columns
    complete = (
        joined
        and declared
        and not engine.row(
            f"SELECT count(*) FROM {SESSIONS} WHERE start_timestamp_utc IS NULL OR session_id IS NULL"
        )[0]
    )
    if complete:
        return (
            f"SELECT session_id AS id, {code} AS code, epoch_us(start_timestamp_utc) AS started_us "
            f"FROM {SESSIONS}"
        )
    start = "min(s.start_timestamp_utc)" if declared else "CAST(NULL AS TIMESTAMP)"
    return (
        f"SELECT i.session_id AS id, min(s.{code}) AS code, "
        f"epoch_us(coalesce({start}, min(i.timestamp_utc))) AS started_us "
        f"FROM {INTERACTIONS} i LEFT JOIN {SESSIONS} s ON s.session_id = i.session_id "
        "WHERE i.session_id IS NOT NULL GROUP BY i.session_id"
    )


def _selects(
    columns: Sequence[str], have: Sequence[str], casts: Mapping[str, str], code: str
) -> dict[str, str]:
    """The statements of the three tables. casts: column → what stands for it."""
    carried = [casts.get(c, f"i.{identifier(c)} AS {identifier(c)}") for c in columns]
    return {
        "encoded": f"SELECT {', '.join([*carried, *_made(have, code)])} FROM {INTERACTIONS} i "
        f"JOIN session_starts s ON s.id = i.session_id LEFT JOIN {USERS} u ON u.user_id = i.user_id",
        "session_ids": "SELECT code, id FROM session_starts",
        "user_ids": f"SELECT {code} AS code, user_id AS id FROM {USERS}",
    }


def _enums(con: duckdb.DuckDBPyConnection, columns: Sequence[str], into: str) -> dict[str, str]:
    """Texts of few values, as a type of their own each: they are grouped four times as fast."""
    types = DuckDB(con).types(INTERACTIONS)
    out = {}
    for place, name in enumerate(columns):
        if types[name] != "VARCHAR" or name == "interaction_id":
            continue
        quoted = identifier(name)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE told AS SELECT DISTINCT {quoted} AS told "
            f"FROM {INTERACTIONS} WHERE {quoted} IS NOT NULL LIMIT {MAX_ENUM + 1}"
        )
        n = con.execute("SELECT count(*) FROM told").fetchall()[0][0]
        if 0 < n <= MAX_ENUM:
            con.execute(
                f"CREATE TYPE {into}.text_{place} AS ENUM (SELECT told FROM told ORDER BY told)"
            )
            out[name] = f"CAST(i.{quoted} AS {into}.text_{place}) AS {quoted}"
    con.execute("DROP TABLE IF EXISTS told")
    return out


def _made(columns: Sequence[str], code: str) -> list[str]:
    """The columns of our own."""
    out = [
        "s.code AS session",
        f"u.{code} AS usr",
        "epoch_us(i.timestamp_utc) AS ts_us",
        f"CAST(floor(epoch_us(i.timestamp_utc) / {DAY_US}) AS BIGINT) AS ts_day",
        "s.started_us AS started_us",
        f"CAST(floor(s.started_us / {DAY_US}) AS BIGINT) AS started_day",
    ]
    if "trace_id" in columns:
        out.append("CASE WHEN i.trace_id IS NULL THEN NULL ELSE true END AS traced")
    if "label_available_utc" in columns:
        out.append("epoch_us(i.label_available_utc) AS label_us")
    return out
