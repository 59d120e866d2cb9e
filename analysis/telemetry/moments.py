"""Cluster and day moments of ratio metrics, as exact integers (STATISTICS section 1).

A metric is a ratio of two integer sums over rows: bad rows by labelled rows, nano-USD by rows.
Everything that an interval needs of it is additive over clusters, so the engine computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from analysis.stats.moments import CrossMoments, DayTotals, Peak, WindowMoments, nearest_mean
from analysis.telemetry.engine import Engine

Scale = int
Crossed = tuple[int, int, int, int, int]
"""The sums of `cross_sums` of one metric."""


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over rows.

    numerator, denominator: SQL expressions over `fact`, integer, null read as 0. A row counts in
    neither where its value is unknown. scale: numerator units in one unit of the value (1e9 for
    nano-USD, 1 for rates). counted: 1 for a row that counts, where the denominator is no such count.
    best: of a mean shortfall, what it is short of, in numerator units.
    """

    name: str
    numerator: str
    denominator: str
    scale: Scale = 1
    counted: str | None = None
    best: int | None = None

    @property
    def row(self) -> str:
        """1 for a row that counts, else 0."""
        return self.denominator if self.counted is None else self.counted

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
        return self.numerator, self.denominator, self.scale, self.counted

    @classmethod
    def of_totals(cls, name: str, numerator: str, denominator: str, scale: Scale = 1) -> Metric:
        """The ratio of the totals of two nullable integer expressions, where both are known."""
        known = f"({numerator}) IS NULL OR ({denominator}) IS NULL"
        return cls(
            name,
            f"CASE WHEN {known} THEN 0 ELSE {numerator} END",
            f"CASE WHEN {known} THEN 0 ELSE {denominator} END",
            scale,
            counted=f"CASE WHEN {known} THEN 0 ELSE 1 END",
        )

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

    @classmethod
    def shortfall(cls, name: str, value: str, best: int, scale: Scale) -> Metric:
        """The mean of best − a nullable integer expression: of a score of which more is better."""
        return replace(cls.mean(name, f"({best} - {value})", scale), best=best)


@dataclass(frozen=True)
class Moments:
    """One metric in both windows; `baseline` holds zeros where there is no baseline.

    support_candidate, support_baseline: rows behind it, before any weekday weight. peak_candidate,
    peak_baseline: the heaviest cluster; None of rates, and of ratios of totals.
    """

    metric: Metric
    candidate: WindowMoments
    baseline: WindowMoments
    cross: CrossMoments
    days: DayTotals
    support_candidate: int
    support_baseline: int
    peak_candidate: Peak | None = None
    peak_baseline: Peak | None = None


def measure(engine: Engine, metrics: Sequence[Metric]) -> dict[str, Moments]:
    """The moments of each metric, by name: two scans of `fact` for each `AT_ONCE` of them."""
    out: dict[str, Moments] = {}
    for start in range(0, len(metrics), AT_ONCE):
        out |= _measure(engine, metrics[start : start + AT_ONCE])
    return out


AT_ONCE = 12
"""Metrics of one scan: their totals by cluster lie in memory."""
TOTALS = "cluster_totals"
"""The table of cluster, win, and n_<i> and y_<i> of each metric."""
_WINDOW = ("n", "y", "nn", "yy", "ny", "clusters", "largest", "bad_clusters")


def _measure(engine: Engine, metrics: Sequence[Metric]) -> dict[str, Moments]:
    totals: list[str] = []
    for i, metric in enumerate(metrics):
        totals += summed(i, metric, metric.below, metric.above)
    engine.create(
        TOTALS,
        f"SELECT cluster, win, {', '.join(totals)} FROM fact WHERE win IS NOT NULL "
        "GROUP BY cluster, win",
    )
    windows, crossed = measured_totals(engine, metrics)
    peaks = _peaks(engine, metrics, windows)
    engine.drop(TOTALS)
    days, support = _days(engine, metrics)
    return {
        metric.name: assembled(metric, windows[i], crossed[i], days[i], support[i], peaks.get(i))
        for i, metric in enumerate(metrics)
    }


def measured_totals(
    engine: Engine, metrics: Sequence[Metric]
) -> tuple[list[tuple[WindowMoments, WindowMoments]], list[Crossed]]:
    """(candidate, baseline) of each metric, and its sums of `cross_sums`, of the table `TOTALS`."""
    return _windows(engine, metrics), _crossed(engine, len(metrics))


def summed(i: int, metric: Metric, n: str, y: str) -> tuple[str, str]:
    """The columns `n_<i>` and `y_<i>` of the totals of a cluster: of a count one fits 64 bits, and the
    squares of all else need 128."""
    wide = "HUGEINT"
    below = "BIGINT" if metric.counted is None else wide
    above = "BIGINT" if metric.counted is None and metric.scale == 1 else wide
    return (
        f"CAST(coalesce(sum({n}), 0) AS {below}) AS n_{i}",
        f"CAST(coalesce(sum({y}), 0) AS {above}) AS y_{i}",
    )


def assembled(
    metric: Metric,
    windows: tuple[WindowMoments, WindowMoments],
    crossed: Crossed,
    days: tuple[tuple[int, int, int, int], ...],
    support: tuple[int, int],
    peaks: tuple[Peak, Peak] | None = None,
) -> Moments:
    """The moments of a metric from their parts. crossed: four sums, and the clusters in both windows."""
    one, zero = windows
    n1n0, y1y0, n1y0, y1n0, both = crossed
    clusters = one.clusters + zero.clusters - both
    return Moments(
        metric,
        one,
        zero,
        CrossMoments(n1n0, y1y0, n1y0, y1n0, clusters),
        DayTotals(days),
        support_candidate=support[1],
        support_baseline=support[0],
        peak_candidate=None if peaks is None else peaks[0],
        peak_baseline=None if peaks is None else peaks[1],
    )


def _windows(
    engine: Engine, metrics: Sequence[Metric]
) -> list[tuple[WindowMoments, WindowMoments]]:
    """The moments of each metric in (candidate, baseline)."""
    parts = [part for i in range(len(metrics)) for part in window_sums(i)]
    statement = f"SELECT win, {', '.join(parts)} FROM {TOTALS} GROUP BY win"
    try:
        found = {int(win): [int(v) for v in values] for win, *values in engine.rows(statement)}
    except duckdb.OutOfRangeException:
        found = _without_limit(engine, len(metrics))
    nothing = [0] * (len(_WINDOW) * len(metrics))
    return [
        (window_of(found.get(1, nothing), i), window_of(found.get(0, nothing), i))
        for i in range(len(metrics))
    ]


def window_sums(i: int) -> list[str]:
    """What `WindowMoments` holds of metric i, as sums over clusters."""
    n, y = f"n_{i}", f"y_{i}"
    return [f"sum({n})", f"sum({y})", f"sum({n} * {n})", f"sum({y} * {y})", f"sum({n} * {y})",
            f"sum(CASE WHEN {n} > 0 THEN 1 ELSE 0 END)", f"max({n})",
            f"sum(CASE WHEN {y} > 0 THEN 1 ELSE 0 END)"]  # fmt: skip


def window_of(values: Sequence[int], i: int) -> WindowMoments:
    """The moments of metric i in a row of `window_sums`."""
    size = len(_WINDOW)
    return WindowMoments(*(int(v) for v in values[size * i : size * (i + 1)]))


def cross_sums(i: int) -> list[str]:
    """Σ n₁n₀, y₁y₀, n₁y₀, y₁n₀ and the clusters in both windows, of totals a joined with b."""
    n1, y1, n0, y0 = (f"{side}.{v}_{i}" for side in "ab" for v in "ny")
    return [f"sum({n1} * {n0})", f"sum({y1} * {y0})", f"sum({n1} * {y0})", f"sum({y1} * {n0})",
            f"sum(CASE WHEN {n1} > 0 AND {n0} > 0 THEN 1 ELSE 0 END)"]  # fmt: skip


def crossed_of(values: Sequence[int | None], i: int) -> Crossed:
    """The sums of metric i in a row of `cross_sums`."""
    n1n0, y1y0, n1y0, y1n0, both = (int(v or 0) for v in values[5 * i : 5 * i + 5])
    return n1n0, y1y0, n1y0, y1n0, both


def _peaks(
    engine: Engine,
    metrics: Sequence[Metric],
    windows: Sequence[tuple[WindowMoments, WindowMoments]],
) -> dict[int, tuple[Peak, Peak]]:
    """The heaviest cluster in (candidate, baseline), of the metrics that are means."""
    means = [i for i, m in enumerate(metrics) if m.scale != 1 and m.counted is None]
    if not means:
        return {}
    parts = []
    for i in means:
        one, zero = (nearest_mean(m) for m in windows[i])
        mean = f"CAST(CASE WHEN win = 1 THEN {one} ELSE {zero} END AS HUGEINT)"
        parts += [f"max(y_{i})", f"max(abs(y_{i} - {mean} * n_{i}))"]
    rows = engine.rows(f"SELECT win, {', '.join(parts)} FROM {TOTALS} GROUP BY win")
    found = {int(win): [int(v) for v in values] for win, *values in rows}
    nothing = [0] * (2 * len(means))

    def peak(win: int, place: int) -> Peak:
        return Peak(*found.get(win, nothing)[2 * place : 2 * place + 2])

    return {i: (peak(1, place), peak(0, place)) for place, i in enumerate(means)}


def _without_limit(engine: Engine, n_metrics: int) -> dict[int, list[int]]:
    """The same where squares exceed 128 bits: calls of a million USD each do that."""
    listed = ", ".join(f"n_{i}, y_{i}" for i in range(n_metrics))
    found: dict[int, list[int]] = {}
    for batch in engine.stream(f"SELECT win, {listed} FROM {TOTALS}", size=10_000):
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


def _crossed(engine: Engine, n_metrics: int) -> list[Crossed]:
    """Σ n₁n₀, y₁y₀, n₁y₀, y₁n₀ and the clusters with rows in both windows, of each metric."""
    parts = [part for i in range(n_metrics) for part in cross_sums(i)]
    both = (
        f"(SELECT * FROM {TOTALS} WHERE win = 1) a "
        f"JOIN (SELECT * FROM {TOTALS} WHERE win = 0) b ON a.cluster = b.cluster"
    )
    try:
        row: Sequence[int] = engine.row(f"SELECT {', '.join(parts)} FROM {both}")
    except duckdb.OutOfRangeException:
        row = _crossed_without_limit(engine, n_metrics, both)
    return [crossed_of(row, i) for i in range(n_metrics)]


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


def _days(
    engine: Engine, metrics: Sequence[Metric]
) -> tuple[list[tuple[tuple[int, int, int, int], ...]], list[tuple[int, int]]]:
    """(window, day, n, y) of each metric, and its unweighted rows (baseline, candidate)."""
    parts = []
    for metric in metrics:
        sums = (metric.below, metric.above, metric.row)
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
