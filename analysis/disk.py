"""Tells a disk that takes no more from every other error."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.errors import DiskError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OF_ENGINE = (
    *map(os.strerror, _FULL),
    # What the engine says where it may not spill what it cannot hold.
    "failed to offload data block",
    "max_temp_directory_size",
)


def refusal(error: BaseException) -> str | None:
    """Why nothing more can be written, in the system's words; None where the error is another."""
    if isinstance(error, shutil.Error):
        return next((part for part in _OF_ENGINE if part in str(error)), None)
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in _FULL else None
    if type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb"):
        return None
    text = str(error)
    found = next((part for part in _OF_ENGINE if part in text), None)
    return os.strerror(errno.ENOSPC) if found in _OF_ENGINE[len(_FULL) :] else found


@contextmanager
def writing(folder: Path, way_out: str, *, spills: bool = False) -> Iterator[None]:
    """While something is written to `folder`. Raises DiskError where that takes no more.

    spills: the engine puts there what it cannot hold.
    """
    try:
        yield
    except Exception as error:
        reason = refusal(error)
        if reason is None or not _is_in(folder, error, spills=spills):
            raise
        raise DiskError(f"{folder}: {reason}; {way_out}") from None


def _is_in(folder: Path, error: Exception, *, spills: bool) -> bool:
    """Whether the error is about a file in `folder`, as far as it says so."""
    named = re.search(r'file \\?"([^"\\]+)', str(error))
    if named is None:
        return spills or isinstance(error, OSError)
    return Path(named.group(1)).is_relative_to(folder)
