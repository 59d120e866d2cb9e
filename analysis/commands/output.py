"""Where results and messages go."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from analysis.errors import UsageError
from analysis.in_place import write_text


def emit(text: str, out: Path | None) -> None:
    """Writes to stdout, or to a file whole or not at all."""
    if out is None:
        show(text)
        return
    try:
        write_text(out, text + "\n")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from None


def show(text: str) -> None:
    """Writes to stdout at once. A reader that left early (`| head`) does not change the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """A message on stderr with nothing in it that a terminal or a runner obeys."""
    from analysis.telemetry.violations import one_line

    print(one_line(text, 1000), file=sys.stderr)


def say(a: Namespace, text: str) -> None:
    """A message, but not with `--quiet`."""
    if not a.quiet:
        print(text, file=sys.stderr)


def nearby(path: Path) -> str:
    """The path as a person in the working directory types it."""
    try:
        return os.path.relpath(path)
    except (ValueError, OSError):
        return str(path)
