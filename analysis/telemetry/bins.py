"""Cuts columns into bins in the engine, and reduces them to counts and second moments.

The bins come from the baseline alone: deciles of a number (ties merged), the categories of a text.
Missing values are a bin of their own; so are categories that the baseline lacks. Counts are exact.
Deciles come from all of the baseline's rows or, of many, from a bounded part of them; second
moments over clusters from all clusters or, of many, from a bounded part (`cluster_choice`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.stats.divergence import BinMoments, Holders, occupied
from analysis.telemetry.bin_counts import BinCounts, DayCount, by_bin, by_value, held_by
from analysis.telemetry.bin_cuts import (
    Cut,
    Reading,
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

Kind = Literal["numeric", "categorical"]

MAX_DISCRETE_VALUES = 10


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


def bin_columns(engine: Engine, columns: Sequence[DriftColumn]) -> dict[str, BinnedColumn]:
    """The bins of columns of `fact`, by name."""
    if not columns:
        return {}
    held = engine.types("fact")
    readings = [_reading(c, held[c.name]) for c in columns]
    choice = choose(engine)
    scopes = [choice.known if c.known_outcome else choice.everything for c in columns]
    where = [scope.where for scope in scopes]
    edges = _baseline_edges(engine, choice, columns, readings)
    values = by_value(
        engine, {i: (readings[i], where[i]) for i, e in enumerate(edges) if not e.many_values}
    )
    cuts: list[Cut] = []
    for index, found in enumerate(edges):
        among = values.get(index)
        if among is None or (found.edges and among.known > MAX_DISCRETE_VALUES):
            values.pop(index, None)
            cuts.append(cut_numbers(found.edges, found.points))
        else:
            cuts.append(cut_categories(among.baseline, among.known, among.total))
    binned = by_bin(
        engine,
        {i: (readings[i], where[i], cut) for i, cut in enumerate(cuts) if i not in values},
    )
    counts = [
        BinCounts(values[i].in_bins(cut) if i in values else binned[i], cut)
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
        i: (readings[i], where[i], None if i in values else cuts[i])
        for i, count in enumerate(counts)
        if count.rows[0].any() and (count.begins or (i in values and values[i].has_absent))
    }
    holders = held_by(engine, lacking)
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


# ── a column ─────────────────────────────────────────────────────────────────────────────


def _binned(
    name: str, cut: Cut, counts: BinCounts, clusters: BinMoments, holders: tuple[Holders, ...]
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


def _day_moments(rows: Sequence[DayCount], size: int) -> BinMoments:
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
