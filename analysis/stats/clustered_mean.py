"""Means with clusters as units, and limits that a few rare events do not make too narrow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from analysis.stats.intervals import t_quantile, t_tail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClusteredMean:
    """A mean with its clustered variance; nan without rows, infinite limits with one cluster."""

    value: float
    variance: float
    df: float
    n: int

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.variance)

    def lower(self, level: float) -> float:
        """One-sided lower confidence bound at `level`."""
        return self.value - self._reach(level)

    def upper(self, level: float) -> float:
        """One-sided upper confidence bound at `level`."""
        return self.value + self._reach(level)

    @property
    def p_greater(self) -> float:
        """One-sided p-value against a mean ≤ 0."""
        if math.isnan(self.value) or math.isinf(self.variance):
            return 1.0
        if self.variance == 0:
            return 0.0 if self.value > 0 else 1.0
        return t_tail(self.value / self.standard_error, self.df)

    @property
    def p_two_sided(self) -> float:
        """Two-sided p-value against a mean of 0."""
        if math.isnan(self.value) or math.isinf(self.variance):
            return 1.0
        if self.variance == 0:
            return 1.0 if self.value == 0 else 0.0
        return 2 * t_tail(abs(self.value) / self.standard_error, self.df)

    def _reach(self, level: float) -> float:
        if math.isinf(self.variance):
            return math.inf
        return t_quantile(level, self.df) * self.standard_error


def clustered_mean(scores: Floats, cluster: Ints) -> ClusteredMean:
    """The mean of scores with V = G/(G − 1) Σ_c (Σ_{i in c} (φᵢ − φ̄))² / n².

    The linearised variance of a mean whose cluster sizes are random (Särndal, Swensson & Wretman
    1992, section 5.7). scores: shape (n,). cluster: codes from 0.
    """
    n = len(scores)
    if n == 0 or not np.isfinite(scores).all():
        return ClusteredMean(math.nan, math.nan, math.nan, n)
    value = total(scores) / n
    groups = int(np.count_nonzero(np.bincount(cluster)))
    if groups < 2:
        return ClusteredMean(value, math.inf, 1.0, n)
    totals = np.bincount(cluster, weights=scores - value)
    variance = groups / (groups - 1.0) * total(totals * totals) / (float(n) * n)
    return ClusteredMean(value, variance, groups - 1.0, n)


@dataclass(frozen=True)
class GuardedMean:
    """A clustered mean whose limits do not trust a variance that a few rare events made.

    events: clusters in which the costly event was seen under the policy. unit: how far one more
    such cluster would move the mean. harm: the side on which events that were not seen would move
    it, −1 (a saving) or +1 (a rate, a cost). On that side the events' Poisson part of the squared
    reach, z² k, gives way to that of their exact limit, (U(k) − k)² (Garwood 1936; recovered as in
    Zou & Donner 2008): no failure among those that matched does not prove that none would come.
    """

    mean: ClusteredMean
    events: int
    unit: float
    harm: int

    @property
    def value(self) -> float:
        return self.mean.value

    def lower(self, level: float) -> float:
        """One-sided lower confidence bound at `level` ≥ ½."""
        return self.value - self._reach(level, -1)

    def upper(self, level: float) -> float:
        """One-sided upper confidence bound at `level` ≥ ½."""
        return self.value + self._reach(level, 1)

    @property
    def p_greater(self) -> float:
        """One-sided p-value against a mean ≤ 0: the tail at which `lower` reaches 0, at most ½."""
        if math.isnan(self.value) or math.isinf(self.mean.variance):
            return 1.0
        if self.value <= 0:
            return max(0.5, self.mean.p_greater)
        if self.lower(0.5) <= 0:
            return 0.5
        furthest = 8.0
        if self.lower(float(special.ndtr(furthest))) > 0:
            return float(special.ndtr(-furthest))
        z = optimize.brentq(lambda at: self.lower(float(special.ndtr(at))), 0.0, furthest)
        return float(special.ndtr(-z))

    def _reach(self, level: float, side: int) -> float:
        reach = self.mean._reach(level)
        if side != self.harm or not math.isfinite(reach):
            return reach
        z = float(special.ndtri(level))
        limit = float(special.gammaincinv(self.events + 1.0, level))
        excess = max(0.0, (limit - self.events) ** 2 - z * z * self.events)
        return math.sqrt(reach * reach + excess * self.unit * self.unit)


def total(values: npt.NDArray[Any]) -> float:
    """The sum, carried with more digits than it is given back in: its last bits hang on no machine."""
    return float(np.sum(values, dtype=np.longdouble))


def without_gaps(cluster: Ints) -> Ints:
    """Codes from 0 in the same order, each in use."""
    seen = np.bincount(cluster) > 0
    return np.asarray((np.cumsum(seen) - 1)[cluster], dtype=np.int64)
