"""A linear model's columns, kept as what they are made of: most of them are tables of a code.

An indicator, or a step of a number, is known from a row's code alone: x = table[code, column]. Moments
of two such columns are then sums over pairs of codes (for a count: exact integers), a prediction is a
look-up, and the (n, p) matrix is never built. Only what no code tells is kept as numbers.

The order of columns is the caller's. Sums run in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import block_diag

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RUN = 4_096


@dataclass(frozen=True)
class Coded:
    """Columns that a code tells. codes: (n,) from 0. table: (levels, columns), each code's values."""

    codes: npt.NDArray[np.int32]
    table: Floats

    @classmethod
    def of(cls, codes: npt.ArrayLike, table: Floats) -> Coded:
        return cls(np.asarray(codes, dtype=np.int32), table)

    @property
    def width(self) -> int:
        """The number of columns."""
        return int(self.table.shape[1])

    def counts(self) -> Ints:
        """(levels,): rows of each code."""
        return np.bincount(self.codes, minlength=len(self.table))

    def picked(self, columns: npt.ArrayLike) -> Coded:
        """Some of the columns. columns: indices, or which to keep."""
        return Coded(self.codes, self.table[:, np.asarray(columns)])


@dataclass(frozen=True)
class Design:
    """n rows of p columns.

    coded: blocks of columns that codes tell. plain: (n, d), the others. order: (p,) where each column
    is among those of the blocks, one after the other, and then the plain ones.
    """

    coded: tuple[Coded, ...]
    plain: Floats
    order: Ints

    @classmethod
    def of(cls, columns: Design | Floats) -> Design:
        """A design as it is; a matrix (n, p) as its plain columns."""
        if isinstance(columns, Design):
            return columns
        return cls((), np.ascontiguousarray(columns), np.arange(columns.shape[1], dtype=np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Coded | Floats], n: int) -> Design:
        """Parts beside each other, in their order: blocks, or (n, columns) of numbers."""
        coded = tuple(p for p in parts if isinstance(p, Coded))
        plain = [p for p in parts if not isinstance(p, Coded)]
        place, other = 0, sum(p.width for p in coded)
        order: list[int] = []
        for part in parts:
            width = part.width if isinstance(part, Coded) else part.shape[1]
            start = place if isinstance(part, Coded) else other
            order += range(start, start + width)
            if isinstance(part, Coded):
                place += width
            else:
                other += width
        numbers = plain[0] if len(plain) == 1 else np.column_stack([np.zeros((n, 0)), *plain])
        return cls(coded, np.ascontiguousarray(numbers), np.array(order, dtype=np.int64))

    def with_more(self, part: Coded | Floats) -> Design:
        """The same, and further columns after its own."""
        if not isinstance(part, Coded):
            last = self.width + np.arange(part.shape[1])
            plain = np.column_stack([self.plain, part])
            return Design(self.coded, plain, np.append(self.order, last))
        q = self.width - self.plain.shape[1]
        order = np.where(self.order < q, self.order, self.order + part.width)
        last = q + np.arange(part.width)
        return Design((*self.coded, part), self.plain, np.append(order, last))

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def width(self) -> int:
        """p."""
        return len(self.order)

    def rows(self, index: Ints | slice) -> Design:
        """Some of the rows, in the order of `index`."""
        return Design(
            tuple(Coded(_taken(c.codes, index), c.table) for c in self.coded),
            _taken(self.plain, index),
            self.order,
        )

    def column(self, j: int) -> Floats:
        """(n,): column j."""
        place = int(self.order[j])
        for block in self.coded:
            if place < block.width:
                return np.asarray(block.table[:, place].take(block.codes))
            place -= block.width
        return np.asarray(self.plain[:, place])

    def columns(self) -> Iterator[Floats]:
        """Each column (n,), in order."""
        return map(self.column, range(self.width))

    def matrix(self, columns: npt.ArrayLike | None = None) -> Floats:
        """(n, p): columns as numbers, all of them or some. columns: indices, or which to take."""
        places = self.order if columns is None else self.order[np.asarray(columns)]
        out = np.empty((len(self), len(places)))
        start = 0
        for block in self.coded:
            here = (places >= start) & (places < start + block.width)
            _put(out, here, block.table[:, places[here] - start].take(block.codes, axis=0))
            start += block.width
        _put(out, places >= start, self.plain[:, places[places >= start] - start])
        return out

    # ── moments and predictions ──────────────────────────────────────────────────────────

    def moments(
        self, y: Floats, group: Ints | None = None, n_groups: int = 1
    ) -> tuple[Floats, Floats]:
        """Σ (1, x) (1, x)ᵀ and Σ (1, x) yᵀ by group.

        y: (n, k). group: (n,) codes. Shapes (groups, 1 + p, 1 + p) and (groups, 1 + p, k).
        """
        d, k, levels = self.plain.shape[1], y.shape[1], len(self._table)
        numbers = np.zeros((n_groups, 1 + d + k, 1 + d + k))
        sums = np.zeros((n_groups, levels, 1 + d + k))
        counts = np.zeros((n_groups, levels, levels), dtype=np.int32)
        for rows, first, edges in _runs(group, len(self), n_groups):
            n, run = edges[-1], slice(first, first + len(edges) - 1)
            right = np.empty((n, 1 + d + k))
            right[:, 0], right[:, 1 : 1 + d] = 1.0, _taken(self.plain, rows)
            right[:, 1 + d :] = _taken(y, rows)
            for g, (begin, end) in enumerate(pairwise(edges)):
                z = right[begin:end]
                numbers[first + g] += z.T @ z
            if not self.coded:
                continue
            places, own = self._places(rows), np.repeat(np.arange(len(edges) - 1), np.diff(edges))
            shape = (len(edges) - 1, levels, 1 + d + k)
            at = (places + levels * own[:, None]).astype(np.int32)
            sums[run] += _grouped_sums(at, right, shape[0] * levels).reshape(shape)
            for a, (begin, end) in enumerate(pairwise(self._levels)):
                if not begin:
                    continue
                left = own * (end - begin) + (places[:, a] - begin)
                both = (left * begin)[:, None] + places[:, :a]
                size = (shape[0], end - begin, begin)
                counts[run, begin:end, :begin] += np.bincount(
                    both.ravel(), minlength=size[0] * size[1] * size[2]
                ).reshape(size)
        q, own = self._table.shape[1], np.append(0, 1 + self.order)
        told, coded = np.r_[0, 1 + q : 1 + q + d], slice(1, 1 + q)  # the intercept comes first
        gram, cross = np.empty((n_groups, 1 + q + d, 1 + q + d)), np.empty((n_groups, 1 + q + d, k))
        inner, beside = np.empty(gram.shape[1:]), np.empty((1 + q + d, 1 + d + k))
        for g in range(n_groups):
            both = counts[g].astype(float)
            both += both.T
            np.fill_diagonal(both, sums[g, :, 0])
            beside[told], beside[coded] = numbers[g, : 1 + d], self._table.T @ sums[g]
            inner[:, told], inner[told] = beside[:, : 1 + d], beside[:, : 1 + d].T
            inner[coded, coded] = self._table.T @ both @ self._table
            gram[g], cross[g] = inner[own[:, None], own], beside[own, 1 + d :]
        return gram, cross

    def products(self, r: Floats) -> tuple[Floats, Floats]:
        """Σ r xᵢ xⱼ and Σ (r xᵢ xⱼ)² of each two columns: what a score test of their product asks for.

        r: (n, m). Shapes (m, p, p).
        """
        d, m, levels = self.plain.shape[1], r.shape[1], len(self._table)
        numbers = np.zeros((2, m, d, d))
        sums = np.zeros((levels, d + 1, 2, m))
        pairs = np.zeros((levels, levels, 2, m))
        for rows, _, edges in _runs(None, len(self), 1):
            plain, part = self.plain[rows], r[rows]
            # Both sums at once: of x with the weight r, and of x² with r².
            x, weights = np.stack([plain, plain**2]), np.stack([part, part**2], axis=1)
            numbers += (x[:, None] * weights.transpose(1, 2, 0)[:, :, :, None]).transpose(
                0, 1, 3, 2
            ) @ x[:, None]
            right = np.empty((edges[-1], d + 1, 2, m))
            right[:, 0] = weights
            np.multiply(x.transpose(1, 2, 0)[:, :, :, None], weights[:, None], out=right[:, 1:])
            if not self.coded:
                continue
            places = self._places(rows)
            sums += _grouped_sums(places, right.reshape(edges[-1], -1), levels).reshape(sums.shape)
            flat = weights.reshape(edges[-1], -1)
            for a, (begin, end) in enumerate(pairwise(self._levels)):
                if not begin:
                    continue
                both = ((places[:, a] - begin) * begin)[:, None] + places[:, :a]
                size = (end - begin, begin, 2, m)
                pairs[begin:end, :begin] += _grouped_sums(both, flat, size[0] * begin).reshape(size)
        pairs += pairs.transpose(1, 0, 2, 3)
        pairs[np.arange(levels), np.arange(levels)] = sums[:, 0]
        q = self._table.shape[1]
        out, table = (
            np.empty((2, m, q + d, q + d)),
            np.stack([self._table, self._table**2])[:, None],
        )
        side = table.transpose(0, 1, 3, 2)
        out[:, :, q:, q:] = numbers
        out[:, :, :q, q:] = side @ sums[:, 1:].transpose(2, 3, 0, 1)
        out[:, :, q:, :q] = out[:, :, :q, q:].transpose(0, 1, 3, 2)
        out[:, :, :q, :q] = side @ pairs.transpose(2, 3, 0, 1) @ table
        once, twice = out[:, :, self.order[:, None], self.order]
        return once, twice

    def times(self, beta: Floats, group: Ints | None = None) -> Floats:
        """(1, x) β of each row, (n, k). beta: (1 + p, k), or (groups, 1 + p, k) with each row's group."""
        of = beta.reshape(-1, *beta.shape[-2:])
        n_groups, _, k = of.shape
        slopes = np.empty((n_groups, self.width, k))
        slopes[:, self.order] = of[:, 1:]
        q, levels = self.width - self.plain.shape[1], self._levels[-1]
        told, place = np.empty((n_groups, levels, k)), 0
        for block, (begin, end) in zip(self.coded, pairwise(self._levels), strict=True):
            told[:, begin:end] = block.table @ slopes[:, place : place + block.width]
            place += block.width
        by_code = told.reshape(-1, k)
        out = np.empty((len(self), k))
        for start in range(0, len(self), RUN):
            here = slice(start, start + RUN)
            plain, value = self.plain[here], out[here]
            own = np.zeros(len(value), dtype=np.int64) if group is None else group[here]
            for rows, first, edges in _runs(own, len(value), n_groups):
                for g, (begin, end) in enumerate(pairwise(edges), first):
                    part = rows if isinstance(rows, slice) else rows[begin:end]
                    value[part] = _taken(plain, part) @ slopes[g, q:] + of[g, 0]
            own = own * levels
            for a, block in enumerate(self.coded):
                value += by_code.take(own + self._levels[a] + block.codes[here], axis=0)
        return out

    @cached_property
    def _levels(self) -> list[int]:
        """Where each block's codes begin among the codes of all, and where the last one's end."""
        return [0, *np.cumsum([len(c.table) for c in self.coded], dtype=int).tolist()]

    @cached_property
    def _table(self) -> Floats:
        """(levels of all blocks, their columns): each block's table on the diagonal."""
        return block_diag(np.zeros((0, 0)), *(c.table for c in self.coded))

    def _places(self, rows: Ints | slice) -> npt.NDArray[np.int32]:
        """(rows, blocks): each row's codes among the codes of all blocks."""
        found = [
            _taken(c.codes, rows) + start
            for c, start in zip(self.coded, self._levels, strict=False)
        ]
        return np.stack(found, axis=1, dtype=np.int32)


def _put(out: Floats, columns: npt.NDArray[np.bool_], values: Floats) -> None:
    """Writes columns, as one piece where they lie side by side."""
    at = np.flatnonzero(columns)
    whole = at.size > 0 and at[-1] - at[0] + 1 == at.size
    out[:, slice(at[0], at[-1] + 1) if whole else at] = values


def _taken(values: npt.NDArray[Any], rows: Ints | slice) -> npt.NDArray[Any]:
    """Some rows, one after the other in memory."""
    return (
        np.ascontiguousarray(values[rows]) if isinstance(rows, slice) else values.take(rows, axis=0)
    )


def _grouped_sums(places: npt.NDArray[np.int32], right: Floats, size: int) -> Floats:
    """(size, m): each row of `right` (n, m) added to each of its places (n, any number)."""
    n, each = places.shape
    ends = np.arange(n + 1, dtype=np.int32) * np.int32(each)
    held = (np.ones(places.size), places.ravel(), ends)
    return np.asarray(sparse.csc_matrix(held, shape=(size, n)) @ right)


def _runs(
    group: Ints | None, n: int, n_groups: int
) -> Iterator[tuple[Ints | slice, int, list[int]]]:
    """The rows by group, some at a time, so that what is made of them stays small.

    Of each run: its rows, the first row's group, and the edges in the run of that group, the next,
    and so on to the last row's.
    """
    if group is None or n_groups == 1:
        for begin in range(0, n, RUN):
            end = min(begin + RUN, n)
            yield slice(begin, end), 0, [0, end - begin]
        return
    narrow = group.astype(np.uint16) if n_groups < 65_536 else group  # sorted by digits: faster
    order = np.argsort(narrow, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=n_groups))
    for begin in range(0, n, RUN):
        end = min(begin + RUN, n)
        first, last = np.searchsorted(ends, [begin, end - 1], side="right").tolist()
        inside = np.minimum(ends[first : last + 1], end) - begin
        yield order[begin:end], first, [0, *inside.tolist()]
