"""Parts of a daily mean, steps and ramps, and how they are fitted beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.change_point_profile import CORRELATIONS, Design, Floats, Ints, Profiles
from analysis.stats.change_point_spikes import spikes

MIN_DAYS = 21
LEAST = 5
"""Days that a level has at least."""
MARGIN = 1.0
_DIGITS = 9
_ROUNDS = 5


@dataclass(frozen=True)
class Series:
    """A daily series without its spikes, standardised.

    given: (D,) the days that were given, spikes among them. days: (T,) day numbers. values: (T,) less
    `centre`, over `scale`. kept: (T,) their places in what was given.
    """

    given: Ints
    days: Ints
    values: Floats
    weights: Floats
    kept: npt.NDArray[np.intp]
    spikes: tuple[int, ...]
    centre: float
    scale: float

    @classmethod
    def of(
        cls,
        days: Sequence[int],
        values: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        sampling: Floats | float = 0.0,
    ) -> Series | None:
        """None below `MIN_DAYS`, or where nothing varies.

        weights: relative precision of days. sampling: standard deviation that a day has at least.
        """
        at, y = np.asarray(days, dtype=np.int64), np.asarray(values, dtype=float)
        w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
        if len(y) < MIN_DAYS or np.ptp(y) <= 1e-9 * max(float(np.abs(y).max()), 1e-300):
            return None
        alone = spikes(at, y, w, sampling)
        kept = np.flatnonzero(~alone)
        if len(kept) < MIN_DAYS or np.ptp(y[kept]) <= 1e-9 * float(np.abs(y[kept]).max()):
            return None
        scale = float(y[kept].std())
        centre = float(y[kept].mean())
        return cls(
            at,
            at[kept],
            (y[kept] - centre) / scale,
            w[kept],
            kept,
            tuple(np.flatnonzero(alone).tolist()),
            centre,
            scale,
        )


@dataclass(frozen=True)
class Part:
    """A part of the mean: 0 before `first`, rising over `length` days; 1 is a step."""

    first: int
    length: int = 1

    @property
    def full(self) -> int:
        return self.first + self.length - 1

    def column(self, n_days: int) -> Floats:
        return np.clip((np.arange(n_days) - self.first + 1.0) / self.length, 0.0, 1.0)


def clear_of(step: Part, parts: Sequence[Part]) -> bool:
    """Whether a step lies `LEAST` days or more from what is held."""
    return all(step.first + LEAST <= p.first or step.first >= p.full + LEAST for p in parts)


def columns_of(parts: Sequence[Part], n: int) -> Floats:
    """(n, parts)."""
    return np.column_stack([p.column(n) for p in parts]) if parts else np.zeros((n, 0))


def fit(series: Series, held: Sequence[Part], offered: Sequence[Part]) -> tuple[Design, Profiles]:
    """The profiles of each part that is offered, one at a time beside those that are held."""
    n = len(series.days)
    design = Design(series.days, series.weights, columns_of(held, n), columns_of(offered, n))
    return design, design.fit(series.values[:, None])


def offered_steps(series: Series, parts: Sequence[Part]) -> list[Part]:
    """Steps that have room beside these parts."""
    every = (Part(k) for k in range(LEAST, len(series.days) - LEAST + 1))
    return [step for step in every if clear_of(step, parts)]


def best_of(fitted: Profiles) -> int:
    """The place of the column that fits best; of equal ones the first."""
    return int(np.argmax(np.round(fitted.by_column[:, 0], _DIGITS)))


def assumed(fitted: Profiles, place: int, n: int) -> float:
    """The correlation that the test assumes: a low estimate would call correlated days a change."""
    found = fitted.grid[fitted.correlation(place)]
    return min(found + MARGIN / math.sqrt(n), CORRELATIONS[-1])


def between(parts: Sequence[Part], place: int, n: int) -> tuple[int, int]:
    """The first and last place at which part `place` may begin, `LEAST` days from its neighbours."""
    low = parts[place - 1].full + LEAST if place else LEAST
    high = parts[place + 1].first - LEAST if place + 1 < len(parts) else n - LEAST
    return low, high


def refined(series: Series, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Each step dated anew beside the others, until none moves."""
    out, n = sorted(parts, key=lambda p: p.first), len(series.days)
    for _ in range(_ROUNDS if len(out) > 1 else 0):
        before = list(out)
        for place, part in enumerate(out):
            low, high = between(out, place, n)
            if part.length > 1 or high < low:
                continue
            others = [p for i, p in enumerate(out) if i != place]
            steps = [Part(k) for k in range(low, high + 1)]
            _, fitted = fit(series, others, steps)
            out[place] = steps[best_of(fitted)]
        if out == before:
            break
    return tuple(out)


def residual(series: Series, parts: Sequence[Part]) -> float:
    """T log of the residual sum of squares at the correlation that fits the parts best."""
    n = len(series.days)
    _, fitted = fit(series, parts[:-1], parts[-1:])
    at = fitted.correlation(0)
    left = float(fitted.total[at, 0] - fitted.scores[at, 0, 0] ** 2)
    return n * math.log(max(left, 1e-12))
