"""Sums of several metrics by the cells of several partitions, and how far statistics of them vary.

A partition cuts the rows of both windows into cells by some columns: contexts × actions, or the values of
a dimension. Cells come first; a statistic of their sums is linearised (`stats.influence`); its influences
are joined back to the rows, and summed by cluster and by day as integers of a common scale, so that
neither the order of rows nor the engine can change a digit. Sums of squares are over the clusters of
`cluster_choice`: all, or the largest and a sample of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import numpy as np
import pandas as pd

from analysis.stats.influence import Day, Linearised, Spread, spread
from analysis.telemetry.cell_kinds import (
    ALONE,
    MIN_ACTION_ROWS,
    ONLY_GONE,
    ONLY_NEW,
    OTHERS,
    kind_of_cell,
)
from analysis.telemetry.cell_kinds import SMALL as SMALL_CELL
from analysis.telemetry.cluster_choice import CLUSTERS, IN_WINDOWS, Choice, choose, forget
from analysis.telemetry.engine import Engine
from analysis.telemetry.moments import Metric
from analysis.telemetry.sql import identifier

MAX_VALUES = 200
"""Cells of a dimension that are told apart; the others count as small."""
SMALL, UNSEEN = 0, -1
"""Cells of what is small: what of it the baseline has rows of, and what it has none of."""
_POOLED = {OTHERS: "(other)", ONLY_NEW: "(other, new)", ONLY_GONE: "(other, gone)"}
_BITS = 59
_ROWS = "consequence_rows"
_CHOSEN = "consequence_chosen"


@dataclass(frozen=True)
class Partition:
    """columns: of `fact`; the first `n_context` of them are the context. crowded: whether cells beyond
    the `MAX_VALUES` largest are small."""

    columns: tuple[str, ...]
    n_context: int
    crowded: bool = False


@dataclass(frozen=True)
class Cells:
    """The cells of a partition, in order of their values, the small ones last.

    ids: (K,). values: of each cell one text (or None) a column; empty for small ones. n, y: (M, 2, K)
    exact integers of each metric by window, baseline first.
    """

    ids: np.ndarray
    values: tuple[tuple[str | None, ...], ...]
    n: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Column:
    """A statistic of one partition's cells for one metric; `form` has (2, K) derivatives."""

    partition: int
    metric: int
    form: Linearised


Combination = Mapping[int, int]
"""Places of columns of one metric → factors, small integers: what is summed by cluster and squared."""


class CellSums:
    """Tables of rows with their cells, which a context cleans up."""

    def __init__(
        self, engine: Engine, partitions: Sequence[Partition], metrics: Sequence[Metric],
        counted: str, min_rows: int, by_days: bool,
    ) -> None:  # fmt: skip
        """counted: boolean over `fact f`: the rows that decide whether a cell is small. by_days: whether
        days count as clusters too. metrics: read `fact f` or `fact`."""
        self._engine, self._partitions, self._metrics = engine, partitions, metrics
        self._counted, self._min_rows, self._by_days = counted, min_rows, by_days

    def __enter__(self) -> CellSums:
        for i in range(len(self._partitions)):
            self._cut(i)
        self._code()
        self._choice: Choice = choose(self._engine)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        parts = range(len(self._partitions))
        made = [f"{name}_{i}" for i in parts for name in ("consequence_cells", "consequence_sums",
                                                         "consequence_influences")]  # fmt: skip
        self._engine.drop(_ROWS, _CHOSEN, *made)
        forget(self._engine)

    @property
    def n_clusters(self) -> int:
        """Clusters with rows in either window."""
        return self._choice.everything.units[2]

    # ── cells ────────────────────────────────────────────────────────────────────────────

    def _cut(self, i: int) -> None:
        """Makes `consequence_cells_<i>` (k0, …, cell)."""
        part = self._partitions[i]
        names = [f"k{j}" for j in range(len(part.columns))]
        keys = [f"f.{identifier(c)} AS k{j}" for j, c in enumerate(part.columns)]
        rows = ", ".join(
            f"count(*) FILTER (WHERE f.win = {w} AND {self._counted}) AS rows{w}" for w in (0, 1)
        )
        grouped = f"GROUP BY {', '.join(str(j + 1) for j in range(len(keys)))}" if keys else ""
        listed = "".join(f"{k}, " for k in names)
        place = f"ORDER BY rows0 + rows1 DESC{''.join(f', {k}' for k in names)}"
        most = f"AND place <= {MAX_VALUES}" if part.crowded else ""
        context = ", ".join(names[: part.n_context])
        within = f"PARTITION BY {context}" if context else ""
        pool = f"PARTITION BY {', '.join([*names[: part.n_context], 'kind'])}"
        has_actions = part.n_context < len(part.columns)
        self._engine.create(
            f"consequence_cells_{i}",
            f"""
            SELECT {listed} kind,
                   CASE WHEN kind = {ALONE} THEN place
                        WHEN kind <> {SMALL_CELL} THEN min(place) OVER ({pool})
                        WHEN rows0 > 0 THEN {SMALL} ELSE {UNSEEN} END AS cell
            FROM (SELECT {listed} rows0, rows1, place,
                         {kind_of_cell(most, has_actions=has_actions)} AS kind
                  FROM (SELECT {listed} rows0, rows1, row_number() OVER ({place}) AS place,
                               sum(rows0) OVER ({within}) AS context0,
                               sum(rows1) OVER ({within}) AS context1
                        FROM (SELECT {"".join(f"{k}, " for k in keys)} {rows}
                              FROM fact f WHERE {IN_WINDOWS} {grouped}) counted) placed) judged
            """,
            {"least": self._min_rows, "least_action": min(MIN_ACTION_ROWS, self._min_rows)},
        )

    def _code(self) -> None:
        """Makes `consequence_rows`, and the sums of each partition by cell, window and day."""
        inner, joins = [], []
        for i, part in enumerate(self._partitions):
            inner += [f"f.{identifier(c)} AS p{i}_{j}" for j, c in enumerate(part.columns)]
            on = [f"f.p{i}_{j} IS NOT DISTINCT FROM c{i}.k{j}" for j in range(len(part.columns))]
            joins.append(f"JOIN consequence_cells_{i} c{i} ON {' AND '.join(on) or '1 = 1'}")
        for m, metric in enumerate(self._metrics):
            inner += [f"{metric.denominator} AS n{m}", f"{metric.numerator} AS y{m}"]
        outer = [f"c{i}.cell AS c{i}" for i in range(len(self._partitions))]
        outer += [f"f.{v}{m}" for m in range(len(self._metrics)) for v in "ny"]
        self._engine.create(
            _ROWS,
            f"SELECT f.cluster, f.day, f.win, f.weight, {', '.join(outer)} FROM "
            f"(SELECT f.cluster, f.day, f.win, f.weight, {', '.join(inner)} FROM fact f "
            f"WHERE {IN_WINDOWS}) f {' '.join(joins)}",
        )
        wide = ["BIGINT" if metric.scale == 1 else "HUGEINT" for metric in self._metrics]
        sums = ", ".join(
            f"CAST(sum(weight * n{m}) AS BIGINT) AS n{m}, CAST(sum(weight * y{m}) AS {wide[m]}) AS y{m}"
            for m in range(len(self._metrics))
        )
        day = "day" if self._by_days else "0 AS day"
        for i in range(len(self._partitions)):
            self._engine.create(
                f"consequence_sums_{i}",
                f"SELECT c{i} AS cell, win, {day}, {sums} FROM {_ROWS} GROUP BY 1, 2, 3",
            )

    def cells(self) -> list[Cells]:
        """The cells of each partition."""
        return [self._cells(i) for i in range(len(self._partitions))]

    def _cells(self, i: int) -> Cells:
        size = len(self._partitions[i].columns)
        n_context = self._partitions[i].n_context
        texts = ", ".join(f"CAST(k{j} AS VARCHAR)" for j in range(size))
        named = (
            self._engine.rows(
                f"SELECT cell, kind, {texts} FROM consequence_cells_{i} WHERE cell > {SMALL}"
            )
            if size
            else [(1, ALONE)]
        )
        values: dict[int, tuple[str | None, ...]] = {}
        for cell, kind, *own in named:
            texts_of = [None if v is None else str(v) for v in own]
            if int(kind) != ALONE:
                texts_of[n_context:] = [_POOLED[int(kind)]] * (size - n_context)
            values[int(cell)] = tuple(texts_of)
        listed = ", ".join(f"sum(n{m}), sum(y{m})" for m in range(len(self._metrics)))
        rows = self._engine.rows(
            f"SELECT cell, win, {listed} FROM consequence_sums_{i} GROUP BY cell, win"
        )
        held = {int(row[0]) for row in rows}
        ids = sorted((c for c in held if c > SMALL), key=lambda c: (repr(values[c]), c))
        ids += [c for c in (SMALL, UNSEEN) if c in held]
        place = {cell: k for k, cell in enumerate(ids)}
        n = np.zeros((len(self._metrics), 2, len(ids)), dtype=object)
        y = np.zeros_like(n)
        for cell, win, *found in rows:
            for m in range(len(self._metrics)):
                n[m, int(win), place[int(cell)]] = int(found[2 * m])
                y[m, int(win), place[int(cell)]] = int(found[2 * m + 1])
        return Cells(np.array(ids, dtype=np.int64), tuple(values.get(c, ()) for c in ids), n, y)

    # ── how far statistics vary ──────────────────────────────────────────────────────────

    def spreads(
        self, cells: Sequence[Cells], columns: Sequence[Column], wanted: Sequence[Combination]
    ) -> list[Spread]:
        """The spread of each combination of columns."""
        if not wanted:
            return []
        scales = self._put(cells, columns)
        units = [scales[columns[next(iter(some))].metric] for some in wanted]
        squares = self._squares(columns, wanted)
        days = self._days(columns) if self._by_days else None
        out = []
        for place, some in enumerate(wanted):
            unit = units[place]
            own = None
            if days is not None:
                metric = columns[next(iter(some))].metric
                own = [
                    Day(
                        win,
                        float(sum(f * sums[c] for c, f in some.items()) / unit),
                        float(n[metric]),
                    )
                    for (win, _), (sums, n) in sorted(days.items())
                ]
            out.append(spread(float(squares[place] / (unit * unit)), self.n_clusters, own))
        return out

    def _put(self, cells: Sequence[Cells], columns: Sequence[Column]) -> dict[int, Fraction]:
        """Makes `consequence_influences_<i>` (cell, win, a_<column>, b_<column>), and gives the scale of
        each metric: the largest power of two at which no sum leaves 64 bits."""
        bound: dict[int, float] = {}
        for column in columns:
            of = cells[column.partition]
            n, y = of.n[column.metric].astype(float), of.y[column.metric].astype(float)
            size = float(
                (np.abs(column.form.on_n) * n + np.abs(column.form.on_y) * np.abs(y)).sum()
            )
            bound[column.metric] = max(bound.get(column.metric, 0.0), size)
        scale = {
            m: Fraction(2) ** (_BITS - math.frexp(size)[1]) if size > 0 else Fraction(1)
            for m, size in bound.items()
        }
        for i, of in enumerate(cells):
            frame: dict[str, object] = {
                "cell": np.repeat(of.ids, 2), "win": np.tile([0, 1], len(of.ids))
            }  # fmt: skip
            for c, column in enumerate(columns):
                if column.partition == i:
                    by = float(scale[column.metric])
                    for name, slopes in (("a", column.form.on_n), ("b", column.form.on_y)):
                        scaled = (slopes.T * by).ravel()
                        counts = self._metrics[column.metric].scale == 1
                        frame[f"{name}{c}"] = np.rint(scaled).astype(np.int64) if counts else scaled
            self._engine.put(f"consequence_influences_{i}", pd.DataFrame(frame))
        return scale

    def _influence(self, k: int, column: Column, rows: str, slopes: str) -> str:
        """Of a row, or of a sum of rows with the same slopes, in units of the scale: a whole number.

        Money spans more digits than its slope keeps as a whole number beside it: there the product is
        rounded, row by row, and the sum is exact again.
        """
        m = column.metric
        form = f"{rows}.n{m} * {slopes}.a{k} + {rows}.y{m} * {slopes}.b{k}"
        if self._metrics[m].scale == 1:
            return f"({form})"
        return f"CAST(floor({form}) AS BIGINT)"

    def _squares(self, columns: Sequence[Column], wanted: Sequence[Combination]) -> list[Fraction]:
        """Σ_c (Σ influences)² over all clusters, in units of the scale's square."""
        sums = ", ".join(
            f"CAST(sum(r.weight * {self._influence(k, c, 'r', f'i{c.partition}')}) AS BIGINT) AS e{k}"
            for k, c in enumerate(columns)
        )
        joins = " ".join(
            f"JOIN consequence_influences_{i} i{i} ON r.c{i} = i{i}.cell AND r.win = i{i}.win"
            for i in sorted({c.partition for c in columns})
        )
        terms = [" + ".join(f"({f}) * e{c}" for c, f in some.items()) for some in wanted]
        squared = ", ".join(f"sum(CAST({t} AS HUGEINT) * ({t}))" for t in terms)
        self._engine.create(
            _CHOSEN,
            f"SELECT r.*, d.drawn FROM {_ROWS} r JOIN {CLUSTERS} d ON r.cluster = d.cluster",
        )
        rows = self._engine.rows(
            f"""
            SELECT drawn, {squared} FROM (
                SELECT r.cluster, r.drawn, {sums} FROM {_CHOSEN} r {joins} GROUP BY r.cluster, r.drawn
            ) totals GROUP BY drawn
            """
        )
        found = {int(drawn): [int(v) for v in values] for drawn, *values in rows}
        nothing = [0] * len(wanted)
        of = self._choice
        share = Fraction(of.n_rest, of.n_drawn) if of.n_drawn else Fraction(1)
        certain, drawn = found.get(0, nothing), found.get(1, nothing)
        return [Fraction(a) + b * share for a, b in zip(certain, drawn, strict=True)]

    def _days(
        self, columns: Sequence[Column]
    ) -> dict[tuple[int, int], tuple[dict[int, int], dict[int, int]]]:
        """(window, day) → the sum of each column's influences by its place, and of rows by metric."""
        out: dict[tuple[int, int], tuple[dict[int, int], dict[int, int]]] = {}
        for i in sorted({c.partition for c in columns}):
            own = [(k, c) for k, c in enumerate(columns) if c.partition == i]
            metrics = sorted({c.metric for _, c in own})
            sums = ", ".join(f"sum({self._influence(k, c, 's', 'x')})" for k, c in own)
            counts = ", ".join(f"sum(s.n{m})" for m in metrics)
            for win, day, *values in self._engine.rows(
                f"SELECT s.win, s.day, {sums}, {counts} FROM consequence_sums_{i} s "
                f"JOIN consequence_influences_{i} x ON s.cell = x.cell AND s.win = x.win "
                "GROUP BY s.win, s.day"
            ):
                sums_of, rows_of = out.setdefault((int(win), int(day)), ({}, {}))
                for (k, _), value in zip(own, values, strict=False):
                    sums_of[k] = int(value)
                for m, value in zip(metrics, values[len(own) :], strict=True):
                    rows_of[m] = int(value)
        return out
