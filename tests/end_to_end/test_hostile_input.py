"""Inputs that are no telemetry: the file and the place are named, and nothing is written."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, USERS
from tests.telemetry.worlds import World, tiny

Harm = Callable[[World], object]
Capture = pytest.CaptureFixture[str]
FILE = f"{INTERACTIONS}.csv"


def file_of(change: Callable[[bytes], bytes], name: str = FILE) -> Harm:
    """Other bytes in the place of the interactions, under another name perhaps."""

    def apply(world: World) -> None:
        path = world.write() / FILE
        data = change(path.read_bytes())
        path.unlink()
        (world.folder / name).write_bytes(data)

    return apply


def place_of(make: Callable[[Path], object]) -> Harm:
    """Something else in the place of the interactions."""

    def apply(world: World) -> None:
        path = world.write() / FILE
        path.unlink()
        make(path)

    return apply


def cell(column: str, value: str, table: str = INTERACTIONS) -> Harm:
    """One cell of the fourth row, or the last."""

    def apply(world: World) -> None:
        world.set(table, column, min(4, len(world.tables[table])), value).write()

    return apply


def named(change: Callable[[list[str]], list[str]]) -> Harm:
    """Other column names."""

    def apply(world: World) -> None:
        path = world.write() / FILE
        first, _, rest = path.read_text().partition("\n")
        path.write_text(",".join(change(first.split(","))) + "\n" + rest)

    return apply


def parquet(change: Callable[[bytes], bytes] = lambda b: b, **types: pa.DataType) -> Harm:
    """Interactions in Parquet, with columns of other types, or with other bytes."""

    def apply(world: World) -> None:
        whole = world.arrow(INTERACTIONS)
        for name, kind in types.items():
            values = pa.array([{"a": 1}] * 8) if pa.types.is_struct(kind) else pa.array([3] * 8)
            made = values if pa.types.is_struct(kind) else values.cast(kind)
            whole = whole.set_column(whole.schema.get_field_index(name), name, made)
        held = io.BytesIO()
        pq.write_table(whole, held)
        world.write()
        (world.folder / FILE).unlink()
        (world.folder / f"{INTERACTIONS}.parquet").write_bytes(change(held.getvalue()))

    return apply


def parts_of_which_one_is_broken(world: World) -> None:
    world.write()
    (world.folder / FILE).unlink()
    folder = world.folder / INTERACTIONS
    folder.mkdir()
    pq.write_table(world.arrow(INTERACTIONS), folder / "a.parquet")
    (folder / "b.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-9])


def no_row_in_parquet(world: World) -> None:
    world.tables[INTERACTIONS] = world.tables[INTERACTIONS][:0]
    world.write("parquet")


def without_permission(world: World) -> None:
    (world.write() / FILE).chmod(0)


# What is wrong → the harm, and the words that name the file or the table, and the place.
HARMS: dict[str, tuple[Harm, tuple[str, ...]]] = {
    "a missing file": (place_of(lambda p: None), (FILE, "no file")),
    "an empty file": (file_of(lambda b: b""), (FILE, "0 bytes")),
    "a header only": (file_of(lambda b: b[: b.index(b"\n") + 1]), (FILE, "no rows")),
    "a header only, in Parquet": (
        no_row_in_parquet,
        (f"{INTERACTIONS}.parquet", "no rows"),
    ),
    "semicolons": (file_of(lambda b: b.replace(b",", b";")), (FILE, "expected commas, found ';'")),
    "tabs": (file_of(lambda b: b.replace(b",", b"\t")), (FILE, "expected commas, found '\\t'")),
    "latin-1": (file_of(lambda b: b.replace(b"DE", b"\xd6S")), (FILE, "byte 2", "not UTF-8")),
    "UTF-16": (file_of(lambda b: b.decode().encode("utf-16")), (FILE, "byte 1 ", "UTF-16")),
    "a ragged row": (file_of(lambda b: b + b"x,y\n"), (FILE, "data row 9")),
    "a row too long": (file_of(lambda b: b.replace(b"DE", b"DE,DE", 1)), (FILE, "data row 1")),
    "an open quote": (
        file_of(lambda b: b.replace(b"coding", b'"coding', 1)),
        (FILE, "data row", "quoted cell"),
    ),
    "a field of 10 MB": (cell("use_case", "x" * 10_000_000), (FILE, "data row 4", "'use_case'")),
    "a field of 20 MB": (cell("mood", "x" * 20_000_000), (FILE, "data row 4", "'mood'")),
    "gzip cut short": (
        file_of(lambda b: gzip.compress(b)[:-20], f"{FILE}.gz"),
        (f"{FILE}.gz", "no complete gzip"),
    ),
    "no gzip": (file_of(lambda b: b, f"{FILE}.gz"), (f"{FILE}.gz", "no complete gzip")),
    "Parquet cut short": (
        parquet(lambda b: b[:-30]),
        (f"{INTERACTIONS}.parquet", "no complete Parquet"),
    ),
    "Parquet of other bytes": (
        parquet(lambda b: b"ARROW1" + b[6:-4] + b"PARE"),
        (f"{INTERACTIONS}.parquet", "no complete Parquet"),
    ),
    "Parquet whose pages are garbled": (
        parquet(lambda b: b[:10] + b"\xff" * 200 + b[210:]),
        (f"{INTERACTIONS}.parquet", "cannot be read to its end"),
    ),
    "one broken part of several": (
        parts_of_which_one_is_broken,
        ("b.parquet", "no complete Parquet"),
    ),
    "a structure where a number is expected": (
        parquet(latency_ms=pa.struct([("a", pa.int64())])),
        ("latency_ms", "first rows 1, 2, 3"),
    ),
    "a duration where a time is expected": (
        parquet(timestamp_utc=pa.duration("s")),
        ("timestamp_utc", "first rows 1, 2, 3"),
    ),
    "text where a number is expected": (cell("latency_ms", "fast"), ("latency_ms", "first rows 4")),
    "a fraction where a count is expected": (
        cell("prompt_tokens", "1.5"),
        ("prompt_tokens", "first rows 4"),
    ),
    "a column twice": (
        named(lambda n: [*n[:-1], n[0]]),
        (FILE, "more than one column named interaction_id"),
    ),
    "a column in another case": (
        named(lambda n: [c.upper() if c == "is_failure" else c for c in n]),
        ("is_failure", "'IS_FAILURE'"),
    ),
    "a column without its name": (
        named(lambda n: ["" if c == "user_id" else c for c in n]),
        ("user_id", "is missing"),
    ),
    "NaN": (cell("cost_usd", "NaN"), ("cost_usd", "first rows 4")),
    "an infinity": (cell("latency_ms", "-Infinity"), ("latency_ms", "first rows 4")),
    "a negative amount": (cell("cost_usd", "-0.01"), ("cost_usd", "first rows 4")),
    "a negative total": (
        cell("user_total_cost_usd", "-1", USERS),
        ("user_total_cost_usd", "first rows 3"),
    ),
    "a time that is none": (
        cell("timestamp_utc", "2026-02-30T00:00:00Z"),
        ("timestamp_utc", "first rows 4"),
    ),
    "a time of another zone": (
        cell("timestamp_utc", "2026-09-08T08:00:00+02:00"),
        ("timestamp_utc", "first rows 4", "convert the times to UTC"),
    ),
    "a session's time of another zone": (
        cell("end_timestamp_utc", "2026-09-09T05:00:00-05:00", SESSIONS),
        ("end_timestamp_utc", "first rows 4"),
    ),
    "a directory for a file": (place_of(lambda p: p.mkdir()), (FILE, "is a directory")),
    "a link to itself": (place_of(lambda p: p.symlink_to(p.name)), (FILE, "symbolic links")),
    "a link to the directory it is in": (
        place_of(lambda p: p.symlink_to(".")),
        (FILE, "is a directory"),
    ),
    "a pipe": (place_of(os.mkfifo), (FILE, "not a regular file")),
    "a device without end": (
        place_of(lambda p: p.symlink_to("/dev/zero")),
        (FILE, "not a regular file"),
    ),
    "no permission": (without_permission, (FILE, "Permission denied")),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project and a directory for temporary files of this test's own."""
    (tmp_path / "project").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(reviews, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def nothing_written(place: Path) -> None:
    left = [p for name in ("tmp", "project") for p in (place / name).rglob("*") if p.is_file()]
    assert left == []
    assert list((place / "tmp").iterdir()) == []
    assert not (place / "out").exists()


@pytest.mark.parametrize("name", HARMS)
def test_validate_and_review_name_file_and_place_and_write_nothing(
    name: str, place: Path, capsys: Capture
) -> None:
    if name == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read every file; run the tests as another user to see this one")
    harm, words = HARMS[name]
    harm(tiny(place / "data"))
    data = str(place / "data")
    policy = place / "policy.yml"
    policy.write_text("windows: {candidate: {days: 1}, baseline: none}\n")
    assert main(["validate", "--data", data]) == 1
    told = capsys.readouterr()
    assert [w for w in words if w not in told.out] == []
    assert told.err == ""
    assert (
        main(["review", "--data", data, "--policy", str(policy), "--out", str(place / "out")]) == 1
    )
    told = capsys.readouterr()
    assert [w for w in words if w not in told.err] == []
    assert told.out == ""
    assert "Traceback" not in told.err
    nothing_written(place)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no such directory"),
        (lambda p: p.write_text("x"), "expected a directory"),
        (lambda p: p.symlink_to(p.name), "data"),
        (os.mkfifo, "expected a directory"),
    ],
    ids=["absent", "a file", "a link to itself", "a pipe"],
)
@pytest.mark.parametrize("command", ["validate", "review"])
def test_data_that_are_no_directory_are_a_wrong_command_line(
    command: str, make: Callable[[Path], object], words: str, place: Path, capsys: Capture
) -> None:
    make(place / "data")
    (place / "policy.yml").write_text("release: {id: r}\n")
    more = ["--policy", str(place / "policy.yml"), "--out", str(place / "out")]
    argv = [command, "--data", str(place / "data"), *(more if command == "review" else [])]
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    nothing_written(place)


POLICIES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "an unknown key": (b"hotspotss: {}\n", ("hotspotss", "did you mean 'hotspots'?")),
    "a wrong type": (b"missing: {max_rate: lots}\n", ("missing.max_rate", "expected a number")),
    "a contradiction": (
        b"windows: {candidate: {start: 2026-02-01, end: 2026-01-01}}\n",
        ("windows.candidate", "start must be before end"),
    ),
    "a key twice": (b"cluster: user\ncluster: auto\n", ("cluster: stands twice", "line 2")),
    "an alias bomb": (
        b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
        ("aliases (*name) are not accepted", "line 2"),
    ),
    "a language tag": (
        b"release: !!python/object/apply:os.system [x]\n",
        ("release", "the tag", "is not accepted"),
    ),
    "a number without end": (b"missing: {max_rate: .nan}\n", ("missing.max_rate", "finite")),
    "deep nesting": (b"[" * 5_000, ("nested too deeply",)),
    "latin-1": ("release: {id: ü}".encode("latin-1"), ("byte 14 is not UTF-8",)),
    "several at once": (
        b"cluster: 7\nmissing: {max_rate: 9}\nx: &a 1\ngate: {looks: 0}\ny: *a\n",
        ("cluster", "missing.max_rate", "gate.looks", "x: unknown key", "y: aliases"),
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_is_none_is_told_with_path_and_hint_before_the_data_are_read(
    name: str, place: Path, capsys: Capture
) -> None:
    text, words = POLICIES[name]
    policy = place / "policy.yml"
    policy.write_bytes(text)
    tiny(place / "data").set(INTERACTIONS, "cost_usd", 1, "-1").write()
    argv = ["--data", str(place / "data"), "--policy", str(policy), "--out", str(place / "out")]
    assert main(["review", *argv]) == 2
    told = capsys.readouterr()
    assert [w for w in (str(policy), *words) if w not in told.err] == []
    assert told.out == ""
    nothing_written(place)


def test_rows_are_set_aside_where_a_table_or_a_key_is_not_there(
    place: Path, capsys: Capture
) -> None:
    """What is missing as a whole has no row to set aside; the other tables have theirs."""
    for number, harm in enumerate(
        [lambda w: w.drop(SESSIONS, "session_id"), lambda w: w.drop(INTERACTIONS, "user_id"), None]
    ):
        world = tiny(place / f"data{number}").set(INTERACTIONS, "latency_ms", 4, "-1")
        if harm is not None:
            harm(world)
        world.write()
        if harm is None:
            (world.folder / f"{USERS}.csv").unlink()
        aside = place / f"aside{number}"
        argv = ["validate", "--data", str(world.folder), "--quarantine", str(aside), "--quiet"]
        assert main(argv) == 1
        assert "latency_ms" in (aside / FILE).read_text()
        assert json.loads((aside / "violations.json").read_text())["n_errors"] > 1
        capsys.readouterr()


def test_a_table_that_breaks_off_late_leaves_no_row_to_set_aside(
    place: Path, capsys: Capture
) -> None:
    parquet(lambda b: b[:10] + b"\xff" * 200 + b[210:])(tiny(place / "data"))
    argv = ["validate", "--data", str(place / "data"), "--quarantine", str(place / "aside")]
    assert main([*argv, "--quiet"]) == 1
    assert f"{INTERACTIONS}" in capsys.readouterr().out
    assert [p.name for p in (place / "aside").iterdir()] == ["violations.json"]
