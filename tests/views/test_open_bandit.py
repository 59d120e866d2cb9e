"""The small Open Bandit data, whose on-policy truth is known: no worse than published, and no answer
where the log has none.

The published evaluation (Saito et al. 2021; `examples/obd` of `obp`): from 30 bootstrap samples of the log
of the uniform policy, campaign `all`, estimate what Bernoulli Thompson sampling would earn; the error is
relative to what it did earn in its own log. The outcome model is a logistic regression on users' and
items' features with C = 100, for each position, fitted in three folds. `ridge_logistic` finds the same
one, so that all that is left of a difference is that the policy's probabilities are integrated here, and
simulated there.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from analysis import contract
from analysis.policy import Policy
from analysis.stats.crossfit import crossfit, fold_of
from analysis.stats.offpolicy import (
    direct_method_scores,
    dr_scores,
    importance_weights,
    ips_scores,
    snips_scores,
)
from analysis.stats.ridge import ridge_logistic
from analysis.telemetry.requests import Requests
from analysis.views.routing_backtest import Backtest, backtest
from analysis.views.routing_decision import Verdict, recommend
from analysis.views.routing_log import log_of
from analysis.views.routing_plan import plan
from tests.views.open_bandit import (
    N_POSITIONS,
    Floats,
    Ints,
    Logged,
    NotFetched,
    archive,
    logged,
    simulated_thompson,
    thompson,
)

RUNS = 30
PUBLISHED = {"dm": 0.156876, "ips": 0.311082, "snips": 0.311795, "dr": 0.292464, "sndr": 0.302407}
SPREAD = {"dm": 0.109898, "ips": 0.311170, "snips": 0.334736, "dr": 0.315485, "sndr": 0.328434}
Model = Callable[[Logged, Ints, Floats], tuple[Floats, Floats]]


@pytest.fixture(scope="module")
def wheel() -> ZipFile:
    try:
        return archive()
    except NotFetched as reason:
        pytest.skip(f"the Open Bandit data are not at hand: {reason}")


@pytest.fixture(scope="module")
def uniform(wheel: ZipFile) -> Logged:
    return logged(wheel, "random")


@pytest.fixture(scope="module")
def truth(wheel: ZipFile) -> float:
    """What Thompson sampling earned in its own log."""
    return float(logged(wheel, "bts").click.mean())


def published_model(log: Logged, rows: Ints, pi: Floats) -> tuple[Floats, Floats]:
    """q̂(x, a) and q̂(π), (n,) each."""
    n, wide = len(log.click), log.context.shape[1]
    q_logged, q_target = np.zeros(n), np.zeros(n)
    for others, inside in KFold(3, shuffle=True, random_state=12345).split(np.arange(n)):
        for place in range(N_POSITIONS):
            fitted, here = (part[log.position[part] == place] for part in (others, inside))
            x = np.column_stack([log.context[fitted], log.items[log.item[fitted]]])
            beta = ridge_logistic(x, log.click[fitted], ridge=1 / 100)
            of_user = beta[0] + log.context[here] @ beta[1 : 1 + wide]
            q = 1 / (1 + np.exp(-(of_user[:, None] + log.items @ beta[1 + wide :])))
            q_logged[here] = q[np.arange(len(here)), log.item[here]]
            q_target[here] = q @ pi[:, place]
    return q_logged, q_target


def own_model(log: Logged, rows: Ints, pi: Floats) -> tuple[Floats, Floats]:
    """By the outcome models of the routing view: ridge regressions by item, folds by original row."""
    fold = np.array([fold_of(str(k)) for k in range(len(rows))])[rows]
    x = np.column_stack([log.context, np.eye(N_POSITIONS)[log.position][:, 1:]])
    model = crossfit(x, log.item, len(pi), log.click[:, None], fold)
    q_target = np.zeros(len(rows))
    for item in range(len(pi)):
        q = model.predict(np.full(len(rows), item))[:, 0]
        q_target += q * pi[item, log.position]
    return model.predict(log.item)[:, 0], q_target


def errors(uniform: Logged, pi: Floats, truth: float, model: Model) -> pd.DataFrame:
    """Relative errors, by run and estimator."""
    out = []
    for run in range(RUNS):
        log, rows = uniform.drawn(run)
        y, moved = log.click, np.zeros(len(rows))
        q_logged, q_target = model(log, rows, pi)
        w = importance_weights(pi[log.item, log.position], log.propensity)
        values = {
            "dm": direct_method_scores(y, q_target, moved),
            "ips": ips_scores(y, w, moved),
            "snips": snips_scores(y, w, moved),
            "dr": dr_scores(y, q_logged, q_target, w, moved),
            "sndr": q_target + snips_scores(y - q_logged, w, moved),
        }
        out.append({name: abs(float(phi.mean()) / truth - 1) for name, phi in values.items()})
    return pd.DataFrame(out)


def test_the_published_errors_are_reproduced(wheel: ZipFile, uniform: Logged, truth: float) -> None:
    """Within a hundredth; the direct method, which hardly hangs on the probabilities, within 10⁻⁴."""
    assert truth == 0.0042
    found = errors(uniform, thompson(wheel), truth, published_model)
    for name, error in PUBLISHED.items():
        assert found[name].mean() == pytest.approx(error, rel=0.01), name
        assert found[name].std() == pytest.approx(SPREAD[name], rel=0.01), name
    assert found["dm"].mean() == pytest.approx(PUBLISHED["dm"], abs=1e-4)


@pytest.mark.simulate
def test_and_to_the_digit_with_probabilities_that_are_simulated_as_published(
    wheel: ZipFile, uniform: Logged, truth: float
) -> None:
    """Hence no worse: the same estimators, up to where their optimiser stops."""
    found = errors(uniform, simulated_thompson(wheel), truth, published_model)
    for name, error in PUBLISHED.items():
        assert found[name].mean() <= error + 2e-5, name


@pytest.mark.simulate
def test_hardly_worse_with_the_outcome_model_of_the_routing_view(
    wheel: ZipFile, uniform: Logged, truth: float
) -> None:
    """Of 0.4 % of clicks a regression knows next to nothing: DR is then nearly IPS (.311)."""
    found = errors(uniform, thompson(wheel), truth, own_model)
    assert found["dm"].mean() <= PUBLISHED["dm"]
    assert found["dr"].mean() <= PUBLISHED["dr"] + 0.01


def test_probabilities_are_those_of_a_simulation(wheel: ZipFile) -> None:
    """20,000 draws: an error of at most √(¼ / 20,000) = 0.0035 each, four of them allowed."""
    exact = thompson(wheel)
    np.testing.assert_allclose(exact.sum(axis=0), 1.0)
    assert np.abs(exact - simulated_thompson(wheel, 20_000)).max() < 0.014


# ── refusing ─────────────────────────────────────────────────────────────────────────────


def judged(log: Logged, item: int) -> tuple[Backtest, Verdict]:
    """The routing view's word on showing one item always. A failure is an impression without a click."""
    n = len(log.click)
    frame = pd.DataFrame(
        {
            "interaction_id": [f"i{k:05d}" for k in range(n)],
            "cluster_id": [f"u{k}" for k in range(n)],
            "attempts": 1,
            "cost_nano": 0.0,
            "failure": 1.0 - log.click,
            "breach": 0.0,
            "use_case": np.where(log.context[:, 0] > 0, "first", "other"),
            "model_name": log.item.astype(str),
            "ts_us": np.arange(n) * 60_000_000,
            "session": np.arange(n),
            "routing_propensity": log.propensity,
        }
    )
    of = Policy.model_validate(
        {
            "routing": {
                "action": ["model_name"],
                "context": ["use_case"],
                "failure_cost_usd": 1.0,
                "candidates": [
                    {"name": "c", "rules": [{"when": {}, "use": {"model_name": str(item)}}]}
                ],
            }
        }
    )
    telemetry: Any = SimpleNamespace(contract=contract.load(), columns=tuple(frame.columns))
    choices = frame.groupby(["use_case", "model_name"]).size().rename("n").reset_index()
    (candidate,) = of.routing.candidates
    with threadpool_limits(limits=1):
        known = log_of(Requests(frame, n, n, 0), choices, telemetry, of)
        result = backtest(known, of, plan(known, of, candidate.rules or ()))
    p = None if result.saving is None else result.saving.p_greater
    return result, recommend(of, candidate, result, p)


def sizes(log: Logged) -> Floats:
    """The effective sample size of showing each item always."""
    out = []
    for item in range(len(log.items)):
        w = 1 / log.propensity[log.item == item]
        out.append(w.sum() ** 2 / (w**2).sum())
    return np.array(out)


def test_an_effective_sample_size_of_two_is_refused(wheel: ZipFile) -> None:
    """Thompson sampling showed some items next to never: two impressions would speak for all others."""
    log = logged(wheel, "bts")
    size = sizes(log)
    few = np.flatnonzero(size < 3).tolist()
    reasons = []
    for item in few:
        result, verdict = judged(log, item)
        assert result.effective_sample_size == pytest.approx(size[item])
        assert verdict.recommendation == "insufficient_evidence"
        reasons.append(verdict.why)
    assert len(few) >= 3
    assert set(reasons) == {"floors", "support"}


def test_a_hundred_impressions_are_refused_too(uniform: Logged) -> None:
    size = sizes(uniform)
    for item in (int(size.argmin()), int(size.argmax())):
        result, verdict = judged(uniform, item)
        assert result.effective_sample_size == pytest.approx(size[item])
        assert 90 < size[item] < 200
        assert verdict.recommendation == "insufficient_evidence"
        assert verdict.why == "floors"
        assert f"sample size is {size[item]:.0f} clusters" in verdict.reason
