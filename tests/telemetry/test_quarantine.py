"""Rows that break the contract are set aside with what hangs on them, and told apart."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, SESSIONS, TABLES, USERS
from analysis.errors import ContractError
from analysis.policy import Policy
from analysis.sample import generate, write
from analysis.telemetry.quarantine import can_be_set_aside, find_broken
from analysis.telemetry.source import open_source
from analysis.telemetry.validate import validate
from tests.telemetry.worlds import CONTRACT, World, tiny

Break = Callable[[World], object]
ALLOWED = Policy.model_validate(
    {
        "quarantine": {"allow": True, "max_share": 0.9},
        "windows": {
            "baseline": {"start": "2026-09-07", "end": "2026-09-08"},
            "candidate": {"start": "2026-09-08", "end": "2026-09-10"},
        },
    }
)


def broken_rows(world: World, kind: str = "csv") -> dict[str, list[int]]:
    """The rows of each table that would be set aside."""
    source = open_source(world.write(kind), CONTRACT)
    try:
        report = validate(source, CONTRACT)
        assert can_be_set_aside(report)
        find_broken(source, report)
        return {
            t: [
                r[0]
                for r in source.con.execute(
                    f"SELECT source_row FROM broken_{t} ORDER BY 1"
                ).fetchall()
            ]
            for t in TABLES
        }
    finally:
        source.close()


CASES: list[tuple[str, Break, dict[str, list[int]]]] = [
    ("a cell that does not fit", lambda w: w.set(INTERACTIONS, "latency_ms", 4, "x"),
     {INTERACTIONS: [4]}),
    ("a value out of range breaks totals too, whose interactions stay",
     lambda w: w.set(INTERACTIONS, "cost_usd", 1, "-5"),
     {INTERACTIONS: [1], SESSIONS: [1], USERS: [1]}),
    ("a total alone costs no interaction",
     lambda w: w.set(SESSIONS, "session_total_requests", 2, "9"), {SESSIONS: [2]}),
    ("a session that ends before it starts takes its interactions with it",
     lambda w: w.set(SESSIONS, "end_timestamp_utc", 2, "2026-09-01T00:00:00Z"),
     {INTERACTIONS: [4], SESSIONS: [2]}),
    ("both rows of a key that stands twice",
     lambda w: w.set(INTERACTIONS, "interaction_id", 8, "i00004"), {INTERACTIONS: [4, 8]}),
    ("a session that stands twice, and all that is its",
     lambda w: w.append(SESSIONS, 4, user_id="u3"), {INTERACTIONS: [7, 8], SESSIONS: [4, 5]}),
    ("a user without any interaction", lambda w: w.append(USERS, 3, user_id="u9"), {USERS: [4]}),
    ("an empty key", lambda w: w.set(INTERACTIONS, "interaction_id", 4, " "), {INTERACTIONS: [4]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "harm", "expected"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
def test_what_is_set_aside(
    tmp_path: Path, name: str, harm: Break, expected: dict[str, list[int]], kind: str
) -> None:
    world = tiny(tmp_path / "data")
    harm(world)
    assert broken_rows(world, kind) == {t: expected.get(t, []) for t in TABLES}


def test_nothing_is_set_aside_of_valid_telemetry(world: World) -> None:
    assert broken_rows(world) == {t: [] for t in TABLES}


def test_the_rest_is_opened_where_the_policy_allows_it(world: World) -> None:
    world.set(INTERACTIONS, "latency_ms", 4, "-1").set(INTERACTIONS, "latency_ms", 1, "-1")
    telemetry = world.opened(policy=ALLOWED)
    try:
        assert telemetry.aside is not None
        assert telemetry.aside[INTERACTIONS] == 2
        held = telemetry.con.execute("SELECT interaction_id FROM fact ORDER BY 1").fetchall()
        assert [r[0] for r in held] == [f"i0000{k}" for k in (2, 3, 5, 6, 7, 8)]
    finally:
        telemetry.close()


@pytest.mark.parametrize(
    ("settings", "harm", "words"),
    [
        ({}, lambda w: w.set(INTERACTIONS, "latency_ms", 4, "-1"), "violates the contract"),
        ({"allow": True, "max_share": 0.1}, lambda w: w.set(INTERACTIONS, "latency_ms", 4, "-1"),
         "12.5 % of the interactions would be set aside"),
        ({"allow": True, "max_share": 1}, lambda w: w.add(INTERACTIONS, "latency_ms", ["-1"] * 8),
         "100 % of the interactions would be set aside"),
        ({"allow": True, "max_share": 1}, lambda w: w.drop(INTERACTIONS, "is_failure"),
         "is_failure"),
    ],
)  # fmt: skip
def test_there_is_no_review_where_it_may_not_be_or_too_much_is_broken(
    world: World, settings: dict[str, object], harm: Break, words: str
) -> None:
    harm(world)
    with pytest.raises(ContractError, match=words):
        world.opened(policy=Policy.model_validate({"quarantine": settings}))


# ── the command line ─────────────────────────────────────────────────────────────────────


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_offending_rows_are_written_with_their_rules_and_the_text_that_stood_there(
    world: World, tmp_path: Path
) -> None:
    world.set(INTERACTIONS, "latency_ms", 4, '=HYPERLINK("x")').set(
        INTERACTIONS, "cost_usd", 1, "-5"
    )
    aside = tmp_path / "aside"
    argv = ["validate", "--data", str(world.write()), "--quarantine", str(aside), "--quiet"]
    assert main(argv) == 1
    first, second = rows_of(aside / f"{INTERACTIONS}.csv")
    assert (first["source_row"], first["rules"], first["cost_usd"]) == (
        "1",
        "ranges cost_usd",
        "-5.0",
    )
    assert (second["rules"], second["latency_ms"]) == ("types latency_ms", '\'=HYPERLINK("x")')
    assert [r["rules"] for r in rows_of(aside / f"{SESSIONS}.csv")] == [
        "rollup session_total_cost_usd"
    ]
    assert json.loads((aside / "violations.json").read_text())["n_errors"] == 4
    assert main(argv) == 1  # what an earlier run wrote is replaced


def test_valid_telemetry_leaves_no_rows(world: World, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    assert (
        main(["validate", "--data", str(world.write()), "--quarantine", str(aside), "--quiet"]) == 0
    )
    assert [p.name for p in aside.iterdir()] == ["violations.json"]


@pytest.mark.parametrize("there", ["notes.txt", f"{INTERACTIONS}.csv"])
def test_a_directory_that_holds_something_else_is_refused(
    world: World, tmp_path: Path, there: str
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    (aside / there).write_text("mine")
    argv = ["validate", "--data", str(world.write()), "--quarantine", str(aside), "--quiet"]
    assert main(argv) == 2
    assert (aside / there).read_text() == "mine"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The healthy sample, with a few broken rows."""
    folder = tmp_path_factory.mktemp("broken") / "data"
    write(generate("healthy", 4_000, 5), folder, "csv")
    path = folder / f"{INTERACTIONS}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    place = lines[0].split(",").index("latency_ms")
    for number in (10, 2000, 3990):
        cells = next(csv.reader([lines[number]]))
        cells[place] = "-1"
        lines[number] = ",".join('"' + c.replace('"', '""') + '"' for c in cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def policy_file(folder: Path, text: str) -> Path:
    path = folder / "policy.yml"
    path.write_text(text, encoding="utf-8")
    return path


def reviewed(sample: Path, folder: Path, policy: str) -> tuple[int, Path]:
    out = folder / "out"
    code = main(
        ["review", "--data", str(sample), "--policy", str(policy_file(folder, policy)), "--quiet",
         "--out", str(out), "--quarantine", str(folder / "aside")]
    )  # fmt: skip
    return code, out / artifacts.FILE_NAME


def test_without_permission_the_rows_are_written_and_nothing_is_reviewed(
    sample: Path, tmp_path: Path
) -> None:
    code, artifact = reviewed(sample, tmp_path, "{}\n")
    assert code == 1
    assert not artifact.exists()
    assert len(rows_of(tmp_path / "aside" / f"{INTERACTIONS}.csv")) == 3


@pytest.mark.parametrize(
    ("severity", "outcome"),
    [("", "block"), ("gate: {severity: {contract.errors: hold}}\n", "hold")],
)
def test_with_permission_the_artifact_says_what_was_set_aside_and_the_check_fails(
    sample: Path, tmp_path: Path, severity: str, outcome: str
) -> None:
    code, artifact = reviewed(sample, tmp_path, f"quarantine: {{allow: true}}\n{severity}")
    assert code == 0
    body = artifacts.read(artifact)
    assert artifacts.verify(body) == []
    assert body["views"]["contract"]["quarantine"]["rows"] == {
        INTERACTIONS: 3,
        SESSIONS: 0,
        USERS: 0,
    }
    check = next(c for c in body["checks"] if c["id"] == "contract.errors")
    assert (check["outcome"], check["support"]) == ("fail", 4_000)
    assert body["decision"]["outcome"] in (outcome, "block")
    assert ("contract.errors" in body["decision"]["blocking"]) == (outcome == "block")
    assert ("contract.errors" in body["decision"]["holding"]) == (outcome == "hold")
