"""Rows that break the contract, set aside: which they are, what is left, and what is written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from analysis import contract as contracts
from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.errors import ContractError
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.telemetry.quarantine import find_broken, write
from analysis.telemetry.source import open_source
from analysis.telemetry.validate import validate
from tests.telemetry.worlds import CONTRACT, World, random_rows, tiny, validated, world_of

WINDOWS = {
    "candidate": {"start": "2026-09-08T06:00:00Z", "end": "2026-09-11T00:00:00Z"},
    "baseline": {"start": "2026-09-07T00:00:00Z", "end": "2026-09-08T06:00:00Z"},
}
ALLOWED = Policy.model_validate({"quarantine": {"allow": True, "max_share": 1}, "windows": WINDOWS})
Rows = set[int]
Break = Callable[[World], Any]

# Eight interactions: s1 (rows 1 to 3) and s2 (4) of u1, s3 (5, 6) of u2, s4 (7, 8) of u3. Rollups of
# sessions and users follow from what is broken, and are not listed.
CASES: dict[str, tuple[Break, tuple[Rows, Rows, Rows]]] = {
    "a number out of range": (lambda w: w.set(INTERACTIONS, "latency_ms", 2, "-1"), ({2}, set(), set())),
    "a cell that is no number": (lambda w: w.set(INTERACTIONS, "latency_ms", 2, "soon"), ({2}, set(), set())),
    "a time of another zone": (
        lambda w: w.set(INTERACTIONS, "timestamp_utc", 2, "2026-09-07T03:30:00+02:00"), ({2}, set(), set())
    ),
    "a time outside of its session": (
        lambda w: w.set(INTERACTIONS, "timestamp_utc", 2, "2026-09-09T00:00:00Z"), ({2}, set(), set())
    ),
    "tokens that do not add up": (lambda w: w.set(INTERACTIONS, "total_tokens", 2, "1"), ({2}, set(), set())),
    "no key": (lambda w: w.set(INTERACTIONS, "interaction_id", 5, None), ({5}, set(), set())),
    "no session": (lambda w: w.set(INTERACTIONS, "session_id", 2, None), ({2}, set(), set())),
    "no user": (lambda w: w.set(INTERACTIONS, "user_id", 2, " "), ({2}, set(), set())),
    "a key that stands twice: all of its rows": (
        lambda w: w.set(INTERACTIONS, "interaction_id", 7, "i00002"), ({2, 7}, set(), set())
    ),
    "a session that is not there": (lambda w: w.set(INTERACTIONS, "session_id", 2, "s9"), ({2}, set(), set())),
    "a user that is not there, and not the session's": (
        lambda w: w.set(INTERACTIONS, "user_id", 2, "u9"), ({2}, set(), set())
    ),
    "a session without interactions": (
        lambda w: w.append(SESSIONS, 4, session_id="s9"), (set(), {5}, set())
    ),
    "a user without interactions": (lambda w: w.append(USERS, 3, user_id="u9"), (set(), set(), {4})),
    "a session that ends before it starts, and its interactions": (
        lambda w: w.set(SESSIONS, "end_timestamp_utc", 3, "2026-09-01T00:00:00Z"), ({5, 6}, {3}, set())
    ),
    "a session that stands twice, and its interactions": (
        lambda w: w.append(SESSIONS, 2), ({4}, {2, 5}, set())
    ),
    "a user that stands twice, and the user's interactions": (
        lambda w: w.append(USERS, 2), ({5, 6}, set(), {2, 4})
    ),
    "a session without a key, and its orphans": (
        lambda w: w.set(SESSIONS, "session_id", 2, None), ({4}, {2}, set())
    ),
    "a session of a user that is not there, and its interactions": (
        lambda w: w.set(SESSIONS, "user_id", 3, "u9"), ({5, 6}, {3}, set())
    ),
    "a total alone sets no interaction aside": (
        lambda w: w.set(SESSIONS, "session_total_requests", 3, "7"), (set(), set(), set())
    ),
    "a user's total alone": (lambda w: w.set(USERS, "user_total_tokens", 3, "7"), (set(), set(), set())),
    "a total that is no number: the session": (
        lambda w: w.set(SESSIONS, "session_total_requests", 3, "many"), ({5, 6}, {3}, set())
    ),
}  # fmt: skip


def set_aside(con: Any) -> tuple[Rows, ...]:
    """Source rows to set aside of each table, without summaries that break a total alone."""
    rows = [
        con.execute(
            f"SELECT source_row FROM broken_{table} WHERE $table = '{INTERACTIONS}' OR source_row IN "
            "(SELECT source_row FROM errors WHERE tbl = $table AND rule <> 'rollup')",
            {"table": table},
        ).fetchall()
        for table in TABLES
    ]
    return tuple({int(r[0]) for r in one} for one in rows)


def found(
    world: World, kind: str = "csv", contract: contracts.Contract = CONTRACT
) -> tuple[Rows, ...]:
    """What `find_broken` finds."""
    source = open_source(world.write(kind), contract)
    try:
        find_broken(source, validate(source, contract))
        return set_aside(source.con)
    finally:
        source.close()


@pytest.mark.parametrize(("damage", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_set_aside_and_that_the_rest_breaks_no_rule_but_totals(
    damage: Break, expected: tuple[Rows, ...], world: World, tmp_path: Path
) -> None:
    damage(world)
    telemetry = world.opened(policy=ALLOWED)
    try:
        assert set_aside(telemetry.con) == expected
        assert telemetry.aside is not None
        assert telemetry.aside[INTERACTIONS] == len(expected[0])
        left = World({}, tmp_path / "left")
        for table in TABLES:
            columns = ", ".join(f'CAST("{c}" AS VARCHAR) AS "{c}"' for c in world.tables[table])
            sql = f"SELECT {columns} FROM {table} ORDER BY source_row"
            left.tables[table] = telemetry.con.execute(sql).df().astype(object)
        ids = telemetry.engine.frame("SELECT interaction_id FROM fact")["interaction_id"]
    finally:
        telemetry.close()
    assert len(ids) == 8 - len(expected[0])
    errors = [v for v in left.violations() if v.severity == "error"]
    # A session whose interactions are all set aside stays without any: nothing of it is reviewed.
    assert {v.rule for v in errors} <= {"rollup", "foreign_key"}
    assert all(v.table != INTERACTIONS for v in errors)


def test_what_only_warns_stays(world: World) -> None:
    world.append(INTERACTIONS, 2, interaction_id="i9").set(INTERACTIONS, "latency_ms", 5, "-1")
    assert found(world)[0] == {5}


def test_what_stays_below_its_threshold_is_no_error_whatever_its_severity(
    world: World, tmp_path: Path
) -> None:
    own = tmp_path / "contract.yml"
    own.write_text(
        "severities: {missing_rate: error}\n"
        "tables: {llm_system_interactions: {columns: {cost_usd: {max_missing: 0.5}}}}\n"
    )
    world.set(INTERACTIONS, "cost_usd", 4, None).set(INTERACTIONS, "latency_ms", 5, "-1")
    assert found(world, contract=contracts.load(own))[0] == {5}


def test_a_rule_of_one_s_own_sets_its_rows_aside(world: World, tmp_path: Path) -> None:
    own = tmp_path / "contract.yml"
    own.write_text(
        "rules: [{name: no_support, table: llm_system_interactions, "
        "expression: \"use_case <> 'support'\", hint: support has a system of its own}]"
    )
    assert found(world, contract=contracts.load(own))[0] == {7, 8}


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "parts"])
def test_every_format_sets_the_same_rows_aside(kind: str, world: World) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1").append(SESSIONS, 2)
    assert found(world, kind) == ({2, 4}, {2, 5}, set())


# ── whether it may be done ───────────────────────────────────────────────────────────────


def refused(world: World, policy: Policy) -> str:
    with pytest.raises(ContractError) as error:
        world.opened(policy=policy)
    return str(error.value)


def rules(**quarantine: Any) -> Policy:
    return Policy.model_validate({"quarantine": quarantine, "windows": WINDOWS})


def test_without_permission_nothing_is_reviewed(world: World) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1")
    assert "latency_ms" in refused(world, rules())


def test_a_table_that_is_broken_as_a_whole_cannot_be_set_aside(world: World) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1").drop(INTERACTIONS, "is_failure")
    assert "is_failure" in refused(world, ALLOWED)


@pytest.mark.parametrize(("share", "allowed"), [(0.124, False), (0.125, True)])
def test_the_share_of_interactions_that_may_be_set_aside_is_the_policy_s(
    share: float, allowed: bool, world: World
) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1")
    policy = rules(allow=True, max_share=share)
    if allowed:
        world.opened(policy=policy).close()
    else:
        assert "12.5 % of the interactions would be set aside" in refused(world, policy)


def test_something_must_be_left(world: World) -> None:
    for row in range(1, 9):
        world.set(INTERACTIONS, "latency_ms", row, "-1")
    assert "100 % of the interactions would be set aside" in refused(world, ALLOWED)


# ── what is written ──────────────────────────────────────────────────────────────────────


def read(directory: Path, table: str) -> list[dict[str, str]]:
    path = directory / f"{table}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(world: World, directory: Path) -> dict[str, list[dict[str, str]]]:
    source = open_source(world.write(), CONTRACT)
    try:
        counts = find_broken(source, validate(source, CONTRACT))
        directory.mkdir()
        write(source, directory)
    finally:
        source.close()
    rows = {table: read(directory, table) for table in TABLES}
    assert {t: len(r) for t, r in rows.items()} == counts
    return rows


def test_a_written_row_says_where_it_stood_why_and_what_did_not_fit(
    world: World, tmp_path: Path
) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, " =cmd() ").set(INTERACTIONS, "cost_usd", 2, "-1")
    world.set(SESSIONS, "end_timestamp_utc", 3, "2026-09-01T00:00:00Z")
    rows = written(world, tmp_path / "aside")
    (own, *of_session) = rows[INTERACTIONS]
    assert own["source_row"] == "2"
    assert own["rules"] == "ranges cost_usd; types latency_ms"
    assert own["latency_ms"].lstrip("'") == "=cmd()"
    assert not own["latency_ms"].startswith("=")
    assert own["cost_usd"] == "-1.0"
    assert own["interaction_id"] == "i00002"
    assert [r["source_row"] for r in of_session] == ["5", "6"]
    assert of_session[0]["is_failure"] == ""
    assert {r["rules"] for r in rows[SESSIONS] if r["source_row"] == "3"} >= {
        "session_order end_timestamp_utc"
    }


def test_a_row_that_its_session_takes_along_says_so(world: World, tmp_path: Path) -> None:
    world.append(SESSIONS, 2)
    (row,) = written(world, tmp_path / "aside")[INTERACTIONS]
    assert row["rules"] == "of its session or user"


@pytest.mark.parametrize("value", ["=1+1", "@x", "-1+2", "＝1", '"', "a,b"])
def test_written_cells_are_safe_and_survive_csv(value: str, world: World, tmp_path: Path) -> None:
    world.set(INTERACTIONS, "use_case", 2, value).set(INTERACTIONS, "latency_ms", 2, "-1")
    (row, *_) = written(world, tmp_path / "aside")[INTERACTIONS]
    assert not row["use_case"].startswith(("=", "@", "-", "\t", "＝"))
    assert value.strip() in row["use_case"]


# ── the command line ─────────────────────────────────────────────────────────────────────


def command(*argv: object) -> int:
    return main([str(a) for a in argv])


def files(directory: Path) -> set[str]:
    return {p.name for p in directory.iterdir()}


def test_validate_writes_the_rows_and_exits_as_ever(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aside"
    world.set(INTERACTIONS, "latency_ms", 2, "-1")
    assert command("validate", "--data", world.write(), "--quarantine", out) == 1
    assert "1 of llm_system_interactions" in capsys.readouterr().err
    assert {f"{INTERACTIONS}.csv", "violations.json"} <= files(out)
    told = json.loads((out / "violations.json").read_text())
    assert told["violations"][0]["first_rows"] == [2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aside", "data"]


def test_without_errors_no_rows_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aside"
    data = tiny(tmp_path / "data").write()
    assert command("validate", "--data", data, "--quarantine", out) == 0
    assert files(out) == {"violations.json"}
    assert "none" in capsys.readouterr().err


def test_a_second_run_replaces_the_first_as_a_whole(world: World, tmp_path: Path) -> None:
    out = tmp_path / "aside"
    world.set(INTERACTIONS, "latency_ms", 2, "-1")
    assert command("validate", "--data", world.write(), "--quarantine", out) == 1
    other = tiny(tmp_path / "other").write()
    assert command("validate", "--data", other, "--quarantine", out) == 0
    assert files(out) == {"violations.json"}


BROKEN_TABLES: dict[str, Break] = {
    "a table is missing": lambda w: (w.folder / f"{SESSIONS}.csv").unlink(),
    "no table is there": lambda w: [(w.folder / f"{t}.csv").unlink() for t in TABLES],
    "a key column is missing": lambda w: w.drop(INTERACTIONS, "user_id").write(),
    "a summary has no key": lambda w: w.drop(USERS, "user_id").write(),
    "a file is cut": lambda w: (w.folder / f"{USERS}.csv").write_bytes(b"user_id\n\xff\xfe"),
    "a table is empty": lambda w: (w.folder / f"{USERS}.csv").write_text("user_id\n"),
}


@pytest.mark.parametrize("damage", BROKEN_TABLES.values(), ids=BROKEN_TABLES.keys())
def test_rows_are_written_of_tables_that_can_be_read_whatever_else_is_wrong(
    damage: Break, world: World, tmp_path: Path
) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1").write()
    damage(world)
    assert command("validate", "--data", world.folder, "--quarantine", tmp_path / "aside") == 1
    rows = read(tmp_path / "aside", INTERACTIONS)
    if (world.folder / f"{INTERACTIONS}.csv").exists():
        assert "2" in {r["source_row"] for r in rows}


def test_a_write_that_fails_leaves_the_previous_rows(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from analysis import in_place

    out = tmp_path / "aside"
    data = world.set(INTERACTIONS, "latency_ms", 2, "-1").write()
    assert command("validate", "--data", data, "--quarantine", out) == 1
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(in_place, "put_in_place", full)
    assert command("validate", "--data", data, "--quarantine", out) == 2
    assert "No space left" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aside", "data"]


def occupied(world: World, tmp_path: Path) -> Iterable[tuple[str, Path]]:
    data = world.write()
    copy = tmp_path / "copy"
    tiny(copy).write()
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    yield "the data", data
    yield "within the data", data / "aside"
    yield "other telemetry", copy
    yield "other files", notes
    yield "a file", tmp_path / "file"


def test_a_directory_that_holds_something_else_is_left_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.set(INTERACTIONS, "latency_ms", 2, "-1")
    for name, place in occupied(world, tmp_path):
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert command("validate", "--data", world.folder, "--quarantine", place) == 2, name
        assert "--quarantine" in capsys.readouterr().err
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before, name


# ── a review of what is left ─────────────────────────────────────────────────────────────


def policy_file(folder: Path, **more: Any) -> Path:
    settings = {
        "release": {"id": "r"},
        "dimensions": [],
        "windows": {"candidate": {"days": 3}, "baseline": {"days": 5}},
        "missing": {"max_rate": 1},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "policy.yml"
    path.write_text(json.dumps(settings))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reviews, "PROJECT", tmp_path / "project")
    return tmp_path / "project"


def broken_world(folder: Path) -> World:
    import numpy as np

    world = world_of(random_rows(np.random.default_rng(5), 300), folder)
    world.set(INTERACTIONS, "latency_ms", 2, "-1").set(INTERACTIONS, "timestamp_utc", 30, "soon")
    world.set(INTERACTIONS, "session_id", 60, None).set(INTERACTIONS, "cost_usd", 90, "much")
    return world.append(SESSIONS, 9).append(INTERACTIONS, 120)


def body_of(world: World, folder: Path, kind: str = "csv", as_of: Any = None, **more: Any) -> dict:
    world.folder = folder / f"data-{kind}"
    allow = {"quarantine": {"allow": True, "max_share": 0.5}, **more}
    wanted = reviews.request(
        data=str(world.write(kind)), policy=policy_file(folder, **allow), as_of=as_of, threads=1
    )
    return dict(reviews.compute(wanted).body)


def test_where_it_is_not_allowed_the_rows_are_written_and_nothing_is_reviewed(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, aside, out = broken_world(tmp_path / "data").write(), tmp_path / "aside", tmp_path / "out"
    policy = policy_file(tmp_path / "policy")
    for name in ("review", "render"):
        options = ["--data", data, "--policy", policy, "--quarantine", aside, "--out", out]
        assert command(name, *options) == 1
        assert "latency_ms" in capsys.readouterr().err
        assert f"{INTERACTIONS}.csv" in files(aside)
        assert not out.exists()


def test_where_it_is_allowed_the_rest_is_reviewed_and_the_artifact_says_so(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, aside, out = broken_world(tmp_path / "data").write(), tmp_path / "aside", tmp_path / "out"
    policy = policy_file(tmp_path / "policy", quarantine={"allow": True, "max_share": 0.5})
    options = ["--data", data, "--policy", policy, "--out", out]
    assert command("review", *options, "--quarantine", aside) == 0
    body = json.loads((out / "decision_artifact.json").read_text())
    section = body["views"]["contract"]
    rows = {table: len(read(aside, table)) for table in TABLES}
    assert section["quarantine"] == {
        "rows": rows,
        "share": pytest.approx(rows[INTERACTIONS] / 301, rel=1e-11),
    }
    assert section["n_errors"] == sum(v["severity"] == "error" for v in section["violations"]) > 0
    check = next(c for c in body["checks"] if c["id"] == "contract.errors")
    assert (check["outcome"], check["severity"], check["value"]) == (
        "fail",
        "block",
        sum(rows.values()),
    )
    assert body["decision"]["outcome"] == "block"
    assert "contract.errors" in body["decision"]["blocking"]
    assert command("verify", out / "decision_artifact.json") == 0
    assert command("gate", out / "decision_artifact.json") == 1
    assert command("review", *options, "--quarantine", out) == 2
    assert "meets the result" in capsys.readouterr().err


def test_the_policy_may_let_errors_hold_instead_of_block(tmp_path: Path) -> None:
    body = body_of(broken_world(tmp_path), tmp_path, gate={"severity": {"contract.errors": "hold"}})
    assert body["decision"]["blocking"] == []
    assert "contract.errors" in body["decision"]["holding"]


def test_without_errors_there_is_no_such_check_though_the_policy_allows_quarantine(
    tmp_path: Path,
) -> None:
    import numpy as np

    body = body_of(world_of(random_rows(np.random.default_rng(5), 300), tmp_path), tmp_path)
    assert "contract.errors" not in {c["id"] for c in body["checks"]}
    assert body["views"]["contract"]["quarantine"] is None


def test_totals_alone_are_told_as_rows_of_sessions(tmp_path: Path) -> None:
    import numpy as np

    world = world_of(random_rows(np.random.default_rng(5), 300), tmp_path)
    world.set(SESSIONS, "session_total_tokens", 3, "1")
    body = body_of(world, tmp_path)
    check = next(c for c in body["checks"] if c["id"] == "contract.errors")
    assert check["value"] == 1
    assert check["sentence"] == (
        "The telemetry breaks its contract: 1 row of sessions and users was set aside; "
        "every interaction was reviewed."
    )


@pytest.mark.parametrize("as_of", [None, "2026-09-14T12:00:00Z"])
def test_row_order_and_format_do_not_change_the_evidence(as_of: str | None, tmp_path: Path) -> None:
    from datetime import datetime

    moment = None if as_of is None else datetime.fromisoformat(as_of)
    digests = set()
    for seed, kind in [(None, "csv"), (1, "csv")]:
        world = broken_world(tmp_path / "plain")
        if seed is not None:
            for table in TABLES:
                frame = world.tables[table].sample(frac=1, random_state=seed)
                world.tables[table] = frame.reset_index(drop=True)
        body = body_of(world, tmp_path / str(seed), kind, as_of=moment)
        digests.add(body["evidence_digest"])
    assert len(digests) == 1
    # In Parquet a cell of a wrong type cannot stand: the same without these.
    digests = set()
    for kind in ("csv", "parquet"):
        world = broken_world(tmp_path / "typed")
        world.set(INTERACTIONS, "timestamp_utc", 30, None).set(INTERACTIONS, "cost_usd", 90, "-1")
        digests.add(body_of(world, tmp_path / kind, kind, as_of=moment)["evidence_digest"])
    assert len(digests) == 1


def test_what_was_written_is_what_the_rules_find_again(world: World, tmp_path: Path) -> None:
    """The rows and the rest, put together, are the telemetry."""
    world.set(INTERACTIONS, "latency_ms", 2, "-1").append(SESSIONS, 2)
    rows = written(world, tmp_path / "aside")
    telemetry = open_telemetry(world.folder, CONTRACT, ALLOWED)
    try:
        left = telemetry.engine.frame(f"SELECT source_row FROM {INTERACTIONS}")[
            "source_row"
        ].tolist()
    finally:
        telemetry.close()
    assert sorted([*left, *(int(r["source_row"]) for r in rows[INTERACTIONS])]) == list(range(1, 9))
    assert validated(world.folder).n_errors > 0
