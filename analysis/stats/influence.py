"""Smooth functions of the sums of cells in two windows, linearised: a value, and what a row adds to it.

A statistic T of the rows n and the outcomes y of K cells in both windows (baseline 0, candidate 1)
changes by a_wk + b_wk y with a row of window w and cell k whose outcome is y: a = ∂T/∂n, b = ∂T/∂y. These
are its influences; over all rows they sum to 0 where T does not hang on a window's size. Summed by
cluster they give the linearised (delta method) variance V = G/(G − 1) Σ_c (Σ influences)² of
Särndal, Swensson & Wretman (1992), section 5.7; a cluster with rows in both windows counts once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.intervals import t_quantile, welch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Linearised:
    """A statistic with its derivatives by each cell's n and y, (2, K) each."""

    value: float
    on_n: Floats
    on_y: Floats

    def __add__(self, other: Linearised) -> Linearised:
        return Linearised(self.value + other.value, self.on_n + other.on_n, self.on_y + other.on_y)

    def __sub__(self, other: Linearised) -> Linearised:
        return self + other.times(-1.0)

    def times(self, factor: float) -> Linearised:
        """The statistic multiplied by a known number."""
        return Linearised(self.value * factor, self.on_n * factor, self.on_y * factor)

    def over(self, other: Linearised) -> Linearised:
        """The ratio to a statistic that is not 0."""
        value = self.value / other.value
        return Linearised(
            value,
            (self.on_n - value * other.on_n) / other.value,
            (self.on_y - value * other.on_y) / other.value,
        )


@dataclass(frozen=True)
class Day:
    """One day of one window: the sum of its rows' influences, and the rows behind it."""

    win: int
    influence: float
    n: float


@dataclass(frozen=True)
class Spread:
    """A variance and its degrees of freedom; nan where nothing tells how far the value varies."""

    variance: float
    df: float

    def reach(self, level: float = 0.975) -> float:
        """t √V at a one-sided `level`."""
        if math.isnan(self.variance):
            return math.nan
        return t_quantile(level, self.df) * math.sqrt(self.variance)


def spread(squares: float, n_clusters: int, days: Sequence[Day] | None = None) -> Spread:
    """V = max(V_cluster, V_day) with Welch's degrees of freedom over days (STATISTICS section 1).

    squares: Σ_c (Σ influences)² over clusters. days: given for before/after comparisons; without them
    V is the clusters' and the degrees of freedom are G − 1.
    """
    if n_clusters < 2:
        return Spread(math.nan, math.nan)
    cluster = squares * n_clusters / (n_clusters - 1.0)
    if days is not None:
        daily = over_days(days)
        if not math.isnan(daily.variance):
            return Spread(max(cluster, daily.variance), daily.df)
    return Spread(cluster, n_clusters - 1.0)


def over_days(days: Sequence[Day]) -> Spread:
    """V with days as clusters; each window has its factor D/(D − 1), and Welch (1947) joins them.

    A window of a single day borrows the other's variance from day to day; nan where neither has two.
    """
    held = [[d for d in days if d.win == win and d.n > 0] for win in (0, 1)]
    counts = [len(h) for h in held]
    if max(counts) < 2:
        return Spread(math.nan, math.nan)
    own = [
        len(h) / (len(h) - 1.0) * math.fsum(d.influence**2 for d in h) if len(h) > 1 else math.nan
        for h in held
    ]
    for win in (0, 1):
        if counts[win] == 1:
            other = held[1 - win]
            # Its rate varies like that of one day of the other window.
            size = math.fsum(d.n for d in other) ** 2 / math.fsum(d.n * d.n for d in other)
            return Spread(own[1 - win] * (1.0 + size), counts[1 - win] - 1.0)
        if counts[win] == 0:
            return Spread(own[1 - win], counts[1 - win] - 1.0)
    return Spread(*welch(own[0], counts[0] - 1.0, own[1], counts[1] - 1.0))
