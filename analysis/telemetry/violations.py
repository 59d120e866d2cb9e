"""What is wrong with telemetry, and how it is told: text, JSON, JUnit XML, GitHub annotations."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from junitparser import Failure, JUnitXml, TestCase, TestSuite

from analysis.contract import RULES, RuleSeverity


@dataclass(frozen=True)
class Violation:
    """One rule broken by one column of one table.

    share: of the table's rows, 0 to 1. n_rows 0: the table as a whole. first_rows: up to five 1-based
    data rows; they depend on the order of the rows, so the artifact leaves them out. examples: up
    to three, most frequent first, texts masked. cause: violations of one number fail on the same
    rows; None where no other does.
    """

    rule: str
    table: str
    column: str | None
    severity: RuleSeverity
    n_rows: int
    share: float
    hint: str
    first_rows: tuple[int, ...] = ()
    examples: tuple[str, ...] = ()
    cause: int | None = None


@dataclass(frozen=True)
class ContractSection:
    """The outcome of a validation; the counts are of violations, not of rows.

    below: what was counted and stays below its warning threshold: no violation, and not nothing.
    """

    n_rules: int
    n_errors: int
    n_warnings: int
    violations: tuple[Violation, ...]
    below: tuple[Violation, ...] = ()

    @property
    def losses(self) -> tuple[str, ...]:
        """The rules broken by which interactions are counted somewhere, and may not be there."""
        found = (v.rule for v in self.violations if v.rule in ("rollup", "foreign_key"))
        return tuple(sorted(set(found)))


def section(
    violations: Iterable[Violation],
    below: Iterable[Violation] = (),
    n_rules: int = len(RULES),
) -> ContractSection:
    """Violations in their order: errors first, then by rule, table and column; a cause stays together."""
    ordered = sorted(violations, key=_place)
    n_errors = sum(v.severity == "error" for v in ordered)
    return ContractSection(
        n_rules,
        n_errors,
        len(ordered) - n_errors,
        tuple(_causes_together(ordered)),
        tuple(dataclasses.replace(v, cause=None) for v in sorted(below, key=_place)),
    )


def _place(violation: Violation) -> tuple[str, int, str, str, str, str]:
    rule = violation.rule
    builtin = RULES.index(rule) if rule in RULES else len(RULES)  # type: ignore[arg-type]
    return (
        violation.severity,
        builtin,
        rule,
        violation.table,
        violation.column or "",
        violation.hint,
    )


def _causes_together(ordered: Sequence[Violation]) -> list[Violation]:
    """Behind the first violation of a cause come the others; causes count from 1 in this order."""
    alone = [v for v in ordered if sum(w.cause == v.cause for w in ordered) == 1]
    numbers: dict[int, int] = {}
    for v in ordered:
        if v.cause is not None and v not in alone:
            numbers.setdefault(v.cause, len(numbers) + 1)
    out: list[Violation] = []
    for v in ordered:
        if v.cause not in numbers:
            out.append(dataclasses.replace(v, cause=None))
        elif not any(w.cause == numbers[v.cause] for w in out):  # type: ignore[index]
            same = [w for w in ordered if w.cause == v.cause]
            out += [dataclasses.replace(w, cause=numbers[v.cause]) for w in same]  # type: ignore[index]
    return out


def clean(text: str, limit: int | None = 200) -> str:
    """Text that a terminal, a log or XML shows as text: anything else becomes a visible escape.

    A line feed stays: whoever needs one line takes it away with `one_line`.
    """
    shown = []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if character == "\n":
            shown.append("\n")
        elif character == "#" and text[place - 1 : place] == "#":
            # The runners of GitHub and Azure take ##[…] for a command anywhere in a line.
            shown.append("\\u0023")
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
    text = json.dumps(asdict(report), ensure_ascii=True, indent=2)
    return text.replace("##", r"#\u0023")


def as_text(report: ContractSection) -> str:
    """A table that a person reads."""
    below = _below(report)
    if not report.violations:
        lines = [f"The telemetry keeps the contract: {report.n_rules} rules, no violation."]
        return "\n".join([*lines, *below])
    lines = [
        f"The telemetry violates the contract: {_count(report.n_errors, 'error')}, "
        f"{_count(report.n_warnings, 'warning')}."
        if report.n_errors
        else f"The telemetry keeps the contract, with {_count(report.n_warnings, 'warning')}."
    ]
    for v in report.violations:
        first = f"; first rows {', '.join(map(str, v.first_rows))}" if v.first_rows else ""
        lines.append(f"  {v.severity:7} {v.rule:20} {_where(v)}: {_rows(v)}{first}")
        lines.append(f"          {one_line(v.hint, 400)}")
        if v.examples:
            lines.append(f"          such as {_examples(v)}")
        if v.cause is not None:
            others = sum(w.cause == v.cause for w in report.violations) - 1
            lines.append(
                f"          cause {v.cause}: the same rows break {_count(others, 'other rule')}"
            )
    return "\n".join([*lines, *below])


def _below(report: ContractSection) -> list[str]:
    if not report.below:
        return []
    counted = [f"  {v.rule:20} {_where(v)}: {_rows(v)}" for v in report.below]
    return ["Counted, and below what is worth a warning:", *counted]


def _where(v: Violation) -> str:
    return v.table if v.column is None else f"{v.table}.{one_line(v.column, 80)}"


def _rows(v: Violation) -> str:
    return f"{_count(v.n_rows, 'row')} ({_percent(v.share)})" if v.n_rows else "the table"


def _examples(v: Violation) -> str:
    return "; ".join(one_line(e, 80) for e in v.examples)


def as_junit(report: ContractSection) -> str:
    """One test case a rule; it fails where the rule has errors."""
    suite = TestSuite("telemetry contract")
    own = (v.rule for v in report.violations if v.rule not in RULES)
    for rule in dict.fromkeys((*RULES, *own)):
        case = TestCase(rule, classname="contract")
        failures = [v for v in report.violations if v.rule == rule]
        case.result = [
            Failure(one_line(_sentence(v), 500), v.severity)
            for v in failures
            if v.severity == "error"
        ]
        warnings = [v for v in failures if v.severity == "warning"]
        if warnings:
            case.system_out = "\n".join(one_line(f"warning: {_sentence(v)}", 500) for v in warnings)
        suite.add_testcase(case)
    xml = JUnitXml("release-review")
    xml.add_testsuite(suite)
    text: bytes | str = xml.tostring()
    return text.decode() if isinstance(text, bytes) else text


def _sentence(v: Violation) -> str:
    examples = f" Such as {_examples(v)}." if v.examples else ""
    cause = f" Cause {v.cause}." if v.cause is not None else ""
    end = "" if v.hint.endswith(("?", ".")) else "."
    return f"{v.table}.{v.column or '*'}: {_rows(v)}. {v.hint}{end}{examples}{cause}"


def as_github(report: ContractSection) -> str:
    """One workflow annotation a violation."""
    lines = []
    for v in report.violations:
        lines.append(
            f"::{v.severity} title={_property(v.rule)}::{_data(one_line(_sentence(v), 500))}"
        )
    return "\n".join(lines) or f"::notice title=contract::{report.n_rules} rules, no violation"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}" + ("" if n == 1 else "s")


def _percent(share: float) -> str:
    """A share that is not zero is never shown as zero."""
    return f"{100 * share:.3g} %"
