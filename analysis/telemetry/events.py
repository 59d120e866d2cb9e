"""Bad events over time: counts by clock, for burn rates, alerts and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from analysis.telemetry.fact import micros, moment
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry
from analysis.telemetry.windows import calendar_span

BUCKET = timedelta(minutes=5)
BUCKETS_A_DAY = timedelta(days=1) // BUCKET
_NEVER = 10**9
_PARTS = "budget_parts"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """Labelled events by bucket of five minutes, the last of which ends with `end`.

    n, y: events and bad ones, rows: those without a known outcome too; shape (k,).
    """

    end: datetime
    n: Counts
    y: Counts
    rows: Counts

    def last(self, span: timedelta) -> tuple[int, int]:
        """Events and bad ones of the last `span`, a multiple of five minutes."""
        k = min(span // BUCKET, len(self.n))
        return int(self.n[len(self.n) - k :].sum()), int(self.y[len(self.y) - k :].sum())

    def days(self, n_days: int) -> tuple[Counts, Counts, Counts]:
        """Events, bad ones and rows of each of the `n_days` that end with `end`, the newest last."""
        return tuple(  # type: ignore[return-value]
            _padded(counts, n_days * BUCKETS_A_DAY).reshape(n_days, BUCKETS_A_DAY).sum(axis=1)
            for counts in (self.n, self.y, self.rows)
        )


@dataclass(frozen=True)
class PartCounts:
    """Labelled events of one part of a span, and the bad ones. `value`: the part's, None where the rows
    have none; of all parts that are not named, together, where `others`."""

    value: str | None
    others: bool
    n: int
    bad: int


@dataclass(frozen=True)
class EventCounts:
    """Labelled events of a span: `n` of them, `bad` of these, Σ n_c² over clusters, and those of the
    clusters that hold a bad one."""

    n: int
    bad: int
    cluster_squares: int
    bad_clusters: int


def timelines(
    telemetry: Telemetry, bads: Sequence[str], start: datetime, end: datetime, *, own_rows: bool
) -> list[Timeline]:
    """The timeline of [start, end) of each of `bads`, in one scan.

    bads: nullable SQL booleans over `fact`. own_rows: only rows of the candidate (a canary). Buckets
    are counted from the end: the first is shorter where the span is no multiple of five minutes.
    """
    k = max(-((start - end) // BUCKET), 0)
    found = np.zeros((1 + 2 * len(bads), k), np.int64)
    counts = "".join(f", count(b{i}), {_count(f'b{i}')}" for i in range(len(bads)))
    columns = "".join(f", {bad} AS b{i}" for i, bad in enumerate(bads))
    for bucket, *row in telemetry.engine.rows(
        f"SELECT bucket, count(*){counts} FROM (SELECT {_bucket(end)} AS bucket{columns} "
        f"FROM fact WHERE {_between(start, end, own_rows)}) buckets GROUP BY bucket"
    ):
        found[:, k + int(bucket)] = [int(v) for v in row]
    return [Timeline(end, found[1 + 2 * i], found[2 + 2 * i], found[0]) for i in range(len(bads))]


def window_counts(
    telemetry: Telemetry, bad: str, end: datetime, spans: Sequence[timedelta], *, own_rows: bool
) -> list[EventCounts]:
    """What each of the spans that end with `end` holds, in one scan of the longest."""
    inner, outer = [], []
    for i, span in enumerate(spans):
        since = f"ts_us >= {micros(end - span)}"
        inner.append(f"count(CASE WHEN {since} THEN bad END) AS n{i}")
        inner.append(f"{_count(f'{since} AND bad')} AS y{i}")
        outer += [f"coalesce(sum({what}), 0)" for what in (f"n{i}", f"y{i}", f"n{i} * n{i}")]
        outer.append(_count(f"y{i} > 0"))
    row = telemetry.engine.row(
        f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} "
        f"FROM (SELECT cluster, ts_us, {bad} AS bad FROM fact "
        f"WHERE {_between(end - max(spans), end, own_rows)}) held GROUP BY cluster) clusters"
    )
    numbers = [int(v) for v in row]
    return [EventCounts(*numbers[at : at + 4]) for at in range(0, len(numbers), 4)]


def part_counts(
    telemetry: Telemetry,
    bads: Sequence[str],
    starts: Sequence[datetime],
    end: datetime,
    columns: Sequence[str],
    most: int = 50,
) -> tuple[dict[str, list[list[PartCounts]]], list[list[PartCounts]]]:
    """How the events of [start, end) of each of `bads` fall on columns' values, and on calendar months.

    Returns column → parts by each of `bads`, the one with the most rows first; and months ("2026-11",
    UTC) by each of `bads`, in order. Both add up to the span's events. Of a column the `most` values
    with the most rows are named, and those with as many rows as the next one are not. One scan.
    """
    engine, first = telemetry.engine, min(starts)
    months = _months(first, end)
    month = " ".join(
        f"WHEN ts_us < {micros(after)} THEN {i}" for i, (_, after) in enumerate(months)
    )
    held = ", ".join(f"{identifier(column)} AS v{i}" for i, column in enumerate(columns))
    since = [
        f"CASE WHEN ts_us >= {micros(start)} THEN {bad} END"
        for bad, start in zip(bads, starts, strict=True)
    ]
    counts = [f"count(b{i}) AS n{i}, {_count(f'b{i}')} AS y{i}" for i in range(len(bads))]
    keys = ["month", *(f"v{i}" for i in range(len(columns)))]
    engine.create(
        _PARTS,
        f"SELECT {', '.join(keys)}, count(*) AS held, {', '.join(counts)} FROM "
        f"(SELECT CASE {month} END AS month, {held}{', ' if held else ''}"
        f"{', '.join(f'{bad} AS b{i}' for i, bad in enumerate(since))} "
        f"FROM fact WHERE {_between(first, end)}) rows_of GROUP BY {', '.join(keys)}",
    )
    sums = ", ".join(f"sum(n{i}), sum(y{i})" for i in range(len(bads)))
    by_month = engine.rows(f"SELECT month, {sums} FROM {_PARTS} GROUP BY month ORDER BY month")
    out = {}
    for i, column in enumerate(columns):
        totals = f"SELECT v{i} AS part, sum(held) AS total FROM {_PARTS} GROUP BY v{i}"
        ranked = engine.rows(
            f"SELECT total FROM ({totals}) parts ORDER BY total DESC LIMIT {most + 1}"
        )
        least = int(ranked[-1][0]) if len(ranked) > most else 0
        named = f"SELECT part FROM ({totals}) parts WHERE total > {least} AND part IS NOT NULL"
        rows = engine.rows(
            f"SELECT part, others, sum(held), {sums} FROM (SELECT "
            f"CASE WHEN v{i} IN ({named}) THEN v{i} END AS part, "
            f"CASE WHEN v{i} IS NOT NULL AND v{i} NOT IN ({named}) THEN 1 ELSE 0 END AS others, "
            f"{_PARTS}.* FROM {_PARTS}) parts GROUP BY part, others"
        )
        rows.sort(key=lambda r: (int(r[1]), r[0] is None, -int(r[2]), str(r[0])))
        out[column] = [
            [
                PartCounts(
                    None if r[0] is None else str(r[0]),
                    bool(r[1]),
                    int(r[3 + 2 * j]),
                    int(r[4 + 2 * j]),
                )
                for r in rows
            ]
            for j in range(len(bads))
        ]
    engine.drop(_PARTS)
    return out, [
        [
            PartCounts(months[int(r[0])][0], False, int(r[1 + 2 * j]), int(r[2 + 2 * j]))
            for r in by_month
        ]
        for j in range(len(bads))
    ]


def _months(start: datetime, end: datetime) -> list[tuple[str, datetime]]:
    """The calendar months of [start, end), each with the moment after it."""
    out = []
    while start < end:
        month = calendar_span(start)
        out.append((f"{month.start:%Y-%m}", month.end))
        start = month.end
    return out


class ClusterWindows:
    """The clusters behind a timeline of k buckets up to `end`: what `stats.alerts.firing` asks.

    Every question is a reduction in the engine, and its answer has one number a bucket.
    """

    def __init__(
        self, telemetry: Telemetry, bad: str, end: datetime, k: int, *, own_rows: bool
    ) -> None:
        self._telemetry, self._bad, self._end, self._k = telemetry, bad, end, k
        self._own = own_rows
        self._pairs: npt.NDArray[np.int64] | None = None

    def largest(self) -> int:
        """Labelled rows of the largest cluster."""
        return int(
            self._telemetry.engine.row(
                "SELECT coalesce(max(n), 0) FROM (SELECT count(bad) AS n FROM "
                f"({self._held(0, self._k)}) held GROUP BY cluster) clusters"
            )[0]
        )

    def bad(self, width: int) -> Counts:
        """Clusters with a bad row in each window of `width` buckets, shape (k,).

        A bad bucket b of a cluster counts in the windows that end with b to b + width − 1; with the
        one before it, at a distance of gap, it shares the first width − gap of these.
        """
        if self._pairs is None:
            self._pairs = self._bad_pairs()
        bucket, gap, n = self._pairs.T
        change = np.zeros(2 * self._k + width + 1, np.int64)
        np.add.at(change, bucket + np.maximum(width - gap, 0), n)
        np.add.at(change, bucket + width, -n)
        return np.asarray(np.cumsum(change)[: self._k])

    def squares(self, width: int, first: int, last: int) -> Counts:
        """Σ n_c² of the windows that end with buckets first to last, shape (last − first + 1,).

        A bucket's n_b rows of a cluster add n_b² + 2 n_b · (rows before them in the window) as they
        enter, and take n_b² + 2 n_b · (rows after them) away as they leave.
        """
        begin = max(first - width + 1, 0)
        entering, leaving = (np.zeros(last + 1, np.int64) for _ in range(2))
        near = "sum(n) OVER (PARTITION BY cluster ORDER BY bucket RANGE BETWEEN {} AND {})"
        before = near.format(f"{width - 1} PRECEDING", "1 PRECEDING")
        after = near.format("1 FOLLOWING", f"{width - 1} FOLLOWING")
        for bucket, enters, leaves in self._telemetry.engine.rows(
            "SELECT bucket, sum(n * n + 2 * n * coalesce(earlier, 0)), "
            "sum(n * n + 2 * n * coalesce(later, 0)) FROM "
            f"(SELECT bucket, n, {before} AS earlier, {after} AS later FROM "
            f"(SELECT cluster, bucket, count(bad) AS n FROM ({self._held(begin, last + 1)}) held "
            "GROUP BY cluster, bucket) counts) windows GROUP BY bucket"
        ):
            entering[self._k + int(bucket)] = int(enters)
            leaving[self._k + int(bucket)] = int(leaves)
        into, out = np.cumsum(entering), np.concatenate([[0], np.cumsum(leaving)])
        ends = np.arange(first, last + 1)
        return np.asarray(into[ends] - out[np.maximum(ends - width + 1, 0)])

    def _bad_pairs(self) -> npt.NDArray[np.int64]:
        """(bucket from the first on, buckets since the cluster's bad one before, such clusters)."""
        rows = self._telemetry.engine.rows(
            f"SELECT bucket, coalesce(bucket - previous, {_NEVER}), count(*) FROM "
            "(SELECT bucket, lag(bucket) OVER (PARTITION BY cluster ORDER BY bucket) AS previous FROM "
            f"(SELECT cluster, bucket FROM ({self._held(0, self._k)}) held WHERE bad "
            "GROUP BY cluster, bucket) pairs) gaps "
            f"GROUP BY bucket, coalesce(bucket - previous, {_NEVER})"
        )
        found = np.array([[int(v) for v in row] for row in rows], np.int64).reshape(-1, 3)
        found[:, 0] += self._k
        return found

    def _held(self, first: int, stop: int) -> str:
        """Rows of the buckets first to stop − 1, each with its bucket."""
        start, end = (self._end - (self._k - at) * BUCKET for at in (first, stop))
        return (
            f"SELECT cluster, {_bucket(self._end)} AS bucket, {self._bad} AS bad FROM fact "
            f"WHERE {_between(start, end, self._own)}"
        )


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


def _bucket(end: datetime) -> str:
    """The bucket of a row by its distance from `end`: −1 is the last one before it."""
    size = BUCKET // timedelta(microseconds=1)
    return f"CAST(floor((ts_us - {micros(end)}) / {size}) AS BIGINT)"


def _padded(counts: Counts, k: int) -> Counts:
    """The last k buckets; those before the first one hold nothing."""
    held = counts[max(len(counts) - k, 0) :]
    return np.concatenate([np.zeros(k - len(held), np.int64), held])


def _between(start: datetime, end: datetime, own_rows: bool = False) -> str:
    own = " AND win = 1" if own_rows else ""
    return f"ts_us >= {micros(start)} AND ts_us < {micros(end)}{own}"


def _count(bad: str) -> str:
    return f"coalesce(sum(CASE WHEN {bad} THEN 1 ELSE 0 END), 0)"
