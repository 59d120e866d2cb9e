"""What the rows of a few slices hold: by day, by a text column, and examples of them.

Each value of a dimension has one bit for every slice that takes rows with it; the slices of a row are the
bits that all its values share. So a few slices are looked at in three scans, however many they are, and no text
of the telemetry becomes part of a statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.moments import Metric
from analysis.telemetry.slice_codes import Dimension
from analysis.telemetry.sql import identifier

MAX_SLICES = 60  # bits of a word
_TEXTS = "slice_texts"

Days = tuple[tuple[int, int, int, int], ...]
"""(window, day, n, y), in order."""


@dataclass(frozen=True)
class Asked:
    """A slice, and by what its rows are bad. codes: (D,) of the dimensions' values, −1 where free."""

    codes: np.ndarray
    metric: Metric


@dataclass(frozen=True)
class TextCount:
    """Bad rows of the candidate with one text (None: without): in the slice, and in the whole window."""

    text: str | None
    n_slice: int
    n_window: int


Texts = tuple[tuple[TextCount, ...], int, int]
"""The most frequent texts of a slice, its bad rows, and those of the window."""
_NO_TEXTS: Texts = ((), 0, 0)


@dataclass(frozen=True)
class SliceRows:
    """The rows of a slice.

    days: (window, day, n, y), in order, y and n those of the metric. texts: the most frequent ones of
    its bad rows in the candidate; n_bad, n_bad_window: bad rows in the slice and in the window, of which
    they are a part (0 where no column was asked for, and for means). examples: interaction ids of
    bad rows of the candidate, the first by md5; for means those of the largest values.
    """

    days: Days
    texts: tuple[TextCount, ...]
    n_bad: int
    n_bad_window: int
    examples: tuple[str, ...]


def slice_rows(
    engine: Engine,
    dimensions: Sequence[Dimension],
    asked: Sequence[Asked],
    column: str | None,
    n: int = 5,
) -> tuple[SliceRows, ...]:
    """The rows of each slice asked for, at most `MAX_SLICES`. column: of `fact`, for `texts`; n: texts and
    examples of each."""
    if not asked:
        return ()
    scan = _Scan(engine, dimensions, asked)
    try:
        days, least = scan.days(n)
        texts = [_NO_TEXTS] * len(asked) if column is None else scan.texts(column, n)
        examples = scan.examples(least, n)
    finally:
        scan.drop()
    return tuple(
        SliceRows(own_days, own_texts, bad, all_bad, own_examples)
        for own_days, (own_texts, bad, all_bad), own_examples in zip(
            days, texts, examples, strict=True
        )
    )


class _Scan:
    """Statements over the rows of the slices asked for, each slice a bit of `slices`."""

    def __init__(
        self, engine: Engine, dimensions: Sequence[Dimension], asked: Sequence[Asked]
    ) -> None:
        self._engine, self._asked = engine, asked
        # Of slices of one metric it is read once.
        self._metrics = list({a.metric.measures: a.metric for a in asked}.values())
        measures = [m.measures for m in self._metrics]
        self._metric = [measures.index(a.metric.measures) for a in asked]
        self._tables: list[str] = []
        flags, joins = self._flags(dimensions)
        totals = "".join(
            f", {m.denominator} AS n{i}, {m.numerator} AS y{i}" for i, m in enumerate(self._metrics)
        )
        self._select = f"SELECT f.win AS win, f.day AS day, {flags} AS slices{totals}"
        self._from = f"FROM fact AS f {joins} WHERE f.win IS NOT NULL"

    def _flags(self, dimensions: Sequence[Dimension]) -> tuple[str, str]:
        """The slices of a row of `fact` f, and the joins that this needs."""
        every = (1 << len(self._asked)) - 1
        flags, joins = [], []
        for index, dimension in enumerate(dimensions):
            if all(a.codes[index] < 0 for a in self._asked):
                continue
            held = [
                sum(1 << k for k, a in enumerate(self._asked) if a.codes[index] in (-1, code))
                for code in range(len(dimension.values))
            ]
            rest = sum(1 << k for k, a in enumerate(self._asked) if a.codes[index] < 0)
            if dimension.code is not None:
                codes = " ".join(f"WHEN {code} THEN {bits}" for code, bits in enumerate(held))
                flags.append(f"(CASE {dimension.code} {codes} ELSE {rest} END)")
                continue
            texts, column = dimension.joined, f"f.{identifier(dimension.name)}"
            unknown = str(held[-1] if dimension.values[-1:] == (None,) else rest)
            if dimension.rest is not None:
                others = held[dimension.rest]
                unknown = f"CASE WHEN {column} IS NULL THEN {unknown} ELSE {others} END"
            table = f"slice_flags_{index}"
            self._tables.append(table)
            self._engine.put(
                table,
                pd.DataFrame(
                    {
                        f"flag_value_{index}": pd.array(list(texts), dtype="string"),
                        f"flag_slices_{index}": np.array(held[: len(texts)], dtype=np.int64),
                    }
                ),
            )
            flags.append(f"coalesce(v{index}.flag_slices_{index}, {unknown})")
            joins.append(
                f"LEFT JOIN {table} AS v{index} "
                f"ON CAST({column} AS VARCHAR) = v{index}.flag_value_{index}"
            )
        return f"CAST({' & '.join(flags) or every} AS BIGINT)", " ".join(joins)

    def drop(self) -> None:
        self._engine.drop(*self._tables, _TEXTS)

    # ── by day ───────────────────────────────────────────────────────────────────────────

    def days(self, n: int) -> tuple[list[Days], list[int | None]]:
        """Of each slice (window, day, n, y); and of means a value that at least `n` rows of the candidate
        reach: of the largest by day and slices the n-th."""
        sums = "".join(
            f", coalesce(sum(n{i}), 0), coalesce(sum(y{i}), 0), "
            f"max(CASE WHEN win = 1 AND n{i} > 0 THEN y{i} END)"
            for i in range(len(self._metrics))
        )
        rows = self._engine.rows(
            f"SELECT win, day, slices{sums} FROM ({self._select} {self._from}) AS r "
            "WHERE slices <> 0 GROUP BY win, day, slices"
        )
        days: list[Days] = []
        least: list[int | None] = []
        for k, i in enumerate(self._metric):
            total: dict[tuple[int, int], list[int]] = {}
            largest = []
            for win, day, slices, *values in rows:
                if not int(slices) >> k & 1:
                    continue
                below, above, most = values[3 * i : 3 * i + 3]
                own = total.setdefault((int(win), int(day)), [0, 0])
                own[0] += int(below)
                own[1] += int(above)
                if most is not None:
                    largest.append(int(most))
            days.append(tuple((*at, n_, y_) for at, (n_, y_) in sorted(total.items()) if n_))
            largest.sort(reverse=True)
            least.append(largest[n - 1] if len(largest) >= n else None)
        return days, least

    # ── by a text column ─────────────────────────────────────────────────────────────────

    def texts(self, column: str, n: int) -> list[Texts]:
        """Of each slice the `n` most frequent texts of its bad rows in the candidate, equally frequent
        ones by md5; bad rows in the slice, and in the window."""
        rates = sorted({i for i in self._metric if self._metrics[i].scale == 1})
        if not rates:
            return [_NO_TEXTS] * len(self._asked)
        sums = ", ".join(f"sum(y{i}) AS y{i}" for i in rates)
        bad = " OR ".join(f"y{i} > 0" for i in rates)
        self._engine.create(
            _TEXTS,
            f"SELECT slices, v, {sums} FROM ({self._select}, CAST(f.{identifier(column)} AS VARCHAR) "
            f"AS v {self._from} AND f.win = 1) AS r WHERE {bad} GROUP BY slices, v",
        )
        totals = self._engine.rows(
            f"SELECT slices, {', '.join(f'sum(y{i})' for i in rates)} FROM {_TEXTS} GROUP BY slices"
        )
        parts = [
            f"SELECT {k} AS k, t{k}.v AS v, t{k}.own AS own, t{k}.held AS held FROM (SELECT v, own, held "
            f"FROM (SELECT v, sum(CASE WHEN (slices & {1 << k}) <> 0 THEN y{i} ELSE 0 END) AS own, "
            f"sum(y{i}) AS held FROM {_TEXTS} GROUP BY v) AS s{k} WHERE own > 0 "
            f"ORDER BY own DESC, coalesce(md5(v), '-') LIMIT {n}) AS t{k}"
            for k, i in enumerate(self._metric)
            if i in rates
        ]
        found: list[list[TextCount]] = [[] for _ in self._asked]
        for k, text, own, held in self._engine.rows(" UNION ALL ".join(parts)):
            found[int(k)].append(TextCount(text, int(own), int(held)))
        out: list[Texts] = []
        for k, i in enumerate(self._metric):
            if i not in rates:
                out.append(_NO_TEXTS)
                continue
            place = 1 + rates.index(i)
            own = sum(int(row[place]) for row in totals if int(row[0]) >> k & 1)
            found[k].sort(key=lambda t: (-t.n_slice, t.text is not None, t.text or ""))
            out.append((tuple(found[k]), own, sum(int(row[place]) for row in totals)))
        return out

    # ── examples ─────────────────────────────────────────────────────────────────────────

    def examples(self, least: Sequence[int | None], n: int) -> list[tuple[str, ...]]:
        """Of each slice `n` interaction ids of the candidate: bad rows by md5, of means the largest values.

        least: a value that at least `n` rows of a slice reach, where one is known.
        """
        parts = []
        for i, metric in enumerate(self._metrics):
            own = [k for k, at in enumerate(self._metric) if at == i]
            bits = sum(1 << k for k in own)
            if metric.scale == 1:
                where, order = f"(slices & {bits}) <> 0 AND y{i} > 0", ""
            else:
                where = " OR ".join(
                    f"((slices & {1 << k}) <> 0"
                    + ("" if least[k] is None else f" AND y{i} >= {least[k]}")
                    + ")"
                    for k in own
                )
                where, order = f"n{i} > 0 AND ({where})", f"y{i} DESC NULLS LAST, "
            ranked = (
                f"SELECT slices & {bits} AS slices, id, md5(id) AS draw, y{i} AS y, row_number() OVER "
                f"(PARTITION BY slices & {bits} ORDER BY {order}md5(id) NULLS FIRST) AS place "
                f"FROM ({self._select}, f.interaction_id AS id {self._from} AND f.win = 1) AS r{i} "
                f"WHERE {where}"
            )
            parts.append(
                f"SELECT {i} AS metric, p{i}.slices AS slices, p{i}.id AS id, p{i}.draw AS draw, "
                f"p{i}.y AS y FROM ({ranked}) AS p{i} WHERE p{i}.place <= {n}"
            )
        rows = self._engine.rows(" UNION ALL ".join(parts))
        out = []
        for k, i in enumerate(self._metric):
            mean = self._metrics[i].scale != 1
            own_rows = [
                (-int(y) if mean else 0, str(draw), str(id_))
                for metric, slices, id_, draw, y in rows
                if int(metric) == i and int(slices) >> k & 1
            ]
            out.append(tuple(id_ for *_, id_ in sorted(own_rows)[:n]))
        return out


__all__ = ["MAX_SLICES", "Asked", "SliceRows", "TextCount", "slice_rows"]
