"""The artifact's JSON Schemas, one published file a revision, and what they say of an artifact's values.

A revision only adds keys. So an older artifact is brought to a newer schema by adding what it lacks
(`completed`), and what an older one knew of a newer is what its schema names (`projected`).
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from analysis.errors import ArtifactError
from analysis.telemetry.violations import clean

Schema = Mapping[str, Any]
FOLDER = Path(__file__).resolve().parent / "schemas"


def schema_id(revision: int) -> str:
    """The `$id` of a revision's schema."""
    return f"urn:release-review:decision-artifact:1.{revision}"


def schema_file(revision: int) -> Path:
    """Where a revision's schema is published."""
    return FOLDER / f"decision-artifact-1.{revision}.json"


@functools.cache
def published(revision: int) -> Schema:
    """The published schema of a revision."""
    found: dict[str, Any] = json.loads(schema_file(revision).read_text(encoding="utf-8"))
    return found


def schema_text(schema: Schema) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def schema_problems(body: Mapping[str, Any], schema: Schema) -> list[str]:
    """Where an artifact's values break a schema, by path."""
    # Takes a second to import, and only a verification needs it.
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(
        validator.iter_errors(copy.deepcopy(dict(body))),
        key=lambda e: list(map(str, e.absolute_path)),
    )
    return [
        f"{printable('.'.join(map(str, e.absolute_path)) or 'artifact')}: {e.message[:200]}"
        for e in errors
    ]


def printable(text: str) -> str:
    """Text that a terminal shows as text, at most 200 characters."""
    shown = text if text.isprintable() else repr(text)
    return shown[:200]


def completed(body: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The artifact with every key of `schema`: what it lacks is null, else the default, else empty.

    Raises ArtifactError for a key that has none of them.
    """

    def fill(value: dict[str, Any], properties: Schema, path: str) -> dict[str, Any]:
        missing = properties.keys() - value.keys()
        return value | {key: _nothing(properties[key], schema, _join(path, key)) for key in missing}

    made: dict[str, Any] = _walked(body, schema, schema, fill, "")
    return made


def projected(body: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The artifact without the keys that `schema` does not name."""

    def drop(value: dict[str, Any], properties: Schema, _: str) -> dict[str, Any]:
        return {key: held for key, held in value.items() if key in properties}

    made: dict[str, Any] = _walked(body, schema, schema, drop, "")
    return made


_Change = Callable[[dict[str, Any], Schema, str], dict[str, Any]]


def _walked(value: Any, node: Schema, root: Schema, change: _Change, path: str) -> Any:
    """`value` with `change` applied to each object whose keys the schema lists, innermost last."""
    options = _options(node, root)
    if isinstance(value, Mapping):
        listed = [o["properties"] for o in options if "properties" in o]
        if listed:
            # Of several forms of an object the one that shares the most keys with it.
            properties = max(listed, key=lambda p: len(p.keys() & value.keys()))
            made = change(dict(value), properties, path)
            return {
                key: _walked(held, properties[key], root, change, _join(path, key))
                if key in properties
                else held
                for key, held in made.items()
            }
        free: Any = next(
            (o["additionalProperties"] for o in options if "additionalProperties" in o), None
        )
        if isinstance(free, Mapping):
            return {k: _walked(v, free, root, change, _join(path, k)) for k, v in value.items()}
        return dict(value)
    if isinstance(value, list):
        items: Schema = next((o["items"] for o in options if "items" in o), {})
        return [_walked(v, items, root, change, f"{path}[{i}]") for i, v in enumerate(value)]
    return value


def _options(node: Schema, root: Schema) -> list[Schema]:
    """The forms that a value may have, references followed."""
    if "$ref" in node:
        return _options(root["$defs"][node["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in node:
        return [option for one in node["anyOf"] for option in _options(one, root)]
    return [node]


def _nothing(node: Schema, root: Schema, path: str) -> Any:
    """What stands for a value that is not known."""
    options = _options(node, root)
    types = [option.get("type") for option in options]
    if "null" in types:
        return None
    for described in (node, *options):
        if "default" in described:
            return copy.deepcopy(described["default"])
    if len(options) == 1:
        only = options[0]
        if "const" in only:
            return only["const"]
        if only.get("type") == "array":
            return []
        if only.get("type") == "string" and "enum" not in only:
            return ""
        if only.get("type") == "object":
            listed = only.get("properties", {})
            return {key: _nothing(held, root, _join(path, key)) for key, held in listed.items()}
    raise ArtifactError(
        f"{clean(path)}: older artifacts lack it, and nothing can stand for it: its schema has neither "
        "null nor a default"
    )


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
