"""Runs the action's own steps as a runner does: inputs, conditions, environment and its files.

It knows the few expressions that the action uses, and refuses any other.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ACTION = Path(__file__).resolve().parents[2] / ".github" / "actions" / "release-review"
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Run:
    """What a run of the action left: exit code, outputs, log and summary."""

    code: int = 0
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


@dataclass
class _State:
    inputs: Mapping[str, str]
    temporary: Path
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    failed: bool = False

    def text(self, template: object) -> str:
        return _EXPRESSION.sub(lambda m: self.value(m.group(1)), str(template))

    def value(self, expression: str) -> str:
        parts = expression.split(".")
        if parts[0] == "inputs" and len(parts) == 2:
            return self.inputs[parts[1]]
        if parts[0] == "steps" and parts[2] == "outputs":
            return self.steps.get(parts[1], {}).get(parts[3], "")
        if parts[0] == "steps" and parts[2] == "outcome":
            return "success" if parts[1] in self.steps else "skipped"
        assert expression == "runner.temp", expression
        return str(self.temporary)

    def holds(self, condition: str | None) -> bool:
        if condition is None:
            return not self.failed
        condition = _EXPRESSION.sub(r"\1", condition)
        always = condition.startswith("!cancelled() && ")
        condition = condition.removeprefix("!cancelled() && ")
        found = re.fullmatch(r"(\S+) (==|!=) '(.*)'", condition)
        assert found is not None, condition
        equal = self.value(found[1]) == found[3]
        return (always or not self.failed) and equal == (found[2] == "==")


def run(
    inputs: Mapping[str, str],
    temporary: Path,
    venv: Path,
    environment: Mapping[str, str] | None = None,
    workspace: Path | None = None,
) -> Run:
    """Runs the action. venv: stands where install.sh would make it. workspace: the checkout."""
    action: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
    given = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    assert set(inputs) <= set(given), "an input that the action does not have"
    assert [v for v in given.values() if "$" in v] == ["${{ github.token }}"]
    given["token"] = "token-of-the-run"
    state = _State({**given, **inputs}, temporary)
    os.symlink(venv, temporary / "release-review-venv")
    done = Run()
    summary = temporary / "summary"
    for number, step in enumerate(action["runs"]["steps"]):
        name = step["id"]
        if not state.holds(step.get("if")):
            continue
        done.ran.append(name)
        if "uses" in step:
            state.steps[name] = _other(step, state)
            continue
        files = {k: temporary / f"{k.lower()}-{number}" for k in ("GITHUB_OUTPUT", "GITHUB_ENV")}
        for path in files.values():
            path.touch()
        assert "${{" not in step["run"], "an expression in a script is an injection"
        process = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=(workspace or Path.cwd()) / state.text(step.get("working-directory", ".")),
            env={
                **os.environ,
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(ACTION),
                "GITHUB_STEP_SUMMARY": str(summary),
                "RUNNER_TEMP": str(temporary),
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
                **{k: str(v) for k, v in files.items()},
                **{k: state.text(v) for k, v in step.get("env", {}).items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        done.log += process.stdout + process.stderr
        state.failed |= process.returncode != 0
        done.code = done.code or process.returncode
        state.steps[name] = outputs(files["GITHUB_OUTPUT"].read_text())
    done.summary = summary.read_text() if summary.exists() else ""
    done.outputs = {k: state.text(v["value"]) for k, v in action["outputs"].items()}
    return done


def _other(step: Mapping[str, Any], state: _State) -> dict[str, str]:
    """What the actions of others would give; each must be one that is known, and pinned."""
    assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
    for value in step["with"].values():
        state.text(value)
    return {
        "setup": {"python-path": "python3"},
        "upload": {"artifact-url": "https://github.com/o/r/actions/runs/7/artifacts/9"},
    }[step["id"]]


def outputs(text: str) -> dict[str, str]:
    """The outputs in a file of a step, as a runner reads it."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, separator, mark = line.partition("<<")
        if not separator:
            name, _, found[name] = line.partition("=")
            continue
        value = []
        for inner in lines:
            if inner == mark:
                break
            value.append(inner)
        found[name] = "\n".join(value)
    return found
