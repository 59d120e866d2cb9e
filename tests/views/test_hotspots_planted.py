"""What is planted is found, once, at its own depth, and nothing else; nothing is found where nothing is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.views import hotspots
from analysis.views.hotspot_family import Family
from analysis.views.hotspot_findings import Found, effect_intervals
from tests.views.hotspot_worlds import (
    LEVELS,
    REGRESSIONS,
    Plant,
    Score,
    World,
    disguised,
    expected,
    failing,
    nothing,
    opened,
    planted,
    score,
    skeleton,
)


def found_in(world: World, folder: Path) -> tuple[Found, ...]:
    with opened(world, folder) as telemetry:
        return hotspots.assess(telemetry, telemetry.policy).section.found


def worlds(seed: int, n: int) -> Iterator[World]:
    """Every second one with its rows shuffled and its values renamed."""
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        world = planted(rng)
        yield disguised(rng, world) if k % 2 else world


def scores(seed: int, n: int, folder: Path) -> tuple[float, float]:
    """Mean recall and precision."""
    all_: list[Score] = [
        score(world, found_in(world, folder / str(k))) for k, world in enumerate(worlds(seed, n))
    ]
    return float(np.mean([s.recall for s in all_])), float(np.mean([s.precision for s in all_]))


def test_seven_planted_slices_are_found_and_told_once(tmp_path: Path) -> None:
    recall, precision = scores(1, 4, tmp_path)
    assert recall >= 0.85
    assert precision >= 0.85


@pytest.mark.simulate
def test_of_planted_slices_nine_of_ten_are_found_and_nine_of_ten_findings_are_planted(
    tmp_path: Path,
) -> None:
    recall, precision = scores(2, 100, tmp_path)
    assert recall >= 0.9
    assert precision >= 0.9


def silent(seed: int, n: int, folder: Path) -> float:
    """The share of worlds without any plant in which something is found."""
    found = 0
    for k in range(n):
        world = nothing(np.random.default_rng([seed, k]))
        found += bool(found_in(world, folder / str(k)))
    return found / n


@pytest.mark.parametrize(
    "n", [12, pytest.param(500, marks=pytest.mark.simulate)], ids=["short", "long"]
)
def test_where_nothing_is_planted_nothing_is_found(n: int, tmp_path: Path) -> None:
    assert silent(3, n, tmp_path) <= 0.05 + 1.6 * math.sqrt(0.05 * 0.95 / n)


def held(seed: int, n: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bool]]:
    """Whether the 95 % interval of each planted slice's effect holds it, found or not."""
    families = []
    judged = hotspots._judged

    def seen(*given: object) -> object:
        families.extend(g for g in given if isinstance(g, Family))
        return judged(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(hotspots, "_judged", seen)
    out: dict[str, list[bool]] = {"level": [], "regression": []}
    for k in range(n):
        world = planted(np.random.default_rng([seed, k]))
        found_in(world, folder / str(k))
        family = families.pop()
        for plant in world.plants:
            for kind in {"level", plant.kind}:
                which = [
                    int(i)
                    for i in family.of(0, kind)
                    if family.table.label(int(family.slice[i])) == dict(plant.slice)
                ]
                if which:
                    low, high = effect_intervals(family, which, 0.95)[which[0]]
                    out[kind].append(low <= expected(world, plant, kind) <= high)
    return out


def test_intervals_hold_what_is_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, seen in held(4, 3, tmp_path, monkeypatch).items():
        assert np.mean(seen) >= 0.7, kind


@pytest.mark.simulate
def test_intervals_hold_what_is_planted_at_the_nominal_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, seen in held(5, 100, tmp_path, monkeypatch).items():
        assert 0.93 <= np.mean(seen) <= 0.97, kind


class TestDescriptions:
    def test_a_slice_that_a_regression_beside_it_cuts_keeps_its_own_words(
        self, tmp_path: Path
    ) -> None:
        """Without the rows of the tier that regressed, all of a scenario and its free part are the same."""
        rng = np.random.default_rng(11)
        plants = (
            Plant({"account_tier": "account_tier-1"}, "regression", 2.0),
            Plant({"scenario": "scenario-2", "account_tier": "account_tier-0"}, "level", 2.5),
        )
        world = World(failing(rng, skeleton(rng, 80_000), plants), plants)
        found = found_in(world, tmp_path)
        assert {(f.kind, tuple(f.slice.items())) for f in found} == {
            ("regression", (("account_tier", "account_tier-1"),)),
            ("level", (("account_tier", "account_tier-1"),)),
            ("level", (("scenario", "scenario-2"), ("account_tier", "account_tier-0"))),
        }

    def test_a_part_that_is_worse_than_its_whole_is_told_beside_it(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(12)
        plants = (
            Plant({"use_case": "use_case-1"}, "level", 2.0),
            Plant({"use_case": "use_case-1", "model_name": "model_name-3"}, "level", 2.5),
        )
        world = World(failing(rng, skeleton(rng, 80_000), plants), plants)
        found = found_in(world, tmp_path)
        assert [dict(f.slice) for f in found] == [dict(p.slice) for p in plants] or [
            dict(f.slice) for f in found
        ] == [dict(p.slice) for p in reversed(plants)]

    def test_many_broken_slices_do_not_hide_each_other(self, tmp_path: Path) -> None:
        """Together they are most of the rest that each is held against."""
        rng = np.random.default_rng(13)
        plants = tuple(Plant({"scenario": f"scenario-{k}"}, "level", 2.0) for k in (0, 1, 2, 4))
        world = World(failing(rng, skeleton(rng, 80_000), plants), plants)
        found = found_in(world, tmp_path)
        assert {f.slice["scenario"] for f in found} == {p.slice["scenario"] for p in plants}
        # Of what is in none of them each is twice as bad; of all others, less.
        assert all(1.6 <= (f.ratio_given or 0) <= 2.5 for f in found)
        assert all((f.ratio or 0) < (f.ratio_given or 0) for f in found)
        assert len(found) == 4


def test_the_plants_are_as_large_as_is_said() -> None:
    world = planted(np.random.default_rng(6))
    rows = world.rows[world.rows["candidate"]]
    least = sorted([n for _, n in (*LEVELS, (2.0, 600), *REGRESSIONS)])
    assert all(
        size >= n
        for size, n in zip(
            sorted(int(p.rows(rows).sum()) for p in world.plants), least, strict=True
        )
    )
