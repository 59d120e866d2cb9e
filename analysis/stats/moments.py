"""Additive cluster moments of a ratio metric, and what follows from one window's alone.

A metric is a ratio of two totals: y (bad rows, nano-USD) by n (labelled rows). n_c and y_c are a
cluster's totals. All moments are exact Python integers, so no order of addition can change them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class WindowMoments:
    """One metric in one window.

    n, y: sums over clusters. nn, yy, ny: sums of n_c², y_c², n_c·y_c. clusters: those with
    n_c > 0. largest: max n_c. bad_clusters: those with y_c > 0.
    """

    n: int
    y: int
    nn: int
    yy: int
    ny: int
    clusters: int
    largest: int
    bad_clusters: int

    @property
    def rate(self) -> float:
        """y / n, nan for an empty window."""
        return int(self.y) / int(self.n) if self.n else math.nan

    @property
    def effective_clusters(self) -> float:
        """(Σ n_c)² / Σ n_c²: the number of equal clusters with the same variance (Kish 1965)."""
        return int(self.n) ** 2 / int(self.nn) if self.nn else 0.0

    @property
    def residual(self) -> Fraction:
        """Σ (y_c − (y/n) n_c)², exactly; n must not be 0."""
        n, y = int(self.n), int(self.y)
        total = int(self.yy) * n * n - 2 * y * n * int(self.ny) + y * y * int(self.nn)
        return Fraction(total, n * n)


@dataclass(frozen=True)
class Peak:
    """The heaviest cluster of a mean in one window, which may be two: the largest y_c, and the largest
    |y_c − r n_c| with r the mean rounded to a whole number."""

    y: int
    residual: int


def nearest_mean(m: WindowMoments) -> int:
    """y/n rounded to a whole number; 0 for an empty window."""
    n = int(m.n)
    return (2 * int(m.y) + n) // (2 * n) if n else 0


def dominance(m: WindowMoments, peak: Peak) -> float:
    """The share of Σ (y_c − r n_c)² that one cluster has; nan where it is 0."""
    total = m.residual if m.n else Fraction(0)
    return min(1.0, float(Fraction(int(peak.residual) ** 2) / total)) if total else math.nan


@dataclass(frozen=True)
class CrossMoments:
    """Sums over clusters of products between the windows (candidate 1, baseline 0).

    clusters: those with rows in either window.
    """

    n1n0: int
    y1y0: int
    n1y0: int
    y1n0: int
    clusters: int


@dataclass(frozen=True)
class DayTotals:
    """(window 0 or 1, day number, n, y) for each day with rows."""

    days: tuple[tuple[int, int, int, int], ...]

    def of(self, window: int) -> list[tuple[int, int]]:
        """(n, y) of the days of one window that hold rows."""
        return [(int(n), int(y)) for win, _, n, y in self.days if win == window and n]


def intraclass_correlation(m: WindowMoments) -> float:
    """Intraclass correlation ρ of a binary metric, by moments, clipped to [0, 1].

    Solves Σ (y_c − p n_c)² = p(1 − p)[n + ρ(Σ n_c² − n)]; 0 where nothing can be learned (no or
    only bad rows, or one row a cluster).
    """
    if not m.n or not 0 < m.y < m.n or m.nn <= m.n:
        return 0.0
    p = Fraction(int(m.y), int(m.n))
    rho = float((m.residual / (p * (1 - p)) - int(m.n)) / (int(m.nn) - int(m.n)))
    return min(1.0, max(0.0, rho))


def design_effect(n: float, nn: float, rho: float) -> float:
    """max(1, 1 + (Σ n_c²/n − 1) ρ): variance relative to independent rows (Kish 1965)."""
    if not n > 0 or not math.isfinite(rho):
        return 1.0
    return max(1.0, 1.0 + (nn / n - 1.0) * rho)
