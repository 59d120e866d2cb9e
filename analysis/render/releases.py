"""Every recorded release beside the current site: copied as it lies in the ledger, with an index and a
switcher on every page.

    _site/releases/index.html         every release, the newest first
    _site/releases/<folder>/…         data/releases/<folder>/site, byte for byte

Links are relative and permanent. A recorded site is never written again: it names the releases that were
recorded before it, and the index above it, which names all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis.ledger import SITE, Entry, Ledger
from analysis.ledger_names import is_folder_name
from analysis.present.blocks import badge
from analysis.present.escape import Html, escape, say
from analysis.present.formats import moment
from analysis.render.project import EXTENSION

FOLDER = "releases"
INDEX = "index.html"
MAX_SWITCHED = 10
_STYLE = EXTENSION / "releases.css"
_MAIN = re.compile(r"<main\b[^>]*>")
_SWITCHER = re.compile(r'<nav class="rr-releases".*?</nav>', re.S)
_OUTCOMES = frozenset({"ship", "hold", "block"})


@dataclass(frozen=True)
class Shelf:
    """The recorded releases as one site knows them.

    is_entry: whether the site is itself an entry of the ledger, and so lies beside the others.
    """

    ledger: Ledger
    is_entry: bool = False

    @property
    def newest_first(self) -> tuple[Entry, ...]:
        return tuple(reversed(self.ledger.entries))


def put_beside(project: Path, site: Path, review_dir: Path, shelf: Shelf) -> None:
    """Add the switcher to every page of `site`, and to a current site also the releases and their index.

    Idempotent: what an earlier render of the same folder left is replaced.
    """
    body = artifacts.read(review_dir / artifacts.FILE_NAME)
    release, digest = str(body["release"]["id"]), str(body.get("digest"))
    for page in sorted((site / "report").glob("*.html")):
        _insert(page, _switcher(shelf, release, digest, page.name))
    folder = site / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if shelf.is_entry:
        return
    folder.mkdir()
    for entry in shelf.ledger.entries:
        _copy(entry.path / SITE, folder / entry.folder)
    # What is not sound stays at its address too, where it has one; the index says what is wrong.
    for fault in (f for f in shelf.ledger.faults if is_folder_name(f.folder)):
        _copy(fault.path / SITE, folder / fault.folder)
    style = (project / _STYLE).read_text(encoding="utf-8")
    (folder / INDEX).write_text(_index(shelf, body, style), encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    """The regular files below `source`; nothing is followed out of the ledger."""
    if source.is_symlink() or not source.is_dir():
        return
    for root, folders, files in os.walk(source):
        place = target / Path(root).relative_to(source)
        place.mkdir(parents=True)
        folders[:] = [name for name in folders if not (Path(root) / name).is_symlink()]
        for name in files:
            if not (Path(root) / name).is_symlink():
                shutil.copyfile(Path(root) / name, place / name)


# ── the switcher ─────────────────────────────────────────────────────────────────────────


def _insert(page: Path, switcher: Html) -> None:
    text = _SWITCHER.sub("", page.read_text(encoding="utf-8"))
    found = _MAIN.search(text)
    if found is not None:
        text = text[: found.end()] + switcher + text[found.end() :]
        page.write_text(text, encoding="utf-8")


def _switcher(shelf: Shelf, release: str, digest: str, page: str) -> Html:
    """What opens under the release's name: the releases that are recorded, this page of each."""
    # From report/ of the current site, and from report/ of a site that lies among the others.
    above = "../.." if shelf.is_entry else f"../{FOLDER}"
    others = [e for e in shelf.newest_first if e.digest != digest]
    lines = [
        say(
            '<li aria-current="page"><strong>{id}</strong>, {what}</li>',
            id=release,
            what="as it was recorded" if shelf.is_entry else "this report",
        ),
        *(
            say(
                f'<li><a href="{above}/{entry.folder}/{_same(entry, page)}">{{id}}</a>, {{what}}</li>',
                id=entry.release_id,
                what=f"{_outcome(entry)}, until {moment(entry.end_utc)}",
            )
            for entry in others[:MAX_SWITCHED]
        ),
        say(
            f'<li><a href="{above}/{INDEX}">{{all}}</a></li>',
            all="All releases"
            if shelf.is_entry
            else f"All recorded releases ({len(shelf.ledger.entries):,})",
        ),
    ]
    lead = "Recorded release" if shelf.is_entry else "Release"
    return say(
        '<nav class="rr-releases" aria-label="Releases"><details><summary>{lead} '
        "<strong>{id}</strong></summary><ul>{lines}</ul></details></nav>",
        lead=lead,
        id=release,
        lines=Html("".join(lines)),
    )


def _same(entry: Entry, page: str) -> str:
    """The same page of another release, or its first one where it has no such page."""
    return f"report/{page}" if (entry.path / SITE / "report" / page).is_file() else INDEX


def _outcome(entry: Entry) -> str:
    outcome = str(entry.body["decision"]["outcome"])
    return outcome if outcome in _OUTCOMES else "not known"


# ── the index ────────────────────────────────────────────────────────────────────────────


def _index(shelf: Shelf, body: Mapping[str, Any], style: str) -> str:
    recorded = {entry.digest for entry in shelf.ledger.entries}
    rows = [
        _row(entry.release_id, entry.body, f"{entry.folder}/", (entry.path / SITE).is_dir())
        for entry in shelf.newest_first
    ]
    if body.get("digest") not in recorded:
        rows.insert(
            0, _row(str(body["release"]["id"]), body, "../", True, note="this site, not recorded")
        )
    faults = [
        say("<li><code>{folder}</code>: {problem}</li>", folder=f.folder, problem=f.problem)
        for f in shelf.ledger.faults
    ]
    return _PAGE.format(
        style=style,
        table=_table(rows),
        faults=say(
            "<h2>Not to be relied on</h2><p>These folders of the ledger hold no sound release.</p>"
            "<ul>{lines}</ul>",
            lines=Html("".join(faults)),
        )
        if faults
        else "",
        none=""
        if shelf.ledger.entries
        else "<p>No release is recorded yet: <code>python -m analysis record</code> keeps one for good.</p>",
    )


def _row(release: str, body: Mapping[str, Any], at: str, linked: bool, note: str = "") -> Html:
    window = body["windows"]["candidate"]
    named = (
        say(f'<a href="{at}report/index.html">{{id}}</a>', id=release)
        if linked
        else escape(release)
    )
    title = str(body["release"]["title"])
    return say(
        '<tr><th scope="row">{named}{note}</th><td>{badge}</td><td>{start} to {end}</td>'
        "<td>{title}</td><td>{file}</td></tr>",
        named=named,
        note=say('<br><span class="rr-range">{n}</span>', n=note) if note else "",
        badge=badge(str(body["decision"]["outcome"])),
        start=moment(window["start_utc"]),
        end=moment(window["end_utc"]),
        title=title,
        file=say(f'<a href="{at}{artifacts.FILE_NAME}">artifact</a>') if linked else "",
    )


def _table(rows: Iterable[Html]) -> Html:
    return say(
        '<div class="rr-table" role="region" tabindex="0" aria-label="Releases"><table><thead><tr>'
        '<th scope="col">Release</th><th scope="col">Decision</th><th scope="col">Window, UTC</th>'
        '<th scope="col">Title</th><th scope="col">File</th></tr></thead><tbody>{rows}</tbody></table></div>',
        rows=Html("".join(rows)),
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Releases – LLM release review</title>
<style>{style}</style>
</head>
<body>
<header><a href="../report/index.html">LLM release review</a></header>
<main>
<h1>Releases</h1>
<p>Every recorded release with its decision, the newest first. A recorded release stays as it was published:
its address does not change.</p>
{none}
{table}
{faults}
</main>
</body>
</html>
"""
