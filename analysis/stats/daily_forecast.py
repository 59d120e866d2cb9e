"""Forecast of the sum of future days from past ones: a regression on level and weekday.

Ordinary least squares with explicit normal equations and a prediction interval of a sum (Hyndman &
Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., chapter 7). Days hang together: their
errors are taken as AR(1), whose variance of the sum, of the estimated level and of the residuals is
exact given the autocorrelation (generalised sandwich; see e.g. Greene, Econometric Analysis, ch. 20).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.exhaustion import inflation
from analysis.stats.intervals import t_quantile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_DAYS = 3
MIN_DAYS_FOR_WEEKDAYS = 21
MAX_CORRELATION = 0.9


@dataclass(frozen=True)
class DailyModel:
    """Level of the newest era, weekday effects, and how far and how long days err.

    days: (n,) day numbers since 1970-01-01, ascending, gaps allowed. design: (n, k). coefficients:
    (k,). weekdays: whether weekdays have effects. found: the correlation of neighbouring days' errors
    by the method of moments, in [0, MAX_CORRELATION]. correlation: that and one standard error, for
    forecasts. deviation: of the errors. df: of its estimate (Satterthwaite).
    """

    days: Ints
    design: Floats
    coefficients: Floats
    weekdays: bool
    found: float
    correlation: float
    deviation: float
    df: float

    def sums(
        self, future: Sequence[int], shares: Sequence[float] | None = None
    ) -> tuple[Floats, Floats]:
        """Expected cumulative sums over these future days, and their prediction standard errors.

        future: (m,) day numbers, ascending. shares: the part of each that counts, 1 by default.
        Returns two (m,) arrays: entry j is of the first j + 1 days.
        """
        ahead = np.asarray(future, dtype=np.int64)
        part = np.ones(len(ahead)) if shares is None else np.asarray(shares, dtype=float)
        rows = _design(ahead, np.zeros(len(ahead), bool), self.weekdays, self.design.shape[1])
        upto = np.tril(np.ones((len(ahead), len(ahead)))) * part
        x = upto @ rows
        weights = x @ _bread(self.design)
        own = _correlations(ahead, ahead, self.correlation)
        past = _correlations(self.days, self.days, self.correlation)
        cross = _correlations(ahead, self.days, self.correlation)
        variance = (
            np.einsum("ij,jk,ik->i", upto, own, upto)
            + np.einsum("ij,jk,ik->i", weights, past, weights)
            - 2 * np.einsum("ij,jk,ik->i", upto, cross, weights)
        )
        return x @ self.coefficients, self.deviation * np.sqrt(np.maximum(variance, 0.0))

    def quantile(self, coverage: float) -> float:
        """Half width of a two-sided interval in standard errors."""
        return t_quantile(0.5 + coverage / 2, self.df)


def fit(
    days: Sequence[int], values: Sequence[float], old: Sequence[bool] | None = None
) -> DailyModel | None:
    """The model of whole days; None below `MIN_DAYS`, or where the newest era holds none.

    days: (n,) day numbers, ascending. old: whether a day lies before the newest era (a release),
    whose level is its own; weekday effects are those of all days. Weekdays from
    `MIN_DAYS_FOR_WEEKDAYS` days on: below, what they do is a part of the error.

    Forecast (USD): the days to come at the candidate's level, by weekday from three weeks on, with a 95 %
    prediction interval that counts how days hang together.
    """
    at, y = np.asarray(days, dtype=np.int64), np.array(values, dtype=float)
    era = np.zeros(len(at), bool) if old is None else np.asarray(old, bool)
    if len(at) < MIN_DAYS or era.all():
        return None
    weekdays = len(at) >= MIN_DAYS_FOR_WEEKDAYS and len(set((at % 7).tolist())) == 7
    design = _design(at, era, weekdays, _width(weekdays, bool(era.any())))
    df = len(at) - design.shape[1]
    if df < 1:
        return None
    bread = _bread(design)
    coefficients = bread @ y
    level, before = float(coefficients[0]), float(coefficients[0] + coefficients[-1])
    if era.any() and level > 0 and before > 0:
        # Weekdays and errors go with the level: those of the old era are brought to the new one.
        y[era] *= level / before
        coefficients = bread @ y
    residual = y - design @ coefficients
    maker: Floats = np.eye(len(at)) - design @ bread
    if residual @ residual <= 1e-20 * (y @ y):
        residual = np.zeros(len(at))  # the last bits of floats are no errors of days
    found, margin = _correlation(at, residual, maker)
    correlation = min(found + margin, MAX_CORRELATION)
    inner = maker @ _correlations(at, at, correlation)
    trace = float(np.trace(inner))
    return DailyModel(
        days=at,
        design=design,
        coefficients=coefficients,
        weekdays=weekdays,
        found=found,
        correlation=correlation,
        deviation=math.sqrt(float(residual @ residual) / trace),
        df=trace**2 / float((inner * inner.T).sum()),
    )


def variance_of_day(days: Sequence[int], values: Floats, correlation: float) -> tuple[float, float]:
    """What a day adds to the variance of a mean of n days, so that V = this/n, and its degrees of freedom.

    days: (n,) day numbers of whole days, n ≥ MIN_DAYS. correlation: of neighbours; n days then tell as
    much as n/f(n) independent ones. Weekdays are taken out from `MIN_DAYS_FOR_WEEKDAYS` days on.
    """
    n, lost = len(values), 1
    residual = values - values.mean()
    if n >= MIN_DAYS_FOR_WEEKDAYS:
        weekday = np.asarray(days, dtype=np.int64) % 7
        held = sorted(set(weekday.tolist()))
        for k in held:
            residual[weekday == k] = values[weekday == k] - values[weekday == k].mean()
        lost = len(held)
    f = inflation(n, correlation)
    # E Σ (u − ū)² = σ² (n − f); at least two, for f is an estimate too.
    free = n - lost + 1 - f
    df = free if f == 1 else max(free, 2.0)
    return float(residual @ residual) / df * f, df


def _width(weekdays: bool, eras: bool) -> int:
    return 1 + 6 * weekdays + eras


def _design(days: Ints, old: npt.NDArray[np.bool_], weekdays: bool, width: int) -> Floats:
    """(n, width): level, six weekdays as deviations that sum to zero over a week, old era."""
    columns = [np.ones(len(days))]
    if weekdays:
        place = (days + 3) % 7
        columns += [(place == k).astype(float) - (place == 6) for k in range(6)]
    if len(columns) < width:
        columns.append(old.astype(float))
    return np.column_stack(columns)


def _bread(design: Floats) -> Floats:
    """(k, n): (X'X)⁻¹X', so that it times the values are the coefficients."""
    solved: Floats = np.asarray(np.linalg.solve(design.T @ design, design.T), dtype=np.float64)
    return solved


def _correlations(a: Ints, b: Ints, correlation: float) -> Floats:
    """AR(1): the correlation of days falls with their distance."""
    distance = np.abs(a[:, None] - b[None, :])
    if correlation == 0:
        return (distance == 0).astype(float)
    powers: Floats = correlation ** distance.astype(float)
    return powers


def _correlation(days: Ints, residual: Floats, maker: Floats) -> tuple[float, float]:
    """Lag-one autocorrelation of the errors, and its standard error.

    Residuals are less correlated than errors: the estimate is that under which residuals of this
    design are expected to show what they do (method of moments). Forecasts add the standard error, for
    a low estimate makes their interval too narrow.
    """
    nearby = np.flatnonzero(np.diff(days) == 1)
    variance = float(residual @ residual)
    if len(nearby) < MIN_DAYS or variance <= 0:
        return 0.0, 0.0
    shown = float(residual[nearby] @ residual[nearby + 1]) / variance
    # An even grid: an estimate to two digits is finer than days can tell.
    grid = np.linspace(0.0, MAX_CORRELATION, 46)
    expected = []
    for correlation in grid:
        held = maker @ _correlations(days, days, float(correlation)) @ maker
        expected.append(float(held[nearby, nearby + 1].sum()) / float(np.trace(held)))
    found = float(
        grid[np.searchsorted(np.maximum.accumulate(expected), shown, side="left").clip(0, 45)]
    )
    return found, 1 / math.sqrt(len(nearby))
