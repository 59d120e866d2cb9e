"""Error budgets: burn, what is left, until when, and which alerts fire (STATISTICS section 4)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from analysis.check import Interval, Range, rounded
from analysis.policy import Policy, Slo
from analysis.stats.clusters import intraclass_correlation
from analysis.stats.intervals import rate_interval
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.events import Timeline, first_event, timelines
from analysis.telemetry.windows import DAY, iso
from analysis.views.budget_alerts import alerted, alerts_of, longest
from analysis.views.budget_checks import alert_check, burn_check, burn_needs
from analysis.views.budget_exhaustion import consumption
from analysis.views.budget_groups import groups_check, groups_of
from analysis.views.budget_incidents import incidents_of
from analysis.views.budget_parts import parts_table, with_parts
from analysis.views.budget_periods import period_of
from analysis.views.budget_section import (
    Alert,
    BudgetGroup,
    BudgetSection,
    Episode,
    Pending,
    SloBudget,
)
from analysis.views.result import ViewResult
from analysis.views.spend import assess_spend


def assess(
    telemetry: Telemetry, policy: Policy, *, headlines_only: bool = False
) -> ViewResult[BudgetSection]:
    """Every SLO's budget, the spend, and what drives it.

    headlines_only: burn, budget consumed and spend, with the checks that can hold a release: alerts
    are left out where they are notes, and so are incidents, and when a budget runs out.
    """
    usable = [slo for slo in policy.slos if telemetry.has(slo.rule.column)]
    moments = telemetry.moments(tuple(metrics(telemetry).values()))
    clock = _clock(telemetry, usable, alerts=not headlines_only or _alerts_hold(policy))
    groups = groups_of(telemetry, usable, moments, clock.first)
    slos, checks = [], []
    for slo in policy.slos:
        m = moments.get(slo.name)
        alerts = not headlines_only or _alert_id(slo) in policy.gate.severity
        budget = _budget(telemetry, slo, m, clock, alerts=alerts, forecast=not headlines_only)
        budget = _placed(budget, slo, telemetry, groups.get(slo.name, ()))
        slos.append(budget)
        checks.append(groups_check(budget, slo, telemetry) if slo.by else burn_check(budget, m))
        checks += [alert_check(budget)] if alerts else []
    spend = assess_spend(telemetry, policy)
    tables, series = {}, {}
    if not headlines_only:
        slos = with_parts(telemetry, usable, slos)
        tables["slo_burn.csv"] = _burn_table(slos)
        tables["slo_by_release.csv"] = parts_table(slos)
        series["burn"] = _burn_series(telemetry, usable, clock)
    return ViewResult(
        section=BudgetSection(tuple(slos), spend.section[0], spend.section[1]),
        checks=(*checks, *spend.checks),
        tables={**tables, **spend.tables},
        series={**series, **spend.series},
        notes=(
            *_exclusions(telemetry),
            *(s.reason for s in slos if s.reason),
            *(_unsettled(s) for s in slos if s.pending.days),
            *spend.notes,
        ),
    )


def metrics(telemetry: Telemetry) -> dict[str, Metric]:
    """The share of bad events of each SLO whose column is there.

    Bad: an interaction that an objective counts against its budget: a flag that is true, or a number beyond
    the objective's limit.
    """
    return {
        slo.name: Metric.rate(slo.name, telemetry.bad(slo.rule))
        for slo in telemetry.policy.slos
        if telemetry.has(slo.rule.column)
    }


def _exclusions(telemetry: Telemetry) -> tuple[str, ...]:
    """What leaves known incidents out, and what does not."""
    if not telemetry.windows.exclude:
        return ()
    counted = "what a budget has spent counts them" if telemetry.windows.by_release else (
        "alerts count them, and so does what a budget has spent"
    )  # fmt: skip
    return (
        "the times that windows.exclude names are left out of the burn rate; "
        f"{counted}, for users suffered them",
    )


def _placed(
    budget: SloBudget, slo: Slo, telemetry: Telemetry, groups: tuple[BudgetGroup, ...]
) -> SloBudget:
    """The budget with its period and its groups."""
    period = period_of(slo, telemetry.windows.candidate.end)
    return dataclasses.replace(
        budget,
        period=slo.period,
        period_start_utc=iso(period.start),
        period_end_utc=iso(period.end),
        groups=groups,
    )


def _alert_id(slo: Slo) -> str:
    return f"budget.{slo.name}.alerts"


def _alerts_hold(policy: Policy) -> bool:
    """Whether the policy gives an alert check a severity of its own."""
    return any(_alert_id(slo) in policy.gate.severity for slo in policy.slos)


@dataclass(frozen=True)
class _Clock:
    """Timelines by SLO: of all rows, and of those that burn is of, where alerts are asked for.
    first: the first event."""

    first: datetime
    every: Mapping[str, Timeline]
    own: Mapping[str, Timeline]


def _clock(telemetry: Telemetry, slos: Sequence[Slo], *, alerts: bool) -> _Clock:
    """Events over time, far enough back for every period and alert, in one scan (a canary: two)."""
    span, first = telemetry.windows.candidate, first_event(telemetry)
    if not slos:
        return _Clock(first, {}, {})
    bads = [telemetry.bad(slo.rule) for slo in slos]
    names = [slo.name for slo in slos]
    period = min(period_of(slo, span.end).start for slo in slos)
    reach = span.start - longest() if alerts else span.start
    canary = telemetry.windows.by_release
    start = max(period if canary else min(period, reach), first)
    every = timelines(telemetry, bads, start, span.end, own_rows=False)
    own = every
    if canary and alerts:
        own = timelines(telemetry, bads, max(reach, first), span.end, own_rows=True)
    return _Clock(first, dict(zip(names, every, strict=True)), dict(zip(names, own, strict=True)))


def _budget(
    telemetry: Telemetry,
    slo: Slo,
    m: Moments | None,
    clock: _Clock,
    *,
    alerts: bool,
    forecast: bool,
) -> SloBudget:
    error_budget = rounded(1 - slo.target)
    reason = telemetry.unusable(slo.rule.column)
    if m is None or reason is not None or not m.candidate.n:
        return SloBudget(
            slo.name,
            slo.target,
            error_budget,
            slo.period_days,
            Interval.unknown(),
            None,
            None,
            Range(None, None, None),
            (),
            (),
            reason or f"the candidate window has no known outcome ({slo.rule.column})",
        )
    rho = intraclass_correlation(m.candidate)
    n = m.candidate.n
    rate, low, high = rate_interval(m.candidate, rho)
    burn = Interval.of(rate / error_budget, low / error_budget, high / error_budget, n)
    every, own = clock.every[slo.name], clock.own[slo.name]
    spent = consumption(telemetry, slo, burn, clock.first, every, own, forecast=forecast)
    fired = alerted(telemetry, slo, rho, own) if alerts else None
    known = spent.consumed is not None
    return SloBudget(
        name=slo.name,
        target=slo.target,
        error_budget=error_budget,
        period_days=slo.period_days,
        burn_rate=burn,
        budget_consumed=spent.consumed,
        budget_remaining=None if spent.consumed is None else 1 - spent.consumed,
        exhausts_utc=spent.exhausts,
        alerts=alerts_of(telemetry, slo, rho, n / (24 * telemetry.candidate_days))
        if alerts
        else (),
        episodes=fired.episodes if fired else (),
        reason=spent.reason,
        needs=burn_needs(burn, m, error_budget, telemetry.candidate_days),
        pending=_pending(telemetry, own) if forecast else Pending(0, ()),
        incidents=incidents_of(telemetry, slo, fired, every, known=known)
        if fired and forecast
        else (),
    )


def _pending(telemetry: Telemetry, own: Timeline) -> Pending:
    """Whose outcome is not known yet, on the days that end with the candidate."""
    span = telemetry.windows.candidate
    n_days = max(math.ceil(span.days), 1)
    n, _, rows = own.days(n_days)
    limit = telemetry.policy.missing.max_rate
    open_days = [
        f"{span.end - (n_days - i) * DAY:%Y-%m-%d}"
        for i in range(n_days)
        if rows[i] - n[i] > limit * rows[i]
    ]
    return Pending(int((rows - n).sum()), tuple(open_days))


def _unsettled(slo: SloBudget) -> str:
    days = slo.pending.days
    named = ", ".join(days[-3:])
    return (
        f"budget {slo.name}: {slo.pending.interactions:,} interactions of the candidate window have no "
        f"known outcome yet; the burn of {len(days)} {'day is' if len(days) == 1 else 'days are'} not "
        f"final ({'the last: ' if len(days) > 3 else ''}{named})"
    )


# ── tables and series ────────────────────────────────────────────────────────────────────


def _burn_table(slos: Sequence[SloBudget]) -> pd.DataFrame:
    """One row an SLO and alert row."""
    rows = []
    for slo in slos:
        for alert in slo.alerts or (None,):
            rows.append(
                {
                    "slo": slo.name,
                    "target": slo.target,
                    "period_days": slo.period_days,
                    "burn_rate": slo.burn_rate.value,
                    "burn_rate_low": slo.burn_rate.low,
                    "burn_rate_high": slo.burn_rate.high,
                    "support": slo.burn_rate.support,
                    "budget_consumed": slo.budget_consumed,
                    "budget_remaining": slo.budget_remaining,
                    "exhausts_utc": slo.exhausts_utc.value,
                    "long_hours": alert.long_hours if alert else None,
                    "short_hours": alert.short_hours if alert else None,
                    "severity": alert.severity if alert else None,
                    "threshold": alert.threshold if alert else None,
                    "feasible": alert.feasible if alert else None,
                    "burn_long": alert.burn_long if alert else None,
                    "burn_long_low": alert.burn_long_interval.low if alert else None,
                    "burn_long_high": alert.burn_long_interval.high if alert else None,
                    "burn_short": alert.burn_short if alert else None,
                    "burn_short_low": alert.burn_short_interval.low if alert else None,
                    "burn_short_high": alert.burn_short_interval.high if alert else None,
                    "firing": alert.firing if alert else None,
                    "firing_plain": alert.firing_plain if alert else None,
                    "outage_detection_hours": alert.outage_detection_hours if alert else None,
                    "outage_firing_hours": alert.outage_firing_hours if alert else None,
                    "min_events": alert.min_events if alert else None,
                }
            )
    return pd.DataFrame(rows)


def _burn_series(telemetry: Telemetry, slos: Sequence[Slo], clock: _Clock) -> pd.DataFrame:
    """slo, day, remaining: the share of the budget left at each day's end of the trailing period.

    The budget is that of the whole period, so the line starts near 1 and ends at
    `budget_remaining`. Days in the period before the telemetry begins are left out.
    """
    rows = []
    for slo in slos:
        if telemetry.unusable(slo.rule.column) is not None:
            continue
        period = period_of(slo, telemetry.windows.candidate.end)
        n_days = -(-period.elapsed // DAY)
        n, y, seen = clock.every[slo.name].days(n_days)
        allowed = rounded(1 - slo.target) * int(n.sum()) / period.share
        spent = 0
        for ago, bad, present in zip(range(n_days - 1, -1, -1), y, seen, strict=True):
            spent += int(bad)
            if allowed and present:
                moment = pd.Timestamp(telemetry.windows.candidate.end - ago * DAY)
                rows.append((slo.name, moment, 1 - spent / allowed))
    return pd.DataFrame(rows, columns=["slo", "day", "remaining"])


__all__ = ["Alert", "BudgetSection", "Episode", "SloBudget", "assess"]
