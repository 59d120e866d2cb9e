"""Budgets by group, as one table an objective."""

from __future__ import annotations

from analysis.present import spans
from analysis.present.blocks import Body, over, stacked
from analysis.present.escape import Html
from analysis.present.formats import between, count, moment, number, percent, plural
from analysis.present.grid import Column, table, text


def groups(body: Body) -> tuple[Html, ...]:
    """The groups of each objective that the policy tells apart by columns; else nothing."""
    return tuple(_table(body, slo) for slo in body["views"]["budget"]["slos"] if slo["groups"])


def period(slo: Body) -> str:
    """The period of an objective in words."""
    if slo["period"] == "rolling":
        return f"{slo['period_days']} days"
    return (
        f"the {slo['period']} {moment(slo['period_start_utc'])} to {moment(slo['period_end_utc'])}, the "
        "rest of it taken to be as busy as what has gone by"
    )


def _table(body: Body, slo: Body) -> Html:
    held = slo["groups"]
    columns = [
        text("Group"),
        Column("Burn rate"),
        Column("At once for all groups"),
        Column("Budget left"),
        Column("Bad"),
        Column("Interactions"),
    ]
    rows = [
        [
            over(_named(group), _told(group)),
            stacked(group["burn_rate"], number),
            between(group["simultaneous_low"], group["simultaneous_high"], number),
            percent(group["budget_remaining"], 1),
            count(group["bad"]),
            count(group["n"]),
        ]
        for group in held
    ]
    by = ", ".join(held[0]["slice"])
    n = sum(group["burn_rate"]["value"] is not None for group in held)
    source = (
        "Burn rate of the candidate window with its 95 % interval; beside it the limits that hold for all "
        f"{plural(n, 'group')} at once with 95 %, which decide: 1 is the pace that the budget lasts for. "
        f"Budget left is of the period's own. {spans.candidate(body)}"
    )
    return table(
        f"Budget of {slo['name']} by {by}", columns, rows, source, name="An error budget by group"
    )


def _named(group: Body) -> str:
    return ", ".join("not known" if v is None else str(v) for v in group["slice"].values())


def _told(group: Body) -> str:
    parts = [plural(group["n_merged"], "group")] if group["n_merged"] > 1 else []
    return "; ".join([*parts, *([group["reason"]] if group["reason"] else [])])
