"""Tests and intervals of slices that stay right far out in the tail.

Fisher's one-sided exact p-value of two counts is P(p₁ ≤ p₀), where p₁ ~ Beta(y₁, n₁ − y₁ + 1) and
p₀ ~ Beta(y₀ + 1, n₀ − y₀) are the distributions whose quantiles are the Clopper–Pearson lower and
upper limits (Altham 1969, section 2). In this form it takes real effective counts y/deff, n/deff
(Korn & Graubard 1998), positive means (Gamma), and on the log scale products and ratios: S, a
signed sum of independent log-beta and log-gamma variables, has a closed cumulant function,

    K(t) = Σ log Γ(a + st) − log Γ(a) − [log Γ(a + b + st) − log Γ(a + b)],   s = ±1,

and P(S ≤ x) is its inversion integral along the vertical line through the saddlepoint (Daniels
1954; Helstrom & Ritcey 1984). The integrand is largest and hardly oscillates there, so that a few
dozen nodes leave a relative error below 0.005 at any p, where a normal or a jackknife is useless.
All arrays have shape (m,), one entry a slice, or broadcast to it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]

_CHUNK = 4096
_REACH = 6.8
_STEP, _FINE_STEP = 0.2, 0.04
# A beta with b this small makes the integrand decay so slowly that its oscillation counts.
_SHARP = 6.0
# log Γ of larger arguments loses the digits that a difference of two of them needs.
_LARGEST_SHAPE = 1e8


@dataclass(frozen=True)
class LogTerm:
    """A signed log-beta or log-gamma variable, arrays of shape (m,).

    top: a of a beta, shape of a gamma. bottom: a + b of a beta, nan for a gamma. shift: log(mean /
    shape) of a gamma, 0 for a beta. A beta with a = 0 is log 0, one with b = 0 is log 1.
    """

    sign: int
    top: Array
    bottom: Array
    shift: Array

    def flipped(self) -> LogTerm:
        """The same variable with the opposite sign."""
        return LogTerm(-self.sign, self.top, self.bottom, self.shift)

    def at(self, index: npt.NDArray[np.intp]) -> LogTerm:
        """The entries at `index`."""
        return LogTerm(self.sign, self.top[index], self.bottom[index], self.shift[index])

    @property
    def is_gamma(self) -> npt.NDArray[np.bool_]:
        return np.isnan(self.bottom)

    @property
    def vanishes(self) -> npt.NDArray[np.bool_]:
        """Betas with a = 0: the variable is −∞."""
        return (self.top <= 0) & ~self.is_gamma

    @property
    def is_constant(self) -> npt.NDArray[np.bool_]:
        """Betas with b = 0: the variable is 0."""
        return self.bottom == self.top


def log_beta_terms(a: npt.ArrayLike, b: npt.ArrayLike, sign: int = 1) -> LogTerm:
    """sign · log Beta(a, b). a, b ≥ 0."""
    a_, b_ = np.broadcast_arrays(_array(a), _array(b))
    return LogTerm(sign, a_, a_ + b_, np.zeros(a_.shape))


def log_gamma_terms(shape: npt.ArrayLike, mean: npt.ArrayLike, sign: int = 1) -> LogTerm:
    """sign · log of a Gamma variable with this mean; shape = effective rows / CV²."""
    k, mu = np.broadcast_arrays(_array(shape), _array(mean))
    k = np.minimum(k, _LARGEST_SHAPE)
    with np.errstate(divide="ignore", invalid="ignore"):
        return LogTerm(sign, k, np.full(k.shape, np.nan), np.log(mu / k))


def tail_below_zero(terms: Sequence[LogTerm], x: npt.ArrayLike = 0.0) -> Array:
    """P(S ≤ x) of the sum S of `terms`, shape (m,); nan where a parameter is not finite."""
    offset = _array(x)
    terms = _broadcast(terms, offset.size)
    m = terms[0].top.size
    x_ = np.broadcast_to(offset, (m,))
    out = np.full(m, np.nan)
    # A vanishing beta is log 0: it decides alone, and two that disagree decide nothing.
    sunk = np.zeros(m, dtype=bool)
    risen = np.zeros(m, dtype=bool)
    finite = np.isfinite(x_)
    for term in terms:
        sunk |= term.vanishes & (term.sign > 0)
        risen |= term.vanishes & (term.sign < 0)
        bounds = np.where(term.is_gamma, term.top, term.bottom)
        finite &= np.isfinite(term.top) & np.isfinite(bounds) & np.isfinite(term.shift)
        finite &= (term.top > 0) | ~term.is_gamma
    out[sunk & ~risen & finite] = 1.0
    out[risen & ~sunk & finite] = 0.0
    # Where both happen nothing supports S > x.
    out[risen & sunk & finite] = 1.0
    todo = np.flatnonzero(finite & ~sunk & ~risen)
    for start in range(0, todo.size, _CHUNK):
        part = todo[start : start + _CHUNK]
        out[part] = _invert([t.at(part) for t in terms], x_[part])
    return out


def interval(
    terms_lower: Sequence[LogTerm],
    terms_upper: Sequence[LogTerm],
    confidence: npt.ArrayLike = 0.95,
) -> tuple[Array, Array]:
    """Two-sided interval on the log scale, arrays of shape (m,).

    The lower limit is the (1 − confidence)/2 quantile of the sum of `terms_lower`, the upper one
    the same quantile from above of `terms_upper`; ∓inf where a count of 0 leaves it open.
    confidence may be an array: false-coverage-rate intervals.
    """
    tail = (1.0 - _array(confidence)) / 2.0
    low = _quantile(terms_lower, tail)
    high = -_quantile([t.flipped() for t in terms_upper], tail)
    return low, high


def rate_terms(
    y: npt.ArrayLike, n: npt.ArrayLike, deff: npt.ArrayLike, side: int, sign: int
) -> LogTerm:
    """sign · log of a rate that has the Clopper–Pearson lower (side −1) or upper (+1) limits."""
    y_ = _array(y) / _array(deff)
    n_ = _array(n) / _array(deff)
    rest = np.maximum(n_ - y_, 0.0)
    if side < 0:
        return log_beta_terms(y_, rest + 1.0, sign)
    return log_beta_terms(y_ + 1.0, rest, sign)


def rate_level_test(
    y1: npt.ArrayLike,
    n1: npt.ArrayLike,
    deff1: npt.ArrayLike,
    y0: npt.ArrayLike,
    n0: npt.ArrayLike,
    deff0: npt.ArrayLike,
) -> Array:
    """One-sided p of a slice's rate y₁/n₁ against its reference y₀/n₀ (alternative: higher).

    With design effects of 1 it is Fisher's exact test. 1 where y₁ = 0; nan without rows.
    """
    p = tail_below_zero([rate_terms(y1, n1, deff1, -1, 1), rate_terms(y0, n0, deff0, 1, -1)])
    return _known(p, (n1, n0))


def rate_regression_test(
    y1s: npt.ArrayLike,
    n1s: npt.ArrayLike,
    deff1s: npt.ArrayLike,
    y0s: npt.ArrayLike,
    n0s: npt.ArrayLike,
    deff0s: npt.ArrayLike,
    y1r: npt.ArrayLike,
    n1r: npt.ArrayLike,
    deff1r: npt.ArrayLike,
    y0r: npt.ArrayLike,
    n0r: npt.ArrayLike,
    deff0r: npt.ArrayLike,
) -> Array:
    """One-sided p of (p₁s/p₀s)/(p₁r/p₀r) > 1: the slice worsened more than the rest.

    s: slice, r: rest; 1: candidate, 0: baseline. Each rate stands on its unfavourable
    Clopper–Pearson side. 1 where y₁s or y₀r is 0; nan without rows.
    """
    terms = [
        rate_terms(y1s, n1s, deff1s, -1, 1),
        rate_terms(y0s, n0s, deff0s, 1, -1),
        rate_terms(y1r, n1r, deff1r, 1, -1),
        rate_terms(y0r, n0r, deff0r, -1, 1),
    ]
    return _known(tail_below_zero(terms), (n1s, n0s, n1r, n0r))


def mean_level_test(
    mean1: npt.ArrayLike,
    n_eff1: npt.ArrayLike,
    cv2_1: npt.ArrayLike,
    mean0: npt.ArrayLike,
    n_eff0: npt.ArrayLike,
    cv2_0: npt.ArrayLike,
) -> Array:
    """One-sided p of a positive mean against its reference (alternative: higher).

    n_eff: effective rows, cv2: squared coefficient of variation of one row. 1 where a mean is 0.
    """
    terms = [_mean(mean1, n_eff1, cv2_1, 1), _mean(mean0, n_eff0, cv2_0, -1)]
    return _means_known(tail_below_zero(terms), (mean1, mean0), (n_eff1, n_eff0))


def mean_regression_test(
    mean1s: npt.ArrayLike,
    n_eff1s: npt.ArrayLike,
    cv2_1s: npt.ArrayLike,
    mean0s: npt.ArrayLike,
    n_eff0s: npt.ArrayLike,
    cv2_0s: npt.ArrayLike,
    mean1r: npt.ArrayLike,
    n_eff1r: npt.ArrayLike,
    cv2_1r: npt.ArrayLike,
    mean0r: npt.ArrayLike,
    n_eff0r: npt.ArrayLike,
    cv2_0r: npt.ArrayLike,
) -> Array:
    """One-sided p of (mean₁s/mean₀s)/(mean₁r/mean₀r) > 1; letters as in `rate_regression_test`."""
    terms = [
        _mean(mean1s, n_eff1s, cv2_1s, 1),
        _mean(mean0s, n_eff0s, cv2_0s, -1),
        _mean(mean1r, n_eff1r, cv2_1r, -1),
        _mean(mean0r, n_eff0r, cv2_0r, 1),
    ]
    means = (mean1s, mean0s, mean1r, mean0r)
    return _means_known(tail_below_zero(terms), means, (n_eff1s, n_eff0s, n_eff1r, n_eff0r))


# ── cumulants and inversion ──────────────────────────────────────────────────────────────


def _array(values: npt.ArrayLike) -> Array:
    return np.atleast_1d(np.asarray(values, dtype=float))


def _broadcast(terms: Sequence[LogTerm], size: int = 1) -> list[LogTerm]:
    shape = np.broadcast_shapes((size,), *(t.top.shape for t in terms))
    return [
        LogTerm(
            t.sign,
            np.broadcast_to(t.top, shape),
            np.broadcast_to(t.bottom, shape),
            np.broadcast_to(t.shift, shape),
        )
        for t in terms
    ]


def _mean(mean: npt.ArrayLike, n_eff: npt.ArrayLike, cv2: npt.ArrayLike, sign: int) -> LogTerm:
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_gamma_terms(_array(n_eff) / _array(cv2), mean, sign)


def _known(p: Array, rows: Sequence[npt.ArrayLike]) -> Array:
    for n in rows:
        p = np.where(_array(n) > 0, p, np.nan)
    return p


def _means_known(p: Array, means: Sequence[npt.ArrayLike], rows: Sequence[npt.ArrayLike]) -> Array:
    for mean in means:
        p = np.where(_array(mean) == 0, 1.0, p)
    return _known(p, rows)


@dataclass(frozen=True)
class _Cumulant:
    """K of a sum of terms: Σ weight · [log Γ(base + sign · t) − log Γ(base)] + shift · t.

    base, sign, weight: (2 · terms, m), a row the top or the bottom of a term; what a gamma or a
    constant has no use for has weight 0. shift: (m,).
    """

    base: Array
    sign: Array
    weight: Array
    shift: Array

    @classmethod
    def of(cls, terms: Sequence[LogTerm]) -> _Cumulant:
        """K of these terms."""
        base, sign, weight = [], [], []
        for term in terms:
            # A constant adds nothing at any t, not even where its own log Γ has poles.
            for argument, gone, w in (
                (term.top, term.is_constant, 1.0),
                (term.bottom, term.is_constant | term.is_gamma, -1.0),
            ):
                base.append(np.where(gone, 1.0, argument))
                sign.append(np.where(gone, 0.0, term.sign))
                weight.append(np.where(gone, 0.0, w))
        shift = np.sum([term.sign * term.shift for term in terms], axis=0)
        return cls(np.array(base), np.array(sign), np.array(weight), shift)

    def at(self, index: npt.NDArray[np.intp]) -> _Cumulant:
        """K of the entries at `index`."""
        return _Cumulant(
            self.base[:, index], self.sign[:, index], self.weight[:, index], self.shift[index]
        )

    def slope(self, t: Array) -> Array:
        """K′(t), t of shape (m,)."""
        terms = self._signed * special.digamma(self.base + self.sign * t)
        return np.asarray(terms.sum(axis=0) + self.shift)

    @functools.cached_property
    def _signed(self) -> Array:
        return np.asarray(self.weight * self.sign)

    def curvature(self, t: Array) -> Array:
        """K″(t)."""
        terms = self.weight * self.sign**2 * special.zeta(2.0, self.base + self.sign * t)
        return np.asarray(terms.sum(axis=0))

    def along(self, line: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        """K on (m, nodes) complex arguments."""
        total = self.shift[:, None] * line
        for base, sign, weight in zip(self.base, self.sign, self.weight, strict=True):
            use = np.flatnonzero(weight)
            if use.size:
                start = base[use, None]
                ahead = special.loggamma(start + sign[use, None] * line[use])
                total[use] += weight[use, None] * (ahead - special.loggamma(start + 0j))
        return total


def _domain(terms: Sequence[LogTerm]) -> tuple[Array, Array]:
    """(left, right): K exists for −left < t < right."""
    left = np.full(terms[0].top.shape, np.inf)
    right = left.copy()
    for term in terms:
        reach = np.where(term.is_constant, np.inf, term.top)
        if term.sign > 0:
            left = np.minimum(left, reach)
        else:
            right = np.minimum(right, reach)
    return left, right


def _saddle(k: _Cumulant, x: Array, left: Array, right: Array) -> Array:
    """The root of K′(t) = x by bisection; ±inf where S cannot be above or below x.

    An exact root is not needed: the integral is the same along every line of the strip.
    """
    # t = tan-like map of (−1, 1): an open end of the domain is reached only in the limit.
    scale = 1.0 / np.sqrt(np.maximum(k.curvature(np.zeros_like(x)), 1e-300))
    per_left, per_right = 1.0 / left, 1.0 / right  # 0 where the domain has no end

    def place(v: Array) -> Array:
        size = np.abs(v)
        far = scale * size / (1.0 - size)
        return np.copysign(far / (1.0 + far * np.where(v < 0, per_left, per_right)), v)

    low, high = np.full(x.shape, -1.0 + 1e-9), np.full(x.shape, 1.0 - 1e-9)
    below = k.slope(place(low)) >= x
    above = k.slope(place(high)) <= x
    for _ in range(26):
        middle = (low + high) / 2.0
        rising = k.slope(place(middle)) < x
        low = np.where(rising, middle, low)
        high = np.where(rising, high, middle)
    t = place((low + high) / 2.0)
    return np.where(below, -np.inf, np.where(above, np.inf, t))


def _invert(terms: Sequence[LogTerm], x: Array) -> Array:
    """P(S ≤ x) where every parameter is finite and none vanishes."""
    constant = np.all([t.is_constant for t in terms], axis=0)
    if constant.any():
        out = np.where(x >= 0, 1.0, 0.0)
        rest = np.flatnonzero(~constant)
        if rest.size:
            out[rest] = _invert([t.at(rest) for t in terms], x[rest])
        return out
    left, right = _domain(terms)
    k = _Cumulant.of(terms)
    t = _saddle(k, x, left, right)
    out = np.where(t > 0, 1.0, 0.0)
    use = np.flatnonzero(np.isfinite(t))
    if not use.size:
        return out
    terms, k = [term.at(use) for term in terms], k.at(use)
    t, x, left, right = t[use], x[use], left[use], right[use]
    # The pole of 1/t at 0 must keep its distance from the line.
    sd = np.sqrt(np.maximum(k.curvature(t), 1e-300))
    away = np.where(t > 0, right, left)
    t = np.where(t > 0, 1.0, -1.0) * np.maximum(np.abs(t), np.minimum(0.5 / sd, 0.5 * away))
    sd = np.sqrt(np.maximum(k.curvature(t), 1e-300))
    edge = np.minimum(left + t, right - t)
    scale = np.minimum(np.minimum(1.5 / sd, 3.0 * np.abs(t)), 1.5 * edge)
    sharp = np.zeros(use.size, dtype=bool)
    for term in terms:
        sharp |= (term.bottom - term.top < _SHARP) & ~term.is_constant
    tail = np.empty(use.size)
    for group, step in ((~sharp, _STEP), (sharp, _FINE_STEP)):
        at = np.flatnonzero(group)
        if at.size:
            tail[at] = _line_integral(k.at(at), t[at], x[at], scale[at], step)
    out[use] = np.where(t < 0, tail, 1.0 - tail)
    return out


def _line_integral(k: _Cumulant, t: Array, x: Array, scale: Array, step: float) -> Array:
    """|(1/2πi) ∫ e^{K(t) − tx}/t dt| along the vertical line through t, by the midpoint rule.

    The line is run through as t + i·scale·sinh(u), u in steps of `step`, so that few nodes serve
    both a Gaussian and an algebraic decay.
    """
    u = step * (np.arange(round(_REACH / step)) + 0.5)
    line = t[:, None] + 1j * scale[:, None] * np.sinh(u)[None, :]
    exponent = k.along(line) - line * x[:, None]
    peak = exponent[:, :1].real
    values = (np.exp(exponent - peak) / line).real @ (step * np.cosh(u))
    with np.errstate(under="ignore"):
        tail = np.abs(values) * scale / np.pi * np.exp(np.minimum(peak[:, 0], 700.0))
    return np.asarray(np.clip(tail, 0.0, 1.0), dtype=float)


def _quantile(terms: Sequence[LogTerm], tail: Array) -> Array:
    """x with P(S ≤ x) = tail < 1/2: safeguarded secant on the normal scale."""
    terms = _broadcast(terms, tail.size)
    m = terms[0].top.size
    tail = np.broadcast_to(tail, (m,))
    out = np.full(m, np.nan)
    at_zero = tail_below_zero(terms)
    lost = np.zeros(m, dtype=bool)
    open_end = np.zeros(m, dtype=bool)
    for term in terms:
        lost |= term.vanishes & (term.sign > 0)
        open_end |= term.vanishes & (term.sign < 0)
    known = np.isfinite(at_zero) & np.isfinite(tail)
    out[known & open_end] = np.inf
    out[known & lost] = -np.inf
    use = np.flatnonzero(known & ~lost & ~open_end)
    if not use.size:
        return out
    parts = [t.at(use) for t in terms]
    target = special.ndtri(np.clip(tail[use], 1e-300, 0.5))
    zeros = np.zeros(use.size)
    k = _Cumulant.of(parts)
    centre = k.slope(zeros)
    sd = np.sqrt(np.maximum(k.curvature(zeros), 1e-300))

    def gap(x: Array) -> Array:
        p = tail_below_zero(parts, x)
        return np.asarray(special.ndtri(np.clip(p, 1e-300, 1.0 - 1e-16)) - target)

    low, high = centre + (target - 1.0) * sd, centre + sd
    gap_low, gap_high = gap(low), gap(high)
    for _ in range(60):
        short = gap_low > 0
        if not short.any():
            break
        low = np.where(short, low - (centre + sd - low), low)
        gap_low = gap(low)
    for _ in range(60):
        short = gap_high < 0
        if not short.any():
            break
        high = np.where(short, high + (high - centre), high)
        gap_high = gap(high)
    result = (low + high) / 2.0
    active = np.arange(use.size)
    last = np.zeros(use.size, dtype=int)
    for _ in range(40):
        # Illinois steps (Dowell & Jarratt 1971), a halving wherever they leave the bracket.
        span = high - low
        with np.errstate(divide="ignore", invalid="ignore"):
            x = high - gap_high * span / (gap_high - gap_low)
        x = np.where((x > low) & (x < high), x, low + span / 2.0)
        result[active] = x
        g = gap(x)
        side = np.where(g > 0, 1, -1)
        again = side == last
        gap_low = np.where(side > 0, np.where(again, gap_low / 2.0, gap_low), g)
        gap_high = np.where(side < 0, np.where(again, gap_high / 2.0, gap_high), g)
        low, high, last = np.where(side > 0, low, x), np.where(side > 0, x, high), side
        go = np.flatnonzero((np.abs(g) > 1e-6) & (high - low > 1e-7 * sd))
        if not go.size:
            break
        active, target, sd, last = active[go], target[go], sd[go], last[go]
        low, high, gap_low, gap_high = low[go], high[go], gap_low[go], gap_high[go]
        parts = [t.at(go) for t in parts]
    out[use] = result
    return out
