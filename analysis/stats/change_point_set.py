"""The days on which a step may lie, by Worsley's conditional test given that a step was told."""

from __future__ import annotations

import math

import numpy as np

from analysis.stats.change_point_null import Law
from analysis.stats.change_point_profile import Design, Floats, Profiles

CONFIDENCE = 0.95
N_DRAWS = 1000
SEED = 1986
_BODY = 0.8


def first_days(design: Design, fitted: Profiles, best: int, beyond: float | None) -> list[int]:
    """The places of the columns that 95 % confidence leaves; `best` is always among them.

    Errors are whitened with the correlation that fits the best column. Under a step at column k, given its
    projection and the length of what is left, the direction of what is left is uniform (Worsley 1986).
    beyond: by how much the gain exceeds the least that is told; None where the law is not to be
    conditional on that.
    """
    part = design.part(fitted.correlation(best))
    scores = fitted.scores[fitted.correlation(best), :, 0]
    total = float(fitted.total[fitted.correlation(best), 0])
    n = design.free
    rng = np.random.default_rng(SEED)
    draws = rng.normal(size=(design.n_days, N_DRAWS))
    along = part.columns.T @ draws
    length = (draws**2).sum(axis=0) - ((part.basis.T @ draws) ** 2).sum(axis=0)
    overlap = part.columns.T @ part.columns
    seen = float(_gain((scores**2).max() / total, n))
    least = None if beyond is None else max(seen - beyond, 0.0)
    inside = []
    for k, score in enumerate(scores):
        left = math.sqrt(max(total - float(score) ** 2, 0.0))
        aside = along - overlap[:, k, None] * along[k]
        rest = np.sqrt(np.maximum(length - along[k] ** 2, 1e-300))
        drawn = overlap[:, k, None] * score + aside * (left / rest)
        law = Law.of(_gain((drawn**2).max(axis=0) / total, n), _BODY)
        # What is seen is one of the draws that are possible under k, but for rounding.
        log_p = law.log_survival(seen - 1e-9)
        if least is not None:
            log_p -= law.log_survival(min(least, seen - 1e-9))
        if k == best or log_p > math.log(1 - CONFIDENCE):
            inside.append(k)
    return inside


def _gain(share: Floats | float, n: int) -> Floats:
    """Twice the log-likelihood that a column gains which explains this share of the squares."""
    return np.asarray(-n * np.log1p(-np.minimum(share, 1 - 1e-12)))
