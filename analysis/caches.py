"""What a project keeps of telemetry for the next run: all of it can be computed again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from analysis import leftovers

FOLDERS = ("review", "encoded")
"""Under `.cache`: finished reviews, whose tables name rows, and encoded tables."""


def empty(project: Path) -> int:
    """Removes every kept review and encoded table; returns how many."""
    return _remove(project, None)


def prune(project: Path, days: int, now: datetime) -> int:
    """Removes what was last used more than `days` before `now`; returns how many."""
    return _remove(project, now - timedelta(days=days))


def _remove(project: Path, before: datetime | None) -> int:
    n = 0
    for name in FOLDERS:
        folder = project / ".cache" / name
        for place in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                used = datetime.fromtimestamp(place.lstat().st_mtime, UTC)
            except OSError:
                continue
            # What another run is building begins with a dot: it goes with that run's own end.
            if before is None or (
                not place.name.startswith(".") and place.is_dir() and used < before
            ):
                n += place.is_dir()
                leftovers.remove(place)
    return n
