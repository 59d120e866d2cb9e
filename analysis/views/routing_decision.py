"""Adopt a candidate, keep the present routing, or say that the log cannot tell (STATISTICS section 7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.check import rounded
from analysis.policy import Policy, RoutingCandidate
from analysis.stats.clustered_mean import GuardedMean, clustered_mean
from analysis.stats.sensitivity import Move, WorstScores, flips_at
from analysis.views.routing_backtest import Backtest
from analysis.views.routing_log import FAILURE, UNIT_COST, Log
from analysis.views.routing_plan import KEEP

Floats = npt.NDArray[np.float64]
Recommendation = Literal["adopt", "keep", "insufficient_evidence"]

MIN_EFFECTIVE_SAMPLE_SIZE = 200
MIN_MATCHED_FAILURES = 50
PROTECTED_POINTS = 0.03
WORTH_SHARE = 0.01
"""A saving below this share of the present unit cost is no gain."""


@dataclass(frozen=True)
class Verdict:
    """why: what decided, or kept it from being decided: `none` where nothing moves, `support`,
    `floors`, `harm`, `no_gain`, `undecided`, `doubt`, `saves`."""

    recommendation: Recommendation
    reason: str
    why: Literal["none", "support", "floors", "harm", "no_gain", "undecided", "doubt", "saves"]


def recommend(
    policy: Policy,
    candidate: RoutingCandidate,
    result: Backtest,
    adjusted: float | None,
    fault: str | None = None,
) -> Verdict:
    """adjusted: the saving's one-sided p-value after Holm over the candidates. fault: a doubt about
    the estimate that diagnostics raise, or None.

    routing.CANDIDATE: the saving of a routing candidate. Adopt needs a saving that is sure over all
    candidates and no more failures, in protected groups too; keep is shown harm or no gain. It advises, and
    never holds a release.
    """
    unknown: Recommendation = "insufficient_evidence"
    if not result.n_changed:
        return Verdict("keep", "its rules match no request of the window", "none")
    saving = result.saving
    if saving is None:
        return _unsupported(result)
    floor = _below_floors(result)
    if floor is not None:
        return Verdict(unknown, floor, "floors")
    doubt = result.crowded or fault
    if doubt is not None:
        return Verdict(unknown, doubt, "doubt")
    level = sure_level(policy)
    low, high = rounded(saving.lower(level)), rounded(saving.upper(level))
    harm = _harm(candidate, result)
    if harm is not None:
        return Verdict("keep", harm, "harm")
    if high <= rounded(WORTH_SHARE * result.present_unit_cost):
        return Verdict(
            "keep",
            "it costs more than the present routing"
            if high < 0
            else f"it saves at most {high:.4f} USD per request, less than "
            f"{100 * WORTH_SHARE:g} % of the unit cost",
            "no_gain",
        )
    if low <= 0 or adjusted is None or rounded(adjusted) >= 1 - level:
        return Verdict(
            unknown,
            f"whether it saves is not decided: the one-sided {100 * level:g} % lower bound of the saving "
            f"is {low:.4f} USD per request"
            + ("" if low <= 0 else ", and several candidates were compared"),
            "undecided",
        )
    risky = _risky(candidate, result)
    if risky is not None:
        return Verdict(unknown, risky, "undecided")
    return Verdict(
        "adopt",
        f"with {100 * level:g} % confidence it saves at least {low:.4f} USD per request, and it does not "
        "break more",
        "saves",
    )


def sure_level(policy: Policy) -> float:
    """The one-sided level of a saving that is sure."""
    return (1 + policy.routing.confidence) / 2


def _unsupported(result: Backtest) -> Verdict:
    bounds = result.bounds
    if bounds is not None and rounded(bounds[1]) <= 0:
        return Verdict(
            "keep",
            "a part of what it changes lies where its choice was never logged, and even at the best that "
            "an outcome can be there it costs more than the present routing",
            "no_gain",
        )
    return Verdict(
        "insufficient_evidence",
        f"{100 * (1 - result.overlap):.0f} % of the requests that it changes lie where its choice was "
        "never logged, so that the log cannot tell",
        "support",
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
    return None


def _harm(candidate: RoutingCandidate, result: Backtest) -> str | None:
    """A failure rate that is surely too high, or None."""
    for story, figure, limit in _failure_limits(candidate, result):
        if figure is not None and rounded(figure.lower(0.95)) > rounded(limit):
            return f"{story} more than {100 * limit:.1f} %"
    return None


def _risky(candidate: RoutingCandidate, result: Backtest) -> str | None:
    """A failure rate that may be too high, or None."""
    for story, figure, limit in _failure_limits(candidate, result):
        if figure is None:
            return f"{story} nobody knows how much: its choice was never logged there"
        high = rounded(figure.upper(0.95))
        if high > rounded(limit):
            return f"{story} up to {100 * high:.1f} %; at most {100 * limit:.1f} % is accepted"
    return None


def _failure_limits(
    candidate: RoutingCandidate, result: Backtest
) -> Iterator[tuple[str, GuardedMean | None, float]]:
    """What may not be higher than what: the rate or its rise, and the rise in protected slices."""
    if candidate.max_failure_rate is not None:
        if result.failure is not None:
            yield "its failure rate is", result.failure, candidate.max_failure_rate
    elif result.failure_change is not None:
        yield "of all requests, failures rise by", result.failure_change, result.failure_limit
    for part in result.protected:
        yield (
            f"of the requests of {part.name}, failures rise by",
            part.failure_change,
            PROTECTED_POINTS,
        )


# ── hidden confounding ───────────────────────────────────────────────────────────────────


def gamma_flip(log: Log, policy: Policy, candidate: RoutingCandidate, result: Backtest,
               verdict: Verdict) -> float | None:  # fmt: skip
    """The confounding Γ up to which the recommendation stands; None where there is none to flip.

    Of *adopt*: a saving that is sure, and failures within their limit, at their worst. Of *keep*: the
    harm, or the lack of a gain, at its best.
    """
    if verdict.why not in ("saves", "harm", "no_gain") or result.saving is None:
        return None
    moves = _moves(log, result)
    stays = result.plan.stays
    level = sure_level(policy)
    y = log.outcomes
    change = candidate.max_failure_rate is None
    most = (
        result.failure_limit if candidate.max_failure_rate is None else candidate.max_failure_rate
    )

    @cache
    def worst(outcome: int, high: bool) -> WorstScores:
        return WorstScores(y[:, outcome], stays, [m(outcome) for m in moves], high=high)

    def saving(gamma: float, *, high: bool) -> GuardedMean:
        scores = worst(UNIT_COST, high).at(gamma)
        return _like(result.saving, y[:, UNIT_COST] - scores, log)

    def failures(gamma: float, *, high: bool) -> GuardedMean:
        scores = worst(FAILURE, high).at(gamma)
        return _like(result.failure_change, scores - (y[:, FAILURE] if change else 0.0), log)

    def stands(gamma: float) -> bool:
        if verdict.why == "saves":
            return (
                saving(gamma, high=True).lower(level) > 0
                and failures(gamma, high=True).upper(0.95) <= most
            )
        if verdict.why == "harm":
            return failures(gamma, high=False).lower(0.95) > most
        return saving(gamma, high=False).upper(level) <= WORTH_SHARE * result.present_unit_cost

    return flips_at(stands)


def _like(judged: GuardedMean | None, values: Floats, log: Log) -> GuardedMean:
    assert judged is not None
    return GuardedMean(clustered_mean(values, log.cluster), judged.events, judged.unit, judged.harm)


class _Part:
    """All moves to one target, for any outcome."""

    def __init__(self, log: Log, target: int, share: Floats) -> None:
        self.log, self.share = log, share
        self.matched = log.action == target
        self.propensity = np.where(self.matched, log.chance(target), 1.0)
        self.group = log.cell
        self.expected = log.expected(np.where(share > 0, target, KEEP))

    def __call__(self, outcome: int) -> Move:
        return Move(
            self.share, self.matched, self.propensity, self.expected[:, outcome], self.group
        )


def _moves(log: Log, result: Backtest) -> list[_Part]:
    return [_Part(log, target, result.plan.moved_to(target)) for target in result.plan.targets]


def in_words(gamma: float | None, recommendation: Recommendation) -> str | None:
    """What a Γ means."""
    if gamma is None:
        return None
    what = {"adopt": "the saving, or its safety", "keep": "the case against it"}.get(
        recommendation, "the result"
    )
    if gamma >= 20:
        return (
            f"no hidden difference below a 20-fold change of the odds of a choice would undo {what}"
        )
    return (
        f"a hidden difference that changes the odds of a choice {gamma:.2f}-fold, and outcomes with it, "
        f"could undo {what}"
    )
