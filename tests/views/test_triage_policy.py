from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.queue_forecast import fit
from analysis.stats.weekday_factors import WeekdayFactors
from analysis.views.triage_choice import settled
from analysis.views.triage_policy import (
    Costs,
    Forecast,
    Queue,
    Week,
    choose_threshold,
    fits,
    forecast,
    lower_bound,
    outcome,
    reviewed_by,
    row_costs,
    saving,
    slots,
    total_error,
    within_capacity,
)

COSTS = Costs(review_usd=2.0, missed_usd=40.0, capacity_per_day=3.0, guard_p90=6.0)
POLICIES = ("selected", "review_all", "review_none", "random_at_capacity", "top_by_capacity")


def queue(
    risk: list[float],
    bad: list[int] | None = None,
    day: list[int] | None = None,
    coverage: list[float] | None = None,
    known: list[int] | None = None,
) -> Queue:
    n = len(risk)
    days = day or [0] * n
    size = max(days, default=0) + 1
    return Queue(
        risk=np.array(risk, dtype=float),
        known=np.array(known or [1] * n, dtype=bool),
        bad=np.array(bad or [0] * n, dtype=bool),
        day=np.array(days, dtype=np.int64),
        cluster=np.arange(n, dtype=np.int64),
        ts_us=np.arange(n, dtype=np.int64)[::-1].copy(),
        rule=None,
        own=np.ones(n, dtype=bool),
        days=np.arange(size, dtype=np.int64),
        coverage=np.array(coverage or [1.0] * size),
    )


def large(seed: int, days: int = 20, a_day: int = 30) -> Queue:
    rng = np.random.default_rng(seed)
    n = days * a_day
    risk = np.round(rng.beta(1, 12, n), 3)
    q = queue(risk.tolist(), day=np.repeat(np.arange(days), a_day).tolist())
    return dataclasses.replace(
        q,
        bad=rng.random(n) < risk,
        known=rng.random(n) < 0.95,
        cluster=rng.integers(0, n // 3, n),
        ts_us=rng.permutation(n),
    )


class TestCapacity:
    @pytest.mark.parametrize(
        ("why", "risk", "reached"),
        [
            ("the highest risks", [0.1, 0.5, 0.3, 0.4, 0.2], [1, 2, 3]),
            ("ties go to the first id", [0.2, 0.2, 0.2, 0.2, 0.2], [0, 1, 2]),
            ("a tie at the edge", [0.2, 0.9, 0.2, 0.2, 0.9], [0, 1, 4]),
            ("fewer than there is room for", [0.2, 0.1], [0, 1]),
        ],
    )
    def test_a_days_reviews_are_the_most_valuable(
        self, why: str, risk: list[float], reached: list[int]
    ) -> None:
        q = queue(risk)
        found = within_capacity(q, COSTS, np.ones(len(risk), dtype=bool), by_risk=True)
        assert np.flatnonzero(found).tolist() == reached

    def test_without_a_model_the_first_to_arrive_are_reviewed(self) -> None:
        q = queue([0.9, 0.8, 0.1, 0.2, 0.3])  # they arrive in the reverse order
        assert np.flatnonzero(reviewed_by(q, COSTS, "review_all", None)).tolist() == [2, 3, 4]

    @pytest.mark.parametrize(
        ("capacity", "coverage", "expected"),
        [(3, [1, 1, 1], [3, 3, 3]), (0.5, [1, 1, 1, 1], [0, 1, 0, 1]), (4, [0.5, 1, 0.25], [2, 4, 1]),
         (1 / 3, [1] * 6, [0, 0, 1, 0, 0, 1]), (2.5, [1, 0, 1], [2, 0, 3])],
    )  # fmt: skip
    def test_fractions_of_a_review_carry_over(
        self, capacity: float, coverage: list[float], expected: list[int]
    ) -> None:
        costs = dataclasses.replace(COSTS, capacity_per_day=capacity)
        q = queue([0.1] * len(coverage), day=list(range(len(coverage))), coverage=coverage)
        assert slots(q, costs).tolist() == expected

    def test_random_reviews_are_expected_counts(self) -> None:
        q = large(1)
        share = reviewed_by(q, COSTS, "random_at_capacity", None)
        assert share.tolist() == [3 / 30] * len(q.risk)
        found = outcome(q, COSTS, "random_at_capacity", share)
        assert found.reviewed == pytest.approx(q.known.sum() / 10)
        assert found.tp == pytest.approx((q.known & q.bad).sum() / 10)

    @pytest.mark.parametrize("seed", range(5))
    def test_a_threshold_reaches_the_top_of_the_capacity_above_it(self, seed: int) -> None:
        q = large(seed)
        top = reviewed_by(q, COSTS, "top_by_capacity", None).astype(bool)
        for threshold in (0.0, 0.05, 0.1, 0.2, 1.0):
            chosen = reviewed_by(q, COSTS, "selected", threshold).astype(bool)
            assert (chosen == (top & (q.risk >= threshold))).all()


class TestCosts:
    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.lists(
            st.tuples(st.integers(0, 20), st.booleans(), st.booleans(), st.integers(0, 3)),
            min_size=1,
            max_size=60,
        ),
        st.integers(0, 20),
    )
    def test_every_policy_costs_its_reviews_and_its_misses(
        self, rows: list[tuple[int, bool, bool, int]], threshold: int
    ) -> None:
        risk, bad, known, day = (list(v) for v in zip(*rows, strict=True))
        q = queue([r / 20 for r in risk], bad, day, known=known if any(known) else None)
        for name in POLICIES:
            reviewed = reviewed_by(q, COSTS, name, threshold / 20)
            found = outcome(q, COSTS, name, reviewed)
            support = q.known.sum()
            assert found.tp is not None
            assert found.fp is not None
            assert found.fn is not None
            assert found.tn is not None
            assert found.tp + found.fp + found.fn + found.tn == pytest.approx(support)
            assert found.reviewed == pytest.approx(found.tp + found.fp)
            expected = 2.0 * (found.tp + found.fp) + 40.0 * found.fn
            assert found.cost_usd.value == pytest.approx(expected)
            assert row_costs(q, COSTS, reviewed).sum() == pytest.approx(expected)
            assert found.cost_usd.low is not None
            assert found.cost_usd.high is not None
            assert 0 <= found.cost_usd.low <= expected + 1e-9
            assert expected - 1e-9 <= found.cost_usd.high

    def test_a_saving_is_paired_by_row(self) -> None:
        q = large(2)
        none, top = (
            reviewed_by(q, COSTS, name, None) for name in ("review_none", "top_by_capacity")
        )
        value, error, df = saving(q, COSTS, none, top)
        difference = row_costs(q, COSTS, none) - row_costs(q, COSTS, top)
        assert value == pytest.approx(difference.sum())
        clusters = np.bincount(q.cluster, weights=difference)
        days = np.bincount(q.day, weights=difference)
        expected = max((clusters**2).sum(), 20 * days.var(ddof=1))
        assert error == pytest.approx(math.sqrt(expected))
        assert lower_bound((value, error, df)) == pytest.approx(
            value - stats.t.ppf(0.95, df) * error
        )

    def test_intervals_of_a_total_hold_the_truth(self) -> None:
        # Users arrive at random; one row in 25 is a missed failure, one in ten a review. 5 %
        # promised, R = 1000.
        rng, missed = np.random.default_rng(3), 0
        for _ in range(1000):
            users = rng.poisson(500)
            sizes = rng.geometric(0.4, users)
            n = int(sizes.sum())
            q = dataclasses.replace(
                queue([0.1] * n, day=[0] * n),
                cluster=np.repeat(np.arange(users), sizes),
                day=rng.integers(0, 14, n),
                days=np.arange(14),
                coverage=np.ones(14),
            )
            cost = np.where(rng.random(n) < 0.04, 40.0, 0.0) + 2.0 * (rng.random(n) < 0.1)
            error, df = total_error(q, cost)
            truth = 500 * 2.5 * (0.04 * 40 + 0.1 * 2)
            missed += abs(cost.sum() - truth) > stats.t.ppf(0.975, df) * error
        assert missed / 1000 <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 1000)


class TestDemand:
    @pytest.mark.parametrize(
        ("why", "daily", "expected"),
        [
            ("no day", [], Forecast(0.0, 0.0, None, None, 0.0)),
            ("nothing asked", [0.0] * 7, Forecast(0.0, 0.0, 0.0, 0.0, 0.0)),
        ],
    )
    def test_quiet_days_have_no_queue(
        self, why: str, daily: list[float], expected: Forecast
    ) -> None:
        assert forecast(np.array(daily), 5.0) == expected

    def test_few_days_have_no_limits_and_do_not_fit(self) -> None:
        found = forecast(np.array([3.0, 4.0]), 5.0)
        assert found.low is found.high is None
        assert not fits(np.array([3.0, 4.0]), COSTS)

    def test_it_fits_where_the_guard_is_surely_kept(self) -> None:
        daily = np.random.default_rng(1).poisson(12, 14).astype(float)
        week = Week.of(np.arange(14), WeekdayFactors(np.array([1.2] * 5 + [0.5] * 2), np.zeros(7)))
        for at in (None, week):
            found, model = forecast(daily, 20.0, at), fit(daily, at)
            assert found.low is not None
            assert found.high is not None
            assert model is not None
            for guard in range(5, 40):
                costs = Costs(2.0, 40.0, capacity_per_day=20.0, guard_p90=guard)
                assert fits(daily, costs, at) is (model.confidence(guard, 0.1) >= 5 / 6)
                assert fits(daily, costs, at) or guard < found.high
                assert not fits(daily, costs, at) or guard > found.p90 - 0.5
            tight = Costs(2.0, 40.0, capacity_per_day=found.p50 - 0.01, guard_p90=100.0)
            assert not fits(daily, tight, at)

    def test_a_week_that_is_known_leaves_room(self) -> None:
        # Quiet weekends are no noise: the queue of a day at random has less of a tail.
        weekday = (np.arange(28) + 3) % 7
        factors = np.array([1.23] * 5 + [0.425] * 2)
        daily = np.random.default_rng(2).poisson(30 * factors[weekday]).astype(float)
        week = Week.of(np.arange(28), WeekdayFactors(factors, np.zeros(7)))
        known, alike = forecast(daily, 40.0, week), forecast(daily, 40.0)
        assert known.high is not None
        assert alike.high is not None
        assert known.high < alike.high - 5

    @pytest.mark.parametrize("seed", range(4))
    def test_the_threshold_is_the_lowest_whose_demand_fits(self, seed: int) -> None:
        q = large(seed)
        costs = dataclasses.replace(COSTS, capacity_per_day=8.0, guard_p90=14.0)
        found = choose_threshold(q.risk, q.demand, costs)
        assert found is not None
        assert found > costs.break_even
        assert fits(q.demand(found), costs)
        below = q.risk[(q.risk < found) & (q.risk >= costs.break_even)].max()
        assert not fits(q.demand(float(below)), costs)

    def test_with_room_it_is_where_a_review_pays(self) -> None:
        q = large(1)
        costs = dataclasses.replace(COSTS, capacity_per_day=100.0, guard_p90=200.0)
        assert choose_threshold(q.risk, q.demand, costs) == costs.break_even == 0.05

    def test_without_any_room_there_is_none(self) -> None:
        q = queue([0.5] * 60, day=[k // 6 for k in range(60)])
        costs = dataclasses.replace(COSTS, capacity_per_day=2.0, guard_p90=3.0)
        assert choose_threshold(q.risk, q.demand, costs) is None


class TestSettled:
    def test_the_last_days_count_once_their_labels_are_in(self) -> None:
        rng = np.random.default_rng(1)
        full = large(1)
        arrived = np.where(full.day < 15, 0.97, 0.97 - 0.15 * (full.day - 14))
        q = dataclasses.replace(full, known=rng.random(len(full.risk)) < arrived)
        q = dataclasses.replace(q, bad=q.bad & q.known)
        found = settled(q)
        assert set(q.day[q.known]) == set(range(20))
        last = found.day[found.known].max()
        assert 12 <= last < 18
        assert (found.known == (q.known & (q.day <= last))).all()
        assert not (found.bad & ~found.known).any()
        assert found.risk is q.risk

    @pytest.mark.parametrize("share", [1.0, 0.6])
    def test_labels_that_are_missing_alike_on_all_days_count(self, share: float) -> None:
        q = large(2, a_day=1000)
        rng = np.random.default_rng(2)
        q = dataclasses.replace(q, known=rng.random(len(q.risk)) < share)
        assert (settled(q).known == q.known).all()

    def test_a_queue_without_a_label_stays_without(self) -> None:
        q = dataclasses.replace(large(3), known=np.zeros(600, dtype=bool))
        assert not settled(q).known.any()
