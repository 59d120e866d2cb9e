"""The rules that span tables: joins in both directions, the session's user and times, rollups.

The interactions are reduced once a session; the users' facts come from these. A query over the
sessions and one over the users then tell which rules are broken at all, and only those are looked
up row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.contract import INTERACTIONS, SESSIONS, USERS, Contract
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

# Costs whose nano-USD fit 64 bits; a larger one is out of range, and unknown here.
_MAX_COST = 9e9
_NANO_TOLERANCE = "(f.requests * 500.0 + 500.0 + 1.0)"


@dataclass(frozen=True)
class _Joined:
    """A rule across tables. screen: true in `s`/`f` (or `u`/`f`) where a row breaks it."""

    rule: Rule
    screen: str


def join_rules(source: Source, contract: Contract, known: Mapping[str, int]) -> list[Rule]:
    """The rules across tables that some row breaks.

    known: interactions column → rows in which it is not null.
    """
    out: list[Rule] = []
    has_session = _has(source, INTERACTIONS, "session_id")
    has_user = _has(source, INTERACTIONS, "user_id")
    if has_session:
        _session_facts(source, known)
    if has_session and _has(source, SESSIONS, "session_id"):
        members = _session_rules(source, contract) + _sessions_alone(source, contract)
        out += _broken(
            source, members, f"{SESSIONS} s FULL JOIN session_facts f ON s.session_id = f.key"
        )
    elif _has(source, SESSIONS, "session_id"):
        out += _broken(source, _sessions_alone(source, contract), f"{SESSIONS} s")
    if has_session and has_user and not _has(source, SESSIONS, "session_id", "user_id"):
        out += _broken(source, [_one_user(contract)], "session_facts f")
    if has_user and _has(source, USERS, "user_id"):
        _user_facts(source, known, by_session=has_session)
        out += _broken(
            source,
            _user_rules(source, contract),
            f"{USERS} s FULL JOIN user_facts f ON s.user_id = f.key",
        )
    implied = _users_implied(source, known) and not any(r.rule != "rollup" for r in out)
    if not implied and _has(source, SESSIONS, "user_id") and _has(source, USERS, "user_id"):
        rule = _orphan(
            contract, SESSIONS, "user_id", USERS, "names a user that the users table lacks"
        )
        out += _broken(source, [_Joined(rule, rule.broken)], rule.relation)
    return out


def _users_implied(source: Source, known: Mapping[str, int]) -> bool:
    """Whether the users of sessions are there because those of their interactions are.

    A session whose interactions are there, all have its user, and that user is there: then nothing
    is left to ask. Sessions without a key and interactions without a user prove nothing.
    """
    if not _has(source, SESSIONS, "session_id", "user_id"):
        return False
    n = source.rows(INTERACTIONS)
    if not n or any(known.get(c) != n for c in ("session_id", "user_id")):
        return False
    return not source.engine.row(f"SELECT count(*) FROM {SESSIONS} WHERE session_id IS NULL")[0]


def _has(source: Source, table: str, *columns: str) -> bool:
    """Whether the table was read, and has these columns."""
    return set(columns) <= set(source.columns.get(table, ()))


def _broken(source: Source, members: Sequence[_Joined], relation: str) -> list[Rule]:
    """Those of the rules that some row breaks, by one scan."""
    if not members:
        return []
    counts = source.engine.row(
        f"SELECT {', '.join(f'count(*) FILTER (WHERE {m.screen})' for m in members)} FROM {relation}"
    )
    return [m.rule for m, n in zip(members, counts, strict=True) if n]


# ── facts of the interactions ────────────────────────────────────────────────────────────


def _measures(source: Source, known: Mapping[str, int]) -> Mapping[str, str]:
    """The aggregates of interactions that sessions and users are held against.

    known: column → rows in which it is not null. What no row lacks is counted with the rows.
    """
    have, n = source.columns[INTERACTIONS], source.rows(INTERACTIONS)

    def column(name: str, kind: str) -> str:
        return name if name in have else f"CAST(NULL AS {kind})"

    def count(name: str, value: str) -> str:
        return "count(*)" if known.get(name) == n else f"count({value})"

    cost = f"CASE WHEN abs(cost_usd) <= {_MAX_COST:.0f} THEN cost_usd END"
    tokens = column("total_tokens", "BIGINT")
    if "total_tokens" not in have and {"prompt_tokens", "completion_tokens"} <= set(have):
        tokens = "CAST(prompt_tokens AS HUGEINT) + completion_tokens"
    failure = column("is_failure", "BOOLEAN")
    user, stamp = column("user_id", "VARCHAR"), column("timestamp_utc", "TIMESTAMP")
    has_cost = "cost_usd" in have
    return {
        "requests": "count(*)",
        "cost_nano": f"sum(CAST(floor(({cost}) * 1e9 + 0.5) AS BIGINT))"
        if has_cost
        else "CAST(NULL AS HUGEINT)",
        "cost_known": f"count({cost})" if has_cost else "0",
        "tokens": f"sum({tokens})",
        "tokens_known": count("total_tokens", tokens),
        "failures": f"count(*) FILTER (WHERE {failure})",
        "failures_known": count("is_failure", failure),
        "first": f"min({stamp})",
        "last": f"max({stamp})",
        "person": f"min({user})",
        "user_low": f"min(hash({user}))",
        "user_high": f"max(hash({user}))",
        "users_known": count("user_id", user),
    }


def _session_facts(source: Source, known: Mapping[str, int]) -> None:
    measures = ", ".join(f"{sql} AS {name}" for name, sql in _measures(source, known).items())
    source.engine.create(
        "session_facts",
        f"SELECT session_id AS key, {measures} FROM {INTERACTIONS} GROUP BY session_id",
    )


def _user_facts(source: Source, known: Mapping[str, int], *, by_session: bool) -> None:
    """From the sessions' facts where every session has one user, else from the interactions."""
    if by_session:
        by_session = not source.engine.row(
            "SELECT count(*) FROM session_facts WHERE user_low <> user_high OR users_known < requests"
        )[0]
    measures = _measures(source, known)
    if by_session:
        summed = ("requests", "cost_nano", "cost_known", "tokens", "tokens_known", "failures",
                  "failures_known")  # fmt: skip
        listed = ", ".join(f"sum({name}) AS {name}" for name in summed)
        source.engine.create(
            "user_facts", f"SELECT person AS key, {listed} FROM session_facts GROUP BY person"
        )
        return
    listed = ", ".join(f"{sql} AS {name}" for name, sql in measures.items())
    source.engine.create(
        "user_facts",
        f"SELECT user_id AS key, {listed} FROM {INTERACTIONS} GROUP BY user_id",
    )


# ── sessions ─────────────────────────────────────────────────────────────────────────────


def _session_rules(source: Source, contract: Contract) -> list[_Joined]:
    orphan = "f.key IS NOT NULL AND s.session_id IS NULL"
    lonely = "s.session_id IS NOT NULL AND f.key IS NULL"
    out = [
        _Joined(
            _orphan(contract, INTERACTIONS, "session_id", SESSIONS,
                    "names a session that the sessions table lacks"),
            orphan,
        ),
        _Joined(
            _orphan(contract, SESSIONS, "session_id", INTERACTIONS,
                    "is a session without any interaction"),
            lonely,
        ),
    ]  # fmt: skip
    if _has(source, SESSIONS, "user_id") and _has(source, INTERACTIONS, "user_id"):
        out.append(
            _Joined(
                Rule(
                    "user_matches_session",
                    INTERACTIONS,
                    "user_id",
                    "t.user_id <> s.user_id",
                    "the interaction's user is not its session's user",
                    contract.severities["user_matches_session"],
                    f"{INTERACTIONS} t JOIN (SELECT session_id, min(user_id) AS user_id "
                    f"FROM {SESSIONS} GROUP BY session_id) s ON t.session_id = s.session_id",
                ),
                # Of a session without a user f has none either: hash(NULL) is no null.
                "s.user_id IS NOT NULL AND f.users_known > 0 "
                "AND (f.user_low <> hash(s.user_id) OR f.user_high <> hash(s.user_id))",
            )
        )
    out += _times(source, contract)
    out += _rollups(source, contract, SESSIONS, "session_facts", "session_id")
    return out


def _one_user(contract: Contract) -> _Joined:
    return _Joined(
        Rule(
            "user_matches_session",
            INTERACTIONS,
            "user_id",
            f"t.session_id IN (SELECT session_id FROM {INTERACTIONS} GROUP BY session_id "
            "HAVING count(DISTINCT user_id) > 1)",
            "the session has more than one user",
            contract.severities["user_matches_session"],
            f"{INTERACTIONS} t",
        ),
        "f.key IS NOT NULL AND f.users_known > 0 AND f.user_low <> f.user_high",
    )


def _sessions_alone(source: Source, contract: Contract) -> list[_Joined]:
    if not _has(source, SESSIONS, "start_timestamp_utc", "end_timestamp_utc"):
        return []
    rule = Rule(
        "session_order",
        SESSIONS,
        "end_timestamp_utc",
        "t.end_timestamp_utc < t.start_timestamp_utc",
        "the session ends before it starts",
        contract.severities["session_order"],
        f"{SESSIONS} t",
        "t.start_timestamp_utc || ' to ' || t.end_timestamp_utc",
    )
    return [_Joined(rule, "s.end_timestamp_utc < s.start_timestamp_utc")]


def _times(source: Source, contract: Contract) -> list[_Joined]:
    """A session's times, compared at the coarser precision of the two tables.

    A sessions table that holds whole seconds (or milliseconds) is not broken by interactions that
    carry microseconds.
    """
    have = source.columns[SESSIONS]
    start, end = "start_timestamp_utc" in have, "end_timestamp_utc" in have
    if not (start or end) or not _has(source, INTERACTIONS, "timestamp_utc"):
        return []
    unit = _precision(
        source, [c for c in ("start_timestamp_utc", "end_timestamp_utc") if c in have]
    )
    outside, screen = [], []
    if start:
        outside.append(f"date_trunc('{unit}', t.timestamp_utc) < date_trunc('{unit}', s.a)")
        screen.append(
            f"date_trunc('{unit}', f.first) < date_trunc('{unit}', s.start_timestamp_utc)"
        )
    if end:
        outside.append(f"date_trunc('{unit}', t.timestamp_utc) > s.b")
        screen.append(f"date_trunc('{unit}', f.last) > s.end_timestamp_utc")
    first = "min(start_timestamp_utc)" if start else "CAST(NULL AS TIMESTAMP)"
    last = "max(end_timestamp_utc)" if end else "CAST(NULL AS TIMESTAMP)"
    rule = Rule(
        "timestamp_in_session",
        INTERACTIONS,
        "timestamp_utc",
        f"({' OR '.join(outside)})",
        "the interaction lies outside of its session's start and end",
        contract.severities["timestamp_in_session"],
        f"{INTERACTIONS} t JOIN (SELECT session_id, {first} AS a, {last} AS b "
        f"FROM {SESSIONS} GROUP BY session_id) s ON t.session_id = s.session_id",
        "t.timestamp_utc || ' in ' || coalesce(CAST(s.a AS VARCHAR), '?') || ' to ' "
        "|| coalesce(CAST(s.b AS VARCHAR), '?')",
    )
    return [_Joined(rule, f"({' OR '.join(screen)})")]


def _precision(source: Source, columns: Sequence[str]) -> str:
    row = source.engine.row(
        "SELECT "
        + ", ".join(
            f"coalesce(bool_and(epoch_us({c}) % {step} = 0), true)"
            for step in (1_000_000, 1_000)
            for c in columns
        )
        + f" FROM {SESSIONS}"
    )
    n = len(columns)
    if all(row[:n]):
        return "second"
    return "millisecond" if all(row[n:]) else "microsecond"


# ── users and rollups ────────────────────────────────────────────────────────────────────


def _user_rules(source: Source, contract: Contract) -> list[_Joined]:
    return [
        _Joined(
            _orphan(contract, INTERACTIONS, "user_id", USERS,
                    "names a user that the users table lacks"),
            "f.key IS NOT NULL AND s.user_id IS NULL",
        ),
        _Joined(
            _orphan(contract, USERS, "user_id", INTERACTIONS,
                    "is a user without any interaction"),
            "s.user_id IS NOT NULL AND f.key IS NULL",
        ),
        *_rollups(source, contract, USERS, "user_facts", "user_id"),
    ]  # fmt: skip


def _orphan(contract: Contract, table: str, key: str, other: str, what: str) -> Rule:
    return Rule(
        "foreign_key",
        table,
        key,
        f"t.{key} IS NOT NULL AND o.k IS NULL",
        f"{key} {what}",
        contract.severities["foreign_key"],
        f"{table} t LEFT JOIN (SELECT DISTINCT {key} AS k FROM {other}) o ON t.{key} = o.k",
    )


def _rollups(source: Source, contract: Contract, table: str, facts: str, key: str) -> list[_Joined]:
    """Every total of sessions and users against the interactions.

    Counts agree exactly. Failures may count unknown labels either way. Money agrees within
    n × 0.5 µUSD + 0.5 µUSD. A total over rows with unknown parts can only be a lower bound.
    """
    declared = contract.tables[table]
    out = []
    for column in source.columns[table]:
        kind = declared.rollups.get(column)
        if kind is None:
            continue
        name = identifier(column)
        broken, hint, found = _rollup(kind, f"t.{name}")
        rule = Rule(
            "rollup",
            table,
            column,
            f"({broken})",
            f"{column} {hint}",
            contract.severities["rollup"],
            f"{table} t JOIN {facts} f ON t.{key} = f.key",
            f"t.{name} || ' against ' || coalesce(CAST({found} AS VARCHAR), '?')",
        )
        out.append(_Joined(rule, f"({_rollup(kind, f's.{name}')[0]})"))
    return out


def _rollup(kind: str, value: str) -> tuple[str, str, str]:
    """When a total is broken, what it must equal, and what the interactions say."""
    if kind == "requests":
        return f"{value} <> f.requests", "must equal the number of interactions", "f.requests"
    if kind == "failures":
        return (
            f"{value} < f.failures OR {value} > f.failures + f.requests - f.failures_known",
            "must equal the number of failed interactions",
            "f.failures",
        )
    if kind == "total_tokens":
        return (
            f"(f.tokens_known = f.requests AND {value} <> f.tokens) OR "
            f"(f.tokens_known < f.requests AND {value} < coalesce(f.tokens, 0))",
            "must equal the sum of total_tokens",
            "f.tokens",
        )
    nano = "CAST(f.cost_nano AS DOUBLE)"
    return (
        f"(f.cost_known = f.requests AND abs({value} * 1e9 - {nano}) > {_NANO_TOLERANCE}) OR "
        f"(f.cost_known < f.requests AND {value} * 1e9 < coalesce({nano}, 0) - {_NANO_TOLERANCE})",
        "must equal the sum of cost_usd within n × 0.5 µUSD + 0.5 µUSD",
        f"round({nano} / 1e9, 6)",
    )
