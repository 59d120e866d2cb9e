"""The failure rate of rows whose label is not there yet, from calibrated risks.

Confidence-based performance estimation (CBPE; Kuberski & Białek, NannyML 2022): where nothing changed
but the traffic, and labels are missing at random given the columns, the mean of calibrated risks
estimates the rate. Calibration on the baseline holds in the baseline's traffic; so the risks are calibrated
again in the traffic that they are used in, by importance weights (PAPE; Białek, Kuberski, Perrakis &
Bifet 2024):

    θ̂ = (1/m) Σ_new p̂(x) + Σ_old w(x) (y − p̂(x))/Σ_old w(x),

w the ratio of the densities of new and old rows. With p̂ fitted on other clusters than it is used on, θ̂
errs by the product of the errors of p̂ and w (doubly robust: Robins, Rotnitzky & Zhao 1994;
Chernozhukov et al. 2018), so its influences are those of the two means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.clustered_mean import total
from analysis.stats.influence import Day, Spread, spread

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_WEIGHT = 50.0
"""Of an old row, in mean weights: one of a kind that is rare in the baseline says no more."""


@dataclass(frozen=True)
class Rows:
    """Rows of one window. y: (n,) failures, of no meaning where not `known`. risk: (n,) p̂. cluster:
    codes of both windows from 0; day: day numbers; both (n,)."""

    y: Bools
    known: Bools
    risk: Floats
    cluster: Ints
    day: Ints


@dataclass(frozen=True)
class RateEstimate:
    """A rate or a difference of rates, with how far it may be off."""

    value: float
    spread: Spread


@dataclass(frozen=True)
class Estimates:
    """unlabelled, whole: the rate of the new rows without a label, and of all, labelled ones as seen; None
    where no label is missing. off: on the rows whose labels are there, what was seen less what the
    same estimate says; None where there are none."""

    unlabelled: RateEstimate | None
    whole: RateEstimate | None
    off: RateEstimate | None


def density_weights(log_odds: Floats) -> Floats:
    """Weights of old rows, mean 1, from the log-odds of a classifier of new against old rows."""
    raw = np.exp(np.clip(log_odds - float(np.max(log_odds, initial=-math.inf)), -60.0, 0.0))
    mean = total(raw) / len(raw)
    capped = np.minimum(raw / mean, MAX_WEIGHT)
    return np.asarray(capped * len(raw) / total(capped))


def estimate_rates(
    old: Rows,
    new: Rows,
    to_unlabelled: Floats | None,
    to_labelled: Floats | None,
    by_days: bool,
    share: float | None = None,
) -> Estimates:
    """The rates with their spreads. to_unlabelled, to_labelled: (n_old,) weights, mean 1, that make the
    old rows like the new ones without and with a label; None where there are none. share: of all new
    rows, those without a label, where `new` holds samples of either; None where it holds all."""
    unlabelled = whole = off = None
    n = len(new.y)
    if to_unlabelled is not None and not new.known.all():
        missing = ~new.known
        m = int(missing.sum())
        shift, on_old = _shift(old, to_unlabelled)
        risk = new.risk[missing]
        value = total(risk) / m + shift
        on_new = np.zeros(n)
        on_new[missing] = (risk + shift - value) / m
        noise = _noise(old, to_unlabelled, new, missing, m)
        unlabelled = RateEstimate(value, _spread(old, new, on_old, on_new, by_days, noise))
        each = np.where(new.known, new.y.astype(float), new.risk + shift)
        lacking = m / n if share is None else share
        # Rows that one stands for, in parts of all new rows.
        part = np.where(missing, lacking / m, (1.0 - lacking) / max(1, n - m))
        mean = total(part * each)
        noise = _noise(old, to_unlabelled, new, missing, m / lacking)
        whole = RateEstimate(
            mean, _spread(old, new, on_old * lacking, part * (each - mean), by_days, noise)
        )
    if to_labelled is not None and new.known.any():
        shift, on_old = _shift(old, to_labelled)
        m = int(new.known.sum())
        gap = new.y[new.known] - new.risk[new.known]
        value = total(gap) / m
        on_new = np.zeros(n)
        on_new[new.known] = (gap - value) / m
        off = RateEstimate(value - shift, _spread(old, new, -on_old, on_new, by_days, (0.0, 0.0)))
    return Estimates(unlabelled, whole, off)


def _shift(old: Rows, weight: Floats) -> tuple[float, Floats]:
    """Σ w (y − p̂)/Σ w over old rows, and its influences."""
    gap = old.y - old.risk
    size = total(weight)
    value = total(weight * gap) / size
    return value, weight * (gap - value) / size


def _noise(old: Rows, weight: Floats, new: Rows, missing: Bools, n: float) -> tuple[float, float]:
    """Variance of the labels that will come, in a mean over `n`, by clusters and by days as units.

    Risks are no labels: rows with the same risk fail or not, and those of a cluster or of a day alike.
    How alike, the baseline's own errors tell, in traffic weighted like the new: their mean product over
    the pairs of rows of a unit.
    """
    risk = new.risk[missing]
    alone = total(risk * (1.0 - risk))
    gap = weight * (old.y - old.risk)
    out = []
    for of_old, of_new in ((old.cluster, new.cluster), (old.day, new.day)):
        products = _squares(of_old, gap) - total(gap * gap)
        pairs = _squares(of_old, weight) - total(weight * weight)
        alike = max(0.0, products / pairs) if pairs > 0 else 0.0
        held = np.ones(len(risk))
        out.append((alone + alike * (_squares(of_new[missing], held) - len(risk))) / (n * n))
    return out[0], out[1]


def _squares(of: Ints, values: Floats) -> float:
    """Σ over units of (Σ values)²."""
    sums, _ = _by_unit(of, values)
    return total(sums * sums)


def _spread(
    old: Rows, new: Rows, on_old: Floats, on_new: Floats, by_days: bool,
    noise: tuple[float, float],
) -> Spread:  # fmt: skip
    """V of the influences, with the noise of labels that will come; the larger by clusters or days."""
    cluster = np.concatenate([old.cluster, new.cluster])
    totals = np.bincount(cluster, weights=np.concatenate([on_old, on_new]))
    groups = int(np.count_nonzero(np.bincount(cluster)))
    by_cluster = spread(total(totals * totals), groups)
    if not by_days:
        return Spread(by_cluster.variance + noise[0], by_cluster.df)
    days = [*_days(0, old.day, on_old), *_days(1, new.day, on_new)]
    both = spread(0.0, groups, days)
    if math.isnan(both.variance):
        return Spread(by_cluster.variance + noise[0], by_cluster.df)
    larger = max(by_cluster.variance + noise[0], both.variance + noise[1])
    # How alike the labels of a day are is known of the baseline's days alone.
    df = min(both.df, len(np.unique(old.day)) - 1.0) if noise[1] > 0 else both.df
    return Spread(larger, max(1.0, df))


def _days(win: int, day: Ints, influence: Floats) -> list[Day]:
    sums, sizes = _by_unit(day, influence)
    return [Day(win, float(s), float(n)) for s, n in zip(sums, sizes, strict=True)]


def _by_unit(of: Ints, values: Floats) -> tuple[Floats, Floats]:
    """Sums of values, and rows, of each unit."""
    found, codes = np.unique(of, return_inverse=True)
    sums = np.bincount(codes, weights=values, minlength=len(found)).astype(np.float64)
    return sums, np.bincount(codes, minlength=len(found)).astype(np.float64)
