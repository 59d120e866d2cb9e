"""Objectives, and the burn-rate alerts on them, as OpenSLO documents."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from analysis.policy_slos import Slo

VERSION = "openslo/v1"
SOURCE = "release-review"
NAME, BY, _SHORT, _FEASIBLE = (
    f"{SOURCE}.{key}" for key in ("name", "by", "short-window", "feasible")
)
GOOD_WHEN = {"lte": "above", "lt": "at_least", "gte": "below", "gt": "at_most"}
"""The objective's operator says what is good; its contrary, what is bad."""
PERIODS = {"1M": "month", "1Q": "quarter"}


@dataclass(frozen=True)
class AlertRow:
    """A burn-rate alert of one objective: windows in hours; feasible: whether it can fire at all."""

    long_hours: float
    short_hours: float
    threshold: float
    pages: bool
    feasible: bool


def document(objectives: Sequence[tuple[Slo, Sequence[AlertRow]]], service: str = "llm") -> str:
    """The objectives as OpenSLO documents, with an AlertPolicy for each alert.

    OpenSLO knows one look-back window an alert: the short one stands in the annotation
    `release-review.short-window`, and both have to reach the threshold. A name that is no name there
    stands in `release-review.name`, which `read` prefers, and the columns of `by` as a JSON list in
    `release-review.by`.
    """
    out: list[dict[str, Any]] = [
        {"apiVersion": VERSION, "kind": "Service", "metadata": {"name": service},
         "spec": {"description": "What the telemetry of the release review is of."}},
        *(
            {"apiVersion": VERSION, "kind": "AlertNotificationTarget", "metadata": {"name": name},
             "spec": {"description": text, "target": name}}
            for name, text in (("page", "Wakes someone up."), ("ticket", "Can wait for the day."))
        ),
    ]  # fmt: skip
    taken: set[str] = set()
    for slo, rows in objectives:
        name = _name(slo.name, taken)
        alerts = [_alert(slo, name, row) for row in rows]
        out += [_slo(slo, name, service, [a["metadata"]["name"] for a in alerts]), *alerts]
    return yaml.safe_dump_all(out, sort_keys=False, allow_unicode=True, width=110)


def _name(name: str, taken: set[str]) -> str:
    """An RFC 1123 label for a name, told apart from those that are taken."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:44] or "slo"
    found, n = label, 1
    while found in taken:
        n += 1
        found = f"{label}-{n}"
    taken.add(found)
    return found


def _slo(slo: Slo, name: str, service: str, alerts: Sequence[str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    annotations = {NAME: slo.name} if name != slo.name else {}
    if slo.by:
        annotations[BY] = json.dumps(list(slo.by), ensure_ascii=False)
    if annotations:
        metadata["annotations"] = annotations
    rule = {k: v for k, v in slo.rule.model_dump().items() if v is not None}
    ops = {limit: op for op, limit in GOOD_WHEN.items()}
    limit = next((key for key in rule if key in ops), None)
    objective: dict[str, Any] = {"target": slo.target}
    total = {"type": SOURCE, "spec": {"column": slo.rule.column}}
    if limit is None:
        metric = {
            "ratioMetric": {
                "counter": True,
                "bad": {"metricSource": {"type": SOURCE, "spec": rule}},
                "total": {"metricSource": total},
            }
        }
    else:
        metric = {"thresholdMetric": {"metricSource": total}}
        objective = {"op": ops[limit], "value": rule[limit], **objective}
    window: dict[str, Any] = {"duration": f"{slo.period_days}d", "isRolling": True}
    if slo.period != "rolling":
        duration = next(d for d, period in PERIODS.items() if period == slo.period)
        calendar = {"startTime": "1970-01-01 00:00:00", "timeZone": "Etc/UTC"}
        window = {"duration": duration, "isRolling": False, "calendar": calendar}
    return {
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": metadata,
        "spec": {
            "service": service,
            "indicator": {"metadata": {"name": f"{name}-indicator"}, "spec": metric},
            "timeWindow": [window],
            "budgetingMethod": "Occurrences",
            "objectives": [objective],
            **({"alertPolicies": [{"alertPolicyRef": a} for a in alerts]} if alerts else {}),
        },
    }


def _alert(slo: Slo, name: str, row: AlertRow) -> dict[str, Any]:
    window = _hours(row.long_hours)
    own = f"{name}-burn-{window}"
    annotations = {_SHORT: _hours(row.short_hours)}
    if not row.feasible:
        annotations[_FEASIBLE] = "false"
    return {
        "apiVersion": VERSION,
        "kind": "AlertPolicy",
        "metadata": {"name": own, "annotations": annotations},
        "spec": {
            "description": f"The error budget of {slo.name} burns at {row.threshold:g} times the "
            f"sustainable rate or more over the last {window}, and over the last {_hours(row.short_hours)}.",
            "alertWhenBreaching": True,
            "alertWhenResolved": False,
            "alertWhenNoData": False,
            "conditions": [
                {
                    "kind": "AlertCondition",
                    "metadata": {"name": own},
                    "spec": {
                        "severity": "page" if row.pages else "ticket",
                        "condition": {
                            "kind": "burnrate",
                            "op": "gte",
                            "threshold": row.threshold,
                            "lookbackWindow": window,
                            "alertAfter": "0m",
                        },
                    },
                }
            ],
            "notificationTargets": [{"targetRef": "page" if row.pages else "ticket"}],
        },
    }


def _hours(hours: float) -> str:
    """A span as OpenSLO writes it."""
    if hours >= 24 and hours % 24 == 0:
        return f"{hours / 24:.0f}d"
    return f"{hours:.0f}h" if hours == round(hours) else f"{hours * 60:.0f}m"
