"""Spend of a budget period: what is spent, what it will be at the period's end, and until when it lasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.check import Range
from analysis.policy import Policy
from analysis.stats.daily_forecast import (
    MIN_DAYS,
    MIN_DAYS_FOR_WEEKDAYS,
    DailyModel,
    Floats,
    fit,
)
from analysis.telemetry import Telemetry
from analysis.telemetry.spending import Hour, spent_by_hour
from analysis.telemetry.windows import (
    DAY,
    EPOCH,
    MOMENT,
    Span,
    calendar_span,
    day_number,
    iso,
    midnight,
)

NANO = 1e9
MAX_DAYS = 182
"""Older days say little of the next ones."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class PeriodSection:
    """The period that the candidate's end lies in; `spent_usd` is what it has cost until then.

    forecast_usd: at the period's end, a 95 % prediction interval. exhausts_utc: when spend reaches the
    budget; low and high by that interval, null where not before the period's end, and all the same
    where it already has. Known costs alone count. reason: why figures are null, or wider.
    """

    start_utc: str
    end_utc: str
    spent_usd: float | None
    budget_usd: float | None
    forecast_usd: Range
    exhausts_utc: Range
    reason: str | None


@dataclass(frozen=True)
class Period:
    """The section, what the forecast rests on, and what a page draws of it.

    correlation: of neighbouring days, as estimated. next_days: mean of as many days as the candidate
    window has, USD a day. path: day (its end), usd,
    low, high (95 %), low50, high50, ahead: cumulative spend of the period. hours: hour, usd,
    interactions, unknown: of the candidate's span.
    """

    section: PeriodSection
    history_days: int
    weekdays: bool
    correlation: float
    next_days: Range
    path: pd.DataFrame
    hours: pd.DataFrame


PATH = ["day", "usd", "low", "high", "low50", "high50", "ahead"]


def assess_period(telemetry: Telemetry, policy: Policy) -> Period:
    """The period's spend by the rows' own times, all traffic, incidents included: it was paid."""
    end = telemetry.windows.candidate.end
    span = _period(telemetry, policy)
    hours = spent_by_hour(telemetry, span.start, end)
    days, usd = _history(telemetry, hours)
    old = [EPOCH + d * DAY < telemetry.windows.candidate.start for d in days]
    budget = policy.spend.budget_usd_per_day
    in_all = None if budget is None else budget * span.days
    # One thread: the order of sums is the same on every machine.
    with threadpool_limits(limits=1):
        model = fit(days, usd, old)
        section, path = _forecast(span, end, hours, model, len(days), in_all)
        next_days = _next_days(model, end, telemetry.candidate_days)
    if section.reason is None and model is not None and not model.weekdays:
        section = _wider(section, len(days))
    return Period(
        section,
        history_days=len(days),
        weekdays=model is not None and model.weekdays,
        correlation=0.0 if model is None else model.found,
        next_days=next_days,
        path=path,
        hours=_hours(hours, telemetry.windows.candidate),
    )


def unknown_period(telemetry: Telemetry, policy: Policy, reason: str) -> Period:
    """The period where no cost is known."""
    span, budget = _period(telemetry, policy), policy.spend.budget_usd_per_day
    nothing = Range(None, None, None)
    section = PeriodSection(
        iso(span.start), iso(span.end), None, None if budget is None else budget * span.days,
        nothing, nothing, reason,
    )  # fmt: skip
    return Period(section, 0, False, 0.0, nothing, pd.DataFrame(columns=PATH), _hours((), span))


def _period(telemetry: Telemetry, policy: Policy) -> Span:
    """The period that holds the last moment before the candidate's end."""
    window, length = telemetry.windows.candidate, policy.spend.period
    last = window.end - MOMENT
    if length == "month":
        return calendar_span(last)
    size = length.days * DAY
    start = window.start + ((last - window.start) // size) * size
    return Span(start, start + size)


def _history(telemetry: Telemetry, hours: Sequence[Hour]) -> tuple[list[int], list[float]]:
    """Whole UTC days of both windows in order, and their USD; exclusions and their days left out.

    The log's first day counts if it has traffic in its first hour: else it may have begun within it.
    """
    windows = telemetry.windows
    starts = [w.start for w in (windows.candidate, windows.baseline) if w is not None]
    first = max(day_number(min(starts)), day_number(windows.candidate.end) - MAX_DAYS)
    seen = [h.hour for h in hours]
    if not seen:
        return [], []
    begin = max(first, math.ceil(min(seen) / 24))
    nano: dict[int, int] = {}
    for h in hours:
        nano[h.hour // 24] = nano.get(h.hour // 24, 0) + h.nano_usd
    days = [
        d
        for d in range(begin, day_number(windows.candidate.end))
        if not windows.excluded_days(Span(EPOCH + d * DAY, EPOCH + (d + 1) * DAY))
    ]
    return days, [nano.get(d, 0) / NANO for d in days]


def _forecast(
    span: Span,
    end: datetime,
    hours: Sequence[Hour],
    model: DailyModel | None,
    n_days: int,
    budget: float | None,
) -> tuple[PeriodSection, pd.DataFrame]:
    def told(
        spent: float | None, ahead: Range, exhausts: Range, reason: str | None
    ) -> PeriodSection:
        return PeriodSection(iso(span.start), iso(span.end), spent, budget, ahead, exhausts, reason)

    nothing, empty = Range(None, None, None), pd.DataFrame(columns=PATH)
    first = min((h.hour for h in hours), default=None)
    if first is None or midnight(EPOCH + first * HOUR) > span.start:
        return told(None, nothing, nothing, "the telemetry begins after the period did"), empty
    own = sorted((h for h in hours if h.in_period), key=lambda h: h.hour)
    spent = sum(h.nano_usd for h in own) / NANO
    past = _past(own, span, end)
    reached = _reached(own, budget, end)
    if end >= span.end:
        return told(spent, Range(spent, spent, spent), reached or nothing, None), past
    if model is None:
        why = f"fewer than {MIN_DAYS} whole days are known"
        if n_days >= MIN_DAYS:
            why = "the candidate window holds no whole day"
        return told(spent, nothing, reached or nothing, why), past
    moments, days, shares = _ahead(end, span.end)
    mean, error = model.sums(days, shares)
    wide, half = model.quantile(0.95) * error, model.quantile(0.5) * error
    path = pd.DataFrame(
        {
            "day": [pd.Timestamp(m) for m in moments],
            "usd": spent + np.maximum(mean, 0.0),
            "low": spent + np.maximum(mean - wide, 0.0),
            "high": spent + np.maximum(mean + wide, 0.0),
            "low50": spent + np.maximum(mean - half, 0.0),
            "high50": spent + np.maximum(mean + half, 0.0),
            "ahead": True,
        }
    )
    total = Range(*(float(path[c].iloc[-1]) for c in ("usd", "low", "high")))
    exhausts = reached or nothing
    if reached is None and budget is not None:
        exhausts = Range(
            *(
                _crossing(end, moments, spent, path[c].to_numpy(), budget)
                for c in ("usd", "high", "low")
            )
        )
    return told(spent, total, exhausts, None), pd.concat([past, path], ignore_index=True)


def _wider(section: PeriodSection, n_days: int) -> PeriodSection:
    said = (
        f"{n_days} whole days are known: below {MIN_DAYS_FOR_WEEKDAYS} weekdays cannot be told apart, "
        "and the forecast is wider"
    )
    return PeriodSection(**{**vars(section), "reason": said})


def _ahead(end: datetime, last: datetime) -> tuple[list[datetime], list[int], list[float]]:
    """Ends of the days that remain, their numbers, and the part of each that remains."""
    moments, days, shares = [], [], []
    begin = end
    while begin < last:
        day = day_number(begin)
        until = min(EPOCH + (day + 1) * DAY, last)
        moments.append(until)
        days.append(day)
        shares.append((until - begin) / DAY)
        begin = until
    return moments, days, shares


def _past(own: Sequence[Hour], span: Span, end: datetime) -> pd.DataFrame:
    """Cumulative spend at the end of each day of the period until now."""
    nano: dict[int, int] = {}
    for h in own:
        nano[h.hour // 24] = nano.get(h.hour // 24, 0) + h.nano_usd
    moments, days, _ = _ahead(span.start, min(end, span.end))
    usd = np.cumsum([0, *(nano.get(d, 0) for d in days)]) / NANO
    frame = pd.DataFrame({"day": [pd.Timestamp(m) for m in (span.start, *moments)], "usd": usd})
    for column in ("low", "high", "low50", "high50"):
        frame[column] = usd
    return frame.assign(ahead=False)


def _reached(own: Sequence[Hour], budget: float | None, end: datetime) -> Range | None:
    """The end of the hour in which spend reached the budget; None where it has not."""
    spent = 0
    for h in own:
        spent += h.nano_usd
        if budget is not None and spent / NANO >= budget:
            when = iso(min(EPOCH + (h.hour + 1) * HOUR, end))
            return Range(when, when, when)
    return None


def _crossing(
    end: datetime, moments: Sequence[datetime], spent: float, path: Floats, budget: float
) -> str | None:
    """When a cumulative path first reaches the budget, straight within a day; None where it does not."""
    before, at = spent, end
    for moment, reached in zip(moments, path.tolist(), strict=True):
        if reached >= budget:
            share = (budget - before) / (reached - before)
            return iso((at + share * (moment - at)).replace(microsecond=0))
        before, at = reached, moment
    return None


def _next_days(model: DailyModel | None, end: datetime, length: float) -> Range:
    """Mean of the next days, as many as the candidate window has, USD a day."""
    if model is None:
        return Range(None, None, None)
    n = max(round(length), 1)
    first = math.ceil((end - EPOCH) / DAY)
    mean, error = model.sums(range(first, first + n))
    half = model.quantile(0.95) * float(error[-1])
    value = max(float(mean[-1]), 0.0)
    return Range(value / n, max(value - half, 0.0) / n, (value + half) / n)


def _hours(hours: Sequence[Hour], span: Span) -> pd.DataFrame:
    """Every hour of the span that holds traffic, in order."""
    columns = ["hour", "usd", "interactions", "unknown"]
    sums: dict[int, list[int]] = {}
    for h in hours:
        at = EPOCH + h.hour * HOUR
        if at + HOUR > span.start and at < span.end:
            held = sums.setdefault(h.hour, [0, 0, 0])
            for place, n in enumerate((h.nano_usd, h.n, h.n_unknown)):
                held[place] += n
    rows = [
        (pd.Timestamp(EPOCH + hour * HOUR), nano / NANO, n, unknown)
        for hour, (nano, n, unknown) in sorted(sums.items())
    ]
    return pd.DataFrame(rows, columns=columns)


__all__ = ["PATH", "Period", "PeriodSection", "assess_period", "unknown_period"]
