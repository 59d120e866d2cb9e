"""The figure of cost against failures: every routing candidate beside today's routing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    coord_cartesian,
    geom_label,
    geom_point,
    geom_segment,
    ggplot,
    labs,
    scale_alpha_identity,
    scale_color_identity,
    scale_fill_identity,
    scale_shape_identity,
    scale_x_continuous,
    scale_y_continuous,
)

from analysis.present import spans
from analysis.present.blocks import Body, figure
from analysis.present.escape import Html, visible
from analysis.present.formats import between, percent, tick, usd
from analysis.present.routing_verdict import OUTCOMES as MARKS
from analysis.present.routing_verdict import WORDS
from analysis.present.theme import (
    INK,
    MUTED,
    NOTE,
    OUTCOMES,
    SHAPES,
    SIZE,
    WIDTH,
    heading,
    label,
    look,
    svg,
)

MAX_DRAWN = 8
"""Most candidates in the figure; with more no name finds its place."""
TODAY = "today"

_HEIGHT = 3.9
# Of the panel that the axes leave, in inches.
_PANEL = (WIDTH - 0.5, _HEIGHT - 0.75)
_LETTER = 0.62 * (NOTE - 0.5) / 72
_NAME = 30


def frontier(body: Body, section: Body, points: pd.DataFrame) -> tuple[Html, ...]:
    """Cash cost (x) against failure rate (y), with 95 % intervals; nothing where nothing is estimated.

    points: the series `routing_frontier`; its row without a recommendation is today's routing.
    """
    known = points.dropna(subset=["cost", "failure"])
    today, others = known[known["recommendation"].isna()], known[known["recommendation"].notna()]
    if others.empty:
        return ()
    # What nothing beats first: where there are too many, it is not what goes.
    others = others.assign(beaten=others["frontier"].ne(True)).sort_values("beaten", kind="stable")
    shown = others.head(MAX_DRAWN).sort_index()
    frame = pd.concat([today, shown], ignore_index=True)
    drawn = _draw(frame)
    alt = " ".join(["Cash cost and failure rate.", *map(_story, frame.to_dict("records"))])
    left = [c["name"] for c in section["candidates"] if c["name"] not in set(shown["name"])]
    caption = (
        "Cheaper is left, safer is below. Square: today's routing, its levels dotted; circle: adopt, "
        "cross: keep, diamond: not settled. Bars: 95 % intervals, pale where not settled. "
        + (f"Not drawn: {_listed(left)}. " if left else "")
        + spans.candidate(body)
    )
    return (figure(drawn, alt, caption, name="Cost against failures"),)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(visible(name, 40) for name in names[:5]) + more


def _story(point: Mapping[Hashable, Any]) -> str:
    name, told = (TODAY, "") if pd.isna(point["recommendation"]) else (
        point["name"], f", {WORDS[point['recommendation']]}")  # fmt: skip
    cost = f"{usd(point['cost'])} USD ({between(*_ends(point, 'cost'), usd)})"
    failure = f"{percent(point['failure'])} ({between(*_ends(point, 'failure'), percent)})"
    return f"{visible(name, 60)}: {cost}, failures {failure}{told}."


def _ends(point: Mapping[Hashable, Any], of: str) -> tuple[float | None, float | None]:
    low, high = (
        None if pd.isna(v) else float(v) for v in (point[f"{of}_low"], point[f"{of}_high"])
    )
    return low, high


# ── figure ───────────────────────────────────────────────────────────────────────────────


def _draw(frame: pd.DataFrame) -> bytes:
    frame = frame.copy()
    for end in ("", "_low", "_high"):
        frame[f"cost{end}"] = frame[f"cost{end}"].astype(float)
        frame[f"failure{end}"] = 100 * frame[f"failure{end}"].astype(float)
    told = [None if pd.isna(r) else MARKS[r] for r in frame["recommendation"]]
    frame["tone"] = [INK if t is None else OUTCOMES[t] for t in told]
    frame["form"] = ["s" if t is None else SHAPES[t] for t in told]
    frame["strength"] = [0.35 if t == "inconclusive" else 0.9 for t in told]
    frame["told"] = [
        TODAY if t is None else label(name, _NAME)
        for t, name in zip(told, frame["name"], strict=True)
    ]
    (x0, x1), (y0, y1) = _axis(frame, "cost"), _axis(frame, "failure")

    def panel(x: str, y: str) -> list[tuple[float, float]]:
        # A single cluster leaves no limits: its bar is the point.
        across, along = frame[x].fillna(frame["cost"]), frame[y].fillna(frame["failure"])
        return [((a - x0) / (x1 - x0), (b - y0) / (y1 - y0))
                for a, b in zip(across, along, strict=True)]  # fmt: skip

    spots = places(
        panel("cost", "failure"),
        [len(name) * _LETTER / _PANEL[0] for name in frame["told"]],
        [*zip(panel("cost_low", "failure"), panel("cost_high", "failure"), strict=True),
         *zip(panel("cost", "failure_low"), panel("cost", "failure_high"), strict=True)],
    )  # fmt: skip
    frame["at_x"] = [x0 + s.x * (x1 - x0) for s in spots]
    frame["at_y"] = [y0 + s.y * (y1 - y0) for s in spots]
    now = frame[frame["recommendation"].isna()]
    across = frame.dropna(subset=["cost_low", "cost_high"])
    along = frame.dropna(subset=["failure_low", "failure_high"])
    plot = ggplot(frame, aes("cost", "failure"))
    if len(now):
        levels = now[["cost", "failure"]].iloc[0]
        guides = pd.DataFrame({"x": [levels["cost"], x0], "xend": [levels["cost"], x1],
                               "y": [y0, levels["failure"]], "yend": [y1, levels["failure"]]})  # fmt: skip
        plot = plot + geom_segment(
            aes("x", "y", xend="xend", yend="yend"), data=guides, color=MUTED, linetype="dotted",
            size=0.5, inherit_aes=False,
        )  # fmt: skip
    if len(across):
        plot = plot + geom_segment(
            aes(x="cost_low", xend="cost_high", yend="failure", color="tone", alpha="strength"),
            data=across, size=0.9,
        )  # fmt: skip
    if len(along):
        plot = plot + geom_segment(
            aes(xend="cost", y="failure_low", yend="failure_high", color="tone", alpha="strength"),
            data=along, size=0.9,
        )  # fmt: skip
    plot = (
        plot
        + geom_segment(aes(xend="at_x", yend="at_y"), color=MUTED, size=0.3)
        + geom_point(aes(color="tone", fill="tone", shape="form"), size=3.4, stroke=0.4)
        + geom_label(aes("at_x", "at_y", label="told"), size=NOTE - 0.5, color=INK, fill="white",
                     label_size=0.0, label_padding=0.08, ha="center", va="center")
        + scale_alpha_identity()
        + scale_x_continuous(labels=lambda values: [label(tick()(float(v)), 20) for v in values])
        + scale_y_continuous(labels=lambda values: [label(tick()(float(v)), 20) for v in values])
        + scale_color_identity()
        + scale_fill_identity()
        + scale_shape_identity()
        + coord_cartesian(xlim=(x0, x1), ylim=(y0, y1), expand=False)
        + labs(title=heading("Cost against failures"), x="Cash cost per logical request, USD",
               y="Failure rate, %")
        + look("xy")
    )  # fmt: skip
    return svg(plot, height=_HEIGHT)


def _axis(frame: pd.DataFrame, of: str) -> tuple[float, float]:
    """What is drawn on an axis, with a margin; an interval may lie far beyond the values."""
    seen = frame[[of, f"{of}_low", f"{of}_high"]].to_numpy(dtype=float).ravel()
    seen = seen[~pd.isna(seen)]
    low, high = float(seen.min()), float(seen.max())
    margin = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


# ── names ────────────────────────────────────────────────────────────────────────────────


# How far a name may go, in its own heights; and how far to leave bars free.
_FAR, _NEAR = 20, 4


@dataclass(frozen=True)
class Place:
    """The middle of a name, in shares of the panel."""

    x: float
    y: float


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def inside(self) -> bool:
        return self.height / 2 <= self.y <= 1 - self.height / 2

    def meets(self, other: _Box) -> bool:
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < (self.height + other.height) / 2
        )


def places(
    points: Sequence[tuple[float, float]],
    widths: Sequence[float],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> list[Place]:
    """Where each point's name stands: as near to it as leaves all names and points free, and bars too
    where that is not far.

    points, widths, bars (from, to): in shares of the panel. First come, first placed; a name for which
    no place is free stands over its point.
    """
    height = 1.5 * NOTE / 72 / _PANEL[1]
    mark = (SIZE / 72 / _PANEL[0], SIZE / 72 / _PANEL[1])
    taken = [_Box(x, y, *mark) for x, y in points]
    lines = [_Box((a + c) / 2, (b + d) / 2, abs(c - a), abs(d - b)) for (a, b), (c, d) in bars]
    out = []
    for (x, y), width in zip(points, widths, strict=True):
        tries = [
            _Box(min(max(x + side * width / 2, width / 2 + 0.01), 0.99 - width / 2),
                 y + sign * height * (0.5 + step / 2), width, height)
            for step in range(1, 2 * _FAR)
            for sign in (1, -1)
            for side in (1.1, -1.1, 0.0)
        ]  # fmt: skip
        free = [t for t in tries if t.inside and not any(map(t.meets, taken))]
        clear = (t for t in free if abs(t.y - y) < _NEAR * height and not any(map(t.meets, lines)))
        found = next(clear, next(iter(free), _Box(x, y, width, height)))
        taken.append(found)
        out.append(Place(found.x, found.y))
    return out
