"""Policies registered before a release's window closes, and whether a review used the one registered.

A threshold that is chosen after the data are seen finds what it looks for. So the digest of a policy can
be written down beforehand, one line a registration, in a file that is only added to and that version
control dates a second time. A review says whether its policy is among them, and since when.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from analysis.check import Check, Interval
from analysis.errors import PolicyError, UsageError
from analysis.policy import LoadedPolicy

FILE = Path("data") / "registrations.jsonl"
MAX_BYTES = 5_000_000
_KEYS = {"policy_sha256", "registered_utc", "release"}
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Registered:
    """One line of the file: a release, the digest of its policy's bytes, and when it was written."""

    release: str
    policy_sha256: str
    registered_utc: str


@dataclass(frozen=True)
class Registration:
    """How the policy of a review was registered.

    registered_utc: when it first was, None where it never was. before_end: whether that was before the
    candidate window's end. other_versions: other policies registered for this release before that end.
    """

    registered_utc: str | None
    before_end: bool
    other_versions: int


def read(path: Path) -> tuple[Registered, ...]:
    """The registrations in a file, in its order; none where it is not there. Raises PolicyError."""
    try:
        if not path.exists():
            return ()
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError([error.strerror or "cannot be read"], str(path)) from None
    if len(raw) > MAX_BYTES:
        raise PolicyError([f"larger than {MAX_BYTES:,} bytes"], str(path))
    lines, problems = [], []
    # A line without its end was being written when its writer was killed.
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        found = _parsed(line)
        if found is None:
            problems.append(
                f"line {number}: expected an object with release, policy_sha256 and registered_utc"
            )
        else:
            lines.append(found)
    if problems:
        raise PolicyError(problems, str(path))
    return tuple(lines)


def _parsed(line: bytes) -> Registered | None:
    try:
        values: Any = json.loads(line)
        if not isinstance(values, dict) or set(values) != _KEYS:
            return None
        one = Registered(**values)
        datetime.strptime(one.registered_utc, _TIME)
        sound = re.fullmatch("[0-9a-f]{64}", one.policy_sha256) and isinstance(one.release, str)
    except (ValueError, TypeError, RecursionError):
        return None
    return one if sound else None


def register(loaded: LoadedPolicy, path: Path, now: datetime) -> tuple[Registered, bool]:
    """Adds a policy to the file; where it is there already, its first registration stays.

    Returns it, and whether it is new. Raises PolicyError and UsageError.
    """
    release = loaded.policy.release.id
    for one in read(path):
        if (one.release, one.policy_sha256) == (release, loaded.sha256):
            return one, False
    new = Registered(release, loaded.sha256, now.astimezone(UTC).strftime(_TIME))
    text = json.dumps(
        {
            "policy_sha256": new.policy_sha256,
            "registered_utc": new.registered_utc,
            "release": release,
        },
        ensure_ascii=True,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, (text + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or 'cannot be written'}") from None
    return new, True


def _append(path: Path, whole: bytes) -> None:
    """Adds one line, whole or not at all. One writer at a time: what a killed one left goes first."""
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        end = file.readall().rfind(b"\n") + 1
        file.truncate(end)
        try:
            if file.write(whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, end)
            raise


def registration_of(
    loaded: LoadedPolicy, registered: Sequence[Registered], now: datetime
) -> Registration | None:
    """How a review's policy was registered; None where nothing was for its release.

    now: the candidate window's end.
    """
    release = [r for r in registered if r.release == loaded.policy.release.id]
    if not release:
        return None
    end = now.astimezone(UTC).strftime(_TIME)
    own = sorted(r.registered_utc for r in release if r.policy_sha256 == loaded.sha256)
    others = {
        r.policy_sha256
        for r in release
        if r.policy_sha256 != loaded.sha256 and r.registered_utc < end
    }
    return Registration(own[0] if own else None, bool(own) and own[0] < end, len(others))


def check(found: Registration | None, wanted: Literal["optional", "required"]) -> Check | None:
    """Whether the policy is the one registered; None where none was, and none had to be.

    gate.registration: whether the policy is, byte for byte, the one that was registered before the end
    of the candidate window.
    """
    if found is None and wanted == "optional":
        return None
    if found is None or found.registered_utc is None:
        kept = "none was registered" if found is None else "another one was registered"
        sentence = f"The policy of this review was not registered: {kept} for this release."
    elif not found.before_end:
        sentence = f"The policy was registered at {found.registered_utc}, after the candidate window's end."
    else:
        n = found.other_versions
        more = f"; {n} other {'version was' if n == 1 else 'versions were'} too" if n else ""
        sentence = (
            f"The policy was registered at {found.registered_utc}, before the window's end{more}."
        )
    kept_to = found is not None and found.before_end
    return Check.of(
        "gate.registration",
        "gate",
        "pass" if kept_to else "fail",
        "hold" if wanted == "required" else "note",
        Interval.unknown(),
        limit=None,
        unit="",
        reason=None,
        sentence=sentence,
        action="Nothing to do."
        if kept_to
        else "Review with the policy that was registered, or say why it was changed.",
    )
