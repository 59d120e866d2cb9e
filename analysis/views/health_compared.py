"""One metric in both windows, and its change, with intervals (STATISTICS sections 1 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.check import Interval
from analysis.stats.clusters import (
    WindowMoments,
    compare_means,
    compare_rates,
    compare_ratios,
    intraclass_correlation,
    mean_interval,
    pooled_correlation,
)
from analysis.stats.intervals import clopper_pearson, design_effect
from analysis.telemetry import Moments, Telemetry


@dataclass(frozen=True)
class Compared:
    """One further figure: differences of rates and scores, ratios of tokens, times and speeds."""

    baseline: Interval
    candidate: Interval
    change: Interval


def compared(telemetry: Telemetry, m: Moments, kind: str, whole: Moments | None = None) -> Compared:
    """Both windows and the change of one metric.

    kind: rate (change: a difference of shares), ratio (of means), or difference (of means). whole: of
    a slice's rate, the same over the whole windows, which its intraclass correlation comes from.

    Change: candidate minus baseline in percentage points (pp) for rates, and as it is for scores; candidate
    divided by baseline (×) for cost, tokens and times.
    """
    days = m.days if telemetry.by_days else None
    support = m.support_candidate + m.support_baseline
    if kind == "rate":
        every = m if whole is None else whole
        old = rate(m.baseline, m.support_baseline, every.candidate, every.baseline)
        new = rate(m.candidate, m.support_candidate, every.baseline, every.candidate)
    else:
        old = mean(telemetry, m, 0)
        new = mean(telemetry, m, 1)
    if telemetry.baseline is None or not m.baseline.n or not m.candidate.n:
        return Compared(old, new, Interval.unknown(support))
    if kind == "rate":
        pooled = None if whole is None else pooled_correlation(whole.candidate, whole.baseline)
        c = compare_rates(m.candidate, m.baseline, m.cross, days, correlation=pooled)
        change = Interval.of(c.delta, c.low, c.high, support)
    elif kind == "ratio":
        r = compare_ratios(m.candidate, m.baseline, m.cross, days)
        change = Interval.of(r.ratio, r.low, r.high, support)
    else:
        d = compare_means(m.candidate, m.baseline, m.cross, days)
        scale = m.metric.scale
        change = Interval.of(d.delta / scale, d.low / scale, d.high / scale, support)
    return Compared(old, new, change)


def rate(
    m: WindowMoments, support: int, other: WindowMoments, whole: WindowMoments | None = None
) -> Interval:
    """One rate, Clopper–Pearson at effective counts (Korn & Graubard 1998).

    A window without a bad row (or without a good one) tells nothing of its own correlation: the
    other window's is taken. whole: the window that a slice lies in.
    """
    if not m.n:
        return Interval.unknown(support)
    low, high = clopper_pearson(m.y, m.n, rate_design_effect(m, support, other, whole))
    return Interval.of(m.y / m.n, low, high, support)


def rate_design_effect(
    m: WindowMoments,
    support: int,
    other: WindowMoments | None,
    whole: WindowMoments | None = None,
) -> float:
    """Design effect of one window's rate; weighted rows count as copies, which ρ already knows."""
    known = m if whole is None else whole
    if 0 < known.y < known.n:
        return design_effect(m.n, m.nn, intraclass_correlation(known))
    rho = intraclass_correlation(other) if other is not None else 0.0
    return design_effect(m.n, m.nn, rho) * m.n / support


def mean(telemetry: Telemetry, m: Moments, win: int) -> Interval:
    """One mean in units of its value; days count where windows follow each other."""
    moments = m.candidate if win else m.baseline
    support = m.support_candidate if win else m.support_baseline
    if not moments.n:
        return Interval.unknown(support)
    value, low, high = mean_interval(moments, m.days if telemetry.by_days else None, win)
    scale = m.metric.scale
    return Interval.of(value / scale, low / scale, high / scale, support)
