"""The review that a project's `report/policy.yml` names, from the cache or computed now."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from analysis import ledger as ledgers
from analysis import review as reviews
from analysis.present import draw, draw_ledger


def current(project: Path) -> Path:
    """The directory of that review, with its pages; `.cache/review/current` then names it.

    What a bare `quarto render` shows. Raises ReviewError where it cannot be computed.
    """
    place = reviews.cached(reviews.request(project=project), draw, project=project)
    draw_ledger(place, ledgers.read(project / ledgers.RELEASES))
    pointer = project / ".cache" / "review" / "current"
    handle, name = tempfile.mkstemp(dir=pointer.parent, prefix=".current-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(place.name)
    os.replace(name, pointer)
    return place
