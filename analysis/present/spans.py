"""The review's windows in words, for source notes and captions."""

from __future__ import annotations

import pandas as pd

from analysis.present.blocks import Body
from analysis.present.formats import moment, plural

HALF_DAY = pd.Timedelta(hours=12)
"""A day is drawn at its midnight: what lies between two days lies half a day before it."""


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


def drawn(utc: str) -> pd.Timestamp:
    """A time of the artifact as figures have it: in UTC, and without a zone."""
    return pd.Timestamp(utc).tz_localize(None)


def candidate_start(body: Body) -> pd.Timestamp | None:
    """Where the candidate starts; without a baseline, or with arms side by side, no day says so."""
    windows = body["windows"]
    if windows["baseline"] is None or windows["comparison"] == "concurrent":
        return None
    return drawn(windows["candidate"]["start_utc"])
