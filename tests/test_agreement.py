from __future__ import annotations

from typing import Any

import pytest

from analysis.agreement import Difference, differences

SAME: dict[str, tuple[Any, Any]] = {
    "floats within a millionth": (1.0, 1.0 + 0.9e-6),
    "large floats within a millionth": (1e9, 1e9 + 900.0),
    "small floats within a millionth": (1e-9, 1.0000009e-9),
    "zeros": (0.0, 0.0),
    "a float and an integer of one value": (2.0, 2),
    "named items": ([{"id": "a", "x": 1}], [{"id": "a", "x": 1}]),
}


@pytest.mark.parametrize(("said", "found"), SAME.values(), ids=SAME.keys())
def test_what_is_the_same_is_no_difference(said: Any, found: Any) -> None:
    assert list(differences({"v": said}, {"v": found})) == []


OTHER: dict[str, tuple[Any, Any, str]] = {
    "floats beyond a millionth": (1.0, 1.0 + 1.1e-6, "v"),
    "a sign": (1e-30, -1e-30, "v"),
    "a float beside zero": (0.0, 1e-30, "v"),
    "a count off by one": (10**9, 10**9 + 1, "v"),
    "true and one": (True, 1, "v"),
    "true and 1.0": (True, 1.0, "v"),
    "false and nothing": (False, None, "v"),
    "zero and nothing": (0.0, None, "v"),
    "a number as text": (1.0, "1.0", "v"),
    "a text": ("ship", "hold", "v"),
    "an object and a list": ({}, [], "v"),
    "an item of a list": ([1, 2, 3], [1, 5, 3], "v[1]"),
    "a list of another length": ([1, 2], [1, 2, 3], "v"),
    "deeper": ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "v.a[0].b"),
    "a named item": (
        [{"id": "a", "x": 1}, {"id": "b", "x": 1}],
        [{"id": "a", "x": 1}, {"id": "b", "x": 2}],
        "v[b].x",
    ),
    "the order of named items": ([{"id": "a"}, {"id": "b"}], [{"id": "b"}, {"id": "a"}], "v (order)"),
    "names that stand twice": (
        [{"id": "a", "x": 1}, {"id": "a", "x": 2}],
        [{"id": "a", "x": 1}, {"id": "a", "x": 3}],
        "v[1].x",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "found", "path"), OTHER.values(), ids=OTHER.keys())
def test_what_differs_is_said_once_by_its_path(said: Any, found: Any, path: str) -> None:
    assert [d.path for d in differences({"v": said}, {"v": found})] == [path]
    assert [d.path for d in differences({"v": found}, {"v": said})] == [path]


def test_what_one_side_lacks_is_told_from_what_is_null() -> None:
    assert list(differences({"a": None}, {})) == [Difference("a", None, None, "said")]
    assert list(differences({}, {"a": None})) == [Difference("a", None, None, "found")]


def test_an_item_more_is_one_difference_and_does_not_shift_the_others() -> None:
    said = [{"name": n, "x": i} for i, n in enumerate("abcd")]
    assert list(differences(said, said[:1] + said[2:])) == [
        Difference("[b]", said[1], None, "said")
    ]
