"""The figures of the history page: each figure of a release over time, and how much drifts at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from plotnine import (
    aes,
    facet_wrap,
    geom_col,
    geom_linerange,
    geom_point,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_fill_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_x_datetime,
    scale_y_continuous,
)

from analysis.ledger_history import PLAIN, SHARES, Figure, History, Kind, Line
from analysis.present.blocks import figure
from analysis.present.escape import Html
from analysis.present.formats import Format, moment, number, percent, plural, ratio, usd
from analysis.present.spans import drawn
from analysis.present.theme import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    NOTE,
    ORANGE,
    PALE,
    VERMILLION,
    heading,
    label,
    look,
    svg,
)

MAX_PANELS = 8
MAX_DRAWN = 60
"""Releases in a figure, the newest ones."""
MAX_TOLD = 4
"""Releases whose numbers an alternative text has, beside the range of all."""
_COLOURS = {"ship": GREEN, "hold": ORANGE, "block": VERMILLION}
_SHAPES = {"ship": "o", "hold": "D", "block": "X"}
_TITLES: dict[Kind, tuple[str, Format]] = {
    "failure_rate": ("Failures, %", percent),
    "latency_breach_rate": ("Latency breaches, %", percent),
    "cost_usd": ("USD per interaction", usd),
    "usd_per_day": ("USD a day", usd),
    "burn_rate": ("Burn rate (×) of", ratio),
}


def figures(held: History) -> tuple[Html, ...]:
    """A panel for each figure: its value at every release with its interval, coloured by the decision."""
    lines = held.lines[-MAX_DRAWN:]
    wanted: list[tuple[Kind, str | None]] = [(k, None) for k in PLAIN]
    wanted += [("burn_rate", slo) for slo in held.slos]
    panels = [p for p in wanted if sum(_known(line, *p) is not None for line in lines) >= 2]
    panels = panels[:MAX_PANELS]
    if not panels:
        return ()
    places = _places(lines)
    titles = {panel: _title(*panel) for panel in panels}
    rows = [
        {
            "panel": titles[panel],
            "at": at,
            "outcome": line.outcome if line.outcome in _COLOURS else "hold",
            "worse": any((one.kind, one.slo) == panel for one in line.regressions),
            **_heights(panel[0], known),
        }
        for panel in panels
        for line, at in zip(lines, places, strict=True)
        if (known := _known(line, *panel)) is not None
    ]
    frame = pd.DataFrame(rows)
    frame["panel"] = pd.Categorical(frame["panel"], list(dict.fromkeys(titles.values())))
    own = [at for line, at in zip(lines, places, strict=True) if line.digest == held.at_hand]
    plot = ggplot(frame, aes("at", "value"))
    if own:
        marked = pd.DataFrame({"at": own})
        plot = plot + geom_vline(aes(xintercept="at"), data=marked, color=BLUE, linetype="dashed",
                                 size=0.5)  # fmt: skip
    size = 2.4 if len(lines) <= 20 else 1.6
    plot = (
        plot
        + geom_linerange(aes(ymin="low", ymax="high"), color=MUTED, size=0.6)
        + geom_point(aes(color="outcome", shape="outcome"), size=size)
        + geom_text(aes(y="high"), data=frame[frame["worse"]], label="▲", size=NOTE - 1, color=INK,
                    va="bottom")
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_color_manual(values=_COLOURS)
        + scale_shape_manual(values=_SHAPES)
        + scale_x_datetime(breaks=_breaks(places), date_labels="%d %b %y")
        + scale_y_continuous(breaks=_ticks, expand=(0.08, 0, 0.2, 0))
        + labs(title=heading("Releases over time"), x="End of the release's window, UTC", y="")
        + look("y")
    )  # fmt: skip
    hidden = len(held.lines) - len(lines)
    caption = (
        "A point a release, with its 95 % interval: green circles shipped, orange diamonds were held, red "
        "crosses blocked; ▲ above: worse than before, beyond noise; dashed: this release."
        + (f" The newest {len(lines)} of {len(held.lines)}." if hidden else "")
    )
    alt = "Figures over releases. " + " ".join(_story(held, lines, panel) for panel in panels)
    drawn_ = svg(plot, height=0.9 + 1.2 * len(set(titles.values())))
    return (figure(drawn_, alt, caption, name="Releases over time"),)


def _known(line: Line, kind: Kind, slo: str | None) -> Figure | None:
    found = line.figure(kind, slo)
    return found if found is not None and found.value is not None else None


def _title(kind: Kind, slo: str | None) -> str:
    name = _TITLES[kind][0]
    return name if slo is None else label(f"{name} {slo}", 56)


def _heights(kind: Kind, known: Figure) -> dict[str, float | None]:
    scale = 100 if kind in SHARES else 1
    return {
        name: math.nan if value is None else scale * value
        for name, value in (("value", known.value), ("low", known.low), ("high", known.high))
    }


def _places(lines: Sequence[Line]) -> list[pd.Timestamp]:
    """Where each release stands: at the end of its window; those of one day side by side."""
    ends = [drawn(line.end_utc) for line in lines]
    reach = max(max(ends) - min(ends), pd.Timedelta(days=14))
    seen: dict[pd.Timestamp, int] = {}
    out = []
    for end in ends:
        n = seen.get(end, 0)
        seen[end] = n + 1
        out.append(end + n * reach / 60)
    return out


def _breaks(places: Sequence[pd.Timestamp]) -> list[Any]:
    """At most four days, evenly over the time, so that labels do not meet."""
    first, last = min(places).normalize(), max(places).normalize()
    n = min(3, (last - first).days)
    return [first + (last - first) * k / n for k in range(n + 1)] if n else [first]


def _ticks(limits: tuple[float, float]) -> list[float]:
    """Two or three round values within a panel."""
    low, high = limits
    room = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(room))
    step = next(s for s in (step / 4, step / 2, step, 2 * step, 5 * step) if room / s < 4)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _story(held: History, lines: Sequence[Line], panel: tuple[Kind, str | None]) -> str:
    """A panel in words: the newest releases, and the range of all."""
    form = _TITLES[panel[0]][1]
    known = [(line, found) for line in lines if (found := _known(line, *panel)) is not None]
    values = [found.value for _, found in known if found.value is not None]
    newest = ", ".join(
        f"{label(line.release_id, 24)} {form(found.value)}"
        + (" (worse)" if any((r.kind, r.slo) == panel for r in line.regressions) else "")
        for line, found in known[-MAX_TOLD:]
    )
    return (
        f"{_title(*panel)}: {form(min(values))} to {form(max(values))} over "
        f"{plural(len(values), 'release')}; the newest: {newest}."
    )


# ── drift ────────────────────────────────────────────────────────────────────────────────

_SEVERITIES = {"low": PALE, "medium": ORANGE, "high": VERMILLION}


def drift(held: History) -> tuple[Html, ...]:
    """How many columns drift at each release, by severity."""
    lines = [line for line in held.lines if line.drift is not None][-MAX_DRAWN:]
    if len(lines) < 2 or not any(_drifting(line) for line in lines):
        return ()
    rows = [
        {"place": place, "severity": name, "n": n}
        for place, line in enumerate(lines)
        for name, n in _drifting(line)
    ]
    frame = pd.DataFrame(rows)
    frame["severity"] = pd.Categorical(frame["severity"], list(_SEVERITIES))
    step = math.ceil(len(lines) / 4)
    shown = list(range(0, len(lines), step))
    highest = int(frame.groupby("place")["n"].sum().max())
    ticks = list(range(0, highest + 1, max(1, math.ceil(highest / 4))))
    plot = (
        ggplot(frame, aes("place", "n", fill="severity"))
        + geom_col(width=0.7)
        + scale_fill_manual(values=_SEVERITIES)
        + scale_x_continuous(
            breaks=shown,
            labels=[label(lines[k].release_id, 14) for k in shown],
            limits=(-0.5, len(lines) - 0.5),
        )
        + scale_y_continuous(breaks=ticks)
        + labs(
            title=heading("Columns that drift at each release"),
            x="Release, oldest first",
            y="Columns",
        )
        + look("y")
    )
    told = "; ".join(
        f"{label(line.release_id, 24)} "
        + (", ".join(f"{n} {name}" for name, n in _drifting(line)) or "none")
        for line in lines[-8:]
    )
    caption = (
        "Columns that count in a check, against each release's own baseline: red high, orange medium, blue "
        f"low severity. {plural(len(lines), 'release')}, {moment(lines[0].end_utc)} to "
        f"{moment(lines[-1].end_utc)}."
    )
    alt = (
        f"Drifting columns over {number(len(lines), 0)} releases, at most {highest}; "
        f"the newest {min(8, len(lines))}: {told}."
    )
    return (figure(svg(plot, height=2.4), alt, caption, name="Columns that drift at each release"),)


def _drifting(line: Line) -> list[tuple[str, int]]:
    held = line.drift
    if held is None:
        return []
    told = (("high", held.high), ("medium", held.medium), ("low", held.low))
    return [(name, n) for name, n in told if n]
