from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.isotonic import IsotonicRegression

from analysis.stats.calibration import platt
from analysis.stats.isotonic import MIN_LABEL_ROWS, Isotonic, learn

Truth = Callable[[np.ndarray], np.ndarray]

SIGMOID: dict[str, Truth] = {
    "as the score says": special.expit,
    "less extreme than the score": lambda s: special.expit(-1 + 0.6 * s),
}
OTHER: dict[str, Truth] = {
    "a plateau": lambda s: 0.3 * special.expit(2 * (s + 2)) + 0.005,
    "flat, then rising": lambda s: special.expit(-4 + np.maximum(s + 2.5, 0) * 1.5),
    "steps": lambda s: np.where(s > -1, 0.5, np.where(s > -3, 0.06, 0.01)),
}
GRID = -3 + 1.1 * np.random.default_rng(9).normal(size=40_000)


def drawn(truth: Truth, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = -3 + 1.1 * rng.normal(size=n)
    return score, rng.random(n) < truth(score)


def excess(risk: np.ndarray, true: np.ndarray) -> float:
    """Log loss above that of the true risks."""
    risk = np.clip(risk, 1e-6, 1 - 1e-6)
    against = (1 - true) * np.log((1 - true) / (1 - risk))
    return float((true * np.log(true / risk) + against).mean())


def sigmoid(score: np.ndarray, y: np.ndarray) -> np.ndarray:
    slope, shift = platt(score, y)
    return np.asarray(special.expit(shift + slope * GRID))


def test_between_the_ends_points_are_the_centres_of_scikit_learns_blocks() -> None:
    score, y = drawn(SIGMOID["as the score says"], 4000, 1)
    fitted = IsotonicRegression().fit_transform(score, y)
    ours = learn(score, y)
    rates = np.unique(fitted)
    centres = np.array([score[fitted == r].mean() for r in rates])
    # All but the blocks that were pooled at the ends.
    bad = np.array([y[fitted <= r].sum() for r in rates])
    good = np.array([(~y)[fitted >= r].sum() for r in rates])
    bad_above = np.array([y[fitted >= r].sum() for r in rates])
    inside = (bad > MIN_LABEL_ROWS) & (bad_above > MIN_LABEL_ROWS) & (good > MIN_LABEL_ROWS)
    inside[np.flatnonzero(inside)[[0, -1]]] = False
    assert inside.sum() > 5
    np.testing.assert_allclose(np.interp(centres[inside], ours.scores, ours.risks), rates[inside])
    assert np.isclose(centres[inside][:, None], ours.scores, rtol=0, atol=1e-9).any(axis=1).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 300),
    st.sampled_from([0, 1, 2, 8]),
    st.sampled_from([-4.0, 0.0, 3.0]),
)
def test_risks_never_fall_and_never_leave_their_range(
    seed: int, n: int, digits: int, base: float
) -> None:
    rng = np.random.default_rng(seed)
    score = np.round(rng.normal(size=n) * 2, digits)
    y = rng.random(n) < special.expit(base + score)
    found = learn(score, y)
    at = np.sort(np.concatenate([score, rng.normal(size=50) * 5, [-1e9, 1e9]]))
    risk = found.risk(at)
    assert (np.diff(risk) >= 0).all()
    assert ((risk > 0) & (risk < 1)).all()
    assert (np.diff(found.scores) > 0).all()
    again = learn(score[::-1], y[::-1])
    np.testing.assert_allclose(again.scores, found.scores, rtol=1e-9, atol=1e-9)


def test_scores_that_differ_keep_their_order_at_the_top_of_the_queue() -> None:
    for truth in (*SIGMOID.values(), *OTHER.values()):
        score, y = drawn(truth, 8000, 2)
        ours = learn(score, y).risk(np.sort(GRID))
        theirs = IsotonicRegression(out_of_bounds="clip").fit(score, y).predict(np.sort(GRID))
        assert (np.diff(ours) > 0).all()
        assert len(np.unique(theirs)) < 0.01 * len(GRID)


@pytest.mark.parametrize("truth", [*SIGMOID, *OTHER])
def test_it_is_calibrated_and_beats_platt_where_the_truth_is_no_sigmoid(truth: str) -> None:
    # Means of 8 fits on 8000 rows with about 600 bad ones, held against the true risks.
    true = {**SIGMOID, **OTHER}[truth]
    ours, platts, gaps = [], [], []
    for seed in range(8):
        score, y = drawn(true, 8000, 100 + seed)
        risk = learn(score, y).risk(GRID)
        ours.append(excess(risk, true(GRID)))
        platts.append(excess(sigmoid(score, y), true(GRID)))
        order = np.array_split(np.argsort(GRID), 10)
        gaps.append(np.mean([abs(risk[k].mean() - true(GRID)[k].mean()) for k in order]))
    assert np.mean(gaps) < 0.01
    if truth in SIGMOID:
        # 0.001 of a log loss of about 0.2.
        assert np.mean(ours) < np.mean(platts) + 0.001
    else:
        assert np.mean(ours) < 0.5 * np.mean(platts)


def test_few_rows_at_an_end_tell_no_risk_of_none_or_of_certainty() -> None:
    score, y = drawn(SIGMOID["as the score says"], 3000, 3)
    y[np.argsort(score)[:200]] = False
    y[np.argsort(score)[-3:]] = True
    theirs = IsotonicRegression().fit(score, y)
    assert theirs.predict([score.min(), score.max()]).tolist() == [0.0, 1.0]
    low, high = learn(score, y).risk(np.array([score.min(), score.max()]))
    assert 1e-4 < low < 0.01
    assert 0.3 < high < 0.9


@pytest.mark.parametrize(
    ("why", "score", "y", "risk"),
    [
        ("no bad row", np.linspace(-1, 1, 99), np.zeros(99, dtype=bool), 0.5 / 100),
        ("nine bad rows", np.linspace(-1, 1, 99), np.arange(99) >= 90, 9.5 / 100),
        ("only bad rows", np.linspace(-1, 1, 99), np.ones(99, dtype=bool), 99.5 / 100),
        ("ranked backwards", np.linspace(1, -1, 99), np.arange(99) >= 60, 39.5 / 100),
        ("one score", np.zeros(99), np.arange(99) >= 60, 39.5 / 100),
        ("one row", np.zeros(1), np.ones(1, dtype=bool), 0.75),
    ],
)
def test_scores_that_tell_nothing_give_every_row_the_rate(
    why: str, score: np.ndarray, y: np.ndarray, risk: float
) -> None:
    np.testing.assert_allclose(learn(score, y).risk(np.array([-9.0, 0.0, 9.0])), risk)


def test_without_rows_there_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        learn(np.zeros(0), np.zeros(0, dtype=bool))


def test_it_is_stored_as_a_few_numbers_and_read_back_the_same() -> None:
    score, y = drawn(OTHER["a plateau"], 60_000, 4)
    found = learn(score, y)
    assert len(found.scores) < 300
    stored = json.loads(json.dumps(dataclasses.asdict(found)))
    again = Isotonic(tuple(stored["scores"]), tuple(stored["risks"]))
    assert again == found
    assert (again.risk(GRID) == found.risk(GRID)).all()
