"""All slices to depth 3 of 8 dimensions: counts, sums, and their second moments over users.

Rows are reduced once to cells of user × window × dimensions. The square of a user's sum within a
slice is a sum over pairs of its cells, and a pair lies in the slice where both do: so each pair is
reduced to what its cells have in common, and the slices add up from these few meets. A dimension is
six bits of a word for its value, and above them one that marks where two cells differ.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import duckdb
import numpy as np
from scipy import sparse

from benchmarks.scale_peers.floor_read import DIMENSIONS

MAX_DEPTH, MIN_SUPPORT = 3, 60
BITS = 7
VALUES = sum(63 << BITS * i for i in range(len(DIMENSIONS)))
MARKS = sum(64 << BITS * i for i in range(len(DIMENSIONS)))
WINDOW = BITS * len(DIMENSIONS)  # a bit for the first cell's window, and one where two differ
# A cell's sums: n and y of failures; n of breaches and of cost; y of both.
NF, F, N, B, C = "nf", "f", "n", "b", "c"
PAIRS = ((NF, NF), (F, F), (NF, F), (F, NF), (N, N), (B, B), (N, B), (B, N), (C, C), (N, C), (C, N))


@dataclass(frozen=True)
class Slices:
    """codes: (K, 8), −1 where free. sums[name]: (K, 2) by window, of `NF` to `C`; moments[a + b]:
    (K, 2), Σ ab over users; cross[a + b]: (K,), Σ a of the baseline · b of the candidate. values: of
    each dimension."""

    codes: np.ndarray
    sums: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    cross: dict[str, np.ndarray]
    values: tuple[tuple[str, ...], ...]


def slices(con: duckdb.DuckDBPyConnection) -> Slices:
    """Every slice with support in a window."""
    values = tuple(
        tuple(con.execute(f"SELECT unnest(enum_range(NULL::{d}_enum))").fetchnumpy().popitem()[1])
        for d in DIMENSIONS
    )
    word = " + ".join(f"enum_code({d})::BIGINT * {1 << BITS * i}" for i, d in enumerate(DIMENSIONS))
    con.execute(
        f"CREATE TEMP TABLE cells AS SELECT usr, {word} + win::BIGINT * {1 << WINDOW} AS k, "
        "count(failure)::INTEGER AS nf, count(*) FILTER (failure)::INTEGER AS f, count(*)::INTEGER AS n, "
        "count(*) FILTER (breach)::INTEGER AS b, sum(cost)::DOUBLE AS c FROM fact WHERE win IS NOT NULL "
        "GROUP BY 1, 2 ORDER BY 1"
    )
    whole = con.execute(
        "SELECT k, sum(nf)::DOUBLE AS nf, sum(f)::DOUBLE AS f, sum(n)::DOUBLE AS n, "
        f"sum(b)::DOUBLE AS b, sum(c) AS c, {_products('a', 'a')} FROM cells a GROUP BY 1"
    ).fetchnumpy()
    meets = con.execute(
        f"WITH pairs AS (SELECT xor(a.k, b.k) AS x, a.k AS k, {_columns()} "
        "FROM cells a JOIN cells b ON a.usr = b.usr AND a.k < b.k), "
        f"marked AS (SELECT *, ((x & {VALUES}) + {VALUES}) & {MARKS} AS m FROM pairs) "
        f"SELECT ((k & ~(m - (m >> 6))) | m) + (x >> {WINDOW}) * {2 << WINDOW} AS k, "
        f"{_products('p', 'q', of_pairs=True)} FROM marked GROUP BY 1"
    ).fetchnumpy()
    con.execute("DROP TABLE cells")
    groups = _groups(whole, [len(v) for v in values])
    return _added(groups, whole, meets, values)


def _columns() -> str:
    names = (NF, F, N, B, C)
    return ", ".join(
        f"{side}.{c} AS {to}_{c}" for side, to in (("a", "p"), ("b", "q")) for c in names
    )


def _products(a: str, b: str, *, of_pairs: bool = False) -> str:
    dot = "_" if of_pairs else "."
    return ", ".join(f"sum({a}{dot}{x}::DOUBLE * {b}{dot}{y}) AS {x}_{y}" for x, y in PAIRS)


def _codes(words: np.ndarray) -> np.ndarray:
    """(8, rows): the values, −1 where two cells differ."""
    fields = np.stack([(words >> BITS * i) & 127 for i in range(len(DIMENSIONS))])
    return np.where(fields >= 64, -1, fields).astype(np.int16)


@dataclass(frozen=True)
class _Group:
    """Dimensions, the place of each packed code among all slices (−1 without support)."""

    dimensions: tuple[int, ...]
    sizes: tuple[int, ...]
    place: np.ndarray

    def find(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows that lie in a slice of the group, and in which."""
        rows = np.flatnonzero((codes[list(self.dimensions)] >= 0).all(axis=0))
        places = self.place[_packed(codes[:, rows], self.dimensions, self.sizes)]
        known = places >= 0
        return rows[known], places[known]


def _packed(codes: np.ndarray, dimensions: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    key = np.zeros(codes.shape[1], dtype=np.int64)
    for dimension, size in zip(dimensions, sizes, strict=True):
        key = key * size + codes[dimension]
    return key


def _groups(whole: dict[str, np.ndarray], sizes: list[int]) -> list[_Group]:
    codes, window = _codes(whole["k"]), whole["k"] >> WINDOW
    out, first = [], 0
    for depth in range(1, MAX_DEPTH + 1):
        for dimensions in itertools.combinations(range(len(DIMENSIONS)), depth):
            own = tuple(sizes[d] for d in dimensions)
            key = _packed(codes, dimensions, own)
            place = np.full(int(np.prod(own)), -1)
            rows = [np.bincount(key, whole["n"] * (window == w), len(place)) for w in (0, 1)]
            enough = np.flatnonzero(np.max(rows, axis=0) >= MIN_SUPPORT)
            place[enough] = first + np.arange(len(enough))
            first += len(enough)
            out.append(_Group(dimensions, own, place))
    return out


def _added(
    groups: list[_Group],
    whole: dict[str, np.ndarray],
    meets: dict[str, np.ndarray],
    values: tuple[tuple[str, ...], ...],
) -> Slices:
    size = sum(int((g.place >= 0).sum()) for g in groups)
    codes = np.full((size, len(DIMENSIONS)), -1, dtype=np.int16)
    for group in groups:
        keys = np.flatnonzero(group.place >= 0)
        for dimension, of in zip(
            group.dimensions, np.unravel_index(keys, group.sizes), strict=True
        ):
            codes[group.place[keys], dimension] = of
    names = (NF, F, N, B, C)
    pairs = tuple(f"{x}_{y}" for x, y in PAIRS)
    sums = {name: np.zeros((size, 2)) for name in names}
    moments = {name: np.zeros((size, 2)) for name in pairs}
    window = whole["k"] >> WINDOW
    for win in (0, 1):
        found = _sums(groups, whole, window == win, (*names, *pairs), size)
        for i, name in enumerate(names):
            sums[name][:, win] += found[:, i]
        for i, name in enumerate(pairs):
            moments[name][:, win] += found[:, len(names) + i]
    window = meets["k"] >> WINDOW
    for win in (0, 1):
        found = _sums(groups, meets, window == win, pairs, size)
        for i, (x, y) in enumerate(PAIRS):
            moments[pairs[i]][:, win] += found[:, i] + found[:, pairs.index(f"{y}_{x}")]
    between = _sums(groups, meets, window == 2, pairs, size)
    return Slices(codes, sums, moments, {p: between[:, i] for i, p in enumerate(pairs)}, values)


def _sums(
    groups: list[_Group],
    frame: dict[str, np.ndarray],
    chosen: np.ndarray,
    names: tuple[str, ...],
    size: int,
) -> np.ndarray:
    """(K, names): chosen rows added to every slice in which they lie."""
    codes = _codes(frame["k"][chosen])
    matrix = np.stack([frame[name][chosen] for name in names], axis=1)
    out = np.zeros((size, len(names)))
    for group in groups:
        rows, places = group.find(codes)
        shape = (size, len(rows))
        members = sparse.csc_array((np.ones(len(rows)), places, np.arange(len(rows) + 1)), shape)
        out += members @ matrix[rows]
    return out
