"""Many tests at once: family-wise and false discovery rates. Missing p-values are no tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def benjamini_hochberg(p: npt.ArrayLike) -> Array:
    """Adjusted p-values (q-values) of Benjamini & Hochberg (1995), shape of p; nan stays nan."""
    return _adjusted(p, lambda s: np.minimum.accumulate((s * s.size / _ranks(s))[::-1])[::-1])


def holm(p: npt.ArrayLike) -> Array:
    """Adjusted p-values of Holm (1979), shape of p; nan stays nan."""
    return _adjusted(p, lambda s: np.maximum.accumulate(s * (s.size + 1.0 - _ranks(s))))


def simes(p: npt.ArrayLike) -> float:
    """The p-value of a family, min m p₍ᵢ₎/i (Simes 1986); nan for a family without tests."""
    values = _present(p)
    if not values.size:
        return float("nan")
    values = np.sort(values)
    return float(min(1.0, np.min(values * values.size / _ranks(values))))


def fcr_level(n_selected: int, n_tested: int, fdr: float) -> float:
    """Confidence of each interval of selected parameters: 1 − R q/m (Benjamini & Yekutieli 2005).

    Then the expected share of selected parameters outside their intervals is at most `fdr`.
    """
    if n_tested <= 0:
        return 1.0 - fdr
    return 1.0 - min(max(n_selected, 1), n_tested) * fdr / n_tested


def focused_bh(
    p: npt.ArrayLike, keep: Callable[[Indices], npt.ArrayLike], fdr: float
) -> tuple[Indices, float]:
    """Benjamini–Hochberg whose false discovery rate holds after filtering.

    Katsevich, Sabatti & Bogomolov (2021), procedure 1: the largest threshold t among the p-values
    with m t / |keep({i: pᵢ ≤ t})| ≤ fdr. keep maps the sorted indices of the rejected to those that
    are reported, as indices or as a mask over its argument; it must not depend on anything but its
    argument. Returns the kept indices, sorted, and t (0 where nothing is rejected).
    """
    values = np.asarray(p, dtype=float).ravel()
    tested = np.flatnonzero(~np.isnan(values))
    m = tested.size
    none = np.zeros(0, dtype=np.intp)
    order = tested[np.argsort(values[tested], kind="stable")]
    ranked = values[order]
    for threshold in np.unique(ranked)[::-1]:
        n_rejected = int(np.searchsorted(ranked, threshold, side="right"))
        # A filter only removes: what BH does not reject, no filter can save.
        if m * threshold > fdr * n_rejected:
            continue
        rejected = np.sort(order[:n_rejected])
        kept = np.asarray(keep(rejected))
        kept = rejected[kept] if kept.dtype == bool else np.sort(kept.astype(np.intp))
        if kept.size and m * threshold <= fdr * kept.size:
            return kept, float(threshold)
    return none, 0.0


def _present(p: npt.ArrayLike) -> Array:
    values = np.asarray(p, dtype=float).ravel()
    return values[~np.isnan(values)]


def _ranks(values: Array) -> Array:
    return np.arange(1.0, values.size + 1.0)


def _adjusted(p: npt.ArrayLike, step: Callable[[Array], Array]) -> Array:
    values = np.asarray(p, dtype=float)
    out = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values.ravel()))
    if known.size:
        flat = values.ravel()[known]
        order = np.argsort(flat, kind="stable")
        adjusted = np.empty(known.size)
        adjusted[order] = np.minimum(step(flat[order]), 1.0)
        out.ravel()[known] = adjusted
    return out
