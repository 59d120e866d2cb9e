"""Brings an artifact of an older revision of the schema to the current one.

    verified by its own schema → keys that are new, null or empty → digests made anew

Decision, checks and figures stay as they were; `migrated_from` keeps the digests of the original, which
`verify` finds again in the migrated one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from analysis import artifact as artifacts
from analysis.artifact_schema import completed
from analysis.errors import ArtifactError


def migrated(body: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact at the current revision; one that is there already stays as it is.

    Raises ArtifactError where it does not verify, or cannot be brought there.
    """
    refuse_unverified(body, "the artifact")
    revision = artifacts.revision_of(body)
    if revision == artifacts.REVISION:
        return dict(body)
    made = readable(body)
    # Of an artifact that was migrated before, the first form counts.
    made["migrated_from"] = body.get("migrated_from") or dataclasses.asdict(
        artifacts.MigratedFrom(revision, body["digest"], body["evidence_digest"])
    )
    made = artifacts.sealed(made)
    refuse_unverified(made, "the migrated artifact")
    return made


def readable(body: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact with every key of the current revision, and its own digests: to be read, not kept."""
    if artifacts.revision_of(body) == artifacts.REVISION:
        return dict(body)
    return {**completed(body, artifacts.json_schema()), "revision": artifacts.REVISION}


def refuse_unverified(body: Mapping[str, Any], what: str) -> None:
    """Raises ArtifactError where the values do not agree with their schema and digests."""
    problems = artifacts.verify(body)
    if problems:
        raise ArtifactError(f"{what} does not verify:\n  " + "\n  ".join(problems))
