"""Whenever a command is stopped or killed, its outputs are the previous ones or the new ones."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis.sample import generate, write
from tests.end_to_end.children import Place, content

POLICY = "release: {id: r1}\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 interactions, which take some seconds."""
    return write(generate("regressed", 20_000, 1), tmp_path_factory.mktemp("data") / "data", "csv")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def interrupted(
    process: subprocess.Popen[str], number: signal.Signals, seconds: float
) -> tuple[int, float, str]:
    """The exit code, how long the end took, and what was said."""
    try:
        _, err = process.communicate(timeout=seconds)
        return process.returncode, 0.0, err
    except subprocess.TimeoutExpired:
        pass
    start = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - start, err


def commands(data: Path, folder: Path) -> dict[str, tuple[list[object], Path]]:
    """Command → its line, and where its output goes."""
    out = folder / "out"
    return {
        "review": (["review", "--data", data, "--out", out], out),
        "validate": (["validate", "--data", data, "--quarantine", out], out),
        "sample": (["sample", "--out", out, "--interactions", 20_000], out),
        "render": (["render", "--data", data, "--out", out, "--engine", "embedded"], out),
    }


def signalled(
    place: Place, data: Path, name: str, number: signal.Signals, seed: int, longest: float
) -> None:
    """Stops one command at a random moment, and looks at what it leaves."""
    line, out = commands(data, place.project.parent)[name]
    before = content(out) if out.exists() else None
    delay = random.Random(f"{name} {number} {seed}").uniform(0.15, longest)
    code, seconds, err = interrupted(place.start(*line), number, delay)
    told = f"{name} after {delay:.2f} s: {code}, {err}"
    if code not in (0, -number):
        assert code == 128 + number, told
        assert "Traceback" not in err, told
        assert [text for text in err.splitlines() if "stopped" in text] == err.splitlines()[-1:], (
            told
        )
        # A second is promised; a machine that runs other tests beside takes longer.
        assert seconds < 5, told
    after = content(out) if out.exists() else None
    if code != 0 and name != "render":
        assert after is None or before is None or set(after) == set(before), told
    if after is not None and "decision_artifact.json" in after:
        assert artifacts.verify_file(out / "decision_artifact.json") == []
    assert place.litter() == [], told


CASES = [
    ("review", signal.SIGINT, 5.0),
    ("review", signal.SIGTERM, 5.0),
    ("validate", signal.SIGINT, 2.0),
    ("sample", signal.SIGTERM, 1.5),
    ("render", signal.SIGINT, 14.0),
]


@pytest.mark.parametrize(("name", "number", "longest"), CASES)
def test_a_signal_ends_a_command_soon_and_leaves_nothing(
    place: Place, data: Path, name: str, number: signal.Signals, longest: float
) -> None:
    for seed in range(2):
        signalled(place, data, name, number, seed, longest)


@pytest.mark.simulate
@pytest.mark.parametrize(("name", "number", "longest"), CASES)
def test_a_signal_at_any_moment_ends_a_command_soon(
    place: Place, data: Path, name: str, number: signal.Signals, longest: float
) -> None:
    for seed in range(2, 42):
        shutil.rmtree(place.project / ".cache", ignore_errors=True)
        signalled(place, data, name, number, seed, longest)


def killed_and_again(place: Place, data: Path, moments: list[float]) -> None:
    """Kills reviews of changed policies, over a first that is finished; then one runs through."""
    out = place.project.parent / "out"
    line = ["review", "--data", data, "--out", out]
    assert place.run(*line)[0] == 0
    before = content(out)
    for n, moment in enumerate(moments):
        if n % 2:
            shutil.rmtree(place.project / ".cache" / "encoded", ignore_errors=True)
        process = place.start(*line, "--release", f"r{n}")
        code, _, _ = interrupted(process, signal.SIGKILL, moment)
        assert artifacts.verify_file(out / "decision_artifact.json") == []
        assert code == 0 or content(out) == before
        before = content(out)
    assert place.run(*line, "--release", "last")[0] == 0
    assert artifacts.read(out / "decision_artifact.json")["release"]["id"] == "last"
    assert place.litter() == []


def test_what_a_kill_leaves_is_removed_by_the_next_run(place: Place, data: Path) -> None:
    killed_and_again(place, data, [1.2, 2.5, 3.5])


@pytest.mark.simulate
def test_what_kills_leave_is_removed_by_the_next_run(place: Place, data: Path) -> None:
    draw = random.Random(1)
    killed_and_again(place, data, [draw.uniform(0.1, 6) for _ in range(40)])


def test_a_command_that_its_starter_shields_from_ctrl_c_goes_on(place: Place, data: Path) -> None:
    """As `nohup` and background jobs of a shell do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = place.start("validate", "--data", data)
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted(process, signal.SIGINT, 1.0)[0] == 0
