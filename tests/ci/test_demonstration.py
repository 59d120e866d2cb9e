"""The demonstration gets the decision that each release must get, or says that it does not."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis import demonstration
from analysis.gate import EXIT_CODES
from analysis.sample.releases import RELEASES, Release


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decisions and comments of all four releases; sites and ledger are tested by themselves."""
    out = tmp_path_factory.mktemp("demonstration") / "demo"
    assert demonstration.demonstrate(out, quick=True) == []
    return out


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: f"{r.id} {r.expected}")
def test_each_release_gets_the_decision_that_it_must_get(quick: Path, release: Release) -> None:
    work = quick / "reviews" / release.id
    path = work / "review" / "decision_artifact.json"
    assert artifacts.verify_file(path) == []
    body = artifacts.read(path)
    assert body["release"]["id"] == release.id
    assert body["decision"]["outcome"] == release.expected
    assert json.loads((quick / demonstration.MARK).read_text())[release.id] == release.expected
    told = (work / "comment.md").read_text()
    assert f"\n## {release.expected.upper()}: release {release.id}\n" in told
    result = json.loads((work / "result.json").read_text())
    assert result["exit_code"] == EXIT_CODES[release.expected]


def test_the_comments_say_what_follows(quick: Path) -> None:
    ship, block, fixed, hold = (
        (quick / "reviews" / release.id / "comment.md").read_text() for release in RELEASES
    )
    assert "After shipping, watch:" in ship
    assert "**health.failure&#95;rate** blocks: The failure rate went from" in block
    assert "use&#95;case “coding”, scenario “tool-use”" in block
    assert "After shipping, watch:" in fixed
    assert "To settle what more traffic can settle: about" in hold


def test_the_windows_follow_each_other_and_the_blocked_release_is_left_out(quick: Path) -> None:
    windows = [
        artifacts.read(quick / "reviews" / r.id / "review" / "decision_artifact.json")["windows"]
        for r in RELEASES
    ]
    for release, found in zip(RELEASES, windows, strict=True):
        start = release.start.isoformat().replace("+00:00", "Z")
        assert found["candidate"]["start_utc"] == found["baseline"]["end_utc"] == start
        assert len(found["exclude"]) == len(release.excluded)
    for before, after in itertools.pairwise(windows):
        assert after["baseline"]["start_utc"] < before["candidate"]["start_utc"]


def test_no_path_of_the_machine_is_in_an_artifact(quick: Path) -> None:
    for release in RELEASES:
        text = (quick / "reviews" / release.id / "review" / "decision_artifact.json").read_text()
        assert str(quick.parent) not in text


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert demonstration.main(["--out", str(tmp_path)]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_another_decision_fails_the_demonstration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def shipped(
        release: Release, out: Path, before: Path | None, *, quick: bool
    ) -> tuple[str, int]:
        work = out / "reviews" / release.id
        work.mkdir(parents=True)
        (work / "comment.md").write_text("a comment")
        return "ship", 0

    monkeypatch.setattr(demonstration, "_reviewed", shipped)
    assert demonstration.main(["--quick", "--out", str(tmp_path / "demo")]) == 1
    said = capsys.readouterr().err
    assert "release 2026.10.2: expected block and exit 1, got ship and exit 0" in said
    assert "release 2026.11.1: expected hold and exit 3, got ship and exit 0" in said
    assert "2026.10.1" not in said


def test_a_command_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def reviewed(
        release: Release, out: Path, before: Path | None, *, quick: bool
    ) -> tuple[str, int]:
        return "ship", 0

    monkeypatch.setattr(demonstration, "_reviewed", reviewed)
    assert demonstration.main(["--out", str(tmp_path / "demo")]) != 0
    assert list(tmp_path.iterdir()) == []
