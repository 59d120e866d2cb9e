from __future__ import annotations

import numpy as np

from analysis.stats.crossfit import MAX_ACTIONS, crossfit


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
    assert fit.predict(np.full(500, -1)).sum() == 0


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
    assert fit.predict(np.full(len(action), -1)).sum() == 0
