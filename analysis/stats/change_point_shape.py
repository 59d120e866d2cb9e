"""Whether a daily series changed at once or step by step: ramps in the place of a step.

Both shapes are fitted beside the same weekday effects and other changes, and have as many coefficients, so
that their restricted likelihoods compare (Perron 2006, section 3, has both; the ramp is his changing growth
with an end).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.change_point import drop
from analysis.stats.change_point_parts import (
    LEAST,
    Part,
    Series,
    best_of,
    between,
    fit,
    offered_steps,
    refined,
    residual,
)

CLEAR = 3.0
"""Of log-likelihood: by less a ramp is not told from a step."""
NEAR = 2.0
"""By less a step is not told from a long ramp."""
CONFIDENCE = 0.95
SHORTEST_RAMP = 7
LONG = 14


@dataclass(frozen=True)
class Ramps:
    """Ramps in the place of a step. gain: log-likelihood of the best beyond the best step's. onsets: first
    days of ramps whose log-likelihood is near the best. unclear: whether one fits better than the step, or
    one of `LONG` days or more not clearly worse: precise days would claim too much then."""

    best: Part
    gain: float
    onsets: tuple[int, ...]
    unclear: bool


def ramps_instead(series: Series, parts: Sequence[Part], place: int) -> Ramps | None:
    """What ramps gain in the place of a part, between its neighbours; None where there is no room."""
    n = len(series.days)
    low = parts[place - 1].full + LEAST if place else 1
    end = parts[place + 1].first if place + 1 < len(parts) else n
    others = [p for i, p in enumerate(parts) if i != place]
    lengths, length = [], SHORTEST_RAMP
    while length <= end - low:
        lengths.append(length)
        length = length * 4 // 3
    offered = [Part(a, d) for d in lengths for a in range(low, end - d + 1, d // SHORTEST_RAMP)]
    offered += [Part(a, end - a) for a in range(low, end - SHORTEST_RAMP) if end - a not in lengths]
    if not offered:
        return None
    _, of_ramps = fit(series, others, offered)
    first, last = between(parts, place, n)
    steps = [Part(k) for k in range(first, last + 1)] or [parts[place]]
    _, of_steps = fit(series, others, steps)
    # Relative to each column's own length a likelihood is restricted in one way, of whatever shape.
    ramp, step = of_ramps.by_column[:, 0], of_steps.by_column[:, 0]
    best = best_of(of_ramps)
    near = [p.first for p, value in zip(offered, ramp, strict=True)
            if value >= ramp[best] - drop(CONFIDENCE)]  # fmt: skip
    gain = ramp - step.max()
    long = np.array([p.length >= LONG for p in offered])
    return Ramps(
        offered[best],
        float(gain[best]),
        tuple(sorted(set(near))),
        bool(gain[best] > 0 or (gain[long] > -NEAR).any()),
    )


def shaped(series: Series, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts, with ramps where they fit better than a step, or about as well as two in a row."""
    place = 0
    while place < len(parts):
        if parts[place].length == 1:
            parts = _merged(series, parts, place) or _bent(series, parts, place) or parts
        place += 1
    return parts


def _merged(series: Series, parts: tuple[Part, ...], place: int) -> tuple[Part, ...] | None:
    """A ramp in the place of this step and the next one."""
    if place + 1 >= len(parts) or parts[place + 1].length > 1:
        return None
    fewer = (*parts[: place + 1], *parts[place + 2 :])
    found = ramps_instead(series, fewer, place)
    if found is None or found.gain <= 0:
        return None
    ramp = _replaced(fewer, place, found.best)
    return None if _worth(series, ramp, parts) else ramp


def _bent(series: Series, parts: tuple[Part, ...], place: int) -> tuple[Part, ...] | None:
    """A ramp in the place of this step, unless two steps are worth more."""
    found = ramps_instead(series, parts, place)
    if found is None or found.gain <= CLEAR:
        return None
    ramp = _replaced(parts, place, found.best)
    offered = offered_steps(series, parts)
    if offered:
        _, fitted = fit(series, parts, offered)
        if _worth(series, ramp, refined(series, (*parts, offered[best_of(fitted)]))):
            return None
    return ramp


def _replaced(parts: tuple[Part, ...], place: int, part: Part) -> tuple[Part, ...]:
    return (*parts[:place], part, *parts[place + 1 :])


def _worth(series: Series, fewer: Sequence[Part], more: Sequence[Part]) -> bool:
    """Whether a step more is worth its cost."""
    return cost(series, more) < cost(series, fewer)


def cost(series: Series, parts: Sequence[Part]) -> float:
    """T log of the residual squares, and what the parts cost: less is better.

    A change costs 3 log T (Zhang & Siegmund 2007, a criterion in the manner of Schwarz for change points), the day
    on which a ramp ends log T more.
    """
    if not parts:
        return math.inf
    paid = sum(3 if p.length == 1 else 4 for p in parts) * math.log(len(series.days))
    return residual(series, parts) + paid
