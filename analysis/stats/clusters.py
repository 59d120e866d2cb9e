"""Comparing two windows by their cluster moments (STATISTICS section 1).

One score serves differences of rates and means, and ratios of means,

    e_c = (y₁c − r₁ n₁c)/D₁ − w (y₀c − r₀ n₀c)/D₀,    V = G/(G − 1) Σ e_c²,

with D = Σ n_c for a difference and D = Σ y_c for the logarithm of a ratio: the linearised (delta
method) variance of Särndal, Swensson & Wretman (1992), section 5.7. Candidate is 1, baseline 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from scipy.optimize import brentq

from analysis.stats.intervals import (
    beta_limits,
    mover_difference,
    t_quantile,
    t_tail,
    welch,
    wilson_limits,
)
from analysis.stats.moments import (
    CrossMoments,
    DayTotals,
    WindowMoments,
    design_effect,
    intraclass_correlation,
)

__all__ = [
    "CrossMoments",
    "DayTotals",
    "MeanComparison",
    "RateComparison",
    "RatioComparison",
    "WindowMoments",
    "compare_means",
    "compare_rates",
    "compare_ratios",
    "day_variance",
    "design_effect",
    "difference_variance",
    "intraclass_correlation",
    "mean_interval",
    "pooled_correlation",
]

FEW_BAD_CLUSTERS = 10
_FURTHEST = 37.0  # Φ(−37) is the smallest normal tail that a float still holds


@dataclass(frozen=True)
class RateComparison:
    """The difference delta = p₁ − weight·p₀ of two rates.

    variance, df: of the score. low, high: two-sided at the confidence asked for. Every limit is the
    wider of two: the sandwich limit delta ± t √variance, and Newcombe's (1998) combination of each
    window's own limits at its effective counts, which is right where the sandwich is too short (an
    upper limit with few bad rows) and does not vanish without any. Own limits are Wilson's; with
    fewer than ten bad (or good) clusters in a window they are Clopper & Pearson's.
    """

    delta: float
    variance: float
    df: float
    low: float
    high: float
    rate1: float
    rate0: float
    weight: float
    effective1: float
    effective0: float
    correlation: float
    few: bool

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence bound of delta."""
        if level < 0.5:
            return self.lower(1.0 - level)
        if math.isnan(self.delta):
            return math.nan
        z = min(t_quantile(level, self.df), _FURTHEST)
        return min(1.0, max(self.delta + z * math.sqrt(self.variance), self._recovered(z)[1]))

    def lower(self, level: float = 0.95) -> float:
        """One-sided lower confidence bound of delta."""
        if level < 0.5:
            return self.upper(1.0 - level)
        if math.isnan(self.delta):
            return math.nan
        z = min(t_quantile(level, self.df), _FURTHEST)
        return max(
            -self.weight, min(self.delta - z * math.sqrt(self.variance), self._recovered(z)[0])
        )

    @property
    def p_greater(self) -> float:
        """One-sided p-value against delta ≤ 0: the level at which `lower` leaves 0."""
        if math.isnan(self.delta):
            return math.nan
        spread = math.sqrt(self.variance)
        if self.delta <= 0:
            return t_tail(self.delta / spread, self.df) if spread > 0 else 1.0
        z = self.delta / spread if spread > 0 else _FURTHEST
        z = min(z, _FURTHEST)
        if self._recovered(0.0)[0] <= 0:
            return 0.5
        if self._recovered(z)[0] < 0:
            z = float(brentq(lambda at: self._recovered(at)[0], 0.0, z, xtol=1e-10))
        return t_tail(z, self.df)

    def _recovered(self, z: float) -> tuple[float, float]:
        """Limits recovered from those of each window at quantile z."""
        if self.few:
            tail = t_tail(z, math.inf)
            l1, u1 = beta_limits(self.rate1 * self.effective1, self.effective1, tail)
            l0, u0 = beta_limits(self.rate0 * self.effective0, self.effective0, tail)
        else:
            l1, u1 = wilson_limits(self.rate1, self.effective1, z)
            l0, u0 = wilson_limits(self.rate0, self.effective0, z)
        w = self.weight
        return mover_difference(
            self.rate1, l1, u1, w * self.rate0, w * l0, w * u0, self.correlation
        )


@dataclass(frozen=True)
class RatioComparison:
    """The ratio of two means; limits are delta ± t √log_variance on the log scale."""

    ratio: float
    low: float
    high: float
    log_variance: float
    df: float

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence bound of the ratio."""
        return _exp(self._log() + t_quantile(level, self.df) * math.sqrt(self.log_variance))

    def lower(self, level: float = 0.95) -> float:
        """One-sided lower confidence bound of the ratio."""
        return _exp(self._log() - t_quantile(level, self.df) * math.sqrt(self.log_variance))

    def p_greater(self, threshold: float = 1.0) -> float:
        """One-sided p-value against ratio ≤ threshold."""
        return _p_greater(self._log() - math.log(threshold), self.log_variance, self.df)

    def _log(self) -> float:
        return math.log(self.ratio) if self.ratio > 0 else math.nan


@dataclass(frozen=True)
class MeanComparison:
    """The difference of two means of an unbounded score, in units of its numerator."""

    delta: float
    variance: float
    df: float
    low: float
    high: float

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence bound of delta."""
        return self.delta + t_quantile(level, self.df) * math.sqrt(self.variance)

    def lower(self, level: float = 0.95) -> float:
        """One-sided lower confidence bound of delta."""
        return self.delta - t_quantile(level, self.df) * math.sqrt(self.variance)

    @property
    def p_greater(self) -> float:
        """One-sided p-value against delta ≤ 0."""
        return _p_greater(self.delta, self.variance, self.df)


def compare_rates(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments | None,
    days: DayTotals | None = None,
    weight: float = 1.0,
    confidence: float = 0.95,
    correlation: float | None = None,
) -> RateComparison:
    """p₁ − weight·p₀ of a binary metric, with the larger of the cluster and the day variance.

    cross: None for windows that share no cluster. days: given for before/after comparisons; the
    degrees of freedom are then Welch's over days, else G − 1. correlation: for a slice, the
    intraclass correlation pooled over the whole windows (`pooled_correlation`); each window's own
    limits are then Clopper & Pearson's, at no more rows than it leaves.
    """
    if not (m1.n and m0.n):
        nan = math.nan
        return RateComparison(
            nan, nan, nan, nan, nan, m1.rate, m0.rate, weight, nan, nan, nan, False
        )
    w = Fraction(weight)
    parts = _Parts.of(m1, m0, cross, m1.n, m0.n)
    cluster = float(parts.combined(w))
    variance, df = _with_days(cluster, parts.groups, days, m1, m0, m1.n, m0.n, w)
    inflation = variance / cluster if cluster > 0 else 1.0
    few = correlation is not None or any(_rare_clusters(m) < FEW_BAD_CLUSTERS for m in (m1, m0))
    rho = pooled_correlation(m1, m0) if correlation is None else correlation
    v1, v0 = float(parts.v1) * inflation, float(parts.v0) * inflation
    own = math.sqrt(float(parts.v1)) * math.sqrt(float(parts.v0))
    result = RateComparison(
        delta=float(Fraction(int(m1.y), int(m1.n)) - w * Fraction(int(m0.y), int(m0.n))),
        variance=variance,
        df=df,
        low=math.nan,
        high=math.nan,
        rate1=m1.rate,
        rate0=m0.rate,
        weight=float(weight),
        effective1=_effective(m1, v1, rho, few),
        effective0=_effective(m0, v0, rho, few),
        correlation=min(1.0, max(-1.0, float(parts.covariance) / own)) if own > 0 else 0.0,
        few=few,
    )
    level = (1.0 + confidence) / 2.0
    return RateComparison(
        **{**result.__dict__, "low": result.lower(level), "high": result.upper(level)}
    )


def compare_ratios(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments | None,
    days: DayTotals | None = None,
    confidence: float = 0.95,
) -> RatioComparison:
    """Ratio of means (y₁/n₁)/(y₀/n₀) on the log scale; nan where a mean is not positive."""
    if not (m1.n and m0.n) or m1.y <= 0 or m0.y <= 0:
        return RatioComparison(math.nan, math.nan, math.nan, math.nan, math.nan)
    ratio = float(Fraction(int(m1.y) * int(m0.n), int(m1.n) * int(m0.y)))
    variance, df = _mean_variance(m1, m0, cross, days, m1.y, m0.y)
    half = t_quantile((1.0 + confidence) / 2.0, df) * math.sqrt(variance)
    return RatioComparison(
        ratio, _exp(math.log(ratio) - half), _exp(math.log(ratio) + half), variance, df
    )


def compare_means(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments | None,
    days: DayTotals | None = None,
    confidence: float = 0.95,
) -> MeanComparison:
    """Difference of means y₁/n₁ − y₀/n₀ of a score that may be of either sign."""
    if not (m1.n and m0.n):
        return MeanComparison(math.nan, math.nan, math.nan, math.nan, math.nan)
    delta = float(Fraction(int(m1.y), int(m1.n)) - Fraction(int(m0.y), int(m0.n)))
    variance, df = _mean_variance(m1, m0, cross, days, m1.n, m0.n)
    half = t_quantile((1.0 + confidence) / 2.0, df) * math.sqrt(variance)
    return MeanComparison(delta, variance, df, delta - half, delta + half)


def mean_interval(
    m: WindowMoments, days: DayTotals | None = None, window: int = 1, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(mean, low, high) of one window, in units of its numerator.

    window: which window's days count. On the log scale where the mean is positive.
    """
    if not m.n:
        return math.nan, math.nan, math.nan
    value = m.rate
    if m.clusters < 2:
        return value, math.nan, math.nan
    variance, df = float(m.residual * Fraction(m.clusters, m.clusters - 1)), m.clusters - 1.0
    if days is not None:
        daily, day_df = _day_residual(days.of(window), m)
        if day_df > 0:
            variance, df = max(variance, float(daily)), day_df
    t = t_quantile((1.0 + confidence) / 2.0, df)
    if m.y > 0:
        half = t * math.sqrt(variance) / float(m.y)
        return value, _exp(math.log(value) - half), _exp(math.log(value) + half)
    half = t * math.sqrt(variance) / float(m.n)
    return value, value - half, value + half


def difference_variance(
    m1: WindowMoments, m0: WindowMoments, cross: CrossMoments | None, weight: float = 1.0
) -> float:
    """V = G/(G − 1) Σ e_c² of y₁/n₁ − weight·y₀/n₀, with clusters as units; exact until rounded.

    Cluster: the interactions of one user or one session. They are alike, so a variance counts clusters and
    not rows; where windows follow each other, whole days too, and the larger variance holds.
    """
    if not (m1.n and m0.n):
        return math.nan
    return float(_Parts.of(m1, m0, cross, m1.n, m0.n).combined(Fraction(weight)))


def day_variance(
    days: DayTotals, m1: WindowMoments, m0: WindowMoments, weight: float = 1.0
) -> tuple[float, float]:
    """(V, degrees of freedom) of the same score with days as units.

    Each window has its own factor D/(D − 1); the degrees of freedom are Welch's (1947). A window
    of a single day borrows the other's variance from day to day; (nan, nan) where neither has two.
    """
    if not (m1.n and m0.n):
        return math.nan, math.nan
    return _day_variance(days, m1, m0, m1.n, m0.n, Fraction(weight))


@dataclass(frozen=True)
class _Parts:
    """The cluster variance of the score, by window."""

    v1: Fraction
    v0: Fraction
    covariance: Fraction
    groups: int

    @classmethod
    def of(
        cls, m1: WindowMoments, m0: WindowMoments, cross: CrossMoments | None, d1: int, d0: int
    ) -> _Parts:
        groups = cross.clusters if cross is not None else m1.clusters + m0.clusters
        factor = Fraction(groups, groups - 1) if groups > 1 else Fraction(1)
        n1, y1, n0, y0 = int(m1.n), int(m1.y), int(m0.n), int(m0.y)
        d1, d0 = int(d1), int(d0)
        covariance = Fraction(0)
        if cross is not None:
            products = (
                int(cross.y1y0) * n1 * n0
                - y1 * n0 * int(cross.n1y0)
                - y0 * n1 * int(cross.y1n0)
                + y1 * y0 * int(cross.n1n0)
            )
            covariance = factor * Fraction(products, n1 * n0 * d1 * d0)
        return cls(
            factor * m1.residual / (d1 * d1), factor * m0.residual / (d0 * d0), covariance, groups
        )

    def combined(self, weight: Fraction) -> Fraction:
        return self.v1 + weight * weight * self.v0 - 2 * weight * self.covariance


def _with_days(
    cluster: float,
    groups: int,
    days: DayTotals | None,
    m1: WindowMoments,
    m0: WindowMoments,
    d1: int,
    d0: int,
    weight: Fraction,
) -> tuple[float, float]:
    """The larger variance and its degrees of freedom."""
    if days is not None:
        daily, df = _day_variance(days, m1, m0, d1, d0, weight)
        if not math.isnan(daily):
            return max(cluster, daily), df
    return cluster, max(1.0, groups - 1.0)


def _mean_variance(
    m1: WindowMoments,
    m0: WindowMoments,
    cross: CrossMoments | None,
    days: DayTotals | None,
    d1: int,
    d0: int,
) -> tuple[float, float]:
    # One cluster has no spread: its zero is ignorance, not certainty.
    if min(m1.clusters, m0.clusters) < 2:
        return math.nan, math.nan
    parts = _Parts.of(m1, m0, cross, d1, d0)
    one = Fraction(1)
    return _with_days(float(parts.combined(one)), parts.groups, days, m1, m0, d1, d0, one)


def _day_variance(
    days: DayTotals, m1: WindowMoments, m0: WindowMoments, d1: int, d0: int, weight: Fraction
) -> tuple[float, float]:
    one, zero = days.of(1), days.of(0)
    if max(len(one), len(zero)) < 2:
        return math.nan, math.nan
    s1, df1 = _day_residual(one, m1)
    s0, df0 = _day_residual(zero, m0)
    borrowed = min(df1, df0) < 1
    if df1 < 1:
        s1, df1 = _borrowed(one, zero, s0), df0
    elif df0 < 1:
        s0, df0 = _borrowed(zero, one, s1), df1
    v1, v0 = float(s1 / int(d1) ** 2), float(s0 * weight * weight / int(d0) ** 2)
    if borrowed:
        return v1 + v0, df1
    return welch(v1, df1, v0, df0)


def _day_residual(days: list[tuple[int, int]], m: WindowMoments) -> tuple[Fraction, float]:
    """D/(D − 1) Σ (y_d − r n_d)² and D − 1; (0, 0) below two days."""
    if len(days) < 2:
        return Fraction(0), 0.0
    n, y = int(m.n), int(m.y)
    total = sum((y_d * n - y * n_d) ** 2 for n_d, y_d in days)
    return Fraction(total * len(days), n * n * (len(days) - 1)), len(days) - 1.0


def _borrowed(
    days: list[tuple[int, int]], other: list[tuple[int, int]], residual: Fraction
) -> Fraction:
    """The residual of a window of one day, whose rate varies like a day's of the other window."""
    n = sum(n_d for n_d, _ in days)
    return residual * n * n / sum(n_d * n_d for n_d, _ in other)


def _rare_clusters(m: WindowMoments) -> float:
    """Bad clusters, or clusters' worth of good rows where these are fewer."""
    return min(m.bad_clusters, (int(m.n) - int(m.y)) * m.clusters / int(m.n))


def pooled_correlation(m1: WindowMoments, m0: WindowMoments) -> float:
    """The larger intraclass correlation, and at least 1/(1 + k) with k rare clusters in all.

    Without any a cluster is one trial; a few with one bad row each do not yet show that bad rows
    come alone.
    """
    known = [intraclass_correlation(m) for m in (m1, m0) if 0 < m.y < m.n and m.clusters > 1]
    return max([*known, 1.0 / (1.0 + _rare_clusters(m1) + _rare_clusters(m0))])


def _effective(m: WindowMoments, variance: float, rho: float, few: bool) -> float:
    """Independent rows with the variance of this window's rate; never more than its rows.

    Few bad clusters say little of their own variance, so the design effect limits it as well; a
    rate without any spread counts clusters.
    """
    p = m.rate
    limits = [float(m.n)]
    if variance > 0:
        limits.append(p * (1.0 - p) / variance)
    elif 0 < p < 1:
        limits.append(m.effective_clusters)
    if few:
        limits.append(float(m.n) / design_effect(m.n, m.nn, rho))
    return min(limits)


def _p_greater(delta: float, variance: float, df: float) -> float:
    if math.isnan(delta) or math.isnan(variance):
        return math.nan
    if variance <= 0:
        return 0.0 if delta > 0 else 1.0
    return t_tail(delta / math.sqrt(variance), df)


def _exp(x: float) -> float:
    return math.inf if x > 709.0 else math.exp(x)
