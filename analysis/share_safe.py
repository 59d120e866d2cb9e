"""Ids in what is published: as they are, or, in share-safe mode, as keyed hashes.

A plain hash of an id is no secret: whoever can guess ids can hash his guesses. So the hash is keyed
(HMAC-SHA256, RFC 2104) by a secret of the team, in the environment variable `RELEASE_REVIEW_ID_KEY`. The
same key gives the same hash in every release. Without a key no id is shown at all.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.errors import UsageError
from analysis.policy import Policy

KEY_VARIABLE = "RELEASE_REVIEW_ID_KEY"
MIN_KEY_BYTES = 16
HASH_LENGTH = 24
"""Hexadecimal digits that are shown: 96 bits, in which no two ids of one team meet."""


@dataclass(frozen=True)
class Shown:
    """How ids are shown. key: the secret; None without one. safe: whether the mode is share-safe."""

    safe: bool
    key: bytes | None = field(repr=False)

    def ids(self, ids: Sequence[str]) -> list[str | None]:
        """The ids as they are shown, None where they may not be."""
        if not self.safe:
            return list(ids)
        key = self.key
        if key is None:
            return [None] * len(ids)
        return [hmac.digest(key, i.encode(), "sha256").hex()[:HASH_LENGTH] for i in ids]

    @property
    def note(self) -> str | None:
        """What a reader must know of it."""
        if not self.safe:
            return None
        if self.key is None:
            return (
                f"Share-safe: no ids are shown, as {KEY_VARIABLE} holds no key to hash them with."
            )
        return f"Share-safe: ids are hashed with the key in {KEY_VARIABLE}."

    @property
    def digest(self) -> str | None:
        """Tells one key from another, and not what it is: what a finished review depends on."""
        if not self.safe or self.key is None:
            return None
        return hmac.digest(self.key, b"release review: which key", "sha256").hex()


def shown(policy: Policy, environment: Mapping[str, str] | None = None) -> Shown:
    """How this policy's ids are shown. Raises UsageError where the key is too short to be a secret."""
    if not policy.publish.share_safe:
        return Shown(False, None)
    given = (os.environ if environment is None else environment).get(KEY_VARIABLE, "")
    key = given.encode("utf-8", "surrogateescape")
    if key and len(key) < MIN_KEY_BYTES:
        raise UsageError(
            f"{KEY_VARIABLE}: has {len(key)} bytes; a key of at least {MIN_KEY_BYTES} random ones is needed"
        )
    return Shown(True, key or None)
