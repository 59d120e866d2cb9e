"""Days of a series that stand alone: an outage of a day or two is no change of level.

A day is a spike where it lies beyond the levels on both sides of it, the medians of the days before and
after, by more than `LIMIT` robust standard deviations in the same direction (additive outliers, told
from level shifts: Chen & Liu 1993; the filter is Hampel's with one median a side, which a step passes).
Weekday effects are medians about a running median, so that neither spikes nor steps enter them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.stats.change_point_profile import Floats, Ints

LIMIT = 5.0
LONGEST = 2
SIDE = 3
ALONE = 5
"""Days of a side where there is no other: at the ends two of them may be spikes, too."""
_NORMAL = 1.4826


def spikes(
    days: Ints,
    values: Floats,
    weights: Floats | None = None,
    sampling: Floats | float = 0.0,
) -> npt.NDArray[np.bool_]:
    """Which days are spikes, (T,). days: (T,) day numbers. values: (T,).

    weights: relative precision of days. sampling: standard deviation that a day has at least.
    """
    root = np.ones(len(values)) if weights is None else np.sqrt(weights / weights.mean())
    n = len(values)
    # A week's median is the same on each day of it, and a longer one steadier.
    levelled = values - _weekday_effects(days, values - _running_median(values, 3))
    levelled = levelled - _weekday_effects(days, levelled - _running_median(levelled, 7))
    about = levelled - _running_median(levelled, 7)
    scale = _NORMAL * float(np.median(np.abs(about * root)))
    if scale <= 0:
        # More than half of the days are equal: the others would all be spikes.
        return np.zeros(n, bool)
    limit = LIMIT * np.maximum(scale / root, sampling)
    alone = np.zeros(n, bool)
    for t in range(n):
        past, future = levelled[max(0, t - SIDE) : t], levelled[t + 1 : t + 1 + SIDE]
        if len(past) < 2:
            past, future = past[:0], levelled[t + 1 : t + 1 + ALONE]
        elif len(future) < 2:
            past, future = levelled[max(0, t - ALONE) : t], future[:0]
        away = [levelled[t] - float(np.median(side)) for side in (past, future) if len(side)]
        same = all(a > 0 for a in away) or all(a < 0 for a in away)
        alone[t] = bool(away) and same and min(map(abs, away)) > limit[t]
    return _short(alone)


def _running_median(values: Floats, half: int) -> Floats:
    n = len(values)
    return np.array([np.median(values[max(0, t - half) : t + half + 1]) for t in range(n)])


def _weekday_effects(days: Ints, residual: Floats) -> Floats:
    place, out = (days + 3) % 7, np.zeros(len(days))
    for k in set(place.tolist()):
        out[place == k] = np.median(residual[place == k])
    return out


def _short(alone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Only runs of at most `LONGEST` days: what lasts longer is a level of its own."""
    out, start = alone.copy(), None
    for t, held in enumerate([*alone.tolist(), False]):
        if held and start is None:
            start = t
        elif not held and start is not None:
            if t - start > LONGEST:
                out[start:t] = False
            start = None
    return out
