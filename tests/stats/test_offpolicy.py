from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from skdr_eval.core import dr_value_with_clip

from analysis.stats.clustered_mean import clustered_mean
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
from analysis.stats.overlap import effective_sample_size

N_ACTIONS = 3


def logged(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """A log with known propensities; the target is action 0 below x = 0, the logged one above.

    first: the weightless match of a target that is action 0 everywhere.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    logits = np.column_stack([0.5 * x, -0.5 * x, np.zeros(n)])
    e = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] > np.cumsum(e, axis=1)).sum(axis=1)
    means = np.column_stack([1 + x, 2 - x, 1.5 + 0.0 * x])
    y = means[np.arange(n), action] + rng.normal(size=n)
    changed = x < 0
    return {
        "x": x,
        "e": e,
        "action": action,
        "propensity": e[np.arange(n), action],
        "y": y,
        "means": means,
        "changed": changed,
        "stays": np.where(changed, 0.0, 1.0),
        "matched": np.where(changed & (action == 0), 1.0, 0.0),
        "first": np.where(action == 0, 1.0, 0.0),
    }


def test_dr_agrees_with_an_independent_implementation() -> None:
    log = logged(800)
    pi = np.zeros((800, N_ACTIONS))
    pi[:, 0] = 1.0
    q = 1.4 + 0.3 * log["x"]
    weights = importance_weights(log["first"], log["propensity"])
    theirs = dr_value_with_clip(
        log["e"], pi, log["y"], q, log["action"], np.ones((800, N_ACTIONS)), (math.inf,)
    )["DR"]
    ours = dr_scores(log["y"], q, q, weights, np.zeros(800))
    assert float(ours.mean()) == pytest.approx(theirs.V_hat, rel=1e-12)
    assert effective_sample_size(weights, np.arange(800)) == pytest.approx(theirs.ESS, rel=1e-12)
    plain = clustered_mean(ours, np.arange(800))
    assert plain.standard_error * math.sqrt(799 / 800) == pytest.approx(theirs.SE_if, rel=1e-9)


def test_requests_that_a_policy_leaves_alone_keep_their_outcome_in_every_estimator() -> None:
    log = logged(200)
    q = np.full(200, 7.0)
    weights = importance_weights(log["matched"], log["propensity"])
    kept = ~log["changed"]
    for scores in (
        direct_method_scores(log["y"], q * log["changed"], log["stays"]),
        ips_scores(log["y"], weights, log["stays"]),
        snips_scores(log["y"], weights, log["stays"]),
        dr_scores(log["y"], q, q * log["changed"], weights, log["stays"]),
    ):
        np.testing.assert_array_equal(scores[kept], log["y"][kept])


def test_a_policy_that_changes_nothing_saves_nothing() -> None:
    log = logged(100)
    weights = importance_weights(np.zeros(100), log["propensity"])
    saved = log["y"] - dr_scores(log["y"], log["y"] * 0, log["y"] * 0, weights, np.ones(100))
    assert not saved.any()


def test_snips_is_the_weighted_mean_of_what_was_tried() -> None:
    log = logged(500)
    w = importance_weights(log["first"], log["propensity"])
    expected = float((w * log["y"]).sum() / w.sum())
    assert float(snips_scores(log["y"], w, np.zeros(500)).mean()) == pytest.approx(
        expected, rel=1e-12
    )


def test_snips_without_a_match_is_not_known() -> None:
    w = importance_weights(np.zeros(4), np.full(4, 0.5))
    assert np.isnan(snips_scores(np.ones(4), w, np.zeros(4))).all()


@pytest.mark.parametrize("outcome_model", ["true", "useless"])
def test_dr_is_unbiased_for_any_outcome_model_and_its_interval_covers(outcome_model: str) -> None:
    # 400 worlds: 95 % may fall to 0.95 − 1.645 √(0.95 · 0.05 / 400) = 0.932.
    covered, errors = 0, []
    for seed in range(400):
        log = logged(400, seed)
        truth = float(np.where(log["changed"], log["means"][:, 0], 0).sum())
        truth += float(log["y"][~log["changed"]].sum())
        rows = np.arange(400)
        q_logged = log["means"][rows, log["action"]] if outcome_model == "true" else np.zeros(400)
        q_target = (
            log["means"][:, 0] * log["changed"] if outcome_model == "true" else 0.0 * q_logged
        )
        w = importance_weights(log["matched"], log["propensity"])
        scores = dr_scores(log["y"], q_logged, q_target, w, log["stays"])
        found = clustered_mean(scores, rows)
        errors.append(found.value - truth / 400)
        covered += found.lower(0.975) <= truth / 400 <= found.upper(0.975)
    error = np.array(errors)
    assert abs(error.mean()) < 3 * error.std() / 20
    assert covered / 400 >= 0.932


def test_dros_lies_between_the_outcome_model_and_dr() -> None:
    log = logged(600)
    w = importance_weights(log["first"], log["propensity"])
    assert float(shrunken_weights(w, 1e-9).max()) < 1e-8
    np.testing.assert_allclose(shrunken_weights(w, 1e12), w, rtol=1e-6)
    q, stays = np.zeros(600), np.zeros(600)
    assert tuned(shrunken_weights, DROS_GRID, log["y"], q, q, w, stays) in DROS_GRID
    # Weights that are exact and an outcome model that knows nothing: no shrinkage pays.
    shifted = log["y"] + 100
    assert tuned(shrunken_weights, DROS_GRID, shifted, q, q, w, stays) >= 1_000


def test_switching_leaves_large_weights_to_the_outcome_model() -> None:
    w = np.array([0.0, 1.0, 4.0, 30.0])
    np.testing.assert_array_equal(switched_weights(w, 4.0), [0.0, 1.0, 4.0, 0.0])
    y, q = np.array([1.0, 2.0, 3.0, 500.0]), np.full(4, 2.0)
    scores = dr_scores(y, q, q, switched_weights(w, 4.0), np.zeros(4))
    np.testing.assert_array_equal(scores, [2.0, 2.0, 6.0, 2.0])
    # An outcome model that is right and one weight that is wild: the model speaks.
    assert tuned(switched_weights, SWITCH_GRID, q, q, q, w, np.zeros(4)) == max(SWITCH_GRID)


def test_a_split_is_worth_its_share_of_the_whole_move() -> None:
    """A policy that moves 30 % of each request saves 30 % of what moving it all would."""
    log = logged(800)
    q = 1.4 + 0.3 * log["x"]
    w = importance_weights(log["first"], log["propensity"])
    part = importance_weights(0.3 * log["first"], log["propensity"])
    for of in (
        lambda weights, target, stays: dr_scores(log["y"], q, target, weights, stays),
        lambda weights, target, stays: ips_scores(log["y"], weights, stays),
        lambda weights, target, stays: direct_method_scores(log["y"], target, stays),
        lambda weights, target, stays: snips_scores(log["y"], weights, stays),
    ):
        whole = of(w, q, np.zeros(800)).mean() - log["y"].mean()
        some = of(part, 0.3 * q, np.full(800, 0.7)).mean() - log["y"].mean()
        assert some == pytest.approx(0.3 * whole, rel=1e-9)


def test_a_propensity_next_to_nothing_leaves_all_estimates_finite() -> None:
    w = importance_weights(np.ones(4), np.array([0.5, 1e-300, 5e-324, 1.0]))
    assert w.tolist() == [2.0, 1e12, 1e12, 1.0]
    assert effective_sample_size(w, np.arange(4)) == pytest.approx(2.0)
    assert math.isfinite(clustered_mean(w, np.arange(4)).variance)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("change", "grid"), [(shrunken_weights, DROS_GRID), (switched_weights, SWITCH_GRID)]
)
def test_tuning_minimises_what_its_scores_say(
    change: Callable[[np.ndarray, float], np.ndarray], grid: tuple[float, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, q, stays = rng.normal(size=400), rng.normal(size=400), rng.integers(0, 2, 400) / 1.0
    w = (1 - stays) * (rng.random(400) < 0.5) * rng.pareto(1.5, 400)
    plain = dr_scores(y, q, q, w, stays)

    def error(value: float) -> float:
        scores = dr_scores(y, q, q, change(w, value), stays)
        away = scores - plain
        return float((abs(away.mean()) + away.std() / math.sqrt(400)) ** 2 + scores.var() / 400)

    least = min(map(error, grid))
    assert error(tuned(change, grid, y, q, q, w, stays)) == pytest.approx(least, rel=1e-8)
