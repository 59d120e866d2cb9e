"""Numbers of a published view: which are counts and rates, how they are rounded, and changes between two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.disclosure import STEP
from analysis.published_names import (
    EXACT,
    EXPECTED,
    INTERVAL,
    NO_RATE,
    NOT_COUNTS,
    WHOLE,
    Context,
)

Row = dict[str, Any]
DIGITS = 3
"""Significant digits of sums and means."""


def intervals(row: Row, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Row]]:
    """The intervals of a row, with the keys that lead to them; each a value of its own from now on."""
    for name, held in row.items():
        if isinstance(held, Mapping):
            row[name] = own = dict(held)
            if own.keys() == INTERVAL:
                yield (*names, name), own
            else:
                yield from intervals(own, (*names, name))


def changes(made: Row, at: Context) -> None:
    """A change says no more than its two sides, also of each metric in them."""
    if not made.keys() >= {"baseline", "candidate", "change"} or f"{at.place}.change" in WHOLE:
        return
    before, after, change = (made[name] for name in ("baseline", "candidate", "change"))
    if not all(isinstance(side, Mapping) for side in (before, after, change)):
        return
    if change.keys() == INTERVAL:
        made["change"] = _change(at.names[-1], before, after, dict(change))
        return
    made["change"] = {
        name: _change(name, before[name], after[name], dict(held))
        if isinstance(held, Mapping) and name in before and name in after
        else held
        for name, held in change.items()
    }


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any], change: Row) -> Row:
    if change["value"] is None:
        return change
    if before["value"] is None or after["value"] is None:
        return {**change, "value": None, "low": None, "high": None}
    if NO_RATE.search(name) or not 0 <= before["value"] <= 1:
        return change
    step = STEP / max(1, min(before["support"] or 1, after["support"] or 1))
    ends = {
        k: None if change[k] is None else clean(step * math.floor(change[k] / step + 0.5))
        for k in ("low", "high")
    }
    return {**change, **ends, "value": clean(after["value"] - before["value"])}


def is_number(held: Any) -> bool:
    return isinstance(held, int | float) and not isinstance(held, bool) and held == held


def is_count(name: str, held: float) -> bool:
    if name in NOT_COUNTS or name in EXACT or "nano_usd" in name or held < 0:
        return False
    return isinstance(held, int) or name in EXPECTED


def is_rate_of_row(held: Row) -> bool:
    """Whether a row's `value` is a rate of its `support`."""
    value = held.get("value")
    return (
        bool(held.get("support"))
        and is_number(value)
        and value is not None
        and 0 <= value <= 1
        and held.get("unit") == "rate"
        and "low" in held
        and not held.get("measure")
    )


def on_steps(value: float, step: float) -> float:
    return clean(min(1.0, max(-1.0, step * math.floor(value / step + 0.5))))


def digits(value: float | None) -> float | None:
    return None if value is None else clean(float(f"{value:.{DIGITS}g}"))


def clean(value: float) -> float:
    return float(f"{value:.12g}") + 0.0
