"""Intervals of one figure, and of two combined."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.moments import WindowMoments, design_effect, intraclass_correlation
from analysis.stats.sketch import quantile

MIN_TAIL_CLUSTERS = 10


def clopper_pearson(
    y: float, n: float, deff: float = 1.0, confidence: float = 0.95
) -> tuple[float, float]:
    """Exact interval of a rate at the effective counts y/deff and n/deff.

    Beta quantiles extend Clopper & Pearson (1934) to real counts: Korn & Graubard (1998), eq. 2.
    y bad of n rows; (nan, nan) without rows.
    """
    return beta_limits(y / deff, n / deff, (1.0 - confidence) / 2.0)


def beta_limits(y: float, n: float, tail: float) -> tuple[float, float]:
    """The limits of `clopper_pearson`, each of which leaves out at most `tail`."""
    if not n > 0 or not 0 <= y <= n * (1 + 1e-12):
        return math.nan, math.nan
    y = min(y, n)
    low = float(special.betaincinv(y, n - y + 1.0, tail)) if y > 0 else 0.0
    high = float(special.betainccinv(y + 1.0, n - y, tail)) if y < n else 1.0
    return low, high


def wilson_limits(p: float, n: float, z: float) -> tuple[float, float]:
    """Score limits of a rate p among n rows at normal quantile z (Wilson 1927)."""
    if not n > 0:
        return math.nan, math.nan
    shrink = 1.0 + z * z / n
    centre = (p + z * z / (2.0 * n)) / shrink
    half = z / shrink * math.sqrt(max(0.0, p * (1.0 - p) / n + z * z / (4.0 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)


def rate_interval(
    m: WindowMoments, rho: float | None = None, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(value, low, high) of the rate of one window.

    rho: intraclass correlation pooled over the window; None takes it from `m`, which a slice must
    not do (STATISTICS section 1).

    95 % interval: the range of values that the telemetry is compatible with. Of a rate: Clopper–Pearson at
    the rows that its clusters are worth. Source: Korn and Graubard 1998.
    """
    if not m.n:
        return math.nan, math.nan, math.nan
    deff = design_effect(m.n, m.nn, intraclass_correlation(m) if rho is None else rho)
    low, high = clopper_pearson(m.y, m.n, deff, confidence)
    return m.rate, low, high


def one_sided_binomial_tail(
    y: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Exact P(X ≥ y) for X ~ Binomial(n, p), at real counts by the incomplete beta function.

    Broadcasts; a scalar for scalars. 1 where y ≤ 0, 0 where y > n.
    """
    y_, n_, p_ = np.broadcast_arrays(
        np.asarray(y, dtype=float), np.asarray(n, dtype=float), np.asarray(p, dtype=float)
    )
    inside = (y_ > 0) & (y_ <= n_)
    tail = special.betainc(
        np.where(inside, y_, 1.0), np.where(inside, n_ - y_ + 1.0, 1.0), np.clip(p_, 0.0, 1.0)
    )
    out = np.where(inside, tail, np.where(y_ <= 0, 1.0, 0.0))
    return np.asarray(np.where(np.isnan(y_) | np.isnan(n_) | np.isnan(p_), np.nan, out))[()]


def woodruff(
    counts: npt.ArrayLike,
    q: float,
    deff: float = 1.0,
    n: float | None = None,
    *,
    tail_clusters: int | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of a quantile in µs: limits of the distribution function, read off the sketch.

    Woodruff (1952), with exact limits for the share q at the effective count n/deff. counts: rows
    per sketch bin, shape (N_BINS,); n: rows, the sum of counts by default. tail_clusters: clusters
    beyond the quantile; below ten (nan, nan).
    """
    counts_ = np.asarray(counts)
    n = float(counts_.sum()) if n is None else float(n)
    if not n > 0 or (tail_clusters is not None and tail_clusters < MIN_TAIL_CLUSTERS):
        return math.nan, math.nan
    low, high = clopper_pearson(q * n, n, deff, confidence)
    return quantile(counts_, low), quantile(counts_, high)


def t_interval(values: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of the mean of independent values; nan limits below two values."""
    return _t(values, 0.0, confidence)


def t_prediction(
    values: npt.ArrayLike, horizon: float = 1.0, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(mean, low, high) for the mean of the next `horizon` values, drawn as `values` were."""
    return _t(values, 1.0 / horizon, confidence)


def _t(values: npt.ArrayLike, future: float, confidence: float) -> tuple[float, float, float]:
    x = np.asarray(values, dtype=float).ravel()
    x = x[np.isfinite(x)]
    if x.size == 0:
        return math.nan, math.nan, math.nan
    mean = math.fsum(x) / x.size
    if x.size < 2:
        return mean, math.nan, math.nan
    spread = math.fsum((x - mean) ** 2) / (x.size - 1)
    half = t_quantile((1.0 + confidence) / 2.0, x.size - 1) * math.sqrt(
        spread * (future + 1.0 / x.size)
    )
    return mean, mean - half, mean + half


def welch(v1: float, df1: float, v0: float, df0: float) -> tuple[float, float]:
    """The sum of two variances, each known with its degrees of freedom, and its own (Welch 1947)."""
    whole = v1 + v0
    if whole <= 0:
        return 0.0, df1 + df0
    a, b = v1 / whole, v0 / whole
    return whole, 1.0 / (a * a / df1 + b * b / df0)


def t_quantile(level: float, df: float) -> float:
    """Quantile of Student's t; normal beyond ten million degrees of freedom."""
    if math.isnan(level) or math.isnan(df):
        return math.nan
    return float(special.ndtri(level) if df > 1e7 else special.stdtrit(df, level))


def t_tail(t: float, df: float) -> float:
    """P(T > t) for Student's t."""
    if math.isnan(t) or math.isnan(df):
        return math.nan
    return float(special.ndtr(-t) if df > 1e7 else special.stdtr(df, -t))


def mover_difference(
    v1: float,
    l1: float,
    u1: float,
    v0: float,
    l0: float,
    u0: float,
    correlation: float = 0.0,
) -> tuple[float, float]:
    """Interval of v1 − v0 from their own intervals (Zou & Donner 2008, eqs 9 and 10).

    Method of variance estimates recovery; with Wilson limits it is Newcombe's (1998) method 10.
    """

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a + b * b - 2.0 * correlation * a * b))

    return v1 - v0 - reach(v1 - l1, u0 - v0), v1 - v0 + reach(u1 - v1, v0 - l0)


def mover_ratio(
    v1: float, l1: float, u1: float, v0: float, l0: float, u0: float
) -> tuple[float, float]:
    """Interval of v1 / v0 of positive figures, recovered on the log scale (Zou & Donner 2008).

    A limit of 0 below v1 gives 0, below v0 infinity; nan where a value is not positive.
    """
    if any(x is None or math.isnan(x) for x in (v1, l1, u1, v0, l0, u0)) or v1 <= 0 or v0 <= 0:
        return math.nan, math.nan
    ratio = math.log(v1 / v0)
    low = 0.0 if l1 <= 0 else math.exp(ratio - math.hypot(math.log(v1 / l1), math.log(u0 / v0)))
    high = (
        math.inf if l0 <= 0 else math.exp(ratio + math.hypot(math.log(u1 / v1), math.log(v0 / l0)))
    )
    return low, high
