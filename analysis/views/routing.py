"""Routing: what other policies would have cost and broken, from the log (STATISTICS section 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.check import Check, Interval, Outcome, finite, rounded
from analysis.policy import Policy, RoutingCandidate, RoutingRule, Scalar
from analysis.stats.intervals import rate_interval
from analysis.stats.moments import WindowMoments
from analysis.stats.multiple import holm
from analysis.stats.offpolicy import ClusteredMean, GuardedMean, clustered_mean
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import logical_requests
from analysis.views import routing_tables
from analysis.views.result import ViewResult
from analysis.views.routing_backtest import Backtest, backtest
from analysis.views.routing_log import (
    COST,
    FAILURE,
    UNIT_COST,
    Log,
    missing_for_routing,
    plan,
    read_log,
    refuse_rules,
)

Recommendation = Literal["adopt", "keep", "insufficient_evidence"]
Floats = npt.NDArray[np.float64]

MIN_EFFECTIVE_SAMPLE_SIZE = 200
MIN_MATCHED_FAILURES = 50
PROTECTED_POINTS = 0.03
WORTH_SHARE = 0.01
"""A saving below this share of the present unit cost is no gain."""
NOT_LEARNED = "learned policies are not there yet: only explicit rules are backtested"
NO_GAMMA = "the sensitivity to unmeasured confounding is not computed yet"


@dataclass(frozen=True)
class OnPolicy:
    """Means per logical request, as routed."""

    unit_cost_usd: Interval
    failure_rate: Interval
    cost_usd: Interval


@dataclass(frozen=True)
class Bounds:
    low: float
    high: float


@dataclass(frozen=True)
class Rule:
    when: dict[str, Scalar | tuple[Scalar, ...]]
    use: dict[str, Scalar]


@dataclass(frozen=True)
class Candidate:
    """One backtested policy.

    effective_sample_size: over clusters, of the weights of the requests that it changes.
    matched_failures: failures of requests whose logged choice is the candidate's, those that it
    leaves alone included. overlap: share of the changed requests that lie in a cell of
    routing.context in which the target was logged. bounds: of the saving, where that share is
    below 1. gamma_flip is null: it comes with its own issue.
    """

    name: str
    estimator: str | None
    unit_cost_usd: Interval
    failure_rate: Interval
    cost_usd: Interval
    saving_usd: Interval
    saving_usd_per_day: float | None
    bounds: Bounds | None
    effective_sample_size: float | None
    matched_failures: int | None
    overlap: float | None
    max_weight: float | None
    pareto_k: float | None
    gamma_flip: float | None
    recommendation: Recommendation
    reason: str
    rules: tuple[Rule, ...]
    changed_share: float | None


@dataclass(frozen=True)
class RoutingSection:
    """`propensity` is null where nothing was backtested, for `reason`."""

    propensity: Literal["logged", "estimated"] | None
    on_policy: OnPolicy
    candidates: tuple[Candidate, ...]
    n_requests: int
    reason: str | None


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[RoutingSection]:
    """Every candidate's value, whether to adopt it, and one note of a check each."""
    reason = missing_for_routing(telemetry, policy)
    if reason is not None:
        return _without(telemetry, policy, reason)
    # One thread: a sum's last bits must not depend on the machine's cores.
    with threadpool_limits(limits=1):
        return _assess(telemetry, policy)


def _assess(telemetry: Telemetry, policy: Policy) -> ViewResult[RoutingSection]:
    log = read_log(telemetry, policy)
    if not len(log.frame):
        return _without(telemetry, policy, "no request has a known outcome, choice and propensity")
    support = int(log.frame["attempts"].sum())
    refused = {c.name: _refused(telemetry, policy, c) for c in policy.routing.candidates}
    found = {
        c.name: backtest(log, policy, plan(log, policy, c.rules or ()))
        for c in policy.routing.candidates
        if refused[c.name] is None
    }
    adjusted = _adjusted(found)
    candidates = tuple(
        _untold(c, reason)
        if (reason := refused[c.name]) is not None
        else _candidate(telemetry, policy, log, c, found[c.name], adjusted.get(c.name), support)
        for c in policy.routing.candidates
    )
    section = RoutingSection("logged", _on_policy(log, support), candidates, log.n_requests, None)
    return ViewResult(
        section=section,
        checks=tuple(_check(c) for c in candidates),
        tables=routing_tables.tables(log, policy, found),
        series={"routing_savings": routing_tables.savings(found)},
        notes=(*_notes(log), *_beyond_bounds(policy, log.outcomes[:, COST])),
    )


def _refused(telemetry: Telemetry, policy: Policy, candidate: RoutingCandidate) -> str | None:
    """Why a candidate is not backtested, or None."""
    return NOT_LEARNED if candidate.rules is None else refuse_rules(telemetry, policy, candidate)


def _notes(log: Log) -> tuple[str, ...]:
    notes = []
    unknown = log.n_requests - len(log.frame)
    if log.sampled:
        notes.append(
            f"Routing reads a sample of whole clusters: {len(log.frame):,} of {log.n_requests:,} requests."
        )
    elif unknown:
        notes.append(
            f"{unknown:,} of {log.n_requests:,} requests count nowhere in routing: their outcome, "
            "cost, latency or propensity is not known."
        )
    return tuple(notes)


def _adjusted(found: Mapping[str, Backtest]) -> dict[str, float]:
    """Holm over the candidates that have a saving."""
    named = {n: b.saving.p_greater for n, b in found.items() if b.saving is not None}
    values = holm(list(named.values())) if named else np.zeros(0)
    return {name: float(p) for name, p in zip(named, values, strict=True)}


def _candidate(
    telemetry: Telemetry,
    policy: Policy,
    log: Log,
    candidate: RoutingCandidate,
    result: Backtest,
    adjusted: float | None,
    support: int,
) -> Candidate:
    recommendation, reason = recommend(policy, candidate, result, adjusted)
    per_day = None
    if result.saving is not None and not telemetry.windows.by_release:
        per_day = result.saving.value * log.n_requests / telemetry.candidate_days
    values = [_interval(v, support) for v in (result.unit_cost, result.failure, result.cost)]
    return Candidate(
        name=candidate.name,
        estimator="dr",
        unit_cost_usd=values[0],
        failure_rate=_as_rate(values[1]),
        cost_usd=values[2],
        saving_usd=_interval(result.saving, support),
        saving_usd_per_day=finite(per_day),
        bounds=None if result.bounds is None else Bounds(*result.bounds),
        effective_sample_size=finite(result.effective_sample_size),
        matched_failures=result.matched_failures,
        overlap=finite(result.overlap),
        max_weight=finite(result.max_weight),
        pareto_k=finite(result.pareto_k),
        gamma_flip=None,
        recommendation=recommendation,
        reason=reason,
        rules=_rules(candidate.rules),
        changed_share=finite(result.changed_share),
    )


def recommend(
    policy: Policy, candidate: RoutingCandidate, result: Backtest, adjusted: float | None
) -> tuple[Recommendation, str]:
    """adopt, keep or insufficient_evidence, with the reason in words.

    adjusted: the saving's one-sided p-value after Holm over the candidates.
    """
    unknown: Recommendation = "insufficient_evidence"
    if not result.n_changed:
        return "keep", "its rules match no request of the window"
    saving = result.saving
    if saving is None:
        untold = (
            f"{100 * (1 - result.overlap):.0f} % of the requests that it changes lie where its choice was "
            "never logged, so that the log cannot tell"
        )
        if result.test_size is None:
            return unknown, untold
        return unknown, (
            f"{untold}; an A/B test of about {result.test_size:,} requests an "
            f"arm would tell whether failures rise by {100 * result.failure_limit:.1f} points"
        )
    floor = _below_floors(result) or result.crowded
    if floor is not None:
        return unknown, floor
    level = (1 + policy.routing.confidence) / 2
    low, high = rounded(saving.lower(level)), rounded(saving.upper(level))
    harm = _harm(candidate, result)
    if harm is not None:
        return "keep", harm
    if high <= rounded(WORTH_SHARE * result.present_unit_cost):
        return "keep", (
            "it costs more than the present routing"
            if high < 0
            else f"it saves at most {high:.4f} USD per request, less than "
            f"{100 * WORTH_SHARE:g} % of the unit cost"
        )
    if low <= 0 or adjusted is None or rounded(adjusted) >= 1 - level:
        return unknown, (
            f"whether it saves is not decided: the one-sided {100 * level:g} % lower bound of the saving "
            f"is {low:.4f} USD per request"
            + ("" if low <= 0 else ", and several candidates were compared")
        )
    doubt = _doubt(candidate, result)
    if doubt is not None:
        return unknown, doubt
    return "adopt", (
        f"with {100 * level:g} % confidence it saves at least {low:.4f} USD per request, and it does not "
        "break more"
    )


def _below_floors(result: Backtest) -> str | None:
    """Why the log says too little, or None (the floors of STATISTICS section 7)."""
    if rounded(result.effective_sample_size) < MIN_EFFECTIVE_SAMPLE_SIZE:
        return (
            f"the effective sample size is {result.effective_sample_size:.0f} clusters; at least "
            f"{MIN_EFFECTIVE_SAMPLE_SIZE} are needed"
        )
    if result.matched_failures < MIN_MATCHED_FAILURES:
        return (
            f"{result.matched_failures} failures were logged under its choices; at least "
            f"{MIN_MATCHED_FAILURES} are needed"
        )
    if result.propensity_fault is not None:
        return result.propensity_fault
    return None


def _harm(candidate: RoutingCandidate, result: Backtest) -> str | None:
    """A failure rate that is surely too high, or None."""
    for story, figure, limit in _failure_limits(candidate, result):
        if rounded(figure.lower(0.95)) > rounded(limit):
            return f"{story} more than {100 * limit:.1f} %"
    return None


def _doubt(candidate: RoutingCandidate, result: Backtest) -> str | None:
    """A failure rate that may be too high, or None."""
    for story, figure, limit in _failure_limits(candidate, result):
        high = rounded(figure.upper(0.95))
        if high > rounded(limit):
            return f"{story} up to {100 * high:.1f} %; at most {100 * limit:.1f} % is accepted"
    return None


def _failure_limits(
    candidate: RoutingCandidate, result: Backtest
) -> Iterator[tuple[str, GuardedMean, float]]:
    """What may not be higher than what: the rate or its rise, and the rise in protected slices."""
    if candidate.max_failure_rate is not None:
        if result.failure is not None:
            yield "its failure rate is", result.failure, candidate.max_failure_rate
    elif result.failure_change is not None:
        yield "of all requests, failures rise by", result.failure_change, result.failure_limit
    for name, change in result.protected.items():
        yield f"of the requests of {name}, failures rise by", change, PROTECTED_POINTS


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _on_policy(log: Log, support: int) -> OnPolicy:
    def mean(outcome: int) -> Interval:
        m = clustered_mean(log.outcomes[:, outcome], log.cluster)
        return Interval.of(m.value, m.lower(0.975), m.upper(0.975), support)

    return OnPolicy(
        mean(UNIT_COST),
        Interval.of(*rate_interval(_failures(log.outcomes[:, FAILURE], log)), support),
        mean(COST),
    )


def _failures(failure: Floats, log: Log) -> WindowMoments:
    n = np.bincount(log.cluster).astype(np.int64)
    y = np.bincount(log.cluster, weights=failure).astype(np.int64)
    return WindowMoments(
        n=int(n.sum()),
        y=int(y.sum()),
        nn=int((n * n).sum()),
        yy=int((y * y).sum()),
        ny=int((n * y).sum()),
        clusters=int((n > 0).sum()),
        largest=int(n.max()),
        bad_clusters=int((y > 0).sum()),
    )


def _interval(figure: GuardedMean | ClusteredMean | None, support: int) -> Interval:
    if figure is None:
        return Interval.unknown(support)
    return Interval.of(figure.value, figure.lower(0.975), figure.upper(0.975), support)


def _as_rate(interval: Interval) -> Interval:
    """An estimate of a rate may leave [0, 1]; what is shown does not."""

    def clipped(value: float | None) -> float | None:
        return None if value is None else min(1.0, max(0.0, value))

    return replace(
        interval,
        value=clipped(interval.value),
        low=clipped(interval.low),
        high=clipped(interval.high),
    )


def _rules(rules: Sequence[RoutingRule] | None) -> tuple[Rule, ...]:
    return tuple(Rule(dict(r.when), dict(r.use)) for r in rules or ())


def _untold(candidate: RoutingCandidate, reason: str) -> Candidate:
    none = Interval.unknown()
    return Candidate(
        candidate.name, None, none, none, none, none, None, None, None, None, None, None, None, None,
        "insufficient_evidence", reason, _rules(candidate.rules), None,
    )  # fmt: skip


def _without(telemetry: Telemetry, policy: Policy, reason: str) -> ViewResult[RoutingSection]:
    """The view where nothing can be backtested: what is known of the present routing is told."""
    candidates = tuple(_untold(c, reason) for c in policy.routing.candidates)
    requests = logical_requests(telemetry, ())
    section = RoutingSection(
        None, _known_on_policy(requests.rows), candidates, requests.n_requests, reason
    )
    return ViewResult(
        section=section,
        checks=tuple(_check(c) for c in candidates),
        tables=routing_tables.empty(),
        series={"routing_savings": routing_tables.savings({})},
        notes=(
            f"No routing policy is backtested: {reason}.",
            *_beyond_bounds(policy, requests.rows["cost_nano"].to_numpy(dtype=float) / 1e9),
        ),
    )


def _known_on_policy(rows: pd.DataFrame) -> OnPolicy:
    def mean(values: Floats) -> Interval:
        known = np.isfinite(values)
        if not known.any():
            return Interval.unknown()
        cluster = pd.factorize(rows.loc[known, "cluster_id"])[0].astype(np.int64)
        m = clustered_mean(values[known], cluster)
        support = int(rows.loc[known, "attempts"].sum())
        return Interval.of(m.value, m.lower(0.975), m.upper(0.975), support)

    return OnPolicy(
        Interval.unknown(),
        _as_rate(mean(rows["failure"].to_numpy(dtype=float))),
        mean(rows["cost_nano"].to_numpy(dtype=float) / 1e9),
    )


# ── checks ───────────────────────────────────────────────────────────────────────────────

_OUTCOMES: dict[Recommendation, Outcome] = {
    "adopt": "pass",
    "keep": "fail",
    "insufficient_evidence": "inconclusive",
}
_WORDS: dict[Recommendation, str] = {
    "adopt": "Adopt the routing policy",
    "keep": "Keep the present routing instead of",
    "insufficient_evidence": "The log does not settle the routing policy",
}


def _check(candidate: Candidate) -> Check:
    saving, outcome = candidate.saving_usd, _OUTCOMES[candidate.recommendation]
    figure = ""
    if saving.value is not None and saving.low is not None and saving.high is not None:
        verb, more = ("saved", "") if saving.value >= 0 else ("cost", " more")
        figure = (
            f" In the window it would have {verb} {abs(saving.value):.4f} USD{more} per request "
            f"(95 % interval of the saving {saving.low:.4f} to {saving.high:.4f})."
        )
    return Check(
        id=f"routing.{candidate.name}",
        view="routing",
        outcome=outcome,
        severity="note",
        value=saving.value,
        low=saving.low,
        high=saving.high,
        limit=0.0,
        comparison="at_least",
        unit="USD per request",
        support=saving.support,
        p_value=None,
        p_adjusted=None,
        reason=candidate.reason if outcome == "inconclusive" else None,
        sentence=f"{_WORDS[candidate.recommendation]} {candidate.name}: {candidate.reason}.{figure}",
        action={
            "pass": "Roll the policy out in steps, and watch the failure rate of what it changes.",
            "fail": "Nothing to do: the present routing stays.",
            "inconclusive": "Run an A/B test, or let the router explore this choice.",
        }[outcome],
    )


def _beyond_bounds(policy: Policy, cost: Floats) -> tuple[str, ...]:
    """A note where costs were seen beyond `routing.bounds.cost_usd`.

    Bounds of a saving that has no support are only as true as these.
    """
    low, high = policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    known = cost[np.isfinite(cost)]
    outside = int(((known < low) | (known > high)).sum())
    if not outside:
        return ()
    return (
        f"{outside:,} of {known.size:,} requests cost less than {low:g} or more than {high:g} USD: "
        "bounds of routing savings do not hold; widen routing.bounds.cost_usd in the policy.",
    )
