"""A change by one dimension alone: what is mix of its values, what lies within them, and in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.check import Interval
from analysis.stats.decomposition import CellSums, Effects, decompose, effects
from analysis.stats.influence import Spread
from analysis.telemetry.cell_sums import Cells
from analysis.views.drift_outcome import (
    Asked,
    Outcome,
    Split,
    limited,
    pooled,
    spread_out,
    sums_of,
)

MAX_SHOWN_VALUES = 8


@dataclass(frozen=True)
class ValueEffect:
    """What one value of a dimension adds: `mix` through its share, `within` through its own rate.

    value: null where the column is; of a cell of several columns theirs, in order. others: what all
    values beyond the first add together. Shares are of the interactions whose outcome is known; a rate
    is null where a window lacks the value.
    """

    value: str | None
    others: bool
    mix: float
    within: float
    share_baseline: float
    share_candidate: float
    baseline: float | None
    candidate: float | None


@dataclass(frozen=True)
class DimensionChange:
    """A metric's change by one dimension: total = mix + within = Σ (mix + within) over `by_value`."""

    dimension: str
    metric: str
    unit: str
    total: float
    mix: Interval
    within: Interval
    n_values: int
    by_value: tuple[ValueEffect, ...]


@dataclass(frozen=True)
class AskedDimension:
    """One dimension and metric, with the places of the spreads of its parts."""

    outcome: Outcome
    cells: Cells
    own: CellSums
    total: float
    mix: float
    within: float
    at_mix: int
    at_within: int


def ask_dimension(
    asked: Asked, cells: Cells, partition: int, outcome: Outcome, split: Split, metric: int
) -> AskedDimension:
    """The parts by one dimension, their spreads asked for. split: the metric's own, of its total."""
    own, place = pooled(sums_of(cells, metric), cells.ids)
    own = CellSums(own.n, own.y, np.arange(own.n.shape[1]))
    found = decompose(own)
    mix = asked.column(partition, metric, spread_out(found.mix, place))
    return AskedDimension(
        outcome, cells, own, found.total.value, found.mix.value, found.within.value,
        asked.spread({mix: 1}), asked.spread({split.total: 1, mix: -1}),
    )  # fmt: skip


def dimension_change(
    name: str, asked: AskedDimension, spreads: Sequence[Spread], limits: bool, support: int
) -> DimensionChange:
    """The parts of one metric by one dimension. limits: whether they have any."""
    scale = asked.outcome.metric.scale

    def part(value: float, place: int) -> Interval:
        return limited(value / scale, spreads[place] if limits else None, scale, support)

    return DimensionChange(
        name, asked.outcome.name, asked.outcome.unit, asked.total / scale,
        part(asked.mix, asked.at_mix), part(asked.within, asked.at_within),
        asked.own.n.shape[1], _by_value(asked.cells, asked.own, effects(asked.own), scale),
    )  # fmt: skip


def _by_value(cells: Cells, own: CellSums, found: Effects, scale: float) -> tuple[ValueEffect, ...]:
    """The values that add most, and the rest as one."""
    size = np.abs(found.mix) + np.abs(found.within)
    named = [k for k in range(len(size)) if cells.ids[k] > 0]
    shown = sorted(named, key=lambda k: (-float(f"{size[k]:.9g}"), repr(cells.values[k])))
    shown = shown[:MAX_SHOWN_VALUES]
    rest = sorted(set(range(len(size))) - set(shown))
    out = [_effect(_named(cells.values[k]), [k], own, found, scale) for k in shown]
    return (*out, _effect(None, rest, own, found, scale, others=True)) if rest else tuple(out)


def _named(values: tuple[str | None, ...]) -> str | None:
    """The value of a column, or those of a cell of several."""
    if len(values) == 1:
        return values[0]
    return " · ".join("missing" if v is None else v for v in values)


def _effect(
    value: str | None, places: list[int], own: CellSums, found: Effects, scale: float,
    *, others: bool = False,
) -> ValueEffect:  # fmt: skip
    n, y = own.n[:, places].sum(axis=1), own.y[:, places].sum(axis=1)
    rates = [float(y[w] / n[w]) / scale if n[w] > 0 else None for w in (0, 1)]
    shares = found.share[:, places].sum(axis=1)
    return ValueEffect(
        value, others, float(found.mix[places].sum()) / scale,
        float(found.within[places].sum()) / scale, float(shares[0]), float(shares[1]),
        rates[0], rates[1],
    )  # fmt: skip
