"""Laws of validation over generated triples: what is planted is told, in any format, and no more."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.contract import INTERACTIONS, RULES, SESSIONS, TABLES, USERS
from analysis.telemetry.violations import ContractSection, as_github, as_json, as_junit, as_text
from tests.fuzz import breakages
from tests.fuzz.triples import CONTRACT, FORMS, Triple, arrow, csv_bytes, triple, write_triple
from tests.telemetry.worlds import validated

FAST = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 10**9)


def reported(made: Triple, form: str, rng: Random) -> ContractSection:
    """Writes the triple, and validates it."""
    with tempfile.TemporaryDirectory() as folder:
        write_triple(made, Path(folder), form, rng)
        return validated(Path(folder))


def reported_text(made: Triple, form: str) -> ContractSection:
    """The same with every cell as text, in CSV or Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        for table, grid in made.items():
            path = Path(folder) / f"{table}.{form}"
            if form == "csv":
                path.write_bytes(csv_bytes(grid).decode("utf-8", "replace").encode())
            else:
                pq.write_table(arrow(grid, table, text=True), path)
        return validated(Path(folder))


def told(report: ContractSection) -> list[tuple[object, ...]]:
    """What is told of each violation, but for names of files in hints."""
    return [
        (v.rule, v.table, v.column, v.severity, v.n_rows, v.first_rows, v.examples, v.cause)
        for v in report.violations
    ]


@FAST
@given(seed=SEEDS, form=st.sampled_from([*FORMS, "mixed"]))
def test_a_sound_triple_has_no_error(seed: int, form: str) -> None:
    rng = Random(seed)
    report = reported(triple(rng, rng.choice([1, 7, 60])), form, rng)
    assert [v for v in report.violations if v.severity == "error"] == []


# A cell, and the rule that it breaks; nothing else follows from it, for no total depends on it.
PLANTS: list[tuple[str, str, str, Sequence[str]]] = [
    (
        INTERACTIONS,
        "latency_ms",
        "types",
        ["fast", "1,000", "NaN", "inf", "1_000", "0x1F", "½", "--1"],
    ),
    (INTERACTIONS, "latency_ms", "ranges", ["-0.001", "-1e300", "1e13", "1e308"]),
    (INTERACTIONS, "retry_index", "types", ["1.5", "one", "1e30", "9223372036854775808", "٣"]),
    (INTERACTIONS, "retry_index", "ranges", ["-1", "-9223372036854775808"]),
    (INTERACTIONS, "routing_propensity", "ranges", ["0", "-0.0", "1.0001", "-1"]),
    (INTERACTIONS, "tool_error_flag", "types", ["yes", "2", "t", "nan", "-"]),
    (INTERACTIONS, "response_quality_score", "types", ["good", "1e400", "∞"]),
    (INTERACTIONS, "label_available_utc", "types", ["soon", "2026-02-30", "2026-13-01T00:00:00Z"]),
    (
        INTERACTIONS,
        "label_available_utc",
        "timestamp_utc",
        ["2099-01-01T00:00:00+02:00", "2099-01-01 00:00 CET"],
    ),
    (INTERACTIONS, "interaction_id", "key_null", [""]),
    (SESSIONS, "session_total_requests", "types", ["many", "1.25"]),
    (USERS, "user_total_requests", "types", ["all", "NULL"]),
]


@settings(FAST, max_examples=24)
@given(seed=SEEDS, plant=st.sampled_from(PLANTS), form=st.sampled_from(["csv", "parquet"]))
def test_what_is_planted_in_one_column_is_told_with_exactly_its_rows(
    seed: int, plant: tuple[str, str, str, Sequence[str]], form: str
) -> None:
    table, column, rule, values = plant
    rng = Random(seed)
    made = triple(rng, rng.choice([5, 30]))
    grid = made[table]
    rows = sorted(rng.sample(range(grid.n), rng.randint(1, min(8, grid.n))))
    target = grid.column(column)
    assert target is not None
    for row in rows:
        target.cells[row] = rng.choice(values)
    errors = [v for v in reported(made, form, rng).violations if v.severity == "error"]
    assert [(v.rule, v.table, v.column) for v in errors] == [(rule, table, column)]
    assert errors[0].n_rows == len(rows)
    assert errors[0].first_rows == tuple(row + 1 for row in rows[:5])
    assert errors[0].share == len(rows) / grid.n


@FAST
@given(seed=SEEDS)
def test_orphans_are_told_at_the_table_that_holds_them(seed: int) -> None:
    rng = Random(seed)
    made = triple(rng, 40)
    table, key = rng.choice([(SESSIONS, "session_id"), (USERS, "user_id")])
    grid = made[table]
    gone = rng.randrange(grid.n)
    keys, held = grid.column(key), made[INTERACTIONS].column(key)
    assert keys is not None
    assert held is not None
    lost = keys.cells[gone]
    grid.take([r for r in range(grid.n) if r != gone])
    rows = [r + 1 for r, value in enumerate(held.cells) if value == lost]
    report = reported(made, rng.choice(FORMS), rng)
    if not grid.n:
        assert [v.rule for v in report.violations if v.table == table] == ["files"]
        return
    found = [
        v
        for v in report.violations
        if (v.rule, v.table, v.column) == ("foreign_key", INTERACTIONS, key)
    ]
    assert [(v.n_rows, v.first_rows) for v in found] == [(len(rows), tuple(rows[:5]))]


@settings(FAST, max_examples=16)
@given(seed=SEEDS, n_changes=st.integers(0, 8))
def test_csv_and_parquet_of_the_same_cells_tell_the_same(seed: int, n_changes: int) -> None:
    rng = Random(seed)
    made = triple(rng, rng.choice([1, 4, 25]))
    for change in rng.choices((*breakages.CELLS, *breakages.ROWS, *breakages.COLUMNS), k=n_changes):
        change(made, rng)
    assert told(reported_text(made, "csv")) == told(reported_text(made, "parquet"))


@settings(FAST, max_examples=24)
@given(seed=SEEDS)
def test_any_combination_of_breakages_is_a_report_in_every_format(seed: int) -> None:
    rng = Random(seed)
    made = triple(rng, rng.choice([1, 4, 25]))
    pool = (*breakages.CELLS, *breakages.ROWS, *breakages.COLUMNS)
    for change in rng.choices(pool, k=rng.randint(1, 8)):
        change(made, rng)
    with tempfile.TemporaryDirectory() as folder:
        write_triple(made, Path(folder), rng.choice([*FORMS, "mixed"]), rng)
        if rng.random() < 0.5:
            rng.choice(breakages.BYTES)(Path(folder), rng)
        report = validated(Path(folder))
    rows = {v.table for v in report.violations} <= set(TABLES)
    assert rows
    assert {v.rule for v in report.violations} <= set(RULES)
    assert report.n_errors + report.n_warnings == len(report.violations)
    assert set(CONTRACT.severities) == set(RULES)
    for form in (as_text, as_json, as_junit, as_github):
        assert all(c == "\n" or c.isprintable() or not c.isascii() for c in form(report))
