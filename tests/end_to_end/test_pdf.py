"""The PDF as a screen reader meets it: PDF/UA-1, and what the tags say."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from analysis.present.palette import DARK, GROUND, INK
from analysis.review import PROJECT
from tests.end_to_end.test_render import PAGES


@pytest.fixture(scope="module")
def pdf(site: Path) -> PdfReader:
    return PdfReader(site / "review.pdf")


def elements(reader: PdfReader) -> Iterator[Any]:
    """The elements of the structure tree, in reading order."""
    waiting = [reader.root_object["/StructTreeRoot"]]
    while waiting:
        one = waiting.pop().get_object()
        if isinstance(one, list):
            waiting += reversed(one)
        elif hasattr(one, "get"):
            if "/S" in one:
                yield one
            if "/K" in one:
                waiting.append(one["/K"])


def test_it_says_that_it_is_accessible_with_title_and_language(pdf: PdfReader) -> None:
    root = pdf.root_object
    described = root["/Metadata"].get_object().get_data().decode()
    assert "<pdfuaid:part>1</pdfuaid:part>" in described
    assert "<dc:title>" in described
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"].get_object()["/DisplayDocTitle"]


def test_every_page_of_the_report_is_a_bookmark_with_its_sections_below(pdf: PdfReader) -> None:
    wanted: list[str | list[str]] = []
    for name in PAGES:
        text = (PROJECT / "report" / f"{name}.qmd").read_text(encoding="utf-8")
        wanted += [*re.findall(r"^# (.*)", text, re.M), re.findall(r"^## (.*)", text, re.M)]
    assert wanted == [
        [str(inner.title) for inner in one if not isinstance(inner, list)]
        if isinstance(one, list)
        else str(one.title)
        for one in pdf.outline
    ]


def test_every_figure_tells_its_finding_and_every_table_has_a_head_and_a_caption(
    pdf: PdfReader, site: Path
) -> None:
    found = list(elements(pdf))
    n_of = Counter(str(one["/S"]) for one in found)
    pages = "".join((site / "report" / f"{name}.html").read_text() for name in PAGES)
    assert n_of["/Figure"] == pages.count("<figure ") > 20
    assert n_of["/Table"] == n_of["/THead"] == pages.count("<table") > 30
    assert n_of["/Caption"] == n_of["/Figure"] + n_of["/Table"]
    for one in found:
        if one["/S"] == "/Figure":
            assert re.search(r"\d", one["/Alt"]), one["/Alt"]
        if one["/S"] == "/TH":
            assert any(given.get("/Scope") == "/Column" for given in one["/A"])


def test_headings_skip_no_level(pdf: PdfReader) -> None:
    levels = [int(one["/S"][2:]) for one in elements(pdf) if re.fullmatch(r"/H\d", one["/S"])]
    assert levels.count(1) == len(PAGES)
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_figures_are_in_the_colours_of_paper(pdf: PdfReader) -> None:
    drawn = b"".join(page.get_contents().get_data() for page in pdf.pages).decode("latin-1")

    def sets(colour: str) -> bool:
        part = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        numbers = re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) scn?\b", drawn)
        return any(
            max(abs(float(a) - b) for a, b in zip(n, part, strict=True)) < 1e-3
            for n in set(numbers)
        )

    assert sets(INK)
    assert not sets(DARK[GROUND])
    assert not sets(DARK[INK])
