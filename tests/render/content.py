"""What a rendered site says, whichever engine made it: text, tables, figures and links, page by page.

Left out as the engines' own, because no reader reads it as content:

- white space and line breaks in the source: a browser shows them as one space;
- ids and classes of cells, and classes that are not the report's (`rr-…`): frames around the content;
- where the links to the page before and after stand: below the content, or after it;
- `index.html` at the end of an address, against its folder.

Nothing else is evened out: letters, quotation marks, dashes and their order are compared as they are.
"""

from __future__ import annotations

import base64
import difflib
import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pypdf import PdfReader

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
INLINE = frozenset(
    ("a", "abbr", "b", "cite", "code", "del", "em", "i", "ins", "kbd", "label", "mark", "q", "s")
    + ("samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr")
)
SILENT = frozenset({"script", "style", "template", "svg"})
IN_SVG = "data:image/svg+xml;base64,"


@dataclass
class Node:
    """An element with its children, which are elements and text."""

    tag: str
    given: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.given.get("class", "").split()

    def all(self) -> Iterator[Node]:
        """This element and all below it, as they open."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.all()

    def first(self, tag: str, id: str = "") -> Node | None:
        return next((n for n in self.all() if n.tag == tag and id in ("", n.given.get("id"))), None)

    @property
    def text(self) -> str:
        """The words below, with one space between them; a line break is a space."""
        return " ".join("".join(self._spoken()).split())

    def _spoken(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag == "br":
                yield " "
            elif child.tag not in SILENT:
                inline = child.tag in INLINE
                yield from child._spoken() if inline else (" ", *child._spoken(), " ")


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("#document")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if any(node.tag == tag for node in self.open[1:]):
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


@dataclass(frozen=True)
class Table:
    """Rows of cells; a cell is its words, with its span where it is more than one column wide."""

    label: str
    head: tuple[tuple[str, ...], ...]
    body: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...]
    caption: str


@dataclass(frozen=True)
class Figure:
    """An image with its description, its caption, and its bytes."""

    alt: str
    caption: str
    image: bytes


@dataclass(frozen=True)
class Link:
    """Words that lead to a file of the site, a place in it, or an address elsewhere."""

    text: str
    target: str


@dataclass(frozen=True)
class Page:
    """One page. lines: the text with headings, items and the places of tables and figures, in order.
    marks: (class, text) of what the report's style sheet draws. places: what a link can lead to."""

    title: str
    lang: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    links: tuple[Link, ...]
    marks: tuple[tuple[str, str], ...]
    places: frozenset[str]
    menus: tuple[tuple[Link, ...], ...]


def read_page(site: Path, name: str) -> Page:
    """The content of `site/name`. Raises ValueError for a page without a main part."""
    builder = _Builder()
    builder.feed((site / name).read_text(encoding="utf-8"))
    builder.close()
    root = builder.root
    main, html, title = root.first("main"), root.first("html"), root.first("title")
    if main is None or html is None or title is None:
        raise ValueError(f"{name}: no <main>, <html> or <title>")
    turning = [n for n in root.all() if "page-navigation" in n.classes]
    menus = [root.first("nav", "quarto-sidebar"), root.first("nav", "TOC")]
    bar = next((n for n in root.all() if "navbar-collapse" in n.classes), None)
    content = Node("main", main.given, [c for c in main.children if c not in turning])
    inside = list(content.all())
    tables = [n for n in inside if n.tag == "table"]
    figures = [n for n in inside if n.tag == "figure"]
    regions = {
        id(table): node.given.get("aria-label", "")
        for node in inside if "rr-table" in node.classes
        for table in node.all() if table.tag == "table"
    }  # fmt: skip
    return Page(
        title=title.text,
        lang=html.given.get("lang", ""),
        lines=tuple(_lines(content)),
        tables=tuple(_table(n, regions.get(id(n), "")) for n in tables),
        figures=tuple(_figure(n, name) for n in figures),
        links=_links(content, name),
        marks=tuple((c, n.text) for n in inside for c in n.classes if c.startswith("rr-")),
        places=frozenset(
            n.given["id"] for n in inside if "id" in n.given and "cell" not in n.classes
        ),
        menus=tuple(_links(menu, name) if menu else () for menu in (*menus, bar, *turning)),
    )


def _lines(node: Node) -> Iterator[str]:
    """One line a block of text, with what kind of block it is."""
    said: list[str] = []

    def flush() -> Iterator[str]:
        line = " ".join("".join(said).split())
        said.clear()
        if line:
            yield line

    for child in node.children:
        if isinstance(child, str):
            said.append(child)
        elif child.tag in ("table", "figure", "img"):
            yield from flush()
            yield f"[{child.tag}]"
        elif child.tag == "br":
            said.append(" ")
        elif child.tag in INLINE:
            said.append(f"`{child.text}`" if child.tag == "code" else "".join(child._spoken()))
        elif child.tag not in SILENT:
            yield from flush()
            below = list(_lines(child))
            kind = {"li": "- ", "h1": "# ", "h2": "## ", "h3": "### ", "h4": "#### "}
            yield from (
                f"{kind.get(child.tag, '')}{line}" if i == 0 else line
                for i, line in enumerate(below)
            )
    yield from flush()


def _table(node: Node, label: str) -> Table:
    parts: dict[str, list[tuple[str, ...]]] = {"thead": [], "tbody": [], "tfoot": []}
    for part in node.all():
        if part.tag in parts:
            parts[part.tag] += [_cells(row) for row in part.all() if row.tag == "tr"]
    caption = node.first("caption")
    return Table(
        label=label,
        head=tuple(parts["thead"]),
        body=tuple(parts["tbody"]),
        foot=tuple(parts["tfoot"]),
        caption=caption.text if caption else "",
    )


def _cells(row: Node) -> tuple[str, ...]:
    cells = [n for n in row.children if isinstance(n, Node) and n.tag in ("td", "th")]
    return tuple(
        f"{n.text} ({n.given['colspan']} wide)" if n.given.get("colspan", "1") != "1" else n.text
        for n in cells
    )


def _figure(node: Node, name: str) -> Figure:
    image, caption = node.first("img"), node.first("figcaption")
    if image is None or not image.given.get("src", "").startswith(IN_SVG):
        raise ValueError(f"{name}: a figure without an image in the page")
    return Figure(
        alt=image.given.get("alt", ""),
        caption=caption.text if caption else "",
        image=base64.b64decode(image.given["src"].removeprefix(IN_SVG)),
    )


def _links(node: Node, name: str) -> tuple[Link, ...]:
    """Links in order; one without an address opens a menu, and an empty one is a switch."""
    return tuple(
        Link(n.text, _target(n.given["href"], name))
        for n in node.all()
        if n.tag == "a" and n.given.get("href")
    )


def _target(address: str, name: str) -> str:
    """An address as seen from the site's folder."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address
    path = posixpath.join(posixpath.dirname(name), unquote(parts.path)) if parts.path else name
    path = posixpath.join(path, "index.html") if path.endswith("/") else path
    return posixpath.normpath(path) + (f"#{unquote(parts.fragment)}" if parts.fragment else "")


@dataclass(frozen=True)
class Document:
    """The PDF. words: of the running text, without the head and foot of sheets. outline: (level, title).
    figures: descriptions. n_rows: of each table, by the tags."""

    title: str
    lang: str
    made_by: str
    words: tuple[str, ...]
    outline: tuple[tuple[int, str], ...]
    figures: tuple[str, ...]
    n_rows: tuple[int, ...]
    n_sheets: int
    accessible: bool


def read_pdf(path: Path) -> Document:
    """The content of a PDF that is tagged."""
    reader = PdfReader(path)
    title = str((reader.metadata and reader.metadata.title) or "")
    words: list[str] = []
    for page in reader.pages:
        text = re.sub(r"\s*\b\d+ / \d+\s*$", "", page.extract_text())
        # Long names and words may break anywhere, so a break is no part of a word.
        text = re.sub(r"[\u00ad\u200b]|-\n(?=[a-z])", "", text.removeprefix(title))
        words += text.split()
    tags = list(_tags(reader.root_object["/StructTreeRoot"]))
    described = reader.root_object["/Metadata"].get_object().get_data()
    return Document(
        title=title,
        lang=str(reader.root_object.get("/Lang", "")),
        made_by=str((reader.metadata and reader.metadata.creator) or ""),
        words=tuple(words),
        outline=tuple(_outline(reader.outline)),
        figures=tuple(str(tag.get("/Alt", "")) for tag in tags if tag.get("/S") == "/Figure"),
        n_rows=tuple(
            sum(below.get("/S") == "/TR" for below in _tags(tag))
            for tag in tags
            if tag.get("/S") == "/Table"
        ),
        n_sheets=len(reader.pages),
        accessible=b"pdfuaid:part" in described,
    )


def _tags(node: Any) -> Iterator[Any]:
    node = node.get_object()
    if not hasattr(node, "get"):
        return
    yield node
    below = node.get("/K", [])
    below = below.get_object() if hasattr(below, "get_object") else below
    for child in below if isinstance(below, list) else [below]:
        if hasattr(child, "get_object"):
            yield from _tags(child)


def _outline(entries: Sequence[Any], level: int = 1) -> Iterator[tuple[int, str]]:
    for entry in entries:
        if isinstance(entry, list):
            yield from _outline(entry, level + 1)
        else:
            yield level, str(entry.title)


def differences(one: Page, other: Page) -> list[str]:
    """What two pages do not have in common, part by part, each as `part: one | other`."""
    found = [
        f"{part}: {getattr(one, part)!r} | {getattr(other, part)!r}"
        for part in ("title", "lang")
        if getattr(one, part) != getattr(other, part)
    ]
    found += _unlike("text", one.lines, other.lines)
    found += _unlike("figure", one.figures, other.figures)
    found += _unlike("link", one.links, other.links)
    found += _unlike("mark", one.marks, other.marks)
    found += [f"place: {name} in one only" for name in sorted(one.places ^ other.places)]
    found += _unlike("menu", one.menus, other.menus)
    found += _unlike("table", [t.label for t in one.tables], [t.label for t in other.tables])
    for left, right in zip(one.tables, other.tables, strict=False):
        name = f"table {left.label!r}"
        found += _unlike(f"{name}, caption", [left.caption], [right.caption])
        found += _unlike(f"{name}, head", left.head, right.head)
        found += _unlike(f"{name}, row", left.body, right.body)
        found += _unlike(f"{name}, foot", left.foot, right.foot)
    return found


def pdf_differences(one: Document, other: Document) -> list[str]:
    """What two PDFs do not have in common. Where two versions of Typst made them, lines and sheets break
    elsewhere and heads of tables repeat elsewhere: then the words are compared without their order."""
    found = [
        f"{part}: {getattr(one, part)!r} | {getattr(other, part)!r}"
        for part in ("title", "lang", "accessible")
        if getattr(one, part) != getattr(other, part)
    ]
    if one.made_by == other.made_by:
        found += _unlike("words", one.words, other.words)
        found += _unlike("sheets", [one.n_sheets], [other.n_sheets])
    else:
        found += _unlike("words", sorted(set(one.words)), sorted(set(other.words)))
    for part in ("outline", "figures", "n_rows"):
        found += _unlike(part, getattr(one, part), getattr(other, part))
    return found


def _unlike(part: str, one: Sequence[Any], other: Sequence[Any]) -> list[str]:
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return [
        f"{part} {start + 1}: {_shown(one[start:end])} | {_shown(other[from_:to])}"
        for kind, start, end, from_, to in matcher.get_opcodes()
        if kind != "equal"
    ]


def _shown(parts: Sequence[Any]) -> str:
    text = repr(list(parts))
    return text if len(text) <= 400 else f"{text[:400]}…"


def read_index(site: Path) -> dict[tuple[str, str, str], str]:
    """What the site's search looks through: (address, page, section) → its letters.

    Quarto writes `<` as `&lt;` where smalldocs escapes it while showing, begins a section's words with its
    name, and puts no space between two cells: so white space is left out.
    """
    entries = json.loads((site / "search.json").read_text(encoding="utf-8"))
    return {
        (one["href"], one["title"], one["section"]): "".join(
            unescape(one["text"]).removeprefix(one["section"]).split()
        )
        for one in entries
    }
