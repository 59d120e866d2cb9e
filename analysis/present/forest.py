"""One figure kind: rows of values with their intervals, under each other on one axis.

A row's name stands over its interval at the left, its numbers at the right, so that long names take
no room from the axis and the figure stays legible on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    element_blank,
    geom_label,
    geom_point,
    geom_segment,
    geom_text,
    ggplot,
    labs,
    scale_color_identity,
    scale_fill_identity,
    scale_shape_identity,
    scale_x_continuous,
    scale_x_log10,
    scale_y_continuous,
    theme,
)

from analysis.present.formats import Format
from analysis.present.theme import (
    BLUE,
    INK,
    MUTED,
    NOTE,
    OUTCOMES,
    SHAPES,
    VERMILLION,
    WIDTH,
    heading,
    label,
    look,
    svg,
)

# Letters of annotation size that fit into one line of the figure.
_LINE = 62
_TONES = {**OUTCOMES, "plain": BLUE, "other": MUTED}
_FORMS = {**SHAPES, "plain": "o", "other": "s"}


@dataclass(frozen=True)
class Row:
    """One row. told: its numbers in words. tone: an outcome of a check, `plain` or `other`.

    mark: a value of its own to compare with (a reference, a limit), drawn as a named tick.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str = ""
    tone: str = "plain"
    mark: float | None = None
    mark_name: str = ""


@dataclass(frozen=True)
class Line:
    """A named line over all rows: a limit, or else what to start from."""

    at: float
    name: str
    limit: bool = True


def forest(
    title: str,
    rows: Sequence[Row],
    axis: str,
    tick: Format,
    lines: Sequence[Line] = (),
    stem: float | None = None,
    log: bool = False,
) -> bytes:
    """The figure as SVG.

    tick: how the axis writes a value. stem: where a bar to each value starts, for values without an
    interval. log: a logarithmic axis; the caller clips what lies outside of it.
    """
    marked = any(row.mark is not None for row in rows)
    named = any(row.mark_name for row in rows)
    pitch = 0.62 if named else 0.46
    bottom = 0.1 if named else 0.3
    top = float(len(rows))
    low, high = _limits(rows, lines, stem, log)
    frame = _frame(rows, low, high, top)
    plot = ggplot(frame, aes("value", "y"))
    for level, line in _levels(lines, low, high, log):
        height = top + 0.05 + 0.34 * level
        plot = (
            plot
            + annotate("segment", x=line.at, xend=line.at, y=bottom, yend=height,
                       color=VERMILLION if line.limit else MUTED,
                       linetype="dashed", size=0.6)
            + annotate("text", x=line.at, y=height + 0.03, label=label(line.name, 40), va="bottom",
                       ha=_anchor(line.at, low, high, log), size=NOTE, color=INK)
        )  # fmt: skip
    n_levels = 1 + max((level for level, _ in _levels(lines, low, high, log)), default=-1)
    if stem is not None:
        plot = plot + geom_segment(aes(xend="value", yend="y", color="tone"), x=stem, size=3.2)
    else:
        bars = frame.dropna(subset=["low", "high"])
        if len(bars):
            plot = plot + geom_segment(
                aes(x="low", xend="high", yend="y", color="tone"), data=bars, size=1.1
            )
    plot = plot + geom_point(aes(color="tone", fill="tone", shape="form"), size=3.2, stroke=0.4)
    if marked:
        marks = frame.dropna(subset=["mark"])
        plot = (
            plot
            + geom_segment(aes(x="mark", xend="mark", y="y - 0.16", yend="y + 0.16"), data=marks,
                           color=INK, size=1.0)
            + geom_text(aes(x="mark", y="y - 0.19", label="mark_name", ha="mark_anchor"),
                        data=marks, size=NOTE - 1, color=MUTED, va="top")
        )  # fmt: skip
    words: dict[str, Any] = {"va": "bottom", "size": NOTE, "color": INK, "fill": "white", "label_size": 0.0,
             "label_padding": 0.08}  # fmt: skip
    scale = scale_x_log10 if log else scale_x_continuous
    plot = (
        plot
        + geom_label(aes(y="y + 0.2", label="name"), x=low, ha="left", **words)
        + geom_label(aes(y="y + 0.2", label="told"), x=high, ha="right", **words)
        + scale(labels=lambda values: [label(tick(float(v)), 20) for v in values])
        + scale_y_continuous(breaks=[])
        + scale_color_identity()
        + scale_fill_identity()
        + scale_shape_identity()
        + coord_cartesian(xlim=(low, high), ylim=(bottom, top + 0.25 + 0.34 * n_levels), expand=False)
        + labs(title=heading(title), x=axis, y="")
        + look("x")
        + theme(axis_title_y=element_blank())
    )  # fmt: skip
    return svg(plot, height=0.95 + pitch * (top + 0.25 + 0.34 * n_levels - bottom), width=WIDTH)


def _frame(rows: Sequence[Row], low: float, high: float, top: float) -> pd.DataFrame:
    def clipped(value: float | None) -> float | None:
        return None if value is None else min(max(value, low), high)

    return pd.DataFrame(
        {
            "y": [top - index - 0.45 for index in range(len(rows))],
            "value": [clipped(row.value) for row in rows],
            "low": pd.Series([clipped(row.low) for row in rows], dtype=float),
            "high": pd.Series([clipped(row.high) for row in rows], dtype=float),
            "mark": pd.Series([clipped(row.mark) for row in rows], dtype=float),
            "mark_name": [label(row.mark_name, 36) for row in rows],
            "mark_anchor": [
                "center" if row.mark is None else _anchor(row.mark, low, high, False)
                for row in rows
            ],
            "name": [label(row.name, max(12, _LINE - len(row.told) - 2)) for row in rows],
            "told": [label(row.told, 50) for row in rows],
            "tone": [_TONES[row.tone] for row in rows],
            "form": [_FORMS[row.tone] for row in rows],
        }
    )


def _limits(
    rows: Sequence[Row], lines: Sequence[Line], stem: float | None, log: bool
) -> tuple[float, float]:
    """The axis: all that is drawn, with a margin."""
    seen = [v for row in rows for v in (row.value, row.low, row.high, row.mark) if v is not None]
    seen += [line.at for line in lines] + ([] if stem is None else [stem])
    low, high = min(seen), max(seen)
    if log:
        return low / 1.15, high * 1.15
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def _levels(lines: Sequence[Line], low: float, high: float, log: bool) -> list[tuple[int, Line]]:
    """Names of lines that stand near each other go to different heights."""
    taken: list[tuple[int, float]] = []
    out = []
    for line in sorted(lines, key=lambda one: one.at):
        place = _place(line.at, low, high, log)
        level = 0
        while any(at == level and abs(place - other) < 0.3 for at, other in taken):
            level += 1
        taken.append((level, place))
        out.append((level, line))
    return out


def _anchor(at: float, low: float, high: float, log: bool) -> str:
    place = _place(at, low, high, log)
    return "left" if place < 0.2 else "right" if place > 0.8 else "center"


def _place(at: float, low: float, high: float, log: bool) -> float:
    return math.log(at / low) / math.log(high / low) if log else (at - low) / (high - low)
