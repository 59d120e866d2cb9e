#!/usr/bin/env python3
"""The steps validate → review → gate as a hook of pre-commit: `hook.py validate|gate [options]`.

Options are those of `python -m analysis validate` and `review`; paths start at the repository in
which somebody commits. Exit codes are the gate's: 0 ship, 1 block or a broken contract, 3 hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
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
    with tempfile.TemporaryDirectory(prefix="release-review-") as folder:
        out = Path(folder) / "review"
        policy = [] if _names(options, "--policy") else [f"--policy={DEFAULT_POLICY}"]
        # A review validates first, by the policy's own columns, and stops where the contract is broken.
        code = _analysis(python, "review", *policy, *options, f"--out={out}", quiet=True)
        artifact = out / "decision_artifact.json"
        return _analysis(python, "gate", str(artifact)) if code == 0 else code


def _names(options: list[str], name: str) -> bool:
    return any(o == name or o.startswith(f"{name}=") for o in options)


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
