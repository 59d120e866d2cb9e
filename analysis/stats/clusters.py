"""Rates and means of clustered rows, from additive cluster moments (STATISTICS section 1).

y_c and n_c are a cluster's numerator and denominator (bad rows and labelled rows; nano-USD and
rows). The score of a difference, e_c = (y₁c − p₁ n₁c)/N₁ − w (y₀c − p₀ n₀c)/N₀, is linear in them,
so that V = G/(G−1) Σ e_c² needs second and cross moments only: the linearised ("sandwich")
variance of a ratio estimator (Woodruff 1971; Cochran 1977, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from scipy.stats import norm, t

from analysis.stats.intervals import clopper_pearson, design_effect, mover_difference

FEW_BAD_CLUSTERS = 10


@dataclass(frozen=True)
class WindowMoments:
    """One metric in one window, summed over clusters."""

    n: int
    y: int
    nn: int
    yy: int
    ny: int
    clusters: int
    largest: int
    bad_clusters: int

    @property
    def rate(self) -> float:
        """y/n; nan without rows."""
        return self.y / self.n if self.n else math.nan

    def residual_squares(self) -> float:
        """Σ (y_c − p n_c)², free of cancellation."""
        if not self.n:
            return 0.0
        p = Fraction(self.y, self.n)
        return max(float(self.yy - 2 * p * self.ny + p * p * self.nn), 0.0)


@dataclass(frozen=True)
class CrossMoments:
    """Sums over clusters that lie in both windows (1 candidate, 0 baseline), and all clusters."""

    n1n0: int
    y1y0: int
    n1y0: int
    y1n0: int
    clusters: int

    def residual_products(self, m1: WindowMoments, m0: WindowMoments) -> float:
        """Σ (y₁c − p₁ n₁c)(y₀c − p₀ n₀c)."""
        if not (m1.n and m0.n):
            return 0.0
        p1, p0 = Fraction(m1.y, m1.n), Fraction(m0.y, m0.n)
        return float(self.y1y0 - p0 * self.y1n0 - p1 * self.n1y0 + p1 * p0 * self.n1n0)


@dataclass(frozen=True)
class DayTotals:
    """(window, day, n, y) of every day that has rows."""

    days: tuple[tuple[int, int, int, int], ...]

    def of(self, window: int) -> list[tuple[int, int]]:
        """(n, y) of one window's days."""
        return [(n, y) for w, _, n, y in self.days if w == window]


@dataclass(frozen=True)
class Comparison:
    """An estimate with its variance and degrees of freedom; the limits are two-sided."""

    delta: float
    variance: float
    df: float
    low: float
    high: float
    floor_low: float = math.inf
    floor_high: float = -math.inf

    @property
    def p_greater(self) -> float:
        """One-sided p-value of a value above 0."""
        return _upper_tail(self.delta, self.variance, self.df)

    def upper(self, confidence: float) -> float:
        """One-sided upper bound."""
        return _bound(self.delta, self.variance, self.df, confidence)

    def lower(self, confidence: float) -> float:
        """One-sided lower bound."""
        return _bound(self.delta, self.variance, self.df, 1 - confidence)


@dataclass(frozen=True)
class RatioComparison:
    """A ratio with limits, from the log scale."""

    ratio: float
    low: float
    high: float
    log: Comparison

    def p_greater(self, threshold: float = 1.0) -> float:
        """One-sided p-value of a ratio above `threshold`."""
        return _upper_tail(self.log.delta - math.log(threshold), self.log.variance, self.log.df)

    def upper(self, confidence: float) -> float:
        """One-sided upper bound."""
        return math.exp(min(self.log.upper(confidence), 700.0))

    def lower(self, confidence: float) -> float:
        """One-sided lower bound."""
        return math.exp(min(self.log.lower(confidence), 700.0))


def intraclass_correlation(m: WindowMoments) -> float:
    """Intraclass correlation of a binary metric, by moments, within [0, 1].

    Solves Σ (y_c − p n_c)² = p(1 − p)[n + ρ(Σn_c² − n)].
    """
    p = m.rate
    if not m.n or m.nn <= m.n or not 0 < p < 1:
        return 0.0
    excess = m.residual_squares() / (p * (1 - p)) - m.n
    return min(max(excess / (m.nn - m.n), 0.0), 1.0)


def compare_rates(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments,
    days: DayTotals | None = None,
    *,
    weight: float = 1.0,
    confidence: float = 0.95,
) -> RateComparison:
    """p₁ − weight·p₀ with V = max(V_cluster, V_day), and Welch degrees of freedom from days.

    days: None for concurrent arms, where V = V_cluster. With fewer than ten bad clusters in a
    window the normal theory understates rare rates: the limits are then at least as wide as those
    of MOVER (Zou & Donner 2008) on Clopper–Pearson limits at effective counts.
    """
    delta = m1.rate - weight * m0.rate
    s1, s0 = 1 / m1.n, -weight / m0.n
    variance, df = _variance(m1, m0, cross, days, s1, s0)
    few = min(m1.bad_clusters, m0.bad_clusters) < FEW_BAD_CLUSTERS
    exact = _ExactSides(m1, m0, weight) if few else None
    comparison = RateComparison(delta, variance, df, math.nan, math.nan, exact=exact)
    tail = (1 + confidence) / 2
    return RateComparison(
        delta, variance, df, comparison.lower(tail), comparison.upper(tail), exact=exact
    )


@dataclass(frozen=True)
class _ExactSides:
    """MOVER limits of p₁ − weight·p₀ from exact limits of each rate."""

    m1: WindowMoments
    m0: WindowMoments
    weight: float

    def limits(self, confidence: float) -> tuple[float, float]:
        """Two-sided limits at `confidence`."""
        sides = []
        for m in (self.m1, self.m0):
            deff = design_effect(m.n, m.nn, intraclass_correlation(m))
            sides.append((m.rate, *clopper_pearson(m.y, m.n, deff, confidence)))
        (v1, l1, u1), (v0, l0, u0) = sides
        w = self.weight
        return mover_difference(v1, l1, u1, w * v0, w * l0, w * u0)


@dataclass(frozen=True)
class RateComparison(Comparison):
    """A difference of rates; with few bad clusters its bounds are at least the exact ones."""

    exact: _ExactSides | None = None

    @property
    def p_greater(self) -> float:
        """One-sided p-value; with few bad clusters never below the one that exact limits give."""
        p = _upper_tail(self.delta, self.variance, self.df)
        return p if self.exact is None else max(p, self._exact_p())

    def upper(self, confidence: float) -> float:
        """One-sided upper bound."""
        bound = super().upper(confidence)
        if self.exact is None:
            return bound
        return max(bound, self.exact.limits(2 * confidence - 1)[1])

    def lower(self, confidence: float) -> float:
        """One-sided lower bound."""
        bound = super().lower(confidence)
        if self.exact is None:
            return bound
        return min(bound, self.exact.limits(2 * confidence - 1)[0])

    def _exact_p(self) -> float:
        """The smallest one-sided level at which the exact lower limit is above 0, by bisection."""
        assert self.exact is not None
        if self.delta <= 0:
            return 0.5
        low, high = 0.0, 0.5
        for _ in range(40):
            middle = (low + high) / 2
            if self.exact.limits(1 - 2 * middle)[0] > 0:
                high = middle
            else:
                low = middle
        return high


def compare_means(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments,
    days: DayTotals | None = None,
    *,
    confidence: float = 0.95,
) -> Comparison:
    """Difference of two means (in the unit of y), with the variance of `compare_rates`."""
    variance, df = _variance(m1, m0, cross, days, 1 / m1.n, -1 / m0.n)
    delta = m1.rate - m0.rate
    tail = (1 + confidence) / 2
    return Comparison(
        delta,
        variance,
        df,
        _bound(delta, variance, df, 1 - tail),
        _bound(delta, variance, df, tail),
    )


def compare_ratios(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments,
    days: DayTotals | None = None,
    *,
    confidence: float = 0.95,
) -> RatioComparison:
    """Ratio of two positive means: delta method on cluster totals, log scale. nan where a mean is 0."""
    if not (m1.y > 0 and m0.y > 0):
        empty = Comparison(math.nan, math.nan, math.nan, math.nan, math.nan)
        return RatioComparison(math.nan, math.nan, math.nan, empty)
    variance, df = _variance(m1, m0, cross, days, 1 / m1.y, -1 / m0.y)
    delta = math.log(m1.rate / m0.rate)
    tail = (1 + confidence) / 2
    low, high = _bound(delta, variance, df, 1 - tail), _bound(delta, variance, df, tail)
    log = Comparison(delta, variance, df, low, high)
    return RatioComparison(
        m1.rate / m0.rate, math.exp(max(low, -700.0)), math.exp(min(high, 700.0)), log
    )


def mean_interval(
    m: WindowMoments, days: DayTotals | None, window: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """A mean of one window with its interval, on the log scale where it is positive."""
    scale = 1 / m.y if m.y > 0 else 1 / m.n
    variance = _one_cluster(m, scale)
    df = float(m.clusters - 1)
    if days is not None:
        by_day, day_df = _one_day(days.of(window), m, scale)
        if by_day > variance:
            variance, df = by_day, day_df
    if df < 1:
        return m.rate, math.nan, math.nan
    half = float(t.ppf((1 + confidence) / 2, df)) * math.sqrt(variance)
    if m.y > 0:
        return m.rate, m.rate * math.exp(-min(half, 700.0)), m.rate * math.exp(min(half, 700.0))
    return m.rate, m.rate - half, m.rate + half


def _variance(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments,
    days: DayTotals | None,
    s1: float,
    s0: float,
) -> tuple[float, float]:
    """Variance of s₁Σ(y₁c − p₁n₁c) + s₀Σ(y₀c − p₀n₀c), and its degrees of freedom."""
    g = cross.clusters
    total = (
        s1 * s1 * m1.residual_squares()
        + s0 * s0 * m0.residual_squares()
        + 2 * s1 * s0 * cross.residual_products(m1, m0)
    )
    by_cluster = max(total, 0.0) * g / (g - 1) if g > 1 else math.nan
    if days is None:
        return by_cluster, float(g - 1)
    v1, df1 = _one_day(days.of(1), m1, s1)
    v0, df0 = _one_day(days.of(0), m0, s0)
    if math.isnan(v1) or math.isnan(v0):
        # A window of one day says nothing of days: clusters are all there is.
        return by_cluster, float(g - 1)
    by_day = v1 + v0
    df = by_day**2 / (v1**2 / df1 + v0**2 / df0) if by_day > 0 else df1 + df0
    return (by_cluster if math.isnan(by_day) else max(by_cluster, by_day)), df


def _one_cluster(m: WindowMoments, scale: float) -> float:
    g = m.clusters
    return scale * scale * m.residual_squares() * g / (g - 1) if g > 1 else math.nan


def _one_day(
    totals: Sequence[tuple[int, int]], m: WindowMoments, scale: float
) -> tuple[float, float]:
    """One window's variance with days as clusters, and its degrees of freedom."""
    d = len(totals)
    if d < 2 or not m.n:
        return math.nan, math.nan
    squares = sum((y - m.rate * n) ** 2 for n, y in totals)
    return scale * scale * squares * d / (d - 1), float(d - 1)


def _bound(value: float, variance: float, df: float, level: float) -> float:
    """value + t_level √V; ±∞ where the variance is not known."""
    if math.isnan(variance) or df < 1:
        return math.copysign(math.inf, level - 0.5)
    return value + float(_quantile(level, df)) * math.sqrt(variance)


def _quantile(level: float, df: float) -> float:
    return float(t.ppf(level, df)) if df < 1e6 else float(norm.ppf(level))


def _upper_tail(value: float, variance: float, df: float) -> float:
    if math.isnan(value) or math.isnan(variance) or df < 1:
        return 1.0
    if variance <= 0:
        return 1.0 if value <= 0 else 0.0
    return float(t.sf(value / math.sqrt(variance), df))
