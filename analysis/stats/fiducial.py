"""Fiducial limits of figures of a normal mixture by a fixed quadrature: no random numbers.

Given (n − 1) s²/σ² ~ χ² and a location that is normal given σ, the confidence that a monotone figure
is at most x is an integral over σ of a normal distribution function (Hannig 2009).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Floats = npt.NDArray[np.float64]

_NODES = 32
_STEPS = 12
_ROOT_2PI = math.sqrt(2.0 * math.pi)


@cache
def chi_square_rule(df: int) -> tuple[Floats, Floats]:
    """(weights, values) of χ²/df at the quantiles of a Gauss–Legendre rule.

    Nodes crowd at both ends (u = v² (3 − 2v)), where few days leave long tails.
    """
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    v = (node + 1.0) / 2.0
    u, slope = v * v * (3.0 - 2.0 * v), 6.0 * v * (1.0 - v)
    return weight / 2.0 * slope, np.asarray(special.gammaincinv(df / 2.0, u)) / (df / 2.0)


def level_at(x: float, tail: float, slopes: Floats, spread: Floats) -> Floats:
    """(K,): the θ at which a share `tail` of days has a root above x.

    slopes: (w,) √f of the weekdays. spread: (K, w). The share rises with θ: Newton's steps, and
    halves where they would leave the bracket.
    """
    own = (x + spread * special.ndtri(tail)) / slopes
    low, high = own.min(axis=1), own.max(axis=1)
    if len(slopes) == 1 or (low == high).all():
        return np.asarray(low)
    at = (low + high) / 2.0
    for _ in range(_STEPS):
        z = (slopes * at[:, None] - x) / spread
        excess = special.ndtr(z).mean(axis=1) - tail
        high, low = np.where(excess > 0, at, high), np.where(excess > 0, low, at)
        rise = (slopes / spread * np.exp(-z * z / 2.0)).mean(axis=1) / _ROOT_2PI
        newton = at - excess / np.maximum(rise, 1e-300)
        at = np.where((newton > low) & (newton < high), newton, (low + high) / 2.0)
    return np.asarray(at)


def limit_of(confidence: Callable[[float], float], sure: float, start: float, step: float) -> float:
    """Where a rising confidence is `sure`: by its probit, which is nearly a line; an end where it
    never is."""
    goal = float(special.ndtri(sure))

    def above(x: float) -> float:
        return float(special.ndtri(min(1.0 - 1e-15, max(1e-15, confidence(x))))) - goal

    at, found = start, above(start)
    side = -1.0 if found > 0 else 1.0
    for _ in range(12):
        beyond = at + side * step
        further = above(beyond)
        if further * found <= 0:
            ends = sorted((at, beyond))
            return float(optimize.brentq(above, *ends, xtol=1e-6, rtol=1e-9))
        at, found, step = beyond, further, 2.0 * step
    return at
