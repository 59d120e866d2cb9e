"""How often a release ships that is like its baseline, and one that fails half as often again."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from tests.gate_worlds import Release, decided, rows, rules

WORLDS = [
    pytest.param(Release(canary=canary, ratio=ratio), id=f"{kind}, {told}")
    for canary, kind in ((False, "before and after"), (True, "a canary with equal arms"))
    for ratio, told in ((1.0, "like its baseline"), (1.5, "half as bad again"))
]


def outcomes(world: Release, replicates: int, folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(replicates):
        made = rows(world, seed)
        decision = decided(made, rules(world, made), folder / "data")
        found[decision.outcome] += 1
        found.update((*decision.blocking, *decision.holding))
    return found


def kept(world: Release, replicates: int, folder: Path) -> None:
    """STATISTICS section 2: at most 5 % of what is like its baseline does not ship, and at most 5 % of
    what is half as bad again does; each beyond what chance adds to that rate."""
    found = outcomes(world, replicates, folder)
    ships = found["ship"] / replicates
    wrong = 1 - ships if world.ratio == 1 else ships
    assert wrong <= 0.05 + 1.6 * math.sqrt(0.05 * 0.95 / replicates), found


@pytest.mark.parametrize("world", WORLDS)
def test_a_few_releases_get_the_decision_that_they_deserve(world: Release, tmp_path: Path) -> None:
    kept(world, 8, tmp_path)


@pytest.mark.simulate
@pytest.mark.parametrize("world", WORLDS)
def test_of_a_thousand_releases_nineteen_in_twenty_get_it(world: Release, tmp_path: Path) -> None:
    kept(world, 1000, tmp_path)
