"""Does a window differ from an earlier one, where of the earlier one only counts by day are known?

Shares of a window vary for two reasons, which are told apart here:

    V = δ (diag p̄ − p̄ p̄ᵀ)/N + c · D · Σ_d n_d²/N²

δ is the design effect of the column's clusters: the variance of its shares over that of independent rows,
averaged over bins (Rao & Scott 1984, the mean generalised design effect). D is the covariance of a day's
own shares beyond what its rows explain, by moments from the days of many weeks about their week and their
weekday, so that one week of seven days borrows what all of them know (Searle, Casella & McCulloch 1992,
chapter 5: the analysis of variance estimator, never below 0). c allows for days that resemble the day
before: within a week they hide some of their variance, and a week's mean has more of it.

The statistic is that of `divergence`, Σ_b d_b²/p̄_b: without drift a sum of χ²₁ weighted by eigenvalues
(Rao & Scott 1984). Days often move along one direction, by far more than rows do along the others; then two
moments give too light a tail, and three are matched (Hall 1983, "Chi squared approximations to the
distribution of a sum of independent random variables"; Buckley & Eagleson 1988), which is the same F
where all eigenvalues are. The denominator is Satterthwaite's: 2 (tr V)² over the variance of tr V's estimate,
which is that of the days' scatter; where days are all, it is ν f of Thomas & Rao 1987.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.divergence import BinMoments, psi, window_covariances

Floats = npt.NDArray[np.float64]

WEEK = 7
# Days that correlate by no more than this with the day before are allowed for.
DAY_CORRELATION = 0.3
# Fewer weeks than this do not tell weekdays from chance.
MIN_WEEKS_FOR_WEEKDAYS = 3
MAX_DF = 1e6


@dataclass(frozen=True)
class Sample:
    """One window's counts, (B,).

    day_share: Σ_d n_d²/N², one over the number of equal days; 0 where days are within
    `design_effect`, which is the column's where it is None.
    """

    counts: Floats
    day_share: float
    design_effect: float | None = None

    @property
    def n(self) -> float:
        """Rows."""
        return float(self.counts.sum())


@dataclass(frozen=True)
class Spread:
    """How far a column's shares vary by chance.

    effects: (days, δ of the docstring) of each window, rising; δ is at least 1. Users come back, and so δ
    grows with the days of a window: one of fewer days takes that of the next longer one.
    evenness: Satterthwaite's degrees of freedom over B − 1, 1 where the design effect is the same in every
    direction. cluster_df: of both. per_day: D, (B, B). scatter: the covariance of a day's shares as
    observed, rows included. day_df: of the scatter; 0 where it is not known.
    """

    effects: tuple[tuple[float, float], ...]
    evenness: float
    cluster_df: float
    per_day: Floats
    scatter: Floats
    day_df: float

    def effect_of(self, sample: Sample) -> float:
        """The design effect of a window: its own, or the column's over as many days."""
        if sample.design_effect is not None:
            return sample.design_effect
        days = 1 / sample.day_share if sample.day_share > 0 else math.inf
        longer = [held for held, _ in self.effects if held >= days]
        # Of windows as long as each other the larger: the few large users may all be in one arm.
        return max(effect for held, effect in self.effects if not longer or held == longer[0])


@dataclass(frozen=True)
class Compared:
    """psi: bias-corrected. raw_psi: before. p_value: of no difference."""

    psi: float
    raw_psi: float
    p_value: float


def of_days(counts: npt.ArrayLike) -> Sample:
    """The sample that days make up. counts: (D, B)."""
    by_day = np.asarray(counts, dtype=float)
    sizes = by_day.sum(axis=1)
    total = sizes.sum()
    share = float(np.sum(sizes**2) / total**2) if total > 0 else 0.0
    return Sample(np.asarray(by_day.sum(axis=0)), share)


def spread_of(
    clusters: BinMoments,
    blocks: Sequence[npt.ArrayLike],
    size: int,
    days: tuple[int, int],
    one_day: bool = True,
) -> Spread:
    """The spread of a column of `size` bins.

    clusters: both windows' moments over clusters, of occupied bins alone. days: of each window. one_day:
    whether a cluster lies within a day, as a session does; of others at least what is spread evenly over
    the window's days is within one, and no more is taken to explain a day's scatter.
    blocks: counts by day and bin of stretches without drift within, (7, B) each from the same weekday on
    where they are weeks; one block (D, B) of what days there are, where there is no whole week.
    """
    effects, evenness, df = _design_effects(clusters, days)
    within = min(1 + (effect - 1) / (1 if one_day else max(held, 1.0)) for held, effect in effects)
    return Spread(effects, evenness, df, *_between_days(blocks, size, within))


def compare_counts(reference: Sample, candidate: Sample, spread: Spread) -> Compared | None:
    """Whether two windows have the same distribution; None where that cannot be told."""
    keep = np.flatnonzero(reference.counts + candidate.counts > 0)
    if len(keep) < 2 or min(reference.n, candidate.n) <= 0:
        return None
    old, new = reference.counts[keep], candidate.counts[keep]
    pooled = (old + new) / (reference.n + candidate.n)
    difference = new / candidate.n - old / reference.n
    rows = sum(spread.effect_of(s) / s.n for s in (reference, candidate))
    multinomial = np.diag(pooled) - np.outer(pooled, pooled)
    weight = (reference.day_share + candidate.day_share) * allowance()
    covariance = multinomial * rows + spread.per_day[np.ix_(keep, keep)] * weight
    scatter = spread.scatter[np.ix_(keep, keep)] * weight
    p_value = quadratic_p(difference, covariance, pooled, spread, scatter)
    if p_value is None:
        return None
    raw = psi(np.stack([old, new]))
    return Compared(raw - float(np.sum(np.diag(covariance) / pooled)), raw, p_value)


def total_design_effect(sample: Sample, spread: Spread) -> float:
    """The variance of a window's shares over that of independent rows, days included; at least 1."""
    return _total(sample, spread)[0]


def without_days(spread: Spread, sample: Sample, size: int) -> Spread:
    """A spread for `size` other bins, in which days are part of design effects.

    sample: the window that tells how even these are. Days limit what is known of them.
    """
    none = np.zeros((size, size))
    df = min(spread.cluster_df, spread.day_df) if spread.day_df >= 1 else spread.cluster_df
    return Spread(spread.effects, _total(sample, spread)[1], max(1.0, df), none, none, 0.0)


def _total(sample: Sample, spread: Spread) -> tuple[float, float]:
    """The design effect of a window with its days, and its evenness."""
    keep = np.flatnonzero(sample.counts > 0)
    effect = spread.effect_of(sample)
    if len(keep) < 2:
        return effect, spread.evenness
    shares = np.asarray(sample.counts[keep] / sample.n)
    covariance = effect / sample.n * (np.diag(shares) - np.outer(shares, shares))
    covariance = covariance + spread.per_day[np.ix_(keep, keep)] * (allowance() * sample.day_share)
    most = len(keep) - 1.0
    trace = float(np.sum(np.diag(covariance) / shares))
    return trace * sample.n / most, spread.evenness * directions(covariance, shares) / most


def quadratic_p(
    difference: Floats,
    covariance: Floats,
    pooled: Floats,
    spread: Spread,
    scatter: Floats | None = None,
) -> float | None:
    """p of Σ_b d_b²/p̄_b by its first three moments; None without variance.

    scatter: what of `covariance` comes from days, as if rows explained none of it. The column's evenness
    widens the moments, whose matrix knows the mean design effect alone.
    """
    root = 1.0 / np.sqrt(pooled)
    trace = float(np.sum(np.diag(covariance) / pooled))
    if not (trace > 0 and math.isfinite(trace)):
        return None
    design = covariance * np.outer(root, root)
    squared = np.einsum("ij,jk->ik", design, design)
    second = float(np.trace(squared)) / spread.evenness
    third = float(np.sum(squared * design)) / spread.evenness**2
    numerator = min(max(second**3 / third**2, 1.0), len(pooled) - 1.0)
    denominator = trace**2 / second * spread.cluster_df
    if scatter is not None and spread.day_df >= 1 and scatter.any():
        # Also where D is estimated as nothing: how little the days say of it is the same.
        of_days = scatter * np.outer(root, root)
        denominator = min(
            denominator, spread.day_df * trace**2 / float(np.sum(of_days * of_days.T))
        )
    distance = float(np.sum(difference**2 / pooled))
    away = (distance - trace) / math.sqrt(second)
    return f_tail(max(1 + away / math.sqrt(numerator), 0.0), numerator, max(denominator, 1.0))


def directions(covariance: Floats, pooled: Floats) -> float:
    """Satterthwaite's (tr M)²/tr M² of M = P̄^(−½) V P̄^(−½): in how many directions shares vary."""
    root = 1.0 / np.sqrt(pooled)
    design = covariance * np.outer(root, root)
    return float(np.trace(design) ** 2 / np.sum(design * design.T))


def f_tail(statistic: float, numerator: float, denominator: float) -> float:
    """P(F > statistic)."""
    return float(special.fdtrc(numerator, denominator, statistic))


def allowance(correlation: float = DAY_CORRELATION, n: int = WEEK) -> float:
    """How much more a long mean varies than days about their week's mean say, where days correlate.

    With an autocorrelation ρᵏ a mean of many days has the variance σ²(1 + ρ)/(1 − ρ) over their number,
    and the days' own variance about the mean of n is σ²(n − 1ᵀΓ1/n)/(n − 1) on average.
    """
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    total = float(np.sum(correlation**lags))
    return (1 + correlation) / (1 - correlation) * (n - 1) / (n - total / n)


# ── the two parts ────────────────────────────────────────────────────────────────────────


def _design_effects(
    clusters: BinMoments, days: tuple[int, int]
) -> tuple[tuple[tuple[float, float], ...], float, float]:
    """Each window's days and design effect, the least evenness, and the fewest degrees of freedom."""
    effects: list[tuple[float, float]] = []
    evenness, df = 1.0, MAX_DF
    if clusters.n_bins < 2 or not np.all(clusters.totals > 0):
        return ((1.0, 1.0),), evenness, df
    worth = clusters.effective_units
    for w, covariance in enumerate(window_covariances(clusters)):
        keep = np.flatnonzero(clusters.shares[w] > 0)
        if len(keep) < 2 or np.isnan(covariance).any():
            continue
        shares, own = clusters.shares[w][keep], covariance[np.ix_(keep, keep)]
        trace = float(np.sum(np.diag(own) / shares))
        if not trace > 0:
            continue
        most = len(keep) - 1.0
        effects.append((float(days[w]), max(1.0, trace * float(clusters.totals[w]) / most)))
        evenness = min(evenness, directions(own, shares) / most)
        df = min(df, max(1.0, float(worth[w]) - 1.0))
    return tuple(sorted(effects)) or ((1.0, 1.0),), evenness, df


def _between_days(
    blocks: Sequence[npt.ArrayLike], size: int, effect: float
) -> tuple[Floats, Floats, float]:
    """D of the docstring, a day's scatter, and its degrees of freedom; zeros where days are too few."""
    none = np.zeros((size, size)), np.zeros((size, size)), 0.0
    by_day = [np.asarray(block, dtype=float) for block in blocks]
    counts = np.concatenate(by_day) if by_day else np.zeros((0, size))
    block = np.repeat(np.arange(len(by_day)), [len(b) for b in by_day])
    weekday = np.concatenate([np.zeros(0, int), *(np.arange(len(b)) % WEEK for b in by_day)])
    sizes = counts.sum(axis=1)
    there = sizes > 0
    counts, block, weekday, sizes = counts[there], block[there], weekday[there], sizes[there]
    if not len(sizes):
        return none
    shares = counts / sizes[:, None]
    effects = [(block == b).astype(float) for b in np.unique(block)]
    if len(effects) >= MIN_WEEKS_FOR_WEEKDAYS:
        effects += [(weekday == d).astype(float) for d in np.unique(weekday)[1:]]
    design = np.stack(effects, axis=1)
    fitted, _, rank, _ = np.linalg.lstsq(design, shares, rcond=None)
    df = float(len(sizes) - rank)
    if df < 1:
        return none
    residual = shares - design @ fitted
    observed = np.einsum("ij,ik->jk", residual, residual) / df
    pooled = counts.sum(axis=0) / counts.sum()
    keep = np.flatnonzero(pooled > 0)
    by_rows = effect * float(np.mean(1.0 / sizes))
    per_day = np.zeros((size, size))
    per_day[np.ix_(keep, keep)] = _beyond_rows(observed[np.ix_(keep, keep)], pooled[keep], by_rows)
    # Days that resemble each other tell less of their variance (Bayley & Hammersley 1946).
    worth = (1 - DAY_CORRELATION**2) / (1 + DAY_CORRELATION**2)
    return per_day, np.asarray(observed), df * worth


def _beyond_rows(observed: Floats, pooled: Floats, by_rows: float) -> Floats:
    """What days add to the variance of rows, (B, B): of no negative variance in any direction.

    Its directions are those in which days scatter more than rows; its trace is the difference of both,
    which leaving out negative ones would raise.
    """
    root = np.sqrt(pooled)
    beyond = observed / np.outer(root, root)
    beyond -= by_rows * (np.eye(len(root)) - np.outer(root, root))
    trace = float(np.trace(beyond))
    if not trace > 0:
        return np.zeros_like(observed)
    values, vectors = np.linalg.eigh((beyond + beyond.T) / 2)
    values = np.maximum(values, 0.0)
    kept = np.einsum("ij,j,kj->ik", vectors, values * (trace / values.sum()), vectors)
    return np.asarray(kept * np.outer(root, root))
