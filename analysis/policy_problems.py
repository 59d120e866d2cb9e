"""Every problem of a policy or a contract at once: path, what was found, what was expected, a hint.

Models say their contradictions by `refuse`: one line a problem; a line that starts with a dot goes
on with the path, as in `.candidates[1].name: …`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from analysis.strict_yaml import DATE, GONE, join

M = TypeVar("M", bound=BaseModel)


def refuse(problems: Iterable[str]) -> None:
    """Raises ValueError with every problem; nothing where there is none."""
    lines = list(problems)
    if lines:
        raise ValueError("\n".join(lines))


def again(values: Sequence[object]) -> list[int]:
    """The places at which an earlier value stands again."""
    seen: set[object] = set()
    places = []
    for place, value in enumerate(values):
        if value in seen:
            places.append(place)
        seen.add(value)
    return places


def twice(key: str, names: Sequence[str]) -> list[str]:
    """The problems of a list that holds a name more than once."""
    return [f".{key}[{i}]: {names[i]!r} stands twice; keep one" for i in again(names)]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names) or "nothing"


def hint_for(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known key, or all of them."""
    close = difflib.get_close_matches(name[:80], sorted(known), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}"


class Checked(Generic[M]):
    """JSON values checked against a model; `model` is None where there are problems.

    Pydantic looks for contradictions in a model only once all below it is sound. So whatever was
    refused is taken out, and the rest is checked again, until nothing new is found. `rest` is the
    model of what is left then, None where that is none; `refused` are the paths taken out.

    found: problems by path that are known before. dependent: the starts of paths whose names exist
    only as long as nothing has been taken out.
    """

    def __init__(
        self,
        model: type[M],
        data: dict[str, Any],
        found: Mapping[str, str],
        dependent: tuple[str, ...],
    ) -> None:
        self._type = model
        self._data = data = _copied(data)
        self._fields = frozenset(_all_fields(model))
        self._dependent = dependent
        refused = set(found)
        problems = list(found.values())
        self.model: M | None = None
        self.rest: M | None = None
        while True:
            try:
                text = json.dumps(_without_gaps(data))
                checked = model.model_validate_json(text, strict=True)
            except ValidationError as error:
                problems += [
                    f"{path}: {text}" if path else text
                    for path, text, whole in self._readable(error)
                    if not self._follows(path, refused, whole)
                ]
                wrong = [(item["type"], *self._located(item["loc"])) for item in error.errors()]
                # That a key is unknown says nothing about the keys beside it.
                refused |= {path for kind, path, _, _ in wrong if kind != "extra_forbidden"}
                taken = [_take_out(container, key) for _, _, container, key in wrong]
                if not any(taken):
                    break
                continue
            self.rest = checked
            self.model = None if problems else checked
            break
        self.refused = frozenset(refused)
        self.problems = list(dict.fromkeys(problems))

    def places(self, key: str) -> tuple[int, ...]:
        """Where the items of a list at the top stand that are left."""
        items = self._data.get(key)
        if not isinstance(items, list):
            return ()
        return tuple(place for place, item in enumerate(items) if item is not GONE)

    def _follows(self, path: str, refused: set[str], whole: bool) -> bool:
        """Whether a problem may only be there because something was taken out.

        whole: it is said of a model as a whole, such as that two of its keys go together.
        """
        return (
            any(p and (path == p or _below(path, p)) for p in refused)
            or (whole and any(_below(p, path) for p in refused))
            or (bool(refused) and path.startswith(self._dependent))
        )

    def _located(self, loc: tuple[int | str, ...]) -> tuple[str, Any, Any]:
        """The path of an error; the container and key of the innermost value on it that exists.

        `loc` also names the branches of unions, which are no keys, and does not count gaps.
        """
        path, node = "", self._data
        container: Any = None
        key: Any = None
        for place, part in enumerate(loc):
            if isinstance(part, int) and isinstance(node, list):
                kept = [i for i, item in enumerate(node) if item is not GONE]
                if part >= len(kept):
                    path += f"[{part}]"
                    break
                container, key, node = node, kept[part], node[kept[part]]
                path += f"[{key}]"
            elif isinstance(part, str) and isinstance(node, dict) and part in node:
                path = join(path, part)
                container, key, node = node, part, node[part]
            elif place == len(loc) - 1 and part in self._fields:
                path = join(path, str(part))  # a key that is missing
        return path, container, key

    def _readable(self, error: ValidationError) -> list[tuple[str, str, bool]]:
        """(path, text, whole) of each problem; of a union, what its closest branch says."""
        items = [(self._located(item["loc"])[0], item) for item in error.errors()]
        certain = {path for path, item in items if item["type"] not in _EXPECTED}
        shapes: dict[str, tuple[list[str], Any]] = {}
        found: list[tuple[str, str, bool]] = []
        for path, item in items:
            if item["type"] not in _EXPECTED:
                for text in self._texts(item):
                    below, _, rest = text.partition(": ") if text[:1] == "." else ("", "", text)
                    whole = item["type"] == "value_error" and not below
                    found.append(((path + below).removeprefix("."), rest, whole))
            elif path not in certain and not any(_below(p, path) for p, _ in items):
                expected = _EXPECTED[item["type"]] or item.get("ctx", {}).get("expected", "")
                shapes.setdefault(path, ([], item["input"]))[0].append(expected)
        for path, (wanted, value) in shapes.items():
            expected = " or ".join(dict.fromkeys(wanted))
            text = f"expected {expected} (found {_shown(value)}){_way_out(wanted, value)}"
            found.append((path, text, False))
        return found

    def _texts(self, item: Any) -> list[str]:
        if item["type"] == "extra_forbidden":
            return [
                f"unknown key{hint_for(str(item['loc'][-1]), self._fields_at(item['loc'][:-1]))}"
            ]
        if item["type"] == "value_error":
            text = str(item["msg"]).removeprefix("Value error, ")
            single = _is_date(item["input"]) or not isinstance(item["input"], dict | list)
            return [f"{text} (found {_shown(item['input'])})"] if single else text.split("\n")
        if item["type"] == "missing":
            return ["is missing; expected a value"]
        return [
            f"{item['msg']} (found {_shown(item.get('input'))})".replace("Input should", "should")
        ]

    def _fields_at(self, loc: tuple[int | str, ...]) -> set[str]:
        model: Any = self._type
        for part in loc:
            if isinstance(part, str) and part in model.model_fields:
                model = next(_models_in(model.model_fields[part].annotation), model)
        return set(model.model_fields)


_EXPECTED = {
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "string_type": "text",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "literal_error": "",
}


def _below(path: str, parent: str) -> bool:
    return path.startswith((f"{parent}.", f"{parent}[")) if parent else bool(path)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _without_gaps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_gaps(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_gaps(item) for item in value if item is not GONE]
    return value


def _take_out(container: Any, key: Any) -> bool:
    if isinstance(container, dict) and key in container:
        del container[key]
        return True
    if isinstance(container, list) and container[key] is not GONE:
        container[key] = GONE
        return True
    return False


def _is_date(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {DATE}


def _shown(value: Any) -> str:
    text = value[DATE] if _is_date(value) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _way_out(wanted: Sequence[str], value: Any) -> str:
    """The way out of a usual slip of YAML."""
    if value is None:
        return "; leave the key out for its default"
    if "text" in wanted and (_is_date(value) or not isinstance(value, dict | list)):
        return f'; quote it: "{_shown(value)}"'
    if isinstance(value, str) and {"a number", "a whole number"} & set(wanted):
        try:
            return f"; write {float(value):.12g}, without quotes"
        except ValueError:
            return ""
    return ""


def _models_in(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _all_fields(model: Any) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in _models_in(field.annotation):
            yield from _all_fields(inner)
