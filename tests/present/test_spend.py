"""Spend on the budgets page: every number that a reader needs is told, and none that is not known."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.present import budget
from analysis.present.escape import Html
from analysis.present.formats import signed_usd, usd
from analysis.present.waterfall import _axis, _price_source
from analysis.review import Review
from tests.views.price_libraries import needs_library

from .conftest import Compute, settings

LIST = [
    {"model_name": name, "start": "2026-01-01", "prompt_usd_per_million": p,
     "cached_usd_per_million": p / 2, "completion_usd_per_million": 2 * p}
    for name, p in (("aurora-large", 37.5), ("aurora-small", 18.0), ("borealis-pro", 27.5))
]  # fmt: skip


def alts(blocks: tuple[Html, ...]) -> list[str]:
    return [unescape(m) for block in blocks for m in re.findall(r'alt="([^"]*)"', block)]


def text(blocks: tuple[Html, ...]) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", " ".join(blocks)))


def test_the_fan_tells_spend_forecast_and_budget(sample: Review) -> None:
    period = sample.body["views"]["budget"]["spend"]["period"]
    (alt,) = [a for a in alts(budget.parts(sample).evidence) if a.startswith("Spend of the period")]
    of = period["forecast_usd"]
    for value in (period["spent_usd"], of["value"], of["low"], of["high"], period["budget_usd"]):
        assert usd(value) in alt


def test_the_waterfall_tells_both_ends_and_every_driver(sample: Review) -> None:
    held = sample.body["views"]["budget"]
    (alt,) = [a for a in alts(budget.parts(sample).evidence) if a.startswith("Spend went from")]
    after, change = held["spend"]["usd_per_day"]["value"], held["drivers"]["change_usd_per_day"]
    assert f"from {usd(after - change)} to {usd(after)} USD a day ({signed_usd(change)})" in alt
    for effect in held["drivers"]["effects"]:
        assert f"{effect['driver']} {signed_usd(effect['usd_per_day'])}" in alt


@pytest.fixture(scope="module")
def holed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same telemetry with costs that are missing, a new use case and a model that is gone."""
    folder = tmp_path_factory.mktemp("holed")
    for path in tiny.glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "interaction_id" in frame:
            late = frame["timestamp_utc"] >= "2026-11-02"
            frame.loc[np.arange(len(frame)) % 40 == 0, "cost_usd"] = ""
            frame.loc[late & (frame["use_case"] == "search"), "use_case"] = "agents"
            frame.loc[~late & (frame["model_name"] == "cirrus-flash"), "model_name"] = "cirrus-old"
        keep = [c for c in frame.columns if "total_cost" not in c]
        frame[keep].to_csv(folder / path.name, index=False)
    return folder


def test_what_the_log_cannot_see_and_what_is_new_is_said(holed: Path, compute: Compute) -> None:
    routing = {k: v for k, v in settings()["routing"].items() if k != "bounds"}
    changes: dict[str, Any] = {
        "spend": {"budget_usd_per_day": 60, "prices": LIST},
        "routing": routing,
    }
    shown = text(budget.parts(compute(holed, **changes)).evidence)
    assert "Spend that the log cannot see" in shown
    assert "Tokens known, cost not" in shown
    assert "to no upper bound" in shown  # two models have no price, and no cap is set
    assert re.search(r"New with the candidate: .*use case agents \(", shown)
    assert re.search(r"Gone since the baseline: .*model cirrus / cirrus-old \(", shown)
    assert "The change by kind of token" in shown
    assert re.search(r"models have no list price.*borealis-mini", shown)
    capped = {**changes, "spend": {**changes["spend"], "unseen_cap_usd": 2}}
    assert "no upper bound" not in text(budget.parts(compute(holed, **capped)).evidence)


@needs_library
def test_prices_of_the_library_say_why_a_model_has_none(tiny: Path, compute: Compute) -> None:
    shown = text(budget.parts(compute(tiny, spend={"prices": "genai-prices"})).evidence)
    assert re.search(
        r"models have no list price.*aurora.* \(genai-prices [\d.]+ does not list its prov", shown
    )


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([("policy", None)], "the policy's list prices"),
        ([], "the policy's list prices"),
        ([("genai-prices", "0.2.3")] * 2, "the list prices of genai-prices 0.2.3"),
    ],
    ids=["a list", "none", "a library"],
)
def test_where_prices_are_from_is_said(sources: list[tuple[str, str | None]], told: str) -> None:
    prices = [{"source": name, "source_version": version} for name, version in sources]
    assert _price_source({"prices": prices}) == told


def test_a_short_history_is_said_on_the_page(tiny: Path, compute: Compute) -> None:
    windows = {"candidate": {"days": 7}, "baseline": {"days": 7}}
    shown = text(budget.parts(compute(tiny, windows=windows)).evidence)
    assert "below 21 weekdays cannot be told apart" in shown
    assert "from 14 whole days, without weekday effects" in shown


@pytest.mark.parametrize(
    ("why", "levels", "cut"),
    [
        ("a small change of a large spend", [40.0, 40.5, 41.0], True),
        ("a large one", [10.0, 30.0, 25.0], False),
        ("from nothing", [0.0, 3.0], False),
        ("nothing at all", [0.0, 0.0], False),
        ("steps below zero", [1.0, -2.0, 0.5], False),
        ("no change", [5.0, 5.0], True),
    ],
)
def test_the_axis_holds_every_step_and_says_where_it_begins(
    why: str, levels: list[float], cut: bool
) -> None:
    low, high, told = _axis(levels)
    assert low <= min(levels) <= max(levels) <= high
    assert low < high
    assert told is cut
    assert cut or low <= 0
