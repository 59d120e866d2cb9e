"""Violations are told as text, JSON, JUnit XML and GitHub annotations; each is safe to show."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from analysis.contract import INTERACTIONS, RULES, SESSIONS
from analysis.telemetry.violations import (
    ContractSection,
    Violation,
    as_github,
    as_json,
    as_junit,
    as_text,
    clean,
    one_line,
    section,
)

ERROR = Violation("ranges", INTERACTIONS, "cost_usd", "error", 1234, 0.5, "at least 0", (1, 2, 3),
                  ("-9",))  # fmt: skip
WARNING = Violation("duplicate_rows", INTERACTIONS, None, "warning", 1, 1e-6, "twice?", (7,))
WHOLE = Violation("files", SESSIONS, None, "error", 0, 1.0, "no file")
HOSTILE = "\x1b[31mred\x1b[0m \u202e \x00 \x9b ]]> </system-out> ::error::no \uffff \n::error::yes"
EVIL = Violation("types", INTERACTIONS, HOSTILE, "error", 1, 0.1, f"hint {HOSTILE}", (1,))
REPORT = section([WARNING, EVIL, ERROR, WHOLE])
FORMATS = (as_text, as_json, as_junit, as_github)


def test_errors_come_first_then_rules_in_their_order() -> None:
    assert REPORT.violations == (WHOLE, EVIL, ERROR, WARNING)
    assert (REPORT.n_rules, REPORT.n_errors, REPORT.n_warnings) == (len(RULES), 3, 1)


@pytest.mark.parametrize("write", FORMATS)
def test_nothing_that_came_from_telemetry_reaches_a_terminal_raw(write: object) -> None:
    text = write(REPORT)  # type: ignore[operator]
    assert not {"\x1b", "\u202e", "\x00", "\x9b", "\uffff", "\r"} & set(text)


@pytest.mark.parametrize("write", [as_text, as_github])
def test_telemetry_cannot_begin_a_line(write: object) -> None:
    lines = write(REPORT).splitlines()  # type: ignore[operator]
    assert not [line for line in lines if line.lstrip().startswith("::error::")]
    assert len(lines) == (10 if write is as_text else 4)


def test_text_says_where_how_many_and_what_to_do() -> None:
    assert as_text(section([ERROR, WARNING, WHOLE])).splitlines() == [
        "The telemetry violates the contract: 2 errors, 1 warning.",
        f"  error   files                {SESSIONS}: the table",
        "          no file",
        f"  error   ranges               {INTERACTIONS}.cost_usd: 1,234 rows (50 %); "
        "first rows 1, 2, 3",
        "          at least 0",
        "          such as -9",
        f"  warning duplicate_rows       {INTERACTIONS}: 1 row (0.0001 %); first rows 7",
        "          twice?",
    ]


@pytest.mark.parametrize(
    ("violations", "words"),
    [
        ([], "keeps the contract: 21 rules, no violation."),
        ([WARNING], "keeps the contract, with 1 warning."),
        ([ERROR], "violates the contract: 1 error, 0 warnings."),
    ],
)
def test_text_begins_with_the_outcome(violations: list[Violation], words: str) -> None:
    assert as_text(section(violations)).splitlines()[0].endswith(words)


def test_json_is_the_object_of_the_artifact_with_first_rows() -> None:
    body = json.loads(as_json(section([ERROR, WARNING])))
    assert body == {
        "n_rules": 21,
        "n_errors": 1,
        "n_warnings": 1,
        "violations": [
            {
                "rule": "ranges",
                "table": INTERACTIONS,
                "column": "cost_usd",
                "severity": "error",
                "n_rows": 1234,
                "share": 0.5,
                "hint": "at least 0",
                "first_rows": [1, 2, 3],
                "examples": ["-9"],
                "cause": None,
            },
            {
                "rule": "duplicate_rows",
                "table": INTERACTIONS,
                "column": None,
                "severity": "warning",
                "n_rows": 1,
                "share": 1e-6,
                "hint": "twice?",
                "first_rows": [7],
                "examples": [],
                "cause": None,
            },
        ],
        "below": [],
    }


def test_json_keeps_a_name_as_it_is_in_ascii() -> None:
    text = as_json(REPORT)
    assert text.isascii()
    assert json.loads(text)["violations"][1]["column"] == HOSTILE


def test_junit_has_a_case_a_rule_that_fails_on_errors_only() -> None:
    suites = ElementTree.fromstring(as_junit(REPORT))
    cases = {c.get("name"): c for c in suites.iter("testcase")}
    assert tuple(cases) == RULES
    failed = {name for name, c in cases.items() if c.find("failure") is not None}
    assert failed == {"files", "types", "ranges"}
    out = cases["duplicate_rows"].find("system-out")
    assert out is not None
    assert "1 row (0.0001 %)" in str(out.text)
    (suite,) = suites.iter("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("21", "3")


def test_github_annotates_each_violation() -> None:
    lines = as_github(section([ERROR, WARNING])).splitlines()
    assert lines == [
        f"::error title=ranges::{INTERACTIONS}.cost_usd: 1,234 rows (50 %25). at least 0. Such as -9.",
        f"::warning title=duplicate_rows::{INTERACTIONS}.*: 1 row (0.0001 %25). twice?",
    ]
    assert as_github(section([])) == "::notice title=contract::21 rules, no violation"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode 🎉", "plain ünïcode 🎉"),
        ("\x1b[0m", "\\u001b[0m"),
        ("a\tb\rc", "a\\u0009b\\u000dc"),
        ("\u202e\u200b\ufeff", "\\u202e\\u200b\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
        ("\ufffe\U0010ffff", "\\ufffe\\U0010ffff"),
        ("a\nb", "a\nb"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_what_is_not_plain_text_becomes_a_visible_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_one_line_has_no_line_feed_either() -> None:
    assert one_line("a\nb", 50) == "a\\u000ab"


def test_an_empty_report_is_valid() -> None:
    assert section([]) == ContractSection(21, 0, 0, ())
