"""Cuts columns into bins in the engine, and reduces them to counts and second moments.

The bins come from the baseline alone: deciles of a number (ties merged, a value that is two of them
or more apart from what lies below it), the categories of a text.
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
import numpy.typing as npt

from analysis.stats.divergence import BinMoments, Holders, occupied
from analysis.stats.wasserstein import Distance, distance
from analysis.telemetry.bin_counts import BinCounts, DayCount, by_bin, by_value, held_by
from analysis.telemetry.bin_cuts import (
    Cut,
    Reading,
    below_atoms,
    cut_categories,
    cut_numbers,
    is_moment,
    is_numeric,
    number,
    text,
    twentieths,
)
from analysis.telemetry.bin_moments import Coded, cluster_moments
from analysis.telemetry.cluster_choice import (
    MAX_CANDIDATE_ROWS,
    Choice,
    choose,
    forget,
    window_sample,
)
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
class Counted:
    """How a column was cut, and its rows of the windows by day: other rows are counted alike.

    per_day: (window, day, bin of the cut, weight, rows).
    """

    reading: Reading
    known_outcome: bool
    cut: Cut
    per_day: Sequence[DayCount]


@dataclass(frozen=True)
class DayBins:
    """Unweighted rows by day and bin.

    windows, days: (D,) the window and the day number of each, in their order; one day may be in both.
    rows: (D, B).
    """

    windows: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BinnedColumn:
    """A column's bins in both windows (baseline first).

    kind: numeric where bins are deciles, categorical where each is a value. labels: (B,).
    points: (B,) values that stand for the bins of a number, nan for missing; None for categories.
    clusters, days: weighted counts and moments over clusters, over days. rows: unweighted rows of
    each window. missing: share of null rows of each window. holders: by how many clusters and days
    categories are held; empty where both windows have all of them. counted: what it came from.
    distance: of a number, how far its values moved.
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
    counted: Counted
    distance: Distance | None = None

    @property
    def missing_bin(self) -> int | None:
        """The bin of missing values, the last; None where none is missing. Its label may be a text's."""
        return len(self.labels) - 1 if any(self.missing) else None

    @property
    def by_day(self) -> DayBins:
        """Counts of each day."""
        rows = self.counted.per_day
        units = sorted({(win, day) for win, day, *_ in rows})
        row = {unit: i for i, unit in enumerate(units)}
        # Bins that are empty in both windows have no rows, and are no bins of the column.
        column = {index: i for i, index in enumerate(sorted({index for _, _, index, *_ in rows}))}
        counts = np.zeros((len(units), len(column)), np.int64)
        for win, day, index, _, n in rows:
            counts[row[win, day], column[index]] += n
        held = np.array(units, np.int64).reshape(-1, 2)
        return DayBins(held[:, 0], held[:, 1], counts)


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
    samples = _samples(engine, choice, columns, readings)
    edges = [_Edges.of(pair) for pair in samples]
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
        if count.rows.any(axis=1).all()
        and (count.begins or count.ends or (i in values and values[i].has_absent))
    }
    holders = held_by(engine, lacking)
    return {
        column.name: _binned(
            column.name,
            count,
            moments,
            holders.get(i, ()),
            Counted(reading, column.known_outcome, cut, count.per_day),
            _distance(samples[i]),
        )
        for i, (column, reading, cut, count, moments) in enumerate(
            zip(columns, readings, cuts, counts, clusters, strict=True)
        )
    }


def _reading(column: DriftColumn, held: str) -> Reading:
    name = f"f.{identifier(column.name)}"
    if is_numeric(column.read_as):
        return number(name, held)
    return text(name, held, column.read_as)


# ── where bins lie ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Sample:
    """Known values of a number, rising, with the weights of their rows."""

    values: np.ndarray
    weights: np.ndarray

    def thinned(self, most: int) -> _Sample:
        """Evenly spaced order statistics, at most `most`."""
        step = -(-len(self.values) // most)
        return _Sample(self.values[step // 2 :: step], self.weights[step // 2 :: step])


_Samples = tuple[_Sample, _Sample]  # baseline, candidate


@dataclass(frozen=True)
class _Edges:
    """Where a number is cut, and its twentieths. many_values: more distinct ones than a category each."""

    edges: Sequence[float] = ()
    points: Sequence[float] = ()
    many_values: bool = False

    @classmethod
    def of(cls, samples: _Samples | None) -> _Edges:
        """Of the baseline's sample; none of a text."""
        if samples is None:
            return cls()
        ordered = samples[0].values
        deciles, points = twentieths(ordered)
        edges = sorted({*deciles, *below_atoms(ordered)})
        n_values = int((np.diff(ordered) > 0).sum()) + 1
        return cls(edges, points, bool(edges) and n_values > MAX_DISCRETE_VALUES)


def _samples(
    engine: Engine, choice: Choice, columns: Sequence[DriftColumn], readings: Sequence[Reading]
) -> list[_Samples | None]:
    """A bounded part of both windows' values, of each number."""
    numbers = [i for i, reading in enumerate(readings) if reading.is_number]
    if not numbers:
        return [None for _ in readings]
    first, second = (_sample(engine, choice, win, numbers, columns, readings) for win in (0, 1))
    return [(first[i], second[i]) if i in first else None for i in range(len(readings))]


def _sample(
    engine: Engine,
    choice: Choice,
    win: int,
    numbers: Sequence[int],
    columns: Sequence[DriftColumn],
    readings: Sequence[Reading],
) -> dict[int, _Sample]:
    source, parameters = window_sample(choice, win)
    selected = ", ".join(f"{readings[i].raw} AS v{i}" for i in numbers)
    sample = engine.frame(
        f"SELECT CASE WHEN f.failure IS NULL THEN 0 ELSE 1 END AS known, f.weight AS weight, "
        f"{selected} {source}",
        parameters,
    )
    known = sample["known"].to_numpy() == 1
    weights = np.asarray(sample["weight"], dtype=float)
    found = {}
    for i in numbers:
        values = np.asarray(sample[f"v{i}"], dtype=float)
        there = ~np.isnan(values) & (known if columns[i].known_outcome else True)
        order = np.lexsort((weights[there], values[there]))
        found[i] = _Sample(values[there][order], weights[there][order])
    return found


def _distance(samples: _Samples | None) -> Distance | None:
    if samples is None or not all(len(s.values) for s in samples):
        return None
    old, new = (s.thinned(MAX_CANDIDATE_ROWS) for s in samples)
    return distance(old.values, new.values, old.weights, new.weights)


# ── a column ─────────────────────────────────────────────────────────────────────────────


def _binned(
    name: str,
    counts: BinCounts,
    clusters: BinMoments,
    holders: tuple[Holders, ...],
    counted: Counted,
    moved: Distance | None,
) -> BinnedColumn:
    """A column, bins that are empty in both windows left out."""
    rows, cut = counts.rows, counted.cut
    points = cut.points
    keep = [int(i) for i in np.flatnonzero(rows.sum(axis=0) > 0)]
    missing = tuple(float(rows[w, -1] / rows[w].sum()) if rows[w].any() else None for w in (0, 1))
    return BinnedColumn(
        name=name,
        kind="categorical" if cut.is_categorical else "numeric",
        labels=tuple(cut.labels[i] for i in keep),
        points=None if points is None else tuple((*points, math.nan)[i] for i in keep),
        clusters=occupied(clusters),
        days=occupied(_day_moments(counts.per_day, len(cut.labels))),
        rows=(int(rows[0].sum()), int(rows[1].sum())),
        missing=(missing[0], missing[1]),
        holders=holders,
        counted=counted,
        distance=moved,
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
    "DayBins",
    "DriftColumn",
    "bin_columns",
    "is_moment",
    "is_numeric",
    "natural_types",
]
