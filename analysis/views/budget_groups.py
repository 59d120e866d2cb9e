"""Error budgets by group, such as each account tier's own (`by:` of an objective).

A group's burn takes the intraclass correlation of the whole candidate window (STATISTICS section 1).
Bonferroni intervals over the m groups with known outcomes decide: all of them hold at once with
probability 0.95, so a team that watches m groups is not called m times as often by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from analysis.check import Check, Interval, Outcome, rounded
from analysis.policy import Slo
from analysis.stats.clusters import intraclass_correlation
from analysis.stats.intervals import rate_interval
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.fact import micros
from analysis.telemetry.group_moments import GroupMoments, group_moments
from analysis.telemetry.groups import Group, Grouping, grouping
from analysis.telemetry.windows import midnight
from analysis.views.budget_checks import check_of, too_little
from analysis.views.budget_periods import period_of
from analysis.views.budget_section import BudgetGroup, SloBudget

OTHERS = "(all others)"
ERROR = 0.05
Counts = Mapping[int, tuple[int, int]]
"""Group's code → events with a known outcome, and bad ones; −1 is in none of the groups."""


def groups_of(
    telemetry: Telemetry, slos: Sequence[Slo], moments: Mapping[str, Moments], first: datetime
) -> dict[str, tuple[BudgetGroup, ...]]:
    """The groups of each objective that has a `by`, by its name; those of equal `by` in one reduction.

    slos: those whose columns are there. moments: of the whole windows. first: the first event.
    """
    out: dict[str, tuple[BudgetGroup, ...]] = {}
    end = telemetry.windows.candidate.end
    shared: dict[tuple[str, ...], list[Slo]] = {}
    for slo in slos:
        if slo.by and telemetry.has(*slo.by) and moments[slo.name].candidate.n:
            shared.setdefault(slo.by, []).append(slo)
    for columns, own in shared.items():
        with grouping(telemetry.engine, columns) as by:
            metrics = [Metric.rate(slo.name, telemetry.bad(slo.rule)) for slo in own]
            found = group_moments(telemetry.engine, by, metrics)
            spent = _spent(telemetry, by, own, first)
        for slo, counts in zip(own, spent, strict=True):
            out[slo.name] = _groups(
                slo, by, found, moments[slo.name], counts, period_of(slo, end).share
            )
    return out


def _spent(
    telemetry: Telemetry, by: Grouping, slos: Sequence[Slo], first: datetime
) -> list[Counts | None]:
    """Events of each objective's period so far, by group, in one scan; None where it began before the
    telemetry did."""
    end = telemetry.windows.candidate.end
    starts = [period_of(slo, end).start for slo in slos]
    known = [i for i, start in enumerate(starts) if midnight(first) <= start]
    out: list[Counts | None] = [None] * len(slos)
    if not known:
        return out
    inner, outer = [], []
    for i in known:
        since = f"f.ts_us >= {micros(starts[i])}"
        inner.append(f"CASE WHEN {since} THEN {telemetry.bad(slos[i].rule)} END AS b{i}")
        outer += [f"count(b{i})", f"coalesce(sum(CASE WHEN b{i} THEN 1 ELSE 0 END), 0)"]
    rows = telemetry.engine.rows(
        f"SELECT g, {', '.join(outer)} FROM (SELECT {by.code} AS g, {', '.join(inner)} "
        f"FROM fact AS f {by.joins} WHERE f.ts_us >= {micros(min(starts[i] for i in known))} "
        f"AND f.ts_us < {micros(end)}) AS q GROUP BY g"
    )
    for place, i in enumerate(known):
        out[i] = {
            int(g): (int(values[2 * place]), int(values[2 * place + 1])) for g, *values in rows
        }
    return out


def _groups(
    slo: Slo,
    by: Grouping,
    found: Sequence[GroupMoments],
    whole: Moments,
    spent: Counts | None,
    elapsed: float,
) -> tuple[BudgetGroup, ...]:
    groups, moments = list(by.groups), [g.moments[slo.name] for g in found]
    places = list(range(len(groups)))
    if spent is not None and spent.get(-1, (0, 0))[0]:
        # Burned within the period by groups that neither window has.
        nothing = moments[0]
        groups.append(Group(None, 0, 0))
        places.append(-1)
        moments.append(_empty(nothing))
    rho = intraclass_correlation(whole.candidate)
    m = sum(one.candidate.n > 0 for one in moments)
    return tuple(
        _group(
            slo,
            by.columns,
            group,
            one,
            rho,
            m,
            None if spent is None else spent.get(place),
            elapsed,
        )
        for group, one, place in zip(groups, moments, places, strict=True)
    )


def _empty(m: Moments) -> Moments:
    """The same of no row at all."""
    none = replace(m.candidate, n=0, y=0, nn=0, yy=0, ny=0, clusters=0, largest=0, bad_clusters=0)
    return replace(m, candidate=none, baseline=none, support_candidate=0, support_baseline=0)


def _group(
    slo: Slo,
    columns: Sequence[str],
    group: Group,
    moments: Moments,
    rho: float,
    m: int,
    spent: tuple[int, int] | None,
    elapsed: float,
) -> BudgetGroup:
    """elapsed: the part of the period that has gone by; the rest is taken to be as busy."""
    error_budget = rounded(1 - slo.target)
    w = moments.candidate
    burn, low, high = Interval.unknown(), None, None
    if w.n:
        rate, least, most = rate_interval(w, rho)
        burn = Interval.of(rate / error_budget, least / error_budget, most / error_budget, w.n)
        _, least, most = rate_interval(w, rho, 1 - ERROR / m)
        low, high = least / error_budget, most / error_budget
    consumed = None
    if spent and spent[0]:
        consumed = rounded(spent[1] * elapsed / (error_budget * spent[0]))
    return BudgetGroup(
        slice=dict.fromkeys(columns, OTHERS)
        if group.values is None
        else dict(zip(columns, group.values, strict=True)),
        n_merged=group.n_merged,
        n=w.n,
        bad=w.y,
        burn_rate=burn,
        simultaneous_low=low,
        simultaneous_high=high,
        budget_consumed=consumed,
        budget_remaining=None if consumed is None else 1 - consumed,
        reason=too_little(moments) if w.n else "no outcome is known in the candidate window",
    )


# ── the check ────────────────────────────────────────────────────────────────────────────


def groups_check(budget: SloBudget, slo: Slo, telemetry: Telemetry) -> Check:
    """Fails where any group burns too fast for sure, passes where every group surely does not.

    At once for all groups (×): limits of the burn rates of all groups of an objective that hold together with
    95 %. The objective fails where any group burns too fast for sure, and passes where none can.
    """
    known = [g for g in budget.groups if g.burn_rate.value is not None]
    judged = [g for g in known if g.reason is None]
    by = ", ".join(slo.by)
    if not known:
        reason = budget.reason or telemetry.unusable(*slo.by) or "no group has a known outcome"
        return _made(
            budget, "inconclusive", None, 0, reason,
            f"The burn of SLO {budget.name} by {by} cannot be computed: {reason}.",
        )  # fmt: skip
    unusable = telemetry.unusable(slo.rule.column, *slo.by)
    too_fast = [g for g in judged if rounded(g.simultaneous_low or 0.0) > 1]
    open_ = [g for g in known if g.reason is not None or rounded(g.simultaneous_high or 0.0) > 1]
    pool = too_fast or open_ or known
    shown = max(
        pool, key=lambda g: (g.simultaneous_low if too_fast else g.simultaneous_high) or 0.0
    )
    assert shown.burn_rate.value is not None
    story = (
        f"SLO {budget.name} by {by}: {_named(shown)} burns its error budget at "
        f"{shown.burn_rate.value:.2f} times the sustainable rate (95 % interval over all {len(known)} "
        f"groups at once {shown.simultaneous_low:.2f} to {shown.simultaneous_high:.2f}, target "
        f"{100 * budget.target:g} %)"
    )
    if unusable is not None:
        return _made(
            budget, "inconclusive", shown, len(known), unusable,
            f"{story}: not judged, because {unusable}.",
        )  # fmt: skip
    if too_fast:
        more = f", and so do {len(too_fast) - 1} others" if len(too_fast) > 1 else ""
        return _made(budget, "fail", shown, len(known), None, f"{story}: too fast{more}.")
    if not open_:
        return _made(
            budget, "pass", shown, len(known), None, f"{story}, the most: every budget lasts."
        )
    reason = (
        f"{len(open_)} of {len(known)} groups are not decided"
        if len(open_) > 1
        else shown.reason or "its interval holds 1"
    )
    return _made(
        budget,
        "inconclusive",
        shown,
        len(known),
        reason,
        f"{story}: not decided, because {reason}.",
    )


def _made(
    budget: SloBudget,
    outcome: Outcome,
    group: BudgetGroup | None,
    n_groups: int,
    reason: str | None,
    sentence: str,
) -> Check:
    figure = Interval.unknown()
    if group is not None:
        figure = Interval(
            group.burn_rate.value,
            group.simultaneous_low,
            group.simultaneous_high,
            budget.burn_rate.support,
        )
    return check_of(
        f"budget.{budget.name}",
        outcome,
        "hold",
        figure,
        1.0,
        "burn rate",
        reason,
        sentence,
        {
            "fail": "Find what burns the budget of these groups (the hotspots page has the slices), and fix "
            "it before shipping more change.",
            "pass": "Nothing to do.",
            "inconclusive": "Watch the burn rate of each group; wait for more traffic, then review again."
            if n_groups
            else "Provide what is missing, then review again.",
        },
    )


def _named(group: BudgetGroup) -> str:
    return ", ".join(f"{k} “{_short(v)}”" for k, v in group.slice.items())


def _short(value: str | None) -> str:
    text = "not known" if value is None else value
    return text if len(text) <= 60 else text[:59] + "…"
