"""Reads a page as a browser's parser does, into what it is made of and what it says."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser

from analysis.review import PROJECT

PAGES = sorted(p.stem for p in (PROJECT / "report").glob("*.qmd") if p.stem != "review")
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def hidden(text: str) -> set[str]:
    """Characters that cannot be seen; line feeds are none."""
    return {c for c in text if unicodedata.category(c) in HIDDEN and c != "\n"}


@dataclass
class Seen:
    """What a page is made of. attributes: (element, attribute, value), the value of descriptions
    and of embedded images left out."""

    attributes: set[tuple[str, str, str]] = field(default_factory=set)
    scripts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self._raw = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.attributes.add((tag, "", ""))
        for name, value in attrs:
            described = name in ("alt", "aria-label")
            embedded = name == "src" and (value or "").startswith("data:image/svg+xml;base64,")
            self.seen.attributes.add((tag, name, "" if described or embedded else value or ""))
            if embedded:
                self.seen.images.append((value or "").partition(",")[2])
            if described:
                self.seen.text += f" {value} "
        self._raw = tag in ("script", "style")
        if tag == "script":
            self.seen.scripts.append(repr(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._raw = False
        self.seen.attributes.add((f"/{tag}", "", ""))

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.seen.scripts.append(data)
        else:
            self.seen.text += data

    def handle_comment(self, data: str) -> None:
        self.seen.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def read(page: str) -> Seen:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.seen
