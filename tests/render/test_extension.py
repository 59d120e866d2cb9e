"""The extension as others take it: its example, without a page or a line of this project's report."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pypdf import PdfReader

from analysis.render import render_site
from analysis.render.project import split_front_matter
from analysis.render.site_check import check_site
from tests.render.test_theme import EXTENSION

EXAMPLE = (EXTENSION / "example.qmd").read_text(encoding="utf-8")
README = (EXTENSION / "README.md").read_text(encoding="utf-8")


def test_the_example_renders_as_page_and_pdf_without_a_fault(
    project: Path, review_dir: Path, tmp_path: Path
) -> None:
    meta, body = split_front_matter(EXAMPLE)
    (project / "report" / "health.qmd").write_text(f"# {meta['title']}\n{body}", encoding="utf-8")
    site = tmp_path / "site"
    render_site(project, review_dir, site, engine="embedded")
    assert check_site(site) == []
    page = (site / "report" / "health.html").read_text(encoding="utf-8")
    for part in ("rr-answer rr-outcome-hold", "rr-schemes", "rr-table", "rr-source", "rr-note"):
        assert part in page
    pdf = " ".join(page.extract_text() for page in PdfReader(site / "review.pdf").pages)
    words = re.sub(r"\s+", " ", pdf)
    told = (
        "Checkout service: release 7",
        "One check of two fails",
        "12,400 requests",
        "no quiet pass",
    )
    assert [said for said in told if said not in words] == []


def test_the_example_takes_the_formats_that_the_extension_has() -> None:
    meta, body = split_front_matter(EXAMPLE)
    formats = yaml.safe_load((EXTENSION / "_extension.yml").read_text())["contributes"]["formats"]
    assert set(meta["format"]) == {f"{EXTENSION.name}-{name}" for name in formats}
    # Nothing of this project: no include, no cell, no module.
    assert not re.search(r"\{\{<|\{python|analysis", body)


def test_the_readme_names_every_file_and_every_class_that_the_rules_style() -> None:
    files = {path.name for path in EXTENSION.iterdir()} - {"README.md"}
    assert {name for name in files if f"`{name}`" not in README} == set()
    style = (EXTENSION / "review.scss").read_text(encoding="utf-8")
    classes = set(re.findall(r"\.(rr-[a-z-]+)", style))
    # Told by pattern in one row.
    told = set(re.findall(r"`(rr-[a-z-]+)`", README)) | {"rr-outcome-hold", "rr-outcome-block"}
    assert classes - told == set()
