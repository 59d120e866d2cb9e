"""Cluster and day moments of ratio metrics, as exact integers (STATISTICS section 1).

A metric is a ratio of two integer sums over rows: bad rows by labelled rows, nano-USD by rows.
Everything that an interval needs of it is additive over clusters, so the engine computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from analysis.stats.clusters import CrossMoments, DayTotals, WindowMoments

Scale = int


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over rows.

    numerator, denominator: SQL expressions over `fact`, integer, null read as 0. A row counts in
    neither where its value is unknown. scale: numerator units in one unit of the value (1e9 for
    nano-USD, 1 for rates).
    """

    name: str
    numerator: str
    denominator: str
    scale: Scale = 1
    where: str = "true"

    @classmethod
    def rate(cls, name: str, bad: str, where: str = "true") -> Metric:
        """The share of rows for which the nullable boolean expression `bad` is true."""
        return cls(
            name,
            f"CASE WHEN {bad} THEN 1 ELSE 0 END",
            f"CASE WHEN ({bad}) IS NULL THEN 0 ELSE 1 END",
            where=where,
        )

    @classmethod
    def mean(cls, name: str, value: str, scale: Scale = 1, where: str = "true") -> Metric:
        """The mean of a nullable integer expression, in units of 1/scale."""
        return cls(
            name,
            f"coalesce({value}, 0)",
            f"CASE WHEN ({value}) IS NULL THEN 0 ELSE 1 END",
            scale,
            where,
        )


@dataclass(frozen=True)
class Moments:
    """One metric in both windows; `baseline` holds zeros where there is no baseline.

    support_candidate, support_baseline: rows behind it, before any weekday weight.
    """

    metric: Metric
    candidate: WindowMoments
    baseline: WindowMoments
    cross: CrossMoments
    days: DayTotals
    support_candidate: int
    support_baseline: int


def measure(con: duckdb.DuckDBPyConnection, metrics: Sequence[Metric]) -> dict[str, Moments]:
    """The moments of each metric, by name, in two scans of `fact`."""
    if not metrics:
        return {}
    totals = ["cluster"]
    for i, metric in enumerate(metrics):
        for win in (1, 0):
            within = f"FILTER (win = {win} AND ({metric.where}))"
            totals.append(
                f"coalesce(sum(weight * ({metric.denominator})) {within}, 0)::HUGEINT AS n{win}_{i}"
            )
            totals.append(
                f"coalesce(sum(weight * ({metric.numerator})) {within}, 0)::HUGEINT AS y{win}_{i}"
            )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE cluster_totals AS SELECT {', '.join(totals)} "
        "FROM fact WHERE win IS NOT NULL GROUP BY cluster"
    )
    try:
        row = _row(con, ", ".join(_sums(i) for i in range(len(metrics))), "cluster_totals")
    except duckdb.OutOfRangeException:
        row = _without_limit(con, len(metrics))
    days, support = _days(con, metrics)
    out = {}
    for i, metric in enumerate(metrics):
        values = [int(v or 0) for v in row[i * _PER_METRIC : (i + 1) * _PER_METRIC]]
        one, zero, cross = values[:8], values[8:16], values[16:]
        out[metric.name] = Moments(
            metric,
            WindowMoments(*one),
            WindowMoments(*zero),
            CrossMoments(*cross),
            DayTotals(days[i]),
            support_candidate=support[i][1],
            support_baseline=support[i][0],
        )
    con.execute("DROP TABLE cluster_totals")
    return out


_PER_METRIC = 8 + 8 + 5


def _sums(i: int) -> str:
    parts = []
    for win in (1, 0):
        n, y = f"n{win}_{i}", f"y{win}_{i}"
        parts += [
            f"sum({n})",
            f"sum({y})",
            f"sum({n} * {n})",
            f"sum({y} * {y})",
            f"sum({n} * {y})",
            f"count(*) FILTER ({n} > 0)",
            f"max({n})",
            f"count(*) FILTER ({y} > 0)",
        ]
    n1, y1, n0, y0 = f"n1_{i}", f"y1_{i}", f"n0_{i}", f"y0_{i}"
    parts += [
        f"sum({n1} * {n0})",
        f"sum({y1} * {y0})",
        f"sum({n1} * {y0})",
        f"sum({y1} * {n0})",
        f"count(*) FILTER ({n1} > 0 OR {n0} > 0)",
    ]
    return ", ".join(parts)


def _without_limit(con: duckdb.DuckDBPyConnection, n_metrics: int) -> tuple[int, ...]:
    """The same as `_sums` where squares exceed 128 bits: calls of a million USD each do that."""
    out = [0] * (n_metrics * _PER_METRIC)
    clusters = con.execute("SELECT * EXCLUDE (cluster) FROM cluster_totals")
    while batch := clusters.fetchmany(10_000):
        for row in batch:
            for i in range(n_metrics):
                n1, y1, n0, y0 = (int(v) for v in row[4 * i : 4 * i + 4])
                at = i * _PER_METRIC
                for begin, n, y in ((at, n1, y1), (at + 8, n0, y0)):
                    for place, value in enumerate((n, y, n * n, y * y, n * y, n > 0)):
                        out[begin + place] += value
                    out[begin + 6] = max(out[begin + 6], n)
                    out[begin + 7] += y > 0
                cross = (n1 * n0, y1 * y0, n1 * y0, y1 * n0, n1 > 0 or n0 > 0)
                for place, value in enumerate(cross):
                    out[at + 16 + place] += value
    return tuple(out)


def _days(
    con: duckdb.DuckDBPyConnection, metrics: Sequence[Metric]
) -> tuple[list[tuple[tuple[int, int, int, int], ...]], list[tuple[int, int]]]:
    """(window, day, n, y) of each metric, and its unweighted rows (baseline, candidate)."""
    parts = []
    for metric in metrics:
        within = f"FILTER ({metric.where})"
        parts.append(f"coalesce(sum(weight * ({metric.denominator})) {within}, 0)")
        parts.append(f"coalesce(sum(weight * ({metric.numerator})) {within}, 0)")
        parts.append(f"coalesce(sum({metric.denominator}) {within}, 0)")
    rows = con.execute(
        f"SELECT win, day, {', '.join(parts)} FROM fact WHERE win IS NOT NULL "
        "GROUP BY win, day ORDER BY win, day"
    ).fetchall()
    days, support = [], []
    for i in range(len(metrics)):
        n, y, raw = 2 + 3 * i, 3 + 3 * i, 4 + 3 * i
        days.append(tuple((int(r[0]), int(r[1]), int(r[n]), int(r[y])) for r in rows if r[n]))
        support.append(
            (
                sum(int(r[raw]) for r in rows if r[0] == 0),
                sum(int(r[raw]) for r in rows if r[0] == 1),
            )
        )
    return days, support


def _row(con: duckdb.DuckDBPyConnection, select: str, table: str) -> tuple[Any, ...]:
    row = con.execute(f"SELECT {select} FROM {table}").fetchall()[0]
    return tuple(row)
