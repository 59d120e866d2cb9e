"""A published folder is complete, or the previous one untouched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import in_place as module
from analysis.in_place import put_in_place, staging, write_text


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
    fill(tmp_path / f"._site.building-{dead}-0123abcd", "half")
    fill(tmp_path / f"._site.building-{alive}-0123abcd", "another run")
    fill(tmp_path / "._site.building-notes", "a person's own")
    with staging(out):
        pass
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == sorted([f"._site.building-{alive}-0123abcd", "._site.building-notes"])


def test_a_site_that_a_killed_run_had_moved_aside_is_put_back(tmp_path: Path) -> None:
    out = tmp_path / "_site"
    fill(tmp_path / f"._site.previous-{ended_pid()}-0123abcd", "old")
    with staging(out):
        assert (out / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["_site"]


def test_what_a_process_of_our_own_number_left_in_another_container_is_removed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "_site"
    fill(tmp_path / f"._site.building-{os.getpid()}-0123abcd", "of an earlier container")
    with staging(out) as folder:
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "name", ["_site.building-1", "._site.building-1", "._site.building-1-of-mine"]
)
def test_a_name_that_is_not_quite_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, "mine")
    with staging(tmp_path / "_site"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "report.txt"
    write_text(out, "before")
    (out.parent / f".report.txt.building-{ended_pid()}-0123abcd").write_text("half")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            write_text(out, "after")
    assert out.read_text() == "before"
    assert [path.name for path in out.parent.iterdir()] == ["report.txt"]
