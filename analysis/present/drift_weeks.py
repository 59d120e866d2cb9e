"""The drift page's part on time: the candidate against each earlier week and release, and slow drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    geom_line,
    geom_point,
    geom_text,
    ggplot,
    labs,
    scale_color_identity,
    scale_linetype_identity,
    scale_x_datetime,
    scale_y_continuous,
)

from analysis.present import spans
from analysis.present.blocks import Body, bullets, figure, paragraph, prose
from analysis.present.escape import Html, say
from analysis.present.formats import NONE, count, moment, plural, psi, small
from analysis.present.grid import Column, table, text
from analysis.present.levels import apart
from analysis.present.theme import (
    MUTED,
    NOTE,
    STROKES,
    heading,
    label,
    look,
    svg,
)

MAX_NAMED = 3
MAX_SLOW = 8
# Below this a stability index is drawn at the edge of the logarithmic axis.
_LEAST = 0.001
_KINDS = {
    "week": "week",
    "seasonal": "same weekdays",
    "window": "named window",
    "release": "release",
    "recorded": "recorded release",
}


def blocks(body: Body, section: Body, weeks: pd.DataFrame) -> tuple[Html, ...]:
    """Slow drift in sentences, PSI against each earlier week, and every reference.

    weeks: the view's series `drift_weeks`.
    """
    return (
        *_slow(body, section),
        *_by_week(body, weeks),
        *_references(body, section["references"]),
    )


# ── slow drift ───────────────────────────────────────────────────────────────────────────


def _slow(body: Body, section: Body) -> tuple[Html, ...]:
    slow = section["slow"]
    if not slow:
        return ()
    judged = {f["feature"]: f["severity"] for f in section["features"]}
    told = [_sentence(one, judged.get(one["feature"], "none")) for one in slow[:MAX_SLOW]]
    more = "" if len(slow) <= MAX_SLOW else f" The first {MAX_SLOW} of {len(slow)}."
    fdr = body["policy"]["settings"]["drift"]["fdr"]
    return (
        paragraph(
            f"{plural(len(slow), 'column')} moved slowly: little from one week to the next, and much from "
            f"the first to the last, beyond chance (false discovery rate {fdr:g}).{more}"
        ),
        bullets(told),
    )


def _sentence(one: Body, against_baseline: str) -> Html:
    """A slow drift, and whether the comparison with the baseline shows it."""
    unseen = (
        "" if against_baseline == one["severity"]
        else f" Against the baseline alone its severity is {against_baseline}, and the checks go by that."
    )  # fmt: skip
    return say(
        "“{feature}”: {step} a week, {whole} in {weeks} ({severity}; largest step {largest}; q {q}), "
        "{start} to {end} UTC.{unseen}",
        feature=one["feature"], step=psi(max(one["step_psi"], 0.0)), whole=psi(one["psi"]),
        weeks=plural(one["n_weeks"], "week"), severity=one["severity"],
        largest=psi(max(one["largest_step_psi"], 0.0)), q=small(one["q_value"]),
        start=moment(one["start_utc"]), end=moment(one["end_utc"]), unseen=unseen,
    )  # fmt: skip


# ── against each week ────────────────────────────────────────────────────────────────────


def _by_week(body: Body, weeks: pd.DataFrame) -> tuple[Html, ...]:
    if weeks.empty:
        return ()
    frame = weeks.copy()
    frame["day"] = pd.to_datetime(frame["week"]).dt.tz_localize(None)
    frame["height"] = [_height(v) for v in frame["psi"]]
    frame["colour"] = [STROKES[r - 1][0] for r in frame["rank"]]
    frame["type"] = [STROKES[r - 1][1] for r in frame["rank"]]
    bands = body["policy"]["settings"]["drift"]
    edges = [(name, float(bands[name]["psi"])) for name in ("low", "medium", "high")]
    low = min(frame["height"].min(), _height(edges[0][1])) - 0.1
    high = max(frame["height"].max(), _height(edges[-1][1])) + 0.15
    first, last = frame["day"].min(), frame["day"].max()
    reach = max(last - first, pd.Timedelta(days=7))
    ends = frame.groupby("rank", sort=True).tail(1).copy()
    ends["place"] = apart(ends["height"].tolist(), 0.075 * (high - low))
    ends["told"] = [
        label(f"{name} {psi(value)}", 24)
        for name, value in zip(ends["feature"], ends["psi"], strict=True)
    ]
    plot = ggplot(frame, aes("day", "height", color="colour"))
    for name, at in edges:
        plot = (
            plot
            + annotate("segment", x=first, xend=last, y=_height(at), yend=_height(at), color=MUTED,
                       linetype="dashed", size=0.5)
            + annotate("text", x=first, y=_height(at), label=name, ha="left", va="bottom",
                       size=NOTE, color=MUTED)
        )  # fmt: skip
    ticks = [at for at in (0.001, 0.01, 0.1, 1.0, 10.0) if low <= math.log10(at) <= high]
    plot = (
        plot
        + geom_line(aes(group="rank", linetype="type"), size=0.9)
        + geom_point(size=1.6)
        + geom_text(aes(y="place", label="told"), data=ends, ha="left", size=NOTE,
                    nudge_x=reach / pd.Timedelta(days=1) * 0.03)
        + scale_color_identity() + scale_linetype_identity()
        + scale_x_datetime(date_labels="%d %b", breaks=_some(frame["day"]))
        + scale_y_continuous(breaks=[math.log10(at) for at in ticks],
                             labels=[f"{at:g}" for at in ticks])
        + coord_cartesian(xlim=(first, last + 0.6 * reach),
                          ylim=(low, max(high, ends["place"].max() + 0.1)))
        + labs(title=heading("The candidate against each earlier week"),
               x="Week that begins on, UTC", y="Stability index (logarithmic)")
        + look("y")
    )  # fmt: skip
    stories = [_story(own) for _, own in frame.groupby("rank", sort=True)]
    n_weeks = frame["week"].nunique()
    caption = (
        f"Population stability index of the candidate against {plural(n_weeks, 'earlier week')}, "
        f"bias-corrected, of the {plural(len(stories), 'column')} that moved most; dashed: the policy's "
        "bands. A line that rises towards the past is drift that builds up; a level one a change at the "
        f"candidate's start. Weeks hold all traffic, without exclusions. {spans.candidate(body)}"
    )
    alt = f"Stability index by week, oldest to newest: {'; '.join(stories)}."
    return (
        figure(svg(plot, height=3.2), alt, caption, name="The candidate against each earlier week"),
    )


def _some(days: pd.Series) -> list[Any]:
    """At most four of the weeks, the first one among them."""
    weeks = sorted(days.unique())
    return [pd.Timestamp(day) for day in weeks[:: max(1, math.ceil(len(weeks) / 4))]]


def _height(value: float) -> float:
    return math.log10(max(float(value), _LEAST))


def _story(own: pd.DataFrame) -> str:
    first, last = own.iloc[0], own.iloc[-1]
    return f"{first['feature']} {psi(first['psi'])} to {psi(last['psi'])}"


# ── every reference ──────────────────────────────────────────────────────────────────────


def _references(body: Body, references: Sequence[Body]) -> tuple[Html, ...]:
    if not references:
        return (
            paragraph(
                "Nothing earlier is there to compare with: the telemetry holds no whole week before the "
                "candidate, and the policy names no reference.",
                note=True,
            ),
        )
    # What the policy names stands before the weeks, of which the table may not hold all.
    ordered = sorted(references, key=lambda r: r["kind"] == "week")
    rows = [
        [prose(one["name"]), _KINDS[one["kind"]], _span(one), count(one["n_interactions"]),
         _tested(one), prose(_drifted(one))]
        for one in ordered
    ]  # fmt: skip
    return (
        table(
            "The candidate against earlier windows and releases",
            [text("Reference"), text("Kind"), Column("From, until, UTC"), Column("Interactions"),
             Column("Columns that drift"), text("Most of all (PSI)")],
            rows,
            f"{spans.candidate(body)} A column drifts where its change is beyond chance over the columns of "
            "its reference (Benjamini–Hochberg) and its stability index in the policy's low band or above. "
            "Weeks and windows hold all traffic of their days, whatever its release. A recorded release is "
            "compared in its own bins. None of this changes a check.",
            file="drift_references.csv", total=len(references),
        ),
    )  # fmt: skip


def _span(one: Body) -> str:
    if one["start_utc"] is None:
        return NONE
    return f"{moment(one['start_utc'])} to {moment(one['end_utc'])}"


def _tested(one: Body) -> str:
    return NONE if one["reason"] else f"{one['n_drifted']} of {one['n_tested']}"


def _drifted(one: Body) -> str:
    if one["reason"]:
        return f"not compared: {one['reason']}"
    if not one["drifted"]:
        return "none"
    shown = [f"{d['feature']} {psi(d['psi'])}" for d in one["drifted"][:MAX_NAMED]]
    more = one["n_drifted"] - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
