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

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
        numbers = np.column_stack([np.zeros((n, 0)), *plain])
        return cls(coded, numbers, np.array(order, dtype=np.int64))

    def with_more(self, *parts: Coded | Floats) -> Design:
        """The same, and further columns after its own."""
        own = Design.joined(
            [*self.coded, self.plain, *parts], len(self)
        )  # whose own columns come in the order of the parts
        p = len(self.order)
        return Design(own.coded, own.plain, np.append(own.order[:p][self.order], own.order[p:]))

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def width(self) -> int:
        """p."""
        return len(self.order)

    def rows(self, index: Ints | slice) -> Design:
        """Some of the rows, in the order of `index`."""
        return Design(
            tuple(Coded(c.codes[index], c.table) for c in self.coded), self.plain[index], self.order
        )

    def column(self, j: int) -> Floats:
        """(n,): column j."""
        place = int(self.order[j])
        for block in self.coded:
            if place < block.width:
                return np.asarray(block.table[:, place][block.codes])
            place -= block.width
        return np.asarray(self.plain[:, place])

    def columns(self) -> Iterator[Floats]:
        """Each column (n,), in order."""
        return map(self.column, range(self.width))

    def matrix(self) -> Floats:
        """(n, p): all columns as numbers."""
        out = np.empty((len(self), self.width))
        for j, values in enumerate(self.columns()):
            out[:, j] = values
        return out

    def squared(self) -> Design:
        """Each column's squares."""
        return Design(
            tuple(Coded(c.codes, c.table * c.table) for c in self.coded),
            self.plain * self.plain,
            self.order,
        )

    # ── moments ──────────────────────────────────────────────────────────────────────────

    def moments(
        self, y: Floats, group: Ints | None = None, n_groups: int = 1
    ) -> tuple[Floats, Floats]:
        """Σ (1, x) (1, x)ᵀ and Σ (1, x) yᵀ by group.

        y: (n, k). group: (n,) codes. Shapes (groups, 1 + p, 1 + p) and (groups, 1 + p, k).
        """
        group = np.zeros(len(self), dtype=np.int64) if group is None else group
        d, q, k = self.plain.shape[1], self._starts[-1], y.shape[1]
        # Within: the intercept, the blocks' columns, the plain ones.
        gram = np.zeros((n_groups, 1 + q + d, 1 + q + d))
        cross = np.zeros((n_groups, 1 + q + d, k))
        told = np.r_[0, np.arange(1 + q, 1 + q + d)]
        right = np.empty((len(self), 1 + d + k))
        right[:, 0], right[:, 1 : 1 + d], right[:, 1 + d :] = 1.0, self.plain, y
        for g, rows in _by_group(group, n_groups):
            z = right[rows]
            gram[g, told[:, None], told] = z[:, : 1 + d].T @ z[:, : 1 + d]
            cross[g, told] = z[:, : 1 + d].T @ z[:, 1 + d :]
        sums = self._sums(right, group, n_groups)
        for a, (block, of_block) in enumerate(zip(self.coded, sums, strict=True)):
            at = slice(1 + self._starts[a], 1 + self._starts[a + 1])
            side = block.table.T @ of_block
            gram[:, at, told], cross[:, at] = side[:, :, : 1 + d], side[:, :, 1 + d :]
            gram[:, told, at] = side[:, :, : 1 + d].transpose(0, 2, 1)
            gram[:, at, at] = (block.table.T * of_block[:, None, :, 0]) @ block.table
            codes = group * len(block.table) + block.codes
            for b in range(a):
                other = self.coded[b]
                size = (n_groups, len(block.table), len(other.table))
                both = np.bincount(codes * size[2] + other.codes, minlength=int(np.prod(size)))
                pair = block.table.T @ both.reshape(size) @ other.table
                beside = slice(1 + self._starts[b], 1 + self._starts[b + 1])
                gram[:, at, beside], gram[:, beside, at] = pair, pair.transpose(0, 2, 1)
        place = np.append(0, 1 + self.order)
        return gram[:, place[:, None], place], cross[:, place]

    def weighted(self, weights: Floats) -> Floats:
        """Σ w x xᵀ for each column of `weights` (n, m): shape (m, p, p)."""
        d, q, m = self.plain.shape[1], self._starts[-1], weights.shape[1]
        out = np.zeros((q + d, q + d, m))
        numbers = slice(q, q + d)
        for w in range(m):
            out[numbers, numbers, w] = (self.plain * weights[:, w : w + 1]).T @ self.plain
        right = np.empty((len(self), d + 1, m))
        right[:, 0] = weights
        np.multiply(self.plain[:, :, None], weights[:, None, :], out=right[:, 1:])
        sums = self._sums(right.reshape(len(self), -1), np.zeros(len(self), dtype=np.int64), 1)
        for a, (block, of_block) in enumerate(zip(self.coded, sums, strict=True)):
            at = slice(self._starts[a], self._starts[a + 1])
            found = of_block[0].reshape(len(block.table), d + 1, m)
            side = np.tensordot(block.table.T, found[:, 1:], axes=1)
            out[at, numbers], out[numbers, at] = side, side.transpose(1, 0, 2)
            out[at, at] = np.einsum("lj,lk,lm->jkm", block.table, block.table, found[:, 0])
            for b in range(a):
                other = self.coded[b]
                size = (len(block.table), len(other.table))
                both = _grouped_sums(
                    (block.codes * size[1] + other.codes)[:, None], weights, size[0] * size[1]
                )
                half = np.tensordot(block.table.T, both.reshape(*size, m), axes=1)
                pair = np.einsum("jlm,lk->jkm", half, other.table)
                beside = slice(self._starts[b], self._starts[b + 1])
                out[at, beside], out[beside, at] = pair, pair.transpose(1, 0, 2)
        return out.transpose(2, 0, 1)[:, self.order[:, None], self.order]

    def times(self, beta: Floats, group: Ints | None = None) -> Floats:
        """(1, x) β of each row, (n, k). beta: (1 + p, k), or (groups, 1 + p, k) with each row's group."""
        n_groups, k = 1 if beta.ndim == 2 else len(beta), beta.shape[-1]
        group = np.zeros(len(self), dtype=np.int64) if group is None else group
        inner = np.empty((n_groups, self.width, k))
        inner[:, self.order] = beta.reshape(n_groups, -1, k)[:, 1:]
        out = np.empty((len(self), k))
        plain = inner[:, self._starts[-1] :]
        for g, rows in _by_group(group, n_groups):
            out[rows] = self.plain[rows] @ plain[g] + beta.reshape(n_groups, -1, k)[g, 0]
        for a, block in enumerate(self.coded):
            told = block.table @ inner[:, self._starts[a] : self._starts[a + 1]]
            out += told.reshape(-1, k)[group * len(block.table) + block.codes]
        return out

    @cached_property
    def _starts(self) -> list[int]:
        """Where each block's columns begin, and where the last one's end."""
        return [0, *np.cumsum([c.width for c in self.coded], dtype=int).tolist()]

    def _sums(self, right: Floats, group: Ints, n_groups: int) -> list[Floats]:
        """Sums of `right` (n, m) by group and code: (groups, levels, m) of each block."""
        if not self.coded:
            return []
        levels = [len(c.table) for c in self.coded]
        total, starts = sum(levels), np.cumsum([0, *levels])
        places = np.empty((len(self), len(levels)), dtype=np.int32)
        own = group * total
        for a, block in enumerate(self.coded):
            np.add(own + starts[a], block.codes, out=places[:, a], casting="unsafe")
        found = _grouped_sums(places, right, n_groups * total).reshape(n_groups, total, -1)
        return [found[:, starts[a] : starts[a + 1]] for a in range(len(levels))]


def _grouped_sums(places: npt.NDArray[np.int32], right: Floats, size: int) -> Floats:
    """(size, m): each row of `right` (n, m) added to each of its places (n, any number)."""
    n, each = places.shape
    ends = np.arange(n + 1, dtype=np.int32) * each
    held = (np.ones(places.size), places.ravel(), ends)
    return np.asarray(sparse.csc_matrix(held, shape=(size, n)) @ right)


def _by_group(group: Ints, n_groups: int) -> Iterator[tuple[int, Ints | slice]]:
    """Each group that has rows, and which they are, in order."""
    if n_groups == 1:
        if len(group):
            yield 0, slice(None)
        return
    order = np.argsort(group, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(group, minlength=n_groups)))
    for g in np.flatnonzero(np.diff(edges)).tolist():
        yield g, order[edges[g] : edges[g + 1]]
