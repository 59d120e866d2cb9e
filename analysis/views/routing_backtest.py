"""One candidate's off-policy estimates: doubly robust, with what else agrees or warns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.policy import Policy
from analysis.stats.offpolicy import (
    ClusteredMean,
    GuardedMean,
    ab_test_size,
    clustered_mean,
    direct_method_scores,
    dr_scores,
    dros_lambda,
    effective_sample_size,
    imbens_manski,
    importance_weights,
    ips_scores,
    pareto_k,
    shrunken_weights,
    snips_scores,
)
from analysis.views.routing_log import COST, FAILURE, UNIT_COST, Log, Plan, words_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FAILURE_RATIO, FAILURE_POINTS = 0.5, 0.010
FAULT_LEVEL = 0.0005
MIN_PROTECTED_REQUESTS = 1
MAX_PROTECTED = 200


@dataclass(frozen=True)
class Estimate:
    """One estimator's means per request, for agreement; `saving` is that of the unit cost."""

    unit_cost: ClusteredMean
    failure: ClusteredMean
    cost: ClusteredMean
    saving: ClusteredMean


@dataclass(frozen=True)
class Backtest:
    """What the log says of one policy. Figures are None where it was never tried.

    saving: present − candidate, of the unit cost. failure_change: candidate − present.
    failure_limit: how much the failure rate may rise. protected: the same change in each slice of
    `routing.protect` with changed requests, by "column “value”". crowded: why they are not looked at,
    where they are more than `MAX_PROTECTED`. bounds: of the saving, where a
    part of the changed requests has no support. test_size: requests an arm that would tell. Both are
    None too where a single cluster leaves no variance.
    """

    n_changed: int
    changed_share: float
    unit_cost: GuardedMean | None
    failure: GuardedMean | None
    cost: ClusteredMean | None
    saving: GuardedMean | None
    failure_change: GuardedMean | None
    failure_limit: float
    present_unit_cost: float
    protected: Mapping[str, GuardedMean]
    crowded: str | None
    estimates: Mapping[str, Estimate]
    bounds: tuple[float, float] | None
    effective_sample_size: float
    matched_failures: int
    overlap: float
    max_weight: float
    pareto_k: float
    propensity_fault: str | None
    test_size: int | None
    plan: Plan
    weights: Floats


def backtest(log: Log, policy: Policy, chosen: Plan) -> Backtest:
    """The estimates for a plan."""
    y, changed = log.outcomes, chosen.changed
    weights = importance_weights(log.action, chosen.target, log.propensity)
    tried = changed & (weights > 0)
    n, n_changed = len(y), int(changed.sum())
    q_logged = log.model.predict(log.action)
    q_target = log.model.predict(chosen.target)
    supported = n_changed == 0 or not chosen.unsupported.any()
    phi = dr_scores(y, q_logged, q_target, weights, chosen.target)
    own_rate = float(y[:, FAILURE].mean())
    limit = max(FAILURE_RATIO * own_rate, FAILURE_POINTS)
    matched = ~changed | (weights > 0)
    usd = policy.routing.failure_cost_usd
    crowded = _crowded(log, policy, changed)

    def guarded(values: Floats, scale: float, harm: int, where: Bools | None = None) -> GuardedMean:
        rows = np.ones(n, dtype=bool) if where is None else where
        events, unit = _events(log, weights, tried & rows, int(rows.sum()))
        mean = clustered_mean(values[rows], _codes(log.cluster[rows]))
        return GuardedMean(mean, events, scale * unit, harm)

    known = supported and tried.any() if n_changed else True
    saving = guarded(y[:, UNIT_COST] - phi[:, UNIT_COST], usd, -1) if known else None
    rise = phi[:, FAILURE] - y[:, FAILURE]
    return Backtest(
        n_changed=n_changed,
        changed_share=n_changed / n,
        unit_cost=guarded(phi[:, UNIT_COST], usd, 1) if known else None,
        failure=guarded(phi[:, FAILURE], 1.0, 1) if known else None,
        cost=clustered_mean(phi[:, COST], log.cluster) if known else None,
        saving=saving,
        failure_change=guarded(rise, 1.0, 1) if known else None,
        failure_limit=limit,
        present_unit_cost=float(y[:, UNIT_COST].mean()),
        protected={
            name: guarded(rise, 1.0, 1, rows)
            for name, rows in _protected(log, policy, changed).items()
        }
        if known and crowded is None
        else {},
        crowded=crowded,
        estimates=_estimates(log, chosen, weights, q_logged, q_target) if known else {},
        bounds=None if supported else _bounds(log, policy, chosen, phi[:, UNIT_COST]),
        effective_sample_size=effective_sample_size(weights[changed], _codes(log.cluster[changed])),
        matched_failures=int(y[matched, FAILURE].sum()),
        overlap=1.0 - float(chosen.unsupported.sum()) / n_changed if n_changed else 1.0,
        max_weight=float(weights.max()) if n_changed else math.nan,
        pareto_k=pareto_k(weights),
        propensity_fault=_propensity_fault(log, weights, changed) if known else None,
        test_size=ab_test_size(own_rate, limit, _design_effect(log)),
        plan=chosen,
        weights=weights,
    )


def _codes(cluster: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Codes from 0 without gaps."""
    seen = np.bincount(cluster) > 0
    return np.asarray((np.cumsum(seen) - 1)[cluster], dtype=np.int64)


def _events(log: Log, weights: Floats, tried: Bools, n: int) -> tuple[int, float]:
    """Clusters with a failure under the candidate's own choices, and how far one more would move
    the mean of failures over n requests."""
    weighted = np.bincount(log.cluster[tried], weights=(weights * log.outcomes[:, FAILURE])[tried])
    events = int(np.count_nonzero(weighted))
    if events:
        return events, float(weighted.sum()) / events / max(n, 1)
    typical = float(weights[tried].mean()) if tried.any() else 0.0
    return 0, typical / max(n, 1)


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
            if touched[code] >= MIN_PROTECTED_REQUESTS:
                value = words[code]
                shown = value if len(value) <= 40 else value[:39] + "…"
                found[f"{column} “{shown}”"] = np.asarray(codes == code)
    return found


def _estimates(
    log: Log, chosen: Plan, weights: Floats, q_logged: Floats, q_target: Floats
) -> dict[str, Estimate]:
    y, target = log.outcomes, chosen.target
    lam = dros_lambda(
        y[:, UNIT_COST], q_logged[:, UNIT_COST], q_target[:, UNIT_COST], weights, target
    )
    scores = {
        "dr": dr_scores(y, q_logged, q_target, weights, target),
        "snips": snips_scores(y, weights, target),
        "ips": ips_scores(y, weights, target),
        "dros": dr_scores(y, q_logged, q_target, shrunken_weights(weights, lam), target),
        "dm": direct_method_scores(y, q_target, target),
    }
    return {
        name: Estimate(
            unit_cost=clustered_mean(phi[:, UNIT_COST], log.cluster),
            failure=clustered_mean(phi[:, FAILURE], log.cluster),
            cost=clustered_mean(phi[:, COST], log.cluster),
            saving=clustered_mean(y[:, UNIT_COST] - phi[:, UNIT_COST], log.cluster),
        )
        for name, phi in scores.items()
    }


def _propensity_fault(log: Log, weights: Floats, changed: Bools) -> str | None:
    """Whether the weights contradict the log: of true propensities the mean weight is 1."""
    mean = clustered_mean(weights[changed], _codes(log.cluster[changed]))
    low, high = mean.lower(1 - FAULT_LEVEL), mean.upper(1 - FAULT_LEVEL)
    if not math.isfinite(low) or low <= 1 <= high:
        return None
    return (
        f"the logged propensities contradict the log: the weights of what it changes average {mean.value:.2f}, "
        "and 1 was due"
    )


def _bounds(log: Log, policy: Policy, chosen: Plan, phi: Floats) -> tuple[float, float] | None:
    """Bounds of the saving: requests without support cost anything that an outcome can."""
    y = log.outcomes[:, UNIT_COST]
    cheapest, dearest = policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    dearest += policy.routing.failure_cost_usd + policy.routing.latency_breach_cost_usd
    least = clustered_mean(y - np.where(chosen.unsupported, dearest, phi), log.cluster)
    most = clustered_mean(y - np.where(chosen.unsupported, cheapest, phi), log.cluster)
    low, high = imbens_manski(
        least.value,
        least.standard_error,
        most.value,
        most.standard_error,
        policy.routing.confidence,
    )
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _design_effect(log: Log) -> float:
    """Variance of the failure rate relative to independent requests."""
    failure = log.outcomes[:, FAILURE]
    rate = float(failure.mean())
    if not 0 < rate < 1:
        return 1.0
    variance = clustered_mean(failure, log.cluster).variance
    return max(1.0, variance * len(failure) / (rate * (1 - rate)))
