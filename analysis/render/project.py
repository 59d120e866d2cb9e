"""The Quarto project as data: `_quarto.yml`, its pages in order, and the document of the PDF."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from analysis.errors import RenderError

EXTENSION = PurePosixPath("_extensions/release-review")
PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the `analysis` package that runs."""
_DOCUMENT = PurePosixPath("report/review.qmd")
_INCLUDE = re.compile(r"^\{\{<\s*include\s+(\S+)\s*>\}\}$")
_BREAK = re.compile(r"^\{\{<\s*pagebreak\s*>\}\}$")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.S)
_FENCE = re.compile(r"^(`{3,})\s*(\{python\b[^}]*\})?")


@dataclass(frozen=True)
class Part:
    """One piece of a page (`markdown`, `code`) or of the PDF (`include`, `break`, `markdown`)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Document:
    """The one document of the PDF: its title, and its parts in order."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class SiteProject:
    """A project that can be rendered: `pages` are relative to `root`, the first one leads."""

    root: Path
    config: Mapping[str, Any]
    pages: tuple[PurePosixPath, ...]
    document: Document
    profiles: tuple[str, ...] = ()


def load_project(root: Path, profiles: Sequence[str] = ()) -> SiteProject:
    """Read `_quarto.yml`, its `render:` list and `report/review.qmd`.

    profiles: of which `_quarto-<name>.yml` is merged over it where there is one, the first one last.

    Raises:
        RenderError: a file is absent or not readable, with every such file named.
    """
    path = root / "_quarto.yml"
    try:
        config = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise RenderError(f"{path}: not YAML: {error}") from error
    for name in reversed(profiles):
        config = _merged(config, _profile(root, name))
    listed = config.get("project", {}).get("render") if isinstance(config, dict) else None
    if not isinstance(listed, list) or not listed:
        raise RenderError(f"{path}: project.render must list the pages, report/index.qmd first")
    sources = [PurePosixPath(str(item)) for item in listed]
    pages = tuple(page for page in sources if page != _DOCUMENT)
    absent = [str(page) for page in [*sources, EXTENSION] if not (root / page).exists()]
    if _DOCUMENT not in sources:
        absent.append(f"{_DOCUMENT} (in project.render)")
    if absent or not pages:
        raise RenderError(f"{root} cannot be rendered; absent: {', '.join(absent) or 'any page'}")
    document = _document(_read(root / _DOCUMENT), [str(page) for page in pages])
    return SiteProject(
        root=root, config=config, pages=pages, document=document, profiles=tuple(profiles)
    )


def profile_file(root: Path, name: str) -> Path | None:
    """The configuration of a profile; None where there is none, as Quarto has it."""
    if re.fullmatch(r"[\w-]+", name) is None:
        raise RenderError(f"profile {name!r}: expected letters, digits, - and _")
    path = root / f"_quarto-{name}.yml"
    return path if path.is_file() else None


def _profile(root: Path, name: str) -> Any:
    path = profile_file(root, name)
    try:
        return {} if path is None else yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise RenderError(f"{path}: not YAML: {error}") from error


def _merged(below: Any, above: Any) -> Any:
    """Quarto's merging: keys of both, lists one after the other, else what is above."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {
            **below,
            **{key: _merged(below[key], v) if key in below else v for key, v in above.items()},
        }
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *(one for one in above if one not in below)]
    return below if above is None else above


def split_page(text: str) -> tuple[Part, ...]:
    """Split a page into its Markdown and its python cells; other code fences stay Markdown."""
    _, body = split_front_matter(text)
    parts: list[Part] = []
    prose: list[str] = []
    code: list[str] | None = None
    fence = ""
    for line in body.splitlines():
        found = _FENCE.match(line)
        if fence:
            closing = line.strip() == fence
            if code is None:
                prose.append(line)
            elif closing:
                parts.append(Part("code", "\n".join(code)))
                code = None
            else:
                code.append(line)
            fence = "" if closing else fence
        elif found:
            fence = found.group(1)
            if found.group(2):
                if "".join(prose).strip():
                    parts.append(Part("markdown", "\n".join(prose)))
                prose, code = [], []
            else:
                prose.append(line)
        else:
            prose.append(line)
    if code is not None:
        raise RenderError(f"a python cell is not closed: expected a line {fence}")
    if "".join(prose).strip():
        parts.append(Part("markdown", "\n".join(prose)))
    return tuple(parts)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return a page's front matter (empty if it has none) and the text after it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, text
    meta = yaml.safe_load(found.group(1))
    return (meta if isinstance(meta, dict) else {}), text[found.end() :]


def _document(text: str, pages: list[str]) -> Document:
    """Read `report/review.qmd`: `include` and `pagebreak` lines, with Markdown between them."""
    meta, body = split_front_matter(text)
    parts: list[Part] = []
    for line in body.splitlines():
        include, stop = _INCLUDE.match(line.strip()), _BREAK.match(line.strip())
        if include:
            page = str(_DOCUMENT.parent / include.group(1).lstrip("/"))
            if include.group(1).startswith("/"):
                page = include.group(1).lstrip("/")
            if page not in pages:
                raise RenderError(f"{_DOCUMENT}: includes {page}, which is no page of the site")
            parts.append(Part("include", page))
        elif stop:
            parts.append(Part("break", ""))
        elif line.strip():
            parts.append(Part("markdown", line))
    missing = [page for page in pages if page not in {p.text for p in parts if p.kind == "include"}]
    if missing:
        raise RenderError(f"{_DOCUMENT}: does not include {', '.join(missing)}")
    return Document(title=str(meta.get("title") or "Release review"), parts=tuple(parts))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(f"{path}: cannot be read: {error}") from error
