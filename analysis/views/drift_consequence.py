"""The drift's consequence: why outcomes changed, what the new mix alone burns and costs, and what the
failure rate will be once late labels are there (STATISTICS section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.check import Interval
from analysis.policy import Policy
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.cell_sums import CellSums, Partition
from analysis.views.drift_cbpe import Estimated, estimate
from analysis.views.drift_dimensions import DimensionChange, ask_dimension, dimension_change
from analysis.views.drift_outcome import Asked, MetricChange, ask_split, metric_change, outcomes
from analysis.views.drift_price import Priced, ask_price, price, priced_metrics

MIN_CELL_ROWS = 50


@dataclass(frozen=True)
class Consequence:
    """What the drift did; empty without a baseline.

    metrics: of the failure rate, the latency breach rate and the cost. dimensions: each of them by the
    cells of the routing and by each dimension. priced: each SLO, and the cost, at the baseline's rates
    in the candidate's mix. estimated: the failure rate under label delay.
    """

    metrics: tuple[MetricChange, ...] = ()
    dimensions: tuple[DimensionChange, ...] = ()
    priced: tuple[Priced, ...] = ()
    estimated: Estimated | None = None


def consequence(telemetry: Telemetry, policy: Policy, floor: str | None) -> Consequence:
    """All of it. floor: why the windows are too small for limits, or None."""
    context = [c for c in policy.routing.context if telemetry.has(c)]
    action = [c for c in policy.routing.action if telemetry.has(c)]
    partitions = [Partition((*context, *action), len(context))]
    partitions += [Partition((d,), 1, crowded=True) for d in telemetry.dimensions]
    split = outcomes(telemetry)
    lacking = _lacking(policy, context, action)
    prices = [
        replace(p, reason=p.reason or lacking) for p in priced_metrics(telemetry, policy, split[2])
    ]
    places: dict[tuple[object, ...], int] = {}
    metrics: list[Metric] = []
    known = [o.metric for o in split if not o.reason] + [p.metric for p in prices if not p.reason]
    for metric in known:
        if metric.measures not in places:
            places[metric.measures] = len(metrics)
            metrics.append(metric)
    counted = "f.failure IS NOT NULL" if telemetry.has("is_failure") else "f.weight > 0"
    # The cells of the routing themselves are a dimension too, where no single column is one.
    named = [(0, " × ".join(partitions[0].columns))] if len(partitions[0].columns) > 1 else []
    named += list(enumerate(telemetry.dimensions, start=1))
    asked = Asked()
    if not metrics:
        return Consequence(
            tuple(metric_change(telemetry, o, None, (), floor, None) for o in split),
            estimated=estimate(telemetry),
        )
    with CellSums(
        telemetry.engine, partitions, metrics, counted, MIN_CELL_ROWS, telemetry.by_days
    ) as sums:
        cells = sums.cells()
        splits = [
            None
            if o.reason
            else ask_split(asked, cells[0], places[o.metric.measures], len(context))
            for o in split
        ]
        dimensions = [
            (name, ask_dimension(asked, cells[i], i, o, found, places[o.metric.measures]))
            for i, name in named
            for o, found in zip(split, splits, strict=True)
            if found is not None
        ]
        prices = [
            p
            if p.reason
            else ask_price(asked, p, cells[0], places[p.metric.measures], len(context))
            for p in prices
        ]
        spreads = sums.spreads(cells, asked.columns, asked.wanted)
    changes = tuple(
        metric_change(telemetry, o, found, spreads, floor, lacking)
        for o, found in zip(split, splits, strict=True)
    )
    support = {c.metric: c.total.support for c in changes}
    # Limits of a dimension's parts hold where those of the metric's do.
    limits = {c.metric: not floor and (c.reason is None or c.reason == lacking) for c in changes}
    return Consequence(
        metrics=changes,
        dimensions=tuple(
            dimension_change(name, d, spreads, limits[d.outcome.name], support[d.outcome.name])
            for name, d in dimensions
        ),
        priced=tuple(price(telemetry, p, spreads, floor is None) for p in prices),
        estimated=estimate(telemetry),
    )


def _lacking(policy: Policy, context: Sequence[str], action: Sequence[str]) -> str | None:
    """Why contexts and actions cannot be told apart, or None."""
    for kind, wanted, there in (
        ("context", policy.routing.context, context),
        ("action", policy.routing.action, action),
    ):
        if wanted and not there:
            return f"the telemetry has no column of routing.{kind} ({', '.join(wanted)})"
    return None


_TABLE = ("part", "metric", "unit", "dimension", "value", "effect", "low", "high", "share_baseline",
          "share_candidate", "baseline", "candidate", "support")  # fmt: skip


def consequence_table(found: Consequence) -> pd.DataFrame:
    """One row a part of a metric, of a dimension or of one of its values, and a price."""
    rows: list[list[object]] = []

    def add(
        part: str, metric: str, unit: str, own: Interval, *, dimension: str | None = None
    ) -> None:
        rows.append([part, metric, unit, dimension, None, own.value, own.low, own.high,
                     None, None, None, None, own.support])  # fmt: skip

    for m in found.metrics:
        for part in ("total", "mix", "mix_context", "mix_action", "within"):
            add(part, m.metric, m.unit, getattr(m, part))
    for d in found.dimensions:
        add("mix", d.metric, d.unit, d.mix, dimension=d.dimension)
        add("within", d.metric, d.unit, d.within, dimension=d.dimension)
        for v in d.by_value:
            for part, effect in (("mix_of_value", v.mix), ("within_value", v.within)):
                rows.append([part, d.metric, d.unit, d.dimension, "other" if v.others else v.value,
                             effect, None, None, v.share_baseline, v.share_candidate, v.baseline,
                             v.candidate, None])  # fmt: skip
    for p in found.priced:
        for part, own in (("traffic", p.traffic), ("traffic_and_routing", p.mix)):
            if own is not None:
                add(f"price_of_{part}", p.name, p.unit, own.added)
        if p.change_usd_per_day is not None:
            add("price_of_traffic_and_routing", p.name, "USD per day", p.change_usd_per_day)
    return pd.DataFrame(rows, columns=list(_TABLE))
