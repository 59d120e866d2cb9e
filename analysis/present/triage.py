"""The triage page: what people should review, what it saves, and whether the queue copes."""

from __future__ import annotations

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    facet_wrap,
    geom_abline,
    geom_col,
    geom_line,
    geom_linerange,
    geom_point,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_x_datetime,
    scale_y_continuous,
)

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
from analysis.present.formats import (
    count,
    number,
    percent,
    plural,
    signed_usd,
    small,
    stated,
    usd,
)
from analysis.present.grid import Column, table, text
from analysis.present.levels import with_levels
from analysis.present.theme import (
    BLUE,
    INK,
    MUTED,
    NOTE,
    VERMILLION,
    heading,
    label,
    look,
    svg,
)
from analysis.review import Review

_PANELS = {
    "choose": "Before the window: what the mode was chosen on",
    "candidate": "Candidate window: what it then cost",
}
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
_QUALITY = {
    "roc_auc": ("Ranking: area under the ROC curve", "0.5 is chance, 1 perfect"),
    "average_precision": ("Average precision", "the share of failures is chance"),
    "brier": ("Brier score", "0 is perfect"),
    "brier_skill": ("Brier skill", "0 is no better than the base rate"),
    "calibration_error": ("Expected calibration error", "0 is perfect"),
}


def parts(review: Review) -> Parts:
    """The triage page."""
    body, result = review.body, review.results["triage"]
    section = body["views"]["triage"]
    return Parts(
        view_answer(body, "triage", _mode(section)),
        (
            *_cost(body, section, result.series.get("triage_curve")),
            *_queue(body, section, result.series.get("triage_days")),
            *_reliability(body, section, result.series.get("triage_reliability")),
            *_policies(body, section),
            *_rivals(section),
            *_quality(body, section),
            *view_notes(body, "triage", result.notes),
        ),
        view_actions(body, "triage"),
    )


def _mode(section: Body) -> tuple[Html, ...]:
    if section["operating_mode"] is None:
        return (paragraph(f"No mode is chosen: {section['reason']}."),)
    words = _MODES[section["operating_mode"]]
    at = (
        f" (a risk of {small(section['threshold'])} or more)"
        if section["operating_mode"] == "selective"
        else ""
    )
    return (
        paragraph(
            f"Mode: {words}{at}. It was fixed on data before the candidate window; the figures here are "
            "of the candidate window."
        ),
    )  # fmt: skip


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _cost(body: Body, section: Body, curve: pd.DataFrame | None) -> tuple[Html, ...]:
    if curve is None or curve.empty or section["threshold"] is None:
        return ()
    frame = curve.dropna(subset=["cost_usd_per_day"]).copy()
    frame["risk"] = 100 * frame["threshold"]
    edge = max(1.3 * 100 * _risk_reach(frame), 5.0)
    frame = frame[frame["risk"] <= edge]
    chosen = min(100 * section["threshold"], edge)
    ended = (
        "no review" if section["threshold"] >= 1 else f"chosen {percent(section['threshold'], 1)}"
    )
    frame["panel"] = pd.Categorical(frame["part"].map(_PANELS), list(_PANELS.values()))
    tops = frame.groupby("panel", observed=True)["cost_usd_per_day"].max().reset_index()
    named = tops.assign(risk=chosen, told=label(ended))
    plot = (
        ggplot(frame, aes("risk", "cost_usd_per_day"))
        + geom_line(color=BLUE, size=0.9)
        + geom_vline(xintercept=chosen, color=VERMILLION, linetype="dashed", size=0.6)
        + geom_text(aes(label="told"), data=named, ha="right" if chosen > edge / 2 else "left",
                    va="bottom", size=NOTE, color=INK, nudge_x=-0.01 * edge if chosen > edge / 2 else 0.01 * edge)
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_y_continuous(expand=(0.05, 0, 0.15, 0))
        + labs(title=heading("Cost of reviews and misses, by the risk from which one reviews"),
               x="Review from a risk of, %", y="USD a day")
        + look("xy")
    )  # fmt: skip
    own = frame[frame["part"] == "candidate"]
    best = own.sort_values("cost_usd_per_day", kind="stable").iloc[0] if len(own) else None
    told = {p["name"]: p["cost_usd"] for p in section["policies"]}
    alt = f"Cost over the review threshold; {ended}. In the window the selected mode cost " + (
        f"{stated(told['selected'], usd)} USD."
    )
    if best is not None:
        alt += (
            f" In hindsight the cheapest threshold was {percent(best['threshold'], 1)}, at "
            f"{usd(best['cost_usd_per_day'])} USD a day."
        )
    caption = (
        "Review cost plus the cost of missed failures, within the day's capacity. Dashed: the mode that "
        "was chosen. The candidate window chose nothing."
    )
    return (figure(svg(plot, height=3.9), alt, caption),)


def _risk_reach(frame: pd.DataFrame) -> float:
    """The largest risk at which anything is still reviewed."""
    used = frame[frame["reviewed"] > 0]
    return float(used["threshold"].max()) if len(used) else 0.1


def _queue(body: Body, section: Body, days: pd.DataFrame | None) -> tuple[Html, ...]:
    if days is None or days.empty:
        return ()
    if section["operating_mode"] == "review_none":
        return (
            paragraph("Nothing is queued, so that there is no daily queue to show.", note=True),
        )
    frame = days.assign(day=pd.to_datetime(days["day"]))
    capacity, guard = float(frame["capacity"].iloc[0]), float(frame["guard"].iloc[0])
    top = max(frame["demand"].max(), capacity, guard)
    first, last = frame["day"].min(), frame["day"].max()
    room = (last - first) * 0.24
    colours = {"history": MUTED, "candidate": BLUE}
    lines = [
        (capacity, f"capacity {number(capacity, 0)}", INK),
        (guard, f"guard {number(guard, 0)}", VERMILLION),
    ]
    plot = ggplot(frame, aes("day", "demand"))
    for part, colour in colours.items():
        own = frame[frame["part"] == part]
        if len(own):
            plot = plot + geom_col(data=own, fill=colour, width=0.75)
    plot = with_levels(plot, lines, last + room, top, gap=0.09)
    plot = (
        plot
        + scale_x_datetime(date_labels="%d %b")
        + coord_cartesian(xlim=(first - pd.Timedelta(hours=16), last + room), ylim=(0, 1.15 * top))
        + labs(title=heading("Reviews asked for by day, against capacity and guard"), x="Day, UTC",
               y="Reviews")
        + look("y")
    )  # fmt: skip
    work = section["workload"]
    alt = (
        f"Daily review queue: median {number(work['reviews_per_day_p50'], 0)}, 90th percentile "
        f"{number(work['reviews_per_day_p90'], 0)}; predicted 90th percentile "
        f"{number(work['predicted_p90'], 0)}; capacity {number(capacity, 0)}, guard {number(guard, 0)}."
    )
    caption = (
        "Grey: the days before the window that the mode was chosen on; blue: the candidate window. "
        "Above capacity, reviews are not reached. The guard limits the 90th percentile."
    )
    return (figure(svg(plot, height=2.7), alt, caption),)


def _reliability(body: Body, section: Body, bins: pd.DataFrame | None) -> tuple[Html, ...]:
    if bins is None or bins.empty:
        return ()
    frame = bins.assign(
        x=100 * bins["risk"], y=100 * bins["rate"], low=100 * bins["low"], high=100 * bins["high"]
    ).dropna(subset=["x", "y", "low", "high"])
    if frame.empty:
        return ()
    edge = 1.08 * max(frame["high"].max(), frame["x"].max())
    plot = (
        ggplot(frame, aes("x", "y"))
        + geom_abline(intercept=0, slope=1, color=MUTED, linetype="dashed", size=0.6)
        + annotate("text", x=0.72 * edge, y=0.66 * edge, label="perfect", ha="left", va="top",
                   size=NOTE, color=MUTED)
        + geom_linerange(aes(ymin="low", ymax="high"), color=BLUE, size=0.9)
        + geom_point(color=BLUE, size=2.6)
        + coord_cartesian(xlim=(0, edge), ylim=(0, edge), expand=False)
        + labs(title=heading("Predicted risk against what happened"), x="Predicted risk, %",
               y="Failed, %")
        + look("xy")
    )  # fmt: skip
    first, last = frame.iloc[0], frame.iloc[-1]
    error = stated(section["quality"]["calibration_error"], percent)
    alt = (
        f"Reliability in {plural(len(frame), 'bin')}: at a predicted {number(first['x'])} % "
        f"{number(first['y'])} % failed, at {number(last['x'])} % {number(last['y'])} % failed. "
        f"Expected calibration error {error}."
    )
    caption = (
        "Ten groups of equal size by predicted risk, 95 % intervals. Above the line, the model "
        f"predicted too little. {spans.candidate(body)}"
    )
    return (figure(svg(plot, height=3.4), alt, caption),)


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _policies(body: Body, section: Body) -> tuple[Html, ...]:
    rows = [
        [_POLICIES.get(p["name"], p["name"]), number(p["reviewed"], 0), number(p["tp"], 0),
         number(p["fn"], 0), percent(p["precision"], 1), percent(p["recall"], 1),
         stacked(p["cost_usd"], lambda v: number(v, 0)), count(p["cost_usd"]["support"])]
        for p in section["policies"]
    ]  # fmt: skip
    if all(p["reviewed"] is None for p in section["policies"]):
        return ()
    settings = body["policy"]["settings"]["triage"]
    return (
        table(
            "What each way of reviewing would have cost in the window",
            [text("Policy"), Column("Reviewed"), Column("Failures found"), Column("Failures missed"),
             Column("Precision"), Column("Recall"), Column("Cost, USD, 95 % interval"),
             Column("Interactions")],
            rows,
            f"{spans.candidate(body)} Cost: {usd(settings['review_cost_usd'])} USD a review, "
            f"{usd(settings['missed_cost_usd'])} USD a missed failure; capacity "
            f"{number(settings['capacity_per_day'], 0)} a day, and what exceeds it is missed. Random "
            "review has expected counts. Riskiest first uses the model, and is shown for comparison only.",
            file="triage_threshold_curve.csv",
        ),
    )  # fmt: skip


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


def _quality(body: Body, section: Body) -> tuple[Html, ...]:
    quality = section["quality"]
    if quality["roc_auc"]["value"] is None:
        return ()
    rows = [
        [name, stacked(quality[key], lambda v: number(v, 3)), read, count(quality[key]["support"])]
        for key, (name, read) in _QUALITY.items()
    ]
    return (
        table(
            "How good the model is",
            [text("Measure"), Column("Value, 95 % interval"), text("How to read it"),
             Column("Interactions")],
            rows,
            f"{spans.candidate(body)} Fitted on {count(section['n_fit'])} interactions, calibrated on "
            f"{count(section['n_calibrate'])}; label {section['label']}, decided at {section['decide_at']}, "
            f"from {plural(len(section['features']), 'column')}.",
        ),
    )  # fmt: skip
