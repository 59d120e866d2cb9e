"""A few rounds of the fuzz (`make fuzz` plays many)."""

from __future__ import annotations

from pathlib import Path

import pytest

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
