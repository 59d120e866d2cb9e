"""Encodes validated interactions once, in the engine: what `fact` and every reduction read.

    encoded       every usable column of the interactions but the ids; texts of few values as ENUM;
                  session, usr (codes), ts_us, ts_day, started_us, started_day, label_us,
                  cost_nano, latency_us, traced (true where there is a trace id)
    session_ids, user_ids   code, id: whose a code is

It depends on the telemetry and the contract alone, not on windows or limits: a policy that changes
those reads it again (`telemetry.store`).
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry.fact import IDS
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

MAX_ENUM = 10_000
"""A text column with more values is kept as it is."""
DAY_US = 86_400_000_000


def encode(source: Source, columns: Sequence[str], into: str, *, joined: bool) -> None:
    """Makes the three tables in the attached database `into`.

    columns: those of the interactions table that somebody may read. joined: whether validation found
    every interaction's session in the sessions table.
    """
    con = source.con
    kept = [c for c in columns if c not in IDS and c != "timestamp_utc"]
    _starts(source, into, joined=joined)
    con.execute("SET preserve_insertion_order = false")
    try:
        con.execute(
            f"""
            CREATE TABLE {into}.encoded AS
            SELECT {", ".join([*_columns(con, kept, into), *_made(columns)])}
            FROM {INTERACTIONS} i JOIN {into}.session_starts s ON s.id = i.session_id
            LEFT JOIN {into}.user_ids u ON u.id = i.user_id
            """
        )
    finally:
        con.execute("SET preserve_insertion_order = true")
    con.execute(f"CREATE TABLE {into}.session_ids AS SELECT code, id FROM {into}.session_starts")
    con.execute(f"DROP TABLE {into}.session_starts")


def _starts(source: Source, into: str, *, joined: bool) -> None:
    """Sessions with their codes and starts: the declared one, else that of the first interaction."""
    con = source.con
    declared = "start_timestamp_utc" in source.columns[SESSIONS]
    complete = (
        joined
        and declared
        and not con.execute(
            f"SELECT count(*) FROM {SESSIONS} WHERE start_timestamp_utc IS NULL OR session_id IS NULL"
        ).fetchall()[0][0]
    )
    if complete:
        con.execute(
            f"CREATE TABLE {into}.session_starts AS SELECT session_id AS id, source_row AS code, "
            f"epoch_us(start_timestamp_utc) AS started_us FROM {SESSIONS}"
        )
    else:
        start = "min(s.start_timestamp_utc)" if declared else "CAST(NULL AS TIMESTAMP)"
        con.execute(
            f"""
            CREATE TABLE {into}.session_starts AS
            SELECT i.session_id AS id, min(s.source_row) AS code,
                   epoch_us(coalesce({start}, min(i.timestamp_utc))) AS started_us
            FROM {INTERACTIONS} i LEFT JOIN {SESSIONS} s ON s.session_id = i.session_id
            WHERE i.session_id IS NOT NULL GROUP BY i.session_id
            """
        )
    con.execute(
        f"CREATE TABLE {into}.user_ids AS SELECT source_row AS code, user_id AS id FROM {USERS}"
    )


def _columns(con: duckdb.DuckDBPyConnection, kept: Sequence[str], into: str) -> list[str]:
    types = dict(
        con.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?",
            [INTERACTIONS],
        ).fetchall()
    )
    out = []
    for place, name in enumerate(kept):
        quoted = identifier(name)
        out.append(f"i.{quoted}")
        if types[name] != "VARCHAR" or name == "interaction_id":
            continue
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE told AS SELECT DISTINCT {quoted} AS told "
            f"FROM {INTERACTIONS} WHERE {quoted} IS NOT NULL LIMIT {MAX_ENUM + 1}"
        )
        n = con.execute("SELECT count(*) FROM told").fetchall()[0][0]
        if 0 < n <= MAX_ENUM:
            con.execute(
                f"CREATE TYPE {into}.text_{place} AS ENUM (SELECT told FROM told ORDER BY told)"
            )
            out[-1] = f"CAST(i.{quoted} AS {into}.text_{place}) AS {quoted}"
    con.execute("DROP TABLE IF EXISTS told")
    return out


def _made(columns: Sequence[str]) -> list[str]:
    """The columns of our own."""
    # Half a unit is added and the floor taken: every engine does that alike, and rounds in its own way.
    cost = (
        "CAST(floor(i.cost_usd * 1e9 + 0.5) AS BIGINT)" if "cost_usd" in columns else "NULL::BIGINT"
    )
    latency = (
        "CAST(floor(i.latency_ms * 1e3 + 0.5) AS BIGINT)"
        if "latency_ms" in columns
        else "NULL::BIGINT"
    )
    out = [
        "s.code AS session",
        "u.code AS usr",
        "epoch_us(i.timestamp_utc) AS ts_us",
        f"CAST(floor(epoch_us(i.timestamp_utc) / {DAY_US}) AS BIGINT) AS ts_day",
        "s.started_us",
        f"CAST(floor(s.started_us / {DAY_US}) AS BIGINT) AS started_day",
        f"{cost} AS cost_nano",
        f"{latency} AS latency_us",
    ]
    if "trace_id" in columns:
        out.append("CASE WHEN i.trace_id IS NULL THEN NULL ELSE true END AS traced")
    if "label_available_utc" in columns:
        out.append("epoch_us(i.label_available_utc) AS label_us")
    return out
