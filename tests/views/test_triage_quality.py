from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from analysis.stats import calibration
from analysis.stats.brier_parts import brier_parts
from analysis.stats.recalibration import recalibration
from analysis.views.triage_quality import (
    NET_BENEFIT_COLUMNS,
    Labelled,
    Quality,
    net_benefit_table,
    quality,
)
from tests.stats.risk_worlds import limit
from tests.views.risk_queue import Planted, turned


def test_figures_are_of_the_candidates_own_rows_with_a_known_label() -> None:
    queue = Planted().queue(1)
    queue.known[::7] = False
    queue.own[::5] = False
    rows = queue.known & queue.own
    y, p, cluster = queue.bad[rows], queue.risk[rows], queue.cluster[rows]
    found = quality(queue)
    assert found.roc_auc.value == pytest.approx(roc_auc_score(y, p))
    assert found.average_precision.value == pytest.approx(average_precision_score(y, p))
    assert found.brier.value == pytest.approx(brier_score_loss(y, p))
    fitted, parts = recalibration(y, p, cluster), brier_parts(y, p, cluster)
    for told, stat in (
        (found.roc_auc, calibration.roc_auc(y, p, cluster)),
        (found.average_precision, calibration.average_precision(y, p, cluster)),
        (found.brier, calibration.brier(y, p, cluster)),
        (found.brier_skill, calibration.brier_skill(y, p, cluster)),
        (found.calibration_error, calibration.calibration_error(y, p, cluster)),
        (found.brier_reliability, parts.reliability),
        (found.brier_resolution, parts.resolution),
        (found.brier_uncertainty, parts.uncertainty),
        (found.calibration_slope, fitted.slope),
        (found.calibration_intercept, fitted.in_the_large),
    ):
        assert told.support == rows.sum()
        assert (told.value, told.low, told.high) == pytest.approx((stat.value, stat.low, stat.high))


def test_intervals_hold_what_was_planted() -> None:
    # 5 % promised; 200 windows whose risks are right, or wrong by a slope and a shift.
    missed = np.zeros(4)
    for seed in range(200):
        right = quality(Planted(n=2000).queue(seed))
        wrong = quality(Planted(n=2000, slope=0.6, shift=-1.0).queue(seed + 10**5))
        for k, (one, true) in enumerate(
            [
                (right.calibration_slope, 1.0),
                (right.calibration_intercept, 0.0),
                (right.calibration_error, 0.0),
                (wrong.calibration_slope, 0.6),
            ]
        ):
            assert one.low is not None
            assert one.high is not None
            missed[k] += not one.low <= true <= one.high
    assert (missed / 200 <= limit(0.05, 200, comparisons=4)).all(), missed / 200


def test_the_order_of_rows_with_different_risks_changes_nothing() -> None:
    queue = Planted().queue(2)
    order = np.random.default_rng(2).permutation(len(queue.risk))
    queue = dataclasses.replace(queue, risk=(np.argsort(np.argsort(queue.risk)) + 1) / 10_000)
    first, again = quality(queue), quality(turned(queue, order))
    for field in dataclasses.fields(Quality):
        a, b = getattr(first, field.name), getattr(again, field.name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)


def test_rows_are_sorted_by_risk_and_then_by_id() -> None:
    queue = Planted(n=500).queue(3)
    queue = dataclasses.replace(queue, risk=np.round(queue.risk, 1))
    rows = Labelled.of(queue)
    assert (np.diff(rows.p) >= 0).all()
    same = np.diff(rows.p) == 0
    assert (np.diff(rows.rows)[same] > 0).all()
    assert Labelled.of(rows) is rows


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("no label", {"known": np.zeros(600, dtype=bool)}),
        ("no model", {"risk": np.full(600, np.nan)}),
        ("no own row", {"own": np.zeros(600, dtype=bool)}),
    ],
)
def test_without_rows_every_figure_is_unknown(why: str, changes: dict[str, np.ndarray]) -> None:
    queue = dataclasses.replace(Planted(n=600).queue(4), **changes)
    assert quality(queue) == Quality.unknown()
    table = net_benefit_table(queue, 0.05)
    assert tuple(table.columns) == NET_BENEFIT_COLUMNS
    assert table.empty


class TestNetBenefit:
    def test_it_is_that_of_vickers_and_elkin_at_the_costs_threshold(self) -> None:
        queue = Planted().queue(5)
        table = net_benefit_table(queue, 0.05)
        own = table[table["break_even"]].iloc[0]
        y, reviewed = queue.bad, queue.risk >= 0.05
        expected = (y & reviewed).sum() - (~y & reviewed).sum() * 0.05 / 0.95
        assert table["break_even"].sum() == 1
        assert own["net_benefit"] == pytest.approx(expected / len(y))
        assert own["net_benefit_of_all"] == pytest.approx(y.mean() - (~y).mean() * 0.05 / 0.95)
        gain = own["net_benefit"] - max(0.0, own["net_benefit_of_all"])
        assert own["gain"] == pytest.approx(gain)
        assert own["support"] == len(y)
        assert table["threshold"].is_monotonic_increasing

    def test_right_risks_are_of_use_and_a_constant_risk_is_not(self) -> None:
        right = net_benefit_table(Planted(n=20_000).queue(6), 0.1)
        own = right[right["break_even"]].iloc[0]
        assert own["gain_low"] > 0
        queue = Planted(n=20_000).queue(6)
        constant = np.full(len(queue.risk), np.round(queue.bad.mean(), 6))
        table = net_benefit_table(dataclasses.replace(queue, risk=constant), 0.1)
        assert (table["gain"] <= 1e-12).all()
        assert not (table["gain_low"] > 0).any()

    @pytest.mark.parametrize("break_even", [1e-4, 0.05, 1.0])
    def test_any_costs_have_a_row(self, break_even: float) -> None:
        table = net_benefit_table(Planted().queue(7), break_even)
        assert table["break_even"].sum() == 1
        assert np.isfinite(table[["threshold", "net_benefit", "gain"]]).all(axis=None)
        known = table.dropna()
        assert (known["gain_low"] <= known["gain"]).all()
        assert (known["gain"] <= known["gain_high"]).all()


def test_the_world_of_these_tests_is_calibrated() -> None:
    queue = Planted(n=300_000).queue(8)
    shifted = special.expit(special.logit(queue.risk))
    assert queue.bad.mean() == pytest.approx(shifted.mean(), abs=0.002)
