"""Exact counts of all rows by window and day: of values, of bins, and of what holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.divergence import Holders
from analysis.telemetry.bin_cuts import (
    MAX_CATEGORIES,
    MIN_CATEGORY_ROWS,
    MIN_CATEGORY_SHARE,
    Cut,
    Reading,
    Value,
)
from analysis.telemetry.engine import Engine
from analysis.telemetry.union import Part, union_rows

MANY_HOLDERS = 2_000  # more holders change no p-value

_NO_NUMBER = "CAST(NULL AS DOUBLE)"
_IS_TOLD, _IS_KNOWN, _IS_ABSENT, _IS_MISSING = range(4)

DayCount = tuple[int, int, int, int, int]  # window, day, bin, weight, rows


@dataclass(frozen=True)
class Values:
    """Rows by value. baseline: rows of the baseline's values that are told apart: frequent, or few.

    known, total: distinct values in the baseline, and their rows. has_absent: whether the candidate
    has values that it lacks. rows: (value or None, window, day, weight, rows); missing likewise.
    """

    baseline: Mapping[Value, int]
    known: int
    total: int
    has_absent: bool
    rows: Sequence[tuple[Value | None, int, int, int, int]]
    missing: Sequence[tuple[int, int, int, int]]

    def in_bins(self, cut: Cut) -> list[DayCount]:
        """The same by bin; values that are not told apart are of the rest."""
        found = [
            (win, day, cut.rest if value is None else cut.bins.get(value, cut.rest), weight, n)
            for value, win, day, weight, n in self.rows
        ]
        return found + [(win, day, cut.missing, weight, n) for win, day, weight, n in self.missing]


def by_value(engine: Engine, columns: Mapping[int, tuple[Reading, str]]) -> dict[int, Values]:
    """Counts by day of the values that may become bins; at most 1,000 have a share that large."""
    parts = []
    for index, (reading, where) in columns.items():
        shown = f"CASE WHEN kind = {_IS_TOLD} THEN {reading.of('value')} END"
        name, value = ("CAST(NULL AS VARCHAR)", shown) if reading.is_number else (shown, _NO_NUMBER)
        # Windows, no joins: engines that inline a query at each mention would scan again.
        parts.append(
            f"""
            WITH cells AS (
                SELECT {reading.raw} AS value, f.win, f.day, sum(f.weight) AS total, count(*) AS n,
                       CASE WHEN f.win = 0 THEN count(*) ELSE 0 END AS n0
                FROM fact f WHERE {where} GROUP BY 1, 2, 3
            ), sizes AS (
                SELECT value, win, day, total, n, sum(n0) OVER (PARTITION BY value) AS n0,
                       row_number() OVER (PARTITION BY value ORDER BY win, day) AS place
                FROM cells
            ), wholes AS (
                SELECT value, win, day, total, n, n0,
                       sum(CASE WHEN place = 1 AND n0 > 0 AND value IS NOT NULL THEN 1 ELSE 0 END)
                           OVER () AS known,
                       sum(CASE WHEN place = 1 AND value IS NOT NULL THEN n0 ELSE 0 END)
                           OVER () AS n0_of_all
                FROM sizes
            ), judged AS (
                SELECT value, win, day, total, n, known, n0_of_all,
                       CASE WHEN value IS NULL THEN {_IS_MISSING} WHEN n0 = 0 THEN {_IS_ABSENT}
                            WHEN known <= {MAX_CATEGORIES}
                                 OR (n0 >= {MIN_CATEGORY_ROWS}
                                     AND n0 * {round(1 / MIN_CATEGORY_SHARE)} >= n0_of_all)
                            THEN {_IS_TOLD} ELSE {_IS_KNOWN} END AS kind
                FROM wholes
            )
            SELECT {index} AS col, {name} AS name, {value} AS number, kind, win, day,
                   sum(total) AS total, sum(n) AS n, max(known) AS known, max(n0_of_all) AS n0_of_all
            FROM judged GROUP BY 2, 3, 4, 5, 6
            """
        )
    rows: dict[int, list[tuple[Value | None, int, int, int, int]]] = {i: [] for i in columns}
    missing: dict[int, list[tuple[int, int, int, int]]] = {i: [] for i in columns}
    baseline: dict[int, dict[Value, int]] = {i: {} for i in columns}
    sizes = dict.fromkeys(columns, (0, 0))
    absent = set()
    for i, name, value, kind, *numbers in union_rows(engine, [Part(sql) for sql in parts]):
        win, day, weight, n = map(int, numbers[:4])
        if kind == _IS_MISSING:
            missing[i].append((win, day, weight, n))
            continue
        told: Value | None = None
        if kind == _IS_TOLD:
            told = str(name) if value is None else float(value)
            baseline[i][told] = baseline[i].get(told, 0) + (n if win == 0 else 0)
        if kind == _IS_ABSENT:
            absent.add(i)
        rows[i].append((told, win, day, weight, n))
        sizes[i] = (int(numbers[4]), int(numbers[5]))
    return {i: Values(baseline[i], *sizes[i], i in absent, rows[i], missing[i]) for i in columns}


def by_bin(
    engine: Engine, columns: Mapping[int, tuple[Reading, str, Cut]]
) -> dict[int, list[DayCount]]:
    """Counts by day of the bins of numbers."""
    parts = []
    for index, (reading, where, cut) in columns.items():
        parameters: dict[str, object] = {}
        code = cut.code("q.value", f"e{index}", parameters)
        sql = f"""
            SELECT {index} AS col, q.win, q.day, {code} AS bin, sum(q.weight) AS total, count(*) AS n
            FROM (SELECT {reading.raw} AS value, f.win, f.day, f.weight FROM fact f WHERE {where}) q
            GROUP BY 2, 3, 4
            """
        parts.append(Part(sql, parameters))
    found: dict[int, list[DayCount]] = {i: [] for i in columns}
    for index, *row in union_rows(engine, parts):
        win, day, at, weight, n = map(int, row)
        found[index].append((win, day, at, weight, n))
    return found


class BinCounts:
    """Counts by bin and window.

    per_day: as given. rows, weighted: (2, B). begins, ends: whether the candidate has a bin that the
    baseline lacks, and the other way round.
    """

    def __init__(self, per_day: Sequence[DayCount], cut: Cut) -> None:
        self.per_day = per_day
        self.rows = np.zeros((2, len(cut.labels)), np.int64)
        self.weighted = np.zeros((2, len(cut.labels)))
        for win, _, index, weight, n in per_day:
            self.rows[win, index] += n
            self.weighted[win, index] += weight

    @property
    def begins(self) -> bool:
        return bool(((self.rows[0] == 0) & (self.rows[1] > 0)).any())

    @property
    def ends(self) -> bool:
        return bool(((self.rows[0] > 0) & (self.rows[1] == 0)).any())


def held_by(
    engine: Engine, columns: Mapping[int, tuple[Reading, str, Cut | None]]
) -> dict[int, tuple[Holders, ...]]:
    """Values, or bins where there is a cut, by how many clusters and days hold them."""
    parts = []
    for index, (reading, where, cut) in columns.items():
        parameters: dict[str, object] = {}
        held = "q.value" if cut is None else cut.code("q.value", f"e{index}", parameters)
        units = " + ".join(
            f"count(DISTINCT CASE WHEN q.win = {win} THEN q.{{0}} END)" for win in (0, 1)
        )
        sql = f"""
            WITH sizes AS (
                SELECT {held} AS held, {units.format("cluster")} AS clusters,
                       {units.format("day")} AS days,
                       CASE WHEN bool_or(q.win = 0) THEN 1 ELSE 0 END AS before,
                       CASE WHEN bool_or(q.win = 1) THEN 1 ELSE 0 END AS now
                FROM (SELECT {reading.raw} AS value, f.win, f.day, f.cluster
                      FROM fact f WHERE {where}) q
                GROUP BY 1
            )
            SELECT {index} AS col,
                   CASE WHEN clusters < {MANY_HOLDERS} THEN clusters ELSE {MANY_HOLDERS} END AS holding,
                   days, before, now, count(*) AS n
            FROM sizes GROUP BY 2, 3, 4, 5
            """
        parts.append(Part(sql, parameters))
    found: dict[int, list[Holders]] = {i: [] for i in columns}
    rows = [tuple(map(int, row)) for row in union_rows(engine, parts)]
    for index, clusters, days, before, now, n in sorted(rows):
        found[index].append(Holders(clusters, days, not before, n, gone=not now))
    return {i: tuple(h) for i, h in found.items()}
