"""Sums of products of cluster totals over sets of rows that grow, all sets in one pass.

Set t holds the rows that enter at step t or before. With A_c(t), B_c(t) the totals of two values
over a cluster's rows in set t, Σ_c A_c(t) B_c(t) changes at step t only by the clusters that gain
rows there; so every variance that STATISTICS section 1 asks for costs one sort, whatever the number
of sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.intervals import t_quantile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEW = 10
LEVEL = 0.975


@dataclass(frozen=True)
class NestedTotals:
    """Totals of clusters in each of T nested sets.

    first: (cells,) whether a cell is its cluster's first. step: (cells,). before, after: (k, cells),
    the cluster's totals of k values before and after the cell's rows enter. n_sets: T.
    """

    first: npt.NDArray[np.bool_]
    step: Ints
    before: Floats
    after: Floats
    n_sets: int

    @classmethod
    def of(cls, step: Ints, cluster: Ints, values: Floats, n_sets: int) -> NestedTotals:
        """step, cluster: (n,) codes. values: (k, n)."""
        key = cluster * n_sets + step
        if len(key) and int(key.max()) < len(key):  # few clusters: nothing to sort
            cells = np.flatnonzero(np.bincount(key))
            gained = np.array([np.bincount(key, weights=v)[cells] for v in values])
        else:
            cells, own = np.unique(key, return_inverse=True)
            gained = np.array([np.bincount(own, weights=v, minlength=len(cells)) for v in values])
        group = cells // n_sets
        first = np.concatenate([[True], group[1:] != group[:-1]])[: len(cells)]
        after = np.cumsum(gained, axis=1)
        begin = np.flatnonzero(first)
        sizes = np.diff(np.append(begin, len(cells)))
        after -= np.repeat((after - gained)[:, begin], sizes, axis=1)
        return cls(first, cells % n_sets, after - gained, after, n_sets)

    def products(self, a: int, b: int) -> Floats:
        """(T,): Σ_c A_c B_c of the a-th and the b-th value."""
        change = self.after[a] * self.after[b] - self.before[a] * self.before[b]
        return np.cumsum(np.bincount(self.step, weights=change, minlength=self.n_sets))

    def totals(self, a: int) -> Floats:
        """(T,): Σ_c A_c of the a-th value."""
        change = self.after[a] - self.before[a]
        return np.cumsum(np.bincount(self.step, weights=change, minlength=self.n_sets))

    def groups(self) -> Ints:
        """(T,): clusters with rows in each set."""
        return np.cumsum(np.bincount(self.step[self.first], minlength=self.n_sets))

    def ratio_variance(self, y: int, n: int, groups: npt.ArrayLike) -> Floats:
        """(T,): G/(G − 1) Σ_c (Y_c − r N_c)²/N² of r = Y/N; nan where N or G − 1 is 0."""
        whole, g = self.totals(n), np.asarray(groups, dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = self.totals(y) / whole
            squares = (
                self.products(y, y) - 2.0 * r * self.products(y, n) + r * r * self.products(n, n)
            )
            return np.asarray(
                np.where(g > 1, g / (g - 1.0), np.nan) * np.maximum(squares, 0.0) / whole**2
            )


def rate_limits(
    y: Floats, n: Floats, by_cluster: Floats, by_day: Floats, groups: Ints, days: Ints, kish: Floats
) -> tuple[Floats, Floats]:
    """95 % limits of rates y/n by Clopper & Pearson at effective counts; every array is (T,).

    The effective count is that at which p(1 − p)/n is the larger of the two variances, corrected
    for its degrees of freedom (Korn & Graubard 1998, section 3); never above n. With fewer than ten
    of either kind the variance says little of itself: then it is at most Kish's (1965) number of
    equal clusters. nan where n is 0.
    """
    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    for k in np.flatnonzero(n > 0):
        p = y[k] / n[k]
        daily = bool(by_day[k] >= by_cluster[k])  # never so where either is nan
        variance, df = (by_day[k], days[k] - 1.0) if daily else (by_cluster[k], groups[k] - 1.0)
        size = float(n[k])
        if variance > 0 and df >= 1:
            correction = (t_quantile(LEVEL, max(1.0, size - 1.0)) / t_quantile(LEVEL, df)) ** 2
            size = min(size, p * (1.0 - p) / variance * min(1.0, correction))
        if min(y[k], n[k] - y[k]) < FEW:
            size = min(size, float(kish[k]))
        hit, miss = p * size, (1.0 - p) * size
        low[k] = special.betaincinv(hit, miss + 1.0, 1.0 - LEVEL) if hit > 0 else 0.0
        high[k] = special.betaincinv(hit + 1.0, miss, LEVEL) if miss > 0 else 1.0
    return low, high


def total_limits(
    total: Floats,
    cluster_squares: Floats,
    day_squares: Floats,
    groups: int,
    days: int,
    min_days: int,
) -> tuple[Floats, Floats]:
    """95 % limits of (T,) totals over a window, whose clusters arrive at random (compound Poisson).

    cluster_squares, day_squares: (T,) Σ of the squares of their totals. The larger of Σ_c v_c² and
    D times the variance between days, which count from `min_days` on.
    """
    variance, t = cluster_squares, np.full(len(total), t_quantile(LEVEL, max(1.0, groups - 1.0)))
    if days >= min_days:
        between = np.maximum(day_squares - total**2 / days, 0.0) * days / (days - 1.0)
        t = np.where(between >= variance, t_quantile(LEVEL, days - 1.0), t)
        variance = np.maximum(variance, between)
    half = t * np.sqrt(variance)
    return total - half, total + half
