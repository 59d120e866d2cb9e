"""The blocks of single findings on the hotspots page."""

from __future__ import annotations

import html
import re
from typing import Any

import pandas as pd

from analysis.present.blocks import without_rows
from analysis.present.hotspot_details import details
from analysis.views.hotspot_findings import daily

NO_DAYS = daily(())
NO_IDS = pd.DataFrame({"place": [], "id": []})


def ids(*shown: str) -> pd.DataFrame:
    """Examples of the first finding."""
    return pd.DataFrame({"place": 0, "id": list(shown)})


def found(**changes: Any) -> dict[str, Any]:
    since = {
        "since_utc": "2026-11-02T00:00:00Z", "low": "2026-11-01T00:00:00Z",
        "high": "2026-11-04T00:00:00Z", "before": 0.02, "after": 0.31, "p_value": 0.001,
    }  # fmt: skip
    detail = {
        "days": [],
        "since": since,
        "failure_types": [
            {"failure_type": "timeout", "n": 6, "share": 0.6, "share_of_rest": 0.1},
            {"failure_type": None, "n": 4, "share": 0.4, "share_of_rest": None},
        ],
        "contributors": [
            {"dimension": "region", "value": None, "share": 0.8, "reference_share": 0.3,
             "excess": 0.5, "p_value": 0.001},
        ],
    }  # fmt: skip
    held = {"slice": {"channel": "api"}, "metric": "failure", "kind": "level", "status": "new",
            "unit": "rate"}  # fmt: skip
    return {**held, "detail": {**detail, **changes}}


def read(blocks: tuple[str, ...]) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", "".join(blocks)))


def test_a_finding_is_told_in_sentences() -> None:
    told = read(details([found()], NO_DAYS, ids("00ff", "11ee")))
    assert "channel = api" in told
    assert "Since 2026-11-02 (2026-11-01 to 2026-11-04): rose from 2.00 % to 31.00 %." in told
    assert "timeout 60 % (elsewhere 10 %), no type 40 % (no others)." in told
    assert "region = not known (80 % of its bad interactions, 30 % of its good ones)." in told
    assert re.search(r"Examples:\s+00ff\s*,\s+11ee", told)


def test_what_is_not_there_is_left_out_and_since_says_so() -> None:
    told = read(details([found(since=None, failure_types=[], contributors=[])], NO_DAYS, NO_IDS))
    assert "no day stands out" in told
    assert not re.search("Failure types of|Concentrated|Examples:", told)


def test_two_findings_of_one_slice_are_told_once() -> None:
    regression = {**found(), "kind": "regression"}
    told = read(details([found(), regression], NO_DAYS, NO_IDS))
    assert told.count("channel = api") == 1
    assert "Failures vs rest, Failures vs before" in told


def test_of_cost_levels_are_usd() -> None:
    since = {**found()["detail"]["since"], "before": 0.2, "after": 0.1}
    told = read(
        details(
            [{**found(since=since, failure_types=[]), "metric": "cost", "unit": "usd"}],
            NO_DAYS,
            ids("00ff"),
        )
    )
    assert "fell from 0.2000 USD to 0.1000 USD" in told
    assert "80 % of its USD, 30 % of its interactions" in told
    assert "The dearest:" in told


def test_hostile_texts_stay_texts() -> None:
    attack = '<script>alert(1)</script>{{< env HOME >}}`"' + "x" * 500
    kinds = [{"failure_type": attack, "n": 1, "share": 1.0, "share_of_rest": 0.0}]
    where = [{"dimension": attack, "value": attack, "share": 1.0, "reference_share": 0.0,
              "excess": 1.0, "p_value": 0.0}]  # fmt: skip
    one = found(failure_types=kinds, contributors=where)
    blocks = "".join(details([{**one, "slice": {attack: attack}}], NO_DAYS, ids(attack)))
    assert "<script" not in blocks
    assert not set("{}`") & set(blocks)
    assert "x" * 300 not in blocks


def test_the_first_findings_beyond_five_and_those_without_details_are_not_told() -> None:
    many = [{**found(), "slice": {"channel": f"c{k}"}} for k in range(8)]
    told = read(details(many, NO_DAYS, NO_IDS))
    assert "channel = c4" in told
    assert "channel = c5" not in told
    assert details([{**found(), "detail": None}], NO_DAYS, NO_IDS) == ()


def test_days_are_drawn_with_their_numbers_as_text() -> None:
    days = pd.DataFrame(
        {
            "place": 1,
            "slice": "channel=$x$ \\alpha",
            "metric": "failure",
            "unit": "rate",
            "window": [0, 0, 1, 1],
            "day": pd.to_datetime(["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-05"]),
            "value": [0.02, 0.03, 0.3, 0.31],
            "since": pd.to_datetime(["2026-11-03"] * 4),
        }
    )
    drawn, *_ = details([found()], days, NO_IDS)
    assert "<figure" in drawn
    (alt,) = re.findall('alt="([^"]*)"', drawn)
    assert "1: channel = api: Since 2026-11-02" in alt
    assert "31.00 %" in alt


def test_ids_of_rows_stand_in_a_block_that_a_recorded_release_leaves_out() -> None:
    other = {**found(), "slice": {"channel": "web"}}
    shown = pd.DataFrame({"place": [0, 1], "id": ["00ff", "22dd"]})
    blocks = details([found(), other], NO_DAYS, shown)
    assert re.search(r"channel = web .*Examples:\s+22dd", read(blocks))
    kept = without_rows(blocks)
    assert len(kept) == len(blocks) - 1
    assert not re.search("00ff|22dd", "".join(kept))
    assert "channel = web" in read(tuple(kept))
