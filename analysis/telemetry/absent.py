"""Interactions that are not in `fact`: set aside for breaking the contract, or lost.

Lost are those that a session's total of requests counts and that are not there, and those that a
user's total counts beyond its sessions'. A garbled total is no count of losses: at most `MAX_LOST`
are taken of one session or user, and of all together as many as there are interactions.

Each counts in every window in which it may have been, so that bounds over the window hold:

- In date windows, the window in which its session starts, where the session is there and keeps the
  contract. Without such a session, those in which a session could have started that ran until the
  row's own time: as long before as the longest session lasted, or a day. With neither, both.
- In release windows, its own release; both where that breaks a rule, and for lost interactions,
  whose sessions tell their times but no release.
- A row that contradicts its session's times counts by both. Exclusions and `as_of` take away only
  rows whose time breaks no rule.

What cannot be told: interactions that no total counts, and rows that are wrong and break no rule. A
row that lost its session's name may count twice: as set aside, and as lost by that session. Windows,
sessions without a declared start, and releases' spans are those of the rows that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.policy import utc
from analysis.telemetry.fact import weight_of
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry
from analysis.telemetry.windows import ResolvedWindows, Span, day_number

MAX_LOST = 1000
MIN_REACH = timedelta(days=1)
_TICK = timedelta(microseconds=1)


def find_absent(telemetry: Telemetry) -> None:
    """Makes `absent`, with the columns of `fact` and a row for each interaction and window; win is
    null where it lies in neither. Makes `absent_counts` (lost, win, unit, n): n interactions each;
    the same unit stands in each window in which it may have been.
    """
    engine = telemetry.engine
    engine.create("absent", "SELECT * FROM fact_known WHERE 1 = 0")
    engine.create(
        "absent_counts",
        "SELECT true AS lost, CAST(win AS INTEGER) AS win, CAST(win AS VARCHAR) AS unit, "
        "CAST(win AS BIGINT) AS n FROM absent",
    )
    counted = bool(telemetry.validation.losses)
    if telemetry.aside is None and not counted:
        return
    con = telemetry.con
    con.execute(
        "CREATE OR REPLACE TEMP TABLE absent_rows (lost BOOLEAN, unit VARCHAR, n BIGINT, "
        "interaction_id VARCHAR, session_id VARCHAR, user_id VARCHAR, session BIGINT, usr BIGINT, "
        "stamp TIMESTAMP, timed BOOLEAN, started TIMESTAMP, placed BOOLEAN, "
        "release VARCHAR, released BOOLEAN)"
    )
    if telemetry.aside is not None:
        _summaries(telemetry)
        _set_aside(telemetry)
    if counted:
        if telemetry.aside is None:
            _summaries(telemetry)
        _lost(telemetry)
    if con.execute("SELECT 1 FROM absent_rows LIMIT 1").fetchall():
        _into_windows(telemetry)


def _summaries(telemetry: Telemetry) -> None:
    """`absent_sessions`: each named session's code, start, user and whether it keeps the contract.

    A session without interactions breaks a rule by their loss alone: its start holds.
    """
    columns = telemetry.source.columns[SESSIONS]
    start = "min(start_timestamp_utc)" if "start_timestamp_utc" in columns else "NULL::TIMESTAMP"
    user = "min(user_id)" if "user_id" in columns else "NULL::VARCHAR"
    doubt = "false"
    if telemetry.aside is not None:
        doubt = (
            f"bool_or(source_row IN (SELECT source_row FROM errors WHERE tbl = '{SESSIONS}' "
            "AND rule <> 'rollup' AND NOT (rule = 'foreign_key' AND col = 'session_id')))"
        )
    telemetry.con.execute(
        f"CREATE OR REPLACE TEMP TABLE absent_sessions AS SELECT session_id, "
        f"min(source_row) AS code, {start} AS started, {user} AS user_id, {doubt} AS doubted "
        f"FROM cells_{SESSIONS} WHERE session_id IS NOT NULL GROUP BY session_id"
    )


def _set_aside(telemetry: Telemetry) -> None:
    """Sessions and users keep their codes in `fact`; those that are not there get one of their own."""
    have = telemetry.source.columns[INTERACTIONS]
    release = "i.release_id" if "release_id" in have else "NULL::VARCHAR"

    def broken(column: str) -> str:
        return (
            f"i.source_row IN (SELECT source_row FROM errors WHERE tbl = '{INTERACTIONS}' "
            f"AND col = '{column}')"
        )

    telemetry.con.execute(
        f"""
        INSERT INTO absent_rows BY NAME
        SELECT false AS lost, CAST(i.source_row AS VARCHAR) AS unit, 1 AS n,
               i.interaction_id, i.session_id, i.user_id,
               coalesce(s.code, -min(i.source_row) OVER (
                   PARTITION BY coalesce(i.session_id, CAST(i.source_row AS VARCHAR)),
                                i.session_id IS NULL)) AS session,
               coalesce(u.code, -min(i.source_row) OVER (
                   PARTITION BY coalesce(i.user_id, CAST(i.source_row AS VARCHAR)),
                                i.user_id IS NULL)) AS usr,
               i.timestamp_utc AS stamp,
               i.timestamp_utc IS NOT NULL AND NOT ({broken("timestamp_utc")}) AS timed,
               s.started, s.started IS NOT NULL AND NOT s.doubted AS placed,
               {release} AS release, NOT ({broken("release_id")}) AS released
        FROM (SELECT * FROM cells_{INTERACTIONS}
              WHERE source_row IN (SELECT source_row FROM broken_{INTERACTIONS})) i
        LEFT JOIN absent_sessions s ON s.session_id = i.session_id
        LEFT JOIN (SELECT user_id, min(source_row) AS code FROM cells_{USERS} GROUP BY user_id) u
               ON u.user_id = i.user_id
        """
    )


def _lost(telemetry: Telemetry) -> None:
    con, source = telemetry.con, telemetry.source
    con.execute(
        "CREATE OR REPLACE TEMP TABLE gaps "
        "(unit VARCHAR, session_id VARCHAR, user_id VARCHAR, session BIGINT, usr BIGINT, "
        "started TIMESTAMP, placed BOOLEAN, n BIGINT)"
    )
    total = _total(telemetry, SESSIONS)
    if total is not None:
        con.execute(
            f"""
            INSERT INTO gaps BY NAME
            WITH totals AS (SELECT session_id, max({total}) AS total FROM cells_{SESSIONS} GROUP BY 1),
            there AS (SELECT session_id, count(*) AS n, min(user_id) AS user_id
                      FROM cells_{INTERACTIONS} GROUP BY session_id)
            SELECT 's' || s.session_id AS unit, s.session_id, coalesce(s.user_id, there.user_id) AS user_id,
                   s.code AS session, s.started, s.started IS NOT NULL AND NOT s.doubted AS placed,
                   CAST(least(totals.total - coalesce(there.n, 0), {MAX_LOST}) AS BIGINT) AS n
            FROM absent_sessions s JOIN totals ON totals.session_id = s.session_id
            LEFT JOIN there ON there.session_id = s.session_id
            WHERE totals.total > coalesce(there.n, 0)
            """
        )
    total = _total(telemetry, USERS)
    if total is not None:
        con.execute(
            f"""
            INSERT INTO gaps BY NAME
            WITH totals AS (SELECT user_id, max({total}) AS total FROM cells_{USERS}
                            WHERE user_id IS NOT NULL GROUP BY 1),
            there AS (SELECT user_id, count(*) AS n FROM cells_{INTERACTIONS} GROUP BY 1),
            told AS (SELECT user_id, sum(n) AS n FROM gaps GROUP BY 1),
            counted AS (
                SELECT t.user_id, t.total - coalesce(there.n, 0) - coalesce(told.n, 0) AS gap
                FROM totals t LEFT JOIN there ON there.user_id = t.user_id
                LEFT JOIN told ON told.user_id = t.user_id
            )
            SELECT 'u' || user_id AS unit, user_id, NULL::TIMESTAMP AS started, false AS placed,
                   CAST(least(gap, {MAX_LOST}) AS BIGINT) AS n
            FROM counted WHERE gap > 0
            """
        )
    limit = max(MAX_LOST, source.rows(INTERACTIONS))
    con.execute(
        f"""
        INSERT INTO absent_rows BY NAME
        SELECT true AS lost, g.unit, least(g.n, {limit} - g.before) AS n, g.session_id, g.user_id,
               coalesce(g.session, -{2**40} - u.code) AS session, coalesce(u.code, -{2**41} - g.session) AS usr,
               false AS timed, g.started, g.placed, true AS released
        FROM (SELECT *, coalesce(sum(n) OVER (ORDER BY unit ROWS BETWEEN UNBOUNDED PRECEDING
                                              AND 1 PRECEDING), 0) AS before FROM gaps) g
        LEFT JOIN (SELECT user_id, min(source_row) AS code FROM cells_{USERS} GROUP BY user_id) u
               ON u.user_id = g.user_id
        WHERE g.before < {limit}
        """
    )
    con.execute("DROP TABLE gaps")


def _total(telemetry: Telemetry, table: str) -> str | None:
    """The total of requests of a summary row; of several the largest."""
    declared = telemetry.contract.tables[table].rollups
    names = [
        identifier(c) for c in telemetry.source.columns[table] if declared.get(c) == "requests"
    ]
    return f"greatest({', '.join(names)})" if names else None


# ── windows ──────────────────────────────────────────────────────────────────────────────


def _into_windows(telemetry: Telemetry) -> None:
    windows = telemetry.windows
    last = _naive(windows.candidate.end - _TICK)
    parameters: dict[str, Any] = {"last": last, "reach": _reach(telemetry)}
    inside = [f"CASE WHEN {_may_be_in(windows.candidate, 'candidate', parameters)} THEN 1 END"]
    if windows.baseline is not None:
        inside.append(
            f"CASE WHEN {_may_be_in(windows.baseline, 'baseline', parameters)} THEN 0 END"
        )
    excluded, known_past = ["false"], "true"
    for index, exclusion in enumerate(windows.exclude):
        parameters[f"out_{index}_start"] = _naive(exclusion.start)
        parameters[f"out_{index}_end"] = _naive(exclusion.end)
        excluded.append(f"(stamp >= $out_{index}_start AND stamp < $out_{index}_end)")
    if windows.as_of is not None:
        parameters["as_of"] = _naive(windows.as_of)
        known_past = "(NOT timed OR stamp < $as_of)"
    moment = "CASE WHEN timed THEN stamp WHEN placed THEN started ELSE $last END"
    began = moment if windows.by_release else "CASE WHEN placed THEN started ELSE stamp END"
    telemetry.con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE absent_places AS
        WITH found AS (
            SELECT *, {moment} AS ts, {began} AS began,
                   CASE WHEN timed AND ({" OR ".join(excluded)}) THEN []
                        ELSE list_filter([{", ".join(inside)}], lambda w: w IS NOT NULL) END AS wins
            FROM absent_rows WHERE {known_past}
        ),
        each_window AS (
            SELECT *, CAST(unnest(CASE WHEN len(wins) = 0 THEN [NULL] ELSE wins END) AS TINYINT) AS win
            FROM found
        )
        SELECT *, {_day(windows)} AS day FROM each_window
        """,
        parameters,
    )
    telemetry.con.execute(
        f"""
        INSERT INTO absent BY NAME
        SELECT interaction_id, epoch_us(ts) AS ts_us, day, session, usr, win,
               {weight_of(windows)} AS weight, true AS first_attempt,
               {"usr" if telemetry.cluster == "user" else "session"} AS cluster
        FROM absent_places, LATERAL (SELECT unnest(range(n))) AS one(copy)
        """
    )
    telemetry.con.execute("INSERT INTO absent_counts SELECT lost, win, unit, n FROM absent_places")


def _reach(telemetry: Telemetry) -> timedelta:
    """How long before one of its interactions a session may have started."""
    longest = telemetry.engine.row("SELECT max(ts_us - started_us) FROM encoded")[0]
    return max(MIN_REACH, timedelta(microseconds=int(longest or 0)))


def _may_be_in(span: Span, name: str, parameters: dict[str, Any]) -> str:
    parameters[f"{name}_start"] = _naive(span.start)
    parameters[f"{name}_end"] = _naive(span.end)
    start, end = f"${name}_start", f"${name}_end"
    if span.release_id is not None:
        parameters[f"{name}_release"] = span.release_id
        near = f"(NOT placed OR (started < {end} AND started + $reach >= {start}))"
        return f"(released AND NOT lost AND release = ${name}_release) OR (NOT released) OR (lost AND {near})"
    return (
        f"(placed AND started >= {start} AND started < {end}) "
        f"OR (stamp IS NOT NULL AND NOT (placed AND timed) AND stamp >= {start} "
        f"AND stamp - $reach < {end}) OR NOT (placed OR timed)"
    )


def _day(windows: ResolvedWindows) -> str:
    """The day in its window. Where its session's start is not known, the weekday that weighs most."""
    cases = []
    for win, span in ((1, windows.candidate), (0, windows.baseline)):
        if span is None:
            continue
        first, last = day_number(span.start), day_number(span.end - _TICK)
        own = f"least(greatest(coalesce(CAST(floor(epoch(began) / 86400) AS INTEGER), {first}), {first}), {last})"
        heavy = _heaviest(windows.weekday_weights, range(first, last + 1)) if win == 0 else None
        if heavy is not None:
            inside = f"placed AND floor(epoch(started) / 86400) BETWEEN {first} AND {last}"
            own = f"CASE WHEN {inside} THEN {own} ELSE {heavy} END"
        cases.append(f"WHEN {win} THEN {own}")
    return f"CASE win {' '.join(cases)} ELSE CAST(floor(epoch(ts) / 86400) AS INTEGER) END"


def _heaviest(weights: Sequence[int], days: Sequence[int]) -> int | None:
    """The first day whose weekday weighs most; None where all weigh the same."""
    if len(set(weights)) == 1:
        return None
    return max(days, key=lambda day: (weights[(day + 3) % 7], -day))


def _naive(moment: datetime) -> datetime:
    return utc(moment).replace(tzinfo=None)


__all__ = ["MAX_LOST", "find_absent"]
