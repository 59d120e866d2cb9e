"""One cause reads as one: rules that fail on the same rows share a number, others never do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.telemetry.faults import grouped, located
from analysis.telemetry.rules import Rule
from analysis.telemetry.source import open_source
from tests.telemetry.test_validate import NO_ROLLUPS, Break, both, cell, extra
from tests.telemetry.worlds import CONTRACT, World, tiny

ROWS = INTERACTIONS


def lost(row: int) -> Break:
    """An interaction is gone; its rollups still count it."""

    def change(world: World) -> None:
        world.tables[ROWS] = world.tables[ROWS].drop(index=row - 1).reset_index(drop=True)

    return change


def causes(world: World, kind: str = "csv") -> list[set[tuple[str, str]]]:
    """The groups of violations, as (rule, table.column); what stands alone is a group of one."""
    out: dict[object, set[tuple[str, str]]] = {}
    for k, v in enumerate(world.violations(kind)):
        what = (v.rule, f"{v.table.split('_')[2]}.{v.column}")
        out.setdefault(v.cause if v.cause is not None else f"alone {k}", set()).add(what)
    return sorted(out.values(), key=lambda g: sorted(g))


def rollups(table: str, *kinds: str) -> set[tuple[str, str]]:
    prefix = {"sessions": "session", "users": "user"}[table]
    return {("rollup", f"{table}.{prefix}_total_{kind}") for kind in kinds}


COST = {("ranges", "interactions.cost_usd")}
BOTH_COSTS = rollups("sessions", "cost_usd") | rollups("users", "cost_usd")
COUNTED = ("cost_usd", "requests", "tokens")
CASES = [
    ("a negative cost", cell(ROWS, "cost_usd", 3, "-1"), [COST | BOTH_COSTS]),
    ("a lost interaction", lost(5), [rollups("sessions", *COUNTED) | rollups("users", *COUNTED)]),
    ("an orphan session", extra(SESSIONS, 4, session_id="s9"), [{("foreign_key", "sessions.session_id")}]),
    ("an interaction of another user", both(NO_ROLLUPS, cell(ROWS, "user_id", 2, "u3")),
     [{("user_matches_session", "interactions.user_id")}]),
    ("two costs of two users", both(cell(ROWS, "cost_usd", 3, "-1"), cell(ROWS, "latency_ms", 7, "-1")),
     [COST | BOTH_COSTS, {("ranges", "interactions.latency_ms")}]),
    ("two problems of two sessions of one user",
     both(cell(ROWS, "cost_usd", 3, "-1"), cell(SESSIONS, "session_total_requests", 2, "7")),
     [COST | BOTH_COSTS, rollups("sessions", "requests")]),
    ("two problems of two rows of one session",
     both(NO_ROLLUPS, cell(ROWS, "cost_usd", 3, "-1"), cell(ROWS, "latency_ms", 2, "-1")),
     [COST, {("ranges", "interactions.latency_ms")}]),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("name", "change", "wanted"), CASES, ids=[c[0] for c in CASES])
def test_one_cause_reads_as_one(
    world: World, name: str, change: Break, wanted: list[set[tuple[str, str]]], kind: str
) -> None:
    change(world)
    assert causes(world, kind) == sorted(wanted, key=lambda g: sorted(g))


@pytest.mark.parametrize(("name", "change", "wanted"), CASES, ids=[c[0] for c in CASES])
def test_causes_do_not_depend_on_the_order_of_rows(
    world: World, name: str, change: Break, wanted: list[set[tuple[str, str]]]
) -> None:
    change(world)
    before = [(v.rule, v.column, v.cause, v.examples) for v in world.violations()]
    for table, frame in world.tables.items():
        world.tables[table] = frame.sample(frac=1, random_state=3).reset_index(drop=True)
    assert [(v.rule, v.column, v.cause, v.examples) for v in world.violations()] == before


def test_a_third_rule_does_not_join_two_that_fail_on_other_rows(world: World) -> None:
    """The user's total is off, a cost of one of its sessions is negative, and another one lacks rows."""
    cell(ROWS, "cost_usd", 1, "-1")(world)
    cell(SESSIONS, "session_total_tokens", 2, "7")(world)
    for group in causes(world):
        assert (
            not {("ranges", "interactions.cost_usd"), ("rollup", "sessions.session_total_tokens")}
            <= group
        )


@pytest.mark.parametrize("n", [64, 130])
def test_more_rules_than_bits_in_a_word_are_told_apart(tmp_path: Path, n: int) -> None:
    source = open_source(tiny(tmp_path / "data").write(), CONTRACT)
    rules = [
        Rule("x", ROWS, None, f"t.source_row = {1 + k % 8}", "", "error", f"{ROWS} t")
        for k in range(n)
    ]
    found = grouped(source, located(source, rules))
    source.close()
    assert [v.cause for v in found] == [1 + k % 8 for k in range(n)]


@pytest.mark.simulate
def test_sixty_rules_that_a_million_rows_break_are_grouped_in_bounded_time(tmp_path: Path) -> None:
    source = open_source(tiny(tmp_path / "data").write(), CONTRACT, threads=2)
    source.con.execute(
        "CREATE TABLE big AS SELECT 's' || (i // 4) AS session_id, 'u' || (i // 40) AS user_id, "
        "i AS source_row FROM range(1000000) r(i)"
    )
    rules = [
        # Not by hash(row, k): of its sums for two k the last bit is the same, or never is.
        Rule("x", ROWS, None, f"md5(t.source_row || '-{k}') < '8'", "", "error", "big t")
        for k in range(60)
    ]
    start = time.monotonic()
    found = grouped(source, located(source, rules))
    source.close()
    assert {v.cause for v in found} == {None}
    assert time.monotonic() - start < 60


def test_users_and_sessions_without_interactions_have_causes_too(world: World) -> None:
    world.append(USERS, 3, user_id="u9").append(SESSIONS, 4, session_id="s9", user_id="u9")
    assert causes(world) == [
        {("foreign_key", "sessions.session_id"), ("foreign_key", "users.user_id")}
    ]
