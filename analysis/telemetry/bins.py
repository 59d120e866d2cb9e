"""Cuts columns into bins in the engine, and reduces them to counts and second moments.

The bins come from the baseline alone: deciles of a number (ties merged), the categories of a text.
Missing values are a bin of their own; so are categories that the baseline lacks. Counts are exact.
Deciles come from all of the baseline's rows or, of many, from a bounded part of them; second
moments over clusters from all clusters or, of many, from a bounded part (`cluster_choice`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.stats.divergence import BinMoments, Holders, occupied
from analysis.telemetry.bin_cuts import (
    MAX_CATEGORIES,
    MIN_CATEGORY_ROWS,
    MIN_CATEGORY_SHARE,
    Cut,
    Reading,
    Value,
    cut_categories,
    cut_numbers,
    is_moment,
    is_numeric,
    number,
    text,
    twentieths,
)
from analysis.telemetry.bin_moments import Coded, cluster_moments
from analysis.telemetry.cluster_choice import Choice, baseline_sample, choose, forget
from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier
from analysis.telemetry.union import Part, union_rows

Kind = Literal["numeric", "categorical"]

MAX_DISCRETE_VALUES = 10
MANY_HOLDERS = 2_000  # more holders change no p-value


@dataclass(frozen=True)
class DriftColumn:
    """A column of `fact` to be binned.

    read_as: the DuckDB type as which its values are read. known_outcome: only over rows whose
    outcome is known.
    """

    name: str
    read_as: str
    known_outcome: bool = False


@dataclass(frozen=True)
class BinnedColumn:
    """A column's bins in both windows (baseline first).

    kind: numeric where bins are deciles, categorical where each is a value. labels: (B,).
    points: (B,) values that stand for the bins of a number, nan for missing; None for categories.
    clusters, days: weighted counts and moments over clusters, over days. rows: unweighted rows of
    each window. missing: share of null rows of each window. holders: by how many clusters and days
    categories are held; empty where the baseline has all of them.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    points: tuple[float, ...] | None
    clusters: BinMoments
    days: BinMoments
    rows: tuple[int, int]
    missing: tuple[float | None, float | None]
    holders: tuple[Holders, ...]


def natural_types(engine: Engine, columns: Sequence[str]) -> dict[str, str]:
    """What the values of undeclared columns of `fact` are: on DuckDB the same for CSV and Parquet.

    The contract gives such a column no type, so there its text decides: DOUBLE, BOOLEAN or
    TIMESTAMP where every value reads as one, else VARCHAR. Other engines hold tables, whose own
    types count.
    """
    held = engine.types("fact")
    found = {c: held[c] for c in columns}
    read = [c for c in columns if not is_numeric(held[c]) and held[c].upper() != "BOOLEAN"]
    if engine.name != "duckdb" or not read:
        return found
    parts = []
    for column in read:
        value = f"trim(CAST({identifier(column)} AS VARCHAR))"
        parts.append(
            f"count({value}), count(TRY_CAST({value} AS DOUBLE)), "
            f"count(*) FILTER (lower({value}) IN ('true', 'false')), "
            f"count(TRY_CAST({value} AS TIMESTAMP))"
        )
    row = engine.row(f"SELECT {', '.join(parts)} FROM fact")
    for place, column in enumerate(read):
        n, *counts = row[4 * place : 4 * place + 4]
        names = zip(counts, ("DOUBLE", "BOOLEAN", "TIMESTAMP"), strict=True)
        found[column] = next((name for count, name in names if n and count == n), "VARCHAR")
    return found


def bin_columns(
    engine: Engine, columns: Sequence[DriftColumn], key: str
) -> dict[str, BinnedColumn]:
    """The bins of columns of `fact`, by name. key: the column of `fact` with a cluster's id."""
    if not columns:
        return {}
    held = engine.types("fact")
    readings = [_reading(c, held[c.name]) for c in columns]
    choice = choose(engine, key)
    scopes = [choice.known if c.known_outcome else choice.everything for c in columns]
    where = [scope.where for scope in scopes]
    edges = _baseline_edges(engine, choice, columns, readings)
    by_value = _by_value(
        engine, {i: (readings[i], where[i]) for i, e in enumerate(edges) if not e.many_values}
    )
    cuts: list[Cut] = []
    for index, found in enumerate(edges):
        values = by_value.get(index)
        if values is None or (found.edges and values.known > MAX_DISCRETE_VALUES):
            by_value.pop(index, None)
            cuts.append(cut_numbers(found.edges, found.points))
        else:
            cuts.append(cut_categories(values.baseline, values.known, values.total))
    by_bin = _by_bin(
        engine,
        {i: (readings[i], where[i], cut) for i, cut in enumerate(cuts) if i not in by_value},
    )
    counts = [
        _BinCounts(by_value[i].in_bins(cut) if i in by_value else by_bin[i], cut)
        for i, cut in enumerate(cuts)
    ]
    clusters = cluster_moments(
        engine,
        choice,
        [
            Coded(reading, cut, scope, count.weighted)
            for reading, cut, scope, count in zip(readings, cuts, scopes, counts, strict=True)
        ],
    )
    forget(engine)
    lacking = {
        i: (readings[i], where[i], None if i in by_value else cuts[i])
        for i, count in enumerate(counts)
        if count.rows[0].any() and (count.begins or (i in by_value and by_value[i].has_absent))
    }
    holders = _holders(engine, lacking)
    return {
        column.name: _binned(column.name, cut, count, moments, holders.get(i, ()))
        for i, (column, cut, count, moments) in enumerate(
            zip(columns, cuts, counts, clusters, strict=True)
        )
    }


def _reading(column: DriftColumn, held: str) -> Reading:
    name = f"f.{identifier(column.name)}"
    if is_numeric(column.read_as):
        return number(name, held)
    return text(name, held, column.read_as)


# ── where bins lie ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Edges:
    """Distinct deciles and twentieths. many_values: more distinct ones than a category each."""

    edges: Sequence[float] = ()
    points: Sequence[float] = ()
    many_values: bool = False


def _baseline_edges(
    engine: Engine, choice: Choice, columns: Sequence[DriftColumn], readings: Sequence[Reading]
) -> list[_Edges]:
    numbers = [i for i, reading in enumerate(readings) if reading.is_number]
    if not numbers:
        return [_Edges() for _ in readings]
    source, parameters = baseline_sample(choice)
    selected = ", ".join(f"{readings[i].raw} AS v{i}" for i in numbers)
    sample = engine.frame(
        f"SELECT CASE WHEN f.failure IS NULL THEN 0 ELSE 1 END AS known, {selected} {source}",
        parameters,
    )
    known = sample["known"].to_numpy() == 1
    found = [_Edges() for _ in readings]
    for i in numbers:
        values = np.asarray(sample[f"v{i}"], dtype=float)
        if columns[i].known_outcome:
            values = values[known]
        ordered = np.sort(values[~np.isnan(values)])
        edges, points = twentieths(ordered)
        n_values = int((np.diff(ordered) > 0).sum()) + 1
        found[i] = _Edges(edges, points, bool(edges) and n_values > MAX_DISCRETE_VALUES)
    return found


# ── counts of all rows ───────────────────────────────────────────────────────────────────

_DayCount = tuple[int, int, int, int, int]  # window, day, bin, weight, rows


@dataclass(frozen=True)
class _Values:
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

    def in_bins(self, cut: Cut) -> list[_DayCount]:
        """The same by bin; values that are not told apart are of the rest."""
        found = [
            (win, day, cut.rest if value is None else cut.bins.get(value, cut.rest), weight, n)
            for value, win, day, weight, n in self.rows
        ]
        return found + [(win, day, cut.missing, weight, n) for win, day, weight, n in self.missing]


def _by_value(engine: Engine, columns: Mapping[int, tuple[Reading, str]]) -> dict[int, _Values]:
    """Counts by day of the values that may become bins; at most 1,000 have a share that large."""
    parts = []
    for index, (reading, where) in columns.items():
        shown = f"CASE WHEN named.told = 1 THEN {reading.of('cells.value')} END"
        name, value = ("CAST(NULL AS VARCHAR)", shown) if reading.is_number else (shown, _NO_NUMBER)
        parts.append(
            f"""
            WITH cells AS (
                SELECT {reading.raw} AS value, f.win, f.day, sum(f.weight) AS total, count(*) AS n
                FROM fact f WHERE {where} GROUP BY 1, 2, 3
            ), sizes AS (
                SELECT value, sum(CASE WHEN win = 0 THEN n ELSE 0 END) AS n0 FROM cells
                WHERE value IS NOT NULL GROUP BY value
            ), whole AS (
                SELECT count(*) FILTER (WHERE n0 > 0) AS known, coalesce(sum(n0), 0) AS n0
                FROM sizes
            ), named AS (
                SELECT sizes.value, sizes.n0, whole.known, whole.n0 AS n0_of_all,
                       CASE WHEN sizes.n0 > 0
                                 AND (whole.known <= {MAX_CATEGORIES}
                                      OR (sizes.n0 >= {MIN_CATEGORY_ROWS}
                                          AND sizes.n0 * {round(1 / MIN_CATEGORY_SHARE)} >= whole.n0))
                            THEN 1 ELSE 0 END AS told
                FROM sizes JOIN whole ON whole.known >= 0
            )
            SELECT {index} AS col, {name} AS name, {value} AS number,
                   CASE WHEN cells.value IS NULL THEN {_IS_MISSING} WHEN named.told = 1 THEN {_IS_TOLD}
                        WHEN named.n0 > 0 THEN {_IS_KNOWN} ELSE {_IS_ABSENT} END AS kind,
                   cells.win, cells.day, sum(cells.total) AS total, sum(cells.n) AS n,
                   max(named.known) AS known, max(named.n0_of_all) AS n0_of_all
            FROM cells LEFT JOIN named ON cells.value = named.value
            GROUP BY 2, 3, 4, 5, 6
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
    return {i: _Values(baseline[i], *sizes[i], i in absent, rows[i], missing[i]) for i in columns}


_NO_NUMBER = "CAST(NULL AS DOUBLE)"
_IS_TOLD, _IS_KNOWN, _IS_ABSENT, _IS_MISSING = range(4)


def _by_bin(
    engine: Engine, columns: Mapping[int, tuple[Reading, str, Cut]]
) -> dict[int, list[_DayCount]]:
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
    found: dict[int, list[_DayCount]] = {i: [] for i in columns}
    for index, *row in union_rows(engine, parts):
        win, day, at, weight, n = map(int, row)
        found[index].append((win, day, at, weight, n))
    return found


class _BinCounts:
    """Counts by bin and window.

    per_day: as given. rows, weighted: (2, B). begins: whether the candidate has a bin that the
    baseline lacks.
    """

    def __init__(self, per_day: Sequence[_DayCount], cut: Cut) -> None:
        self.per_day = per_day
        self.rows = np.zeros((2, len(cut.labels)), np.int64)
        self.weighted = np.zeros((2, len(cut.labels)))
        for win, _, index, weight, n in per_day:
            self.rows[win, index] += n
            self.weighted[win, index] += weight

    @property
    def begins(self) -> bool:
        return bool(((self.rows[0] == 0) & (self.rows[1] > 0)).any())


def _holders(
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
                       CASE WHEN bool_or(q.win = 0) THEN 0 ELSE 1 END AS absent
                FROM (SELECT {reading.raw} AS value, f.win, f.day, f.cluster
                      FROM fact f WHERE {where}) q
                GROUP BY 1
            )
            SELECT {index} AS col,
                   CASE WHEN clusters < {MANY_HOLDERS} THEN clusters ELSE {MANY_HOLDERS} END AS held_by,
                   days, absent, count(*) AS n
            FROM sizes GROUP BY 2, 3, 4
            """
        parts.append(Part(sql, parameters))
    found: dict[int, list[Holders]] = {i: [] for i in columns}
    rows = [tuple(map(int, row)) for row in union_rows(engine, parts)]
    for index, clusters, days, absent, n in sorted(rows):
        found[index].append(Holders(clusters, days, bool(absent), n))
    return {i: tuple(h) for i, h in found.items()}


# ── a column ─────────────────────────────────────────────────────────────────────────────


def _binned(
    name: str, cut: Cut, counts: _BinCounts, clusters: BinMoments, holders: tuple[Holders, ...]
) -> BinnedColumn:
    """A column, bins that are empty in both windows left out."""
    rows, points = counts.rows, cut.points
    keep = [int(i) for i in np.flatnonzero(rows.sum(axis=0) > 0)]
    missing = tuple(float(rows[w, -1] / rows[w].sum()) if rows[w].any() else None for w in (0, 1))
    return BinnedColumn(
        name=name,
        kind="categorical" if points is None else "numeric",
        labels=tuple(cut.labels[i] for i in keep),
        points=None if points is None else tuple((*points, math.nan)[i] for i in keep),
        clusters=occupied(clusters),
        days=occupied(_day_moments(counts.per_day, len(cut.labels))),
        rows=(int(rows[0].sum()), int(rows[1].sum())),
        missing=(missing[0], missing[1]),
        holders=holders,
    )


def _day_moments(rows: Sequence[_DayCount], size: int) -> BinMoments:
    units = sorted({(win, day) for win, day, *_ in rows})
    position = {unit: i for i, unit in enumerate(units)}
    counts = np.zeros((len(units), 2 * size))
    for win, day, index, weight, _ in rows:
        counts[position[win, day], win * size + index] += weight
    second = np.einsum("ij,ik->jk", counts, counts)
    n_days = tuple(sum(win == w for win, _ in units) for w in (0, 1))
    return BinMoments(
        counts.sum(axis=0).reshape(2, size), second, (n_days[0], n_days[1], len(units))
    )


__all__ = [
    "BinnedColumn",
    "DriftColumn",
    "bin_columns",
    "is_moment",
    "is_numeric",
    "natural_types",
]
