"""Planted changes of volume, retries, mix, tokens and price are recovered, several at once.

The truth is `sample.expectation`: exact means over the contexts that were drawn, by formulas of its
own. What is measured has the noise of the outcomes; the tolerance is a share of the candidate's spend.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import contract
from analysis.policy import Policy
from analysis.sample import simulate, write
from analysis.sample.scenarios import (
    HEALTHY,
    Change,
    Favoured,
    LongerOutputs,
    Repriced,
    Retries,
    Scenario,
)
from analysis.telemetry import open_telemetry
from analysis.views.spend import assess_spend
from analysis.views.spend_drivers import DriversSection

FREQUENT = replace(HEALTHY, failure_intercept=-2.0)
"""A fifth of the first attempts fails: retries cost enough to be seen."""
OFTEN = Retries(first=0.9, second=0.9, failure=0.6)
WORLDS = {
    "volume": (HEALTHY, Change(volume=1.4)),
    "retries": (FREQUENT, Change(retries=OFTEN)),
    "mix": (HEALTHY, Change(favoured=Favoured("aurora-large", 1.5))),
    "tokens": (HEALTHY, Change(longer_outputs=LongerOutputs("aurora-large", 2.0))),
    "price": (HEALTHY, Change(repriced=Repriced("aurora-large", 1.5))),
    "all at once": (
        FREQUENT,
        Change(
            volume=0.7,
            retries=OFTEN,
            favoured=Favoured("cirrus-flash", 1.5),
            longer_outputs=LongerOutputs("aurora-large", 1.8),
            repriced=Repriced("borealis-pro", 1.6),
        ),
    ),
}
# Four standard errors of a mean cost: its coefficient of variation, about 1.3, over the root of the
# rows of a window, and as much again because sessions hang together.
TOLERANCE = {20_000: 0.09, 100_000: 0.04}


def recovered(
    scenario: Scenario, change: Change, count: int, seed: int, folder: Path
) -> tuple[DriversSection, dict[str, float], float]:
    """What was found, the truth by driver, and what the candidate truly costs a day."""
    world = simulate(replace(scenario, name="planted", change=change), count, seed)
    prices = [
        {"model_name": m.name, "start": start, "prompt_usd_per_million": f * m.prompt_usd_per_million,
         "cached_usd_per_million": f * m.cached_usd_per_million,
         "completion_usd_per_million": f * m.completion_usd_per_million}
        for m in scenario.models
        for start, f in (("2026-01-01", 1.0), ("2026-11-02", _factor(change, m.name)))
    ]  # fmt: skip
    rules = Policy.model_validate({"spend": {"prices": prices}})
    telemetry = open_telemetry(write(world, folder, "parquet"), contract.load(), rules)
    try:
        found = assess_spend(telemetry, rules).section[1]
    finally:
        telemetry.close()
    truth = world.truth["spend"]["drivers_usd_per_day"]
    return found, truth["effects"], world.truth["rates"]["candidate"]["usd_per_day"]


def _factor(change: Change, model: str) -> float:
    repriced = change.repriced
    return repriced.factor if repriced is not None and repriced.model_name == model else 1.0


def check(name: str, count: int, seed: int, folder: Path) -> None:
    found, truth, usd_per_day = recovered(*WORLDS[name], count, seed, folder)
    effects = {e.driver: e.usd_per_day for e in found.effects}
    assert effects.pop("unseen") == 0.0
    for driver, true in truth.items():
        assert abs(effects[driver] - true) < TOLERANCE[count] * usd_per_day, (driver, true)
    for parts in (found.effects, found.by_slice, found.by_use_case, found.by_token):
        assert sum(p.nano_usd_days for p in parts) == found.change_nano_usd_days
    if name in truth:
        # What was planted stands out, in truth and as found.
        assert max(truth, key=lambda d: abs(truth[d])) == name
        assert max(effects, key=lambda d: abs(effects[d])) == name
        assert abs(truth[name]) > 2 * TOLERANCE[count] * usd_per_day or count < 100_000
    token_price = sum(e.usd_per_day for e in found.by_token if e.driver == "price")
    if WORLDS[name][1].repriced is None:
        # By kind of token, longer answers pass for no price: costs are whole micro-USD.
        assert abs(token_price) < 1e-5 * usd_per_day
    else:
        assert abs(token_price) > 0.01 * usd_per_day


@pytest.mark.parametrize("name", ["price", "all at once"])
def test_what_was_planted_is_recovered(name: str, tmp_path: Path) -> None:
    check(name, 20_000, 3, tmp_path / "data")


@pytest.mark.simulate
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", WORLDS)
def test_what_was_planted_is_recovered_in_larger_worlds(
    name: str, seed: int, tmp_path: Path
) -> None:
    check(name, 100_000, seed, tmp_path / "data")
