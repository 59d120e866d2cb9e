from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.offpolicy import dr_scores, importance_weights
from analysis.stats.sensitivity import MOST, Move, flips_at, worst_scores


def log(n: int = 4_000, seed: int = 1, gamma: float = 1.0) -> dict[str, np.ndarray]:
    """Half of all take the target; among those who did not, the largest outcomes are `gamma` times
    as likely: hidden, for u is logged nowhere."""
    rng = np.random.default_rng(seed)
    u = rng.random(n)
    y = np.where(u < 0.2, 10.0, 0.0) + rng.normal(0, 0.1, n)
    odds = np.where(u < 0.2, 1 / gamma, 1.0)
    taken = rng.random(n) < odds / (1 + odds)
    return {"y": y, "taken": taken, "e": np.full(n, float(taken.mean()))}


def move(data: dict[str, np.ndarray], share: float = 1.0) -> Move:
    n = len(data["y"])
    q = np.full(n, float(data["y"][data["taken"]].mean()))
    return Move(np.full(n, share), data["taken"], data["e"], q, np.zeros(n, dtype=np.int64))


def test_without_confounding_they_are_doubly_robust_scores() -> None:
    data = log()
    part = move(data, 0.4)
    stays = np.full(len(data["y"]), 0.6)
    w = importance_weights(0.4 * data["taken"], data["e"])
    plain = dr_scores(data["y"], part.q_target, 0.4 * part.q_target, w, stays)
    for high in (True, False):
        scores = worst_scores(data["y"], stays, [part], 1.0, high=high)
        assert scores.mean() == pytest.approx(plain.mean(), rel=1e-9)


def test_bounds_are_the_closed_form_of_a_binary_outcome() -> None:
    """Of y in {0, 1} with mean p among the taken: the worst mean of the others is min(1, Γp, …).

    The Γ/(1 + Γ) quantile of y is 0 where p ≤ 1/(1 + Γ): then H = y/Γ + (1 − 1/Γ)(1 + Γ) y = Γ y.
    """
    rng = np.random.default_rng(2)
    y, taken = (rng.random(20_000) < 0.1).astype(float), rng.random(20_000) < 0.3
    data = {"y": y, "taken": taken, "e": np.full(20_000, float(taken.mean()))}
    p, e = float(y[taken].mean()), float(taken.mean())
    for gamma in (1.5, 3.0, 6.0):
        high = worst_scores(y, np.zeros(20_000), [move(data)], gamma, high=True).mean()
        low = worst_scores(y, np.zeros(20_000), [move(data)], gamma, high=False).mean()
        assert high == pytest.approx(e * p + (1 - e) * gamma * p, rel=1e-9)
        assert low == pytest.approx(e * p + (1 - e) * p / gamma, rel=1e-9)


@pytest.mark.parametrize("gamma", [1.5, 3.0])
def test_they_hold_the_truth_under_as_much_confounding_and_not_under_less(gamma: float) -> None:
    data = log(40_000, 3, gamma)
    truth, zero = data["y"].mean(), np.zeros(40_000)
    assert worst_scores(data["y"], zero, [move(data)], 1.0, high=True).mean() < truth - 0.1
    assert worst_scores(data["y"], zero, [move(data)], gamma, high=True).mean() >= truth - 0.02


def test_they_widen_with_gamma() -> None:
    data = log()
    zero = np.zeros(len(data["y"]))
    highs = [
        worst_scores(data["y"], zero, [move(data)], g, high=True).mean() for g in (1, 1.5, 2, 4)
    ]
    lows = [
        worst_scores(data["y"], zero, [move(data)], g, high=False).mean() for g in (1, 1.5, 2, 4)
    ]
    assert highs == sorted(highs)
    assert lows == sorted(lows, reverse=True)


def test_small_cells_share_their_quantile() -> None:
    data = log(400)
    part = move(data)
    cells = Move(part.share, part.matched, part.propensity, part.q_target, np.arange(400))
    zero = np.zeros(400)
    np.testing.assert_allclose(
        worst_scores(data["y"], zero, [cells], 2.0, high=True),
        worst_scores(data["y"], zero, [part], 2.0, high=True),
    )


@pytest.mark.parametrize(("edge", "told"), [(2.345, 2.34), (1.004, 1.0), (50.0, MOST), (0.5, None)])
def test_the_flip_is_the_last_gamma_that_holds(edge: float, told: float | None) -> None:
    found = flips_at(lambda gamma: gamma <= edge)
    assert found is None if told is None else found == pytest.approx(told, abs=0.011)
