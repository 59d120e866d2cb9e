"""Quarto and the embedded engine make the same report of the same review.

What is compared, and what is not, is said in tests/render/content.py. That a difference would be found is
tested on the embedded site, so also where there is no Quarto.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, TextStringObject

from analysis import review as reviews
from analysis.present import draw
from analysis.render import render_site
from analysis.render.quarto import explain_absence, find
from analysis.review import PROJECT
from analysis.sample.hostile import SCRIPT_SCENARIO, SHORTCODE
from tests.render.content import (
    Page,
    _tags,
    differences,
    pdf_differences,
    read_index,
    read_page,
    read_pdf,
)

PAGES = sorted(
    f"report/{path.stem}.html"
    for path in (PROJECT / "report").glob("*.qmd")
    if path.stem != "review"
)
# An engine's own: pages and PDF are compared by content; styles and scripts differ; the statement holds
# the digests of all of these.
OWN = re.compile(
    r"site_libs/.*|report/[^/]+\.html|[^/]+\.(?:css|js)|review\.pdf|search\.json|decision\.intoto\.json"
)


@pytest.fixture(scope="module")
def review_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample under a policy that looks at its hostile values, and holds some itself."""
    folder = tmp_path_factory.mktemp("parity")
    settings = yaml.safe_load((PROJECT / "report" / "policy.yml").read_text())
    settings["release"]["title"] = (
        f'{SHORTCODE} {SCRIPT_SCENARIO} $x$ and $y$ it\'s "so" -- ... @ref'
    )
    settings["drift"]["columns"] = ["channel", "repair_strategy"]
    policy = folder / "policy.yml"
    policy.write_text(yaml.safe_dump(settings))
    review = reviews.compute(reviews.request(data=str(PROJECT / "data" / "sample"), policy=policy))
    reviews.save(review, folder / "review")
    draw(review, folder / "review")
    return folder / "review"


@pytest.fixture(scope="module")
def embedded(review_dir: Path) -> Path:
    site = review_dir.parent / "embedded"
    render_site(PROJECT, review_dir, site, engine="embedded")
    return site


@pytest.fixture(scope="module")
def by_quarto(review_dir: Path) -> Path:
    if find() is None:
        pytest.skip(explain_absence())
    site = review_dir.parent / "quarto"
    assert render_site(PROJECT, review_dir, site, engine="quarto").engine == "quarto"
    return site


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_the_same_from_both_engines(by_quarto: Path, embedded: Path, name: str) -> None:
    assert differences(read_page(by_quarto, name), read_page(embedded, name)) == []


def test_the_pdf_says_the_same_from_both_engines(by_quarto: Path, embedded: Path) -> None:
    one, other = read_pdf(by_quarto / "review.pdf"), read_pdf(embedded / "review.pdf")
    assert pdf_differences(one, other) == []


def test_search_finds_the_same_from_both_engines(by_quarto: Path, embedded: Path) -> None:
    assert read_index(by_quarto) == read_index(embedded)


def test_the_files_beside_the_pages_are_the_same_bytes(by_quarto: Path, embedded: Path) -> None:
    one, other = beside(by_quarto), beside(embedded)
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


def beside(site: Path) -> dict[str, bytes]:
    files = {p.relative_to(site).as_posix(): p for p in site.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not OWN.fullmatch(name)}


# ── a difference is found ────────────────────────────────────────────────────────────────


def test_each_kind_of_content_is_read(embedded: Path) -> None:
    pages = {name: read_page(embedded, name) for name in PAGES}
    for name, page in pages.items():
        assert page.title.endswith("– LLM release review"), name
        assert len(page.lines) > 10, name
        assert page.links, name
        assert page.marks, name
        assert len(page.menus) > 3, name
        assert all(page.menus), name
        assert all(table.label and table.head and table.body for table in page.tables), name
    assert sum(len(page.tables) for page in pages.values()) > 40
    health = pages["report/health.html"]
    assert len(health.figures) > 2
    assert all(one.alt and one.caption and one.image.startswith(b"<") for one in health.figures)
    assert "evidence" in health.places
    document = read_pdf(embedded / "review.pdf")
    assert len(document.figures) == sum(len(page.figures) for page in pages.values())
    assert len(document.n_rows) == sum(len(page.tables) for page in pages.values())
    assert [title for level, title in document.outline if level == 1][:2] == [
        "Decision",
        "Contract",
    ]


def cut(pattern: str) -> Callable[[str], str]:
    return swap(pattern, "")


def swap(pattern: str, by: str) -> Callable[[str], str]:
    """Replaces the first match in the main part of a page."""

    def change(page: str) -> str:
        before, main, after = page.partition("<main")
        changed, n = re.subn(pattern, by, after, count=1, flags=re.S)
        assert n == 1, pattern
        return before + main + changed

    return change


def anywhere(old: str, new: str) -> Callable[[str], str]:
    def change(page: str) -> str:
        assert old in page
        return page.replace(old, new, 1)

    return change


ITEM = r"<li>(?:(?!<li>).)*</li>"
LAST_TWO = rf"({ITEM})\s*({ITEM})(?=\s*</ul>\s*</section>)"
PLANTED = {
    "another number in a cell": (swap(r'(<td class="gt_row gt_right">)[^<]+', r"\g<1>12.3"), "row"),
    "a cell more": (swap(r'(<td class="gt_row gt_right">)', r"\1x</td><td>"), "row"),
    "a row fewer": (cut(r'(?<=<tbody class="gt_table_body">)\s*<tr>.*?</tr>'), "row"),
    "another heading of a column": (swap(r'(scope="col">)[^<]+', r"\1Other"), "head"),
    "another title of a table": (swap(r'(gt_title[^>]*><span[^>]*>)', r"\1Not "), "caption"),
    "another note below a table": (swap(r'(gt_sourcenote"[^>]*>(?:<span[^>]*>)?)', r"\1Not "), "foot"),
    "a table fewer": (cut(r'<div class="rr-table".*?</table></div>'), "table 1"),
    "a figure fewer": (cut(r"<figure.*?</figure>"), "figure 1"),
    "another description of a figure": (swap(r' alt="', ' alt="Not '), "figure 1"),
    "another caption of a figure": (swap(r"<figcaption>", "<figcaption>Not "), "figure 1"),
    "another image": (swap(r"(svg\+xml;base64,....)(....)", r"\1QUJD"), "figure 1"),
    "another link": (swap(r'(<a href=")\.\./releases/index', r"\1../releases/other"), "link"),
    "another place on a page": (swap(r'<section id="evidence"', '<section id="proof"'), "place"),
    "another mark": (swap(r'class="rr-fail"', 'class="rr-pass"'), "mark"),
    "another letter": (swap(r"’", "'"), "text"),
    "another word": (swap(r"Did failures", "Do failures"), "text"),
    "code that is no code": (swap(r"<code>is_failure</code>", "is_failure"), "text"),
    "another level of a heading": (swap(r"<h2([^>]*)>Evidence</h2>", r"<h3\1>Evidence</h3>"), "text"),
    "two items the other way round": (swap(LAST_TWO, r"\2\1"), "text"),
    "another entry of the menu": (anywhere('"menu-text">Drift<', '"menu-text">Shift<'), "menu"),
    "an entry of the contents fewer": (anywhere('href="#evidence"', 'name="evidence"'), "menu"),
    "another title of the page": (anywhere("<title>Health", "<title>Wealth"), "title"),
    "another language": (anywhere('lang="en"', 'lang="de"'), "lang"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_difference_is_found(embedded: Path, tmp_path: Path, case: str) -> None:
    change, part = PLANTED[case]
    found = differences(*before_and_after(embedded, tmp_path, change))
    assert any(part in one.partition(":")[0] or one.startswith(part) for one in found), found


EVENED_OUT = {
    "white space": swap(r"(Did) (failures)", "\\1\n   \\2"),
    "ids of cells": swap(r'id="cell-\d+"', 'id="12ab34cd"'),
    "an address by the folder": anywhere('href="contract.html"', 'href="../report/contract.html"'),
    "classes of an engine": swap(r'class="rr-figure', 'class="figure rr-figure'),
}


@pytest.mark.parametrize("case", EVENED_OUT)
def test_what_no_reader_sees_is_no_difference(embedded: Path, tmp_path: Path, case: str) -> None:
    assert differences(*before_and_after(embedded, tmp_path, EVENED_OUT[case])) == []


def before_and_after(site: Path, folder: Path, change: Callable[[str], str]) -> tuple[Page, Page]:
    text = (site / "report" / "health.html").read_text()
    (folder / "report").mkdir()
    changed = change(text)
    assert changed != text
    (folder / "report" / "health.html").write_text(changed)
    return read_page(site, "report/health.html"), read_page(folder, "report/health.html")


def fewer_sheets(pdf: PdfWriter) -> None:
    pdf.remove_page(len(pdf.pages) - 1)


def other_description(pdf: PdfWriter) -> None:
    tags = _tags(pdf._root_object["/StructTreeRoot"])
    figure = next(tag for tag in tags if tag.get("/S") == "/Figure")
    figure[NameObject("/Alt")] = TextStringObject("another")


def no_bookmarks(pdf: PdfWriter) -> None:
    del pdf._root_object["/Outlines"]


@pytest.mark.parametrize(
    ("change", "part"),
    [(fewer_sheets, "sheets"), (other_description, "figures"), (no_bookmarks, "outline")],
)
def test_a_planted_difference_of_the_pdf_is_found(
    embedded: Path, tmp_path: Path, change: Callable[[PdfWriter], None], part: str
) -> None:
    source = embedded / "review.pdf"
    writer = PdfWriter(clone_from=PdfReader(source))
    writer.add_metadata({"/Creator": str(PdfReader(source).metadata.creator)})
    writer.write(tmp_path / "same.pdf")
    change(writer)
    writer.write(tmp_path / "other.pdf")
    one, other = read_pdf(tmp_path / "same.pdf"), read_pdf(tmp_path / "other.pdf")
    assert pdf_differences(read_pdf(source), one) == []
    assert any(found.startswith(part) for found in pdf_differences(one, other))


def test_a_file_of_other_bytes_is_found(embedded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(embedded, copy)
    assert beside(copy) == beside(embedded)
    assert {"index.html", "decision_artifact.json", "tables/hotspots.csv"} <= set(beside(copy))
    (copy / "tables" / "hotspots.csv").write_text("other")
    assert beside(copy) != beside(embedded)
