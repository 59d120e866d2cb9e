"""Learned policies: what they learn on the baseline, and that the candidate window judges it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from analysis.policy import RoutingCandidate
from analysis.views import routing_cascade
from analysis.views.routing_backtest import backtest
from analysis.views.routing_learned import MIN_REQUESTS, cascade, learn, values
from analysis.views.routing_log import COST, FAILURE, UNIT_COST, Log
from analysis.views.routing_plan import plan
from tests.views.routing_worlds import (
    FAILURE_USD,
    TIERS,
    USES,
    World,
    chances,
    contexts,
    failing,
    late,
    logged,
    policy,
)

POLICY = policy({}, candidates=[])


def world(**changes: Any) -> World:
    """Chat fails half as often on a (the cheapest), code on c (the dearest); all else is alike."""
    failure = np.full((4, 3), np.log(0.08))
    failure[0, 0] -= 1.0
    failure[1, 2] -= 1.5
    given: dict[str, Any] = {
        "failure": failure, "cost": np.tile([0.02, 0.05, 0.12], (4, 1)),
        "router": np.zeros((4, 3, 3)), "prompts": np.full(3, 0.2), "sends": np.array([-0.4, 0, 0.4]),
        "step": np.zeros(3), **changes,
    }  # fmt: skip
    return World(**given)


def a_log(seed: int = 1, *, known: bool = True, n: int = 12_000, of: World | None = None) -> Log:
    return logged(of or world(), np.random.default_rng(seed), n, POLICY, known=known)


def chosen(log: Log, learned: str, **more: Any) -> dict[tuple[str, str], dict[str, float]]:
    """By (use, tier): the shares of models that the learned rules send there."""
    candidate = RoutingCandidate.model_validate({"name": "l", "learn": learned, **more})
    with threadpool_limits(limits=1):
        rules, _ = learn(log, POLICY, candidate)
    done = plan(log, POLICY, rules)
    out: dict[tuple[str, str], dict[str, float]] = {}
    for index, rule in enumerate(rules):
        part = done.taken_by(index)
        for code, cell in enumerate(log.cells):
            share = float(part[log.cell == code].mean())
            if share > 0:
                use, tier = str(cell[0]), str(cell[1])
                out.setdefault((use, tier), {})[str(rule.use["model_name"])] = share
    return out


def test_values_are_those_of_the_world() -> None:
    log = a_log(n=40_000)
    with threadpool_limits(limits=1):
        found = values(log)
    rng, n = np.random.default_rng(3), 100_000
    x = contexts(rng, n)
    user = rng.normal(size=x["user"].max() + 1)[x["user"]]
    true, e = failing(world(), x, user, 0 * user), chances(world(), x, 0 * user)
    for cell, (use, tier) in enumerate(log.cells):
        here = (np.array(USES)[x["use"]] == use) & (np.array(TIERS)[x["tier"]] == tier)
        for j in range(3):
            off = found.mean[cell, j, FAILURE] - found.present[cell, FAILURE]
            due = float(true[here, j].mean() - (e * true).sum(axis=1)[here].mean())
            assert abs(off - due) < 4 * found.error[cell, j, FAILURE]
    assert found.tried.all()


@pytest.mark.parametrize("known", [True, False], ids=["logged", "estimated"])
def test_best_unit_cost_finds_what_fails_less(known: bool) -> None:
    found = chosen(a_log(known=known, n=20_000), "best_unit_cost")
    for tier in TIERS:
        assert found[("chat", tier)] == {"a": 1.0}
        assert found[("code", tier)] == {"c": 1.0}


def test_cheapest_within_slo_spends_least_and_keeps_the_limit() -> None:
    loose = chosen(a_log(n=20_000), "cheapest_within_slo", max_failure_rate=0.5)
    # A small cell's breaches may lie too near to their limit to be sure of.
    assert sum(models == {"a": 1.0} for models in loose.values()) >= len(USES) * len(TIERS) - 1
    tight = chosen(a_log(n=20_000), "cheapest_within_slo", max_failure_rate=0.05)
    assert {cell[0] for cell in tight} == {"chat"}
    assert all(models == {"a": 1.0} for models in tight.values())


def test_a_split_is_the_cheapest_mix_within_the_overall_limit() -> None:
    """a is cheapest and, but for chat, fails as often as all: only code loses by it."""
    log = a_log(n=20_000)
    mixed = chosen(log, "share_split", max_failure_rate=0.068)
    assert all(0 < share <= 1 for models in mixed.values() for share in models.values())
    assert all(sum(models.values()) <= 1 + 1e-9 for models in mixed.values())
    candidate = RoutingCandidate.model_validate(
        {"name": "l", "learn": "share_split", "max_failure_rate": 0.068}
    )
    with threadpool_limits(limits=1):
        rules, _ = learn(log, POLICY, candidate)
        fresh = a_log(seed=2, n=20_000)
        result = backtest(fresh, POLICY, plan(fresh, POLICY, rules))
    assert result.cost is not None
    assert result.failure is not None
    assert result.cost.value < fresh.outcomes[:, COST].mean() - 0.01
    assert result.failure.value < 0.075


def test_nothing_is_learned_from_choices_that_were_hardly_logged() -> None:
    candidate = RoutingCandidate(name="l", learn="best_unit_cost")
    rules, reason = learn(a_log(n=MIN_REQUESTS), POLICY, candidate)
    assert rules == ()
    assert reason is not None
    assert "often enough" in reason


def test_equals_are_left_alone_most_of_the_time() -> None:
    """Where nothing is better, a cell changes by noise alone, and what it saves is judged elsewhere."""
    flat = world(failure=np.full((4, 3), np.log(0.08)), cost=np.full((4, 3), 0.05))
    saved = []
    for seed in range(6):
        with threadpool_limits(limits=1):
            rules, _ = learn(
                a_log(seed, of=flat, n=6_000),
                POLICY,
                RoutingCandidate(name="l", learn="best_unit_cost"),
            )
            fresh = a_log(100 + seed, of=flat, n=6_000)
            result = backtest(fresh, POLICY, plan(fresh, POLICY, rules))
        if result.saving is not None:
            saved.append(result.saving.lower(0.975) > 0)
    assert sum(saved) <= 1


class TestCascade:
    def test_the_cheap_choice_is_first_and_the_strong_one_second(self) -> None:
        strong = world(failure=np.full((4, 3), np.log(0.1)) + np.array([0.0, 0.0, -1.0]))
        log = a_log(of=strong, n=20_000)
        with threadpool_limits(limits=1):
            pair = cascade(log)
        assert not isinstance(pair, str)
        assert [log.actions[code] for code in pair] == [("a",), ("c",)]

    @pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
    def test_bounds_hold_whatever_the_answers_have_in_common(self, together: float) -> None:
        """One request's two answers fail independently, together, or anything between."""
        strong = world(failure=np.full((4, 3), np.log(0.1)) + np.array([0.0, 0.0, -1.0]))
        log = a_log(of=strong, n=20_000)
        with threadpool_limits(limits=1):
            cheap, dear = (routing_cascade.all_to(log, POLICY, (m,)) for m in ("a", "c"))
            found = routing_cascade.bounds(log, POLICY, cheap, dear)
        assert found is not None
        rng, n = np.random.default_rng(5), 200_000
        x = contexts(rng, n)
        user = rng.normal(size=x["user"].max() + 1)[x["user"]]
        f, e, b = failing(strong, x, user, 0 * user), chances(strong, x, 0 * user), late(x)
        first = rng.random(n)
        second = np.where(rng.random(n) < together, first, rng.random(n))
        fails, again = first < f[:, 0], second < f[:, 2]
        unit = strong.cost[x["use"]] + FAILURE_USD * f + 5 * b
        cost = strong.cost[x["use"], 0] + fails * strong.cost[x["use"], 2]
        slow = np.where(fails, 1.0, b[:, 0])
        saving = float(
            ((e * unit).sum(axis=1) - cost - FAILURE_USD * (fails & again) - 5 * slow).mean()
        )
        assert found[0] <= saving <= found[1]

    def test_one_choice_is_no_cascade(self) -> None:
        log = logged(
            world(), np.random.default_rng(1), 2_000, POLICY, known=True,
            chosen=lambda x: np.zeros(len(x["use"]), dtype=int),
        )  # fmt: skip
        found = cascade(log)
        assert isinstance(found, str)
        assert "two choices" in found


def test_unit_cost_is_the_first_outcome() -> None:
    log = a_log(n=500)
    due = log.outcomes[:, COST] + FAILURE_USD * log.outcomes[:, FAILURE] + 5 * log.outcomes[:, 3]
    np.testing.assert_allclose(log.outcomes[:, UNIT_COST], due)
