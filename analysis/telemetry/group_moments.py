"""Moments of ratio metrics, and latencies by bin of the sketch, for each group of rows.

Two scans of `fact`: one by day and latency bin, one by cluster. The first says where each group's
quantile lies, which the second counts the rows beyond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from analysis.stats.clusters import WindowMoments
from analysis.stats.sketch import N_BINS, quantile_bin
from analysis.telemetry.engine import Engine
from analysis.telemetry.groups import Grouping
from analysis.telemetry.latency import NEVER_US, beyond_us, latency_bin
from analysis.telemetry.moments import (
    TOTALS,
    Crossed,
    Metric,
    Moments,
    assembled,
    cross_sums,
    crossed_of,
    measured_totals,
    summed,
    window_of,
    window_sums,
)

BEYOND = "beyond"
"""The name of the metric that a quantile adds: the share of latencies beyond it."""
_DAYS, _ALL = "group_days", "group_totals"
_SUMS = 3  # of a metric by day: n, y, and rows


@dataclass(frozen=True)
class GroupMoments:
    """One group. moments: by the name of the metric. latencies: window (0, 1) → (N_BINS,) counts,
    weighted by weekday; empty where no quantile was asked for."""

    moments: Mapping[str, Moments]
    latencies: Mapping[int, np.ndarray]


def group_moments(
    engine: Engine, by: Grouping, metrics: Sequence[Metric], quantile: float | None = None
) -> tuple[GroupMoments, ...]:
    """The moments of each group, in order. quantile: of latency, adds the metric `BEYOND`."""
    size = len(by.groups)
    try:
        _by_day(engine, by, metrics, binned=quantile is not None)
        latencies: list[Mapping[int, np.ndarray]] = [{} for _ in range(size)]
        asked = list(metrics)
        marks: dict[tuple[int, int], int] = {}
        if quantile is not None:
            latencies = _latencies(engine, size)
            marks = _marks(latencies, quantile)
            asked.append(_beyond(by, marks))
        days, support = _days(engine, size, metrics, None if quantile is None else marks)
        _by_cluster(engine, by, asked)
        windows, crossed = _sums(engine, size, asked)
    finally:
        engine.drop(_DAYS, _ALL)
    return tuple(
        GroupMoments(
            {
                m.name: assembled(m, windows[g][i], crossed[g][i], days[g][i], support[g][i])
                for i, m in enumerate(asked)
            },
            latencies[g],
        )
        for g in range(size)
    )


def _by_day(engine: Engine, by: Grouping, metrics: Sequence[Metric], *, binned: bool) -> None:
    """group, window, day (and latency bin) with the sums of each metric."""
    inner, outer = [], []
    for i, metric in enumerate(metrics):
        texts = (metric.below, metric.above, metric.row)
        for name, text in zip(_day_columns(i), texts, strict=True):
            inner.append(f"{text} AS {name}")
            outer.append(f"sum({name}) AS {name}")
    if binned:
        known = f"CASE WHEN latency_us IS NULL THEN NULL ELSE {latency_bin('latency_us')} END"
        inner += [f"{known} AS bin", "weight AS w"]
        outer += ["bin", "sum(CASE WHEN bin IS NOT NULL THEN w ELSE 0 END) AS w",
                  "sum(CASE WHEN bin IS NOT NULL THEN 1 ELSE 0 END) AS r"]  # fmt: skip
    engine.create(
        _DAYS,
        f"SELECT g, win, day, {', '.join(outer)} FROM (SELECT {by.code} AS g, f.win AS win, "
        f"f.day AS day, {', '.join(inner)} FROM fact AS f {by.joins} WHERE f.win IS NOT NULL) AS q "
        f"GROUP BY g, win, day{', bin' if binned else ''}",
    )


def _day_columns(i: int) -> tuple[str, str, str]:
    return f"n_{i}", f"y_{i}", f"r_{i}"


def _latencies(engine: Engine, size: int) -> list[Mapping[int, np.ndarray]]:
    out: list[Mapping[int, np.ndarray]] = [
        {win: np.zeros(N_BINS, dtype=np.int64) for win in (0, 1)} for _ in range(size)
    ]
    rows = engine.rows(
        f"SELECT g, win, bin, sum(w) FROM {_DAYS} WHERE bin IS NOT NULL GROUP BY g, win, bin"
    )
    for g, win, index, n in rows:
        out[int(g)][int(win)][int(index)] = int(n)
    return out


def _marks(
    latencies: Sequence[Mapping[int, np.ndarray]], quantile: float
) -> dict[tuple[int, int], int]:
    """(group, window) → the bin of the quantile."""
    return {
        (g, win): at
        for g, own in enumerate(latencies)
        for win, counts in own.items()
        if (at := quantile_bin(counts, quantile)) is not None
    }


def _beyond(by: Grouping, marks: Mapping[tuple[int, int], int]) -> Metric:
    """The share of latencies beyond the mark of the row's group and window."""
    cases = " ".join(f"WHEN {2 * g + win} THEN {beyond_us(at)}" for (g, win), at in marks.items())
    mark = f"CASE 2 * ({by.code}) + f.win {cases} ELSE {NEVER_US} END" if cases else str(NEVER_US)
    return Metric.rate(BEYOND, f"(latency_us >= {mark})")


def _days(
    engine: Engine,
    size: int,
    metrics: Sequence[Metric],
    marks: Mapping[tuple[int, int], int] | None,
) -> tuple[list[list[tuple[tuple[int, int, int, int], ...]]], list[list[tuple[int, int]]]]:
    """By group and metric, with that beyond the marks last: (window, day, n, y), and its rows."""
    sums = [f"sum({name})" for i in range(len(metrics)) for name in _day_columns(i)]
    if marks is not None:
        cases = " ".join(f"WHEN {2 * g + win} THEN {at}" for (g, win), at in marks.items())
        beyond = f"bin > CASE 2 * g + win {cases} ELSE {N_BINS} END" if cases else "false"
        sums += ["sum(w)", f"sum(CASE WHEN {beyond} THEN w ELSE 0 END)", "sum(r)"]
    n_metrics = len(sums) // _SUMS
    rows = engine.rows(
        f"SELECT g, win, day, {', '.join(sums)} FROM {_DAYS} GROUP BY g, win, day "
        "ORDER BY g, win, day"
    )
    days: list[list[list[tuple[int, int, int, int]]]] = [
        [[] for _ in range(n_metrics)] for _ in range(size)
    ]
    support = np.zeros((size, n_metrics, 2), dtype=object)
    for g, win, day, *values in rows:
        for i in range(n_metrics):
            n, y, r = (int(v or 0) for v in values[_SUMS * i : _SUMS * (i + 1)])
            if n:
                days[int(g)][i].append((int(win), int(day), n, y))
            support[int(g), i, int(win)] += r
    return (
        [[tuple(own) for own in group] for group in days],
        [[(int(a), int(b)) for a, b in group] for group in support],
    )


def _by_cluster(engine: Engine, by: Grouping, metrics: Sequence[Metric]) -> None:
    """cluster, window, group with n and y of each metric."""
    inner: list[str] = []
    outer: list[str] = []
    for i, metric in enumerate(metrics):
        inner.append(f"{metric.below} AS n_{i}")
        inner.append(f"{metric.above} AS y_{i}")
        outer += summed(i, metric, f"n_{i}", f"y_{i}")
    engine.create(
        _ALL,
        f"SELECT cluster, win, g, {', '.join(outer)} FROM (SELECT f.cluster AS cluster, f.win AS win, "
        f"{by.code} AS g, {', '.join(inner)} FROM fact AS f {by.joins} WHERE f.win IS NOT NULL) AS q "
        "GROUP BY cluster, win, g",
    )


_Windows = list[list[tuple[WindowMoments, WindowMoments]]]
_Crossed = list[list[Crossed]]


def _sums(engine: Engine, size: int, metrics: Sequence[Metric]) -> tuple[_Windows, _Crossed]:
    """By group and metric: the moments of (candidate, baseline), and the sums of `cross_sums`."""
    n = len(metrics)
    one = [part for i in range(n) for part in window_sums(i)]
    both = [part for i in range(n) for part in cross_sums(i)]
    try:
        own = engine.rows(f"SELECT g, win, {', '.join(one)} FROM {_ALL} GROUP BY g, win")
        pairs = engine.rows(
            f"SELECT a.g, {', '.join(both)} FROM (SELECT * FROM {_ALL} WHERE win = 1) AS a "
            f"JOIN (SELECT * FROM {_ALL} WHERE win = 0) AS b ON a.cluster = b.cluster AND a.g = b.g "
            "GROUP BY a.g"
        )
    except duckdb.OutOfRangeException:
        return _one_by_one(engine, size, metrics)
    found = {(int(g), int(win)): values for g, win, *values in own}
    nothing = [0] * len(one)
    windows = [
        [
            (window_of(found.get((g, 1), nothing), i), window_of(found.get((g, 0), nothing), i))
            for i in range(n)
        ]
        for g in range(size)
    ]
    crossed: _Crossed = [[(0, 0, 0, 0, 0)] * n for _ in range(size)]
    for g, *values in pairs:
        crossed[int(g)] = [crossed_of(values, i) for i in range(n)]
    return windows, crossed


def _one_by_one(engine: Engine, size: int, metrics: Sequence[Metric]) -> tuple[_Windows, _Crossed]:
    """The same where squares exceed 128 bits."""
    windows, crossed = [], []
    for g in range(size):
        engine.create(TOTALS, f"SELECT * FROM {_ALL} WHERE g = {g}")
        own, both = measured_totals(engine, metrics)
        windows.append(own)
        crossed.append(both)
    engine.drop(TOTALS)
    return windows, crossed
