from __future__ import annotations

import copy
import errno
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
import yaml

from analysis import artifact as artifacts
from analysis import commands
from analysis import review as reviews
from analysis.__main__ import main
from analysis.commands import publishing
from analysis.commands.given import moment as moment_of
from analysis.errors import (
    ArtifactError,
    ContractError,
    DiskError,
    PolicyError,
    RenderError,
    ReviewError,
    UsageError,
    WindowError,
)
from analysis.review import Review
from analysis.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    *[
        "validate",
        "sample",
        "review",
        "render",
        "preview",
        "forget",
        "gate",
        "verify",
        "diff",
        "migrate",
        "register",
    ],
    *["record", "history", "routes", "slos", "schema"],
]

Capture = pytest.CaptureFixture[str]


def run(*argv: object) -> int:
    """The exit code, also where the parser leaves by itself."""
    try:
        return main([str(a) for a in argv])
    except SystemExit as left:
        return int(left.code or 0)


def program(*argv: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "analysis", *map(str, argv)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, timeout=60, **options
    )


@pytest.fixture
def artifact(tiny_review: Review, tmp_path: Path) -> Path:
    path = tmp_path / "decision_artifact.json"
    artifacts.write(tiny_review.body, path)
    return path


def with_outcome(review: Review, outcome: str, path: Path) -> Path:
    """An artifact that agrees with itself, with another decision."""
    body = copy.deepcopy(dict(review.body))
    body["decision"].update(outcome=outcome)
    body["evidence_digest"] = artifacts.evidence_digest(body)
    body["digest"] = artifacts.digest(body)
    artifacts.write(body, path)
    return path


# ── the parser ───────────────────────────────────────────────────────────────────────────


def test_the_help_lists_every_command(capsys: Capture) -> None:
    assert run("--help") == 0
    told = capsys.readouterr()
    assert all(f"  {name} " in told.out for name in COMMANDS)
    assert told.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_quiet(name: str, capsys: Capture) -> None:
    assert run(name, "--help") == 0
    told = capsys.readouterr()
    assert "--quiet" in told.out
    assert told.err == ""


# DESIGN section 3: command → options
OPTIONS = {
    "validate": ["--data", "--contract", "--format", "--out", "--threads", "--memory-limit"],
    "sample": ["--out", "--scenario", "--interactions", "--seed", "--format"],
    "review": ["--data", "--policy", "--release", "--as-of", "--out", "--threads", "--memory-limit"],
    "render": [
        "--engine", "--data", "--policy", "--release", "--as-of", "--out", "--threads", "--memory-limit",
    ],
    "gate": ["--format", "--explain"],
    "verify": [
        "--data", "--policy", "--contract", "--as-of", "--format", "--out", "--threads", "--memory-limit",
    ],
    "migrate": ["--out"],
    "diff": ["--format", "--out"],
    "routes": ["--candidate", "--format", "--out"],
    "slos": ["--policy", "--out"],
    "schema": [],
}  # fmt: skip


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_every_option_of_the_design_is_there(
    name: str, options: list[str], capsys: Capture
) -> None:
    run(name, "--help")
    told = capsys.readouterr().out
    assert [o for o in options if o not in told] == []


WRONG_LINES = {
    "nothing": [],
    "no such command": ["reviews"],
    "an unknown option": ["review", "--fast"],
    "no artifact": ["gate"],
    "no artifact to verify": ["verify"],
    "no artifact to export routes of": ["routes"],
    "no such format of routes": ["routes", "a.json", "--format", "json"],
    "two artifacts": ["verify", "a.json", "b.json"],
    "no artifact to migrate": ["migrate"],
    "one artifact to compare": ["diff", "a.json"],
    "no such format of a comparison": ["diff", "a.json", "b.json", "--format", "html"],
    "no such format of a verification": ["verify", "a.json", "--format", "junit"],
    "no data to validate": ["validate"],
    "no place for the sample": ["sample"],
    "no schema": ["schema"],
    "no such schema": ["schema", "check"],
    "no such format of the gate": ["gate", "a.json", "--format", "yaml"],
    "no such format of violations": ["validate", "--data", ".", "--format", "markdown"],
    "no such format of the sample": ["sample", "--out", "x", "--format", "json"],
    "no such engine": ["render", "--engine", "latex"],
    "no threads": ["review", "--threads", "0"],
    "a fraction of a thread": ["review", "--threads", "1.5"],
    "more threads than any machine has": ["review", "--threads", "99999999"],
    "threads in words": ["review", "--threads", "all"],
    "a negative number of interactions": ["sample", "--out", "x", "--interactions", "-5"],
    "a number of 5,000 digits": ["sample", "--out", "x", "--interactions", "9" * 5000],
    "a seed in words": ["sample", "--out", "x", "--seed", "one"],
    "a value is missing": ["review", "--data"],
}


@pytest.mark.parametrize("argv", WRONG_LINES.values(), ids=WRONG_LINES.keys())
def test_a_wrong_command_line_exits_2_and_says_why_on_stderr(
    argv: list[str], capsys: Capture
) -> None:
    assert run(*argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: " in told.err


# ── errors ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReviewError("a"), 1),
        (UsageError("a"), 2),
        (PolicyError(["a"]), 2),
        (WindowError(["a"]), 2),
        (ContractError("a"), 1),
        (ArtifactError("a"), 1),
        (RenderError("a"), 1),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (OSError(errno.EIO, "Input/output error", "/somewhere"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "/somewhere"), 2),
        (DiskError("a"), 2),
        (duckdb.TransactionException('could not write "x": No space left on device'), 2),
        (duckdb.OutOfMemoryException("failed to offload data block of size 256 KiB"), 2),
        (duckdb.OutOfMemoryException("x"), 1),
        (duckdb.IOException("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_stops_a_command_is_one_message_and_an_exit_code(
    error: BaseException, code: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> int:
        raise error

    monkeypatch.setattr(commands, "schema", stop)
    assert run("schema", "policy") == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.strip()
    assert "Traceback" not in told.err


@pytest.mark.parametrize("error", [RuntimeError("bug"), duckdb.BinderException("bug")])
def test_a_fault_of_the_code_is_not_hidden(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> int:
        raise error

    monkeypatch.setattr(commands, "schema", stop)
    with pytest.raises(type(error)):
        main(["schema", "policy"])


def test_an_error_shows_names_from_telemetry_as_text(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> int:
        raise WindowError(["no release \x1b[31mred\u202e"])

    monkeypatch.setattr(commands, "schema", stop)
    run("schema", "policy")
    assert all(c.isprintable() or c == "\n" for c in capsys.readouterr().err)


# ── schema ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["policy", "artifact", "contract"])
def test_schema_prints_a_json_schema(what: str, capsys: Capture) -> None:
    assert run("schema", what) == 0
    told = capsys.readouterr()
    schema = json.loads(told.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert told.err == ""


def test_the_schemas_accept_the_project_s_own_files(tiny_review: Review, capsys: Capture) -> None:
    import yaml

    files = {
        "policy": yaml.safe_load((ROOT / "report" / "policy.yml").read_text()),
        "contract": yaml.safe_load((ROOT / "data" / "contract.yml").read_text()),
        "artifact": tiny_review.body,
    }
    for what, content in files.items():
        run("schema", what)
        jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out)).validate(content)


# ── --out of reports ─────────────────────────────────────────────────────────────────────


def test_a_report_goes_to_the_file_whole_and_stdout_stays_empty(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "new" / "schema.json"
    assert run("schema", "policy", "--out", out) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(out.read_text())
    assert [p.name for p in out.parent.iterdir()] == ["schema.json"]
    assert out.stat().st_mode & 0o777 == 0o644


def test_a_report_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "schema.json"
    out.write_text("before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run("schema", "policy", "--out", out) == 2
    assert "No space left" in capsys.readouterr().err
    assert out.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["schema.json"]


@pytest.mark.parametrize("below", ["", "file/schema.json"])
def test_a_report_into_a_directory_or_below_a_file_is_refused(
    tmp_path: Path, below: str, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("before")
    assert run("schema", "policy", "--out", tmp_path / below) == 2
    assert "--out" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# ── verify and gate ──────────────────────────────────────────────────────────────────────


def test_verify_exits_0_where_all_agrees(artifact: Path, capsys: Capture) -> None:
    assert run("verify", artifact) == 0
    told = capsys.readouterr()
    assert told.out.startswith(
        f"{artifact}: all agrees\n✓ bytes, schema, evidence_digest and digest agree\n"
    )
    assert told.err == ""


def test_verify_takes_the_canonical_form_too(artifact: Path) -> None:
    artifact.write_bytes(artifacts.canonical(artifacts.read(artifact)))
    assert run("verify", artifact) == 0


FIRST_REVISION = ROOT / "tests" / "revisions" / "decision-artifact-1.1.json"


def test_an_artifact_of_an_older_revision_is_verified_gated_and_migrated(
    tmp_path: Path, capsys: Capture
) -> None:
    assert run("verify", FIRST_REVISION) == 0
    for form in ("text", "json", "junit", "github", "markdown"):
        assert run("gate", FIRST_REVISION, "--format", form) == 3
    capsys.readouterr()
    out = tmp_path / "made" / "a.json"
    assert run("migrate", FIRST_REVISION, "--out", out) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"brought from revision 1 to {artifacts.REVISION}\n"
    assert run("verify", out) == 0
    assert run("gate", out) == 3
    assert [p.name for p in out.parent.iterdir()] == ["a.json"]
    before = out.read_bytes()
    capsys.readouterr()
    assert run("migrate", out) == 0
    told = capsys.readouterr()
    assert told.out.encode() == before + b"\n"
    assert "nothing was changed" in told.err


def test_options_of_a_review_that_is_not_computed_again_are_refused(
    artifact: Path, capsys: Capture
) -> None:
    assert run("verify", artifact, "--as-of", "2026-11-16") == 2
    assert "--as-of: for a review that is computed again, with --data" in capsys.readouterr().err


TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "a decision": lambda raw: raw.replace(b'"outcome": "hold"', b'"outcome": "ship"', 1),
    "half a file": lambda raw: raw[: len(raw) // 2],
    "no JSON": lambda raw: b"ship",
    "an empty file": lambda raw: b"",
    "a key that stands twice": lambda raw: raw.replace(b"{", b'{"decision": 1,', 1),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_tampered_artifact_does_not_verify_and_is_refused_by_gate_and_routes(
    artifact: Path, tamper: Callable[[bytes], bytes], capsys: Capture
) -> None:
    artifact.write_bytes(tamper(artifact.read_bytes()))
    assert run("verify", artifact) == 1
    told = capsys.readouterr()
    assert told.out.strip()
    assert told.err == ""
    for form in ("text", "json", "junit", "github", "markdown"):
        assert run("gate", artifact, "--format", form) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert str(artifact) in told.err
    for command in ("routes", "migrate"):
        assert run(command, artifact) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert str(artifact) in told.err


def nest(depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = {"a": made}
    return made


# What the schema leaves open, in an artifact whose digests fit.
CRAFTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no objectives": lambda b: b["policy"]["settings"].pop("slos"),
    "objectives that are none": lambda b: b["policy"]["settings"].update(
        slos=[1, {}, {"name": [2]}]
    ),
    "objectives in an object": lambda b: b["policy"]["settings"].update(slos={"name": "latency"}),
    "no settings": lambda b: b["policy"].update(settings={}),
    "a nest in the settings": lambda b: b["policy"]["settings"].update(x=nest(200)),
    "times that are none": lambda b: b["windows"]["candidate"].update(start_utc="x", end_utc=""),
    "the first of all times": lambda b: b["windows"]["candidate"].update(
        start_utc="0001-01-01T00:00:00+23:59"
    ),
    "a moment that is none": lambda b: b["windows"].update(as_of="yesterday"),
    "a number without end": lambda b: b["views"]["health"]["candidate"]["failure_rate"].update(
        value=10**400
    ),
    "the largest of numbers": lambda b: b["views"]["health"]["candidate"][
        "cost_usd_per_interaction"
    ].update(value=1e308, low=1e-308, high=1e308),
    "limits the wrong way round": lambda b: b["views"]["budget"]["spend"]["usd_per_day"].update(
        value=1.0, low=2.0, high=-1.0
    ),
}


@pytest.mark.parametrize("craft", CRAFTED.values(), ids=CRAFTED.keys())
def test_a_crafted_artifact_is_told_or_refused_and_breaks_nothing(
    tiny_review: Review, tiny_data: Path, artifact: Path, tmp_path: Path,
    craft: Callable[[dict[str, Any]], Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.setattr(reviews, "compute", lambda wanted, progress: tiny_review)
    body = copy.deepcopy(dict(tiny_review.body))
    craft(body)
    path = tmp_path / "crafted.json"
    artifacts.write(artifacts.sealed(body), path)
    lines = [("migrate", path), ("verify", path, "--data", tiny_data)]
    lines += [
        ("diff", *pair, "--format", form)
        for pair in ((path, artifact), (artifact, path))
        for form in ("text", "markdown", "json")
    ]
    for line in lines:
        code = run(*line)
        told = capsys.readouterr()
        assert code in (0, 1, 2), line
        assert bool(told.out) or told.err.startswith("error: "), line
        if code == 0 and line[-1] == "json":
            json.loads(told.out, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("command", ["gate", "verify", "migrate", "routes"])
def test_an_artifact_that_is_not_there_exits_2(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        assert run(command, path) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert str(path) in told.err


@pytest.mark.parametrize(("outcome", "code"), [("ship", 0), ("block", 1), ("hold", 3)])
@pytest.mark.parametrize("form", ["text", "json", "junit", "github", "markdown"])
def test_the_decision_is_the_exit_code_in_every_format(
    tiny_review: Review, tmp_path: Path, outcome: str, code: int, form: str, capsys: Capture
) -> None:
    path = with_outcome(tiny_review, outcome, tmp_path / "a.json")
    assert run("gate", path, "--format", form) == code
    told = capsys.readouterr()
    assert told.out.strip()
    assert told.err == ""


def test_the_gate_writes_its_report_to_a_file_and_keeps_its_exit_code(
    artifact: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "report.xml"
    assert run("gate", artifact, "--format", "junit", "--out", out) == 3
    assert ET.parse(out).getroot().tag == "testsuites"
    assert capsys.readouterr().out == ""


def test_the_gate_explains_a_check_and_keeps_its_exit_code(artifact: Path, capsys: Capture) -> None:
    assert run("gate", artifact, "--explain", "health.failure_rate") == 3
    assert capsys.readouterr().out.startswith("health.failure_rate: ")


def test_the_gate_answers_an_unknown_check_with_the_closest(
    artifact: Path, capsys: Capture
) -> None:
    assert run("gate", artifact, "--explain", "health.failure") == 2
    told = capsys.readouterr()
    assert "did you mean health.failure_rate?" in told.err
    assert told.out == ""


# ── routes ───────────────────────────────────────────────────────────────────────────────

RULES = [{"when": {"use_case": ["coding"]}, "use": {"model_provider": "p", "model_name": "a"}}]


def with_candidates(review: Review, path: Path, *told: tuple[str, str], ruled: bool = True) -> Path:
    """An artifact that agrees with itself, with these candidates: (name, recommendation)."""
    body = copy.deepcopy(dict(review.body))
    section = body["views"]["routing"]
    like = next(c for c in section["candidates"] if c["rules"])
    rules = [{**like["rules"][0], **rule} for rule in RULES] if ruled else []
    section["candidates"] = [
        {**like, "name": name, "recommendation": word, "reason": f"so of {name}", "rules": rules}
        for name, word in told
    ]
    body["evidence_digest"] = artifacts.evidence_digest(body)
    body["digest"] = artifacts.digest(body)
    artifacts.write(body, path)
    return path


def test_routes_prints_the_adopted_candidates(
    tiny_review: Review, tmp_path: Path, capsys: Capture
) -> None:
    told = [("one", "adopt"), ("two", "keep"), ("three", "adopt")]
    path = with_candidates(tiny_review, tmp_path / "a.json", *told)
    assert run("routes", path) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert yaml.safe_load(shown.out) == [{"name": n, "rules": RULES} for n in ("one", "three")]
    assert artifacts.read(path)["evidence_digest"] in shown.out


def test_routes_writes_a_config_of_litellm_to_a_file(
    tiny_review: Review, tmp_path: Path, capsys: Capture
) -> None:
    path = with_candidates(tiny_review, tmp_path / "a.json", ("one", "adopt"))
    out = tmp_path / "config.yaml"
    assert run("routes", path, "--format", "litellm", "--out", out, "--quiet") == 0
    assert tuple(capsys.readouterr()) == ("", "")
    deployments = yaml.safe_load(out.read_text())["model_list"]
    assert [d["model_info"]["id"] for d in deployments] == ["one.rule-1", "one.today"]


def test_routes_exports_by_name_what_is_not_adopted_and_says_so(
    tiny_review: Review, tmp_path: Path, capsys: Capture
) -> None:
    path = with_candidates(tiny_review, tmp_path / "a.json", ("one", "adopt"), ("two", "keep"))
    for form in ("yaml", "litellm"):
        assert run("routes", path, "--candidate", "two", "--format", form) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith("# Routing candidate two: NOT ADOPTED (keep): so of two.\n")
        assert shown.err == ""


UNSETTLED = (("one", "keep"), ("two", "insufficient_evidence"))
NO_ROUTES: dict[str, tuple[tuple[tuple[str, str], ...], list[str], list[str]]] = {
    "none is adopted": (
        UNSETTLED, [], ["no routing candidate is adopted", "one: keep", "two: insufficient evidence"],
    ),
    "no such candidate": (
        UNSETTLED, ["--candidate", "three"], ["--candidate three: no such", "one: keep: so of one"],
    ),
    "no candidates": ((), [], ["the artifact holds no routing candidates"]),
    "no candidates by name": ((), ["--candidate", "one"], ["the artifact holds no routing candidates"]),
    "several for one router": (
        (("one", "adopt"), ("two", "adopt")), ["--format", "litellm"], ["--candidate", "one: adopt"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("told", "options", "said"), NO_ROUTES.values(), ids=NO_ROUTES.keys())
def test_routes_without_a_candidate_to_export_exits_2_and_lists_them(
    tiny_review: Review,
    tmp_path: Path,
    told: tuple[tuple[str, str], ...],
    options: list[str],
    said: list[str],
    capsys: Capture,
) -> None:
    path = with_candidates(tiny_review, tmp_path / "a.json", *told)
    assert run("routes", path, *options, "--out", tmp_path / "out") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [words for words in said if words not in shown.err] == []
    assert not (tmp_path / "out").exists()


def test_routes_of_a_candidate_without_rules_exits_2(
    tiny_review: Review, tmp_path: Path, capsys: Capture
) -> None:
    path = with_candidates(tiny_review, tmp_path / "a.json", ("one", "adopt"), ruled=False)
    assert run("routes", path) == 2
    assert "one has no rules to export: so of one" in capsys.readouterr().err


# ── as a program ─────────────────────────────────────────────────────────────────────────


def test_the_program_exits_with_the_decision(artifact: Path) -> None:
    done = program("gate", artifact)
    assert (done.returncode, done.stderr) == (3, b"")
    assert done.stdout.startswith(b"HOLD")


def test_a_reader_that_leaves_early_does_not_turn_a_block_into_a_ship(
    tiny_review: Review, tmp_path: Path
) -> None:
    path = with_outcome(tiny_review, "block", tmp_path / "a.json")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "analysis", "gate", str(path), "--format", "json"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_behind_stdout_is_no_ship(tiny_review: Review, tmp_path: Path) -> None:
    path = with_outcome(tiny_review, "ship", tmp_path / "a.json")
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "analysis", "gate", str(path)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert done.returncode not in (0, 3)
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_a_terminal_that_knows_only_ascii_gets_escapes(artifact: Path) -> None:
    done = program("gate", artifact, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 3
    assert done.stdout.isascii()
    assert b"Traceback" not in done.stderr


# ── sample and validate ──────────────────────────────────────────────────────────────────


def test_sample_writes_tables_and_truth_and_tells_stderr(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "data"
    assert run("sample", "--scenario", "tiny", "--out", out) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert str(out) in told.err
    assert sorted(p.name for p in out.iterdir()) == [
        "llm_system_interactions.csv",
        "llm_system_sessions_summary.csv",
        "llm_system_users_summary.csv",
        "truth.json",
    ]
    assert run("sample", "--scenario", "tiny", "--quiet", "--out", out, "--format", "parquet") == 0
    assert capsys.readouterr().err == ""
    assert {p.suffix for p in out.iterdir()} == {".parquet", ".json"}


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--scenario", "helthy"], "healthy"),
        (["--scenario", "tiny", "--seed", "-1"], "seed"),
        (["--scenario", "tiny", "--interactions", "999999999"], "interactions"),
    ],
)
def test_a_sample_that_cannot_be_is_refused_before_anything_is_written(
    options: list[str], hint: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run("sample", *options, "--out", tmp_path / "data") == 2
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_sample_does_not_replace_other_files(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert run("sample", "--scenario", "tiny", "--out", tmp_path) == 2
    assert run("sample", "--scenario", "tiny", "--out", tmp_path / "thesis.txt") == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_validate_exits_0_where_the_contract_is_kept(tiny_data: Path, capsys: Capture) -> None:
    assert run("validate", "--data", tiny_data) == 0
    told = capsys.readouterr()
    assert "keeps the contract" in told.out
    assert told.err == ""


@pytest.mark.parametrize("form", ["text", "json", "junit", "github"])
def test_validate_exits_1_and_lists_every_violation(
    form: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run("validate", "--data", tmp_path, "--format", form) == 1
    told = capsys.readouterr()
    assert told.out.count("no file llm_system_") == 3
    assert told.err == ""


def test_validate_writes_to_a_file(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "report.json"
    assert run("validate", "--data", tiny_data, "--format", "json", "--out", out) == 0
    assert json.loads(out.read_text())["n_errors"] == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "absent"],
        ["--data", ""],
        ["--data", "x" * 5000],
        ["--data", "file.txt"],
        ["--data", ".", "--contract", "absent.yml"],
        ["--data", ".", "--contract", "file.txt"],
    ],
)
def test_validate_exits_2_where_it_cannot_begin(
    options: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("- no contract\n")
    assert run("validate", *options) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")


# ── review ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def project(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, so that the cache of the real one is left alone."""
    root = tmp_path / "project"
    (root / "report").mkdir(parents=True)
    (root / "report" / "policy.yml").write_text(f"release: {{id: r1}}\ndata: '{tiny_data}'\n")
    monkeypatch.setattr(reviews, "PROJECT", root)
    return root


BAD_REVIEWS = {
    "no such data": (["--data", "absent"], "--data absent"),
    "no data at all": (["--data", ""], "--data"),
    "data that are a file": (["--data", "report/policy.yml"], "--data"),
    "no such policy": (["--policy", "absent.yml"], "absent.yml"),
    "a bad policy": (["--policy", "bad.yml"], "did you mean 'release'?"),
    "a release id with a newline": (["--release", "a\nb"], "release.id"),
    "as of a word": (["--as-of", "yesterday"], "--as-of yesterday"),
    "as of nothing": (["--as-of", ""], "--as-of"),
    "as of another zone": (["--as-of", "2026-11-16T00:00:00+02:00"], "expected UTC"),
    "as of the year one": (["--as-of", "0001-01-01"], "from 1970"),
    "as of the year 9999": (["--as-of", "9999-12-31"], "from 1970"),
    "as of before the data": (["--as-of", "2001-01-01"], "the data"),
    "no size": (["--memory-limit", "much"], "--memory-limit much"),
    "a negative size": (["--memory-limit=-1GB"], "--memory-limit -1GB"),
}


@pytest.mark.parametrize(("options", "hint"), BAD_REVIEWS.values(), ids=BAD_REVIEWS.keys())
def test_a_review_that_cannot_begin_exits_2_and_writes_nothing(
    project: Path, options: list[str], hint: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "bad.yml").write_text("relase: {id: a}")
    assert run("review", *options, "--out", "made") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert hint in told.err
    assert not (project / "made").exists()


def test_telemetry_that_violates_the_contract_exits_1_and_writes_nothing(
    project: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    assert run("review", "--data", tmp_path / "empty", "--out", tmp_path / "made") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("no file llm_system_") == 3
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-11-16", "2026-11-16"),
        ("20261116", "2026-11-16"),
        ("2026-11-16T00:00:00Z", "2026-11-16"),
        ("2026-11-16T00:00:00+00:00", "2026-11-16"),
        ("2026-11-16 00:00", "2026-11-16"),
        ("2026-11-16T00:00:00", "2026-11-16"),
    ],
)
def test_as_of_is_utc_however_it_is_written(written: str, day: str) -> None:
    moment = moment_of(written)
    assert moment is not None
    assert moment.isoformat() == f"{day}T00:00:00+00:00"


@pytest.fixture
def finished(project: Path, tiny_review: Review, monkeypatch: pytest.MonkeyPatch) -> Review:
    """The computation is replaced by its result."""
    monkeypatch.setattr(reviews, "compute", lambda *_: tiny_review)
    return tiny_review


def made_of(review: Review, out: Path) -> None:
    assert artifacts.read(out / "decision_artifact.json") == review.body
    assert artifacts.verify_file(out / "decision_artifact.json") == []
    assert len(list((out / "tables").glob("*.csv"))) == len(TABLES)


def test_review_prints_the_decision_and_where_the_artifact_is(
    project: Path,
    finished: Review,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("review", "--out", "made") == 0
    told = capsys.readouterr()
    assert told.out.startswith("HOLD  release ")
    assert "made/decision_artifact.json" in told.out
    assert "made/tables" in told.out
    assert told.err == ""
    made_of(finished, tmp_path / "made")
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [
        "decision_artifact.json",
        "tables",
    ]


def test_review_without_out_leaves_the_artifact_in_the_cache(
    project: Path, finished: Review, capsys: Capture
) -> None:
    assert run("review") == 0
    (place,) = (project / ".cache" / "review").iterdir()
    made_of(finished, place)
    assert place.name in capsys.readouterr().out


def test_a_second_review_replaces_the_first_and_only_it(
    project: Path, finished: Review, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    assert run("review", "--out", out) == 0
    (out / "decision_artifact.json").write_text("old")
    (out / "tables" / "hotspots.csv").write_text("old")
    assert run("review", "--out", out) == 0
    made_of(finished, out)
    assert (out / "tables" / "hotspots.csv").read_text() != "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "project"]


def test_other_files_in_the_directory_stay(project: Path, finished: Review, tmp_path: Path) -> None:
    out = tmp_path / "made"
    (out / "tables").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "tables" / "mine.csv").write_text("mine")
    (out / "tables" / "link").symlink_to(out / "notes.txt")
    (out / "tables" / "hotspots.csv").write_text("old")
    for _ in range(2):
        assert run("review", "--out", out) == 0
        assert (out / "notes.txt").read_text() == "mine"
        assert (out / "tables" / "mine.csv").read_text() == "mine"
        assert (out / "tables" / "link").is_symlink()
        assert (out / "tables" / "hotspots.csv").read_text() != "old"
        assert artifacts.verify_file(out / "decision_artifact.json") == []
        assert sorted(p.name for p in out.iterdir()) == [
            "decision_artifact.json",
            "notes.txt",
            "tables",
        ]


def test_a_table_of_the_user_s_own_beside_ours_alone_stays_too(
    project: Path, finished: Review, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    (out / "tables").mkdir(parents=True)
    (out / "tables" / "mine.csv").write_text("mine")
    assert run("review", "--out", out) == 0
    assert (out / "tables" / "mine.csv").read_text() == "mine"


def test_the_working_directory_is_filled_and_not_replaced(
    project: Path, finished: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    inode = here.stat().st_ino
    for _ in range(2):
        assert run("review", "--out", ".") == 0
        assert here.stat().st_ino == inode
        made_of(finished, here)


def test_a_link_to_a_directory_stays_a_link(
    project: Path, finished: Review, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        assert run("review", "--out", tmp_path / "link") == 0
        assert (tmp_path / "link").is_symlink()
        made_of(finished, tmp_path / "real")


def test_a_directory_that_cannot_be_moved_is_filled_in_place(
    project: Path, finished: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted directory is busy: its content changes, not the directory."""
    out = tmp_path / "made"
    assert run("review", "--out", out) == 0
    (out / "decision_artifact.json").write_text("old")
    put = publishing.put_in_place

    def busy(source: Path, target: Path) -> None:
        if target == out.resolve():
            raise OSError(errno.EBUSY, "Device or resource busy")
        put(source, target)

    monkeypatch.setattr(publishing, "put_in_place", busy)
    assert run("review", "--out", out) == 0
    made_of(finished, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "project"]


OCCUPIED = {
    "a file": ("made", "file"),
    "tables are a file": ("made/tables", "file"),
    "the artifact is a directory": ("made/decision_artifact.json", "directory"),
    "below a file": ("made", "below"),
}


@pytest.mark.parametrize(("path", "kind"), OCCUPIED.values(), ids=OCCUPIED.keys())
def test_what_is_in_the_way_is_left_alone_and_said(
    project: Path, finished: Review, tmp_path: Path, path: str, kind: str, capsys: Capture
) -> None:
    place = tmp_path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir() if kind == "directory" else place.write_text("mine")
    out = tmp_path / "made" / "deeper" if kind == "below" else tmp_path / "made"
    assert run("review", "--out", out) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--out" in told.err
    assert place.is_dir() if kind == "directory" else place.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "project"]


def test_a_disk_that_is_full_leaves_the_previous_review(
    project: Path,
    finished: Review,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    import shutil

    for extra in (False, True):
        out = tmp_path / f"made-{extra}"
        assert run("review", "--out", out) == 0
        if extra:
            (out / "notes.txt").write_text("mine")
        (out / "decision_artifact.json").write_text("previous")

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", full)
            assert run("review", "--out", out) == 2
        assert "No space left" in capsys.readouterr().err
        assert (out / "decision_artifact.json").read_text() == "previous"
        assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made-False", "made-True", "project"]


def test_the_options_reach_the_request(
    project: Path, tiny_data: Path, finished: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    cached = reviews.cached

    def spy(wanted: Any, *args: Any, **kwargs: Any) -> Path:
        seen.append(wanted)
        return cached(wanted, *args, **kwargs)

    monkeypatch.setattr(reviews, "cached", spy)
    policy = project / "other.yml"
    policy.write_text("release: {id: r1}\n")
    code = run(
        *["review", "--data", tiny_data, "--policy", policy, "--release", "r9"],
        *["--as-of", "2026-11-16T12:00:00Z", "--threads", "2", "--memory-limit", "512MiB"],
    )
    assert code == 0
    (wanted,) = seen
    assert wanted.data == tiny_data
    assert wanted.loaded.policy.release.id == "r9"
    assert wanted.as_of.isoformat() == "2026-11-16T12:00:00+00:00"
    assert (wanted.threads, wanted.memory_limit) == (2, "512MiB")


def test_the_whole_way_from_a_sample_to_a_verified_hold(
    project: Path, tmp_path: Path, capsys: Capture
) -> None:
    data, out = tmp_path / "data", tmp_path / "made"
    assert run("sample", "--scenario", "tiny", "--out", data) == 0
    assert run("validate", "--data", data) == 0
    assert run("review", "--data", data, "--release", "r2", "--out", out) == 0
    assert run("verify", out / "decision_artifact.json") == 0
    assert run("gate", out / "decision_artifact.json") == 3
    assert "release r2" in capsys.readouterr().out
