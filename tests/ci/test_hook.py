"""The hooks of pre-commit, and the environment that they and the action make."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from analysis.sample import generate, write
from tests.ci.conftest import ACTION, ROOT

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's repository, with a folder that is called like our module."""
    folder = tmp_path_factory.mktemp("repository")
    write(generate("tiny", None, 1), folder / "telemetry", "csv")
    policy = (ROOT / "report" / "policy.yml").read_text()
    (folder / "policy.yml").write_text(policy.replace("data: data/sample", "data: telemetry"))
    (folder / "analysis").mkdir()
    (folder / "analysis" / "__init__.py").write_text("raise SystemExit('code of the change ran')\n")
    return folder


def hooked(
    repository: Path, venv: Path, temporary: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ACTION / "hook.py"), *arguments],
        cwd=repository,
        env={
            **os.environ,
            "RELEASE_REVIEW_VENV": str(venv),
            "TMPDIR": str(temporary),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("hook", HOOKS, ids=lambda h: h["id"])
def test_a_hook_starts_a_script_that_is_there(hook: dict[str, object]) -> None:
    path, which = str(hook["entry"]).split()
    assert hook["language"] == "script"
    assert os.access(ROOT / path, os.X_OK)
    assert which in ("validate", "gate")


@pytest.mark.parametrize(
    ("path", "starts"),
    [
        ("data/llm_system_interactions.csv.gz", True),
        ("llm_system_users_summary.parquet", True),
        ("x/llm_system_interactions/part-1.parquet", True),
        ("report/policy.yml", True),
        ("README.md", False),
        ("src/llm_system_interactions_reader.py", False),
    ],
)
def test_a_hook_starts_where_telemetry_or_policy_change(path: str, starts: bool) -> None:
    for hook in HOOKS:
        assert bool(re.search(hook["files"], path)) == starts


def test_the_telemetry_is_validated(repository: Path, venv: Path, tmp_path: Path) -> None:
    good = hooked(repository, venv, tmp_path, "validate", "--data", "telemetry")
    assert good.returncode == 0, good.stderr
    assert "no violation" in good.stdout
    (tmp_path / "empty").mkdir()
    bad = hooked(repository, venv, tmp_path, "validate", f"--data={tmp_path / 'empty'}")
    assert bad.returncode == 1
    assert "llm_system_users_summary" in bad.stdout


def test_the_gate_fails_a_hold_and_leaves_nothing(
    repository: Path, venv: Path, tmp_path: Path
) -> None:
    before = sorted(repository.rglob("*"))
    done = hooked(repository, venv, tmp_path, "gate", "--policy", "policy.yml")
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("HOLD  release 2026.11.2\n")
    assert "code of the change" not in done.stdout + done.stderr
    assert sorted(repository.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: "),
        (["ship"], "usage: "),
        (["gate"], "report/policy.yml"),
        (["gate", "--policy=policy.yml", "--data=nowhere"], "no such directory"),
    ],
)
def test_a_wrong_call_exits_2(
    repository: Path, venv: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = hooked(repository, venv, tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


# install.sh

BASE = """#!/bin/sh
# Stands in for the Python of a machine: no test installs packages.
echo "$*" >>"{log}"
case "$1 $2" in
  "-c "*) exit {old} ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
"""


def installed(
    tmp_path: Path, *, old: int = 0, extras: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A run of install.sh, and the calls of Python that it has made."""
    log, base = tmp_path / "log", tmp_path / "base-python"
    log.write_text("")
    base.write_text(BASE.format(log=log, old=old))
    base.chmod(0o755)
    done = subprocess.run(
        [ACTION / "install.sh"],
        env={
            **os.environ,
            "RELEASE_REVIEW_VENV": str(tmp_path / "venv"),
            "RELEASE_REVIEW_BASE_PYTHON": str(base),
            "RELEASE_REVIEW_EXTRAS": extras,
            "GITHUB_OUTPUT": str(tmp_path / "output"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, [line for line in log.read_text().splitlines() if not line.startswith("-c")]


def test_the_environment_is_made_once_and_again_after_its_pins_changed(tmp_path: Path) -> None:
    done, calls = installed(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [c.split()[:3] for c in calls] == [
        ["-m", "venv", str(tmp_path / "venv")],
        ["-m", "pip", "install"],
    ]
    assert calls[1].endswith(f"-r {ROOT / 'requirements.txt'}")
    python = tmp_path / "venv" / "bin" / "python"
    assert (tmp_path / "output").read_text() == f"python={python}\n"
    assert installed(tmp_path)[1] == []
    os.utime(tmp_path / "venv" / ".review", (0, 0))
    assert len(installed(tmp_path)[1]) == 2


def test_extras_are_the_projects_own(tmp_path: Path) -> None:
    installed(tmp_path)
    _, calls = installed(tmp_path, extras="postgres,prices")
    assert calls[0].endswith(f"-c {ROOT / 'constraints.txt'} {ROOT}[postgres,prices]")
    done, calls = installed(tmp_path, extras="x] evil-package[y")
    assert (done.returncode, calls) == (2, [])


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    done, calls = installed(tmp_path, old=1)
    assert (done.returncode, calls) == (2, [])
    assert "is older than Python 3.11" in done.stderr
