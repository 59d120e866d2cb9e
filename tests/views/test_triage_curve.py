"""The curve over thresholds: figures and limits equal those of each threshold on its own."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats.nested_totals import NestedTotals
from analysis.views.triage_curve import WITH_LIMITS, next_best, threshold_curve
from analysis.views.triage_policy import (
    Costs,
    Queue,
    outcome,
    reviewed_by,
    total_error,
    within_capacity,
)

COSTS = Costs(review_usd=2.0, missed_usd=40.0, capacity_per_day=12.5, guard_p90=20.0)


def queue(
    seed: int, n_days: int = 14, a_day: float = 80.0, size: float = 2.0, user: float = 0.7
) -> Queue:
    """Calibrated risks; clusters of geometric size share a part of theirs, and a day."""
    rng = np.random.default_rng(seed)
    n_clusters = rng.poisson(n_days * a_day / size)
    cluster = np.repeat(np.arange(n_clusters), rng.geometric(1 / size, n_clusters))
    n = len(cluster)
    z = -3 + rng.standard_normal(n) + user * rng.standard_normal(n_clusters)[cluster]
    risk = np.round(1 / (1 + np.exp(-z)), 6)
    return Queue(
        risk=risk,
        day=rng.integers(0, n_days, n_clusters)[cluster],
        days=np.arange(n_days),
        coverage=np.ones(n_days),
        known=rng.random(n) < 0.95,
        bad=rng.random(n) < risk,
        cluster=cluster,
        ts_us=rng.permutation(n),
        rule=None,
        own=np.ones(n, dtype=bool),
    )


@pytest.mark.parametrize("n_days", [2, 14])
def test_limits_of_the_cost_are_those_of_each_threshold(n_days: int) -> None:
    q = queue(1, n_days)
    curve = threshold_curve({"choose": q}, q, 0.1, COSTS)
    for row in curve.itertuples():
        found = outcome(q, COSTS, "selected", reviewed_by(q, COSTS, "selected", row.threshold))
        assert found.cost_usd.low is not None
        assert found.cost_usd.high is not None
        assert row.cost_usd == pytest.approx(found.cost_usd.value)
        assert row.cost_usd_per_day_low == pytest.approx(found.cost_usd.low / n_days)
        assert row.cost_usd_per_day_high == pytest.approx(found.cost_usd.high / n_days)


def test_limits_of_the_demand_are_those_of_each_threshold() -> None:
    q = queue(2)
    curve = threshold_curve({"choose": q}, q, None, COSTS)
    for row in curve.itertuples():
        asked = (q.risk >= row.threshold).astype(float)
        spread, df = total_error(q, asked)
        half = stats.t.ppf(0.975, df) * spread / 14
        assert row.demand_per_day_low == pytest.approx(max(0, row.demand_per_day - half), abs=1e-9)
        assert row.demand_per_day_high == pytest.approx(row.demand_per_day + half)
        reached = within_capacity(q, COSTS, asked.astype(bool), by_risk=True)
        daily = np.bincount(q.day[reached], minlength=14)
        half = stats.t.ppf(0.975, 13) * daily.std(ddof=1) / math.sqrt(14)
        assert row.reviewed_per_day == pytest.approx(daily.mean())
        assert row.reviewed_per_day_low == pytest.approx(max(0, daily.mean() - half), abs=1e-6)
        assert row.reviewed_per_day_high == pytest.approx(min(12.5, daily.mean() + half), abs=1e-6)


@pytest.mark.parametrize("what", ["precision", "recall"])
def test_variances_of_rates_are_those_of_each_threshold(what: str) -> None:
    q = queue(3)
    curve = threshold_curve({"choose": q}, q, None, COSTS)
    for row in curve.itertuples():
        hit = reviewed_by(q, COSTS, "selected", row.threshold).astype(bool) & q.known
        base = hit if what == "precision" else q.known & q.bad
        y, n = int((hit & q.bad).sum()), int(base.sum())
        low, high = getattr(row, f"{what}_low"), getattr(row, f"{what}_high")
        if not n:
            assert math.isnan(low)
            continue
        p, variances = y / n, []
        for unit in (q.cluster, q.day):
            y_c = np.bincount(unit[base & hit], weights=q.bad[base & hit], minlength=unit.max() + 1)
            n_c = np.bincount(unit[base], minlength=unit.max() + 1)
            groups = int((n_c > 0).sum())
            variances.append(
                (groups / max(groups - 1, 1) * ((y_c - p * n_c) ** 2).sum() / n**2, groups)
            )
        assert low <= p <= high
        variance, groups = max(variances)
        if min(y, n - y) < 10:
            continue
        fix = (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, groups - 1)) ** 2
        size = min(n, p * (1 - p) / variance * min(1, fix))
        assert low == pytest.approx(stats.beta.ppf(0.025, p * size, (1 - p) * size + 1))
        assert high == pytest.approx(stats.beta.ppf(0.975, p * size + 1, (1 - p) * size))


def test_totals_of_nested_sets_equal_sums_over_each_set() -> None:
    rng = np.random.default_rng(5)
    step, cluster = rng.integers(0, 7, 300), rng.integers(0, 40, 300)
    values = rng.normal(size=(2, 300))
    found = NestedTotals.of(step, cluster, values, 7)
    for t in range(7):
        a, b = (np.bincount(cluster[step <= t], v[step <= t], 40) for v in values)
        assert found.products(0, 1)[t] == pytest.approx(a @ b)
        assert found.products(1, 1)[t] == pytest.approx(b @ b)
        assert found.totals(0)[t] == pytest.approx(a.sum())
        assert found.groups()[t] == len(np.unique(cluster[step <= t]))
    none = NestedTotals.of(step[:0], cluster[:0], values[:, :0], 7)
    assert none.products(0, 1).tolist() == [0.0] * 7


def test_limits_hold_the_truth_at_every_threshold() -> None:
    # Rates of a large draw; 5 % promised at each of seven thresholds, R = 200.
    replicates, at = 200, [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45]
    room = dataclasses.replace(COSTS, capacity_per_day=1e6)
    large = queue(99, 2000)
    truth = {}
    for t in at:
        asked = large.risk >= t
        caught = (asked & large.bad & large.known).sum()
        missed = (~asked & large.bad & large.known).sum()
        truth[t] = {
            "demand_per_day": asked.sum() / 2000,
            "precision": caught / (asked & large.known).sum(),
            "recall": caught / (caught + missed),
            "cost_usd_per_day": (2 * (asked & large.known).sum() + 40 * missed) / 2000,
        }
    outside = {(t, name): 0 for t in at for name in truth[t]}
    for seed in range(replicates):
        q = queue(1000 + seed)
        grid = dataclasses.replace(q, risk=np.array(at * 20))
        curve = threshold_curve({"choose": q}, grid, None, room).set_index("threshold")
        for t, name in outside:
            row = curve.loc[t]
            outside[t, name] += not row[f"{name}_low"] <= truth[t][name] <= row[f"{name}_high"]
    limit = 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / replicates)
    assert max(np.mean([outside[t, n] for t in at]) for n in truth[0.1]) / replicates <= limit
    assert max(outside.values()) / replicates <= 0.05 + 3.2 * math.sqrt(0.05 * 0.95 / replicates)


def test_without_rows_or_failures_limits_are_unknown() -> None:
    q = queue(4)
    none = dataclasses.replace(q, bad=np.zeros(len(q.bad), dtype=bool))
    curve = threshold_curve({"choose": none}, none, None, COSTS)
    assert curve[["recall", "recall_low", "recall_high"]].isna().all().all()
    assert curve["precision_low"].fillna(0).eq(0).all()
    assert list(curve.columns[-10:]) == [f"{n}_{e}" for n in WITH_LIMITS for e in ("low", "high")]


class TestNextBest:
    def test_they_are_the_cheapest_that_ask_for_something_else(self) -> None:
        q = queue(6)
        curve = threshold_curve({"choose": q, "candidate": queue(7)}, q, 0.2, COSTS)
        found = next_best(curve, 0.2)
        own = curve[curve["part"] == "choose"].set_index("threshold")
        assert len(found) == 2
        asked = own["demand_per_day"]
        apart = (asked - asked[0.2]).abs() >= 0.1 * asked[0.2]
        assert own.loc[found[0], "cost_usd"] == own.loc[apart, "cost_usd"].min()
        also = apart & ((asked - asked[found[0]]).abs() >= 0.1 * asked[found[0]])
        assert own.loc[found[1], "cost_usd"] == own.loc[also, "cost_usd"].min()

    def test_one_that_is_not_on_the_curve_has_none(self) -> None:
        q = queue(8)
        assert next_best(threshold_curve({"choose": q}, q, None, COSTS), 0.123456789) == ()
