#!/usr/bin/env python3
"""The steps validate → review → gate as a hook of pre-commit: `hook.py validate|gate [options]`.

Options are those of `python -m analysis validate` and `review`; paths start at the repository in
which somebody commits, also the policy's `data` where `--data` is not given. Exit codes are the
gate's: 0 ship, 1 block or a broken contract, 3 hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "steps"))

import runner  # noqa: E402

PROJECT = runner.PROJECT
DEFAULT_POLICY = "report/policy.yml"


def main(arguments: list[str]) -> int:
    """Runs one hook."""
    if not arguments or arguments[0] not in ("validate", "gate"):
        print("usage: hook.py validate|gate [options]", file=sys.stderr)
        return 2
    python = _environment()
    if python is None:
        return 2
    which, options = arguments[0], arguments[1:]
    if which == "validate":
        return _analysis(python, "validate", *options)
    if not _given(options, "--policy"):
        options = [f"--policy={DEFAULT_POLICY}", *options]
    if not _given(options, "--data"):
        os.environ["RELEASE_REVIEW_PYTHON"] = python
        os.environ["RELEASE_REVIEW_POLICY"] = _given(options, "--policy")
        try:
            options = [f"--data={runner.data()}", *options]
        except runner.Stopped as stop:
            print(stop, file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="release-review-") as folder:
        out = Path(folder) / "review"
        # A review validates first, by the policy's own columns, and stops where the contract is broken.
        code = _analysis(python, "review", *options, f"--out={out}", quiet=True)
        return _analysis(python, "gate", str(out / runner.ARTIFACT)) if code == 0 else code


def _given(options: list[str], name: str) -> str:
    """The value of an option, in either of its two forms; empty where it is not given."""
    for place, option in enumerate(options):
        if option.startswith(f"{name}="):
            return option.removeprefix(f"{name}=")
        if option == name and place + 1 < len(options):
            return options[place + 1]
    return ""


def _environment() -> str | None:
    """The project's Python, with what a review needs; made once, which takes a minute."""
    environment = {**os.environ, "RELEASE_REVIEW_BASE_PYTHON": sys.executable}
    # The runner's file is no place for a hook's outputs.
    environment.pop("GITHUB_OUTPUT", None)
    done = subprocess.run([HERE / "install.sh"], env=environment, check=False)
    venv = Path(os.environ.get("RELEASE_REVIEW_VENV") or PROJECT / ".venv")
    return str(venv / "bin" / "python") if done.returncode == 0 else None


def _analysis(python: str, *arguments: str, quiet: bool = False) -> int:
    """Runs a command. -P: files of the repository that is reviewed are no modules of ours."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, "-P", "-m", "analysis", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
