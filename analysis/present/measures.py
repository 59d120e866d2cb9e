"""How a check's numbers read, by the unit that it gives, and the table of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.present import anchors, glossary
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
            [_judged(c), _placed(c), over(value(c), interval(c)), limit(c), count(c["support"])]
            for c in by_weight(checks)
        ],
        source,
        most=MAX_CHECKS,
    )  # fmt: skip


def _judged(check: Body) -> Html:
    """Outcome and severity; on a screen, which can lead there, also what the check is."""
    term = glossary.of_check(check["id"])
    means = Html("")
    if term is not None:
        link_ = glossary.link(term, "definition", f"definition of {check['id']}")
        means = say('<span class="rr-web rr-means"> {link}</span>', link=link_)
    return say(
        '{m}<br><span class="rr-range">{s}{means}</span>',
        m=mark(check["outcome"]), s=check["severity"], means=means,
    )  # fmt: skip


def linked(check: Body) -> Html:
    """A check's id as a link to its page; it may break at its joints where a phone is narrow."""
    broken = escape(check["id"]).replace(".", ".<wbr>").replace("_", "_<wbr>")
    return link(page_of(check), Html(broken))


def _placed(check: Body) -> Html:
    """A check's id as a link to its evidence, at a place of its own."""
    at = anchors.check_place(check["id"])
    itself = anchors.itself(at, f"the check {check['id']}")
    return anchors.named(at, say("{id} {itself}", id=linked(check), itself=itself))


# Where the evidence of a check stands on its page: of a family of checks, by the id's beginning.
_EVIDENCE: tuple[tuple[str, anchors.Kind, str], ...] = (
    ("contract.errors", "table", "Violations, errors first"),
    ("contract.bounds", "table", "What the unknown rows could hide"),
    ("health.cost_usd", "figure", "Cost and latency: candidate as a multiple of the baseline"),
    ("health.", "figure", "Failures and latency breaches: candidate minus baseline"),
    ("budget.spend", "table", "Spend"),
    ("budget.*.alerts", "table", "Burn alerts at the window's end"),
    ("budget.", "table", "Error budgets"),
    ("hotspots.", "table", "Slices that stand out, the costliest certain excess first"),
    ("drift.joint", "table", "How much each context column tells"),
    ("drift.", "table", "Every column, the most severe first"),
    ("routing.", "table", "What each candidate would have saved"),
    ("triage.queue", "table", "A weekday's queue, what overflows, and what is found"),
    ("triage.mode", "table", "What each way of reviewing would have cost in the window"),
    ("threshold.", "table", "Thresholds of the policy, in the candidate window"),
    ("baseline.", "table", "Against the last recorded releases"),
)


def page_of(check: Body) -> str:
    """The place that shows what a check rests on: the first page has the gate's own rules.

    Where a page has no such table or figure in this review, the link leads to the page (`anchors.resolved`).
    """
    page = "index.html" if check["view"] == "gate" else f"{check['view']}.html"
    for begins, kind, title in _EVIDENCE:
        first, _, last = begins.partition("*")
        if check["id"].startswith(first) and check["id"].endswith(last):
            return f"{page}#{anchors.place(kind, title)}"
    return page
