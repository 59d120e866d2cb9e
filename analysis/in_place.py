"""Puts what is finished in its place in one step: complete, or the previous one untouched."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from analysis import leftovers, stopping

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`, on the same file system, and remove it in the end.

    What earlier runs that were killed left behind is removed first; a previous folder that such a
    run had already moved aside is put back.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _clean(out)
    with leftovers.directory(out.parent, _prefix(out, "building"), mode=0o777) as folder:
        yield folder


def put_in_place(finished: Path, out: Path) -> None:
    """Make the folder `finished` appear at `out`; what was there is removed afterwards.

    On Linux the two folders change places atomically. Elsewhere the old one is moved aside
    first, and `staging` of the next run puts it back if this is killed between the two steps.
    """
    if not out.exists():
        finished.rename(out)
        return
    if _exchange(finished, out):
        leftovers.remove(finished)
        return
    previous = leftovers.named(out.parent, _prefix(out, "previous"))
    with stopping.deferred():
        out.rename(previous)
        try:
            finished.rename(out)
        except OSError:
            previous.rename(out)
            raise
    leftovers.remove(previous)


def write_text(out: Path, text: str) -> None:
    """Write a file whole or not at all, with the folders above it. Raises OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = _prefix(out, "building")
    leftovers.clean(out.parent, prefix)
    new = leftovers.named(out.parent, prefix)
    try:
        new.write_text(text, encoding="utf-8")
        os.replace(new, out)
    finally:
        leftovers.remove(new)


def _prefix(out: Path, stage: str) -> str:
    return f".{out.name}.{stage}-"


def _clean(out: Path) -> None:
    for path in leftovers.of_the_dead(out.parent, _prefix(out, "previous")):
        if out.exists():
            leftovers.remove(path)
        else:
            path.rename(out)
    leftovers.clean(out.parent, _prefix(out, "building"))


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders with renameat2(2); False where the system cannot."""
    with suppress(AttributeError, OSError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        paths = os.fsencode(first), os.fsencode(second)
        return bool(rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
    return False
