"""YAML as JSON values, without the surprises that it has for a person who writes a policy or a contract."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from analysis.errors import PolicyError, UsageError

MAX_BYTES = 1_000_000

DATE = "date"
"""The one key of the object that stands for a date or a time."""


def read(path: Path, what: str) -> bytes:
    """The bytes of the file that `--<what>` names.

    Raises UsageError where it cannot be read, PolicyError where it is too large to be one.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise UsageError(f"{what} {path}: {reason}; give another file with --{what}") from None
    if len(raw) > MAX_BYTES:
        raise PolicyError([f"the file is larger than {MAX_BYTES:,} bytes"], str(path))
    return raw


def document(raw: bytes, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys and values in `raw`, none where it is empty, and what was refused, by its path.

    Raises PolicyError where it holds anything else.
    """
    try:
        tree = Tree(_text(raw, source))
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyError([unreadable(error)], source) from None
    data = {} if tree.data is None else tree.data
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise PolicyError(
            [*tree.problems.values(), f"expected keys and values, found {kind}"], source
        )
    return data, tree.problems


def documents(raw: bytes, source: str) -> list[Tree]:
    """The documents in `raw`, one or more. Raises PolicyError where it is no YAML."""
    try:
        return Tree.each(_text(raw, source))
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyError([unreadable(error)], source) from None


def _text(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError(
            [f"byte {error.start} is not UTF-8; save the file as UTF-8"], source
        ) from None


class Gone:
    """Stands where a value was refused, so that its neighbours in a list keep their places."""


GONE = Gone()
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a date",
    "null": "null",
}
_ALIAS = "!alias"


class Tree:
    """The one document in `text`; `problems` maps the path of what was refused to what is wrong.

    Aliases, tags, merge keys, keys that stand twice or are not text, numbers that are not finite
    and text that is not Unicode are refused. A date becomes {"date": ISO 8601}, so that it passes
    where a time is expected, and nowhere else. Raises yaml.YAMLError or RecursionError for what is
    no YAML at all; `unreadable` says it in words.
    """

    def __init__(self, text: str) -> None:
        loader = _Loader(text)
        try:
            self._read(loader, loader.get_single_node())
        finally:
            loader.dispose()

    @classmethod
    def each(cls, text: str) -> list[Tree]:
        """The same of each document, where there may be more than one."""
        loader, out = _Loader(text), []
        try:
            while loader.check_node():
                tree = cls.__new__(cls)
                tree._read(loader, loader.get_node())
                out.append(tree)
        finally:
            loader.dispose()
        return out

    def _read(self, loader: _Loader, node: yaml.Node | None) -> None:
        self.problems: dict[str, str] = {}
        self._loader = loader
        self.data = None if node is None else self._value(node, "")

    def _value(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self._value(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return self._scalar(node, path)
        if node.tag == _ALIAS:
            return self._refused(
                node, path, "aliases (*name) are not accepted; write the value out"
            )
        return self._refused(node, path, f"the tag {short(node.tag)} is not accepted; leave it out")

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _ALIAS:
                self._refused(key_node, path, "a key is not plain text; write it out")
                continue
            key = key_node.value
            where = join(path, key)
            if key_node.tag == f"{_PREFIX}merge":
                self._refused(key_node, where, "merge keys are not accepted; write the keys out")
            elif key_node.tag != f"{_PREFIX}str":
                kind = _KINDS.get(key_node.tag.removeprefix(_PREFIX), "no text")
                self._refused(key_node, where, f"the key is {kind}; expected text, quote it")
            elif key in out:
                self._refused(key_node, where, "stands twice; keep one")
            else:
                out[key] = self._value(value_node, where)
        return {key: value for key, value in out.items() if value is not GONE}

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (ValueError, KeyError, AttributeError, OverflowError):
            kind = _KINDS.get(node.tag.removeprefix(_PREFIX), "a value")
            return self._refused(node, path, f"{short(node.value)} cannot be read as {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refused(node, path, f"{value} is not a finite number")
        if isinstance(value, int) and abs(value) >= 2**63:
            return self._refused(node, path, "the number is too large")
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            return self._refused(node, path, "the text holds half of a surrogate pair")
        if isinstance(value, date):
            return {DATE: value.isoformat()}
        return value

    def _refused(self, node: yaml.Node, path: str, problem: str) -> Gone:
        text = f"{problem} (line {node.start_mark.line + 1})"
        self.problems.setdefault(path, f"{path}: {text}" if path else text)
        return GONE


class _Loader(yaml.SafeLoader):
    """Composes an alias as a node of its own, which `Tree` refuses: no expansion, no cycles."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.get_event()
            return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


def unreadable(error: Exception) -> str:
    """Why text is no YAML, with the place."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position}: U+{int(error.character):04X} is not accepted in YAML"
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{getattr(error, 'problem', None) or 'nested too deeply, or not YAML'}"


def join(path: str, key: str) -> str:
    """The path of `key` below `path`."""
    return f"{path}.{short(key)}" if path else short(key)


def short(text: str) -> str:
    """Text of the file as one printable line of at most 80 characters."""
    shown = text if text.isprintable() else json.dumps(text)[1:-1]
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
