"""Pages to site and PDF with the embedded engine, on content that tries to break out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from analysis.attestation import site_problems
from analysis.errors import RenderError
from analysis.render import render_site
from tests.end_to_end.browser import serving

HOME = os.environ.get("HOME", "/root")


def test_one_render_makes_the_site_the_pdf_and_the_sidecar(project: Path, review_dir: Path) -> None:
    steps: list[str] = []
    result = render_site(project, review_dir, engine="embedded", report=steps.append)
    site = project / "_site"
    names = ["index", "contract", "health"]
    assert result.engine == "embedded"
    assert list(result.pages) == [site / "report" / f"{name}.html" for name in names]
    sidecar = (site / "decision_artifact.json").read_bytes()
    assert sidecar == (review_dir / "decision_artifact.json").read_bytes()
    assert (site / "tables" / "hotspots.csv").is_file()
    assert (site / "decision_artifact.schema.json").is_file()
    assert site_problems(site, json.loads(sidecar)) == []
    assert "url=report/index.html" in (site / "index.html").read_text()
    assert any("page 3 of 3" in step for step in steps)
    assert not any("PDF/UA" in step for step in steps)
    assert sorted(path.name for path in project.iterdir() if "_site" in path.name) == ["_site"]

    page = (site / "report" / "health.html").read_text()
    assert page.count("<figure") == 1
    assert "<title>The health page" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert "{{&lt; env HOME &gt;}}" in page
    assert f"rose in {HOME}" not in page
    assert "$40 before and $60 after" in page
    assert "katex" not in page
    assert '<script src="../release-review.js" defer></script>' in page
    script = (project / "_extensions/release-review/release-review.js").read_bytes()
    assert (site / "release-review.js").read_bytes() == script
    # What is there to be copied keeps its lines on the site, and is not in the PDF.
    assert "\n\n  c: 2</code></pre></details></div>" in page

    pdf = PdfReader(result.pdf)
    text = "\n".join(item.extract_text() for item in pdf.pages)
    assert pdf.metadata is not None
    assert "r42" in (pdf.metadata.title or "")
    assert str(pdf.root_object["/Lang"]).startswith("en")
    assert pdf.root_object["/MarkInfo"].get_object()["/Marked"]
    assert "{{< env HOME >}}" in text
    assert f"rose in {HOME}" not in text
    assert "#pagebreak() @ref" in text
    assert "c: 2" not in text
    assert "Copy" not in text
    assert "onscreen" in page
    assert "onscreen" not in text
    assert "Candidate window, 1 to 15 November." in text
    # A table of 120 rows breaks over pages, and repeats its header on each.
    last = next(page.extract_text() for page in pdf.pages if "eu-119" in page.extract_text())
    assert "Measured" in last
    assert "eu-7\n" not in last
    assert "Failure rate" in alternative_texts(pdf)


def alternative_texts(pdf: PdfReader) -> str:
    """Every /Alt of the PDF's structure tree."""
    found = [
        str(item["/Alt"])
        for number in range(1, len(pdf.xref_objStm) + len(pdf.xref.get(0, {})) + 1)
        if isinstance(item := pdf.get_object(number), dict) and "/Alt" in item
    ]
    return "\n".join(found)


@pytest.mark.parametrize("stem", ["index", "health"])
def test_a_failing_cell_names_its_page_and_leaves_the_old_site(
    project: Path, review_dir: Path, stem: str
) -> None:
    page = project / "report" / f"{stem}.qmd"
    page.write_text(page.read_text() + "\n```{python}\nraise ValueError('no such view')\n```\n")
    old = project / "_site"
    old.mkdir()
    (old / "index.html").write_text("old")
    with pytest.raises(RenderError, match=rf"report/{stem}\.qmd.*ValueError: no such view"):
        render_site(project, review_dir, engine="embedded")
    assert [path.name for path in old.iterdir()] == ["index.html"]
    assert (old / "index.html").read_text() == "old"


def test_a_site_with_a_fault_is_not_published(project: Path, review_dir: Path) -> None:
    page = project / "report" / "index.qmd"
    page.write_text(page.read_text() + "\nSee [more](absent.html).\n")
    with pytest.raises(RenderError, match=r"report/index\.html: broken link: absent\.html"):
        render_site(project, review_dir, engine="embedded")
    assert not (project / "_site").exists()


def test_markdown_that_a_cell_displays_is_never_evaluated(project: Path, review_dir: Path) -> None:
    page = project / "report" / "index.qmd"
    cell = (
        "from IPython.display import Markdown, display\n"
        "import sys; print('noise'); print('a warning', file=sys.stderr)\n"
        "display(Markdown('Slice {{< env HOME >}} and {{% env HOME %}} got worse.'))"
    )
    page.write_text(page.read_text() + f"\n```{{python}}\n{cell}\n```\n")
    result = render_site(project, review_dir, engine="embedded")
    text = re.sub(r"\u2060", "", result.pages[0].read_text())
    assert "Slice {{&lt; env HOME &gt;}} and {{% env HOME %}} got worse." in text
    assert f"Slice {HOME}" not in text
    assert "noise" not in text
    assert "a warning" not in text


def test_what_a_page_points_to_is_not_fetched_while_it_is_rendered(
    project: Path, review_dir: Path
) -> None:
    # A page's check refuses it in the end; nothing may have been asked for by then.
    page = project / "report" / "index.qmd"
    with serving(project) as server:
        cell = (
            "from IPython.display import HTML, display\n"
            f"display(HTML('<iframe src=\"{server.address}/x.html\"></iframe>'))"
        )
        page.write_text(page.read_text() + f"\n```{{python}}\n{cell}\n```\n")
        with pytest.raises(RenderError):
            render_site(project, review_dir, engine="embedded")
    assert server.asked == []


def test_a_folder_without_a_finished_review_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="no finished review"):
        render_site(project, tmp_path / "none", engine="embedded")
