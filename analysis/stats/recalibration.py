"""Calibration slope and intercept: how risks would have to be stretched and shifted to be right (Cox 1958).

The slope b and intercept a of a logistic regression of the label on the risk's log-odds, and the intercept
with the slope held at 1, *calibration in the large*: with calibrated risks 1, 0 and 0. A slope below 1 says
that risks are too extreme; an intercept above 0 that they are too low. Limits are those of the sandwich with
clusters as units (Liang & Zeger 1986) and the factor G/(G − 1). What it rests on are the clusters of the rarer
label: Student's t has their number less one as its degrees of freedom (Carter, Schnepel & Steigerwald 2017
count effective clusters for the same reason); with G − 1 it covers 93 % at twenty of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.stats.linear import (
    UNKNOWN,
    Bools,
    Estimate,
    Floats,
    Ints,
    Linear,
    Units,
)

# What rounding to whole millionths leaves of a risk of 0 or 1: half of one.
EDGE = 5e-7
MAX_STEPS = 50
TOLERANCE = 1e-10
# Beyond such log-odds the labels are separated, and there is no fit.
FURTHEST = 30.0
LONG_STEP, SHORT_STEP = 0.5, 1e-4
N_GROUPS = 256


@dataclass(frozen=True)
class Recalibration:
    """Slope and intercept fitted together, and the intercept alone at slope 1; in log-odds."""

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate


def recalibration(y: Bools, p: Floats, cluster: Ints | Units) -> Recalibration:
    """All three; nan where the labels are one, or separated by the risk. y, p, cluster: (n,).

    Calibration slope: the factor by which the log-odds of the risks would have to be stretched to be right;
    below 1 risks are too extreme. Source: Cox 1958.

    Calibration in the large (log-odds): by how much the log-odds of all risks are off; above 0 they are too
    low.
    """
    units = Units.of(y, cluster)
    log_odds = logits(p)
    slope, intercept = slope_of(y, log_odds)
    return Recalibration(
        with_limits(slope, units),
        with_limits(intercept, units),
        with_limits(in_the_large_of(y, log_odds), units),
    )


def logits(p: Floats) -> Floats:
    """(n,): log-odds of risks, those of 0 and 1 taken for what they may have been rounded from."""
    kept = np.clip(p, EDGE, 1.0 - EDGE)
    return np.asarray(np.log(kept / (1.0 - kept)))


def in_the_large_of(y: Bools, log_odds: Floats) -> Linear | None:
    """The intercept at slope 1, and its influence; None where one label is missing.

    It solves Σ (y − expit(log-odds + a)) = 0; a row adds (y − risk)/Σ risk (1 − risk).
    """
    total = float(y.sum())
    if not 0 < total < len(y):
        return None
    odds = np.exp(log_odds)
    shift = 0.0
    for _ in range(MAX_STEPS):
        risk = 1.0 - 1.0 / (1.0 + odds * math.exp(shift))
        information = float((risk * (1.0 - risk)).sum())
        step = (total - float(risk.sum())) / max(information, 1e-300)
        shift += min(max(step, -2.0), 2.0)
        if abs(step) < TOLERANCE:
            break
    risk = 1.0 - 1.0 / (1.0 + odds * math.exp(shift))
    return Linear(shift, (y - risk) / float((risk * (1.0 - risk)).sum()))


def slope_of(y: Bools, log_odds: Floats) -> tuple[Linear | None, Linear | None]:
    """Slope and intercept with their influences; None where labels or risks are all one, or separated.

    Newton's method on standardised log-odds; a row adds (y − risk) H⁻¹ (1, x). Rows that are grouped by their
    log-odds give a start from which a few steps over all rows are enough.
    """
    spread = float(log_odds.std()) if len(y) else 0.0
    if not 0 < int(y.sum()) < len(y) or spread < 1e-9:
        return None, None
    middle = float(log_odds.mean())
    x = (log_odds - middle) / spread
    label = y.astype(float)
    rate = float(label.mean())
    start = _newton(np.array([math.log(rate / (1.0 - rate)), 0.0]), *_grouped(x, label))
    found = None if start is None else _newton(start.beta, x, label, 1.0)
    if found is None:
        return None, None
    beta, error, information = found.beta, found.error, found.information
    (a, b), (_, d) = np.linalg.inv(information)
    on_constant, on_x = error * (a + b * x), error * (b + d * x)
    slope = float(beta[1]) / spread
    return (
        Linear(slope, on_x / spread),
        Linear(float(beta[0]) - slope * middle, on_constant - on_x * (middle / spread)),
    )


def _grouped(x: Floats, label: Floats) -> tuple[Floats, Floats, Floats]:
    """(mean x, bad rows, rows) of groups of equal width."""
    low, width = float(x.min()), float(np.ptp(x))
    group = ((x - low) * (N_GROUPS * (1.0 - 1e-9) / width)).astype(np.int64)
    rows, total, bad = (
        np.bincount(group, weights=weights, minlength=N_GROUPS).astype(float)
        for weights in (None, x, label)
    )
    held = rows > 0
    return total[held] / rows[held], bad[held], rows[held]


@dataclass(frozen=True)
class _Fit:
    """beta: (2,). error: bad rows less the expected ones of each group. information: (2, 2)."""

    beta: Floats
    error: Floats
    information: Floats


def _newton(beta: Floats, x: Floats, bad: Floats, rows: Floats | float) -> _Fit | None:
    """A logistic regression on a constant and x; None where its coefficients have no limit.

    Long steps are halved until the likelihood does not fall. The last step is so short that what is left is its
    square, 1e-8; the errors move along their tangents by it.
    """
    for _ in range(MAX_STEPS):
        error, curve, information = _derivatives(beta, x, bad, rows)
        if np.linalg.cond(information) > 1e12 or float(np.abs(beta).max()) > FURTHEST:
            return None
        step = np.linalg.solve(information, np.array([error.sum(), (error * x).sum()]))
        size = float(np.abs(step).max())
        if size <= SHORT_STEP:
            error = error - curve * (step[0] + step[1] * x)
            return _Fit(beta + step, error, information)
        if size > LONG_STEP:
            before = _likelihood(beta, x, bad, rows)
            while _likelihood(beta + step, x, bad, rows) < before and np.abs(step).max() > 1e-4:
                step = step / 2.0
        beta = beta + step
    return None


def _derivatives(
    beta: Floats, x: Floats, bad: Floats, rows: Floats | float
) -> tuple[Floats, Floats, Floats]:
    """(bad rows less the expected ones of each group, how fast these rise, (2, 2) information)."""
    risk = special.expit(beta[0] + beta[1] * x)
    curve = rows * risk * (1.0 - risk)
    tilted = curve * x
    cross = float(tilted.sum())
    information = np.array([[curve.sum(), cross], [cross, (tilted * x).sum()]])
    return bad - rows * risk, curve, information


def _likelihood(beta: Floats, x: Floats, bad: Floats, rows: Floats | float) -> float:
    linear = beta[0] + beta[1] * x
    return float((bad * linear - rows * np.logaddexp(0.0, linear)).sum())


def with_limits(found: Linear | None, units: Units) -> Estimate:
    """± t √V; without ten clusters of either label the interval is not known."""
    if found is None:
        return UNKNOWN
    if not units.known:
        return Estimate(found.value, math.nan, math.nan)
    half = units.rare_t * math.sqrt(units.variance(found.influence))
    return Estimate(found.value, found.value - half, found.value + half)
