"""Second and cross moments of all slices at once, as exact integers.

A cluster's square within a slice is a sum over pairs of its cells, (Σ yᵢ)² = Σᵢ Σⱼ yᵢ yⱼ, and a pair
lies in a slice where both its cells do: where the slice fixes only dimensions on which they agree.
So every pair is reduced once to what its cells have in common, their *meet*, and each slice adds up
the few distinct meets below it. A cluster with many cells has too many pairs: its cells are grouped
by cluster for one combination of dimensions after another. Both ways give the same integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from analysis.telemetry.engine import Engine
from analysis.telemetry.slice_codes import BETWEEN, WINDOW, WINDOW_MASK, Coding

LIMB_BITS = 36
# Sums below this need one column of 64 bits; above it two, of `LIMB_BITS` and the rest.
_ONE_LIMB = 1 << 62
_TWO_LIMBS = 1 << (62 + LIMB_BITS)
_EXPANDED_ROWS = 4_000_000
# So many codes of a combination are looked up in a table, more by search.
DENSE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What a cell holds: the columns n0, n1, … of distinct denominators, and y0, y1, … of metrics.

    denominator: of each metric, the place of its n. totals_n, totals_y: bounds of the sums over all
    rows of |n| and |y|. unit_bits: y stands in units of 2^unit_bits, where 62 bits are too few for
    its total. largest_n, largest_y: of a cluster.
    """

    denominator: tuple[int, ...]
    totals_n: tuple[int, ...]
    totals_y: tuple[int, ...]
    unit_bits: tuple[int, ...]
    largest_n: tuple[int, ...] = ()
    largest_y: tuple[int, ...] = ()

    @property
    def n_metrics(self) -> int:
        return len(self.denominator)

    @property
    def columns(self) -> tuple[str, ...]:
        n = tuple(f"n{j}" for j in range(len(self.totals_n)))
        return (*n, *(f"y{m}" for m in range(self.n_metrics)))

    def lost_bits(self, metric: int) -> int:
        """How many of the last bits of y its squares do without: where they exceed 98 bits."""
        excess = (self.largest_y[metric] * self.totals_y[metric]).bit_length()
        return max(0, -(-(excess - _TWO_LIMBS.bit_length() + 1) // 2))

    def bound_nn(self, j: int) -> int:
        return self.largest_n[j] * self.totals_n[j]

    def bound_ny(self, metric: int) -> int:
        return self.largest_n[self.denominator[metric]] * self.totals_y[metric]

    def bound_yy(self, metric: int) -> int:
        return self.largest_y[metric] * self.totals_y[metric] >> 2 * self.lost_bits(metric)


@dataclass
class Totals:
    """Exact sums of K slices by name: value = high · 2^`LIMB_BITS` + low, arrays of shape (K,)."""

    size: int
    low: dict[str, np.ndarray] = field(default_factory=dict)
    high: dict[str, np.ndarray] = field(default_factory=dict)

    def floats(self, name: str, factor: int = 1) -> np.ndarray:
        """The sums, correctly rounded."""
        low = self.low.get(name, np.zeros(self.size, dtype=np.int64))
        high = self.high.get(name)
        if high is None and factor == 1:
            return low.astype(float)
        exact = low.astype(object) if high is None else high.astype(object) * (1 << LIMB_BITS) + low
        return (exact * factor).astype(float)


@dataclass(frozen=True)
class Groups:
    """The combinations of dimensions, and the slices with support of each.

    groups: dimensions of each. keys: of each, its slices' packed codes, ascending; first: the place
    of its first slice among all.
    """

    coding: Coding
    groups: tuple[tuple[int, ...], ...]
    keys: tuple[np.ndarray, ...]
    first: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(len(k) for k in self.keys)

    def packed(self, codes: np.ndarray, group: Sequence[int]) -> tuple[np.ndarray, int]:
        """Codes (D, rows) of a group's dimensions as one number, and how many there can be."""
        key, size = np.zeros(codes.shape[1], dtype=np.int64), 1
        for index in group:
            count = len(self.coding.dimensions[index].values)
            key, size = key * count + codes[index], size * count
        return key, size

    def find(self, which: int, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of codes (D, rows) that lie in a slice of a group, and the places of these in it."""
        group, keys = self.groups[which], self.keys[which]
        packed, size = self.packed(codes, group)
        inside = codes[group[0]] >= 0
        for index in group[1:]:
            inside &= codes[index] >= 0
        rows = np.flatnonzero(inside)
        packed = packed[rows]
        if size <= DENSE:
            place = np.full(size, -1, dtype=np.int64)
            place[keys] = np.arange(len(keys))
            at = place[packed]
        else:
            at = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
            at = np.where(keys[at] == packed, at, -1)
        known = at >= 0
        return rows[known], at[known]


# ── sums as the engine writes them ───────────────────────────────────────────────────────


def products(pairs: Iterable[tuple[str, str, str, int]]) -> tuple[list[str], list[str]]:
    """(name, a, b, bound): selects of Σ ab for an inner statement, and of its limbs for an outer."""
    inner, outer = [], []
    for name, a, b, bound in pairs:
        if bound < _ONE_LIMB:
            inner.append(f"CAST(sum(CAST({a} AS BIGINT) * {b}) AS BIGINT) AS {name}")
            outer.append(f"q.{name}")
            continue
        inner.append(f"CAST(sum(CAST({a} AS HUGEINT) * {b}) AS HUGEINT) AS {name}")
        # Whatever a rounding does to the high limb, the low one makes good.
        high = f"CAST(floor(CAST(q.{name} AS DOUBLE) / {1 << LIMB_BITS}.0) AS BIGINT)"
        low = f"q.{name} - CAST({high} AS HUGEINT) * {1 << LIMB_BITS}"
        outer += [f"{high} AS {name}_high", f"CAST({low} AS BIGINT) AS {name}_low"]
    return inner, outer


def shortened(value: str, lost: int) -> str:
    """An amount without its last bits."""
    if not lost:
        return value
    return f"CAST(floor(CAST({value} AS DOUBLE) / {1 << lost}.0) AS BIGINT)"


def _limbs(frame: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    if name in frame:
        return frame[name].to_numpy(dtype=np.int64), None
    high, low = frame[f"{name}_high"].to_numpy(), frame[f"{name}_low"].to_numpy()
    return low & ((1 << LIMB_BITS) - 1), high + (low >> LIMB_BITS)


def _select(inner: Sequence[str], outer: Sequence[str], keys: Sequence[str], source: str) -> str:
    ordinals = ", ".join(str(place + 1) for place in range(len(keys)))
    names = [key.rsplit(" AS ", 1)[1] for key in keys]
    return (
        f"SELECT {', '.join([*(f'q.{n}' for n in names), *outer])} FROM "
        f"(SELECT {', '.join([*keys, *inner])} FROM {source} GROUP BY {ordinals}) AS q"
    )


# ── rolling up ───────────────────────────────────────────────────────────────────────────


def add_to_slices(
    totals: Totals,
    groups: Groups,
    codes: np.ndarray,
    values: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    only: Sequence[np.ndarray] | None = None,
) -> None:
    """Adds rows to every slice in which they lie; codes −1 lie in no slice that fixes the dimension.

    values: (low, high) limbs of each sum. only: for each group the rows that are meant for it.
    """
    names = [(name, "low") for name in values]
    names += [(name, "high") for name, limbs in values.items() if limbs[1] is not None]
    columns = [values[n][0 if limb == "low" else 1] for n, limb in names]
    matrix = np.stack([np.asarray(c, dtype=np.int64) for c in columns], axis=1)
    across = np.ascontiguousarray(codes.T)
    sums = np.zeros((groups.size, len(names)), dtype=np.int64)
    for which in range(len(groups.groups)):
        if not len(groups.keys[which]):
            continue
        chosen = None if only is None else only[which]
        rows, places = groups.find(which, across if chosen is None else across[:, chosen])
        if not len(rows):
            continue
        if chosen is not None:
            rows = chosen[rows]
        first = groups.first[which]
        shape = (len(groups.keys[which]), len(rows))
        ones = np.ones(len(rows), dtype=np.int64)
        # One entry a row of the data: a transposed sparse matrix needs no sorting.
        members = sparse.csc_array((ones, places, np.arange(len(rows) + 1)), shape=shape)
        sums[first : first + shape[0]] += members @ matrix[rows]
    for place, (name, limb) in enumerate(names):
        held = totals.low if limb == "low" else totals.high
        held[name] = held.get(name, 0) + sums[:, place]


def add_light(
    engine: Engine, totals: Totals, groups: Groups, layout: Layout, tables: Sequence[str]
) -> None:
    """Second and cross moments of clusters with few cells, by the meets of their pairs."""
    coding = groups.coding
    for table in tables:
        frame = engine.frame(_diagonal(coding, layout, table))
        for win, part in _by_window(frame):
            if win is not None:
                add_to_slices(
                    totals, groups, _codes(coding, part), _own(part, layout, win, twice=False)
                )
        frame = engine.frame(_meets(coding, layout, table))
        for win, part in _by_window(frame):
            values = _cross(part, layout) if win is None else _own(part, layout, win, twice=True)
            add_to_slices(totals, groups, _codes(coding, part), values)


def _by_window(frame: pd.DataFrame) -> Iterator[tuple[int | None, pd.DataFrame]]:
    """Rows of the baseline, of the candidate window, and of pairs between them (None)."""
    where = frame["k0"].to_numpy() & WINDOW_MASK
    for win, value in ((0, 0), (1, WINDOW), (None, BETWEEN)):
        rows = frame[where == value]
        if len(rows):
            yield win, rows


def _codes(coding: Coding, frame: pd.DataFrame) -> np.ndarray:
    return coding.codes(frame[list(coding.words)].to_numpy(dtype=np.int64))


def _names(layout: Layout) -> Iterator[tuple[str, str, str, int]]:
    """(name, a's column, b's column, bound) of the products of two cells."""
    for j in range(len(layout.totals_n)):
        yield f"nn{j}", f"n{j}", f"n{j}", layout.bound_nn(j)
    for m, j in enumerate(layout.denominator):
        yield f"yy{m}", f"y{m}", f"y{m}", layout.bound_yy(m)
        yield f"ny{m}", f"n{j}", f"y{m}", layout.bound_ny(m)
        yield f"yn{m}", f"y{m}", f"n{j}", layout.bound_ny(m)


def _pairs(layout: Layout, a: str, b: str, kinds: Sequence[str]) -> list[tuple[str, str, str, int]]:
    out = []
    for name, one, other, bound in _names(layout):
        if name[:2] not in kinds:
            continue
        lost = layout.lost_bits(int(name[2:])) if name.startswith("yy") else 0
        out.append((name, shortened(f"{a}.{one}", lost), shortened(f"{b}.{other}", lost), bound))
    return out


def _diagonal(coding: Coding, layout: Layout, table: str) -> str:
    inner, outer = products(_pairs(layout, "c", "c", ("nn", "yy", "ny")))
    keys = [f"c.{word} AS {word}" for word in coding.words]
    return _select(inner, outer, keys, f"{table} AS c")


def _meets(coding: Coding, layout: Layout, table: str) -> str:
    inner, outer = products(_pairs(layout, "a", "b", ("nn", "yy", "ny", "yn")))
    meets = zip(coding.meet("a", "b"), coding.words, strict=True)
    keys = [f"{meet} AS {word}" for meet, word in meets]
    source = (
        f"{table} AS a JOIN {table} AS b ON a.cluster = b.cluster AND {coding.before('a', 'b')}"
    )
    return _select(inner, outer, keys, source)


Limbs = tuple[np.ndarray, np.ndarray | None]


def _plus(a: Limbs, b: Limbs) -> Limbs:
    high = [x for x in (a[1], b[1]) if x is not None]
    return a[0] + b[0], sum(high[1:], high[0]) if high else None


def _own(frame: pd.DataFrame, layout: Layout, win: int, *, twice: bool) -> dict[str, Limbs]:
    """Products within one window; a pair of two cells counts both ways."""

    def read(name: str) -> Limbs:
        limbs = _limbs(frame, name)
        return _plus(limbs, limbs) if twice else limbs

    out = {f"nn{win}_{j}": read(f"nn{j}") for j in range(len(layout.totals_n))}
    for m in range(layout.n_metrics):
        out[f"yy{win}_{m}"] = read(f"yy{m}")
        mixed = _limbs(frame, f"ny{m}")
        out[f"ny{win}_{m}"] = _plus(mixed, _limbs(frame, f"yn{m}")) if twice else mixed
    return out


def _cross(frame: pd.DataFrame, layout: Layout) -> dict[str, Limbs]:
    """Products between the windows: of a pair, the first cell is the baseline's."""
    out = {f"n1n0_{j}": _limbs(frame, f"nn{j}") for j in range(len(layout.totals_n))}
    for m in range(layout.n_metrics):
        out[f"y1y0_{m}"] = _limbs(frame, f"yy{m}")
        out[f"y1n0_{m}"] = _limbs(frame, f"ny{m}")
        out[f"n1y0_{m}"] = _limbs(frame, f"yn{m}")
    return out


# ── clusters with many cells ─────────────────────────────────────────────────────────────


def add_heavy(
    engine: Engine,
    totals: Totals,
    groups: Groups,
    layout: Layout,
    tables: Mapping[str, int],
) -> None:
    """Second and cross moments of clusters with many cells; `tables`: their numbers of rows."""
    coding = groups.coding
    used = [g for g, keys in enumerate(groups.keys) if len(keys)]
    masks = np.array([coding.masks(groups.groups[g]) for g in used], dtype=np.int64)
    frame = {"g": np.arange(len(used))}
    frame |= {f"m{w}": masks[:, w] for w in range(len(coding.words))}
    engine.put("slice_groups", pd.DataFrame(frame))
    for table, rows in tables.items():
        step = max(1, _EXPANDED_ROWS // max(rows, 1))
        for low in range(0, len(used), step):
            result = engine.frame(_grouped(coding, layout, table), {"low": low, "high": low + step})
            which = result["g"].to_numpy()
            only: list[np.ndarray] = [np.zeros(0, dtype=np.intp)] * len(groups.groups)
            for place in range(low, min(low + step, len(used))):
                only[used[place]] = np.flatnonzero(which == place)
            values = {name: _limbs(result, name) for name, *_ in _grouped_pairs(layout)}
            add_to_slices(totals, groups, _codes(coding, result), values, only)
    engine.drop("slice_groups")


def _grouped_pairs(layout: Layout) -> list[tuple[str, str, str, int]]:
    out: list[tuple[str, str, str, int]] = []
    for j in range(len(layout.totals_n)):
        bound = layout.bound_nn(j)
        out += [(f"nn{w}_{j}", f"s.n{j}_{w}", f"s.n{j}_{w}", bound) for w in (0, 1)]
        out.append((f"n1n0_{j}", f"s.n{j}_1", f"s.n{j}_0", bound))
    for m, j in enumerate(layout.denominator):
        # Cells lose their last bits before they are added up, as they do in pairs.
        y, bound = "z" if layout.lost_bits(m) else "y", layout.bound_yy(m)
        out += [(f"yy{w}_{m}", f"s.{y}{m}_{w}", f"s.{y}{m}_{w}", bound) for w in (0, 1)]
        out.append((f"y1y0_{m}", f"s.{y}{m}_1", f"s.{y}{m}_0", bound))
        bound = layout.bound_ny(m)
        out += [(f"ny{w}_{m}", f"s.n{j}_{w}", f"s.y{m}_{w}", bound) for w in (0, 1)]
        out.append((f"n1y0_{m}", f"s.n{j}_1", f"s.y{m}_0", bound))
        out.append((f"y1n0_{m}", f"s.y{m}_1", f"s.n{j}_0", bound))
    return out


def _grouped(coding: Coding, layout: Layout, table: str) -> str:
    words = [f"(c.{word} & g.m{place}) AS {word}" for place, word in enumerate(coding.words)]
    held = {name: f"c.{name}" for name in layout.columns}
    held |= {
        f"z{m}": shortened(f"c.y{m}", lost)
        for m in range(layout.n_metrics)
        if (lost := layout.lost_bits(m))
    }
    sums = [
        f"CAST(coalesce(sum({value}) FILTER (WHERE (c.k0 & {WINDOW_MASK}) = {bits}), 0) AS BIGINT) "
        f"AS {name}_{win}"
        for name, value in held.items()
        for win, bits in ((0, 0), (1, WINDOW))
    ]
    keys = ", ".join(str(place + 1) for place in range(len(words) + 2))
    clusters = (
        f"(SELECT g.g AS g, {', '.join(words)}, c.cluster AS cluster, {', '.join(sums)} "
        f"FROM {table} AS c JOIN slice_groups AS g ON g.g >= $low AND g.g < $high "
        f"GROUP BY {keys}) AS s"
    )
    inner, outer = products(_grouped_pairs(layout))
    return _select(
        inner, outer, ["s.g AS g", *(f"s.{word} AS {word}" for word in coding.words)], clusters
    )
