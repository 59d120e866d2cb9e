"""Windows: which rows are baseline and candidate, and how the two compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analysis.errors import WindowError
from analysis.policy import Windows
from analysis.telemetry.windows import (
    DataRange,
    Span,
    day_number,
    iso,
    midnight,
    resolve,
)

FIRST = datetime(2026, 9, 7, 8, tzinfo=UTC)  # a Monday
LAST = datetime(2026, 10, 4, 21, 30, tzinfo=UTC)
DATA = DataRange(
    FIRST,
    LAST,
    {
        "r1": (FIRST, datetime(2026, 9, 20, 10, 15, tzinfo=UTC)),
        "r2": (datetime(2026, 9, 20, 9, 45, tzinfo=UTC), LAST),
    },
)


def windows(**settings: Any) -> Windows:
    return Windows.model_validate(settings)


def day(month: int, date: int, hour: int = 0) -> datetime:
    return datetime(2026, month, date, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "settings", "as_of", "candidate", "baseline"),
    [
        (
            "days end at the first midnight after the newest session start",
            {"candidate": {"days": 7}, "baseline": {"days": 14}},
            None,
            (day(9, 28), day(10, 5)),
            (day(9, 14), day(9, 28)),
        ),
        (
            "as-of ends the candidate at the last midnight not after it",
            {"candidate": {"days": 7}, "baseline": {"days": 7}},
            day(9, 22, 13),
            (day(9, 15), day(9, 22)),
            (day(9, 8), day(9, 15)),
        ),
        (
            "as-of at a midnight is that midnight",
            {"candidate": {"days": 7}, "baseline": {"days": 7}},
            day(9, 22),
            (day(9, 15), day(9, 22)),
            (day(9, 8), day(9, 15)),
        ),
        (
            "start and end are taken as they are",
            {
                "candidate": {"start": "2026-09-20T06:00:00Z", "end": "2026-09-22T00:00:00Z"},
                "baseline": {"start": "2026-09-10", "end": "2026-09-12T12:00:00+02:00"},
            },
            None,
            (day(9, 20, 6), day(9, 22)),
            (day(9, 10), day(9, 12, 10)),
        ),
        (
            "as-of cuts a candidate by times",
            {"candidate": {"start": "2026-09-20", "end": "2026-09-30"}, "baseline": {"days": 7}},
            day(9, 27, 5),
            (day(9, 20), day(9, 27)),
            (day(9, 13), day(9, 20)),
        ),
        (
            "releases span whole hours of their own rows",
            {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}},
            None,
            (day(9, 20, 9), day(10, 4, 22)),
            (day(9, 7, 8), day(9, 20, 11)),
        ),
        (
            "days before a release",
            {"candidate": {"release_id": "r2"}, "baseline": {"days": 7}},
            None,
            (day(9, 20, 9), day(10, 4, 22)),
            (day(9, 13, 9), day(9, 20, 9)),
        ),
        (
            "a release ends at as-of",
            {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}},
            day(9, 25, 3),
            (day(9, 20, 9), day(9, 25)),
            (day(9, 7, 8), day(9, 20, 11)),
        ),
        (
            "a first release has no baseline",
            {"candidate": {"days": 7}, "baseline": "none"},
            None,
            (day(9, 28), day(10, 5)),
            None,
        ),
    ],
)
def test_windows_are_half_open_spans_in_utc(
    name: str,
    settings: dict[str, Any],
    as_of: datetime | None,
    candidate: tuple[datetime, datetime],
    baseline: tuple[datetime, datetime] | None,
) -> None:
    found = resolve(windows(**settings), DATA, as_of)
    assert (found.candidate.start, found.candidate.end) == candidate
    assert found.now == candidate[1]
    if baseline is None:
        assert found.baseline is None
    else:
        assert found.baseline is not None
        assert (found.baseline.start, found.baseline.end) == baseline


def test_a_newest_session_that_starts_at_midnight_is_within_the_window() -> None:
    data = DataRange(FIRST, day(10, 4), {})
    found = resolve(windows(candidate={"days": 7}, baseline="none"), data, None)
    assert found.candidate.end == day(10, 5)


@pytest.mark.parametrize(
    ("name", "settings", "as_of", "words"),
    [
        (
            "an unknown release",
            {"candidate": {"release_id": "r9"}, "baseline": {"days": 7}},
            None,
            ["windows.candidate: no interaction has release_id 'r9'", "releases: r1, r2"],
        ),
        (
            "an unknown baseline release",
            {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r9"}},
            None,
            ["windows.baseline: no interaction has release_id 'r9'"],
        ),
        (
            "a candidate that begins after as-of",
            {"candidate": {"start": "2026-09-20", "end": "2026-09-25"}, "baseline": {"days": 7}},
            day(9, 15),
            ["windows.candidate: starts at 2026-09-20T00:00:00Z, not before its end"],
        ),
        (
            "a release without rows before as-of",
            {"candidate": {"release_id": "r2"}, "baseline": "none"},
            day(9, 20, 23),
            ["release 'r2' has no rows before"],
        ),
    ],
)
def test_an_impossible_window_is_the_fault_of_the_policy_and_says_what_the_data_span(
    name: str, settings: dict[str, Any], as_of: datetime | None, words: list[str]
) -> None:
    with pytest.raises(WindowError) as refused:
        resolve(windows(**settings), DATA, as_of)
    assert refused.value.exit_code == 2
    for text in [*words, "2026-09-07T08:00:00Z to 2026-10-04T21:30:00Z"]:
        assert text in str(refused.value)


def test_windows_by_time_must_not_overlap() -> None:
    baseline = {"start": "2026-09-10", "end": "2026-09-28T00:00:01Z"}
    with pytest.raises(WindowError, match="overlap"):
        resolve(windows(candidate={"days": 7}, baseline=baseline), DATA, None)
    baseline["end"] = "2026-09-28"
    assert resolve(windows(candidate={"days": 7}, baseline=baseline), DATA, None).baseline


@pytest.mark.parametrize(
    ("candidate", "baseline", "weights", "warnings"),
    [
        (7, 14, (1, 1, 1, 1, 1, 1, 1), []),
        (14, 7, (1, 1, 1, 1, 1, 1, 1), []),
        # The candidate ends with Sunday 4 October: 3 days are Friday to Sunday.
        (3, 7, (0, 0, 0, 0, 1, 1, 1), ["weighted by weekday"]),
        (3, 14, (0, 0, 0, 0, 1, 1, 1), ["weighted by weekday"]),
        # 8 days hold Sunday twice; the 7 before hold every weekday once.
        (8, 7, (1, 1, 1, 1, 1, 1, 2), ["weighted by weekday"]),
        # The 10 days before Friday 2 October hold Tuesday to Thursday twice.
        (3, 10, (0, 0, 0, 0, 1, 1, 1), ["weighted by weekday"]),
        (7, 10, (2, 2, 2, 2, 1, 1, 1), ["weighted by weekday"]),
        (7, 3, (1, 1, 1, 1, 1, 1, 1), ["lacks a weekday"]),
    ],
)
def test_weights_give_the_baseline_the_weekdays_of_the_candidate(
    candidate: int, baseline: int, weights: tuple[int, ...], warnings: list[str]
) -> None:
    found = resolve(windows(candidate={"days": candidate}, baseline={"days": baseline}), DATA, None)
    assert found.weekday_weights == weights
    assert len(found.warnings) == len(warnings)
    for text, warning in zip(warnings, found.warnings, strict=True):
        assert text in warning
        assert f"{candidate} and {baseline} days" in warning


@pytest.mark.parametrize(
    ("candidate", "baseline"), [(c, b) for c in range(1, 16) for b in (7, 8, 9, 13, 20)]
)
def test_weighted_weekdays_have_the_shares_of_the_candidate(candidate: int, baseline: int) -> None:
    found = resolve(windows(candidate={"days": candidate}, baseline={"days": baseline}), DATA, None)
    assert found.baseline is not None
    new, old = shares(found.candidate), shares(found.baseline)
    weighted = [w * n for w, n in zip(found.weekday_weights, old, strict=True)]
    if candidate % 7 or baseline % 7:
        assert all(w * sum(new) == n * sum(weighted) for w, n in zip(weighted, new, strict=True))


def shares(span: Span) -> list[int]:
    counts = [0] * 7
    for k in range(int(span.days)):
        counts[(span.start + timedelta(days=k)).weekday()] += 1
    return counts


def test_windows_that_do_not_begin_at_midnight_are_not_weighted_and_warn() -> None:
    settings = {
        "candidate": {"start": "2026-09-20T06:00:00Z", "end": "2026-09-22"},
        "baseline": {"days": 7},
    }
    found = resolve(windows(**settings), DATA, None)
    assert found.weekday_weights == (1,) * 7
    assert "midnights" in found.warnings[0]


@pytest.mark.parametrize(
    ("exclude", "days"),
    [
        ([], 0.0),
        ([("2026-09-30", "2026-10-01")], 1.0),
        ([("2026-09-30T06:00:00Z", "2026-09-30T18:00:00Z")], 0.5),
        ([("2026-09-30", "2026-10-02"), ("2026-10-01", "2026-10-03")], 3.0),
        ([("2026-09-30", "2026-10-03"), ("2026-10-01", "2026-10-02")], 3.0),
        ([("2026-09-20", "2026-09-29"), ("2026-10-04", "2026-11-01")], 2.0),
        ([("2026-08-01", "2026-08-02"), ("2026-12-01", "2026-12-02")], 0.0),
        ([("2026-01-01", "2026-12-31")], 7.0),
    ],
)
def test_excluded_days_are_those_of_the_window_and_count_once(
    exclude: list[tuple[str, str]], days: float
) -> None:
    listed = [{"start": a, "end": b, "reason": "incident"} for a, b in exclude]
    found = resolve(windows(candidate={"days": 7}, baseline="none", exclude=listed), DATA, None)
    assert found.excluded_days(found.candidate) == days


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 23, 59, 59, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, tzinfo=UTC), -1),
        (datetime(2026, 9, 7, 8, tzinfo=UTC), 20703),
    ],
)
def test_days_are_numbered_from_1970(moment: datetime, number: int) -> None:
    assert day_number(moment) == number
    assert (midnight(moment) - datetime(1970, 1, 1, tzinfo=UTC)).days == number


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 9, 7, 8, tzinfo=UTC), "2026-09-07T08:00:00Z"),
        (datetime(2026, 9, 7, 8, 0, 0, 500_000), "2026-09-07T08:00:00.500000Z"),
        (
            datetime.fromisoformat("2026-09-07T08:00:00+02:00"),
            "2026-09-07T06:00:00Z",
        ),
    ],
)
def test_moments_are_written_with_z(moment: datetime, text: str) -> None:
    assert iso(moment) == text


@pytest.mark.parametrize(
    ("name", "settings", "as_of", "candidate", "baseline"),
    [
        (
            "a baseline that begins before the data",
            {"candidate": {"days": 14}, "baseline": {"days": 42}},
            None,
            (day(9, 21), day(10, 5)),
            (day(9, 7), day(9, 21)),
        ),
        (
            "a candidate that ends after the data",
            {"candidate": {"start": "2026-09-21", "end": "2026-10-19"}, "baseline": {"days": 14}},
            None,
            (day(9, 21), day(10, 5)),
            (day(9, 7), day(9, 21)),
        ),
        (
            "with as-of, days without data until then are days without traffic",
            {"candidate": {"days": 7}, "baseline": {"days": 7}},
            day(10, 8),
            (day(10, 1), day(10, 8)),
            (day(9, 24), day(10, 1)),
        ),
    ],
)
def test_days_that_the_data_do_not_cover_count_as_no_days(
    name: str,
    settings: dict[str, Any],
    as_of: datetime | None,
    candidate: tuple[datetime, datetime],
    baseline: tuple[datetime, datetime],
) -> None:
    found = resolve(windows(**settings), DATA, as_of)
    assert found.baseline is not None
    assert (found.candidate.start, found.candidate.end) == candidate, name
    assert (found.baseline.start, found.baseline.end) == baseline, name
    told = [w for w in found.warnings if "the data cover" in w]
    assert len(told) == (0 if as_of else 1)


@pytest.mark.parametrize(
    ("candidate", "baseline", "warns"),
    [
        ({"days": 14}, {"release_id": "r2"}, True),
        ({"release_id": "r2"}, {"start": "2026-09-15", "end": "2026-09-30"}, True),
        ({"days": 7}, {"release_id": "r1"}, False),
        ({"release_id": "r2"}, {"release_id": "r1"}, False),
    ],
)
def test_a_release_and_a_stretch_of_time_that_overlap_warn(
    candidate: dict[str, Any], baseline: dict[str, Any], warns: bool
) -> None:
    found = resolve(windows(candidate=candidate, baseline=baseline), DATA, None)
    assert any("count as candidate" in w for w in found.warnings) == warns


@pytest.mark.parametrize(
    ("first", "last", "settings", "words"),
    [
        ("9999-12-31T23:59", "9999-12-31T23:59", {"candidate": {"days": 1}}, "windows.candidate"),
        ("0001-01-01", "0001-01-01", {"candidate": {"days": 3660}}, "windows.candidate"),
        ("0001-01-01", "2026-01-01", {"baseline": {"days": 3660}}, None),
        ("0001-01-01", "1970-01-03", {"candidate": {"days": 14}}, "windows.candidate"),
        ("0001-01-01", "2026-01-01", {"candidate": {"release_id": "r"}}, "windows.candidate"),
        ("2026-01-01", "3000-01-01", {"candidate": {"days": 1}}, "2999"),
        ("2026-01-01", "2999-12-31", {"candidate": {"days": 1}}, None),
        ("1970-01-01", "1970-01-20", {"candidate": {"days": 7}}, None),
    ],
)
def test_times_at_the_ends_of_the_calendar_are_windows_or_the_reason_why_not(
    first: str, last: str, settings: dict[str, Any], words: str | None
) -> None:
    begin, end = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (first, last))
    data = DataRange(begin, end, {"r": (begin, end)})
    if words is None:
        assert resolve(windows(**settings), data, None).candidate.end > begin
        return
    with pytest.raises(WindowError, match="leaves the years 1970 to 2999") as refused:
        resolve(windows(**settings), data, None)
    assert words in str(refused.value)
