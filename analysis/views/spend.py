"""Spend: what a day costs, what it will cost, and what moved it (STATISTICS section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis.check import Check, Interval, Range, rounded
from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.spending import spend_pieces, spent, spent_by_day
from analysis.telemetry.windows import coverage
from analysis.views.prices import price_list
from analysis.views.result import ViewResult
from analysis.views.spend_drivers import DriversSection, assess_drivers, model_keys
from analysis.views.spend_unseen import UnseenCause, together, unseen_spend

NANO = 1e9
MIN_DAYS_FOR_WEEKDAYS = 21


@dataclass(frozen=True)
class SpendSection:
    """USD a day over all traffic of the candidate's time span, as far as its cost is known.

    unseen: what the log cannot see, by cause (see `spend_unseen`); unseen_usd: its value in all.
    """

    usd_per_day: Interval
    budget_usd_per_day: float | None
    burn_rate: Interval
    forecast_usd_per_day: Range
    unseen_usd: float | None
    unseen: tuple[UnseenCause, ...] = ()


def assess_spend(
    telemetry: Telemetry, policy: Policy
) -> ViewResult[tuple[SpendSection, DriversSection]]:
    """Spend a day with its interval and forecast, its check, and the drivers of its change."""
    keys, prices = model_keys(telemetry), price_list(policy)
    pieces = spend_pieces(telemetry, keys, prices.moments) if telemetry.has("cost_usd") else ()
    drivers = assess_drivers(telemetry, pieces, prices, keys)
    budget = policy.spend.budget_usd_per_day
    reason = telemetry.unusable("cost_usd")
    if reason is not None:
        section = SpendSection(
            Interval.unknown(), budget, Interval.unknown(), Range(None, None, None), None
        )
        days = pd.DataFrame({"day": [], "usd": [], "coverage": []})
    else:
        days = _daily(telemetry)
        unseen = unseen_spend(pieces, prices, keys, policy.spend.unseen_cap_usd)
        section = _spend(telemetry, days, budget, unseen)
    return ViewResult(
        section=(section, drivers.section),
        checks=(_check(section, reason, telemetry.candidate_days),),
        tables={"spend_drivers.csv": drivers.table},
        series={"spend_days": days, "drivers": drivers.series},
        notes=(*((reason,) if reason else ()), *drivers.notes),
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


def _spend(
    telemetry: Telemetry, days: pd.DataFrame, budget: float | None, unseen: tuple[UnseenCause, ...]
) -> SpendSection:
    found = spent(telemetry)
    n_known, total = found.n_known, found.nano_usd
    squares = found.cluster_squares
    length = telemetry.candidate_days
    if not n_known:
        nothing = Interval.unknown()
        return SpendSection(nothing, budget, nothing, Range(None, None, None), None, unseen)
    value = total / NANO / length
    # Days that are cut short, by the window's ends or an exclusion, do not vary like whole ones.
    whole = days[days["coverage"] == 1.0]
    # Clusters arrive at random: the variance of a compound Poisson total is Σ y_c².
    variance, df = squares / NANO**2 / length**2, math.inf
    spread, spread_df = math.nan, 0
    if len(whole) >= 3:
        spread, spread_df = _day_deviation(whole)
        if spread**2 / length >= variance:
            variance, df = spread**2 / length, spread_df
    half = float(student.ppf(0.975, df)) * math.sqrt(variance)
    per_day = Interval.of(value, max(value - half, 0.0), value + half, n_known)
    forecast = Range(value, None, None)
    if spread_df > 0:
        ahead = float(student.ppf(0.975, spread_df)) * spread * math.sqrt(2 / length)
        forecast = Range(value, max(value - ahead, 0.0), value + ahead)
    burn = Interval.unknown(n_known)
    if budget is not None and per_day.low is not None and per_day.high is not None:
        burn = Interval.of(value / budget, per_day.low / budget, per_day.high / budget, n_known)
    in_all = together(unseen).value
    assert not isinstance(in_all, str)
    return SpendSection(per_day, budget, burn, forecast, in_all, unseen)


def _day_deviation(days: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation between days and its degrees of freedom; weekdays from three weeks on."""
    usd = days["usd"].to_numpy()
    if len(usd) >= MIN_DAYS_FOR_WEEKDAYS:
        weekday = days["day"].dt.day_of_week.to_numpy()
        means = np.array(
            [usd[weekday == k].mean() if (weekday == k).any() else 0.0 for k in range(7)]
        )
        residual = usd - means[weekday]
        df = len(usd) - len(set(weekday.tolist()))
        return math.sqrt(float((residual**2).sum()) / df), df
    return float(usd.std(ddof=1)), len(usd) - 1


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
    burn, severity = spend.burn_rate, "hold"
    outcome, action = "inconclusive", "Wait for more traffic, or provide what is missing."
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
    return Check(
        id="budget.spend",
        view="budget",
        outcome=outcome,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        value=burn.value,
        low=burn.low,
        high=burn.high,
        limit=1.0,
        comparison="at_most",
        unit="burn rate",
        support=burn.support,
        p_value=None,
        p_adjusted=None,
        reason=reason if outcome == "inconclusive" else None,
        sentence=sentence,
        action=action,
    )
