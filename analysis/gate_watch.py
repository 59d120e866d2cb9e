"""What to alert on once a release has shipped, and at which level to roll it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.check import Check
from analysis.gate import Watch
from analysis.views.result import ViewResult

MIN_DAYS = 7.0
_HEALTH = {
    "health.failure_rate": ("failure rate", "failure_rate", False),
    "health.latency_breach_rate": ("latency breach rate", "latency_breach_rate", False),
    "health.cost_usd": ("cost per interaction in USD", "cost_usd_per_interaction", True),
}


def watch_list(
    results: Mapping[str, ViewResult[Any]], checks: Sequence[Check], candidate_days: float
) -> list[Watch]:
    """Each figure that the gate held to a limit, at that limit; those that it left open for twice as long.

    Health at the baseline's level plus what the gate accepted; burn of each budget, spend and the queue
    of reviews at what the policy affords. For as long as the candidate window was, a week at least: in
    less nobody would tell chance from a rise.

    Roll back above: the level that a figure must not exceed after shipping: of rates and costs the baseline's
    plus what the gate accepted, of budgets and the queue the policy's.
    """
    days = float(max(MIN_DAYS, round(candidate_days)))
    watch = []
    for check in checks:
        if check.severity == "note" or check.limit is None or check.value is None:
            continue
        told = _told(check, results)
        if told is not None:
            what, limit = told
            watch.append(Watch(what, limit, days if check.outcome == "pass" else 2 * days))
    return watch


def _told(check: Check, results: Mapping[str, ViewResult[Any]]) -> tuple[str, float] | None:
    assert check.limit is not None
    if check.id in _HEALTH:
        what, name, is_ratio = _HEALTH[check.id]
        level = getattr(results["health"].section.baseline, name).value
        if level is None:
            return None
        return what, level * check.limit if is_ratio else level + check.limit
    if check.id == "budget.spend":
        budget = results["budget"].section.spend.budget_usd_per_day
        return None if budget is None else ("spend per day in USD", budget)
    if check.view == "budget":
        return f"burn of the error budget of SLO {check.id.removeprefix('budget.')}", check.limit
    if check.id == "triage.queue":
        return "reviews asked for on a day", check.limit
    return None
