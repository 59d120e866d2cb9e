"""The routing page: what other routing policies would have saved and broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    mark,
    paragraph,
    prose,
    stacked,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html, say
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import (
    NONE,
    between,
    count,
    number,
    percent,
    plural,
    signed_usd,
    tick,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.review import Review

MAX_DRAWN = 3
_ESTIMATORS = {
    "dr": "doubly robust",
    "snips": "self-normalised weighting",
    "ips": "inverse propensity weighting",
    "dros": "doubly robust, shrunk weights",
    "dm": "outcome model alone",
}
_OUTCOMES = {"adopt": "pass", "keep": "fail", "insufficient_evidence": "inconclusive"}
_WORDS = {"adopt": "adopt", "keep": "keep present", "insufficient_evidence": "not settled"}


def parts(review: Review) -> Parts:
    """The routing page."""
    body, result = review.body, review.results["routing"]
    section = body["views"]["routing"]
    return Parts(
        view_answer(body, "routing", _extra(section), best_first=True),
        (
            *_savings(body, section, result.series["routing_savings"]),
            *_verdicts(body, section),
            *_evidence(body, section),
            _present(body, section),
            *view_notes(body, "routing", result.notes),
        ),
        view_actions(body, "routing"),
    )


def _extra(section: Body) -> tuple[Html, ...]:
    if section["candidates"]:
        return ()
    return (paragraph("The policy names no routing candidates: there is nothing to compare."),)


# ── figure ───────────────────────────────────────────────────────────────────────────────


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
            tone = _OUTCOMES[told[name]["recommendation"]] if judged else "other"
            low = None if pd.isna(line.low) else float(line.low)
            high = None if pd.isna(line.high) else float(line.high)
            words = f"{signed_usd(line.saving)} USD"
            shown = f"{name}: {_ESTIMATORS[line.estimator]}" if judged else _ESTIMATORS.get(
                line.estimator, line.estimator)  # fmt: skip
            rows.append(Row(shown, float(line.saving), low, high, words, tone))
            if judged:
                stories.append(
                    f"{name}: {signed_usd(line.saving)} USD per request, 95 % interval "
                    f"{between(low, high, signed_usd)}, {_WORDS[told[name]['recommendation']]}."
                )
    drawn = forest(
        "Saving of each routing policy, by estimator",
        rows, "Saving per logical request, USD", tick(sign=True), [Line(0.0, "no saving", limit=False)],
    )  # fmt: skip
    caption = (
        "Right of the line the policy would have saved. The first row of a policy is the one that is "
        "judged (circle: adopt, cross: keep, diamond: not settled); grey squares are other estimators, "
        f"which should agree with it. Bars: 95 % intervals. {spans.candidate(body)}"
    )
    alt = "Savings in unit cost. " + " ".join(stories)
    return (figure(drawn, alt, caption),)


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _verdicts(body: Body, section: Body) -> tuple[Html, ...]:
    if not section["candidates"]:
        return ()
    rows = [
        [
            c["name"],
            say("{m} {w}", m=mark(_OUTCOMES[c["recommendation"]]), w=_WORDS[c["recommendation"]]),
            stacked(c["saving_usd"], signed_usd),
            signed_usd(c["saving_usd_per_day"]),
            stacked(c["failure_rate"], percent),
        ]
        for c in section["candidates"]
    ]
    return (
        table(
            "Routing candidates",
            [text("Candidate"), text("Recommendation"), Column("Saving per request, USD"),
             Column("USD a day"), Column("Failure rate")],
            rows,
            f"{spans.candidate(body)} Below each value its 95 % interval. Saving in unit cost: cost, plus the "
            "policy's price of a failure and of a latency breach.",
            file="routing_backtest.csv",
        ),
    )  # fmt: skip


def _evidence(body: Body, section: Body) -> tuple[Html, ...]:
    if not section["candidates"]:
        return ()
    bounded = any(c["bounds"] is not None for c in section["candidates"])
    rows = [
        [
            c["name"],
            _rules(c["rules"]),
            percent(c["changed_share"], 1),
            percent(c["overlap"], 0),
            number(c["effective_sample_size"], 0),
            count(c["matched_failures"]),
            number(c["max_weight"], 1),
            *([_bounds(c)] if bounded else []),
        ]
        for c in section["candidates"]
    ]  # fmt: skip
    return (
        table(
            "What the log holds of each candidate",
            [text("Candidate"), text("Rules"), Column("Requests changed"), Column("Overlap"),
             Column("Effective clusters"), Column("Matched failures"), Column("Largest weight"),
             *([Column("Bounds, USD")] if bounded else [])],
            rows,
            "At least 200 effective clusters and 50 matched failures are needed. Overlap: share of the "
            "changed requests whose new choice was ever logged in their cell"
            + ("; bounds of the saving where that is below 100 %." if bounded else "."),
            file="routing_policy.csv",
        ),
    )  # fmt: skip


def _bounds(candidate: Mapping[str, Any]) -> str:
    bounds = candidate["bounds"]
    return NONE if bounds is None else between(bounds["low"], bounds["high"], signed_usd)


def _rules(rules: list[Mapping[str, Any]]) -> Html:
    if not rules:
        return prose("learned: not there yet")
    words = [
        f"{_pairs(r['when']) or 'all traffic'} → {' / '.join(str(v) for v in r['use'].values())}"
        for r in rules
    ]
    return prose("; then ".join(words))


def _pairs(held: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{k} = {' or '.join(map(str, v)) if isinstance(v, list | tuple) else v}"
        for k, v in held.items()
    )


def _present(body: Body, section: Body) -> Html:
    now = section["on_policy"]
    if all(now[k]["value"] is None for k in ("unit_cost_usd", "failure_rate", "cost_usd")):
        return paragraph(f"What the present routing costs is not known: {section['reason']}.")
    source = {"logged": "propensities as logged", "estimated": "propensities estimated"}.get(
        section["propensity"], "nothing was backtested"
    )
    return table(
        "The present routing, as logged",
        [Column("Unit cost, USD"), Column("Failure rate"), Column("Cost, USD")],
        [[stacked(now["unit_cost_usd"], usd), stacked(now["failure_rate"], percent),
          stacked(now["cost_usd"], usd)]],
        f"Means over {plural(section['n_requests'], 'logical request')}, 95 % intervals; {source}. "
        f"{spans.candidate(body)}",
    )  # fmt: skip
