"""Quarto's profiles: whom a render is for. Pages ask it too, so that it imports next to nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

VARIABLE = "QUARTO_PROFILE"
PUBLIC = "public"
DEFAULT = "internal"
PROFILES = (DEFAULT, PUBLIC)


def profiles(given: str | None = None) -> tuple[str, ...]:
    """The profiles that count, the first one first: those given, else of the environment, else internal."""
    named = os.environ.get(VARIABLE, "") if given is None else given
    found = tuple(name for name in (part.strip() for part in named.split(",")) if name)
    return found or (DEFAULT,)


def is_share_safe(body: Mapping[str, Any]) -> bool:
    """Whether an artifact is the published form of a share-safe review."""
    return body.get("publication") is not None
