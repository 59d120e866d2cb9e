"""Many tests at once: family-wise and false discovery rates. Missing p-values are no tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def benjamini_hochberg(p: npt.ArrayLike) -> Array:
    """Adjusted p-values (q-values) of Benjamini & Hochberg (1995), shape of p; nan stays nan.

    q: the p-value after correction for how many were looked at: what is listed up to a q of 5 % is false in 5
    % of cases on average. Source: Benjamini and Hochberg 1995.
    """
    return _adjusted(p, lambda s: np.minimum.accumulate((s * s.size / _ranks(s))[::-1])[::-1])


def holm(p: npt.ArrayLike) -> Array:
    """Adjusted p-values of Holm (1979), shape of p; nan stays nan.

    Error rate (%): the chance that any regression check fails though nothing got worse. All of them share it:
    each p-value is held against it after Holm's correction for how many there are. Source: Holm 1979.
    """
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
