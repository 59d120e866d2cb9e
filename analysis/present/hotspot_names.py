"""How findings are called on the pages: metrics, slices, units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.policy_hotspots import QUANTILES
from analysis.present.blocks import Body
from analysis.present.formats import (
    Format,
    number,
    percent,
    points,
    signed,
    signed_usd,
    tick,
    usd,
)

METRICS = {"failure": "Failure rate", "latency_breach": "Latency breach rate", "cost": "Cost"}
SCORES = {"response_quality_score": "Quality score", "user_feedback_score": "Feedback score"}
FORMS: dict[str, tuple[str, Format, Format, Format]] = {
    "rate": ("%", percent, points, tick(100)),
    "usd": ("USD per interaction", usd, signed_usd, tick()),
    "score": ("mean", number, signed, tick()),
}
"""Of a unit: its name on an axis, how levels and changes read, and the axis's ticks."""
_SHORT = {"failure": "Failures", "latency_breach": "Latency", "cost": "Cost"} | SCORES


def name(held: Mapping[str, Any], short: bool = False) -> str:
    """A slice in one line; `short` leaves the columns' names out."""
    shown = {k: "not known" if v is None else str(v) for k, v in held.items()}
    if short:
        return " / ".join(shown.values())
    return ", ".join(f"{k} = {v}" for k, v in shown.items())


def percentile(metric: str) -> str:
    """p95 of `latency_p95`."""
    return metric.removeprefix("latency_")


def called(metric: str) -> str:
    """A metric in few words; flags and SLOs go by their own names."""
    slow = f"Slow as the {percentile(metric)}" if metric in QUANTILES else metric
    return str(_SHORT.get(metric, slow))


def measure(found: Body) -> str:
    """What was compared, and with what; a resolved slice stands out no more."""
    metric = called(found["metric"])
    if found["status"] == "resolved":
        return metric
    return f"{metric} vs {'before' if found['kind'] == 'regression' else 'rest'}"
