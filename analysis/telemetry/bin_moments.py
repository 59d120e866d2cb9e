"""Second moments of bin counts over clusters: over all, or over a sample that stands for all.

A bin that few clusters of the sample hold would have a variance from hardly any of them. Then all
clusters that hold it are taken with certainty, and the rest of the sample stands for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.divergence import BinMoments, expanded
from analysis.telemetry.bin_cuts import Cut, Reading
from analysis.telemetry.cluster_choice import CLUSTERS, Choice, Scope
from analysis.telemetry.engine import Engine
from analysis.telemetry.union import Part, union_rows

MIN_HOLDERS = 200  # clusters of the sample that hold a bin

_ROWS = "drift_rows"
_WITH_HOLDERS = "drift_clusters_with_holders"


@dataclass(frozen=True)
class Coded:
    """A column with its bins. counts: (2, B) weighted rows of each window."""

    reading: Reading
    cut: Cut
    scope: Scope
    counts: np.ndarray


@dataclass(frozen=True)
class _Sums:
    """Σ k kᵀ over clusters that are certain, and over those drawn: (2B, 2B) of exact integers.

    holders: (B,) drawn clusters that hold a bin, in the window in which they are more.
    """

    certain: np.ndarray
    drawn: np.ndarray
    holders: np.ndarray

    @classmethod
    def none(cls, size: int) -> _Sums:
        """Of `size` bins, before any is added."""
        shape = (2 * size, 2 * size)
        return cls(np.zeros(shape, object), np.zeros(shape, object), np.zeros(size, np.int64))

    def add(self, drawn: int, first: int, last: int, total: int, n: int) -> None:
        """Adds what `n` clusters have in two cells."""
        size = len(self.holders)
        (i, win), (j, other) = divmod(first, 2), divmod(last, 2)
        row, column = win * size + i, other * size + j
        sums = self.drawn if drawn else self.certain
        sums[row, column] = sums[column, row] = total
        if drawn and first == last:
            self.holders[i] = max(self.holders[i], n)


def cluster_moments(engine: Engine, choice: Choice, columns: Sequence[Coded]) -> list[BinMoments]:
    """The moments of each column over clusters."""
    sums = _pairs(engine, _of_choice(engine, choice, columns), columns)
    engine.drop(_ROWS)
    sizes = [(choice.n_rest, choice.n_drawn) for _ in columns]
    thin = {i: _thin(sums[i], column) for i, column in enumerate(columns)}
    again = [i for i, bins in thin.items() if choice.n_drawn and bins]
    if again:
        counts = _with_holders(engine, columns, {i: thin[i] for i in again})
        again = [i for i in again if counts[i][1]]
        more = _pairs(
            engine, [_of_holders(i, columns[i]) for i in again], [columns[i] for i in again]
        )
        engine.drop(_WITH_HOLDERS)
        for i, exact in zip(again, more, strict=True):
            n_certain, n_drawn = counts[i]
            sums[i], sizes[i] = exact, (choice.n_certain + choice.n_rest - n_certain, n_drawn)
    return [
        BinMoments(
            column.counts, expanded(of.certain, of.drawn, n_rest, n_drawn), column.scope.units
        )
        for column, of, (n_rest, n_drawn) in zip(columns, sums, sizes, strict=True)
    ]


def _thin(sums: _Sums, column: Coded) -> list[int]:
    """The bins that hardly any of the drawn clusters hold."""
    few = (sums.holders < MIN_HOLDERS) & (column.counts.sum(axis=0) > 0)
    return [int(b) for b in np.flatnonzero(few)]


def _of_choice(engine: Engine, choice: Choice, columns: Sequence[Coded]) -> list[Part]:
    """The cells of the chosen clusters, a part a column, from one table of their rows' bins."""
    parameters: dict[str, object] = {}
    inner, outer = [], []
    for i, column in enumerate(columns):
        code = column.cut.code(column.reading.of(f"q.v{i}"), f"v{i}", parameters)
        inner.append(f"{column.reading.raw} AS v{i}")
        if column.scope != choice.everything:
            inner.append(f"CASE WHEN {column.scope.where} THEN 1 ELSE 0 END AS in{i}")
            code = f"CASE WHEN q.in{i} = 1 THEN {code} END"
        outer.append(f"{code} AS b{i}")
    engine.create(
        _ROWS,
        f"""
        SELECT q.cluster, q.drawn, q.win, q.weight, {", ".join(outer)}
        FROM (SELECT d.cluster, d.drawn, f.win, f.weight, {", ".join(inner)}
              FROM fact f JOIN {CLUSTERS} d ON f.cluster = d.cluster
              WHERE {choice.everything.where}) q
        """,
        parameters,
    )
    return [
        Part(
            f"""
            SELECT cluster, drawn, 2 * b{i} + win AS cell, CAST(sum(weight) AS BIGINT) AS k
            FROM {_ROWS} WHERE b{i} IS NOT NULL GROUP BY 1, 2, 3
            """
        )
        for i in range(len(columns))
    ]


def _with_holders(
    engine: Engine, columns: Sequence[Coded], thin: Mapping[int, Sequence[int]]
) -> dict[int, tuple[int, int]]:
    """Makes a choice of clusters a column, in which all that hold one of its thin bins are certain.

    Returns how many are certain then, and how many of those drawn are left.
    """
    parameters: dict[str, object] = {}
    parts = []
    for i, bins in thin.items():
        column = columns[i]
        code = column.cut.code(column.reading.of("q.value"), f"h{i}", parameters)
        parts.append(f"SELECT {i} AS col, cluster, drawn FROM {CLUSTERS}")
        parts.append(
            f"""
            SELECT {i} AS col, h.cluster, 0 AS drawn
            FROM (SELECT q.cluster, {code} AS bin
                  FROM (SELECT f.cluster, {column.reading.raw} AS value
                        FROM fact f WHERE {column.scope.where}) q) h
            WHERE h.bin IN ({", ".join(map(str, bins))})
            """
        )
    engine.create(
        _WITH_HOLDERS,
        f"""
        SELECT c.col, c.cluster, min(c.drawn) AS drawn FROM ({" UNION ALL ".join(parts)}) c
        GROUP BY c.col, c.cluster
        """,
        parameters,
    )
    rows = engine.rows(
        f"""
        SELECT col, count(*) FILTER (WHERE drawn = 0), count(*) FILTER (WHERE drawn = 1)
        FROM {_WITH_HOLDERS} GROUP BY col
        """
    )
    return {int(i): (int(n_certain), int(n_drawn)) for i, n_certain, n_drawn in rows}


def _of_holders(index: int, column: Coded) -> Part:
    """The cells of the clusters that `_with_holders` chose for a column."""
    parameters: dict[str, object] = {}
    code = column.cut.code(column.reading.of("q.value"), f"w{index}", parameters)
    return Part(
        f"""
        SELECT q.cluster, q.drawn, 2 * {code} + q.win AS cell, CAST(sum(q.weight) AS BIGINT) AS k
        FROM (SELECT d.cluster, d.drawn, f.win, f.weight, {column.reading.raw} AS value
              FROM fact f JOIN {_WITH_HOLDERS} d ON f.cluster = d.cluster AND d.col = {index}
              WHERE {column.scope.where}) q
        GROUP BY 1, 2, 3
        """,
        parameters,
    )


def _pairs(engine: Engine, cells: Sequence[Part], columns: Sequence[Coded]) -> list[_Sums]:
    """Sums over the pairs of cells that a cluster has, not of its rows; a cell is 2 · bin + window."""
    parts = [
        Part(
            f"""
            WITH cells AS ({part.sql})
            SELECT {i} AS col, a.drawn, a.cell AS first_cell, b.cell AS last_cell,
                   sum(CAST(a.k AS HUGEINT) * b.k) AS total, count(*) AS n
            FROM cells a JOIN cells b ON a.cluster = b.cluster AND a.cell <= b.cell
            GROUP BY 2, 3, 4
            """,
            part.parameters,
        )
        for i, part in enumerate(cells)
    ]
    found = [_Sums.none(len(column.cut.labels)) for column in columns]
    for row in union_rows(engine, parts):
        i, drawn, first, last, total, n = map(int, row)
        found[i].add(drawn, first, last, total, n)
    return found
