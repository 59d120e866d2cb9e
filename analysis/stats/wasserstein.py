"""How far the values of a number moved: the Wasserstein-1 distance, in units and scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclass(frozen=True)
class Distance:
    """wasserstein: ∫ |F₁ − F₀|, in the column's unit. scaled: in baseline standard deviations; None
    where the baseline has no spread. means: of the baseline, of the candidate."""

    wasserstein: float
    scaled: float | None
    means: tuple[float, float]


def distance(
    old: npt.ArrayLike,
    new: npt.ArrayLike,
    old_weights: npt.ArrayLike | None = None,
    new_weights: npt.ArrayLike | None = None,
) -> Distance | None:
    """The Wasserstein-1 distance of two weighted samples (Vallender 1974: ∫ |F₁ − F₀| on the line).

    old, new: finite values, shapes (n,) and (m,), n and m ≥ 1; weights: of the same shapes, their sums
    above 0. None where values are too large to be added. Chance alone makes it positive: about
    √(1/n + 1/m) of a standard deviation.
    """
    values = [np.asarray(v, dtype=float) for v in (old, new)]
    weights = [
        np.ones_like(v) if w is None else np.asarray(w, dtype=float)
        for v, w in zip(values, (old_weights, new_weights), strict=True)
    ]
    # The result has a unit, but sums do not overflow on the scale of the largest value.
    unit = max(float(np.abs(v).max()) for v in values) or 1.0
    first, second = (v / unit for v in values)
    moved = float(stats.wasserstein_distance(first, second, *weights))
    means = [float(np.average(v, weights=w)) for v, w in zip((first, second), weights, strict=True)]
    deviation = math.sqrt(float(np.average((first - means[0]) ** 2, weights=weights[0])))
    found = moved * unit
    if not math.isfinite(found):
        return None
    return Distance(
        found, moved / deviation if deviation > 0 else None, (means[0] * unit, means[1] * unit)
    )
