"""The drift page: what moved, since when, and what that did to outcomes and money."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.present import drift_time, drift_weeks, spans
from analysis.present.blocks import (
    Body,
    Parts,
    bullets,
    figure,
    paragraph,
    view_actions,
    view_answer,
    view_notes,
)
from analysis.present.drift_consequence import consequence
from analysis.present.drift_distributions import distributions
from analysis.present.drift_joint import joint
from analysis.present.escape import Html
from analysis.present.forest import Line, Row, forest
from analysis.present.formats import NONE, count, number, percent, plural, psi, small, tick
from analysis.present.grid import Column, table, text
from analysis.review import Review

MAX_RANKED = 8
MAX_TOLD = 12
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
            *_sentences(section["features"]),
            *_ranking(body, result.series["drift_features"]),
            *distributions(body, result.series["drift_distributions"]),
            *drift_time.changes(body, result.series["drift_days"]),
            *consequence(body, section),
            *joint(body, section["joint"]),
            *drift_weeks.blocks(body, section, result.series["drift_weeks"]),
            *_features(body, section),
            *view_notes(body, "drift", result.notes),
        ),
        view_actions(body, "drift"),
    )


# ── which columns moved ──────────────────────────────────────────────────────────────────


def _sentences(features: Sequence[Body]) -> tuple[Html, ...]:
    """What changed, a sentence a column, and how many more there are."""
    moved = [f for f in features if f["severity"] != "none"]
    if not moved:
        return ()
    more = len(moved) - MAX_TOLD
    items = [f"{f['sentence'].removesuffix('.')} ({_named(f)})." for f in moved[:MAX_TOLD]]
    rest = (paragraph(f"{plural(more, 'more column')} drifted: see the table.", note=True),)
    return (
        paragraph("What changed, the most severe first:"),
        bullets(items),
        *(rest if more > 0 else ()),
    )


def _named(feature: Body) -> str:
    return f"{feature['severity']}{'' if feature['counted'] else ', listed only'}"


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
    return (figure(drawn, alt, caption, name="How far each column moved"),)


# ── tables ───────────────────────────────────────────────────────────────────────────────


def _features(body: Body, section: Body) -> tuple[Html, ...]:
    features = section["features"]
    if not features:
        return (paragraph("No column was tested."),)
    rows = [
        [index, f["feature"], f["severity"] + ("" if f["counted"] else " (listed only)"),
         psi(f["psi"]), _effect(f), small(f["q_value"]),
         percent(f["missing_candidate"], 1), percent(f["new_share"], 1),
         percent(f["vanished_share"], 1), count(f["support"])]
        for index, f in enumerate(features, start=1)
    ]  # fmt: skip
    return (
        table(
            "Every column, the most severe first",
            [Column("Rank"), text("Column"), text("Severity"), Column("PSI"), Column("Effect"),
             Column("q"), Column("Missing now"), Column("New values"), Column("Vanished"),
             Column("Interactions")],
            rows,
            f"{spans.both(body)} PSI: population stability index, bias-corrected (about 0 without drift). "
            "Effect: share of the traffic that moved (%), or the distance that values moved in baseline "
            "standard deviations (sd). q: Benjamini–Hochberg over columns. New values: the candidate's share "
            "of values that the baseline lacks; vanished: the other way round.",
            file="drift_report.csv", total=len(features),
        ),
    )  # fmt: skip


def _effect(feature: Body) -> str:
    if feature["effect"] is None:
        return NONE
    if feature["effect_unit"] == "total_variation":
        return percent(feature["effect"], 1)
    return f"{number(feature['effect'])} sd"
