"""Puts a finished review at `--out`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from analysis import artifact as artifacts
from analysis import leftovers, stopping
from analysis.disk import refusal
from analysis.errors import UsageError
from analysis.in_place import put_in_place, staging


def check_directory(out: Path) -> None:
    """Raises UsageError where something else is in the way."""
    for path, expected in (
        (out, "a directory"),
        (out / "tables", "a directory"),
        (out / "decision_artifact.json", "a file"),
    ):
        if path.exists() and path.is_dir() != (expected == "a directory"):
            raise UsageError(f"--out {out}: expected {path} to be {expected}, or absent")


def publish(finished: Path, out: Path) -> None:
    """Puts artifact and tables at `out`; what else lies there stays.

    A directory of ours alone changes in one step. One that holds other files, is the working
    directory or is mounted cannot be exchanged: there the tables change in one step, and the
    artifact, which vouches for them, in the next.
    """
    check_directory(out)
    try:
        if not out.exists() or (_only_ours(out) and out.resolve() != Path.cwd()):
            try:
                with staging(out.resolve()) as building:
                    shutil.copytree(finished / "tables", building / "tables")
                    shutil.copyfile(finished / artifacts.FILE_NAME, building / artifacts.FILE_NAME)
                    put_in_place(building, out.resolve())
                return
            except OSError:
                if not out.is_dir():
                    raise
        with staging(out / "tables") as tables:
            if (out / "tables").is_dir():
                shutil.copytree(out / "tables", tables, symlinks=True, dirs_exist_ok=True)
            shutil.copytree(finished / "tables", tables, dirs_exist_ok=True)
            prefix = f".{artifacts.FILE_NAME}.building-"
            leftovers.clean(out, prefix)
            with leftovers.later(out, prefix) as new, stopping.deferred():
                shutil.copyfile(finished / artifacts.FILE_NAME, new)
                put_in_place(tables, out / "tables")
                os.replace(new, out / artifacts.FILE_NAME)
    except OSError as error:
        raise UsageError(f"--out {out}: {refusal(error) or error.strerror or error}") from None


def _only_ours(out: Path) -> bool:
    """Whether nothing would be lost with the directory; an empty one is not ours to replace."""
    from analysis.tables import FILES, TABLES

    ours = {artifacts.FILE_NAME, "tables", *(f"tables/{name}" for name in (*TABLES, *FILES))}
    empty = True
    for path in out.rglob("*"):
        empty = False
        if path.is_symlink() or path.relative_to(out).as_posix() not in ours:
            return False
    return not empty
