"""The ledger: append-only, idempotent, whole, and safe with two writers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis import artifact as artifacts
from analysis import ledger
from analysis.errors import UsageError
from analysis.ledger_names import folder_name
from analysis.review import Review
from tests import ledgers
from tests.end_to_end.children import content

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def body(tiny_review: Review) -> Mapping[str, Any]:
    return tiny_review.body


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "releases"


def test_a_release_is_recorded_once(body: Mapping[str, Any], place: Path) -> None:
    one = ledgers.artifact(body, "r1")
    assert ledgers.record(place, one)
    before = content(place)
    assert not ledgers.record(place, one)
    assert content(place) == before
    (entry,) = ledger.read(place).entries
    assert (entry.folder, entry.release_id, entry.digest) == ("r1", "r1", one["digest"])
    assert artifacts.verify_file(entry.path / artifacts.FILE_NAME) == []


def test_another_artifact_under_a_taken_id_is_refused(body: Mapping[str, Any], place: Path) -> None:
    ledgers.record(place, ledgers.artifact(body, "r1"))
    before = content(place)
    other = ledgers.artifact(body, "r1", change=lambda b: b["release"].update(title="another"))
    with pytest.raises(UsageError, match="is recorded with another artifact"):
        ledgers.record(place, other)
    assert content(place) == before


def test_a_build_that_fails_leaves_nothing(body: Mapping[str, Any], place: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        ledger.record(place, body, fails)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "release", ["../x", "a/b", "R1", "", ".", "x" * 300, "\u202e{{< env HOME >}}"]
)
def test_a_hostile_id_stays_in_the_ledger(
    body: Mapping[str, Any], place: Path, release: str
) -> None:
    ledgers.record(place, ledgers.artifact(body, release))
    assert [p.name for p in place.parent.iterdir()] == [place.name]
    assert [p.name for p in place.iterdir()] == [folder_name(release)]
    (entry,) = ledger.read(place).entries
    assert entry.release_id == release


def test_ids_that_differ_in_case_have_folders_that_do_not(
    body: Mapping[str, Any], place: Path
) -> None:
    for release in ("r1", "R1"):
        assert ledgers.record(place, ledgers.artifact(body, release))
    assert len({p.name.casefold() for p in place.iterdir()}) == 2


def test_entries_stand_in_the_order_of_their_time(body: Mapping[str, Any], place: Path) -> None:
    for release, end in [("b", "2026-03-02"), ("c", "2026-01-05"), ("a", "2026-03-02")]:
        ledgers.record(place, ledgers.artifact(body, release, end))
    assert [e.release_id for e in ledger.read(place).entries] == ["c", "a", "b"]


def tampered(path: Path) -> None:
    held = json.loads((path / artifacts.FILE_NAME).read_text())
    held["decision"]["outcome"] = "ship"
    held["decision"]["headline"] = "all is well"
    (path / artifacts.FILE_NAME).write_text(json.dumps(held))


HARM = {
    "a changed decision": (tampered, "does not agree with its digest"),
    "no artifact": (lambda p: (p / artifacts.FILE_NAME).unlink(), "No such file"),
    "no JSON": (lambda p: (p / artifacts.FILE_NAME).write_text("{"), "not JSON"),
    "another schema": (
        lambda p: (p / artifacts.FILE_NAME).write_text('{"schema": "x/9"}'),
        "schema",
    ),
    "nothing in it": (
        lambda p: (p / artifacts.FILE_NAME).write_text('{"schema": "decision-artifact/1"}'),
        "missing",
    ),
    "another release's folder": (lambda p: p.rename(p.parent / "r9"), "another release"),
    "a name of no release": (lambda p: p.rename(p.parent / "R 9"), "not that of a release"),
}


@pytest.mark.parametrize(("harm", "problem"), HARM.values(), ids=HARM)
def test_a_bad_entry_is_told_and_hides_no_other(
    body: Mapping[str, Any], place: Path, harm: Any, problem: str
) -> None:
    for release in ("r1", "r2", "r3"):
        ledgers.record(place, ledgers.artifact(body, release))
    sound = ledger.read(place).digest
    harm(place / "r2")
    found = ledger.read(place)
    assert [e.release_id for e in found.entries] == ["r1", "r3"]
    (fault,) = found.faults
    assert problem in fault.problem
    assert str(place) not in fault.problem
    assert found.digest != sound


def test_a_damaged_place_is_not_recorded_over(body: Mapping[str, Any], place: Path) -> None:
    one = ledgers.artifact(body, "r1")
    ledgers.record(place, one)
    tampered(place / "r1")
    before = content(place)
    with pytest.raises(UsageError, match="cannot be recorded there"):
        ledgers.record(place, one)
    assert content(place) == before


@pytest.mark.parametrize("kind", ["file", "empty folder", "dangling link"])
def test_what_else_lies_at_a_release_s_place_stays(
    body: Mapping[str, Any], place: Path, kind: str
) -> None:
    place.mkdir()
    at = place / "r1"
    {"file": at.touch, "empty folder": at.mkdir, "dangling link": lambda: at.symlink_to("gone")}[
        kind
    ]()
    with pytest.raises(UsageError, match="cannot be recorded there"):
        ledgers.record(place, ledgers.artifact(body, "r1"))


def test_files_and_hidden_folders_are_no_entries(body: Mapping[str, Any], place: Path) -> None:
    ledgers.record(place, ledgers.artifact(body, "r1"))
    (place / "README.md").write_text("about")
    (place / ".entry.building-1-abcdefgh").mkdir()
    found = ledger.read(place)
    assert [e.folder for e in found.entries] == ["r1"]
    assert found.faults == ()


def test_no_ledger_is_an_empty_one(place: Path) -> None:
    assert ledger.read(place) == ledger.Ledger()


WRITER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from analysis import artifact as artifacts, ledger
from analysis.errors import UsageError
place, body, ready = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
def build(folder):
    artifacts.write(body, folder / artifacts.FILE_NAME)
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text(body["release"]["title"])
    # Both have built before either renames.
    ready.with_name(ready.name + "-" + sys.argv[4]).touch()
    while len(list(ready.parent.glob(ready.name + "-*"))) < 2:
        time.sleep(0.001)
try:
    print(ledger.record(place, body, build))
except UsageError as error:
    print("refused" if "another artifact" in str(error) else error)
"""


@pytest.mark.parametrize("same", [True, False])
def test_of_two_writers_at_once_one_wins(
    body: Mapping[str, Any], place: Path, tmp_path: Path, same: bool
) -> None:
    bodies = [
        ledgers.artifact(body, "r1", change=lambda b, t=t: b["release"].update(title=t))
        for t in ("one", "one" if same else "two")
    ]
    for turn in range(5):
        folder = place / str(turn)
        started = []
        for number, held in enumerate(bodies):
            path = tmp_path / f"{turn}-{number}.json"
            path.write_bytes(artifacts.file_bytes(held))
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(folder), str(path),
                     str(tmp_path / f"ready-{turn}"), str(number)],
                    stdout=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
        said = [process.communicate(timeout=60)[0].strip() for process in started]
        assert sorted(said) == sorted(["True", "False" if same else "refused"])
        (entry,) = ledger.read(folder).entries
        won = bodies[said.index("True")]
        assert entry.digest == won["digest"]
        assert content(folder)["r1/site/index.html"].decode() == won["release"]["title"]
        assert [p.name for p in folder.iterdir()] == ["r1"]
