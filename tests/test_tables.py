from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.review import Review
from analysis.tables import TABLES, csv_bytes, safe_cell, write_tables


def cell(value: Any) -> str:
    """What a reader of the file gets for one value, whatever the column's type."""
    frame = pd.DataFrame({"a": pd.Series([value], dtype=object)})
    rows = list(csv.reader(io.StringIO(csv_bytes(frame).decode())))
    return rows[1][0] if rows[1] else ""


# text that a spreadsheet would run → the cell
FORMULAS = {
    "=1+1": "'=1+1",
    '=HYPERLINK("http://evil","x")': '\'=HYPERLINK("http://evil","x")',
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\\u0009=1",
    "\r=1": "'\\u000d=1",
    "\tx": "'\\u0009x",
    "\n=1": "'\\u000a=1",
    " =1": "' =1",
    "   -2": "'   -2",
    "\u00a0=1": "'\u00a0=1",
    "\u3000=1": "'\u3000=1",
    "＝1+1": "'＝1+1",
    "＋1": "'＋1",
    "－1": "'－1",
    "＠SUM": "'＠SUM",
    "a;=1+1": "a;'=1+1",
    "a; @x": "a; '@x",
    'a;"=1+1': "a;\"'=1+1",
    'a; "" +1': 'a; "" \'+1',
}


@pytest.mark.parametrize(("text", "expected"), FORMULAS.items())
def test_text_that_a_spreadsheet_would_run_becomes_text(text: str, expected: str) -> None:
    assert safe_cell(text) == expected
    assert cell(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "1", "a-b", "a = b", "x@y", "'quoted", "a, b", 'say "hi"', "a;b", "naïve – ok"],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text
    assert cell(text) == text


@pytest.mark.parametrize(
    "code",
    [0x00, 0x07, 0x0A, 0x1B, 0x7F, 0x9B, 0xAD, 0x61C, 0x200B, 0x200E, 0x2028, 0x202E, 0x2060, 0x2066, 0xFEFF,
     0xD800, 0xFFFE, 0xE0041],
)  # fmt: skip
def test_what_cannot_be_seen_becomes_visible(code: int) -> None:
    shown = safe_cell(f"a{chr(code)}b")
    assert shown.isprintable()
    assert f"{code:04x}" in shown
    assert cell(f"a{chr(code)}b") == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, "-1"),
        (-1.5, "-1.5"),
        (np.int64(-7), "-7"),
        (np.int8(-7), "-7"),
        (np.float64(-0.25), "-0.25"),
        (np.float32(-0.25), "-0.25"),
        (Decimal("-1.5"), "-1.5"),
        (10**15, "1000000000000000"),
        (0.1 + 0.2, "0.3"),
        (-0.0, "0"),
        (1e-9, "1e-09"),
        (True, "true"),
        (False, "false"),
        (np.bool_(True), "true"),
        (None, ""),
        (float("nan"), ""),
        (np.float64("nan"), ""),
        (Decimal("nan"), ""),
        (pd.NA, ""),
        (pd.NaT, ""),
        (float("inf"), "inf"),
        (float("-inf"), "'-inf"),
        (pd.Timestamp("2026-11-16T00:00:00Z"), "2026-11-16 00:00:00+00:00"),
    ],
)
def test_values_are_written_as_what_they_are(value: Any, expected: str) -> None:
    assert cell(value) == expected


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "float32", "Float64", "int8"])
def test_negative_numbers_are_numbers_in_a_column_of_any_type(dtype: str) -> None:
    frame = pd.DataFrame({"a": pd.Series([-3, 4]).astype(dtype)})
    assert csv_bytes(frame) == b"a\n-3\n4\n"


def test_names_of_columns_are_cells_too() -> None:
    assert csv_bytes(pd.DataFrame({"=1": [1], "a,b": [2]})) == b'\'=1,"a,b"\n1,2\n'


def test_quotes_commas_and_lines_stay_in_their_cell() -> None:
    text = 'a,"b"\r\n=1'
    assert cell(text) == 'a,"b"\\u000d\\u000a=1'


def test_the_same_frame_gives_the_same_bytes() -> None:
    frame = pd.DataFrame({"a": [0.1, None], "b": ["x", None]})
    assert csv_bytes(frame) == csv_bytes(frame.copy()) == b"a,b\n0.1,x\n,\n"


def test_all_tables_are_written_also_those_that_no_view_filled(tmp_path: Path) -> None:
    write_tables({"hotspots.csv": pd.DataFrame({"a": [1]})}, tmp_path / "tables")
    assert {p.name for p in (tmp_path / "tables").iterdir()} == set(TABLES)
    # DESIGN section 6 names eight.
    assert {
        "slo_burn.csv", "spend_drivers.csv", "hotspots.csv", "routing_policy.csv", "routing_backtest.csv",
        "drift_report.csv", "triage_threshold_curve.csv", "triage_actions.csv",
    } <= set(TABLES)  # fmt: skip
    assert len(set(TABLES)) == len(TABLES)
    assert (tmp_path / "tables" / "hotspots.csv").read_bytes() == b"a\n1\n"


def test_a_table_by_another_name_is_not_lost_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hotspot\.csv"):
        write_tables({"hotspot.csv": pd.DataFrame()}, tmp_path)


def test_a_review_fills_all_tables_with_their_columns(tiny_review: Review) -> None:
    assert set(tiny_review.tables) == set(TABLES)
    for name, frame in tiny_review.tables.items():
        assert len(frame.columns), name
        header = csv_bytes(frame).decode().partition("\n")[0]
        assert header.split(",") == list(frame.columns), name
