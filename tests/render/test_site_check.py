"""What the check of a built site finds, fault by fault, on a site made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typst

from analysis.render.site_check import check_site, main

HEAD = '<!DOCTYPE html><html lang="en"><head><title>Health</title>{head}</head><body>'
BODY = '<main id="content"><div class="rr-answer">Ship.</div>{main}</main></body></html>'
IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def write_page(site: Path, main_html: str = "", head: str = "", name: str = "index") -> None:
    page = HEAD.format(head=head) + BODY.format(main=main_html)
    (site / "report" / f"{name}.html").write_text(page, encoding="utf-8")


def write_pdf(site: Path, n_pages: int = 2, settings: str = "", page: str = "= Page\n\n") -> None:
    text = '#set document(title: "Review")\n#set text(lang: "en")\n' + settings
    source = site.parent / "review.typ"
    source.write_text(text + "\n#pagebreak()\n".join([f"{page}Some words"] * n_pages))
    compiler = typst.Compiler(str(source), ignore_system_fonts=True)
    (site / "review.pdf").write_bytes(compiler.compile(format="pdf"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site without a fault: a redirect, two pages, the PDF and the sidecar."""
    folder = tmp_path / "site"
    (folder / "report").mkdir(parents=True)
    (folder / "tables").mkdir()
    write_page(folder)
    write_page(folder, name="health")
    redirect = HEAD.format(head="") + '<a href="report/index.html">Go</a></body></html>'
    (folder / "index.html").write_text(redirect)
    (folder / "decision_artifact.json").write_text("{}")
    write_pdf(folder)
    return folder


def test_a_site_without_a_fault_has_none(site: Path) -> None:
    assert check_site(site) == []
    assert main([str(site)]) == 0


@pytest.mark.parametrize(
    "main_html",
    [
        '<a href="health.html#content">Health</a>',
        '<a href="https://example.org/x">elsewhere, as a link only</a>',
        '<a href="../decision_artifact.json">a file</a><a href="../report/">a folder</a>',
        f'<figure class="rr-figure"><img src="{IMAGE}" alt="Rate 4 %"><figcaption>F</figcaption>'
        "</figure>",
        "<table><tr><td>{{&lt; env HOME &gt;}}</td></tr></table>",
        '<div class="cell"><p>{{&lt; env HOME &gt;}} and ?@fig-1 as data</p></div>',
        "<p><code>{{&lt; meta title &gt;}}</code></p>",
    ],
)
def test_content_that_is_right_is_no_fault(site: Path, main_html: str) -> None:
    write_page(site, main_html)
    assert check_site(site) == []


@pytest.mark.parametrize(
    ("main_html", "fault"),
    [
        ('<a href="absent.html">x</a>', "broken link: absent.html"),
        ('<a href="health.html#nowhere">x</a>', "not on report/health.html"),
        ('<a href="#nowhere">x</a>', "not on report/index.html"),
        ('<a href="../../up.html">x</a>', "out of the site"),
        ('<a href="/report/health.html">x</a>', "server's root"),
        ('<a href="javascript:alert(1)">x</a>', "runs a script"),
        ('<img src="absent.png" alt="A picture">', "broken link: absent.png"),
        (f'<img src="{IMAGE}">', "without alt text"),
        (f'<img src="{IMAGE}" alt=" ">', "without alt text"),
        ("<figure><svg></svg></figure>", "1 figure(s) without alt text"),
        ('<img src="https://example.org/x.png" alt="x">', "loads from elsewhere"),
        ('<img srcset="//example.org/x.png 2x" src="x" alt="x">', "loads from elsewhere"),
        ('<p style="background: url(https://example.org/x)">x</p>', "loads from elsewhere"),
        ('<iframe src="https://example.org/"></iframe>', "loads from elsewhere"),
        ('<p id="table-a">a</p><p id="table-a">b</p>', "the id of two places: table-a"),
        ("<script>alert(1)</script>", "1 script(s) inside the content"),
        ('<b onclick="alert(1)">x</b>', "event handler inside the content: onclick"),
        ("<p>see {{&lt; unknown thing &gt;}}</p>", "unresolved in the text"),
        ("<p>see ?@fig-rates</p>", "unresolved in the text"),
        ('<span class="quarto-unresolved-ref">x</span>', "unresolved cross-reference"),
        ("<p>" + "x" * 1_000_000 + "</p>", "more than 1,000,000"),
    ],
)
def test_each_fault_of_a_page_is_named_with_the_page(
    site: Path, main_html: str, fault: str
) -> None:
    write_page(site, main_html)
    problems = check_site(site)
    assert any(fault in problem for problem in problems), problems
    assert all(problem.startswith("report/index.html: ") for problem in problems)
    assert main([str(site)]) == 1


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ('<link rel="stylesheet" href="https://example.org/x.css">', "loads from elsewhere"),
        ('<script src="https://example.org/x.js"></script>', "loads from elsewhere"),
        ('<script src="gone.js"></script>', "broken link: gone.js"),
        ("<style>@import url(https://example.org/x.css);</style>", "loads from elsewhere"),
    ],
)
def test_each_fault_of_a_head_is_named(site: Path, head: str, fault: str) -> None:
    write_page(site, head=head)
    problems = check_site(site)
    assert [fault in problem for problem in problems] == [True], problems


def test_a_fault_is_printed_in_visible_text(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_page(site, '<a href="\x1b[2J\u202egone.html">x</a>')
    assert main([str(site)]) == 1
    assert "broken link: \\u001b[2J\\u202egone.html" in capsys.readouterr().out


def no_answer(site: Path) -> None:
    page = site / "report" / "health.html"
    page.write_text(page.read_text().replace("Ship.", " "))


def no_title(site: Path) -> None:
    page = site / "report" / "health.html"
    page.write_text(page.read_text().replace("Health", ""))


def font_from_elsewhere(site: Path) -> None:
    (site / "x.css").write_text("@font-face { src: url('https://fonts.example/x.woff2') }")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (no_answer, "report/health.html: no answer"),
        (no_title, "report/health.html: no title"),
        (font_from_elsewhere, "x.css: loads from elsewhere"),
        (lambda site: (site / "index.html").unlink(), "index.html: absent"),
        (lambda site: (site / "review.pdf").unlink(), "review.pdf: absent"),
        (lambda site: (site / "review.pdf").write_bytes(b"%PDF-1.7 no"), "cannot be read"),
        (lambda site: write_pdf(site, n_pages=1), "review.pdf: 1 page(s), expected at least 2"),
        (lambda site: write_pdf(site, page=""), "review.pdf: no bookmarks"),
        (lambda site: (site / "decision_artifact.json").unlink(), "decision_artifact.json: absent"),
        (lambda site: (site / "tables").rmdir(), "tables/: absent"),
    ],
)
def test_each_fault_of_the_site_is_named(
    site: Path, harm: Callable[[Path], object], fault: str
) -> None:
    harm(site)
    problems = check_site(site)
    assert any(fault in problem for problem in problems), problems


def test_a_sidecar_that_does_not_agree_is_a_fault(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "analysis.render.site_check.verify_sidecar", lambda path: ["digest: differs"]
    )
    assert check_site(site) == ["decision_artifact.json: digest: differs"]


def test_a_pdf_that_is_too_large_is_a_fault(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.render.pdf_check.MAX_PDF_BYTES", 999)
    (fault,) = check_site(site)
    assert fault.startswith("review.pdf: ")
    assert fault.endswith(" bytes, more than 999")


def test_a_font_that_the_pdf_does_not_carry_is_a_fault(site: Path) -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import NameObject

    writer = PdfWriter(clone_from=PdfReader(site / "review.pdf"))
    for item in writer.pages[0]["/Resources"]["/Font"].values():
        descriptor = item.get_object()["/DescendantFonts"][0].get_object()["/FontDescriptor"]
        del descriptor.get_object()[NameObject("/FontFile3")]
    writer.write(site / "review.pdf")
    assert any("font not embedded" in problem for problem in check_site(site))


def test_a_folder_that_is_not_there_is_the_one_fault(tmp_path: Path) -> None:
    assert check_site(tmp_path / "none") == [f"{tmp_path / 'none'}: no such folder"]
