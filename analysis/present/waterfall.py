"""What moved the spend, on the budgets page: a waterfall of drivers, and where they are largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    coord_cartesian,
    element_blank,
    geom_label,
    geom_segment,
    ggplot,
    labs,
    scale_color_identity,
    scale_x_continuous,
    scale_y_continuous,
    theme,
)

from analysis.present import spans
from analysis.present.blocks import Body, figure, paragraph
from analysis.present.escape import Html
from analysis.present.formats import number, plural, signed_usd, tick, usd
from analysis.present.grid import Column, table, text
from analysis.present.theme import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    NOTE,
    VERMILLION,
    heading,
    label,
    look,
    svg,
)

MAX_DRIVERS = 5
MAX_USE_CASES = 8
MAX_NAMED = 5
_DRIVERS = {
    "volume": "Volume: first attempts a day",
    "retries": "Retries: attempts per first attempt",
    "mix": "Mix: which models serve",
    "tokens": "Tokens per attempt",
    "price": "Price: USD per token",
    "unseen": "Unseen: attempts whose cost is known",
}
_TOKENS = {
    "prompt": "Prompt, not cached",
    "cached": "Cached prompt",
    "completion": "Completion",
    "all": "Models without a price",
}


def blocks(body: Body, spend: Body, drivers: Body) -> tuple[Html, ...]:
    """What moved the spend: the drivers, by model, by use case, by kind of token, and what is new."""
    change = drivers["change_usd_per_day"]
    if change is None:
        return (paragraph(f"What moved the spend is not decomposed: {drivers['reason']}."),)
    after = spend["usd_per_day"]["value"] or 0.0
    before = after - change
    alt = (
        f"Spend went from {usd(before)} to {usd(after)} USD a day ({signed_usd(change)}): "
        + ", ".join(f"{e['driver']} {signed_usd(e['usd_per_day'])}" for e in drivers["effects"])
        + "."
    )
    caption = (
        "An exact decomposition (log-mean Divisia index, Ang 2005): the parts sum to the whole change. "
        "It describes these two windows, and has no interval."
    )
    return (
        figure(_waterfall(before, after, drivers["effects"]), alt, caption, name="What moved the spend"),
        *_appeared(drivers),
        *_by_model(body, drivers),
        *_by_driver(
            body, "The change by use case, USD a day", "Use case", drivers["by_use_case"],
            "Each use case's own change, by its own volume, retries and mix of models.",
        ),
        *_by_driver(
            body, "The change by kind of token, USD a day", "Tokens", drivers["by_token"],
            f"By {_price_source(drivers)} (spend.prices): a price is apart from longer answers.",
        ),
        *_unpriced(drivers),
    )  # fmt: skip


def _waterfall(before: float, after: float, effects: Sequence[Body]) -> bytes:
    """Baseline, a step a driver, candidate: each bar begins where the one above it ends."""
    steps: list[tuple[str, float | None, float, str, str]] = [
        ("Baseline", None, before, MUTED, usd(before))
    ]
    level = before
    for e in effects:
        size = e["usd_per_day"]
        colour = VERMILLION if size > 0 else GREEN if size < 0 else MUTED
        name = str(_DRIVERS.get(e["driver"], e["driver"]))
        steps.append((name, level, level + size, colour, signed_usd(size)))
        level += size
    steps.append(("Candidate", None, after, BLUE, usd(after)))
    low, high, cut = _axis([end for _, _, end, _, _ in steps])
    top = float(len(steps))
    frame = pd.DataFrame(
        {
            "y": [top - place - 0.45 for place in range(len(steps))],
            "start": [low if start is None else start for _, start, _, _, _ in steps],
            "end": [end for _, _, end, _, _ in steps],
            "colour": [colour for _, _, _, colour, _ in steps],
            "name": [label(name, 44) for name, _, _, _, _ in steps],
            "told": [label(told, 30) for *_, told in steps],
        }
    )
    links = frame.iloc[:-1].assign(below=frame["y"].iloc[1:].to_numpy())
    words: dict[str, Any] = {"va": "bottom", "size": NOTE, "color": INK, "fill": "white", "label_size": 0.0,
             "label_padding": 0.06}  # fmt: skip
    axis = "USD a day" if not cut else f"USD a day; the axis begins at {number(low, 1)}"
    plot = (
        ggplot(frame)
        + geom_segment(aes(x="end", xend="end", y="y", yend="below"), data=links, color=MUTED,
                       size=0.5)
        + geom_segment(aes(x="start", xend="end", y="y", yend="y", color="colour"), size=5.5)
        # A step of nothing is a line, so that no driver is missing.
        + geom_segment(aes(x="end", xend="end", y="y - 0.16", yend="y + 0.16", color="colour"),
                       size=0.9)
        + geom_label(aes(y="y + 0.22", label="name"), x=low, ha="left", **words)
        + geom_label(aes(y="y + 0.22", label="told"), x=high, ha="right", **words)
        + scale_color_identity()
        + scale_x_continuous(labels=lambda values: [label(tick()(float(v)), 20) for v in values])
        + scale_y_continuous(breaks=[])
        + coord_cartesian(xlim=(low, high), ylim=(0.2, top + 0.35), expand=False)
        + labs(title=heading("What moved the spend, in USD a day"), x=axis, y="")
        + look("x")
        + theme(axis_title_y=element_blank())
    )  # fmt: skip
    return svg(plot, height=0.95 + 0.47 * (top + 0.15))


def _axis(levels: Sequence[float]) -> tuple[float, float, bool]:
    """Where the axis begins and ends, and whether it leaves zero out: where steps would be slivers."""
    low, high = min(levels), max(levels)
    span = high - low
    if low > 0 and span < 0.25 * high:
        margin = 0.4 * span or 0.05 * high
        return low - margin, high + 0.15 * margin, True
    low = min(low, 0.0)
    return low, (high + 0.04 * (high - low)) or 1.0, False


def _appeared(drivers: Body) -> tuple[Html, ...]:
    """Models and use cases that one window alone has."""
    told = []
    for key, lead in (("new", "New with the candidate"), ("gone", "Gone since the baseline")):
        held, n = drivers[key], drivers[f"n_{key}"]
        if held:
            names = [
                f"{_kind(a['slice'])} {slice_name(a['slice'])} ({usd(a['usd_per_day'])} USD a day)"
                for a in held[:MAX_NAMED]
            ]
            more = f"; and {n - MAX_NAMED:,} more" if n > MAX_NAMED else ""
            told.append(paragraph(f"{lead}: {', '.join(names)}{more}."))
    return tuple(told)


def _kind(held: Mapping[str, Any]) -> str:
    return "use case" if "use_case" in held else "model"


def _by_model(body: Body, drivers: Body) -> tuple[Html, ...]:
    rows = [
        [slice_name(e["slice"]), e["driver"], signed_usd(e["usd_per_day"])]
        for e in drivers["by_slice"]
        if e["usd_per_day"]
    ]
    if not rows:
        return ()
    return (
        table(
            "The largest parts of the change, by model",
            [text("Model"), text("Driver"), Column("USD a day")],
            rows[:MAX_DRIVERS],
            spans.both(body),
            file="spend_drivers.csv", total=len(drivers["by_slice"]),
        ),
    )  # fmt: skip


def _by_driver(
    body: Body, title: str, first: str, parts: Sequence[Body], source: str
) -> tuple[Html, ...]:
    """A row a slice or kind of token, a column a driver; the largest change first."""
    if not any(e["usd_per_day"] for e in parts):
        return ()
    sums: dict[str, dict[str, float]] = {}
    for e in parts:
        name = slice_name(e["slice"]) if "slice" in e else str(_TOKENS.get(e["token"], e["token"]))
        held = sums.setdefault(name, {})
        held[e["driver"]] = held.get(e["driver"], 0.0) + e["usd_per_day"]
    ranked = sorted(sums, key=lambda name: (-abs(sum(sums[name].values())), name))
    rows = [
        [name, signed_usd(sum(sums[name].values())),
         *(signed_usd(sums[name].get(d, 0.0)) for d in _DRIVERS)]
        for name in ranked[:MAX_USE_CASES]
    ]  # fmt: skip
    columns = [text(first), Column("Change"), *(Column(d.capitalize()) for d in _DRIVERS)]
    return (table(title, columns, rows, f"{source} {spans.both(body)}", total=len(ranked)),)


def _price_source(drivers: Body) -> str:
    sources = {(p["source"], p["source_version"]) for p in drivers["prices"]} - {("policy", None)}
    if not sources:
        return "the policy's list prices"
    return "the list prices of " + ", ".join(
        f"{name} {version}" for name, version in sorted(sources)
    )


def _unpriced(drivers: Body) -> tuple[Html, ...]:
    held = drivers["unpriced"]
    if not held:
        return ()
    named = zip(held[:MAX_NAMED], drivers["unpriced_reasons"], strict=False)
    names = "; ".join(f"{slice_name(s)} ({why})" for s, why in named)
    more = f"; and {len(held) - MAX_NAMED:,} more" if len(held) > MAX_NAMED else ""
    told = (
        f"{plural(len(held), 'model has', 'models have')} no list price for all of the traffic, and"
    )
    return (paragraph(f"{told} stay whole: {names}{more}.", note=True),)


def slice_name(held: Mapping[str, Any]) -> str:
    """A slice in one line: its values, a null said."""
    return " / ".join("not known" if v is None else str(v) for v in held.values()) or "all"
