"""The DecisionArtifact: its models, its schema, and what verifies it (DESIGN section 6)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from analysis.artifact_bytes import (
    FILE_NAME,
    SCHEMA,
    SIGNIFICANT_DIGITS,
    bytes_of,
    canonical,
    digest,
    disagreeing,
    evidence_digest,
    file_bytes,
    parsed,
    read,
    rounded_tree,
    sealed,
    write,
)
from analysis.artifact_schema import (
    Schema,
    printable,
    projected,
    published,
    schema_file,
    schema_id,
    schema_problems,
    schema_text,
)
from analysis.check import Check
from analysis.disclosure import Publication
from analysis.errors import ArtifactError
from analysis.gate import Decision
from analysis.in_place import write_text
from analysis.registration import Registration
from analysis.telemetry.files import InputFile
from analysis.views.budget import BudgetSection
from analysis.views.contract import ContractInfo
from analysis.views.drift import DriftSection
from analysis.views.gate_rules import GateSection
from analysis.views.health import HealthSection
from analysis.views.hotspots import HotspotsSection
from analysis.views.routing import RoutingSection
from analysis.views.triage import TriageSection

__all__ = [
    "FILE_NAME",
    "REVISION",
    "SCHEMA",
    "DecisionArtifact",
    "ExclusionInfo",
    "MigratedFrom",
    "PolicyInfo",
    "Producer",
    "ReleaseInfo",
    "Views",
    "WindowInfo",
    "WindowsInfo",
    "as_it_was",
    "bytes_of",
    "canonical",
    "digest",
    "disagreeing",
    "evidence_digest",
    "file_bytes",
    "json_schema",
    "parsed",
    "publish_schema",
    "read",
    "revision_of",
    "rounded_tree",
    "schema_of",
    "sealed",
    "to_json",
    "verify",
    "verify_file",
    "write",
]

REVISION = 2
"""Of the schema: keys are added with a revision, none is renamed, retyped or given another meaning.
An artifact without the key is of revision 1. `make schemas` publishes the current one."""


@dataclass(frozen=True)
class ReleaseInfo:
    id: str
    title: str
    commit: str | None


@dataclass(frozen=True)
class WindowInfo:
    start_utc: str
    end_utc: str
    n_interactions: int
    n_sessions: int
    n_users: int
    release_id: str | None = None


@dataclass(frozen=True)
class ExclusionInfo:
    start: str
    end: str
    reason: str


@dataclass(frozen=True)
class WindowsInfo:
    comparison: Literal["concurrent", "before_after"]
    baseline: WindowInfo | None
    candidate: WindowInfo
    exclude: tuple[ExclusionInfo, ...]
    cluster: Literal["user", "session"]
    as_of: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Views:
    contract: ContractInfo
    health: HealthSection
    budget: BudgetSection
    hotspots: HotspotsSection
    routing: RoutingSection
    drift: DriftSection
    triage: TriageSection
    gate: GateSection


@dataclass(frozen=True)
class PolicyInfo:
    """registration: None where no policy was registered for this release."""

    sha256: str
    settings: dict[str, Any]
    registration: Registration | None = None


@dataclass(frozen=True)
class Producer:
    version: str
    commit: str | None
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class MigratedFrom:
    """The artifact of an older revision that this one was before, by its digests."""

    revision: int
    digest: str
    evidence_digest: str


@dataclass(frozen=True)
class DecisionArtifact:
    """Everything that a release's decision rests on; `to_json` adds the digests.

    publication: what was hidden and masked; None where the policy is not share-safe. In a share-safe
    artifact a count may be null. A key that is added needs a null or a default: older artifacts are
    brought here by `migrate`.
    """

    schema: Literal["decision-artifact/1"]
    release: ReleaseInfo
    decision: Decision
    windows: WindowsInfo
    checks: tuple[Check, ...]
    views: Views
    inputs: tuple[InputFile, ...]
    policy: PolicyInfo
    producer: Producer
    revision: Literal[2] = 2
    migrated_from: MigratedFrom | None = None
    publication: Publication | None = None
    evidence_digest: str = ""
    digest: str = ""


def to_json(artifact: DecisionArtifact) -> dict[str, Any]:
    """The artifact as JSON values, rounded, with both digests."""
    body = rounded_tree(dataclasses.asdict(artifact))
    return sealed(body)


def verify_file(path: Path) -> list[str]:
    """What is wrong with an artifact file: its bytes, its schema, both digests. Empty: nothing.

    Raises UsageError where the file cannot be read.
    """
    raw = bytes_of(path)
    try:
        body = parsed(raw, path)
    except ArtifactError as error:
        return [str(error)]
    problems = verify(body)
    if not problems and raw not in (canonical(body), file_bytes(body)):
        problems = ["the values agree, but the bytes are neither canonical nor these indented by 2"]
    return problems


def verify(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with an artifact's JSON values: schema, digits, digests."""
    try:
        schema = schema_of(body)
        return (
            schema_problems(body, schema)
            or _value_problems(body)
            or _migration_problems(body.get("migrated_from"), body)
        )
    except ArtifactError as error:
        return [str(error)]
    except RecursionError:
        return ["artifact: nested too deeply"]


def revision_of(body: Mapping[str, Any]) -> int:
    """The revision of the schema that an artifact follows. Raises ArtifactError for an unknown one."""
    found = body.get("revision", 1)
    if type(found) is not int or not 1 <= found <= REVISION:
        raise ArtifactError(
            f"revision: {printable(repr(found))} is not known here; this code knows 1 to {REVISION}: "
            "take the version that made the artifact, or a newer one"
        )
    return found


def schema_of(body: Mapping[str, Any]) -> Schema:
    """The schema of an artifact's own revision. Raises ArtifactError for an unknown one."""
    revision = revision_of(body)
    return json_schema() if revision == REVISION else published(revision)


def _value_problems(body: Mapping[str, Any]) -> list[str]:
    problems = []
    if canonical(rounded_tree(body)) != canonical(body):
        problems.append(f"a number is −0.0, or has more than {SIGNIFICANT_DIGITS} digits")
    problems += [
        f"{name}: the artifact says {printable(body[name])}, its content gives {expected}"
        for name, expected in disagreeing(body).items()
    ]
    return problems


def _migration_problems(said: Mapping[str, Any] | None, body: Mapping[str, Any]) -> list[str]:
    """What was migrated gives the digests of what it was: a migration only adds keys."""
    if said is None:
        return []
    if not 1 <= said["revision"] < revision_of(body):
        return [f"migrated_from.revision: {said['revision']} is no earlier revision"]
    before = as_it_was(body, said["revision"])
    return [
        f"migrated_from.{name}: the artifact says {printable(said[name])}, "
        f"what revision {said['revision']} knew of it gives {before[name]}"
        for name in ("evidence_digest", "digest")
        if said[name] != before[name]
    ]


def as_it_was(body: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """What an older revision knew of an artifact, with the digests of that."""
    before = projected(body, published(revision))
    if "revision" in before:
        before["revision"] = revision
    if "migrated_from" in before:
        before["migrated_from"] = None
    return sealed(before)


@functools.cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of the artifact, from its dataclasses."""
    schema = TypeAdapter(DecisionArtifact).json_schema(mode="serialization")
    _close(schema)
    _let_counts_be_hidden(schema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = schema_id(REVISION)
    schema["title"] = f"DecisionArtifact ({SCHEMA}, revision {REVISION})"
    return schema


def publish_schema() -> None:
    """`make schemas`: writes the file of the current revision's schema."""
    write_text(schema_file(REVISION), schema_text(json_schema()))


_SHOWN_WHOLE = frozenset(
    ("WindowInfo", "InputFile", "MigratedFrom", "Registration", "Publication", "Hidden", "Masked")
)


def _let_counts_be_hidden(schema: dict[str, Any]) -> None:
    """A count of a share-safe artifact is null where it is too small to be shown."""
    for name, model in schema["$defs"].items():
        for held in () if name in _SHOWN_WHOLE else model.get("properties", {}).values():
            for node in (held, held.get("additionalProperties")):
                if (
                    isinstance(node, dict)
                    and node.get("type") == "integer"
                    and "default" not in node
                ):
                    del node["type"]
                    node["anyOf"] = [{"type": "integer"}, {"type": "null"}]


def _close(node: Any) -> None:
    """Every object has all of its keys, null where unknown, and no other."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node["required"] = sorted(node["properties"])
            node["additionalProperties"] = False
        for item in node.values():
            _close(item)
    elif isinstance(node, list):
        for item in node:
            _close(item)
