from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analysis.yaml_text import (
    comment,
    counted,
    figure,
    is_visible,
    listed,
    per_cent,
    quoted,
    rounded_up,
    scalar,
)

ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=200)
NUMBERS = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)

PLAIN = ["latency_ms", "a", "gpt-4.1", "_x", "created_at"]
IN_QUOTES = [
    "", " ", "no", "Yes", "on", "null", "~", "true", "1", "1.5", "1e5", "2023-03", "0x1f", ".inf",
    "a b", "a: b", "# a", "a #b", "[a]", "{a}", "&a", "*a", "!a", "%a", "@a", "`a", "-", "- a", "?",
    "'a'", '"a"', "a\\b", "a\nb", "a\tb", "größe", "x" * 61,
]  # fmt: skip
HIDDEN = [
    "\x00", "\x07", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u034f", "\u115f", "\u180e", "\u200b",
    "\u200d", "\u200e", "\u202e", "\u2028", "\u2029", "\u2060", "\u2066", "\u2800", "\u3164", "\ufe0f",
    "\ufeff", "\ue000", "\U000e0041", "\U000e0100",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_safe_stands_plain(text: str) -> None:
    assert scalar(text) == text


@pytest.mark.parametrize("text", IN_QUOTES)
def test_what_yaml_could_read_otherwise_stands_in_quotes(text: str) -> None:
    assert scalar(text).startswith('"')
    assert yaml.safe_load(scalar(text)) == text


@pytest.mark.parametrize("character", HIDDEN, ids=lambda c: f"U+{ord(c):04X}")
def test_what_cannot_be_seen_is_an_escape(character: str) -> None:
    written = scalar(f"a{character}b")
    assert character not in written
    assert yaml.safe_load(written) == f"a{character}b"


@given(ANY_TEXT)
def test_every_text_reads_back_as_it_was(text: str) -> None:
    written = scalar(text)
    assert yaml.safe_load(written) == text
    assert yaml.safe_load(f"k: {{a: {written}, b: {listed([text, text])}}}") == {
        "k": {"a": text, "b": [text, text]}
    }
    assert all(map(is_visible, written))


@given(NUMBERS)
def test_every_number_reads_back_as_it_was(value: int | float | bool) -> None:
    assert yaml.safe_load(scalar(value)) == value


def test_true_is_not_one() -> None:
    assert [scalar(v) for v in (1, True, 1.0, 0, False)] == ["1", "true", "1", "0", "false"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        scalar(value)


@given(ANY_TEXT, st.integers(0, 8), st.integers(0, 4))
def test_a_comment_says_nothing_to_yaml(text: str, indent: int, hanging: int) -> None:
    lines = comment(text, indent, hanging)
    assert yaml.safe_load("\n".join([*lines, "a: 1"])) == {"a": 1}
    assert all(line.startswith(" " * indent + "#") for line in lines)
    assert all(is_visible(c) for line in lines for c in line)


def test_a_long_comment_is_wrapped_and_a_long_name_is_cut() -> None:
    assert max(map(len, comment("word " * 100, 4, 2))) <= 96
    assert len(quoted("n" * 500)) < 70


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(2009.0, 2, 2100.0), (0.0123, 1, 0.02), (40.0, 2, 40.0), (0.1, 1, 0.1), (99.1, 1, 100.0),
     (1e-9, 2, 1e-9), (1.0000001, 2, 1.1), (5e15, 2, 5e15), (1.1 * 1.1, 3, 1.21)],
)  # fmt: skip
def test_rounding_up_keeps_the_digits(value: float, digits: int, expected: float) -> None:
    assert rounded_up(value, digits) == expected


@given(st.floats(1e-12, 1e12), st.integers(1, 3))
def test_rounding_up_never_goes_down_and_not_far_up(value: float, digits: int) -> None:
    up = rounded_up(value, digits)
    assert value * (1 - 1e-11) <= up <= value * (1 + 10 ** (1 - digits)) * (1 + 1e-12)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_rounding_up_refuses_what_it_cannot(value: float) -> None:
    with pytest.raises(ValueError, match="finite number above 0"):
        rounded_up(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1234567, "1,234,567"), (0.00123456, "0.00123"), (20.5, "20.5"), (100.0, "100"),
     (-0.25, "-0.25"), (99.96, "100"), (1e-12, "0.000000000001")],
)  # fmt: skip
def test_a_figure_is_short(value: float, expected: str) -> None:
    assert figure(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0 %"), (0.00001, "under 0.1 %"), (0.5, "50 %"), (0.123, "12.3 %"),
     (0.99999, "over 99.9 %"), (1, "100 %")],
)  # fmt: skip
def test_a_share_never_reads_as_nothing_or_all_of_it(share: float, expected: str) -> None:
    assert per_cent(share) == expected


def test_one_thing_is_one_thing() -> None:
    assert [counted(n, "row") for n in (0, 1, 1000)] == ["0 rows", "1 row", "1,000 rows"]


def test_ascii_letters_and_digits_are_visible() -> None:
    assert all(
        map(is_visible, string.ascii_letters + string.digits + string.punctuation + " äßЖ語")
    )
