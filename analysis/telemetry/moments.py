"""Cluster and day moments of ratio metrics, as exact integers (STATISTICS section 1).

A metric is a ratio of two integer sums over rows: bad rows by labelled rows, nano-USD by rows.
Everything that an interval needs of it is additive over clusters, so the engine computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from analysis.stats.clusters import CrossMoments, DayTotals, WindowMoments
from analysis.telemetry.engine import Engine

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

    @classmethod
    def rate(cls, name: str, bad: str) -> Metric:
        """The share of rows for which the nullable boolean expression `bad` is true."""
        return cls(
            name,
            f"CASE WHEN {bad} THEN 1 ELSE 0 END",
            f"CASE WHEN ({bad}) IS NULL THEN 0 ELSE 1 END",
        )

    @classmethod
    def mean(cls, name: str, value: str, scale: Scale = 1) -> Metric:
        """The mean of a nullable integer expression, in units of 1/scale."""
        return cls(
            name,
            f"coalesce({value}, 0)",
            f"CASE WHEN ({value}) IS NULL THEN 0 ELSE 1 END",
            scale,
        )

    @property
    def above(self) -> str:
        """What a row adds to the numerator, weighted by its weekday."""
        return f"weight * ({self.numerator})"

    @property
    def below(self) -> str:
        """What a row adds to the denominator."""
        return f"weight * ({self.denominator})"

    @property
    def measures(self) -> tuple[object, ...]:
        """What is measured, whatever it is called."""
        return self.numerator, self.denominator, self.scale


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


def measure(engine: Engine, metrics: Sequence[Metric]) -> dict[str, Moments]:
    """The moments of each metric, by name: two scans of `fact` for each `AT_ONCE` of them."""
    out: dict[str, Moments] = {}
    for start in range(0, len(metrics), AT_ONCE):
        out |= _measure(engine, metrics[start : start + AT_ONCE])
    return out


AT_ONCE = 12
"""Metrics of one scan: their totals by cluster lie in memory."""
_WINDOW = ("n", "y", "nn", "yy", "ny", "clusters", "largest", "bad_clusters")


def _measure(engine: Engine, metrics: Sequence[Metric]) -> dict[str, Moments]:
    totals = []
    for i, metric in enumerate(metrics):
        totals.append(f"CAST(coalesce(sum({metric.below}), 0) AS BIGINT) AS n_{i}")
        totals.append(f"CAST(coalesce(sum({metric.above}), 0) AS {_kind(metric)}) AS y_{i}")
    summed = ", ".join(totals)
    engine.create(
        "cluster_totals",
        f"SELECT cluster, win, {summed} FROM fact WHERE win IS NOT NULL GROUP BY cluster, win",
    )
    windows = _windows(engine, metrics)
    crossed = _crossed(engine, len(metrics))
    engine.drop("cluster_totals")
    days, support = _days(engine, metrics)
    out = {}
    for i, metric in enumerate(metrics):
        one, zero = windows[i]
        clusters = one.clusters + zero.clusters - crossed[i][4]
        out[metric.name] = Moments(
            metric,
            one,
            zero,
            CrossMoments(*crossed[i][:4], clusters),
            DayTotals(days[i]),
            support_candidate=support[i][1],
            support_baseline=support[i][0],
        )
    return out


def _windows(
    engine: Engine, metrics: Sequence[Metric]
) -> list[tuple[WindowMoments, WindowMoments]]:
    """The moments of each metric in (candidate, baseline)."""
    parts = []
    for i in range(len(metrics)):
        n, y = f"n_{i}", f"y_{i}"
        parts += [f"sum({n})", f"sum({y})", f"sum({n} * {n})", f"sum({y} * {y})",
                  f"sum({n} * {y})", f"sum(CASE WHEN n_{i} > 0 THEN 1 ELSE 0 END)", f"max(n_{i})",
                  f"sum(CASE WHEN y_{i} > 0 THEN 1 ELSE 0 END)"]  # fmt: skip
    statement = f"SELECT win, {', '.join(parts)} FROM cluster_totals GROUP BY win"
    try:
        found = {int(win): [int(v) for v in values] for win, *values in engine.rows(statement)}
    except duckdb.OutOfRangeException:
        found = _without_limit(engine, len(metrics))
    size = len(_WINDOW)

    def window(win: int, i: int) -> WindowMoments:
        values = found.get(win, [0] * (size * len(metrics)))
        return WindowMoments(*values[size * i : size * (i + 1)])

    return [(window(1, i), window(0, i)) for i in range(len(metrics))]


def _without_limit(engine: Engine, n_metrics: int) -> dict[int, list[int]]:
    """The same where squares exceed 128 bits: calls of a million USD each do that."""
    listed = ", ".join(f"n_{i}, y_{i}" for i in range(n_metrics))
    found: dict[int, list[int]] = {}
    for batch in engine.stream(f"SELECT win, {listed} FROM cluster_totals", size=10_000):
        for win, *values in batch.astype(object).itertuples(index=False):
            out = found.setdefault(int(win), [0] * (len(_WINDOW) * n_metrics))
            for i in range(n_metrics):
                n, y = int(values[2 * i]), int(values[2 * i + 1])
                at = len(_WINDOW) * i
                for place, value in enumerate((n, y, n * n, y * y, n * y, n > 0)):
                    out[at + place] += value
                out[at + 6] = max(out[at + 6], n)
                out[at + 7] += y > 0
    return found


def _crossed(engine: Engine, n_metrics: int) -> list[tuple[int, int, int, int, int]]:
    """Σ n₁n₀, y₁y₀, n₁y₀, y₁n₀ and the clusters with rows in both windows, of each metric."""
    parts = []
    for i in range(n_metrics):
        n1, y1, n0, y0 = (f"{side}.{v}_{i}" for side in "ab" for v in "ny")
        parts += [f"sum({n1} * {n0})", f"sum({y1} * {y0})", f"sum({n1} * {y0})",
                  f"sum({y1} * {n0})",
                  f"sum(CASE WHEN a.n_{i} > 0 AND b.n_{i} > 0 THEN 1 ELSE 0 END)"]  # fmt: skip
    both = (
        "(SELECT * FROM cluster_totals WHERE win = 1) a "
        "JOIN (SELECT * FROM cluster_totals WHERE win = 0) b ON a.cluster = b.cluster"
    )
    try:
        row: Sequence[int] = engine.row(f"SELECT {', '.join(parts)} FROM {both}")
    except duckdb.OutOfRangeException:
        row = _crossed_without_limit(engine, n_metrics, both)
    values = [int(v or 0) for v in row]
    return [
        (values[k], values[k + 1], values[k + 2], values[k + 3], values[k + 4])
        for k in range(0, 5 * n_metrics, 5)
    ]


def _crossed_without_limit(engine: Engine, n_metrics: int, both: str) -> Sequence[int]:
    listed = ", ".join(
        f"{side}.{v}_{i} AS {side}{v}_{i}" for i in range(n_metrics) for side in "ab" for v in "ny"
    )
    out = [0] * (5 * n_metrics)
    for batch in engine.stream(f"SELECT {listed} FROM {both}", size=10_000):
        for values in batch.astype(object).itertuples(index=False):
            for i in range(n_metrics):
                n1, y1, n0, y0 = (int(v) for v in values[4 * i : 4 * i + 4])
                for place, value in enumerate((n1 * n0, y1 * y0, n1 * y0, y1 * n0)):
                    out[5 * i + place] += value
                out[5 * i + 4] += n1 > 0 and n0 > 0
    return out


def _kind(metric: Metric) -> str:
    """The type of a cluster's total: of a rate it is a count, and money's squares need 128 bits."""
    return "BIGINT" if metric.scale == 1 else "HUGEINT"


def _days(
    engine: Engine, metrics: Sequence[Metric]
) -> tuple[list[tuple[tuple[int, int, int, int], ...]], list[tuple[int, int]]]:
    """(window, day, n, y) of each metric, and its unweighted rows (baseline, candidate)."""
    parts = []
    for metric in metrics:
        sums = (metric.below, metric.above, metric.denominator)
        parts += [f"coalesce(sum({value}), 0)" for value in sums]
    rows = engine.rows(
        f"SELECT win, day, {', '.join(parts)} FROM fact WHERE win IS NOT NULL "
        "GROUP BY win, day ORDER BY win, day"
    )
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
