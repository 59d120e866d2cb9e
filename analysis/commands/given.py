"""Values of the command line, read and refused."""

from __future__ import annotations

import re
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import UsageError

if TYPE_CHECKING:
    from analysis.telemetry.address import Address


def request(a: Namespace) -> Any:
    """The review that the command line asks for."""
    from analysis import review as reviews

    return reviews.request(
        data=a.data,
        policy=a.policy,
        release_id=a.release,
        as_of=moment(a.as_of),
        threads=a.threads,
        memory_limit=size(a.memory_limit),
        contract=a.contract,
        project=reviews.PROJECT,
    )


def data_of(data: str) -> Path | Address:
    """A directory that is there, or the address of an engine."""
    from analysis.telemetry.address import address, is_address

    return address(data) if is_address(data) else existing(data)


def existing(data: str) -> Path:
    """`--data`. Raises UsageError where it is not there."""
    path = Path(data)
    try:
        there = bool(data) and path.exists()
    except OSError as error:
        raise UsageError(f"--data {data}: {error.strerror or 'cannot be read'}") from None
    if not there:
        raise UsageError(f"--data {data or repr(data)}: no such directory")
    return path


def moment(text: str | None) -> datetime | None:
    """`--as-of`, in UTC. Raises UsageError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of {text or repr(text)}: expected a date or a time such as 2026-11-16T00:00:00Z"
        ) from None
    if not 1970 <= found.year <= 2999:
        raise UsageError(f"--as-of {text}: expected a year from 1970 to 2999")
    if found.tzinfo is not None and found.utcoffset() != UTC.utcoffset(None):
        raise UsageError(f"--as-of {text}: expected UTC (Z), found another offset")
    return found.replace(tzinfo=UTC)


def size(text: str | None) -> str | None:
    """`--memory-limit`. Raises UsageError."""
    if text is not None and not re.fullmatch(r"\d+(\.\d+)?\s*([KMGT]i?B|B)", text):
        raise UsageError(f"--memory-limit {text}: expected a size such as 4GB or 512MiB")
    return text
