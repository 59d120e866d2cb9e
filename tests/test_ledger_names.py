"""The folder of a release: safe for any id, and another one for every id."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.ledger_names import folder_name, is_folder_name

HOSTILE = [
    "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "-rf", "~", "~root", ".hidden", "x.", "x ", " ",
    "con", "NUL", "com1.txt", "aux.2026", "index.html", "R42", "r42~", "é", "e\u0301", "ß", "İ", "日本", "a\nb",
    "\x1b[2J", "\u202egone", "a:b", "a|b", "?", "*", "<b>", "{{< env HOME >}}", "%2e%2e", "x" * 300, "x" * 81,
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize(
    "plain", ["2026.11.2", "r42", "v1.0.0-rc.1", "0", "a_b", "2026-11-02", "x" * 80]
)
def test_a_plain_id_is_its_own_folder(plain: str) -> None:
    assert folder_name(plain) == plain
    assert is_folder_name(plain)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_any_other_id_has_a_safe_folder(hostile: str) -> None:
    safe(folder_name(hostile))
    assert folder_name(hostile) != hostile


def safe(name: str) -> None:
    assert PurePosixPath(name).name == name
    assert name.isascii()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._~-")
    assert name[0].isalnum()
    assert name[-1] not in ". "
    assert len(name) <= 80
    assert is_folder_name(name)


def test_ids_that_a_file_system_may_not_tell_apart_have_folders_that_it_does() -> None:
    alike = ["R1", "r1", "é", "e\u0301", "É", "x", "x.", "x ", " x", "X", *HOSTILE]
    names = [folder_name(i).casefold() for i in alike]
    assert len(set(names)) == len(set(alike))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=120), st.text(max_size=120))
def test_every_id_has_a_folder_of_its_own(one: str, two: str) -> None:
    safe(folder_name(one))
    assert (folder_name(one) == folder_name(two)) is (one == two)
    # A folder's name is itself an id that somebody may give: it leads elsewhere, or is plain.
    assert folder_name(folder_name(one)) == folder_name(one) or folder_name(one) != one


@pytest.mark.parametrize(
    "name", ["x~", "~0", "x~" + "g" * 20, "X", "a b", "x~" + "0" * 19, ".x", "x."]
)
def test_a_name_that_no_release_has_is_none(name: str) -> None:
    assert not is_folder_name(name)
