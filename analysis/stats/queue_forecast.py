"""How long a queue will be on a day to come, when weekdays differ and the days seen are few.

Counts q are near normal after Anscombe's (1948) root: √(q + ⅜) = √f_w θ + ε, with f_w the factor of
the weekday, known from all arrivals. ε has the Poisson's variance ¼, and what days vary beyond it
goes with their mean as a negative binomial's does: ¼ + (σ² − ¼) f_w / f̄, where σ² is that of the
mean of the days seen. θ and σ² have their fiducial distribution given the days (normal and
inverse χ²; Fisher 1935, Hannig 2009), integrated by a fixed quadrature. For weekdays all alike it
is exact: limits of a quantile are those by the noncentral t (Hahn & Meeker 1991, section 4.4).

The day to come is one of the seven weekdays, each as likely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from analysis.stats.exhaustion import inflation
from analysis.stats.fiducial import chi_square_rule, level_at, limit_of
from analysis.stats.intervals import t_quantile
from analysis.stats.weekday_factors import WEEK, WeekdayFactors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_FORECAST_DAYS = 3
POISSON = 0.25  # the variance of √(q + ⅜) of a Poisson count
LEVELS = (0.025, 0.975)
MAX_CORRELATION = 0.8
_EDGES = np.linspace(-5.0, 5.0, 402)
_MASS = np.diff(special.ndtr(_EDGES))
_NORMAL = (_EDGES[:-1] + np.diff(_EDGES) / 2.0, _MASS / _MASS.sum())  # a fine histogram


@dataclass(frozen=True)
class Week:
    """The weekdays of the days that a queue was counted on, and what weekdays do.

    weekday: (n,), Monday 0. known: the factors of weekdays.
    """

    weekday: Ints
    known: WeekdayFactors

    @classmethod
    def of(cls, days: Ints, known: WeekdayFactors) -> Week:
        """From day numbers since 1970-01-01, a Thursday."""
        return cls((days + 3) % WEEK, known)


@dataclass(frozen=True)
class Forecast:
    """Reviews on a day to come: median, 90th percentile with its 95 % interval, P(more than
    capacity) with its own. overflow counts that the days seen are few; its interval is that of the
    probability itself."""

    p50: float
    p90: float
    low: float | None
    high: float | None
    overflow: float
    overflow_low: float | None = None
    overflow_high: float | None = None


@dataclass(frozen=True)
class QueueModel:
    """Level and deviation of a queue's root, from the days seen.

    level: θ. deviation: σ, at least the Poisson's. days: (n,) factors of the days seen. week: the
    factors of the days to come, and how sure they are. correlation: of the errors of neighbouring
    days, which are AR(1); it makes the level less sure.
    """

    level: float
    deviation: float
    days: Floats
    week: WeekdayFactors
    correlation: float = 0.0

    @property
    def factors(self) -> Floats:
        """(7,)."""
        return self.week.factors

    @property
    def alike(self) -> bool:
        """Whether all weekdays have one factor."""
        own, days = self.factors, self.days
        return bool(
            (own == own[0]).all() and (days == days[0]).all() and not self.week.errors.any()
        )

    def variances(self, factors: Floats, variance: npt.ArrayLike) -> Floats:
        """(…, len(factors)): the variance of ε on days of these factors, where σ² is `variance`."""
        whole = np.asarray(variance, dtype=float)[..., None]
        beyond = np.maximum(whole - POISSON, 0.0)
        return np.asarray(np.minimum(whole, POISSON) + beyond * factors / self.days.mean())

    def spread(self, weekday: int | None = None) -> Floats:
        """(7,) or (1,): the deviation of ε by weekday."""
        return np.sqrt(self.variances(self._ahead(weekday), self.deviation**2))

    def error(self, variance: npt.ArrayLike, weekday: int | None = None) -> Floats:
        """The standard error of θ, where σ² is `variance`; with that of the weekday's factor, which
        errs √f_w θ by half of its own. Over all weekdays the errors of factors mostly cancel."""
        own = self.variances(self.days, variance)
        factor = self.week.errors
        doubt = math.sqrt(float((factor**2).mean()) / WEEK) if weekday is None else factor[weekday]
        level = np.sqrt(self.inflation / (self.days / own).sum(axis=-1))
        return np.asarray(np.hypot(level, self.level * doubt / 2.0))

    @property
    def inflation(self) -> float:
        """The variance of the mean of the days seen, relative to independent ones."""
        return inflation(len(self.days), self.correlation)

    @cached_property
    def draws(self) -> tuple[Floats, Floats]:
        """(K,) each: weights, and values of σ²."""
        weights, chi = chi_square_rule(max(1, len(self.days) - 1))
        return weights, self.deviation**2 / chi

    # ── of the days to come ──────────────────────────────────────────────────────────────

    def quantile(self, level: float, weekday: int | None = None) -> float:
        """Reviews at this quantile: of a day at random, or of one weekday."""
        centre, spread = np.sqrt(self._ahead(weekday)) * self.level, self.spread(weekday)
        ends = centre + spread * special.ndtri(level)
        if ends.min() == ends.max():
            return unroot(float(ends[0]))

        def short(x: float) -> float:
            return float(special.ndtr((x - centre) / spread).mean()) - level

        return unroot(float(optimize.brentq(short, ends.min() - 1e-9, ends.max() + 1e-9)))

    def quantile_limits(self, level: float, weekday: int | None = None) -> tuple[float, float]:
        """95 % limits of that quantile."""
        if self.alike:
            return self._exact_limits(level)
        at = root(self.quantile(level, weekday))

        def confidence(x: float) -> float:
            return self.surely(x, 1.0 - level, weekday)

        low, high = (
            unroot(limit_of(confidence, sure, at, self.deviation * self._reach)) for sure in LEVELS
        )
        return low, high

    def overflow(self, capacity: float, weekday: int | None = None) -> float:
        """P(more than capacity) on a day to come, with θ and σ unknown."""
        full, factors = _full(capacity), self._ahead(weekday)
        if self.alike:
            n = len(self.days)
            ahead = self.deviation * math.sqrt(factors[0] * self.inflation / self.days.sum() + 1.0)
            return float(special.stdtr(max(1, n - 1), (self._centre - full) / ahead))
        weights, variance = self.draws
        error = self.error(variance, weekday)
        spread = np.sqrt(self.variances(factors, variance) + factors * error[:, None] ** 2)
        beyond = special.ndtr((np.sqrt(factors) * self.level - full) / spread)
        return float(weights @ beyond.mean(axis=1))

    def overflow_limits(self, capacity: float, weekday: int | None = None) -> tuple[float, float]:
        """95 % limits of P(more than capacity); exact for weekdays alike (Owen 1968)."""
        full, centre = _full(capacity), math.sqrt(self._ahead(weekday).mean()) * self.level
        at = float(np.clip((centre - full) / self.deviation, -8.0, 8.0))

        def confidence(z: float) -> float:
            return self.surely(full, float(special.ndtr(z)), weekday)

        low, high = (
            float(special.ndtr(limit_of(confidence, sure, at, self._reach))) for sure in LEVELS
        )
        return low, high

    def expected(
        self, value: Callable[[Floats], Floats], weekday: int, level: float | None = None
    ) -> float:
        """E[value(q)] of a weekday's reviews, at the level found or at another."""
        mean = math.sqrt(self.factors[weekday]) * max(0.0, self.level if level is None else level)
        roots = mean + float(self.spread(weekday)[0]) * _NORMAL[0]
        return float(_NORMAL[1] @ value(np.maximum(np.maximum(roots, 0.0) ** 2 - 0.375, 0.0)))

    def level_limits(self, weekday: int) -> tuple[float, float]:
        """95 % limits of θ as it stands for a weekday, by Student's t."""
        n = len(self.days)
        error = float(self.error(self.deviation**2, weekday))
        half = t_quantile(LEVELS[1], max(1, n - 1)) * error
        return self.level - half, self.level + half

    def confidence(self, count: float, tail: float) -> float:
        """The confidence that at most a share `tail` of days have more than `count` reviews."""
        return self.surely(_full(count), tail)

    def surely(self, x: float, tail: float, weekday: int | None = None) -> float:
        """The confidence that at most a share `tail` of days have a root above x."""
        weights, variance = self.draws
        error = self.error(variance, weekday)
        factors = self._ahead(weekday)
        spread = np.sqrt(self.variances(factors, variance))
        highest = level_at(x, tail, np.sqrt(factors), spread)
        return float(weights @ special.ndtr((highest - self.level) / error))

    @property
    def _reach(self) -> float:
        """How far limits lie from their figure, about, in deviations."""
        return 2.5 * math.sqrt((self.inflation + 1.0) / len(self.days))

    def _ahead(self, weekday: int | None) -> Floats:
        return self.factors if weekday is None else self.factors[weekday : weekday + 1]

    @property
    def _centre(self) -> float:
        return math.sqrt(self.factors[0]) * self.level

    def _exact_limits(self, level: float) -> tuple[float, float]:
        n = len(self.days)
        scale = math.sqrt(n * self.days[0] / self.factors[0] / self.inflation)
        shift = float(special.ndtri(level)) * scale
        low, high = (
            unroot(self._centre + self.deviation * float(special.nctdtrit(n - 1, shift, sure)) / scale)
            for sure in LEVELS
        )  # fmt: skip
        return low, high


def fit(daily: Floats, week: Week | None = None) -> QueueModel | None:
    """The model of a queue from its (n,) reviews a day; None where nothing was asked.

    Without `week` all days are alike.
    """
    if not daily.any():
        return None
    known = WeekdayFactors.alike() if week is None else week.known
    own = np.ones(len(daily)) if week is None else known.factors[week.weekday]
    roots, n = np.sqrt(daily + 0.375), len(daily)
    level, variance = 0.0, POISSON
    for _ in range(3):  # weights change with σ², and hardly after the first round
        model = QueueModel(level, math.sqrt(variance), own, known)
        weight = 1.0 / model.variances(own, variance)
        level = float((weight * np.sqrt(own) * roots).sum() / (weight * own).sum())
        error = roots - np.sqrt(own) * level
        variance = max(POISSON, float(error @ error) / (n - 1)) if n > 1 else POISSON
    correlation = _correlation(error / np.sqrt(model.variances(own, variance)))
    shrunk = 1.0 - (inflation(n, correlation) - 1.0) / max(1, n - 1)
    variance = max(POISSON, variance / shrunk) if n > 1 else POISSON
    return QueueModel(level, math.sqrt(variance), own, known, correlation)


def forecast(daily: Floats, capacity: float, week: Week | None = None) -> Forecast:
    """Reviews on a day to come, from the (n,) reviews of days before it.

    Limits are null below three days.
    """
    model = fit(daily, week)
    if model is None:
        # Seven quiet days do not make every day quiet, but there is no queue to plan for.
        none = 0.0 if len(daily) else None
        return Forecast(0.0, 0.0, none, none, 0.0)
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    if len(daily) >= MIN_FORECAST_DAYS:
        low, high = model.quantile_limits(0.9)
        least, most = model.overflow_limits(capacity)
    return Forecast(
        model.quantile(0.5), model.quantile(0.9), low, high, model.overflow(capacity), least, most
    )


def _correlation(error: Floats) -> float:
    """Of neighbouring days' errors by moments, less their bias of −1/n without any (Marriott & Pope
    1954); none is taken for negative."""
    square, n = float(error @ error), len(error)
    if n < MIN_FORECAST_DAYS or square <= 0:
        return 0.0
    return min(MAX_CORRELATION, max(0.0, float(error[1:] @ error[:-1]) / square + 1.0 / n))


def root(count: float) -> float:
    """Anscombe's root of a count."""
    return math.sqrt(count + 0.375)


def unroot(x: float) -> float:
    """The count of a root, at least 0."""
    return max(0.0, max(0.0, x) ** 2 - 0.375)


def _full(capacity: float) -> float:
    """The root between the most that a capacity takes and one more."""
    return root(math.floor(capacity + 1e-9) + 0.5)
