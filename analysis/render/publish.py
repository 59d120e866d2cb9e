"""Refuses places where a site must not go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from analysis.errors import RenderError

_MARKS_OF_A_SITE = frozenset({"site_libs", "decision_artifact.json", "index.html"})


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
