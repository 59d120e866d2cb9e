"""Named levels across a chart of days: what the bars are held against."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from plotnine import annotate, geom_hline, ggplot

from analysis.present.theme import NOTE, label

Level = tuple[float, str, str]
"""Height, name, colour."""


def apart(heights: list[float], gap: float) -> list[float]:
    """The heights moved up as little as keeps each `gap` from the one below."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    out = list(heights)
    for below, above in itertools.pairwise(order):
        out[above] = max(out[above], out[below] + gap)
    return out


def with_levels(plot: ggplot, levels: Sequence[Level], x: Any, top: float, gap: float) -> ggplot:
    """The plot with a dashed line a level, its name at its right end `x`, none over another.

    x: a moment of the days' axis. top: the highest value drawn. gap: the least distance of two
    names, as a share of it.
    """
    heights = apart([at for at, _, _ in levels], gap * top)
    for (at, name, colour), height in zip(levels, heights, strict=True):
        plot = (
            plot
            + geom_hline(yintercept=at, color=colour, linetype="dashed", size=0.7)
            + annotate("text", x=x, y=height + 0.015 * top, label=label(name), ha="right",
                       va="bottom", size=NOTE, color=colour)
        )  # fmt: skip
    return plot
