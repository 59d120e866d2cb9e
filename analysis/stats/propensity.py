"""The logging policy, where it did not write down its probabilities.

For a target action one logistic regression of whether the log took it on what was known before; then
in each cell that is large enough another one, with a stronger penalty, on top of it: routers decide
within cells, and what sends a long prompt one way in one cell need not do so in the next. Fitted on
other clusters than it predicts (Chernozhukov et al. 2018), so that the doubly robust score is
orthogonal to both models and its interval needs no allowance for them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.stats.crossfit import N_FOLDS
from analysis.stats.design import Design
from analysis.stats.ridge import ridge_logistic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RIDGE = 3.0
CELL_RIDGE = 30.0
MIN_CELL_ROWS = 400
MIN_CELL_CHOICES = 20
MAX_ROWS = 20_000
MAX_CELL_ROWS = 8_000
"""Rows that one fit reads: beyond, its error is small beside what the weights make of it."""
CELL_STEPS = 4


def crossfit_propensity(
    features: Design | Floats,
    taken: Bools,
    fold: Ints,
    cell: Ints,
    own: Bools,
    n_folds: int = N_FOLDS,
) -> Floats:
    """ê(t | x), shape (n,): each row from a fit without its fold, rounded to 1e-9.

    features: n rows of p columns of like scale. taken: (n,) whether the logged action is t. fold: (n,), from
    `fold_of` of each row's cluster. cell: (n,) codes from 0. own: (p,) the features
    that a cell's fit reads. In a fold whose others never (always)
    took t it is 0 (1).

    Propensity (%): the probability with which the log chose a model. Logged: the router wrote it down.
    Estimated: worked out from what was known of each request, in folds of whole clusters.
    """
    features, out = Design.of(features), np.zeros(len(taken))
    for f in range(n_folds):
        inside = fold == f
        others = np.flatnonzero(~inside)
        if not inside.any() or not others.size:
            continue
        share = float(taken[others].mean())
        if share in (0.0, 1.0):
            out[inside] = share
            continue
        read = _thinned(others, MAX_ROWS)
        beta = ridge_logistic(features.rows(read).matrix(), taken[read].astype(float), ridge=RIDGE)
        logit = features.times(beta[:, None])[:, 0]
        for c in np.unique(cell[inside]).tolist():
            here = cell == c
            fitted = _thinned(others[here[others]], MAX_CELL_ROWS)
            chosen = int(taken[fitted].sum())
            if len(fitted) < MIN_CELL_ROWS or min(chosen, len(fitted) - chosen) < MIN_CELL_CHOICES:
                continue
            x = features.rows(fitted).matrix(own)
            varies = x.std(axis=0) > 1e-9
            beta = ridge_logistic(
                x[:, varies],
                taken[fitted].astype(float),
                ridge=CELL_RIDGE,
                offset=logit[fitted],
                max_steps=CELL_STEPS,
            )
            rows = np.flatnonzero(inside & here)
            every = np.zeros((1 + features.width, 1))
            every[np.append(0, 1 + np.flatnonzero(own)[varies]), 0] = beta
            logit[rows] += features.rows(rows).times(every)[:, 0]
        out[inside] = 1.0 / (1.0 + np.exp(-np.clip(logit[inside], -700.0, 700.0)))
    return np.round(out, 9) + 0.0


def _thinned(rows: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    return rows if rows.size <= most else rows[:: -(-rows.size // most)]
