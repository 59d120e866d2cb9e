"""Puts millions of ids in the order of their bytes, without a Python object each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

Ints = npt.NDArray[np.int64]
_WORD = 8


@dataclass(frozen=True)
class Ids:
    """Ids as they came, and their order: `order[k]` is where the k-th smallest came."""

    texts: pa.LargeStringArray
    order: Ints

    @classmethod
    def of(cls, parts: Sequence[pa.LargeStringArray]) -> Ids:
        """The ids of several batches, as `own_texts` gives them."""
        texts = pa.concat_arrays(parts) if parts else pa.array([], type=pa.large_string())
        return cls(texts, key_order(texts))

    def at(self, places: Ints) -> list[str]:
        """The ids at these places of the order."""
        return [str(v) for v in self.texts.take(pa.array(self.order[places])).to_pylist()]


def own_texts(values: pd.Series) -> pa.LargeStringArray:
    """A column's texts in memory of their own: a column that is kept keeps all of its batch."""
    plain = values.astype("str") if isinstance(values.dtype, pd.CategoricalDtype) else values
    texts = pa.array(plain, from_pandas=True).cast(pa.large_string())
    pieces = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    every = [piece.take(pa.array(np.arange(len(piece)))) for piece in pieces]
    return pa.concat_arrays(every) if every else pa.array([], type=pa.large_string())


def key_order(texts: pa.LargeStringArray) -> Ints:
    """(n,): indices that sort texts by their UTF-8 bytes, which is Python's order of `str` too.

    Eight bytes at a time: first all rows by their first word, then only those that are still equal
    by their next one.
    """
    n = len(texts)
    _, offsets, data = texts.buffers()
    if n < 2 or offsets is None:
        return np.arange(n, dtype=np.int64)
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + n + 1]
    begin, length = ends[:-1], np.diff(ends)
    held = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, np.uint8)
    held = np.concatenate([held, np.zeros(_WORD, dtype=np.uint8)])
    words = np.ndarray(len(held) - _WORD + 1, dtype=">u8", buffer=held, strides=(1,))

    def word(at: Ints, left: Ints) -> npt.NDArray[np.uint64]:
        """The eight bytes from each place on, of which `left` belong to the text; then zeros."""
        if int(left.min()) >= _WORD:
            return words[at].astype(np.uint64)
        left = np.clip(left, 0, _WORD)
        found = words[np.where(left > 0, at, 0)].astype(np.uint64)
        cut = np.minimum((_WORD - left) * 8, 63).astype(np.uint64)
        return np.where(left > 0, found >> cut << cut, np.uint64(0))

    first = word(begin, length)
    order = np.argsort(first)
    first = first[order]
    same = first[1:] == first[:-1]
    depth = _WORD
    while same.any():
        tied = np.concatenate([same, [False]]) | np.concatenate([[False], same])
        places = np.flatnonzero(tied)
        group = np.cumsum(~np.concatenate([[False], same])[places])
        rows = order[places]
        exhausted = depth >= int(length[rows].max())
        value = (
            length[rows].astype(np.uint64)
            if exhausted
            else word(begin[rows] + depth, length[rows] - depth)
        )
        sub = np.lexsort((value, group))
        order[places] = rows[sub]
        if exhausted:
            break
        value, group = value[sub], group[sub]
        equal = (value[1:] == value[:-1]) & (group[1:] == group[:-1])
        same = np.zeros(n - 1, dtype=bool)
        same[places[:-1][equal]] = True
        depth += _WORD
    return order.astype(np.int64)
