"""Sentences of a view as they may be published: no small counts, and no shares that are ones."""

from __future__ import annotations

import math
import re

from analysis.disclosure import rounded

_SHARES = re.compile(r"(\d+(?:\.\d+)?) %")
_FEW = re.compile(
    r"\b([0-9])(?= (?:\w+ )?(?:interaction|session|user|request|failure|review|row|label|outcome)s?\b)"
)
_MANY = re.compile(
    r"(?<![\d.,:-])(\d{1,3}(?:,\d{3})+|\d{2,})(?= (?:\w+ )?(?:interaction|session|user|request|failure|row|label)"
    r"s?\b| were bad)"
)


def published_text(words: str, min_cell: int, smallest: int) -> str:
    """`words` with counts below `min_cell` unsaid, the others rounded, and shares of few as less than that.

    smallest: interactions of the smaller window.
    """
    least = 100 * min_cell / max(smallest, 1)

    def share(found: re.Match[str]) -> str:
        given = float(found.group(1))
        if 0 < given < least:
            return f"less than {math.ceil(10 * least) / 10:g} %"
        if 100 - least < given < 100:
            return f"more than {math.floor(10 * (100 - least)) / 10:g} %"
        return found.group(0)

    few = _FEW.sub(lambda m: m.group(0) if m.group(1) == "0" else f"fewer than {min_cell}", words)
    many = _MANY.sub(lambda m: f"{rounded(float(m.group(1).replace(',', ''))):,}", few)
    return _SHARES.sub(share, many)
