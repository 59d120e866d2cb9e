"""Whether a process that left something behind is still at work on it."""

from __future__ import annotations

import os


def is_running(pid: int) -> bool:
    """Whether a process has this id; one of another user counts too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
