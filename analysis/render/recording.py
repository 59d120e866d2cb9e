"""What a recorded release holds: its artifact, its tables and its site, none of which names a row.

The site is rendered anew from the finished review, in which the pages' blocks lie drawn: those that name
single rows are left out, and so is every table that does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis import ledger as ledgers
from analysis.errors import ArtifactError, UsageError
from analysis.present.blocks import without_rows
from analysis.render import Engine, render_site
from analysis.tables import FILES, OF_ROWS, TABLES

_PAGES = "pages"


def finished_review(project: Path, artifact: Path, body: Mapping[str, Any]) -> Path:
    """The drawn review that an artifact belongs to: beside it, or in the project's cache.

    Raises UsageError where there is none.
    """
    for folder in _reviews(project, artifact):
        drawn = (folder / _PAGES).is_dir() and (folder / ledgers.TABLES).is_dir()
        if drawn and _holds(folder / artifacts.FILE_NAME, str(body["digest"])):
            return folder
    raise UsageError(
        f"{artifact}: its pages are in no finished review of this project; run `python -m analysis render` "
        "with the same telemetry, policy and code, then record again"
    )


def _reviews(project: Path, artifact: Path) -> Iterator[Path]:
    yield artifact.resolve().parent
    root = project / ".cache" / "review"
    if root.is_dir():
        yield from sorted(p for p in root.iterdir() if not p.name.startswith("."))


def _holds(path: Path, digest: str) -> bool:
    """Whether a file is the artifact of this digest; most are not, and are not parsed."""
    try:
        if digest.encode() not in path.read_bytes():
            return False
        found = artifacts.read(path)
    except (OSError, UsageError, ArtifactError):
        return False
    return found.get("digest") == digest == artifacts.digest(found)


def build_entry(
    project: Path,
    finished: Path,
    ledger: Path,
    folder: Path,
    engine: Engine,
    report: Callable[[str], None],
) -> None:
    """Fills `folder` from a finished review: artifact, tables, site. Raises RenderError."""
    shutil.copyfile(finished / artifacts.FILE_NAME, folder / artifacts.FILE_NAME)
    (folder / ledgers.TABLES).mkdir()
    for name in (*TABLES, *FILES):
        if name not in OF_ROWS and (finished / ledgers.TABLES / name).is_file():
            shutil.copyfile(finished / ledgers.TABLES / name, folder / ledgers.TABLES / name)
    pages = folder / _PAGES
    pages.mkdir()
    for page in sorted((finished / _PAGES).glob("*.json")):
        held = json.loads(page.read_text(encoding="utf-8"))
        kept = {k: without_rows(v) if isinstance(v, list) else v for k, v in held.items()}
        (pages / page.name).write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
    render_site(project, folder, folder / ledgers.SITE, engine, report, entry_of=ledger)
    shutil.rmtree(pages)
