from __future__ import annotations

import pytest

from analysis import contract as contracts
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.propose.synonyms import (
    NOT_FOUND,
    SYNONYMS,
    factor_by_name,
    looks_like,
    normalised,
)

CONTRACT = contracts.load()


@pytest.mark.parametrize("table", TABLES)
def test_no_name_stands_for_two_columns_of_a_table(table: str) -> None:
    declared = {normalised(name): name for name in CONTRACT.tables[table].columns}
    owner: dict[str, str] = {}
    for column, names in SYNONYMS[table].items():
        assert column in CONTRACT.tables[table].columns
        for name in names:
            assert owner.setdefault(name, column) == column
            assert declared.get(name, column) == column


def test_every_required_column_says_what_to_do_without_it() -> None:
    required = {
        name
        for table in TABLES
        for name, rule in CONTRACT.tables[table].columns.items()
        if rule.required
    }
    assert set(NOT_FOUND) == required


@pytest.mark.parametrize(
    ("table", "declared", "name"),
    [
        (INTERACTIONS, "timestamp_utc", "createdAt"),
        (INTERACTIONS, "timestamp_utc", "TIMESTAMP UTC"),
        (INTERACTIONS, "latency_ms", "Latency-ms"),
        (INTERACTIONS, "prompt_tokens", "usage.prompt_tokens"),
        (INTERACTIONS, "user_id", "UID"),
        (SESSIONS, "session_id", "id"),
        (USERS, "user_id", "id"),
    ],
)
def test_case_and_separators_make_no_difference(table: str, declared: str, name: str) -> None:
    assert looks_like(table, declared, name)


@pytest.mark.parametrize("name", ["", " ", "_", "latency_of_the_cache", "identity", "ídx"])
def test_other_names_are_other_columns(name: str) -> None:
    assert not any(looks_like(INTERACTIONS, c, name) for c in CONTRACT.tables[INTERACTIONS].columns)


@pytest.mark.parametrize(
    ("declared", "name", "factor"),
    [
        ("latency_ms", "latency_s", 1000.0),
        ("latency_ms", "duration seconds", 1000.0),
        ("latency_ms", "latency_ms", None),
        ("latency_ms", "duration_ns", 1e-6),
        ("cost_usd", "cost_cents", 0.01),
        ("cost_usd", "cost", None),
        ("use_case", "tasks_s", None),
    ],
)
def test_the_ending_of_a_name_tells_its_unit(
    declared: str, name: str, factor: float | None
) -> None:
    assert factor_by_name(declared, name) == factor
