"""kill -9 at any moment of `record` and `render` leaves a ledger and a site that verify."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis import ledger
from analysis.render.site_check import check_site
from analysis.sample import generate, write
from tests import ledgers
from tests.end_to_end.children import Place, content

ENGINE = ("--engine", "embedded")
KEPT = 3
"""Entries that a long run keeps: it compares every byte of each after every kill."""


@dataclass
class World:
    """A project with a finished review, a published site, and a ledger that grows."""

    place: Place
    data: Path
    longest: dict[str, float] = field(default_factory=dict)
    checked: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def releases(self) -> Path:
        return self.place.project / ledger.RELEASES

    @property
    def site(self) -> Path:
        return self.place.project / "_site"

    def finished(self, release: str) -> Path:
        """A finished review of another release: the first one's pages under another name."""
        root = self.place.project / ".cache" / "review"
        first = next(p for p in sorted(root.iterdir()) if (p / "pages").is_dir())
        folder = root / f"of-{release}"
        if not folder.exists():
            shutil.copytree(first, folder)
            body = artifacts.read(first / artifacts.FILE_NAME)
            artifacts.write(ledgers.artifact(body, release), folder / artifacts.FILE_NAME)
        return folder / artifacts.FILE_NAME

    def line(self, name: str, release: str) -> list[object]:
        if name == "record":
            return ["record", self.finished(release), *ENGINE]
        return ["render", "--data", self.data, *ENGINE]

    def killed(self, name: str, release: str, moment: float) -> bool:
        """Starts a command and kills it; whether it was done before that."""
        process = self.place.start(*self.line(name, release))
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            # The kernel of the pages notices within a second that its parent is gone.
            process.communicate(timeout=60)
            return False
        assert process.returncode == 0
        return True

    def sound(self) -> None:
        """Every entry verifies, none is half there, and the published site has no fault."""
        held = ledger.read(self.releases)
        assert held.faults == ()
        for entry in held.entries:
            found = content(entry.path)
            if self.checked.get(entry.folder) == found:
                continue
            assert entry.folder not in self.checked, "an entry is never written again"
            self.checked[entry.folder] = found
            assert artifacts.verify_file(entry.path / artifacts.FILE_NAME) == []
            assert check_site(entry.path / ledger.SITE) == []
            assert sorted(p.name for p in entry.path.iterdir()) == [
                artifacts.FILE_NAME, ledger.SITE, ledger.TABLES,
            ]  # fmt: skip
        assert check_site(self.site) == []
        assert artifacts.verify_file(self.site / artifacts.FILE_NAME) == []
        for published in (self.site / "releases").iterdir():
            entry_of = held.named(published.name)
            if entry_of is not None:
                inner = f"{ledger.SITE}/"
                assert content(published) == {
                    name.removeprefix(inner): held
                    for name, held in self.checked[published.name].items()
                    if name.startswith(inner)
                }

    def clean(self) -> None:
        """One more of each runs through, and leaves nothing but what it made."""
        last = f"last-{random.random()}"
        for name in ("record", "render"):
            code, _, err = self.place.run(*self.line(name, last))
            assert code == 0, err
        self.sound()
        assert (self.site / "releases" / last / "index.html").is_file()
        assert [p.name for p in self.releases.iterdir() if p.name.startswith(".")] == []
        assert self.place.litter() == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("killed")
    data = write(generate("tiny", None, 1), folder / "data", "csv")
    world = World(Place.make(folder), data)
    assert world.place.run(*world.line("render", ""))[0] == 0
    for name in ("record", "render"):
        start = time.monotonic()
        assert world.place.run(*world.line(name, "r0"))[0] == 0
        world.longest[name] = 1.05 * (time.monotonic() - start)
    world.sound()
    return world


def kill_often(world: World, seed: int, n: int) -> None:
    draw = random.Random(seed)
    done = 0
    for k in range(n):
        name = ("record", "render")[k % 2]
        done += world.killed(name, f"s{seed}-{k}", draw.uniform(0.05, world.longest[name]))
        world.sound()
        for entry in ledger.read(world.releases).entries[:-KEPT]:
            shutil.rmtree(entry.path)
            del world.checked[entry.folder]
        for folder in (world.place.project / ".cache" / "review").glob("of-s*"):
            shutil.rmtree(folder)
    assert done < n / 2, "most are killed before they are done"
    world.clean()


def test_a_kill_leaves_a_ledger_and_a_site_that_verify(world: World) -> None:
    kill_often(world, 1, 6)


@pytest.mark.simulate
def test_two_hundred_kills_leave_a_ledger_and_a_site_that_verify(world: World) -> None:
    kill_often(world, 2, 200)


def test_a_kill_between_building_and_renaming_leaves_no_entry(world: World) -> None:
    """The moment that a random one rarely meets: all is built, and nothing is in place yet."""
    code = (
        "import os, signal\n"
        "from analysis import ledger\n"
        "ledger._put = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    hook = world.place.temporary.parent / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(code)
    root = str(Path(__file__).resolve().parents[2])
    environment = {"PYTHONPATH": os.pathsep.join([str(hook), root])}
    place = Place(world.place.project, world.place.temporary, environment)
    before = {e.folder for e in ledger.read(world.releases).entries}
    process = place.start(*world.line("record", "between"))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert [p for p in world.releases.iterdir() if p.name.startswith(".entry.building-")]
    assert {e.folder for e in ledger.read(world.releases).entries} == before
    world.sound()
    world.clean()
