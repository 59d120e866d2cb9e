"""Writes what every page shows; one view's page a module."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from analysis import artifact as artifacts
from analysis.ledger import Ledger
from analysis.present import (
    budget,
    contract,
    decision,
    drift,
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
}


def write_pages(review: Review, directory: Path) -> None:
    """Writes `directory/pages/<page>.json`, each with the page's blocks by part."""
    folder = directory / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PAGES.items():
        (folder / f"{name}.json").write_text(_text(draw(review)), encoding="utf-8")


FROM_LEDGER: Mapping[str, Callable[[Body, Ledger], Parts]] = {
    "index": decision.parts_of,
    "history": history.parts_of,
}
"""The pages that tell of recorded releases too."""


def ledger_pages(directory: Path, ledger: Ledger) -> dict[str, str]:
    """Page → its text, of those of the review in `directory` that tell of the ledger, with its digest."""
    body = artifacts.read(directory / artifacts.FILE_NAME)
    return {
        name: _text(draw(body, ledger), ledger=ledger.digest) for name, draw in FROM_LEDGER.items()
    }


def _text(drawn: Parts, **more: str) -> str:
    held = {"answer": drawn.answer, "evidence": drawn.evidence, "actions": drawn.actions, **more}
    return json.dumps(held, ensure_ascii=False, indent=1) + "\n"
