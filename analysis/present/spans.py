"""The review's windows in words, for source notes and captions."""

from __future__ import annotations

from analysis.present.blocks import Body
from analysis.present.formats import moment, plural


def window(body: Body, name: str) -> str:
    """A window's name, span and size; a first release has no baseline."""
    held = body["windows"][name]
    if held is None:
        return f"{name.capitalize()}: none, this is declared as a first release"
    release = "" if held["release_id"] is None else f" of release {held['release_id']}"
    return (
        f"{name.capitalize()}{release} {moment(held['start_utc'])} to {moment(held['end_utc'])} UTC, "
        f"{plural(held['n_interactions'], 'interaction')}"
    )


def both(body: Body) -> str:
    """Both windows, as a source note."""
    return f"{window(body, 'candidate')}. {window(body, 'baseline')}."


def candidate(body: Body) -> str:
    """The candidate window, as a source note."""
    return f"{window(body, 'candidate')}."
