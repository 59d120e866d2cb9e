"""Text of artifacts as terminals, logs, XML and Markdown take it: as text, and as nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

from analysis.telemetry.violations import clean

# Newlines, which `clean` keeps, and code points that are no characters, which XML refuses. And GitHub's
# and Azure's runners take ##[…] and ##vso[…] for a command wherever it stands in a line of a log.
_NO_TEXT = re.compile("[\n\ufdd0-\ufdef\ufffe\uffff]|(?<=#)#")


def line(value: str) -> str:
    """One line of text: a newline, what XML cannot hold, and the second # of two become visible
    escapes."""
    return _NO_TEXT.sub(_escaped, clean(value, limit=None))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def figure(value: float | None) -> str:
    """A number at four digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def markdown(value: str) -> str:
    """Text that Markdown and HTML leave alone, and in which GitHub finds no name and no link."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~<>&@$:])", lambda m: f"&#{ord(m.group())};", line(value))
    # GitHub looks for @names, #numbers and www. again in the finished text: break them up there.
    escaped = re.sub(r"&#(64|35);", r"&#\1;&#8203;", escaped)
    return re.sub(r"www\.", "www&#46;&#8203;", escaped, flags=re.IGNORECASE)


def json_text(value: Any) -> str:
    """JSON values in ASCII, in which no runner of a log finds a command."""
    return json.dumps(value, ensure_ascii=True, indent=2, sort_keys=True).replace("##", r"#\u0023")
