"""The Brier score in its parts: reliability − resolution + uncertainty (Murphy 1973).

Over bins b of equal count, with weight w_b, mean risk p_b, rate o_b, and the rate of all rows o:

    reliability Σ w_b (o_b − p_b)²    resolution Σ w_b (o_b − o)²    uncertainty o (1 − o)

They add up to the Brier score of the binned risks: of each row's p_b in place of its own risk (Stephenson,
Coelho & Jolliffe 2008 name the two parts within bins that are left out). Noise alone makes the gaps and the
spread of the rates larger than they are. Ferro & Fricker (2012) take the noise off in a way that keeps the sum:

    reliability − Σ w_b v_b    resolution − Σ w_b v_b + v    uncertainty + v

with v_b, v the variances of o_b − p_b and of o; here clustered ones in place of o_b (1 − o_b)/(n_b − 1).
Where that takes reliability or resolution below 0, both are raised by the same amount, which keeps the sum too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from analysis.stats.calibration import N_BINS, Reliability, equal_counts, reliability
from analysis.stats.linear import UNKNOWN, Bools, Estimate, Floats, Ints, Linear, Units


@dataclass(frozen=True)
class BrierParts:
    """Bias-corrected parts; reliability − resolution + uncertainty = binned, the Brier score of binned risks."""

    reliability: Estimate
    resolution: Estimate
    uncertainty: Estimate
    binned: float


NO_PARTS = BrierParts(UNKNOWN, UNKNOWN, UNKNOWN, math.nan)


def brier_parts(
    y: Bools,
    p: Floats,
    cluster: Ints | Units,
    n_bins: int = N_BINS,
    bins: Reliability | None = None,
) -> BrierParts:
    """The three parts with their intervals; y, p, cluster: (n,), as in `calibration`. bins: those of
    `reliability` where they are known already.

    The uncertainty's interval is that of the rate, symmetric on the logit scale; the other two's are of
    `_quadratic`. Without ten clusters of either label no interval is known.

    Parts of the Brier score: reliability (how far risks are from what happens, 0 is best), resolution (what
    the risks tell apart) and uncertainty (what no model can change), over ten groups. Source: Murphy 1973.
    """
    if not len(p):
        return NO_PARTS
    units = Units.of(y, cluster)
    bins = reliability(y, p, units, n_bins) if bins is None else bins
    weight = bins.n / len(p)
    rate = float(y.mean())
    noise = float((weight * bins.error**2).sum())
    rate_variance = units.variance((y - rate) / len(p))
    plain = float((weight * bins.gap**2).sum())
    spread = float((weight * (bins.rate - rate) ** 2).sum())
    binned = plain - spread + rate * (1.0 - rate)
    if math.isnan(noise) or math.isnan(rate_variance):
        values = (plain, spread, rate * (1.0 - rate))
        return _without_limits(values, binned)
    corrected = plain - noise, spread - noise + rate_variance
    lift = max(0.0, -min(corrected))
    values = (corrected[0] + lift, corrected[1] + lift, rate * (1.0 - rate) + rate_variance)
    if not units.known:
        return _without_limits(values, binned)
    gaps, rates = _forms(y, p, units, bins, rate)
    return BrierParts(
        _quadratic(values[0], plain, gaps, units),
        _quadratic(values[1], spread, rates, units),
        _uncertainty(values[2], rate, rate_variance, units),
        binned,
    )


def uncertainty_of(y: Bools) -> Linear | None:
    """The uncertainty without its correction, and its influence; None without rows."""
    if not len(y):
        return None
    rate = float(y.mean())
    return Linear(rate * (1.0 - rate), (1.0 - 2.0 * rate) * (y - rate) / len(y))


def _without_limits(values: tuple[float, float, float], binned: float) -> BrierParts:
    parts = [Estimate(v, math.nan, math.nan) for v in values]
    return BrierParts(parts[0], parts[1], parts[2], binned)


@dataclass(frozen=True)
class _Form:
    """A quadratic form Σ w x² of bins: its influences' variance and the degrees of freedom of that, and of W V
    the trace and that of the square.

    A few bad clusters of high risk make most of the variance: what it is known by are 2 G/(κ − 1) degrees of
    freedom, κ the kurtosis of the clusters' sums, which is G where these are normal (Satterthwaite 1946).
    """

    variance: float
    df: float
    trace: float
    trace_of_square: float


def _forms(
    y: Bools, p: Floats, units: Units, bins: Reliability, rate: float
) -> tuple[_Form, _Form]:
    """The forms of reliability and of resolution.

    With bins cut at fixed risks a row of bin b adds 2 g_b (y − p) − g_b² to reliability, g_b = o_b − p_b, and
    2 (o_b − o) y − o_b² to resolution; that bins are cut at equal counts changes nothing where the rate at
    a cut is halfway between those of the bins beside it.
    """
    order, bounds = equal_counts(p, len(bins.n))
    part = np.repeat(np.arange(len(bins.n)), np.diff(bounds))
    label, code = y[order].astype(float), units.code[order]
    residual = label - p[order]
    n, weight = len(p), bins.n / len(p)
    totals = np.bincount(
        part * units.n + code,
        weights=(label - bins.rate[part]) / bins.n[part],
        minlength=len(weight) * units.n,
    ).reshape(len(weight), units.n)
    # o_b − o, where o = Σ w o_b
    centre = np.eye(len(weight)) - weight[None, :]
    of_rates = units.n / (units.n - 1.0) * (centre @ (totals @ totals.T) @ centre.T)

    def form(influence: Floats, covariance: Floats) -> _Form:
        centred = (influence - influence.mean()) / n
        totals = np.bincount(code, weights=centred, minlength=units.n) ** 2
        weighted = weight[:, None] * covariance
        mean = float(totals.mean())
        uneven = float((totals**2).mean()) - mean * mean
        return _Form(
            units.n / (units.n - 1.0) * units.n * mean,
            2.0 * units.n * mean * mean / uneven if uneven > 0 else units.n - 1.0,
            float(np.trace(weighted)),
            float((weighted * weighted.T).sum()),
        )

    gap, high = bins.gap[part], bins.rate[part]
    return (
        form(2.0 * gap * residual - gap**2, bins.covariance),
        form(2.0 * (high - rate) * label - high**2, of_rates),
    )


def _quadratic(value: float, plug_in: float, form: _Form, units: Units) -> Estimate:
    """The interval of θ = Σ w γ² from Q = Σ w x², x ~ N(γ, V).

    Q has the mean θ + tr W V and the variance 2 tr (W V)² + 4 γᵀW V W γ: nearly c χ²_ν(θ/c), ν = tr W V/c
    (Patnaik 1949), whose noncentrality is inverted for both limits. c is what the variance asks for where θ is
    0, tr (W V)²/tr W V (Satterthwaite 1946), or where it is large, the influences' variance/4Q: the larger.
    As it is estimated it grows by (t/z)². The variance of a rate grows with the rate, and so with √θ: at the upper
    limit it is what it would be if that were the truth, at most twice as much.
    """
    if not (form.trace > 0 and plug_in > 0):
        return Estimate(value, math.nan, math.nan)
    scale = max(form.trace_of_square / form.trace, form.variance / (4.0 * plug_in))
    df = form.trace / scale
    reach = special.stdtrit(max(1.0, min(form.df, units.fewest - 1.0)), 0.975)
    scale *= float(reach / special.ndtri(0.975)) ** 2
    low = scale * _noncentrality(plug_in / scale, df, 0.975)
    high = scale * _noncentrality(plug_in / scale, df, 0.025)
    scale *= min(2.0, max(1.0, math.sqrt(high / plug_in)))
    high = max(high, scale * _noncentrality(plug_in / scale, df, 0.025))
    return Estimate(value, min(low, value), max(high, value))


def _noncentrality(x: float, df: float, level: float) -> float:
    """λ ≥ 0 at which P(χ²_df(λ) ≤ x) is `level`; 0 where it is less already without any."""
    if float(special.chdtr(df, x)) <= level:
        return 0.0

    def beyond(shift: float) -> float:
        return float(special.chndtr(x, df, shift)) - level

    top = x + df + 10.0 * math.sqrt(x + df) + 30.0
    while beyond(top) > 0:
        top *= 2.0
    return float(optimize.brentq(beyond, 0.0, top, xtol=1e-12 * top))


def _uncertainty(value: float, rate: float, variance: float, units: Units) -> Estimate:
    if not 0.0 < rate < 1.0:
        return Estimate(value, math.nan, math.nan)
    centre = math.log(rate / (1.0 - rate))
    half = units.rare_t * math.sqrt(variance) / (rate * (1.0 - rate))
    ends = special.expit(np.array([centre - half, centre + half]))
    limits = ends * (1.0 - ends)
    high = 0.25 if ends[0] <= 0.5 <= ends[1] else float(limits.max())
    return Estimate(value, min(float(limits.min()), value), max(high, value))
