"""Where two artifacts' values differ: integers, texts and booleans exactly, floats to 1e-6 relative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TOLERANCE = 1e-6
_IDS = ("id", "name", "feature", "file", "column", "what", "driver", "dimension", "metric")
"""Keys by which the items of two lists are matched, where one tells them apart in both."""


@dataclass(frozen=True)
class Difference:
    """One value that differs. path: as in `checks[health.failure_rate].value`; said: the artifact's;
    found: what was found instead; the side that has none is None (`only` tells which has one)."""

    path: str
    said: Any
    found: Any
    only: Literal["said", "found"] | None = None


def differences(said: Any, found: Any, path: str = "") -> Iterator[Difference]:
    """Every difference between two JSON values, in the order of their keys."""
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        yield from _of_mappings(said, found, path)
    elif isinstance(said, list) and isinstance(found, list):
        name = _told_by(said, found)
        if name is None and len(said) == len(found):
            for place, (one, other) in enumerate(zip(said, found, strict=True)):
                yield from differences(one, other, f"{path}[{place}]")
        elif name is None:
            yield Difference(path, said, found)
        else:
            yield from _of_named(said, found, name, path)
    elif not _agree(said, found):
        yield Difference(path, said, found)


def _of_mappings(
    said: Mapping[str, Any], found: Mapping[str, Any], path: str
) -> Iterator[Difference]:
    for key in sorted({*said, *found}):
        place = f"{path}.{key}" if path else key
        if key not in found:
            yield Difference(place, said[key], None, "said")
        elif key not in said:
            yield Difference(place, None, found[key], "found")
        else:
            yield from differences(said[key], found[key], place)


def _of_named(
    said: Sequence[Any], found: Sequence[Any], name: str, path: str
) -> Iterator[Difference]:
    ours = {one[name]: one for one in said}
    theirs = {one[name]: one for one in found}
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        place = f"{path}[{key}]"
        if key not in theirs:
            yield Difference(place, ours[key], None, "said")
        elif key not in ours:
            yield Difference(place, None, theirs[key], "found")
        else:
            yield from differences(ours[key], theirs[key], place)
    if ours.keys() == theirs.keys() and list(ours) != list(theirs):
        yield Difference(f"{path} (order)", list(ours), list(theirs))


def _told_by(*lists: Sequence[Any]) -> str | None:
    """The key that tells the items of each list apart."""
    if not all(lists) or not all(isinstance(one, Mapping) for items in lists for one in items):
        return None
    return next((name for name in _IDS if all(_tells(name, items) for items in lists)), None)


def _tells(name: str, items: Sequence[Mapping[str, Any]]) -> bool:
    values = [one.get(name) for one in items]
    return all(isinstance(v, str) for v in values) and len(set(values)) == len(values)


def _agree(said: Any, found: Any) -> bool:
    if isinstance(said, bool) or isinstance(found, bool):
        return said is found
    if isinstance(said, float) or isinstance(found, float):
        if not isinstance(said, int | float) or not isinstance(found, int | float):
            return False
        return abs(said - found) <= TOLERANCE * max(abs(said), abs(found))
    return type(said) is type(found) and bool(said == found)
