"""Rows by the values of a few columns: the largest groups, and all others as one.

Each column's kept values have a code in a small table that rows are joined with; the group of a row is
told by its codes, so that no text of the telemetry becomes part of a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.telemetry.engine import Engine
from analysis.telemetry.sql import identifier

MAX_GROUPS = 20
_SIZES = "group_sizes"

Values = tuple[str | None, ...]


@dataclass(frozen=True)
class Group:
    """The rows with these values, None where one is unknown; `values` is None for all other rows.

    n_merged: combinations of values in it: 1, but for all others.
    """

    values: Values | None
    n_baseline: int
    n_candidate: int
    n_merged: int = 1


@dataclass(frozen=True)
class Grouping:
    """Groups in order, all others last where there are any.

    code: the place of a row's group as an expression over `fact` f with `joins`; −1 for values that no
    row in the windows has, where all of theirs are among the groups.
    """

    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    code: str
    joins: str


@contextmanager
def grouping(
    engine: Engine, columns: Sequence[str], max_groups: int = MAX_GROUPS
) -> Iterator[Grouping]:
    """The `max_groups` combinations of values with the most rows in both windows, largest candidate
    first. Which of equally many are taken, md5 says, the same way in every engine."""
    groups = _largest(engine, columns, max_groups)
    tables = [f"group_values_{i}" for i in range(len(columns))]
    try:
        code, joins = _coded(engine, columns, groups)
        yield Grouping(tuple(columns), groups, code, joins)
    finally:
        engine.drop(*tables)


def _largest(engine: Engine, columns: Sequence[str], max_groups: int) -> tuple[Group, ...]:
    texts = [f"CAST({identifier(c)} AS VARCHAR) AS g{i}" for i, c in enumerate(columns)]
    keys = [f"g{i}" for i in range(len(columns))]
    by = ", ".join(str(i + 1) for i in range(len(columns)))
    engine.create(
        _SIZES,
        f"SELECT {', '.join(texts)}, sum(CASE WHEN win = 0 THEN 1 ELSE 0 END) AS n0, "
        f"sum(CASE WHEN win = 1 THEN 1 ELSE 0 END) AS n1 FROM fact WHERE win IS NOT NULL GROUP BY {by}",
    )
    draw = " || ".join(f"coalesce(md5({k}), '-')" for k in keys)
    found = engine.rows(
        f"SELECT {', '.join(keys)}, n0, n1 FROM {_SIZES} "
        f"ORDER BY n0 + n1 DESC, {draw} LIMIT {max_groups}"
    )
    n, n0, n1 = (
        int(v or 0) for v in engine.row(f"SELECT count(*), sum(n0), sum(n1) FROM {_SIZES}")
    )
    engine.drop(_SIZES)
    kept = [
        Group(tuple(None if v is None else str(v) for v in values), int(old), int(new))
        for *values, old, new in found
    ]
    kept.sort(key=lambda g: (-g.n_candidate, -g.n_baseline, tuple(map(_order, g.values or ()))))
    if n > len(kept):
        old, new = sum(g.n_baseline for g in kept), sum(g.n_candidate for g in kept)
        kept.append(Group(None, n0 - old, n1 - new, n - len(kept)))
    return tuple(kept)


def _order(value: str | None) -> tuple[bool, str]:
    return value is None, value or ""


def _coded(engine: Engine, columns: Sequence[str], groups: Sequence[Group]) -> tuple[str, str]:
    """Makes the tables of values; the code of a row, and the joins that it needs."""
    codes, joins, places = [], [], []
    for i, column in enumerate(columns):
        own = sorted({g.values[i] for g in groups if g.values is not None} - {None}, key=str)
        engine.put(
            f"group_values_{i}",
            pd.DataFrame(
                {
                    f"group_value_{i}": pd.array(own, dtype="string"),
                    f"group_code_{i}": np.arange(len(own), dtype=np.int64),
                }
            ),
        )
        held = f"f.{identifier(column)}"
        unknown, other = len(own), len(own) + 1
        codes.append(
            f"coalesce(v{i}.group_code_{i}, CASE WHEN {held} IS NULL THEN {unknown} ELSE {other} END)"
        )
        joins.append(
            f"LEFT JOIN group_values_{i} AS v{i} ON CAST({held} AS VARCHAR) = v{i}.group_value_{i}"
        )
        places.append({value: place for place, value in enumerate([*own, None])})
    size = max(len(own) for own in places) + 1
    packed = " + ".join(f"{size**i} * {code}" for i, code in enumerate(codes))
    cases = " ".join(
        f"WHEN {sum(size**i * places[i][v] for i, v in enumerate(g.values))} THEN {at}"
        for at, g in enumerate(groups)
        if g.values is not None
    )
    rest = len(groups) - 1 if groups and groups[-1].values is None else -1
    return (f"CASE {packed} {cases} ELSE {rest} END" if cases else str(rest)), " ".join(joins)
