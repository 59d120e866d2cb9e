"""What a cell of each declared type may look like, as text and as other physical types."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.contract import Column
from analysis.telemetry.cells import cast, foreign_offset, misfit
from analysis.telemetry.sql import literal
from tests.telemetry.worlds import CONTRACT

CON = duckdb.connect()
COLUMNS: dict[str, str] = {
    "string": "use_case",
    "integer": "prompt_tokens",
    "number": "latency_ms",
    "boolean": "is_failure",
    "timestamp": "timestamp_utc",
}


def declared(kind: str) -> Column:
    column = CONTRACT.column(COLUMNS[kind])
    assert column is not None
    assert column.type == kind
    return column


def read(kind: str, text: str) -> Any:
    """The value that a text cell is read as."""
    expression = cast("x", "VARCHAR", declared(kind))
    return CON.execute(f"SELECT {expression} FROM (SELECT {literal(text)} AS x)").fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("TRUE", True),
        ("True", True),
        ("tRuE", True),
        (" true ", True),
        ("1", True),
        ("1.0", True),
        ("false", False),
        ("FALSE", False),
        ("0", False),
        ("0.0", False),
        ("", None),
        ("t", None),
        ("yes", None),
        ("on", None),
        ("2", None),
        ("-1", None),
        ("null", None),
        ("NaN", None),
    ],
)
def test_a_boolean_is_true_or_false_in_any_case_or_0_or_1(text: str, value: bool | None) -> None:
    assert read("boolean", text) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.0", 3),
        ("1e3", 1000),
        ("+5", 5),
        (" 7 ", 7),
        ("007", 7),
        ("-0", 0),
        ("-0.0", 0),
        ("9007199254740993", 9007199254740993),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", None),
        ("99999999999999999999", None),
        ("1e300", None),
        ("3.5", None),
        ("1,000", None),
        ("1_000", None),
        ("0x10", None),
        ("0b1", None),
        ("NaN", None),
        ("inf", None),
        ("٣", None),
        ("3 000", None),
        ("true", None),
        ("", None),
    ],
)
def test_an_integer_is_a_whole_number_that_64_bits_hold(text: str, value: int | None) -> None:
    assert read("integer", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3.0),
        ("1e3", 1000.0),
        ("-0.0", 0.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e308", 1e308),
        ("1e400", None),
        ("1,5", None),
        ("1_000.5", None),
        ("NaN", None),
        ("-inf", None),
        ("Infinity", None),
        ("0x1p3", None),
        ("$3", None),
        ("3 USD", None),
        ("", None),
    ],
)
def test_a_number_is_finite_and_written_without_separators(text: str, value: float | None) -> None:
    assert read("number", text) == value


NOON = datetime(2026, 9, 7, 12, 30)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-09-07T12:30:00Z", NOON),
        ("2026-09-07T12:30:00z", NOON),
        ("2026-09-07T12:30:00", NOON),
        ("2026-09-07 12:30:00", NOON),
        ("2026-09-07T12:30", NOON),
        ("2026-09-07T12:30Z", NOON),
        ("2026-09-07T12:30:00+00:00", NOON),
        ("2026-09-07T12:30:00+0000", NOON),
        ("2026-09-07 12:30:00+00", NOON),
        ("2026-09-07T12:30:00-00:00", NOON),
        ("2026-09-07 12:30:00 UTC", NOON),
        (" 2026-09-07T12:30:00Z ", NOON),
        ("2026-09-07T12:30:00.123Z", NOON.replace(microsecond=123000)),
        ("2026-09-07T12:30:00.123456789Z", NOON.replace(microsecond=123456)),
        ("2026-09-07", datetime(2026, 9, 7)),
        ("2026-02-30T00:00:00Z", None),
        ("2026-13-01", None),
        ("2026-09-07T25:00:00Z", None),
        ("20260907T123000Z", None),
        ("07/09/2026", None),
        ("2026-9-7", None),
        ("1757208600", None),
        ("0000-01-01", None),
        ("290000-01-01", None),
        ("nonsense", None),
        ("now", None),
        ("infinity", None),
        ("-infinity", None),
        ("epoch", None),
        ("2026-09-07T12:30:00ZZ", None),
        ("2026-09-07T12:30:00+02:00", None),
        ("2026-09-07T12:30:00 Europe/Berlin", None),
        ("", None),
    ],
)
def test_a_time_is_iso_8601_in_utc(text: str, value: datetime | None) -> None:
    assert read("timestamp", text) == value


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("2026-09-07T12:30:00+02:00", True),
        ("2026-09-07T12:30:00-0500", True),
        ("2026-09-07 12:30:00 -05", True),
        ("2026-09-07T12:30+01:00", True),
        ("2026-09-07T12:30:00.5+05:30", True),
        ("2026-09-07T12:30:00+01:00:00", True),
        ("2026-09-07T12:30:00+00:00:30", True),
        ("2026-09-07T12:30:00 CET", True),
        ("2026-09-07T12:30:00 Europe/Berlin", True),
        ("2026-09-07T12:30:00\N{MINUS SIGN}05:00", True),
        ("2026-09-07T12:30:00Z", False),
        ("2026-09-07T12:30:00+00:00", False),
        ("2026-09-07T12:30:00", False),
        ("2026-09-07", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_an_offset_or_a_zone_other_than_utc_is_told_from_nonsense(text: str, foreign: bool) -> None:
    sql = f"SELECT {foreign_offset('x')} FROM (SELECT {literal(text)} AS x)"
    assert CON.execute(sql).fetchall() == [(foreign,)]


@pytest.mark.parametrize(
    "text",
    ["NA", "null", "NULL", "None", "nan", "N/A", " ", "\\N", "-", "0", "'); DROP TABLE fact;--"],
)
def test_a_text_is_never_taken_for_a_missing_value(text: str) -> None:
    assert read("string", text) == text


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_an_empty_cell_is_null_and_not_a_fault(kind: str) -> None:
    assert read(kind, "") is None
    for empty in ("''", "'  '", "NULL"):
        typed = cast("x", "VARCHAR", declared(kind))
        sql = f"SELECT {misfit('x', 'VARCHAR', typed)} FROM (SELECT CAST({empty} AS VARCHAR) AS x)"
        assert CON.execute(sql).fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("kind", "made", "value"),
    [
        ("integer", "CAST(3 AS TINYINT)", 3),
        ("integer", "CAST(3 AS UBIGINT)", 3),
        ("integer", "CAST(3 AS HUGEINT)", 3),
        ("integer", "CAST(18446744073709551615 AS UBIGINT)", None),
        ("integer", "CAST(3 AS DOUBLE)", 3),
        ("integer", "CAST(3.5 AS DOUBLE)", None),
        ("integer", "CAST('nan' AS DOUBLE)", None),
        ("integer", "CAST(3 AS DECIMAL(10, 2))", 3),
        ("integer", "CAST(3.25 AS DECIMAL(10, 2))", None),
        ("integer", "true", None),
        ("number", "CAST(0.1 AS FLOAT)", 0.1),
        ("number", "CAST(0.001 AS DECIMAL(18, 6))", 0.001),
        ("number", "CAST(3 AS INTEGER)", 3.0),
        ("number", "CAST('nan' AS DOUBLE)", None),
        ("number", "CAST('inf' AS DOUBLE)", None),
        ("boolean", "CAST(1 AS TINYINT)", True),
        ("boolean", "CAST(0 AS DOUBLE)", False),
        ("boolean", "CAST(2 AS TINYINT)", None),
        ("timestamp", "CAST('2026-09-07 12:30:00' AS TIMESTAMP_NS)", NOON),
        ("timestamp", "CAST('2026-09-07 12:30:00' AS TIMESTAMP_MS)", NOON),
        ("timestamp", "CAST('2026-09-07 12:30:00' AS TIMESTAMP_S)", NOON),
        ("timestamp", "CAST('2026-09-07' AS DATE)", datetime(2026, 9, 7)),
        ("timestamp", "CAST('infinity' AS TIMESTAMP)", None),
        ("timestamp", "CAST('20000-01-01' AS TIMESTAMP)", None),
        ("timestamp", "CAST('0044-03-15 (BC)' AS TIMESTAMP)", None),
        ("timestamp", "CAST(1757208600 AS BIGINT)", None),
        ("string", "CAST(7 AS BIGINT)", "7"),
        ("string", "encode('é')", "é"),
        ("string", r"'\xFF'::BLOB", None),
        ("string", "{'a': 1}", "{'a': 1}"),
    ],
)
def test_other_physical_types_are_read_as_the_declared_one(
    kind: str, made: str, value: object
) -> None:
    held = CON.execute(f"SELECT typeof({made})").fetchall()[0][0]
    expression = cast("x", held, declared(kind))
    found = CON.execute(f"SELECT {expression} FROM (SELECT {made} AS x)").fetchall()[0][0]
    assert found == value


NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@given(st.text(alphabet="0123456789+-.eE_,xinfa ", max_size=12))
def test_numbers_are_those_of_the_usual_grammar(text: str) -> None:
    plain = text.strip(" ")
    value = float(plain) if NUMBER.fullmatch(plain) else None
    expected = None if value in (float("inf"), float("-inf")) else value
    assert read("number", text) == expected
    whole = expected is not None and expected == int(expected) and abs(expected) < 2**53
    if expected is None or whole or expected != int(expected):
        assert read("integer", text) == (int(expected) if whole and expected is not None else None)
