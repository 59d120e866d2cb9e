"""The action's steps, run here as a runner runs them: what fails a job, and what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import comment
import finish
import gate
import pytest
from runner import Result, save

from analysis import artifact as artifacts
from analysis.sample import generate, write
from tests.ci.composite import Run, run
from tests.ci.conftest import ROOT
from tests.ci.fake_github import Comments, serving

POLICY = ROOT / "report" / "policy.yml"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's repository: telemetry and policy, and modules that are called like ours."""
    folder = tmp_path_factory.mktemp("workspace")
    write(generate("tiny", None, 1), folder / "telemetry", "parquet")
    (folder / "report").mkdir()
    policy = POLICY.read_text().replace("data: data/sample", "data: telemetry")
    (folder / "report" / "policy.yml").write_text(policy)
    for name in ("analysis", "runner", "json", "numpy", "pydantic", "sitecustomize"):
        (folder / f"{name}.py").write_text("raise SystemExit('code of the change has run')\n")
    return folder


def acted(tmp_path: Path, venv: Path, workspace: Path, **inputs: str) -> tuple[Run, Comments]:
    """A run of the action on the workspace, and the pull request's comments after it."""
    (tmp_path / "temporary").mkdir()
    with serving() as github:
        done = run(
            {"site": "false", **{k.replace("_", "-"): v for k, v in inputs.items()}},
            tmp_path / "temporary",
            venv,
            github.environment,
            workspace,
        )
    return done, github


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory, venv: Path) -> tuple[Run, Comments]:
    return acted(tmp_path_factory.mktemp("blocked"), venv, ROOT)


@pytest.fixture(scope="module")
def held(
    tmp_path_factory: pytest.TempPathFactory, venv: Path, workspace: Path
) -> tuple[Run, Comments]:
    return acted(tmp_path_factory.mktemp("held"), venv, workspace)


def test_the_committed_sample_is_blocked(blocked: tuple[Run, Comments]) -> None:
    done, github = blocked
    assert done.code == 1, done.log
    assert done.outputs["decision"] == "block"
    assert "::error title=BLOCK::Do not ship" in done.log
    assert "::error title=health.failure_rate::" in done.log
    assert [c["body"].splitlines()[1] for c in github.kept] == ["## BLOCK: release 2026.11.2"]
    assert done.summary.startswith("## BLOCK: release 2026.11.2\n")


def test_the_outputs_name_an_artifact_that_verifies(blocked: tuple[Run, Comments]) -> None:
    done, _ = blocked
    path = Path(done.outputs["artifact"])
    assert artifacts.verify_file(path) == []
    body = artifacts.read(path)
    assert done.outputs["digest"] == body["digest"]
    assert done.outputs["evidence-digest"] == body["evidence_digest"]
    assert path.parent == Path(done.outputs["site"])
    assert body["digest"] in Path(done.outputs["comment"]).read_text()
    assert done.ran == [
        "setup", "install", "validate", "review", "gate", "upload", "comment", "finish",
    ]  # fmt: skip


def test_too_little_data_fails_the_job(held: tuple[Run, Comments]) -> None:
    done, github = held
    assert (done.code, done.outputs["decision"]) == (3, "hold"), done.log
    assert "To settle what more traffic can settle: about" in github.kept[0]["body"]


@pytest.mark.parametrize(
    ("decision", "fail_on", "code"),
    [
        ("ship", "", 0),
        ("hold", "", 3),
        ("block", "", 1),
        ("hold", "hold", 3),
        ("hold", "block", 0),
        ("block", "block", 1),
        ("hold", "never", 0),
        ("block", "never", 0),
        ("ship", "hodl", 2),
        (None, "never", 2),
    ],
)
def test_the_input_fail_on_says_which_decisions_fail_the_job(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    decision: str | None,
    fail_on: str,
    code: int,
) -> None:
    monkeypatch.setenv("RELEASE_REVIEW_WORK", str(tmp_path))
    monkeypatch.setenv("RELEASE_REVIEW_FAIL_ON", fail_on)
    ends = {"ship": 0, "block": 1, "hold": 3, None: 2}
    save(Result(decision, ends[decision], "why"))
    assert finish.main() == code


def test_a_review_that_came_to_no_end_fails_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELEASE_REVIEW_WORK", str(tmp_path))
    assert finish.main() == 1


def test_code_in_the_workspace_never_runs(held: tuple[Run, Comments]) -> None:
    assert "code of the change" not in held[0].log


def test_what_only_informs_the_log_commands_nothing(held: tuple[Run, Comments]) -> None:
    marks = re.findall(r"^::stop-commands::([0-9a-f]{32})$", held[0].log, re.MULTILINE)
    assert marks
    assert len(set(marks)) == len(marks)
    for mark in marks:
        assert held[0].log.count(f"\n::{mark}::\n") == 1


def test_broken_telemetry_is_told_and_stops_there(
    tmp_path: Path, venv: Path, workspace: Path
) -> None:
    data = tmp_path / "broken"
    shutil.copytree(workspace / "telemetry", data)
    (data / "llm_system_users_summary.parquet").unlink()
    done, github = acted(tmp_path, venv, workspace, data=str(data))
    assert (done.code, done.outputs["decision"]) == (1, "")
    assert "::error title=files::llm_system_users_summary" in done.log
    assert done.ran == ["setup", "install", "validate", "review", "comment", "finish"]
    (told,) = (c["body"] for c in github.kept)
    assert "## No decision: the telemetry breaks its contract" in told
    assert "| ✗ error | files | llm&#95;system&#95;users&#95;summary | – | the table |" in told
    assert told.splitlines()[1:3] == done.summary.splitlines()[:2]


def test_an_invalid_policy_is_told_and_exits_2(tmp_path: Path, venv: Path, workspace: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text("realease: {id: <b>1</b>}\ndata: telemetry\n")
    done, github = acted(tmp_path, venv, workspace, policy=str(policy))
    assert (done.code, done.outputs["decision"]) == (2, "")
    assert "::error title=release review::error: " in done.log
    (told,) = (c["body"] for c in github.kept)
    assert "## No decision: the review could not be computed" in told
    assert "realease" in told


def test_data_that_is_not_there_exits_2(tmp_path: Path, venv: Path, workspace: Path) -> None:
    done, github = acted(tmp_path, venv, workspace, data="nowhere")
    assert done.code == 2
    assert "no such directory" in github.kept[0]["body"]


def test_an_input_is_never_a_command(tmp_path: Path, venv: Path, workspace: Path) -> None:
    evil = "x\"; touch pwned; echo '$(touch pwned) `touch pwned` ::error::forged"
    done, github = acted(
        tmp_path, venv, workspace, release=evil, comment_key=evil, base_artifact=evil
    )
    assert not list(tmp_path.rglob("pwned"))
    assert not list(workspace.rglob("pwned"))
    assert not re.search(r"^::error::forged", done.log, re.MULTILINE)
    assert len(github.kept) == 1
    assert "touch pwned" in github.kept[0]["body"]


def test_without_comment_none_is_written_and_an_empty_ledger_compares_with_nothing(
    tmp_path: Path, venv: Path, workspace: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done, github = acted(
        tmp_path, venv, workspace, comment="false", base_artifact=str(tmp_path / "empty")
    )
    assert done.outputs["decision"] == "hold"
    assert github.asked == []
    assert done.summary.startswith("## HOLD")
    assert "no release is recorded there" in done.log
    told = Path(done.outputs["comment"]).read_text()
    assert told.startswith("<!-- release-review: ")
    assert "What changed" not in told


STAND_IN = """#!/bin/sh
# Stands in for `diff` alone: what it writes is judged elsewhere.
if [ "$4" = diff ]; then printf '%s\\n' "from $5" "to $6" "$7"; exit {code}; fi
exec "{python}" "$@"
"""


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("release: {id: r1}\n", None),
        ("release: {id: r0}\n", "This change also changes the policy that judges it, policy.yml"),
        (None, "The policy, policy.yml, is new with this change"),
    ],
)
def test_who_changes_the_rules_with_the_release_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    held: tuple[Run, Comments],
    capsys: pytest.CaptureFixture,
    base: str | None,
    said: str | None,
) -> None:
    (tmp_path / "policy.yml").write_text("release: {id: r1}\n")
    if base is not None:
        (tmp_path / "base.yml").write_text(base)
    (tmp_path / "review").mkdir()
    shutil.copy(held[0].outputs["artifact"], tmp_path / "review")
    save_at = {"WORK": str(tmp_path), "POLICY": "policy.yml", "COMMENT": "false"}
    for name, value in save_at.items():
        monkeypatch.setenv(f"RELEASE_REVIEW_{name}", value)
    monkeypatch.chdir(tmp_path)
    gate.rules(str(tmp_path / "base.yml"))
    save(Result("hold", 3))
    comment.main()
    told = (tmp_path / "comment.md").read_text()
    log = capsys.readouterr().out
    if said is None:
        assert "policy.yml" not in told.partition("\n")[2]
        assert "::warning" not in log
    else:
        assert f"::warning title=release review::{said}" in log
        assert f"\n> **{said}" in told


@pytest.fixture
def ledger(tmp_path: Path, held: tuple[Run, Comments]) -> Path:
    """Two recorded releases: the one whose candidate ends last has the lesser name."""
    body = json.loads(Path(held[0].outputs["artifact"]).read_text())
    for name, end in (("r2", "2026-11-16T00:00:00Z"), ("r9", "2026-11-02T00:00:00Z")):
        body["windows"]["candidate"]["end_utc"] = end
        (tmp_path / "releases" / name).mkdir(parents=True)
        (tmp_path / "releases" / name / "decision_artifact.json").write_text(json.dumps(body))
    (tmp_path / "releases" / "broken").mkdir()
    (tmp_path / "releases" / "broken" / "decision_artifact.json").write_text("[]")
    return tmp_path / "releases"


@pytest.mark.parametrize("code", [0, 2])
def test_what_changed_is_told_against_the_newest_release_of_a_ledger(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ledger: Path,
    capsys: pytest.CaptureFixture,
    code: int,
) -> None:
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, code=code))
    python.chmod(0o755)
    monkeypatch.setenv("RELEASE_REVIEW_PYTHON", str(python))
    monkeypatch.setenv("RELEASE_REVIEW_WORK", str(tmp_path))
    gate.changes(str(ledger))
    said, changes = capsys.readouterr().out, tmp_path / "changes.md"
    if code == 0:
        base, head = ledger / "r2" / "decision_artifact.json", tmp_path / "review"
        expected = f"from {base}\nto {head / 'decision_artifact.json'}\n--format=markdown\n"
        assert changes.read_text() == expected
    else:
        assert not changes.exists()
        assert "::warning title=release review::what changed cannot be told" in said
    assert "broken/decision_artifact.json: is no artifact, and is left out" in said
