"""Slow drift: does a distribution move in one direction from week to week?

The shares of each bin are regressed on the week's number, and the B slopes are tested together. It is the
trend test of Cochran (1954) and Armitage (1955) in its form for clusters: the week is the unit, and what
weeks scatter about their lines says how far a slope varies by chance (Donner & Klar 2000, chapter 5; Rao &
Scott 1992 for two categories). So everything that makes one week differ from the next, be it rows,
clusters, days or weeks, is in the variance, on W − 2 degrees of freedom; no order of bins is needed, and
no direction is chosen by looking.

Σ_b s_b²/p̄_b is referred to F with Satterthwaite's numerator. From few weeks Σ of squared eigenvalues is
estimated too large, and so both moments are corrected for their bias (Box 1954; Huynh & Feldt 1976). The
variance is raised by what days that correlate by `DAY_CORRELATION` take from the scatter about a line, which
is known in closed form. Few weeks scatter little by chance, and so the slopes are tested by the variance of
rows and days too (`reference`), which has more degrees of freedom: the larger p-value counts.

Simulated without drift, with sessions of 2.7 rows, weekdays, and days that differ and correlate by 0.3, it
is below 5 % in 0 to 4 of 100 (`tests/stats/test_slow_drift.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.reference import (
    DAY_CORRELATION,
    WEEK,
    Compared,
    Floats,
    Sample,
    Spread,
    allowance,
    compare_counts,
    directions,
    f_tail,
    quadratic_p,
)

MIN_WEEKS = 5


@dataclass(frozen=True)
class Trend:
    """What weeks show of a column.

    p_value: of no trend. first_to_last: bias-corrected PSI of the last week against the first. steps:
    each week against the one before.
    """

    p_value: float
    first_to_last: float
    steps: tuple[Compared, ...]


def trend(weeks: Sequence[Sample], numbers: npt.ArrayLike, spread: Spread) -> Trend | None:
    """The trend over weeks in the order of time; None where there are fewer than five, or nothing varies.

    numbers: (W,) the weeks' numbers, rising, gaps allowed.
    """
    t = np.asarray(numbers, dtype=float)
    if len(weeks) < MIN_WEEKS:
        return None
    counts = np.stack([week.counts for week in weeks])
    keep = np.flatnonzero(counts.sum(axis=0) > 0)
    if len(keep) < 2 or min(week.n for week in weeks) <= 0:
        return None
    counts = counts[:, keep]
    sizes = counts.sum(axis=1)
    shares = counts / sizes[:, None]
    pooled = np.asarray(counts.sum(axis=0) / counts.sum())
    centred = t - t.mean()
    weights = centred / np.sum(centred**2)
    slopes = np.einsum("i,ij->j", weights, shares)
    residual = shares - shares.mean(axis=0) - np.outer(centred, slopes)
    multinomial = np.diag(pooled) - np.outer(pooled, pooled)
    shares_of_days = np.array([week.day_share for week in weeks])
    weight = allowance() * float(np.sum(weights**2 * shares_of_days))
    scatter = spread.scatter[np.ix_(keep, keep)] * weight
    effects = np.array([spread.effect_of(week) for week in weeks])
    by_rows = multinomial * float(np.sum(weights**2 * effects / sizes))
    known = by_rows + spread.per_day[np.ix_(keep, keep)] * weight
    by_day = quadratic_p(slopes, known, pooled, spread, scatter)
    if by_day is None:
        return None
    most = directions(known, pooled) * spread.evenness
    by_week = _by_week(slopes, residual, weights, pooled, _allowance(t, weights), most)
    whole = compare_counts(weeks[0], weeks[-1], spread)
    steps = [compare_counts(a, b, spread) for a, b in itertools.pairwise(weeks)]
    return Trend(
        max(by_week, by_day),
        0.0 if whole is None else whole.psi,
        tuple(Compared(0.0, 0.0, 1.0) if step is None else step for step in steps),
    )


def _by_week(
    slopes: Floats,
    residual: Floats,
    weights: Floats,
    pooled: Floats,
    allowed: float,
    most: float,
) -> float:
    """p by the scatter of weeks about their lines.

    most: the largest numerator, from rows and days. Where the scatter is small by chance, it is also more
    even than it should be, and the numerator that it gives alone too large.
    """
    df = len(residual) - 2.0
    scaled = residual / np.sqrt(pooled)
    scatter = np.einsum("ij,ik->jk", scaled, scaled) / df
    trace = float(np.trace(scatter))
    if not trace > 0:
        return 0.0  # no scatter at all: rows and days alone decide
    # Of a Wishart matrix: E tr S² = tr Σ² (1 + 1/f) + (tr Σ)²/f, E (tr S)² = (tr Σ)² + 2 tr Σ²/f.
    squares = float(np.sum(scatter * scatter))
    even = df * (squares - trace**2 / df)
    square = (df + 1) * trace**2 - 2 * squares
    numerator = max(1.0, min(square / even, most) if even > 0 else most)
    distance = float(np.sum(slopes**2 / pooled))
    variance = trace * float(np.sum(weights**2)) * allowed
    return f_tail(distance / variance, numerator, numerator * df)


def _allowance(t: Floats, weights: Floats) -> float:
    """How much more a slope varies than the scatter about the line says, where days correlate.

    Weekly means of days with autocorrelation ρᵏ correlate themselves, by little; the ratio of the
    slope's variance to the mean of its estimate follows from their covariance Γ.
    """
    day = (np.asarray(t)[:, None] * WEEK + np.arange(WEEK)).ravel()
    by_day = DAY_CORRELATION ** np.abs(np.subtract.outer(day, day))
    n = len(t)
    weekly = by_day.reshape(n, WEEK, n, WEEK).mean(axis=(1, 3))
    slope = float(np.einsum("i,ij,j->", weights, weekly, weights))
    line = np.stack([np.ones(n), t - np.mean(t)], axis=1)
    hat = np.einsum("ij,kj->ik", line / np.sum(line**2, axis=0), line)
    scatter = float(np.trace(weekly) - np.sum(hat * weekly)) / (n - 2)
    return max(1.0, slope / (scatter * float(np.sum(weights**2))))
