"""Pages of share-safe reviews: drawn whatever is hidden, and every page says what is not shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.present import draw
from analysis.present.drawing import PAGES
from analysis.review import Review

from .conftest import Compute

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"


def drawn(review: Review, folder: Path) -> dict[str, str]:
    draw(review, folder)
    return {
        name: " ".join(
            block
            for part in ("answer", "evidence", "actions")
            for block in json.loads((folder / "pages" / f"{name}.json").read_text())[part]
        )
        for name in PAGES
    }


@pytest.fixture(scope="module")
def safe(compute: Compute) -> Review:
    return compute(SAMPLE, publish={"share_safe": True})


def test_every_page_says_the_rule_and_what_is_left_out(safe: Review, tmp_path: Path) -> None:
    pages = drawn(safe, tmp_path)
    assert all("counts below 10" in page for page in pages.values())
    assert "left out: figure: the daily series behind changes" in pages["drift"]
    assert "suppressed: " in pages["hotspots"]
    assert "masked: 1 values of segment" in pages["contract"]


@pytest.mark.parametrize(
    "changes",
    [
        {"publish": {"share_safe": True, "min_cell": 1000}},
        {
            "publish": {"share_safe": True, "min_cell": 1000},
            "windows": {"candidate": {"days": 14}, "baseline": "none"},
        },
        {"publish": {"share_safe": True, "min_cell": 2}, "slos": []},
    ],
    ids=["nearly all is hidden", "and there is no baseline", "nearly nothing is hidden"],
)
def test_pages_are_drawn_however_much_is_hidden(
    compute: Compute, tiny: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    pages = drawn(compute(tiny, **changes), tmp_path)
    for name, page in pages.items():
        text = re.sub(r"<[^>]*>", " ", page)
        assert not re.search(r"\b(?:nan|None(?! of)|NaT)\b", text), name


def test_a_review_that_is_not_share_safe_says_nothing_of_it(
    compute: Compute, tiny: Path, tmp_path: Path
) -> None:
    assert not any("suppressed" in page for page in drawn(compute(tiny), tmp_path).values())
