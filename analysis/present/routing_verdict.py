"""A recommendation in words and with a check's mark."""

from __future__ import annotations

from analysis.present.blocks import Body
from analysis.present.escape import Html, say

OUTCOMES = {"adopt": "pass", "keep": "fail", "insufficient_evidence": "inconclusive"}
WORDS = {"adopt": "adopt", "keep": "keep present", "insufficient_evidence": "not settled"}


def verdict(candidate: Body) -> Html:
    """What is recommended, as a cell."""
    told = candidate["recommendation"]
    return say(f'<span class="rr-{OUTCOMES[told]}">{{w}}</span>', w=WORDS[told])
