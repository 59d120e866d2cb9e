"""What weekdays do to the volume of traffic, from the arrivals of whole days."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEEK = 7
LEAST_FACTOR = 1e-3  # a weekday that is closed


def weekday_factors(days: Ints, arrivals: Ints) -> Floats:
    """(7,): arrivals of each weekday relative to their mean, Monday first.

    days: (n,) numbers of whole days since 1970. arrivals: (n,). A day's mean is that of its week
    times its weekday's factor, fitted by Poisson likelihood (iterative proportional fitting). With F
    their quasi-likelihood ratio (McCullagh & Nelder 1989, section 4.5), factors are 1 unless it is
    significant at 5 %, and their logarithms shrunk by 1 − 1/F (Sclove, Morris & Radhakrishnan 1972):
    the noise of days makes no week. All 1 below two whole weeks.
    """
    weekday, alike = (days + 3) % WEEK, np.ones(WEEK)
    seen = np.bincount(weekday, minlength=WEEK)
    if seen.min() < 2 or not arrivals.any():
        return alike
    block = (days.max() - days) // WEEK
    count = arrivals.astype(float)
    used = np.bincount(block, weights=count)[block] > 0  # a week without any tells of no weekday
    block, weekday, count = block[used], weekday[used], count[used]
    by_week = np.bincount(block, weights=count)
    factors = alike.copy()
    for _ in range(50):
        level = by_week / np.maximum(np.bincount(block, weights=factors[weekday]), 1e-12)
        reach = np.bincount(weekday, weights=level[block], minlength=WEEK)
        factors = np.bincount(weekday, weights=count, minlength=WEEK) / np.maximum(reach, 1e-12)
        factors /= factors.mean()
    fitted = level[block] * factors[weekday]
    flat = (by_week / np.maximum(np.bincount(block), 1))[block]
    spare = len(count) - len(np.unique(block)) - (WEEK - 1)
    if spare < 1:
        return alike
    dispersion = max(1.0, float((((count - fitted) ** 2) / np.maximum(fitted, 1e-9)).sum()) / spare)
    drop = 2.0 * float(
        special.xlogy(count, np.maximum(fitted, 1e-300) / np.maximum(flat, 1e-300)).sum()
    )
    ratio = drop / (WEEK - 1) / dispersion
    if ratio <= special.fdtri(WEEK - 1, spare, 0.95):
        return alike
    kept = 1.0 - 1.0 / ratio
    shrunk = np.maximum(factors, LEAST_FACTOR) ** kept
    return np.asarray(shrunk / shrunk.mean())
