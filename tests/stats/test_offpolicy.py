from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from skdr_eval.core import dr_value_with_clip
from skdr_eval.diagnostics import psis_pareto_k

from analysis.stats.crossfit import MAX_ACTIONS, crossfit
from analysis.stats.offpolicy import (
    KEEP,
    ClusteredMean,
    GuardedMean,
    ab_test_size,
    clustered_mean,
    direct_method_scores,
    dr_scores,
    dros_lambda,
    effective_sample_size,
    generalized_pareto_shape,
    imbens_manski,
    importance_weights,
    ips_scores,
    pareto_k,
    shrunken_weights,
    snips_scores,
)

N_ACTIONS = 3


def logged(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """A log with known propensities; the target is action 0 below x = 0, the logged one above."""
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
        "target": np.where(changed, 0, KEEP),
        "changed": changed,
    }


def test_dr_agrees_with_an_independent_implementation() -> None:
    log = logged(800)
    target = np.zeros(800, dtype=np.int64)
    pi = np.zeros((800, N_ACTIONS))
    pi[:, 0] = 1.0
    q = 1.4 + 0.3 * log["x"]
    weights = importance_weights(log["action"], target, log["propensity"])
    theirs = dr_value_with_clip(
        log["e"], pi, log["y"], q, log["action"], np.ones((800, N_ACTIONS)), (math.inf,)
    )["DR"]
    ours = dr_scores(log["y"], q, q, weights, target)
    assert float(ours.mean()) == pytest.approx(theirs.V_hat, rel=1e-12)
    assert effective_sample_size(weights, np.arange(800)) == pytest.approx(theirs.ESS, rel=1e-12)
    plain = clustered_mean(ours, np.arange(800))
    assert plain.standard_error * math.sqrt(799 / 800) == pytest.approx(theirs.SE_if, rel=1e-9)


def test_requests_that_a_policy_leaves_alone_keep_their_outcome_in_every_estimator() -> None:
    log = logged(200)
    q = np.full(200, 7.0)
    weights = importance_weights(log["action"], log["target"], log["propensity"])
    kept = ~log["changed"]
    for scores in (
        direct_method_scores(log["y"], q, log["target"]),
        ips_scores(log["y"], weights, log["target"]),
        snips_scores(log["y"], weights, log["target"]),
        dr_scores(log["y"], q, q, weights, log["target"]),
    ):
        np.testing.assert_array_equal(scores[kept], log["y"][kept])


def test_a_policy_that_changes_nothing_saves_nothing() -> None:
    log = logged(100)
    target = np.full(100, KEEP)
    weights = importance_weights(log["action"], target, log["propensity"])
    saved = log["y"] - dr_scores(log["y"], log["y"] * 0, log["y"] * 0, weights, target)
    assert not saved.any()


def test_snips_is_the_weighted_mean_of_what_was_tried() -> None:
    log = logged(500)
    target = np.zeros(500, dtype=np.int64)
    w = importance_weights(log["action"], target, log["propensity"])
    expected = float((w * log["y"]).sum() / w.sum())
    assert float(snips_scores(log["y"], w, target).mean()) == pytest.approx(expected, rel=1e-12)


def test_snips_without_a_match_is_not_known() -> None:
    target = np.zeros(4, dtype=np.int64)
    w = importance_weights(np.ones(4, dtype=np.int64), target, np.full(4, 0.5))
    assert np.isnan(snips_scores(np.ones(4), w, target)).all()


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
        q_target = log["means"][:, 0] if outcome_model == "true" else np.zeros(400)
        w = importance_weights(log["action"], log["target"], log["propensity"])
        scores = dr_scores(log["y"], q_logged, q_target, w, log["target"])
        found = clustered_mean(scores, rows)
        errors.append(found.value - truth / 400)
        covered += found.lower(0.975) <= truth / 400 <= found.upper(0.975)
    error = np.array(errors)
    assert abs(error.mean()) < 3 * error.std() / 20
    assert covered / 400 >= 0.932


def test_dros_lies_between_the_outcome_model_and_dr() -> None:
    log = logged(600)
    target = np.zeros(600, dtype=np.int64)
    w = importance_weights(log["action"], target, log["propensity"])
    assert float(shrunken_weights(w, 1e-9).max()) < 1e-8
    np.testing.assert_allclose(shrunken_weights(w, 1e12), w, rtol=1e-6)
    q = np.zeros(600)
    assert dros_lambda(log["y"], q, q, w, target) in {10.0**k for k in range(-2, 7)}
    # Weights that are exact and an outcome model that knows nothing: no shrinkage pays.
    shifted = log["y"] + 100
    assert dros_lambda(shifted, q, q, w, target) >= 1_000


class TestClusteredMean:
    def test_rows_as_clusters_give_the_textbook_error(self) -> None:
        x = np.random.default_rng(3).normal(size=50)
        found = clustered_mean(x, np.arange(50))
        low, high = stats.t.interval(0.95, 49, x.mean(), stats.sem(x))
        assert (found.lower(0.975), found.upper(0.975)) == pytest.approx((low, high))
        assert found.p_greater == pytest.approx(
            stats.ttest_1samp(x, 0.0, alternative="greater").pvalue
        )

    def test_copies_of_a_row_in_its_cluster_add_nothing(self) -> None:
        x = np.random.default_rng(3).normal(size=50)
        once = clustered_mean(x, np.arange(50))
        twice = clustered_mean(np.repeat(x, 4), np.repeat(np.arange(50), 4))
        assert twice.value == pytest.approx(once.value)
        assert twice.variance == pytest.approx(once.variance)

    @pytest.mark.parametrize(
        ("scores", "cluster"), [([], []), ([1.0, math.nan], [0, 1]), ([1.0, math.inf], [0, 1])]
    )
    def test_what_cannot_be_told_is_nan(self, scores: list[float], cluster: list[int]) -> None:
        found = clustered_mean(np.array(scores), np.array(cluster, dtype=np.int64))
        assert math.isnan(found.value)
        assert found.p_greater == 1.0

    def test_one_cluster_has_no_limits(self) -> None:
        found = clustered_mean(np.ones(5), np.zeros(5, dtype=np.int64))
        assert (found.lower(0.975), found.upper(0.975)) == (-math.inf, math.inf)
        assert found.p_greater == 1.0


class TestRareEvents:
    def mean(self, events: int, harm: int = -1, value: float = 1.0) -> GuardedMean:
        return GuardedMean(ClusteredMean(value, 0.04, 1e9, 500), events, 0.05, harm)

    def test_only_the_side_on_which_unseen_events_lie_is_wider(self) -> None:
        plain, saving, rate = self.mean(0).mean, self.mean(3), self.mean(3, 1)
        assert saving.lower(0.975) < plain.lower(0.975)
        assert saving.upper(0.975) == plain.upper(0.975)
        assert rate.upper(0.975) > plain.upper(0.975)
        assert rate.lower(0.975) == plain.lower(0.975)

    def test_no_event_counts_as_up_to_its_exact_poisson_limit(self) -> None:
        only_events = GuardedMean(ClusteredMean(0.0, 0.0, 1e9, 500), 0, 1.0, 1)
        assert only_events.upper(0.975) == pytest.approx(-math.log(0.025))

    def test_many_events_leave_the_variance_as_it_is(self) -> None:
        # (U − k)² / z²k → 1: with 2,000 events the squared reach grows by less than 6 %.
        unit = 0.2 / math.sqrt(2_000)
        many = GuardedMean(ClusteredMean(1.0, 0.04, 1e9, 500), 2_000, unit, -1)
        assert many.lower(0.975) == pytest.approx(many.mean.lower(0.975), rel=0.03)

    @pytest.mark.parametrize("value", [0.3, 0.5, 1.0])
    def test_the_p_value_is_the_level_at_which_the_bound_reaches_zero(self, value: float) -> None:
        mean = self.mean(2, value=value)
        p = mean.p_greater
        assert mean.lower(1 - p) == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize(
        ("value", "least", "most"), [(-1.0, 0.99, 1.0), (0.0, 0.5, 0.5), (50.0, 0.0, 1e-12)]
    )
    def test_p_values_at_the_ends(self, value: float, least: float, most: float) -> None:
        assert least <= self.mean(2, value=value).p_greater <= most

    def test_a_saving_that_rests_on_unseen_failures_is_not_claimed_more_than_promised(self) -> None:
        # The new action fails as often as the old one, and is tried 80 times: without the guard
        # the lower bound lies above the truth far too often (no failure seen, no variance).
        # R = 2,000: at most 0.025 + 1.645 √(0.025 · 0.975 / 2000) = 0.031.
        rng = np.random.default_rng(8)
        wrong = bare = 0
        for _ in range(2_000):
            action = (rng.random(800) < 0.1).astype(np.int64)
            failure = (rng.random(800) < 0.03).astype(float)
            w = importance_weights(action, np.ones(800, dtype=np.int64), np.full(800, 0.1))
            w = np.where(action == 1, 1 / 0.1, 0.0)
            saved = failure - w * failure
            mean = clustered_mean(saved, np.arange(800))
            events = int(failure[action == 1].sum())
            unit = 10.0 / 800
            wrong += GuardedMean(mean, events, unit, -1).lower(0.975) > 0
            bare += mean.lower(0.975) > 0
        assert wrong / 2_000 <= 0.031
        assert bare / 2_000 > 0.05


class TestParetoK:
    def test_the_tail_shape_is_that_of_an_independent_implementation(self) -> None:
        rng = np.random.default_rng(4)
        for shape in (0.2, 0.6, 1.0):
            w = stats.genpareto.rvs(shape, size=4_000, random_state=rng) + 1
            # Theirs is not drawn to ½ by ten observations; the tail holds 3 √4000 = 189.
            expected = (psis_pareto_k(w) * 189 + 5) / 199
            assert pareto_k(w) == pytest.approx(expected, abs=0.005)

    @pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9])
    def test_the_shape_of_a_generalised_pareto_sample_is_found(self, shape: float) -> None:
        x = np.sort(stats.genpareto.rvs(shape, size=20_000, random_state=5))
        assert generalized_pareto_shape(x) == pytest.approx(shape, abs=0.03)

    @pytest.mark.parametrize("weights", [[], [0.0] * 50, [1.0, 2.0, 3.0], [2.0] * 1000])
    def test_without_a_tail_it_is_nan(self, weights: list[float]) -> None:
        assert math.isnan(pareto_k(np.array(weights)))


class TestBoundsAndSizes:
    def test_bounds_far_apart_take_the_one_sided_quantile(self) -> None:
        low, high = imbens_manski(0.0, 1.0, 100.0, 1.0)
        assert (low, high) == pytest.approx((-1.6449, 101.6449), abs=1e-3)

    def test_bounds_that_meet_take_the_two_sided_quantile(self) -> None:
        low, high = imbens_manski(5.0, 1.0, 5.0, 1.0)
        assert (low, high) == pytest.approx((5 - 1.95996, 5 + 1.95996), abs=1e-4)

    def test_certain_bounds_are_themselves_and_unknown_ones_are_open(self) -> None:
        assert imbens_manski(1.0, 0.0, 2.0, 0.0) == (1.0, 2.0)
        assert imbens_manski(1.0, math.inf, 2.0, 1.0) == (-math.inf, math.inf)

    def test_the_interval_holds_a_partly_known_value_at_its_rate(self) -> None:
        # The hardest place is an end of the identified set. R = 4,000: ≥ 0.95 − 0.0057.
        rng = np.random.default_rng(6)
        held = 0
        for _ in range(4_000):
            low, high = imbens_manski(rng.normal(0, 1), 1.0, rng.normal(3, 1), 1.0)
            held += low <= 0 <= high
        assert held / 4_000 >= 0.944

    def test_the_size_of_a_test_is_the_published_one(self) -> None:
        # Fleiss (1981), without continuity correction: 5 % against 10 %, two-sided 5 %, power 0.8.
        assert ab_test_size(0.05, 0.05) == 432
        assert ab_test_size(0.05, 0.05, deff=2.0) == 864

    def test_of_a_single_cluster_no_size_is_known(self) -> None:
        assert ab_test_size(0.05, 0.05, deff=math.inf) is None


def test_a_propensity_next_to_nothing_leaves_all_estimates_finite() -> None:
    ones = np.ones(4, dtype=np.int64)
    w = importance_weights(ones, ones, np.array([0.5, 1e-300, 5e-324, 1.0]))
    assert w.tolist() == [2.0, 1e12, 1e12, 1.0]
    assert effective_sample_size(w, np.arange(4)) == pytest.approx(2.0)
    assert math.isfinite(clustered_mean(w, np.arange(4)).variance)


def test_the_outcome_models_predict_other_folds_than_they_saw() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3_000, 2))
    action = rng.integers(0, 2, 3_000)
    fold = rng.integers(0, 5, 3_000)
    y = (x[:, 0] + action * (1 + x[:, 1]))[:, None] + rng.normal(size=(3_000, 1))
    # A fold's own outcomes must not move its predictions.
    fitted = crossfit(x, action, 2, y, fold)
    spoiled = y.copy()
    spoiled[fold == 0] += 1_000
    again = crossfit(x, action, 2, spoiled, fold)
    np.testing.assert_array_equal(
        fitted.predict(action)[fold == 0], again.predict(action)[fold == 0]
    )
    assert not np.array_equal(fitted.predict(action)[fold == 1], again.predict(action)[fold == 1])
    truth = x[:, 0] + 1 + x[:, 1]
    ones = np.ones(3_000, dtype=np.int64)
    assert float(np.mean((fitted.predict(ones)[:, 0] - truth) ** 2)) < 0.03


def test_an_action_that_was_never_logged_is_predicted_as_the_common_model() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(500, 1))
    y = 2 * x + 1
    fit = crossfit(x, np.zeros(500, dtype=np.int64), 3, y, rng.integers(0, 5, 500))
    predicted = fit.predict(np.full(500, 2))
    assert np.isfinite(predicted).all()
    assert fit.predict(np.full(500, KEEP)).sum() == 0


def test_beyond_the_limit_the_rarer_actions_share_one_model() -> None:
    rng = np.random.default_rng(11)
    n_actions = MAX_ACTIONS + 300
    often = np.repeat(np.arange(MAX_ACTIONS), 10)
    rare = np.arange(MAX_ACTIONS, n_actions)
    # The rare ones have the lower codes: it is their number that counts.
    action = n_actions - 1 - np.concatenate([often, rare])
    x, fold = rng.normal(size=(len(action), 1)), rng.integers(0, 5, len(action))
    y = np.where(action == n_actions - 1, 9.0, 1.0)[:, None]
    fit = crossfit(x, action, n_actions, y, fold)
    assert len(fit.models[0].level) == MAX_ACTIONS + 1
    first, second, frequent = (
        fit.predict(np.full(len(action), code)) for code in (0, 299, n_actions - 1)
    )
    np.testing.assert_array_equal(first, second)
    assert frequent.mean() > first.mean() + 1
    assert fit.predict(np.full(len(action), KEEP)).sum() == 0
