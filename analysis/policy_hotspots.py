"""What a policy says of hotspots: the metrics, the numbers that are cut into bins, and the limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from analysis.policy_problems import refuse, twice
from analysis.policy_types import Model, Name, OpenRate

HOUR = "hour"
"""In `bins`: the hour of the day of `timestamp_utc`, UTC."""

QUANTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p95": 0.95, "latency_p99": 0.99}
"""Names of metrics: the share of interactions as slow as this quantile of latency."""
EXPANDED = ("flags", "slos")
"""Names of metrics that stand for several."""

Edge = Annotated[float, Field(allow_inf_nan=False)]
MAX_EDGES = 20


def _some(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not 1 <= len(edges) <= MAX_EDGES:
        raise ValueError(f"expected 1 to {MAX_EDGES} edges (found {len(edges)})")
    return edges


Edges = Annotated[
    tuple[Edge, ...],
    AfterValidator(_some),
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_EDGES}),
]


class Quantiles(Model):
    """So many bins of about equal traffic, cut where the baseline window says."""

    quantiles: Annotated[int, Field(ge=2, le=10)]


class Hotspots(Model):
    """metrics: `failure`, `latency_breach`, `cost`, `latency_p50|p90|p95|p99` (the share as slow as
    that quantile of the baseline), a score (`response_quality_score`, `user_feedback_score`), names of SLOs,
    any true/false column (true is bad); `flags` stands for all of these that are outcomes or feedback,
    `slos` for all SLOs. bins: numeric columns of the interactions that become dimensions of the hotspots
    alone, by the rising edges of their bins, each edge the first value of the bin above it, or by
    quantiles. `hour` is the hour of the day (UTC)."""

    metrics: tuple[Name, ...] = ("failure", "latency_breach", "cost")
    bins: dict[Name, Edges | Quantiles] = Field(default={})
    max_depth: Annotated[int, Field(ge=1, le=4)] = 3
    min_support: Annotated[int, Field(ge=1)] = 60
    fdr: OpenRate = 0.05
    min_ratio: Annotated[float, Field(ge=1)] = 1.25

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = twice("metrics", self.metrics)
        for name, cut in self.bins.items():
            if isinstance(cut, tuple):
                problems += _fallen(name, cut)
        refuse(problems)
        return self

    def columns(self, slos: Sequence[str]) -> frozenset[str]:
        """Interactions columns that metrics and bins name. slos: names that are those of SLOs."""
        named = set(self.metrics) - {"failure", "latency_breach", *slos}
        columns = named - {"cost", *QUANTILES, *EXPANDED}
        columns |= {"cost_usd"} if "cost" in self.metrics else set()
        columns |= {"latency_ms"} if named & set(QUANTILES) else set()
        return frozenset(columns | (set(self.bins) - {HOUR}))


def _fallen(name: str, edges: Sequence[float]) -> list[str]:
    """What is wrong with the edges of a column."""
    problems = [
        f".bins.{name}[{i}]: edges must rise (found {edges[i]:g} after {edges[i - 1]:g})"
        for i in range(1, len(edges))
        if not edges[i - 1] < edges[i]
    ]
    if name == HOUR:
        problems += [
            f".bins.{name}[{i}]: expected an hour after 0 and up to 23 (found {edge:g})"
            for i, edge in enumerate(edges)
            if not 0 < edge <= 23
        ]
    return problems


def bin_problems(
    hotspots: Hotspots, dimensions: Sequence[str], measured: Sequence[tuple[str, str]]
) -> list[str]:
    """Contradictions between the bins and the rest of a policy.

    measured: (metric, column that it is made of): bins of such a column would only say the metric again.
    """
    problems = [
        f".hotspots.bins.{name}: is one of dimensions too; keep it in one of them"
        for name in hotspots.bins
        if name in dimensions
    ]
    problems += [
        f".hotspots.bins.{column}: the metric {metric!r} is made of this column, so its bins would find "
        f"nothing but the metric itself; leave it out here, or {metric!r} out of hotspots.metrics"
        for metric, column in measured
        if column in hotspots.bins and metric in hotspots.metrics and column != HOUR
    ]
    return problems
