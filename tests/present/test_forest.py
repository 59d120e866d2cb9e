"""The figure of values with their intervals."""

from __future__ import annotations

import pytest

from analysis.present.forest import Line, Row, forest
from analysis.present.formats import tick

ROWS = [
    Row("first", 1.0, 0.5, 1.5, "1.0 (0.5 to 1.5)", "fail", 0.2, "limit 0.2"),
    Row("second", 0.1, None, 0.3, "0.1", "pass"),
    Row("third", -2.0, tone="inconclusive"),
]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (ROWS, {}),
        (ROWS, {"lines": [Line(0.0, "no change", limit=False), Line(0.05, "limit")]}),
        (ROWS, {"stem": 0.0}),
        (
            ROWS[:1],
            {"log": True, "lines": [Line(0.1, "low"), Line(0.12, "medium"), Line(0.14, "high")]},
        ),
        ([Row("all the same", 0.0)], {"stem": 0.0}),
        ([Row("x" * 300, 1e-9, 0.0, 1e9, "y" * 300, mark=5.0, mark_name="$z$ {0}")], {}),
        ([Row("", 3.0)], {}),
    ],
    ids=["intervals", "near lines", "bars", "logarithmic", "one value", "extremes", "no name"],
)
def test_it_draws_whatever_the_values_are(rows: list[Row], options: dict) -> None:
    svg = forest("Title of $x$", rows, "axis", tick(), **options).decode()
    assert svg.lstrip().startswith("<?xml")
    assert len(svg) < 80_000
    assert "nan" not in svg


def test_the_same_rows_give_the_same_bytes() -> None:
    assert forest("a", ROWS, "b", tick()) == forest("a", ROWS, "b", tick())


def test_colour_is_never_the_only_signal() -> None:
    from analysis.present.forest import _FORMS, _TONES

    outcomes = ("pass", "fail", "inconclusive")
    assert len({_TONES[o] for o in outcomes}) == len({_FORMS[o] for o in outcomes}) == 3
