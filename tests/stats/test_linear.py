from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.linear import Linear, Units, logit_interval, plain_interval


def test_units_count_the_clusters_of_either_label_and_leave_no_gaps() -> None:
    y = np.array([1, 0, 0, 1, 1], dtype=bool)
    units = Units.of(y, np.array([7, 7, 2, 9, 9]))
    assert units.code.tolist() == [1, 1, 0, 2, 2]
    assert (units.n, units.n_bad, units.n_good, units.fewest) == (3, 2, 2, 2)
    assert Units.of(y, units) is units
    assert not units.known


def test_the_variance_is_that_of_cluster_sums() -> None:
    units = Units.of(np.array([1, 0, 1], dtype=bool), np.array([0, 0, 1]))
    assert units.totals(np.array([1.0, 2.0, 5.0])).tolist() == [3.0, 5.0]
    assert units.variance(np.array([1.0, 2.0, 5.0])) == pytest.approx(2 * (9 + 25))
    one = Units.of(np.array([1, 0], dtype=bool), np.array([4, 4]))
    assert math.isnan(one.variance(np.array([1.0, -1.0])))
    assert math.isnan(plain_interval(Linear(0.5, np.array([1.0, -1.0])), one).low)


def test_limits_stay_where_the_figure_may_be() -> None:
    y = np.arange(40) % 2 == 0
    units = Units.of(y, np.arange(40))
    wide = Linear(0.2, np.where(y, 0.1, -0.1))
    found = plain_interval(wide, units, floor=0.0, ceiling=1.0)
    assert (found.low, found.high) == (0.0, 1.0)
    logit = logit_interval(wide, units)
    assert 0 < logit.low < 0.2 < logit.high < 1
    assert math.isnan(logit_interval(Linear(1.0, wide.influence), units).low)
    assert math.isnan(plain_interval(None, units).value)
