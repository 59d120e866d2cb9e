"""The period that a budget is for: rolling, or the calendar's month or quarter in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from analysis.policy_slos import Slo
from analysis.telemetry.windows import DAY, MOMENT, calendar_span

_MONTHS = {"month": 1, "quarter": 3}


@dataclass(frozen=True)
class Period:
    """[start, end), of which `elapsed` has gone by when the candidate ends: all of a rolling one."""

    start: datetime
    end: datetime
    elapsed: timedelta

    @property
    def share(self) -> float:
        """The part of the period that has gone by."""
        return self.elapsed / (self.end - self.start)

    @property
    def days(self) -> float:
        """Its length."""
        return (self.end - self.start) / DAY


def period_of(slo: Slo, at: datetime) -> Period:
    """The period of an objective at the candidate's end `at`: the last moment before it lies within."""
    if slo.period == "rolling":
        span = slo.period_days * DAY
        return Period(at - span, at, span)
    held = calendar_span(at - MOMENT, _MONTHS[slo.period])
    return Period(held.start, held.end, at - held.start)
