"""What a budget's period has consumed, and when the rest runs out (STATISTICS section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from analysis.check import Interval, Range, rounded
from analysis.policy import Slo
from analysis.stats.exhaustion import MIN_DAYS, crossings, pace
from analysis.stats.needed import QUANTILE_975
from analysis.telemetry import Telemetry
from analysis.telemetry.events import Timeline, exhaustion_moment
from analysis.telemetry.windows import DAY, iso, midnight
from analysis.views.budget_periods import period_of

_UNKNOWN = Range(None, None, None)


@dataclass(frozen=True)
class Consumption:
    """Share of the period's budget that is spent, and when all of it is; `reason` where not known."""

    consumed: float | None
    exhausts: Range
    reason: str | None


def consumption(
    telemetry: Telemetry,
    slo: Slo,
    burn: Interval,
    first: datetime,
    every: Timeline,
    own: Timeline,
    *,
    forecast: bool = True,
) -> Consumption:
    """Budget consumed by the trailing period, and when the rest runs out.

    first: the first event of the telemetry. every: the period's timeline. own: that of the rows
    that the burn is of. forecast: False leaves out when.

    Budget spent (%): bad events of the period that ends with the candidate window, as a share of what the
    period allows.

    Budget left (%): one minus the budget spent; below zero it is overspent.

    Exhausted (UTC): when all of the budget is spent: that moment, or the one at the candidate's pace, with a
    95 % prediction interval from how days differ.
    """
    end = telemetry.windows.candidate.end
    period = period_of(slo, end)
    start = period.start
    if midnight(first) > start:
        have = (end - midnight(first)) / DAY
        reason = (
            f"budget {slo.name}: the telemetry covers {have:.4g} of the period's "
            f"{period.elapsed / DAY:.4g} days{'' if slo.period == 'rolling' else ' so far'}"
        )
        return Consumption(None, _UNKNOWN, reason)
    n, bad = every.last(period.elapsed)
    if not n:
        return Consumption(None, _UNKNOWN, f"budget {slo.name}: the period has no known outcome")
    # Of a calendar period the rest is taken to bring as many events a day as there were so far.
    allowed = rounded(1 - slo.target) * n / period.share
    consumed = rounded(bad / allowed)
    if not forecast:
        return Consumption(consumed, _UNKNOWN, None)
    if consumed >= 1:
        moment = exhaustion_moment(
            telemetry, telemetry.bad(slo.rule), start, end, allowed * (1 - 1e-12)
        )
        when = iso(moment) if moment is not None else None
        return Consumption(consumed, Range(when, when, when), None)
    return Consumption(consumed, _exhausts(telemetry, slo, 1 - consumed, burn, every, own), None)


def _exhausts(
    telemetry: Telemetry,
    slo: Slo,
    remaining: float,
    burn: Interval,
    every: Timeline,
    own: Timeline,
) -> Range:
    """End of the budget at the candidate's pace, with a 95 % prediction interval.

    Days are those of 24 hours that end with the candidate; the variance of a day is at least what
    the clustered interval of the burn implies. high is None where the budget lasts beyond the period.
    A calendar's budget that lasts until the next has no end at all.
    """
    if not burn.value:
        return _UNKNOWN
    span = telemetry.windows.candidate
    period = period_of(slo, span.end)
    horizon = period.end if slo.period != "rolling" else span.end + slo.period_days * DAY
    value = span.end + _span(period.days * remaining / burn.value)
    if slo.period != "rolling" and value > horizon:
        return _UNKNOWN
    n_days = math.floor(span.days)
    n, y, _ = own.days(n_days)
    if n_days < MIN_DAYS or not n.sum():
        return Range(iso(_second(value)), None, None)
    scale = rounded(1 - slo.target) * n.mean()
    _, before, _ = every.days(max(slo.period_days, n_days))
    assert burn.low is not None and burn.high is not None
    found = pace(
        y / scale,
        before[: len(before) - n_days].astype(float),
        fast=(burn.high - burn.value) / QUANTILE_975,
        slow=(burn.value - burn.low) / QUANTILE_975,
    )
    earliest, latest = crossings(found, remaining * period.days)
    low = min(span.end + _span(earliest), value)
    late = None if latest is None else max(span.end + _span(latest), value)
    beyond = late is None or late > horizon
    return Range(
        iso(_second(value)),
        iso(_second(low)),
        None if beyond or late is None else iso(_second(late)),
    )


def _span(days: float) -> timedelta:
    return timedelta(days=min(days, 36_500.0))


def _second(moment: datetime) -> datetime:
    """To the whole second: finer would be noise."""
    return (moment + timedelta(microseconds=500_000)).replace(microsecond=0)
