"""The ledger: every recorded release with its artifact, tables and site, in a folder of its own.

    data/releases/<id>/decision_artifact.json
    data/releases/<id>/tables/                   without the tables that name single rows
    data/releases/<id>/site/                     the release's pages as they were published

A release appears in one rename and is never changed afterwards. Whoever comes second with the same
artifact finds it there; whoever comes with another is refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import artifact as artifacts
from analysis import disk, leftovers, stopping
from analysis.errors import ArtifactError, UsageError
from analysis.ledger_names import RELEASES as RELEASES
from analysis.ledger_names import folder_name, is_folder_name
from analysis.profiles import is_share_safe

SITE = "site"
TABLES = "tables"
_BUILDING = ".entry.building-"


@dataclass(frozen=True)
class Entry:
    """One recorded release. folder: its name in the ledger. body: the artifact's JSON values."""

    folder: str
    path: Path
    body: Mapping[str, Any]

    @property
    def release_id(self) -> str:
        return str(self.body["release"]["id"])

    @property
    def digest(self) -> str:
        return str(self.body["digest"])

    @property
    def end_utc(self) -> str:
        """The end of the candidate window: when the release was decided."""
        return str(self.body["windows"]["candidate"]["end_utc"])


@dataclass(frozen=True)
class Fault:
    """A folder of the ledger that is no sound release, and why."""

    folder: str
    path: Path
    problem: str


@dataclass(frozen=True)
class Ledger:
    """What a ledger holds: releases in the order of their time, and folders that are none."""

    entries: tuple[Entry, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def digest(self) -> str:
        """Tells whether anything that is shown of the ledger has changed."""
        told = [(e.folder, e.digest) for e in self.entries]
        told += [(f.folder, f.problem) for f in self.faults]
        return f"sha256:{hashlib.sha256(artifacts.canonical([list(t) for t in told])).hexdigest()}"

    def beside(self, body: Mapping[str, Any]) -> Ledger:
        """What may be told beside a review: beside a share-safe one only releases that are, and no faults."""
        if not is_share_safe(body):
            return self
        return Ledger(tuple(e for e in self.entries if is_share_safe(e.body)))

    def named(self, folder: str) -> Entry | None:
        return next((e for e in self.entries if e.folder == folder), None)


def read(directory: Path) -> Ledger:
    """The ledger in `directory`; one that is not there is empty.

    An entry counts where its artifact agrees with its digests and its folder is the one of its
    release: all else is a fault, and hides no other. Raises UsageError where the folder cannot be read.
    """
    try:
        names = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
    except OSError as error:
        raise UsageError(f"ledger {directory}: {error.strerror or 'cannot be read'}") from None
    entries, faults = [], []
    for name in names:
        path = directory / name
        if name.startswith(".") or not path.is_dir():
            continue
        found = _entry(path)
        if isinstance(found, Entry):
            entries.append(found)
        else:
            faults.append(found)
    entries.sort(key=lambda e: (e.end_utc, e.release_id))
    return Ledger(tuple(entries), tuple(faults))


def _entry(path: Path) -> Entry | Fault:
    def fault(problem: str) -> Fault:
        return Fault(path.name, path, problem)

    if not is_folder_name(path.name):
        return fault("its name is not that of a release")
    if path.is_symlink():
        return fault("is a link, and no folder of the ledger")
    try:
        body = artifacts.read(path / artifacts.FILE_NAME)
        _check_values(body)
    except (UsageError, ArtifactError) as error:
        return fault(str(error).replace(str(path / artifacts.FILE_NAME), artifacts.FILE_NAME))
    except (KeyError, TypeError, ValueError, RecursionError):
        return fault("its artifact cannot be read: something in it is missing, or of another kind")
    if folder_name(str(body["release"]["id"])) != path.name:
        return fault("holds the artifact of another release")
    return Entry(path.name, path, body)


def _check_values(body: Mapping[str, Any]) -> None:
    """Raises ArtifactError where the digests do not hold; a KeyError or the like where parts are missing."""
    wrong = artifacts.disagreeing(body)
    if wrong:
        raise ArtifactError(f"its artifact does not agree with its {min(wrong)}")
    if not isinstance(body["release"]["id"], str):
        raise ArtifactError("its release has no id")
    window = body["windows"]["candidate"]
    if not (isinstance(window["start_utc"], str) and isinstance(window["end_utc"], str)):
        raise ArtifactError("its candidate window has no times")


# ── recording ────────────────────────────────────────────────────────────────────────────

Build = Callable[[Path], None]


def record(directory: Path, body: Mapping[str, Any], build: Build) -> bool:
    """Adds a release; False where the same artifact is there already.

    build: fills the new release's folder, which appears in one step when it is complete.
    Raises UsageError where another artifact has the release's place, or it cannot be written.
    """
    place = directory / folder_name(str(body["release"]["id"]))
    if _is_there(place, body):
        return False
    try:
        directory.mkdir(parents=True, exist_ok=True)
        leftovers.clean(directory, _BUILDING)
        with leftovers.directory(directory, _BUILDING, mode=0o755) as building:
            build(building)
            with stopping.deferred():
                return _put(building, place, body)
    except OSError as error:
        raise UsageError(
            f"ledger {directory}: {disk.refusal(error) or error.strerror or error}; nothing was recorded"
        ) from None


def _put(building: Path, place: Path, body: Mapping[str, Any]) -> bool:
    """The one step. A folder that holds anything is never replaced: whoever is second fails here."""
    try:
        os.rename(building, place)
    except OSError as error:
        taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EACCES)
        if taken and _is_there(place, body):
            return False
        raise
    return True


def _is_there(place: Path, body: Mapping[str, Any]) -> bool:
    """Whether this artifact is recorded at `place`. Raises UsageError where something else is."""
    if not os.path.lexists(place):
        return False
    shown = str(body["release"]["id"])
    found = _entry(place) if place.is_dir() else Fault(place.name, place, "is no folder")
    if isinstance(found, Fault):
        raise UsageError(f"{place}: {found.problem}; release {shown!r} cannot be recorded there")
    if found.digest == body["digest"]:
        return True
    raise UsageError(
        f"release {shown!r} is recorded with another artifact, {found.digest}; this one is {body['digest']}. "
        "A ledger only grows: give this review another release id (--release)"
    )
