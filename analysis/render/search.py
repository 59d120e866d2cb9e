"""The site's search index: what the pages show, the answer, tables and captions of a cell included.

smalldocs indexes the words of a page's source; Quarto, as this module, those of the finished page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr")
)
_INLINE = frozenset(("a", "b", "code", "em", "i", "span", "strong", "sub", "sup", "wbr"))
_SILENT = frozenset({"script", "style", "nav", "header"})


@dataclass
class _Section:
    id: str = ""
    heading: str = ""
    words: list[str] = field(default_factory=list)


def write_index(site: Path, pages: Sequence[PurePosixPath]) -> None:
    """Write `site/search.json` of the laid out `pages`: an entry for each page, and for each section."""
    entries = [entry for page in pages for entry in _entries(site, page)]
    (site / "search.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def _entries(site: Path, page: PurePosixPath) -> list[dict[str, str]]:
    reader = _Reader()
    reader.feed((site / page).read_text(encoding="utf-8"))
    reader.close()
    return [
        {
            "objectID": address,
            "href": address,
            "title": " ".join(reader.title.split()),
            "section": section.heading.strip(),
            "text": " ".join("".join(section.words).split()),
        }
        for section in reader.sections
        for address in [f"{page}#{section.id}" if section.id else str(page)]
    ]


class _Reader(HTMLParser):
    """Words go to the section of level 2 that they are in, or to the page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.sections = [_Section()]
        self._open: list[tuple[str, _Section]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        section = self._open[-1][1] if self._open else self.sections[0]
        if tag == "section" and "level2" in given.get("class", "").split():
            section = _Section(given.get("id", ""))
            self.sections.append(section)
        if tag not in _INLINE:
            section.words.append(" ")
        if tag not in _VOID:
            self._open.append((tag, section))

    def handle_endtag(self, tag: str) -> None:
        if any(name == tag for name, _ in self._open):
            while True:
                name, section = self._open.pop()
                if name not in _INLINE:
                    section.words.append(" ")
                if name == tag:
                    return

    def handle_data(self, data: str) -> None:
        names = [name for name, _ in self._open]
        if "h1" in names and "main" in names:
            self.title += data
        if "main" not in names or _SILENT & set(names):
            return
        section = self._open[-1][1]
        if "h2" in names:
            section.heading += data
        else:
            section.words.append(data)
