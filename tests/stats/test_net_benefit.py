from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.linear import Units
from analysis.stats.net_benefit import NetBenefit, net_benefit
from tests.stats.risk_worlds import World, limit, risks

GRID = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9])


def by_hand(y: np.ndarray, reviewed: np.ndarray, t: float) -> np.ndarray:
    """(n,): what each row adds to n times the net benefit."""
    return np.where(reviewed, np.where(y, 1.0, -t / (1 - t)), 0.0)


def error(rows: np.ndarray, units: Units) -> float:
    """Of the mean of rows, with clusters as units."""
    return math.sqrt(units.variance((rows - rows.mean()) / len(rows)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 6]), st.booleans())
def test_running_sums_give_what_each_threshold_by_itself_gives(
    seed: int, digits: int, mixed: bool
) -> None:
    y, p, cluster = risks(World(base=-1.5), seed, 60)
    p = np.round(p, digits)
    if mixed:
        turn = np.random.default_rng(seed).permutation(len(y))
        y, p, cluster = y[turn], p[turn], cluster[turn]
    units = Units.of(y, cluster)
    found = net_benefit(y, p, units, GRID)
    for k_t, t in enumerate(GRID.tolist()):
        model, every = by_hand(y, p >= t, t), by_hand(y, np.ones(len(y), dtype=bool), t)
        assert found.model.value[k_t] == pytest.approx(model.mean(), abs=1e-12)
        assert found.all_rows.value[k_t] == pytest.approx(every.mean(), abs=1e-12)
        assert found.reviewed[k_t] == (p >= t).mean()
        ends = []
        for rows, shown in ((model, p >= t), (model - every, p < t)):
            half = units.rare_t * error(rows, units)
            known = units.known and len(np.unique(cluster[shown])) >= 10
            ends.append([rows.mean(), *([half, half] if known else [math.nan, math.nan])])
            # More bad rows may come than were seen: above the model's value, below the gain over all.
            k = len(np.unique(cluster[shown & y]))
            more = max(0.0, (stats.chi2.ppf(0.975, 2 * k + 2) / 2 - k) ** 2 - 1.959964**2 * k)
            event = (np.bincount(cluster[y]) ** 2).sum() / max(y.sum(), 1) / (1 - t) / len(y)
            side = 2 if len(ends) == 1 else 1
            ends[-1][side] = math.hypot(ends[-1][side], math.sqrt(more) * event)
        found_ends = [(v, v - low, v + high) for v, low, high in ends]
        against = np.array(found_ends).min(axis=0)
        assert found.gain.value[k_t] == pytest.approx(against[0], abs=1e-12)
        assert found.gain.low[k_t] == pytest.approx(against[1], abs=1e-7, nan_ok=True)
        assert found.gain.high[k_t] == pytest.approx(against[2], abs=1e-7, nan_ok=True)
        assert found.model.high[k_t] == pytest.approx(found_ends[0][2], abs=1e-7, nan_ok=True)


def test_the_example_of_vickers_and_elkin() -> None:
    # Their formula at 20 %: (true positives − false positives × 0.2/0.8) / n.
    y = np.array([1] * 8 + [0] * 12 + [1] * 2 + [0] * 78, dtype=bool)
    p = np.array([0.3] * 20 + [0.1] * 80)
    found = net_benefit(y, p, np.arange(100), np.array([0.2]))
    assert found.model.value[0] == pytest.approx((8 - 12 * 0.25) / 100)
    assert found.all_rows.value[0] == pytest.approx((10 - 90 * 0.25) / 100)
    assert found.gain.value[0] == pytest.approx((8 - 12 * 0.25) / 100)
    assert found.reviewed[0] == pytest.approx(0.2)


def test_a_threshold_of_none_reviews_all_and_gains_nothing() -> None:
    y, p, cluster = risks(World(), 1, 300)
    found = net_benefit(y, p, cluster, np.array([0.0]))
    assert found.model.value[0] == found.all_rows.value[0] == pytest.approx(y.mean())
    assert found.gain.value[0] == 0


def true_gains(world: World) -> NetBenefit:
    return net_benefit(*risks(world, 10**6, 150_000), GRID[1:6])


@pytest.mark.parametrize("world", [World(), World(slope=0.6, shift=-1.0), World(base=-1.0)])
def test_intervals_hold_the_net_benefit_of_a_large_sample(world: World) -> None:
    # 5 % promised at each of five thresholds, 400 replicates of 300 clusters.
    covers(world, 400, 300)


@pytest.mark.simulate
@pytest.mark.parametrize("n_clusters", [150, 300, 2000])
@pytest.mark.parametrize("world", [World(), World(slope=0.6, shift=-1.0), World(base=-1.0)])
def test_intervals_hold_it_in_many_worlds(world: World, n_clusters: int) -> None:
    covers(world, 2000, n_clusters)


def covers(world: World, replicates: int, n_clusters: int) -> None:
    true = true_gains(world)
    missed, told = np.zeros((3, 5)), np.zeros((3, 5))
    for seed in range(replicates):
        found = net_benefit(*risks(world, 20_000 + seed, n_clusters), GRID[1:6])
        for k, name in enumerate(("model", "all_rows", "gain")):
            truth, curve = getattr(true, name).value, getattr(found, name)
            known = ~np.isnan(curve.low)
            told[k] += known
            missed[k] += known & ~((curve.low <= truth) & (truth <= curve.high))
    often = told > 0.9 * replicates
    assert often.sum() >= 9
    rates = missed[often] / told[often]
    assert (rates <= limit(0.05, replicates, comparisons=45)).all(), rates


def test_without_rows_or_labels_nothing_is_claimed() -> None:
    none = net_benefit(np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0, dtype=np.int64), GRID)
    assert np.isnan(none.model.value).all()
    good = net_benefit(np.zeros(50, dtype=bool), np.full(50, 0.1), np.arange(50), GRID)
    assert (good.model.value <= 0).all()
    assert np.isnan(good.model.low).all()
