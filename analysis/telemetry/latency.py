"""Latencies by bin of the shared sketch, in the engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.stats.sketch import EDGES_US, N_BINS
from analysis.telemetry.engine import Engine

NEVER_US = 2**62
"""A latency that nothing reaches."""


def beyond_us(index: int) -> int:
    """The smallest latency in µs that lies in a bin above `index`."""
    return int(EDGES_US[index]) if index < len(EDGES_US) else NEVER_US


def histograms(
    engine: Engine, relation: str, value: str = "latency_us"
) -> Mapping[int, np.ndarray]:
    """window (0, 1) → latencies by bin, (N_BINS,) integers, weighted by weekday.

    relation: with win, weight and latency_us, or another column of whole numbers.
    """
    counts = {win: np.zeros(N_BINS, dtype=np.int64) for win in (0, 1)}
    rows = engine.rows(
        f"SELECT win, bin, sum(weight) FROM (SELECT win, weight, {latency_bin(value)} AS bin "
        f"FROM {relation} WHERE win IS NOT NULL AND {value} IS NOT NULL) binned GROUP BY win, bin"
    )
    for win, index, n in rows:
        counts[int(win)][int(index)] += int(n)
    return counts


def with_unknown(
    engine: Engine, known: Mapping[int, np.ndarray], bad: Mapping[int, bool]
) -> Mapping[int, np.ndarray]:
    """The same with every latency that is not known, absent rows included: beyond all others in the
    windows where `bad` says so, else below all. Needs what `telemetry.unknown` counts."""
    rows = engine.rows(
        "SELECT win, sum(weight) FROM (SELECT win, weight FROM fact_known WHERE latency_us IS NULL "
        "UNION ALL SELECT win, weight FROM absent) unknown WHERE win IS NOT NULL GROUP BY win"
    )
    out = {win: counts.copy() for win, counts in known.items()}
    for win, n in rows:
        out[int(win)][N_BINS - 1 if bad[int(win)] else 0] += int(n)
    return out


def latency_bin(value: str, low: int = 0, high: int = len(EDGES_US)) -> str:
    """The bin of a value that is not null: how many edges it reaches, by halving.

    Comparisons alone: logarithms differ between engines, and a join by range is slow in some.
    """
    if low == high:
        return str(low)
    middle = (low + high) // 2
    below, above = latency_bin(value, low, middle), latency_bin(value, middle + 1, high)
    return f"CASE WHEN {value} < {int(EDGES_US[middle])} THEN {below} ELSE {above} END"
