"""What a step knows and leaves behind: its environment, the command line, and the runner's files.

A step takes everything from environment variables, so that it runs on a laptop as it does on a
runner: without GITHUB_OUTPUT and GITHUB_STEP_SUMMARY, outputs and summary go to files of the work
folder alone. RELEASE_REVIEW_WORK is that folder; each step finds there what the steps before left.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from plain import message

PROJECT = Path(__file__).resolve().parents[4]
ARTIFACT = "decision_artifact.json"


@dataclass(frozen=True)
class Result:
    """How a review ended. decision: null where there is none, and then `why` says why.

    exit_code: of the command that decided or stopped it.
    """

    decision: str | None
    exit_code: int
    why: str = ""
    violated: bool = False


@dataclass(frozen=True)
class Finished:
    """A command of `python -m analysis` that has ended."""

    code: int
    out: str
    err: str


def setting(name: str, default: str = "") -> str:
    """RELEASE_REVIEW_<name>; an input that was not given arrives as empty text."""
    return os.environ.get(f"RELEASE_REVIEW_{name}", "").strip() or default


def work() -> Path:
    """The folder in which the steps of one review meet."""
    folder = Path(setting("WORK", "_release_review")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder() -> Path:
    """Where the review's files are, or will be."""
    return work() / "review"


def artifact() -> Path:
    """Where the artifact is, or will be."""
    return folder() / ARTIFACT


class Stopped(Exception):
    """Nothing can be reviewed; the text is for a person."""


def analysis(*arguments: str) -> Finished:
    """Runs `python -m analysis …` in the working directory."""
    return _python("-m", "analysis", *arguments)


def _python(*arguments: str) -> Finished:
    """Runs the environment's Python on this project's code.

    -P: the working directory is the checkout of somebody's change, and its files are no modules of
    ours, whatever they are called. The token is for the comment alone.
    """
    environment = {k: v for k, v in os.environ.items() if k not in _SECRETS}
    done = subprocess.run(
        [setting("PYTHON") or _own_python(), "-P", *arguments],
        env={**environment, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


_SECRETS = frozenset({"GITHUB_TOKEN", "RELEASE_REVIEW_TOKEN"})


def _own_python() -> str:
    own = PROJECT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


# Only the policy's own reader knows how to read it.
_NAMED_DATA = """
import sys
from pathlib import Path
from analysis.errors import ReviewError
from analysis.policy import load
try:
    print(load(Path(sys.argv[1])).policy.data or "")
except ReviewError as error:
    sys.exit(f"error: {error}")
"""


def data() -> str:
    """`--data`: as given, else what the policy names, relative to the working directory.

    The command line takes a policy's `data` relative to the project; here that is the checkout of
    the action, and the telemetry lies in the repository that is reviewed. Raises Stopped.
    """
    given = setting("DATA")
    if given:
        return given
    done = _python("-c", _NAMED_DATA, policy())
    named = done.out.strip()
    if done.code or not named:
        nothing = f"policy {policy()}: names no data, and the input `data` is empty"
        raise Stopped(failure(done, nothing))
    return named


def policy() -> str:
    """`--policy`: report/policy.yml of the repository that is reviewed, by default."""
    return setting("POLICY", "report/policy.yml")


def save(result: Result) -> None:
    """Leaves the result for the steps that follow."""
    (work() / "result.json").write_text(json.dumps(vars(result)), encoding="utf-8")


def load() -> Result | None:
    """The result so far; None where no step came to one."""
    path = work() / "result.json"
    return Result(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def output(name: str, value: object) -> None:
    """An output of the step. The delimiter is random: no value can end it early."""
    _append("GITHUB_OUTPUT", "outputs.txt", _entry(name, str(value)))


def _entry(name: str, value: str) -> str:
    mark = f"end-{secrets.token_hex(16)}"
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def summarise(markdown: str) -> None:
    """Adds to the job's summary."""
    _append("GITHUB_STEP_SUMMARY", "summary.md", markdown + "\n")


def _append(variable: str, instead: str, text: str) -> None:
    path = Path(os.environ.get(variable) or work() / instead)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def tell(level: str, text: object, title: str = "release review") -> None:
    """An annotation: notice, warning or error."""
    print(f"::{level} title={title}::{message(text)}", flush=True)


def commands(text: str) -> None:
    """Prints annotations that the command line has made, and escaped."""
    print(text.rstrip("\n"), flush=True)


def log(text: str) -> None:
    """Prints what is only to be read: no line of it is a command to the runner."""
    if not text.strip():
        return
    mark = secrets.token_hex(16)
    print(f"::stop-commands::{mark}\n{text.rstrip()}\n::{mark}::", flush=True)


def failure(done: Finished, fallback: str) -> str:
    """Why a command failed, in its own words."""
    return "\n".join(done.err.strip().splitlines()[-20:]) or fallback
