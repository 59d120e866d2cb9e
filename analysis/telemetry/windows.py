"""Which rows are baseline, which are candidate, and how the two lie in time.

Windows are half-open and UTC. In date windows a session belongs to the window in which it starts;
in `release_id` windows each interaction goes to its own release (STATISTICS section 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from analysis.errors import WindowError
from analysis.policy import Exclusion, Window, Windows, utc

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
YEARS = (1970, 2999)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """A resolved window, [start, end); `release_id` where rows are chosen by release."""

    start: datetime
    end: datetime
    release_id: str | None = None

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end - self.start) / DAY

    @property
    def whole_days(self) -> bool:
        """Whether both ends are UTC midnights."""
        return self.start.time() == time() and self.end.time() == time()


@dataclass(frozen=True)
class ResolvedWindows:
    """Both windows, how they compare, and the weights that make their weekdays alike.

    weekday_weights: integer weight of a baseline row by weekday (Monday first); all 1 where the
    window lengths are multiples of seven days.
    """

    comparison: Literal["concurrent", "before_after"]
    candidate: Span
    baseline: Span | None
    as_of: datetime | None
    exclude: tuple[Exclusion, ...]
    weekday_weights: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def now(self) -> datetime:
        """The end of the candidate window: the only clock that a review knows."""
        return self.candidate.end

    @property
    def by_release(self) -> bool:
        """Whether the candidate is chosen by release id (a canary has no volume of its own)."""
        return self.candidate.release_id is not None

    def excluded_days(self, span: Span) -> float:
        """Days of `span` that the exclusions cover, overlaps counted once."""
        pieces = sorted(
            (max(utc(e.start), span.start), min(utc(e.end), span.end)) for e in self.exclude
        )
        covered, reach = timedelta(0), span.start
        for start, end in pieces:
            begin = max(start, reach)
            if end > begin:
                covered += end - begin
                reach = end
        return covered / DAY


def midnight(moment: datetime) -> datetime:
    """The last UTC midnight not after `moment`."""
    return datetime.combine(moment.date(), time(), tzinfo=UTC)


def _later(moment: datetime, days: int) -> datetime:
    """`moment` some days later or earlier, at most at the ends of the calendar."""
    try:
        return moment + days * DAY
    except OverflowError:
        ends = datetime.min if days < 0 else midnight(datetime.max)
        return ends.replace(tzinfo=UTC)


def day_number(moment: datetime) -> int:
    """Whole days since 1970-01-01 UTC."""
    return math.floor((moment - EPOCH) / DAY)


def calendar_span(inside: datetime, months: int = 1) -> Span:
    """The calendar's span of so many months (UTC; 1 or 3, counted from January) that holds a moment."""
    first = (inside.month - 1) // months * months
    after = first + months
    start = midnight(inside).replace(month=first + 1, day=1)
    return Span(start, start.replace(year=start.year + after // 12, month=after % 12 + 1))


def coverage(windows: ResolvedWindows, span: Span) -> dict[int, float]:
    """Day number → the share of that day that lies within `span` and in no exclusion."""
    out = {}
    for day in range(day_number(span.start), math.ceil((span.end - EPOCH) / DAY)):
        begin, end = max(span.start, EPOCH + day * DAY), min(span.end, EPOCH + (day + 1) * DAY)
        piece = Span(begin, end)
        out[day] = piece.days - windows.excluded_days(piece)
    return out


@dataclass(frozen=True)
class DataRange:
    """What the windows are resolved against; None where the data have no such rows."""

    first_session: datetime
    last_session: datetime
    releases: dict[str, tuple[datetime, datetime]]


def resolve(windows: Windows, data: DataRange, as_of: datetime | None) -> ResolvedWindows:
    """Spans from the policy and the data; `comparison` is settled later, by `telemetry`.

    Raises WindowError when a window is empty by construction or outside the data.

    Candidate: the traffic of the release that is judged: that of its release id, or of whole UTC days up to
    the moment that the review is of. A window ends just before the moment called until.

    Baseline: the traffic that the candidate is compared with: that of another release id, or of the whole
    days before the candidate's. Incidents that the policy names are left out of both.
    """
    problems: list[str] = []
    last = midnight(as_of) if as_of is not None else _later(midnight(data.last_session), 1)
    candidate = _candidate(windows.candidate, data, last, as_of, problems)
    baseline = None
    if candidate is not None and windows.baseline != "none":
        baseline = _baseline(windows.baseline, data, candidate, last, problems)
    if problems or candidate is None:
        raise WindowError([*problems, data_range(data)], "windows")
    warnings: list[str] = []
    candidate = _covered("candidate", candidate, data, as_of, warnings)
    if baseline is not None:
        baseline = _covered("baseline", baseline, data, as_of, warnings)
    problems = _out_of_years(candidate, baseline)
    if problems:
        raise WindowError([*problems, data_range(data)], "windows")
    weights = _weekday_weights(candidate, baseline, warnings)
    if baseline is not None and _overlap(candidate, baseline):
        raise WindowError(
            ["baseline and candidate overlap; windows by time must not share a moment"], "windows"
        )
    if baseline is not None and _mixed(candidate, baseline):
        warnings.append(
            "one window is a release and the other a stretch of time, and they overlap: rows that "
            "belong to both count as candidate"
        )
    return ResolvedWindows(
        comparison="before_after",
        candidate=candidate,
        baseline=baseline,
        as_of=as_of,
        exclude=windows.exclude,
        weekday_weights=weights,
        warnings=tuple(warnings),
    )


def data_range(data: DataRange) -> str:
    """The range of the data, in words, for an error message."""
    text = f"the data's sessions start from {iso(data.first_session)} to {iso(data.last_session)}"
    if data.releases:
        names = sorted(data.releases)
        text += f"; releases: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    return text


def iso(moment: datetime) -> str:
    """`moment` as the artifact writes it: ISO 8601 with Z, fractions only where there are any."""
    text = utc(moment).isoformat().replace("+00:00", "Z")
    return text


def midnight_of(day: int) -> str:
    """The beginning of a day, by its number since 1970-01-01, as the artifact writes it."""
    return iso(EPOCH + day * DAY)


def _candidate(
    window: Window, data: DataRange, last: datetime, as_of: datetime | None, problems: list[str]
) -> Span | None:
    if window.days is not None:
        return Span(_later(last, -window.days), last)
    if window.release_id is not None:
        return _release("candidate", window.release_id, data, last if as_of else None, problems)
    assert window.start is not None and window.end is not None
    start, end = utc(window.start), utc(window.end)
    if as_of is not None:
        end = min(end, last)
    if start >= end:
        problems.append(f"windows.candidate: starts at {iso(start)}, not before its end {iso(end)}")
        return None
    return Span(start, end)


def _baseline(
    window: Window, data: DataRange, candidate: Span, last: datetime, problems: list[str]
) -> Span | None:
    if window.days is not None:
        return Span(_later(candidate.start, -window.days), candidate.start)
    if window.release_id is not None:
        if window.release_id == candidate.release_id:
            problems.append("windows.baseline: is the same release as the candidate")
            return None
        return _release("baseline", window.release_id, data, None, problems)
    if window.recorded is not None:
        # `review.request` looks it up, and puts the recorded window in its place.
        problems.append(
            f"windows.baseline: names the recorded release {window.recorded!r}, and no ledger was given"
        )
        return None
    assert window.start is not None and window.end is not None
    return Span(utc(window.start), utc(window.end))


def _covered(
    which: str, span: Span, data: DataRange, as_of: datetime | None, warnings: list[str]
) -> Span:
    """The part of a window by time that the data cover, in whole UTC days.

    Days before the data begin, or after they end, would count as days without traffic or spend. A
    window without any day of the data is left as it is, and refused for its emptiness.
    """
    if span.release_id is not None:
        return span
    first, last = midnight(data.first_session), _later(midnight(data.last_session), 1)
    start = max(span.start, first)
    end = span.end if as_of is not None else min(span.end, last)
    if (start, end) == (span.start, span.end) or start >= end:
        return span
    warnings.append(
        f"the {which} window is [{iso(span.start)}, {iso(span.end)}), and the data cover "
        f"[{iso(first)}, {iso(last)}): it is taken as [{iso(start)}, {iso(end)})"
    )
    return Span(start, end)


def _out_of_years(candidate: Span, baseline: Span | None) -> list[str]:
    """Windows that no policy could name, because the clock of some row was wrong."""
    spans = (("candidate", candidate), ("baseline", baseline))
    return [
        f"windows.{name}: [{iso(span.start)}, {iso(span.end)}) leaves the years {YEARS[0]} to "
        f"{YEARS[1]}; correct the times, or give start and end"
        for name, span in spans
        if span is not None
        and not (YEARS[0] <= span.start.year and (span.end - MOMENT).year <= YEARS[1])
    ]


def _release(
    which: str, release: str, data: DataRange, last: datetime | None, problems: list[str]
) -> Span | None:
    if release not in data.releases:
        problems.append(f"windows.{which}: no interaction has release_id {release!r}")
        return None
    first, newest = data.releases[release]
    start = first.replace(minute=0, second=0, microsecond=0)
    end = newest.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if last is not None:
        end = min(end, last)
    if start >= end:
        problems.append(f"windows.{which}: release {release!r} has no rows before {iso(end)}")
        return None
    return Span(start, end, release)


def _overlap(a: Span, b: Span) -> bool:
    if a.release_id is not None and b.release_id is not None:
        return False
    if a.release_id is None and b.release_id is None:
        return a.start < b.end and b.start < a.end
    return False


def _mixed(a: Span, b: Span) -> bool:
    """Whether a release and a stretch of time share moments."""
    one_release = (a.release_id is None) != (b.release_id is None)
    return one_release and a.start < b.end and b.start < a.end


def _weekday_weights(
    candidate: Span, baseline: Span | None, warnings: list[str]
) -> tuple[int, ...]:
    flat = (1,) * 7
    if baseline is None or candidate.release_id is not None or baseline.release_id is not None:
        return flat
    if not (candidate.whole_days and baseline.whole_days):
        warnings.append(
            "the windows do not begin and end at UTC midnights: days are not comparable"
        )
        return flat
    if candidate.days % 7 == 0 and baseline.days % 7 == 0:
        return flat
    new, old = _weekday_counts(candidate), _weekday_counts(baseline)
    lengths = f"{candidate.days:g} and {baseline.days:g} days"
    if any(n and not o for n, o in zip(new, old, strict=True)):
        warnings.append(
            f"the windows have {lengths}, not both whole weeks, and the baseline lacks a weekday of "
            "the candidate: weekdays are not balanced"
        )
        return flat
    warnings.append(
        f"the windows have {lengths}, not both whole weeks: the baseline is weighted by weekday"
    )
    scale = math.lcm(*[o for n, o in zip(new, old, strict=True) if n])
    weights = [n * scale // o if o else 0 for n, o in zip(new, old, strict=True)]
    common = math.gcd(*weights)
    return tuple(w // common for w in weights)


def _weekday_counts(span: Span) -> Sequence[int]:
    counts = [0] * 7
    day = span.start
    while day < span.end:
        counts[day.weekday()] += 1
        day += DAY
    return counts
