"""The checks of error budgets: burn, and burn alerts (STATISTICS section 2)."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.check import Check, Interval, rounded
from analysis.telemetry import Moments
from analysis.views.budget_section import SloBudget
from analysis.views.health import MAX_CLUSTER_SHARE, MIN_EFFECTIVE_CLUSTERS


def burn_check(budget: SloBudget, m: Moments | None) -> Check:
    burn = budget.burn_rate
    reason = budget.reason if burn.value is None else _too_little(m)
    outcome = "inconclusive"
    if burn.value is None:
        sentence = f"The burn of SLO {budget.name} cannot be computed: {reason}."
    else:
        assert burn.low is not None and burn.high is not None
        story = (
            f"SLO {budget.name} burns its error budget at {burn.value:.2f} times the sustainable rate "
            f"(95 % interval {burn.low:.2f} to {burn.high:.2f}, target {100 * budget.target:g} %)"
        )
        if reason is not None:
            sentence = f"{story}: not judged, because {reason}."
        elif rounded(burn.low) > 1:
            outcome, sentence = "fail", f"{story}: too fast."
        elif rounded(burn.high) <= 1:
            outcome, sentence = "pass", f"{story}: the budget lasts."
        else:
            reason = "the interval holds 1"
            sentence = f"{story}: whether the budget lasts is not decided."
    return _check(
        f"budget.{budget.name}",
        outcome,
        "hold",
        burn,
        1.0,
        "burn rate",
        reason,
        sentence,
        {
            "fail": "Find what burns the budget (the alert times are on the budgets page, the slices on the "
            "hotspots page), and fix it before shipping more change.",
            "pass": "Nothing to do.",
            "inconclusive": "Provide what is missing, then review again."
            if burn.value is None
            else "Watch the burn rate; wait for more traffic, then review again.",
        },
    )


def _too_little(m: Moments | None) -> str | None:
    if m is None or not m.candidate.n:
        return "the candidate window has no known outcome"
    effective = m.candidate.n**2 / m.candidate.nn
    if effective < MIN_EFFECTIVE_CLUSTERS:
        return (
            f"the candidate window has {effective:.0f} effective clusters; "
            f"at least {MIN_EFFECTIVE_CLUSTERS} are needed"
        )
    share = m.candidate.largest / m.candidate.n
    if share > MAX_CLUSTER_SHARE:
        return f"one cluster holds {100 * share:.0f} % of the candidate window"
    return None


def alert_check(budget: SloBudget) -> Check:
    check_id = f"budget.{budget.name}.alerts"
    if not budget.alerts:
        return _check(
            check_id,
            "inconclusive",
            "note",
            Interval.unknown(),
            0.0,
            "episodes",
            budget.reason,
            f"Alerts on {budget.name} cannot be evaluated: {budget.reason}.",
            {"inconclusive": "Provide what is missing."},
        )
    firing = [a for a in budget.alerts if a.firing]
    n = len(budget.episodes)
    quiet = not firing and not n
    barred = [a for a in budget.alerts if not a.feasible]
    sentence = (
        f"No burn alert on {budget.name} fires at the window's end, and none fired during it."
        if quiet
        else f"Burn alerts on {budget.name}: {len(firing)} firing at the window's end; "
        f"{n} {'episode' if n == 1 else 'episodes'} during the window."
    )
    if barred:
        names = ", ".join(f"{a.long_hours:g} h" for a in barred)
        sentence += (
            f" The {names} rows can never fire: their threshold is beyond the burn of a full outage "
            f"({1 / budget.error_budget:.1f})."
        )
    # What fires at the end is an episode too; the grid of the episodes may just miss it.
    shown = Interval(float(max(n, len(firing))), None, None, budget.burn_rate.support)
    return _check(
        check_id,
        "pass" if quiet else "fail",
        "note",
        shown,
        0.0,
        "episodes",
        None,
        sentence,
        {
            "pass": "Nothing to do.",
            "fail": "See on the budgets page when the alerts fired, and find what broke then.",
        },
    )


def _check(
    check_id: str,
    outcome: str,
    severity: str,
    figure: Interval,
    limit: float,
    unit: str,
    reason: str | None,
    sentence: str,
    actions: Mapping[str, str],
) -> Check:
    return Check(
        id=check_id,
        view="budget",
        outcome=outcome,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        value=figure.value,
        low=figure.low,
        high=figure.high,
        limit=limit,
        comparison="at_most",
        unit=unit,
        support=figure.support,
        p_value=None,
        p_adjusted=None,
        reason=reason if outcome == "inconclusive" else None,
        sentence=sentence,
        action=actions[outcome],
    )
