"""Worst-case bounds: the truth lies within them, whatever is hidden, lost or broken."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import bounds
from analysis.errors import ContractError, WindowError
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.views import budget, health
from analysis.views.contract import BoundsInfo
from analysis.views.health import QUANTILES, Figures
from analysis.views.result import ViewResult
from tests.damage import SLOS, WAYS, Damage, complete
from tests.telemetry.worlds import CONTRACT, MONDAY, World

Truth = Mapping[tuple[str, str], float | None]


def day(number: float) -> str:
    return (MONDAY + pd.Timedelta(days=number)).isoformat()


def dated(first: float, middle: float, last: float) -> dict[str, Any]:
    return {
        "baseline": {"start": day(first), "end": day(middle)},
        "candidate": {"start": day(middle), "end": day(last)},
    }


POLICIES: Mapping[str, dict[str, Any]] = {
    "whole days": dated(1, 7, 13),
    "weighted by weekday": dated(1, 10, 13),
    "within days": dated(1.3, 8.7, 12.9),
    "releases": {"baseline": {"release_id": "old"}, "candidate": {"release_id": "new"}},
    "a release and days": {
        "baseline": {"start": day(1), "end": day(5)},
        "candidate": {"release_id": "new"},
    },
    "first release": {"baseline": "none", "candidate": {"start": day(6), "end": day(13)}},
    "exclusions": {
        **dated(1, 7, 13),
        "exclude": [
            {"start": day(2.4), "end": day(3.2), "reason": "a"},
            {"start": day(8.9), "end": day(10.1), "reason": "b"},
        ],
    },
}


def policy(windows: Mapping[str, Any], **more: Any) -> Policy:
    return Policy.model_validate(
        {
            "windows": windows,
            "slos": SLOS,
            "spend": {"budget_usd_per_day": 10},
            "routing": {"bounds": {"cost_usd": (0, 2)}},
            "quarantine": {"allow": True, "max_share": 1},
            "missing": {"max_rate": 1},
            **more,
        }
    )


def opened(world: World, folder: Path, wanted: Policy, **options: Any) -> Telemetry:
    world.folder = folder
    return open_telemetry(world.write(), CONTRACT, wanted, threads=1, **options)


def assessed(telemetry: Telemetry) -> dict[str, ViewResult[Any]]:
    wanted = telemetry.policy
    return {
        "health": health.assess(telemetry, wanted),
        "budget": budget.assess(telemetry, wanted),
    }


def truth_of(telemetry: Telemetry) -> Truth:
    """Every headline figure, by name and window."""
    results = assessed(telemetry)
    section = results["health"].section
    out: dict[tuple[str, str], float | None] = {
        (name, window): getattr(getattr(section, window), name).value
        for name in Figures.__annotations__
        for window in ("baseline", "candidate", "change")
    }
    for slo in results["budget"].section.slos:
        out[f"{slo.name}_burn_rate", "candidate"] = slo.burn_rate.value
        out[f"{slo.name}_budget_consumed", "candidate"] = slo.budget_consumed
    out["usd_per_day", "candidate"] = results["budget"].section.spend.usd_per_day.value
    return out


def outside(truth: Truth, held: BoundsInfo, *, but: tuple[str, ...] = ()) -> list[str]:
    """Figures of the truth that their bounds do not hold."""
    out = []
    for one in held.figures:
        true = truth[one.figure, one.window]
        if true is None or one.figure.endswith(but):
            continue
        slack = 1e-9 * max(1.0, abs(true))
        if one.figure in QUANTILES and one.value is None:
            assert one.low is None
            assert one.high is None
        elif (one.low is None) != (one.high is None):
            assert one.figure in QUANTILES or one.value is None, one
        if one.low is not None and true < one.low - slack:
            out.append(f"{one}: {true}")
        if one.high is not None and true > one.high + slack:
            out.append(f"{one}: {true}")
    return out


def damaged(world: World, rng: np.random.Generator, ways: tuple[str, ...]) -> World:
    """The world after each of the ways, with shares and biases of their own."""
    broken = copy.deepcopy(world)
    for way in ways:
        share, bias = float(rng.choice([0.02, 0.1, 0.4])), int(rng.integers(-1, 2))
        WAYS[way](broken, Damage(rng, share if bias else 3 * share, bias))
    return broken


def check_one(seed: int, name: str, folder: Path, n_damages: int) -> int:
    """One world of which several damages are reviewed; how many of them were in the windows."""
    rng = np.random.default_rng(seed)
    world = complete(rng, folder)
    late = {"as_of": (MONDAY + pd.Timedelta(days=13)).to_pydatetime()} if seed % 2 else {}
    wanted = policy(POLICIES[name])
    telemetry = opened(copy.deepcopy(world), folder / "truth", wanted, **late)
    try:
        truth, spans = (
            truth_of(telemetry),
            (telemetry.windows.baseline, telemetry.windows.candidate),
        )
    finally:
        telemetry.close()
    compared = 0
    for number in range(n_damages):
        ways = tuple(rng.choice(list(WAYS), int(rng.integers(1, 4)), replace=False))
        broken = damaged(world, rng, ways)
        try:
            telemetry = opened(broken, folder / str(number), wanted, **late)
        except (ContractError, WindowError):  # nothing is left, of all or of a window
            continue
        try:
            held = bounds.assess(telemetry, wanted, assessed(telemetry))
            same = spans == (telemetry.windows.baseline, telemetry.windows.candidate)
        finally:
            telemetry.close()
        if held is None or not same:
            continue
        compared += 1
        # A budget goes by the rows' own times, which lost rows and broken times do not tell.
        timeless = {"drop", "drop sessions", "break cells", "break summaries", "lose names"}
        but = ("budget_consumed",) if timeless & set(ways) else ()
        wrong = outside(truth, held, but=but)
        assert not wrong, (seed, name, ways, wrong)
    return compared


@pytest.mark.parametrize("name", POLICIES)
def test_the_truth_lies_within_the_bounds(name: str, tmp_path: Path) -> None:
    assert check_one(sum(map(ord, name)), name, tmp_path, 2) > 0


@pytest.mark.simulate
@pytest.mark.parametrize("name", POLICIES)
def test_the_truth_lies_within_the_bounds_of_hundreds_of_worlds(name: str, tmp_path: Path) -> None:
    compared = sum(check_one(seed, name, tmp_path / str(seed), 4) for seed in range(1000, 1015))
    assert compared >= 40
