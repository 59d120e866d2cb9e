"""Which rows go with a person, and which with time."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS
from analysis.telemetry.files import Found, Unreadable
from analysis.telemetry.forgetting import Gone, Pair, of_time, of_users, pairs_of


def day(n: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, n, hour, tzinfo=UTC)


PAIRS = (
    Pair("ann", "a1", day(1)),
    Pair("ann", "a2", day(20)),
    Pair("bob", "b1", day(2)),
    Pair("eve", "e1", day(25)),
    Pair("ann", "shared", day(21)),
    Pair("eve", "shared", day(3)),
)


def test_a_person_goes_with_the_sessions_that_are_theirs_alone() -> None:
    gone = of_users({"ann"}, PAIRS)
    assert gone == Gone(
        users=frozenset({"ann"}),
        sessions=frozenset({"a1", "a2"}),
        sessions_in_part=frozenset({"shared"}),
    )


def test_somebody_who_is_not_there_takes_nothing_along() -> None:
    assert of_users({"nobody"}, PAIRS) == Gone(users=frozenset({"nobody"}))


def test_sessions_past_their_time_go_and_users_who_have_no_other() -> None:
    # The newest interaction is of the 25th: ten days before the 26th is the 16th.
    gone = of_time(PAIRS, 10)
    assert gone.sessions == {"a1", "b1"}
    assert gone.users == {"bob"}
    assert gone.users_in_part == {"ann"}
    assert gone.sessions_in_part == set()


@pytest.mark.parametrize(
    ("as_of", "sessions"),
    [
        (datetime(2026, 3, 11, tzinfo=UTC), set()),
        # Half-open: what is exactly as old as rows are kept stays.
        (datetime(2026, 3, 11, 12, tzinfo=UTC), set()),
        (datetime(2026, 3, 11, 12, 0, 1, tzinfo=UTC), {"a1"}),
        (datetime(2026, 4, 30, tzinfo=UTC), {"a1", "a2", "b1", "e1", "shared"}),
    ],
)
def test_time_is_counted_back_from_a_given_moment(as_of: datetime, sessions: set[str]) -> None:
    assert of_time(PAIRS, 10, as_of).sessions == sessions


def test_a_session_without_a_readable_time_stays() -> None:
    gone = of_time([*PAIRS, Pair("bob", "odd", None)], 10)
    assert "odd" not in gone.sessions
    assert gone.users == set()
    assert gone.users_in_part == {"ann", "bob"}


def test_without_any_time_nothing_goes() -> None:
    assert of_time([Pair("ann", "a1", None)], 1) == Gone()


ROWS = (
    "interaction_id,session_id,user_id,timestamp_utc,is_failure\n"
    "i1,s1,007,2026-03-01T10:00:00Z,false\n"
    "i2,s1,007,2026-03-01T11:00:00+00:00,\n"
    'i3,"s,2","a ""b""",not a time,true\n'
)
EXPECTED = {("007", "s1", datetime(2026, 3, 1, 11, tzinfo=UTC)), ('a "b"', "s,2", None)}


@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
def test_pairs_are_read_from_csv_as_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{INTERACTIONS}.{kind}"
    path.write_bytes(ROWS.encode() if kind == "csv" else gzip.compress(ROWS.encode()))
    found = pairs_of(Found(INTERACTIONS, kind, (path,)), contracts.load())
    assert {(p.user, p.session, p.last) for p in found} == EXPECTED


def test_pairs_are_read_from_parquet_under_names_of_one_s_own(tmp_path: Path) -> None:
    own = tmp_path / "contract.yml"
    own.write_text(f"tables: {{{INTERACTIONS}: {{names: {{user_id: who, timestamp_utc: at}}}}}}\n")
    table = pa.table(
        {
            "who": [7, 7, 8],
            "session_id": ["s1", "s1", "s2"],
            "at": pa.array([day(1), day(2), None], pa.timestamp("us", "UTC")),
        }
    )
    path = tmp_path / "part.parquet"
    pq.write_table(table, path)
    found = pairs_of(Found(INTERACTIONS, "parquet", (path,)), contracts.load(own))
    assert {(p.user, p.session, p.last) for p in found} == {("7", "s1", day(2)), ("8", "s2", None)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("interaction_id,session_id\ni1,s1\n", "has no column 'user_id'"),
        ('session_id,user_id\n"s1,u1\n', "a quoted cell does not end"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / f"{INTERACTIONS}.csv"
    path.write_text(text)
    with pytest.raises(Unreadable) as refused:
        pairs_of(Found(INTERACTIONS, "csv", (path,)), contracts.load())
    assert why in refused.value.hint
