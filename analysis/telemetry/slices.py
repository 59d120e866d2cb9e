"""Slices: counts and cluster moments of every combination of dimension values.

The rows are reduced once to (cluster × window × all dimensions) cells, in parts that hold whole
clusters; every slice adds up from these. The cells stay in the engine while slices are looked at,
so that clusters can be counted where their number is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.moments import Metric
from analysis.telemetry.slice_codes import (
    MAX_CATEGORIES,
    WINDOW,
    WINDOW_MASK,
    Coding,
    Crowded,
    Dimension,
    coding_of,
    drop_values,
    put_values,
    read_dimensions,
)
from analysis.telemetry.slice_sums import (
    DENSE,
    Groups,
    Layout,
    Totals,
    add_heavy,
    add_light,
    add_to_slices,
    shortened,
)
from analysis.telemetry.telemetry import Telemetry

SUMS = ("n", "y", "nn", "yy", "ny")
CROSS = ("n1n0", "y1y0", "n1y0", "y1n0")
# More cells than this in a cluster, and its pairs cost more than grouping them for each combination.
MAX_CELLS = 128
_PART_ROWS = 2_500_000
_FLAGS = 60  # of a word
_ASKED_AT_ONCE = 4 * _FLAGS


@dataclass(frozen=True)
class SliceTable:
    """Every slice with support, one entry an array element; K slices, M metrics.

    codes: (K, D) value codes, −1 where the dimension is free. rows: (K, 2) interactions in
    (baseline, candidate). sums[name]: (K, M, 2), weighted by weekday: over clusters, of n and y, of
    their squares and their product. cross[name]: (K, M), sums over clusters of products between the
    windows (candidate 1, baseline 0).
    """

    dimensions: tuple[Dimension, ...]
    metrics: tuple[str, ...]
    codes: np.ndarray
    rows: np.ndarray
    sums: dict[str, np.ndarray]
    cross: dict[str, np.ndarray]

    def keys(self, codes: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        """One number for the values of the fixed dimensions, (len(codes),); fixed: (D,) booleans."""
        sizes = [len(d.values) for d, f in zip(self.dimensions, fixed, strict=True) if f]
        keys: np.ndarray = np.ravel_multi_index(tuple(codes[:, fixed].T), sizes)
        return keys

    def label(self, index: int) -> dict[str, str | None]:
        """{dimension: value} of one slice."""
        return {
            d.name: d.values[code]
            for d, code in zip(self.dimensions, self.codes[index], strict=True)
            if code >= 0
        }


@dataclass(frozen=True)
class CellTable:
    """Distinct combinations of all dimensions, C of them: what conditional tests add up.

    codes: (C, D). rows: (C, 2). n, y: (C, M, 2).
    """

    codes: np.ndarray
    rows: np.ndarray
    n: np.ndarray
    y: np.ndarray

    def mask(self, codes: np.ndarray) -> np.ndarray:
        """Cells of a slice, (C,) booleans."""
        found = np.ones(len(self.codes), dtype=bool)
        for index in np.flatnonzero(codes >= 0):
            found &= self.codes[:, index] == codes[index]
        return found


@dataclass(frozen=True)
class Slices:
    """The slices with support, the full cells, and the dimensions that have more than
    `MAX_CATEGORIES` values: grouped, or left out."""

    table: SliceTable
    cells: CellTable
    crowded: tuple[Crowded, ...]
    _engine: Engine
    _coding: Coding
    _layout: Layout
    _tables: tuple[str, ...]

    def denominator(self, metric: int) -> int:
        """Equal for metrics with the same n in every row, and so with the same clusters."""
        return self._layout.denominator[metric]

    def clusters(self, which: Sequence[int], metric: int, *, bad: bool = False) -> np.ndarray:
        """Clusters with rows of the candidate window in each slice, (len(which),); bad: bad rows."""
        column = f"y{metric}" if bad else f"n{self.denominator(metric)}"
        out = np.zeros(len(which), dtype=np.int64)
        for start in range(0, len(which), _ASKED_AT_ONCE):
            out[start : start + _ASKED_AT_ONCE] = self._held_by(
                which[start : start + _ASKED_AT_ONCE], column
            )
        return out

    def _held_by(self, asked: Sequence[int], column: str) -> np.ndarray:
        """Clusters of the candidate window in which a slice has more than 0 of a column.

        Each cell has a bit for every slice that holds it, and a cluster those of its cells.
        """
        inside = np.stack([self.cells.mask(self.table.codes[index]) for index in asked], axis=1)
        held = np.flatnonzero(inside.any(axis=1))
        words = self._coding.words_of(self.cells.codes[held])
        words[:, 0] |= WINDOW
        frame = {name: words[:, place] for place, name in enumerate(self._coding.words)}
        flags = [f"f{place}" for place in range(-(-len(asked) // _FLAGS))]
        for place, name in enumerate(flags):
            some = inside[held, place * _FLAGS : (place + 1) * _FLAGS].astype(np.int64)
            frame[name] = some @ (np.int64(1) << np.arange(some.shape[1]))
        self._engine.put("slice_asked", pd.DataFrame(frame))
        sums = ", ".join(
            f"coalesce(sum(CASE WHEN (q.f{place // _FLAGS} & {1 << place % _FLAGS}) <> 0 "
            "THEN 1 ELSE 0 END), 0)"
            for place in range(len(asked))
        )
        found = ", ".join(f"bit_or(a.{name}) AS {name}" for name in flags)
        same = " AND ".join(f"a.{word} = c.{word}" for word in self._coding.words)
        counts = np.zeros(len(asked), dtype=np.int64)
        for table in self._tables:
            row = self._engine.row(
                f"SELECT {sums} FROM (SELECT c.cluster, {found} FROM {table} AS c "
                f"JOIN slice_asked AS a ON {same} WHERE c.{column} > 0 GROUP BY 1) AS q"
            )
            counts += np.array([int(v) for v in row], dtype=np.int64)
        self._engine.drop("slice_asked")
        return counts


@contextmanager
def slices(
    telemetry: Telemetry,
    dimensions: Sequence[str],
    metrics: Sequence[Metric],
    *,
    max_depth: int,
    min_support: int,
    binned: Sequence[Dimension] = (),
    max_cells: int = MAX_CELLS,
    part_rows: int = _PART_ROWS,
) -> Iterator[Slices]:
    """All slices to `max_depth` with at least `min_support` rows in a window.

    binned: further dimensions, numbers in bins. max_cells, part_rows: which clusters are reduced in which
    way, and in how many parts; the sums are the same whatever they are.
    """
    engine = telemetry.engine
    coded, crowded = read_dimensions(engine, dimensions)
    coding = coding_of([*coded, *binned])
    n_rows, layout = _layout(engine, metrics)
    # Only the engine within this process has to do with little memory.
    parts = max(1, -(-n_rows // part_rows)) if engine.name == "duckdb" else 1
    tables = [f"slice_cells_{part}" for part in range(parts)]
    try:
        _make_cells(engine, coding, metrics, layout, tables)
        light, heavy, layout = _by_weight(engine, layout, tables, max_cells)
        cells, counts = _full_cells(engine, coding, layout, [*light, *heavy])
        groups = _groups(coding, cells, max_depth, min_support)
        totals = Totals(groups.size)
        if groups.size:
            add_to_slices(totals, groups, cells.codes, {k: (v, None) for k, v in counts.items()})
            add_light(engine, totals, groups, layout, light)
            if heavy:
                add_heavy(engine, totals, groups, layout, heavy)
        yield Slices(
            _slice_table(metrics, totals, groups, layout),
            cells,
            crowded,
            engine,
            coding,
            layout,
            (*light, *heavy),
        )
    finally:
        made = [f"slice_{kind}_{part}" for kind in ("cells", "heavy") for part in range(parts)]
        engine.drop(*made)


# ── cells ────────────────────────────────────────────────────────────────────────────────


def _layout(engine: Engine, metrics: Sequence[Metric]) -> tuple[int, Layout]:
    """Rows in the windows, and what a cell has to hold: equal denominators are kept once."""
    select = ["count(*)"]
    below = [m.below for m in metrics]
    above = [m.above for m in metrics]
    select += [f"coalesce(sum({n}), 0)" for n in below]
    select += [f"coalesce(sum(CASE WHEN {y} < 0 THEN -({y}) ELSE {y} END), 0)" for y in above]
    couples = list(itertools.combinations(range(len(metrics)), 2))
    select += [
        f"coalesce(sum(CASE WHEN {below[i]} <> {below[j]} THEN 1 ELSE 0 END), 0)"
        for i, j in couples
    ]
    row = [
        int(v) for v in engine.row(f"SELECT {', '.join(select)} FROM fact WHERE win IS NOT NULL")
    ]
    size = len(metrics)
    differ = dict(zip(couples, row[1 + 2 * size :], strict=True))
    own: list[int] = []
    denominator = []
    for j in range(size):
        same = [place for place, i in enumerate(own) if not differ[i, j]]
        if not same:
            own.append(j)
        denominator.append(same[0] if same else len(own) - 1)
    totals_n = tuple(row[1 + j] for j in own)
    totals_y = row[1 + size : 1 + 2 * size]
    unit_bits = tuple(max(0, total.bit_length() - 62) for total in totals_y)
    in_units = tuple(total >> bits for total, bits in zip(totals_y, unit_bits, strict=True))
    return row[0], Layout(tuple(denominator), totals_n, in_units, unit_bits)


def _make_cells(
    engine: Engine,
    coding: Coding,
    metrics: Sequence[Metric],
    layout: Layout,
    tables: Sequence[str],
) -> None:
    """Cluster × window × dimensions, with every metric's totals; a table a part of the clusters."""
    words, joins = put_values(engine, coding)
    first = [layout.denominator.index(j) for j in range(len(layout.totals_n))]
    sums = [(f"n{j}", f"sum({metrics[m].below})", layout.totals_n[j]) for j, m in enumerate(first)]
    sums += [
        (
            f"y{m}",
            shortened(f"sum({metric.above})", layout.unit_bits[m]),
            layout.totals_y[m],
        )
        for m, metric in enumerate(metrics)
    ]
    select = ", ".join(
        [
            "f.cluster AS cluster",
            *(f"{text} AS {word}" for text, word in zip(words, coding.words, strict=True)),
            "CAST(count(*) AS INTEGER) AS r",
            *(
                f"CAST({text} AS {'INTEGER' if bound < 1 << 31 else 'BIGINT'}) AS {name}"
                for name, text, bound in sums
            ),
        ]
    )
    keys = ", ".join(str(place) for place in range(1, len(coding.words) + 2))
    # Within this process, cells of a cluster that lie together are joined from the processor's cache.
    order = " ORDER BY 1" if engine.name == "duckdb" else ""
    try:
        for part, table in enumerate(tables):
            own = f" AND f.cluster % {len(tables)} = {part}" if len(tables) > 1 else ""
            engine.create(
                table,
                f"SELECT {select} FROM fact AS f {joins} WHERE f.win IS NOT NULL{own} GROUP BY {keys}{order}",
            )
    finally:
        drop_values(engine, coding)


def _by_weight(
    engine: Engine, layout: Layout, tables: Sequence[str], max_cells: int
) -> tuple[list[str], dict[str, int], Layout]:
    """Parts with clusters of at most `max_cells` cells, and of more, with their rows; and how large
    clusters are."""
    largest = [0] * len(layout.columns)
    light: list[str] = []
    heavy: dict[str, int] = {}
    for table in tables:
        sums = [f"sum(CASE WHEN {c} < 0 THEN -{c} ELSE {c} END) AS {c}" for c in layout.columns]
        row = engine.row(
            f"SELECT coalesce(sum(CASE WHEN q.cells > {max_cells} THEN q.cells ELSE 0 END), 0), "
            f"{', '.join(f'coalesce(max(q.{c}), 0)' for c in layout.columns)} FROM "
            f"(SELECT cluster, count(*) AS cells, {', '.join(sums)} FROM {table} GROUP BY 1) AS q"
        )
        largest = [max(a, int(b)) for a, b in zip(largest, row[1:], strict=True)]
        light.append(table)
        if not int(row[0]):
            continue
        other = table.replace("cells", "heavy")
        clusters = f"SELECT cluster FROM {table} GROUP BY 1 HAVING count(*) > {max_cells}"
        engine.create(other, f"SELECT c.* FROM {table} AS c WHERE c.cluster IN ({clusters})")
        engine.create(
            "slice_light", f"SELECT c.* FROM {table} AS c WHERE c.cluster NOT IN ({clusters})"
        )
        engine.create(table, "SELECT * FROM slice_light")
        engine.drop("slice_light")
        heavy[other] = int(row[0])
    n = len(layout.totals_n)
    return light, heavy, replace(layout, largest_n=tuple(largest[:n]), largest_y=tuple(largest[n:]))


def _full_cells(
    engine: Engine, coding: Coding, layout: Layout, tables: Sequence[str]
) -> tuple[CellTable, dict[str, np.ndarray]]:
    """The cells of all clusters together, by code; and their counts as integers, y in its units."""
    sums = ", ".join(f"CAST(sum({c}) AS BIGINT) AS {c}" for c in ("r", *layout.columns))
    keys = ", ".join(coding.words)
    frames = [
        engine.frame(f"SELECT {keys}, {sums} FROM {table} GROUP BY {keys}") for table in tables
    ]
    words = np.concatenate([f[list(coding.words)].to_numpy(dtype=np.int64) for f in frames])
    values = np.concatenate([f[["r", *layout.columns]].to_numpy(dtype=np.int64) for f in frames])
    win = (words[:, 0] & WINDOW_MASK) // WINDOW
    words[:, 0] &= ~WINDOW_MASK
    order = np.lexsort(words.T[::-1])
    words, values, win = words[order], values[order], win[order]
    new = np.ones(len(words), dtype=bool)
    new[1:] = (words[1:] != words[:-1]).any(axis=1)
    cell = np.cumsum(new) - 1
    sums_ = np.zeros((int(new.sum()), values.shape[1], 2), dtype=np.int64)
    np.add.at(sums_, (cell[:, None], np.arange(values.shape[1])[None, :], win[:, None]), values)
    first_y = 1 + len(layout.totals_n)
    n = sums_[:, 1 + np.array(layout.denominator, dtype=int)]
    y = sums_[:, first_y:]
    units = np.array(layout.unit_bits, dtype=int)[:, None]
    cells = CellTable(
        coding.codes(words[new]),
        sums_[:, 0].astype(float),
        n.astype(float),
        np.ldexp(y.astype(float), units),
    )
    exact: dict[str, np.ndarray] = {}
    for w in (0, 1):
        exact[f"r{w}"] = sums_[:, 0, w]
        for m in range(layout.n_metrics):
            exact |= {f"n{w}_{m}": n[:, m, w], f"y{w}_{m}": y[:, m, w]}
    return cells, exact


# ── slices ───────────────────────────────────────────────────────────────────────────────


def _groups(coding: Coding, cells: CellTable, max_depth: int, min_support: int) -> Groups:
    """The slices of every combination of dimensions that have the support in a window."""
    n_dimensions = len(coding.dimensions)
    groups = [
        group
        for depth in range(1, min(max_depth, n_dimensions) + 1)
        for group in itertools.combinations(range(n_dimensions), depth)
    ]
    empty = Groups(coding, tuple(groups), (), ())
    across = np.ascontiguousarray(cells.codes.T)
    keys, first, size = [], [], 0
    for group in groups:
        packed, count = empty.packed(across, group)
        found: np.ndarray = np.arange(count)
        if count > DENSE:
            found, packed = np.unique(packed, return_inverse=True)
        rows = np.stack([np.bincount(packed, cells.rows[:, w], len(found)) for w in (0, 1)], axis=1)
        keys.append(found[(rows >= min_support).any(axis=1) & rows.any(axis=1)])
        first.append(size)
        size += len(keys[-1])
    return Groups(coding, tuple(groups), tuple(keys), tuple(first))


def _slice_table(
    metrics: Sequence[Metric], totals: Totals, groups: Groups, layout: Layout
) -> SliceTable:
    size, coding = groups.size, groups.coding
    codes = np.full((size, len(coding.dimensions)), -1, dtype=int)
    for group, keys, first in zip(groups.groups, groups.keys, groups.first, strict=True):
        left = keys.copy()
        for index in reversed(group):
            count = len(coding.dimensions[index].values)
            codes[first : first + len(keys), index] = left % count
            left //= count
    sums = {name: np.zeros((size, len(metrics), 2)) for name in SUMS}
    cross = {name: np.zeros((size, len(metrics))) for name in CROSS}
    for m, j in enumerate(layout.denominator):
        unit = 1 << layout.unit_bits[m]
        square = unit * unit << 2 * layout.lost_bits(m)
        for win in (0, 1):
            sums["n"][:, m, win] = totals.floats(f"n{win}_{m}")
            sums["y"][:, m, win] = totals.floats(f"y{win}_{m}", unit)
            sums["nn"][:, m, win] = totals.floats(f"nn{win}_{j}")
            sums["yy"][:, m, win] = totals.floats(f"yy{win}_{m}", square)
            sums["ny"][:, m, win] = totals.floats(f"ny{win}_{m}", unit)
        cross["n1n0"][:, m] = totals.floats(f"n1n0_{j}")
        cross["y1y0"][:, m] = totals.floats(f"y1y0_{m}", square)
        cross["n1y0"][:, m] = totals.floats(f"n1y0_{m}", unit)
        cross["y1n0"][:, m] = totals.floats(f"y1n0_{m}", unit)
    rows = np.stack([totals.floats("r0"), totals.floats("r1")], axis=1)
    return SliceTable(coding.dimensions, tuple(m.name for m in metrics), codes, rows, sums, cross)


__all__ = [
    "CROSS",
    "MAX_CATEGORIES",
    "MAX_CELLS",
    "SUMS",
    "CellTable",
    "Crowded",
    "Dimension",
    "SliceTable",
    "Slices",
    "slices",
]
