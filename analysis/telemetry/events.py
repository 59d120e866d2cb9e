"""Bad events over time: counts by clock, for burn rates, alerts and budgets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from analysis.policy import utc
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
    row = telemetry.con.execute(
        f"""
        SELECT coalesce(sum(n), 0), coalesce(sum(y), 0), coalesce(sum(n * n), 0) FROM (
            SELECT count({bad}) AS n, count(*) FILTER ({bad}) AS y FROM fact
            WHERE ts >= $start AND ts < $end AND ($own = false OR win = 1) GROUP BY cluster
        )
        """,
        {"start": _naive(start), "end": _naive(end), "own": own_rows},
    ).fetchall()[0]
    return EventCounts(*(int(v) for v in row))


def bucket_counts(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime, *, own_rows: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Events and bad events by five-minute bucket of [start, end), as two integer arrays."""
    size = int(BUCKET.total_seconds())
    first = int((start - EPOCH).total_seconds()) // size
    last = -int(-(end - EPOCH).total_seconds() // size)
    n, y = np.zeros(max(last - first, 0), np.int64), np.zeros(max(last - first, 0), np.int64)
    rows = telemetry.con.execute(
        f"""
        SELECT CAST(floor(epoch(ts) / {size}) AS BIGINT) AS bucket, count({bad}), count(*) FILTER ({bad})
        FROM fact WHERE ts >= $start AND ts < $end AND ($own = false OR win = 1) GROUP BY 1
        """,
        {"start": _naive(start), "end": _naive(end), "own": own_rows},
    ).fetchall()
    for bucket, total, bad_events in rows:
        n[bucket - first] = total
        y[bucket - first] = bad_events
    return n, y


def exhaustion_moment(
    telemetry: Telemetry, bad: str, start: datetime, end: datetime, allowed: float
) -> datetime | None:
    """When the cumulative bad events of [start, end) reached `allowed`; None where they did not."""
    row = telemetry.con.execute(
        f"""
        SELECT min(ts) FROM (
            SELECT ts, sum(n) OVER (ORDER BY ts RANGE UNBOUNDED PRECEDING) AS reached
            FROM (SELECT ts, count(*) AS n FROM fact
                  WHERE ts >= $start AND ts < $end AND {bad} GROUP BY ts)
        ) WHERE reached >= $allowed
        """,
        {"start": _naive(start), "end": _naive(end), "allowed": allowed},
    ).fetchall()[0]
    return utc(row[0]) if row[0] is not None else None


def first_event(telemetry: Telemetry) -> datetime:
    """The first timestamp in the telemetry."""
    row = telemetry.con.execute("SELECT min(ts) FROM fact").fetchall()[0]
    return utc(row[0])


def _naive(moment: datetime) -> datetime:
    return utc(moment).replace(tzinfo=None)
