"""`review`, `render` and `preview`."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
        _prune(wanted)
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
    from analysis.profiles import profiles
    from analysis.render import audience, render_site
    from analysis.render.scan import Known

    out = a.out if a.out is not None else reviews.PROJECT / "_site"
    with (
        leftovers.later(Path(tempfile.gettempdir()), "release-review-") as spare,
        progress(quiet=a.quiet) as told,
    ):
        told.expect(1)
        wanted = request(a)
        audience.check_policy(profiles(a.profile), wanted.loaded.policy)
        _prune(wanted)
        set_aside(a, wanted, out, told)
        finished = reviews.cached(wanted, draw, project=reviews.PROJECT, progress=told, spare=spare)
        told.step("rendering")
        result = render_site(
            reviews.PROJECT,
            finished,
            out,
            engine=a.engine,
            report=told.detail,
            profile=a.profile,
            telemetry=Known(wanted.data, wanted.contract_path),
        )
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


def preview(a: Namespace) -> int:
    """Serves the site on this machine, and renders it again whenever what it is made of is saved."""
    from analysis import review as reviews
    from analysis.render.preview import preview as serve
    from analysis.telemetry.address import Address

    wanted = request(a)
    out = (a.out if a.out is not None else reviews.PROJECT / "_site").resolve()
    options = [
        text
        for name in (
            "data",
            "policy",
            "contract",
            "release",
            "as_of",
            "threads",
            "memory_limit",
            "engine",
            "profile",
        )
        if (value := getattr(a, name)) is not None
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    project = reviews.PROJECT
    data = wanted.data if isinstance(wanted.data, Path) else Path(wanted.data.target)
    watched = [
        project / "_quarto.yml",
        *(project / name for name in ("report", "_extensions", "analysis")),
        *(project / "data" / name for name in ("contract.yml", "releases", "registrations.jsonl")),
        *(path for path in (a.policy, a.contract) if path is not None),
        # Tables of a service may change at any time: they are read when something else is saved.
        *([] if isinstance(wanted.data, Address) and wanted.data.is_warehouse else [data]),
    ]
    serve([*options, "--quiet", "--out", str(out)], out, watched, a.port, lambda text: say(a, text))
    return 0


def _prune(wanted: Any) -> None:
    """What was kept longer than the policy retains rows goes before anything is read from it."""
    from analysis import caches
    from analysis.review import PROJECT

    days = wanted.loaded.policy.retain.days
    if days is not None:
        caches.prune(PROJECT, days, datetime.now(UTC))


def _show_decision(finished: Path, places: dict[str, Path]) -> None:
    from analysis import artifact as artifacts
    from analysis import gate_report

    body = artifacts.read(finished / artifacts.FILE_NAME)
    width = max(map(len, places))
    where = [f"{name:{width}}  {nearby(path)}" for name, path in places.items()]
    show("\n".join([gate_report.summary(body), *where]))
