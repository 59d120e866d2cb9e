"""Bad events over time: counts by clock, for burn rates, alerts and budgets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from analysis.telemetry.fact import micros, moment
from analysis.telemetry.telemetry import Telemetry
from analysis.telemetry.windows import EPOCH

BUCKET = timedelta(minutes=5)


@dataclass(frozen=True)
class EventCounts:
    """Labelled events of a span: `n` of them, `bad` of these, and Σ n_c² over clusters."""

    n: int
    bad: int
    cluster_squares: int


def count_events(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime, *, own_rows: bool
) -> EventCounts:
    """Events with a known outcome and a timestamp in [start, end).

    bad: nullable SQL boolean over `fact`. own_rows: only rows of the candidate (a canary).
    """
    row = telemetry.engine.row(
        f"""
        SELECT coalesce(sum(n), 0), coalesce(sum(y), 0), coalesce(sum(n * n), 0) FROM (
            SELECT count({bad}) AS n, {_count(bad)} AS y FROM fact
            WHERE {_between(start, end, own_rows)} GROUP BY cluster
        ) totals
        """
    )
    return EventCounts(*(int(v) for v in row))


def bucket_counts(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime, *, own_rows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Events and bad events by five-minute bucket of [start, end), as two integer arrays."""
    size = int(BUCKET.total_seconds())
    first = int((start - EPOCH).total_seconds()) // size
    last = -int(-(end - EPOCH).total_seconds() // size)
    n, y = np.zeros(max(last - first, 0), np.int64), np.zeros(max(last - first, 0), np.int64)
    rows = telemetry.engine.rows(
        f"SELECT bucket, count(bad), {_count('bad')} FROM "
        f"(SELECT CAST(floor(ts_us / {size * 1_000_000}) AS BIGINT) AS bucket, {bad} AS bad "
        f"FROM fact WHERE {_between(start, end, own_rows)}) buckets GROUP BY bucket"
    )
    for bucket, total, bad_events in rows:
        n[int(bucket) - first] = int(total)
        y[int(bucket) - first] = int(bad_events)
    return n, y


def daily_events(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime
) -> list[tuple[int, int, int]]:
    """(day number, events, bad events) of the UTC days of [start, end) that hold any, in order."""
    rows = telemetry.engine.rows(
        f"SELECT day_of, count(bad), {_count('bad')} FROM "
        f"(SELECT CAST(floor(ts_us / 86400000000) AS BIGINT) AS day_of, {bad} AS bad "
        f"FROM fact WHERE {_between(start, end)}) days GROUP BY day_of ORDER BY day_of"
    )
    return [(int(day), int(n), int(y)) for day, n, y in rows]


def exhaustion_moment(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime, allowed: float
) -> datetime | None:
    """When the cumulative bad events of [start, end) reached `allowed`; None where they did not."""
    row = telemetry.engine.row(
        f"""
        SELECT min(ts_us) FROM (
            SELECT ts_us, sum(n) OVER (ORDER BY ts_us ROWS UNBOUNDED PRECEDING) AS reached
            FROM (SELECT ts_us, count(*) AS n FROM fact
                  WHERE {_between(start, end)} AND {bad} GROUP BY ts_us) moments
        ) running WHERE reached >= $allowed
        """,
        {"allowed": allowed},
    )
    return moment(row[0]) if row[0] is not None else None


def first_event(telemetry: Telemetry) -> datetime:
    """The first timestamp in the telemetry."""
    return moment(telemetry.engine.row("SELECT min(ts_us) FROM fact")[0])


def _between(start: datetime, end: datetime, own_rows: bool = False) -> str:
    own = " AND win = 1" if own_rows else ""
    return f"ts_us >= {micros(start)} AND ts_us < {micros(end)}{own}"


def _count(bad: str) -> str:
    return f"coalesce(sum(CASE WHEN {bad} THEN 1 ELSE 0 END), 0)"
