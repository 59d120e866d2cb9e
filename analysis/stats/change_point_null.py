"""How large the likelihood ratio of a change becomes where there is none, by the correlation of days.

The largest gain over all days has no standard law, least of all with weekday effects and an estimated
correlation: it is simulated (a Monte Carlo test: Dwass 1957; Dufour 2006), with the estimation of the
correlation repeated in every draw. Its tail beyond the 90th percentile is taken as exponential, as that
of a likelihood ratio is (Pickands 1975: peaks over a threshold with shape 0). The draws are the same every time.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.change_point_profile import Floats, Ints, pairs_of, plain_design

N_DRAWS = 2000
N_DRAWS_OF_PAIRS = 1000
GRID = (0.0, 0.3, 0.5, 0.7)
"""Correlations of which a law is simulated; between them p-values are interpolated."""
SEED = 1958
BODY = 0.9


@dataclass(frozen=True)
class Law:
    """A simulated law. ordered: draws, ascending. edge: where the tail begins. slope: its mean excess."""

    ordered: Floats
    edge: float
    slope: float

    @classmethod
    def of(cls, draws: Floats, body: float = BODY) -> Law:
        """The law of these draws, its tail beyond the share `body` of them."""
        ordered = np.sort(draws)
        beyond = ordered[int(body * len(ordered)) :]
        return cls(ordered, float(beyond[0]), max(float((beyond - beyond[0]).mean()), 1e-9))

    def log_survival(self, value: float) -> float:
        """log P(X ≥ value)."""
        n = len(self.ordered)
        if value > self.edge:
            beyond = n - int(np.searchsorted(self.ordered, self.edge))
            return math.log(beyond / n) - (value - self.edge) / self.slope
        return math.log(max(n - int(np.searchsorted(self.ordered, value)), 1) / n)

    def quantile(self, p: float) -> float:
        """The value that is exceeded with probability p."""
        n = len(self.ordered)
        beyond = (n - int(np.searchsorted(self.ordered, self.edge))) / n
        if p < beyond:
            return self.edge + self.slope * math.log(beyond / p)
        return float(self.ordered[min(math.ceil(n * (1 - p)), n - 1)])


class Null:
    """Laws of the largest gain, over series of these days, between the grid's correlations.

    days: (T,). pairs: of two steps at once. least: days that a level has at least.
    """

    def __init__(self, days: Ints, least: int, *, pairs: bool = False) -> None:
        gaps = tuple(int(g) for g in np.diff(days))
        self._key = (gaps, int((days[0] + 3) % 7), least, pairs)

    def p_value(self, ratio: float, correlation: float) -> float:
        """P(largest gain ≥ ratio), interpolated between the grid's correlations."""
        (low, high), share = self._around(correlation)
        log_p = (1 - share) * low.log_survival(ratio) + share * high.log_survival(ratio)
        return min(math.exp(log_p), 1.0)

    def critical(self, level: float, correlation: float) -> float:
        """The gain that chance exceeds with probability `level`."""
        (low, high), share = self._around(correlation)
        return (1 - share) * low.quantile(level) + share * high.quantile(level)

    def _around(self, correlation: float) -> tuple[tuple[Law, Law], float]:
        at = min(max(correlation, GRID[0]), GRID[-1])
        above = min(max(int(np.searchsorted(GRID, at)), 1), len(GRID) - 1)
        low, high = GRID[above - 1], GRID[above]
        return (_law(*self._key, low), _law(*self._key, high)), (at - low) / (high - low)


@functools.lru_cache(maxsize=256)
def _law(gaps: tuple[int, ...], weekday: int, least: int, pairs: bool, correlation: float) -> Law:
    design = plain_design(gaps, weekday, least)
    days = design.days
    rng = np.random.default_rng(SEED)
    errors = rng.normal(size=(len(days), N_DRAWS_OF_PAIRS if pairs else N_DRAWS))
    reach = correlation ** np.diff(days).astype(float)
    for t in range(1, len(days)):
        errors[t] = reach[t - 1] * errors[t - 1] + math.sqrt(1 - reach[t - 1] ** 2) * errors[t]
    if not pairs:
        return Law.of(design.fit(errors).ratio)
    firsts = np.arange(least, len(days) - least + 1)
    return Law.of(design.fit_pairs(errors, pairs_of(firsts, least)).ratio)
