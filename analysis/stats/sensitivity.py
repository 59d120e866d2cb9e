"""How much hidden confounding a backtest bears: the marginal sensitivity model (Tan 2006).

The true odds of the logged choice may differ from e(t | x) / (1 − e(t | x)) by up to a factor Γ,
for reasons that also move outcomes and that nobody logged. The value of always choosing t then lies
between bounds. Of requests that did not take t, the worst mean outcome that is compatible with the
log is a conditional value at risk (Dorn & Guo 2023; Dorn, Guo & Kallus 2024, section 3):

    E[Y(t) | a ≠ t, x] ≤ E[H | a = t, x],  H = y/Γ + (1 − 1/Γ) (k + (1 + Γ) (y − k)₊)

for *any* number k(x), and sharply so for k the Γ/(1 + Γ) quantile of y given x and t. Here k is that
quantile within the cell, so that the bounds hold, and are sharp as far as cells tell outcomes apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MOST = 20.0
MIN_CELL = 50


@dataclass(frozen=True)
class Move:
    """A part of a policy: with probability `share` requests go to one target each.

    share: (n,), 0 where this part moves nothing. matched: (n,) whether the log took the target.
    propensity: (n,), of the target, read where matched. q_target: (n,) expected outcome of it.
    group: (n,) codes of cells from 0, read where share is above 0.
    """

    share: Floats
    matched: Bools
    propensity: Floats
    q_target: Floats
    group: Ints


def worst_scores(
    y: Floats, stays: Floats, moves: Sequence[Move], gamma: float, *, high: bool
) -> Floats:
    """Scores (n,) whose mean is the largest (`high`) or least value under Γ = `gamma` ≥ 1.

    With Γ = 1 they are doubly robust scores. For each move: A y + (1 − A) ρ + A (1 − e)/e (H − ρ),
    ρ = E[H | x, t], of cells' means and the outcome model's differences within them.
    """
    turn = 1.0 if high else -1.0
    out = turn * stays * y
    for move in moves:
        rows = np.flatnonzero(move.share > 0)
        matched = move.matched[rows]
        e = np.where(matched, move.propensity[rows], 1.0)
        y_moved = turn * y[rows]
        bound, mean = _tail_means(
            y_moved, turn * move.q_target[rows], matched, e, move.group[rows], gamma
        )
        taken = y_moved + (1.0 - e) / e * (bound - mean)
        out[rows] += move.share[rows] * np.where(matched, taken, mean)
    return turn * out


def _tail_means(
    y: Floats, q: Floats, matched: Bools, e: Floats, group: Ints, gamma: float
) -> tuple[Floats, Floats]:
    """H (where matched) and ρ, (n,) each."""
    at = gamma / (1.0 + gamma)
    few = np.bincount(group[matched], minlength=int(group.max(initial=0)) + 1) < MIN_CELL
    # Small cells share one quantile and one mean.
    pool = np.where(few[group], -1, group)
    order = np.argsort(pool, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(pool[order], prepend=-2)), len(order))
    bound, mean = np.zeros(len(y)), q.copy()
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        rows = order[begin:end]
        seen = rows[matched[rows]]
        if not seen.size:
            continue
        k = float(np.quantile(y[seen], at, method="inverted_cdf"))
        tail = y[seen] / gamma + (1 - 1 / gamma) * (k + (1 + gamma) * np.maximum(y[seen] - k, 0.0))
        bound[seen] = tail
        weight = (1.0 - e[seen]) / e[seen] + 1e-12
        level = float(np.dot(weight, tail) / weight.sum())
        centre = float(np.dot(weight, q[seen]) / weight.sum())
        mean[rows] = level + (q[rows] - centre) / gamma
    return bound, mean


def flips_at(holds: Callable[[float], bool], most: float = MOST) -> float | None:
    """The Γ up to which a conclusion holds, to 0.01 below; None where it does not hold at 1.

    holds: whether it does under Γ; true up to some Γ and false beyond. At most `most`.
    """
    if not holds(1.0):
        return None
    if holds(most):
        return most
    low, high = 0.0, math.log(most)
    while math.exp(high) - math.exp(low) > 0.005:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp(middle)) else (low, middle)
    return math.floor(100 * math.exp(low)) / 100
