"""What the artifact publishes under `views.budget`, but for spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.check import Interval, Range
from analysis.policy_slos import Period
from analysis.views.spend import SpendSection
from analysis.views.spend_drivers import DriversSection


@dataclass(frozen=True)
class Alert:
    """One alert at the candidate's end.

    burn_long, burn_short: burn rates, null without events; `…_interval`: the same with intervals.
    outage_detection_hours: how long a full outage takes to bring the long window to the threshold;
    null where it never does. outage_firing_hours: how long until that is beyond chance too, at the
    candidate's traffic; null where it never is. min_events: failing clusters below which it never fires.
    """

    long_hours: float
    short_hours: float
    budget_share: float
    severity: Literal["page", "ticket"]
    threshold: float
    feasible: bool
    burn_long: float | None
    burn_short: float | None
    firing: bool
    firing_plain: bool
    burn_long_interval: Interval
    burn_short_interval: Interval
    outage_detection_hours: float | None
    outage_firing_hours: float | None
    min_events: int | None


@dataclass(frozen=True)
class Episode:
    """A stretch of the candidate window during which an alert fired, on a grid of five minutes."""

    start_utc: str
    end_utc: str
    peak_burn: float
    long_hours: float
    severity: Literal["page", "ticket"]


@dataclass(frozen=True)
class Incident:
    """A stretch in which the rate of bad events stands out beyond chance, on a grid of five minutes.

    Around an alert's episode (`alerted`) it stands out from what is nearby; else from the whole window,
    and it lasts a day at most. n, bad, rate: events, the bad ones, and their share. budget_share: of
    the period's budget that its bad events within the period burned; null where the budget spent is.
    excluded: more than half of it lies in the policy's `windows.exclude`.
    """

    start_utc: str
    end_utc: str
    n: int
    bad: int
    rate: float
    alerted: bool
    budget_share: float | None
    excluded: bool


@dataclass(frozen=True)
class BurnNeeds:
    """Interactions, and candidate days at current traffic, still needed to decide whether the budget
    lasts: 0 where it is decided, null where traffic does not decide it."""

    interactions: int | None
    days: float | None


@dataclass(frozen=True)
class Pending:
    """Interactions of the candidate window whose outcome is not known yet, and the days (by the date
    on which they start) on which these are more than the policy's `missing.max_rate`."""

    interactions: int
    days: tuple[str, ...]


@dataclass(frozen=True)
class ReleaseBurn:
    """What one release, or one prompt version, burned of the trailing period's budget.

    column: release_id or prompt_version. value: null for rows that name none, and for the rest
    (`others`) of very many. budget_consumed: bad / (error budget × the period's events), so that
    those of a column sum to the SLO's; null as there.
    """

    column: str
    value: str | None
    others: bool
    interactions: int
    bad: int
    burn_rate: float | None
    budget_consumed: float | None


@dataclass(frozen=True)
class MonthBurn:
    """What the days of one calendar month (UTC) within the trailing period burned of its budget."""

    month: str
    interactions: int
    bad: int
    burn_rate: float | None
    budget_consumed: float | None


@dataclass(frozen=True)
class BudgetGroup:
    """One group of an SLO with `by`; all that are not among the largest are one, of `n_merged` groups.

    n, bad: of the candidate window, as `burn_rate`, whose interval is the group's own. simultaneous_…:
    limits of burn that hold for all groups at once. budget_…: of the period so far. reason: why the
    group is not judged.
    """

    slice: dict[str, str | None]
    n_merged: int
    n: int
    bad: int
    burn_rate: Interval
    simultaneous_low: float | None
    simultaneous_high: float | None
    budget_consumed: float | None
    budget_remaining: float | None
    reason: str | None


@dataclass(frozen=True)
class SloBudget:
    """One SLO. `reason` says why figures are null. period_…: that of the budget, `period_days` long, or
    of the calendar. groups: the same budget for each group alone, where the policy says by what.
    incidents: those with the most bad events, at most 20, by time."""

    name: str
    target: float
    error_budget: float
    period_days: int
    burn_rate: Interval
    budget_consumed: float | None
    budget_remaining: float | None
    exhausts_utc: Range
    alerts: tuple[Alert, ...]
    episodes: tuple[Episode, ...]
    reason: str | None
    needs: BurnNeeds = BurnNeeds(None, None)
    pending: Pending = Pending(0, ())
    by_release: tuple[ReleaseBurn, ...] = ()
    by_month: tuple[MonthBurn, ...] = ()
    period: Period = "rolling"
    period_start_utc: str | None = None
    period_end_utc: str | None = None
    groups: tuple[BudgetGroup, ...] = ()
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True)
class BudgetSection:
    slos: tuple[SloBudget, ...]
    spend: SpendSection
    drivers: DriversSection
