"""A group against the rest where both are compared within strata, as counts of one comparison.

The ratio is that of Mantel & Haenszel (1959) for risks (Rothman, Greenland & Lash 2008, chapter 15): with
n rows of the group and m of the rest in a stratum, each of the group's counts has the weight m/(n + m), each
of the rest's n/(n + m). A weighted sum of Poisson counts, Σ a y, varies like a multiple of one Poisson count
of (Σ a y)²/Σ a² y (Dobson, Kuulasmaa, Eberle & Scherer 1991): so many it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """What the strata are worth together: y of n in the group, and in the rest."""

    y: float
    n: float
    rest_y: float
    rest_n: float


def pooled(y: Floats, n: Floats, rest_y: Floats, rest_n: Floats, *, counts: bool) -> Worth:
    """Strata (s,) as one comparison; those that lack either side say nothing, and all 0 is nothing at all.

    counts: whether y are counts; of sums (of cost) only the rows tell what they are worth. With one
    stratum these are its own numbers.
    """
    both = (n > 0) & (rest_n > 0)
    if not both.any():
        return Worth(0.0, 0.0, 0.0, 0.0)
    y, n, rest_y, rest_n = y[both], n[both], rest_y[both], rest_n[both]
    share = rest_n / (n + rest_n)
    return Worth(*_worth(y, n, share, counts), *_worth(rest_y, rest_n, 1 - share, counts))


def _worth(y: Floats, n: Floats, weight: Floats, counts: bool) -> tuple[float, float]:
    rows = float(weight @ n)
    rate = float(weight @ y) / rows
    if counts and rate > 0:
        worth = float(weight @ y) ** 2 / float(weight**2 @ y)
        return worth, worth / rate
    worth = rows**2 / float(weight**2 @ n)
    return worth * rate, worth
