"""`record` and `history`: the ledger of releases."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from analysis.commands.output import emit, nearby, say, show, tell
from analysis.errors import ArtifactError, UsageError
from analysis.progress import progress


def record(a: Namespace) -> int:
    """Keeps a release for good; the same artifact again changes nothing."""
    from analysis import ledger
    from analysis import review as reviews
    from analysis.render.recording import build_entry, finished_review

    body = _verified(a.artifact)
    directory = _directory(a)
    folder = ledger.folder_name(str(body["release"]["id"]))
    with progress(quiet=a.quiet) as told:
        told.expect(1)

        def build(place: Path) -> None:
            told.step("rendering the release without ids of rows")
            finished = finished_review(reviews.PROJECT, a.artifact, body)
            build_entry(reviews.PROJECT, finished, directory, place, a.engine, told.detail)

        added = ledger.record(directory, body, build)
    place = nearby(directory / folder)
    if added:
        show(f"recorded release {_text(body['release']['id'])}: {place}")
        say(a, "the next render publishes it under releases/; commit the folder to keep it")
    else:
        show(
            f"release {_text(body['release']['id'])} is recorded already, with this artifact: {place}"
        )
    return 0


def history(a: Namespace) -> int:
    """The recorded releases in the order of their time; what is not sound is told, and hides no other."""
    import dataclasses

    from analysis import ledger, ledger_history, ledger_report

    directory = _directory(a)
    if a.ledger is not None and not directory.is_dir():
        raise UsageError(f"--ledger {a.ledger}: no such directory")
    found = ledger_history.history(ledger.read(directory))
    if a.last is not None:
        found = dataclasses.replace(found, lines=found.lines[-a.last :])
    emit(ledger_report.FORMATS[a.format](found), a.out)
    for fault in found.faults:
        # An error, which --quiet does not silence: an auditor must not miss it.
        tell(f"error: {nearby(fault.path)}: {fault.problem}; it is left out")
    return 0


def _directory(a: Namespace) -> Path:
    from analysis import ledger
    from analysis import review as reviews

    given: Path | None = a.ledger
    return (given if given is not None else reviews.PROJECT / ledger.RELEASES).resolve()


def _verified(path: Path) -> dict[str, Any]:
    from analysis import artifact as artifacts

    problems = artifacts.verify_file(path)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ArtifactError(f"artifact {path} does not verify:\n{listed}")
    return artifacts.read(path)


def _text(value: str) -> str:
    from analysis.telemetry.violations import one_line

    return one_line(value, 200)
