"""The rows whose outcome nobody knows, taken as all good or all bad: worst cases, not estimates.

Unknown are null outcomes, latencies and costs of rows that are there, rows that were set aside for
breaking the contract, and interactions that a session's total counts and the telemetry lacks. The
bounds that follow hold whatever the truth is (Manski 1989; Horowitz & Manski 2000).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from analysis.contract import INTERACTIONS, SESSIONS
from analysis.policy import Bad
from analysis.stats.sketch import N_BINS
from analysis.telemetry.fact import weight_of, window_of
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.telemetry import MissingRate, Telemetry
from analysis.telemetry.windows import Span, day_number

Extreme = Literal["best", "worst"]
_BEYOND = 1e12


@dataclass(frozen=True)
class Unknown:
    """Rows of one window without a known outcome, latency or cost.

    missing: column → rows that are there, and hold none. set_aside: rows that broke the contract.
    lost: interactions that the sessions' totals count, and that are not there.
    """

    missing: Mapping[str, int]
    set_aside: int
    lost: int

    @property
    def anything(self) -> bool:
        """Whether there is any such row."""
        return bool(self.set_aside or self.lost or any(self.missing.values()))


def count_unknown(telemetry: Telemetry) -> dict[str, Unknown]:
    """The unknown rows of each window; rows of no known time count in both. Makes `unknown`.

    `unknown` has the columns of `fact`, and a row for each that is set aside or lost.
    """
    con = telemetry.con
    con.execute("CREATE OR REPLACE TEMP TABLE unknown AS SELECT *, false AS lost FROM fact LIMIT 0")
    if telemetry.aside is not None:
        _add_set_aside(telemetry)
        _add_lost(telemetry)
    columns = _outcomes(telemetry)
    counts = ", ".join(
        ["count(*)", *(f"count(*) FILTER ({value} IS NULL)" for value in columns.values())]
    )
    out = {}
    for name, win in (("baseline", 0), ("candidate", 1)):
        row = con.execute(f"SELECT {counts} FROM fact WHERE win = {win}").fetchall()[0]
        gone = con.execute(
            f"SELECT count(*) FILTER (NOT lost), count(*) FILTER (lost) FROM unknown WHERE win = {win}"
        ).fetchall()[0]
        missing = dict(zip(columns, map(int, row[1:]), strict=True))
        out[name] = Unknown(missing, int(gone[0]), int(gone[1]))
    return out


def _outcomes(telemetry: Telemetry) -> dict[str, str]:
    """Column that a headline figure or an SLO rests on → its value in `fact`."""
    columns = {"is_failure": "failure"}
    for slo in telemetry.policy.slos:
        if telemetry.has(slo.rule.column) and slo.rule.column != "is_failure":
            columns[slo.rule.column] = identifier(slo.rule.column)
    if telemetry.has("latency_ms"):
        columns["latency_ms"] = "latency_us"
    if telemetry.has("cost_usd"):
        columns["cost_usd"] = "cost_nano"
    return columns


def _add_set_aside(telemetry: Telemetry) -> None:
    """Every interaction that was set aside, in its window; one without a time in both.

    Its cluster is the session or user that it names, so far as that is there; else it is one of
    its own.
    """
    windows = telemetry.windows
    moment = "coalesce(i.timestamp_utc, s.started)"
    window, parameters = window_of(windows, moment, "coalesce(s.started, i.timestamp_utc)")
    past = "true" if windows.as_of is None else "coalesce(r.ts < $as_of, true)"
    if windows.as_of is not None:
        parameters["as_of"] = windows.as_of.replace(tzinfo=None)
    start = "min(start_timestamp_utc)" if _has_start(telemetry) else "CAST(NULL AS TIMESTAMP)"
    parameters["compared"] = telemetry.baseline is not None
    telemetry.con.execute(
        f"""
        INSERT INTO unknown BY NAME
        WITH starts AS (SELECT session_id, {start} AS started FROM cells_{SESSIONS} GROUP BY session_id),
        rows AS (
            SELECT i.interaction_id, i.session_id, i.user_id,
                   {moment} AS ts,
                   CAST(floor(epoch(coalesce(s.started, i.timestamp_utc)) / 86400) AS INTEGER) AS day,
                   coalesce(k.session, -i.source_row) AS session,
                   coalesce(u.usr, -i.source_row) AS usr,
                   CAST({window} AS TINYINT) AS own, {moment} IS NULL AS timeless
            FROM (SELECT * FROM cells_{INTERACTIONS}
                  WHERE source_row IN (SELECT source_row FROM broken_{INTERACTIONS})) i
            LEFT JOIN starts s ON s.session_id = i.session_id
            LEFT JOIN (SELECT session_id, any_value(session) AS session FROM fact GROUP BY 1) k
                   ON k.session_id = i.session_id
            LEFT JOIN (SELECT user_id, any_value(usr) AS usr FROM fact GROUP BY 1) u
                   ON u.user_id = i.user_id
        ),
        placed AS (
            SELECT r.* EXCLUDE (own, timeless, day), w.win,
                   coalesce(r.day, CASE w.win WHEN 1 THEN {_first_day(windows.candidate)}
                                   ELSE {_first_day(windows.baseline)} END) AS day
            FROM rows r JOIN (VALUES (0), (1)) w(win)
              ON r.own = w.win OR (r.timeless AND (w.win = 1 OR $compared))
            WHERE {past}
        )
        SELECT *, false AS lost, {weight_of(windows)} AS weight, true AS first_attempt,
               {"usr" if telemetry.cluster == "user" else "session"} AS cluster
        FROM placed
        """,
        parameters,
    )


def _first_day(span: Span | None) -> str:
    return "NULL" if span is None else str(day_number(span.start))


def _has_start(telemetry: Telemetry) -> bool:
    source = telemetry.source
    return "start_timestamp_utc" in source.columns.get(SESSIONS, ())


def _add_lost(telemetry: Telemetry) -> None:
    """Interactions that a session's total counts and nobody sent, in the window of the session."""
    source, declared = telemetry.source, telemetry.contract.tables[SESSIONS]
    totals = [c for c in source.columns.get(SESSIONS, ()) if declared.rollups.get(c) == "requests"]
    if not totals or telemetry.windows.by_release:
        return
    telemetry.con.execute(
        f"""
        INSERT INTO unknown BY NAME
        WITH there AS (SELECT session_id, count(*) AS n FROM cells_{INTERACTIONS} GROUP BY 1),
        gaps AS (
            SELECT s.session_id, s.{identifier(totals[0])} - coalesce(t.n, 0) AS gap
            FROM {SESSIONS} s LEFT JOIN there t ON t.session_id = s.session_id
            WHERE s.{identifier(totals[0])} > coalesce(t.n, 0)
        ),
        homes AS (
            SELECT session_id, any_value(win) AS win, any_value(session) AS session,
                   any_value(usr) AS usr, any_value(cluster) AS cluster, any_value(day) AS day,
                   any_value(user_id) AS user_id, max(ts) AS ts
            FROM fact GROUP BY session_id
        )
        SELECT h.*, true AS lost, {weight_of(telemetry.windows)} AS weight, true AS first_attempt
        FROM gaps g JOIN homes h ON h.session_id = g.session_id,
             LATERAL (SELECT unnest(range(least(g.gap, 1000)))) AS each(one)
        """
    )


@contextmanager
def taken_as(telemetry: Telemetry, extreme: Extreme) -> Iterator[Telemetry]:
    """The telemetry with every unknown row in it, and known.

    worst: bad in the candidate, good in the baseline; best: the other way round. Bad is a failure,
    a breach, a latency beyond every other, and the largest cost that the policy's bounds allow.
    """
    con = telemetry.con
    bad = f"(win = {1 if extreme == 'worst' else 0})"
    low, high = telemetry.policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    filled = {
        "failure": f"coalesce(failure, {bad})",
        "cost_nano": f"coalesce(cost_nano, CASE WHEN {bad} THEN {round(high * 1e9)} "
        f"WHEN NOT {bad} THEN {round(max(low, 0.0) * 1e9)} END)",
        "latency_us": f"coalesce(latency_us, CASE WHEN {bad} THEN {round(_BEYOND)} "
        f"WHEN NOT {bad} THEN 0 END)",
        "latency_bin": f"coalesce(latency_bin, CAST(CASE WHEN {bad} THEN {N_BINS - 1} "
        f"WHEN NOT {bad} THEN 0 END AS SMALLINT))",
        "breach": f"coalesce(breach, {bad})",
    }
    absent = set()
    if not telemetry.has("cost_usd"):
        absent.add("cost_nano")
    if not telemetry.has("latency_ms"):
        absent |= {"latency_us", "latency_bin"}
    slo = telemetry.policy.latency_slo
    if slo is None or not telemetry.has(slo.rule.column):
        absent.add("breach")
    filled = {name: value for name, value in filled.items() if name not in absent}
    imputed = {"is_failure", "latency_ms", "cost_usd"}
    for objective in telemetry.policy.slos:
        rule = objective.rule
        if telemetry.has(rule.column) and rule != Bad(column="is_failure"):
            filled[rule.column] = _filled(rule, telemetry.types[rule.column], bad)
            imputed.add(rule.column)
    replaced = ", ".join(f"{value} AS {identifier(name)}" for name, value in filled.items())
    con.execute("ALTER TABLE fact RENAME TO fact_known")
    try:
        con.execute(
            f"CREATE TEMP VIEW fact AS SELECT * REPLACE ({replaced}) FROM (SELECT * FROM fact_known "
            "UNION ALL BY NAME SELECT * EXCLUDE (lost) FROM unknown)"
        )
        none = MissingRate(0.0, 0.0)
        yield dataclasses.replace(
            telemetry,
            missing={c: none if c in imputed else r for c, r in telemetry.missing.items()},
        )
    finally:
        con.execute("DROP VIEW IF EXISTS fact")
        con.execute("ALTER TABLE fact_known RENAME TO fact")


def _filled(rule: Bad, kind: str, bad: str) -> str:
    """The column with nulls read as bad or good, in its own type."""
    column = identifier(rule.column)
    if rule.above is not None or rule.below is not None:
        limit = float(rule.above if rule.above is not None else rule.below or 0.0)
        step = max(1.0, abs(limit))
        up, down = literal(limit + step), literal(limit - step)
        hit, miss = (up, down) if rule.above is not None else (down, up)
    elif rule.equals is None or isinstance(rule.equals, bool):
        wanted = rule.equals is not False
        hit, miss = ("true", "false") if wanted else ("false", "true")
    elif isinstance(rule.equals, int | float):
        hit, miss = literal(rule.equals), literal(rule.equals + 1)
    else:
        hit, miss = literal(rule.equals), literal(f"not {rule.equals}")
    value = f"CASE WHEN {bad} THEN {hit} WHEN NOT {bad} THEN {miss} END"
    return f"coalesce({column}, TRY_CAST({value} AS {kind}))"


__all__ = ["Extreme", "Unknown", "count_unknown", "taken_as"]
