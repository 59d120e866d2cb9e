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
    """Scores (n,) whose mean is the largest (`high`) or least value under Γ = `gamma` ≥ 1."""
    return WorstScores(y, stays, moves, high=high).at(gamma)


class WorstScores:
    """The same for one Γ after another: what does not hang on Γ is made once.

    With Γ = 1 they are doubly robust scores. For each move: A y + (1 − A) ρ + A (1 − e)/e (H − ρ),
    ρ = E[H | x, t], of cells' means and the outcome model's differences within them.
    """

    def __init__(self, y: Floats, stays: Floats, moves: Sequence[Move], *, high: bool) -> None:
        self.turn = 1.0 if high else -1.0
        self.kept = self.turn * stays * y
        self.cells = [cell for move in moves for cell in _cells(self.turn * y, move, self.turn)]

    def at(self, gamma: float) -> Floats:
        """(n,), for Γ = `gamma` ≥ 1."""
        out = self.kept.copy()
        for cell in self.cells:
            out[cell.rows] += cell.scores(gamma)
        return self.turn * out


@dataclass(frozen=True)
class _Cell:
    """A move's rows in one cell; small cells are one. Figures are turned so that large is bad.

    rows: (r,) places among all. share, q: (r,). seen: places among `rows` of those that took the
    target, whose outcomes are y, and odds (1 − e)/e. centre: the mean of
    their q, weighted by the odds.
    """

    rows: Ints
    share: Floats
    q: Floats
    seen: Ints
    y: Floats
    odds: Floats
    centre: float

    def scores(self, gamma: float) -> Floats:
        if not self.seen.size:
            return self.share * self.q
        y, at = self.y, gamma / (1.0 + gamma)
        k = float(np.quantile(y, at, method="inverted_cdf"))
        tail = y / gamma + (1 - 1 / gamma) * (k + (1 + gamma) * np.maximum(y - k, 0.0))
        weight = self.odds + 1e-12
        level = float(np.dot(weight, tail) / weight.sum())
        value = level + (self.q - self.centre) / gamma
        value[self.seen] = y + self.odds * (tail - value[self.seen])
        return self.share * value


def _cells(y: Floats, move: Move, turn: float) -> list[_Cell]:
    rows = np.flatnonzero(move.share > 0)
    matched, group = move.matched[rows], move.group[rows]
    few = np.bincount(group[matched], minlength=int(group.max(initial=0)) + 1) < MIN_CELL
    # Small cells share one quantile and one mean.
    pool = np.where(few[group], -1, group)
    order = np.argsort(pool, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(pool[order], prepend=-2)), len(order))
    found = []
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        here = rows[order[begin:end]]
        seen = np.flatnonzero(move.matched[here])
        q, e = turn * move.q_target[here], move.propensity[here[seen]]
        odds = (1.0 - e) / e
        weight = odds + 1e-12
        centre = float(np.dot(weight, q[seen]) / weight.sum()) if seen.size else 0.0
        found.append(_Cell(here, move.share[here], q, seen, y[here[seen]], odds, centre))
    return found


def flips_at(holds: Callable[[float], bool], most: float = MOST) -> float | None:
    """The Γ up to which a conclusion holds, to 0.01 below; None where it does not hold at 1.

    holds: whether it does under Γ; true up to some Γ and false beyond. At most `most`.

    Hidden confounding Γ: how strongly something unseen may have tilted the odds of the logged choices before
    the recommendation would change; a Γ of 2 doubles or halves them. Source: Tan 2006; Dorn and Guo 2023.
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
