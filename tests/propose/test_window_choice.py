from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS
from analysis.propose.evidence import gather
from analysis.propose.window_choice import WindowChoice, choose, days_of
from analysis.telemetry.source import open_source
from tests.telemetry.worlds import MONDAY, world_of

Row = dict[str, Any]


@pytest.mark.parametrize(
    ("n_days", "expected"),
    [
        (1, (1, 0)), (2, (1, 1)), (3, (1, 2)), (13, (4, 9)), (14, (7, 7)), (20, (7, 7)), (21, (7, 14)),
        (35, (7, 28)), (41, (7, 28)), (42, (14, 28)), (55, (14, 35)), (56, (14, 42)), (400, (14, 42)),
    ],
)  # fmt: skip
def test_days_are_split_into_whole_weeks_where_there_are_two(
    n_days: int, expected: tuple[int, int]
) -> None:
    assert days_of(n_days) == expected


@pytest.mark.parametrize("n_days", range(1, 100))
def test_both_windows_fit_into_the_data(n_days: int) -> None:
    candidate, baseline = days_of(n_days)
    assert candidate >= 1
    assert candidate + baseline <= n_days
    assert baseline == 0 or baseline >= candidate


def chosen(rows: Sequence[Row], folder: Path) -> WindowChoice:
    source = open_source(world_of(rows, folder).write(), contracts.load())
    try:
        return choose(source, gather(source))
    finally:
        source.close()


def rows(
    days: Sequence[int], a_day: int = 3, release: Callable[[int], str | None] | None = None
) -> list[Row]:
    """`a_day` interactions on each of these days, every one a session of its own."""
    out = []
    for day in days:
        for k in range(a_day):
            row: Row = {
                "session": f"s{day}-{k}",
                "user": f"u{k}",
                "at": MONDAY + pd.Timedelta(days=day, minutes=k),
            }
            out.append({**row, "release_id": release(day)} if release is not None else row)
    return out  # fmt: skip


def test_eight_weeks_have_room_for_the_usual_windows(tmp_path: Path) -> None:
    made = chosen(rows(range(56)), tmp_path)
    assert (made.candidate, made.baseline) == ("{days: 14}", "{days: 42}")


def test_less_than_two_weeks_say_that_weekdays_are_not_balanced(tmp_path: Path) -> None:
    made = chosen(rows(range(9)), tmp_path)
    assert (made.candidate, made.baseline) == ("{days: 3}", "{days: 6}")
    assert "weekdays are not balanced" in " ".join(made.why)


def test_one_day_has_no_baseline_and_its_halves_are_offered(tmp_path: Path) -> None:
    made = chosen(rows([0], a_day=60), tmp_path)
    assert (made.candidate, made.baseline) == ("{days: 1}", "none")
    assert made.instead == (
        "candidate: {start: 2026-09-07T00:30:00Z, end: 2026-09-07T01:00:00Z}",
        "baseline: {start: 2026-09-07T00:00:00Z, end: 2026-09-07T00:30:00Z}",
    )
    assert not made.has_baseline


def test_one_moment_offers_nothing(tmp_path: Path) -> None:
    made = chosen([{"session": "s", "user": "u", "at": MONDAY}], tmp_path)
    assert (made.baseline, made.instead) == ("none", ())


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:30Z"])
def test_times_that_no_policy_can_name_are_not_offered(at: str, tmp_path: Path) -> None:
    world = world_of(rows([0], a_day=2), tmp_path)
    for table, columns in (
        (INTERACTIONS, ["timestamp_utc"]),
        (SESSIONS, ["start_timestamp_utc", "end_timestamp_utc"]),
    ):
        for column in columns:
            world.add(table, column, [at] * len(world.tables[table]))
    source = open_source(world.write(), contracts.load())
    try:
        assert choose(source, gather(source)).instead == ()
    finally:
        source.close()


def test_a_baseline_without_rows_is_none(tmp_path: Path) -> None:
    # Days 0 to 99 of which the 42 before the last 14 are silent.
    made = chosen(rows([*range(40), *range(90, 100)]), tmp_path)
    assert made.baseline == "none"


def test_two_releases_are_compared_and_days_are_offered(tmp_path: Path) -> None:
    made = chosen(rows(range(20), 40, lambda d: "r9" if d < 10 else "r10"), tmp_path)
    assert (made.candidate, made.baseline) == ("{release_id: r10}", "{release_id: r9}")
    assert made.release == "r10"
    assert made.instead == ("candidate: {days: 7}", "baseline: {days: 7}")
    assert "One follows the other" in " ".join(made.why)
    assert made.volume_days == pytest.approx(19 + 1 / 24)


def test_the_newest_release_is_the_one_that_began_last(tmp_path: Path) -> None:
    def release(day: int) -> str | None:
        return {0: "c", 1: "a"}.get(day // 10, "b")

    made = chosen(rows(range(30), 40, release), tmp_path)
    assert (made.candidate, made.baseline) == ("{release_id: b}", "{release_id: a}")


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (lambda d: "r1", "have the same one"),
        (lambda d: "r1" if d < 19 else "r2", "not two in a row with 200"),
        (lambda d: "r1" if d < 10 else "r\x1b2", "a name that a policy can hold"),
        (None, "There is no release_id"),
    ],
    ids=["one release", "a young one", "a name with a control character", "none"],
)
def test_without_two_good_releases_days_are_compared(
    release: Callable[[int], str | None] | None, said: str, tmp_path: Path
) -> None:
    made = chosen(rows(range(20), 40, release), tmp_path)
    assert (made.candidate, made.baseline) == ("{days: 7}", "{days: 7}")
    assert said in " ".join(made.why)


def test_rows_without_a_release_are_told(tmp_path: Path) -> None:
    made = chosen(rows(range(40), 40, lambda d: [None, "a", "b"][min(d // 10, 2)]), tmp_path)
    assert made.release == "b"
    assert "25 % of the interactions have no release_id" in " ".join(made.why)
