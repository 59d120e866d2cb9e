"""The folder of a release in the ledger: a safe name for any release id, another one for every id.

A plain id is its own name: up to 80 of `a-z`, `0-9`, `.`, `_` and `-`, as 2026.11.2. Any other (upper case
too, which some file systems do not tell from lower) is spelled `<what is plain of it>~<20 digits of its
SHA-256>`. A plain id holds no `~`, so that no two ids share a folder, on no file system.
"""

from __future__ import annotations

import hashlib
import re

RELEASES = "data/releases"
"""The project's own ledger, below its root."""
_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9_-])?")
# Windows opens a device by these, whatever follows the first dot.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
# What a published folder of releases holds beside them.
_TAKEN = frozenset({"index.html"})
_DIGITS = 20
_READABLE = 40


def folder_name(release_id: str) -> str:
    """The name of a release's folder: of plain letters, never hidden, at most 80 long."""
    plain = _PLAIN.fullmatch(release_id) and not _DEVICES.fullmatch(release_id)
    if plain and release_id not in _TAKEN:
        return release_id
    digest = hashlib.sha256(release_id.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    readable = re.sub(r"[^a-z0-9._-]+", "-", release_id.lower()).strip("-._")[:_READABLE]
    return f"{readable.rstrip('-._') or 'release'}~{digest}"


def is_folder_name(name: str) -> bool:
    """Whether `folder_name` may have made this: all else in a ledger is no release."""
    plain, _, digest = name.partition("~")
    if not digest:
        return folder_name(name) == name
    return bool(
        re.fullmatch(rf"[0-9a-f]{{{_DIGITS}}}", digest)
        and re.fullmatch(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", plain)
    )
