"""Numeric columns as dimensions: bins whose edges the policy gives, or the baseline window.

A bin holds its lower edge. An edge of quantile k of q is the smallest value of the baseline window with at
least k/q of its known interactions below it (what follows the inverted CDF's quantile), and its largest
value where none has so many: exact, over every row, by counts alone. Equal edges are one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.policy import Quantiles
from analysis.policy_hotspots import HOUR
from analysis.telemetry.bin_cuts import is_moment, is_numeric, number
from analysis.telemetry.engine import Engine
from analysis.telemetry.slice_codes import Dimension
from analysis.telemetry.sql import identifier, literal
from analysis.telemetry.telemetry import Telemetry

Origin = Literal["policy", "baseline", "candidate"]
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000


@dataclass(frozen=True)
class Bins:
    """A column in bins. edges: rising, each the first value of the bin above it. of: who gave them."""

    column: str
    edges: tuple[float, ...]
    of: Origin
    dimension: Dimension


@dataclass(frozen=True)
class NoBins:
    """Why a column has none."""

    column: str
    reason: str


def bins(
    telemetry: Telemetry, wanted: Mapping[str, tuple[float, ...] | Quantiles]
) -> tuple[Bins | NoBins, ...]:
    """The bins of columns of `fact`; those that the telemetry lacks are passed over."""
    there = [c for c in wanted if c == HOUR or c in telemetry.columns]
    if not there:
        return ()
    engine = telemetry.engine
    held = engine.types("fact")
    numbers = _numbers(telemetry, held, [c for c in there if c != HOUR])
    values = {c: _hour() for c in there if c == HOUR} | {
        c: number(f"f.{identifier(c)}", held[c]).raw for c in numbers
    }
    ranges = _ranges(engine, values)
    of: Origin = "candidate" if telemetry.baseline is None else "baseline"
    found: list[Bins | NoBins] = []
    for column in there:
        if column not in values:
            kind = "times" if is_moment(held[column]) else "no numbers"
            hint = f"; its hour of the day is {HOUR!r}" if column == "timestamp_utc" else ""
            found.append(NoBins(column, f"it holds {kind}{hint}"))
            continue
        cut, inside = wanted[column], ranges[column]
        if inside is None:
            found.append(NoBins(column, "no value of it is known"))
            continue
        given = (
            _quantiles(engine, values[column], cut.quantiles, win=0 if of == "baseline" else 1)
            if isinstance(cut, Quantiles)
            else _whole(cut)
            if inside.whole
            else cut
        )
        if not any(inside.low < edge <= inside.high for edge in given) and not inside.nulls:
            found.append(NoBins(column, "all its values are in one bin"))
            continue
        found.append(
            Bins(
                column,
                tuple(given),
                of if isinstance(cut, Quantiles) else "policy",
                _dimension(column, values[column], given, inside),
            )
        )
    return tuple(found)


def _numbers(telemetry: Telemetry, held: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    """The columns of numbers: of a column that the contract does not know, a file may hold the text."""
    contract = telemetry.contract
    texts = [c for c in columns if held[c].upper() == "VARCHAR" and contract.column(c) is None]
    read = set()
    if texts:
        counts = ", ".join(
            f"count({identifier(c)}), count(TRY_CAST({identifier(c)} AS DOUBLE))" for c in texts
        )
        row = telemetry.engine.row(f"SELECT {counts} FROM fact")
        read = {c for i, c in enumerate(texts) if 0 < int(row[2 * i]) == int(row[2 * i + 1])}
    return [c for c in columns if is_numeric(held[c]) or c in read]


def _hour() -> str:
    """The hour of the day, by floors alone: remainders of negative numbers differ between engines."""
    hours = f"CAST(floor(f.ts_us / {_HOUR_US}) AS BIGINT)"
    days = f"CAST(floor(f.ts_us / {_DAY_US}) AS BIGINT)"
    return f"CAST({hours} - 24 * {days} AS DOUBLE)"


@dataclass(frozen=True)
class _Range:
    """Of the known values in both windows. nulls: whether some are not known."""

    low: float
    high: float
    whole: bool
    nulls: bool


def _ranges(engine: Engine, values: Mapping[str, str]) -> dict[str, _Range | None]:
    if not values:
        return {}
    inner = ", ".join(f"{value} AS v{i}" for i, value in enumerate(values.values()))
    outer = ", ".join(
        f"min(q.v{i}), max(q.v{i}), coalesce(sum(CASE WHEN q.v{i} <> floor(q.v{i}) THEN 1 ELSE 0 END), 0), "
        f"count(*) - count(q.v{i})"
        for i in range(len(values))
    )
    row = engine.row(
        f"SELECT {outer} FROM (SELECT {inner} FROM fact f WHERE f.win IS NOT NULL) AS q"
    )
    out: dict[str, _Range | None] = {}
    for i, column in enumerate(values):
        low, high, broken, nulls = row[4 * i : 4 * i + 4]
        out[column] = (
            None
            if low is None
            else _Range(float(low), float(high), not int(broken), int(nulls) > 0)
        )
    return out


def _quantiles(engine: Engine, value: str, n: int, *, win: int) -> tuple[float, ...]:
    """The distinct edges of n bins of a window."""
    asked = ", ".join(
        f"coalesce(min(CASE WHEN r.below * {n} >= r.total * {k} THEN r.v END), max(r.v))"
        for k in range(1, n)
    )
    row = engine.row(
        f"SELECT min(r.v), {asked} FROM (SELECT c.v, sum(c.n) OVER (ORDER BY c.v) - c.n AS below, "
        f"sum(c.n) OVER () AS total FROM (SELECT q.v, count(*) AS n FROM (SELECT {value} AS v FROM fact f "
        f"WHERE f.win = {win}) AS q WHERE q.v IS NOT NULL GROUP BY 1) AS c) AS r"
    )
    if row[0] is None:
        return ()
    lowest, *edges = (float(v) for v in row)
    return tuple(sorted({edge for edge in edges if edge > lowest}))


def _whole(edges: Sequence[float]) -> tuple[float, ...]:
    """The same bins of whole numbers by whole edges."""
    return tuple(sorted({float(math.ceil(edge)) for edge in edges}))


def _dimension(column: str, value: str, edges: Sequence[float], inside: _Range) -> Dimension:
    labels: list[str | None] = [*_labels(edges, whole=inside.whole)]
    cases = [f"WHEN {value} IS NULL THEN {len(labels)}"] if inside.nulls else []
    cases += [f"WHEN {value} < {literal(float(edge))} THEN {i}" for i, edge in enumerate(edges)]
    code = f"CASE {' '.join(cases)} ELSE {len(edges)} END" if cases else "0"
    return Dimension(column, tuple([*labels, None] if inside.nulls else labels), code=code)


def _labels(edges: Sequence[float], *, whole: bool) -> list[str]:
    """What the bins are called; of whole numbers by the last one in each."""
    if not edges:
        return ["known"]
    middle = []
    for low, high in itertools.pairwise(edges):
        if not whole:
            middle.append(f"{_shown(low)} to < {_shown(high)}")
        elif high - low == 1:
            middle.append(_shown(low))
        else:
            middle.append(f"{_shown(low)} to {_shown(high - 1)}")
    return [f"< {_shown(edges[0])}", *middle, f"≥ {_shown(edges[-1])}"]


def _shown(value: float) -> str:
    """A number in full, its thousands apart."""
    return f"{value + 0.0:,}".removesuffix(".0")


__all__ = ["Bins", "NoBins", "bins"]
