"""Since when a daily series has had its level: weekday effects, several changes, spikes, correlated days.

Beside `change_point`, which knows one change and the sampling error of counts, this dates what days tell of
themselves. A change is tested by the largest gain in restricted likelihood over all first days
(`change_point_profile`), against its simulated law without a change (`change_point_null`). Several changes
are found one after the other, each dated anew beside the others (Bai 1997, "Estimating multiple breaks one
at a time"); two at once, which no single step may fit, are a second alternative (double maximum: Bai & Perron
1998). Spikes are set aside first.

The set of first days inverts Worsley's (1986) test: given the size of the change and of the errors, the
sufficient statistics under a step on day k, errors point anywhere, and the largest gain over all days has a
law without parameters. The set holds the days whose p-value is above 5 %. Only what is significant is dated,
so that law is conditional on that too (Fithian, Sun & Taylor 2014): where a change is barely told, the set
is most of the series.

The correlation of days is estimated, and the test assumes it higher by a standard error. A ramp of
a week or more that fits clearly better than a step is told as gradual (Perron 2006, section 3: both shapes
are estimated); where a ramp fits about as well the shape is unclear, and the set holds the days of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.stats.change_point_null import Null
from analysis.stats.change_point_parts import (
    LEAST,
    Part,
    Series,
    assumed,
    best_of,
    between,
    columns_of,
    fit,
    offered_steps,
    refined,
)
from analysis.stats.change_point_profile import CORRELATIONS, Floats, pairs_of, weekdays
from analysis.stats.change_point_set import first_days
from analysis.stats.change_point_shape import cost, ramps_instead, shaped

Shape = Literal["step", "gradual", "unclear"]

MAX_CHANGES = 4
SHARE_OF_STEPS = 0.8
"""Of the level: for one step; the rest is for two at once."""
LATER = 0.01
"""Largest level at which more changes are told: the series is known to change, and needs few of them."""


@dataclass(frozen=True)
class Change:
    """A change of level. first: place of the first day of the new level (of a gradual one: that begins to
    differ); low, high: the places between which it lies with 95 % confidence; full: the first place at which all
    of it is there. size: in units of the values. p_value: of no change there, beside the others."""

    first: int
    low: int
    high: int
    full: int
    size: float
    shape: Shape
    p_value: float


@dataclass(frozen=True)
class Levels:
    """A series' changes, in their order.

    shift: (T,) what the changes add to the first level. base: (T,) first level with its weekday effect.
    kept: (T,) the places of these days; spikes: of those set aside. correlation: of neighbouring days.
    """

    changes: tuple[Change, ...]
    shift: Floats
    base: Floats
    kept: npt.NDArray[np.intp]
    spikes: tuple[int, ...]
    correlation: float


@dataclass(frozen=True)
class _Found:
    """What was added, and the p-value of adding it."""

    parts: tuple[Part, ...]
    p_value: float


def change_p_value(series: Series) -> float:
    """The p-value of one level throughout, against one step or two."""
    return min(found.p_value for found in _next(series, ()))


def date_changes(series: Series, level: float) -> Levels:
    """The changes of a series whose `change_p_value` is at most `level`; none where it is not.

    Two steps at once are told only where one alone is not: the second is found beside the first otherwise.
    Ramps are looked for as steps are found, for a ramp needs several of them; but a step whose neighbours are
    yet to be found may look like a ramp, so that steps alone are a second way, and the cheaper one is taken.
    """
    steps, mixed = (_search(series, level, bent=bent) for bent in (False, True))
    cheaper = mixed if steps == mixed or cost(series, mixed) < cost(series, steps) else steps
    return _levels(series, cheaper, level)


# ── finding ──────────────────────────────────────────────────────────────────────────────


def _search(series: Series, level: float, *, bent: bool) -> tuple[Part, ...]:
    parts: tuple[Part, ...] = ()
    while len(parts) < MAX_CHANGES:
        limit = min(level, LATER) if parts else level
        found = next((f for f in _next(series, parts) if f.p_value <= limit), None)
        if found is None:
            break
        parts = refined(series, (*parts, *found.parts))
        parts = shaped(series, parts) if bent else parts
    return parts


def _next(series: Series, parts: tuple[Part, ...]) -> tuple[_Found, ...]:
    """The step and the two steps that gain most beside these parts."""
    n = len(series.days)
    steps = offered_steps(series, parts)
    if not steps:
        return (_Found((), 1.0),)
    design, one = fit(series, parts, steps)
    best = best_of(one)
    p = Null(series.given, LEAST).p_value(float(one.ratio[0]), assumed(one, best, n))
    step = _Found((steps[best],), min(p / SHARE_OF_STEPS, 1.0))
    pairs = pairs_of(np.array([s.first for s in steps], dtype=np.int64), LEAST)
    if len(parts) + 2 > MAX_CHANGES or not len(pairs):
        return (step,)
    two = design.fit_pairs(series.values[:, None], pairs)
    best = best_of(two)
    p = Null(series.given, LEAST, pairs=True).p_value(float(two.ratio[0]), assumed(two, best, n))
    both = tuple(steps[i] for i in pairs[best])
    return step, _Found(both, min(p / (1 - SHARE_OF_STEPS), 1.0))


# ── dating ───────────────────────────────────────────────────────────────────────────────


def _levels(series: Series, parts: tuple[Part, ...], level: float) -> Levels:
    n = len(series.days)
    at, base, sizes = _together(series, parts)
    changes = []
    for place, part in enumerate(parts):
        others = [p for i, p in enumerate(parts) if i != place]
        low, high = between(parts, place, n)
        firsts = list(range(min(low, part.first), max(high, part.first) + 1))
        design, fitted = fit(series, others, [Part(k) for k in firsts])
        null = Null(series.given, LEAST)
        best = best_of(fitted)
        correlation = assumed(fitted, best, n)
        ratio = float(fitted.ratio[0])
        beyond = ratio - null.critical(level * SHARE_OF_STEPS, correlation)
        inside = [
            firsts[k] for k in first_days(design, fitted, best, beyond if beyond > 0 else None)
        ]
        shape: Shape = "step"
        ramps = ramps_instead(series, parts, place)
        if part.length > 1:
            shape = "gradual"
            inside = list(ramps.onsets) if ramps is not None else inside
        elif ramps is not None and ramps.unclear:
            shape = "unclear"
            inside = [*inside, *ramps.onsets]
        inside.append(part.first)
        changes.append(
            Change(
                int(series.kept[part.first]),
                int(series.kept[min(inside)]),
                int(series.kept[max(inside)]),
                int(series.kept[min(part.full, n - 1)]),
                float(sizes[place]) * series.scale,
                shape,
                null.p_value(ratio, correlation),
            )
        )
    return Levels(
        tuple(changes),
        (columns_of(parts, n) @ sizes) * series.scale,
        base * series.scale + series.centre,
        series.kept,
        series.spikes,
        at,
    )


def _together(series: Series, parts: Sequence[Part]) -> tuple[float, Floats, Floats]:
    """(correlation, (T,) first level with its weekday effect, (parts,) sizes) of all changes together,
    by generalised least squares; standardised."""
    n = len(series.days)
    days = weekdays(series.days)
    design, fitted = fit(series, parts[:-1], parts[-1:])
    at = CORRELATIONS[fitted.correlation(0) if parts else int(fitted.without[:, 0].argmax())]
    x = np.column_stack([days, columns_of(parts, n)])
    y = design.white(series.values[:, None], at)[:, 0]
    found = np.asarray(np.linalg.lstsq(design.white(x, at), y)[0], dtype=np.float64)
    return at, np.asarray(days @ found[: days.shape[1]]), found[days.shape[1] :]
