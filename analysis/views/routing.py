"""Routing: what other policies would have cost and broken, from the log (STATISTICS section 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.check import Check, Interval, Outcome, finite
from analysis.policy import Policy, RoutingCandidate, RoutingRule
from analysis.stats.clustered_mean import ClusteredMean, GuardedMean, clustered_mean
from analysis.stats.intervals import rate_interval
from analysis.stats.moments import WindowMoments
from analysis.stats.multiple import holm
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import logical_requests
from analysis.views import routing_cascade, routing_tables
from analysis.views.result import ViewResult
from analysis.views.routing_backtest import Backtest, Slice, backtest
from analysis.views.routing_decision import (
    Recommendation,
    Verdict,
    gamma_flip,
    in_words,
    recommend,
)
from analysis.views.routing_doubts import Doubts, doubts
from analysis.views.routing_learned import cascade, learn
from analysis.views.routing_log import (
    BREACH,
    COST,
    FAILURE,
    UNIT_COST,
    Log,
    missing_for_routing,
    read_log,
)
from analysis.views.routing_needs import Exploration, exploration, needs
from analysis.views.routing_plan import plan, refuse_rules
from analysis.views.routing_section import (
    Balance,
    Bounds,
    Candidate,
    NegativeControl,
    OnPolicy,
    RoutingSection,
    Rule,
    SliceEffect,
)

Floats = npt.NDArray[np.float64]

MAX_SLICES = 12
LEARNING_ROWS = 80_000
"""Requests of the baseline that learned candidates are fitted on: cells are few."""
NO_BASELINE = "it is learned on the baseline window, and this release has none"


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[RoutingSection]:
    """Every candidate's value, whether to adopt it, and one note of a check each.

    Frontier: whether nothing else here, today's routing included, is estimated cheaper in cash with fewer
    failures and fewer latency breaches.
    """
    reason = missing_for_routing(telemetry, policy)
    if reason is not None:
        return _without(telemetry, policy, reason)
    # One thread: a sum's last bits must not depend on the machine's cores.
    with threadpool_limits(limits=1):
        return _assess(telemetry, policy)


@dataclass(frozen=True)
class _Steps:
    """A cascade: `first`, then `second` where that fails; bounds of its saving."""

    first: str
    second: str
    low: float
    high: float


@dataclass(frozen=True)
class _Judged:
    """A candidate with its rules as they were written or learned, and what the log says of them."""

    candidate: RoutingCandidate
    result: Backtest
    doubts: Doubts


def _assess(telemetry: Telemetry, policy: Policy) -> ViewResult[RoutingSection]:
    log = read_log(telemetry, policy)
    if not len(log.frame):
        return _without(telemetry, policy, "no request has a known outcome, choice and propensity")
    support = int(log.frame["attempts"].sum())
    baseline = cache(lambda: read_log(telemetry, policy, win=0, max_rows=LEARNING_ROWS))
    judged = {
        c.name: _judge(telemetry, policy, log, baseline, c) for c in policy.routing.candidates
    }
    backtested = {n: j for n, j in judged.items() if isinstance(j, _Judged)}
    adjusted = _adjusted({n: j.result for n, j in backtested.items()})

    def told(candidate: RoutingCandidate) -> Candidate:
        found = judged[candidate.name]
        if isinstance(found, str):
            return _untold(candidate, found)
        if isinstance(found, _Steps):
            return _cascade(candidate, found)
        return _candidate(telemetry, policy, log, found, adjusted.get(candidate.name), support)

    candidates = tuple(told(c) for c in policy.routing.candidates)
    now = _on_policy(log, support)
    section = RoutingSection(log.source, now, _on_frontier(now, candidates), log.n_requests, None)
    results = {n: j.result for n, j in backtested.items()}
    rules = {n: j.candidate.rules or () for n, j in backtested.items()}
    return ViewResult(
        section=section,
        checks=tuple(_check(c) for c in candidates),
        tables=routing_tables.tables(log, rules, results),
        series={
            "routing_savings": routing_tables.savings(results),
            "routing_frontier": routing_tables.frontier(now, section.candidates),
        },
        notes=(*_notes(log), *_beyond_bounds(policy, log.outcomes[:, COST])),
    )


def _judge(
    telemetry: Telemetry,
    policy: Policy,
    log: Log,
    baseline: Callable[[], Log],
    candidate: RoutingCandidate,
) -> _Judged | _Steps | str:
    """What the log says of a candidate, or why it is not backtested."""
    if candidate.learn is not None and telemetry.windows.baseline is None:
        return NO_BASELINE
    if candidate.learn == "cascade":
        pair = cascade(baseline())
        if isinstance(pair, str):
            return pair
        cheap, strong = (
            routing_cascade.all_to(log, policy, baseline().actions[code]) for code in pair
        )
        limits = routing_cascade.bounds(log, policy, cheap, strong)
        if limits is None:
            return "a single cluster leaves no variance"
        first, second = (" / ".join(map(str, baseline().actions[code])) for code in pair)
        return _Steps(first, second, *limits)
    if candidate.learn is not None:
        rules, reason = learn(baseline(), policy, candidate)
        if reason is not None:
            return reason
        candidate = candidate.model_copy(update={"rules": rules})
    reason = refuse_rules(telemetry, policy, candidate)
    if reason is not None:
        return reason
    result = backtest(log, policy, plan(log, policy, candidate.rules or ()))
    told = result.saving is not None and result.n_changed > 0
    return _Judged(
        candidate,
        result,
        doubts(log, result) if told else Doubts(None, (), None),
    )


def _notes(log: Log) -> tuple[str, ...]:
    notes = []
    unknown = log.n_requests - len(log.frame)
    if log.source == "estimated":
        notes.append(
            "The log did not write down with which probability it chose. These probabilities are "
            "estimated from what was known of each request, so every figure here leans on there being no "
            "unmeasured confounding: nothing else moved both the choice and the outcome. Gamma says how "
            "much of it each recommendation bears."
        )
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
    judged: _Judged,
    adjusted: float | None,
    support: int,
) -> Candidate:
    candidate, result = judged.candidate, judged.result
    days = None if telemetry.windows.by_release else telemetry.candidate_days
    verdict = recommend(policy, candidate, result, adjusted, judged.doubts.fault)
    trial = exploration(log, result, verdict, days)
    gamma = gamma_flip(log, policy, candidate, result, verdict)
    per_day = None
    if result.saving is not None and days is not None:
        per_day = result.saving.value * log.n_requests / days
    worst = judged.doubts.worst
    return Candidate(
        name=candidate.name,
        estimator="dr",
        unit_cost_usd=_interval(result.unit_cost, support),
        failure_rate=_as_rate(_interval(result.failure, support)),
        cost_usd=_interval(result.cost, support),
        latency_breach_rate=_as_rate(_interval(result.breach, support)),
        saving_usd=_interval(result.saving, support),
        saving_usd_per_day=finite(per_day),
        bounds=None if result.bounds is None else Bounds(*result.bounds),
        effective_sample_size=finite(result.effective_sample_size),
        matched_failures=result.matched_failures,
        overlap=finite(result.overlap),
        max_weight=finite(result.max_weight),
        pareto_k=finite(result.pareto_k),
        balance=None if worst is None else Balance(worst[0], worst[1].difference),
        negative_controls=tuple(
            NegativeControl(c.outcome, c.effect, finite(c.low), finite(c.high), c.p_value, c.n)
            for c in judged.doubts.controls
        ),
        gamma_flip=gamma,
        gamma_words=in_words(gamma, verdict.recommendation),
        recommendation=verdict.recommendation,
        reason=_told(verdict, trial, result),
        needs=needs(log, policy, candidate, result, verdict, days),
        exploration=trial,
        rules=_rules(candidate.rules),
        changed_share=finite(result.changed_share),
        frontier=None,
        slices=_slices(result.cells, log),
    )


def _told(verdict: Verdict, trial: Exploration | None, result: Backtest) -> str:
    """The reason, and of what has no support the test that would tell."""
    if verdict.why != "support" or trial is None:
        return verdict.reason
    return (
        f"{verdict.reason}; an A/B test of about {trial.requests:,} requests an arm would tell whether "
        f"failures rise by {100 * result.failure_limit:.1f} points"
    )


def _cascade(candidate: RoutingCandidate, steps: _Steps) -> Candidate:
    low, high = steps.low, steps.high
    what = f"of the cascade ({steps.first}, then {steps.second} where that fails)"
    keep = high <= 0
    reason = (
        f"even at the best that the log allows, {what[3:]} costs more than the present routing"
        if keep
        else f"a log of single choices does not tell {what}: nobody saw both answers to one request; "
        f"its saving lies between {low:.4f} and {high:.4f} USD per request, so try it on a part of the "
        "traffic"
    )
    verdict: Recommendation = "keep" if keep else "insufficient_evidence"
    told = _untold(candidate, reason)
    return replace(told, bounds=Bounds(low, high), recommendation=verdict)


def _slices(cells: Sequence[Slice], log: Log) -> tuple[SliceEffect, ...]:
    """The cells that gain and lose most in all, gains first."""
    attempts = log.frame["attempts"].to_numpy()

    def told(part: Slice) -> SliceEffect:
        support = int(attempts[part.where].sum())
        return SliceEffect(
            part.name,
            part.n,
            part.moved,
            _interval(part.saving, support),
            _interval(part.failure_change, support),
        )

    def total(part: Slice) -> float:
        return 0.0 if part.saving is None else part.saving.value * part.n

    ordered = sorted(cells, key=lambda part: (-total(part), part.name))
    if len(ordered) > MAX_SLICES:
        ordered = [*ordered[: MAX_SLICES // 2], *ordered[-(MAX_SLICES // 2) :]]
    return tuple(told(part) for part in ordered)


def _on_frontier(now: OnPolicy, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Marks what nothing else is estimated to beat in cost, failures and breaches at once."""

    def point(of: OnPolicy | Candidate) -> tuple[float, ...] | None:
        values = (of.cost_usd.value, of.failure_rate.value)
        breach = of.latency_breach_rate.value
        if values[0] is None or values[1] is None:
            return None
        return (values[0], values[1], 0.0 if breach is None else breach)

    points = [p for p in (point(now), *map(point, found)) if p is not None]

    def beaten(p: tuple[float, ...]) -> bool:
        return any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)

    return tuple(
        c if (p := point(c)) is None else replace(c, frontier=not beaten(p)) for c in found
    )


# ── figures ──────────────────────────────────────────────────────────────────────────────


def _on_policy(log: Log, support: int) -> OnPolicy:
    def mean(outcome: int) -> Interval:
        m = clustered_mean(log.outcomes[:, outcome], log.cluster)
        return Interval.of(m.value, m.lower(0.975), m.upper(0.975), support)

    def rate(outcome: int) -> Interval:
        moments = _moments(log.outcomes[:, outcome], log)
        return Interval.of(*rate_interval(moments), support)

    return OnPolicy(
        mean(UNIT_COST),
        rate(FAILURE),
        mean(COST),
        rate(BREACH) if log.breaches else Interval.unknown(support),
    )


def _moments(bad: Floats, log: Log) -> WindowMoments:
    n = np.bincount(log.cluster).astype(np.int64)
    y = np.bincount(log.cluster, weights=bad).astype(np.int64)
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
    return tuple(Rule(dict(r.when), dict(r.use), r.share) for r in rules or ())


def _untold(candidate: RoutingCandidate, reason: str) -> Candidate:
    none = Interval.unknown()
    return Candidate(
        name=candidate.name, estimator=None, unit_cost_usd=none, failure_rate=none, cost_usd=none,
        latency_breach_rate=none, saving_usd=none, saving_usd_per_day=None, bounds=None,
        effective_sample_size=None, matched_failures=None, overlap=None, max_weight=None,
        pareto_k=None, balance=None, negative_controls=(), gamma_flip=None, gamma_words=None,
        recommendation="insufficient_evidence", reason=reason, needs=None, exploration=None,
        rules=_rules(candidate.rules), changed_share=None, frontier=None, slices=(),
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
        series={
            "routing_savings": routing_tables.savings({}),
            "routing_frontier": routing_tables.frontier(section.on_policy, ()),
        },
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
        _as_rate(mean(rows["breach"].to_numpy(dtype=float))),
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
            "inconclusive": _to_settle(candidate),
        }[outcome],
    )


def _to_settle(candidate: Candidate) -> str:
    """What would tell whether to adopt an unsettled candidate."""
    more, trial = candidate.needs, candidate.exploration
    ways = []
    if more is not None and more.requests is not None:
        days = "" if more.days is None else f" ({more.days:g} days of today's)"
        ways.append(f"wait for about {more.requests:,} more requests{days}")
    if trial is not None and trial.share is not None:
        price = ""
        if trial.usd_per_day_low is not None and trial.usd_per_day_high is not None:
            price = f" (unit cost a day: {trial.usd_per_day_low:+,.2f} to {trial.usd_per_day_high:+,.2f} USD)"
        ways.append(
            f"send {100 * trial.share:.0f} % of the requests that it changes its way at random for "
            f"{trial.days} days{price}"
        )
    if not ways:
        return "Run an A/B test, or let the router explore this choice."
    told = ", or ".join(ways)
    return f"{told[0].upper()}{told[1:]}."


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
