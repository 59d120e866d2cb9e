"""The routing page: what other routing policies would have saved and broken."""

from __future__ import annotations

import pandas as pd

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    paragraph,
    stacked,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    NONE,
    between,
    percent,
    plural,
    signed_usd,
    tick,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.routing_evidence import doubts, settling, slices, support
from analysis.present.routing_frontier import frontier
from analysis.present.routing_rules import rules
from analysis.present.routing_verdict import OUTCOMES, WORDS, verdict
from analysis.review import Review

MAX_DRAWN = 3
_ESTIMATORS = {
    "dr": "doubly robust",
    "snips": "self-normalised weighting",
    "ips": "inverse propensity weighting",
    "switch": "switch doubly robust",
    "dros": "doubly robust, shrunk weights",
    "dm": "outcome model alone",
    "naive": "group means, unadjusted",
}


def parts(review: Review) -> Parts:
    """The routing page."""
    body, result = review.body, review.results["routing"]
    section = body["views"]["routing"]
    return Parts(
        view_answer(body, "routing", _extra(section), best_first=True),
        (
            *_values(body, section),
            *frontier(body, section, result.series["routing_frontier"]),
            *_savings(body, section, result.series["routing_savings"]),
            *slices(body, section),
            *rules(body, section),
            *support(section),
            *doubts(section),
            *settling(section),
            *view_notes(body, "routing", result.notes),
        ),
        view_actions(body, "routing"),
    )


def _extra(section: Body) -> tuple[Html, ...]:
    if section["candidates"]:
        return ()
    return (paragraph("The policy names no routing candidates: there is nothing to compare."),)


# ── values ───────────────────────────────────────────────────────────────────────────────

_FIGURES = (
    ("unit_cost_usd", "Unit cost, USD", usd),
    ("cost_usd", "Cash cost, USD", usd),
    ("failure_rate", "Failure rate", percent),
    ("latency_breach_rate", "Latency breaches", percent),
)


def _values(body: Body, section: Body) -> tuple[Html, ...]:
    """Each candidate under today's routing; what is not known of today is said."""
    now, candidates = section["on_policy"], section["candidates"]
    known = any(now[key]["value"] is not None for key, _, _ in _FIGURES)
    if not known and not candidates:
        return (paragraph(f"What the present routing costs is not known: {section['reason']}."),)
    rows: list[list[object]] = [
        ["today's routing", NONE, *(stacked(now[key], form) for key, _, form in _FIGURES), None]
    ]  # fmt: skip
    rows += [
        [
            c["name"],
            verdict(c),
            *(stacked(c[key], form) for key, _, form in _FIGURES),
            {True: "yes", False: "no"}.get(c["frontier"]),
        ]
        for c in candidates
    ]
    source = {"logged": "propensities as logged", "estimated": "propensities estimated"}.get(
        section["propensity"], "nothing was backtested"
    )
    return (
        table(
            "Each candidate beside today's routing",
            [text("Routing"), text("Advice"), *(Column(name) for _, name, _ in _FIGURES),
             Column("Frontier")],
            rows,
            f"Means over {plural(section['n_requests'], 'logical request')}, below each its 95 % interval; "
            f"{source}. Unit cost: cash cost, plus the policy's price of a failure and of a latency "
            "breach. Frontier: whether nothing else here is estimated cheaper "
            f"in cash with fewer failures and fewer breaches. {spans.candidate(body)}",
            file="routing_backtest.csv" if candidates else None,
        ),
    )  # fmt: skip


# ── estimators ───────────────────────────────────────────────────────────────────────────


def _savings(body: Body, section: Body, series: pd.DataFrame) -> tuple[Html, ...]:
    frame = series.dropna(subset=["saving"])
    told = {c["name"]: c for c in section["candidates"]}
    names = [n for n in dict.fromkeys(frame["candidate"]) if n in told]
    if not names:
        return ()
    wide = len(names) <= MAX_DRAWN
    rows, stories = [], []
    for name in names[:8]:
        for line in frame[frame["candidate"] == name].itertuples(index=False):
            if not wide and line.estimator != "dr":
                continue
            judged = line.estimator == "dr"
            tone = OUTCOMES[told[name]["recommendation"]] if judged else "other"
            low, high = _side(line.low), _side(line.high)
            words = f"{signed_usd(line.saving)} USD"
            estimator = _ESTIMATORS.get(line.estimator, line.estimator)
            shown = estimator if not judged else f"{name}: {estimator}" if wide else name
            rows.append(Row(shown, float(line.saving), low, high, words, tone))
            if judged:
                stories.append(
                    f"{name}: {signed_usd(line.saving)} USD per request, 95 % interval "
                    f"{between(low, high, signed_usd)}, {WORDS[told[name]['recommendation']]}."
                )
    drawn = forest(
        "Saving of each routing policy, by estimator" if wide else "Saving of each routing policy",
        rows, "Saving per logical request, USD", tick(sign=True), [Line(0.0, "no saving", limit=False)],
    )  # fmt: skip
    others = (
        " The first row of a policy is the one that is judged; grey squares are other estimators, which "
        "should agree with it, but for the last: plain group means, which show how far they mislead."
    )
    caption = (
        "Right of the line the policy would have saved (circle: adopt, cross: keep, diamond: not "
        f"settled).{others if wide else ''} Bars: 95 % intervals. {spans.candidate(body)}"
    )
    alt = "Savings in unit cost. " + " ".join(stories)
    return (
        figure(drawn, alt, caption, name="Saving of each routing policy"),
        _beside(body, section, frame),
    )


def _side(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _beside(body: Body, section: Body, frame: pd.DataFrame) -> Html:
    """What each candidate would have saved, and what other estimators say."""
    found = {
        (line["candidate"], line["estimator"]): signed_usd(line["saving"])
        for line in frame.to_dict("records")
    }
    others = [e for e in _SHORT if any(estimator == e for _, estimator in found)]
    rows = [
        [
            c["name"],
            stacked(c["saving_usd"], signed_usd),
            signed_usd(c["saving_usd_per_day"]),
            *(found.get((c["name"], e)) for e in others),
        ]
        for c in section["candidates"]
    ]
    return table(
        "What each candidate would have saved",
        [text("Candidate"), Column("Saving per request, USD"), Column("USD a day"),
         *(Column(_SHORT[e]) for e in others)],
        rows,
        "Saving in unit cost, estimated doubly robustly, with its 95 % interval below; this is the one that "
        "is judged. The other estimators, USD per request, should agree with it, but for group means, which "
        "take no account of who got which choice and show how far that misleads (all with intervals, and "
        f"inverse propensity weighting, in the file). {spans.candidate(body)}",
        file="routing_backtest.csv",
    )  # fmt: skip


_SHORT = {
    "snips": "SNIPS",
    "switch": "Switch-DR",
    "dros": "DRos",
    "dm": "Outcome model",
    "naive": "Group means",
}
