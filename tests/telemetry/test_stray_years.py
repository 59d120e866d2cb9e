"""Days at the ends of the calendar: what is usual is counted over the days that are there."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.telemetry import clocks
from analysis.telemetry.profile import Day, Profile
from tests.telemetry.worlds import CONTRACT

FIRST = date(2026, 9, 7)


def days_of(rows: dict[date, int]) -> tuple[Day, ...]:
    return tuple(Day(day, n, {}, {}, 0, {}) for day, n in sorted(rows.items()))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(0, 80), st.integers(1, 200), min_size=1))
def test_the_usual_rows_of_a_weekday_are_the_median_with_empty_days(rows: dict[int, int]) -> None:
    counts = {FIRST + timedelta(days=k): n for k, n in rows.items()}
    first, last = min(counts), max(counts)
    span = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    usual = clocks._Usual(days_of(counts))
    for weekday in range(7):
        own = [counts.get(d, 0) for d in span if d.weekday() == weekday]
        if len(own) >= 3:
            day = next(d for d in span if d.weekday() == weekday)
            assert usual.rows(day) <= usual._weekday[weekday] == median(own)


def test_a_stray_year_costs_no_time_and_lost_days_are_told_without_one() -> None:
    rows = {FIRST + timedelta(days=k): 100 for k in range(28) if k != 9}
    lost = clocks.missing_days(Profile({}, 0, days_of(rows), {}), CONTRACT)
    assert "2026-09-16" in lost[0].hint
    for stray in (date(1, 1, 1), date(9999, 12, 31)):
        begin = time.monotonic()
        for n in (1, 100):
            found = Profile({}, 0, days_of({**rows, stray: n}), {})
            clocks.missing_days(found, CONTRACT)
            clocks.stray_stamps(found, CONTRACT)
        assert time.monotonic() - begin < 1


def test_hours_at_the_ends_of_the_calendar_have_no_neighbours() -> None:
    hours = {datetime(1, 1, 1) + timedelta(hours=k): 50 for k in range(80)}
    hours |= {datetime(9999, 12, 31, 23) - timedelta(hours=k): 50 for k in range(80)}
    assert clocks.doubled_hours(None, CONTRACT, Profile({}, 0, (), hours)) == []
