from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from analysis.policy import Gate, Policy
from analysis.stats.looks import look_alpha
from analysis.telemetry.windows import ResolvedWindows, Span
from analysis.views.looks import gate_error, look_number, pass_confidence

START = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def windows(days: float, as_of: datetime | None = None, start: datetime = START) -> ResolvedWindows:
    return ResolvedWindows(
        comparison="before_after",
        candidate=Span(start, start + days * DAY),
        baseline=None,
        as_of=as_of,
        exclude=(),
        weekday_weights=(1,) * 7,
        warnings=(),
    )


# case: (windows, look)
LOOKS = {
    "the candidate's whole days": (windows(14), 14),
    "a day that has begun does not count": (windows(3.9), 3),
    "as-of counts where it is given": (windows(5, START + 5 * DAY), 5),
    "as-of within a day": (windows(5, START + 5 * DAY + timedelta(hours=23)), 5),
    "a release that starts within a day": (windows(2.5, start=START + timedelta(hours=7)), 2),
    "the first day is not over": (windows(0.5), 0),
}


@pytest.mark.parametrize(("given", "look"), LOOKS.values(), ids=LOOKS.keys())
def test_a_look_is_the_number_of_whole_days(given: ResolvedWindows, look: int) -> None:
    assert look_number(given) == look


def test_without_looks_each_review_may_spend_the_whole_error_rate() -> None:
    policy = Policy(gate=Gate(error_rate=0.03))
    for days in (1, 7, 14, 100):
        assert gate_error(policy, windows(days)) == 0.03
        assert pass_confidence(policy, windows(days)) == 0.95


def test_with_looks_both_sides_spend_their_share_of_the_day() -> None:
    policy = Policy(gate=Gate(error_rate=0.03, looks=14))
    for day in range(1, 15):
        assert gate_error(policy, windows(day)) == look_alpha(0.03, day, 14)
        assert pass_confidence(policy, windows(day)) == 1 - look_alpha(0.05, day, 14)
    total = sum(gate_error(policy, windows(day)) for day in range(1, 15))
    assert total == pytest.approx(0.03, rel=1e-12)


@pytest.mark.parametrize("days", [0.5, 15, 28])
def test_outside_of_the_looks_nothing_fails_and_nothing_passes(days: float) -> None:
    policy = Policy(gate=Gate(looks=14))
    assert gate_error(policy, windows(days)) == 0
    assert pass_confidence(policy, windows(days)) == 1
