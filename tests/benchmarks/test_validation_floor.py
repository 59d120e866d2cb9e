"""The floor of the validation benchmark: it finds what the project's validation finds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from analysis.contract import RULES, TABLES, Column
from analysis.policy import Policy
from analysis.telemetry import policy_columns
from benchmarks.validation_peers import floor, rules
from benchmarks.validation_peers.broken import CASES, Case, Tables
from tests.telemetry import worlds

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
# Rules that no cell can break, and suspicions, which the floor leaves to the project.
SUSPICIONS = {
    "near_duplicates", "clock", "missing_days", "constant", "missing_jump", "cardinality"
}  # fmt: skip
KEPT = {"files", "columns", *SUSPICIONS}
FORMATS = ("csv", "csv.gz", "parquet")
TYPED = {(c.rule, c.table): c for c in CASES if not c.csv_only}.values()  # one a rule and table


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Forty users of the sample."""
    return Tables(SAMPLE, 40)


def validated(data: Path) -> floor.Counts:
    """What the project's own validation counts."""
    report = worlds.validated(data, used_columns=policy_columns(Policy()))
    out: Counter[tuple[str, str, str | None]] = Counter()
    for violation in report.violations:
        if violation.rule not in SUSPICIONS:
            out[violation.rule, violation.table, violation.column] += violation.n_rows
    return dict(out)


def test_the_committed_sample_is_valid() -> None:
    assert floor.counts(SAMPLE) == {}


@pytest.mark.parametrize("end", FORMATS)
def test_an_unbroken_copy_is_valid(tables: Tables, tmp_path: Path, end: str) -> None:
    data = tables.write(tmp_path, end)
    assert floor.counts(data) == validated(data) == {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_broken_in_a_csv_is_found_and_counted_as_validate_counts_it(
    tables: Tables, tmp_path: Path, case: Case
) -> None:
    data = tables.write(tmp_path, "csv", [case])
    found = floor.counts(data)
    assert case.rule in {rule for rule, _, _ in found}
    assert found == validated(data)


@pytest.mark.parametrize("case", TYPED, ids=str)
def test_what_is_broken_in_parquet_is_found(tables: Tables, tmp_path: Path, case: Case) -> None:
    found = floor.counts(tables.write(tmp_path, "parquet", [case]))
    assert case.rule in {rule for rule, _, _ in found}


@pytest.mark.parametrize("end", FORMATS)
def test_everything_broken_at_once_is_counted_as_validate_counts_it(
    tables: Tables, tmp_path: Path, end: str
) -> None:
    data = tables.write(tmp_path, end, TYPED)
    found = floor.counts(data)
    assert {rule for rule, _, _ in found} == {c.rule for c in TYPED}
    assert found == validated(data)


def test_every_rule_that_a_cell_can_break_has_a_case() -> None:
    assert {c.rule for c in CASES} | KEPT == set(RULES)


def test_the_plain_rules_are_those_of_the_contract() -> None:
    for name in TABLES:
        table = worlds.CONTRACT.tables[name]
        declared = {c: table.column(c) for c in rules.TYPES[name]}
        assert {c: d.type for c, d in declared.items() if d} == rules.TYPES[name]
        numbers = {
            c: limits(d) for c, d in declared.items() if d and d.type in ("integer", "number")
        }
        assert numbers == rules.RANGES[name]
        exclusive = {c for c, d in declared.items() if d and d.min_exclusive}
        assert exclusive == set(rules.ABOVE_LOW) & set(declared)
        assert rules.KEYS[name] == table.key
        assert set(rules.KEY_COLUMNS[name]) == {table.key, *table.foreign_keys}
        assert not any(d.allowed for d in declared.values() if d)
    assert set(rules.NOT_MISSING) == policy_columns(Policy()) & set(rules.TYPES[rules.INTERACTIONS])


def limits(column: Column) -> tuple[float, float | None]:
    """The range that a number is held to; a total is as large as it may be."""
    largest = 1e6 if column.unit == "USD" else 1e12
    high = column.max if column.max is not None or column.role == "rollup" else largest
    return (-largest if column.min is None else column.min, high)
