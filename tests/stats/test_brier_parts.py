from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from analysis.stats.brier_parts import BrierParts, brier_parts
from tests.stats.risk_worlds import World, limit, risks

WORLDS = {
    "calibrated": World(),
    "too low": World(shift=0.5),
    "too extreme": World(slope=0.6, shift=-1.0),
    "no signal": World(slope=0.0, shift=-2.8),
    "common": World(base=-1.0),
}


def truth(world: World) -> np.ndarray:
    """Reliability, resolution and uncertainty of a large sample, by its true risks."""
    _, p, _ = risks(world, 10**6, 100_000)
    true = world.true(p)
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    stated = np.array([p[k].mean() for k in bins])
    rate = np.array([true[k].mean() for k in bins])
    whole = float(true.mean())
    parts = [((stated - rate) ** 2).mean(), ((rate - whole) ** 2).mean(), whole * (1 - whole)]
    return np.array(parts)


def values(found: BrierParts) -> np.ndarray:
    return np.array([found.reliability.value, found.resolution.value, found.uncertainty.value])


@pytest.mark.parametrize("world", WORLDS)
def test_the_parts_add_up_to_the_brier_score_of_the_binned_risks(world: str) -> None:
    for seed in range(20):
        y, p, cluster = risks(WORLDS[world], seed, 100)
        found = brier_parts(y, p, cluster)
        binned = np.empty(len(p))
        for k in np.array_split(np.argsort(p, kind="stable"), 10):
            binned[k] = p[k].mean()
        assert found.binned == pytest.approx(brier_score_loss(y, binned), rel=1e-12)
        reliability, resolution, uncertainty = values(found)
        assert reliability - resolution + uncertainty == pytest.approx(found.binned, abs=1e-14)
        assert min(reliability, resolution) >= 0


def test_independent_rows_in_groups_of_one_risk_have_ferro_and_frickers_values() -> None:
    # 10 groups of 40 rows, each with one risk, so that bins are groups; formulas as they print them.
    rng = np.random.default_rng(3)
    stated = np.repeat(np.linspace(0.05, 0.6, 10), 40)
    y = rng.random(400) < stated + 0.15
    rate, whole = y.reshape(10, 40).mean(axis=1), y.mean()
    noise = (rate * (1 - rate) / 39).mean()
    whole_noise = whole * (1 - whole) / 399
    expected = [
        ((rate - np.linspace(0.05, 0.6, 10)) ** 2).mean() - noise,
        ((rate - whole) ** 2).mean() - noise + whole_noise,
        whole * (1 - whole) + whole_noise,
    ]
    np.testing.assert_allclose(values(brier_parts(y, stated, np.arange(400))), expected)


@pytest.mark.parametrize("world", WORLDS)
def test_they_are_the_truth_on_average_and_their_intervals_hold_it(world: str) -> None:
    # 5 % promised; 300 replicates of 300 clusters. Noise alone would add 0.0006 to reliability.
    covers(WORLDS[world], 300, 300)


@pytest.mark.simulate
@pytest.mark.parametrize("n_clusters", [120, 400, 3000])
@pytest.mark.parametrize("world", WORLDS)
def test_their_intervals_hold_the_truth_in_many_worlds(world: str, n_clusters: int) -> None:
    covers(WORLDS[world], 1500, n_clusters)


def covers(world: World, replicates: int, n_clusters: int) -> None:
    true = truth(world)
    missed, total, told = np.zeros(3), np.zeros(3), 0
    for seed in range(replicates):
        found = brier_parts(*risks(world, 5000 + seed, n_clusters))
        if math.isnan(found.reliability.low):
            continue
        told += 1
        total += values(found)
        ends = [(e.low, e.high) for e in (found.reliability, found.resolution, found.uncertainty)]
        missed += [not low <= t <= high for t, (low, high) in zip(true, ends, strict=True)]
    assert told > 0.95 * replicates
    assert (missed / told <= limit(0.05, told, comparisons=3 * len(WORLDS))).all(), missed / told
    # What is left is that no part is told to be negative: noise of about uncertainty/clusters.
    tolerance = 0.9 * true[2] / n_clusters + 0.02 * true[1]
    assert (total / told)[:2] == pytest.approx(true[:2], abs=tolerance)


def test_without_a_correction_reliability_would_be_noise() -> None:
    # Calibrated risks: the plug-in sum is 0.0006 on average, all of it noise.
    plain, corrected = [], []
    for seed in range(100):
        y, p, cluster = risks(World(), seed, 300)
        corrected.append(brier_parts(y, p, cluster).reliability.value)
        bins = np.array_split(np.argsort(p, kind="stable"), 10)
        plain.append(np.mean([(y[k].mean() - p[k].mean()) ** 2 for k in bins]))
    assert np.mean(plain) > 4e-4
    assert np.mean(corrected) < 0.4 * np.mean(plain)


@pytest.mark.parametrize(
    ("why", "y", "p"),
    [
        ("no row", np.zeros(0, dtype=bool), np.zeros(0)),
        ("no bad row", np.zeros(50, dtype=bool), np.linspace(0.0, 0.3, 50)),
        ("one risk", np.arange(50) < 20, np.full(50, 0.3)),
        ("fewer rows than bins", np.arange(5) < 2, np.full(5, 0.3)),
    ],
)
def test_edges_have_values_and_no_false_limits(why: str, y: np.ndarray, p: np.ndarray) -> None:
    found = brier_parts(y, p, np.arange(len(y)))
    for part in (found.reliability, found.resolution, found.uncertainty):
        assert math.isnan(part.value) == (why == "no row")
        assert not part.low > part.value
        assert not part.high < part.value


def test_one_cluster_or_few_of_a_label_leave_the_limits_open() -> None:
    y, p, cluster = risks(World(), 4, 300)
    one = brier_parts(y, p, np.zeros(len(y), dtype=np.int64))
    few = brier_parts(y & (np.cumsum(y) <= 9), p, cluster)
    for found in (one, few):
        assert math.isfinite(found.reliability.value)
        assert math.isnan(found.reliability.low)
        assert math.isnan(found.uncertainty.high)
