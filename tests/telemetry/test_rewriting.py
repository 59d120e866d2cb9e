"""Rows leave files of telemetry, and all else stays as it stands."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry import rewriting
from analysis.telemetry.files import Found
from analysis.telemetry.forgetting import Gone
from analysis.telemetry.rewriting import Taken, take_out

CONTRACT = contracts.load()
# A byte order mark, quoted line ends, all kinds of line end, a cell that is no UTF-8, a last line without one.
ODD = (
    b"\xef\xbb\xbfinteraction_id,user_id,session_id,note\r\n"
    b'i1,ann,s1,"two\r\nlines, ""quoted"""\r\n'
    b"i2,bob,s2, spaces \n"
    b"i3,ann,s3,\xff\xfe\r"
    b'i4,"eve",s4,""\n'
    b"\n"
    b"i5,bob,s5,last"
)


def csv_file(folder: Path, table: str, content: bytes, kind: str = "csv") -> Found:
    path = folder / f"{table}.{kind}"
    path.write_bytes(gzip.compress(content) if kind == "csv.gz" else content)
    return Found(table, kind, (path,))


def content(found: Found) -> bytes:
    held = found.paths[0].read_bytes()
    return gzip.decompress(held) if found.format == "csv.gz" else held


@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
def test_other_rows_of_a_csv_stay_byte_for_byte(tmp_path: Path, kind: str) -> None:
    found = csv_file(tmp_path, INTERACTIONS, ODD, kind)
    taken = take_out([found], Gone(users=frozenset({"ann"})), CONTRACT)
    assert taken == [Taken(INTERACTIONS, 2, 0)]
    assert content(found) == (
        b"\xef\xbb\xbfinteraction_id,user_id,session_id,note\r\n"
        b"i2,bob,s2, spaces \n"
        b'i4,"eve",s4,""\n'
        b"\n"
        b"i5,bob,s5,last"
    )


def test_the_last_row_can_go_and_a_session_goes_by_its_id(tmp_path: Path) -> None:
    found = csv_file(tmp_path, INTERACTIONS, ODD)
    take_out([found], Gone(sessions=frozenset({"s5", "s1"})), CONTRACT)
    assert content(found).endswith(b'i4,"eve",s4,""\n\n')
    assert b"lines" not in content(found)


def test_a_file_from_which_nothing_goes_is_not_touched(tmp_path: Path) -> None:
    found = csv_file(tmp_path, INTERACTIONS, ODD, "csv.gz")
    before = found.paths[0].stat()
    assert take_out([found], Gone(users=frozenset({"x"})), CONTRACT) == [Taken(INTERACTIONS, 0, 0)]
    assert found.paths[0].stat() == before


def test_totals_of_who_keeps_some_rows_are_emptied(tmp_path: Path) -> None:
    users = csv_file(
        tmp_path,
        USERS,
        b'user_id,name,user_total_cost_usd,user_total_requests\r\nann,"a,b",1.5,3\r\nbob,c,2.5,4\r\n',
    )
    sessions = csv_file(tmp_path, SESSIONS, b"session_id,total_tokens,plan\ns1,7,x\ns2,8,y")
    gone = Gone(users_in_part=frozenset({"ann"}), sessions_in_part=frozenset({"s2"}))
    assert take_out([users, sessions], gone, CONTRACT) == [
        Taken(USERS, 0, 1),
        Taken(SESSIONS, 0, 1),
    ]
    assert (
        content(users)
        == b'user_id,name,user_total_cost_usd,user_total_requests\r\nann,"a,b",,\r\nbob,c,2.5,4\r\n'
    )
    assert content(sessions) == b"session_id,total_tokens,plan\ns1,7,x\ns2,,y"


def test_parquet_keeps_its_schema_and_compression(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array(["ann", "bob", None, "ann", "eve"]).dictionary_encode(),
            "session_id": [1, 2, 3, 4, 5],
            "cost": pa.array([1, 2, 3, 4, 5], pa.decimal128(10, 2)),
        }
    ).replace_schema_metadata({"who": "us"})
    folder = tmp_path / INTERACTIONS
    folder.mkdir()
    parts = (folder / "part-0.parquet", folder / "part-1.parquet")
    pq.write_table(table, parts[0], compression="zstd", row_group_size=2)
    pq.write_table(table.slice(4), parts[1], compression="gzip")
    second = parts[1].read_bytes()
    gone = Gone(users=frozenset({"ann"}), sessions=frozenset({"2"}))
    taken = take_out([Found(INTERACTIONS, "parquet", parts)], gone, CONTRACT)
    assert taken == [Taken(INTERACTIONS, 3, 0)]
    with pq.ParquetFile(parts[0]) as file:
        held = file.read()
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert held["session_id"].to_pylist() == [3, 5]
    assert held["user_id"].to_pylist() == [None, "eve"]
    assert held.schema.equals(table.schema, check_metadata=True)
    assert parts[1].read_bytes() == second


def test_parquet_totals_are_emptied(tmp_path: Path) -> None:
    path = tmp_path / f"{USERS}.parquet"
    pq.write_table(pa.table({"user_id": ["ann", "bob"], "user_total_tokens": [1, 2]}), path)
    found = Found(USERS, "parquet", (path,))
    assert take_out([found], Gone(users_in_part=frozenset({"ann"})), CONTRACT) == [
        Taken(USERS, 0, 1)
    ]
    assert pq.read_table(path)["user_total_tokens"].to_pylist() == [None, 2]


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real = csv_file(folder, INTERACTIONS, ODD).paths[0]
    real.chmod(0o640)
    link = tmp_path / f"{INTERACTIONS}.csv"
    link.symlink_to(real)
    take_out([Found(INTERACTIONS, "csv", (link,))], Gone(users=frozenset({"ann"})), CONTRACT)
    assert link.is_symlink()
    assert b"ann" not in real.read_bytes()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(folder)) == [real.name]


def test_a_failure_leaves_every_table_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = csv_file(tmp_path, SESSIONS, b"session_id,user_id\ns1,ann\n")
    rows = csv_file(tmp_path, INTERACTIONS, ODD)
    before = content(sessions), content(rows)
    real = rewriting._csv

    def full(path: Path, new: Path, plan: rewriting._Plan) -> tuple[int, int]:
        if path == rows.paths[0]:
            raise OSError(28, "No space left on device")
        return real(path, new, plan)

    monkeypatch.setattr(rewriting, "_csv", full)
    with pytest.raises(OSError, match="No space"):
        take_out([rows, sessions], Gone(users=frozenset({"ann"})), CONTRACT)
    assert (content(sessions), content(rows)) == before
    assert len(os.listdir(tmp_path)) == 2


def test_interactions_are_replaced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill between two tables they still tell which sessions were a person's."""
    found = [
        csv_file(tmp_path, INTERACTIONS, ODD),
        csv_file(tmp_path, SESSIONS, b"session_id\ns1\ns2\n"),
        csv_file(tmp_path, USERS, b"user_id\nann\nbob\n"),
    ]
    order: list[str] = []
    real = os.replace

    def replaced(new: Path, old: Path) -> None:
        order.append(old.name)
        real(new, old)

    monkeypatch.setattr(rewriting.os, "replace", replaced)
    gone = Gone(users=frozenset({"ann"}), sessions=frozenset({"s1"}))
    assert [t.n_removed for t in take_out(found, gone, CONTRACT)] == [2, 1, 1]
    assert order == [f"{SESSIONS}.csv", f"{USERS}.csv", f"{INTERACTIONS}.csv"]
