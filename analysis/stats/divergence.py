"""Does a distribution differ between two windows, and by how much (STATISTICS section 8).

A feature is cut into B bins. Everything here follows from the counts of each window and from the
(2B, 2B) matrix T = Σ_c k_c k_cᵀ, where k_c stacks a cluster's baseline and candidate bin counts:
both are additive over clusters, so the engine computes them as integers. Baseline is 0, candidate
1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

# Below this share of the variance that independent rows would have, a window shows no spread at
# all (every cluster alike), and its clusters are counted as single trials instead.
NO_SPREAD = 0.1


@dataclass(frozen=True)
class BinMoments:
    """Bin counts of two windows with their second moments over units (clusters or days).

    counts: (2, B), baseline first. second: (2B, 2B), Σ over units of k kᵀ, baseline bins first.
    units: number of units with rows in the baseline, in the candidate, in either.
    """

    counts: np.ndarray
    second: np.ndarray
    units: tuple[int, int, int]

    @property
    def n_bins(self) -> int:
        """B."""
        return int(self.counts.shape[1])

    @property
    def totals(self) -> np.ndarray:
        """(2,) rows of each window."""
        return np.asarray(self.counts.sum(axis=1), dtype=float)

    @property
    def shares(self) -> np.ndarray:
        """(2, B) shares of each window."""
        return np.asarray(self.counts / self.totals[:, None], dtype=float)

    @property
    def pooled(self) -> np.ndarray:
        """(B,) shares of both windows together."""
        return np.asarray(self.counts.sum(axis=0) / self.totals.sum(), dtype=float)

    @property
    def effective_units(self) -> np.ndarray:
        """(2,) (Σn_c)²/Σn_c², what the units of each window are worth."""
        size = self.n_bins
        squares = [self.second[:size, :size].sum(), self.second[size:, size:].sum()]
        return np.asarray(self.totals**2 / np.maximum(squares, 1.0), dtype=float)


@dataclass(frozen=True)
class RaoScott:
    """The second-order test: `f` is referred to F(numerator_df, denominator_df).

    expected: mean of Σ_b d_b²/p̄_b without any drift, which is the bias of the PSI.
    """

    f: float
    numerator_df: float
    denominator_df: float
    expected: float
    p_value: float


def occupied(moments: BinMoments) -> BinMoments:
    """`moments` without the bins that are empty in both windows."""
    keep = np.flatnonzero(moments.counts.sum(axis=0) > 0)
    both = np.concatenate([keep, keep + moments.n_bins])
    return BinMoments(moments.counts[:, keep], moments.second[np.ix_(both, both)], moments.units)


def split_off(moments: BinMoments, index: int) -> BinMoments:
    """Two bins: all but bin `index`, and it."""
    size = moments.n_bins
    into = np.zeros((size, 2))
    into[np.arange(size), (np.arange(size) == index).astype(int)] = 1.0
    # Sums of one row of zeros and ones: exact, whatever the order.
    both = np.kron(np.eye(2), into)
    second = np.einsum("ia,ij,jb->ab", both, moments.second, both)
    return BinMoments(np.einsum("wb,ba->wa", moments.counts, into), second, moments.units)


def expanded(certain: np.ndarray, drawn: np.ndarray, n_rest: int, n_drawn: int) -> np.ndarray:
    """Σ over all units of k kᵀ from a part of them: certain + drawn · n_rest/n_drawn.

    certain: the sum over units that are taken for sure; drawn: over `n_drawn` that were drawn at
    random from the `n_rest` other ones. Both hold exact integers. It is the estimator of Horvitz &
    Thompson (1952); without any unit drawn it is exact. As the scores of `difference_covariance`
    are linear in k, with shares and totals that are known exactly, the covariance is unbiased.
    """
    drawn_from, n = (n_rest, n_drawn) if n_drawn else (1, 1)
    total = certain.astype(object) * n + drawn.astype(object) * drawn_from
    return np.asarray(total / n, dtype=float)


def psi(counts: np.ndarray) -> float:
    """Population stability index Σ_b (p₁b − p₀b) ln(p₁b/p₀b) of (2, B) counts.

    Shares are Jeffreys estimates (k + ½)/(n + B/2), so that an empty bin stays finite. The value is
    the symmetrised divergence of Kullback & Leibler (1951); it is not yet corrected for its bias.
    """
    bins = counts.shape[1]
    shares = (counts + 0.5) / (counts.sum(axis=1, keepdims=True) + bins / 2)
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def total_variation(shares0: np.ndarray, shares1: np.ndarray) -> float:
    """½ Σ_b |p₁b − p₀b|: the share of traffic that would have to change bin (0 to 1).

    Effect of drift (% or sd): of categories the share of traffic that would have to move; of numbers the
    distance that values moved, in standard deviations of the baseline. Source: total variation; Wasserstein
    distance, Vallender 1974.
    """
    return float(0.5 * np.abs(shares1 - shares0).sum())


def difference_covariance(moments: BinMoments) -> np.ndarray:
    """(B, B) covariance of p₁ − p₀ with units as clusters, which may be in both windows.

    V = G/(G − 1) Σ_c e_c e_cᵀ with e_cb = (k₁cb − p₁b n₁c)/N₁ − (k₀cb − p₀b n₀c)/N₀.
    """
    groups = moments.units[2]
    if groups < 2:
        return np.full((moments.n_bins, moments.n_bins), math.nan)
    cross = _scores(moments, 1, 0)
    total = _scores(moments, 1, 1) + _scores(moments, 0, 0) - cross - cross.T
    return np.asarray(groups / (groups - 1) * total, dtype=float)


def window_covariances(moments: BinMoments) -> tuple[np.ndarray, np.ndarray]:
    """Each window's own (B, B) covariance of its shares, units counted within the window.

    A window of one unit borrows the other's variance from unit to unit; nan where neither has two.
    """
    first, second = (
        n / (n - 1) * _scores(moments, w, w) if n > 1 else None
        for w, n in enumerate(moments.units[:2])
    )
    worth = moments.effective_units
    if first is None and second is None:
        unknown = np.full((moments.n_bins, moments.n_bins), math.nan)
        return unknown, unknown
    if first is None and second is not None:
        first = second * worth[1] / max(worth[0], 1.0)
    if second is None and first is not None:
        second = first * worth[0] / max(worth[1], 1.0)
    assert first is not None
    assert second is not None
    return first, second


def compare_distributions(clusters: BinMoments, days: BinMoments | None = None) -> RaoScott | None:
    """Whether two distributions are the same: the second-order test of Rao & Scott (1984).

    Σ_b d_b²/p̄_b is, without drift, a sum of χ²₁ weighted by the eigenvalues of the generalised
    design-effect matrix M = P̄^(−½) V P̄^(−½). Satterthwaite (1946) matches its first two moments:
    F = Σ_b d_b²/p̄_b / tr M on ν = (tr M)²/tr M² and ν·f degrees of freedom, f those of V (Thomas &
    Rao 1987). days: given for before/after comparisons; both covariances are tried on the days'
    Welch degrees of freedom, and the larger p-value counts.

    Returns None where it cannot be told: fewer than two occupied bins, an empty window, no unit to
    compare.
    """
    if clusters.n_bins < 2 or not np.all(clusters.totals > 0):
        return None
    difference = clusters.shares[1] - clusters.shares[0]
    by_cluster = difference_covariance(clusters)
    if np.isnan(by_cluster).any():
        return None
    own = window_covariances(clusters)
    covariances = [_with_spread(by_cluster, own, clusters)]
    df = _welch(own, clusters.effective_units, clusters.pooled)
    if days is not None:
        parts = window_covariances(days)
        if not np.isnan(parts[0]).any():
            covariances.append(parts[0] + parts[1])
            df = min(df, _welch(parts, days.effective_units, clusters.pooled))
    tests = [_satterthwaite(difference, v, clusters.pooled, df) for v in covariances]
    known = [t for t in tests if t is not None]
    if not known:
        return None
    weakest = max(known, key=lambda t: (t.p_value, t.expected))
    expected = max(t.expected for t in known)
    return RaoScott(
        weakest.f, weakest.numerator_df, weakest.denominator_df, expected, weakest.p_value
    )


@dataclass(frozen=True)
class Holders:
    """`n_categories` categories, each held by `clusters` clusters and on `days` days.

    A unit that is in both windows counts in each. absent: the baseline lacks the category; gone: the
    candidate does.
    """

    clusters: int
    days: int
    absent: bool
    n_categories: int
    gone: bool = False


def absent_category_p(
    holders: Sequence[Holders], cluster_chance: float, day_chance: float | None = None
) -> float | None:
    """p-value for categories that the candidate has and the baseline lacks; None without any.

    cluster_chance, day_chance: probability that a unit with the category lies in the candidate if
    the windows do not differ; days only count in before/after comparisons.
    """
    return _one_sided_p(holders, [h.absent for h in holders], cluster_chance, day_chance)


def vanished_category_p(
    holders: Sequence[Holders], cluster_chance: float, day_chance: float | None = None
) -> float | None:
    """The same for categories that the baseline has and the candidate lacks.

    cluster_chance, day_chance: probability that a unit with the category lies in the baseline.
    """
    return _one_sided_p(holders, [h.gone for h in holders], cluster_chance, day_chance)


def _one_sided_p(
    holders: Sequence[Holders],
    only_here: Sequence[bool],
    cluster_chance: float,
    day_chance: float | None,
) -> float | None:
    """p-value for categories that lie in one window only; None without any.

    A category of g units lies wholly in a window with probability chance^g (the larger of clusters
    and days). Over all categories, the discrete Bonferroni bound of Westfall & Wolfinger (1997) adds
    up the attainable p-values that are no larger than the smallest one observed.
    """

    def attainable(h: Holders) -> float:
        by_day = day_chance**h.days if day_chance is not None else 0.0
        return max(cluster_chance**h.clusters, by_day)

    observed = [attainable(h) for h, only in zip(holders, only_here, strict=True) if only]
    if not observed:
        return None
    smallest = min(observed)
    reached = [h for h in holders if attainable(h) <= smallest]
    return min(1.0, math.fsum(h.n_categories * attainable(h) for h in reached))


def _scores(moments: BinMoments, w: int, v: int) -> np.ndarray:
    """(B, B) Σ over units of (k_w − p_w n_w)(k_v − p_v n_v)ᵀ / (N_w N_v).

    Written out element by element: a matrix product would add up in an order that depends on the
    number of threads.
    """
    size, shares, totals = moments.n_bins, moments.shares, moments.totals
    block = moments.second[w * size : (w + 1) * size, v * size : (v + 1) * size]
    centred = (
        block
        - np.outer(shares[w], block.sum(axis=0))
        - np.outer(block.sum(axis=1), shares[v])
        + np.outer(shares[w], shares[v]) * block.sum()
    )
    return np.asarray(centred / (totals[w] * totals[v]), dtype=float)


def _with_spread(
    covariance: np.ndarray, own: tuple[np.ndarray, np.ndarray], clusters: BinMoments
) -> np.ndarray:
    """`covariance`, but never below that of independent rows.

    A complete switch leaves no spread within either window: clusters then count as single trials.
    """
    pooled = clusters.pooled
    multinomial = np.diag(pooled) - np.outer(pooled, pooled)
    rows = float((1.0 / clusters.totals).sum())
    independent = (len(pooled) - 1) * rows
    spread = float(np.sum(np.diag(own[0] + own[1]) / pooled)) if len(pooled) else 0.0
    if not spread >= NO_SPREAD * independent:
        return np.asarray(multinomial * float((1.0 / clusters.effective_units).sum()))
    if float(np.sum(np.diag(covariance) / pooled)) < independent:
        return np.asarray(multinomial * rows)
    return covariance


def _welch(parts: tuple[np.ndarray, np.ndarray], units: np.ndarray, pooled: np.ndarray) -> float:
    """Welch (1947) degrees of freedom of the summed trace; `units` are effective units."""
    df = np.maximum(units - 1.0, 0.0)
    traces = np.array([float(np.sum(np.diag(v) / pooled)) for v in parts])
    if not np.isfinite(traces).all() or traces.sum() <= 0:
        return max(1.0, float(df.sum()))
    # A window of one unit borrowed its variance, and with it the other window's knowledge.
    df = np.where(df < 1, df.max(), df)
    weights = traces / traces.sum()
    return max(1.0, float(1.0 / np.sum(weights**2 / np.maximum(df, 1.0))))


def _satterthwaite(
    difference: np.ndarray, covariance: np.ndarray, pooled: np.ndarray, df: float
) -> RaoScott | None:
    root = 1.0 / np.sqrt(pooled)
    design = covariance * np.outer(root, root)
    trace = float(np.trace(design))
    distance = float(np.sum(difference**2 / pooled))
    if not (trace > 0 and math.isfinite(trace)):
        return None
    numerator = min(max(trace**2 / float(np.sum(design * design.T)), 1.0), len(pooled) - 1.0)
    statistic = distance / trace
    p = float(special.fdtrc(numerator, numerator * df, statistic))
    return RaoScott(statistic, numerator, numerator * df, trace, p)
