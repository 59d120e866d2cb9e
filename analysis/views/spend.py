"""Spend: what a day costs, what it will cost, and what moved it (STATISTICS section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from analysis.check import Check, Interval, Outcome, Range, Severity, rounded
from analysis.policy import Policy
from analysis.stats.daily_forecast import MIN_DAYS, variance_of_day
from analysis.stats.intervals import t_quantile
from analysis.telemetry import Telemetry
from analysis.telemetry.spending import spend_pieces, spent, spent_by_day
from analysis.telemetry.windows import coverage, day_number
from analysis.views.price_library import open_library
from analysis.views.prices import price_list
from analysis.views.result import ViewResult
from analysis.views.spend_drivers import DriversSection, assess_drivers, model_keys
from analysis.views.spend_period import (
    Period,
    PeriodSection,
    assess_period,
    unknown_period,
)
from analysis.views.spend_unseen import UnseenCause, together, unseen_spend

NANO = 1e9


@dataclass(frozen=True)
class SpendSection:
    """USD a day over all traffic of the candidate's time span, as far as its cost is known.

    unseen: what the log cannot see, by cause (see `spend_unseen`); unseen_usd: its value in all.
    forecast_usd_per_day: mean of the next days, as many as the candidate window has. Forecasts rest on
    `history_days` whole days, and know weekdays where `weekdays` says so.
    """

    usd_per_day: Interval
    budget_usd_per_day: float | None
    burn_rate: Interval
    forecast_usd_per_day: Range
    unseen_usd: float | None
    unseen: tuple[UnseenCause, ...]
    period: PeriodSection
    history_days: int
    weekdays: bool


def assess_spend(
    telemetry: Telemetry, policy: Policy
) -> ViewResult[tuple[SpendSection, DriversSection]]:
    """Spend a day with its interval and forecast, its check, and the drivers of its change.

    Spend (USD a day): what all traffic of the candidate's days cost a day, as far as its cost is known, with
    a 95 % interval between days.

    budget.spend: spend divided by the policy's budget a day. It passes only if it also would with all that
    the log cannot see, at its upper bound.
    """
    keys, prices = model_keys(telemetry), price_list(policy)
    library = open_library(policy, telemetry.windows)
    moments = prices.moments if library is None else library.moments
    pieces = spend_pieces(telemetry, keys, moments) if telemetry.has("cost_usd") else ()
    if library is not None:
        prices = library.price_list(keys, {p.model for p in pieces})
    drivers = assess_drivers(telemetry, pieces, prices, keys)
    reason = telemetry.unusable("cost_usd")
    if reason is not None:
        period = unknown_period(telemetry, policy, reason)
        days = pd.DataFrame({"day": [], "usd": [], "coverage": []})
        per_day = Interval.unknown()
    else:
        period = assess_period(telemetry, policy)
        days = _daily(telemetry)
        per_day = _per_day(telemetry, days, period.correlation)
        if per_day.value is None:
            period = unknown_period(telemetry, policy, "no interaction has a known cost (cost_usd)")
    unseen = unseen_spend(pieces, prices, keys, _cap(policy))
    section = _section(policy, per_day, period, unseen, reason is None)
    return ViewResult(
        section=(section, drivers.section),
        checks=(_check(section, reason, telemetry.candidate_days),),
        tables={"spend_drivers.csv": drivers.table, "spend_by_hour.csv": period.hours},
        series={"spend_days": days, "spend_period": period.path, "drivers": drivers.series},
        notes=(*((reason,) if reason else ()), *_period_note(period, reason), *drivers.notes),
    )


def _cap(policy: Policy) -> float | None:
    """The most USD that an interaction of unknown cost can cost, as far as the policy says."""
    if policy.spend.unseen_cap_usd is not None:
        return policy.spend.unseen_cap_usd
    given = "bounds" in policy.routing.model_fields_set  # the default is nobody's word
    bounds = policy.routing.bounds.get("cost_usd") if given else None
    return None if bounds is None else bounds[1]


def _period_note(period: Period, reason: str | None) -> tuple[str, ...]:
    why = period.section.reason
    return (f"the forecast of spend: {why}",) if why and why != reason else ()


def _section(
    policy: Policy,
    per_day: Interval,
    period: Period,
    unseen: tuple[UnseenCause, ...],
    usable: bool,
) -> SpendSection:
    budget = policy.spend.budget_usd_per_day
    burn, forecast = Interval.unknown(per_day.support), Range(None, None, None)
    if per_day.value is not None:
        forecast = period.next_days
        if forecast.value is None:
            forecast = Range(per_day.value, None, None)
        if budget is not None:
            shares = [
                None if v is None else v / budget
                for v in (per_day.value, per_day.low, per_day.high)
            ]
            burn = Interval.of(shares[0], shares[1], shares[2], per_day.support)
    in_all = together(unseen).value if usable and per_day.value is not None else None
    assert not isinstance(in_all, str)
    return SpendSection(
        usd_per_day=per_day,
        budget_usd_per_day=budget,
        burn_rate=burn,
        forecast_usd_per_day=forecast,
        unseen_usd=in_all,
        unseen=unseen,
        period=period.section,
        history_days=period.history_days,
        weekdays=period.weekdays,
    )


def _daily(telemetry: Telemetry) -> pd.DataFrame:
    """day (UTC midnight), usd, coverage: every day of the span, those without traffic as zero.

    coverage: the share of the day that lies within the window and in no exclusion.
    """
    by_day = spent_by_day(telemetry)
    covered = coverage(telemetry.windows, telemetry.windows.candidate)
    return pd.DataFrame(
        {
            "day": [pd.Timestamp(d, unit="D", tz="UTC") for d in covered],
            "usd": [by_day.get(d, 0) / NANO for d in covered],
            "coverage": list(covered.values()),
        }
    )


def _per_day(telemetry: Telemetry, days: pd.DataFrame, correlation: float) -> Interval:
    """Known spend a day with its interval: the larger variance of days and of clusters.

    correlation: of neighbouring days.
    """
    found, length = spent(telemetry), telemetry.candidate_days
    if not found.n_known:
        return Interval.unknown()
    value = found.nano_usd / NANO / length
    # Days that are cut short, by the window's ends or an exclusion, do not vary like whole ones.
    whole = days[days["coverage"] == 1.0]
    # Clusters arrive at random: the variance of a compound Poisson total is Σ y_c².
    variance, df = found.cluster_squares / NANO**2 / length**2, math.inf
    if len(whole) >= MIN_DAYS:
        numbers = [day_number(d) for d in whole["day"]]
        between, between_df = variance_of_day(numbers, whole["usd"].to_numpy(), correlation)
        if between / length >= variance:
            variance, df = between / length, between_df
    half = t_quantile(0.975, df) * math.sqrt(variance)
    return Interval.of(value, max(value - half, 0.0), value + half, found.n_known)


def _unseen_reason(spend: SpendSection, high: float, length: float) -> str | None:
    """Why spend that the log cannot see leaves the check open; None where it fits into the budget."""
    most, n = together(spend.unseen).high, sum(c.n for c in spend.unseen)
    told = f"{n:,} {'interaction has' if n == 1 else 'interactions have'} no known cost"
    if not n:
        return None
    if most is None:
        return f"{told}, and nothing bounds what was paid"
    assert spend.budget_usd_per_day is not None
    if rounded(high + float(most) / length / spend.budget_usd_per_day) > 1:
        return f"{told}, and at most {float(most):.2f} USD were paid, which may exceed the budget"
    return None


def _check(spend: SpendSection, reason: str | None, length: float) -> Check:
    burn = spend.burn_rate
    outcome: Outcome = "inconclusive"
    severity: Severity = "hold"
    action = "Wait for more traffic, or provide what is missing."
    if spend.budget_usd_per_day is None:
        severity, reason = "note", "the policy sets no budget (spend.budget_usd_per_day)"
        sentence, action = (
            f"Spend is not judged: {reason}.",
            "Set spend.budget_usd_per_day in the policy if spend should be judged.",
        )
    elif reason is not None or burn.value is None or burn.low is None or burn.high is None:
        reason = reason or "no interaction has a known cost (cost_usd)"
        sentence = f"Spend cannot be judged: {reason}."
    else:
        day = spend.usd_per_day
        story = (
            f"Spend is {day.value:.2f} USD a day (95 % interval {day.low:.2f} to {day.high:.2f}) "
            f"against a budget of {spend.budget_usd_per_day:g} USD a day"
        )
        if rounded(burn.low) > 1:
            outcome, sentence = "fail", f"{story}: over budget."
            action = (
                "Read the drivers on the budgets page, and cut the largest or raise the budget."
            )
        elif rounded(burn.high) <= 1 and (unseen := _unseen_reason(spend, burn.high, length)):
            reason = unseen
            sentence = f"{story}, as far as it is known: {reason}."
            action = (
                "Log the cost of every interaction; or give the prices (spend.prices) or a cap "
                "(spend.unseen_cap_usd) in the policy, so that what is missing is bounded."
            )
        elif rounded(burn.high) <= 1:
            outcome, sentence, action = "pass", f"{story}: within budget.", "Nothing to do."
        else:
            reason = "the interval holds the budget"
            sentence = f"{story}: whether it is within budget is not decided."
    return Check.of(
        "budget.spend",
        "budget",
        outcome,
        severity,
        burn,
        limit=1.0,
        unit="burn rate",
        reason=reason if outcome == "inconclusive" else None,
        sentence=sentence,
        action=action,
    )
