"""When a budget runs out: a prediction interval from days that are neither alike nor independent.

The burn of day d is μ w(d) (1 + u_d): a level, a weekday's share, and a first-order autoregressive
remainder with correlation r from day to day. The burn of the next t days then has the variance
s² (t f(t) + t² f(n)/n): their own, and that of a mean of n days, where

    f(k) = 1 + 2 Σ_{0<j<k} (1 − j/k) r^j

is the variance of a sum of k such days relative to independent ones (Box, Jenkins & Reinsel 2008,
section 2.1). Days that follow each other are as good as n/f(n) independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.intervals import t_quantile

MIN_DAYS = 3
WEEKDAYS_FROM = 21
MAX_CORRELATION = 0.8
_FAR = 1e5

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pace:
    """How a budget burns: mean a day, n days of it, deviation of a day, correlation of days.

    weekdays: relative burn of the next seven days, with a mean of 1. fast, slow: floors of the
    deviation for more and for less than the mean (the clustered interval of the burn).
    """

    mean: float
    n: int
    deviation: float
    correlation: float = 0.0
    weekdays: tuple[float, ...] = (1.0,) * 7
    fast: float = 0.0
    slow: float = 0.0


def pace(
    recent: npt.ArrayLike,
    before: npt.ArrayLike = (),
    *,
    fast: float = 0.0,
    slow: float = 0.0,
) -> Pace:
    """The pace of the `recent` days, shape (n,), which go on; `before`: the days before them.

    Correlation and weekdays are learned from both, for n days alone say little of either; level
    and deviation from the recent ones. Weekdays count from three weeks on, and only as far as they
    differ by more than days do.
    """
    now, old = np.asarray(recent, dtype=float), np.asarray(before, dtype=float)
    if now.sum() <= 0:
        return Pace(0.0, len(now), 0.0)
    old = _relative(old)
    level = np.concatenate([old, _relative(now)])
    shares = _weekdays(level)
    own = shares[np.arange(-len(now), 0) % 7]
    weeks = np.arange(-len(level), 0) % 7
    mean = float(now.sum() / own.sum())
    r = _correlation([part for part in (level[: len(old)] - shares[weeks[: len(old)]],
                                        level[len(old) :] - own) if len(part) >= MIN_DAYS])  # fmt: skip
    rest = now - mean * own
    n = len(now)
    f = inflation(n, r)
    free = max(n - f, 1.0)  # E Σ (u − ū)² = σ² (n − f(n))
    return Pace(
        mean,
        n,
        math.sqrt(float(rest @ rest) / free),
        r,
        tuple(float(v) for v in shares),
        fast * math.sqrt(n),
        slow * math.sqrt(n),
    )


def inflation(k: float, r: float) -> float:
    """f(k): the variance of a sum of k days relative to independent ones."""
    if k <= 1 or r <= 0:
        return 1.0
    return (1 + r) / (1 - r) - 2 * r * (1 - r**k) / (k * (1 - r) ** 2)


def crossings(pace: Pace, stock: float, confidence: float = 0.95) -> tuple[float, float | None]:
    """Days until the cumulative burn reaches `stock` (in mean days of budget): earliest and latest.

    Beyond some 270 years the earliest is infinite, and the latest None.
    """
    n = pace.n
    f = inflation(n, pace.correlation)
    quantile = t_quantile(0.5 + confidence / 2, max(n / f - 1, 2.0))
    within = np.concatenate([[0.0], np.cumsum(pace.weekdays)])

    def reach(t: float, sign: int) -> float:
        weeks, rest = divmod(t, 7.0)
        day = min(int(rest), 6)
        expected = pace.mean * (7 * weeks + within[day] + (rest - day) * pace.weekdays[day])
        spread = max(pace.deviation, pace.fast if sign > 0 else pace.slow)
        variance = t * inflation(t, pace.correlation) + t * t * f / n
        return float(expected + sign * quantile * spread * math.sqrt(variance))

    def solve(sign: int) -> float | None:
        low, high = 0.0, 1.0
        while reach(high, sign) < stock:
            low, high = high, high * 2
            if high > _FAR:
                return None
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if reach(middle, sign) < stock else (low, middle)
        return high

    earliest = solve(1)
    return (math.inf if earliest is None else earliest), solve(-1)


def _relative(days: Array) -> Array:
    """Days by their mean, that of whole weeks where there are any; none where nothing burns."""
    weeks = len(days) // 7
    if days.sum() <= 0:
        return days[:0]
    return days / (days[-7 * weeks :].mean() or days.mean())


def _weekdays(level: Array) -> Array:
    """The relative burn of the next seven days; the last entry of `level` is the day before them.

    Means of each weekday, shrunk towards 1 by the share of their spread that days alone explain
    (James & Stein 1961, positive part).
    """
    weeks = len(level) // 7
    if 7 * weeks < WEEKDAYS_FROM:
        return np.ones(7)
    table = level[-7 * weeks :].reshape(weeks, 7)
    found = table.mean(axis=0)
    rest = table - found
    noise = float((rest**2).sum()) / (7 * (weeks - 1)) / weeks
    spread = float(((found - found.mean()) ** 2).sum()) / 4  # 7 − 3
    kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
    shares = 1 + kept * (found / found.mean() - 1)
    return np.asarray(shares / shares.mean())


def _correlation(parts: Sequence[Array]) -> float:
    """The lag-one autocorrelation r of remainders about their own means, in [0, 0.8].

    That of n days falls short of r by (1 + 3r)/n (Marriott & Pope 1954): it is put right.
    """
    n = sum(len(p) for p in parts)
    centred = [p - p.mean() for p in parts]
    square = sum(float(p @ p) for p in centred)
    if n < MIN_DAYS + 1 or square <= 0:
        return 0.0
    r = sum(float(p[1:] @ p[:-1]) for p in centred) / square
    put_right = (r + len(parts) / n) / (1 - 3 * len(parts) / n) if n > 3 * len(parts) else r
    return min(MAX_CORRELATION, max(0.0, put_right))
