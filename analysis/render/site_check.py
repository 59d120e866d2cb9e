"""Checks a built site: what Quarto stays silent about is a fault here.

python -m analysis.render.site_check SITE      exits 1 and lists every fault
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analysis.render.pdf_check import check_pdf
from analysis.render.sidecar import ARTIFACT, PDF, TABLES
from analysis.render.site_pages import PageFacts, loads_from_elsewhere, read_page
from analysis.telemetry.violations import clean

MAX_PAGE_BYTES = 1_000_000
RELEASES = "releases"
_UNRESOLVED = re.compile(r"\{\{[<%]|\?@\w|\?(?:meta|var|env|include):")


def check_site(site: Path, entry_of: Path | None = None) -> list[str]:
    """Return every fault of the site, each with the file it is in; empty when there is none.

    Pages: links, fragments, images and files resolve; nothing loads from elsewhere; no unresolved
    shortcode or reference; title, answer and alt text are there; no script inside the content; no permanent
    id stands at two places. Beside them: the PDF (pages, fonts, tags) and the sidecar (schema and digests). Of
    recorded releases only the index is read: each was checked when it was recorded, and its links into this
    site and out of it resolve. entry_of: the ledger that the site lies in, or will; links to its other
    releases count.
    """
    if not site.is_dir():
        return [f"{site}: no such folder"]
    pages = {
        path.relative_to(site).as_posix(): read_page(path)
        for path in sorted(site.rglob("*.html"))
        if "site_libs" not in path.relative_to(site).parts
        and not _is_recorded(path.relative_to(site).as_posix())
    }
    neighbours = _neighbours(site, entry_of)
    reports = [name for name in pages if name.startswith("report/")]
    problems = [
        f"{name}: absent" for name in ("index.html", "report/index.html") if name not in pages
    ]
    for name, facts in pages.items():
        problems += [
            f"{name}: {fault}" for fault in _page_faults(site, name, facts, pages, neighbours)
        ]
        if name in reports:
            problems += [f"{name}: {fault}" for fault in _report_faults(facts)]
    problems += _style_faults(site)
    problems += [f"{PDF}: {fault}" for fault in check_pdf(site / PDF, min_pages=len(reports))]
    problems += _sidecar_faults(site)
    problems += _recorded_faults(site)
    return problems


def _is_recorded(name: str) -> bool:
    """Whether a file belongs to a recorded release, and not to the current site."""
    return name.startswith(f"{RELEASES}/") and name.count("/") > 1


def _recorded_faults(site: Path) -> list[str]:
    return [
        f"{RELEASES}/{folder.name}/{name}: absent"
        for folder in (sorted((site / RELEASES).iterdir()) if (site / RELEASES).is_dir() else ())
        if folder.is_dir()
        for name in ("index.html", ARTIFACT)
        if not (folder / name).is_file()
    ]


def _neighbours(site: Path, entry_of: Path | None) -> Callable[[str], bool]:
    """Whether an address beside the site, `<folder>/…` or `index.html`, leads somewhere once published."""
    ledger = entry_of
    if ledger is None and site.name == "site" and (site.parent / ARTIFACT).is_file():
        ledger = site.parent.parent

    def leads(rest: str) -> bool:
        if ledger is None:
            return site.parent.name == RELEASES and (site.parent / rest).is_file()
        folder, _, inner = rest.partition("/")
        return rest == "index.html" or (ledger / folder / "site" / inner).is_file()

    return leads


def _page_faults(
    site: Path,
    name: str,
    facts: PageFacts,
    pages: Mapping[str, PageFacts],
    neighbours: Callable[[str], bool],
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
        fault = _unreachable(site, name, address, pages, neighbours)
        if fault:
            faults.append(fault)
    return list(dict.fromkeys(faults))


def _report_faults(facts: PageFacts) -> list[str]:
    """Faults of a page of the report."""
    faults: list[str] = []
    if not facts.answer.strip():
        faults.append("no answer (an element of class rr-answer with text)")
    faults += [f"the id of two places: {place[:80]}" for place in facts.repeated_ids]
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


def _unreachable(
    site: Path,
    name: str,
    address: str,
    pages: Mapping[str, PageFacts],
    neighbours: Callable[[str], bool],
) -> str | None:
    """Why an address on page `name` leads nowhere, or None if it leads somewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or address in ("", "#"):
        return None
    path = unquote(parts.path)
    if path.startswith("/"):
        return f"link from the server's root, which a site in a folder does not have: {address}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if target == ".." or target.startswith("../"):
        if not target.startswith("../../") and neighbours(target[3:]):
            return None
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
        if not _is_recorded(path.relative_to(site).as_posix())
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
