"""Reads the three files into `fact`: one table in memory, texts as ENUM, ids as row numbers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from benchmarks.validation_peers.floor import file_of
from benchmarks.validation_peers.floor_sql import ENGINE_TYPES, reader
from benchmarks.validation_peers.rules import INTERACTIONS, SESSIONS, TYPES, USERS

DIMENSIONS = (
    "use_case", "scenario", "model_provider", "model_name", "account_tier", "channel", "region",
    "segment",
)  # fmt: skip
TEXTS = (
    *DIMENSIONS, "prompt_version", "instruction_template", "country_code", "failure_type",
    "final_resolution_state", "repair_strategy",
)  # fmt: skip
INTEGERS = (
    "retry_index", "prompt_tokens", "max_tokens", "completion_tokens", "cached_prompt_tokens",
    "reasoning_tokens", "total_tokens", "tool_calls_count", "user_feedback_score",
)  # fmt: skip
NUMBERS = (
    "temperature", "top_p", "routing_propensity", "latency_ms", "time_to_first_token_ms",
    "tokens_per_second", "cost_usd", "response_quality_score",
)  # fmt: skip
FLAGS = (
    "safety_flag", "hallucination_flag", "tool_error_flag", "pii_flag", "user_reported_issue",
)  # fmt: skip
LATENCY_MS = 2200  # a slower response is a breach
CANDIDATE_DAYS, BASELINE_DAYS = 14, 42
DAY_US = 86_400_000_000


def read(con: duckdb.DuckDBPyConnection, data: Path) -> int:
    """Makes `fact`; returns its rows. Windows are those of the session's start."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {table: _parquet(con, data, table, Path(scratch)) for table in TYPES}
        _make(con, files)
    return int(con.execute("SELECT count(*) FROM fact").fetchall()[0][0])


def _parquet(con: duckdb.DuckDBPyConnection, data: Path, table: str, scratch: Path) -> str:
    """A table as Parquet: one pass over a CSV, whose types are known, writes it."""
    path = file_of(data, table)
    if path.suffix == ".parquet":
        return str(path)
    columns = ", ".join(f"{c}::{ENGINE_TYPES[t]} AS {c}" for c, t in TYPES[table].items())
    out = scratch / f"{table}.parquet"
    con.execute(f"COPY (SELECT {columns} FROM {reader(path, table)}) TO '{out}' (FORMAT parquet)")
    return str(out)


def _make(con: duckdb.DuckDBPyConnection, files: dict[str, str]) -> None:
    for text in TEXTS:
        con.execute(
            f"CREATE TYPE {text}_enum AS ENUM (SELECT {text} FROM '{files[INTERACTIONS]}' "
            f"WHERE {text} IS NOT NULL GROUP BY 1 ORDER BY 1)"
        )
    con.execute(
        "CREATE TEMP TABLE visits AS SELECT s.session_id, s.file_row_number::INTEGER AS session, "
        "u.file_row_number::INTEGER AS usr, epoch_us(s.start_timestamp_utc) AS started "
        f"FROM read_parquet('{files[SESSIONS]}', file_row_number = true) s "
        f"JOIN read_parquet('{files[USERS]}', file_row_number = true) u USING (user_id)"
    )
    last = con.execute(f"SELECT max(started) // {DAY_US} + 1 FROM visits").fetchall()[0][0]
    first = last - CANDIDATE_DAYS
    columns = [f"{c}::{c}_enum AS {c}" for c in TEXTS]
    columns += [f"{c}::INTEGER AS {c}" for c in INTEGERS]
    con.execute(
        f"CREATE TABLE fact AS SELECT {', '.join([*columns, *NUMBERS, *FLAGS])}, "
        "session, usr, epoch_us(timestamp_utc) AS ts, epoch_us(label_available_utc) AS label, "
        f"(started // {DAY_US})::SMALLINT AS day, "
        f"CASE WHEN started >= {first * DAY_US} THEN 1 "
        f"WHEN started >= {(first - BASELINE_DAYS) * DAY_US} THEN 0 END::TINYINT AS win, "
        "floor(cost_usd * 1e9 + 0.5)::BIGINT AS cost, is_failure AS failure, "
        f"latency_ms > {LATENCY_MS} AS breach "
        f"FROM '{files[INTERACTIONS]}' JOIN visits USING (session_id)"
    )
    con.execute("DROP TABLE visits")
    con.execute(
        "CREATE TABLE edges AS SELECT $1::BIGINT AS first, $2::BIGINT AS last", [first, last]
    )


def candidate_days(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """The candidate's first day, and the day after its last, since 1970."""
    first, last = con.execute("SELECT first, last FROM edges").fetchall()[0]
    return int(first), int(last)
