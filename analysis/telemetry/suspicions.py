"""What is suspicious about the values of columns: they hold nothing, never change, or have no end."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from analysis.contract import INTERACTIONS, Column, Contract
from analysis.telemetry.clocks import bulk
from analysis.telemetry.profile import Profile
from analysis.telemetry.source import Source
from analysis.telemetry.sql import identifier
from analysis.telemetry.violations import Violation

MAX_CATEGORIES = 1000
ROWS_A_CATEGORY = 100
CATEGORY_SHARE = 0.2
MANY = 50
EXPLOSION = 5.0
MANY_ROWS = 1000
"""Rows of which some have feedback, an issue or a flag, where these are recorded at all."""
NO_FAILURE = 1000
"""Labels without any failure that are worth a warning: e⁻⁵ where 0.5 % fail."""
NEAR = 0.5
"""Quick counts of values are off by some per cent: from this share of a limit on they are made exact."""
_OF_FAILURES = frozenset({"failure_type", "repair_strategy"})
_ZERO_IS_PLAUSIBLE = frozenset(
    {"cached_prompt_tokens", "reasoning_tokens", "tool_calls_count", "retry_index"}
)


def constants(
    source: Source, contract: Contract, found: Profile
) -> tuple[list[Violation], list[Violation]]:
    """Columns that hold nothing, or one value where values differ by nature; and harmless ones.

    The second list: columns of one value that may well be so (one region, no flag ever raised, too
    few values to tell). The first rows tell that most columns vary; only the others are read to
    their end.
    """
    declared = {c: contract.column(c) for c in found.known}
    known = {c: d for c, d in declared.items() if d is not None and d.role != "key"}
    if not known or source.rows(INTERACTIONS) < MANY:
        return [], []
    rows = source.rows(INTERACTIONS)
    empty = [c for c in known if not found.known[c]]
    unseen = [c for c in empty if not _expected(c, known[c], rows, found.failures)]
    first = f"(SELECT * FROM {INTERACTIONS} LIMIT 2048) first_rows"
    unsure = list(_same(source, [c for c in known if c not in empty], first))
    same = _same(source, unsure, INTERACTIONS)
    odd = {c: _odd(c, known[c], value, found.known[c]) for c, value in same.items()}
    told = "every row that has a value has the same one"

    def violation(column: str, hint: str) -> Violation:
        severity = contract.severities["constant"]
        return Violation("constant", INTERACTIONS, column, severity, 0, 1.0, hint)

    strange = [
        violation(c, "the column is there and holds nothing; drop it, or fill it")
        for c in empty
        if c not in unseen
    ]
    strange += [violation(c, f"{told}; is it a default that nobody fills?") for c in odd if odd[c]]
    plausible = [violation(c, told) for c in odd if not odd[c]]
    return strange, [*plausible, *(violation(c, "the column holds nothing") for c in unseen)]


def _expected(column: str, declared: Column, rows: int, failures: int) -> bool:
    """Whether some row should hold a value: most have no failure, and few have feedback."""
    if column in _OF_FAILURES:
        return failures >= MANY
    sparse = declared.role in ("outcome", "feedback") and column != "is_failure"
    return rows >= (MANY_ROWS if sparse else MANY)


def _same(source: Source, columns: Sequence[str], relation: str) -> dict[str, object]:
    """Those of the columns that hold one value at most there, and that value."""
    if not columns:
        return {}
    types = source.engine.types(INTERACTIONS)
    parts = [
        f"bool_and({identifier(c)}), bool_or({identifier(c)})"
        if types[c] == "BOOLEAN"
        else f"min({identifier(c)}), max({identifier(c)})"
        for c in columns
    ]
    row = source.engine.row(f"SELECT {', '.join(parts)} FROM {relation}")
    return {c: row[2 * i] for i, c in enumerate(columns) if row[2 * i] == row[2 * i + 1]}


def _odd(column: str, declared: Column, value: object, n: int) -> bool:
    """Whether one value in all of n rows is a fault rather than a fact."""
    if n < MANY:
        return False
    if declared.type == "timestamp":
        return column == "timestamp_utc"  # one job may have made all labels at once
    if declared.type == "boolean":
        return bool(value) or (column == "is_failure" and n >= NO_FAILURE)
    if declared.role == "cost" or declared.unit == "tokens":
        configured = column == "max_tokens"
        return not configured and not (value == 0 and column in _ZERO_IS_PLAUSIBLE)
    return False


def explosions(source: Source, contract: Contract, found: Profile) -> list[Violation]:
    """Columns by which rows are grouped, and that hold nearly as many values as rows.

    Either over all rows, or from some day on.
    """
    if not found.days:
        return []
    out = []
    for column in found.days[0].categories:
        hint = _too_many(source, column) or _more_than_before(source, column, found)
        if hint is not None:
            severity = contract.severities["cardinality"]
            out.append(Violation("cardinality", INTERACTIONS, column, severity, 0, 1.0, hint))
    return out


def _too_many(source: Source, column: str) -> str | None:
    n, known = source.engine.row(
        f"SELECT count(DISTINCT {identifier(column)}), count({identifier(column)}) FROM {INTERACTIONS}"
    )
    thin = n > MAX_CATEGORIES and (known < ROWS_A_CATEGORY * n or n > 10 * MAX_CATEGORIES)
    if thin or (n > 2 * MANY and n > CATEGORY_SHARE * known):
        return (
            f"{n:,} different values in {known:,} rows: this is no category; is it free text or an "
            "id? Slices by it are empty"
        )
    return None


def _more_than_before(source: Source, column: str, found: Profile) -> str | None:
    """A day from which on the values multiply, and faster than the rows."""
    if max(d.categories[column] for d in found.days) < NEAR * MANY:
        return None
    rows = source.engine.rows(
        f"SELECT CAST(timestamp_utc AS DATE), count(DISTINCT {identifier(column)}) "
        f"FROM {INTERACTIONS} WHERE timestamp_utc IS NOT NULL GROUP BY 1"
    )
    exact = {day: int(n) for day, n in rows}
    days = bulk(found.days)
    for i in range(3, len(days)):
        before = median(exact[d.day] for d in days[:i])
        grown = max(1.0, days[i].rows / median(d.rows for d in days[:i]))
        if exact[days[i].day] >= max(MANY, EXPLOSION * grown * max(before, 1)):
            return (
                f"{exact[days[i].day]:,} different values on {days[i].day}, after {before:,.0f} a day "
                "before; what is written into it?"
            )
    return None
