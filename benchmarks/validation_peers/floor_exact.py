"""The floor's exact counts: one plain query a rule, only once the screen has found something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.validation_peers.floor_sql import (
    ENGINE_TYPES,
    Broken,
    Counts,
    column_rules,
    count,
    reader,
    rollups,
)
from benchmarks.validation_peers.rules import (
    CONTENT,
    INTERACTIONS,
    KEYS,
    MAX_MISSING,
    NOT_MISSING,
    SESSIONS,
    TIME_FORMAT,
    TYPES,
    USERS,
)


def exact(con: duckdb.DuckDBPyConnection, files: dict[str, Path], found: set[str]) -> Counts:
    """Rows by rule, table and column, for the rules that the screen named."""
    for table, path in files.items():
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW the_{table} AS SELECT * FROM {reader(path, table)}"
        )
    wrong: Counts = {}
    for relation, rules in _relations(con, files, found).items():
        if rules:
            wrong |= count(con, rules, relation)
    if "missing_rate" in found:
        wrong |= _missing(con)
    if "duplicate_rows" in found:
        wrong |= _duplicates(con)
    return wrong


def _relations(
    con: duckdb.DuckDBPyConnection, files: dict[str, Path], found: set[str]
) -> dict[str, list[Broken]]:
    """What stands in FROM → the rules that are counted there, of those that were found."""
    relations: dict[str, list[Broken]] = {}
    for table, path in files.items():
        relations[f"the_{table}"] = [b for b in column_rules(table, path) if b.rule in found]
    if "session_order" in found:
        ends_first = "end_timestamp_utc < start_timestamp_utc"
        relations[f"the_{SESSIONS}"].append(
            Broken("session_order", SESSIONS, "end_timestamp_utc", ends_first)
        )
    if "key_unique" in found:
        relations |= {
            _repeated(table, key): [Broken("key_unique", table, key, "true")]
            for table, key in KEYS.items()
        }
    if "foreign_key" in found or "user_matches_session" in found:
        relations |= dict(_orphans())
    relations[
        f"the_{INTERACTIONS} t JOIN (SELECT session_id, min(user_id) AS its_user, "
        "min(start_timestamp_utc) AS start_utc, max(end_timestamp_utc) AS end_utc "
        f"FROM the_{SESSIONS} GROUP BY session_id) s ON t.session_id = s.session_id"
    ] = [b for b in _within_session(con) if b.rule in found]
    if "rollup" in found:
        for table, prefix in ((SESSIONS, "session"), (USERS, "user")):
            rules = [Broken("rollup", table, c, wrong) for c, wrong in rollups(prefix).items()]
            relations[_with_sums(table, KEYS[table])] = rules
    return relations


def _repeated(table: str, key: str) -> str:
    return (
        f"the_{table} WHERE {key} IN (SELECT {key} FROM the_{table} WHERE {key} IS NOT NULL "
        f"GROUP BY {key} HAVING count(*) > 1)"
    )


def _orphans() -> Iterator[tuple[str, list[Broken]]]:
    """Keys that the other table lacks."""
    for table, key, other in (
        (INTERACTIONS, "session_id", SESSIONS),
        (INTERACTIONS, "user_id", USERS),
        (SESSIONS, "session_id", INTERACTIONS),
        (SESSIONS, "user_id", USERS),
        (USERS, "user_id", INTERACTIONS),
    ):
        relation = f"the_{table} t ANTI JOIN the_{other} o ON t.{key} = o.{key}"
        yield relation, [Broken("foreign_key", table, key, f"{key} IS NOT NULL")]


def _within_session(con: duckdb.DuckDBPyConnection) -> list[Broken]:
    """An interaction against its session, times at the precision of the sessions table."""
    times = ("start_timestamp_utc", "end_timestamp_utc")
    steps = ", ".join(
        f"coalesce(bool_and(epoch_us({c}) % {step} = 0), false)"
        for step in (10**6, 10**3)
        for c in times
    )
    whole = con.execute(f"SELECT {steps} FROM the_{SESSIONS}").fetchall()[0]
    unit = "second" if all(whole[:2]) else "millisecond" if all(whole[2:]) else "microsecond"
    at = f"date_trunc('{unit}', timestamp_utc)"
    return [
        Broken("user_matches_session", INTERACTIONS, "user_id", "t.user_id <> its_user"),
        Broken(
            "timestamp_in_session",
            INTERACTIONS,
            "timestamp_utc",
            f"{at} < start_utc OR {at} > end_utc",
        ),
    ]


def _with_sums(table: str, key: str) -> str:
    return (
        f"the_{table} t JOIN (SELECT {key}, count(*) AS n, sum(cost_usd) AS cost_usd, "
        "count(cost_usd) AS n_cost, sum(total_tokens) AS tokens, count(total_tokens) AS n_tokens, "
        "count_if(is_failure) AS failures, count(is_failure) AS n_failures "
        f"FROM the_{INTERACTIONS} GROUP BY {key}) f ON t.{key} = f.{key}"
    )


def _missing(con: duckdb.DuckDBPyConnection) -> Counts:
    null = ", ".join(f"count_if({c} IS NULL)" for c in NOT_MISSING)
    n, *n_null = con.execute(f"SELECT count(*), {null} FROM the_{INTERACTIONS}").fetchall()[0]
    return {
        ("missing_rate", INTERACTIONS, column): k
        for column, k in zip(NOT_MISSING, n_null, strict=True)
        if k > n * MAX_MISSING
    }


def _duplicates(con: duckdb.DuckDBPyConnection) -> Counts:
    """Each copy counts, the original does not."""
    n = con.execute(
        f"SELECT sum(k - 1)::BIGINT FROM (SELECT count(*) AS k FROM the_{INTERACTIONS} "
        f"GROUP BY {', '.join(CONTENT)} HAVING k > 1)"
    ).fetchall()[0][0]
    return {("duplicate_rows", INTERACTIONS, None): n} if n else {}


def cells(con: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> Counts:
    """CSV cells that do not fit their type: counted once one of them stopped the screen."""
    wrong: Counts = {}
    for table, path in files.items():
        rules = [item for c, kind in TYPES[table].items() for item in _unfit(table, c, kind)]
        wrong |= count(con, rules, reader(path, table, as_text=True))
    return wrong


def _unfit(table: str, column: str, kind: str) -> Iterator[Broken]:
    if kind == "timestamp":
        wrong = f"try_strptime({column}, '{TIME_FORMAT}') IS NULL AND {column} <> ''"
        a_time = f"TRY_CAST({column} AS TIMESTAMPTZ) IS NOT NULL"
        yield Broken("timestamp_utc", table, column, f"{wrong} AND {a_time}")
        yield Broken("types", table, column, f"{wrong} AND NOT {a_time}")
    elif kind != "string":
        fits = f"TRY_CAST({column} AS {ENGINE_TYPES[kind]}) IS NOT NULL"
        if kind == "integer":
            fits += f" AND TRY_CAST({column} AS DOUBLE) = TRY_CAST({column} AS BIGINT)"
        wrong = f"{column} <> '' AND NOT coalesce({fits}, false)"
        yield Broken("types", table, column, wrong)
