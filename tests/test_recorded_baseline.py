"""A baseline that names a release of the ledger: its candidate is what the next one is compared with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.errors import PolicyError, WindowError
from analysis.ledger_names import RELEASES, folder_name
from analysis.policy import load
from analysis.review import Request
from tests.views.world import at, traffic, written

DATES = {
    "baseline": {"start": at(0), "end": at(28)},
    "candidate": {"start": at(28), "end": at(42)},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten weeks, in which two releases run side by side."""
    rows = traffic(1500, days=70)
    rows["release_id"] = np.where(np.arange(len(rows)) % 2 == 0, "old", "new")
    return written(pd.DataFrame(rows), tmp_path_factory.mktemp("world") / "telemetry")


@pytest.fixture(scope="module")
def project(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose ledger holds R1 (by its time), arms (by its release id)."""
    root = tmp_path_factory.mktemp("project")
    arms = {"baseline": {"release_id": "new"}, "candidate": {"release_id": "old"}}
    for release, windows in (("R1", DATES), ("arms", arms)):
        review = reviews.compute(asked(root, data, windows, release))
        reviews.save(review, root / RELEASES / folder_name(release))
    return root


def asked(project: Path, data: Path, windows: dict[str, Any], release: str = "next") -> Request:
    (project / "report").mkdir(exist_ok=True)
    policy = {"release": {"id": release}, "windows": windows, "dimensions": ["channel"]}
    (project / "report" / "policy.yml").write_text(yaml.safe_dump(policy))
    return reviews.request(data=str(data), project=project)


def named(release: str, first: int = 42, last: int = 56) -> dict[str, Any]:
    return {"baseline": {"recorded": release}, "candidate": {"start": at(first), "end": at(last)}}


def test_the_recorded_candidate_is_the_baseline(project: Path, data: Path) -> None:
    body = reviews.compute(asked(project, data, named("R1"))).body
    direct = {**named("R1"), "baseline": DATES["candidate"]}
    same = reviews.compute(asked(project, data, direct)).body
    assert body["windows"] == same["windows"]
    assert body["windows"]["baseline"]["start_utc"] == f"{pd.Timestamp(at(28)):%Y-%m-%dT%H:%M:%SZ}"
    assert body["views"] == same["views"]
    assert body["policy"]["settings"]["windows"]["baseline"]["recorded"] == "R1"
    assert artifacts.verify(body) == []


def test_the_artifact_names_what_was_read(project: Path, data: Path) -> None:
    body = reviews.compute(asked(project, data, named("R1"))).body
    file = f"{RELEASES}/{folder_name('R1')}/{artifacts.FILE_NAME}"
    (one,) = [i for i in body["inputs"] if i["file"] == file]
    assert one["table"] == "windows.baseline: R1"
    assert one["sha256"] == hashlib.sha256((project / file).read_bytes()).hexdigest()


def test_it_is_the_same_review_every_time_and_another_of_another_release(
    project: Path, data: Path
) -> None:
    wanted = asked(project, data, named("R1"))
    first = reviews.cached(wanted, None, project=project)
    assert reviews.cached(wanted, None, project=project) == first
    assert reviews.compute(wanted).body == artifacts.read(first / artifacts.FILE_NAME)
    path = project / RELEASES / folder_name("R1") / artifacts.FILE_NAME
    before = path.read_bytes()
    body = json.loads(before)
    body["release"]["title"] = "another"
    body["digest"] = artifacts.digest(body)
    path.write_bytes(artifacts.file_bytes(body))
    try:
        assert reviews.cache_key(asked(project, data, named("R1"))) != first.name
    finally:
        path.write_bytes(before)


def test_a_release_that_was_an_arm_is_that_arm(project: Path, data: Path) -> None:
    windows = {"baseline": {"recorded": "arms"}, "candidate": {"release_id": "new"}}
    found = reviews.compute(asked(project, data, windows)).body["windows"]
    assert found["baseline"]["release_id"] == "old"
    assert found["comparison"] == "concurrent"


@pytest.mark.parametrize(
    ("release", "problem"),
    [
        ("R2", "no such release in data/releases"),
        ("../R1", "no such release in data/releases"),
        ("r1", "no such release in data/releases"),
    ],
)
def test_a_release_that_is_not_recorded_is_refused(
    project: Path, data: Path, release: str, problem: str
) -> None:
    with pytest.raises(PolicyError, match=problem) as told:
        asked(project, data, named(release))
    assert "windows.baseline.recorded" in str(told.value)


def test_an_entry_that_does_not_verify_is_refused(project: Path, data: Path) -> None:
    path = project / RELEASES / folder_name("R1") / artifacts.FILE_NAME
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"title": ""', b'"title": "x"'))
    assert path.read_bytes() != before
    try:
        with pytest.raises(PolicyError, match="does not agree with its digests"):
            asked(project, data, named("R1"))
    finally:
        path.write_bytes(before)


def test_windows_that_overlap_are_refused(project: Path, data: Path) -> None:
    with pytest.raises(WindowError, match="overlap"):
        reviews.compute(asked(project, data, named("R1", 35, 49)))


def test_only_a_baseline_names_a_recorded_release(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_text("windows: {candidate: {recorded: r1}}")
    with pytest.raises(PolicyError, match=r"windows\.candidate\.recorded: only a baseline"):
        load(path)
    path.write_text("windows: {baseline: {recorded: r1, days: 7}}")
    with pytest.raises(PolicyError, match="exactly one of"):
        load(path)
