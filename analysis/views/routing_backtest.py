"""One candidate's off-policy estimates: doubly robust, with what else agrees or warns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.policy import Policy
from analysis.stats.clustered_mean import (
    ClusteredMean,
    GuardedMean,
    clustered_mean,
    total,
    without_gaps,
)
from analysis.stats.offpolicy import (
    DROS_GRID,
    SWITCH_GRID,
    direct_method_scores,
    dr_scores,
    importance_weights,
    ips_scores,
    shrunken_weights,
    snips_scores,
    switched_weights,
    tuned,
)
from analysis.stats.overlap import effective_sample_size, pareto_k
from analysis.stats.partial_identification import imbens_manski
from analysis.views.routing_log import (
    BREACH,
    COST,
    FAILURE,
    UNIT_COST,
    Log,
    words_of,
)
from analysis.views.routing_plan import Layer, Plan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FAILURE_RATIO, FAILURE_POINTS = 0.5, 0.010
MAX_PROTECTED = 200
Z = 1.959963984540054
LEAST_CHANCE = 0.002
"""An estimated propensity below this is no support: one such request would speak for hundreds."""
EDGES, EXPECTED = (0.10, 0.05, 0.02, 0.01), 5.0
LOST_SHARE = 0.01
"""So much of what moves may have next to no chance of its target, one request by another."""


@dataclass(frozen=True)
class Estimate:
    """One estimator's means per request, for agreement; `saving` is that of the unit cost."""

    unit_cost: float
    failure: float
    cost: float
    saving: ClusteredMean


@dataclass(frozen=True)
class Slice:
    """What a candidate does to one part of the traffic.

    name: in words. where: (n,) its rows. saving, failure_change: means over them, None where a part
    of what moves there has no support.
    """

    name: str
    where: Bools
    n: int
    moved: float
    saving: GuardedMean | None
    failure_change: GuardedMean | None


@dataclass(frozen=True)
class Backtest:
    """What the log says of one policy. Figures are None where it was never tried.

    saving: present − candidate, of the unit cost. failure_change: candidate − present.
    failure_limit: how much the failure rate may rise. protected: each slice of `routing.protect` of
    which requests move. crowded: why they are not looked at, where they are more than
    `MAX_PROTECTED`. cells: each cell of `routing.context` of which requests move. bounds: of the saving,
    where a part of what moves has no support; None too where a single cluster leaves no variance.
    """

    n_changed: int
    changed_share: float
    unit_cost: GuardedMean | None
    failure: GuardedMean | None
    cost: ClusteredMean | None
    breach: ClusteredMean | None
    saving: GuardedMean | None
    failure_change: GuardedMean | None
    failure_limit: float
    present_unit_cost: float
    protected: tuple[Slice, ...]
    crowded: str | None
    cells: tuple[Slice, ...]
    estimates: Mapping[str, Estimate]
    bounds: tuple[float, float] | None
    effective_sample_size: float
    matched_failures: int
    overlap: float
    max_weight: float
    pareto_k: float
    plan: Plan
    weights: Floats


@dataclass(frozen=True)
class Scored:
    """A plan with its doubly robust scores and what they are made of.

    matched: (n,) the plan's probability of the logged action. scores, q_logged, q_target: (n, 4).
    """

    plan: Plan
    matched: Floats
    weights: Floats
    q_logged: Floats
    q_target: Floats
    scores: Floats


def scored(log: Log, chosen: Plan) -> Scored:
    """Doubly robust scores of every outcome. Where a part has no support they are guesses.

    Overlap (%): share of the changed requests whose new choice was ever logged in their cell of
    routing.context; below 100 % only bounds are known.
    """
    chosen = _with_chances(log, chosen)
    matched = chosen.moved_to(log.action)
    weights = importance_weights(matched, _propensity(log, chosen, matched))
    q_logged, q_target = log.expected_as_logged, _expected(log, chosen)
    phi = dr_scores(log.outcomes, q_logged, q_target, weights, chosen.stays)
    return Scored(chosen, matched, weights, q_logged, q_target, phi)


def backtest(log: Log, policy: Policy, chosen: Plan) -> Backtest:
    """The estimates for a plan.

    Unit cost (USD): cost of a logical request with the policy's prices of a failure and of a latency breach
    added.

    Cash cost (USD): cost of a logical request without these prices.

    Saving (USD): unit cost of today's routing minus the candidate's; above zero the candidate is cheaper.

    Matched failures (count): failed requests whose logged choice agrees with the candidate's where it changes
    something; below fifty nothing is settled.

    Change of failures (pp): failure rate of a part of the traffic under the candidate minus that under today's
    routing.

    Group means (USD): the plain difference between requests that got the candidate's choice and those that
    did not, as a dashboard would show it. It decides nothing: it shows how far that misleads.
    """
    found = scored(log, chosen)
    chosen, weights, phi = found.plan, found.weights, found.scores
    y, changed, stays = log.outcomes, chosen.changed, chosen.stays
    n, n_changed = len(y), int(changed.sum())
    lost, moved = chosen.lost, float((1.0 - stays).sum())
    supported = not lost.any()
    own_rate = float(y[:, FAILURE].mean())
    look = _Looks(log, policy, weights, changed & (weights > 0))
    known = (supported and bool((weights > 0).any())) if n_changed else True
    crowded = _crowded(log, policy, changed)
    saving, rise = y[:, UNIT_COST] - phi[:, UNIT_COST], phi[:, FAILURE] - y[:, FAILURE]

    def slices(parts: Mapping[str, Bools]) -> tuple[Slice, ...]:
        return tuple(
            look.slice(name, rows, saving, rise, lost, stays) for name, rows in parts.items()
        )

    return Backtest(
        n_changed=n_changed,
        changed_share=moved / n,
        unit_cost=look.money(phi[:, UNIT_COST], 1) if known else None,
        failure=look.rate(phi[:, FAILURE]) if known else None,
        cost=clustered_mean(phi[:, COST], log.cluster) if known else None,
        breach=clustered_mean(phi[:, BREACH], log.cluster) if known and log.breaches else None,
        saving=look.money(saving, -1) if known else None,
        failure_change=look.rate(rise) if known else None,
        failure_limit=max(FAILURE_RATIO * own_rate, FAILURE_POINTS),
        present_unit_cost=float(y[:, UNIT_COST].mean()),
        protected=slices(_protected(log, policy, changed)) if crowded is None else (),
        crowded=crowded,
        cells=slices(_cells(log, policy, changed)),
        estimates=_estimates(log, found) if known else {},
        bounds=None if supported else _bounds(log, policy, chosen, look),
        effective_sample_size=effective_sample_size(
            weights[changed], without_gaps(log.cluster[changed])
        )
        if n_changed
        else 0.0,
        matched_failures=int(y[~changed | (weights > 0), FAILURE].sum()),
        overlap=1.0 - float(lost.sum()) / moved if n_changed else 1.0,
        max_weight=float(weights.max()) if n_changed else math.nan,
        pareto_k=pareto_k(weights),
        plan=chosen,
        weights=weights,
    )


class _Looks:
    """Guarded means over all requests, or over a part of them."""

    def __init__(self, log: Log, policy: Policy, weights: Floats, tried: Bools) -> None:
        self.log, self.weights, self.tried = log, weights, tried
        self.usd = policy.routing.failure_cost_usd
        self.failing = weights * log.outcomes[:, FAILURE]

    def money(self, values: Floats, harm: int, where: Bools | None = None) -> GuardedMean:
        return self._guarded(values, self.usd, harm, where)

    def rate(self, values: Floats, where: Bools | None = None) -> GuardedMean:
        return self._guarded(values, 1.0, 1, where)

    def slice(
        self, name: str, where: Bools, saving: Floats, rise: Floats, lost: Floats, stays: Floats
    ) -> Slice:
        known = not lost[where].any() and bool((self.weights[where] > 0).any())
        return Slice(
            name=name,
            where=where,
            n=int(where.sum()),
            moved=float((1.0 - stays[where]).mean()),
            saving=self.money(saving, -1, where) if known else None,
            failure_change=self.rate(rise, where) if known else None,
        )

    def _guarded(self, values: Floats, scale: float, harm: int, where: Bools | None) -> GuardedMean:
        if where is None:
            events, unit = self._events(self.tried, len(values))
            mean = clustered_mean(values, self.log.cluster)
        else:
            events, unit = self._events(self.tried & where, int(where.sum()))
            mean = clustered_mean(values[where], without_gaps(self.log.cluster[where]))
        return GuardedMean(mean, events, scale * unit, harm)

    def _events(self, tried: Bools, n: int) -> tuple[int, float]:
        """Clusters with a failure under the candidate's own choices, and how far one more would
        move the mean of failures over n requests."""
        weighted = np.bincount(self.log.cluster[tried], weights=self.failing[tried])
        events = int(np.count_nonzero(weighted))
        if events:
            return events, float(weighted.sum()) / events / max(n, 1)
        typical = float(self.weights[tried].mean()) if tried.any() else 0.0
        return 0, typical / max(n, 1)


def _propensity(log: Log, chosen: Plan, matched: Floats) -> Floats:
    """(n,): e of the logged action, where the plan would have taken it too."""
    if log.propensity is not None:
        return log.propensity
    out = np.ones(len(matched))
    for target in chosen.targets:
        rows = (log.action == target) & (matched > 0)
        out[rows] = log.chance(target)[rows]
    return out


def _with_chances(log: Log, chosen: Plan) -> Plan:
    """Within cells too a request may have had no chance of the target: it has no support then.

    Of single requests that do not matter: propensities are rounded, or estimated.
    """
    layers, rare = [], np.zeros(chosen.n)
    for layer in chosen.layers:
        here = np.zeros(chosen.n, dtype=bool)
        if log.propensity is not None:
            here = (layer.share > 0) & log.certain & (layer.target != log.action)
        else:
            for target in np.unique(layer.target[layer.target >= 0]).tolist():
                here |= (layer.target == target) & _never(log, target)
        rare = rare + np.where(here & ~layer.unsupported, layer.share, 0.0)
        layers.append(Layer(layer.share, layer.target, layer.rule, layer.unsupported | here))
    moved = float((1.0 - chosen.stays).sum())
    return Plan(tuple(layers), chosen.n) if rare.sum() > LOST_SHARE * moved else chosen


def _never(log: Log, target: int) -> Bools:
    """(n,): requests that a log with estimated propensities next to never sends to `target`.

    A router without chance leaves small estimates, not zeros: where they promise some requests and
    the log has none, there is no support.
    """
    chance, taken = log.chance(target), log.action == target
    for edge in EDGES:
        here = chance < edge
        if not taken[here].any() and float(chance[here].sum()) >= EXPECTED:
            return np.asarray(here)
    return np.asarray(chance < LEAST_CHANCE)


def _expected(log: Log, chosen: Plan) -> Floats:
    """q̂(π), (n, 4)."""
    out = np.zeros_like(log.outcomes)
    for layer in chosen.layers:
        out = out + layer.share[:, None] * log.expected(layer.target)
    return out


def _crowded(log: Log, policy: Policy, changed: Bools) -> str | None:
    """Why the protected slices are too many to be looked at one by one, or None."""
    for column in policy.routing.protect:
        if column in log.frame.columns:
            n = int(log.frame.loc[changed, column].nunique())
            if n > MAX_PROTECTED:
                return (
                    f"{column} has {n:,} values among the requests that it changes; at most "
                    f"{MAX_PROTECTED} slices can be protected"
                )
    return None


def _protected(log: Log, policy: Policy, changed: Bools) -> dict[str, Bools]:
    """Rows of each protected slice that the candidate touches."""
    found = {}
    for column in policy.routing.protect:
        if column not in log.frame.columns:
            continue
        codes, words = words_of(log.frame[column])
        touched = np.bincount(codes[changed] + 1, minlength=len(words) + 1)[1:]
        for code in sorted(range(len(words)), key=words.__getitem__):
            if touched[code]:
                found[f"{column} “{_short(words[code])}”"] = np.asarray(codes == code)
    return found


def _cells(log: Log, policy: Policy, changed: Bools) -> dict[str, Bools]:
    """Rows of each cell of `routing.context` that the candidate touches."""
    touched = np.bincount(log.cell[changed], minlength=len(log.cells)) > 0
    held = [c for c in policy.routing.context if c in log.frame.columns]
    return {
        ", ".join(f"{c} “{_short(v)}”" for c, v in zip(held, log.cells[k], strict=True)): (
            log.cell == k
        )
        for k in np.flatnonzero(touched).tolist()
    }


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= 40 else value[:39] + "…"


def _estimates(log: Log, of: Scored) -> dict[str, Estimate]:
    y, weights, stays = log.outcomes, of.weights, of.plan.stays
    q_logged, q_target = of.q_logged, of.q_target
    unit = (y[:, UNIT_COST], q_logged[:, UNIT_COST], q_target[:, UNIT_COST], weights, stays)
    shrunk = shrunken_weights(weights, tuned(shrunken_weights, DROS_GRID, *unit))
    switched = switched_weights(weights, tuned(switched_weights, SWITCH_GRID, *unit))
    scores = {
        "dr": of.scores,
        "snips": snips_scores(y, weights, stays),
        "ips": ips_scores(y, weights, stays),
        "switch": dr_scores(y, q_logged, q_target, switched, stays),
        "dros": dr_scores(y, q_logged, q_target, shrunk, stays),
        "dm": direct_method_scores(y, q_target, stays),
        # What a table of group means would say: those who got the choice, as if by chance.
        "naive": snips_scores(y, of.matched, stays),
    }
    return {
        name: Estimate(
            unit_cost=total(phi[:, UNIT_COST]) / len(y),
            failure=total(phi[:, FAILURE]) / len(y),
            cost=total(phi[:, COST]) / len(y),
            saving=clustered_mean(y[:, UNIT_COST] - phi[:, UNIT_COST], log.cluster),
        )
        for name, phi in scores.items()
    }


def dearest(policy: Policy) -> tuple[float, float]:
    """The least and the most that one request can cost, by the policy's bounds and prices."""
    low, high = policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    return low, high + policy.routing.failure_cost_usd + policy.routing.latency_breach_cost_usd


def _bounds(log: Log, policy: Policy, chosen: Plan, look: _Looks) -> tuple[float, float] | None:
    """Bounds of the saving: what moves without support costs anything that an outcome can."""
    low, high = dearest(policy)
    held = Plan(
        tuple(
            Layer(
                np.where(layer.unsupported, 0.0, layer.share), layer.target, layer.rule,
                layer.unsupported,
            )
            for layer in chosen.layers
        ),
        chosen.n,
    )  # fmt: skip
    matched = held.moved_to(log.action)
    weights = importance_weights(matched, _propensity(log, held, matched))
    y, lost = log.outcomes[:, UNIT_COST], chosen.lost
    kept = dr_scores(
        y, log.expected_as_logged[:, UNIT_COST], _expected(log, held)[:, UNIT_COST], weights,
        chosen.stays,
    )  # fmt: skip
    least = look.money(y - kept - lost * high, -1)
    most = look.money(y - kept - lost * low, -1)
    found = imbens_manski(
        least.value, (least.value - least.lower(0.975)) / Z, most.value,
        most.mean.standard_error, policy.routing.confidence,
    )  # fmt: skip
    return found if all(map(math.isfinite, found)) else None
