"""Draws a finished review once; the report's pages only load what was drawn.

`draw` writes `pages/<page>.json` beside the artifact. `analysis.present.page` shows it in a page,
and imports neither plots nor tables, so that a page loads in no time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.review import Review

__all__ = ["draw"]


def draw(review: Review, directory: Path) -> None:
    """Writes `directory/pages/<page>.json`: every block of every page, finished and escaped.

    The same review gives the same bytes.
    """
    # The plotting and table libraries take a second to import: only drawing pays for them.
    from analysis.present.drawing import write_pages

    write_pages(review, directory)
