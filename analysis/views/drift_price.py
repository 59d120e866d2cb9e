"""The drift's price: what the baseline's own rates would burn, or cost, in the candidate's traffic.

Old outcomes reweighted to the new mix (direct standardisation; DiNardo, Fortin & Lemieux 1996): the
baseline's rate in each context, or in each context × action, by the candidate's shares. What the baseline
never saw has no rate: its share is stated, and limits allow for any rate there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.check import Interval
from analysis.policy import Policy
from analysis.stats.decomposition import CellSums, Reweighted, reweighted, window_rate
from analysis.stats.influence import Linearised, Spread
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.cell_sums import Cells
from analysis.views.drift_outcome import MIN_BAD_CLUSTERS, Asked, Outcome, sums_of


@dataclass(frozen=True)
class Reweighting:
    """The baseline's rates in the candidate's mix. value: what it would be, over the traffic that the
    baseline knows; added: that less the baseline's own. unknown_share: the candidate's traffic in cells
    that the baseline lacks; where it is above 0, limits allow for any rate there."""

    value: Interval
    added: Interval
    unknown_share: float


@dataclass(frozen=True)
class Priced:
    """One SLO in budgets burned at once (burn rate: 1 uses up the budget exactly), or the cost in USD
    per interaction.

    traffic: by the mix of contexts alone; mix: by contexts and routing. change_usd_per_day: of the cost, what
    the mix adds at the candidate's volume; null for an SLO, and for a canary, which has no volume.
    """

    name: str
    unit: str
    baseline: float | None
    candidate: float | None
    traffic: Reweighting | None
    mix: Reweighting | None
    change_usd_per_day: Interval | None
    reason: str | None


@dataclass(frozen=True)
class _Bounded:
    """Places of the spreads at the least and at the largest rate that unknown cells may have."""

    found: Reweighted
    base: Linearised
    low: int
    high: int | None
    value_low: int
    value_high: int | None


@dataclass(frozen=True)
class Pricing:
    """What was asked about one SLO or the cost. each: units of the metric in one of the price's."""

    name: str
    unit: str
    metric: Metric
    each: float
    worst: float | None
    traffic: _Bounded | None
    mix: _Bounded | None
    reason: str | None


def priced_metrics(telemetry: Telemetry, policy: Policy, cost: Outcome) -> list[Pricing]:
    """Every SLO whose rule can be measured, then the cost; nothing is asked yet."""
    out = []
    for slo in policy.slos:
        reason = telemetry.unusable(slo.rule.column)
        if not telemetry.has(slo.rule.column):
            continue
        metric = Metric.rate(slo.name, telemetry.bad(slo.rule))
        out.append(Pricing(slo.name, "burn", metric, 1.0 - slo.target, 1.0, None, None, reason))
    if telemetry.has("cost_usd"):
        cap = policy.spend.unseen_cap_usd
        worst = None if cap is None else cap * cost.metric.scale
        out.append(
            Pricing("cost", cost.unit, cost.metric, float(cost.metric.scale), worst, None, None,
                    cost.reason)
        )  # fmt: skip
    return out


def ask_price(asked: Asked, pricing: Pricing, cells: Cells, metric: int, n_context: int) -> Pricing:
    """The same with its reweighted rates, their spreads asked for. pricing: without a reason not to."""
    own = sums_of(cells, metric, n_context)
    if not own.known:
        return replace(pricing, reason="a window has no known value")
    # Of what is small, the part that the baseline has no row of is a context of its own: unknown.
    contexts = np.where(cells.ids < 0, own.context.max() + 1, own.context)
    base = window_rate(own, 0)
    groups = (np.unique(contexts, return_inverse=True)[1], np.arange(len(contexts)))
    traffic, mix = (
        _ask(asked, own, g.astype(np.int64), base, pricing.worst, metric) for g in groups
    )
    return replace(pricing, traffic=traffic, mix=mix)


def _ask(
    asked: Asked, own: CellSums, group: np.ndarray, base: Linearised, worst: float | None,
    metric: int,
) -> _Bounded:  # fmt: skip
    found = reweighted(own, group)

    def spread(form: Linearised) -> int:
        return asked.spread({asked.column(0, metric, form): 1})

    low = found.at(0.0)
    some = found.unknown.value > 0
    high = found.at(worst) if worst is not None and some else None
    return _Bounded(
        found,
        base,
        spread(low - base),
        None if high is None else spread(high - base),
        spread(low),
        None if high is None else spread(high),
    )


def price(
    telemetry: Telemetry, pricing: Pricing, spreads: Sequence[Spread], limits: bool
) -> Priced:
    """The prices in their units. limits: whether the windows are large enough for limits."""
    moments = telemetry.moments([pricing.metric])[pricing.metric.name]
    each = pricing.each
    old, new = (
        float(m.rate) / each if m.n else None for m in (moments.baseline, moments.candidate)
    )
    if pricing.traffic is None or pricing.mix is None:
        return Priced(pricing.name, pricing.unit, old, new, None, None, None, pricing.reason)
    few = pricing.unit == "burn" and moments.baseline.bad_clusters < MIN_BAD_CLUSTERS
    limits = limits and not few
    both = [
        _reweighting(bounded, spreads if limits else None, pricing, moments)
        for bounded in (pricing.traffic, pricing.mix)
    ]
    a_day = None
    if pricing.unit != "burn" and not telemetry.windows.by_release and telemetry.candidate_days > 0:
        volume = telemetry.candidate.n_interactions / telemetry.candidate_days
        added = both[1].added
        value, low, high = (
            None if v is None else v * volume for v in (added.value, added.low, added.high)
        )
        a_day = Interval.of(value, low, high, added.support)
    return Priced(
        pricing.name, pricing.unit, old, new, both[0], both[1], a_day,
        f"fewer than {MIN_BAD_CLUSTERS} clusters of the baseline have a bad interaction"
        if few else None,
    )  # fmt: skip


def _reweighting(
    bounded: _Bounded, spreads: Sequence[Spread] | None, pricing: Pricing, moments: Moments
) -> Reweighting:
    support = moments.support_baseline + moments.support_candidate
    found, base = bounded.found, bounded.base.value
    unknown = found.unknown.value > 0

    def interval(less: float, low: int, high: int | None) -> Interval:
        value = None if found.value is None else (found.value.value - less) / pricing.each
        if spreads is None:
            return Interval.of(value, None, None, support)
        least = (found.known.value - less - spreads[low].reach()) / pricing.each
        most: float | None = None
        if not unknown:
            most = (found.known.value - less + spreads[low].reach()) / pricing.each
        elif high is not None and pricing.worst is not None:
            most = (found.at(pricing.worst).value - less + spreads[high].reach()) / pricing.each
        if most is not None and value is not None:
            most = max(most, value)  # a cap below the mean of what is known is no cap
        floor = -less / pricing.each
        return Interval.of(value, max(floor, least), most, support)

    return Reweighting(
        interval(0.0, bounded.value_low, bounded.value_high),
        interval(base, bounded.low, bounded.high),
        found.unknown.value,
    )
