"""Temporary files and directories that end with the process that made them, or with the next one.

Each has the number of its process in its name, `<prefix><pid>-<random>`, so that the next process
tells what a killed one left behind from what another is still building.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OWN: set[Path] = set()


def named(root: Path, prefix: str) -> Path:
    """A new name in `root`, of this process. Nothing is made yet."""
    path = root / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
    # Known before it is there: a signal may come at any time.
    _OWN.add(path)
    return path


def new_directory(root: Path, prefix: str, mode: int = 0o700) -> Path:
    """A new directory in `root`, private by default. Raises OSError."""
    path = named(root, prefix)
    path.mkdir(mode=mode)
    return path


@contextmanager
def directory(root: Path, prefix: str, mode: int = 0o700) -> Iterator[Path]:
    """A new directory in `root`, removed in the end unless it was moved. Raises OSError."""
    with later(root, prefix) as path:
        path.mkdir(mode=mode)
        yield path


@contextmanager
def later(root: Path, prefix: str) -> Iterator[Path]:
    """A new name in `root`, where something may be made. It is removed in the end."""
    path = named(root, prefix)
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Removes a file or a directory, where it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    _OWN.discard(path)


def remove_own() -> None:
    """Removes what this process made and has not removed yet: for the end after a signal."""
    for path in tuple(_OWN):
        # The engine's threads may still write: under another name they find nothing to write to.
        with suppress(OSError):
            path = path.rename(path.with_name(f"{path.name}-ended"))
        remove(path)


def of_the_dead(root: Path, prefix: str) -> list[Path]:
    """What processes that are gone left in `root`; one that is alive keeps its own."""
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)-[0-9a-z_]{{8}}(-ended)?")
    out = []
    for path in sorted(root.glob(f"{_no_pattern(prefix)}*")):
        found = pattern.fullmatch(path.name)
        # In a container every process may have the same number: what is ours, we know.
        if found is None or path in _OWN:
            continue
        number = int(found.group(1))
        if number == os.getpid() or not is_running(number):
            out.append(path)
    return out


def clean(root: Path, prefix: str) -> None:
    """Removes what processes that are gone left in `root`."""
    for path in of_the_dead(root, prefix):
        remove(path)


def is_running(pid: int) -> bool:
    """Whether a process has this id; one of another user counts too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _no_pattern(text: str) -> str:
    return re.sub(r"[*?\[]", r"[\g<0>]", text)
