from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression, Ridge

from analysis.stats.ridge import ridge_logistic, ridge_residuals


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_ridge_logistic_is_scikit_learns(ridge: float) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3000, 6)) * [1, 2, 0.5, 1, 1, 3]
    y = rng.random(3000) < special.expit(-2 + x @ [0.5, -0.3, 0, 0.2, 0, 0.1])
    theirs = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=2000).fit(x, y)
    ours = ridge_logistic(x, y, ridge=ridge)
    np.testing.assert_allclose(ours[1:], theirs.coef_[0], atol=2e-5)
    assert ours[0] == pytest.approx(theirs.intercept_[0], abs=2e-5)


def test_separable_and_collinear_columns_stay_finite() -> None:
    x = np.linspace(-1, 1, 400)[:, None]
    for design in (x, np.hstack([x, x]), np.hstack([x, np.zeros_like(x)])):
        assert np.isfinite(ridge_logistic(design, x[:, 0] > 0)).all()
    same = ridge_logistic(np.hstack([x, x]), x[:, 0] > 0.1)
    assert same[1] == pytest.approx(same[2], rel=1e-6)


@pytest.mark.parametrize("outcomes", [None, 3])
def test_residuals_are_those_of_scikit_learn(outcomes: int | None) -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(400, 5)) + 2
    y = x[:, :1] + rng.normal(size=(400, outcomes or 1))
    y = y if outcomes else y[:, 0]
    theirs = y - Ridge(alpha=10.0).fit(x, y).predict(x)
    ours = ridge_residuals(x, y, np.array([0.0, *[10.0] * 5]))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
