"""A few rounds of the fuzz (`make fuzz` plays many)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from analysis.contract import INTERACTIONS, SESSIONS, TABLES
from tests.fuzz import breakages
from tests.fuzz.rounds import play


@pytest.mark.parametrize("seed", [1, 2])
def test_a_few_rounds_of_the_fuzz_find_nothing(seed: int, tmp_path: Path) -> None:
    failed = []
    for number in range(8):
        outcome = play(seed, number, tmp_path / "round")
        failed += [f"round {number}: {f}\n{outcome.details}" for f in outcome.failures]
    assert failed == []


def test_a_round_is_the_same_each_time(tmp_path: Path) -> None:
    once, again = (play(7, 4, tmp_path / "round", only_validate=True) for _ in range(2))
    assert (once.done, once.codes) == (again.done, again.codes)


@pytest.mark.parametrize("harm", [*breakages.FILES, *breakages.BYTES], ids=lambda h: h.__name__)
def test_a_harm_stays_in_its_folder(harm: breakages.FileChange, tmp_path: Path) -> None:
    """Links in it lead elsewhere, to devices too: what lies there is never changed."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").write_bytes(b"a,b\n1,2\n")
    (outside / "file").chmod(0o640)
    for seed in range(30):
        folder = tmp_path / f"data-{seed}"
        folder.mkdir()
        for table in TABLES:
            (folder / f"{table}.csv").write_bytes(b"a,b\n1,2\n")
        for table, target in ((INTERACTIONS, "file"), (SESSIONS, ".")):
            (folder / f"{table}.csv").unlink()
            (folder / f"{table}.csv").symlink_to(outside / target)
        harm(folder, Random(seed))
        assert [p.name for p in outside.iterdir()] == ["file"]
        assert (outside / "file").read_bytes() == b"a,b\n1,2\n"
        assert (outside / "file").stat().st_mode & 0o777 == 0o640
        assert outside.stat().st_mode & 0o777 == 0o755
