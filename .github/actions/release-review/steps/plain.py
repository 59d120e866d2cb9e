"""Text of telemetry, policy and artifact as text: in Markdown, and in the commands of a runner."""

from __future__ import annotations

import re
import unicodedata

# Control, format (bidirectional, zero-width), surrogate, private-use, unassigned, separators of lines.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
LONGEST = 600
"""Characters of one text: a sentence of a check is shorter."""


def visible(value: object, limit: int = LONGEST) -> str:
    """One line: what cannot be seen is shown as \\uXXXX, and what is too long is cut."""
    text = str(value)
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = "".join(_shown(c) for c in cut)
    # Runners take ##[…] and ##vso[…] for a command wherever it stands in a line of a log.
    return re.sub("(?<=#)#", r"\\u0023", shown)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def markdown(value: object, limit: int = LONGEST) -> str:
    """Text that Markdown and HTML leave alone, and in which GitHub finds no name and no link."""
    escaped = re.sub(
        r"([\\`*_{}\[\]()#+!|~<>&@$:])", lambda m: f"&#{ord(m.group())};", visible(value, limit)
    )
    # GitHub looks for @names, #numbers and www. again in the finished text: break them up there.
    escaped = re.sub(r"&#(64|35);", r"&#\1;&#8203;", escaped)
    return re.sub(r"www\.", "www&#46;&#8203;", escaped, flags=re.IGNORECASE)


def message(value: object) -> str:
    """The message of a workflow command."""
    return visible(value).replace("%", "%25")
