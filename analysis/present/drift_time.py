"""Since when: the daily series that changed, as small multiples, a table, and a sentence each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    element_text,
    facet_wrap,
    geom_blank,
    geom_line,
    geom_point,
    geom_rect,
    geom_step,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_shape_identity,
    scale_x_datetime,
    scale_y_continuous,
    theme,
)

from analysis.present import spans
from analysis.present.blocks import Body, bullets, figure, over, paragraph, prose
from analysis.present.escape import Html, say, visible
from analysis.present.formats import Format, count, moment, percent, plural, small, usd
from analysis.present.grid import Column, table, text
from analysis.present.health_figures import NAMES
from analysis.present.theme import BLUE, INK, MUTED, NOTE, ORANGE, heading, label, look, svg

MAX_PANELS = 6
MAX_POINTS = 360
MAX_NAME = 30
WIDE_DAYS = 7
"""A longer set of days says little of whether it was the release."""
VOLUME = "Interactions a day"
_FORMS: Mapping[str, Format] = {
    "share": lambda v: percent(v, 1),
    "usd_per_interaction": lambda v: f"{usd(v)} USD",
    "interactions_per_day": count,
}
_UNITS = {"share": ", %", "usd_per_interaction": ", USD", "interactions_per_day": ""}
_SHAPES = {"step": "step", "gradual": "gradual", "unclear": "step or gradual"}
_RELATIONS = {
    "before_release": ("before it", "It began before the release, which is then not its cause."),
    "at_release": (
        "its start is among the days",
        "It began with the release: the candidate's start is among these days.",
    ),
    "within_candidate": (
        "after its start",
        "It began after the candidate did: look for what else changed then.",
    ),
    "unclear": (
        "days do not tell",
        "The candidate's start is one of many days on which it may have begun: days do not tell.",
    ),
}
"""When it began beside the release, in the table and in the sentence."""


def changes(body: Body, days: pd.DataFrame) -> tuple[Html, ...]:
    """What changed in time; a sentence where nothing did, or nothing was looked at."""
    section = body["views"]["drift"]
    found, tested = section["changes"], section["changes_tested"]
    if section["changes_reason"] is not None:
        why = section["changes_reason"]
        return (paragraph(f"Since when is not asked of daily series: {why}.", note=True),)
    if not found:
        told = f"No daily series changes its level beyond chance ({tested} looked at)."
        return (paragraph(told, note=True),)
    return (
        *(() if days.empty else (_figure(body, found, days),)),
        bullets([_sentence(change) for change in found]),
        _table(body, found, tested),
    )


def name(change: Body) -> str:
    """A series in words."""
    if change["kind"] == "missing_rate":
        return f"{visible(change['name'], MAX_NAME)}, share missing"
    if change["kind"] == "share":
        return f"{visible(change['name'], MAX_NAME)}, share {_quoted(change['tracked'])}"
    return VOLUME if change["kind"] == "volume" else NAMES[change["kind"]]


def _quoted(tracked: str) -> str:
    """A number's bins as they are, a category in quotation marks."""
    shown = visible(tracked, MAX_NAME)
    return shown if tracked.startswith("> ") else f"“{shown}”"


# ── the figure ───────────────────────────────────────────────────────────────────────────


def _figure(body: Body, found: list[Body], days: pd.DataFrame) -> Html:
    shown = found[:MAX_PANELS]
    panels = [_panel(rank, change) for rank, change in enumerate(shown)]
    frame = days[days["rank"] < len(shown)].copy()
    frame["panel"] = pd.Categorical([panels[r] for r in frame["rank"]], panels)
    frame["day"] = frame["day"].dt.tz_localize(None)
    scale = np.array([100.0 if c["unit"] == "share" else 1.0 for c in shown])
    factor = scale[frame["rank"].to_numpy(dtype=int)]
    frame["value"] *= factor
    frame["level"] *= factor
    # A page has its size: many days are a line, and of points only those that stand alone are drawn.
    many = len(frame) > MAX_POINTS
    dots = frame[frame["spike"]] if many else frame
    dots = dots.assign(form=np.where(dots["spike"], "x", "s"))
    bands = pd.DataFrame(
        [[p, spans.drawn(c["low_utc"]) - spans.HALF_DAY, spans.drawn(c["high_utc"]) + spans.HALF_DAY]
         for p, c in zip(panels, shown, strict=True)],
        columns=["panel", "low", "high"],
    )  # fmt: skip
    bands["panel"] = pd.Categorical(bands["panel"], panels)
    # Three names of days have room in half of a figure.
    span = (frame["day"].max() - frame["day"].min()).days
    plot = (
        ggplot(frame, aes("day", "value"))
        + geom_rect(aes(xmin="low", xmax="high"), data=bands, ymin=-np.inf, ymax=np.inf, fill=ORANGE,
                    alpha=0.35, inherit_aes=False)
        + (geom_line(color=MUTED, size=0.4) if many else geom_blank())
        + geom_point(aes(shape="form"), data=dots, color=MUTED, fill=MUTED, size=0.8, stroke=0.3)
        + geom_step(aes(y="level"), data=frame.dropna(subset=["level"]), color=BLUE, size=0.9)
        + facet_wrap("panel", ncol=2 if len(shown) > 1 else 1, scales="free_y")
        + scale_shape_identity()
        + scale_x_datetime(date_labels="%d %b", date_breaks=f"{max(7, span // 21 * 7)} days")
        + scale_y_continuous(expand=(0.05, 0, 0.22, 0))
        + labs(title=heading("Since when: daily levels that changed"), x="Day, UTC", y="")
        + look("y")
        + theme(strip_text=element_text(ha="left", weight="bold", size=NOTE - 1), panel_spacing_y=0.05,
                axis_text=element_text(size=NOTE - 1))
    )  # fmt: skip
    start = spans.candidate_start(body)
    if start is not None:
        named = frame.groupby("panel", observed=True)["value"].agg(["min", "max"]).reset_index()
        named["y"] = named["max"] + 0.13 * (named["max"] - named["min"])
        named["day"], named["told"] = frame["day"].max(), "candidate"
        plot = (
            plot
            + geom_vline(xintercept=start - spans.HALF_DAY, color=INK, linetype="dotted", size=0.5)
            + geom_text(aes(y="y", label="told"), data=named, size=NOTE - 1, color=INK, ha="right")
        )
    rows = math.ceil(len(shown) / 2)
    more = "" if len(found) <= MAX_PANELS else f" The first {MAX_PANELS} of {len(found)}."
    alt = "Daily series that changed: " + "; ".join(
        f"{name(c)} from {_form(c)(c['before'])} to {_form(c)(c['after'])} since {moment(c['since_utc'])} "
        f"({moment(c['low_utc'])} to {moment(c['high_utc'])})" for c in shown
    )  # fmt: skip
    line = "" if start is None else " Dotted: where the candidate starts."
    dot = "Grey line" if many else "Squares"
    caption = (
        f"{dot}: days; crosses: days that stand alone, and count for no level; blue: the level of a usual week; "
        f"band: the days on which the last change may have begun (95 %).{line}{more} {spans.both(body)}"
    )
    return figure(svg(plot, height=0.9 + 1.6 * rows), f"{alt}.", caption, name="Since when")


def _panel(rank: int, change: Body) -> str:
    return label(f"{rank + 1}. {name(change)}{_UNITS[change['unit']]}", 60, width=27)


# ── words ────────────────────────────────────────────────────────────────────────────────


def _form(change: Body) -> Format:
    return _FORMS[change["unit"]]


def _sentence(change: Body) -> Html:
    told = [f"{_moved(change, change['unit'], name(change))}.", _RELATIONS[_relation(change)][1]]
    if change["others"]:
        earlier = "; ".join(_moved(o, change["unit"], "it") for o in change["others"])
        told.append(f"Before that: {earlier}.")
    if change["spikes_utc"]:
        told.append(
            f"Set aside, for they stand alone: {', '.join(moment(d) for d in change['spikes_utc'][:5])}"
            f"{' and more' if len(change['spikes_utc']) > 5 else ''}."
        )
    return say("{t}", t=" ".join(told))


def _moved(change: Body, unit: str, subject: str) -> str:
    form = _FORMS[unit]
    verb = "rises" if change["after"] > change["before"] else "falls"
    low, high = moment(change["low_utc"]), moment(change["high_utc"])
    since = moment(change["since_utc"])
    within = "to the day" if low == high else f"{low} to {high}"
    if change["shape"] == "gradual":
        how = f"{verb} gradually since about {since}, to {moment(change['complete_utc'])},"
    elif change["shape"] == "unclear":
        how = f"{verb} about {since}, at once or gradually,"
    else:
        how = f"{verb} on {since}"
    return (
        f"{subject} {how} from {form(change['before'])} to {form(change['after'])} (95 %: {within})"
    )


def _relation(change: Body) -> str:
    wide = change["relation"] == "at_release" and _length(change) > WIDE_DAYS
    return "unclear" if wide else str(change["relation"])


def _length(change: Body) -> int:
    low, high = (datetime.fromisoformat(change[k]) for k in ("low_utc", "high_utc"))
    return (high - low).days + 1


def _table(body: Body, found: list[Body], tested: int) -> Html:
    rows = [
        [prose(name(c)),
         over(moment(c["since_utc"]), f"{moment(c['low_utc'])} to {moment(c['high_utc'])}"),
         _SHAPES[c["shape"]], _form(c)(c["before"]), _form(c)(c["after"]), _RELATIONS[_relation(c)][0],
         small(c["q_value"])]
        for c in found
    ]  # fmt: skip
    return table(
        "Since when",
        [text("Series"), Column("Since, UTC"), text("Shape"), Column("Before"), Column("After"),
         text("The release"), Column("q")],
        rows,
        f"{spans.both(body)} The last change of each of the {plural(len(found), 'series', 'series')} that "
        f"changed, of {tested} looked at; whole days. Below the day: the first and last on which it may have "
        "begun (95 %). Levels are those of a usual week, and have no intervals of their own. q: "
        "Benjamini–Hochberg over series.",
        total=len(found),
    )  # fmt: skip
