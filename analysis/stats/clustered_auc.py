"""Area under the ROC curve of weighted rows that come in clusters and days, with its variance.

AUC = P(S₁ > S₀) + ½ P(S₁ = S₀), S₁ the score of a candidate's row and S₀ of a baseline's. Rows enter
through their placement values (DeLong, DeLong & Clarke-Pearson 1988): the weighted share of the
other window's rows that a row lies above, ties counted half. Their deviations from the AUC, each divided by
its window's weight, are influences φ; V = G/(G − 1) Σ_c (Σ_{k∈c} φ_k)² allows any dependence within a
cluster, and clusters that are in both windows (Obuchowski 1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.influence import Day, over_days
from analysis.stats.intervals import t_quantile, t_tail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClusteredAuc:
    """An AUC with its variance and the degrees of freedom of its t distribution.

    by_cluster, by_day: the variance with clusters, with days as units; `by_day` is nan where days
    do not count. variance is the larger.
    """

    value: float
    variance: float
    df: float
    by_cluster: float
    by_day: float

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.variance)

    @property
    def p_greater(self) -> float:
        """One-sided p-value against an AUC of ½ or less."""
        if self.variance <= 0:
            return 0.0 if self.value > 0.5 else 1.0
        return t_tail((self.value - 0.5) / self.standard_error, self.df)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided limits, within [0, 1]."""
        half = t_quantile((1.0 + confidence) / 2.0, self.df) * self.standard_error
        return max(0.0, self.value - half), min(1.0, self.value + half)

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence bound, at most 1."""
        return min(1.0, self.value + t_quantile(level, self.df) * self.standard_error)


def clustered_auc(
    score: Floats, late: Bools, weight: Floats, cluster: Ints, day: Ints | None = None
) -> ClusteredAuc | None:
    """The AUC of `score` for telling the candidate's rows (`late`) from the baseline's.

    All (n,); weights positive, clusters codes from 0. day: given in before/after comparisons, where
    days are units too: each window has its own factor D/(D − 1), the degrees of freedom are
    Welch's (1947), and the larger variance counts. None where a window is empty, has a single
    cluster or a single day.
    """
    value, influence = placements(score, late, weight)
    if math.isnan(value):
        return None
    sides = [np.bincount(cluster[late == side]) > 0 for side in (False, True)]
    if min(int(s.sum()) for s in sides) < 2:
        return None
    totals = np.bincount(cluster, weights=influence)
    groups = int((np.bincount(cluster) > 0).sum())
    by_cluster = groups / (groups - 1.0) * float((totals**2).sum())
    if day is None:
        return ClusteredAuc(value, by_cluster, groups - 1.0, by_cluster, math.nan)
    days = _days(influence, late, day)
    if min(sum(d.win == side for d in days) for side in (0, 1)) < 2:
        return None
    daily = over_days(days)
    return ClusteredAuc(
        value, max(by_cluster, daily.variance), daily.df, by_cluster, daily.variance
    )


def placements(score: Floats, late: Bools, weight: Floats) -> tuple[float, Floats]:
    """(AUC, influences (n,), which sum to 0 in each window); nan and zeros where a window is empty."""
    influence = np.zeros(len(score))
    old, new = float(weight[~late].sum()), float(weight[late].sum())
    if not (old > 0 and new > 0):
        return math.nan, influence
    levels, place = np.unique(score, return_inverse=True)
    w0 = np.bincount(place[~late], weights=weight[~late], minlength=len(levels)) / old
    w1 = np.bincount(place[late], weights=weight[late], minlength=len(levels)) / new
    above_old = np.cumsum(w0) - w0 / 2.0
    below_new = 1.0 - (np.cumsum(w1) - w1 / 2.0)
    value = float((w1 * above_old).sum())
    influence[late] = weight[late] * (above_old[place[late]] - value) / new
    influence[~late] = weight[~late] * (below_new[place[~late]] - value) / old
    return value, influence


def _days(influence: Floats, late: Bools, day: Ints) -> list[Day]:
    """The sums of each window's days."""
    held, place, rows = np.unique(2 * day + late, return_inverse=True, return_counts=True)
    totals = np.bincount(place, weights=influence)
    return [
        Day(one % 2, total, n)
        for one, total, n in zip(held.tolist(), totals.tolist(), rows.tolist(), strict=True)
    ]


__all__ = ["ClusteredAuc", "clustered_auc", "placements"]
