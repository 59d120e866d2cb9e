"""What speaks against a backtest: found where it is there, silent where it is not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from analysis.views.routing_backtest import Backtest, backtest
from analysis.views.routing_doubts import doubts
from analysis.views.routing_log import Log
from analysis.views.routing_plan import plan
from tests.views.routing_worlds import World, logged, policy

EVERYWHERE = policy(dict.fromkeys(range(4), 0))


def a_log(seed: int = 1, n: int = 6_000) -> Log:
    world = World.drawn(np.random.default_rng([30, seed]), floor=0.08)
    return logged(world, np.random.default_rng([31, seed]), n, EVERYWHERE, known=True)


def backtested(log: Log) -> Backtest:
    return backtest(log, EVERYWHERE, plan(log, EVERYWHERE, EVERYWHERE.routing.candidates[0].rules))


def test_sound_logs_raise_hardly_any() -> None:
    found = []
    for seed in range(60):
        log = a_log(seed, 3_000)
        found.append(doubts(log, backtested(log)).fault is not None)
    assert sum(found) <= 4


def fault(log: Log) -> str:
    found = doubts(log, backtested(log)).fault
    assert found is not None
    return found


def test_propensities_that_are_too_small_or_large_everywhere() -> None:
    log = a_log()
    assert log.propensity is not None
    wrong = dataclasses.replace(log, propensity=np.minimum(log.propensity * 1.3, 0.999))
    assert "contradict the log: the weights of what it changes average 0." in fault(wrong)


def test_propensities_that_are_wrong_in_single_cells_and_right_on_the_whole() -> None:
    log = a_log(n=20_000)
    assert log.propensity is not None
    turned = np.where(log.cell % 2 == 0, 1.4, 1 / 1.4)
    wrong = dataclasses.replace(log, propensity=np.minimum(log.propensity * turned, 0.999))
    found = backtested(wrong)
    scale = found.weights.sum() / len(found.weights)
    even = dataclasses.replace(wrong, propensity=np.minimum(wrong.propensity * scale, 0.999))
    assert "among “" in fault(even)


def test_a_column_that_the_propensities_forgot_is_named() -> None:
    """Within each cell the mean probability is right; long prompts went elsewhere than it says."""
    log = a_log(n=20_000)
    assert log.propensity is not None
    taken, long_ = log.action == 0, log.frame["prompt_tokens"].to_numpy() > 450
    forgot = log.propensity.copy()
    for cell in range(len(log.cells)):
        here = log.cell == cell
        forgot[here & taken] = taken[here].mean()
    rng = np.random.default_rng(1)
    # Half of the target's long prompts are gone from the log.
    keep = ~(taken & long_ & (rng.random(len(taken)) < 0.5))
    for cell in range(len(log.cells)):
        here = (log.cell == cell) & keep
        forgot[here & taken] = taken[here].mean()
    cut = dataclasses.replace(
        log, frame=log.frame[keep].reset_index(drop=True), outcomes=log.outcomes[keep],
        action=log.action[keep], cell=log.cell[keep], propensity=forgot[keep],
        certain=log.certain[keep], cluster=log.cluster[keep], fold=log.fold[keep],
        features=dataclasses.replace(log.features, design=log.features.design.rows(np.flatnonzero(keep))),
        model=dataclasses.replace(
            log.model, features=log.model.features.rows(np.flatnonzero(keep)), fold=log.model.fold[keep]
        ),
    )  # fmt: skip
    assert "prompt_tokens is" in fault(cut)
    worst = doubts(cut, backtested(cut)).worst
    assert worst is not None
    assert abs(worst[1].difference) > 0.1


def test_a_few_requests_that_carry_it_all() -> None:
    log = a_log()
    assert log.propensity is not None
    rng = np.random.default_rng(2)
    heavy = (rng.pareto(0.9, len(log.propensity)) + 1) * 5
    found = backtested(log)
    wild = dataclasses.replace(
        found, weights=np.where(found.weights > 0, heavy, 0.0), pareto_k=1.08
    )
    assert wild.pareto_k > 0.7
    told = doubts(log, dataclasses.replace(found, pareto_k=1.08)).fault
    assert told is not None
    assert "Pareto shape of the weights is 1.08" in told


class TestNegativeControl:
    def test_it_looks_at_the_request_before_in_the_same_session(self) -> None:
        log = a_log()
        session = log.frame["session"]
        follows = int((session.groupby(session).size() - 1).sum())
        controls = doubts(log, backtested(log)).controls
        assert [c.outcome for c in controls] == ["failures", "cost"]
        assert {c.n for c in controls} == {follows}

    def test_a_sticky_session_is_no_confounding(self) -> None:
        """Every session keeps its first model, and models differ: the request before hangs on the
        same choice, and nothing is hidden."""
        p = []
        for seed in range(12):
            log = a_log(seed)
            session = log.frame["session"].to_numpy()
            _, first, place = np.unique(session, return_index=True, return_inverse=True)
            log = dataclasses.replace(
                log, action=log.action[first][place],
                propensity=None if log.propensity is None else log.propensity[first][place],
                outcomes=log.outcomes + 0.3 * (log.action[first][place] == 0)[:, None],
            )  # fmt: skip
            p += [c.p_value for c in doubts(log, backtested(log)).controls]
        assert np.mean(np.array(p) < 0.05) <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / len(p)) + 0.05

    def test_single_requests_have_none(self) -> None:
        log = a_log()
        alone = log.frame.assign(session=np.arange(len(log.frame)))
        assert doubts(dataclasses.replace(log, frame=alone), backtested(log)).controls == ()


@pytest.mark.parametrize("cells", [1, 3])
def test_a_weight_of_one_everywhere_is_balanced(cells: int) -> None:
    log = a_log(n=2_000)
    found = backtested(log)
    moved = 1.0 - found.plan.stays
    even = dataclasses.replace(found, weights=moved, pareto_k=math.nan)
    told = doubts(dataclasses.replace(log, cell=log.cell % cells), even)
    assert told.fault is None
    assert told.worst is not None
    assert abs(told.worst[1].difference) < 1e-12
