"""The rules across tables against a slow computation of the same in pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from tests.telemetry.worlds import World, tiny, validated

ACROSS = {
    "foreign_key", "user_matches_session", "timestamp_in_session", "session_order", "rollup"
}  # fmt: skip
Fault = tuple[str, str, str, tuple[int, ...]]


def expected(world: World) -> set[Fault]:
    """(rule, table, column, rows that break it), row by row, without any engine."""
    rows, sessions, users = (_records(world, t) for t in (INTERACTIONS, SESSIONS, USERS))
    out: dict[tuple[str, str, str], set[int]] = {}

    def broken(rule: str, table: str, column: str, row: int) -> None:
        out.setdefault((rule, table, column), set()).add(row)

    def orphans(table: str, own: list[dict], key: str, other: list[dict]) -> None:
        there = {r.get(key) for r in other} - {None}
        for k, r in enumerate(own, 1):
            if r.get(key) is not None and r[key] not in there:
                broken("foreign_key", table, key, k)

    def has(table: str, *columns: str) -> bool:
        return set(columns) <= set(world.tables[table])

    for key, table, other in (
        ("session_id", INTERACTIONS, SESSIONS), ("session_id", SESSIONS, INTERACTIONS),
        ("user_id", INTERACTIONS, USERS), ("user_id", USERS, INTERACTIONS),
        ("user_id", SESSIONS, USERS),
    ):  # fmt: skip
        if has(table, key) and has(other, key):
            own = {INTERACTIONS: rows, SESSIONS: sessions, USERS: users}
            orphans(table, own[table], key, own[other])
    _users_of_sessions(rows, sessions, has, broken)
    _times(rows, sessions, has, broken)
    for table, key, own in ((SESSIONS, "session_id", sessions), (USERS, "user_id", users)):
        if has(INTERACTIONS, key) and has(table, key):
            _totals(table, key, own, rows, has, broken)
    return {(*name, tuple(sorted(at))) for name, at in out.items()}


def _users_of_sessions(rows: list[dict], sessions: list[dict], has: Any, broken: Any) -> None:
    if not has(INTERACTIONS, "session_id", "user_id"):
        return
    for k, r in enumerate(rows, 1):
        if r["session_id"] is None:
            continue
        if has(SESSIONS, "session_id", "user_id"):
            own = [s["user_id"] for s in sessions if s["session_id"] == r["session_id"]]
            known = [u for u in own if u is not None]
            if known and r["user_id"] is not None and r["user_id"] != min(known):
                broken("user_matches_session", INTERACTIONS, "user_id", k)
        else:
            same = {q["user_id"] for q in rows if q["session_id"] == r["session_id"]} - {None}
            if len(same) > 1:
                broken("user_matches_session", INTERACTIONS, "user_id", k)


def _times(rows: list[dict], sessions: list[dict], has: Any, broken: Any) -> None:
    for k, s in enumerate(sessions, 1):
        start, end = s.get("start_timestamp_utc"), s.get("end_timestamp_utc")
        if start is not None and end is not None and end < start:
            broken("session_order", SESSIONS, "end_timestamp_utc", k)
    if not (has(INTERACTIONS, "session_id") and has(SESSIONS, "session_id")):
        return
    stamps = [s.get(c) for s in sessions for c in ("start_timestamp_utc", "end_timestamp_utc")]
    held = [t for t in stamps if t is not None]
    unit = next((u for u in ("s", "ms") if all(t.floor(u) == t for t in held)), "us")
    for k, r in enumerate(rows, 1):
        own = [s for s in sessions if s["session_id"] == r["session_id"] is not None]
        starts = [s["start_timestamp_utc"] for s in own if s.get("start_timestamp_utc") is not None]
        ends = [s["end_timestamp_utc"] for s in own if s.get("end_timestamp_utc") is not None]
        at = r["timestamp_utc"].floor(unit)
        if (starts and at < min(starts).floor(unit)) or (ends and at > max(ends)):
            broken("timestamp_in_session", INTERACTIONS, "timestamp_utc", k)


def _totals(table: str, key: str, own: list[dict], rows: list[dict], has: Any, broken: Any) -> None:
    prefix = "session" if table == SESSIONS else "user"
    for k, total in enumerate(own, 1):
        mine = [r for r in rows if r[key] == total[key] is not None]
        if not mine:
            continue
        n = len(mine)
        for kind, column in (("cost_usd", "cost_usd"), ("tokens", "total_tokens")):
            name = f"{prefix}_total_{kind}"
            if total.get(name) is None:
                continue
            parts = [r[column] for r in mine if r.get(column) is not None]
            slack = (n + 1) * 0.5e-6 + 1e-9 if kind == "cost_usd" else 0
            off = total[name] - sum(parts)
            if (abs(off) > slack) if len(parts) == n else (off < -slack):
                broken("rollup", table, name, k)
        name = f"{prefix}_total_requests"
        if total.get(name) is not None and total[name] != n:
            broken("rollup", table, name, k)
        name = f"{prefix}_total_failures"
        failed = sum(r.get("is_failure") is True for r in mine)
        unknown = sum(r.get("is_failure") is None for r in mine)
        if total.get(name) is not None and not failed <= total[name] <= failed + unknown:
            broken("rollup", table, name, k)


def _records(world: World, table: str) -> list[dict[str, Any]]:
    out = []
    for row in world.tables[table].to_dict("records"):
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if value is None or (isinstance(value, float) and pd.isna(value)):
                cells[name] = None
            elif name.endswith("timestamp_utc"):
                cells[name] = pd.Timestamp(value)
            elif name == "is_failure":
                cells[name] = value == "true"
            elif name.endswith("_usd"):
                cells[name] = float(value)
            elif "_total_" in name or name == "total_tokens":
                cells[name] = int(value)
            else:
                cells[name] = value
        out.append(cells)
    return out


def found(world: World, kind: str = "csv") -> set[Fault]:
    return {
        (v.rule, v.table, v.column or "", v.first_rows)
        for v in world.violations(kind)
        if v.rule in ACROSS
    }


KEYS = {
    "session_id": st.sampled_from(["s1", "s2", "s3", "s9", None]),
    "user_id": st.sampled_from(["u1", "u2", "u9", None]),
}
TIMES = st.sampled_from([
    None, "2026-09-07T01:00:00Z", "2026-09-07T01:00:00.25Z", "2026-09-07T01:30:00.000300Z",
    "2026-09-07T02:00:00Z", "2026-09-07T02:00:00.999Z", "2026-09-08T07:00:00Z",
])  # fmt: skip
COUNTS = st.sampled_from([None, "0", "1", "2", "3", "10", "60"])
MONEY = st.sampled_from([None, "0", "0.001", "0.006000", "0.0060025", "0.01"])


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, ...] | tuple[Any, ...]]:
    """What is done to a world: cells set, rows repeated or lost, columns dropped."""
    out: list[Any] = []
    for _ in range(draw(st.integers(1, 5))):
        table = draw(st.sampled_from([INTERACTIONS, SESSIONS, USERS]))
        what = draw(st.sampled_from(["cell", "cell", "cell", "again", "lost", "dropped"]))
        if what == "cell":
            columns = {
                INTERACTIONS: ["session_id", "user_id", "timestamp_utc", "is_failure", "cost_usd",
                               "total_tokens"],
                SESSIONS: ["session_id", "user_id", "start_timestamp_utc", "end_timestamp_utc",
                           "session_total_cost_usd", "session_total_tokens",
                           "session_total_requests", "session_total_failures"],
                USERS: ["user_id", "user_total_cost_usd", "user_total_tokens",
                        "user_total_requests", "user_total_failures"],
            }[table]  # fmt: skip
            column = draw(st.sampled_from(columns))
            if column in KEYS:
                value = draw(KEYS[column])
            elif column == "timestamp_utc":
                value = draw(TIMES.filter(lambda t: t is not None))
            elif column.endswith("timestamp_utc"):
                value = draw(TIMES)
            elif column == "is_failure":
                value = draw(st.sampled_from(["true", "false", None]))
            else:
                value = draw(MONEY if column.endswith("usd") else COUNTS)
            out.append(("cell", table, column, draw(st.integers(0, 7)), value))
        elif what == "dropped":
            columns = {
                INTERACTIONS: ["session_id", "user_id", "cost_usd", "is_failure"],
                SESSIONS: ["user_id", "start_timestamp_utc", "end_timestamp_utc", "session_id"],
                USERS: ["user_total_tokens"],
            }[table]  # fmt: skip
            out.append(("dropped", table, draw(st.sampled_from(columns))))
        else:
            out.append((what, table, draw(st.integers(0, 7))))
    return out


def changed(world: World, steps: list[Any]) -> World:
    for what, table, *how in steps:
        frame = world.tables[table]
        if what == "cell":
            column, row, value = how
            if column in frame:
                world.set(table, column, row % len(frame) + 1, value)
        elif what == "dropped":
            world.tables[table] = frame.drop(columns=[c for c in how if c in frame])
        elif what == "again":
            world.append(table, how[0] % len(frame) + 1)
        elif len(frame) > 1:
            world.tables[table] = frame.drop(index=how[0] % len(frame)).reset_index(drop=True)
    return world


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(steps=changes(), kind=st.sampled_from(["csv", "parquet"]))
def test_every_rule_across_tables_breaks_where_a_slow_computation_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], kind: str
) -> None:
    world = changed(tiny(tmp_path_factory.mktemp("world") / "data"), steps)
    if any(world.tables[t].shape[1] == 0 for t in world.tables):
        return
    wanted = {(*f[:3], f[3][:5]) for f in expected(world)}
    assert found(world, kind) == wanted


@pytest.mark.parametrize("table", [INTERACTIONS, SESSIONS, USERS])
def test_a_table_that_is_missing_hides_no_orphan_among_the_others(world: World, table: str) -> None:
    world.append(SESSIONS, 1, session_id="s9", user_id="u9").append(USERS, 1, user_id="u8")
    folder = world.write()
    (folder / f"{table}.csv").unlink()
    orphans = {(v.table, v.column) for v in validated(folder).violations if v.rule == "foreign_key"}
    assert (
        orphans
        == {
            INTERACTIONS: {(SESSIONS, "user_id")},
            SESSIONS: {(USERS, "user_id")},
            USERS: {(SESSIONS, "session_id")},
        }[table]
    )


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [("an interaction without user", INTERACTIONS, "user_id"),
     ("a session without key", SESSIONS, "session_id")],
)  # fmt: skip
def test_a_session_of_an_unknown_user_is_told_even_where_another_key_is_empty(
    world: World, name: str, table: str, column: str
) -> None:
    for row in (1, 2, 3) if table == INTERACTIONS else (1,):
        world.set(table, column, row, None)
    world.set(SESSIONS, "user_id", 1, "u9")
    assert ("foreign_key", SESSIONS, "user_id", (1,)) in found(world)


def test_sessions_without_any_start_are_compared_by_the_precision_of_their_end(
    tmp_path: Path,
) -> None:
    world = tiny(tmp_path / "data")
    world.add(SESSIONS, "start_timestamp_utc", [None] * 4)
    world.set(INTERACTIONS, "timestamp_utc", 3, "2026-09-07T02:00:00.999Z")
    assert found(world) == set()
