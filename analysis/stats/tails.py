"""Tail probabilities far out, for slices that are many and small.

Altham (1969) showed that Fisher's one-sided exact p-value is P(P₁ ≤ P₀) for P₁ ~ Beta(y₁, n₁−y₁+1)
and P₀ ~ Beta(y₀+1, n₀−y₀): the Clopper–Pearson distributions on the sides that make the test
conservative. Written so, it needs no integers: effective counts (y/deff, n/deff) carry the design
effect, and on the log scale it extends to ratios of ratios and, with Gamma variables, to means of
positive amounts. The cumulant generating functions are known, so that the tail of a sum of
independent log-variables follows by the saddlepoint formula of Lugannani & Rice (1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, polygamma, psi
from scipy.stats import norm

TINY = 1e-9


@dataclass(frozen=True)
class LogBeta:
    """sign·ln X with X ~ Beta(a, b); a, b: (m,). b = 0 is the constant X = 1."""

    a: np.ndarray
    b: np.ndarray
    sign: float

    def cumulants(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """K(s), K′(s), K″(s)."""
        t = self.sign * s
        a, b = self.a, self.b
        k = gammaln(a + t) - gammaln(a) - gammaln(a + b + t) + gammaln(a + b)
        k1 = self.sign * (psi(a + t) - psi(a + b + t))
        k2 = polygamma(1, a + t) - polygamma(1, a + b + t)
        return k, k1, k2

    def third(self) -> np.ndarray:
        """The third cumulant."""
        return self.sign**3 * (polygamma(2, self.a) - polygamma(2, self.a + self.b))

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The open interval of s on which K exists."""
        infinite = np.full(self.a.shape, np.inf)
        return (-self.a, infinite) if self.sign > 0 else (-infinite, self.a)


@dataclass(frozen=True)
class LogGamma:
    """sign·ln(mean·X) with X ~ Gamma(shape)/shape; shape, mean: (m,)."""

    shape: np.ndarray
    mean: np.ndarray
    sign: float

    def cumulants(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """K(s), K′(s), K″(s)."""
        t = self.sign * s
        k, offset = self.shape, np.log(self.mean) - np.log(self.shape)
        value = gammaln(k + t) - gammaln(k) + t * offset
        return value, self.sign * (psi(k + t) + offset), polygamma(1, k + t)

    def third(self) -> np.ndarray:
        """The third cumulant."""
        return self.sign**3 * polygamma(2, self.shape)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The open interval of s on which K exists."""
        infinite = np.full(self.shape.shape, np.inf)
        return (-self.shape, infinite) if self.sign > 0 else (-infinite, self.shape)


Term = LogBeta | LogGamma


def tail_at_most(terms: Sequence[Term], x: np.ndarray | float = 0.0) -> np.ndarray:
    """P(S ≤ x) for S the sum of the independent terms; (m,).

    Lugannani & Rice (1980), eq. 10; near the mean, where it is 0/0, its limit with the third
    cumulant (Daniels 1987, eq. 4.9).
    """
    shape = terms[0].a.shape if isinstance(terms[0], LogBeta) else terms[0].shape.shape
    x = np.broadcast_to(np.asarray(x, dtype=float), shape)
    s = _saddle(terms, x)
    k, _, k2 = _cumulants(terms, s)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = np.sign(s) * np.sqrt(np.maximum(2 * (s * x - k), 0.0))
        u = s * np.sqrt(k2)
        upper = norm.sf(w) + norm.pdf(w) * (1 / u - 1 / w)
        lower = norm.cdf(w) + norm.pdf(w) * (1 / w - 1 / u)
    p = np.where(w < 0, lower, 1 - upper)
    _, _, k2_0 = _cumulants(terms, np.zeros(shape))
    skew = sum((term.third() for term in terms), np.zeros(shape)) / k2_0**1.5
    _, mean, _ = _cumulants(terms, np.zeros(shape))
    z = (x - mean) / np.sqrt(k2_0)
    close = norm.cdf(z) - skew / 6 * (z * z - 1) * norm.pdf(z)
    p = np.where(np.abs(w) < 1e-3, close, p)
    return np.clip(p, 0.0, 1.0)


def quantile(terms: Sequence[Term], level: np.ndarray | float) -> np.ndarray:
    """The x with P(S ≤ x) = level; (m,), by bisection."""
    shape = terms[0].a.shape if isinstance(terms[0], LogBeta) else terms[0].shape.shape
    level = np.broadcast_to(np.asarray(level, dtype=float), shape)
    zero = np.zeros(shape)
    _, mean, variance = _cumulants(terms, zero)
    spread = np.sqrt(variance)
    low, high = mean - 6 * spread - 1, mean + 6 * spread + 1
    for _ in range(12):
        low = np.where(tail_at_most(terms, low) > level, low - 6 * spread - 1, low)
        high = np.where(tail_at_most(terms, high) < level, high + 6 * spread + 1, high)
    for _ in range(50):
        middle = (low + high) / 2
        below = tail_at_most(terms, middle) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _cumulants(terms: Sequence[Term], s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [term.cumulants(s) for term in terms]
    return (
        np.sum([p[0] for p in parts], axis=0),
        np.sum([p[1] for p in parts], axis=0),
        np.sum([p[2] for p in parts], axis=0),
    )


def _saddle(terms: Sequence[Term], x: np.ndarray) -> np.ndarray:
    """The s with K′(s) = x: safeguarded Newton inside the interval on which K exists."""
    low = np.max([term.limits()[0] for term in terms], axis=0)
    high = np.min([term.limits()[1] for term in terms], axis=0)
    low, high = _bracket(terms, x, low, high)
    s = np.clip(np.zeros(x.shape), low, high)
    for _ in range(80):
        _, k1, k2 = _cumulants(terms, s)
        low, high = np.where(k1 < x, s, low), np.where(k1 >= x, s, high)
        with np.errstate(invalid="ignore", divide="ignore"):
            step = s - (k1 - x) / k2
        inside = (step > low) & (step < high)
        new = np.where(inside, step, (low + high) / 2)
        if np.all(np.abs(new - s) <= 1e-11 * (1 + np.abs(s))):
            return new
        s = new
    return s


def _bracket(
    terms: Sequence[Term], x: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finite limits between which K′ crosses x."""
    left = np.where(np.isfinite(low), low * (1 - 1e-10), -1.0)
    right = np.where(np.isfinite(high), high * (1 - 1e-10), 1.0)
    for _ in range(60):
        _, k1, _ = _cumulants(terms, left)
        grow = ~np.isfinite(low) & (k1 > x)
        if not grow.any():
            break
        left = np.where(grow, left * 2, left)
    for _ in range(60):
        _, k1, _ = _cumulants(terms, right)
        grow = ~np.isfinite(high) & (k1 < x)
        if not grow.any():
            break
        right = np.where(grow, right * 2, right)
    return left, right


# ── tests of slices ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Rates:
    """Bad rows, rows and design effect of m slices; each (m,)."""

    y: np.ndarray
    n: np.ndarray
    deff: np.ndarray

    def low_side(self, sign: float) -> LogBeta:
        """The Clopper–Pearson distribution of the lower limit."""
        y, n = self.y / self.deff, self.n / self.deff
        return LogBeta(np.maximum(y, TINY), n - y + 1, sign)

    def high_side(self, sign: float) -> LogBeta:
        """The Clopper–Pearson distribution of the upper limit."""
        y, n = self.y / self.deff, self.n / self.deff
        return LogBeta(y + 1, np.maximum(n - y, TINY), sign)


@dataclass(frozen=True)
class Means:
    """Means of positive amounts of m slices, and their effective n over squared variation."""

    mean: np.ndarray
    shape: np.ndarray

    def low_side(self, sign: float) -> LogGamma:
        """Gamma distribution of the mean."""
        return LogGamma(np.maximum(self.shape, TINY), np.maximum(self.mean, 1e-300), sign)

    high_side = low_side


Slices = Rates | Means


def level_terms(own: Slices, rest: Slices) -> list[Term]:
    """ln(own/rest), on the sides that make the one-sided test of own > rest conservative."""
    return [own.low_side(1.0), rest.high_side(-1.0)]


def regression_terms(own1: Slices, own0: Slices, rest1: Slices, rest0: Slices) -> list[Term]:
    """ln[(own₁/own₀)/(rest₁/rest₀)], conservative for the test of a slice that worsened more."""
    return [own1.low_side(1.0), own0.high_side(-1.0), rest1.high_side(-1.0), rest0.low_side(1.0)]


def level_p(own: Slices, rest: Slices) -> np.ndarray:
    """One-sided p-values of own > rest; 1 where the slice has no bad row."""
    return _p(level_terms(own, rest), own)


def regression_p(own1: Slices, own0: Slices, rest1: Slices, rest0: Slices) -> np.ndarray:
    """One-sided p-values of a slice that worsened more than the rest."""
    return _p(regression_terms(own1, own0, rest1, rest0), own1)


def _p(terms: Sequence[Term], own: Slices) -> np.ndarray:
    p = tail_at_most(terms, 0.0)
    empty = own.y <= 0 if isinstance(own, Rates) else own.mean <= 0
    return np.where(empty, 1.0, p)


def ratio_limits(
    lower: Sequence[Term], upper: Sequence[Term], confidence: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided limits of the ratio exp(S): the lower from `lower`, the upper from `upper` terms."""
    tail = (1 - np.asarray(confidence, dtype=float)) / 2
    low = np.exp(np.clip(quantile(lower, tail), -700, 700))
    high = np.exp(np.clip(quantile(upper, 1 - tail), -700, 700))
    return low, high
