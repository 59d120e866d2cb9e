"""What weekdays do to the volume of traffic, from the arrivals of whole days."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEEK = 7
LEAST_FACTOR = 1e-3  # a weekday that is closed
SIGNIFICANT = 0.95


@dataclass(frozen=True)
class WeekdayFactors:
    """Arrivals of each weekday relative to their mean, Monday first, with relative standard errors;
    both (7,)."""

    factors: Floats
    errors: Floats

    @classmethod
    def alike(cls) -> WeekdayFactors:
        """All weekdays as the mean."""
        return cls(np.ones(WEEK), np.zeros(WEEK))


def weekday_factors(days: Ints, arrivals: Ints) -> WeekdayFactors:
    """What weekdays do, from whole days.

    days: (n,) numbers since 1970. arrivals: (n,). A day's mean is that of its week times its
    weekday's factor, fitted by Poisson likelihood (iterative proportional fitting); days vary beyond
    it by their Pearson dispersion (McCullagh & Nelder 1989, section 4.5). All weekdays are alike
    below two whole weeks, and unless the quasi-likelihood ratio is significant at 5 % (preliminary
    test: Bancroft 1944): the noise of days makes no week. Else their logarithms are shrunk by
    √(1 − 1/F), F that ratio, so that factors spread as the true ones do (Louis 1984).
    """
    weekday = (days + 3) % WEEK
    seen = np.bincount(weekday, minlength=WEEK)
    if seen.min() < 2 or not arrivals.any():
        return WeekdayFactors.alike()
    block = (days.max() - days) // WEEK
    count = arrivals.astype(float)
    used = np.bincount(block, weights=count)[block] > 0  # a week without any tells of no weekday
    block, weekday, count = block[used], weekday[used], count[used]
    spare = len(count) - len(np.unique(block)) - (WEEK - 1)
    if spare < 1:
        return WeekdayFactors.alike()
    by_week = np.bincount(block, weights=count)
    by_weekday = np.bincount(weekday, weights=count, minlength=WEEK)
    factors = np.ones(WEEK)
    for _ in range(50):
        level = by_week / np.maximum(np.bincount(block, weights=factors[weekday]), 1e-12)
        reach = np.bincount(weekday, weights=level[block], minlength=WEEK)
        factors = by_weekday / np.maximum(reach, 1e-12)
        factors /= factors.mean()
    fitted = np.maximum(level[block] * factors[weekday], 1e-300)
    flat = np.maximum((by_week / np.maximum(np.bincount(block), 1))[block], 1e-300)
    pearson = float(((count - fitted) ** 2 / np.maximum(fitted, 1e-9)).sum())
    dispersion = max(1.0, pearson / spare)
    drop = 2.0 * float(special.xlogy(count, fitted / flat).sum())
    ratio = drop / (WEEK - 1) / dispersion
    if ratio <= special.fdtri(WEEK - 1, spare, SIGNIFICANT):
        return WeekdayFactors.alike()
    shrunk = np.maximum(factors, LEAST_FACTOR) ** math.sqrt(1.0 - 1.0 / ratio)
    errors = np.sqrt(dispersion / np.maximum(by_weekday, dispersion))
    return WeekdayFactors(shrunk / shrunk.mean(), errors)
