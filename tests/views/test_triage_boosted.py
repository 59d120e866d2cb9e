"""The boosted tables are the library's own numbers, and find what a linear model cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from interpret.glassbox import ExplainableBoostingClassifier
from scipy import special
from sklearn.metrics import roc_auc_score

from analysis.views import triage_boosted, triage_logistic
from analysis.views.triage_boosted import Boosted
from analysis.views.triage_columns import FeatureColumn

COLUMNS = (
    FeatureColumn("always", "category"),
    FeatureColumn("latency", "number"),
    FeatureColumn("same", "number"),
    FeatureColumn("tokens", "number"),
    FeatureColumn("use", "category"),
)
DAY = 86_400_000_000


def world(n: int, seed: int, *, joint: bool = False) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(frame, label, true log-odds)."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "always": "x",
            "same": 3.0,
            "use": pd.Series(rng.choice(["a", "b", "c", "rare"], n, p=[0.4, 0.3, 0.2999, 0.0001])),
            "tokens": rng.lognormal(5.0, 1.0, n),
            "latency": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "ts_us": 20_000 * DAY + (rng.random(n) * 28 * DAY).astype(np.int64),
        }
    )
    frame["use"] = frame["use"].where(rng.random(n) > 0.05, None)
    late = np.nan_to_num(frame["latency"].to_numpy())
    sign = np.where(frame["use"] == "a", 1.0, -1.0)
    score = -2.5 + (1.6 * sign * late if joint else 0.8 * late)
    score = score + np.where(frame["latency"].isna(), 1.0, 0.0)
    return frame, rng.random(n) < special.expit(score), score


def clusters(n: int) -> pd.Series:
    return pd.Series([f"u{k // 4}" for k in range(n)])


def fitted(frame: pd.DataFrame, y: np.ndarray) -> Boosted:
    return triage_boosted.fit(frame, y, COLUMNS, clusters(len(frame)))


def test_the_scores_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = ExplainableBoostingClassifier.fit

    def fit(self: Any, values: pd.DataFrame, *args: Any, **kwargs: Any) -> Any:
        seen["model"], seen["values"] = self, values
        return real(self, values, *args, **kwargs)

    monkeypatch.setattr(ExplainableBoostingClassifier, "fit", fit)
    frame, y, _ = world(6000, 1)
    model = fitted(frame, y)
    theirs = seen["model"].decision_function(seen["values"])
    # Each table is rounded to 1e-6.
    assert np.abs(model.log_odds(frame) - theirs).max() < 1e-6 * (1 + len(model.terms)) / 2
    assert {"always", "same"}.isdisjoint(model.names)


def test_what_is_added_is_the_score() -> None:
    frame, y, _ = world(4000, 2)
    model = fitted(frame, y)
    terms = model.contributions(frame)
    total = model.intercept + sum(t.typical for t in model.terms)
    total = total + np.sum([added for _, added in terms], axis=0)
    np.testing.assert_allclose(total, model.log_odds(frame), atol=1e-9)
    for _, added in terms:
        assert abs(added.mean()) < 1e-6


def test_it_finds_what_two_columns_say_together() -> None:
    frame, y, _ = world(20_000, 3, joint=True)
    fresh, label, score = world(40_000, 4, joint=True)
    best = roc_auc_score(label, score)
    ours = roc_auc_score(label, fitted(frame, y).log_odds(fresh))
    linear = roc_auc_score(label, triage_logistic.fit(frame, y, COLUMNS).log_odds(fresh))
    assert ours > best - 0.02
    assert linear < best - 0.1


def test_values_that_the_fit_never_saw_score_like_the_rest() -> None:
    frame, y, _ = world(4000, 5)
    model = fitted(frame, y)
    odd = frame.head(3).assign(use=["never", None, "rare"], latency=[np.inf, -np.inf, np.nan])
    other = odd.assign(use="some other", latency=np.nan)
    assert np.isfinite(model.log_odds(odd)).all()
    np.testing.assert_array_equal(model.log_odds(odd), model.log_odds(other))


def test_the_same_rows_give_the_same_model() -> None:
    frame, y, _ = world(4000, 6)
    assert fitted(frame, y) == fitted(frame.copy(), y.copy())


def test_a_frame_without_anything_to_learn_from_has_no_signal() -> None:
    rng = np.random.default_rng(7)
    frame, _, _ = world(6000, 7)
    y = rng.random(6000) < 0.1
    fresh, _, _ = world(20_000, 8)
    label = rng.random(20_000) < 0.1
    assert abs(roc_auc_score(label, fitted(frame, y).log_odds(fresh)) - 0.5) < 0.03
