"""What another routing policy would have cost, from a log of choices made with known probability.

Notation: a request i with context x got action a with probability e(a | x) and outcome y. The
policy in question moves it to action t with probability p_t(x), and leaves it its logged action
with the rest, `stays` = 1 − Σ p_t. Then

    w = p_a / e(a | x)        q̂(π) = Σ_t p_t q̂(x, t)

are its weight (0 where the logged action is none of the policy's) and what the outcome model
expects of the moved part. Every estimator is a vector of scores φ, one a request, whose mean is the
policy's value (Dudík, Langford & Li 2011; Saito, Aihara, Matsutani & Narita 2021, section 3):

    dm      stays y + q̂(π)                              the outcome model alone
    ips     stays y + w y                               Horvitz & Thompson 1952
    snips   stays y + (1 − stays) μ + w (y − μ) M / Σw   Swaminathan & Joachims 2015, eq. 10
            μ = Σ w y / Σ w, M = Σ (1 − stays)
    dr      stays y + q̂(π) + w (y − q̂(x, a))            Dudík, Langford & Li 2011, eq. 3
    switch  dr with w 1{w ≤ τ}                           Wang, Agarwal & Dudík 2017, eq. 6
    dros    dr with λ w / (w² + λ)                       Su et al. 2020, eq. 7

A value minus the logged mean is then *paired*: the mean of y − φ, with clusters as units.

Shapes everywhere: y, q_logged, q_target (n,) or (n, outcomes); weights, stays (n,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.stats.clustered_mean import total

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DROS_GRID = (0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
SWITCH_GRID = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0)
LEAST_PROPENSITY = 1e-12


def importance_weights(matched: Floats, propensity: Floats) -> Floats:
    """w, shape (n,). matched: p_a, the policy's probability of the logged action as a move.

    propensity: e(a | x) of the logged action, in (0, 1]; read where `matched` is above 0. Below
    `LEAST_PROPENSITY` it counts as that: no log is long enough to show such a choice, and the
    squares of larger weights leave the range of floats.

    Largest weight (×): how many requests the one that counts most stands for.
    """
    known = np.maximum(np.where(matched > 0, propensity, 1.0), LEAST_PROPENSITY)
    return np.where(matched > 0, matched / known, 0.0)


def direct_method_scores(y: Floats, q_target: Floats, stays: Floats) -> Floats:
    """The outcome model alone. Its interval ignores that q̂ was fitted.

    Outcome model (USD): the saving by the model of outcomes alone, without any correction by the log.
    """
    return _left(y, stays) + q_target


def ips_scores(y: Floats, weights: Floats, stays: Floats) -> Floats:
    """Inverse propensity scoring."""
    return _left(y, stays) + _column(weights, y) * y


def snips_scores(y: Floats, weights: Floats, stays: Floats) -> Floats:
    """Self-normalised inverse propensity scoring, linearised: the mean is the ratio, and the
    variance is the ratio's. nan where something moves and nothing that moved was logged.

    SNIPS (USD): the saving by weighted logged choices alone, the weights normalised by their own sum. Source:
    Swaminathan and Joachims 2015.
    """
    moved = 1.0 - stays
    if not (moved > 0).any():
        return np.array(y, dtype=float)
    sum_of = total(weights)
    if sum_of <= 0:
        return np.full(np.shape(y), math.nan)
    w = _column(weights, y)
    mean = np.sum(w * y, axis=0) / sum_of
    return _left(y, stays) + _column(moved, y) * mean + w * (y - mean) * (moved.sum() / sum_of)


def dr_scores(
    y: Floats, q_logged: Floats, q_target: Floats, weights: Floats, stays: Floats
) -> Floats:
    """Doubly robust. With logged propensities unbiased for any q̂ fitted on other clusters.

    Doubly robust: the estimator that is judged: a model of outcomes, corrected by logged choices that agree
    with the candidate, weighted by how probable they were. Source: Dudík, Langford and Li 2011.
    """
    return _left(y, stays) + q_target + _column(weights, y) * (y - q_logged)


def switched_weights(weights: Floats, tau: float) -> Floats:
    """w where w ≤ τ, else 0: the outcome model alone speaks where weights are large.

    Switch-DR (USD): doubly robust, but where weights are large the model of outcomes alone speaks. Source:
    Wang, Agarwal and Dudík 2017.
    """
    return np.where(weights <= tau, weights, 0.0)


def shrunken_weights(weights: Floats, lam: float) -> Floats:
    """λ w / (w² + λ): optimistic shrinkage.

    DRos (USD): doubly robust with large weights shrunk. Source: Su and others 2020.
    """
    return lam * weights / (weights * weights + lam)


def tuned(
    change: Callable[[Floats, float], Floats], grid: Sequence[float],
    y: Floats, q_logged: Floats, q_target: Floats, weights: Floats, stays: Floats,
) -> float:  # fmt: skip
    """The value of `grid` whose changed weights have the least squared bias plus variance.

    The bias is bounded by its distance from plain DR and that distance's own error (Su, Dimakopoulou,
    Krishnamurthy & Dudík 2020, section 5; Wang, Agarwal & Dudík 2017, section 4.2): a bias that the log
    is too short to see is not taken for none. y and q: (n,). Ties go to the larger value, which is
    nearer to plain DR.
    """
    plain = dr_scores(y, q_logged, q_target, weights, stays)
    best, least, n = max(grid), math.inf, max(len(y), 1)
    # A weight of 0 stays 0: only the other rows' scores hang on the value.
    weighted = weights > 0
    rows, others = np.flatnonzero(weighted), n - int(weighted.sum())
    w, off = weights[rows], (y - q_logged)[rows]
    centred = plain - plain.mean() if len(y) else plain
    here, fixed = centred[rows], centred[~weighted]
    for value in sorted(grid, reverse=True):
        away = (change(w, value) - w) * off
        mean = float(away.sum()) / n
        spread = math.sqrt((float(np.sum((away - mean) ** 2)) + others * mean * mean) / n)
        bias = abs(mean) + spread / math.sqrt(n)
        squares = float(np.sum((here + away - mean) ** 2)) + float(np.sum((fixed - mean) ** 2))
        error = bias * bias + squares / n / n
        if error < least * (1 - 1e-9):
            best, least = value, error
    return best


def _left(y: Floats, stays: Floats) -> Floats:
    return np.asarray(_column(stays, y) * y)


def _column(values: npt.NDArray[Any], like: Floats) -> npt.NDArray[Any]:
    return values[:, None] if np.ndim(like) == 2 else values
