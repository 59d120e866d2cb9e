"""Health: rates, latency and cost, candidate against baseline (STATISTICS sections 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.check import Interval
from analysis.policy import Policy
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.sql import identifier
from analysis.views.health_checks import (
    MAX_CLUSTER_SHARE,
    MIN_EFFECTIVE_CLUSTERS,
    cost_check,
    rate_check,
)
from analysis.views.health_compared import Compared, compared
from analysis.views.health_models import ModelHealth, by_model, reduced
from analysis.views.health_models import table as model_table
from analysis.views.health_quantiles import latency_quantiles, latency_series, quantile_marks
from analysis.views.health_tails import Tails, Untrusted, tail_metrics, tails
from analysis.views.result import ViewResult

__all__ = [
    "MAX_CLUSTER_SHARE",
    "MIN_EFFECTIVE_CLUSTERS",
    "SCORES",
    "Figures",
    "HealthSection",
    "MissingShare",
    "assess",
]


@dataclass(frozen=True)
class Figures:
    """Headline figures of one window, or of their change."""

    failure_rate: Interval
    latency_breach_rate: Interval
    cost_usd_per_interaction: Interval
    latency_ms_p50: Interval
    latency_ms_p95: Interval
    latency_ms_p99: Interval


@dataclass(frozen=True)
class MissingShare:
    baseline: float | None
    candidate: float | None


@dataclass(frozen=True)
class HealthSection:
    baseline: Figures
    candidate: Figures
    change: Figures
    more: dict[str, Compared]
    missing: dict[str, MissingShare]
    by_model: tuple[ModelHealth, ...] = ()
    untrusted: tuple[Untrusted, ...] = ()


def assess(
    telemetry: Telemetry, policy: Policy, *, headlines_only: bool = False
) -> ViewResult[HealthSection]:
    """Headline rates, cost and latency of both windows, their change, and its three checks.

    headlines_only: rates, cost and their checks; no quantiles, no further figures, no models, no
    series.
    """
    metrics = headline_metrics(telemetry)
    further = [] if headlines_only else more_metrics(telemetry)
    moments = telemetry.moments([*metrics.values(), *(m for m, _ in further)])
    figures = {name: compared(telemetry, moments[name], _KINDS[name]) for name in metrics}
    by = None if headlines_only else reduced(telemetry, metrics)
    histograms: Mapping[int, np.ndarray] = {}
    if telemetry.has("latency_ms") and not headlines_only:
        # Rows are put into bins once: the models' latencies are those of all rows.
        histograms = telemetry.latency_histograms(None if by is None else by.latencies())
    models: tuple[ModelHealth, ...] = ()
    more = {m.name: compared(telemetry, moments[m.name], kind) for m, kind in further}
    tail = Tails({}, (), ())
    if not headlines_only:
        beyond = telemetry.moments([*quantile_marks(histograms), *tail_metrics(telemetry)])
        figures |= latency_quantiles(telemetry, histograms, beyond)
        tail = tails(telemetry, {**moments, **beyond})
        models = by_model(telemetry, by, {**moments, **beyond})
    unknown = Compared(Interval.unknown(), Interval.unknown(), Interval.unknown())

    def part(window: str) -> Figures:
        return Figures(
            **{n: getattr(figures.get(n, unknown), window) for n in Figures.__annotations__}
        )

    section = HealthSection(
        baseline=part("baseline"),
        candidate=part("candidate"),
        change=part("change"),
        more=more | tail.more,
        missing={
            column: MissingShare(rates.baseline, rates.candidate)
            for column, rates in sorted(telemetry.missing.items())
        },
        by_model=models,
        untrusted=tail.untrusted,
    )
    checks = (
        rate_check(telemetry, policy, "failure_rate", "is_failure", moments.get("failure_rate")),
        rate_check(
            telemetry,
            policy,
            "latency_breach_rate",
            policy.latency_slo.rule.column if policy.latency_slo else None,
            moments.get("latency_breach_rate"),
        ),
        cost_check(telemetry, policy, moments.get("cost_usd_per_interaction")),
    )
    return ViewResult(
        section=section,
        checks=checks,
        tables={"health_by_model.csv": model_table(models)} if models else {},
        series={}
        if headlines_only
        else {"days": _days(moments), "latency": latency_series(histograms)},
        notes=(
            *(
                reason
                for column in ("latency_ms", "cost_usd")
                if (reason := telemetry.unusable(column)) is not None
            ),
            *tail.notes,
        ),
    )


_KINDS = {
    "failure_rate": "rate",
    "latency_breach_rate": "rate",
    "cost_usd_per_interaction": "ratio",
}


def headline_metrics(telemetry: Telemetry, column: Callable[[str], str] = str) -> dict[str, Metric]:
    """Rates and cost, by the name of their figure. column: what a column of `fact` goes by.

    Interactions (count): the support: how many calls of a model a figure rests on. Those whose value is not
    known are in no figure.

    Failure rate (%): share of interactions with is_failure true, of those whose outcome is known.

    Latency breach rate (%): share of interactions that break the policy's objective called latency, of those
    whose latency is known.

    Cost per interaction (USD): mean of cost_usd over the interactions whose cost is known.
    """
    metrics = {"failure_rate": Metric.rate("failure_rate", column("failure"))}
    slo = telemetry.policy.latency_slo
    if slo is not None and telemetry.has(slo.rule.column):
        metrics["latency_breach_rate"] = Metric.rate("latency_breach_rate", column("breach"))
    if telemetry.has("cost_usd"):
        name = "cost_usd_per_interaction"
        metrics[name] = Metric.mean(name, column("cost_nano"), 10**9)
    return metrics


def more_metrics(telemetry: Telemetry) -> list[tuple[Metric, str]]:
    """Every further figure that the columns allow, in the order of the columns, with its kind."""
    found: list[tuple[Metric, str]] = []
    for column in telemetry.columns:
        declared = telemetry.contract.column(column)
        if declared is None or column == "is_failure":
            continue
        name = identifier(column)
        if declared.type == "boolean" and declared.role in ("outcome", "feedback"):
            found.append((Metric.rate(column, name), "rate"))
        elif column in SCORES:
            value = f"CAST(floor({name} * 1e6 + 0.5) AS BIGINT)"
            found.append((Metric.mean(column, value, 10**6), "difference"))
        elif column in _RATIO_COLUMNS:
            value = f"CAST(floor({name} * 1e3 + 0.5) AS BIGINT)"
            found.append((Metric.mean(column, value, 10**3), "ratio"))
    if telemetry.has("retry_index"):
        found.append((Metric.rate("retry_rate", "(retry_index > 0)"), "rate"))
    return found


SCORES = ("response_quality_score", "user_feedback_score")
"""Numbers of which more is better."""
_RATIO_COLUMNS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "cached_prompt_tokens",
        "reasoning_tokens",
        "total_tokens",
        "time_to_first_token_ms",
        "tokens_per_second",
        "tool_calls_count",
    }
)


def _days(moments: dict[str, Moments]) -> pd.DataFrame:
    """window, day (UTC midnight), metric, n, value: the daily rates and cost."""
    rows: list[tuple[int, pd.Timestamp, str, int, float]] = []
    for name in ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction"):
        m = moments.get(name)
        if m is None:
            continue
        for win, day, n, y in m.days.days:
            rows.append(
                (win, pd.Timestamp(day, unit="D", tz="UTC"), name, n, y / n / m.metric.scale)
            )
    return pd.DataFrame(rows, columns=["window", "day", "metric", "n", "value"])
