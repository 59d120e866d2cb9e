"""Likelihood profiles of daily series with weekday effects, changes of level and correlated days.

A series is y = weekday + what is held + one column more + error; errors are AR(1) with marginal variance
σ²/w, whose correlation falls with the distance of days, so that days may be missing. Weekday effects, levels
and correlation are fitted anew for each column: an effect that is taken out beforehand eats a part of the step.
For each column the restricted likelihood (Patterson & Thompson 1971) is profiled over the correlation on a
grid, for the plain one takes correlation for too low with eight coefficients and a month or two of days.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CORRELATIONS = tuple(round(0.1 * k, 1) for k in range(8))
"""Grid of the correlation of neighbouring days; an estimate from 56 days errs by more than its step.

Beyond 0.7 errors wander as levels do: a few large steps would pass for correlation, and none would be told.
"""
PAIRS_EVERY = 3
"""Pairs of columns are fitted at every third correlation of the grid: there are many."""
MAX_ENDS = 24
_TINY = 1e-12


@dataclass(frozen=True)
class Whitened:
    """The design at one correlation. correlation: of neighbouring days.

    basis: (T, p) orthonormal, of weekdays and what is held. columns: (T, K) of unit length, orthogonal to
    it. log_scale: of the Jacobian, less half the log-determinant of the design. log_length: (K,) log of
    the columns' lengths; of a design's parts relative to those without correlation.
    """

    correlation: float
    basis: Floats
    columns: Floats
    log_scale: float
    log_length: Floats


@dataclass(frozen=True)
class Profiles:
    """Fits of B series. grid: (P,) correlations. without, with_one: restricted log-likelihoods, (P, B) and
    (P, K, B). scores: (P, K, B) projections on the columns. total: (P, B) squares without the column."""

    grid: tuple[float, ...]
    without: Floats
    with_one: Floats
    scores: Floats
    total: Floats

    @property
    def ratio(self) -> Floats:
        """Twice the log-likelihood that the best column gains, (B,)."""
        best = self.with_one.max(axis=0).max(axis=0)
        return np.asarray(2 * (best - self.without.max(axis=0)))

    @property
    def by_column(self) -> Floats:
        """The log-likelihood of each column at its own correlation, (K, B)."""
        return np.asarray(self.with_one.max(axis=0))

    def correlation(self, column: int, series: int = 0) -> int:
        """The place in the grid of the correlation that fits best with a column."""
        return int(self.with_one[:, column, series].argmax())


class Design:
    """Weekdays, what is held, and K columns of which one is added.

    days: (T,) day numbers since 1970-01-01, ascending. weights: (T,) relative precision of the days' errors.
    held: (T, h). columns: (T, K).
    """

    def __init__(self, days: Ints, weights: Floats, held: Floats, columns: Floats) -> None:
        self.days, self.columns = days, columns
        self._root = np.sqrt(weights / weights.mean())
        base = np.column_stack([weekdays(days), held])
        self.n_days, self.n_base = base.shape
        self.free = self.n_days - self.n_base - 1
        self._base = base
        parts = [self._at(r) for r in CORRELATIONS]
        plain = parts[0].log_length
        self._parts = [replace(p, log_length=p.log_length - plain) for p in parts]

    def _at(self, correlation: float) -> Whitened:
        basis, upper = np.linalg.qr(self.white(self._base, correlation))
        columns = self.white(self.columns, correlation)
        columns = columns - basis @ (basis.T @ columns)
        length = np.maximum(np.sqrt((columns**2).sum(axis=0)), _TINY)
        jacobian = -0.5 * np.log1p(-(self._reach(correlation) ** 2)).sum()
        scale = float(jacobian - np.log(np.maximum(np.abs(np.diag(upper)), _TINY)).sum())
        return Whitened(correlation, basis, columns / length, scale, np.log(length))

    def _reach(self, correlation: float) -> Floats:
        """Correlations of each day with the one before it in the series, (T − 1,)."""
        return np.asarray(correlation ** np.diff(self.days).astype(float))

    def white(self, values: Floats, correlation: float) -> Floats:
        """Values by day, (T, …), such that their errors have one variance and no correlation."""
        scaled = values * self._root[:, None]
        if correlation == 0:
            return np.asarray(scaled)
        reach = self._reach(correlation)[:, None]
        out = scaled.copy()
        out[1:] = (scaled[1:] - reach * scaled[:-1]) / np.sqrt(1 - reach**2)
        return np.asarray(out)

    def part(self, place: int) -> Whitened:
        """The design at the correlation of this place in the grid."""
        return self._parts[place]

    def fit(self, y: Floats) -> Profiles:
        """The profiles of series y, (T, B).

        The fit without a column has the exponent of that with one: their ratio then has no unit.
        """
        without, with_one, scores, totals = [], [], [], []
        for part in self._parts:
            total, score = self._projected(part, y)
            left = np.maximum(total - score**2, _TINY * total)
            without.append(part.log_scale - self.free / 2 * np.log(total))
            with_one.append(
                part.log_scale - part.log_length[:, None] - self.free / 2 * np.log(left)
            )
            scores.append(score)
            totals.append(total)
        return Profiles(CORRELATIONS, *map(np.array, (without, with_one, scores, totals)))

    def fit_pairs(self, y: Floats, pairs: Ints) -> Profiles:
        """The same of two columns at once. pairs: (Q, 2) places of columns; scores are those of both."""
        without, with_two, scores, totals = [], [], [], []
        for part in self._parts[::PAIRS_EVERY]:
            total, score = self._projected(part, y)
            one, two = pairs.T
            overlap = (part.columns[:, one] * part.columns[:, two]).sum(axis=0)
            apart = np.sqrt(np.maximum(1 - overlap**2, _TINY))
            # What the second column tells beside the first.
            beside = (score[two] - overlap[:, None] * score[one]) / apart[:, None]
            both = score[one] ** 2 + beside**2
            left = np.maximum(total - both, _TINY * total)
            length = part.log_length[one] + part.log_length[two] + np.log(apart)
            without.append(part.log_scale - (self.free - 1) / 2 * np.log(total))
            with_two.append(part.log_scale - length[:, None] - (self.free - 1) / 2 * np.log(left))
            scores.append(np.sqrt(both))
            totals.append(total)
        grid = CORRELATIONS[::PAIRS_EVERY]
        return Profiles(grid, *map(np.array, (without, with_two, scores, totals)))

    def _projected(self, part: Whitened, y: Floats) -> tuple[Floats, Floats]:
        """Sums of squares without a column, (B,), and projections on the columns, (K, B)."""
        white = self.white(y, part.correlation)
        whole = (white**2).sum(axis=0)
        total = np.maximum(whole - ((part.basis.T @ white) ** 2).sum(axis=0), _TINY * whole)
        return np.maximum(total, np.finfo(float).tiny), part.columns.T @ white


@functools.lru_cache(maxsize=16)
def plain_design(gaps: tuple[int, ...], weekday: int, least: int) -> Design:
    """Steps beside weekdays alone, days of equal weight. weekday: of the first day, Monday is 0."""
    days = weekday + 4 + np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    n = len(days)
    return Design(days, np.ones(n), np.zeros((n, 0)), steps_of(n, least))


def weekdays(days: Ints) -> Floats:
    """One column for each weekday that is there, (T, ≤ 7)."""
    place = (days + 3) % 7
    return np.column_stack([(place == k).astype(float) for k in sorted(set(place.tolist()))])


def steps_of(n_days: int, least: int) -> Floats:
    """One column for each first day of a new level, `least` days or more on either side, (T, K)."""
    firsts = np.arange(least, n_days - least + 1)
    return np.asarray(np.arange(n_days)[:, None] >= firsts, dtype=float)


def pairs_of(firsts: Ints, least: int) -> Ints:
    """Pairs of places in `firsts`, `least` days or more apart, (Q, 2); of long series some, refined later."""
    stride = -(-len(firsts) // MAX_ENDS) or 1
    chosen = range(0, len(firsts), stride)
    pairs = [(i, j) for i in chosen for j in chosen if firsts[j] - firsts[i] >= least]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
