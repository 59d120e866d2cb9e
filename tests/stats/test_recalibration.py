from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special

from analysis.stats.linear import Units
from analysis.stats.recalibration import logits, recalibration
from tests.stats.risk_worlds import World, limit, risks


def test_values_and_errors_are_those_of_statsmodels() -> None:
    y, p, cluster = risks(World(slope=0.7, shift=-0.4, alike=0.3), 1, 400)
    found = recalibration(y, p, cluster)
    units = Units.of(y, cluster)
    log_odds = logits(p)
    # statsmodels also multiplies by (n − 1)/(n − k).
    both = sm.GLM(y, sm.add_constant(log_odds), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}
    )
    alone = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=log_odds).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}
    )
    for ours, value, error, k in (
        (found.slope, both.params[1], both.bse[1], 2),
        (found.intercept, both.params[0], both.bse[0], 2),
        (found.in_the_large, alone.params[0], alone.bse[0], 1),
    ):
        assert ours.value == pytest.approx(value, abs=1e-7)
        expected = error * math.sqrt((len(y) - k) / (len(y) - 1))
        assert (ours.high - ours.low) / 2 / units.rare_t == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("why", "world"),
    [
        ("calibrated", World()),
        ("too low", World(shift=0.5)),
        ("too extreme", World(slope=0.6, shift=-1.0)),
        ("no signal", World(slope=0.0, shift=-2.8)),
    ],
)
def test_intervals_hold_the_planted_slope_and_intercept(why: str, world: World) -> None:
    # 5 % promised; 400 replicates of 300 clusters, whose labels are alike (0.3).
    covers(world, 400, 300)


@pytest.mark.simulate
@pytest.mark.parametrize("n_clusters", [100, 300, 3000])
@pytest.mark.parametrize("world", [World(), World(shift=0.5), World(slope=0.6, shift=-1.0)])
def test_intervals_hold_them_in_many_worlds(world: World, n_clusters: int) -> None:
    covers(world, 2000, n_clusters)


def covers(world: World, replicates: int, n_clusters: int) -> None:
    missed = np.zeros(2)
    told = 0
    for seed in range(replicates):
        found = recalibration(*risks(world, seed, n_clusters))
        if math.isnan(found.slope.low):
            continue
        told += 1
        missed[0] += not found.slope.low <= world.slope <= found.slope.high
        missed[1] += not found.intercept.low <= world.shift <= found.intercept.high
    assert told > 0.95 * replicates
    assert (missed / told <= limit(0.05, told, comparisons=8)).all(), missed / told


def test_in_the_large_holds_the_shift_that_makes_risks_right_on_average() -> None:
    missed = 0
    for seed in range(400):
        found = recalibration(*risks(World(shift=0.4), seed, 300)).in_the_large
        missed += not found.low <= 0.4 <= found.high
    assert missed / 400 <= limit(0.05, 400, comparisons=9)


def test_the_mean_risk_after_the_shift_is_the_rate() -> None:
    y, p, cluster = risks(World(shift=0.4, slope=0.5), 2, 300)
    shift = recalibration(y, p, cluster).in_the_large.value
    assert special.expit(logits(p) + shift).mean() == pytest.approx(y.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("why", "y", "p"),
    [
        ("no bad row", np.zeros(60, dtype=bool), np.linspace(0.1, 0.9, 60)),
        ("only bad rows", np.ones(60, dtype=bool), np.linspace(0.1, 0.9, 60)),
        ("no row", np.zeros(0, dtype=bool), np.zeros(0)),
        ("one risk", np.arange(60) < 20, np.full(60, 0.3)),
        ("separated", np.arange(60) >= 40, np.linspace(0.1, 0.9, 60)),
    ],
)
def test_what_cannot_be_fitted_has_no_slope(why: str, y: np.ndarray, p: np.ndarray) -> None:
    found = recalibration(y, p, np.arange(len(y)))
    assert math.isnan(found.slope.value)
    assert math.isnan(found.intercept.low)
    assert math.isnan(found.in_the_large.value) == (
        why in ("no bad row", "only bad rows", "no row")
    )


def test_risks_of_none_and_of_certainty_are_read_as_rounded() -> None:
    y = np.arange(80) % 4 == 0
    p = np.where(y, 0.4, 0.2)
    p[:2] = [0.0, 1.0]
    found = recalibration(y, p, np.arange(80))
    assert math.isfinite(found.slope.value)
    assert logits(np.array([0.0, 1.0])).tolist() == pytest.approx([-14.508657, 14.508657])


def test_few_clusters_of_a_label_leave_the_limits_open() -> None:
    y, p, cluster = risks(World(), 5, 300)
    y &= np.cumsum(y) <= 9
    found = recalibration(y, p, cluster)
    assert math.isfinite(found.slope.value)
    assert math.isnan(found.slope.low)
    assert math.isnan(found.in_the_large.high)
