"""Risks with labels whose calibration is planted: the truth is expit(shift + slope · log-odds)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class World:
    """slope, shift: of the true log-odds on the stated ones. alike: correlation of a cluster's labels."""

    slope: float = 1.0
    shift: float = 0.0
    alike: float = 0.3
    base: float = -2.8
    size: float = 3.0

    def true(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(special.expit(self.shift + self.slope * special.logit(p)))


def risks(world: World, seed: int, n_clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, p, cluster: clusters of geometric size share half of their risk, and part of their luck."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), rng.geometric(1 / world.size, n_clusters))
    n = len(cluster)
    stated = world.base + rng.normal(0, 0.5, n_clusters)[cluster] + rng.normal(0, 0.7, n)
    luck = math.sqrt(world.alike) * rng.normal(0, 1, n_clusters)[cluster]
    luck += math.sqrt(1 - world.alike) * rng.normal(0, 1, n)
    p = np.round(special.expit(stated), 6)
    return special.ndtr(luck) < world.true(p), p, cluster


def limit(rate: float, replicates: int, comparisons: int = 1) -> float:
    """The largest share of `replicates` that is in line with a true rate, at 5 % over all comparisons."""
    reach = float(special.ndtri(1 - 0.05 / comparisons))
    return rate + reach * math.sqrt(rate * (1 - rate) / replicates)
