"""`review` and `render`."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path

from analysis import leftovers
from analysis.commands.given import request
from analysis.commands.output import nearby, say, show
from analysis.commands.setting_aside import set_aside
from analysis.errors import DiskError
from analysis.progress import progress


def review(a: Namespace) -> int:
    """Computes the review, from the cache where nothing has changed."""
    from analysis import review as reviews
    from analysis.commands.publishing import check_directory, publish

    if a.out is not None:
        check_directory(a.out)
    with (
        leftovers.later(Path(tempfile.gettempdir()), "release-review-") as spare,
        progress(quiet=a.quiet) as told,
    ):
        wanted = request(a)
        set_aside(a, wanted, a.out, told)
        finished = reviews.cached(wanted, None, project=reviews.PROJECT, progress=told, spare=spare)
        place = finished
        if a.out is not None:
            publish(finished, a.out)
            place = a.out
        elif finished.is_relative_to(spare):
            raise DiskError(
                f"{reviews.PROJECT / '.cache'}: cannot be written; give --out for the result"
            )
        told.close()
        _show_decision(
            finished, {"artifact": place / "decision_artifact.json", "tables": place / "tables"}
        )
    return 0


def render(a: Namespace) -> int:
    """Review, site, PDF and sidecar."""
    from analysis import review as reviews
    from analysis.present import draw
    from analysis.render import render_site

    out = a.out if a.out is not None else reviews.PROJECT / "_site"
    with (
        leftovers.later(Path(tempfile.gettempdir()), "release-review-") as spare,
        progress(quiet=a.quiet) as told,
    ):
        told.expect(1)
        wanted = request(a)
        set_aside(a, wanted, out, told)
        finished = reviews.cached(wanted, draw, project=reviews.PROJECT, progress=told, spare=spare)
        told.step("rendering")
        result = render_site(reviews.PROJECT, finished, out, engine=a.engine, report=told.detail)
        told.close()
        say(a, f"rendered with {result.engine} {result.version}")
        _show_decision(
            finished,
            {
                "site": out / "index.html",
                "PDF": out / "review.pdf",
                "artifact": out / "decision_artifact.json",
            },
        )
    return 0


def _show_decision(finished: Path, places: dict[str, Path]) -> None:
    from analysis import artifact as artifacts
    from analysis import gate_report

    body = artifacts.read(finished / artifacts.FILE_NAME)
    width = max(map(len, places))
    where = [f"{name:{width}}  {nearby(path)}" for name, path in places.items()]
    show("\n".join([gate_report.summary(body), *where]))
