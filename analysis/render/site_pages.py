"""Reads one HTML page of a built site into the facts that the checks need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param")
    + ("source", "track", "wbr")
)
_LOADING_LINKS = frozenset(
    {
        "stylesheet",
        "icon",
        "preload",
        "prefetch",
        "modulepreload",
        "manifest",
        "dns-prefetch",
        "preconnect",
    }
)
# The report's permanent addresses (`present.anchors`).
_PLACE = re.compile(r"(?:table|figure|check|term)-")
_ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//|^\s*(?:https?|ftp|file):", re.I)
_CSS_LOADS = re.compile(
    r"@import\s+(?:url\()?\s*['\"]?([^'\")\s;]+)|url\(\s*['\"]?([^'\")]+)", re.I
)


@dataclass
class PageFacts:
    """What one page holds; `text` is prose of the page body outside cells, tables and code."""

    title: str = ""
    lang: str = ""
    ids: set[str] = field(default_factory=set)
    repeated_ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    images_without_alt: list[str] = field(default_factory=list)
    n_figures_without_alt: int = 0
    answer: str = ""
    text: str = ""
    unresolved: int = 0
    n_scripts_in_main: int = 0
    script_urls: list[str] = field(default_factory=list)
    event_handlers: list[str] = field(default_factory=list)


def read_page(path: Path) -> PageFacts:
    """Parse a page; broken markup is read as a browser would, never an error."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8", errors="replace"))
    reader.close()
    return reader.facts


def loads_from_elsewhere(css: str) -> list[str]:
    """Addresses outside the site that a stylesheet fetches."""
    found = (match.group(1) or match.group(2) for match in _CSS_LOADS.finditer(css))
    return [address for address in found if _ELSEWHERE.match(address)]


class _Reader(HTMLParser):
    """A stack of open elements; each element adds to the facts as it opens."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.facts = PageFacts()
        self._stack: list[tuple[str, frozenset[str]]] = []
        self._figures: list[bool] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = frozenset(given.get("class", "").split())
        self._note_element(tag, given, classes)
        self._note_loads(tag, given)
        if tag not in _VOID:
            self._stack.append((tag, classes))

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        names = [name for name, _ in self._stack]
        if tag not in names:
            return
        while self._stack:
            name, _ = self._stack.pop()
            if name == "figure" and self._figures and not self._figures.pop():
                self.facts.n_figures_without_alt += 1
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        names = {name for name, _ in self._stack}
        if self._stack and self._stack[-1][0] == "title" and "svg" not in names:
            self.facts.title += data
        if "style" in names:
            self.facts.elsewhere += loads_from_elsewhere(data)
        if names & {"script", "style"} or "main" not in names:
            return
        classes = {name for _, held in self._stack for name in held}
        if "rr-answer" in classes:
            self.facts.answer += data
        # What a cell shows is escaped data, and may read like anything at all; so may a release's name.
        if not classes & {"cell", "rr-releases"} and not names & {"td", "th", "code", "figure"}:
            self.facts.text += data

    def _note_element(self, tag: str, given: dict[str, str], classes: frozenset[str]) -> None:
        facts = self.facts
        inside_main = any(name == "main" for name, _ in self._stack)
        if tag == "html":
            facts.lang = given.get("lang", "")
        for name in ("id", "name") if tag == "a" else ("id",):
            if given.get(name):
                if name == "id" and given[name] in facts.ids and _PLACE.match(given[name]):
                    facts.repeated_ids.append(given[name])
                facts.ids.add(given[name])
        if tag == "figure":
            self._figures.append(False)
        described = bool((given.get("alt") or given.get("aria-label") or "").strip())
        if tag in ("img", "svg") and described and self._figures:
            self._figures[-1] = True
        if tag == "img" and not given.get("alt", "").strip():
            facts.images_without_alt.append(given.get("src", "")[:80])
        if "quarto-unresolved-ref" in classes:
            facts.unresolved += 1
        if inside_main:
            facts.n_scripts_in_main += tag == "script"
            facts.event_handlers += [name for name in given if name.startswith("on")]

    def _note_loads(self, tag: str, given: dict[str, str]) -> None:
        facts = self.facts
        if tag in ("a", "area") and "href" in given:
            href = given["href"].strip()
            if re.match(r"(?i)(javascript|vbscript|data):", href):
                facts.script_urls.append(href[:80])
            else:
                facts.links.append(href)
        loaded = [given[name] for name in ("src", "poster", "data") if given.get(name)]
        loaded = loaded if tag not in ("a", "button", "div", "span") else []
        loaded += [part.split()[0] for part in given.get("srcset", "").split(",") if part.split()]
        if tag == "link" and _LOADING_LINKS & set(given.get("rel", "").lower().split()):
            loaded.append(given.get("href", ""))
        if tag in ("image", "use"):
            loaded += [given[name] for name in ("href", "xlink:href") if given.get(name)]
        for address in loaded:
            (facts.elsewhere if _ELSEWHERE.match(address) else facts.files).append(address)
        facts.elsewhere += loads_from_elsewhere(given.get("style", ""))
