"""Health by model: every figure of each model, candidate against baseline.

Intervals are 95 % for each model by itself, not corrected for their number. Rates take the intraclass
correlation of the whole window, never the model's own (STATISTICS section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.check import Interval
from analysis.stats.sketch import merge
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.group_moments import BEYOND, GroupMoments, group_moments
from analysis.telemetry.groups import Group, grouping
from analysis.views.health_checks import MAX_CLUSTER_SHARE, MIN_EFFECTIVE_CLUSTERS
from analysis.views.health_compared import Compared, compared
from analysis.views.health_quantiles import QUANTILES, quantile_interval, ratio_of

FIGURES = ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction", "latency_ms_p95")
OTHERS = "(all others)"
_COLUMNS = ("model_provider", "model_name")
_P95 = "latency_ms_p95"


@dataclass(frozen=True)
class ModelFigures:
    """One model in one window, or its change: difference of rates, ratios of cost and latency."""

    failure_rate: Interval
    latency_breach_rate: Interval
    cost_usd_per_interaction: Interval
    latency_ms_p95: Interval


@dataclass(frozen=True)
class ModelHealth:
    """One model, or all others as one (`status` others, with how many they are).

    status: new and gone are those with rows in one window alone; None on a first release. A model that
    is not known is null. n, share: of the candidate window. reason: why limits are null.
    """

    model_provider: str | None
    model_name: str | None
    status: Literal["both", "new", "gone", "others"] | None
    n_models: int
    n: int
    share: float | None
    n_baseline: int
    share_baseline: float | None
    baseline: ModelFigures
    candidate: ModelFigures
    change: ModelFigures
    reason: str | None


@dataclass(frozen=True)
class Reduced:
    """The moments of the 20 models with the most rows, largest first, and of all others as one."""

    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    found: tuple[GroupMoments, ...]

    def latencies(self) -> Mapping[int, np.ndarray]:
        """window (0, 1) → latencies by bin of all models together: of every row in the windows."""
        if not all(one.latencies for one in self.found):
            return {}
        return {win: merge(*(one.latencies[win] for one in self.found)) for win in (0, 1)}


def reduced(telemetry: Telemetry, metrics: Mapping[str, Metric]) -> Reduced | None:
    """What `by_model` is made of; None where the telemetry names no model.

    metrics: the headline ones that there are.
    """
    columns = tuple(c for c in _COLUMNS if telemetry.has(c))
    if not columns:
        return None
    timed = telemetry.has("latency_ms")
    with grouping(telemetry.engine, columns) as groups:
        found = group_moments(
            telemetry.engine, groups, tuple(metrics.values()), QUANTILES[_P95] if timed else None
        )
    return Reduced(columns, groups.groups, found)


def by_model(
    telemetry: Telemetry, models: Reduced | None, whole: Mapping[str, Moments]
) -> tuple[ModelHealth, ...]:
    """Each model's health. whole: the moments over the whole windows, and those of the latencies beyond
    the 95th percentile."""
    if models is None:
        return ()
    n = sum(g.n_candidate for g in models.groups), sum(g.n_baseline for g in models.groups)
    return tuple(
        _model(telemetry, models.columns, group, own, whole, *n)
        for group, own in zip(models.groups, models.found, strict=True)
    )


def _model(
    telemetry: Telemetry,
    columns: Sequence[str],
    group: Group,
    own: GroupMoments,
    whole: Mapping[str, Moments],
    n_candidate: int,
    n_baseline: int,
) -> ModelHealth:
    figures: dict[str, Compared] = {}
    reason = None
    for name, m in own.moments.items():
        if name == BEYOND:
            figures[_P95] = _p95(telemetry, own, m, whole[_P95])
        elif name in FIGURES and name.endswith("rate"):
            figures[name] = compared(telemetry, m, "rate", whole[name])
        elif name in FIGURES:
            figures[name], reason = _cost(telemetry, m)
    unknown = Compared(Interval.unknown(), Interval.unknown(), Interval.unknown())

    def part(window: str) -> ModelFigures:
        return ModelFigures(**{f: getattr(figures.get(f, unknown), window) for f in FIGURES})

    named = dict(zip(columns, group.values or (), strict=False))
    return ModelHealth(
        model_provider=named.get("model_provider"),
        model_name=OTHERS if group.values is None else named.get("model_name"),
        status=_status(telemetry, group),
        n_models=group.n_merged,
        n=group.n_candidate,
        share=group.n_candidate / n_candidate if n_candidate else None,
        n_baseline=group.n_baseline,
        share_baseline=group.n_baseline / n_baseline if n_baseline else None,
        baseline=part("baseline"),
        candidate=part("candidate"),
        change=part("change"),
        reason=reason,
    )


def _status(telemetry: Telemetry, group: Group) -> Literal["both", "new", "gone", "others"] | None:
    if group.values is None:
        return "others"
    if telemetry.baseline is None:
        return None
    if group.n_baseline and group.n_candidate:
        return "both"
    return "new" if group.n_candidate else "gone"


def _cost(telemetry: Telemetry, m: Moments) -> tuple[Compared, str | None]:
    """Cost has no exact interval as rates have: below the floors of a check it has none."""
    found = compared(telemetry, m, "ratio")
    thin = {}
    for name, window in (("baseline", m.baseline), ("candidate", m.candidate)):
        if window.n and window.effective_clusters < MIN_EFFECTIVE_CLUSTERS:
            thin[name] = f"{window.effective_clusters:.0f} effective clusters"
        elif window.n and window.largest > MAX_CLUSTER_SHARE * window.n:
            share = 100 * window.largest / window.n
            thin[name] = f"{share:.0f} % of the interactions in one cluster"
    if not thin:
        return found, None
    return Compared(
        _bare(found.baseline) if "baseline" in thin else found.baseline,
        _bare(found.candidate) if "candidate" in thin else found.candidate,
        _bare(found.change),
    ), "no interval of cost: " + ", ".join(f"{what} ({name})" for name, what in thin.items())


def _bare(held: Interval) -> Interval:
    return Interval(held.value, None, None, held.support)


def _p95(telemetry: Telemetry, own: GroupMoments, m: Moments, whole: Moments) -> Compared:
    """The 95th percentile of latency with Woodruff's interval."""
    q = QUANTILES[_P95]
    old, new = (
        quantile_interval(
            telemetry,
            own.latencies[win],
            q,
            m,
            m.candidate if win else m.baseline,
            win,
            m.support_candidate if win else m.support_baseline,
            whole.candidate if win else whole.baseline,
        )
        for win in (0, 1)
    )
    return Compared(old, new, ratio_of(old, new))


def table(models: Sequence[ModelHealth]) -> pd.DataFrame:
    """One row a model: who it is, its rows, and each figure with its limits."""
    rows = []
    for model in models:
        row: dict[str, object] = {
            "model_provider": model.model_provider,
            "model_name": model.model_name,
            "status": model.status,
            "n_models": model.n_models,
            "n_baseline": model.n_baseline,
            "n_candidate": model.n,
            "share_baseline": model.share_baseline,
            "share_candidate": model.share,
        }
        for figure in FIGURES:
            for window in ("baseline", "candidate", "change"):
                held: Interval = getattr(getattr(model, window), figure)
                row |= {
                    f"{figure}_{window}": held.value,
                    f"{figure}_{window}_low": held.low,
                    f"{figure}_{window}_high": held.high,
                }
        rows.append({**row, "reason": model.reason})
    return pd.DataFrame(rows, dtype=object)
