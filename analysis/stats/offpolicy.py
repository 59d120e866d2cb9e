"""What another routing policy would have cost, from a log that knows its own probabilities.

Notation: a request i with context x got action a with probability e(a | x) and outcome y. The
policy in question would have chosen π(x). Requests that it leaves alone keep their logged action:
their target is `KEEP`, their outcome under the policy is y itself. The weight of a request is

    w = 1{a = π(x)} / e(a | x),   0 where the policy keeps the logged action.

Every estimator here is a vector of scores φ, one a request, whose mean is the policy's value
(Dudík, Langford & Li 2011; Saito, Aihara, Matsutani & Narita 2021, section 3). A value minus the
logged mean is then *paired*: the mean of y − φ, with clusters as units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from analysis.stats.intervals import t_quantile, t_tail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KEEP = -1
DROS_GRID = (0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
MIN_TAIL = 5
LEAST_PROPENSITY = 1e-12


# ── scores ───────────────────────────────────────────────────────────────────────────────


def importance_weights(action: Ints, target: Ints, propensity: Floats) -> Floats:
    """w, shape (n,). action, target: codes; propensity: e(a | x) of the logged action, in (0, 1].

    A propensity below `LEAST_PROPENSITY` counts as that: no log is long enough to show such a
    choice, and the squares of larger weights leave the range of floats.
    """
    matched = (target != KEEP) & (action == target)
    known = np.maximum(np.where(matched, propensity, 1.0), LEAST_PROPENSITY)
    return np.where(matched, 1.0 / known, 0.0)


def direct_method_scores(y: Floats, q_target: Floats, target: Ints) -> Floats:
    """φ = q̂(x, π): the outcome model alone. Its interval ignores that q̂ was fitted.

    y, q_target: shape (n,) or (n, outcomes), as everywhere below.
    """
    return np.where(_column(target != KEEP, y), q_target, y)


def ips_scores(y: Floats, weights: Floats, target: Ints) -> Floats:
    """φ = w y: inverse propensity scoring (Horvitz & Thompson 1952)."""
    return np.where(_column(target != KEEP, y), _column(weights, y) * y, y)


def snips_scores(y: Floats, weights: Floats, target: Ints) -> Floats:
    """Self-normalised inverse propensity scoring (Swaminathan & Joachims 2015, eq. 10), linearised.

    Over the changed requests, μ = Σ w y / Σ w; φ = μ + w (y − μ) / w̄ has mean μ, and the
    variance of the ratio. nan where no changed request got its target.
    """
    changed = target != KEEP
    if not changed.any():
        return np.array(y, dtype=float)
    total = math.fsum(weights.tolist())
    if total <= 0:
        return np.full(np.shape(y), math.nan)
    w = _column(weights, y)
    mean = np.sum(w * y, axis=0) / total
    return np.where(
        _column(changed, y), mean + w * (y - mean) * (np.count_nonzero(changed) / total), y
    )


def dr_scores(
    y: Floats, q_logged: Floats, q_target: Floats, weights: Floats, target: Ints
) -> Floats:
    """φ = q̂(x, π) + w (y − q̂(x, a)): doubly robust (Dudík, Langford & Li 2011, eq. 3).

    With logged propensities it is unbiased for any q̂ that was fitted on other clusters.
    """
    return np.where(_column(target != KEEP, y), q_target + _column(weights, y) * (y - q_logged), y)


def shrunken_weights(weights: Floats, lam: float) -> Floats:
    """λ w / (w² + λ): optimistic shrinkage (Su, Dimakopoulou, Krishnamurthy & Dudík 2020, eq. 7)."""
    return lam * weights / (weights * weights + lam)


def dros_lambda(
    y: Floats, q_logged: Floats, q_target: Floats, weights: Floats, target: Ints,
    grid: Sequence[float] = DROS_GRID,
) -> float:  # fmt: skip
    """The λ of `grid` with the least estimated squared bias plus variance (Su et al. 2020, sec. 5).

    Ties go to the larger λ, which is nearer to the unbiased estimator.
    """
    plain = dr_scores(y, q_logged, q_target, weights, target)
    best, least = grid[-1], math.inf
    for lam in sorted(grid, reverse=True):
        scores = dr_scores(y, q_logged, q_target, shrunken_weights(weights, lam), target)
        bias = float(np.mean(scores - plain))
        error = bias * bias + float(np.var(scores)) / max(len(y), 1)
        if error < least * (1 - 1e-9):
            best, least = lam, error
    return best


def _column(values: npt.NDArray[Any], like: Floats) -> npt.NDArray[Any]:
    return values[:, None] if np.ndim(like) == 2 else values


# ── means over clusters ──────────────────────────────────────────────────────────────────


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
    value = math.fsum(scores.tolist()) / n
    members = np.bincount(cluster)
    groups = int(np.count_nonzero(members))
    if groups < 2:
        return ClusteredMean(value, math.inf, 1.0, n)
    totals = np.bincount(cluster, weights=scores - value)
    variance = groups / (groups - 1.0) * math.fsum((totals * totals).tolist()) / (float(n) * n)
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


# ── diagnostics ──────────────────────────────────────────────────────────────────────────


def effective_sample_size(weights: Floats, cluster: Ints) -> float:
    """(Σ_c w_c)² / Σ_c w_c² over cluster totals of the weights (Kish 1965); 0 without weight."""
    totals = np.bincount(cluster, weights=weights) if len(weights) else np.zeros(0)
    squares = math.fsum((totals * totals).tolist())
    return math.fsum(totals.tolist()) ** 2 / squares if squares > 0 else 0.0


def pareto_k(weights: Floats) -> float:
    """Shape of the tail of the positive weights; nan where there is too little of a tail.

    Tail: those above the (M + 1)-th largest, M = min(n/5, 3√n). Shape: `generalized_pareto_shape`,
    drawn to ½ by ten observations (Vehtari, Simpson, Gelman, Yao & Gabry 2024, appendix C). Above
    0.7 a mean of the weights is not to be trusted.
    """
    positive = np.sort(weights[weights > 0])
    size = int(min(len(positive) / 5, 3 * math.sqrt(len(positive))))
    if size < MIN_TAIL:
        return math.nan
    threshold = positive[-size - 1]
    tail = positive[positive > threshold] - threshold
    # Below the float's own precision a difference of weights is rounding, not a tail.
    if len(tail) < MIN_TAIL or tail[-1] <= 1e-12 * threshold:
        return math.nan
    k = generalized_pareto_shape(tail)
    return (k * len(tail) + 0.5 * 10) / (len(tail) + 10)


def generalized_pareto_shape(exceedances: Floats) -> float:
    """Shape k of a generalised Pareto distribution, k > 0 for heavy tails.

    The quasi-Bayesian estimator of Zhang & Stephens (2009), eqs 6 to 9, with the sign of k turned.
    exceedances: sorted, positive, at least two.
    """
    x = np.asarray(exceedances, dtype=float)
    n = len(x)
    m = 30 + int(math.sqrt(n))
    steps = np.arange(1, m + 1) - 0.5
    quartile = x[max(int(n / 4 + 0.5) - 1, 0)]
    theta = 1.0 / x[-1] + (1.0 - np.sqrt(m / steps)) / (3.0 * quartile)
    theta = theta[theta != 0]
    shape = np.array([np.mean(np.log1p(-t * x)) for t in theta])
    log_likelihood = n * (np.log(-theta / shape) - shape - 1.0)
    weight = special.softmax(log_likelihood)
    best = float(np.sum(theta * weight))
    return float(np.mean(np.log1p(-best * x)))


# ── what the log cannot say ──────────────────────────────────────────────────────────────


def imbens_manski(
    low: float, low_error: float, high: float, high_error: float, confidence: float = 0.95
) -> tuple[float, float]:
    """An interval that holds a partly identified value with `confidence` (Imbens & Manski 2004).

    low, high: estimated bounds with their standard errors. Eq. 7: the one-sided quantile where the
    bounds lie far apart, the two-sided one where they meet.
    """
    largest = max(low_error, high_error)
    if not math.isfinite(largest):
        return -math.inf, math.inf
    if largest <= 0:
        return low, high
    gap = max(high - low, 0.0) / largest

    def excess(c: float) -> float:
        return float(special.ndtr(c + gap) - special.ndtr(-c)) - confidence

    c = float(optimize.brentq(excess, 0.0, 10.0, xtol=1e-12))
    return low - c * low_error, high + c * high_error


def ab_test_size(
    rate: float, change: float, deff: float = 1.0, level: float = 0.975, power: float = 0.8
) -> int | None:
    """Requests an arm to tell a rate from rate + change: one-sided `level`, `power` (Fleiss 1981).

    None where `deff` is infinite: of a single cluster nobody knows how much clusters differ.
    """
    if math.isinf(deff):
        return None
    other = min(1.0, max(0.0, rate + change))
    spread = rate * (1 - rate) + other * (1 - other)
    z = float(special.ndtri(level) + special.ndtri(power))
    return max(1, math.ceil(deff * z * z * spread / (change * change)))
