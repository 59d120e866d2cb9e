"""What a first policy is derived from: counts, rates and quantiles, each one plain query.

Money is summed as integers of nano-USD, so that the order of the rows changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analysis.contract import INTERACTIONS, SESSIONS, Contract
from analysis.telemetry.fact import DERIVED
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier

ROWS = "proposal_rows"
MAX_NAME = 120


@dataclass(frozen=True)
class Selection:
    """Rows of `proposal_rows`: a condition of our own, and the values that it is given."""

    where: str = "true"
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ReleaseSeen:
    """One release id, with its rows and the first and last of them in time."""

    id: str
    n_rows: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Overview:
    """All telemetry. Days count from 1970-01-01, and are those on which sessions start."""

    n_rows: int
    n_sessions: int
    n_users: int
    largest_user: float
    first_day: int
    last_day: int
    first: datetime
    last: datetime
    releases: tuple[ReleaseSeen, ...]
    without_release: float

    @property
    def n_days(self) -> int:
        """Calendar days from the first to the last on which a session starts."""
        return self.last_day - self.first_day + 1


@dataclass(frozen=True)
class Level:
    """What a selection of rows looks like; None where nothing is known."""

    n_rows: int
    n_known: int
    n_failed: int
    latency_p95: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class TextColumn:
    """A text column that is known with the request: what a dimension is made of."""

    name: str
    role: str
    n_values: int
    missing: float


def gather(source: Source) -> Overview:
    """Makes the table `proposal_rows`, and looks at all of it."""
    columns = source.columns[INTERACTIONS]
    con = source.con

    def own(name: str, kind: str) -> str:
        return f"i.{name}" if name in columns else f"CAST(NULL AS {kind})"

    declared = "start_timestamp_utc" in source.columns[SESSIONS]
    start = "min(s.start_timestamp_utc)" if declared else "CAST(NULL AS TIMESTAMP)"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {ROWS} AS
        WITH starts AS (
            SELECT i.session_id, coalesce({start}, min(i.timestamp_utc)) AS started
            FROM {INTERACTIONS} i LEFT JOIN {SESSIONS} s USING (session_id) GROUP BY i.session_id
        )
        SELECT i.timestamp_utc AS ts, i.source_row AS place, i.session_id, i.user_id,
               date_diff('day', DATE '1970-01-01', CAST(t.started AS DATE)) AS start_day,
               {own("is_failure", "BOOLEAN")} AS failed,
               {own("latency_ms", "DOUBLE")} AS latency,
               TRY_CAST(round({own("cost_usd", "DOUBLE")} * 1e9) AS BIGINT) AS nano,
               {own("retry_index", "BIGINT")} AS retry,
               {own("release_id", "VARCHAR")} AS release
        FROM {INTERACTIONS} i LEFT JOIN starts t USING (session_id)
        WHERE i.timestamp_utc IS NOT NULL AND t.started IS NOT NULL
        """
    )
    row = con.execute(
        "SELECT count(*), count(DISTINCT session_id), count(DISTINCT user_id), min(start_day), "
        f"max(start_day), min(ts), max(ts), count(*) FILTER (release IS NULL) FROM {ROWS}"
    ).fetchall()[0]
    largest = con.execute(
        f"SELECT count(*) AS n FROM {ROWS} WHERE user_id IS NOT NULL "
        "GROUP BY user_id ORDER BY n DESC LIMIT 1"
    ).fetchall()
    n = int(row[0])
    return Overview(
        n_rows=n,
        n_sessions=int(row[1]),
        n_users=int(row[2]),
        largest_user=int(largest[0][0]) / n if largest else 0.0,
        first_day=int(row[3] or 0),
        last_day=int(row[4] or 0),
        first=row[5],
        last=row[6],
        releases=_releases(con),
        without_release=int(row[7]) / n if n else 1.0,
    )


def _releases(con: Any) -> tuple[ReleaseSeen, ...]:
    """By the hour in which each began, then by name: the last one is taken for the newest."""
    rows = con.execute(
        f"SELECT release, count(*), min(ts), max(ts) FROM {ROWS} WHERE release IS NOT NULL "
        "GROUP BY release ORDER BY date_trunc('hour', min(ts)), release"
    ).fetchall()
    return tuple(ReleaseSeen(str(r[0]), int(r[1]), r[2], r[3]) for r in rows)


def count(source: Source, chosen: Selection) -> int:
    """The number of rows in a selection."""
    found = source.con.execute(
        f"SELECT count(*) FROM {ROWS} WHERE {chosen.where}", list(chosen.parameters)
    ).fetchall()
    return int(found[0][0])


def level(source: Source, chosen: Selection) -> Level:
    """Failures, latency and money of a selection."""
    row = source.con.execute(
        "SELECT count(*), count(failed), count(*) FILTER (failed), "
        f"quantile_disc(latency, 0.95), sum(nano) FROM {ROWS} WHERE {chosen.where}",
        list(chosen.parameters),
    ).fetchall()[0]
    return Level(
        n_rows=int(row[0]),
        n_known=int(row[1]),
        n_failed=int(row[2]),
        latency_p95=None if row[3] is None else float(row[3]),
        cost_usd=None if row[4] is None else int(row[4]) / 1e9,
    )


def dearest_request(source: Source) -> float | None:
    """The highest cost of one request in USD, its retries included; None without any cost."""
    row = source.con.execute(
        f"""
        WITH numbered AS (
            SELECT session_id, nano, sum(CASE WHEN coalesce(retry, 0) = 0 THEN 1 ELSE 0 END)
                   OVER (PARTITION BY session_id ORDER BY ts, place) AS request
            FROM {ROWS}
        ), requests AS (SELECT sum(nano) AS nano FROM numbered GROUP BY session_id, request)
        SELECT max(nano) FROM requests
        """
    ).fetchall()[0]
    return None if row[0] is None else int(row[0]) / 1e9


def text_columns(source: Source, contract: Contract) -> tuple[TextColumn, ...]:
    """Text in the role of context or action, in the order of the contract, then of the data."""
    there = source.columns[INTERACTIONS]
    order = [c for c in contract.tables[INTERACTIONS].columns if c in there]
    names = []
    for name in dict.fromkeys([*order, *there]):
        rule = contract.column(name)
        if rule is not None and rule.type == "string" and rule.role in ("context", "action"):
            names.append((name, rule.role))
    if not names:
        return ()
    parts = ", ".join(f"count(DISTINCT {identifier(n)}), count({identifier(n)})" for n, _ in names)
    row = source.con.execute(f"SELECT count(*), {parts} FROM {INTERACTIONS}").fetchall()[0]
    n_rows, counts = int(row[0]), row[1:]
    return tuple(
        TextColumn(name, role, int(counts[2 * i]), 1 - int(counts[2 * i + 1]) / n_rows)
        for i, (name, role) in enumerate(names)
    )


def missing(source: Source, names: Sequence[str]) -> dict[str, float]:
    """The share of empty cells of each of these interactions columns."""
    known = [n for n in names if n in source.columns[INTERACTIONS]]
    if not known:
        return {}
    parts = ", ".join(f"count({identifier(n)})" for n in known)
    row = source.con.execute(f"SELECT count(*), {parts} FROM {INTERACTIONS}").fetchall()[0]
    return {n: 1 - int(k) / int(row[0]) for n, k in zip(known, row[1:], strict=True)}


def can_be_named(name: str) -> bool:
    """Whether a policy can name this column or release: short, without control characters, and no
    name that the review keeps for itself."""
    plain = all(ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F for c in name)
    return 0 < len(name) <= MAX_NAME and plain and name.lower() not in DERIVED
