"""Cuts a column into bins in the engine, and reduces it to counts and second moments.

The bins come from the baseline alone: deciles of a number (ties merged), the categories of a text.
Missing values are a bin of their own; so are categories that the baseline lacks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb
import numpy as np

from analysis.stats.divergence import BinMoments, Holders, occupied
from analysis.telemetry.sql import identifier

Kind = Literal["numeric", "categorical"]

MAX_CATEGORIES = 50
MIN_CATEGORY_SHARE = 0.001
MIN_CATEGORY_ROWS = 5
MAX_DISCRETE_VALUES = 10
N_QUANTILES = 20  # deciles, and the medians between them
MANY_HOLDERS = 2_000  # more holders change no p-value
MAX_LABEL = 60

OTHER, ABSENT, MISSING = "(other)", "(not in the baseline)", "(missing)"
_NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
            "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip


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


def is_numeric(column_type: str) -> bool:
    """Whether a DuckDB type holds numbers."""
    return column_type.upper().startswith(_NUMERIC)


def is_moment(column_type: str) -> bool:
    """Whether a DuckDB type holds dates or times."""
    return column_type.upper().startswith(("TIMESTAMP", "DATE", "TIME", "INTERVAL"))


def natural_type(con: duckdb.DuckDBPyConnection, column: str) -> str:
    """What the values of an undeclared column of `fact` are: the same for CSV and Parquet.

    The contract gives such a column no type, so its text decides: DOUBLE, BOOLEAN or TIMESTAMP
    where every value reads as one, else VARCHAR.
    """
    text = f"trim(CAST({identifier(column)} AS VARCHAR))"
    row = con.execute(
        f"""
        SELECT count({text}) AS n, count(TRY_CAST({text} AS DOUBLE)),
               count(*) FILTER (lower({text}) IN ('true', 'false')),
               count(TRY_CAST({text} AS TIMESTAMP))
        FROM fact
        """
    ).fetchone()
    assert row is not None
    n, numbers, booleans, moments = row
    for found, name in ((numbers, "DOUBLE"), (booleans, "BOOLEAN"), (moments, "TIMESTAMP")):
        if n and found == n:
            return name
    return "VARCHAR"


def bin_column(
    con: duckdb.DuckDBPyConnection, column: str, column_type: str, where: str = "true"
) -> BinnedColumn:
    """The bins of a column of `fact`, over the rows for which `where` holds.

    column_type: the DuckDB type as which its values are read.
    """
    scope = f"win IS NOT NULL AND weight > 0 AND ({where})"
    text = f"CAST({identifier(column)} AS VARCHAR)"
    if column_type == "BOOLEAN":
        text = f"CAST(TRY_CAST({identifier(column)} AS BOOLEAN) AS VARCHAR)"
    try:
        if is_numeric(column_type):
            # Adding zero turns −0.0 into 0.0; what is not finite is as good as missing.
            number = f"TRY_CAST({identifier(column)} AS DOUBLE)"
            number = f"(CASE WHEN isfinite({number}) THEN {number} + 0.0 END)"
            edges, points = _edges(con, number, scope)
            n_values = len(points)
            if n_values <= MAX_DISCRETE_VALUES:
                n_values = _n_distinct(con, number, scope)
            if n_values > MAX_DISCRETE_VALUES:
                return _numeric(con, column, number, scope, edges, points)
            text = f"CAST({number} AS VARCHAR)"
        return _categorical(con, column, text, scope, in_order=is_numeric(column_type))
    finally:
        for table in ("drift_categories", "drift_rows", "drift_cells"):
            con.execute(f"DROP TABLE IF EXISTS {table}")


# ── numbers ──────────────────────────────────────────────────────────────────────────────


def _edges(
    con: duckdb.DuckDBPyConnection, number: str, scope: str
) -> tuple[list[float], list[float]]:
    """Distinct baseline deciles, and all distinct twentieths; exact order statistics."""
    shares = [i / N_QUANTILES for i in range(1, N_QUANTILES)]
    row = con.execute(
        f"SELECT quantile_disc({number}, {shares!r}) FROM fact WHERE win = 0 AND {scope}"
    ).fetchone()
    values = [] if row is None or row[0] is None else [float(v) for v in row[0]]
    return sorted(set(values[1::2])), sorted(set(values))


def _n_distinct(con: duckdb.DuckDBPyConnection, number: str, scope: str) -> int:
    return _integer(con, f"SELECT count(DISTINCT {number}) FROM fact WHERE win = 0 AND {scope}")


def _numeric(
    con: duckdb.DuckDBPyConnection,
    column: str,
    number: str,
    scope: str,
    edges: Sequence[float],
    points: Sequence[float],
) -> BinnedColumn:
    """Bins (−∞, e₁], (e₁, e₂], …, (e_last, ∞), missing."""
    parameters = {f"edge_{i}": edge for i, edge in enumerate(edges)}
    above = " + ".join(f"CAST({number} > ${name} AS INTEGER)" for name in parameters)
    missing = len(edges) + 1
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE drift_rows AS
        SELECT cluster, day, win, weight, coalesce({above}, {missing}) AS bin
        FROM fact WHERE {scope}
        """,
        parameters,
    )
    shown = _shown(edges)
    labels = [f"≤ {shown[0]}"]
    labels += [f"{low} – {high}" for low, high in itertools.pairwise(shown)]
    labels += [f"> {shown[-1]}", MISSING]
    return _reduce(con, column, "numeric", labels, "bin", _representatives(edges, points))


def _representatives(edges: Sequence[float], points: Sequence[float]) -> list[float]:
    """The middle one of the baseline's twentieths in each bin; the bin's lower edge without any."""
    values = np.asarray(points)
    bins = np.searchsorted(np.asarray(edges), values, side="left")
    found = []
    for index in range(len(edges) + 1):
        inside = values[bins == index]
        found.append(float(inside[(len(inside) - 1) // 2]) if len(inside) else edges[index - 1])
    return found


# ── categories ───────────────────────────────────────────────────────────────────────────


def _categorical(
    con: duckdb.DuckDBPyConnection, column: str, text: str, scope: str, *, in_order: bool
) -> BinnedColumn:
    """A bin a frequent baseline category, then the other ones, those that it lacks, missing.

    Beyond `MAX_CATEGORIES` baseline categories the vocabulary is open: new values are expected
    then, and count among the other ones.
    """
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE drift_categories AS
        SELECT {text} AS category, count(*) FILTER (win = 0) AS n FROM fact
        WHERE {scope} AND {text} IS NOT NULL GROUP BY category
        """
    )
    known = _integer(con, "SELECT count(*) FROM drift_categories WHERE n > 0")
    total = _integer(con, "SELECT coalesce(sum(n), 0) FROM drift_categories")
    least = max(MIN_CATEGORY_ROWS, MIN_CATEGORY_SHARE * total)
    order = "TRY_CAST(category AS DOUBLE), category" if in_order else "n DESC, category"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE drift_categories AS
        WITH kept AS (SELECT category, n FROM drift_categories WHERE n >= $least
                      ORDER BY n DESC, category LIMIT {MAX_CATEGORIES}),
        numbered AS (SELECT category, row_number() OVER (ORDER BY {order}) - 1 AS bin FROM kept)
        SELECT c.category, c.n, k.bin FROM drift_categories c LEFT JOIN numbered k USING (category)
        """,
        {"least": least},
    )
    names = con.execute(
        "SELECT category FROM drift_categories WHERE bin IS NOT NULL ORDER BY bin"
    ).fetchall()
    labels = [_label(str(name), in_order) for (name,) in names]
    other = len(labels)
    absent = other + 1 if known <= MAX_CATEGORIES else other
    missing = other + 2
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE drift_rows AS
        SELECT f.cluster, f.day, f.win, f.weight, f.category,
               CAST(CASE WHEN f.category IS NULL THEN {missing} WHEN d.bin IS NOT NULL THEN d.bin
                         WHEN d.n > 0 THEN {other} ELSE {absent} END AS INTEGER) AS bin
        FROM (SELECT cluster, day, win, weight, {text} AS category FROM fact WHERE {scope}) f
        LEFT JOIN drift_categories d ON f.category = d.category
        """
    )
    return _reduce(con, column, "categorical", [*labels, OTHER, ABSENT, MISSING], "category")


# ── reductions of either ─────────────────────────────────────────────────────────────────


def _reduce(
    con: duckdb.DuckDBPyConnection,
    column: str,
    kind: Kind,
    labels: Sequence[str],
    key: str,
    points: Sequence[float] | None = None,
) -> BinnedColumn:
    """Counts and moments of `drift_rows`, bins that are empty in both windows left out."""
    size = len(labels)
    per_day = con.execute(
        "SELECT win, day, bin, sum(weight), count(*) FROM drift_rows GROUP BY win, day, bin"
    ).fetchall()
    rows = np.zeros((2, size), np.int64)
    for win, _, index, _, n in per_day:
        rows[win, index] += n
    keep = [int(i) for i in np.flatnonzero(rows.sum(axis=0) > 0)]
    missing = tuple(float(rows[w, -1] / rows[w].sum()) if rows[w].sum() else None for w in (0, 1))
    days = _day_moments(per_day, size)
    clusters = _cluster_moments(con, size)
    lacks = bool(((rows[0] == 0) & (rows[1] > 0)).any()) or key == "category"
    return BinnedColumn(
        name=column,
        kind=kind,
        labels=tuple(labels[i] for i in keep),
        points=None if points is None else tuple((*points, math.nan)[i] for i in keep),
        clusters=occupied(clusters),
        days=occupied(days),
        rows=(int(rows[0].sum()), int(rows[1].sum())),
        missing=(missing[0], missing[1]),
        holders=_holders(con, key) if lacks and rows[0].sum() and _any_absent(con, key) else (),
    )


def _day_moments(rows: Sequence[tuple[int, int, int, int, int]], size: int) -> BinMoments:
    units = sorted({(win, day) for win, day, *_ in rows})
    position = {unit: i for i, unit in enumerate(units)}
    counts = np.zeros((len(units), 2 * size))
    for win, day, index, weight, _ in rows:
        counts[position[win, day], win * size + index] = weight
    second = np.einsum("ij,ik->jk", counts, counts)
    n_days = tuple(sum(win == w for win, _ in units) for w in (0, 1))
    return BinMoments(
        counts.sum(axis=0).reshape(2, size), second, (n_days[0], n_days[1], len(units))
    )


def _cluster_moments(con: duckdb.DuckDBPyConnection, size: int) -> BinMoments:
    """Σ k kᵀ over clusters: pairs of the cells that a cluster has, not of its rows."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE drift_cells AS
        SELECT cluster, win * {size} + bin AS cell, CAST(sum(weight) AS BIGINT) AS k
        FROM drift_rows GROUP BY cluster, win, bin
        """
    )
    pairs = con.execute(
        """
        SELECT a.cell, b.cell, sum(a.k * b.k) FROM drift_cells a JOIN drift_cells b
        ON a.cluster = b.cluster AND a.cell <= b.cell GROUP BY a.cell, b.cell
        """
    ).fetchall()
    second = np.zeros((2 * size, 2 * size))
    for first, last, total in pairs:
        second[first, last] = second[last, first] = float(total)
    counts = np.zeros(2 * size)
    for cell, total in con.execute("SELECT cell, sum(k) FROM drift_cells GROUP BY cell").fetchall():
        counts[cell] = float(total)
    units = con.execute(
        f"""
        SELECT count(*) FILTER (old), count(*) FILTER (new), count(*)
        FROM (SELECT bool_or(cell < {size}) AS old, bool_or(cell >= {size}) AS new
              FROM drift_cells GROUP BY cluster)
        """
    ).fetchone()
    assert units is not None
    return BinMoments(counts.reshape(2, size), second, (units[0], units[1], units[2]))


def _any_absent(con: duckdb.DuckDBPyConnection, key: str) -> bool:
    return bool(
        _integer(
            con,
            f"""
            SELECT count(*) FROM (SELECT {key} FROM drift_rows GROUP BY {key}
                                  HAVING NOT bool_or(win = 0))
            """,
        )
    )


def _holders(con: duckdb.DuckDBPyConnection, key: str) -> tuple[Holders, ...]:
    """Categories (bins of a number) by how many clusters and days hold them."""
    found = con.execute(
        f"""
        WITH sizes AS (
            SELECT {key}, count(DISTINCT (cluster, win)) AS clusters,
                   count(DISTINCT (day, win)) AS days, NOT bool_or(win = 0) AS absent
            FROM drift_rows GROUP BY {key}
        )
        SELECT least(clusters, {MANY_HOLDERS}) AS c, days, absent, count(*) FROM sizes
        GROUP BY c, days, absent ORDER BY c, days, absent
        """
    ).fetchall()
    return tuple(Holders(*row) for row in found)


def _integer(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _shown(edges: Sequence[float]) -> list[str]:
    """The edges with as few digits as tell them apart, at least four."""
    for digits in range(4, 17):
        shown = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(shown)) == len(shown):
            return shown
    return [repr(edge) for edge in edges]


def _label(text: str, number: bool) -> str:
    if number:
        return f"{float(text):.12g}"
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
