"""The one way in which text from telemetry or policy reaches a page: visible, short and inert."""

from __future__ import annotations

import html
import unicodedata

CELL = 80
"""Longest text of a table cell, in characters."""
SENTENCE = 600
"""Longest sentence of a check, in characters."""
ALT = 1_800
"""Longest alternative text of a figure: small multiples have many numbers."""

# Control, format (bidirectional, zero-width), surrogate, private-use, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ENTITIES = str.maketrans({"{": "&#123;", "}": "&#125;", "`": "&#96;"})


class Html(str):
    """Finished HTML: nothing escapes it again."""

    __slots__ = ()


def visible(value: object, limit: int = CELL) -> str:
    """`value` as one line of plain text: what cannot be seen is shown as \\uXXXX, the rest cut."""
    text = str(value)
    cut = len(text) > limit
    shown = "".join(_shown(c) for c in (text[: limit - 1] if cut else text))
    return f"{shown}…" if cut else shown


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def escape(value: object, limit: int = CELL) -> Html:
    """`value` as HTML text, inert in elements, in quoted attributes and as Markdown.

    Braces and backticks become entities, so that no shortcode, cell option or fence comes of them.
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(visible(value, limit), quote=True).translate(_ENTITIES))


def say(template: str, **values: object) -> Html:
    """`template` (trusted HTML) with its {names} replaced by escaped values."""
    return Html(template.format(**{k: escape(v, SENTENCE) for k, v in values.items()}))
