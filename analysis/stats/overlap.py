"""How much of a log speaks for a policy: effective sample size, tails of weights, balance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.clustered_mean import ClusteredMean, total
from analysis.stats.design import Design

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_TAIL = 5


def effective_sample_size(weights: Floats, cluster: Ints) -> float:
    """(Σ_c w_c)² / Σ_c w_c² over cluster totals of the weights (Kish 1965); 0 without weight.

    Effective clusters (count): what the weighted log of a candidate is worth in clusters of equal weight;
    below 200 nothing is settled. Source: Kish 1965.
    """
    totals = np.bincount(cluster, weights=weights) if len(weights) else np.zeros(0)
    squares = total(totals * totals)
    return total(totals) ** 2 / squares if squares > 0 else 0.0


def pareto_k(weights: Floats) -> float:
    """Shape of the tail of the positive weights; nan where there is too little of a tail.

    Vehtari, Simpson, Gelman, Yao & Gabry 2024, as ArviZ computes it: the largest min(n/5, 3√n).
    Above 0.7 a mean of the weights is not to be trusted.

    Pareto k: how heavy the tail of the weights is. Above 0.7 a few requests carry the estimate. Source:
    Vehtari and others 2024.
    """
    positive = np.sort(weights[weights > 0])
    size = int(3 * math.sqrt(len(positive)) if len(positive) > 225 else len(positive) / 5)
    if size < MIN_TAIL:
        return math.nan
    tail, threshold = positive[-size:], positive[-size - 1]
    # Of tied weights no tail can be told: below the float's own precision all is rounding.
    if tail[size // 4] - threshold <= 1e-12 * threshold:
        return math.nan
    from arviz_stats.base import array_stats  # a second of imports, for routing alone

    return float(array_stats.pareto_khat(positive[None, :], r_eff=1.0, tail="right"))


@dataclass(frozen=True)
class Imbalance:
    """How far the weighted requests differ from those that they stand for, in one feature.

    difference: (weighted − due mean) / standard deviation of the due. p_value: two-sided, clustered.
    """

    feature: int
    difference: float
    p_value: float


def balance(
    features: Design | Floats, weights: Floats, moved: Floats, cluster: Ints
) -> list[Imbalance]:
    """Of each feature that varies among the moved requests, in order.

    features: n rows; weights, moved: (n,); cluster: (n,) codes without gaps. With true propensities
    E[(w − moved) x] = 0 for every x that was known before the choice (Austin & Stuart 2015).

    Balance (sd): how far the weighted requests differ from those that the candidate would change, in the
    feature that differs most; within 0.10 standard deviations is due.
    """
    due = total(moved)
    off = weights - moved
    order = np.argsort(cluster, kind="stable")
    off, moved, design = off[order], moved[order], Design.of(features).rows(order)
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    groups, n = len(starts), len(moved)
    out = []
    for j, x in enumerate(design.columns()):
        centred = x - float(np.dot(moved, x)) / due
        spread = math.sqrt(max(float(np.dot(moved, centred * centred)) / due, 0.0))
        if spread < 1e-9 or groups < 2:
            continue
        # About the mean, so that a total weight that is off by chance is not each feature's fault.
        sums = np.add.reduceat(off * centred, starts)
        value = total(sums) / n
        sums -= value * sizes
        variance = groups / (groups - 1.0) * total(sums * sums) / (float(n) * n)
        found = ClusteredMean(value, variance, groups - 1.0, n)
        out.append(Imbalance(j, value * n / due / spread, found.p_two_sided))
    return out
