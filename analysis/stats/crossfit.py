"""Outcome models for off-policy evaluation, fitted on other clusters than they predict.

For each action a ridge regression on the context, drawn towards one regression for all actions:

    q̂(x, a) = ȳ + x β + α_a  +  (x β_a + δ_a),

first (β, α) over all actions, then (β_a, δ_a) on the residuals of action a with a stronger penalty,
so that an action with little data keeps the common model. The penalties count pseudo-requests. All
fits are solved from additive moments: one pass over the rows, whatever the number of outcomes.

Beyond `MAX_ACTIONS` the rarer actions share one α_a, β_a and δ_a, as if they were one action: a log of
thousands of models has little to say of each, and estimates that are doubly robust need no more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_FOLDS = 5
COMMON_PENALTY = 10.0
ACTION_PENALTY = 50.0
MAX_ACTIONS = 200


def fold_of(cluster_id: str, n_folds: int = N_FOLDS) -> int:
    """The fold of a cluster, by md5 of its id: the same whatever else is in the data."""
    return int(hashlib.md5(cluster_id.encode(), usedforsecurity=False).hexdigest(), 16) % n_folds


@dataclass(frozen=True)
class _Coefficients:
    """One fold's model, fitted on the others.

    common: (p, outcomes). level: (actions, outcomes), with the mean. own: (actions, p, outcomes).
    low, high: range of each outcome in the rows fitted on, which bounds predictions.
    """

    common: Floats
    level: Floats
    own: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class CrossFit:
    """Predictions of all outcomes for any action, each row from a fit without its fold.

    place: (actions,) the row of each action in the models' coefficients.
    """

    features: Floats
    fold: Ints
    models: tuple[_Coefficients, ...]
    n_outcomes: int
    place: Ints

    def predict(self, action: Ints) -> Floats:
        """q̂(x, action), shape (n, outcomes); 0 for rows whose action is negative.

        Rounded to 1e-9, so that the last bits of a linear solver decide nothing.
        """
        out = np.zeros((len(action), self.n_outcomes))
        action = np.where(action < 0, -1, np.append(self.place, -1)[action])
        for f, model in enumerate(self.models):
            inside = np.flatnonzero(self.fold == f)
            for a in np.unique(action[inside]).tolist():
                if a < 0:
                    continue
                rows = inside[action[inside] == a]
                value = self.features[rows] @ (model.common + model.own[a]) + model.level[a]
                out[rows] = np.clip(value, model.low, model.high)
        return np.round(out, 9) + 0.0


def crossfit(
    features: Floats, action: Ints, n_actions: int, outcomes: Floats, fold: Ints,
    n_folds: int = N_FOLDS,
) -> CrossFit:  # fmt: skip
    """Fits q̂ of each outcome by fold.

    features: (n, p), of like scale. action: codes (n,) in 0…n_actions − 1. outcomes: (n, k), finite.
    fold: (n,), from `fold_of` of each row's cluster. A fold with no other rows predicts 0.
    """
    place = _places(action, n_actions)
    action, n_actions = place[action], int(place.max(initial=-1)) + 1
    p, k = features.shape[1], outcomes.shape[1]
    # Moments of (1, x) by fold and action.
    gram = np.zeros((n_folds, n_actions, p + 1, p + 1))
    cross = np.zeros((n_folds, n_actions, p + 1, k))
    lows = np.full((n_folds, k), np.inf)
    highs = np.full((n_folds, k), -np.inf)
    for f in range(n_folds):
        inside = fold == f
        if inside.any():
            lows[f], highs[f] = outcomes[inside].min(axis=0), outcomes[inside].max(axis=0)
        for a in range(n_actions):
            rows = np.flatnonzero(inside & (action == a))
            if rows.size:
                x = np.column_stack([np.ones(rows.size), features[rows]])
                gram[f, a], cross[f, a] = x.T @ x, x.T @ outcomes[rows]
    models = []
    for f in range(n_folds):
        others = [g for g in range(n_folds) if g != f]
        models.append(
            _fit(gram[others].sum(axis=0), cross[others].sum(axis=0),
                 lows[others].min(axis=0), highs[others].max(axis=0))
        )  # fmt: skip
    return CrossFit(features, fold, tuple(models), k, place)


def _places(action: Ints, n_actions: int) -> Ints:
    """The most frequent actions by themselves, in their order, and one place for all others."""
    if n_actions <= MAX_ACTIONS:
        return np.arange(n_actions, dtype=np.int64)
    counts = np.bincount(action, minlength=n_actions)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_ACTIONS])
    place = np.full(n_actions, MAX_ACTIONS, dtype=np.int64)
    place[kept] = np.arange(MAX_ACTIONS)
    return place


def _fit(gram: Floats, cross: Floats, low: Floats, high: Floats) -> _Coefficients:
    """gram: (actions, 1 + p, 1 + p), cross: (actions, 1 + p, k) of the rows to fit on."""
    n_actions, size, k = cross.shape
    p = size - 1
    counts = gram[:, 0, 0]
    n = counts.sum()
    if n <= 0:
        zero = np.zeros(k)
        return _Coefficients(
            np.zeros((p, k)), np.zeros((n_actions, k)), np.zeros((n_actions, p, k)), zero, zero
        )
    mean = cross[:, 0].sum(axis=0) / n
    centred = cross - gram[:, :, :1] * mean
    joint = np.zeros((p + n_actions, p + n_actions))
    joint[:p, :p] = gram[:, 1:, 1:].sum(axis=0)
    joint[:p, p:] = gram[:, 1:, 0].T
    joint[p:, :p] = gram[:, 1:, 0]
    joint[p:, p:] = np.diag(counts)
    right = np.concatenate([centred[:, 1:].sum(axis=0), centred[:, 0]])
    beta = np.linalg.solve(joint + COMMON_PENALTY * np.eye(p + n_actions), right)
    common, level = beta[:p], beta[p:]
    own = np.zeros((n_actions, p, k))
    shift = np.zeros((n_actions, k))
    for a in np.flatnonzero(counts > 0):
        explained = gram[a] @ np.concatenate([level[a : a + 1], common])
        penalty = np.full(size, ACTION_PENALTY)
        penalty[0] = COMMON_PENALTY
        fitted = np.linalg.solve(gram[a] + np.diag(penalty), centred[a] - explained)
        shift[a], own[a] = fitted[0], fitted[1:]
    return _Coefficients(common, mean + level + shift, own, low, high)
