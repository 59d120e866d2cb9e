"""The drift page: which distributions moved, and why the failure rate did."""

from __future__ import annotations

import pandas as pd

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    Parts,
    figure,
    paragraph,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.escape import Html, say, visible
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import NONE, count, number, percent, plural, points, psi, small, tick
from analysis.present.grid import Column, table, text
from analysis.review import Review

MAX_RANKED = 12
MAX_SHOWN = 3
MAX_BINS = 8
# Below this a stability index is drawn at the edge of the logarithmic axis.
_LEAST = 0.001
_TONES = {"high": "fail", "medium": "inconclusive", "low": "plain", "none": "other"}


def parts(review: Review) -> Parts:
    """The drift page."""
    body, result = review.body, review.results["drift"]
    section = body["views"]["drift"]
    return Parts(
        view_answer(body, "drift"),
        (
            *_ranking(body, result.series["drift_features"]),
            *_distributions(body, result.series["drift_distributions"]),
            *_outcome(body, section["outcome_change"]),
            *_features(body, section),
            _joint(section["joint"]),
            *view_notes(body, "drift", result.notes),
        ),
        view_actions(body, "drift"),
    )


# ── which columns moved ──────────────────────────────────────────────────────────────────


def _ranking(body: Body, series: pd.DataFrame) -> tuple[Html, ...]:
    frame = series.dropna(subset=["psi"]).head(MAX_RANKED)
    if frame.empty:
        return ()
    bands = body["policy"]["settings"]["drift"]
    lines = [Line(bands[b]["psi"], b) for b in ("low", "medium", "high") if bands[b]["psi"] > 0]
    rows, stories = [], []
    for line in frame.to_dict("records"):
        listed = "" if line["counted"] else ", listed only"
        words = f"{psi(line['psi'])}, {line['severity']}{listed}"
        shown = max(float(line["psi"]), _LEAST)
        rows.append(Row(str(line["feature"]), shown, told=words, tone=_TONES[line["severity"]]))
        stories.append(f"{line['feature']} {words}")
    drawn = forest(
        "How far each column moved",
        rows, "Population stability index (logarithmic)", tick(), lines, log=True,
    )  # fmt: skip
    named = ", ".join(f"{line.name} from {line.at:g}" for line in lines)
    alt = f"Stability index of the columns that moved most ({named}): {'; '.join(stories[:6])}."
    caption = (
        f"The {len(rows)} columns that moved most, bias-corrected; lines: the policy's bands ({named}). "
        "A column beyond a line but not beyond chance counts as none (grey square). Listed only: a "
        "release may mean to change it, and no check counts it. Cross: high; diamond: medium; circle: low."
    )
    return (figure(drawn, alt, caption),)


def _distributions(body: Body, series: pd.DataFrame) -> tuple[Html, ...]:
    """Shares before and after, of the counted columns that drifted most."""
    listed = {f["feature"] for f in body["views"]["drift"]["features"] if not f["counted"]}
    moved = series[(series["severity"] != "none") & ~series["feature"].isin(listed)]
    out = []
    for _, own in list(moved.groupby("rank", sort=True))[:MAX_SHOWN]:
        out.append(_distribution(body, own))
    return tuple(out)


def _distribution(body: Body, own: pd.DataFrame) -> Html:
    feature = str(own["feature"].iloc[0])
    frame = own
    if len(own) > MAX_BINS:
        size = (own["candidate"] - own["baseline"]).abs()
        frame = own.loc[
            size.sort_values(ascending=False, kind="stable").index[:MAX_BINS]
        ].sort_values("bin")
    rows, stories = [], []
    for line in frame.to_dict("records"):
        words = f"{percent(line['baseline'], 1)} → {percent(line['candidate'], 1)}"
        rows.append(
            Row(
                str(line["label"]),
                float(line["candidate"]),
                told=words,
                mark=float(line["baseline"]),
            )
        )
        stories.append(f"{line['label']} {words}")
    drawn = forest(
        f"{visible(feature, 24)}: before (tick), now (circle)",
        rows, "Share of interactions, %", tick(100),
    )  # fmt: skip
    more = "" if len(own) <= MAX_BINS else f" The {MAX_BINS} of {len(own)} values that moved most."
    alt = f"{feature}, baseline to candidate: {'; '.join(stories)}."
    caption = f"Column {feature}. Tick: baseline; circle: candidate. {spans.both(body)}{more}"
    return figure(drawn, alt, caption)


# ── why the failure rate changed ─────────────────────────────────────────────────────────


def _outcome(body: Body, change: Body) -> tuple[Html, ...]:
    if change["within"] is None:
        return (
            paragraph(
                f"Why the failure rate changed is not decomposed: {change['reason']}.", note=True
            ),
        )
    named = (
        ("total", "Whole change of the failure rate"),
        ("mix_context", "Traffic: what is asked, and by whom"),
        ("mix_action", "Routing: which model serves it"),
        ("within", "The system itself, at equal traffic and routing"),
    )
    rows = [
        Row(
            words,
            change[key],
            told=points(change[key]),
            tone="other" if key == "total" else "plain",
        )
        for key, words in named
    ]
    drawn = forest(
        "Why the failure rate changed",
        rows, "Percentage points", tick(100, sign=True), [Line(0.0, "no change", limit=False)], stem=0.0,
    )  # fmt: skip
    alt = "Change of the failure rate: " + ", ".join(
        f"{words.lower()} {points(change[key])}" for key, words in named
    )
    caption = (
        f"Over {plural(change['n_cells'], 'cell')} of context and model; the parts sum to the whole "
        f"(Kitagawa 1955). It describes these two windows, and has no interval. {spans.both(body)}"
    )
    return (figure(drawn, f"{alt}.", caption),)


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _features(body: Body, section: Body) -> tuple[Html, ...]:
    features = section["features"]
    if not features:
        return (paragraph("No column was tested."),)
    rows = [
        [f["feature"], f["role"], f["severity"] + ("" if f["counted"] else " (listed only)"),
         psi(f["psi"]), _effect(f), small(f["q_value"]), percent(f["new_share"], 1),
         count(f["support"])]
        for f in features
    ]  # fmt: skip
    return (
        table(
            "Every column, the most severe first",
            [text("Column"), text("Role"), text("Severity"), Column("PSI"), Column("Effect"),
             Column("q"), Column("New values"), Column("Interactions")],
            rows,
            f"{spans.both(body)} PSI: population stability index, bias-corrected (about 0 without drift). "
            "Effect: share of the traffic that moved (%), or distance in baseline standard deviations (sd). "
            "q: Benjamini–Hochberg over columns. New values: candidate's share of values the baseline lacks.",
            file="drift_report.csv", total=len(features),
        ),
    )  # fmt: skip


def _effect(feature: Body) -> str:
    if feature["effect"] is None:
        return NONE
    if feature["effect_unit"] == "total_variation":
        return percent(feature["effect"], 1)
    return f"{number(feature['effect'])} sd"


def _joint(joint: Body) -> Html:
    if joint["auc"] is None:
        return say(
            '<p class="rr-note">Whether all context columns together tell the windows apart is not '
            "known: {r}.</p>",
            r=joint["reason"],
        )
    return say(
        "<p>All context columns together tell the windows apart with an AUC of {auc} "
        "(95 % interval {low} to {high}; 0.5 is chance).</p>",
        auc=number(joint["auc"], 3), low=number(joint["low"], 3), high=number(joint["high"], 3),
    )  # fmt: skip
