"""Ledgers for tests: artifacts of one review under other names and figures, recorded in no time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis import ledger

Change = Callable[[dict[str, Any]], object]


def artifact(
    base: Mapping[str, Any], release: str, end: str | None = None, change: Change | None = None
) -> dict[str, Any]:
    """`base` as the artifact of another release. end: the day on which its candidate window ends, which
    keeps its length. change: makes further changes."""
    body = copy.deepcopy(dict(base))
    body["release"]["id"] = release
    if end is not None:
        window = body["windows"]["candidate"]
        length = _time(window["end_utc"]) - _time(window["start_utc"])
        last = datetime.fromisoformat(end).replace(tzinfo=UTC)
        window["start_utc"], window["end_utc"] = _iso(last - length), _iso(last)
    if change is not None:
        change(body)
    body["evidence_digest"] = artifacts.evidence_digest(body)
    body["digest"] = artifacts.digest(body)
    return body


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def weeks_after(day: str, n: int) -> str:
    return (datetime.fromisoformat(day) + timedelta(weeks=n)).date().isoformat()


def record(directory: Path, body: Mapping[str, Any]) -> bool:
    """Records an artifact with the smallest site that there may be."""

    def build(folder: Path) -> None:
        artifacts.write(body, folder / artifacts.FILE_NAME)
        report = folder / ledger.SITE / "report"
        report.mkdir(parents=True)
        (folder / ledger.TABLES).mkdir()
        page = (
            f"<!DOCTYPE html><html lang='en'><title>x</title><main>{len(str(body))}</main></html>"
        )
        for path in (report / "index.html", report.parent / "index.html"):
            path.write_text(page)
        artifacts.write(body, report.parent / artifacts.FILE_NAME)

    return ledger.record(directory, body, build)
