"""The DecisionArtifact: its schema, its canonical bytes, its digests (DESIGN section 6)."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from analysis.check import Check
from analysis.errors import ArtifactError, UsageError
from analysis.gate import Decision
from analysis.telemetry.files import InputFile
from analysis.views.budget import BudgetSection
from analysis.views.contract import ContractInfo
from analysis.views.drift import DriftSection
from analysis.views.health import HealthSection
from analysis.views.hotspots import HotspotsSection
from analysis.views.routing import RoutingSection
from analysis.views.triage import TriageSection

SCHEMA = "decision-artifact/1"
FILE_NAME = "decision_artifact.json"
SIGNIFICANT_DIGITS = 12


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


@dataclass(frozen=True)
class PolicyInfo:
    sha256: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Producer:
    version: str
    commit: str | None
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class DecisionArtifact:
    """Everything that a release's decision rests on; `to_json` adds the digests."""

    schema: Literal["decision-artifact/1"]
    release: ReleaseInfo
    decision: Decision
    windows: WindowsInfo
    checks: tuple[Check, ...]
    views: Views
    inputs: tuple[InputFile, ...]
    policy: PolicyInfo
    producer: Producer
    evidence_digest: str = ""
    digest: str = ""


def to_json(artifact: DecisionArtifact) -> dict[str, Any]:
    """The artifact as JSON values, rounded, with both digests."""
    body = rounded_tree(dataclasses.asdict(artifact))
    body["evidence_digest"] = evidence_digest(body)
    body["digest"] = digest(body)
    return body


def rounded_tree(value: Any, path: str = "") -> Any:
    """`value` with floats at 12 significant digits and no −0.0; tuples become lists.

    Raises ArtifactError for what JSON cannot hold: a view that lets one through is wrong.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtifactError(f"{path} is {value}; what cannot be computed is null")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArtifactError(f"{path} has the key {key!r}; keys are text")
        return {k: rounded_tree(v, f"{path}.{k}" if path else k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded_tree(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise ArtifactError(f"{path} is of type {type(value).__name__}, which JSON cannot hold")


def canonical(value: Any) -> bytes:
    """The canonical bytes of JSON values."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode("utf-8", errors="surrogatepass")


def evidence_digest(body: Mapping[str, Any]) -> str:
    """Digest of what must not depend on row order, format or engine.

    Left out of it are the policy's `data`, and the examples of violations: each engine spells
    values in its own way.
    """
    policy = {"settings": {k: v for k, v in body["policy"]["settings"].items() if k != "data"}}
    parts = {name: body[name] for name in ("checks", "decision", "views", "windows")}
    views = {**parts["views"], "contract": _without_examples(parts["views"]["contract"])}
    return _sha256(canonical({**parts, "views": views, "policy": policy}))


def _without_examples(contract: Mapping[str, Any]) -> dict[str, Any]:
    listed = {
        name: [{k: v for k, v in one.items() if k != "examples"} for one in contract[name]]
        for name in ("violations", "below")
    }
    return {**contract, **listed}


def digest(body: Mapping[str, Any]) -> str:
    """Digest of the whole artifact without `digest` itself."""
    return _sha256(canonical({k: v for k, v in body.items() if k != "digest"}))


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_bytes(body: Mapping[str, Any]) -> bytes:
    """What `decision_artifact.json` holds: the canonical form, indented by 2."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8", errors="surrogatepass")


def write(body: Mapping[str, Any], path: Path) -> None:
    """Writes the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".artifact-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(file_bytes(body))
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Any]:
    """The JSON values of an artifact file.

    Raises UsageError where it cannot be read, ArtifactError where it is no such artifact. A key
    that stands twice is refused: two readers would see two artifacts.
    """
    return parsed(_bytes_of(path), path)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"artifact {path}: {error.strerror or 'cannot be read'}") from None


def parsed(raw: bytes, path: Path) -> dict[str, Any]:
    """The JSON values in an artifact's bytes. path: what an error calls it. Raises ArtifactError."""
    try:
        body = json.loads(
            raw.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"artifact {path}: not JSON in UTF-8 ({error})") from None
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        found = body.get("schema") if isinstance(body, dict) else type(body).__name__
        raise ArtifactError(
            f"artifact {path}: expected schema {SCHEMA!r}, found {repr(found)[:80]}"
        )
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return values


def verify_file(path: Path) -> list[str]:
    """What is wrong with an artifact file: its bytes, its schema, both digests. Empty: nothing.

    Raises UsageError where the file cannot be read.
    """
    raw = _bytes_of(path)
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
        return _schema_problems(body) or _value_problems(body)
    except RecursionError:
        return ["artifact: nested too deeply"]


def _schema_problems(body: Mapping[str, Any]) -> list[str]:
    # Takes a second to import, and only a verification needs it.
    import jsonschema

    validator = jsonschema.Draft202012Validator(json_schema())
    errors = sorted(
        validator.iter_errors(copy.deepcopy(dict(body))),
        key=lambda e: list(map(str, e.absolute_path)),
    )
    return [
        f"{_printable('.'.join(map(str, e.absolute_path)) or 'artifact')}: {e.message[:200]}"
        for e in errors
    ]


def _value_problems(body: Mapping[str, Any]) -> list[str]:
    problems = []
    if canonical(rounded_tree(body)) != canonical(body):
        problems.append(f"a number is −0.0, or has more than {SIGNIFICANT_DIGITS} digits")
    for name, compute in (("evidence_digest", evidence_digest), ("digest", digest)):
        expected = compute(body)
        if body[name] != expected:
            said = _printable(body[name])
            problems.append(f"{name}: the artifact says {said}, its content gives {expected}")
    return problems


def _printable(text: str) -> str:
    shown = text if text.isprintable() else repr(text)
    return shown[:200]


@functools.cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of the artifact, from its dataclasses."""
    schema = TypeAdapter(DecisionArtifact).json_schema(mode="serialization")
    _close(schema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"DecisionArtifact ({SCHEMA})"
    return schema


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
