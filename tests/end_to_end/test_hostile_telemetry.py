"""Telemetry is hostile: whatever its texts are, they reach a reader as texts.

A world whose every text is an attack is reviewed and rendered beside its twin, which is the same
world with harmless texts. What the pages are made of must be the same for both.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypandoc
import pytest
import yaml
from pypdf import PdfReader

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.__main__ import main
from analysis.contract import INTERACTIONS, RULES
from analysis.present import draw
from analysis.present.escape import visible
from analysis.render import render_site
from analysis.render.site_check import check_site
from analysis.review import UNCHANGED
from analysis.tables import TABLES
from analysis.telemetry.opening import KNOWN
from tests.end_to_end import browser
from tests.end_to_end.devtools import tab
from tests.end_to_end.hostile import (
    FILE,
    LONG,
    MARK,
    PAYLOADS,
    TITLE,
    Words,
    broken,
    harmless,
    hostile,
    policy,
    tables,
    written,
)
from tests.end_to_end.reading import PAGES, hidden, read

HOME = os.environ.get("HOME", "/root")
FIRST_LINE = Path(FILE).read_text().splitlines()[0] if Path(FILE).exists() else "root:x:0:0"
GITHUB = "gfm-gfm_auto_identifiers"


@dataclass(frozen=True)
class World:
    """One world on disk: its tables, tables with faults, its policy, finished review, and site."""

    words: Words
    folder: Path
    texts: tuple[str, ...]

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def artifact(self) -> Path:
        return self.site / artifacts.FILE_NAME

    def page(self, name: str) -> str:
        return (self.site / "report" / f"{name}.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Server]:
    """The server that the payloads point to; it must never be asked."""
    with browser.serving(tmp_path_factory.mktemp("canary")) as server:
        yield server


def made(words: Words, folder: Path) -> World:
    own = tables(words)
    written(own, words, folder / "data")
    written(broken(own, words), words, folder / "broken")
    settings = policy(words, own[INTERACTIONS])
    (folder / "policy.yml").write_text(yaml.safe_dump(settings))
    wanted = reviews.request(data=str(folder / "data"), policy=folder / "policy.yml")
    finished = reviews.cached(wanted, draw, project=folder)
    render_site(reviews.PROJECT, finished, folder / "site", engine="embedded")
    return World(words, folder, tuple(words.text(k) for k in range(len(PAYLOADS))))


@pytest.fixture(scope="module")
def world(canary: browser.Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    return made(Words(hostile(canary.address)), tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> World:
    return made(Words(harmless), tmp_path_factory.mktemp("harmless"))


# ── pages ────────────────────────────────────────────────────────────────────────────────


def test_every_payload_reaches_the_pages_and_is_shown_as_text(
    world: World, canary: browser.Server
) -> None:
    assert canary.asked == [], "rendering asks nobody"
    shown = "".join(read(world.page(name)).text for name in PAGES)
    assert [t for t in world.texts if visible(t, 60).removesuffix("…") not in shown] == []
    assert check_site(world.site) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_made_of_what_its_twin_is_made_of(world: World, twin: World, name: str) -> None:
    seen, expected = read(world.page(name)), read(twin.page(name))
    assert seen.attributes - expected.attributes == set()
    assert seen.scripts == expected.scripts
    assert seen.others == expected.others


@pytest.mark.parametrize("name", PAGES)
def test_no_character_that_cannot_be_seen_reaches_a_page(
    world: World, twin: World, name: str
) -> None:
    page, expected = world.page(name), twin.page(name)
    assert hidden(page) - hidden(expected) == set()
    assert hidden(read(page).text) - hidden(read(expected).text) == set()


def test_the_figures_are_drawings_and_hold_no_text_of_the_telemetry(
    world: World, twin: World
) -> None:
    drawn, expected = ({
        (element.tag, attribute)
        for name in PAGES
        for image in read(one.page(name)).images
        for element in ET.fromstring(base64.b64decode(image)).iter()
        for attribute in ("", *element.attrib)
    } for one in (world, twin))  # fmt: skip
    assert len(drawn) > 10
    assert drawn - expected == set()
    assert not any("script" in tag or "}image" in tag or "}text" in tag for tag, _ in drawn)


def test_search_shows_telemetry_as_text(world: World, tmp_path: Path) -> None:
    """It finds what the pages show, hostile names included: in its list they are letters."""
    program = browser.chromium()
    if program is None:
        pytest.skip(browser.ABSENT)
    index = (world.site / "search.json").read_text(encoding="utf-8")
    box = "document.querySelector('.smalldocs-search input')"
    results = "document.querySelector('.smalldocs-search-results.show')"
    seen = ""
    with tab(program, tmp_path) as one:
        one.open((world.site / "report" / "index.html").as_uri())
        # A page that is no server's may not fetch; what it would fetch is JSON, and so JavaScript.
        one.run(f"window.fetch = async () => ({{json: async () => ({index})}}); 1")
        for word in ("script", "onerror", "alert", "coding"):
            one.run(f"{box}.value = '{word}'; {box}.dispatchEvent(new Event('input')); 1")
            one.until(f"!!{results} && {results}.dataset.of !== '{word}'")
            one.until(f"({results}.dataset.of = '{word}', !!{results}.textContent)")
            tags = one.run(f"[...{results}.querySelectorAll('*')].map(e => e.tagName)")
            assert set(tags) <= {"A", "DIV", "MARK"}
            seen += one.run(f"{results}.textContent")
        assert one.run("document.title") != TITLE
        assert one.run(f"document.getElementById({MARK!r})") is None
    assert "<" in seen


@pytest.mark.parametrize("name", PAGES)
def test_in_a_browser_no_script_runs_and_no_request_leaves(
    world: World, canary: browser.Server, name: str, tmp_path: Path
) -> None:
    program = browser.chromium()
    if program is None:
        pytest.skip(browser.ABSENT)
    canary.asked.clear()
    with browser.serving(world.site) as server:
        seen = browser.visit(program, f"{server.address}/report/{name}.html", tmp_path)
    assert canary.asked == []
    assert [url for url in seen.requests if not url.startswith(f"{server.address}/")] == []
    assert f"/report/{name}.html" in server.asked
    assert seen.title == re.findall("<title>(.*?)</title>", world.page(name))[0] != TITLE
    assert MARK not in seen.ids
    tags, expected = (
        {tag for tag, *_ in read(html).attributes} for html in (seen.dom, world.page(name))
    )
    # The one element that the page's own script adds and no page has: the label of a filter.
    assert tags <= {*expected, "label", "/label"}


# ── files ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_no_cell_that_a_spreadsheet_runs(
    world: World, name: str, separator: str
) -> None:
    text = (world.site / "tables" / name).read_bytes().decode()
    assert hidden(text) == set()
    cells = [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
    assert len(cells) > 1
    assert [
        c for c in cells if c.lstrip().startswith(tuple("=+-@＝＋－＠")) and not _number(c)
    ] == []


def _number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", cell) is not None


def test_the_tables_hold_hostile_ids_values_and_names(world: World) -> None:
    held = "".join((world.site / "tables" / name).read_text() for name in TABLES)
    names = ("scenario", "<script>", "{{< env HOME >}}", "'=HYPERLINK", "x;'=1+1")
    assert [n for n in names if n not in held] == []


ACTIONS = ("/JavaScript", "/JS", "/Launch", "/URI", "/OpenAction", "/AA", "/EmbeddedFile", "/Filespec",
           "/RichMedia", "/SubmitForm", "/GoToR", "/GoToE", "/AcroForm")  # fmt: skip


def test_the_pdf_does_nothing_and_holds_no_file(world: World, twin: World) -> None:
    own, other = (PdfReader(one.site / "review.pdf") for one in (world, twin))
    assert _actions(own) - _actions(other) == set()
    text = "\n".join(page.extract_text() for page in own.pages)
    assert "{{< env HOME >}}" in text
    assert '#read("/etc/passwd")' in text.replace("\u200b", "")
    assert FIRST_LINE not in text
    assert re.search(rf"(?<![\w/]){re.escape(HOME)}(?!\w)", text) is None
    # The space of no width that breaks long words in narrow cells is the report's own, and a letter
    # that no font of the PDF has is read back as NUL.
    assert hidden(text) <= {"\u200b", "\x00"}


def _actions(reader: PdfReader) -> set[tuple[str, str]]:
    """Everything in the file that could act or carry a file, with its target."""
    found = set()
    numbers = {n for part in reader.xref.values() for n in part} | set(reader.xref_objStm)
    for number in sorted(numbers):
        for key, value in _entries(reader.get_object(number)):
            if key in ACTIONS or value in ACTIONS:
                found.add((key, str(value)))
    return found


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in dict.items(node):
            yield str(key), value
            yield from _entries(value)
    elif isinstance(node, list):
        for value in node:
            yield from _entries(value)


def test_the_artifact_is_json_and_agrees_with_itself(world: World) -> None:
    assert artifacts.verify_file(world.artifact) == []
    raw = world.artifact.read_text(encoding="utf-8")
    assert not {c for c in raw if c < " " and c != "\n"}


# ── terminals and other programs ─────────────────────────────────────────────────────────


def said(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    code = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(("tables_", "code"), [("data", 0), ("broken", 1)])
def test_violations_are_told_in_visible_text(
    world: World, capsys: pytest.CaptureFixture[str], tables_: str, code: int
) -> None:
    told = {}
    for form in ("text", "json", "junit", "github"):
        found, told[form], err = said(
            capsys, "validate", "--data", world.folder / tables_, "--format", form
        )
        assert (found, err) == (code, "")
        assert hidden(told[form]) == set(), form
        assert FIRST_LINE not in told[form], form
        assert form == "github" or "##[" not in told[form], form
    n_violations = len(json.loads(told["json"])["violations"])
    assert (n_violations > len(PAYLOADS)) == (code == 1)
    assert told["json"].isascii()
    starts = re.compile(r"  (error|warning) +[a-z_]+ +llm_system_")
    assert sum(bool(starts.match(line)) for line in told["text"].splitlines()) == n_violations
    lines = told["github"].splitlines()
    assert len(lines) == max(n_violations, 1)
    assert all(re.match(r"::(error|warning|notice) title=[^:,]*::", line) for line in lines)
    cases = list(ET.fromstring(told["junit"]).iter("testcase"))
    assert [case.get("name") for case in cases] == list(RULES)


def _outline(node: ET.Element) -> list[tuple[str, str | None]]:
    return [(e.tag, e.get("name") if e.tag == "testcase" else None) for e in node.iter()]


@pytest.mark.parametrize("form", ["text", "json", "junit", "github", "markdown"])
def test_the_decision_is_told_in_visible_text(
    world: World, twin: World, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    own, other = (said(capsys, "gate", one.artifact, "--format", form) for one in (world, twin))
    assert own[0] == other[0]
    assert own[2] == ""
    assert hidden(own[1]) == set()
    assert "##[" not in own[1]
    assert own[1].count("\n") == other[1].count("\n")
    if form == "json":
        assert own[1].isascii()
        assert (
            json.loads(own[1])["release"]["id"] == artifacts.read(world.artifact)["release"]["id"]
        )
    elif form == "junit":
        assert _outline(ET.fromstring(own[1])) == _outline(ET.fromstring(other[1]))
    elif form == "github":
        lines = own[1].splitlines()
        assert all(re.match(r"::(error|warning|notice) title=[^:,]*::", line) for line in lines)
    elif form == "markdown":
        shown = [read(pypandoc.convert_text(text, "html", GITHUB)) for text in (own[1], other[1])]
        assert shown[0].attributes == shown[1].attributes
        assert shown[0].others == shown[1].others == []


def test_every_check_is_explained_in_visible_text(
    world: World, twin: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for check in artifacts.read(world.artifact)["checks"]:
        runs = [
            said(capsys, "gate", one.artifact, "--explain", check["id"]) for one in (world, twin)
        ]
        assert hidden(runs[0][1]) == set()
        assert "##[" not in runs[0][1]
        assert [len(out.splitlines()) for _, out, _ in runs] == [len(runs[1][1].splitlines())] * 2


def test_a_review_prints_its_decision_in_visible_text(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PROJECT", world.folder)
    given = ("--data", world.folder / "data", "--policy", world.folder / "policy.yml")
    code, out, err = said(capsys, "review", *given)
    assert code == 0
    assert err in ("", f"{KNOWN}\n", f"{UNCHANGED}\n")
    assert hidden(out) == set()
    assert out.startswith("BLOCK  release </script>")


REFUSED = {
    "telemetry that breaks the contract": ("broken", None, (), 1),
    "a release that is not there": ("data", {"windows": {"candidate": {"release_id": "{16}"}}}, (), 2),
    "keys that are unknown": ("data", {"{40}": 1, "{42}": {"{0}": 2}, "{16}": 1}, (), 2),
    "values of another type": ("data", {"dimensions": "{40}", "slos": [{"name": "{46}"}]}, (), 2),
    "an id that is no check": ("data", {"gate": {"severity": {"{48}": "block"}}}, (), 2),
    "a time that is none": ("data", None, ("--as-of", "{40}"), 2),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_told_in_visible_text(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    data, settings, options, code = REFUSED[case]
    filled = _filled(settings, world.texts)
    path = world.folder / "policy.yml"
    if filled is not None:
        path = tmp_path / "policy.yml"
        path.write_text(yaml.safe_dump(filled))
    given = ("--data", world.folder / data, "--policy", path, *(_filled(options, world.texts)))
    found, out, err = said(capsys, "review", "--out", tmp_path / "out", *given)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert hidden(err) == set()
    assert not (tmp_path / "out").exists()


def _filled(node: Any, texts: tuple[str, ...]) -> Any:
    """A structure with every {number} replaced by that payload."""
    if isinstance(node, dict):
        return {_filled(k, texts): _filled(v, texts) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_filled(v, texts) for v in node]
    if isinstance(node, str) and re.fullmatch(r"\{\d+\}", node):
        return texts[int(node[1:-1])]
    return node


def test_a_text_of_20_kb_is_cut_wherever_it_is_shown(world: World) -> None:
    for name in PAGES:
        assert LONG[:1000] not in world.page(name)
    held = artifacts.read(world.artifact)
    checks = [c[key] or "" for c in held["checks"] for key in ("sentence", "action", "reason")]
    assert max(map(len, checks)) < 2_000
