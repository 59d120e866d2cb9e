"""Multiple testing: one error rate over many questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """q-values: Benjamini & Hochberg (1995) adjusted p-values. nan stays nan and is no member."""
    values = np.asarray(p, dtype=float)
    q = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return q
    order = known[np.argsort(values[known], kind="stable")]
    m = len(order)
    scaled = values[order] * m / np.arange(1, m + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm (1979) adjusted p-values: strong control of the familywise error under any dependence."""
    values = np.asarray(p, dtype=float)
    adjusted = np.empty(values.shape)
    order = np.argsort(values, kind="stable")
    m = len(order)
    steps = (m - np.arange(m)) * values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if m else steps
    return adjusted


def simes(p: Sequence[float] | np.ndarray) -> float:
    """Simes (1986) p-value of a family: min over i of m p₍ᵢ₎ / i. nan for an empty family."""
    values = np.asarray(p, dtype=float)
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return float("nan")
    m = len(values)
    return float(min(1.0, np.min(values * m / np.arange(1, m + 1))))


def fcr_confidence(n_selected: int, n_tested: int, fdr: float) -> float:
    """Confidence of the intervals of selected findings: 1 − R q / m.

    Benjamini & Yekutieli (2005): the expected share of false coverage among the selected is then
    at most q.
    """
    return 1 - fdr * max(n_selected, 1) / max(n_tested, 1)


def focused_bh(
    p: np.ndarray, keep: Callable[[np.ndarray], np.ndarray], fdr: float
) -> tuple[np.ndarray, float]:
    """Focused Benjamini–Hochberg (Katsevich, Sabatti & Bogomolov 2021, procedure 2).

    p: (m,) p-values. keep: from the indices below a threshold (ascending p) to those that are left
    after redundant ones have been folded away. Returns the indices that are left, and the
    threshold: the largest t among the p-values with m t / |keep({p ≤ t})| ≤ fdr.
    """
    m = len(p)
    order = np.argsort(p, kind="stable")
    candidates = np.unique(p[p <= fdr])[::-1]
    for threshold in candidates:
        below = order[: int(np.searchsorted(p[order], threshold, side="right"))]
        if m * threshold > fdr * len(below):
            continue
        kept = keep(below)
        if len(kept) and m * threshold <= fdr * len(kept):
            return kept, float(threshold)
    return np.array([], dtype=int), 0.0
