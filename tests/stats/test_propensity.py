from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.stats.propensity import RIDGE, crossfit_propensity
from analysis.stats.ridge import ridge_logistic

ALL = np.ones(3, dtype=bool)


def log(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Two cells in which the same number sends requests opposite ways."""
    rng = np.random.default_rng(seed)
    x, cell = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    e = 1 / (1 + np.exp(-(np.where(cell == 0, 1.5, -1.5) * x[:, 0] - 0.5)))
    return {"x": np.column_stack([x, cell]), "cell": cell, "e": e, "taken": rng.random(n) < e,
            "fold": rng.integers(0, 5, n)}  # fmt: skip


def test_each_cell_has_a_router_of_its_own() -> None:
    data = log(12_000)
    found = crossfit_propensity(data["x"], data["taken"], data["fold"], data["cell"], ALL)
    assert np.abs(found - data["e"]).mean() < 0.02
    one = crossfit_propensity(data["x"], data["taken"], data["fold"], 0 * data["cell"], ALL)
    assert np.abs(one - data["e"]).mean() > 0.1


def test_weights_average_one() -> None:
    data = log(12_000)
    found = crossfit_propensity(data["x"], data["taken"], data["fold"], data["cell"], ALL)
    weights = np.where(data["taken"], 1 / found, 0.0)
    assert weights.mean() == pytest.approx(1.0, abs=0.03)


def test_a_fold_is_predicted_from_the_others() -> None:
    data = log(2_000)
    first = crossfit_propensity(data["x"], data["taken"], data["fold"], data["cell"], ALL)
    inside = data["fold"] == 2
    turned = data["taken"] ^ inside
    second = crossfit_propensity(data["x"], turned, data["fold"], data["cell"], ALL)
    np.testing.assert_array_equal(first[inside], second[inside])
    assert (first[~inside] != second[~inside]).any()


def test_a_cell_s_own_fit_reads_what_it_may() -> None:
    data = log(12_000)
    blind = np.array([False, True, True])
    found = crossfit_propensity(data["x"], data["taken"], data["fold"], data["cell"], blind)
    assert np.abs(found - data["e"]).mean() > 0.1


@pytest.mark.parametrize("taken", [False, True])
def test_a_choice_that_the_others_never_or_always_took_is_certain(taken: bool) -> None:
    data = log(500)
    found = crossfit_propensity(data["x"], np.full(500, taken), data["fold"], data["cell"], ALL)
    assert (found == float(taken)).all()


def test_the_first_fit_is_that_of_an_independent_implementation() -> None:
    data = log(900)
    data["cell"] = np.arange(900)  # no cell is large enough for a fit of its own
    found = crossfit_propensity(data["x"], data["taken"], data["fold"], data["cell"], ALL)
    others = data["fold"] != 0
    theirs = LogisticRegression(C=1 / RIDGE, tol=1e-10, max_iter=1_000)
    theirs.fit(data["x"][others], data["taken"][others])
    expected = theirs.predict_proba(data["x"][~others])[:, 1]
    np.testing.assert_allclose(found[~others], expected, atol=2e-6)


def test_an_offset_is_where_a_fit_starts() -> None:
    data = log(3_000)
    known = np.log(data["e"] / (1 - data["e"]))
    beta = ridge_logistic(data["x"], data["taken"].astype(float), ridge=1.0, offset=known)
    assert np.abs(beta).max() < 0.15  # it is all known already
