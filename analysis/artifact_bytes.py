"""The artifact's canonical bytes, its digests, and how its file is written and read (DESIGN section 6)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import leftovers
from analysis.errors import ArtifactError, UsageError

SCHEMA = "decision-artifact/1"
FILE_NAME = "decision_artifact.json"
SIGNIFICANT_DIGITS = 12


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


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON values with both digests made anew."""
    made = {**body, "evidence_digest": evidence_digest(body)}
    return {**made, "digest": digest(made)}


def disagreeing(body: Mapping[str, Any]) -> dict[str, str]:
    """Digest by name → what the content gives, of those that the artifact says otherwise.

    Raises KeyError or the like where what a digest is of is not there.
    """
    given = {"evidence_digest": evidence_digest(body), "digest": digest(body)}
    return {name: content for name, content in given.items() if body.get(name) != content}


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_bytes(body: Mapping[str, Any]) -> bytes:
    """What `decision_artifact.json` holds: the canonical form, indented by 2."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    return text.encode("utf-8", errors="surrogatepass")


def write(body: Mapping[str, Any], path: Path) -> None:
    """Writes the file whole or not at all; what a run that was killed left of one is removed."""
    raw = file_bytes(body)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.building-"
    leftovers.clean(path.parent, prefix)
    with leftovers.later(path.parent, prefix) as new:
        new.write_bytes(raw)
        os.chmod(new, 0o644)
        os.replace(new, path)


def read(path: Path) -> dict[str, Any]:
    """The JSON values of an artifact file.

    Raises UsageError where it cannot be read, ArtifactError where it is no such artifact. A key
    that stands twice is refused: two readers would see two artifacts.
    """
    return parsed(bytes_of(path), path)


def bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"artifact {path}: {error.strerror or 'cannot be read'}") from None


def parsed(raw: bytes, path: Path) -> dict[str, Any]:
    """The JSON values in an artifact's bytes. path: what an error calls it. Raises ArtifactError."""
    try:
        body = json_object(raw)
    except ArtifactError as error:
        raise ArtifactError(f"artifact {path}: {error}") from None
    if body.get("schema") != SCHEMA:
        raise ArtifactError(
            f"artifact {path}: expected schema {SCHEMA!r}, found {repr(body.get('schema'))[:80]}"
        )
    return body


def json_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, in which no key stands twice and every number is finite.

    Raises ArtifactError for anything else.
    """
    try:
        body = json.loads(
            raw.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"not JSON in UTF-8 ({error})") from None
    if not isinstance(body, dict):
        raise ArtifactError(f"expected an object, found {type(body).__name__}")
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
