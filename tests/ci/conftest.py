"""The steps of the action are scripts beside each other: they import each other by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / ".github" / "actions" / "release-review"
sys.path.insert(0, str(ACTION / "steps"))


@pytest.fixture(autouse=True)
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that themselves run on a runner do not write to its files, nor comment."""
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "RELEASE_REVIEW_", "RUNNER_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that is made already: this one, under the name that install.sh looks for."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / ".review").touch()
    return folder
