"""Incidents: when an objective failed beyond chance, and what that burned."""

from __future__ import annotations

from datetime import timedelta

from analysis.check import rounded
from analysis.policy import Slo
from analysis.stats.incidents import Stretch, find_incidents
from analysis.telemetry import Telemetry
from analysis.telemetry.events import BUCKET, Timeline
from analysis.telemetry.windows import Span, iso
from analysis.views.budget_alerts import NEAR, Alerted
from analysis.views.budget_periods import period_of
from analysis.views.budget_section import Incident

MOST = 20
ALONE = timedelta(days=1)
"""The longest incident that no alert saw."""


def incidents_of(
    telemetry: Telemetry, slo: Slo, fired: Alerted, every: Timeline, *, known: bool
) -> tuple[Incident, ...]:
    """The incidents with the most bad events, at most 20, by time.

    every: the period's timeline. known: whether it covers the period, so that its budget is known.
    Counts are those of the rows that alerts are about: of a canary its own.

    Incident: the stretch of time in which the rate of bad interactions stands out most, beyond chance, from
    what is nearby.
    """
    found = find_incidents(
        fired.n,
        fired.y,
        fired.hot,
        near=NEAR,
        alone=ALONE // BUCKET,
        error_budget=rounded(1 - slo.target),
        bad_clusters=fired.clusters.bad,
    )
    allowed = _allowed(telemetry, slo, every) if known else None
    out = [_incident(telemetry, slo, fired, one, allowed) for one in found]
    out.sort(key=lambda i: (-i.bad, i.start_utc))
    return tuple(sorted(out[:MOST], key=lambda i: i.start_utc))


def _allowed(telemetry: Telemetry, slo: Slo, every: Timeline) -> float:
    """The bad events that the period's budget allows."""
    period = period_of(slo, telemetry.windows.candidate.end)
    return rounded(1 - slo.target) * every.last(period.elapsed)[0] / period.share


def _incident(
    telemetry: Telemetry, slo: Slo, fired: Alerted, one: Stretch, allowed: float | None
) -> Incident:
    windows, k = telemetry.windows, len(fired.n)
    end = windows.candidate.end
    span = Span(end - (k - one.first) * BUCKET, end - (k - one.stop) * BUCKET)
    n, bad = int(fired.n[one.first : one.stop].sum()), int(fired.y[one.first : one.stop].sum())
    # What came before the period burned the budget of another.
    before = k - max((end - period_of(slo, end).start) // BUCKET, 0)
    spent = int(fired.y[max(one.first, before) : one.stop].sum())
    covered = windows.excluded_days(span) * timedelta(days=1)
    return Incident(
        start_utc=iso(span.start),
        end_utc=iso(span.end),
        n=n,
        bad=bad,
        rate=rounded(bad / n),
        alerted=any(one.meets(h) for h in fired.hot),
        budget_share=rounded(spent / allowed) if allowed else None,
        excluded=2 * covered > span.end - span.start,
    )
