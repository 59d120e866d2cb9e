"""Checks a built site: what Quarto stays silent about is a fault here.

python -m analysis.render.site_check SITE      exits 1 and lists every fault
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analysis.render.pdf_check import check_pdf
from analysis.render.sidecar import ARTIFACT, PDF, TABLES
from analysis.render.site_pages import PageFacts, loads_from_elsewhere, read_page
from analysis.telemetry.violations import clean

MAX_PAGE_BYTES = 1_000_000
_UNRESOLVED = re.compile(r"\{\{[<%]|\?@\w|\?(?:meta|var|env|include):")


def check_site(site: Path) -> list[str]:
    """Return every fault of the site, each with the file it is in; empty when there is none.

    Pages: links, fragments, images and files resolve; nothing loads from elsewhere; no unresolved
    shortcode or reference; title, answer and alt text are there; no script inside the content.
    Beside them: the PDF (pages, fonts, tags) and the sidecar (schema and digests).
    """
    if not site.is_dir():
        return [f"{site}: no such folder"]
    pages = {
        path.relative_to(site).as_posix(): read_page(path)
        for path in sorted(site.rglob("*.html"))
        if "site_libs" not in path.relative_to(site).parts
    }
    reports = [name for name in pages if name.startswith("report/")]
    problems = [
        f"{name}: absent" for name in ("index.html", "report/index.html") if name not in pages
    ]
    for name, facts in pages.items():
        problems += [f"{name}: {fault}" for fault in _page_faults(site, name, facts, pages)]
        if name in reports:
            problems += [f"{name}: {fault}" for fault in _report_faults(facts)]
    problems += _style_faults(site)
    problems += [f"{PDF}: {fault}" for fault in check_pdf(site / PDF, min_pages=len(reports))]
    problems += _sidecar_faults(site)
    return problems


def _page_faults(
    site: Path, name: str, facts: PageFacts, pages: Mapping[str, PageFacts]
) -> list[str]:
    """Faults that any page can have, the redirect included."""
    faults: list[str] = []
    n_bytes = (site / name).stat().st_size
    if n_bytes > MAX_PAGE_BYTES:
        faults.append(f"{n_bytes:,} bytes, more than {MAX_PAGE_BYTES:,}")
    if not facts.title.strip():
        faults.append("no title")
    if not facts.lang:
        faults.append("no language on <html>")
    faults += [f"loads from elsewhere: {address[:80]}" for address in facts.elsewhere]
    faults += [f"image without alt text: {source}" for source in facts.images_without_alt]
    faults += [f"link that runs a script: {address}" for address in facts.script_urls]
    for address in [*facts.links, *facts.files]:
        fault = _unreachable(site, name, address, pages)
        if fault:
            faults.append(fault)
    return list(dict.fromkeys(faults))


def _report_faults(facts: PageFacts) -> list[str]:
    """Faults of a page of the report."""
    faults: list[str] = []
    if not facts.answer.strip():
        faults.append("no answer (an element of class rr-answer with text)")
    if facts.n_figures_without_alt:
        faults.append(f"{facts.n_figures_without_alt} figure(s) without alt text")
    if facts.n_scripts_in_main:
        faults.append(f"{facts.n_scripts_in_main} script(s) inside the content")
    if facts.event_handlers:
        faults.append(f"event handler inside the content: {facts.event_handlers[0]}")
    if facts.unresolved:
        faults.append(f"{facts.unresolved} unresolved cross-reference(s)")
    faults += [
        f"unresolved in the text: {facts.text[found.start() : found.start() + 40].strip()!r}"
        for found in _UNRESOLVED.finditer(facts.text)
    ]
    return faults


def _unreachable(site: Path, name: str, address: str, pages: Mapping[str, PageFacts]) -> str | None:
    """Why an address on page `name` leads nowhere, or None if it leads somewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or address in ("", "#"):
        return None
    path = unquote(parts.path)
    if path.startswith("/"):
        return f"link from the server's root, which a site in a folder does not have: {address}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if target == ".." or target.startswith("../"):
        return f"link out of the site: {address}"
    if (site / target).is_dir():
        target = posixpath.normpath(f"{target}/index.html")
    if not (site / target).is_file():
        return f"broken link: {address}"
    fragment = unquote(parts.fragment)
    if fragment and target in pages and fragment not in pages[target].ids:
        return f"link to a place that is not on {target}: {address}"
    return None


def _style_faults(site: Path) -> list[str]:
    return [
        f"{path.relative_to(site).as_posix()}: loads from elsewhere: {address[:80]}"
        for path in sorted(site.rglob("*.css"))
        for address in loads_from_elsewhere(path.read_text(encoding="utf-8", errors="replace"))
    ]


def _sidecar_faults(site: Path) -> list[str]:
    faults = [] if (site / TABLES).is_dir() else [f"{TABLES}/: absent"]
    if not (site / ARTIFACT).is_file():
        return [*faults, f"{ARTIFACT}: absent"]
    return [*faults, *(f"{ARTIFACT}: {fault}" for fault in verify_sidecar(site / ARTIFACT))]


def verify_sidecar(path: Path) -> list[str]:
    """What does not agree in the artifact: its schema, its digests."""
    from analysis.artifact import verify_file

    return list(verify_file(path))


def main(arguments: list[str] | None = None) -> int:
    """Check the site named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.render.site_check", description="Check a built site."
    )
    parser.add_argument("site", type=Path, help="the folder with index.html")
    site = parser.parse_args(arguments).site
    problems = check_site(site)
    for problem in problems:
        print(clean(problem, limit=None))
    print(f"{site}: {len(problems)} fault(s)", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
