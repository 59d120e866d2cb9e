"""Outcome models for off-policy evaluation, fitted on other clusters than they predict.

For each action a ridge regression on the context, drawn towards one regression for all actions:

    q̂(x, a) = ȳ + x β + α_a  +  (x β_a + δ_a),

first (β, α) over all actions, then (β_a, δ_a) on the residuals of action a with a stronger penalty,
so that an action with little data keeps the common model. The penalties count pseudo-requests; of a few
sets the one with the least squared error out of fold is taken, by outcome: how many requests a rare
failure needs before an action may differ from all others is the log's to say. All fits are solved from
additive moments: one pass over the rows, whatever the number of outcomes.

Beyond `MAX_ACTIONS` the rarer actions share one α_a, β_a and δ_a, as if they were one action: a log of
thousands of models has little to say of each, and estimates that are doubly robust need no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from analysis.stats.design import Design

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_FOLDS = 5
PENALTIES = ((10.0, 10.0, 50.0), (30.0, 100.0, 500.0), (100.0, 1e3, 5e3), (300.0, 1e4, 5e4))
"""Of β; of α and δ; of β_a: each from weak to strong."""
MAX_ACTIONS = 100


def fold_of(cluster_id: str, n_folds: int = N_FOLDS) -> int:
    """The fold of a cluster, by md5 of its id: the same whatever else is in the data."""
    digest = hashlib.md5(cluster_id.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "big") % n_folds


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

    def of(self, actions: Ints) -> Floats:
        """(actions, 1 + p, outcomes): what (1, x) counts for."""
        slopes = self.common + self.own[actions]
        return np.concatenate([self.level[actions][:, None], slopes], axis=1)


@dataclass(frozen=True)
class CrossFit:
    """Predictions of all outcomes for any action, each row from a fit without its fold.

    place: (actions,) the row of each action in the models' coefficients.
    """

    features: Design
    fold: Ints
    models: tuple[_Coefficients, ...]
    n_outcomes: int
    place: Ints

    def predict(self, action: Ints) -> Floats:
        """q̂(x, action), shape (n, outcomes); 0 for rows whose action is negative.

        Rounded to 1e-9, so that the last bits of a linear solver decide nothing.
        """
        rows = np.flatnonzero(action >= 0)
        if rows.size < len(action):
            out = np.zeros((len(action), self.n_outcomes))
            if rows.size:
                some = CrossFit(
                    self.features.rows(rows),
                    self.fold[rows],
                    self.models,
                    self.n_outcomes,
                    self.place,
                )
                out[rows] = some.predict(action[rows])
            return out
        place = self.place.take(action)
        used = np.flatnonzero(np.bincount(place, minlength=1))
        # One action for all is the frequent case: only the coefficients in use are looked up.
        beta = np.stack([model.of(used) for model in self.models])
        group = self.fold * used.size + np.searchsorted(used, place)
        value = self.features.times(beta.reshape(-1, *beta.shape[2:]), group)
        low, high = (
            np.stack([getattr(m, end) for m in self.models]).take(self.fold, axis=0)
            for end in ("low", "high")
        )
        return np.round(np.minimum(np.maximum(value, low), high), 9) + 0.0


def crossfit(
    features: Design | Floats, action: Ints, n_actions: int, outcomes: Floats, fold: Ints,
    n_folds: int = N_FOLDS,
) -> CrossFit:  # fmt: skip
    """Fits q̂ of each outcome by fold.

    features: n rows of p columns of like scale. action: codes (n,) in 0…n_actions − 1. outcomes:
    (n, k), finite. fold: (n,), from `fold_of` of each row's cluster. A fold with no other rows predicts 0.
    """
    place = _places(action, n_actions)
    action, n_actions = place[action], int(place.max(initial=-1)) + 1
    features, k = Design.of(features), outcomes.shape[1]
    # Moments of (1, x) by fold and action.
    found = features.moments(outcomes, fold * n_actions + action, n_folds * n_actions)
    gram, cross = (of.reshape(n_folds, n_actions, *of.shape[1:]) for of in found)
    lows = np.full((n_folds, k), np.inf)
    highs = np.full((n_folds, k), -np.inf)
    for f in range(n_folds):
        inside = fold == f
        if inside.any():
            lows[f], highs[f] = outcomes[inside].min(axis=0), outcomes[inside].max(axis=0)

    def without(*left_out: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Moments and range of outcomes of the other folds."""
        others = [g for g in range(n_folds) if g not in left_out]
        sums = gram[others[0]].copy() if others else np.zeros(gram.shape[1:])
        for g in others[1:]:
            sums += gram[g]
        return sums, cross[others].sum(axis=0), lows[others].min(axis=0), highs[others].max(axis=0)

    # Of each fold: what the penalties miss on the other folds, fitted without either.
    errors = np.zeros((n_folds, len(PENALTIES), k))
    for f, g in combinations(range(n_folds), 2):
        others = without(f, g)
        for which, penalties in enumerate(PENALTIES):
            both = _fit(*others, penalties)
            errors[f, which] += _squared_error(both, gram[g], cross[g])
            errors[g, which] += _squared_error(both, gram[f], cross[f])
    models = []
    for f in range(n_folds):
        # Rounded: of equals the stronger penalty, whatever the last bits say.
        best = len(PENALTIES) - 1 - np.argmin(np.round(errors[f, ::-1], 6), axis=0)
        others = without(f)
        fits = {b: _fit(*others, PENALTIES[b]) for b in np.unique(best).tolist()}
        models.append(_picked(fits, best))
    return CrossFit(features, fold, tuple(models), k, place)


def _squared_error(fit: _Coefficients, gram: Floats, cross: Floats) -> Floats:
    """(k,): Σ (y − q̂)² − Σ y² over the rows of the moments, before predictions are bounded."""
    beta = fit.of(np.arange(len(gram), dtype=np.int64))
    return np.asarray((beta * (gram @ beta - 2 * cross)).sum(axis=(0, 1)))


def _picked(fits: Mapping[int, _Coefficients], best: Ints) -> _Coefficients:
    """Each outcome's coefficients from the fit that is best for it."""
    of = [(o, fits[int(b)]) for o, b in enumerate(best)]
    return _Coefficients(
        np.stack([fit.common[:, o] for o, fit in of], axis=1),
        np.stack([fit.level[:, o] for o, fit in of], axis=1),
        np.stack([fit.own[:, :, o] for o, fit in of], axis=2),
        of[0][1].low,
        of[0][1].high,
    )


def _places(action: Ints, n_actions: int) -> Ints:
    """The most frequent actions by themselves, in their order, and one place for all others."""
    if n_actions <= MAX_ACTIONS:
        return np.arange(n_actions, dtype=np.int64)
    counts = np.bincount(action, minlength=n_actions)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_ACTIONS])
    place = np.full(n_actions, MAX_ACTIONS, dtype=np.int64)
    place[kept] = np.arange(MAX_ACTIONS)
    return place


def _fit(
    gram: Floats, cross: Floats, low: Floats, high: Floats, penalties: tuple[float, float, float]
) -> _Coefficients:
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
    of_common, of_level, of_own = penalties
    weak = np.concatenate([np.full(p, of_common), np.full(n_actions, of_level)])
    beta = np.linalg.solve(joint + np.diag(weak), right)
    common, level = beta[:p], beta[p:]
    explained = gram[:, :, 1:] @ common + gram[:, :, :1] * level[:, None]
    penalty = np.full(size, of_own)
    penalty[0] = of_level
    fitted = np.linalg.solve(gram + np.diag(penalty), centred - explained)
    return _Coefficients(common, mean + level + fitted[:, 0], fitted[:, 1:], low, high)
