"""Tables and the table of checks."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.present import measures
from analysis.present.grid import MAX_ROWS, Column, table, text
from analysis.present.levels import apart
from analysis.present.provenance import flat


def check(**changes: Any) -> dict[str, Any]:
    held = {
        "id": "health.failure_rate", "outcome": "fail", "severity": "block", "unit": "rate",
        "value": 0.0421, "low": 0.0288, "high": 0.0561, "limit": 0.016, "comparison": "at_most",
        "support": 19821,
    }  # fmt: skip
    return {**held, **changes}


@pytest.mark.parametrize(
    ("changes", "value", "interval", "limit"),
    [
        ({}, "+4.21 pp", "+2.88 to +5.61 pp", "≤ +1.60 pp"),
        ({"unit": "ratio", "value": 1.198, "low": 1.13, "high": 1.27, "limit": 1.15},
         "1.20×", "1.13 to 1.27×", "≤ 1.15×"),
        ({"unit": "slices", "value": 1.0, "low": None, "high": None, "limit": 0.0},
         "1 slice", "–", "≤ 0"),
        ({"unit": "features", "value": 2.0, "low": None, "high": None, "limit": 0.0},
         "2 columns", "–", "≤ 0"),
        ({"unit": "USD per request", "value": -0.19824, "low": -0.5885, "high": 0.1331, "limit": 0.0,
          "comparison": "at_least"}, "−0.1982 USD a request", "−0.5885 to +0.1331", "≥ 0.00"),
        ({"value": None, "low": None, "high": None, "limit": None}, "–", "–", "–"),
    ],
)  # fmt: skip
def test_a_check_reads_in_its_own_unit(
    changes: dict[str, Any], value: str, interval: str, limit: str
) -> None:
    given = check(**changes)
    assert measures.value(given) == value
    assert measures.interval(given) == interval
    assert measures.limit(given) == limit


def test_what_can_change_the_decision_stands_first() -> None:
    order = [
        ("note", "fail"),
        ("hold", "pass"),
        ("block", "pass"),
        ("hold", "fail"),
        ("block", "fail"),
    ]
    checks = [check(id=f"{s}.{o}", severity=s, outcome=o) for s, o in order]
    assert [c["id"] for c in measures.by_weight(checks)] == [
        "block.fail", "block.pass", "hold.fail", "hold.pass", "note.fail",
    ]  # fmt: skip


def test_a_long_table_is_cut_and_leads_to_its_file() -> None:
    rows = [[f"slice {i}", i] for i in range(140)]
    html = table("Slices", [text("Slice"), Column("n")], rows, "Window.", "hotspots.csv", 5771)
    assert html.count("<tr") <= MAX_ROWS + 3
    assert "First 100 of 5,771" in html
    assert '<a href="../tables/hotspots.csv">' in html
    assert "slice 100" not in html


def test_a_whole_table_says_no_first() -> None:
    html = table("One", [text("A")], [["b"], [None]], "Window.")
    assert "First" not in html
    assert "–" in html


def test_cells_and_titles_are_escaped() -> None:
    html = table("<b>{0}</b>", [text("<i>")], [["{{< env HOME >}}"]], "<script>")
    assert not {"<b>", "<i>", "<script>", "{"} & {
        html[i : i + n] for n in (1, 3, 8) for i in range(len(html))
    }


@pytest.mark.parametrize(
    ("heights", "moved"),
    [
        ([0.0, 5.0], [0.0, 5.0]),
        ([0.0, 0.5], [0.0, 2.0]),
        ([1.0, 0.0, 0.0], [4.0, 0.0, 2.0]),
        ([], []),
    ],
)
def test_labels_that_would_overlap_move_apart(heights: list[float], moved: list[float]) -> None:
    assert apart(heights, 2.0) == moved


def test_settings_become_one_row_a_value() -> None:
    given = {"slos": [{"name": "a", "target": 0.95}], "looks": None, "dims": ["x", "y"], "on": True}
    assert list(flat(given)) == [
        ("slos[1].name", "a"),
        ("slos[1].target", "0.95"),
        ("looks", "not set"),
        ("dims", "x, y"),
        ("on", "true"),
    ]
