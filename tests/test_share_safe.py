from __future__ import annotations

import hashlib
import hmac

import pytest

from analysis.errors import UsageError
from analysis.policy import Policy, Publish
from analysis.share_safe import KEY_VARIABLE, shown

SAFE = Policy(publish=Publish(share_safe=True))
KEY = "0123456789abcdef0123456789abcdef"


def test_ids_are_as_they_are_unless_the_policy_says_so() -> None:
    found = shown(Policy(), {KEY_VARIABLE: KEY})
    assert found.ids(["a", "b"]) == ["a", "b"]
    assert found.note is None
    assert found.digest is None


def test_ids_are_hashed_with_the_key() -> None:
    found = shown(SAFE, {KEY_VARIABLE: KEY})
    expected = hmac.new(KEY.encode(), b"a", hashlib.sha256).hexdigest()
    assert found.ids(["a", "b", "a"])[0] == expected[:24]
    first, second, again = found.ids(["a", "b", "a"])
    assert first == again != second
    other = shown(SAFE, {KEY_VARIABLE: KEY[::-1]})
    assert other.ids(["a"]) != [first]
    assert other.digest != found.digest
    assert KEY not in f"{found.note} {found.digest}"


def test_without_a_key_no_id_is_shown() -> None:
    found = shown(SAFE, {})
    assert found.ids(["a", "b"]) == [None, None]
    assert KEY_VARIABLE in (found.note or "")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(UsageError, match="7 bytes"):
        shown(SAFE, {KEY_VARIABLE: "shorter"})
