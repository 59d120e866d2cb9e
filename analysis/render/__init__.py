"""Finds Quarto, or renders with the embedded engine: report pages → site, PDF and sidecar.

Both engines read the same `_quarto.yml` and `report/*.qmd`, and leave the same files:

    index.html               a redirect to the first page
    report/<page>.html       one a page of the `render:` list
    review.pdf               the pages that report/review.qmd includes, as one document
    decision_artifact.json   the sidecar, byte for byte the review's; decision_artifact.schema.json
    decision.intoto.json     the in-toto Statement: every other file's digest, and the decision
    tables/                  the full tables behind it
    releases/                every recorded release as it was published, and their index
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from analysis import artifact_bytes as artifacts
from analysis import ledger as ledgers
from analysis import leftovers
from analysis.errors import RenderError
from analysis.in_place import put_in_place, staging
from analysis.present import draw_ledger
from analysis.profiles import is_share_safe, profiles
from analysis.render import audience, embedded, quarto
from analysis.render.page_markup import put_skip_links
from analysis.render.project import load_project
from analysis.render.publish import check_target
from analysis.render.releases import Shelf, put_beside
from analysis.render.sidecar import ARTIFACT, attest_site, check_review, complete_site

if TYPE_CHECKING:
    from analysis.render.scan import Known

__all__ = ["Engine", "Progress", "RenderResult", "render_site"]

_SCRATCH = "release-review-"
Engine = Literal["auto", "quarto", "embedded"]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class RenderResult:
    """What was rendered: the engine and its version, the published pages and the PDF."""

    engine: Literal["quarto", "embedded"]
    version: str
    pages: tuple[Path, ...]
    pdf: Path


def _silent(_: str) -> None:
    """Report nothing."""


def render_site(
    project: Path,
    review_dir: Path,
    out: Path | None = None,
    engine: Engine = "auto",
    report: Progress = _silent,
    entry_of: Path | None = None,
    profile: str | None = None,
    telemetry: Known | None = None,
) -> RenderResult:
    """Render the pages of `project` over one finished review, and publish the site at `out`.

    The site is built and checked beside `out` (default: `project/_site`) and then takes its
    place in one step: a site that is there stays until then, also when this fails or is killed.

    Args:
        project: the folder with `_quarto.yml`, `report/` and `_extensions/`.
        review_dir: a computed review, with `decision_artifact.json` and `tables/`.
        engine: `auto` takes Quarto 1.9 or newer when it is on PATH, else the embedded engine.
        report: called with one short line a step.
        entry_of: the ledger that the site becomes a part of; without it the site is the current one,
            and the releases of the project's own ledger are published beside it.
        profile: whom it is for, `internal` or `public`; without it that of QUARTO_PROFILE.
        telemetry: what the site of a share-safe review is scanned for, besides addresses and paths.

    Raises:
        RenderError: a page's cell fails, the site has a fault, the engine is not to be had, the review is
            not for this audience, or shows what a share-safe one must not, or `out` holds something else
            than a site.
        UsageError: the ledger cannot be read.
    """
    # Imported here, so that `python -m analysis.render.site_check` runs the one module.
    from analysis.render.scan import refusal, scan_site
    from analysis.render.site_check import check_site

    project, review_dir = project.resolve(), review_dir.resolve()
    out = (out or project / "_site").resolve()
    check_target(out, keep=(project, review_dir))
    names = profiles(profile)
    site_project = load_project(project, names)
    check_review(review_dir)
    body = artifacts.read(review_dir / ARTIFACT)
    audience.check(names, body)
    found = None if engine == "embedded" else quarto.find()
    if engine == "quarto" and found is None:
        raise RenderError(quarto.explain_absence())
    ledger = ledgers.read(entry_of or project / ledgers.RELEASES).beside(body)
    shelf = Shelf(ledger, is_entry=entry_of is not None)
    draw_ledger(review_dir, shelf.ledger)

    leftovers.clean(Path(tempfile.gettempdir()), _SCRATCH)
    with (
        staging(out) as site,
        leftovers.directory(Path(tempfile.gettempdir()), _SCRATCH) as scratch,
    ):
        if found is not None:
            name: Literal["quarto", "embedded"] = "quarto"
            version = found.version
            report(f"Quarto {version} at {found.path}")
            quarto.render(found, site_project, review_dir, site, scratch, report)
        else:
            name, version = "embedded", embedded.version()
            report(f"embedded engine ({version})")
            embedded.render(site_project, review_dir, site, scratch, report)
        put_skip_links(site)
        put_beside(project, site, review_dir, shelf)
        complete_site(site, review_dir, site_project.pages[0])
        attest_site(site)
        report("checking the site")
        problems = check_site(site, entry_of)
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise RenderError(
                f"the site has {len(problems)} fault(s), nothing published:\n{listed}"
            )
        if is_share_safe(body):
            report("scanning the site")
            places = (project, review_dir, site, scratch)
            settings = body["policy"]["settings"]
            findings = scan_site(site, telemetry, settings=settings, places=places)
            if findings:
                raise RenderError(refusal(findings))
        put_in_place(site, out)
    pages = tuple(out / page.with_suffix(".html") for page in site_project.pages)
    report(f"site at {out}")
    return RenderResult(engine=name, version=version, pages=pages, pdf=out / "review.pdf")
