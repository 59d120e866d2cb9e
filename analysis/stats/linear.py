"""Figures of clustered rows, linearised: a value, what each row adds to its error, and an interval.

An estimate θ̂ ≈ θ + Σ_k φ_k, φ the influence of a row, has the variance G/(G−1) Σ_c (Σ_{k∈c} φ_k)² (the
infinitesimal jackknife; Efron 1982, ch. 6): rows of a cluster may depend on one another, clusters not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MIN_CLASS_CLUSTERS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; nan where it is not known."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Linear:
    """A figure, and its influence: what each row adds to its error, (n,), 0 in all."""

    value: float
    influence: Floats


@dataclass(frozen=True)
class Units:
    """The clusters of n rows.

    code: (n,), from 0 and without gaps. n: how many clusters. n_bad, n_good: how many of them hold a row of
    either label.
    """

    code: Ints
    n: int
    n_bad: int
    n_good: int

    @classmethod
    def of(cls, y: Bools, cluster: Ints | Units) -> Units:
        """The units of these clusters; units are themselves."""
        if isinstance(cluster, Units):
            return cluster
        seen = np.bincount(cluster) > 0
        code = cluster if seen.all() else (np.cumsum(seen) - 1)[cluster]
        bad, good = (int(np.count_nonzero(np.bincount(code[rows]))) for rows in (y, ~y))
        return cls(np.asarray(code, dtype=np.int64), int(np.count_nonzero(seen)), bad, good)

    @property
    def fewest(self) -> int:
        """Clusters of the rarer label."""
        return min(self.n_bad, self.n_good)

    @property
    def t(self) -> float:
        """How many standard errors a 95 % interval reaches, at G − 1 degrees of freedom."""
        return float(special.stdtrit(max(1, self.n - 1), 0.975))

    @property
    def rare_t(self) -> float:
        """The same with the clusters of the rarer label less one: they are what the variance rests on."""
        return float(special.stdtrit(max(1, self.fewest - 1), 0.975))

    @property
    def known(self) -> bool:
        """Whether both labels have the clusters that an interval needs."""
        return self.fewest >= MIN_CLASS_CLUSTERS

    def totals(self, values: Floats) -> Floats:
        """(G,): the sum of each cluster."""
        return np.asarray(np.bincount(self.code, weights=values, minlength=self.n), dtype=float)

    def variance(self, influence: Floats) -> float:
        """G/(G−1) Σ_c (Σ φ)²; nan with a single cluster."""
        if self.n < 2:
            return math.nan
        return self.n / (self.n - 1.0) * float((self.totals(influence) ** 2).sum())


def plain_interval(
    found: Linear | None, units: Units, floor: float = -math.inf, ceiling: float = math.inf
) -> Estimate:
    """value ± t √V, within [floor, ceiling]."""
    if found is None:
        return UNKNOWN
    half = units.t * math.sqrt(units.variance(found.influence))
    if math.isnan(half):
        return Estimate(found.value, math.nan, math.nan)
    return Estimate(found.value, max(floor, found.value - half), min(ceiling, found.value + half))


def logit_interval(found: Linear | None, units: Units) -> Estimate:
    """Symmetric on the logit scale. Without ten clusters of either label, or at 0 and 1, the interval
    is not known."""
    if found is None:
        return UNKNOWN
    value = found.value
    if not units.known or not 0.0 < value < 1.0:
        return Estimate(value, math.nan, math.nan)
    half = units.t * math.sqrt(units.variance(found.influence)) / (value * (1.0 - value))
    centre = math.log(value / (1.0 - value))
    return Estimate(value, float(special.expit(centre - half)), float(special.expit(centre + half)))
