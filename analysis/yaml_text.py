"""YAML for people, written by hand so that comments can stand in it.

Names and values of telemetry are hostile text. Whatever reaches a line goes through `scalar` (reads
back as exactly that text) or `comment` (one line, nothing hidden): no control, bidirectional or
zero-width character ever stands in the file itself.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

import yaml

WIDTH = 96
NAME = 60
"""Longest name in a comment, in characters; as a key, a name is always whole."""

_SHOWN = frozenset("LNPSM")
# Of categories that are shown, and yet blank, or only there to change a neighbour.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def is_visible(character: str) -> bool:
    """Whether a character can be seen, and is what it seems."""
    if character == " ":
        return True
    code = ord(character)
    return (
        unicodedata.category(character)[0] in _SHOWN
        and character not in _BLANK
        and not any(low <= code <= high for low, high in _SELECTORS)
    )


def shown(text: str) -> str:
    """`text` on one line: what cannot be seen as an escape that YAML reads back."""
    return "".join(c if is_visible(c) else _escaped(c) for c in text)


def quoted(text: str, limit: int = NAME) -> str:
    """A name in a comment: as it stands in YAML, cut where it is long."""
    return scalar(text if len(text) <= limit else f"{text[: limit - 1]}…")


@functools.lru_cache(maxsize=4096, typed=True)
def scalar(value: str | bool | int | float) -> str:
    """One value, as YAML reads it back: text plain where that is safe, else in double quotes.

    Raises ValueError for a number that is not finite.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if _PLAIN.fullmatch(value) and len(value) <= NAME and yaml.safe_load(value) == value:
        return value
    return '"' + shown(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def listed(values: Iterable[str | bool | int | float]) -> str:
    """A list on one line."""
    return f"[{', '.join(map(scalar, values))}]"


def comment(text: str, indent: int = 0, hanging: int = 0) -> list[str]:
    """A comment of one paragraph, wrapped; its further lines stand `hanging` columns to the right."""
    mark = " " * indent + "# "
    return textwrap.wrap(
        shown(text),
        WIDTH,
        initial_indent=mark,
        subsequent_indent=mark + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def rounded_up(value: float, digits: int = 2) -> float:
    """`value` > 0, rounded up to so many significant digits; the last bits of a product, beyond
    twelve digits, count as noise."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{value}: expected a finite number above 0")
    exact = Decimal(f"{value:.11e}")
    step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return float((exact / step).to_integral_value(rounding=ROUND_CEILING) * step)


def figure(value: float, digits: int = 3) -> str:
    """A number for a person: so many significant digits, thousands apart."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    exact = Decimal(repr(float(value)))
    places = digits - 1 - exact.adjusted()
    kept = round(exact, places) if places > 0 else Decimal(round(exact))
    text = f"{kept:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(n: int, what: str) -> str:
    """A number of things."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def per_cent(share: float) -> str:
    """A share for a person; what is above nothing never reads as nothing."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _number(value: float) -> str:
    """A number without an exponent, which YAML 1.1 would read as text."""
    if not math.isfinite(value):
        raise ValueError(f"{value}: YAML numbers are finite here")
    if value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = f"{Decimal(repr(value)):f}"
    return text if "." in text else f"{text}.0"
