"""Writes what every page shows; one view's page a module."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

from analysis.ledger import Ledger
from analysis.present import (
    anchors,
    budget,
    contract,
    decision,
    disclosed,
    drift,
    glossary_page,
    health,
    history,
    hotspots,
    provenance,
    routing,
    triage,
)
from analysis.present.blocks import Body, Parts
from analysis.review import Review

PAGES: Mapping[str, Callable[[Review], Parts]] = {
    "index": decision.parts,
    "contract": contract.parts,
    "health": health.parts,
    "budget": budget.parts,
    "hotspots": hotspots.parts,
    "routing": routing.parts,
    "drift": drift.parts,
    "triage": triage.parts,
    "history": history.parts,
    "artifact": provenance.parts,
    "glossary": glossary_page.parts,
}


def write_pages(review: Review, directory: Path) -> None:
    """Writes `directory/pages/<page>.json`, each with the page's blocks by part.

    Ids are unique on a page, and a link to a table, figure or check leads to it where its page shows it.
    """
    folder = directory / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        name: _placed(disclosed.told(review.body, name, draw(review)))
        for name, draw in PAGES.items()
    }
    known = {name: anchors.places([*chain(*parts.values())]) for name, parts in drawn.items()}
    for name, parts in drawn.items():
        (folder / f"{name}.json").write_text(_text(_resolved(parts, known)), encoding="utf-8")


_PARTS = ("answer", "evidence", "actions")
FROM_LEDGER: Mapping[str, Callable[[Body, Ledger], Parts]] = {
    "index": decision.parts_of,
    "history": history.parts_of,
}
"""The pages that tell of recorded releases too."""


def ledger_pages(directory: Path, body: Body, ledger: Ledger) -> dict[str, str]:
    """Page → its text, of those of the review in `directory` that tell of the ledger, with its digest.

    body: the review's artifact.
    """
    drawn = {
        name: _placed(disclosed.told(body, name, draw(body, ledger)))
        for name, draw in FROM_LEDGER.items()
    }
    known = {
        path.stem: anchors.places([b for part in _PARTS for b in held[part]])
        for path in sorted((directory / "pages").glob("*.json"))
        if (held := json.loads(path.read_text(encoding="utf-8")))
    }
    known |= {name: anchors.places([*chain(*parts.values())]) for name, parts in drawn.items()}
    return {
        name: _text({**_resolved(parts, known), "ledger": ledger.digest})
        for name, parts in drawn.items()
    }


def _resolved(
    parts: Mapping[str, list[str]], known: Mapping[str, set[str]]
) -> dict[str, list[str]]:
    return {part: anchors.resolved(blocks, known) for part, blocks in parts.items()}


def _placed(drawn: Parts) -> dict[str, list[str]]:
    """The blocks of a page by part, each id once."""
    taken: dict[str, int] = {}
    return {part: anchors.unique(getattr(drawn, part), taken) for part in _PARTS}


def _text(held: Mapping[str, object]) -> str:
    return json.dumps(held, ensure_ascii=False, indent=1) + "\n"
