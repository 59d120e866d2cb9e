"""The tests behind the hotspots: levels and regressions of slices against their references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.stats.intervals import design_effect
from analysis.stats.tails import (
    LogTerm,
    interval,
    log_gamma_terms,
    mean_level_test,
    mean_regression_test,
    rate_level_test,
    rate_regression_test,
    rate_terms,
)
from analysis.telemetry.moments import Moments
from analysis.telemetry.slices import SliceTable

Kind = Literal["level", "regression"]
Unit = Literal["rate", "usd", "score"]


@dataclass(frozen=True)
class Pooled:
    """What is taken from a whole window: ρ for rates, squared variation of a row's share for means.

    scale, best: those of the metric.
    """

    is_rate: bool
    rho: tuple[float, float]
    cv2: tuple[float, float]
    totals_n: tuple[float, float]
    totals_y: tuple[float, float]
    totals_nn: tuple[float, float]
    bad_per_row: float
    scale: int = 1
    best: int | None = None

    @property
    def unit(self) -> Unit:
        """What its values are shown in."""
        if self.is_rate:
            return "rate"
        return "usd" if self.best is None else "score"

    def shown(self, mean: np.ndarray) -> np.ndarray:
        """Rates and means in their unit; of a shortfall the score itself."""
        return mean / self.scale if self.best is None else (self.best - mean) / self.scale


def pooled(m: Moments, is_rate: bool, rho: tuple[float, float]) -> Pooled:
    """Pooled figures of one metric, (baseline, candidate)."""
    windows = (m.baseline, m.candidate)
    cv2 = []
    for w in windows:
        mean = w.y / w.n if w.n else 0.0
        spread = w.yy - 2 * mean * w.ny + mean * mean * w.nn
        cv2.append(max(float(spread) * w.n / float(w.y) ** 2, 1e-12) if w.y else 1.0)
    # Weights balance weekdays, and make no row more than one.
    y = sum(
        w.y / w.n * rows
        for w, rows in zip(windows, (m.support_baseline, m.support_candidate), strict=True)
        if w.n
    )
    bad = m.baseline.bad_clusters + m.candidate.bad_clusters
    return Pooled(
        is_rate,
        rho,
        (cv2[0], cv2[1]),
        (float(windows[0].n), float(windows[1].n)),
        (float(windows[0].y), float(windows[1].y)),
        (float(windows[0].nn), float(windows[1].nn)),
        min(1.0, bad / y) if y else 1.0,
        m.metric.scale,
        m.metric.best,
    )


@dataclass(frozen=True)
class Side:
    """Counts of m sets of rows in one window: numerator, rows, design effect or variation."""

    y: np.ndarray
    n: np.ndarray
    deff: np.ndarray
    cv2: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.y / self.n

    def at(self, which: np.ndarray) -> Side:
        """The sets of rows at these places."""
        return Side(self.y[which], self.n[which], self.deff[which], self.cv2[which])


@dataclass(frozen=True)
class Sides:
    """Each slice and its rest in both windows (candidate 1, baseline 0)."""

    own1: Side
    own0: Side
    rest1: Side
    rest0: Side

    def at(self, which: np.ndarray) -> Sides:
        """The slices at these places."""
        return Sides(*(s.at(which) for s in (self.own1, self.own0, self.rest1, self.rest0)))

    def reference(self, kind: Kind) -> np.ndarray:
        """Level: the rest. Regression: the slice's baseline, moved as the rest moved."""
        if kind == "level":
            return self.rest1.mean
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.own0.mean * self.rest1.mean / self.rest0.mean


def log_variance(p: Pooled, side: Side) -> np.ndarray:
    """The variance of the log of a side's rate or mean (delta method, effective counts)."""
    if p.is_rate:
        return np.asarray(side.deff / np.maximum(side.y, 0.5))
    return np.asarray(side.cv2 / np.maximum(side.n, 1.0))


def kind_p(p: Pooled, kind: Kind, sides: Sides) -> np.ndarray:
    """One-sided p-values of slices against their references."""
    if kind == "level":
        return level_p(p, sides.own1, sides.rest1)
    return regression_p(p, sides.own1, sides.own0, sides.rest1, sides.rest0)


def level_p(p: Pooled, own: Side, rest: Side) -> np.ndarray:
    """One-sided p-values of own above rest."""
    if p.is_rate:
        return rate_level_test(own.y, own.n, own.deff, rest.y, rest.n, rest.deff)
    return mean_level_test(own.mean, own.n, own.cv2, rest.mean, rest.n, rest.cv2)


def regression_p(p: Pooled, own1: Side, own0: Side, rest1: Side, rest0: Side) -> np.ndarray:
    """One-sided p-values of a slice that worsened, and by more than the rest.

    The larger of two (an intersection–union test: Berger 1982): against the rest's change, and
    against the slice's own baseline. Where another slice heals, the rest improves; what only stayed
    as it was has not worsened.
    """
    return np.maximum(_against_rest(p, own1, own0, rest1, rest0), level_p(p, own1, own0))


def _against_rest(p: Pooled, own1: Side, own0: Side, rest1: Side, rest0: Side) -> np.ndarray:
    if p.is_rate:
        return rate_regression_test(
            own1.y,
            own1.n,
            own1.deff,
            own0.y,
            own0.n,
            own0.deff,
            rest1.y,
            rest1.n,
            rest1.deff,
            rest0.y,
            rest0.n,
            rest0.deff,
        )
    return mean_regression_test(
        own1.mean,
        own1.n,
        own1.cv2,
        own0.mean,
        own0.n,
        own0.cv2,
        rest1.mean,
        rest1.n,
        rest1.cv2,
        rest0.mean,
        rest0.n,
        rest0.cv2,
    )


def slice_sides(table: SliceTable, p: Pooled, metric: int) -> Sides:
    """Each slice and its rest in both windows."""
    own1, rest1 = _window_sides(table, p, metric, 1)
    own0, rest0 = _window_sides(table, p, metric, 0)
    return Sides(own1, own0, rest1, rest0)


def _window_sides(table: SliceTable, p: Pooled, metric: int, win: int) -> tuple[Side, Side]:
    s = {name: values[:, metric, win] for name, values in table.sums.items()}
    own_deff = _deff(s["n"], s["nn"], p.rho[win])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = s["y"] / s["n"]
        spread = s["yy"] - 2 * mean * s["ny"] + mean**2 * s["nn"]
        own_cv2 = np.nan_to_num(spread * s["n"] / s["y"] ** 2, nan=0.0, posinf=0.0)
    n_rest = p.totals_n[win] - s["n"]
    y_rest = p.totals_y[win] - s["y"]
    whole = design_effect(p.totals_n[win], p.totals_nn[win], p.rho[win])
    shape = s["n"].shape
    own = Side(s["y"], s["n"], own_deff, np.maximum(own_cv2, p.cv2[win]))
    rest = Side(y_rest, n_rest, np.full(shape, whole), np.full(shape, p.cv2[win]))
    return own, rest


def _deff(n: np.ndarray, nn: np.ndarray, rho: float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(n > 0, nn / n, 1.0)
    return np.maximum(1.0, 1.0 + (ratio - 1.0) * rho)


# ── intervals ────────────────────────────────────────────────────────────────────────────


def like_its_own(p: Pooled, side: Side, win: int) -> Side:
    """A side of a window whose clusters hang together as much as they do at its own rate.

    Where clusters differ by a factor, ρ goes with the odds: what is pooled over the window is too small
    for a slice that fails more. Tests take the pooled one, which holds where the slice is as the rest.
    """
    if not p.is_rate or not 0 < p.totals_y[win] < p.totals_n[win] or p.rho[win] <= 0:
        return side
    usual = p.totals_y[win] / (p.totals_n[win] - p.totals_y[win])
    own = np.minimum(np.nan_to_num(side.mean), 0.99)
    factor = np.clip(own / (1 - own) / usual, 1.0, max(1.0, 1 / p.rho[win]))
    return replace(side, deff=1 + (side.deff - 1) * factor)


def _term(p: Pooled, counts: Side, side: int, sign: int) -> LogTerm:
    if p.is_rate:
        return rate_terms(counts.y, counts.n, counts.deff, side, sign)
    return log_gamma_terms(counts.n / counts.cv2, counts.mean, sign)


def figure_limits(
    p: Pooled, parts: Sequence[tuple[Side, int]], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of a product of rates or means, each to the power ±1, on the original scale."""
    lower = [_term(p, counts, -sign, sign) for counts, sign in parts]
    upper = [_term(p, counts, sign, sign) for counts, sign in parts]
    low, high = interval(lower, upper, confidence)
    return np.exp(low), np.exp(np.minimum(high, 700.0))
