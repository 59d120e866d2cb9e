"""The hotspots' metrics: what the names of a policy stand for in this telemetry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.policy import Policy
from analysis.policy_hotspots import EXPANDED, QUANTILES
from analysis.stats.sketch import quantile_bin
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.latency import beyond_us
from analysis.telemetry.sql import identifier, literal
from analysis.views.health import SCORES

MAX_FLAGS = 40
"""Flags that `flags` stands for at most: every metric is one more test of every slice."""
_MICRO = 10**6
_LARGEST = 1e9  # a score beyond has no place in 64 bits of millionths
_BUILT_IN = ("failure", "latency_breach", "cost")


@dataclass(frozen=True)
class _Made:
    """A metric, and what has to be said of it."""

    metric: Metric
    note: str = ""


def metrics_of(telemetry: Telemetry, policy: Policy) -> tuple[list[Metric], list[str]]:
    """The policy's metrics that the telemetry can tell, and notes: why the others are left out, what
    stands behind a quantile or a score.

    `flags` and `slos` stand for several, less those that measure what another one does.
    """
    slos = {slo.name for slo in policy.slos}
    listed = [n for n in policy.hotspots.metrics if n in slos or n not in EXPANDED]
    made = {name: _made(telemetry, policy, name) for name in listed}
    measured = {m.metric.measures for m in made.values() if isinstance(m, _Made)}
    metrics: list[Metric] = []
    notes: list[str] = []
    for name in policy.hotspots.metrics:
        own = name in listed
        names = [name] if own else _expanded(telemetry, policy, name, notes)
        for each in names:
            if not own and each in made:
                continue
            found = made[each] if own else made.setdefault(each, _made(telemetry, policy, each))
            if isinstance(found, str):
                notes.append(f"hotspots leave out {each!r}: {found}")
                continue
            if not own and found.metric.measures in measured:
                continue
            measured.add(found.metric.measures)
            metrics.append(found.metric)
            notes += [found.note] if found.note else []
    return metrics, notes


def _expanded(telemetry: Telemetry, policy: Policy, name: str, notes: list[str]) -> list[str]:
    """What a shorthand stands for; `notes` gets what is missing from it."""
    if name == "slos":
        if not policy.slos:
            notes.append("hotspots leave out 'slos': the policy has none")
        notes += [
            f"hotspots leave out the SLO {slo.name!r}: another metric goes by its name"
            for slo in policy.slos
            if slo.name in _BUILT_IN
        ]
        return [slo.name for slo in policy.slos if slo.name not in _BUILT_IN]
    flags = sorted(_flags(telemetry))
    if not flags:
        notes.append(
            "hotspots leave out 'flags': the telemetry has no true/false column that the contract "
            "declares as an outcome or feedback"
        )
    elif len(flags) > MAX_FLAGS:
        notes.append(f"of {len(flags)} flags the first {MAX_FLAGS} by name are hotspot metrics")
    return flags[:MAX_FLAGS]


def _flags(telemetry: Telemetry) -> Iterator[str]:
    for column in telemetry.columns:
        declared = telemetry.contract.column(column)
        if declared is None or column == "is_failure" or telemetry.types.get(column) != "BOOLEAN":
            continue
        if declared.role in ("outcome", "feedback"):
            yield column


def _made(telemetry: Telemetry, policy: Policy, name: str) -> _Made | str:
    """A metric by its name, or why there is none."""
    slos = {slo.name: slo for slo in policy.slos}
    if name in QUANTILES and name not in slos:
        return _slow(telemetry, name, QUANTILES[name])
    column = {"failure": "is_failure", "cost": "cost_usd"}.get(name, name)
    if name == "latency_breach":
        column = policy.latency_slo.rule.column if policy.latency_slo else "latency_ms"
    elif name in slos:
        column = slos[name].rule.column
    elif name in SCORES:
        return _short(telemetry, name)
    reason = telemetry.unusable(column)
    if reason is not None:
        return reason
    if name == "latency_breach" and policy.latency_slo is None:
        return "the policy names no SLO called latency"
    if name == "failure":
        return _Made(Metric.rate(name, "failure"))
    if name == "latency_breach":
        return _Made(Metric.rate(name, "breach"))
    if name == "cost":
        return _Made(Metric.mean(name, "cost_nano", 10**9))
    if name in slos:
        return _Made(Metric.rate(name, telemetry.bad(slos[name].rule)))
    if telemetry.types[column] == "BOOLEAN":
        return _Made(Metric.rate(name, identifier(column)))
    return f"the metric {name!r} is no rate: expected a true/false column, a score or an SLO"


def _slow(telemetry: Telemetry, name: str, q: float) -> _Made | str:
    """The share of interactions as slow as a quantile of all: of the baseline, of a first release its own.

    One edge of the sketch for all slices and both windows, so that it is a rate like any other: the
    lower one of the quantile's bin, for where calls are cut off at a limit, none lies beyond it.
    """
    reason = telemetry.unusable("latency_ms")
    if reason is not None:
        return reason
    window = "candidate" if telemetry.baseline is None else "baseline"
    counts = telemetry.latency_histograms()[1 if telemetry.baseline is None else 0]
    at = quantile_bin(counts, q)
    if at is None:
        return f"no latency is known in the {window} window"
    if at == 0:
        return f"the quantile of the {window} window is 0 ms, and no latency is less"
    edge = beyond_us(at - 1)
    return _Made(
        Metric.rate(name, f"(latency_us >= {edge})"),
        f"{name}: the share of interactions of {edge / 1e3:.6g} ms or longer, which is the "
        f"{100 * q:.0f}th percentile of the {window} window within 2 %",
    )


def _short(telemetry: Telemetry, name: str) -> _Made | str:
    """How far a score is below the best there is: a mean of which more is worse, as of costs.

    Rows whose score is out of the contract's range count in neither numerator nor denominator.
    """
    declared = telemetry.contract.column(name)
    sparse = declared is not None and (
        declared.role == "feedback" or declared.max_missing is not None
    )
    reason = telemetry.unusable(name)
    if reason is not None and (not sparse or not telemetry.has(name)):
        return reason
    if declared is None or declared.type not in ("number", "integer"):
        return "the contract declares it as no number"
    column = identifier(name)
    seen = telemetry.engine.row(
        f"SELECT min({column}), max({column}) FROM fact WHERE win IS NOT NULL"
    )
    if seen[0] is None:
        return "no score is known"
    worst = float(seen[0]) if declared.min is None else declared.min
    best = float(seen[1]) if declared.max is None else declared.max
    if not all(math.isfinite(end) and abs(end) <= _LARGEST for end in (worst, best)):
        return f"its range is not within ±{_LARGEST:g}: give it one in the contract (min, max)"
    value = f"CAST(floor({column} * 1e6 + 0.5) AS BIGINT)"
    within = [] if declared.min is None else [f"{column} >= {literal(declared.min)}"]
    within += [] if declared.max is None else [f"{column} <= {literal(declared.max)}"]
    if within:
        value = f"CASE WHEN {' AND '.join(within)} THEN {value} END"
    notes = []
    if declared.max is None:
        notes.append(
            f"the contract says not how high it can be (max): taken as {best:g}, the highest seen"
        )
    if reason is not None:
        notes.append(f"{reason}, and slices are compared by the scores that there are")
    return _Made(
        Metric.shortfall(name, value, math.floor(best * 1e6 + 0.5), _MICRO),
        f"{name}: {'; '.join(notes)}" if notes else "",
    )
