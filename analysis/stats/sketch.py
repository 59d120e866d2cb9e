"""An additive sketch of positive integers (µs): counts in logarithmic bins of one shared table.

After DDSketch (Masson, Rim & Lee 2019), but with integer edges, so that an engine and numpy put
every value into the same bin. Bin 0 holds values below 1 µs, bin i the values in
[EDGES_US[i − 1], EDGES_US[i]), the last bin those from 24 hours on.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR: Final = 0.01
_LAST_US: Final = 24 * 3600 * 10**6


def _edges() -> npt.NDArray[np.int64]:
    """Integers from 1 µs to 24 h, each at most 1.01/0.99 times the one before, or one more."""
    edges = [1]
    while edges[-1] < _LAST_US:
        # 101/99 in integers: floats could differ between machines.
        edges.append(min(max(edges[-1] + 1, edges[-1] * 101 // 99), _LAST_US))
    return np.asarray(edges, dtype=np.int64)


EDGES_US: Final = _edges()
EDGES_US.setflags(write=False)
N_BINS: Final = len(EDGES_US) + 1


def _values() -> npt.NDArray[np.float64]:
    """What each bin stands for: 2ab/(a + b) of its smallest and largest integers a and b."""
    low = EDGES_US[:-1].astype(float)
    high = (EDGES_US[1:] - 1).astype(float)
    middle = 2.0 * low * high / (low + high)
    return np.concatenate([[0.0], middle, [float(_LAST_US)]])


VALUES_US: Final = _values()
VALUES_US.setflags(write=False)


def bin_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The bin of each integer value in µs, same shape."""
    return np.asarray(np.searchsorted(EDGES_US, np.asarray(values), side="right"), dtype=np.int64)


def bin_value(index: int) -> float:
    """What bin `index` stands for, µs: within 1 % of every value in it from 1 µs to 24 h."""
    return float(VALUES_US[index])


def counts_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The sketch of values in µs, shape (N_BINS,)."""
    return np.bincount(bin_of(values).ravel(), minlength=N_BINS).astype(np.int64)


def merge(*sketches: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The sketch of all values of several sketches."""
    total = np.zeros(N_BINS, dtype=np.int64)
    for counts in sketches:
        total = total + np.asarray(counts, dtype=np.int64)
    return total


def quantile(counts: npt.ArrayLike, q: float) -> float:
    """The value in µs of rank ⌈q n⌉ (inverted distribution function); nan for an empty sketch."""
    index = None if math.isnan(q) else quantile_bin(counts, q)
    return math.nan if index is None else bin_value(index)


def quantile_bin(counts: npt.ArrayLike, q: float) -> int | None:
    """The bin of that value; None for an empty sketch."""
    cumulative = np.cumsum(np.asarray(counts))
    n = float(cumulative[-1])
    if not n > 0:
        return None
    # q n is no exact product: 0.07 · 100 must be rank 7, not 8.
    rank = min(max(1.0, math.ceil(q * n - 1e-9 * max(1.0, n * 1e-3))), n)
    return int(np.searchsorted(cumulative, rank))
