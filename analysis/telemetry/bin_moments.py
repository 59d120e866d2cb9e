"""Second moments of bin counts over clusters: over all, or over a sample that stands for all.

A bin that few clusters of the sample hold would have a variance from hardly any of them. Then all
clusters that hold it are taken with certainty, and the rest of the sample stands for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    found = []
    for column, sums in zip(columns, _sums(engine, choice, CLUSTERS, columns), strict=True):
        n_rest, n_drawn = choice.n_rest, choice.n_drawn
        thin = np.flatnonzero((sums.holders < MIN_HOLDERS) & (column.counts.sum(axis=0) > 0))
        if n_drawn and len(thin):
            n_certain, left = _with_holders(engine, column, [int(b) for b in thin])
            if left:
                (sums,) = _sums(engine, choice, _WITH_HOLDERS, [column])
                n_rest, n_drawn = n_rest + choice.n_certain - n_certain, left
            engine.drop(_WITH_HOLDERS)
        second = expanded(sums.certain, sums.drawn, n_rest, n_drawn)
        found.append(BinMoments(column.counts, second, column.scope.units))
    return found


def _with_holders(engine: Engine, column: Coded, bins: Sequence[int]) -> tuple[int, int]:
    """Makes a choice of clusters in which all that hold one of `bins` are certain.

    Returns how many are certain then, and how many of those drawn are left.
    """
    parameters: dict[str, object] = {}
    code = column.cut.code(column.reading.of("q.value"), "v", parameters)
    engine.create(
        _WITH_HOLDERS,
        f"""
        SELECT cluster, min(drawn) AS drawn
        FROM (SELECT cluster, drawn FROM {CLUSTERS}
              UNION ALL
              SELECT h.cluster, 0 AS drawn
              FROM (SELECT q.cluster, {code} AS bin
                    FROM (SELECT f.cluster, {column.reading.raw} AS value
                          FROM fact f WHERE {column.scope.where}) q) h
              WHERE h.bin IN ({", ".join(map(str, bins))})) c
        GROUP BY cluster
        """,
        parameters,
    )
    row = engine.row(
        f"SELECT count(*) FILTER (WHERE drawn = 0), count(*) FILTER (WHERE drawn = 1) FROM {_WITH_HOLDERS}"
    )
    return int(row[0]), int(row[1])


def _sums(engine: Engine, choice: Choice, clusters: str, columns: Sequence[Coded]) -> list[_Sums]:
    """Sums over the pairs of cells that a cluster has, not of its rows; a cell is 2 · bin + window."""
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
              FROM fact f JOIN {clusters} d ON f.cluster = d.cluster
              WHERE {choice.everything.where}) q
        """,
        parameters,
    )
    parts = [
        f"""
        WITH cells AS (
            SELECT cluster, drawn, 2 * b{i} + win AS cell, CAST(sum(weight) AS BIGINT) AS k
            FROM {_ROWS} WHERE b{i} IS NOT NULL GROUP BY 1, 2, 3
        )
        SELECT {i} AS col, a.drawn, a.cell AS first_cell, b.cell AS last_cell,
               sum(CAST(a.k AS HUGEINT) * b.k) AS total, count(*) AS n
        FROM cells a JOIN cells b ON a.cluster = b.cluster AND a.cell <= b.cell
        GROUP BY 2, 3, 4
        """
        for i in range(len(columns))
    ]
    found = [_Sums.none(len(column.cut.labels)) for column in columns]
    for row in union_rows(engine, [Part(sql) for sql in parts]):
        i, drawn, first, last, total, n = map(int, row)
        found[i].add(drawn, first, last, total, n)
    engine.drop(_ROWS)
    return found
