"""Runs the examples of a Markdown document, and holds what they print against what it says.

An example is a fenced block of `console`: `$ command` (further lines after a `\\`), then what it prints,
stdout and stderr as a terminal shows them. The blocks of a document run in one shell and one folder, from top to
bottom, with `python` this environment's. In what is printed `…` stands for any text within a line, and
a line of `…` alone for any lines.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("analysis", "report", "data", "_extensions", "_quarto.yml", "tests/revisions")
"""What a clone has to hold for the command line to run."""
ELLIPSIS = "…"
_MARK = "\x1e"


@dataclass(frozen=True)
class Example:
    """One command of a document with its line there, and the lines that it says are printed."""

    line: int
    command: str
    expected: tuple[str, ...]


def examples(document: Path) -> list[Example]:
    """Every example of a document, in its order."""
    found: list[Example] = []
    inside = False
    for number, text in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if text.startswith("```"):
            inside = text.strip() == "```console"
        elif inside and text.startswith("$ "):
            found.append(Example(number, text.removeprefix("$ "), ()))
        elif inside and found and not found[-1].expected and found[-1].command.endswith("\\"):
            found[-1] = Example(found[-1].line, f"{found[-1].command}\n{text}", ())
        elif inside and found:
            found[-1] = Example(found[-1].line, found[-1].command, (*found[-1].expected, text))
    return found


def failures(document: Path, folder: Path) -> list[str]:
    """What the examples print that the document does not say; empty where all is as it says.

    folder: an empty one, which becomes the working directory, with a copy of the project in it.
    """
    listed = examples(document)
    for name in PROJECT:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copyfile(source, folder / name)
    printed = _run([one.command for one in listed], folder)
    told = []
    for one, lines in zip(listed, printed, strict=True):
        if not agrees(one.expected, lines):
            said, found = (
                "\n".join(f"    {text}" for text in part) for part in (one.expected, lines)
            )
            told.append(
                f"{document.name}:{one.line}: $ {one.command}\n  says\n{said}\n  prints\n{found}"
            )
    return told


def agrees(expected: tuple[str, ...], printed: tuple[str, ...]) -> bool:
    """Whether what is printed is what is expected, `…` standing for anything."""
    patterns = [
        r"(?:[^\n]*\n)*?" if text.strip() == ELLIPSIS else f"{_line(text)}\n" for text in expected
    ]
    return re.fullmatch("".join(patterns), "".join(f"{text}\n" for text in printed)) is not None


def _line(text: str) -> str:
    return "[^\n]*".join(re.escape(part) for part in text.rstrip().split(ELLIPSIS))


def _run(commands: list[str], folder: Path) -> list[tuple[str, ...]]:
    """What each command prints, run one after another in one shell."""
    # The exit code of a command is the `$?` of the next, as on a terminal.
    mark = f"printf '{_MARK}'"
    script = "\n".join(f"{one}\n__code=$?; {mark}; (exit $__code)" for one in commands)
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
        "LC_ALL": "C.UTF-8",
    }
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=1500,
    )
    parts = done.stdout.decode("utf-8", "replace").split(_MARK)[: len(commands)]
    return [tuple(line.rstrip() for line in part.splitlines()) for part in parts]
