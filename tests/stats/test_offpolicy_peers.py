"""Estimators against `skdr-eval`, an independent implementation, number for number on the same inputs.

It takes a policy as a matrix π (n, actions), reads off w = π(a | x) / e(a | x) itself, and has no notion
of a part that keeps its logged choice. Where what it defines is not what `offpolicy` defines, the test
says how they map onto each other, and holds the mapped numbers against each other.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from skdr_eval.core import DRResult, dr_value_with_clip
from skdr_eval.diagnostics import psis_pareto_k
from skdr_eval.estimators import build_strategy, dr_value_with_strategy

from analysis.stats.clustered_mean import clustered_mean
from analysis.stats.offpolicy import (
    direct_method_scores,
    dr_scores,
    importance_weights,
    ips_scores,
    shrunken_weights,
    snips_scores,
    switched_weights,
)
from analysis.stats.overlap import effective_sample_size, pareto_k

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
N_ACTIONS = 4
EXACT = 1e-12


@dataclass(frozen=True)
class Case:
    """A log, a policy and an outcome model. e, pi, q: (n, actions); y, action: (n,).

    e: the router's probabilities. pi: the policy's. q: what the outcome model expects.
    """

    e: Floats
    pi: Floats
    q: Floats
    y: Floats
    action: Ints

    @property
    def rows(self) -> Ints:
        return np.arange(len(self.y))

    @property
    def weights(self) -> Floats:
        rows = self.rows
        return importance_weights(self.pi[rows, self.action], self.e[rows, self.action])

    @property
    def q_logged(self) -> Floats:
        return np.asarray(self.q[self.rows, self.action])

    @property
    def q_target(self) -> Floats:
        return np.asarray((self.pi * self.q).sum(axis=1))

    @property
    def moved(self) -> Floats:
        """All of each request goes by the policy."""
        return np.zeros(len(self.y))

    def theirs(self, name: str, **parameters: float) -> DRResult:
        return dr_value_with_strategy(
            propensities=self.e, policy_probs=self.pi, Y=self.y, q_hat=self.q, A=self.action,
            elig=np.ones_like(self.e), strategy=build_strategy(name, **parameters),
        )  # fmt: skip

    def ours(self, weights: Floats) -> Floats:
        return dr_scores(self.y, self.q_logged, self.q_target, weights, self.moved)


def case(seed: int, n: int, kind: str, outcome: str = "normal") -> Case:
    """kind: of policy, `one action`, `by context`, `stochastic`, `share` (30 % of each request moves to
    action 0 and the rest is the router's own), or `rare` (a target that the router takes in 1 of 100)."""
    rng = np.random.default_rng([5, seed])
    x = rng.normal(size=n)
    logits = x[:, None] * np.array([0.6, -0.6, 0.2, 0.0]) + np.array([0.0, 0.3, -0.5, -0.2])
    if kind == "rare":
        logits[:, 0] -= 4.0
    e = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] > np.cumsum(e, axis=1)).sum(axis=1).clip(0, N_ACTIONS - 1)
    q = 1.0 + np.outer(x, [0.2, 0.1, -0.2, 0.3]) + np.array([0.0, 0.5, 1.0, -0.5])
    y = q[np.arange(n), action] + rng.normal(size=n) + 0.3
    if outcome == "binary":
        q = 1 / (1 + np.exp(-q))
        y = (rng.random(n) < q[np.arange(n), action]).astype(float)
    pi = np.zeros((n, N_ACTIONS))
    if kind in ("one action", "rare"):
        pi[:, 0] = 1.0
    elif kind == "by context":
        pi[np.arange(n), np.where(x < 0, 1, 3)] = 1.0
    elif kind == "stochastic":
        raw = np.exp(x[:, None] * np.array([-0.5, 0.5, 0.0, 1.0]))
        pi = raw / raw.sum(axis=1, keepdims=True)
    else:
        pi = 0.7 * e
        pi[:, 0] += 0.3
    return Case(e, pi, q, y, action)


CASES = {
    "everything to one action": case(1, 900, "one action"),
    "by context": case(2, 700, "by context"),
    "stochastic": case(3, 800, "stochastic"),
    "a share": case(4, 800, "share"),
    "a rare action": case(5, 3_000, "rare"),
    "a binary outcome": case(6, 900, "stochastic", "binary"),
    "few rows": case(7, 40, "by context"),
}
ALL = pytest.mark.parametrize("of", CASES.values(), ids=list(CASES))


@ALL
def test_dr_its_standard_error_and_effective_sample_size_agree(of: Case) -> None:
    """Standard errors map by √((n − 1)/n): theirs divides by n, `clustered_mean` by n − 1. Their
    weights are clipped by default at a value that they choose; unclipped it is DR."""
    theirs = dr_value_with_clip(
        of.e, of.pi, of.y, of.q_logged, of.action, np.ones_like(of.e), (math.inf,)
    )["DR"]
    whole = of.theirs("DR", clip=math.inf)
    n = len(of.y)
    phi = of.ours(of.weights)
    found = clustered_mean(phi, of.rows)
    assert float(phi.mean()) == pytest.approx(whole.V_hat, rel=EXACT)
    assert found.standard_error * math.sqrt((n - 1) / n) == pytest.approx(whole.SE_if, rel=EXACT)
    ess = effective_sample_size(of.weights, of.rows)
    assert ess == pytest.approx(whole.ESS, rel=EXACT)
    assert ess == pytest.approx(theirs.ESS, rel=EXACT)


@ALL
def test_a_one_dimensional_outcome_model_takes_the_target_for_the_logged_action(of: Case) -> None:
    """`dr_value_with_clip`, which its evaluators call, is given q̂ of the logged action alone, (n,), and
    takes it for q̂(π) too: it is `dr_scores` with q_target = q_logged. With q̂(x, a) for every action
    the two differ by mean(q̂(π) − q̂(x, a))."""
    theirs = dr_value_with_clip(
        of.e, of.pi, of.y, of.q_logged, of.action, np.ones_like(of.e), (math.inf,)
    )["DR"]
    same = dr_scores(of.y, of.q_logged, of.q_logged, of.weights, of.moved)
    assert float(same.mean()) == pytest.approx(theirs.V_hat, rel=EXACT)
    apart = float((of.q_target - of.q_logged).mean())
    assert float(of.ours(of.weights).mean()) - theirs.V_hat == pytest.approx(apart, abs=1e-10)


@ALL
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 5.0, 50.0])
def test_switch_dr_agrees_at_every_threshold(of: Case, tau: float) -> None:
    theirs = of.theirs("SWITCH-DR", tau=tau)
    weights = switched_weights(of.weights, tau)
    assert float(of.ours(weights).mean()) == pytest.approx(theirs.V_hat, rel=EXACT)
    assert effective_sample_size(weights, of.rows) == pytest.approx(theirs.ESS, rel=EXACT)


@ALL
@pytest.mark.parametrize("lam", [0.01, 1.0, 30.0, 1e4])
def test_dros_agrees_at_every_shrinkage(of: Case, lam: float) -> None:
    theirs = of.theirs("DRos", lam=lam)
    weights = shrunken_weights(of.weights, lam)
    assert float(of.ours(weights).mean()) == pytest.approx(theirs.V_hat, rel=EXACT)
    assert effective_sample_size(weights, of.rows) == pytest.approx(theirs.ESS, rel=EXACT)


@ALL
def test_the_direct_method_is_their_dr_without_weight(of: Case) -> None:
    """They name no direct method: it is what DRos with λ = 0 leaves."""
    theirs = of.theirs("DRos", lam=0.0)
    ours = direct_method_scores(of.y, of.q_target, of.moved)
    assert float(ours.mean()) == pytest.approx(theirs.V_hat, rel=EXACT)


@ALL
def test_sndr_is_snips_of_residuals_on_top_of_the_direct_method(of: Case) -> None:
    """There is no SNDR among our estimators. With residuals r = y − q̂(x, a) it is
    mean(q̂(π)) + SNIPS(r), and with q̂ = 0 it is SNIPS."""
    theirs = of.theirs("SNDR", clip=math.inf)
    residual = snips_scores(of.y - of.q_logged, of.weights, of.moved)
    assert float((of.q_target + residual).mean()) == pytest.approx(theirs.V_hat, rel=EXACT)
    without = Case(of.e, of.pi, 0 * of.q, of.y, of.action).theirs("SNDR", clip=math.inf)
    ours = snips_scores(of.y, of.weights, of.moved)
    assert float(ours.mean()) == pytest.approx(without.V_hat, rel=EXACT)


@ALL
def test_ips_is_their_dr_without_an_outcome_model(of: Case) -> None:
    without = Case(of.e, of.pi, 0 * of.q, of.y, of.action).theirs("DR", clip=math.inf)
    ours = ips_scores(of.y, of.weights, of.moved)
    assert float(ours.mean()) == pytest.approx(without.V_hat, rel=EXACT)


@ALL
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_part_that_stays_is_their_value_of_the_rest(of: Case, share: float) -> None:
    """They know no request that keeps its choice. For a policy that moves those below the median of
    q̂(x, 0), all but `share` of each, ours is the logged mean of the others and, of those that move,
    share ȳ + (1 − share) times their value over these requests alone."""
    moves = of.q[:, 0] < np.median(of.q[:, 0])
    part = Case(of.e[moves], of.pi[moves], of.q[moves], of.y[moves], of.action[moves])
    inside = part.theirs("DR", clip=math.inf)
    gone = np.where(moves, 1.0 - share, 0.0)
    weights = importance_weights(gone * of.pi[of.rows, of.action], of.e[of.rows, of.action])
    ours = dr_scores(of.y, of.q_logged, gone * of.q_target, weights, 1.0 - gone)
    kept = of.y[~moves].sum() + share * part.y.sum()
    whole = (kept + (1.0 - share) * inside.V_hat * moves.sum()) / len(of.y)
    assert float(ours.mean()) == pytest.approx(whole, rel=1e-11)
    ess = effective_sample_size(weights[moves], np.arange(moves.sum()))
    assert ess == pytest.approx(inside.ESS, rel=EXACT)


@ALL
def test_a_router_of_its_own_is_worth_what_was_logged(of: Case) -> None:
    """π = e: a value of ȳ for SNIPS by both, and full effective sample size."""
    own = Case(of.e, of.e, of.q, of.y, of.action)
    bare = Case(of.e, of.e, 0 * of.q, of.y, of.action).theirs("SNDR", clip=math.inf)
    mean = float(of.y.mean())
    assert bare.V_hat == pytest.approx(mean, rel=EXACT)
    ours = snips_scores(own.y, own.weights, own.moved)
    assert float(ours.mean()) == pytest.approx(mean, rel=EXACT)
    assert effective_sample_size(own.weights, own.rows) == pytest.approx(len(of.y), rel=EXACT)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.8, 1.2])
@pytest.mark.parametrize(("n", "error"), [(30, 2e-3), (200, 2e-5), (3_000, 1e-8)])
def test_pareto_k_agrees_up_to_its_prior(n: int, error: float, shape: float) -> None:
    """Both fit the generalised Pareto of the m = min(n/5, 3√n) largest by Zhang & Stephens 2009. Ours, as
    ArviZ does it, then draws the shape towards ½ as ten exceedances would (Vehtari et al. 2024, appendix C):
    k = (m k' + 5)/(m + 10). What is left is their coarser grid, of 20 + √m values to ArviZ's 30 + √m, which
    matters less the longer the tail. (Of more than 4,444 weights they look at 200 alone.)"""
    weights = np.random.default_rng([n, int(10 * shape)]).pareto(1 / shape, n) + 1.0
    m = int(min(0.2 * n, 3 * math.sqrt(n)))
    theirs = psis_pareto_k(weights)
    assert pareto_k(weights) == pytest.approx((m * theirs + 5) / (m + 10), abs=error)


@pytest.mark.parametrize("weights", [np.ones(300), np.full(300, 2.5), np.arange(1.0, 9.0)],
                         ids=["all one", "all the same", "too few"])  # fmt: skip
def test_pareto_k_of_no_tail_is_not_known_to_either(weights: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(pareto_k(weights))
        assert math.isnan(psis_pareto_k(weights))
