"""Reads the recorded releases that a policy names: the folder of an earlier review.

Of a folder two files count: `decision_artifact.json`, whose digests have to hold, and
`tables/drift_distributions.csv`, whose digest has to be the one that the artifact names. Whatever is wrong
with any of them is the policy's fault, and said at once before anything is computed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis.errors import ArtifactError, PolicyError, UsageError
from analysis.ledger_names import RELEASES, folder_name
from analysis.policy import Policy, Window
from analysis.policy_drift import Reference
from analysis.telemetry.bin_cuts import Cut, Value
from analysis.telemetry.files import InputFile
from analysis.telemetry.recorded import RecordedBaseline, RecordedColumn, RecordedRelease
from analysis.views.drift_distributions import COLUMNS, FILE, NUMBER, REST, TEXT, digest

MAX_BYTES = 20_000_000

_Row = dict[str, str]


class Unusable(Exception):
    """Why a recorded folder cannot be compared with."""


def recorded_releases(policy: Policy, project: Path, source: str) -> tuple[RecordedRelease, ...]:
    """The recorded releases of `drift.references`, in its order.

    source: what the policy was read from. Raises PolicyError with every problem.
    """
    found, problems = [], []
    for place, reference in enumerate(policy.drift.references):
        if reference.recorded is None:
            continue
        try:
            found.append(_read(reference, project / reference.recorded))
        except Unusable as error:
            problems.append(f"drift.references[{place}].recorded: {reference.recorded}: {error}")
    if problems:
        raise PolicyError(problems, source)
    return tuple(found)


def recorded_baseline(policy: Policy, project: Path, source: str) -> RecordedBaseline | None:
    """The recorded release of `windows.baseline.recorded`; None where the policy names none.

    It lies in the project's ledger. source: what the policy was read from. Raises PolicyError.
    """
    baseline = policy.windows.baseline
    if baseline == "none" or baseline.recorded is None:
        return None
    release = baseline.recorded
    folder = f"{RELEASES}/{folder_name(release)}"
    try:
        if not _is_folder(project / folder):
            raise Unusable(f"no such release in {RELEASES}; see python -m analysis history")
        body, raw = artifact_of(project / folder / artifacts.FILE_NAME)
        window = _candidate(body, release)
    except Unusable as error:
        raise PolicyError([f"windows.baseline.recorded: {release!r}: {error}"], source) from None
    return RecordedBaseline(
        window,
        input_of(f"windows.baseline: {release}", f"{folder}/{artifacts.FILE_NAME}", raw),
    )


def _candidate(body: Mapping[str, Any], release: str) -> Window:
    """The candidate window of a recorded artifact: by release where it was one, else by its time."""
    try:
        if body["release"]["id"] != release:
            raise Unusable(f"{artifacts.FILE_NAME} is that of another release")
        window = body["windows"]["candidate"]
        if window["release_id"] is not None:
            return Window(release_id=window["release_id"])
        return Window(start=window["start_utc"], end=window["end_utc"])
    except (KeyError, TypeError, ValueError):
        raise Unusable(f"{artifacts.FILE_NAME} names no candidate window") from None


def _read(reference: Reference, folder: Path) -> RecordedRelease:
    if not _is_folder(folder):
        raise Unusable("no such directory, or it may not be read; give the folder of a review")
    body, raw = artifact_of(folder / artifacts.FILE_NAME)
    table = _bytes(folder / "tables" / FILE, f"tables/{FILE}")
    try:
        said = body["views"]["drift"]["distributions_sha256"]
        window = body["windows"]["candidate"]
        release = str(body["release"]["id"])
        start, end = str(window["start_utc"]), str(window["end_utc"])
        n = int(window["n_interactions"])
    except (KeyError, TypeError, ValueError):
        raise Unusable(
            f"{artifacts.FILE_NAME} keeps no distributions: it was made before they were recorded; "
            "review that release again"
        ) from None
    if said is None:
        raise Unusable(
            "that review had no baseline, or is share-safe, and kept no distributions; record one that has"
        )
    if said != digest(table):
        raise Unusable(f"tables/{FILE} is not the one that its artifact names ({str(said)[:80]})")
    columns = _columns(table)
    files = ((artifacts.FILE_NAME, "json", raw, 1),
             (f"tables/{FILE}", "csv", table, sum(len(c.counts) for c in columns.values())))  # fmt: skip
    inputs = tuple(
        input_of(
            f"drift.references: {reference.name}", f"{reference.recorded}/{name}", held, form, rows
        )
        for name, form, held, rows in files
    )
    return RecordedRelease(reference.name, release, start, end, n, columns, inputs)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def input_of(table: str, file: str, raw: bytes, form: str = "json", rows: int = 1) -> InputFile:
    """A recorded file among a review's inputs. table: what of the policy names it."""
    return InputFile(
        table=table,
        file=file,
        format=form,
        bytes=len(raw),
        rows=rows,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def artifact_of(path: Path) -> tuple[Mapping[str, Any], bytes]:
    """The artifact's values and bytes; its digests hold."""
    raw = _bytes(path, path.name)
    try:
        body = artifacts.parsed(raw, Path(path.name))
        agrees = not artifacts.disagreeing(body)
    except (ArtifactError, UsageError) as error:
        raise Unusable(str(error)) from None
    except (KeyError, TypeError, ValueError, RecursionError):
        agrees = False
    if not agrees:
        raise Unusable(
            f"{path.name} does not agree with its digests; see python -m analysis verify"
        )
    return body, raw


def _bytes(path: Path, shown: str) -> bytes:
    try:
        if not path.is_file():
            raise Unusable(f"{shown} is missing, or no regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{shown}: {error.strerror or 'cannot be read'}") from None
    if len(raw) > MAX_BYTES:
        raise Unusable(f"{shown} is larger than {MAX_BYTES:,} bytes")
    return raw


# ── the table ────────────────────────────────────────────────────────────────────────────


def _columns(raw: bytes) -> dict[str, RecordedColumn]:
    try:
        lines = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))
        if not lines or tuple(lines[0]) != COLUMNS:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
        by_name: dict[str, list[_Row]] = {}
        for line in lines:
            by_name.setdefault(line["feature"], []).append(line)
        return {name: _column(rows) for name, rows in by_name.items()}
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise Unusable(f"tables/{FILE} cannot be read: {error}") from None


def _column(rows: Sequence[_Row]) -> RecordedColumn:
    """A column from its bins in their order. Raises ValueError, TypeError."""
    name = rows[0]["feature"]
    if [int(row["bin"]) for row in rows] != list(range(len(rows))) or len(rows) < 2:
        raise ValueError(f"the bins of {name!r} are not numbered from 0 on")
    reads = {row["reads"] for row in rows}
    if len(reads) != 1 or not reads <= {NUMBER, TEXT}:
        raise ValueError(f"{name!r} is read as {', '.join(sorted(reads))}")
    is_number = reads == {NUMBER}
    edges = tuple(_number(row["edge"]) for row in rows if row["edge"])
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"the edges of {name!r} do not rise")
    values: dict[Value, int] = {
        _number(row["value"]) if is_number else row["value"]: place
        for place, row in enumerate(rows)
        if row["value"]
    }
    rest = [place for place, row in enumerate(rows) if row["label"] == REST and not row["value"]]
    counts = tuple(int(row["candidate"]) for row in rows)
    worth = sum(_number(row["candidate_effective"]) for row in rows)
    if min(counts) < 0 or (worth > 0) != (sum(counts) > 0):
        raise ValueError(f"the counts of {name!r} do not make sense")
    return RecordedColumn(
        is_number=is_number,
        cut=Cut(
            labels=tuple(row["label"] for row in rows),
            edges=edges,
            bins=values,
            rest=rest[-1] if rest else len(rows) - 1,
        ),
        counts=counts,
        design_effect=max(1.0, sum(counts) / worth) if worth > 0 else 1.0,
    )


def _number(text: str) -> float:
    """A number as the table writes it: a spreadsheet's guard stands before a minus."""
    value = float(text.removeprefix("'"))
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not finite")
    return value
