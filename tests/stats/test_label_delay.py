from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from analysis.stats.label_delay import (
    MAX_WEIGHT,
    Rows,
    density_weights,
    estimate_rates,
)
from analysis.stats.ridge import ridge_logistic

Floats = npt.NDArray[np.float64]


def risk_of(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(-2.6 + 1.2 * x[:, 0] + 0.8 * x[:, 1]))))


def window(
    rng: np.random.Generator, n_users: int, shift: float, *, worse: float = 0.0, hide: float = 0.0,
    days: int = 14, day_effect: float = 0.0, first: int = 0,
) -> tuple[Floats, Rows, npt.NDArray[np.bool_]]:  # fmt: skip
    """Columns x, the rows (risk unset), and all labels. Users have effects on x and on failures.

    hide: log-odds of a missing label rise with x by so much; 0 hides none.
    """
    user = np.repeat(np.arange(n_users), rng.integers(1, 9, n_users))
    n = len(user)
    x = rng.normal(0, 0.8, (n, 2)) + rng.normal(0, 0.6, (n_users, 2))[user] + [shift, 0.0]
    day = rng.integers(0, days, n)
    p = risk_of(x) * (1 + worse)
    p = (
        p
        * rng.choice([0.7, 1.3], n_users)[user]
        * (1 + day_effect * rng.choice([-1, 1], days)[day])
    )
    y = rng.random(n) < np.clip(p, 0, 1)
    known = np.ones(n, dtype=bool)
    if hide:
        known = rng.random(n) > 1 / (1 + np.exp(1.1 - hide * (x[:, 0] - shift)))
    return x, Rows(y, known, np.zeros(n), user + first, day), y


def estimates(seed: int, *, shift: float = 0.5, worse: float = 0.0, hide: float = 0.8,
              day_effect: float = 0.0, slope: float = 1.0):  # type: ignore[no-untyped-def]  # fmt: skip
    """(estimates, the labels' rate once all are there, the labelled rows' rate)."""
    rng = np.random.default_rng(seed)
    x0, old, _ = window(rng, 1500, 0.0, day_effect=day_effect)
    x1, new, y1 = window(
        rng, 1000, shift, worse=worse, hide=hide, day_effect=day_effect, first=1500
    )
    fold = old.cluster % 2
    risk, later = np.zeros(len(x0)), np.zeros(len(x1))
    for f in (0, 1):
        beta = ridge_logistic(x0[fold != f], old.y[fold != f], ridge=1.0)
        risk[fold == f] = beta[0] + slope * (x0[fold == f] @ beta[1:])
        later += (beta[0] + slope * (x1 @ beta[1:])) / 2
    before = Rows(old.y, old.known, 1 / (1 + np.exp(-risk)), old.cluster, old.day)
    after = Rows(new.y & new.known, new.known, 1 / (1 + np.exp(-later)), new.cluster, new.day)
    weights = []
    for chosen in (~new.known, new.known):
        if not chosen.any():
            weights.append(None)
            continue
        target = np.concatenate([np.zeros(len(x0)), np.ones(int(chosen.sum()))])
        beta = ridge_logistic(np.concatenate([x0, x1[chosen]]), target, ridge=1.0)
        weights.append(density_weights(beta[0] + x0 @ beta[1:]))
    found = estimate_rates(before, after, weights[0], weights[1], by_days=day_effect > 0)
    return (
        found,
        float(y1.mean()),
        float(y1[new.known].mean()),
        y1[~new.known].sum() / max(1, (~new.known).sum()),
    )


def holds(estimate, truth: float) -> bool:  # type: ignore[no-untyped-def]
    return abs(estimate.value - truth) <= estimate.spread.reach()


def test_the_interval_covers_where_only_traffic_changed_and_the_naive_rate_does_not() -> None:
    """30 runs: fewer than 25 hits have a chance of 0.3 % at 95 %."""
    hits, naive, off = 0, 0, 0
    for seed in range(30):
        found, truth, seen, missing = estimates(seed)
        assert found.unlabelled is not None
        assert found.whole is not None
        assert found.off is not None
        hits += holds(found.whole, truth) and holds(found.unlabelled, float(missing))
        naive += abs(seen - truth) <= found.whole.spread.reach()
        off += not holds(found.off, 0.0)
    assert hits >= 25
    assert naive <= 6
    assert off <= 5


def test_a_change_within_is_flagged() -> None:
    flagged = 0
    for seed in range(10):
        found, *_ = estimates(100 + seed, worse=0.4)
        assert found.off is not None
        flagged += found.off.value > found.off.spread.reach()
    assert flagged >= 9


def test_risks_that_are_too_flat_are_set_right_by_the_weights() -> None:
    """Half of the slopes: the mean of risks alone would be off; the recalibrated one is not."""
    gaps, plain = [], []
    for seed in range(8):
        found, _, _, missing = estimates(200 + seed, slope=0.5)
        assert found.unlabelled is not None
        gaps.append(found.unlabelled.value - missing)
        straight, *_ = estimates(200 + seed)
        assert straight.unlabelled is not None
        plain.append(straight.unlabelled.value - missing)
    assert abs(float(np.mean(gaps))) < 0.012
    assert abs(float(np.mean(plain))) < 0.012


def test_no_missing_label_leaves_the_check_alone() -> None:
    found, truth, seen, _ = estimates(1, hide=0.0)
    assert found.unlabelled is None
    assert found.whole is None
    assert found.off is not None
    assert truth == seen


def test_days_widen_the_interval() -> None:
    plain, *_ = estimates(3)
    daily, *_ = estimates(3, day_effect=0.5)
    assert plain.whole is not None
    assert daily.whole is not None
    assert daily.whole.spread.reach() > plain.whole.spread.reach()


def test_samples_stand_for_their_shares() -> None:
    y = np.array([True, False, False, True])
    known = np.array([True, True, True, False])
    new = Rows(y, known, np.array([0.5, 0.5, 0.5, 0.8]), np.arange(4), np.arange(4))
    old = Rows(np.array([True, False]), np.ones(2, bool), np.array([0.5, 0.5]), np.arange(2) + 4,
               np.arange(2))  # fmt: skip
    whole = estimate_rates(old, new, np.ones(2), np.ones(2), False, share=0.1).whole
    assert whole is not None
    assert whole.value == pytest.approx(0.9 / 3 + 0.1 * 0.8)


def test_weights_have_mean_one_and_a_ceiling() -> None:
    weights = density_weights(np.array([0.0] * 999 + [9.0]))
    assert weights.mean() == pytest.approx(1.0)
    assert weights[-1] / weights[0] == pytest.approx(MAX_WEIGHT * (999 + math.exp(9)) / 1000)
    assert np.allclose(density_weights(np.full(5, -3.0)), 1.0)


@pytest.mark.simulate
@pytest.mark.parametrize("day_effect", [0.0, 0.3])
def test_coverage_of_the_whole_rate(day_effect: float) -> None:
    runs = 400
    tally = np.zeros(4)
    for seed in range(runs):
        found, truth, seen, missing = estimates(5000 + seed, day_effect=day_effect)
        assert found.unlabelled is not None
        assert found.whole is not None
        assert found.off is not None
        tally += (
            holds(found.whole, truth),
            holds(found.unlabelled, float(missing)),
            abs(seen - truth) <= found.whole.spread.reach(),
            not holds(found.off, 0.0),
        )
    whole, unlabelled, naive, off = tally / runs
    print(day_effect, whole, unlabelled, naive, off)
    error = 1.645 * math.sqrt(0.95 * 0.05 / runs)
    assert whole >= 0.95 - error - 0.02
    assert unlabelled >= 0.93
    assert naive < (0.1 if day_effect == 0 else 0.7)
    assert off <= 0.05 + error
