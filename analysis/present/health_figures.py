"""The figures of the health page: day by day, and the distribution of latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    facet_wrap,
    geom_line,
    geom_point,
    geom_rect,
    geom_segment,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_datetime,
    scale_x_log10,
    scale_y_continuous,
)

from analysis.present import spans
from analysis.present.blocks import (
    Body,
    figure,
    paragraph,
)
from analysis.present.escape import Html
from analysis.present.formats import (
    Format,
    count,
    ms,
    percent,
    stated,
    usd,
)
from analysis.present.theme import INK, MUTED, NOTE, VERMILLION, WINDOWS, heading, label, look, svg

NAMES = {
    "failure_rate": "Failure rate",
    "latency_breach_rate": "Latency breach rate",
    "cost_usd_per_interaction": "Cost per interaction",
    "latency_ms_p50": "Latency, median",
    "latency_ms_p95": "Latency, 95th percentile",
    "latency_ms_p99": "Latency, 99th percentile",
}
CHECKS = {
    "failure_rate": "health.failure_rate",
    "latency_breach_rate": "health.latency_breach_rate",
    "cost_usd_per_interaction": "health.cost_usd",
}
LEVELS: Mapping[str, Format] = {
    "failure_rate": percent,
    "latency_breach_rate": percent,
    "cost_usd_per_interaction": usd,
    "latency_ms_p50": ms,
    "latency_ms_p95": ms,
    "latency_ms_p99": ms,
}
_MIN_DAYS = 3


# ── day by day ───────────────────────────────────────────────────────────────────────────


def headed(metric: str) -> str:
    """A metric's name above or before its numbers, with the unit that they do not show."""
    return f"{NAMES[metric]}, USD" if metric.startswith("cost") else NAMES[metric]


def daily(body: Body, days: pd.DataFrame) -> tuple[Html, ...]:
    if days["day"].nunique() < _MIN_DAYS:
        return (paragraph("The windows hold too few days for a figure by day.", note=True),)
    frame = daily_frame(days)
    health = body["views"]["health"]
    metrics = [m for m in CHECKS if m in set(frame["metric"])]
    panels = [_panel_name(m) for m in metrics]
    frame["panel"] = pd.Categorical(frame["metric"].map(_panel_name), panels)
    levels, texts = _levels(body, frame, metrics, panels)
    plot = (
        ggplot(frame, aes("day", "shown", color="side", shape="side"))
        + geom_line(aes(group="run"), size=0.5)
        + geom_point(size=1.5)
        + geom_segment(aes(x="start", xend="end", y="level", yend="level", color="side"),
                       data=levels, linetype="dashed", size=0.8, inherit_aes=False)
        + geom_text(aes(x="at", y="y", label="told", ha="anchor", color="side"), data=texts,
                    size=NOTE, va="bottom", inherit_aes=False)
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_color_manual(values=WINDOWS)
        + scale_shape_manual(values={"baseline": "o", "candidate": "D"})
        + scale_x_datetime(date_labels="%d %b")
        + scale_y_continuous(expand=(0.05, 0, 0.12, 0))
        + labs(title=heading("Failures, latency breaches and cost by day"), x="Day, UTC", y="")
        + look("y")
    )  # fmt: skip
    bands = _excluded(body, frame)
    if len(bands):
        plot = plot + geom_rect(
            aes(xmin="start", xmax="end"), data=bands, ymin=-np.inf, ymax=np.inf, fill=MUTED,
            alpha=0.15, inherit_aes=False,
        )  # fmt: skip
    boundary = _boundary(body)
    if boundary is not None:
        plot = plot + geom_vline(xintercept=boundary, color=INK, linetype="dotted", size=0.5)
    stories = "; ".join(
        f"{headed(m)} {stated(health['baseline'][m], LEVELS[m])} in the baseline, "
        f"{stated(health['candidate'][m], LEVELS[m])} in the candidate" for m in metrics
    )  # fmt: skip
    excluded = len(body["windows"]["exclude"])
    gap = " Grey bands: left out by the policy." if excluded else ""
    caption = (
        "Grey circles: days of the baseline; blue diamonds: days of the candidate. Dashed: the "
        f"window's own level. Dotted: where the candidate starts.{gap} Days carry no intervals of "
        "their own: the windows' intervals are in the table."
    )
    drawn = svg(plot, height=0.8 + 1.45 * len(metrics))
    return (
        figure(
            drawn, f"By day: {stories}.", caption, name="Failures, latency breaches and cost by day"
        ),
    )


def daily_frame(days: pd.DataFrame) -> pd.DataFrame:
    """The series with shown units, the window's name, and one `run` a stretch without a gap."""
    frame = days.dropna(subset=["value"]).copy()
    frame["day"] = frame["day"].dt.tz_localize(None)
    frame["side"] = frame["window"].map({0: "baseline", 1: "candidate"})
    frame["shown"] = frame["value"].where(frame["metric"].str.endswith("_usd_per_interaction"),
                                          100 * frame["value"])  # fmt: skip
    frame = frame.sort_values(["metric", "window", "day"], ignore_index=True)
    jump = frame.groupby(["metric", "window"])["day"].diff() != pd.Timedelta(days=1)
    frame["run"] = jump.cumsum()
    return frame


def _panel_name(metric: str) -> str:
    return headed(metric) if metric.startswith("cost") else f"{NAMES[metric]}, %"


def _levels(
    body: Body, frame: pd.DataFrame, metrics: list[str], panels: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The windows' levels as segments, and their labels above all points of the panel."""
    health = body["views"]["health"]
    segments: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    first, last = frame["day"].min(), frame["day"].max()
    for metric, panel in zip(metrics, panels, strict=True):
        own = frame[frame["metric"] == metric]
        top = own["shown"].max() + 0.03 * (own["shown"].max() - own["shown"].min())
        for side in ("baseline", "candidate"):
            there = own[own["side"] == side]
            level = health[side][metric]["value"]
            if there.empty or level is None:
                continue
            scale = 1 if metric.startswith("cost") else 100
            segments.append({"panel": panel, "side": side, "start": there["day"].min(),
                             "end": there["day"].max(), "level": scale * level})  # fmt: skip
            left = side == "baseline"
            told = label(f"{side} {LEVELS[metric](level)}")
            texts.append({"panel": panel, "side": side, "at": first if left else last, "y": top,
                          "told": told, "anchor": "left" if left else "right"})  # fmt: skip
    shape = pd.CategoricalDtype(panels)
    a, b = pd.DataFrame(segments), pd.DataFrame(texts)
    return a.astype({"panel": shape}), b.astype({"panel": shape})


def _excluded(body: Body, frame: pd.DataFrame) -> pd.DataFrame:
    """start, end of each excluded stretch that the figure covers."""
    first, last = frame["day"].min(), frame["day"].max()
    stretches = [
        [spans.drawn(e[side]) for side in ("start", "end")] for e in body["windows"]["exclude"]
    ]
    held = [
        [start - spans.HALF_DAY, end - spans.HALF_DAY]
        for start, end in stretches
        if first < end and start < last
    ]
    return pd.DataFrame(held, columns=["start", "end"])


def _boundary(body: Body) -> pd.Timestamp | None:
    start = spans.candidate_start(body)
    if start is None or body["windows"]["candidate"]["release_id"] is not None:
        return None
    return start - spans.HALF_DAY


# ── latency ──────────────────────────────────────────────────────────────────────────────


def latency(body: Body, series: pd.DataFrame) -> tuple[Html, ...]:
    frame = series[series["latency_ms"] > 0].copy()
    if frame.empty:
        return ()
    frame["side"] = frame["window"].map({0: "baseline", 1: "candidate"})
    frame["share"] = 100 * frame["share"]
    limit = _latency_limit(body)
    ends = []
    for side, share, anchor, shift in (
        ("baseline", 72, "right", 0.93),
        ("candidate", 38, "left", 1.07),
    ):
        own = frame[(frame["side"] == side) & (frame["share"] >= share)]
        if len(own):
            x = float(own["latency_ms"].iloc[0]) * shift
            ends.append({"side": side, "latency_ms": x, "share": share, "anchor": anchor})
    plot = (
        ggplot(frame, aes("latency_ms", "share", color="side"))
        + geom_line(aes(linetype="side"), size=0.9)
        + geom_text(aes(label="side", ha="anchor"), data=pd.DataFrame(ends), size=NOTE + 0.5)
        + scale_color_manual(values=WINDOWS)
        + scale_linetype_manual(values={"baseline": "dashed", "candidate": "solid"})
        + scale_x_log10(labels=lambda values: [f"{v:,.0f}" for v in values])
        + labs(title=heading("Latency: share of interactions that are at least as fast"),
               x="Latency, ms (logarithmic)", y="Share, %")
        + look("xy")
    )  # fmt: skip
    story = ""
    if limit is not None:
        named = pd.DataFrame({"latency_ms": [limit * 1.05], "share": [6.0],
                              "told": [f"limit {count(limit)} ms"]})  # fmt: skip
        plot = (
            plot
            + geom_vline(xintercept=limit, color=VERMILLION, linetype="dashed", size=0.6)
            + geom_text(aes("latency_ms", "share", label="told"), data=named, size=NOTE, ha="left",
                        color=INK, inherit_aes=False)
        )  # fmt: skip
        story = f" The latency objective's limit is {count(limit)} ms."
    health = body["views"]["health"]
    quantiles = "; ".join(
        f"{NAMES[n]} {stated(health['baseline'][n], ms)} in the baseline and "
        f"{stated(health['candidate'][n], ms)} in the candidate"
        for n in ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
    )
    caption = (
        "Cumulative distribution of latency in each window (dashed: baseline, solid: candidate), from "
        "a sketch with a relative error of at most 1 %."
    )
    return (
        figure(svg(plot, height=3.2), f"Latency. {quantiles}.{story}", caption, name="Latency"),
    )


def _latency_limit(body: Body) -> float | None:
    for slo in body["policy"]["settings"]["slos"]:
        if slo["name"] == "latency" and isinstance(slo["bad"], dict):
            above = slo["bad"].get("above")
            above = slo["bad"].get("at_least") if above is None else above
            return None if above is None or slo["bad"]["column"] != "latency_ms" else float(above)
    return None
