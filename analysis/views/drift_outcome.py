"""What the drift did to outcomes: each change split into traffic, routing and the system itself.

The failure rate, the latency breach rate and the cost per interaction, by `routing.context` ×
`routing.action`. Parts sum to the change exactly; each has the interval of its linearised form
(`stats.decomposition`), with clusters as units, and days too where the windows follow each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.check import Interval
from analysis.stats.decomposition import CellSums, Decomposition, decompose
from analysis.stats.influence import Linearised, Spread
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.cell_sums import Cells, Column, Combination
from analysis.views.health_compared import compared

MIN_BAD_CLUSTERS = 10


@dataclass(frozen=True)
class MetricChange:
    """total = mix_context + mix_action + within; mix is the first two. unit: rate, or USD per
    interaction. reason: why the parts, or their limits, are not known."""

    metric: str
    unit: str
    total: Interval
    mix: Interval
    mix_context: Interval
    mix_action: Interval
    within: Interval
    n_cells: int
    reason: str | None


@dataclass(frozen=True)
class Outcome:
    """A metric that may be split. reason: why it may not."""

    name: str
    unit: str
    metric: Metric
    reason: str | None


@dataclass
class Asked:
    """Columns of influences, and the combinations of them whose spread is wanted, as they come up."""

    columns: list[Column] = field(default_factory=list)
    wanted: list[Combination] = field(default_factory=list)

    def column(self, partition: int, metric: int, form: Linearised) -> int:
        self.columns.append(Column(partition, metric, form))
        return len(self.columns) - 1

    def spread(self, some: Combination) -> int:
        self.wanted.append(some)
        return len(self.wanted) - 1


@dataclass(frozen=True)
class Split:
    """A decomposition with the places of its parts' spreads among those asked for."""

    found: Decomposition
    spreads: Mapping[str, int]
    total: int
    n_cells: int


def outcomes(telemetry: Telemetry) -> list[Outcome]:
    """The three metrics, and why one cannot be told."""
    slo = telemetry.policy.latency_slo
    lacking = "the policy has no SLO named latency"
    return [
        Outcome("failure", "rate", Metric.rate("failure", "failure"),
                telemetry.unusable("is_failure")),
        Outcome("latency_breach", "rate", Metric.rate("breach", "breach"),
                lacking if slo is None else telemetry.unusable(slo.rule.column)),
        Outcome("cost", "USD per interaction", Metric.mean("cost_usd", "cost_nano", 10**9),
                telemetry.unusable("cost_usd")),
    ]  # fmt: skip


def sums_of(cells: Cells, metric: int, n_context: int | None = None) -> CellSums:
    """The cells of one metric; what is small counts as one more context with one action.

    n_context: how many of a cell's values are its context; None: each cell is its own.
    """
    contexts = [repr(v if n_context is None else v[:n_context]) if k > 0 else ""
                for k, v in zip(cells.ids.tolist(), cells.values, strict=True)]  # fmt: skip
    codes = np.unique(contexts, return_inverse=True)[1].astype(np.int64)
    return CellSums(cells.n[metric].astype(float), cells.y[metric].astype(float), codes)


def pooled(cells: CellSums, ids: np.ndarray) -> tuple[CellSums, np.ndarray]:
    """The same with all that is small in one cell, and the place of each cell in it."""
    place = np.minimum(np.arange(len(ids)), int((ids > 0).sum()))
    size = int(place.max(initial=-1)) + 1
    n, y = (
        np.stack(
            [np.bincount(place, weights=row, minlength=size).astype(np.float64) for row in held]
        )
        for held in (cells.n, cells.y)
    )
    first = np.unique(place, return_index=True)[1]
    return CellSums(n, y, cells.context[first]), place


def ask_split(asked: Asked, cells: Cells, metric: int, n_context: int) -> Split | None:
    """The decomposition of a metric by contexts and actions; None where a window has no row."""
    own, place = pooled(sums_of(cells, metric, n_context), cells.ids)
    if not own.known:
        return None
    found = decompose(own)
    at = {
        name: asked.column(0, metric, spread_out(getattr(found, name), place))
        for name in ("total", "mix_context", "mix_action")
    }
    total, context, action = at["total"], at["mix_context"], at["mix_action"]
    return Split(
        found,
        {
            "mix": asked.spread({context: 1, action: 1}),
            "mix_context": asked.spread({context: 1}),
            "mix_action": asked.spread({action: 1}),
            "within": asked.spread({total: 1, context: -1, action: -1}),
        },
        total,
        int((own.n.sum(axis=0) > 0).sum()),
    )


def spread_out(form: Linearised, place: np.ndarray) -> Linearised:
    """The derivatives by pooled cells as those by the cells themselves."""
    return Linearised(form.value, form.on_n[:, place], form.on_y[:, place])


def metric_change(
    telemetry: Telemetry,
    outcome: Outcome,
    split: Split | None,
    spreads: Sequence[Spread],
    floor: str | None,
    lacking: str | None,
) -> MetricChange:
    """The parts of one metric. floor: why no part has limits; lacking: why there are no parts."""
    unknown = Interval.unknown()
    nothing = (unknown, unknown, unknown, unknown, 0)
    if outcome.reason is not None or split is None:
        reason = outcome.reason or "a window has no known value"
        return MetricChange(outcome.name, outcome.unit, unknown, *nothing, reason)
    moments = telemetry.moments([outcome.metric])[outcome.metric.name]
    rate = outcome.unit == "rate"
    whole = compared(telemetry, moments, "rate" if rate else "difference").change
    if floor:
        whole = Interval.of(whole.value, None, None, whole.support)
    if lacking:
        return MetricChange(outcome.name, outcome.unit, whole, *nothing, lacking)
    bad = moments.candidate.bad_clusters + moments.baseline.bad_clusters
    few = None
    if rate and bad < MIN_BAD_CLUSTERS:
        few = f"fewer than {MIN_BAD_CLUSTERS} clusters have a bad interaction"
    scale = outcome.metric.scale

    def part(name: str) -> Interval:
        own = None if few or floor else spreads[split.spreads[name]]
        return limited(getattr(split.found, name).value / scale, own, scale, whole.support)

    return MetricChange(
        outcome.name, outcome.unit, whole, part("mix"), part("mix_context"), part("mix_action"),
        part("within"), split.n_cells, floor or few,
    )  # fmt: skip


def limited(value: float, own: Spread | None, scale: float, support: int) -> Interval:
    """A value with limits of value ± t √V, V in units of 1/scale."""
    if own is None:
        return Interval.of(value, None, None, support)
    reach = own.reach() / scale
    return Interval.of(value, value - reach, value + reach, support)
