"""A published folder is complete, or the previous one untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.errors import RenderError
from analysis.render import publish as module
from analysis.render.publish import check_target, put_in_place, staging


def build_half(out: Path) -> None:
    """Start a build, write something, and fail."""
    with staging(out) as folder:
        (folder / "index.html").write_text("half")
        raise ValueError("broken")


def fill(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(text)


def ended_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("exchange", [True, False])
def test_a_new_site_takes_the_place_of_the_old_one(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    out = tmp_path / "_site"
    fill(out, "old")
    (out / "stale.html").write_text("stale")
    with staging(out) as folder:
        fill(folder, "new")
        put_in_place(folder, out)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["_site"]


def test_a_failed_build_leaves_the_old_site_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "_site"
    fill(out, "old")
    with pytest.raises(ValueError, match="broken"):
        build_half(out)
    assert (out / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["_site"]


def test_a_first_failed_build_leaves_no_site(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"):
        build_half(tmp_path / "_site")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_removed_and_a_running_ones_kept(tmp_path: Path) -> None:
    out = tmp_path / "_site"
    dead, alive = ended_pid(), os.getppid()
    fill(tmp_path / f"._site.building-{dead}", "half")
    fill(tmp_path / f"._site.building-{alive}", "another run")
    fill(tmp_path / "._site.building-notes", "a person's own")
    with staging(out):
        pass
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted([f"._site.building-{alive}", "._site.building-notes"])


def test_a_site_that_a_killed_run_had_moved_aside_is_put_back(tmp_path: Path) -> None:
    out = tmp_path / "_site"
    fill(tmp_path / f"._site.previous-{ended_pid()}", "old")
    with staging(out):
        assert (out / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["_site"]


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "holds"), ("project", "holds"), ("work", "other files"), ("work/notes.md", "is a file")],
)
def test_a_place_that_holds_other_work_is_never_replaced(
    tmp_path: Path, name: str, message: str
) -> None:
    project, work = tmp_path / "project", tmp_path / "work"
    project.mkdir()
    work.mkdir()
    (work / "notes.md").write_text("notes")
    with pytest.raises(RenderError, match=message):
        check_target(tmp_path / name, keep=[project])


@pytest.mark.parametrize("names", [[], ["index.html", "report"], ["site_libs", "report"]])
def test_an_empty_folder_or_an_older_site_is_replaced(tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "_site"
    out.mkdir()
    for name in names:
        (out / name).mkdir()
    check_target(out, keep=[tmp_path / "project"])
    check_target(tmp_path / "new", keep=[tmp_path])
