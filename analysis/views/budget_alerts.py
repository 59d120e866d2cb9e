"""Burn alerts: which fire at the candidate's end, and which fired during it (STATISTICS section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from analysis import alert_windows
from analysis.alert_windows import AlertWindow
from analysis.check import Interval, rounded
from analysis.policy import Slo
from analysis.stats.alerts import (
    Counts,
    Limit,
    beyond_chance,
    detection_hours,
    firing,
    min_events,
    outage_hours,
    threshold,
)
from analysis.stats.incidents import Stretch
from analysis.stats.intervals import clopper_pearson, design_effect
from analysis.telemetry import Telemetry
from analysis.telemetry.events import (
    BUCKET,
    ClusterWindows,
    EventCounts,
    Timeline,
    window_counts,
)
from analysis.telemetry.windows import iso
from analysis.views.budget_section import Alert, Episode

JOINED = timedelta(hours=1)
NEAR = timedelta(hours=12) // BUCKET
"""How far around an alert the rate outside of an incident is taken from."""


def longest() -> timedelta:
    """The longest window of any alert."""
    return max(window.long_span for window in alert_windows.load())


def alerts_of(telemetry: Telemetry, slo: Slo, rho: float, per_hour: float) -> tuple[Alert, ...]:
    """Every alert at the candidate's end.

    rho: intraclass correlation of the candidate window. per_hour: its labelled interactions an hour.

    Burn alert: a rule that fires where a long and a short window both burn at a threshold or faster, and the
    long one beyond chance. Source: Google SRE Workbook, chapter 5.
    """
    end, own = telemetry.windows.candidate.end, telemetry.windows.by_release
    error_budget = rounded(1 - slo.target)
    windows = alert_windows.load()
    spans = [span for window in windows for span in (window.long_span, window.short_span)]
    counts = window_counts(telemetry, telemetry.bad(slo.rule), end, spans, own_rows=own)
    out = []
    for window, long, short in zip(windows, counts[::2], counts[1::2], strict=True):
        limit = limit_of(window, slo.period_days, error_budget)
        level, feasible = limit.threshold, is_feasible(limit)
        burn_long, burn_short = (_burn(held, error_budget, rho) for held in (long, short))
        plain = feasible and all(
            burn.value is not None and burn.value >= level for burn in (burn_long, burn_short)
        )
        beyond = plain and beyond_chance(
            long.bad, long.n, long.cluster_squares, long.bad_clusters, rho, limit
        )
        hours = detection_hours(level, slo.target, 1.0, window.long_hours)
        out.append(
            Alert(
                window.long_hours,
                window.short_hours,
                window.budget_share,
                window.severity,
                level,
                feasible,
                burn_long.value,
                burn_short.value,
                bool(beyond),
                plain,
                burn_long,
                burn_short,
                rounded(hours) if feasible and math.isfinite(hours) else None,
                outage_hours(limit, window.long_hours, per_hour) if feasible else None,
                min_events(limit) if feasible else None,
            )
        )
    return tuple(out)


@dataclass(frozen=True)
class Alerted:
    """When alerts fired, and the grid of five minutes on which they did.

    n, y: events and bad ones by bucket, the newest last; hot: the buckets of the episodes, and those
    that an alert's long window held when it began to fire; clusters: those behind the counts.
    """

    episodes: tuple[Episode, ...]
    n: Counts
    y: Counts
    hot: tuple[Stretch, ...]
    clusters: ClusterWindows


def alerted(telemetry: Telemetry, slo: Slo, rho: float, timeline: Timeline) -> Alerted:
    """When each alert fired during the candidate window.

    timeline: of the candidate window and the longest alert window before it.
    """
    span, own = telemetry.windows.candidate, telemetry.windows.by_release
    error_budget = rounded(1 - slo.target)
    wanted = -((span.start - longest() - span.end) // BUCKET)
    n, y = timeline.n[-wanted:], timeline.y[-wanted:]
    k = len(n)
    first = max(k + (span.start - span.end) // BUCKET, 0)
    clusters = ClusterWindows(telemetry, telemetry.bad(slo.rule), span.end, k, own_rows=own)
    episodes, hot = [], []
    for window in alert_windows.load():
        limit = limit_of(window, slo.period_days, error_budget)
        if not is_feasible(limit):
            continue
        long = window.long_span // BUCKET
        fired = firing(
            n,
            y,
            long=long,
            short=window.short_span // BUCKET,
            limit=limit,
            rho=rho,
            clusters=clusters,
            first=first,
        )
        for begin, finish in runs(np.flatnonzero(fired.firing)):
            hot.append(Stretch(max(begin - long + 1, 0), finish + 1))
            ends = [span.end - BUCKET * (k - 1 - i) for i in (begin, finish)]
            episodes.append(
                Episode(
                    iso(ends[0]),
                    iso(min(ends[1] + BUCKET, span.end)),
                    float(fired.burn[begin : finish + 1].max()),
                    window.long_hours,
                    window.severity,
                )
            )
    episodes.sort(key=lambda e: (e.start_utc, e.long_hours))
    return Alerted(tuple(episodes), n, y, tuple(sorted(hot)), clusters)


def limit_of(window: AlertWindow, period_days: int, error_budget: float) -> Limit:
    """What an alert of a period is held to; a page must be rare among all windows that may page."""
    pages = 0
    if window.severity == "page":
        pages = sum(w.severity == "page" for w in alert_windows.load())
    return Limit(
        rounded(threshold(window.budget_share, period_days, window.long_hours)),
        error_budget,
        pages * period_days * 24 / window.long_hours,
    )


def is_feasible(limit: Limit) -> bool:
    """Whether a full outage burns at more than the threshold: burn is at most 1/(1 − target)."""
    return limit.threshold < rounded(1 / limit.error_budget)


def fastest(alerts: Sequence[Alert], severity: str) -> Alert | None:
    """The alert of this severity that a full outage fires first; None where none ever fires."""
    able = [a for a in alerts if a.severity == severity and a.outage_firing_hours is not None]
    return min(able, key=lambda a: (a.outage_firing_hours or 0.0, a.long_hours), default=None)


def _burn(held: EventCounts, error_budget: float, rho: float) -> Interval:
    """The burn of one window, with section 1's interval."""
    if not held.n:
        return Interval.unknown()
    low, high = clopper_pearson(held.bad, held.n, design_effect(held.n, held.cluster_squares, rho))
    value = rounded(held.bad / held.n / error_budget)
    return Interval.of(
        value, min(value, low / error_budget), max(value, high / error_budget), held.n
    )


def runs(indices: np.ndarray) -> list[tuple[int, int]]:
    """Consecutive indices as (first, last), gaps of up to an hour closed."""
    if not indices.size:
        return []
    breaks = np.flatnonzero(np.diff(indices) > JOINED // BUCKET)
    firsts = indices[np.concatenate([[0], breaks + 1])]
    lasts = indices[np.concatenate([breaks, [indices.size - 1]])]
    return [(int(a), int(b)) for a, b in zip(firsts, lasts, strict=True)]


__all__ = [
    "Alerted",
    "alerted",
    "alerts_of",
    "fastest",
    "is_feasible",
    "longest",
    "runs",
]
