"""The routing view's part of the artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.check import Interval
from analysis.policy import Scalar
from analysis.views.routing_decision import Recommendation
from analysis.views.routing_needs import Exploration, Needs


@dataclass(frozen=True)
class OnPolicy:
    """Means per logical request, as routed."""

    unit_cost_usd: Interval
    failure_rate: Interval
    cost_usd: Interval
    latency_breach_rate: Interval


@dataclass(frozen=True)
class Bounds:
    low: float
    high: float


@dataclass(frozen=True)
class Rule:
    """`share` of what it matches and no earlier rule took; the rest goes on to later rules."""

    when: dict[str, Scalar | tuple[Scalar, ...]]
    use: dict[str, Scalar]
    share: float


@dataclass(frozen=True)
class Balance:
    """The feature that is least even after weighting: weighted minus due mean, in standard deviations."""

    column: str
    difference: float


@dataclass(frozen=True)
class NegativeControl:
    """How much more the request before had, where the log took the candidate's choice: 0 is due."""

    outcome: str
    effect: float
    low: float | None
    high: float | None
    p_value: float
    n: int


@dataclass(frozen=True)
class SliceEffect:
    """What the candidate does to a cell of `routing.context`, per logical request of it."""

    slice: str
    requests: int
    moved_share: float
    saving_usd: Interval
    failure_change: Interval


@dataclass(frozen=True)
class Candidate:
    """One backtested policy.

    effective_sample_size: over clusters, of the weights of the requests that it changes.
    matched_failures: failures of requests whose logged choice is the candidate's, those that it
    leaves alone included. overlap: share of what moves that lies where the log took the target.
    bounds: of the saving, where that share is below 1, and of a cascade. gamma_flip: the hidden
    confounding up to which the recommendation stands, null where there is none to flip. frontier:
    whether no other candidate, nor the present routing, is estimated cheaper with fewer failures
    and fewer breaches. slices: the cells that win and lose most.
    """

    name: str
    estimator: str | None
    unit_cost_usd: Interval
    failure_rate: Interval
    cost_usd: Interval
    latency_breach_rate: Interval
    saving_usd: Interval
    saving_usd_per_day: float | None
    bounds: Bounds | None
    effective_sample_size: float | None
    matched_failures: int | None
    overlap: float | None
    max_weight: float | None
    pareto_k: float | None
    balance: Balance | None
    negative_controls: tuple[NegativeControl, ...]
    gamma_flip: float | None
    gamma_words: str | None
    recommendation: Recommendation
    reason: str
    needs: Needs | None
    exploration: Exploration | None
    rules: tuple[Rule, ...]
    changed_share: float | None
    frontier: bool | None
    slices: tuple[SliceEffect, ...]


@dataclass(frozen=True)
class RoutingSection:
    """`propensity` is null where nothing was backtested, for `reason`."""

    propensity: Literal["logged", "estimated"] | None
    on_policy: OnPolicy
    candidates: tuple[Candidate, ...]
    n_requests: int
    reason: str | None
