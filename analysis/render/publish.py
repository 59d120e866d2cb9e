"""Puts a finished folder in its place in one step: complete, or the previous one untouched."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from analysis.errors import RenderError
from analysis.running import is_running

_MARKS_OF_A_SITE = frozenset({"site_libs", "decision_artifact.json", "index.html"})
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def check_target(out: Path, keep: Iterable[Path]) -> None:
    """Refuse a place whose content a publication would delete and must not.

    Raises:
        RenderError: `out` holds a folder of `keep`, is a file, or is a folder that is no site.
    """
    for folder in keep:
        if out == folder or out in folder.parents:
            raise RenderError(f"{out}: holds {folder}; give a folder of its own for the site")
    if not out.exists():
        return
    if not out.is_dir():
        raise RenderError(f"{out}: is a file; give a folder for the site")
    names = {path.name for path in out.iterdir()}
    if names and not names & _MARKS_OF_A_SITE:
        raise RenderError(f"{out}: holds other files than a site; give a new or an empty folder")


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`, on the same file system, and remove it in the end.

    What earlier runs that were killed left behind is removed first; a previous site that such a
    run had already moved aside is put back.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _clean(out)
    folder = _sibling(out, "building")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(finished: Path, out: Path) -> None:
    """Make `finished` appear at `out`; what was there is removed afterwards.

    On Linux the two folders change places atomically. Elsewhere the old one is moved aside
    first, and `staging` of the next run puts it back if this is killed between the two steps.
    """
    if not out.exists():
        finished.rename(out)
        return
    if _exchange(finished, out):
        shutil.rmtree(finished, ignore_errors=True)
        return
    previous = _sibling(out, "previous")
    out.rename(previous)
    try:
        finished.rename(out)
    except OSError:
        previous.rename(out)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _sibling(out: Path, stage: str) -> Path:
    return out.with_name(f".{out.name}.{stage}-{os.getpid()}")


def _clean(out: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(out.name)}\.(building|previous)-(\d+)")
    for path in sorted(out.parent.iterdir()):
        found = pattern.fullmatch(path.name)
        if found is None or _alive(int(found.group(2))):
            continue
        if found.group(1) == "previous" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    """Whether another process has this id: its folder is then still being built."""
    return pid != os.getpid() and is_running(pid)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders with renameat2(2); False where the system cannot."""
    with suppress(AttributeError, OSError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        paths = os.fsencode(first), os.fsencode(second)
        return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
    return False
