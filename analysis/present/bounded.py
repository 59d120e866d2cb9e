"""Worst-case bounds beside a figure: what it would be if the unknown rows were all good, or all bad."""

from __future__ import annotations

from analysis.present.blocks import Body, over
from analysis.present.escape import Html, say
from analysis.present.formats import Format, between

EXPLAINED = (
    "Worst case: the figure if every row whose outcome is unknown, or that was set aside or lost, had "
    "been good, or bad; the contract page counts them."
)


def of(body: Body, figure: str, window: str) -> Body | None:
    """The bounds of a headline figure, None where no unknown row moves it."""
    bounds = body["views"]["contract"]["bounds"]
    if bounds is None:
        return None
    for held in bounds["figures"]:
        if (held["figure"], held["window"]) == (figure, window):
            alike = held["value"] == held["low"] == held["high"]
            return None if alike or held["value"] is None else held
    return None


def any_of(body: Body, figures: tuple[str, ...]) -> bool:
    """Whether any of the figures has bounds of its own."""
    windows = ("baseline", "candidate", "change")
    return any(of(body, f, w) is not None for f in figures for w in windows)


def stacked(body: Body, held: Body, form: Format, figure: str, window: str) -> Html:
    """A figure as a cell: value, interval, and its worst case where unknown rows move it."""
    cell = over(form(held["value"]), between(held["low"], held["high"], form))
    return beside(body, cell, form, figure, window)


def beside(body: Body, cell: Html, form: Format, figure: str, window: str) -> Html:
    """A cell with the figure's worst case below it, where unknown rows move it."""
    bounds = of(body, figure, window)
    if bounds is None:
        return cell
    return say(
        '{cell}<br><span class="rr-range">worst case <wbr>{b}</span>',
        cell=cell,
        b=between(bounds["low"], bounds["high"], form),
    )
