"""Could the unknown rows flip the decision? The gate's own checks at both extremes.

Health and budgets are computed twice more, with every unknown row taken as bad in the candidate and
good in the baseline, and the other way round (`telemetry.unknown`). Both extremes also bound every
headline figure. Hotspots, drift and triage stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis import gate
from analysis.check import Check, Interval, RegressionTest
from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.unknown import count_unknown, taken_as
from analysis.views import budget, health
from analysis.views.contract import BoundInfo, BoundsInfo, unknown_info
from analysis.views.health import Figures
from analysis.views.looks import gate_error
from analysis.views.result import ViewResult

Results = Mapping[str, ViewResult[Any]]


def assess(
    telemetry: Telemetry, policy: Policy, results: Results, extra: Sequence[Check]
) -> BoundsInfo | None:
    """Bounds of the headline figures, and both decisions; None where every row is known.

    results: what the views found. extra: checks of the contract that count at either extreme too.
    """
    unknown = count_unknown(telemetry)
    if not any(u.anything for u in unknown.values()):
        return None
    extremes: dict[str, Results] = {}
    for extreme in ("best", "worst"):
        with taken_as(telemetry, extreme) as taken:  # type: ignore[arg-type]
            extremes[extreme] = {
                "health": health.assess(taken, policy),
                "budget": budget.assess(taken, policy),
            }
    outcomes = {
        name: decision(telemetry, policy, {**results, **found}, extra).outcome
        for name, found in extremes.items()
    }
    return BoundsInfo(
        baseline=unknown_info(unknown["baseline"]),
        candidate=unknown_info(unknown["candidate"]),
        figures=tuple(_figures(results, extremes["best"], extremes["worst"])),
        best=outcomes["best"],
        worst=outcomes["worst"],
    )


def decision(
    telemetry: Telemetry, policy: Policy, results: Results, extra: Sequence[Check]
) -> gate.Decision:
    """What the gate decides on these results."""
    first = telemetry.baseline is None
    tests: list[Check | RegressionTest] = [*extra, *(c for r in results.values() for c in r.checks)]
    checks = gate.judge(tests, policy, gate_error(policy, telemetry.windows), first_release=first)
    return gate.decide(checks, tests, first_release=first)


def _figures(base: Results, best: Results, worst: Results) -> list[BoundInfo]:
    out = []
    for name in Figures.__annotations__:
        for window in ("baseline", "candidate", "change"):
            value, low, high = (_health(found, window, name) for found in (base, best, worst))
            if window == "baseline":  # good in the worst case
                low, high = high, low
            out.append(BoundInfo(name, window, value.value, low.value, high.value))  # type: ignore[arg-type]
    burns = [{s.name: s.burn_rate for s in r["budget"].section.slos} for r in (base, best, worst)]
    for name in burns[0]:
        value, low, high = (b[name] for b in burns)
        out.append(BoundInfo(f"{name}_burn_rate", "candidate", value.value, low.value, high.value))
    spend = [r["budget"].section.spend.usd_per_day.value for r in (base, best, worst)]
    out.append(BoundInfo("usd_per_day", "candidate", spend[0], spend[1], spend[2]))
    return out


def _health(results: Results, window: str, name: str) -> Interval:
    figure: Interval = getattr(getattr(results["health"].section, window), name)
    return figure
