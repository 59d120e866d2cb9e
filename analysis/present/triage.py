"""The triage page: what people should review, what it saves, and whether the queue copes."""

from __future__ import annotations

from analysis.present import spans, triage_figures, triage_model
from analysis.present.blocks import (
    Body,
    Parts,
    bullets,
    link,
    paragraph,
    say,
    stacked,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html
from analysis.present.formats import (
    Format,
    between,
    count,
    number,
    percent,
    plural,
    signed_usd,
    stated,
    typeset,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.review import Review

_MODES = {
    "selective": "review what the model ranks as risky",
    "review_all": "review everything",
    "review_none": "review nothing",
}
_POLICIES = {
    "selected": "selected mode",
    "review_all": "review all, in order of arrival",
    "review_none": "review nothing",
    "random_at_capacity": "random, up to capacity",
    "top_by_capacity": "riskiest first, up to capacity",
    "rule": "the policy's rule",
}


def parts(review: Review) -> Parts:
    """The triage page."""
    body, result = review.body, review.results["triage"]
    section, series = body["views"]["triage"], result.series
    settings = body["policy"]["settings"]["triage"]
    return Parts(
        view_answer(body, "triage", _mode(section)),
        (
            *triage_figures.cost(section, series.get("triage_curve")),
            *triage_figures.found(section, series.get("triage_curve")),
            *_policies(body, section),
            *_rivals(section),
            *_levers(section),
            *triage_figures.queue(section, series.get("triage_days")),
            *triage_figures.weekdays(section, settings["queue_p90_guard"]),
            *_weekdays(section),
            *triage_figures.hours(section, series.get("triage_hours"), settings),
            *triage_figures.backlog(
                section, series.get("triage_queue"), settings["capacity_per_day"]
            ),
            *_risk_control(section),
            *triage_figures.reliability(body, section, series.get("triage_reliability")),
            *triage_figures.benefit(body, series.get("triage_net_benefit")),
            *triage_model.quality(body, section),
            *triage_model.stability(section),
            *triage_model.slices(section),
            *triage_model.tried(section),
            *triage_model.left_out(section),
            *view_notes(body, "triage", result.notes),
        ),
        view_actions(body, "triage"),
    )


def _mode(section: Body) -> tuple[Html, ...]:
    if section["operating_mode"] is None:
        return (paragraph("No mode is chosen, for the same reason."),)
    words = _MODES[section["operating_mode"]]
    at = (
        f" (a risk of {percent(section['threshold'])} or more)"
        if section["operating_mode"] == "selective"
        else ""
    )
    return (
        paragraph(
            say(
                "Mode: {words}{at}. It was fixed on data before the candidate window; the figures here are "
                "of the candidate window. A service applies it by {file}.",
                words=words,
                at=at,
                file=link("../tables/triage_policy.json", "triage_policy.json"),
            )
        ),
    )


def _levers(section: Body) -> tuple[Html, ...]:
    if not section["levers"]:
        return ()
    why = (
        "The model was not surely better than working without it."
        if section["rivals"]
        else "No threshold of the model fits capacity and guard."
    )
    lead = (
        "What would make it pay more, on the part of the history that chose:"
        if section["operating_mode"] == "selective"
        else f"{why} What would help, on the part of the history that chose:"
    )
    return (paragraph(lead), bullets([typeset(lever["sentence"]) for lever in section["levers"]]))


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _policies(body: Body, section: Body) -> tuple[Html, ...]:
    shown = [*section["policies"], *([section["rule"]] if section["rule"] else [])]
    rows = [
        [_POLICIES.get(p["name"], p["name"]), number(p["reviewed"], 0), number(p["tp"], 0),
         number(p["fn"], 0), percent(p["precision"], 1), percent(p["recall"], 1),
         stacked(p["cost_usd"], lambda v: number(v, 0)), count(p["cost_usd"]["support"])]
        for p in shown
    ]  # fmt: skip
    if all(p["reviewed"] is None for p in shown):
        return ()
    settings = body["policy"]["settings"]["triage"]
    return (
        table(
            "What each way of reviewing would have cost in the window",
            [text("Policy"), Column("Reviewed"), Column("Failures found"), Column("Failures missed"),
             Column("Precision"), Column("Recall"), Column("Cost, USD, 95 % interval"),
             Column("Interactions")],
            rows,
            f"{spans.candidate(body)} {_covered(body)}Cost: {usd(settings['review_cost_usd'])} USD a review, "
            f"{usd(settings['missed_cost_usd'])} USD a missed failure; capacity "
            f"{number(settings['capacity_per_day'], 0)} a day, and what exceeds it is missed. Random "
            "review has expected counts. Riskiest first uses the model, and is shown for comparison only.",
        ),
    )  # fmt: skip


def _covered(body: Body) -> str:
    """Whose reviews are counted, where that is more than the candidate's own."""
    if body["windows"]["candidate"]["release_id"] is None:
        return ""
    return "Reviewers work on all traffic of a canary's time, and all of it is counted here. "


def _rivals(section: Body) -> tuple[Html, ...]:
    if not section["rivals"]:
        return ()
    return (
        table(
            "Why this mode: the model against doing without, before the window",
            [text("Against"), Column("Saving, USD"), Column("One-sided 95 % lower bound, USD")],
            [[_POLICIES.get(r["name"], r["name"]), signed_usd(r["saving_usd"]), signed_usd(r["low"])]
             for r in section["rivals"]],
            f"Over {plural(section['n_choose'], 'interaction')} that neither fitted nor calibrated the "
            "model. Selective review needs a lower bound above 0 against each.",
        ),
    )  # fmt: skip


def _weekdays(section: Body) -> tuple[Html, ...]:
    days = section["workload"]["weekdays"]
    if not any(d["demand_p50"] is not None for d in days):
        return ()
    if section["operating_mode"] == "review_none":
        return ()

    def limits(value: float | None, low: float | None, high: float | None, form: Format) -> Html:
        return stacked({"value": value, "low": low, "high": high}, form)

    return (
        table(
            "A weekday's queue, what overflows, and what is found",
            [text("Weekday"), Column("Reviews due, median"), Column("90th percentile"),
             Column("Above capacity"), Column("Failures found")],
            [[d["weekday"], number(d["demand_p50"], 0),
              limits(d["demand_p90"], d["low"], d["high"], lambda v: number(v, 0)),
              limits(d["overflow_probability"], d["overflow_low"], d["overflow_high"],
                     _whole_percent),
              limits(d["catches"], d["catches_low"], d["catches_high"], lambda v: number(v, 1))]
             for d in days],
            "Predicted for days to come, with 95 % intervals. Above capacity: the probability that more reviews "
            "are due than the day has room for. Failures found: the precision of what is reviewed, times the "
            "reviews that the capacity leaves.",
        ),
    )  # fmt: skip


def _whole_percent(share: float | None) -> str:
    """A probability; smaller ones than a per cent are not known from a few weeks of days."""
    return percent(None if share is None else round(share, 2), 0)


def _risk_control(section: Body) -> tuple[Html, ...]:
    held = section["risk_control"]
    if held is None:
        return ()
    promise = (
        f"At most {percent(held['alpha'], 0)} of failures go unreviewed, with a confidence of "
        f"{percent(held['confidence'], 0)}"
    )
    if held["threshold"] is None:
        return (paragraph(f"{promise}: this cannot be promised. {_sentence(held['reason'])}"),)
    extra = held["extra_usd_per_day"]
    fit = "fits capacity and guard" if held["fits"] else "does not fit capacity and guard"
    return (
        paragraph(
            f"{promise}: review from a risk of {percent(held['threshold'])} on. That asks for "
            f"{number(held['reviews_per_day_p50'], 0)} reviews on a usual day and "
            f"{number(held['reviews_per_day_p90'], 0)} on one in ten, which {fit}; worked whole it would have "
            f"cost {usd(held['cost_usd_per_day'])} USD a day in the window, {signed_usd(extra['value'])} "
            f"against the mode chosen (95 % interval {between(extra['low'], extra['high'], signed_usd)}). Of the "
            f"window's failures {stated(held['missed_share'], lambda v: percent(v, 1))} lay below it. The promise "
            "(Learn-then-Test) holds as long as failures to come are like those before the window."
        ),
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
