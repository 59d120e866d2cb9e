"""The risk-control option says what it promises, asks and costs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.stats.risk_control import control
from analysis.stats.weekday_factors import WeekdayFactors
from analysis.views.triage_control import risk_control
from analysis.views.triage_policy import Costs, reviewed_by, row_costs
from tests.views.test_triage_workload import queue

ALIKE = WeekdayFactors.alike()
COSTS = Costs(2, 40, 25, 40)


def test_it_is_learned_before_the_window_and_shown_on_it() -> None:
    rng = np.random.default_rng(1)
    before, window = (queue(rng, n, 500, np.ones(7), 0.0) for n in (9, 14))
    reviewed = reviewed_by(window, COSTS, "selected", 0.2)
    found = risk_control(before, window, COSTS, reviewed, ALIKE, 0.1, 0.95)
    failed = before.known & before.bad
    learned = control(before.risk[failed], before.cluster[failed], before.day[failed], 0.1, 0.95)
    assert found.threshold == learned.threshold
    assert found.threshold is not None
    wanted = window.risk >= found.threshold
    whole = float(row_costs(window, COSTS, wanted.astype(float)).sum()) / 14
    assert found.cost_usd_per_day == pytest.approx(whole)
    extra = found.extra_usd_per_day
    chosen = float(row_costs(window, COSTS, reviewed).sum()) / 14
    assert extra.value == pytest.approx(whole - chosen)
    assert extra.low is not None
    assert extra.high is not None
    assert extra.low < extra.value < extra.high
    failures = window.known & window.bad
    missed = found.missed_share
    assert missed.value == pytest.approx((failures & ~wanted).sum() / failures.sum())
    assert missed.support == failures.sum()
    assert found.reviews_per_day_p50 == pytest.approx(np.median(window.daily(wanted)), rel=0.1)
    # Nearly all that arrives: far above the capacity, which the promise does not look at.
    assert found.reviews_per_day_p90 > COSTS.capacity_per_day
    assert found.fits is False
    roomy = Costs(2, 40, 1e4, 1e4)
    assert risk_control(before, window, roomy, reviewed, ALIKE, 0.1, 0.95).fits is True


def test_with_too_few_failures_it_says_how_many_it_takes() -> None:
    rng = np.random.default_rng(2)
    before, window = (queue(rng, 9, 30, np.ones(7), 0.0) for _ in range(2))
    found = risk_control(before, window, COSTS, np.zeros(len(window.risk)), ALIKE, 0.05, 0.95)
    assert found.threshold is found.cost_usd_per_day is found.fits is None
    assert found.missed_share.value is found.extra_usd_per_day.value is None
    assert found.reason is not None
    assert f"{found.n_needed:,} are needed" in found.reason
    assert found.n_failures < found.n_needed


def test_a_window_without_a_failure_has_no_missed_share() -> None:
    rng = np.random.default_rng(3)
    before, window = (queue(rng, n, 500, np.ones(7), 0.0) for n in (9, 14))
    none = dataclasses.replace(window, bad=np.zeros(len(window.bad), dtype=bool))
    found = risk_control(before, none, COSTS, np.zeros(len(none.risk)), ALIKE, 0.1, 0.95)
    assert found.threshold is not None
    assert found.missed_share.value is None
    assert found.missed_share.support == 0
