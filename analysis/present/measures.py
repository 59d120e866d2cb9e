"""How a check's numbers read, by the unit that it gives, and the table of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.present.blocks import Body, link, mark, over
from analysis.present.escape import Html, escape, say
from analysis.present.formats import (
    NONE,
    Format,
    between,
    count,
    number,
    percent,
    points,
    ratio,
    signed_usd,
    usd,
)
from analysis.present.grid import Column, table, text

# A check's rate is the difference of two: percentage points.
_FORMATS: Mapping[str, Format] = {
    "rate": points,
    "ratio": ratio,
    "burn rate": ratio,
    "rows": count,
    "share of rows": percent,
    "episodes": count,
    "slices": count,
    "features": count,
    "reviews a day": lambda value: number(value, 1),
    "USD per request": signed_usd,
    "USD": signed_usd,
    "share": percent,
    "waivers": count,
    "ms": lambda value: number(value, 0),
    "USD per interaction": usd,
}
_NOUNS = {
    "rows": "rows",
    "share of rows": "of rows",
    "episodes": "episodes",
    "slices": "slices",
    "features": "columns",
    "reviews a day": "reviews a day",
    "USD per request": "USD a request",
    "USD": "USD",
    "AUC": "AUC",
    "waivers": "waivers",
    "ms": "ms",
    "USD per interaction": "USD an interaction",
}
MAX_CHECKS = 200
"""A policy's thresholds and objectives are as many as it names; the first page has them all."""
_SIGNS = {"at_most": "≤", "at_least": "≥"}
_SEVERITIES = {"block": 0, "hold": 1, "note": 2}
_OUTCOMES = {"fail": 0, "inconclusive": 1, "pass": 2}


def form(check: Body) -> Format:
    """How the check's numbers are written, without the unit's noun."""
    return _FORMATS.get(check["unit"], number)


def value(check: Body) -> str:
    """The check's value with its unit."""
    if check["value"] is None:
        return NONE
    written = form(check)(check["value"])
    noun = _NOUNS.get(check["unit"], "")
    return f"{written} {noun.removesuffix('s') if written == '1' else noun}".rstrip()


def interval(check: Body) -> str:
    return between(check["low"], check["high"], form(check))


def limit(check: Body) -> str:
    """The pass limit with its direction; none where the check passed without a value."""
    if check["limit"] is None or (check["value"] is None and check["outcome"] == "pass"):
        return NONE
    return f"{_SIGNS[check['comparison']]} {form(check)(check['limit'])}"


def by_weight(checks: Sequence[Body]) -> list[Body]:
    """What blocks first, then what holds, then notes; failures before doubts before passes."""
    return sorted(checks, key=lambda c: (_SEVERITIES[c["severity"]], _OUTCOMES[c["outcome"]]))


def check_table(checks: Sequence[Body], title: str, source: str) -> Html:
    """Every check in one row."""
    return table(
        title,
        [text("Outcome, severity"), text("Check"), Column("Value, 95 % interval"),
         Column("Passes at"), Column("Interactions")],
        [
            [_judged(c), linked(c), over(value(c), interval(c)), limit(c), count(c["support"])]
            for c in by_weight(checks)
        ],
        source,
        most=MAX_CHECKS,
    )  # fmt: skip


def _judged(check: Body) -> Html:
    return say(
        '{m}<br><span class="rr-range">{s}</span>', m=mark(check["outcome"]), s=check["severity"]
    )


def linked(check: Body) -> Html:
    """A check's id as a link to its page; it may break at its joints where a phone is narrow."""
    broken = escape(check["id"]).replace(".", ".<wbr>").replace("_", "_<wbr>")
    return link(page_of(check), Html(broken))


def page_of(check: Body) -> str:
    """The page that shows what a check rests on: the first one has the gate's own rules."""
    return "index.html" if check["view"] == "gate" else f"{check['view']}.html"
