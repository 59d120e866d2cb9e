"""Whom a render is for: Quarto's profiles `internal` and `public`, in both engines.

A profile changes what is shown, and never the review. The public one shows the published form of a
share-safe review, without the blocks that name single rows; of any other review it shows nothing, so that
no wrong profile can disclose what the policy did not clear.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.errors import RenderError
from analysis.ledger import Ledger
from analysis.policy import Policy

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


def check(names: Sequence[str], body: Mapping[str, Any]) -> None:
    """Raises RenderError where the review is not for this audience."""
    if PUBLIC in names and not is_share_safe(body):
        raise RenderError(
            "profile public: the review is not share-safe, and nothing of it is shown; set "
            "publish: {share_safe: true} in the policy, and render again"
        )


def check_policy(names: Sequence[str], policy: Policy) -> None:
    """The same before anything is computed."""
    check(names, {"publication": policy.publish.share_safe or None})


def beside(ledger: Ledger, body: Mapping[str, Any]) -> Ledger:
    """The releases that may lie beside a site: beside a share-safe one only others that are."""
    if not is_share_safe(body):
        return ledger
    return replace(
        ledger, entries=tuple(e for e in ledger.entries if is_share_safe(e.body)), faults=()
    )
