"""Valid telemetry in which something is broken: what shows that a contender looks at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.validation_peers.rules import INTERACTIONS, SESSIONS, TIME_FORMAT, TYPES, USERS

ROWS = INTERACTIONS
CASTS = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}


@dataclass(frozen=True)
class Case:
    """A change of one column that breaks a rule.

    value: SQL over the row's cells, which are text, and over the whole table `t`. every: each n-th
    row is changed instead of a single one. csv_only: a typed column cannot hold such a cell.
    """

    rule: str
    table: str
    column: str
    value: str
    every: int | None = None
    csv_only: bool = False

    def __str__(self) -> str:
        return f"{self.rule} of {self.table}.{self.column}: {self.value}"


CASES = (
    Case("types", ROWS, "is_failure", "'maybe'", csv_only=True),
    Case("types", ROWS, "retry_index", "'1.5'", csv_only=True),
    Case("types", ROWS, "latency_ms", "'fast'", csv_only=True),
    Case("types", ROWS, "label_available_utc", "'soon'", csv_only=True),
    Case("types", SESSIONS, "session_total_requests", "'two'", csv_only=True),
    Case("types", ROWS, "tokens_per_second", "'inf'"),
    Case("types", ROWS, "tokens_per_second", "'nan'"),
    Case("timestamp_utc", ROWS, "timestamp_utc", "'2026-11-02T10:00:00+02:00'", csv_only=True),
    Case("ranges", ROWS, "latency_ms", "'-0.5'"),
    Case("ranges", ROWS, "cost_usd", "'1000001'"),
    Case("ranges", ROWS, "top_p", "'1.01'"),
    Case("ranges", ROWS, "routing_propensity", "'0'"),
    Case("ranges", ROWS, "response_quality_score", "'-1e13'"),
    Case("ranges", USERS, "user_total_failures", "'-1'"),
    Case("key_null", ROWS, "interaction_id", "NULL"),
    Case("key_null", ROWS, "interaction_id", "'  '"),
    Case("key_null", SESSIONS, "user_id", "NULL"),
    Case("key_null", USERS, "user_id", "NULL"),
    Case("key_unique", ROWS, "interaction_id", "(SELECT interaction_id FROM t WHERE k = 3)"),
    Case("key_unique", SESSIONS, "session_id", "(SELECT session_id FROM t WHERE k = 3)"),
    Case("key_unique", USERS, "user_id", "(SELECT user_id FROM t WHERE k = 3)"),
    Case("foreign_key", ROWS, "session_id", "'nowhere'"),
    Case("foreign_key", ROWS, "user_id", "'nobody'"),
    Case("foreign_key", SESSIONS, "session_id", "'nowhere'"),
    Case("foreign_key", SESSIONS, "user_id", "'nobody'"),
    Case("foreign_key", USERS, "user_id", "'nobody'"),
    Case("user_matches_session", ROWS, "user_id", "(SELECT min(user_id) FROM t)"),
    Case("token_sum", ROWS, "total_tokens", "total_tokens::BIGINT + 1"),
    Case("token_sum", ROWS, "cached_prompt_tokens", "prompt_tokens::BIGINT + 1"),
    Case("token_sum", ROWS, "reasoning_tokens", "completion_tokens::BIGINT + 1"),
    Case("rollup", SESSIONS, "session_total_requests", "session_total_requests::BIGINT + 1"),
    Case("rollup", SESSIONS, "session_total_failures", "session_total_failures::BIGINT + 9"),
    Case("rollup", SESSIONS, "session_total_tokens", "session_total_tokens::BIGINT - 1"),
    Case("rollup", SESSIONS, "session_total_cost_usd", "session_total_cost_usd::DOUBLE + 0.0001"),
    Case("rollup", USERS, "user_total_requests", "user_total_requests::BIGINT + 1"),
    Case("rollup", USERS, "user_total_failures", "user_total_failures::BIGINT + 9"),
    Case("rollup", USERS, "user_total_tokens", "user_total_tokens::BIGINT - 1"),
    Case("rollup", USERS, "user_total_cost_usd", "user_total_cost_usd::DOUBLE + 0.0001"),
    Case("timestamp_in_session", ROWS, "timestamp_utc", "'2020-01-01T00:00:00Z'"),
    Case("timestamp_in_session", ROWS, "timestamp_utc", "'2036-01-01T00:00:00Z'"),
    Case("session_order", SESSIONS, "end_timestamp_utc", "'2020-01-01T00:00:00Z'"),
    Case("missing_rate", ROWS, "region", "NULL", every=10),
    Case("duplicate_rows", ROWS, "interaction_id", "'the copy'"),
)


class Tables:
    """The three tables of `data` as text, of the first `n_users` users only; to be broken and written."""

    def __init__(self, data: Path, n_users: int) -> None:
        self.con = duckdb.connect()
        for table, types in TYPES.items():
            path = next(data.glob(f"{table}.*"))
            names = ", ".join(_as_text(c, kind, path) for c, kind in types.items())
            few = (
                f"SELECT DISTINCT user_id FROM '{next(data.glob(f'{USERS}.*'))}' "
                f"ORDER BY user_id LIMIT {n_users}"
            )
            self.con.execute(
                f"CREATE TABLE {table} AS SELECT {names}, row_number() OVER () - 1 AS k "
                f"FROM {_read(path)} WHERE user_id IN ({few})"
            )

    def write(self, out: Path, end: str, cases: Iterable[Case] = ()) -> Path:
        """Writes the tables as csv, csv.gz or parquet, broken by the cases, each in rows of its own."""
        out.mkdir(parents=True, exist_ok=True)
        self.con.execute("BEGIN")
        for place, case in enumerate(cases):
            self._break(case, 7 + 3 * place)
        for table, types in TYPES.items():
            cells = ", ".join(
                _typed(c, kind) if end == "parquet" else c for c, kind in types.items()
            )
            kind = "FORMAT parquet" if end == "parquet" else "FORMAT csv, HEADER"
            self.con.execute(
                f"COPY (SELECT {cells} FROM {table} ORDER BY k) TO '{out / f'{table}.{end}'}' ({kind})"
            )
        self.con.execute("ROLLBACK")
        return out

    def _break(self, case: Case, row: int) -> None:
        where = f"k = {row}" if case.every is None else f"k % {case.every} = 0"
        value = case.value.replace("FROM t", f"FROM {case.table}")
        if case.rule == "duplicate_rows":
            self.con.execute(
                f"INSERT INTO {case.table} SELECT * REPLACE ({value} AS {case.column}, "
                f"(SELECT max(k) + 1 FROM {case.table}) AS k) FROM {case.table} WHERE {where}"
            )
        else:
            self.con.execute(f"UPDATE {case.table} SET {case.column} = {value} WHERE {where}")


def _read(path: Path) -> str:
    return (
        f"read_parquet('{path}')"
        if path.suffix == ".parquet"
        else f"read_csv('{path}', all_varchar = true)"
    )


def _as_text(column: str, kind: str, path: Path) -> str:
    if path.suffix == ".parquet" and kind == "timestamp":
        return f"strftime({column} AT TIME ZONE 'UTC', '{TIME_FORMAT}') AS {column}"
    return f"{column}::VARCHAR AS {column}"


def _typed(column: str, kind: str) -> str:
    if kind == "timestamp":
        return f"strptime({column}, '{TIME_FORMAT}') AT TIME ZONE 'UTC' AS {column}"
    return f"{column}::{CASTS[kind]} AS {column}" if kind in CASTS else column
