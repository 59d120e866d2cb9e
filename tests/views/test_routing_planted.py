"""Logs whose truth is known: intervals cover, harm is not adopted, gains are, and no support is no guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from analysis.stats.sensitivity import worst_scores
from analysis.views.routing_backtest import Backtest, backtest
from analysis.views.routing_decision import Verdict, _moves, gamma_flip, recommend
from analysis.views.routing_doubts import Doubts, doubts
from analysis.views.routing_log import UNIT_COST, Log
from analysis.views.routing_plan import plan
from tests.views.routing_worlds import (
    BREACH_USD,
    FAILURE_USD,
    World,
    contexts,
    failing,
    late,
    logged,
    policy,
    truth,
)

EVERYWHERE = dict.fromkeys(range(4), 0)
KNOWN = pytest.mark.parametrize("known", [True, False], ids=["logged", "estimated"])
long_ = pytest.mark.simulate


@dataclass(frozen=True)
class Run:
    log: Log
    result: Backtest
    doubts: Doubts | None
    verdict: Verdict
    saving: float
    rise: float


def run(
    world: World,
    moves: dict[int, int],
    seed: int,
    *,
    n: int = 6_000,
    known: bool = True,
    **more: Any,
) -> Run:
    """One log of a world, judged. more: of the policy's routing."""
    saving, rise = truth(world, moves, 60_000)
    of = policy(moves, **more)
    log = logged(world, np.random.default_rng([90, seed]), n, of, known=known)
    return judged(log, of, saving, rise)


def judged(log: Log, of: Any, saving: float, rise: float) -> Run:
    (candidate,) = of.routing.candidates
    with threadpool_limits(limits=1):
        result = backtest(log, of, plan(log, of, candidate.rules))
        found = doubts(log, result) if result.saving is not None else None
        p = None if result.saving is None else result.saving.p_greater
        verdict = recommend(of, candidate, result, p, found and found.fault)
    return Run(log, result, found, verdict, saving, rise)


def anything(seed: int, **more: Any) -> Run:
    """A world of its own, and one to four uses moved to any model."""
    rng = np.random.default_rng([8, seed])
    world = World.drawn(rng)
    uses = rng.permutation(4)[: rng.integers(1, 5)]
    return run(world, {int(u): int(rng.integers(0, 3)) for u in uses}, seed, **more)


def flattering(seed: int, **more: Any) -> Run:
    """Short prompts go to a model that fails more at every length, and less in all."""
    rng = np.random.default_rng([10, seed])
    failure = np.log(0.05) + rng.normal(0, 0.2, (4, 1)) + np.array([rng.uniform(0.2, 0.35), 0, 0])
    world = World.drawn(
        rng, failure=failure, prompts=np.full(3, rng.uniform(0.6, 1.0)),
        sends=np.array([-1.5, 0.5, 0.5]) * rng.uniform(0.5, 1.2),
    )  # fmt: skip
    return run(world, EVERYWHERE, seed, **more)


def better(seed: int, **more: Any) -> Run:
    """A model that fails half as often, tried everywhere."""
    rng = np.random.default_rng([11, seed])
    failure = np.log(0.06) + rng.normal(0, 0.2, (4, 1)) + np.array([-0.7, 0.0, 0.1])
    world = World.drawn(
        rng, failure=failure, router=rng.normal(0, 0.4, (4, 3, 3)), sends=rng.normal(0, 0.3, 3),
        step=rng.normal(0, 0.3, 3), floor=0.05,
    )  # fmt: skip
    return run(world, EVERYWHERE, seed, **more)


def partly(seed: int, **more: Any) -> Run:
    """Some uses never went to the candidate's model."""
    rng = np.random.default_rng([12, seed])
    router = rng.normal(0, 0.5, (4, 3, 3))
    router[: int(rng.integers(1, 4)), :, 1] = -np.inf
    world = World.drawn(
        rng, router=router, floor=0.0, sends=np.array([0.3, 0.2, -0.2]) * rng.normal()
    )
    return run(world, dict.fromkeys(range(4), 1), seed, **more)


def rate(hits: int, n: int, least: float) -> bool:
    """Whether a share of hits is `least` or more, but for the error of the simulation."""
    return hits / n >= least - 1.645 * math.sqrt(least * (1 - least) / n)


@KNOWN
@pytest.mark.parametrize("n", [24, pytest.param(400, marks=long_)], ids=["short", "long"])
def test_intervals_hold_the_truth_at_their_rate(n: int, known: bool) -> None:
    saving, failures = [], []
    for seed in range(n):
        seen = anything(seed, known=known)
        if seen.result.saving is None or seen.verdict.why in ("floors", "support"):
            continue
        figure, change = seen.result.saving, seen.result.failure_change
        assert change is not None
        saving.append(figure.lower(0.975) <= seen.saving <= figure.upper(0.975))
        failures.append(change.lower(0.975) <= seen.rise <= change.upper(0.975))
    for held in (saving, failures):
        assert len(held) > 0.75 * n
        assert rate(sum(held), len(held), 0.95)
        if n >= 400:
            assert 0.93 <= np.mean(held) <= 0.97 + 1.645 * math.sqrt(0.03 * 0.97 / n)


@KNOWN
@pytest.mark.parametrize("n", [8, pytest.param(400, marks=long_)], ids=["short", "long"])
def test_harm_that_looks_like_a_gain_is_not_adopted(n: int, known: bool) -> None:
    flattered = adopted = 0
    for seed in range(n):
        seen = flattering(seed, known=known)
        assert seen.saving < 0
        naive = seen.result.estimates.get("naive")
        flattered += naive is not None and naive.saving.lower(0.975) > 0
        adopted += seen.verdict.recommendation == "adopt"
    assert flattered >= 0.75 * n
    assert adopted <= 0.025 * n + 1.645 * math.sqrt(0.025 * 0.975 * n) * (n > 100)


@KNOWN
@pytest.mark.parametrize("n", [8, pytest.param(200, marks=long_)], ids=["short", "long"])
def test_a_gain_with_ample_overlap_is_adopted(n: int, known: bool) -> None:
    adopted = sum(
        better(seed, known=known, n=8_000).verdict.recommendation == "adopt" for seed in range(n)
    )
    assert rate(adopted, n, 0.8)


@KNOWN
@pytest.mark.parametrize("n", [6, pytest.param(200, marks=long_)], ids=["short", "long"])
def test_what_was_never_logged_has_bounds_that_hold_the_truth(n: int, known: bool) -> None:
    held = 0
    for seed in range(n):
        seen = partly(seed, known=known)
        assert seen.result.saving is None
        assert seen.result.bounds is not None
        # Bounds may be enough to turn it down.
        turned_down = seen.result.bounds[1] <= 0
        assert seen.verdict.recommendation == ("keep" if turned_down else "insufficient_evidence")
        held += seen.result.bounds[0] <= seen.saving <= seen.result.bounds[1]
    assert rate(held, n, 0.95)


ROUTERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "use": lambda x: x["use"] % 3,
    "tier": lambda x: x["tier"],
    "a column beside the cells": lambda x: x["region"],
    "long prompts": lambda x: (x["size"] > 0.7).astype(int),
    "a score": lambda x: ((x["size"] + 0.5 * x["region"]) > 0.6).astype(int),
}


@KNOWN
@pytest.mark.parametrize("router", ROUTERS.values(), ids=list(ROUTERS))
def test_a_router_without_chance_gives_bounds(
    router: Callable[[dict[str, Any]], Any], known: bool
) -> None:
    world = World.drawn(np.random.default_rng([13, 1]))
    of = policy(dict.fromkeys(range(4), 1))
    log = logged(world, np.random.default_rng(13), 4_000, of, known=known, chosen=router)
    rng, n = np.random.default_rng(14), 60_000
    x = contexts(rng, n)
    user = rng.normal(size=x["user"].max() + 1)[x["user"]]
    unit = (
        world.cost[x["use"]]
        + FAILURE_USD * failing(world, x, user, 0 * user)
        + BREACH_USD * late(x)
    )
    saving = float((unit[np.arange(n), router(x)] - unit[:, 1]).mean())
    seen = judged(log, of, saving, 0.0)
    assert seen.verdict.recommendation == "insufficient_evidence"
    assert seen.verdict.why == "support"
    assert seen.result.bounds is not None
    assert seen.result.bounds[0] <= saving <= seen.result.bounds[1]


def test_harm_to_a_protected_slice_is_named_though_all_others_gain() -> None:
    """The candidate's model fails less but for one tier, where it fails three times as often."""
    rng = np.random.default_rng(15)
    harm = np.zeros((3, 3))
    harm[2, 0] = 2.2
    failure = np.full((4, 3), np.log(0.08)) + np.array([-1.2, 0.0, 0.0])
    world = World.drawn(rng, failure=failure, tier_harm=harm, sends=np.zeros(3), step=np.zeros(3),
                        router=np.zeros((4, 3, 3)))  # fmt: skip
    seen = run(world, EVERYWHERE, 15, n=12_000, failure_cost_usd=40)
    assert seen.saving > 0
    assert seen.verdict.recommendation == "keep"
    assert "account_tier “team”" in seen.verdict.reason


class TestHiddenConfounding:
    def controls(self, hidden: float, seeds: range, *, known: bool = False) -> list[float]:
        out = []
        for seed in seeds:
            world = World.drawn(np.random.default_rng([14, seed]), hidden=hidden)
            seen = run(world, EVERYWHERE, seed, n=8_000, known=known)
            assert seen.doubts is not None
            out += [c.p_value for c in seen.doubts.controls]
        return out

    @pytest.mark.parametrize("n", [6, pytest.param(150, marks=long_)], ids=["short", "long"])
    def test_the_negative_control_is_silent_without_it(self, n: int) -> None:
        p = np.array(self.controls(0.0, range(n)))
        assert (p < 0.01).mean() <= 0.01 + 1.645 * math.sqrt(0.01 * 0.99 / len(p)) + 0.5 / len(p)

    def test_and_finds_it(self) -> None:
        p = np.array(self.controls(1.5, range(6)))
        assert (p < 0.0005).mean() >= 0.4

    @pytest.mark.parametrize("n", [4, pytest.param(60, marks=long_)], ids=["short", "long"])
    def test_bounds_under_gamma_hold_the_truth_where_the_estimate_does_not(self, n: int) -> None:
        """A hidden 2.5-fold of the odds and of the failures: Γ = 6 is more than it is anywhere."""
        held = 0
        for seed in range(n):
            world = World.drawn(np.random.default_rng([16, seed]), hidden=0.6)
            seen = run(world, EVERYWHERE, seed, n=8_000, known=False)
            y, stays = seen.log.outcomes[:, UNIT_COST], seen.result.plan.stays
            moves = [m(UNIT_COST) for m in _moves(seen.log, seen.result)]
            low, high = (
                float((y - worst_scores(y, stays, moves, 6.0, high=end)).mean())
                for end in (True, False)
            )
            error = seen.result.saving.mean.standard_error if seen.result.saving else 0.0
            held += low - 2 * error <= seen.saving <= high + 2 * error
        assert rate(held, n, 0.95)

    def test_a_large_gain_bears_more_than_a_small_one(self) -> None:
        gains = {}
        for name, less in (("small", -0.5), ("large", -1.5)):
            failure = np.full((4, 3), np.log(0.12)) + np.array([less, 0.0, 0.0])
            world = World.drawn(
                np.random.default_rng(17), failure=failure, router=np.zeros((4, 3, 3)),
                sends=np.zeros(3), step=np.zeros(3),
            )  # fmt: skip
            seen = run(world, EVERYWHERE, 17, n=10_000)
            assert seen.verdict.recommendation == "adopt"
            of = policy(EVERYWHERE)
            (candidate,) = of.routing.candidates
            gains[name] = gamma_flip(seen.log, of, candidate, seen.result, seen.verdict)
        assert gains["small"] is not None
        assert gains["large"] is not None
        assert 1 <= gains["small"] < gains["large"]
