"""Incidents of budgets: bands on the burn-down, and a table with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from plotnine import aes, geom_rect, geom_text

from analysis.present import spans
from analysis.present.blocks import Body
from analysis.present.escape import Html
from analysis.present.formats import count, moment, percent, plural
from analysis.present.grid import Column, table, text
from analysis.present.theme import INK, MUTED, NOTE, ORANGE

MAX_INCIDENTS = 8
ROOM = 0.1  # of the figure's height, above the bands, for their numbers
_NARROWEST = 0.006  # share of the figure's width: half an hour of thirty days would not be seen
_BESIDE = 0.035  # closer bands share one label


@dataclass(frozen=True)
class Numbered:
    """An incident of the artifact, with the number that figure and table know it by."""

    number: int
    slo: str
    incident: Body

    @property
    def start(self) -> pd.Timestamp:
        return spans.drawn(self.incident["start_utc"])

    @property
    def end(self) -> pd.Timestamp:
        return spans.drawn(self.incident["end_utc"])

    @property
    def label(self) -> str:
        """Excluded ones in brackets: colour is not the only signal."""
        return f"({self.number})" if self.incident["excluded"] else str(self.number)


def numbered(section: Body) -> list[Numbered]:
    """The incidents of all objectives with the most bad interactions, numbered by time."""
    held = [(s["name"], i) for s in section["slos"] for i in s["incidents"]]
    worst = sorted(held, key=lambda pair: -pair[1]["bad"])[:MAX_INCIDENTS]
    worst.sort(key=lambda pair: pair[1]["start_utc"])
    return [Numbered(at, name, i) for at, (name, i) in enumerate(worst, 1)]


def bands(
    shown: Sequence[Numbered],
    first: pd.Timestamp,
    last: pd.Timestamp,
    low: float,
    high: float,
) -> list[Any]:
    """Layers for a figure over [first, last], from `low` to `high`; none where no incident lies in it."""
    held = [one for one in shown if one.end > first and one.start < last]
    if not held:
        return []
    least = (last - first) * _NARROWEST
    frame = pd.DataFrame(
        {
            "left": [max(one.start, first) for one in held],
            "right": [max(min(one.end, last), max(one.start, first) + least) for one in held],
            "excluded": [bool(one.incident["excluded"]) for one in held],
        }
    )
    layers = []
    for excluded, colour, line in ((False, ORANGE, "solid"), (True, MUTED, "dashed")):
        part = frame[frame["excluded"] == excluded]
        if len(part):
            layers.append(
                geom_rect(
                    aes(xmin="left", xmax="right"), data=part, ymin=low, ymax=high, fill=colour,
                    color=colour, linetype=line, size=0.3, alpha=0.35, inherit_aes=False,
                )
            )  # fmt: skip
    labels = pd.DataFrame(_labels(held, first, last), columns=["at", "told"])
    return [
        *layers,
        geom_text(aes(x="at", label="told"), data=labels, y=high + ROOM / 2 * (high - low), size=NOTE,
                  color=INK, inherit_aes=False),
    ]  # fmt: skip


def _labels(
    held: Sequence[Numbered], first: pd.Timestamp, last: pd.Timestamp
) -> list[tuple[pd.Timestamp, str]]:
    """Where each number stands; those that would overlap stand together."""
    out: list[tuple[pd.Timestamp, list[str]]] = []
    for one in held:
        at = max(one.start, first)
        if out and at - out[-1][0] < (last - first) * _BESIDE * len(out[-1][1]):
            out[-1][1].append(one.label)
        else:
            out.append((at, [one.label]))
    return [(at, ", ".join(labels)) for at, labels in out]


def told(shown: Sequence[Numbered]) -> str:
    """The incidents in words, for who cannot see the bands."""
    if not shown:
        return ""
    parts = [
        f"{one.number} {one.slo} {moment(one.incident['start_utc'])} to "
        f"{moment(one.incident['end_utc'])}, {percent(one.incident['rate'], 1)} bad"
        f"{', set aside by windows.exclude' if one.incident['excluded'] else ''}"
        for one in shown
    ]
    return f" Incidents, UTC: {'; '.join(parts)}."


def incidents(section: Body, shown: Sequence[Numbered]) -> tuple[Html, ...]:
    """The table; nothing where there are none."""
    if not shown:
        return ()
    total = sum(len(s["incidents"]) for s in section["slos"])
    rows = [
        [one.label, one.slo, moment(one.incident["start_utc"]), moment(one.incident["end_utc"]),
         count(one.incident["bad"]), count(one.incident["n"]), percent(one.incident["rate"], 1),
         percent(one.incident["budget_share"], 1), "fired" if one.incident["alerted"] else "none"]
        for one in shown
    ]  # fmt: skip
    aside = (
        " In brackets: known, and named in windows.exclude."
        if any(one.incident["excluded"] for one in shown)
        else ""
    )
    return (
        table(
            "Incidents, as they are numbered in the figure",
            [text("No."), text("Objective"), Column("From, UTC"), Column("Until, UTC"), Column("Bad"),
             Column("Interactions"), Column("Bad, share"), Column("Share of the budget"), text("Alert")],
            rows,
            f"{plural(total, 'incident')} of the candidate window, to five minutes: the stretch whose "
            "rate of bad interactions stands out most, beyond chance, from what is nearby, or, where no "
            f"alert fired, from the whole window.{aside}",
            total=total,
        ),
    )  # fmt: skip
