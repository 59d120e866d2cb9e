"""Quarto's post-render hook: completes a full render with sidecar, PDF and statement, and checks it.

Quarto stays silent about broken links, missing images and unresolved references; the check is
not. Renders of single files and previews are left alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("QUARTO_PROJECT_DIR") or Path.cwd()).resolve()
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))


def main() -> int:
    """Return the exit code; every fault of the site goes to stderr."""
    if os.environ.get("QUARTO_PROJECT_RENDER_ALL") != "1":
        return 0
    from analysis.artifact_bytes import read as artifact
    from analysis.errors import ReviewError
    from analysis.ledger import RELEASES, read
    from analysis.profiles import is_share_safe
    from analysis.render.page_markup import put_skip_links
    from analysis.render.project import load_project
    from analysis.render.releases import Shelf, put_beside
    from analysis.render.sidecar import ARTIFACT, attest_site, complete_site
    from analysis.render.site_check import check_site
    from analysis.telemetry.violations import clean

    site = ROOT / os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_site")
    try:
        review_dir = _review_dir()
        body = artifact(review_dir / ARTIFACT)
        put_skip_links(site)
        put_beside(ROOT, site, review_dir, Shelf(read(ROOT / RELEASES).beside(body)))
        complete_site(site, review_dir, load_project(ROOT).pages[0])
        attest_site(site)
        problems = check_site(site)
        if is_share_safe(body):
            _refuse_findings(site, body)
    except ReviewError as error:
        print(f"release review: {clean(str(error), limit=None)}", file=sys.stderr)
        return error.exit_code
    for problem in problems:
        print(f"release review: {clean(problem, limit=None)}", file=sys.stderr)
    return 1 if problems else 0


def _refuse_findings(site: Path, body: Mapping[str, Any]) -> None:
    """Scan the site of a share-safe review, and remove it where it shows what it must not.

    Quarto wrote it in its place, page by page. A review that was handed over is scanned by whoever did.
    Raises RenderError.
    """
    if os.environ.get("RELEASE_REVIEW_DIR"):
        return
    from analysis import review as reviews
    from analysis.errors import RenderError
    from analysis.render.scan import Known, refusal, scan_site

    wanted = reviews.request(project=ROOT)
    findings = scan_site(
        site,
        Known(wanted.data, wanted.contract_path),
        settings=body["policy"]["settings"],
        places=(ROOT,),
    )
    if findings:
        shutil.rmtree(site)
        raise RenderError(refusal(findings))


def _review_dir() -> Path:
    """The review that the pages showed: the one handed over, or the cache's current one."""
    handed = os.environ.get("RELEASE_REVIEW_DIR")
    if handed:
        return Path(handed)
    from analysis.render.current import current

    return current(ROOT)


if __name__ == "__main__":
    sys.exit(main())
