"""Slices: counts and cluster moments of every combination of dimension values.

The rows are reduced once to (cluster × all dimensions) cells; every grouping rolls up from these.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.telemetry.moments import Metric
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Telemetry

MAX_CATEGORIES = 50
SUMS = ("n", "y", "nn", "yy", "ny", "clusters", "bad_clusters")


@dataclass(frozen=True)
class Dimension:
    """A dimension with its values in code order: sorted, null last."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class SliceTable:
    """Every slice with support, one entry an array element; K slices, M metrics.

    codes: (K, D) value codes, −1 where the dimension is free. rows: (K, 2) interactions in
    (baseline, candidate). sums[name]: (K, M, 2), weighted by weekday.
    """

    dimensions: tuple[Dimension, ...]
    metrics: tuple[str, ...]
    codes: np.ndarray
    rows: np.ndarray
    sums: dict[str, np.ndarray]

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
        fixed = codes >= 0
        found: np.ndarray = (self.codes[:, fixed] == codes[fixed]).all(axis=1)
        return found


def reduce_slices(
    telemetry: Telemetry,
    dimensions: Sequence[str],
    metrics: Sequence[Metric],
    *,
    max_depth: int,
    min_support: int,
) -> tuple[SliceTable, CellTable, tuple[str, ...]]:
    """All slices to `max_depth` with at least `min_support` rows in a window, the full cells, and
    the dimensions left out because they have more than `MAX_CATEGORIES` values."""
    coded, left_out = _encode(telemetry, dimensions)
    _cells(telemetry, coded, metrics)
    full = _full_cells(telemetry, coded, metrics)
    parts = [
        part
        for depth in range(1, min(max_depth, len(coded)) + 1)
        for group in itertools.combinations(range(len(coded)), depth)
        if (part := _grouping(telemetry, coded, metrics, group, min_support)) is not None
    ]
    for index in range(len(coded)):
        telemetry.con.unregister(f"slice_values_{index}")
    telemetry.con.execute("DROP TABLE slice_cells")
    return _joined(coded, metrics, parts), full, left_out


def _encode(
    telemetry: Telemetry, dimensions: Sequence[str]
) -> tuple[tuple[Dimension, ...], tuple[str, ...]]:
    """Dimensions with more than one value and at most `MAX_CATEGORIES`."""
    coded, left_out = [], []
    for name in dimensions:
        rows = telemetry.con.execute(
            f"SELECT CAST({identifier(name)} AS VARCHAR) AS v FROM fact WHERE win IS NOT NULL "
            f"GROUP BY 1 LIMIT {MAX_CATEGORIES + 2}"
        ).fetchall()
        values = sorted(v for (v,) in rows if v is not None)
        if len(values) > MAX_CATEGORIES:
            left_out.append(name)
            continue
        everything: list[str | None] = [*values, *([None] if len(rows) > len(values) else [])]
        if len(everything) > 1:
            coded.append(Dimension(name, tuple(everything)))
    return tuple(coded), tuple(left_out)


def _cells(telemetry: Telemetry, coded: Sequence[Dimension], metrics: Sequence[Metric]) -> None:
    """`slice_cells`: cluster × dimension codes, with every metric's totals in both windows."""
    joins, codes = [], []
    for index, dimension in enumerate(coded):
        frame = pd.DataFrame(
            {
                "v": pd.array(list(dimension.values), dtype="string"),
                "code": range(len(dimension.values)),
            }
        )
        telemetry.con.register(f"slice_values_{index}", frame.dropna())
        null_code = len(dimension.values) - 1
        codes.append(f"CAST(coalesce(v{index}.code, {null_code}) AS SMALLINT) AS d{index}")
        joins.append(
            f"LEFT JOIN slice_values_{index} v{index} "
            f"ON CAST(f.{identifier(dimension.name)} AS VARCHAR) = v{index}.v"
        )
    sums = []
    for m, metric in enumerate(metrics):
        for win in (0, 1):
            within = f"FILTER (win = {win} AND ({metric.where}))"
            sums.append(
                f"coalesce(sum(weight * ({metric.denominator})) {within}, 0)::BIGINT AS n{win}_{m}"
            )
            sums.append(
                f"coalesce(sum(weight * ({metric.numerator})) {within}, 0)::HUGEINT AS y{win}_{m}"
            )
    select = ", ".join(
        [
            "cluster",
            *codes,
            "count(*) FILTER (win = 0) AS r0",
            "count(*) FILTER (win = 1) AS r1",
            *sums,
        ]
    )
    keys = ", ".join(str(place) for place in range(1, len(coded) + 2))
    telemetry.con.execute(
        f"CREATE OR REPLACE TEMP TABLE slice_cells AS SELECT {select} FROM fact f {' '.join(joins)} "
        f"WHERE win IS NOT NULL GROUP BY {keys}"
    )


def _full_cells(
    telemetry: Telemetry, coded: Sequence[Dimension], metrics: Sequence[Metric]
) -> CellTable:
    keys = [f"d{i}" for i in range(len(coded))]
    sums = [
        f"sum({v}{win}_{m})::DOUBLE AS {v}{win}_{m}"
        for m in range(len(metrics))
        for v in "ny"
        for win in (0, 1)
    ]
    select = ", ".join([*keys, "sum(r0)::DOUBLE AS r0", "sum(r1)::DOUBLE AS r1", *sums])
    tail = f"GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}" if keys else ""
    frame = telemetry.con.execute(f"SELECT {select} FROM slice_cells {tail}").fetchnumpy()
    rows = np.column_stack([frame["r0"], frame["r1"]])
    codes = np.column_stack([frame[k] for k in keys]) if keys else np.zeros((len(rows), 0), int)

    def stack(v: str) -> np.ndarray:
        shape = (len(rows), len(metrics), 2)
        out = np.zeros(shape)
        for m in range(len(metrics)):
            for win in (0, 1):
                out[:, m, win] = frame[f"{v}{win}_{m}"]
        return out

    return CellTable(codes.astype(int), rows, stack("n"), stack("y"))


def _grouping(
    telemetry: Telemetry,
    coded: Sequence[Dimension],
    metrics: Sequence[Metric],
    group: tuple[int, ...],
    min_support: int,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]] | None:
    keys = ", ".join(f"d{i}" for i in group)
    inner, outer = [], []
    for m in range(len(metrics)):
        for win in (0, 1):
            n, y, tag = f"n{win}_{m}", f"y{win}_{m}", f"{win}_{m}"
            inner += [f"sum({n}) AS {n}", f"sum({y}) AS {y}"]
            outer += [
                f"sum({n})::DOUBLE AS n_{tag}",
                f"sum({y})::DOUBLE AS y_{tag}",
                f"sum({n} * {n})::DOUBLE AS nn_{tag}",
                f"sum({y} * {y})::DOUBLE AS yy_{tag}",
                f"sum({n} * {y})::DOUBLE AS ny_{tag}",
                f"count(*) FILTER ({n} > 0)::DOUBLE AS clusters_{tag}",
                f"count(*) FILTER ({y} > 0)::DOUBLE AS bad_clusters_{tag}",
            ]
    frame = telemetry.con.execute(
        f"SELECT {keys}, sum(r0)::DOUBLE AS r0, sum(r1)::DOUBLE AS r1, {', '.join(outer)} FROM "
        f"(SELECT {keys}, sum(r0) AS r0, sum(r1) AS r1, {', '.join(inner)} FROM slice_cells "
        f"GROUP BY {keys}, cluster) GROUP BY {keys} "
        f"HAVING sum(r1) >= {int(min_support)} OR sum(r0) >= {int(min_support)} ORDER BY {keys}"
    ).fetchnumpy()
    size = len(frame["r0"])
    if not size:
        return None
    codes = np.full((size, len(coded)), -1, dtype=int)
    for i in group:
        codes[:, i] = frame[f"d{i}"]
    sums = {}
    for name in SUMS:
        values = np.zeros((size, len(metrics), 2))
        for m in range(len(metrics)):
            for win in (0, 1):
                values[:, m, win] = frame[f"{name}_{win}_{m}"]
        sums[name] = values
    return codes, np.column_stack([frame["r0"], frame["r1"]]), sums


def _joined(
    coded: tuple[Dimension, ...],
    metrics: Sequence[Metric],
    parts: Sequence[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]],
) -> SliceTable:
    names = tuple(metric.name for metric in metrics)
    if not parts:
        empty = {name: np.zeros((0, len(names), 2)) for name in SUMS}
        return SliceTable(coded, names, np.zeros((0, len(coded)), int), np.zeros((0, 2)), empty)
    return SliceTable(
        coded,
        names,
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        {name: np.concatenate([p[2][name] for p in parts]) for name in SUMS},
    )
