"""The checks of error budgets: burn, and burn alerts (STATISTICS section 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.check import Check, Interval, Outcome, Severity, rounded
from analysis.stats.clusters import intraclass_correlation
from analysis.stats.intervals import design_effect
from analysis.stats.needed import rows_to_settle
from analysis.telemetry import Moments
from analysis.views.budget_alerts import fastest
from analysis.views.budget_section import Alert, BurnNeeds, SloBudget
from analysis.views.health_checks import MAX_CLUSTER_SHARE, MAX_WINDOWS, MIN_EFFECTIVE_CLUSTERS


def burn_check(budget: SloBudget, m: Moments | None) -> Check:
    """Whether the burn of the candidate window is sustainable.

    Burn rate (×): bad share of the candidate window divided by the error budget, which is one minus the
    objective's target. At 1 the budget lasts exactly one period. Source: Google SRE Workbook, chapter 5.

    budget.SLO: the burn rate of an objective; it passes where the whole 95 % interval is at most 1, and
    fails where all of it is above.
    """
    burn = budget.burn_rate
    reason = budget.reason if burn.value is None else too_little(m)
    outcome: Outcome = "inconclusive"
    if burn.value is None:
        sentence = f"The burn of SLO {budget.name} cannot be computed: {reason}."
    else:
        assert burn.low is not None and burn.high is not None
        story = (
            f"SLO {budget.name} burns its error budget at {burn.value:.2f} times the sustainable rate "
            f"(95 % interval {burn.low:.2f} to {burn.high:.2f}, target {100 * budget.target:g} %)"
        )
        if reason is not None:
            reason = f"{reason}; {_still_needed(budget.needs)}"
            sentence = f"{story}: not judged, because {reason}."
        elif rounded(burn.low) > 1:
            outcome, sentence = "fail", f"{story}: too fast."
        elif rounded(burn.high) <= 1:
            outcome, sentence = "pass", f"{story}: the budget lasts."
        else:
            reason = f"the interval holds 1; {_still_needed(budget.needs)}"
            sentence = (
                f"{story}: whether the budget lasts is not decided; {_still_needed(budget.needs)}."
            )
    return check_of(
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


def burn_needs(burn: Interval, m: Moments, error_budget: float, days: float) -> BurnNeeds:
    """What more decides whether `burn` is at most 1, or above. days: length of the candidate window.

    Beyond ten windows more of the same says nothing; below the floors ten windows are no end, for
    small traffic is far from them. A giant cluster's share does not shrink with more of the same.
    """
    window = m.candidate
    if burn.value is None or burn.low is None or burn.high is None:
        return BurnNeeds(None, None)
    low, high, floor = rounded(burn.low), rounded(burn.high), too_little(m)
    if floor is None and (low > 1 or high <= 1):
        return BurnNeeds(0, 0.0)
    if window.largest > MAX_CLUSTER_SHARE * window.n:
        return BurnNeeds(None, None)
    deff = design_effect(window.n, window.nn, intraclass_correlation(window))
    needed = rows_to_settle(window.rate, error_budget, deff)
    if floor is not None:
        needed = max(needed, window.n * MIN_EFFECTIVE_CLUSTERS / window.effective_clusters)
    elif needed > MAX_WINDOWS * window.n:
        return BurnNeeds(None, None)
    if not math.isfinite(needed):
        return BurnNeeds(None, None)
    more = max(math.ceil(needed - window.n), 1)
    return BurnNeeds(more, math.ceil(10 * more / (window.n / days)) / 10)


def _still_needed(needs: BurnNeeds) -> str:
    if needs.interactions is None or needs.days is None:
        return "more of the same traffic cannot decide it"
    return (
        f"about {needs.interactions:,} more interactions ({needs.days:,g} days at current traffic) "
        "would decide it"
    )


def outage_story(alerts: Sequence[Alert]) -> str:
    """What a full outage takes to detect, and by which row; or that nothing can page."""
    page, ticket = fastest(alerts, "page"), fastest(alerts, "ticket")
    if page is not None:
        return (
            f"At current traffic a full outage pages after {_length(page.outage_firing_hours)} "
            f"(the {_length(page.long_hours)} row)"
        )
    if ticket is not None:
        return (
            "No row can page, even in a full outage: that opens a ticket after "
            f"{_length(ticket.outage_firing_hours)} (the {_length(ticket.long_hours)} row)"
        )
    return "No alert can fire, even in a full outage"


def _length(hours: float | None) -> str:
    assert hours is not None
    return f"{60 * hours:.0f} minutes" if hours < 1 else f"{hours:.3g} h"


def too_little(m: Moments | None) -> str | None:
    """Why a burn rate has too little evidence to be judged (STATISTICS section 1), or None."""
    if m is None or not m.candidate.n:
        return "the candidate window has no known outcome"
    effective = m.candidate.effective_clusters
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
    """Whether any alert fires, or fired.

    budget.SLO.alerts: whether a burn alert of the objective fires at the end of the candidate window, or
    fired in it.
    """
    check_id = f"budget.{budget.name}.alerts"
    if not budget.alerts:
        return check_of(
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
    # One failing cluster is one event; where there are no others, nobody can tell it from an outage.
    doubtful = [a for a in budget.alerts if a.firing_plain and not a.firing] if quiet else []
    reason = None
    if doubtful:
        names = ", ".join(f"{a.long_hours:g} h" for a in doubtful)
        reason = f"the {names} rows burn fast enough to fire, by too few events to tell from chance"
        sentence += f" Whether one should is not decided: {reason}."
    sentence += f" {outage_story(budget.alerts)}."
    # What fires at the end is an episode too; the grid of the episodes may just miss it.
    shown = Interval(float(max(n, len(firing))), None, None, budget.burn_rate.support)
    return check_of(
        check_id,
        "inconclusive" if doubtful else "pass" if quiet else "fail",
        "note",
        shown,
        0.0,
        "episodes",
        reason,
        sentence,
        {
            "pass": "Nothing to do.",
            "inconclusive": "Look at what failed; more of it fires the alert.",
            "fail": "See on the budgets page when the alerts fired, and find what broke then.",
        },
    )


def check_of(
    check_id: str,
    outcome: Outcome,
    severity: Severity,
    figure: Interval,
    limit: float,
    unit: str,
    reason: str | None,
    sentence: str,
    actions: Mapping[str, str],
) -> Check:
    """A check of budgets. actions: what to do, by outcome."""
    return Check.of(
        check_id,
        "budget",
        outcome,
        severity,
        figure,
        limit=limit,
        unit=unit,
        reason=reason if outcome == "inconclusive" else None,
        sentence=sentence,
        action=actions[outcome],
    )
