"""One site for all tests that only read one: the sample's, with a recorded release beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from analysis.review import PROJECT
from tests.end_to_end import browser
from tests.end_to_end.children import Place

RELEASE = "2026.11.2"
WEB = PROJECT / ".cache" / "web" / "node_modules"
"""Where .ci/run puts what the npm registry has."""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A project whose release is rendered, recorded, and rendered again. Nobody may change it.

    Made once for all workers: the first one that comes makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "place"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "done").exists():
            return Place(folder / "project", folder / "temporary")
        folder.mkdir()
        place = Place.make(folder)
        sample, engine = PROJECT / "data" / "sample", ("--engine", "embedded")
        assert place.run("render", "--data", sample, *engine)[0] == 0
        code, out, err = place.run("record", "_site/decision_artifact.json", *engine)
        assert (code, out) == (0, f"recorded release {RELEASE}: data/releases/{RELEASE}\n"), err
        assert place.run("render", "--data", sample, *engine)[0] == 0
        (folder / "done").touch()
        return place


@pytest.fixture(scope="session")
def site(place: Place) -> Path:
    return place.project / "_site"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = browser.chromium()
    if found is None:
        pytest.skip(browser.ABSENT)
    return found
