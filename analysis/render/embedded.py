"""The embedded engine: the same pages → the same site and PDF, without Quarto's binary.

nbclient runs the cells, smalldocs lays out the website, pandoc and Typst make the PDF: all are
Python packages, so that it works wherever the project itself does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as package_version
from pathlib import Path

from analysis.render.notebooks import execute_pages
from analysis.render.pdf import build_pdf
from analysis.render.project import SiteProject
from analysis.render.website import build_website


def version() -> str:
    """The versions of the parts that shape the output."""
    return ", ".join(f"{name} {package_version(name)}" for name in ("smalldocs", "typst"))


def render(
    project: SiteProject,
    review_dir: Path,
    site: Path,
    scratch: Path,
    report: Callable[[str], None],
) -> None:
    """Write the pages and `review.pdf` into `site`, an empty folder."""
    pages = execute_pages(project, review_dir, scratch, report)
    report("laying out the website")
    build_website(project, pages, site, scratch)
    report("making the PDF")
    build_pdf(project, pages, site / "review.pdf", scratch, report)
