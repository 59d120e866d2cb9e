"""Error budgets: burn, what is left, until when, and which alerts fire (STATISTICS section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from analysis.check import Check, Interval, Range, rounded
from analysis.policy import Policy, Slo
from analysis.stats.clusters import intraclass_correlation
from analysis.stats.intervals import clopper_pearson, design_effect, one_sided_binomial_tail
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.events import (
    BUCKET,
    bucket_counts,
    count_events,
    daily_events,
    exhaustion_moment,
    first_event,
)
from analysis.telemetry.windows import DAY, EPOCH, iso, midnight
from analysis.views.health import MAX_CLUSTER_SHARE, MIN_EFFECTIVE_CLUSTERS
from analysis.views.result import ViewResult
from analysis.views.spend import DriversSection, SpendSection, assess_spend

ALERT_LEVEL = 0.01


@dataclass(frozen=True)
class AlertRule:
    """One row of the SRE Workbook's table (chapter 5): windows in hours, share of the budget."""

    long_hours: float
    short_hours: float
    budget_share: float
    pages: bool


ALERT_RULES = (
    AlertRule(1, 1 / 12, 0.02, True),
    AlertRule(6, 0.5, 0.05, True),
    AlertRule(24, 2, 0.10, False),
    AlertRule(72, 6, 0.10, False),
)


@dataclass(frozen=True)
class Alert:
    """One alert at the candidate's end. `burn_*` are burn rates; null without events."""

    long_hours: float
    short_hours: float
    budget_share: float
    threshold: float
    feasible: bool
    burn_long: float | None
    burn_short: float | None
    firing: bool
    firing_plain: bool


@dataclass(frozen=True)
class Episode:
    """A stretch of the candidate window during which an alert fired, on a grid of five minutes."""

    start_utc: str
    end_utc: str
    peak_burn: float
    long_hours: float


@dataclass(frozen=True)
class SloBudget:
    """One SLO. `reason` says why figures are null."""

    name: str
    target: float
    error_budget: float
    period_days: int
    burn_rate: Interval
    budget_consumed: float | None
    budget_remaining: float | None
    exhausts_utc: Range
    alerts: tuple[Alert, ...]
    episodes: tuple[Episode, ...]
    reason: str | None


@dataclass(frozen=True)
class BudgetSection:
    slos: tuple[SloBudget, ...]
    spend: SpendSection
    drivers: DriversSection


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[BudgetSection]:
    """Every SLO's budget, the spend, and what drives it."""
    usable = [slo for slo in policy.slos if telemetry.has(slo.rule.column)]
    moments = telemetry.moments(tuple(metrics(telemetry).values()))
    slos, checks = [], []
    for slo in policy.slos:
        budget = _budget(telemetry, slo, moments.get(slo.name))
        slos.append(budget)
        checks += [_burn_check(budget, moments.get(slo.name)), _alert_check(budget)]
    spend = assess_spend(telemetry, policy)
    return ViewResult(
        section=BudgetSection(tuple(slos), spend.section[0], spend.section[1]),
        checks=(*checks, *spend.checks),
        tables={"slo_burn.csv": _burn_table(slos), **spend.tables},
        series={"burn": _burn_series(telemetry, usable), **spend.series},
        notes=(*(s.reason for s in slos if s.reason), *spend.notes),
    )


def metrics(telemetry: Telemetry) -> dict[str, Metric]:
    """The share of bad events of each SLO whose column is there."""
    return {
        slo.name: Metric.rate(slo.name, telemetry.bad(slo.rule))
        for slo in telemetry.policy.slos
        if telemetry.has(slo.rule.column)
    }


def _budget(telemetry: Telemetry, slo: Slo, m: Moments | None) -> SloBudget:
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
    bad = telemetry.bad(slo.rule)
    rho = intraclass_correlation(m.candidate)
    n, y = m.candidate.n, m.candidate.y
    low, high = clopper_pearson(y, n, design_effect(n, m.candidate.nn, rho))
    burn = Interval.of(y / n / error_budget, low / error_budget, high / error_budget, n)
    consumed, exhausts, why = _consumption(telemetry, slo, bad, error_budget, burn, m)
    alerts = _alerts(telemetry, slo, bad, error_budget, rho)
    return SloBudget(
        name=slo.name,
        target=slo.target,
        error_budget=error_budget,
        period_days=slo.period_days,
        burn_rate=burn,
        budget_consumed=consumed,
        budget_remaining=None if consumed is None else 1 - consumed,
        exhausts_utc=exhausts,
        alerts=alerts,
        episodes=_episodes(telemetry, slo, bad, error_budget, rho, m),
        reason=why,
    )


def _consumption(
    telemetry: Telemetry, slo: Slo, bad: str, error_budget: float, burn: Interval, m: Moments
) -> tuple[float | None, Range, str | None]:
    """Budget consumed by the trailing period, and when the rest runs out."""
    end = telemetry.windows.candidate.end
    start = end - slo.period_days * DAY
    first = midnight(first_event(telemetry))
    if first > start:
        have = (end - first) / DAY
        return (
            None,
            Range(None, None, None),
            (
                f"budget {slo.name}: the telemetry covers {have:.4g} of the period's {slo.period_days} days"
            ),
        )
    events = count_events(telemetry, bad, start, end, own_rows=False)
    if not events.n:
        return None, Range(None, None, None), f"budget {slo.name}: the period has no known outcome"
    allowed = error_budget * events.n
    consumed = rounded(events.bad / allowed)
    if consumed >= 1:
        moment = exhaustion_moment(telemetry, bad, start, end, allowed * (1 - 1e-12))
        when = iso(moment) if moment is not None else None
        return consumed, Range(when, when, when), None
    return consumed, _exhausts(end, slo, 1 - consumed, burn, m, error_budget), None


def _exhausts(
    end: datetime, slo: Slo, remaining: float, burn: Interval, m: Moments, error_budget: float
) -> Range:
    """End of the budget at the candidate's pace, with a 95 % prediction interval.

    Burn of a future day has the variance of the candidate's days, and its mean the error of their
    mean: cumulative burn of t days is μt ± t₀.₉₇₅ s √(t + t²/n), which is solved for the remainder.
    high is None where the budget lasts beyond the period.
    """
    if not burn.value:
        return Range(None, None, None)
    horizon = end + slo.period_days * DAY
    value = end + _span(slo.period_days * remaining / burn.value)
    days = [(n, y) for win, _, n, y in m.days.days if win == 1]
    if len(days) < 3:
        return Range(iso(_second(value)), None, None)
    mean_n = sum(n for n, _ in days) / len(days)
    daily = np.array([y / (error_budget * mean_n) for _, y in days])
    stock = remaining * slo.period_days
    fast, slow = _crossings(float(daily.mean()), float(daily.std(ddof=1)), len(days), stock)
    low = iso(_second(end + _span(fast)))
    late = None if slow is None else end + _span(slow)
    high = None if late is None or late > horizon else iso(_second(late))
    return Range(iso(_second(value)), low, high)


def _crossings(mean: float, deviation: float, n: int, stock: float) -> tuple[float, float | None]:
    """Days until μt ± q s √(t + t²/n) reaches `stock`: the fast and the slow crossing.

    Beyond some 270 years the fast one is infinite, and the slow one None.
    """
    from scipy.stats import t as student

    quantile = float(student.ppf(0.975, n - 1))

    def reach(t: float, sign: int) -> float:
        return mean * t + sign * quantile * deviation * math.sqrt(t + t * t / n)

    def solve(sign: int) -> float | None:
        low, high = 0.0, 1.0
        while reach(high, sign) < stock:
            low, high = high, high * 2
            if high > 1e5:
                return None
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if reach(middle, sign) < stock else (low, middle)
        return high

    fast = solve(1)
    return (math.inf if fast is None else fast), solve(-1)


def _span(days: float) -> timedelta:
    return timedelta(days=min(days, 36_500.0))


def _second(moment: datetime) -> datetime:
    """To the whole second: finer would be noise."""
    return (moment + timedelta(microseconds=500_000)).replace(microsecond=0)


# ── alerts ───────────────────────────────────────────────────────────────────────────────


def alert_threshold(rule: AlertRule, period_days: float) -> float:
    """Burn rate at which `budget_share` of the period's budget goes in the long window."""
    return rule.budget_share * period_days * 24 / rule.long_hours


def _alerts(
    telemetry: Telemetry, slo: Slo, bad: str, error_budget: float, rho: float
) -> tuple[Alert, ...]:
    end, own = telemetry.windows.candidate.end, telemetry.windows.by_release
    out = []
    for rule in ALERT_RULES:
        threshold = rounded(alert_threshold(rule, slo.period_days))
        long = count_events(
            telemetry, bad, end - timedelta(hours=rule.long_hours), end, own_rows=own
        )
        short = count_events(
            telemetry, bad, end - timedelta(hours=rule.short_hours), end, own_rows=own
        )
        burn_long = rounded(long.bad / long.n / error_budget) if long.n else None
        burn_short = rounded(short.bad / short.n / error_budget) if short.n else None
        feasible = threshold < rounded(1 / error_budget)
        plain = (
            feasible
            and burn_long is not None
            and burn_short is not None
            and burn_long >= threshold
            and burn_short >= threshold
        )
        deff = design_effect(long.n, long.cluster_squares, rho) if long.n else 1.0
        out.append(
            Alert(
                rule.long_hours,
                rule.short_hours,
                rule.budget_share,
                threshold,
                feasible,
                burn_long,
                burn_short,
                plain and _beyond(long.bad, long.n, deff, threshold * error_budget),
                plain,
            )
        )
    return tuple(out)


def _beyond(y: float, n: float, deff: float, rate: float) -> bool:
    """Whether so many bad events are improbable (≤ 1 %) at the alert's own threshold rate."""
    return bool(one_sided_binomial_tail(y / deff, n / deff, min(1.0, rate)) <= ALERT_LEVEL)


def _episodes(
    telemetry: Telemetry, slo: Slo, bad: str, error_budget: float, rho: float, m: Moments
) -> tuple[Episode, ...]:
    """When each alert fired during the candidate window, on a grid of five minutes."""
    span, own = telemetry.windows.candidate, telemetry.windows.by_release
    reach = timedelta(hours=max(rule.long_hours for rule in ALERT_RULES))
    start = span.start - reach
    n, y = bucket_counts(telemetry, bad, start, span.end, own_rows=own)
    total_n = np.concatenate([[0], np.cumsum(n)])
    total_y = np.concatenate([[0], np.cumsum(y)])
    first = int(reach / BUCKET)
    origin = EPOCH + BUCKET * (int((start - EPOCH) / BUCKET))
    deff = design_effect(m.candidate.n, m.candidate.nn, rho)
    episodes = []
    for rule in ALERT_RULES:
        threshold = rounded(alert_threshold(rule, slo.period_days))
        if not threshold < rounded(1 / error_budget):
            continue
        # Alerts compare rounded burn rates; this is the same without rounding every one.
        enough = threshold * (1 - 1e-12)
        ends = np.arange(first + 1, len(total_n))
        burns = []
        for hours in (rule.long_hours, rule.short_hours):
            width = max(int(timedelta(hours=hours) / BUCKET), 1)
            events = total_n[ends] - total_n[ends - width]
            failures = total_y[ends] - total_y[ends - width]
            with np.errstate(invalid="ignore", divide="ignore"):
                burns.append(
                    np.where(events > 0, failures / np.maximum(events, 1) / error_budget, 0.0)
                )
            if hours == rule.long_hours:
                long_n, long_y = events, failures
        hot = np.flatnonzero((burns[0] >= enough) & (burns[1] >= enough) & (long_n > 0))
        firing = [
            int(i) for i in hot if _beyond(long_y[i], long_n[i], deff, threshold * error_budget)
        ]
        for begin, finish in _runs(firing):
            episodes.append(
                Episode(
                    iso(origin + BUCKET * int(ends[begin])),
                    iso(min(origin + BUCKET * (int(ends[finish]) + 1), span.end)),
                    float(burns[0][begin : finish + 1].max()),
                    rule.long_hours,
                )
            )
    return tuple(sorted(episodes, key=lambda e: (e.start_utc, e.long_hours)))


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive indices as (first, last), gaps of up to an hour closed."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and index - runs[-1][1] <= 12:
            runs[-1] = (runs[-1][0], int(index))
        else:
            runs.append((int(index), int(index)))
    return runs


# ── checks ───────────────────────────────────────────────────────────────────────────────


def _burn_check(budget: SloBudget, m: Moments | None) -> Check:
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


def _alert_check(budget: SloBudget) -> Check:
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
                    "threshold": alert.threshold if alert else None,
                    "feasible": alert.feasible if alert else None,
                    "burn_long": alert.burn_long if alert else None,
                    "burn_short": alert.burn_short if alert else None,
                    "firing": alert.firing if alert else None,
                    "firing_plain": alert.firing_plain if alert else None,
                }
            )
    return pd.DataFrame(rows)


def _burn_series(telemetry: Telemetry, slos: Sequence[Slo]) -> pd.DataFrame:
    """slo, day, remaining: the share of the budget left at each day's end of the trailing period.

    The budget is that of the whole period, so the line starts near 1 and ends at
    `budget_remaining`. Days in the period before the telemetry begins are left out.
    """
    rows = []
    for slo in slos:
        if telemetry.unusable(slo.rule.column) is not None:
            continue
        bad = telemetry.bad(slo.rule)
        end = telemetry.windows.candidate.end
        start = end - slo.period_days * DAY
        found = daily_events(telemetry, bad, start, end)
        allowed = (1 - slo.target) * sum(r[1] for r in found)
        spent = 0
        for day, _, bad_events in found:
            spent += bad_events
            if allowed:
                moment = pd.Timestamp(EPOCH + (int(day) + 1) * DAY)
                rows.append((slo.name, moment, 1 - spent / allowed))
    return pd.DataFrame(rows, columns=["slo", "day", "remaining"])
