"""The floor: every rule of the contract over these three files as hand-written DuckDB SQL.

    python -m benchmarks.validation_peers.floor DIR

It is what an expert would write who knows the columns, has one job, and may stop at a count. Two
stages: `screen` proves in a few scans that nothing is wrong; only for the rules that it names does
`exact` count the rows. Telemetry that keeps the contract, which is what is timed, ends with the
screen. It names no rows, carries no hints, and fits no other columns.

Parquet is scanned anew by each query, which reads its own columns alone. A CSV is parsed once, into
a table of the few columns that later queries need. Prints `{rule: rows}` as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

from benchmarks.validation_peers.floor_exact import cells, exact
from benchmarks.validation_peers.floor_sql import (
    ENGINE_TYPES,
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
    TYPES,
    USERS,
)

# Rows that are equal agree in these; the few that do are compared in full.
TELLING = "session_id, timestamp_utc, latency_ms, cost_usd, prompt_tokens, completion_tokens"


def counts(data: Path) -> Counts:
    """Everything that is wrong with the tables in `data`."""
    con = _connect()
    files = {table: file_of(data, table) for table in TYPES}
    wrong = _types(con, files)
    if wrong:
        return wrong
    try:
        found = screen(con, files)
    except duckdb.ConversionException:
        return cells(con, files)
    return exact(con, files, found) if found else {}


def _connect() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = false")
    return con


def file_of(data: Path, table: str) -> Path:
    found = [data / f"{table}{end}" for end in (".parquet", ".csv", ".csv.gz")]
    return next(path for path in found if path.exists())


def _types(con: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> Counts:
    """Parquet columns of another type than the contract's."""
    wrong: Counts = {}
    for table, path in files.items():
        if path.suffix != ".parquet":
            continue
        held = con.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
        for column, kind, *_ in held:
            wanted = TYPES[table][column]
            fits = kind.startswith(ENGINE_TYPES[wanted]) or (wanted, kind) == ("number", "BIGINT")
            if not fits:
                wrong["types", table, column] = 1
    return wrong


# ── the screen ───────────────────────────────────────────────────────────────────────────


def screen(con: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> set[str]:
    """The rules that are broken somewhere; empty where the contract is kept."""
    found = _interactions(con, files[INTERACTIONS])
    con.execute(
        "CREATE TEMP TABLE pairs AS SELECT session_id, user_id, count(*)::INT AS n, "
        "min(timestamp_utc) AS first_utc, max(timestamp_utc) AS last_utc, "
        "sum(cost_usd) AS cost_usd, count(cost_usd)::INT AS n_cost, "
        "sum(total_tokens)::BIGINT AS tokens, count(total_tokens)::INT AS n_tokens, "
        "count_if(is_failure)::INT AS failures, count(is_failure)::INT AS n_failures "
        "FROM rows GROUP BY session_id, user_id"
    )
    found |= _sessions(con, files[SESSIONS])
    con.execute(
        "CREATE TEMP TABLE sums AS SELECT user_id, sum(n) AS n, sum(cost_usd) AS cost_usd, "
        "sum(n_cost) AS n_cost, sum(tokens) AS tokens, sum(n_tokens) AS n_tokens, "
        "sum(failures) AS failures, sum(n_failures) AS n_failures FROM pairs GROUP BY user_id"
    )
    con.execute("DROP TABLE pairs")
    return found | _users(con, files[USERS])


def _interactions(con: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    """Makes `rows`, and holds them against the rules that need no other table."""
    if path.suffix == ".parquet":
        found, n, n_there = _scanned(con, path)
    else:
        found, n, n_there = _parsed(con, path)
    if any(n - k > n * MAX_MISSING for k in n_there):
        found.add("missing_rate")
    # In one statement, since they share no data: each has a core where a file is one row group.
    repeats = f"SELECT {_repeats('hash(interaction_id)')}, {_repeats('content')}"
    key_twice, content_twice = con.execute(repeats).fetchall()[0]
    if key_twice:
        found.add("key_unique")
    if content_twice:
        found.add("duplicate_rows")
    return found


def _scanned(con: duckdb.DuckDBPyConnection, path: Path) -> tuple[set[str], int, list[int]]:
    """The column rules that are broken, the rows, and how many have each column of NOT_MISSING."""
    source = reader(path, INTERACTIONS)
    con.execute(f"CREATE TEMP VIEW rows AS SELECT *, hash({TELLING}) AS content FROM {source}")
    found = {rule for rule, _, _ in count(con, column_rules(INTERACTIONS, path), source)}
    there = ", ".join(f"count({c})" for c in NOT_MISSING)
    n, *n_there = con.execute(f"SELECT count(*), {there} FROM {source}").fetchall()[0]
    return found, n, n_there


def _parsed(con: duckdb.DuckDBPyConnection, path: Path) -> tuple[set[str], int, list[int]]:
    """The same from one pass over a CSV. Every typed column is read, which checks its type."""
    rules = column_rules(INTERACTIONS, path)
    any_broken = " OR ".join(f"({b.condition})" for b in rules)
    nulls = " + ".join(f"({c} IS NULL)::INT * {1 << i}" for i, c in enumerate(NOT_MISSING))
    con.execute(
        "CREATE TEMP TABLE rows AS SELECT interaction_id, session_id, user_id, timestamp_utc, "
        f"cost_usd, total_tokens, is_failure, coalesce({any_broken}, false) AS broken, "
        f"({nulls})::SMALLINT AS nulls, hash({', '.join(CONTENT)}) AS content "
        f"FROM {reader(path, INTERACTIONS)}"
    )
    there = ", ".join(f"count_if(nulls & {1 << i} = 0)" for i in range(len(NOT_MISSING)))
    n, n_broken, *n_there = con.execute(
        f"SELECT count(*), count_if(broken), {there} FROM rows"
    ).fetchall()[0]
    return ({b.rule for b in rules} if n_broken else set()), n, n_there


def _repeats(digest: str) -> str:
    """Whether two rows have one digest. Sorting 64-bit numbers takes least time and memory."""
    return (
        "(SELECT coalesce(bool_or(digest = before), false) FROM (SELECT digest, lag(digest) OVER "
        f"(ORDER BY digest) AS before FROM (SELECT {digest} AS digest FROM rows)))"
    )


def _sessions(con: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    """One join with the sessions.

    They need none with the users: where each has its interactions' user, and these have theirs in
    the users table, so has it.
    """
    conditions = [
        ("foreign_key", "s.session_id IS NULL OR p.session_id IS NULL"),
        ("user_matches_session", "p.user_id <> s.user_id"),
        # What holds at full precision holds at a coarser one.
        ("timestamp_in_session", "first_utc < start_timestamp_utc OR last_utc > end_timestamp_utc"),
        ("session_order", "end_timestamp_utc < start_timestamp_utc"),
        *(("rollup", condition) for condition in rollups("session").values()),
    ]
    return _joined(con, SESSIONS, path, "pairs", conditions)


def _users(con: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    """One join with the users."""
    conditions = [
        ("foreign_key", "s.user_id IS NULL OR p.user_id IS NULL"),
        *(("rollup", condition) for condition in rollups("user").values()),
    ]
    return _joined(con, USERS, path, "sums", conditions)


def _joined(
    con: duckdb.DuckDBPyConnection,
    table: str,
    path: Path,
    sums: str,
    conditions: list[tuple[str, str]],
) -> set[str]:
    """The rules broken in a summary, and in its join with the sums of the interactions."""
    kind = "VIEW" if path.suffix == ".parquet" else "TABLE"
    con.execute(f"CREATE TEMP {kind} {table} AS SELECT * FROM {reader(path, table)}")
    found = {rule for rule, _, _ in count(con, column_rules(table, path), table)}
    filters = ", ".join(f"count_if({condition})" for _, condition in conditions)
    # A key that stands twice in the summary meets its sums twice, or none (an orphan then).
    n_met, n_sums, *broken = con.execute(
        f"SELECT count(p.n), (SELECT count(*) FROM {sums}), {filters} "
        f"FROM {sums} p FULL JOIN {table} s ON p.{KEYS[table]} = s.{KEYS[table]}"
    ).fetchall()[0]
    found |= {rule for (rule, _), n in zip(conditions, broken, strict=True) if n}
    return found | ({"key_unique"} if n_met > n_sums else set())


def main() -> None:
    """Prints `{rule: rows}`."""
    by_rule: dict[str, int] = {}
    for (rule, _, _), n in counts(Path(sys.argv[1])).items():
        by_rule[rule] = by_rule.get(rule, 0) + n
    print(json.dumps(by_rule))


if __name__ == "__main__":
    main()
