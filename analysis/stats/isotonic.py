"""Isotonic calibration without plateaus: a score becomes a risk that never falls as the score rises.

Pooling adjacent violators (Ayer et al. 1955; Zadrozny & Elkan 2002 calibrate by it) gives blocks of rows
with rising rates. Each block counts at its rows' mean score, and straight lines join the blocks: the centred
isotonic regression of Oron & Flournoy (2017), which is strictly monotone, so that scores that differ keep their
order in a queue, and of smaller error where the truth rises throughout.

Blocks at both ends are few rows that were chosen for their labels, and tell risks of 0 and 1. They are pooled
inwards until each holds ten rows of either label; a rate that rests on fewer than that in all rows is
Jeffreys's (k + ½)/(n + 1) (Brown, Cai & DasGupta 2001), for every score. Beyond the outermost centres the last
segment goes on as a line in log-odds, not in risk, and no steeper than Platt's sigmoid of all rows: so it stays
inside (0, 1), and two blocks that happen to lie side by side do not throw the top of the queue to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from analysis.stats.calibration import platt
from analysis.stats.linear import Bools, Floats, Ints

MIN_LABEL_ROWS = 10
# Log-odds between the points of an end: a chord lies at most h²/8 = 3 % above the curve.
STEP = 0.5
NEAREST = 1e-6


@dataclass(frozen=True)
class Isotonic:
    """Points that are joined by straight lines, and go on level beyond the first and the last.

    scores: strictly rising. risks: rising, within [0, 1). Both ends of the calibration are among them.
    """

    scores: tuple[float, ...]
    risks: tuple[float, ...]

    def risk(self, score: Floats) -> Floats:
        """(n,): the risks of these scores."""
        return np.asarray(np.interp(score, self.scores, self.risks), dtype=float)


def learn(score: Floats, y: Bools) -> Isotonic:
    """The calibration of scores (n,), any real numbers, by labels (n,); needs a row."""
    if not len(score):
        raise ValueError("isotonic calibration needs at least one row")
    blocks = _blocks(score, y)
    centre, rate = blocks[:, 2] / blocks[:, 0], blocks[:, 1] / blocks[:, 0]
    slope, _ = platt(score, y)
    if len(blocks) == 1 or slope <= 0:
        n, k, total = blocks.sum(axis=0)
        return Isotonic((float(total / n),), (float((k + 0.5) / (n + 1.0)),))
    odds = special.logit(rate)
    steep = np.minimum(np.diff(odds)[[0, -1]] / np.diff(centre)[[0, -1]], slope)
    below = _tail(-float(odds[0]))[::-1]
    above = _tail(float(odds[-1]))
    scores = np.concatenate(
        [
            centre[0] - (below + float(odds[0])) / steep[0],
            centre,
            centre[-1] + (above - float(odds[-1])) / steep[1],
        ]
    )
    risks = np.concatenate([special.expit(-below), rate, special.expit(above)])
    # Centres that are alike to the last bit are one point.
    apart = np.concatenate([[True], np.diff(scores) > 0])
    return Isotonic(tuple(scores[apart].tolist()), tuple(risks[apart].tolist()))


def _blocks(score: Floats, y: Bools) -> Floats:
    """(blocks, 3): rows, rows with the label, and the sum of scores, with strictly rising rates."""
    level, place, count = np.unique(score, return_inverse=True, return_counts=True)
    n = count.astype(float)
    bad = np.bincount(place, weights=y, minlength=len(level))
    bounds = optimize.isotonic_regression(bad / n, weights=n).blocks[:-1]
    columns = [np.add.reduceat(values, bounds) for values in (n, bad, n * level)]
    blocks = _joined(np.column_stack(columns), _level_runs(columns[1] / columns[0]))
    rarer = np.cumsum(blocks[:, 1]), np.cumsum(blocks[:, 0] - blocks[:, 1])
    fewest = min(float(r[-1]) for r in rarer)
    if fewest < MIN_LABEL_ROWS:
        return blocks.sum(axis=0, keepdims=True)
    first = max(int(np.searchsorted(r, MIN_LABEL_ROWS)) for r in rarer)
    last = min(int(np.searchsorted(r, r[-1] - MIN_LABEL_ROWS, side="right")) for r in rarer)
    if last <= first:
        return blocks.sum(axis=0, keepdims=True)
    return _joined(blocks, np.array([0, *range(first + 1, last + 1)]))


def _level_runs(rate: Floats) -> Ints:
    """Where each run of equal rates begins."""
    return np.flatnonzero(np.concatenate([[True], rate[1:] > rate[:-1]]))


def _joined(blocks: Floats, starts: Ints) -> Floats:
    return np.asarray(np.add.reduceat(blocks, starts, axis=0))


def _tail(odds: float) -> Floats:
    """Log-odds beyond `odds`, in steps, up to the last below 1."""
    furthest = math.log((1.0 - NEAREST) / NEAREST)
    steps = np.arange(odds + STEP, furthest, STEP)
    return np.append(steps, furthest) if odds < furthest else np.zeros(0)
