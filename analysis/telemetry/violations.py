"""What is wrong with telemetry, and how it is told: text, JSON, JUnit XML, GitHub annotations."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from junitparser import Failure, JUnitXml, TestCase, TestSuite

from analysis.contract import RULES, RuleId, RuleSeverity


@dataclass(frozen=True)
class Violation:
    """One rule broken by one column of one table.

    share: of the table's rows, 0 to 1. first_rows: up to five 1-based data rows; they depend on the
    order of the rows, so the artifact leaves them out.
    """

    rule: RuleId
    table: str
    column: str | None
    severity: RuleSeverity
    n_rows: int
    share: float
    hint: str
    first_rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class ContractSection:
    """The outcome of a validation; the counts are of violations, not of rows."""

    n_rules: int
    n_errors: int
    n_warnings: int
    violations: tuple[Violation, ...]


def section(violations: Iterable[Violation]) -> ContractSection:
    """Violations in their order: errors first, then by rule, table and column."""
    ordered = tuple(
        sorted(
            violations,
            key=lambda v: (v.severity, RULES.index(v.rule), v.table, v.column or "", v.hint),
        )
    )
    n_errors = sum(v.severity == "error" for v in ordered)
    return ContractSection(len(RULES), n_errors, len(ordered) - n_errors, ordered)


def clean(text: str, limit: int | None = 200) -> str:
    """Text that a terminal, a log or XML shows as text: anything else becomes a visible escape.

    A line feed stays: whoever needs one line takes it away with `one_line`.
    """
    shown = []
    for character in text:
        category = unicodedata.category(character)
        if character == "\n":
            shown.append("\n")
        elif category in ("Cc", "Cf", "Cn", "Cs", "Co", "Zl", "Zp"):
            code = ord(character)
            shown.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
        else:
            shown.append(character)
    whole = "".join(shown)
    return whole if limit is None or len(whole) <= limit else whole[: limit - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Clean text in which a line feed is a visible escape too: telemetry cannot begin a line."""
    return clean(text.replace("\n", "\\u000a"), limit)


def as_json(report: ContractSection) -> str:
    """The object of `views.contract`, with `first_rows`."""
    return json.dumps(asdict(report), ensure_ascii=True, indent=2)


def as_text(report: ContractSection) -> str:
    """A table that a person reads."""
    if not report.violations:
        return f"The telemetry keeps the contract: {report.n_rules} rules, no violation."
    lines = [
        f"The telemetry violates the contract: {_count(report.n_errors, 'error')}, "
        f"{_count(report.n_warnings, 'warning')}."
        if report.n_errors
        else f"The telemetry keeps the contract, with {_count(report.n_warnings, 'warning')}."
    ]
    for v in report.violations:
        rows = f"{v.n_rows:,} rows ({_percent(v.share)})" if v.n_rows else "the table"
        first = f"; first rows {', '.join(map(str, v.first_rows))}" if v.first_rows else ""
        where = v.table if v.column is None else f"{v.table}.{one_line(v.column, 80)}"
        lines.append(f"  {v.severity:7} {v.rule:20} {where}: {rows}{first}")
        lines.append(f"          {one_line(v.hint, 400)}")
    return "\n".join(lines)


def as_junit(report: ContractSection) -> str:
    """One test case a rule; it fails where the rule has errors."""
    suite = TestSuite("telemetry contract")
    for rule in RULES:
        case = TestCase(rule, classname="contract")
        failures = [v for v in report.violations if v.rule == rule]
        case.result = [
            Failure(
                clean(f"{v.table}.{v.column or '*'}: {v.n_rows} rows. {v.hint}", 500), v.severity
            )
            for v in failures
            if v.severity == "error"
        ]
        warnings = [v for v in failures if v.severity == "warning"]
        if warnings:
            case.system_out = "\n".join(
                one_line(f"warning: {v.table}.{v.column or '*'}: {v.n_rows} rows. {v.hint}", 500)
                for v in warnings
            )
        suite.add_testcase(case)
    xml = JUnitXml("release-review")
    xml.add_testsuite(suite)
    text: bytes | str = xml.tostring()
    return text.decode() if isinstance(text, bytes) else text


def as_github(report: ContractSection) -> str:
    """One workflow annotation a violation."""
    lines = []
    for v in report.violations:
        where = v.table if v.column is None else f"{v.table}.{v.column}"
        message = f"{where}: {v.n_rows} rows ({_percent(v.share)}). {v.hint}"
        lines.append(f"::{v.severity} title={_property(v.rule)}::{_data(clean(message, 500))}")
    return "\n".join(lines) or f"::notice title=contract::{report.n_rules} rules, no violation"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _count(n: int, word: str) -> str:
    return f"{n} {word}" + ("" if n == 1 else "s")


def _percent(share: float) -> str:
    """A share that is not zero is never shown as zero."""
    return f"{100 * share:.3g} %"
