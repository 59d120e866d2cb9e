"""Intervals of rates, quantiles, means, and of their differences and ratios."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betainc
from scipy.stats import beta, t

from analysis.stats.sketch import bin_value


def design_effect(n: float, nn: float, rho: float) -> float:
    """max(1, 1 + (Σn_c²/n − 1)ρ): Kish's design effect of clusters of unequal size.

    n: rows. nn: Σ n_c² over clusters. rho: intraclass correlation of the whole window.
    """
    return max(1.0, 1.0 + (nn / n - 1.0) * rho) if n > 0 else 1.0


def clopper_pearson(
    y: float, n: float, deff: float = 1.0, confidence: float = 0.95
) -> tuple[float, float]:
    """Exact interval of a rate at the effective counts (y/deff, n/deff).

    Clopper & Pearson (1934), with the effective sample size of Korn & Graubard (1998) for clustered
    data. No failures do not give [0, 0]. n = 0 gives (nan, nan).
    """
    if n <= 0:
        return math.nan, math.nan
    events, trials = y / deff, n / deff
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, events, trials - events + 1)) if events > 0 else 0.0
    rest = trials - events
    high = float(beta.ppf(1 - tail, events + 1, rest)) if rest > 0 else 1.0
    return low, high


def one_sided_binomial_tail(y: float, n: float, p: float) -> float:
    """P(X ≥ y) for X ~ Binomial(n, p), extended to real y and n by the incomplete beta function."""
    if y <= 0:
        return 1.0
    if p <= 0 or n <= 0:
        return 0.0
    if p >= 1 or y > n:
        return 1.0 if p >= 1 else 0.0
    return float(betainc(y, n - y + 1, p))


def woodruff(
    counts: np.ndarray, q: float, deff: float, *, tail_clusters: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a quantile from a sketch's counts, in the sketch's unit (µs).

    Woodruff (1952): the interval of the distribution function at the quantile, mapped back through
    the sketch; here exact beta limits at the effective counts. counts: (bins,) of one window.
    deff: design effect of the share beyond the quantile. (nan, nan) below ten tail clusters.
    """
    total = float(counts.sum())
    if total <= 0 or tail_clusters < 10:
        return math.nan, math.nan
    low_q, high_q = clopper_pearson(q * total, total, deff, confidence)
    cumulative = np.cumsum(counts)

    def at(level: float) -> float:
        index = int(np.searchsorted(cumulative, max(level * total, 1e-9)))
        return bin_value(min(index, len(counts) - 1))

    return at(low_q), at(high_q)


def t_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and its Student interval. nan limits below two values."""
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * float(np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    return mean, mean - half, mean + half


def mover_difference(
    v1: float, l1: float, u1: float, v0: float, l0: float, u0: float
) -> tuple[float, float]:
    """Interval of v1 − v0 from the intervals of each (Zou & Donner 2008, eq. 6)."""
    delta = v1 - v0
    low = delta - math.hypot(v1 - l1, u0 - v0)
    high = delta + math.hypot(u1 - v1, v0 - l0)
    return low, high


def mover_ratio(
    v1: float, l1: float, u1: float, v0: float, l0: float, u0: float
) -> tuple[float, float]:
    """Interval of v1/v0 of positive figures: `mover_difference` on the log scale."""
    if min(v1, l1, v0, l0) <= 0:
        return math.nan, math.nan
    logs = [math.log(x) for x in (v1, l1, u1, v0, l0, u0)]
    low, high = mover_difference(*logs)
    return math.exp(low), math.exp(high)
