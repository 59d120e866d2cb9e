"""What a log bounds where it cannot estimate, and the test that would tell."""

from __future__ import annotations

import math

from scipy import optimize, special


def imbens_manski(
    low: float, low_error: float, high: float, high_error: float, confidence: float = 0.95
) -> tuple[float, float]:
    """An interval that holds a partly identified value with `confidence` (Imbens & Manski 2004).

    low, high: estimated bounds with their standard errors. Eq. 7: the one-sided quantile where the
    bounds lie far apart, the two-sided one where they meet.

    Bounds of saving (USD): the least and the most that a candidate may save where the log does not identify
    it. Source: Imbens and Manski 2004.
    """
    largest = max(low_error, high_error)
    if not math.isfinite(largest):
        return -math.inf, math.inf
    if largest <= 0:
        return low, high
    gap = max(high - low, 0.0) / largest

    def excess(c: float) -> float:
        return float(special.ndtr(c + gap) - special.ndtr(-c)) - confidence

    c = float(optimize.brentq(excess, 0.0, 10.0, xtol=1e-12))
    return low - c * low_error, high + c * high_error


def ab_test_size(
    rate: float, change: float, deff: float = 1.0, level: float = 0.975, power: float = 0.8
) -> int | None:
    """Requests an arm to tell a rate from rate + change: one-sided `level`, `power` (Fleiss 1981).

    None where `deff` is infinite: of a single cluster nobody knows how much clusters differ.
    """
    if math.isinf(deff):
        return None
    other = min(1.0, max(0.0, rate + change))
    spread = rate * (1 - rate) + other * (1 - other)
    z = float(special.ndtri(level) + special.ndtri(power))
    return max(1, math.ceil(deff * z * z * spread / (change * change)))


def explored_share(
    n_a_day: float, days: int, rate: float, change: float, deff: float = 1.0,
    level: float = 0.975, power: float = 0.8,
) -> float | None:  # fmt: skip
    """The least share of `n_a_day` requests that, sent the other way at random for `days`, tells a
    rate from rate + change against all others; None where no share does.

    Two arms of n s and n (1 − s): z² (p₁ q₁ / s + p₀ q₀ / (1 − s)) deff / n ≤ change², solved for s.
    """
    if math.isinf(deff) or n_a_day <= 0:
        return None
    other = min(1.0, max(0.0, rate + change))
    z = float(special.ndtri(level) + special.ndtri(power))
    unit = deff * z * z / (n_a_day * days * change * change)
    a, b = unit * other * (1 - other), unit * rate * (1 - rate)
    # s² − (1 + a − b) s + a = 0: the smaller root is the least share.
    middle = 1 + a - b
    root = middle * middle - 4 * a
    if root < 0:
        return None
    share = (middle - math.sqrt(root)) / 2
    return share if 0 < share < 1 else None
