"""A disk that is full is one clear error, exit code 2, and nothing half written; a full cache is none."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from tests.end_to_end.children import Place, content


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """A folder on a disk of this size."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def refused(told: tuple[int, str, str], *names: object) -> None:
    code, out, err = told
    assert code == 2, err
    assert out == ""
    lines = err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert "Traceback" not in err
    assert all(str(name) in lines[-1] for name in names), err


def test_a_full_folder_for_temporary_files(place: Place, tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["--data", tiny_data, "--out", out]
    for command in ("review", "validate"):
        with small(tmp_path / "small", "8k") as folder:
            full = dataclasses.replace(place, temporary=folder)
            refused(full.run(command, *line), folder, "No space left", "TMPDIR")
            assert full.litter() == []
            assert list(folder.iterdir()) == []
        assert not out.exists()


@pytest.mark.parametrize("command", ["review", "validate"])
def test_files_that_may_not_grow(
    place: Place, tiny_data: Path, tmp_path: Path, command: str
) -> None:
    told = place.run(command, "--data", tiny_data, "--out", tmp_path / "out", largest_file=10_000)
    refused(told, place.temporary, "File too large")
    assert place.litter() == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["64k", "400k"])
def test_a_full_cache_costs_the_next_run_and_not_this_one(
    place: Place, tiny_data: Path, tmp_path: Path, size: str
) -> None:
    """64k has no room for the encoded telemetry, 400k none for both."""
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert place.run("review", "--data", tiny_data, "--out", plain)[0] == 0
    shutil.rmtree(place.project / ".cache")
    with small(place.project / ".cache", size):
        code, _, err = place.run("review", "--data", tiny_data, "--out", out)
        assert code == 0, err
        assert "Traceback" not in err
        assert place.litter() == []
    assert content(out) == content(plain)


def test_a_cache_that_cannot_be_written_needs_out(
    place: Place, tiny_data: Path, tmp_path: Path
) -> None:
    (place.project / ".cache").write_text("a file")
    out = tmp_path / "out"
    code, _, err = place.run("review", "--data", tiny_data, "--out", out)
    assert code == 0
    assert "not kept for the next run" in err
    assert artifacts.verify_file(out / "decision_artifact.json") == []
    refused(place.run("review", "--data", tiny_data), ".cache", "--out")
    assert place.litter() == []
    assert (place.project / ".cache").read_text() == "a file"


def fill(disk: Path) -> None:
    """Takes all the room that is left."""
    with suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("command", ["review", "sample", "validate"])
def test_a_full_place_for_results_keeps_the_previous_ones(
    place: Place, tiny_data: Path, tmp_path: Path, command: str
) -> None:
    with small(tmp_path / "small", "1m") as disk:
        out = disk / "out"
        line: list[object] = {
            "review": ["review", "--data", tiny_data, "--out", out],
            "sample": ["sample", "--scenario", "tiny", "--out", out],
            "validate": ["validate", "--data", tiny_data, "--quarantine", out],
        }[command]
        fill(disk)
        refused(place.run(*line), out, "No space left")
        assert [p.name for p in disk.iterdir()] == ["filling"]
        (disk / "filling").unlink()
        code, _, err = place.run(*line)
        assert code == 0, err
        fill(disk)
        before = content(disk)
        refused(place.run(*line), out, "No space left")
        assert content(disk) == before
        assert place.litter() == []
