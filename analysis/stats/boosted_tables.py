"""A classifier of coded columns that adds up small tables: what one, two or three columns say together.

Log-odds F(x) = b + Σ_t v_t[cell of x in table t]: an additive model of low-order interactions (Lou,
Caruana, Gehrke & Hooker 2013), built greedily by gradient boosting with shrinkage (Friedman 2001), each
step a Newton step in every cell of one table with a ridge (Chen & Guestrin 2016, eq. 5). Where
columns differ only together, a tree's first cut sees nothing, and it finds them by luck; a table of
both sees them at once.

Which table is next, and when to stop, is cross-validated within the rows that are given: a step
counts what it gains on the fold that did not make it. So tables of many cells, and columns that are
alike within a cluster, are not preferred for the noise that they can hold. Of tables that gain about
as much the simplest is taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_PAIR_CELLS = 400
MAX_TRIPLE_CELLS = 150
MAX_PAIRS = 1500
MAX_TRIPLES = 600
"""A bound on work: of 32 columns not every triple is tried, but every pair is at one resolution."""
MAX_STEPS = 60
N_KEPT = 40
"""Tables that take part after the first step: those that gained most in it."""
RATE = 0.3
RIDGE = 4.0
"""Pseudo-information in each cell: that of 16 rows at even odds."""
PATIENCE = 3
ABOUT_AS_MUCH = 0.8


@dataclass(frozen=True)
class CodedColumn:
    """A column of n rows as codes at one or more resolutions, the finest first.

    codes: each (n,) from 0; sizes: how many codes each resolution has.
    """

    codes: tuple[Ints, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """The dimensions of a table: (column, resolution) each, and how many codes each has."""

    parts: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]

    @property
    def columns(self) -> tuple[int, ...]:
        return tuple(column for column, _ in self.parts)

    @property
    def n_cells(self) -> int:
        return math.prod(self.sizes)

    def cells(self, columns: Sequence[CodedColumn]) -> Ints:
        """(n,) row-major index of each row's cell."""
        index = np.zeros(len(columns[0].codes[0]), dtype=np.int64)
        for (column, level), size in zip(self.parts, self.sizes, strict=True):
            index = index * size + columns[column].codes[level]
        return index


@dataclass(frozen=True)
class Table:
    """Log-odds (n_cells,) by cell."""

    shape: Shape
    values: Floats


@dataclass(frozen=True)
class BoostedTables:
    """The fitted model. tables: in the order in which they first came; the first is what says most
    about the rows by itself, in as few columns as say it."""

    intercept: float
    tables: tuple[Table, ...]

    def log_odds(self, columns: Sequence[CodedColumn]) -> Floats:
        """(n,) of rows coded by the same rule as those fitted on."""
        total = np.full(len(columns[0].codes[0]), self.intercept)
        for table in self.tables:
            total = total + table.values[table.shape.cells(columns)]
        return total


def fit_tables(
    columns: Sequence[CodedColumn], y: Bools, weight: Floats, fold: Ints,
    shapes: Sequence[Shape] | None = None,
) -> BoostedTables:  # fmt: skip
    """A model of y that has one table at least.

    columns: of n rows. y, weight, fold: (n,); folds 0…, two or more, each of clusters or days of its
    own. shapes: the tables that may be used; None for every column, pair and triple within bounds.
    """
    work = _Work(columns, y, weight / weight.mean(), fold)
    allowed = list(shapes_of([c.sizes for c in columns]) if shapes is None else shapes)
    gains = [work.gain(shape.cells(columns), shape.n_cells) for shape in allowed]
    order = sorted(range(len(allowed)), key=lambda i: (-round(gains[i], 9), i))
    first = _simplest(allowed, gains)
    kept = [first, *[i for i in order[:N_KEPT] if i != first]]
    shapes_kept = [allowed[i] for i in kept]
    indices = [shape.cells(columns) for shape in shapes_kept]
    values: dict[int, Floats] = {}
    pending: list[tuple[int, Floats]] = []
    best = work.loss()
    for step in range(MAX_STEPS):
        chosen = 0
        if step:
            gains = [
                work.gain(cells, shape.n_cells)
                for cells, shape in zip(indices, shapes_kept, strict=True)
            ]
            chosen = _simplest(shapes_kept, gains)
        move = work.step(indices[chosen], shapes_kept[chosen].n_cells)
        pending.append((chosen, move))
        loss = work.loss()
        if loss < best - 1e-9 or not step:
            best = min(best, loss)
            for which, change in pending:
                values[which] = values.get(which, np.zeros(len(change))) + change
            pending = []
        elif len(pending) >= PATIENCE:
            break
    return BoostedTables(
        work.intercept, tuple(Table(shapes_kept[which], own) for which, own in values.items())
    )


def fit_one_table(
    columns: Sequence[CodedColumn], y: Bools, weight: Floats, shape: Shape
) -> BoostedTables:
    """The model of a single table: one full step, which ranks its cells."""
    work = _Work(columns, y, weight / weight.mean(), np.zeros(len(y), dtype=np.int64))
    return BoostedTables(
        work.intercept, (Table(shape, work.whole_step(shape.cells(columns), shape.n_cells)),)
    )


def shapes_of(sizes: Sequence[tuple[int, ...]]) -> tuple[Shape, ...]:
    """The tables of columns with these sizes at each resolution, finest first.

    Every column, and every pair with at most `MAX_PAIR_CELLS` cells, at each resolution; of many
    columns the pairs' finer resolutions give way. Triples at the coarsest.
    """
    every = range(len(sizes))
    out = [Shape(((c, i),), (sizes[c][i],)) for c in every for i in range(len(sizes[c]))]
    pairs: list[tuple[int, Shape]] = []
    for a, b in itertools.combinations(every, 2):
        coarsest = Shape(
            ((a, len(sizes[a]) - 1), (b, len(sizes[b]) - 1)), (sizes[a][-1], sizes[b][-1])
        )
        for i, j in itertools.product(range(len(sizes[a])), range(len(sizes[b]))):
            shape = Shape(((a, i), (b, j)), (sizes[a][i], sizes[b][j]))
            if shape.n_cells <= MAX_PAIR_CELLS or shape == coarsest:
                pairs.append((0 if shape == coarsest else 1, shape))
    pairs.sort(key=lambda pair: pair[0])
    out += [shape for _, shape in pairs[:MAX_PAIRS]]
    for trio in itertools.islice(itertools.combinations(every, 3), MAX_TRIPLES):
        shape = Shape(
            tuple((c, len(sizes[c]) - 1) for c in trio), tuple(sizes[c][-1] for c in trio)
        )
        if shape.n_cells <= MAX_TRIPLE_CELLS:
            out.append(shape)
    return tuple(out)


def _simplest(shapes: Sequence[Shape], gains: Sequence[float]) -> int:
    """The place of the simplest table that gains about as much as the best one."""
    most = max(gains)
    enough = most - (1.0 - ABOUT_AS_MUCH) * abs(most)
    near = [i for i, gain in enumerate(gains) if gain >= enough]
    return min(
        near, key=lambda i: (len(shapes[i].parts), shapes[i].n_cells, -round(gains[i], 9), i)
    )


class _Work:
    """The scores of the model, and of one model a fold that leaves this fold out, while they grow.

    Each model's gradient y − p and information p(1 − p) are kept with its scores: (models, n), the last
    row that of the model itself.
    """

    def __init__(
        self, columns: Sequence[CodedColumn], y: Bools, weight: Floats, fold: Ints
    ) -> None:
        self.y, self.weight, self.fold = y, weight, fold
        self.n_folds = int(fold.max()) + 1
        rate = float((weight * y).sum() / weight.sum())
        self.intercept = float(special.logit(min(max(rate, 1e-6), 1.0 - 1e-6)))
        self.scores = np.full((self.n_folds + 1, len(y)), self.intercept)
        self._differentiate()

    def gain(self, cells: Ints, size: int) -> float:
        """What a full step in this table gains on the folds that do not make it (second order)."""
        both = cells * self.n_folds + self.fold
        total = 0.0
        slope, curve = self._sums(both, size, 0)
        for f in range(self.n_folds):
            if f and not self.alike:
                slope, curve = self._sums(both, size, f)
            move = (slope.sum(axis=1) - slope[:, f]) / (curve.sum(axis=1) - curve[:, f] + RIDGE)
            total += float((slope[:, f] * move - 0.5 * curve[:, f] * move * move).sum())
        return total

    def whole_step(self, cells: Ints, size: int) -> Floats:
        """(size,) Newton step of the model itself, which does not move."""
        slope, curve = self._sums(cells * self.n_folds + self.fold, size, self.n_folds)
        return np.asarray(slope.sum(axis=1) / (curve.sum(axis=1) + RIDGE))

    def step(self, cells: Ints, size: int) -> Floats:
        """Moves every model along this table; returns the (size,) move of the model itself."""
        both = cells * self.n_folds + self.fold
        for f in range(self.n_folds + 1):
            slope, curve = self._sums(both, size, f)
            if f < self.n_folds:
                slope[:, f] = curve[:, f] = 0.0
            move = RATE * slope.sum(axis=1) / (curve.sum(axis=1) + RIDGE)
            self.scores[f] += move[cells]
        self._differentiate()
        return np.asarray(move)

    def loss(self) -> float:
        """The log loss of every row under the model that its fold did not make."""
        own = self.scores[self.fold, np.arange(len(self.y))]
        return float((self.weight * (np.logaddexp(0.0, own) - self.y * own)).sum())

    def _differentiate(self) -> None:
        risk = special.expit(self.scores)
        self.slope = self.weight * (self.y - risk)
        self.curve = self.weight * risk * (1.0 - risk)
        self.alike = bool((self.scores == self.scores[0]).all())

    def _sums(self, both: Ints, size: int, model: int) -> tuple[Floats, Floats]:
        """(size, folds) sums of gradient and information by cell and fold."""
        length, shape = size * self.n_folds, (size, self.n_folds)
        slope = np.bincount(both, weights=self.slope[model], minlength=length).reshape(shape)
        curve = np.bincount(both, weights=self.curve[model], minlength=length).reshape(shape)
        return np.asarray(slope, dtype=float), np.asarray(curve, dtype=float)
