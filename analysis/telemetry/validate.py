"""Holds telemetry against every rule of the contract (DESIGN section 4), in a few scans.

One aggregate a session serves the joins, the session's user, its times and its rollups; one a user
serves the users'. Every violation is reported, not the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from analysis.contract import (
    INTERACTIONS,
    SESSIONS,
    TABLES,
    USERS,
    Column,
    Contract,
    RuleId,
    Table,
)
from analysis.telemetry.source import MAX_FIRST_ROWS, Source
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.violations import ContractSection, Violation, section

MAX_USD = 1e6
MAX_NUMBER = 1e12
IDENTITY = ("interaction_id", "trace_id", "source_row")


@dataclass(frozen=True)
class _Rule:
    """A condition on rows of one table that must hold nowhere."""

    rule: RuleId
    table: str
    column: str | None
    broken: str
    hint: str
    relation: str | None = None


def validate(
    source: Source,
    contract: Contract,
    *,
    used_columns: frozenset[str] = frozenset(),
    max_missing: float = 0.05,
) -> ContractSection:
    """Every violation of the contract.

    used_columns: interactions columns whose share of nulls must not exceed `max_missing`
    (`missing_rate`, a warning). A rule whose tables or columns are absent has nothing to say.
    """
    violations = list(source.violations)
    rules: list[_Rule] = []
    for name in TABLES:
        if name in source.columns:
            rules += _column_rules(source, contract, name)
    rules += _join_rules(source)
    rules += _time_rules(source)
    rules += _rollup_rules(source, contract)
    violations += _run(source.con, contract, rules)
    if INTERACTIONS in source.columns:
        violations += _missing(source, contract, used_columns, max_missing)
        violations += _duplicates(source, contract)
    return section(violations)


def _has(source: Source, table: str, *columns: str) -> bool:
    """Whether the table was read, and has these columns."""
    return set(columns) <= set(source.columns.get(table, ()))


# ── one table ────────────────────────────────────────────────────────────────────────────


def _column_rules(source: Source, contract: Contract, name: str) -> list[_Rule]:
    table, have = contract.tables[name], source.columns[name]
    rules: list[_Rule] = []
    keys = [table.key, *(k for k in table.foreign_keys if k in have)]
    for key in dict.fromkeys(keys):
        if key in have:
            column = identifier(key)
            rules.append(
                _Rule(
                    "key_null",
                    name,
                    key,
                    f"({column} IS NULL OR trim({column}) = '')",
                    "a key is empty; every row needs one",
                )
            )
    if table.key in have:
        key = identifier(table.key)
        rules.append(
            _Rule(
                "key_unique",
                name,
                table.key,
                f"{key} IN (SELECT repeated FROM repeated_{name})",
                "the key stands in more than one row; keep one row a key",
            )
        )
        source.con.execute(
            f"CREATE OR REPLACE TEMP TABLE repeated_{name} AS SELECT {key} AS repeated "
            f"FROM {name} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1"
        )
    for column in have:
        declared = table.column(column)
        if declared is not None:
            rules += _range_rules(name, column, declared)
    rules += _token_rules(name, table, have)
    return rules


def _range_rules(name: str, column: str, declared: Column) -> list[_Rule]:
    quoted = identifier(column)
    unit = f" {declared.unit}" if declared.unit else ""
    rules = []
    if declared.type in ("integer", "number"):
        broken, expected = [], []
        low, high = declared.min, declared.max
        if declared.role != "rollup":
            # Beyond these, sums and their squares would not be exact integers.
            largest = MAX_USD if declared.unit == "USD" else MAX_NUMBER
            high = largest if high is None else high
            if low is None:
                broken.append(f"{quoted} < {literal(-largest)}")
        if low is not None:
            sign = "<=" if declared.min_exclusive else "<"
            broken.append(f"{quoted} {sign} {literal(low)}")
            expected.append(f"{'above' if declared.min_exclusive else 'at least'} {low:g}{unit}")
        if high is not None:
            broken.append(f"{quoted} > {literal(high)}")
            expected.append(f"at most {high:g}{unit}")
        if broken:
            rules.append(
                _Rule(
                    "ranges",
                    name,
                    column,
                    f"({' OR '.join(broken)})",
                    f"expected {' and '.join(expected)}",
                )
            )
    if declared.allowed is not None:
        values = ", ".join(literal(v) for v in declared.allowed)
        rules.append(
            _Rule(
                "ranges",
                name,
                column,
                f"{quoted} NOT IN ({values})",
                f"expected one of: {', '.join(declared.allowed)}",
            )
        )
    return rules


def _token_rules(name: str, table: Table, have: Sequence[str]) -> list[_Rule]:
    rules = []
    for total in table.token_sums:
        if total.total in have and all(p in have for p in total.parts):
            parts = " + ".join(f"CAST({identifier(p)} AS HUGEINT)" for p in total.parts)
            rules.append(
                _Rule(
                    "token_sum",
                    name,
                    total.total,
                    f"{identifier(total.total)} <> {parts}",
                    f"{total.total} must equal {' + '.join(total.parts)}",
                )
            )
    for part in table.token_parts:
        if part.part in have and part.whole in have:
            rules.append(
                _Rule(
                    "token_sum",
                    name,
                    part.part,
                    f"{identifier(part.part)} > {identifier(part.whole)}",
                    f"{part.part} is a part of {part.whole} and cannot exceed it",
                )
            )
    return rules


# ── across tables ────────────────────────────────────────────────────────────────────────


def _facts(source: Source, name: str, key: str) -> None:
    """The table `name`: the interactions reduced once by `key`."""
    have = source.columns[INTERACTIONS]
    # A cost out of range is reported as such; here it is unknown, for it cannot be summed.
    cost = (
        f"CASE WHEN abs(cost_usd) <= {literal(MAX_NUMBER)} THEN cost_usd END"
        if "cost_usd" in have
        else "CAST(NULL AS DOUBLE)"
    )
    if "total_tokens" in have:
        tokens = "total_tokens"
    elif "prompt_tokens" in have and "completion_tokens" in have:
        tokens = "CAST(prompt_tokens AS HUGEINT) + completion_tokens"
    else:
        tokens = "CAST(NULL AS BIGINT)"
    failure = "is_failure" if "is_failure" in have else "CAST(NULL AS BOOLEAN)"
    source.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS "
        f"SELECT {key} AS key, count(*) AS requests, "
        f"CAST(sum(CAST(round(({cost}) * 1e9) AS HUGEINT)) AS DOUBLE) AS cost_nano, "
        f"count(*) FILTER (({cost}) IS NULL) AS cost_unknown, "
        f"sum({tokens}) AS tokens, count(*) FILTER (({tokens}) IS NULL) AS tokens_unknown, "
        f"count(*) FILTER ({failure}) AS failures, "
        f"count(*) FILTER (({failure}) IS NULL) AS failures_unknown "
        f"FROM {INTERACTIONS} GROUP BY {INTERACTIONS}.{key}"
    )


def _join_rules(source: Source) -> list[_Rule]:
    rules = [
        _orphan(table, key, other, what)
        for table, key, other, what in (
            (INTERACTIONS, "session_id", SESSIONS, "names a session that the sessions table lacks"),
            (INTERACTIONS, "user_id", USERS, "names a user that the users table lacks"),
            (SESSIONS, "session_id", INTERACTIONS, "is a session without any interaction"),
            (USERS, "user_id", INTERACTIONS, "is a user without any interaction"),
            (SESSIONS, "user_id", USERS, "names a user that the users table lacks"),
        )
        if _has(source, table, key) and _has(source, other, key)
    ]
    if not _has(source, INTERACTIONS, "session_id", "user_id"):
        return rules
    if _has(source, SESSIONS, "session_id", "user_id"):
        rules.append(
            _Rule(
                "user_matches_session",
                INTERACTIONS,
                "user_id",
                "t.user_id <> s.user_id",
                "the interaction's user is not its session's user",
                f"{INTERACTIONS} t JOIN (SELECT session_id, min(user_id) AS user_id "
                f"FROM {SESSIONS} GROUP BY session_id) s ON t.session_id = s.session_id",
            )
        )
    else:
        rules.append(
            _Rule(
                "user_matches_session",
                INTERACTIONS,
                "user_id",
                f"t.session_id IN (SELECT session_id FROM {INTERACTIONS} GROUP BY session_id "
                "HAVING count(DISTINCT user_id) > 1)",
                "the session has more than one user",
                f"{INTERACTIONS} t",
            )
        )
    return rules


def _orphan(table: str, key: str, other: str, what: str) -> _Rule:
    return _Rule(
        "foreign_key",
        table,
        key,
        f"t.{key} IS NOT NULL AND o.k IS NULL",
        f"{key} {what}",
        f"{table} t LEFT JOIN (SELECT DISTINCT {key} AS k FROM {other}) o ON t.{key} = o.k",
    )


def _time_rules(source: Source) -> list[_Rule]:
    """A session's times, compared at the coarser precision of the two tables.

    A sessions table that holds whole seconds (or milliseconds) is not broken by interactions that
    carry microseconds.
    """
    have = source.columns.get(SESSIONS, ())
    start, end = "start_timestamp_utc" in have, "end_timestamp_utc" in have
    rules = []
    if start and end:
        rules.append(
            _Rule(
                "session_order",
                SESSIONS,
                "end_timestamp_utc",
                "end_timestamp_utc < start_timestamp_utc",
                "the session ends before it starts",
            )
        )
    joined = _has(source, SESSIONS, "session_id") and _has(
        source, INTERACTIONS, "session_id", "timestamp_utc"
    )
    if joined and (start or end):
        unit = _precision(
            source, [c for c in ("start_timestamp_utc", "end_timestamp_utc") if c in have]
        )
        outside = []
        if start:
            outside.append(f"date_trunc('{unit}', t.timestamp_utc) < date_trunc('{unit}', s.a)")
        if end:
            outside.append(f"date_trunc('{unit}', t.timestamp_utc) > s.b")
        first = "min(start_timestamp_utc)" if start else "NULL"
        last = "max(end_timestamp_utc)" if end else "NULL"
        rules.append(
            _Rule(
                "timestamp_in_session",
                INTERACTIONS,
                "timestamp_utc",
                f"({' OR '.join(outside)})",
                "the interaction lies outside of its session's start and end",
                f"{INTERACTIONS} t JOIN (SELECT session_id, {first} AS a, {last} AS b "
                f"FROM {SESSIONS} GROUP BY session_id) s ON t.session_id = s.session_id",
            )
        )
    return rules


def _precision(source: Source, columns: Sequence[str]) -> str:
    row = source.con.execute(
        "SELECT "
        + ", ".join(
            f"coalesce(bool_and(epoch_us({c}) % {step} = 0), false)"
            for step in (1_000_000, 1_000)
            for c in columns
        )
        + f" FROM {SESSIONS}"
    ).fetchall()[0]
    n = len(columns)
    if all(row[:n]):
        return "second"
    return "millisecond" if all(row[n:]) else "microsecond"


def _rollup_rules(source: Source, contract: Contract) -> list[_Rule]:
    """Every total of sessions and users against the interactions.

    Counts agree exactly. Failures may count unknown labels either way. Money agrees within
    n × 0.5 µUSD + 0.5 µUSD. A total over rows with unknown parts can only be a lower bound.
    """
    rules = []
    for table, facts, key in (
        (SESSIONS, "session_facts", "session_id"),
        (USERS, "user_facts", "user_id"),
    ):
        if not (_has(source, table, key) and _has(source, INTERACTIONS, key)):
            continue
        declared = contract.tables[table]
        _facts(source, facts, key)
        for column in source.columns[table]:
            kind = declared.rollups.get(column)
            if kind is None:
                continue
            value = f"t.{identifier(column)}"
            broken, hint = _rollup(kind, value)
            rules.append(
                _Rule(
                    "rollup",
                    table,
                    column,
                    f"({broken})",
                    f"{column} {hint}",
                    f"{table} t JOIN {facts} f ON t.{key} = f.key",
                )
            )
    return rules


def _rollup(kind: str, value: str) -> tuple[str, str]:
    if kind == "requests":
        return f"{value} <> f.requests", "must equal the number of interactions"
    if kind == "failures":
        return (
            f"{value} < f.failures OR {value} > f.failures + f.failures_unknown",
            "must equal the number of failed interactions",
        )
    if kind == "total_tokens":
        return (
            f"(f.tokens_unknown = 0 AND {value} <> f.tokens) OR "
            f"(f.tokens_unknown > 0 AND {value} < coalesce(f.tokens, 0))",
            "must equal the sum of total_tokens",
        )
    tolerance = "(f.requests * 500.0 + 500.0 + 1.0)"
    return (
        f"(f.cost_unknown = 0 AND abs({value} * 1e9 - f.cost_nano) > {tolerance}) OR "
        f"(f.cost_unknown > 0 AND {value} * 1e9 < coalesce(f.cost_nano, 0) - {tolerance})",
        "must equal the sum of cost_usd within n × 0.5 µUSD + 0.5 µUSD",
    )


# ── warnings ─────────────────────────────────────────────────────────────────────────────


def _missing(
    source: Source, contract: Contract, used: frozenset[str], max_missing: float
) -> list[Violation]:
    columns = sorted(used & set(source.columns[INTERACTIONS]))
    if not columns:
        return []
    row = source.con.execute(
        f"SELECT count(*), {', '.join(f'count(*) FILTER ({identifier(c)} IS NULL)' for c in columns)} "
        f"FROM {INTERACTIONS}"
    ).fetchall()[0]
    total = int(row[0])
    out = []
    for column, n in zip(columns, row[1:], strict=True):
        if total and n / total > max_missing:
            first = source.con.execute(
                f"SELECT source_row FROM {INTERACTIONS} WHERE {identifier(column)} IS NULL "
                f"ORDER BY source_row LIMIT {MAX_FIRST_ROWS}"
            ).fetchall()
            out.append(
                Violation(
                    "missing_rate",
                    INTERACTIONS,
                    column,
                    contract.severities["missing_rate"],
                    int(n),
                    int(n) / total,
                    f"the policy uses the column and accepts {100 * max_missing:g} % missing; "
                    "checks that need it are inconclusive",
                    tuple(int(r[0]) for r in first),
                )
            )
    return out


def _duplicates(source: Source, contract: Contract) -> list[Violation]:
    """Rows that equal another one in all but their ids; each copy counts, the original does not.

    Which of the equal rows is the original does not show in the count.
    """
    columns = [c for c in source.columns[INTERACTIONS] if c not in IDENTITY]
    if not columns:
        return []
    listed = ", ".join(identifier(c) for c in columns)
    hashed = f"hash({listed})"
    # The hash finds the few candidates; only those are compared column by column.
    source.con.execute(
        f"CREATE OR REPLACE TEMP TABLE copies AS SELECT source_row FROM (SELECT * FROM {INTERACTIONS} "
        f"WHERE {hashed} IN (SELECT {hashed} FROM {INTERACTIONS} GROUP BY 1 HAVING count(*) > 1)) "
        f"QUALIFY row_number() OVER (PARTITION BY {listed} ORDER BY source_row) > 1"
    )
    n = int(source.con.execute("SELECT count(*) FROM copies").fetchall()[0][0])
    rows = source.con.execute(
        f"SELECT source_row FROM copies ORDER BY source_row LIMIT {MAX_FIRST_ROWS}"
    ).fetchall()
    total = source.con.execute(f"SELECT count(*) FROM {INTERACTIONS}").fetchall()[0]
    if not n:
        return []
    return [
        Violation(
            "duplicate_rows",
            INTERACTIONS,
            None,
            contract.severities["duplicate_rows"],
            n,
            n / int(total[0]),
            "rows equal another one in everything but their id; was a batch loaded twice?",
            tuple(int(r[0]) for r in rows),
        )
    ]


# ── running ──────────────────────────────────────────────────────────────────────────────


def _run(
    con: duckdb.DuckDBPyConnection, contract: Contract, rules: Sequence[_Rule]
) -> list[Violation]:
    """Counts all rules of one relation in one scan; the rows are looked up only where broken."""
    groups: dict[str, list[_Rule]] = {}
    for rule in rules:
        groups.setdefault(rule.relation or f"{rule.table} t", []).append(rule)
    out = []
    for relation, members in groups.items():
        counts = con.execute(
            f"SELECT {', '.join(f'count(*) FILTER ({r.broken})' for r in members)} FROM {relation}"
        ).fetchall()[0]
        for rule, n in zip(members, counts, strict=True):
            if n:
                out.append(_violation(con, contract, rule, relation, int(n)))
    return out


def _violation(
    con: duckdb.DuckDBPyConnection, contract: Contract, rule: _Rule, relation: str, n: int
) -> Violation:
    total = con.execute(f"SELECT count(*) FROM {rule.table}").fetchall()[0]
    first = con.execute(
        f"SELECT t.source_row FROM {relation} WHERE {rule.broken} ORDER BY t.source_row LIMIT {MAX_FIRST_ROWS}"
    ).fetchall()
    return Violation(
        rule.rule,
        rule.table,
        rule.column,
        contract.severities[rule.rule],
        n,
        n / int(total[0]),
        rule.hint,
        tuple(int(r[0]) for r in first),
    )
