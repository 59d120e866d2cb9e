"""Draws a finished review once; the report's pages only load what was drawn.

`draw` writes `pages/<page>.json` beside the artifact. `analysis.present.page` shows it in a page,
and imports neither plots nor tables, so that a page loads in no time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.ledger import Ledger
    from analysis.review import Review

__all__ = ["draw", "draw_ledger"]


def draw(review: Review, directory: Path) -> None:
    """Writes `directory/pages/<page>.json`: every block of every page, finished and escaped.

    The same review gives the same bytes.
    """
    # The plotting and table libraries take a second to import: only drawing pays for them.
    from analysis.present.drawing import write_pages

    write_pages(review, directory)


def draw_ledger(directory: Path, ledger: Ledger) -> None:
    """Draws the pages that tell of recorded releases again where the ledger is not the one that they show.

    directory: a review's, with its pages. What others recorded meanwhile is no part of a review: it is shown
    from the ledger as it is now, as far as it may be told beside this review (`Ledger.beside`).
    """
    import json

    # Written last: where it is of this ledger, the others are too.
    last = directory / "pages" / "history.json"
    if not last.is_file():
        return
    from analysis import artifact_bytes as artifacts
    from analysis.in_place import write_text
    from analysis.ledger import Ledger

    body = artifacts.read(directory / artifacts.FILE_NAME)
    ledger = ledger.beside(body)
    shown = json.loads(last.read_text(encoding="utf-8")).get("ledger", Ledger().digest)
    if shown == ledger.digest:
        return
    from analysis.present.drawing import ledger_pages

    for name, text in ledger_pages(directory, body, ledger).items():
        write_text(directory / "pages" / f"{name}.json", text)
