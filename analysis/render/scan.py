"""Looks through everything that was built for what a share-safe release must not show.

    the site's files → pieces of plain text → ids, raw texts and places that stand in them

Known are the ids and the texts of this telemetry, streamed through the engine, and what this machine is
called; addresses and paths are known by their form. A finding says which file, what kind and where, and
never what was found. Ids of fewer than six characters, and those that are short numbers, cannot be told from
words and counts: they are not looked for.

python -m analysis.render.scan SITE [--data DIR]      exits 1 and lists every finding
"""

from __future__ import annotations

import argparse
import base64
import getpass
import html
import json
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.telemetry.violations import clean

if TYPE_CHECKING:
    from analysis.telemetry.address import Address

MIN_ID = 6
MIN_NUMBER = 9
_START = 40
"""Of a longer text its start is looked for: pages cut what is long."""
_MAX_LISTED = 20
_NAME = "its name"
_IDS = {
    "interaction_id": "interaction id",
    "session_id": "session id",
    "user_id": "user id",
    "trace_id": "trace id",
}
_TEXT_FILES = frozenset((".html", ".htm", ".svg", ".xml", ".txt", ".md", ".csv", ".css", ".js"))
_DATA_URI = re.compile(r"data:(image/svg\+xml)?[\w/+.-]*;base64,([A-Za-z0-9+/=]+)")
_TOKENS = (
    re.compile(r"[\w.:@+/-]+"),
    re.compile(r"[\w-]+"),
    re.compile(r"[^\W_]+"),
    re.compile(r"\w+"),
)
_KNOWN_HOSTS = re.compile(
    r"(?:www\.)?(?:w3\.org|json-schema\.org|in-toto\.io|purl\.org|ns\.adobe\.com|iso\.org|github\.com|"
    r"quarto\.org|example\.(?:org|com)|schema\.org|creativecommons\.org|sre\.google)$",
    re.I,
)
"""Hosts that formats name, and to which the report's own pages link."""
_COMMON = frozenset(
    ("root", "user", "admin", "runner", "ubuntu", "data", "home", "local", "localhost")
)
"""Names of users and machines that are words, and tell nothing."""


@dataclass(frozen=True)
class Piece:
    """A text that a reader of `file` may see, and where in it. joined: lines without their breaks, in which
    two words may look like a host."""

    file: str
    place: str
    text: str
    joined: bool = False


@dataclass(frozen=True)
class Known:
    """Telemetry whose ids and texts are looked for. contract: of one's own; None for the project's."""

    data: Path | Address
    contract: Path | None = None


@dataclass(frozen=True)
class Finding:
    """What must not be published: where and of what kind, and not what it says."""

    file: str
    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}, {self.place}"


def scan_site(
    site: Path,
    telemetry: Known | None = None,
    settings: Mapping[str, Any] | None = None,
    places: Iterable[Path] = (),
) -> list[Finding]:
    """Every finding in the built site, once a file, kind and place.

    telemetry: without it addresses, paths and what this machine is called alone are looked for.
    settings: the policy's: what stands there is no secret. places: folders whose paths must not stand
    anywhere. Raises UsageError where the telemetry cannot be read.
    """
    pieces = list(pieces_of(site))
    found = [*_of_form(pieces), *_of_machine(pieces, places)]
    if telemetry is not None:
        found += _of_telemetry(pieces, telemetry, settings or {})
    named = {f.file for f in found if f.place == _NAME}
    found = [replace(f, file=_unnamed(f.file)) if f.file in named else f for f in found]
    return sorted(set(found), key=lambda f: (f.file, f.kind, f.place))


def _unnamed(file: str) -> str:
    """A file whose name is itself what must not be shown."""
    folder = file.rpartition("/")[0]
    return f"a file of {folder or 'the site'}"


def refusal(findings: list[Finding]) -> str:
    """The one error that stops a publication."""
    listed = "\n".join(f"  {one}" for one in findings[:_MAX_LISTED])
    more = len(findings) - _MAX_LISTED
    rest = f"\n  … and {more:,} more" if more > 0 else ""
    return (
        f"the site shows what a share-safe release must not ({len(findings)} finding(s)); nothing was "
        f"published:\n{listed}{rest}"
    )


# ── the texts of a site ──────────────────────────────────────────────────────────────────


def pieces_of(site: Path) -> Iterator[Piece]:
    """All text in the site's files: markup with its entities read, images within it, PDF, JSON, tables."""
    for path in sorted(p for p in site.rglob("*") if p.is_file()):
        name = path.relative_to(site).as_posix()
        yield Piece(name, _NAME, name)
        suffix = path.suffix.lower()
        if suffix == ".pdf":
            yield from _pdf(path, name)
        elif suffix in (".json", ".jsonl"):
            yield from _json(path, name)
        elif suffix in _TEXT_FILES:
            yield from _lines(path.read_text(encoding="utf-8", errors="replace"), name, "")


def _lines(text: str, file: str, within: str) -> Iterator[Piece]:
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"{within}line {number}"
        for at, held in enumerate(_DATA_URI.findall(line), start=1):
            try:
                inner = base64.b64decode(held[1]).decode("utf-8")
            except ValueError:
                continue  # a font or a picture of pixels
            yield from _lines(inner, file, f"{place}, image {at}, ")
        plain = _DATA_URI.sub(" ", line)
        yield Piece(file, place, html.unescape(plain))
        bare = html.unescape(re.sub(r"<wbr>|</?(?:span|code|b|em|strong)\b[^>]*>", "", plain))
        if bare != plain:
            yield Piece(file, place, bare)


def _json(path: Path, file: str) -> Iterator[Piece]:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        held = json.loads(text)
    except ValueError:
        yield from _lines(text, file, "")
        return
    yield from _strings(held, file, "")


def _strings(held: Any, file: str, at: str) -> Iterator[Piece]:
    if isinstance(held, str):
        yield Piece(file, f"at {at or 'the top'}", held)
        if "<" in held or "&" in held:
            yield Piece(file, f"at {at or 'the top'}", html.unescape(held))
    elif isinstance(held, Mapping):
        for number, (key, value) in enumerate(held.items()):
            # A key may itself be what is looked for: the place names it by its number.
            yield Piece(file, f"key {number + 1} of {at or 'the top'}", str(key))
            simple = re.fullmatch(r"[a-z_0-9]{1,40}", str(key)) is not None
            yield from _strings(value, file, f"{at}.{key if simple else number}".lstrip("."))
    elif isinstance(held, list):
        for number, value in enumerate(held):
            yield from _strings(value, file, f"{at}[{number}]")


def _pdf(path: Path, file: str) -> Iterator[Piece]:
    from pypdf import PdfReader

    reader = PdfReader(path)
    for name, value in (reader.metadata or {}).items():
        yield Piece(file, f"metadata {name}", str(value))
    for number, page in enumerate(reader.pages, start=1):
        text = page.extract_text()
        yield Piece(file, f"page {number}", text)
        # What is too long for a line or a cell goes on in the next.
        yield Piece(file, f"page {number}", text.replace("-\n", "").replace("\n", ""), joined=True)
        yield Piece(file, f"page {number}", text.replace("\n", " "))


# ── what has a form, and what this machine is called ─────────────────────────────────────


def _of_form(pieces: Iterable[Piece]) -> Iterator[Finding]:
    from analysis.masking import ADDRESSES

    for piece in pieces:
        if piece.joined or _is_library(piece.file):
            continue
        for kind, pattern in ADDRESSES.items():
            if any(not _is_known(kind, m.group()) for m in pattern.finditer(piece.text)):
                yield Finding(piece.file, kind, piece.place)


def _is_library(file: str) -> bool:
    """Scripts and styles of the site's generator name their own homes."""
    return "site_libs/" in file or file.endswith((".js", ".css"))


def _is_known(kind: str, text: str) -> bool:
    if kind == "URL":
        found = re.match(r"[a-z][\w+.-]*://([^/:?#]*)", text, re.I)
        return found is not None and _KNOWN_HOSTS.fullmatch(found.group(1)) is not None
    return kind == "host name" and _KNOWN_HOSTS.fullmatch(text) is not None


def _of_machine(pieces: Iterable[Piece], places: Iterable[Path]) -> Iterator[Finding]:
    folders = {str(p) for p in (Path.home(), *places) if len(p.parts) > 2}
    names = {"user name": _user(), "host name": socket.gethostname()}
    words = {
        kind: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        for kind, name in names.items()
        if len(name) >= 4 and name.lower() not in _COMMON
    }
    for piece in pieces:
        if any(folder in piece.text for folder in folders):
            yield Finding(piece.file, "path", piece.place)
        for kind, word in words.items():
            if word.search(piece.text):
                yield Finding(piece.file, kind, piece.place)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


# ── what this telemetry holds ────────────────────────────────────────────────────────────


def _of_telemetry(
    pieces: list[Piece], telemetry: Known, settings: Mapping[str, Any]
) -> Iterator[Finding]:
    """Ids as whole words, texts wherever they begin. Telemetry comes by the batch."""
    tokens = {
        word.strip(".:/-+") for p in pieces for form in _TOKENS for word in form.findall(p.text)
    }
    whole = "\x00".join(p.text for p in pieces)
    starts = {whole[at : at + MIN_ID] for at in range(0, max(0, len(whole) - MIN_ID + 1))}
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    for kind, is_id, value in _secrets(telemetry, settings):
        if is_id and value in tokens:
            ids[value] = kind
        elif (not is_id or not _TOKENS[0].fullmatch(value)) and value[:MIN_ID] in starts:
            start = value[:_START]
            if start in whole:
                texts[start] = kind
    for piece in pieces:
        own = {word.strip(".:/-+") for form in _TOKENS for word in form.findall(piece.text)}
        for value in own & ids.keys():
            yield Finding(piece.file, ids[value], piece.place)
        for start, kind in texts.items():
            if start in piece.text:
                yield Finding(piece.file, kind, piece.place)


def _secrets(telemetry: Known, settings: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """(kind, whether it is an id, value) of every id, and of every text that may not be shown."""
    from analysis import contract as contracts
    from analysis.contract import TABLES
    from analysis.masking import MAX_VALUES, is_sensitive, texts_in
    from analysis.telemetry.address import Address
    from analysis.telemetry.source import open_source
    from analysis.telemetry.sql import identifier
    from analysis.telemetry.warehouse import open_warehouse

    data = telemetry.data
    declared = contracts.load(telemetry.contract or contracts.DEFAULT_PATH)
    if isinstance(data, Address) and data.is_warehouse:
        source = open_warehouse(data, declared)
    else:
        source = open_source(data, declared)
    named = set(texts_in(settings))
    try:
        engine = source.engine
        for table in TABLES:
            if table not in source.columns:
                continue
            types = engine.types(table)
            for column in source.columns[table]:
                if types.get(column) != "VARCHAR":
                    continue
                name, place = identifier(column), identifier(table)
                found = f"SELECT DISTINCT {name} AS v FROM {place} WHERE {name} IS NOT NULL"
                kind = _IDS.get(column)
                many = kind is None and len(
                    engine.rows(f"SELECT v FROM ({found}) AS d LIMIT {MAX_VALUES + 1}")
                ) > MAX_VALUES  # fmt: skip
                for batch in engine.stream(found):
                    for value in map(str, batch["v"]):
                        if len(value) < MIN_ID or value in named:
                            continue
                        if value.isdigit() and len(value) < MIN_NUMBER:
                            continue
                        if kind is not None:
                            yield kind, True, value
                        elif many or is_sensitive(value):
                            yield f"text of {clean(column, 60)}", False, value
    finally:
        source.close()


def main(arguments: list[str] | None = None) -> int:
    """Scan the site named on the command line; returns the exit code."""
    from analysis.telemetry.address import address, is_address

    parser = argparse.ArgumentParser(
        prog="python -m analysis.render.scan",
        description="Look through a built site for what a share-safe release must not show.",
    )
    parser.add_argument("site", type=Path, help="the folder with index.html")
    parser.add_argument(
        "--data", help="the telemetry whose ids and texts are looked for: a directory or an engine"
    )
    given = parser.parse_args(arguments)
    data: Path | Address | None = None
    if given.data is not None:
        data = address(given.data) if is_address(given.data) else Path(given.data)
    artifact = given.site / "decision_artifact.json"
    settings = {}
    if artifact.is_file():
        settings = json.loads(artifact.read_text(encoding="utf-8"))["policy"]["settings"]
    findings = scan_site(given.site, None if data is None else Known(data), settings)
    for one in findings:
        print(clean(str(one), limit=None))
    print(f"{given.site}: {len(findings)} finding(s)", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
