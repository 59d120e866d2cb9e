"""Quantiles of latency on the sketch, with intervals from the clustered tail share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.check import Interval
from analysis.stats.clusters import WindowMoments
from analysis.stats.intervals import mover_ratio, t_quantile, woodruff
from analysis.stats.sketch import N_BINS, bin_value, quantile, quantile_bin
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.latency import beyond_us
from analysis.views.health_compared import Compared, rate_design_effect

MIN_TAIL_CLUSTERS = 10
QUANTILES = {"latency_ms_p50": 0.50, "latency_ms_p95": 0.95, "latency_ms_p99": 0.99}


def quantile_marks(counts: Mapping[int, np.ndarray]) -> list[Metric]:
    """The shares of latencies beyond each quantile, whose clustered variance the intervals need.

    counts: window (0, 1) → (N_BINS,); without any there are none.
    """
    marks: list[Metric] = []
    if not counts:
        return marks
    for name, q in QUANTILES.items():
        beyond = []
        for win in (0, 1):
            at = quantile_bin(counts[win], q)
            beyond.append(beyond_us(N_BINS if at is None else at))
        # Each window by its own quantile, both in one reduction.
        mark = f"CASE WHEN win = 0 THEN {beyond[0]} ELSE {beyond[1]} END"
        marks.append(Metric.rate(name, f"(latency_us >= {mark})"))
    return marks


def latency_quantiles(
    telemetry: Telemetry, counts: Mapping[int, np.ndarray], moments: Mapping[str, Moments]
) -> dict[str, Compared]:
    """Quantiles on the sketch, with Woodruff (1952) intervals; moments: of `quantile_marks`.

    Latency percentile (ms): the latency that this share of interactions does not exceed: half of them at the
    median, 95 % at the 95th percentile. Read off a sketch to within 1 %. Source: interval by Woodruff 1952.
    """
    if not counts:
        return {}
    out = {}
    for name, q in QUANTILES.items():
        sides = []
        for win in (0, 1):
            m = moments[name]
            if not counts[win].sum():
                sides.append(Interval.unknown())
                continue
            window = m.candidate if win else m.baseline
            support = m.support_candidate if win else m.support_baseline
            sides.append(quantile_interval(telemetry, counts[win], q, m, window, win, support))
        old, new = sides
        out[name] = Compared(old, new, ratio_of(old, new))
    return out


def ratio_of(old: Interval, new: Interval) -> Interval:
    """New by old, with limits recovered from their own (Zou & Donner 2008)."""
    support = old.support + new.support
    if not (old.value and new.value):
        return Interval.unknown(support)
    limits = (math.nan, math.nan)
    if not (old.low is None or old.high is None or new.low is None or new.high is None):
        limits = mover_ratio(new.value, new.low, new.high, old.value, old.low, old.high)
    return Interval.of(new.value / old.value, *limits, support)


def quantile_interval(
    telemetry: Telemetry,
    counts: np.ndarray,
    q: float,
    m: Moments,
    window: WindowMoments,
    win: int,
    support: int,
    whole: WindowMoments | None = None,
) -> Interval:
    """One quantile in ms (Woodruff 1952); null below ten clusters beyond it.

    counts: (N_BINS,) of this window. m, window: moments of the share beyond the quantile. whole: of a
    slice, the window that it lies in.
    """
    if window.bad_clusters < MIN_TAIL_CLUSTERS:
        return Interval.unknown(support)
    value = quantile(counts, q) / 1e3
    deff = rate_design_effect(window, support, None, whole)
    if telemetry.by_days:
        deff = max(deff, _day_design_effect(m, win, window))
    low, high = woodruff(counts, q, deff, tail_clusters=window.bad_clusters)
    return Interval.of(value, low / 1e3, high / 1e3, support)


def _day_design_effect(m: Moments, win: int, window: WindowMoments) -> float:
    """Variance of the tail share between days, relative to independent rows.

    Times (t/z)², for so few days say little of their own variance (Korn & Graubard 1998, eq. 3).
    """
    days = [(n, y) for w, _, n, y in m.days.days if w == win]
    share = window.y / window.n if window.n else 0.0
    if len(days) < 2 or not 0 < share < 1:
        return 1.0
    spread = sum((y - share * n) ** 2 for n, y in days) * len(days) / (len(days) - 1)
    few = t_quantile(0.975, len(days) - 1) / t_quantile(0.975, math.inf)
    return few**2 * spread / (window.n * share * (1 - share))


def latency_series(histograms: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """window, latency_ms, share: the cumulative distribution of latency on the sketch."""
    frames = []
    for win, counts in sorted(histograms.items()):
        if not counts.sum():
            continue
        used = np.flatnonzero(counts)
        frames.append(
            pd.DataFrame(
                {
                    "window": win,
                    "latency_ms": [bin_value(int(b)) / 1e3 for b in used],
                    "share": np.cumsum(counts)[used] / counts.sum(),
                }
            )
        )
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame({"window": [], "latency_ms": [], "share": []})
    )
