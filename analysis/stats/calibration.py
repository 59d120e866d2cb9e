"""Quality of predicted risks: ranking, accuracy and calibration, each with a clustered interval.

Everywhere `y` is boolean (n,), `p` a risk in [0, 1] (n,), `cluster` a non-negative code (n,), or the
`Units` made of it. Rows of a cluster may depend on one another, clusters not: an estimate θ̂ ≈ θ + Σ_k φ_k
has the variance G/(G−1) Σ_c (Σ_{k∈c} φ_k)², φ the influence of a row. Rows that already come in rising order
of risk are not sorted again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.linear import (
    UNKNOWN,
    Estimate,
    Linear,
    Units,
    logit_interval,
    plain_interval,
)
from analysis.stats.ridge import ridge_logistic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

N_BINS = 10
MICRO = 1_000_000


@dataclass(frozen=True)
class Reliability:
    """Equal-count bins in rising order of risk: rows, mean risk, rate, and the rate's gap with its
    clustered standard error, each (bins,). covariance: of the gaps, (bins, bins)."""

    n: Ints
    risk: Floats
    rate: Floats
    gap: Floats
    error: Floats
    covariance: Floats


def roc_auc(y: Bools, p: Floats, cluster: Ints | Units) -> Estimate:
    """Area under the ROC curve, ties counted half; the interval is symmetric on the logit scale.

    Area under the ROC curve: the probability that a failure has a higher risk than an interaction that did
    not fail. 0.5 is chance, 1 perfect.
    """
    return logit_interval(roc_auc_of(y, p), Units.of(y, cluster))


def roc_auc_of(y: Bools, p: Floats) -> Linear | None:
    """The area and its influence; None where a label is missing.

    Structural components by DeLong, DeLong & Clarke-Pearson (1988), summed by cluster as in
    Obuchowski (1997).
    """
    n_positive = int(y.sum())
    n_negative = len(y) - n_positive
    if not n_positive or not n_negative:
        return None
    _, place, size = _levels(p)
    bad = np.bincount(place[y], minlength=len(size))
    influence = np.empty(len(p))
    above = _share_below(size - bad)[place[y]]
    value = float(above.mean())
    influence[y] = (above - value) / n_positive
    influence[~y] = (1.0 - _share_below(bad)[place[~y]] - value) / n_negative
    return Linear(value, influence)


def average_precision(y: Bools, p: Floats, cluster: Ints | Units) -> Estimate:
    """Mean precision at the positives' scores: scikit-learn's definition, ties share a threshold.

    Average precision: the mean, over all failures, of the precision of reviewing from that failure's risk on.
    The share of failures is chance, 1 perfect.
    """
    return logit_interval(average_precision_of(y, p), Units.of(y, cluster))


def average_precision_of(y: Bools, p: Floats) -> Linear | None:
    """The average precision and its influence; None where a label is missing.

    AP = E[y A(s)/B(s)]/π with A(s) = P(y = 1, S ≥ s), B(s) = P(S ≥ s), π = P(y = 1). Its influence
    is φ = {y (A/B + H₁ − AP) − H₂}/π, H₁(s) = E[y 1{S ≤ s}/B(S)], H₂(s) = E[y A(S) 1{S ≤ s}/B(S)²].
    """
    n, n_positive = len(p), int(y.sum())
    if not n or not 0 < n_positive < n:
        return None
    scores, place, size = _levels(p)
    bad = np.bincount(place, weights=y, minlength=len(scores))
    reach = np.cumsum(size[::-1])[::-1] / n
    caught = np.cumsum(bad[::-1])[::-1] / n
    precision = caught / reach
    first = np.cumsum(bad / n / reach)
    second = np.cumsum(bad / n * precision / reach)
    share = n_positive / n
    value = float((bad * precision).sum() / n_positive)
    influence = (y * (precision + first - value)[place] - second[place]) / share / n
    return Linear(value, influence)


def brier(y: Bools, p: Floats, cluster: Ints | Units) -> Estimate:
    """Mean squared error of the risks (Brier 1950).

    Brier score: mean squared distance between risk and what happened; 0 is perfect. Source: Brier 1950.
    """
    return plain_interval(brier_of(y, p), Units.of(y, cluster), floor=0.0)


def brier_of(y: Bools, p: Floats) -> Linear | None:
    """The Brier score and its influence; None without rows."""
    if not len(p):
        return None
    loss = (p - y) ** 2
    value = float(loss.mean())
    return Linear(value, (loss - value) / len(p))


def brier_skill(y: Bools, p: Floats, cluster: Ints | Units) -> Estimate:
    """1 − Brier score / that of the window's own rate, predicted for every row.

    1 is perfect, 0 no better than the rate; nan where every label is the same.

    Brier skill: 1 − Brier score divided by that of predicting the window's own rate for every row; 0 is no
    better than that.
    """
    return plain_interval(brier_skill_of(y, p), Units.of(y, cluster), ceiling=1.0)


def brier_skill_of(y: Bools, p: Floats) -> Linear | None:
    """The Brier skill and its influence; None where every label is the same."""
    if not len(p):
        return None
    rate = float(y.mean())
    reference = rate * (1.0 - rate)
    if reference <= 0:
        return None
    loss = (p - y) ** 2
    mean = float(loss.mean())
    tilt = mean / reference**2 * (1.0 - 2.0 * rate)
    influence = (-(loss - mean) / reference + tilt * (y - rate)) / len(p)
    return Linear(1.0 - mean / reference, influence)


def calibration_error(
    y: Bools,
    p: Floats,
    cluster: Ints | Units,
    n_bins: int = N_BINS,
    bins: Reliability | None = None,
) -> Estimate:
    """Expected calibration error Σ_b n_b/n |rate_b − risk_b| over equal-count bins, debiased.

    Noise alone makes every gap positive. The plug-in sum is multiplied by √(1 − Σ w σ²/Σ w gap²),
    at least 0: the share of the mean squared gap that the gaps' own (clustered) variance σ² does
    not explain, which is the debiased squared error of Kumar, Liang & Ma (2019, eq. 8). The upper
    limit starts from the plug-in sum; the lower is 0 unless a χ² test of all gaps rejects at 1 %.
    bins: those of `reliability` where they are known already.

    Calibration error: mean distance between predicted risk and what happened, over ten equal groups, less
    what chance alone makes of it.
    """
    units = Units.of(y, cluster)
    bins = reliability(y, p, units, n_bins) if bins is None else bins
    if not len(bins.n):
        return UNKNOWN
    weight = bins.n / bins.n.sum()
    squared = float((weight * bins.gap**2).sum())
    noise = float((weight * bins.error**2).sum())
    plain = float((weight * np.abs(bins.gap)).sum())
    share = max(0.0, 1.0 - noise / squared) if squared > 0 and noise >= 0 else 0.0
    value = plain * math.sqrt(share)
    order, bounds = equal_counts(p, len(bins.n))
    signs = np.repeat(np.sign(bins.gap), np.diff(bounds))
    gaps = np.repeat(bins.gap, np.diff(bounds))
    influence = np.empty(len(p))
    influence[order] = signs * ((y.astype(float) - p)[order] - gaps) / len(p)
    half = units.t * math.sqrt(units.variance(influence))
    if math.isnan(half) or math.isnan(noise):
        return Estimate(plain if math.isnan(noise) else value, math.nan, math.nan)
    known = bins.error > 0
    evidence = float(((bins.gap[known] / bins.error[known]) ** 2).sum())
    shown = special.chdtrc(max(1, int(known.sum())), evidence) < 0.01
    low = max(0.0, value - half) if shown else 0.0
    return Estimate(value, low, min(1.0, max(value, plain + half)))


def reliability(y: Bools, p: Floats, cluster: Ints | Units, n_bins: int = N_BINS) -> Reliability:
    """Rows sorted by risk (equal risks by position) and cut into bins of equal count."""
    units = Units.of(y, cluster)
    order, bounds = equal_counts(p, n_bins)
    counts = np.diff(bounds)
    part = np.repeat(np.arange(len(counts)), counts)
    bad = np.bincount(part, weights=y[order], minlength=len(counts))
    risk = np.bincount(part, weights=p[order], minlength=len(counts)) / counts
    rate = bad / counts
    gap = rate - risk
    residual = (y.astype(float) - p)[order] - gap[part]
    # Bin after bin, so that sums of one bin lie side by side in memory.
    shape = (len(counts), units.n)
    cell = part * units.n + units.code[order]
    size = shape[0] * shape[1]
    totals = np.bincount(cell, weights=residual / counts[part], minlength=size).reshape(shape)
    squares = totals @ totals.T
    present = np.zeros(size, dtype=bool)
    present[cell] = True
    groups = np.count_nonzero(present.reshape(shape), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(groups > 1, groups / (groups - 1.0), np.nan)
        covariance = squares * (units.n / (units.n - 1.0) if units.n > 1 else np.nan)
    error = np.sqrt(factor * np.diag(squares))
    return Reliability(counts.astype(np.int64), risk, rate, gap, error, np.asarray(covariance))


def platt(score: Floats, y: Bools) -> tuple[float, float]:
    """(slope, intercept) of the sigmoid that turns a score into a risk: 1/(1 + exp(−a − b·score)).

    Platt (1999), with his smoothed targets (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), which keep separable
    scores finite. A slope that is not positive, where the score ranks no better than chance, is
    set to 0: every row gets the overall rate.
    """
    n_positive = int(y.sum())
    n_negative = len(y) - n_positive
    target = np.where(y, (n_positive + 1.0) / (n_positive + 2.0), 1.0 / (n_negative + 2.0))
    spread = float(score.std()) if len(score) else 0.0
    if spread > 0:
        middle = float(score.mean())
        weights = ridge_logistic(((score - middle) / spread)[:, None], target, ridge=0.0)
        slope = float(weights[1]) / spread
        if slope > 0 and math.isfinite(slope):
            return slope, float(weights[0]) - slope * middle
    rate = float(target.mean()) if len(target) else 0.5
    return 0.0, math.log(rate / (1.0 - rate))


def _levels(p: Floats) -> tuple[Floats, Ints, Ints]:
    """(distinct risks in rising order, each row's place among them, rows of each).

    Risks are most often rounded to whole millionths; these are counted, and not sorted.
    """
    rises = p[1:] > p[:-1]
    if len(p) and (rises | (p[1:] == p[:-1])).all():
        first = np.concatenate([[True], rises])
        starts = np.flatnonzero(first)
        size = np.diff(np.concatenate([starts, [len(p)]]))
        return p[starts], np.cumsum(first) - 1, size.astype(np.int64)
    micro = np.rint(p * MICRO)
    if not len(p) or not (micro / MICRO == p).all() or micro.min() < 0 or micro.max() > MICRO:
        scores, place, size = np.unique(p, return_inverse=True, return_counts=True)
        return scores, place.astype(np.int64), size.astype(np.int64)
    code = micro.astype(np.int64)
    counts = np.bincount(code)
    seen = counts > 0
    return np.flatnonzero(seen) / MICRO, (np.cumsum(seen) - 1)[code], counts[seen]


def _share_below(counts: Ints) -> Floats:
    """By level: the share of these rows at lower levels, those at the same one counted half."""
    reach = np.cumsum(counts)
    return np.asarray((reach + reach - counts) / 2.0 / reach[-1])


def equal_counts(p: Floats, n_bins: int) -> tuple[Ints, Ints]:
    """Rows in order of risk, and the bins' bounds in it: sizes differ by at most one row."""
    order = np.arange(len(p))
    if not (p[1:] >= p[:-1]).all():
        key = (_levels(p)[1] << 32) | order
        key.sort()
        order = key & 0xFFFFFFFF
    bins = min(n_bins, len(p))
    size, rest = divmod(len(p), bins) if bins else (0, 0)
    counts = [size + 1] * rest + [size] * (bins - rest)
    return order.astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
