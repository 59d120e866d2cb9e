"""The console examples of data/releases/README.md, run in a copy of the project, print what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "data" / "releases" / "README.md"


def examples(text: str) -> list[tuple[str, str]]:
    """Each command of the `console` blocks with what it prints, in order."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def pattern(expected: str) -> str:
    """`…` stands for anything: within its line, or, where it is a line of its own, for lines."""
    parts = [
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in expected.splitlines()
    ]
    return "".join(parts)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("analysis", "report", "_extensions"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "_quarto.yml", tmp_path / "_quarto.yml")
    (tmp_path / "data").mkdir()
    shutil.copyfile(ROOT / "data" / "contract.yml", tmp_path / "data" / "contract.yml")
    return tmp_path


def test_the_examples_print_what_they_say(project: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "",
    }
    code = 0
    shown = examples(README.read_text(encoding="utf-8"))
    assert len(shown) >= 10
    for command, expected in shown:
        done = subprocess.run(
            ["bash", "-c", f"(exit {code}); {command}"],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        code = done.returncode
        assert re.fullmatch(pattern(expected), done.stdout), (command, done.stdout)
