"""Four releases follow each other in one log: nothing of an earlier log changes in a later one."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import contract as contracts
from analysis.sample import write
from analysis.sample.releases import RELEASES, log_at, release_named
from analysis.sample.world import World
from analysis.telemetry.source import reading
from analysis.telemetry.validate import validate
from analysis.telemetry.warehouse import open_data

SMALL = 2_000
IDS = [release.id for release in RELEASES]


@pytest.fixture(scope="module")
def logs() -> dict[str, World]:
    return {release_id: log_at(release_id, SMALL) for release_id in IDS}


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_the_releases_touch_and_do_not_overlap() -> None:
    for before, after in itertools.pairwise(RELEASES):
        assert before.end == after.start
    assert [release.expected for release in RELEASES] == ["ship", "block", "ship", "hold"]


@pytest.mark.parametrize("form", ["csv.gz", "parquet"])
def test_the_same_release_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    for name in ("a", "b"):
        write(log_at("2026.10.3", SMALL), tmp_path / name, form)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_later_log_begins_with_the_earlier_one(logs: dict[str, World]) -> None:
    for before, after in itertools.pairwise(IDS):
        old, new = logs[before].interactions, logs[after].interactions
        assert len(old) < len(new)
        # A session that starts before midnight may end after it: sort out by id, not by place.
        kept = new.filter(pc.is_in(new["interaction_id"], old["interaction_id"].combine_chunks()))
        assert kept.to_pylist() == old.to_pylist()


def test_sessions_start_within_the_log_and_every_release_has_its_days(
    logs: dict[str, World],
) -> None:
    for release in RELEASES:
        starts = logs[release.id].sessions["start_timestamp_utc"]
        end = pa.scalar(release.end, starts.type)
        assert pc.max(starts).as_py() < release.end
        # The newest session starts on the last day: `candidate: {days: …}` finds the window by it.
        assert pc.subtract(end, pc.max(starts)).as_py().days == 0
        of_release = pc.equal(logs[release.id].interactions["release_id"], release.id)
        assert pc.sum(of_release).as_py() > 0


@pytest.mark.parametrize("release_id", IDS)
def test_a_log_keeps_the_contract(logs: dict[str, World], tmp_path: Path, release_id: str) -> None:
    data = write(logs[release_id], tmp_path / "data", "parquet")
    with reading():
        source = open_data(data, contracts.load())
        try:
            section = validate(source, contracts.load(), used_columns=())
        finally:
            source.close()
    assert section.violations == ()


def test_an_unknown_release_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no release 'r9'; expected one of: 2026\.10\.1, "):
        release_named("r9")
    with pytest.raises(ValueError, match="interactions: 0; expected 1 to"):
        log_at("2026.10.1", 0)


def test_the_truth_names_what_the_log_holds(logs: dict[str, World]) -> None:
    truth = logs["2026.11.1"].truth
    assert [r["expected"]["decision"] for r in truth["releases"]] == [
        "ship",
        "block",
        "ship",
        "hold",
    ]
    assert sum(r["n_interactions"] for r in truth["releases"]) == len(
        logs["2026.11.1"].interactions
    )
