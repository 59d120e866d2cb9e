"""Heavy tails of health: who carries the cost, and which intervals rest on a single cluster.

The share of the dearest 1 % of interactions is (Σ (c − q)⁺ + p n q)/Σ c, with q the (1 − p) quantile of
the cost c of n interactions. Its derivative by q is 0 at the quantile, so the ratio's own variance, with
q taken as known, is the linearised variance of the share (Langel & Tillé 2013). Of log-normal costs its
95 % interval misses 5 to 7 % from a hundred rows in that 1 % on, and 12 to 19 % with ten: below a hundred
there is no interval, below ten no share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.check import Interval
from analysis.stats.clusters import compare_means, mean_interval
from analysis.stats.moments import dominance
from analysis.stats.sketch import EDGES_US, N_BINS
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.latency import histograms
from analysis.views.health_compared import Compared, compared

DEAREST = "cost_share_of_dearest_1_percent"
SPEED = "tokens_per_second"
LARGEST = "cost_share_of_largest_cluster"
MAX_VARIANCE_SHARE = 0.20
MIN_DEAREST = 10
MIN_DEAREST_BOUNDED = 100
_TOP = 100  # the dearest 1 %: one in so many


@dataclass(frozen=True)
class Untrusted:
    """A figure whose interval rests on one cluster. variance_share: what that has of Σ e_c²."""

    figure: str
    window: Literal["baseline", "candidate"]
    variance_share: float


def _dearest(telemetry: Telemetry) -> Metric | None:
    """The share of the cost that the dearest 1 % of interactions have; None without cost."""
    if not telemetry.has("cost_usd"):
        return None
    at = _quantiles(telemetry)
    q = f"CASE WHEN win = 0 THEN {at.get(0, 0)} ELSE {at.get(1, 0)} END"
    beyond = f"CASE WHEN cost_nano > {q} THEN {_TOP} * (cost_nano - {q}) ELSE 0 END + {q}"
    return Metric.of_totals(DEAREST, beyond, f"{_TOP} * cost_nano")


def _quantiles(telemetry: Telemetry) -> Mapping[int, int]:
    """window → the smallest cost in nano-USD that 99 % of the interactions do not exceed, exactly.

    The sketch says in which bin it lies; only what lies there is put in order.
    """
    engine = telemetry.engine
    places, wanted, below = [], [], []
    for win, counts in histograms(engine, "fact", "cost_nano").items():
        total = int(counts.sum())
        if not total:
            continue
        need = -(-(_TOP - 1) * total // _TOP)
        reached = np.cumsum(counts)
        at = int(np.searchsorted(reached, need))
        places.append(f"(win = {win}{_within(at)})")
        wanted.append(f"WHEN {win} THEN {need}")
        below.append(f"WHEN {win} THEN {int(reached[at]) - int(counts[at])}")
    if not places:
        return {}
    rows = engine.rows(
        f"""
        SELECT win, min(cost_nano) FROM (
            SELECT win, cost_nano,
                   sum(n) OVER (PARTITION BY win ORDER BY cost_nano ROWS UNBOUNDED PRECEDING) AS reached
            FROM (SELECT win, cost_nano, sum(weight) AS n FROM fact
                  WHERE {" OR ".join(places)} GROUP BY win, cost_nano) AS costs
        ) AS running
        WHERE reached + CASE win {" ".join(below)} END >= CASE win {" ".join(wanted)} END GROUP BY win
        """
    )
    return {int(win): int(cost) for win, cost in rows}


def _within(at: int) -> str:
    """The limits of a bin of the sketch."""
    low = f" AND cost_nano >= {int(EDGES_US[at - 1])}" if at else " AND cost_nano IS NOT NULL"
    return low + (f" AND cost_nano < {int(EDGES_US[at])}" if at < N_BINS - 1 else "")


def _speed(telemetry: Telemetry) -> Metric | None:
    """Completion tokens a second, as a ratio of totals, where the telemetry has no such column."""
    if telemetry.has(SPEED) or not telemetry.has("completion_tokens", "latency_ms"):
        return None
    tokens = "1000000 * CAST(completion_tokens AS BIGINT)"
    return Metric.of_totals(SPEED, tokens, "latency_us")


def tail_metrics(telemetry: Telemetry) -> list[Metric]:
    """What `tails` needs the moments of, as the columns allow."""
    return [m for m in (_dearest(telemetry), _speed(telemetry)) if m is not None]


@dataclass(frozen=True)
class Tails:
    """Further figures, the intervals not to be trusted, and what is to be said."""

    more: dict[str, Compared]
    untrusted: tuple[Untrusted, ...]
    notes: tuple[str, ...]


def tails(telemetry: Telemetry, moments: Mapping[str, Moments]) -> Tails:
    """Who carries the cost, tokens a second, and what rests on one cluster.

    moments: of the figures, and of `tail_metrics`.

    Share of cost (%): of all cost, the share of the dearest 1 % of interactions, and that of the one user or
    session that costs most.

    Tokens per second (tokens/s): the column's mean, or where there is none all completion tokens divided by
    all of the latency.
    """
    more: dict[str, Compared] = {}
    notes: list[str] = []
    cost = moments.get("cost_usd_per_interaction")
    if cost is not None:
        more[DEAREST], notes = _share_of_dearest(telemetry, moments[DEAREST])
        more[LARGEST] = _share_of_largest(cost)
    if SPEED in moments:
        more[SPEED] = compared(telemetry, moments[SPEED], "ratio")
    doubted = _untrusted(moments)
    return Tails(more, doubted, (*notes, *map(_told, doubted)))


def _share_of_dearest(telemetry: Telemetry, m: Moments) -> tuple[Compared, list[str]]:
    """The share of the dearest 1 %, and why it is not known."""
    days = m.days if telemetry.by_days else None
    sides, notes = [], []
    for win, name, window, support in (
        (0, "baseline", m.baseline, m.support_baseline),
        (1, "candidate", m.candidate, m.support_candidate),
    ):
        if support >= MIN_DEAREST * _TOP and window.y > 0:
            value, low, high = mean_interval(window, days, win)
            bounded = support >= MIN_DEAREST_BOUNDED * _TOP
            sides.append(
                Interval.of(value, low, min(high, 1.0), support)
                if bounded
                else Interval(value, None, None, support)
            )
            continue
        sides.append(Interval.unknown(support))
        if support and window.y > 0:
            notes.append(
                f"the dearest 1 % of the {name} window are fewer than {MIN_DEAREST} interactions: "
                "their share of the cost is not known"
            )
    old, new = sides
    change = Interval.unknown(old.support + new.support)
    if old.value is not None and new.value is not None:
        d = compare_means(m.candidate, m.baseline, m.cross, days)
        change = Interval.of(d.delta, max(d.low, -1.0), min(d.high, 1.0), change.support)
        if old.low is None or new.low is None:
            change = Interval(d.delta, None, None, change.support)
    return Compared(old, new, change), notes


def _share_of_largest(cost: Moments) -> Compared:
    """It has no interval: it is the largest of all clusters, not one that was drawn."""
    old, new = (
        Interval(
            peak.y / window.y if peak is not None and window.y > 0 else None, None, None, support
        )
        for peak, window, support in (
            (cost.peak_baseline, cost.baseline, cost.support_baseline),
            (cost.peak_candidate, cost.candidate, cost.support_candidate),
        )
    )
    moved = None if old.value is None or new.value is None else new.value - old.value
    return Compared(old, new, Interval(moved, None, None, old.support + new.support))


def _untrusted(moments: Mapping[str, Moments]) -> tuple[Untrusted, ...]:
    """The means of which one cluster carries more than a fifth of the variance, by window."""
    sides: tuple[Literal["baseline", "candidate"], ...] = ("baseline", "candidate")
    out = []
    for name, m in moments.items():
        for window in sides:
            own, peak = (
                (m.candidate, m.peak_candidate)
                if window == "candidate"
                else (m.baseline, m.peak_baseline)
            )
            share = 0.0 if peak is None else dominance(own, peak)
            if share > MAX_VARIANCE_SHARE:
                out.append(Untrusted(name, window, share))
    return tuple(out)


def _told(found: Untrusted) -> str:
    """What the reader must know of it."""
    return (
        f"{found.figure}: one cluster carries {100 * found.variance_share:.0f} % of the variance in the "
        f"{found.window} window, so its interval is not to be trusted"
    )
