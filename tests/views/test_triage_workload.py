"""What a threshold asks by weekday and what it catches; and who waits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from analysis.stats.queue_simulation import DAY_US, simulate
from analysis.stats.weekday_factors import WeekdayFactors, weekday_factors
from analysis.views.triage_policy import Costs, Queue, forecast, within_capacity
from analysis.views.triage_workload import WAIT_COLUMNS, WEEKDAYS, by_weekday, share, waiting

STRONG = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1 / 3, 1 / 3]) * 21 / 17
ALIKE = WeekdayFactors.alike()
THRESHOLD = 0.12


def queue(
    rng: np.random.Generator, n_days: int, a_day: float, factors: np.ndarray, spread: float
) -> Queue:
    """Calibrated risks in clusters of two on average; volumes lognormal about their weekday's."""
    sigma = math.sqrt(math.log1p(spread**2))
    volume = np.exp(sigma * rng.standard_normal(n_days) - sigma**2 / 2)
    clusters = rng.poisson(a_day / 2 * volume * factors[(np.arange(n_days) + 3) % 7])
    day = np.repeat(np.arange(n_days), clusters)
    cluster = np.repeat(np.arange(len(day)), rng.geometric(0.5, len(day)))
    n = len(cluster)
    z = -3.2 + 1.1 * rng.standard_normal(n) + 0.7 * rng.standard_normal(len(day))[cluster]
    risk = np.round(1 / (1 + np.exp(-z)), 6)
    return Queue(
        risk=risk,
        day=day[cluster],
        days=np.arange(n_days),
        coverage=np.ones(n_days),
        known=rng.random(n) < 0.9,
        bad=rng.random(n) < risk,
        cluster=cluster,
        ts_us=np.arange(n),
        rule=None,
        own=np.ones(n, dtype=bool),
    )


def split(q: Queue, before: int) -> tuple[np.ndarray, Queue]:
    """(arrivals of the days before, the queue of the days after)."""
    late = q.day >= before
    took = {
        name: getattr(q, name)[late] for name in ("risk", "known", "bad", "own", "cluster", "day")
    }
    took["day"] = took["day"] - before
    came = np.bincount(q.day, minlength=q.n_days)[:before]
    return came, dataclasses.replace(
        q, **took, days=q.days[before:], coverage=q.coverage[before:],
        ts_us=np.arange(late.sum()),
    )  # fmt: skip


class TestByWeekday:
    def test_days_alike_are_as_all_days(self) -> None:
        q = queue(np.random.default_rng(1), 14, 300, np.ones(7), 0.1)
        costs = Costs(2, 40, 60, 90)
        found = by_weekday(q, costs, THRESHOLD, ALIKE)
        whole = forecast(q.demand(THRESHOLD), 60)
        assert tuple(w.weekday for w in found) == WEEKDAYS
        for w in found:
            assert w.demand_p90 == pytest.approx(whole.p90)
            assert (w.low, w.high) == pytest.approx((whole.low, whole.high))
            assert w.overflow_probability == pytest.approx(whole.overflow)
        reached = within_capacity(q, costs, q.risk >= THRESHOLD, by_risk=True)
        caught = (reached & q.known & q.bad).sum() / (reached & q.known).sum() * reached.sum() / 14
        assert found[0].catches == pytest.approx(caught, rel=0.05)

    def test_a_quiet_weekend_asks_and_catches_less(self) -> None:
        q = queue(np.random.default_rng(2), 14, 300, STRONG, 0.0)
        found = by_weekday(q, Costs(2, 40, 40, 90), THRESHOLD, WeekdayFactors(STRONG, np.zeros(7)))
        monday, sunday = found[0], found[6]
        assert None not in (monday.catches, sunday.catches, monday.demand_p50, sunday.demand_p50)
        assert sunday.demand_p50 == pytest.approx(monday.demand_p50 / 3, rel=0.1)
        assert sunday.catches < monday.catches
        assert sunday.catches_high < monday.catches_high
        # Its line is worked to the end, past the most valuable: fewer failures a review.
        assert sunday.catches / sunday.demand_p50 < 0.9 * monday.catches / 40

    @pytest.mark.parametrize(
        ("why", "n_days", "threshold", "expected"),
        [("too few days", 2, THRESHOLD, None), ("nothing asked", 14, 1.0, 0.0)],
    )
    def test_what_cannot_be_told_is_not(
        self, why: str, n_days: int, threshold: float, expected: float | None
    ) -> None:
        q = queue(np.random.default_rng(3), n_days, 50, np.ones(7), 0.0)
        for w in by_weekday(q, Costs(2, 40, 5, 9), threshold, ALIKE):
            assert w.demand_p90 == w.catches == w.overflow_probability == expected
            assert w.low is w.catches_low is w.overflow_high is None

    def test_without_a_known_label_catches_are_unknown(self) -> None:
        q = queue(np.random.default_rng(4), 14, 100, np.ones(7), 0.0)
        none = dataclasses.replace(q, known=np.zeros(len(q.known), dtype=bool))
        found = by_weekday(none, Costs(2, 40, 5, 9), THRESHOLD, ALIKE)[0]
        assert found.catches is found.catches_low is found.catches_high is None
        assert found.demand_p90 is not None

    @pytest.mark.parametrize(
        ("factors", "spread", "room"),
        [(np.ones(7), 0.25, 1.0), (STRONG, 0.0, 0.6), (STRONG, 0.25, 1.0), (STRONG, 0.25, 2.0)],
    )
    def test_limits_of_catches_hold_the_truth(
        self, factors: np.ndarray, spread: float, room: float
    ) -> None:
        # Factors from four weeks before, two weeks of queue; 5 % promised, R = 100.
        rng, replicates = np.random.default_rng(5), 100
        large = queue(rng, 2100, 300, factors, spread)
        wanted = large.risk >= THRESHOLD
        costs = Costs(2, 40, max(2, round(wanted.sum() / 2100 * room)), 1e9)
        reached = within_capacity(large, costs, wanted, by_risk=True)
        caught = np.bincount(large.day[reached], weights=large.risk[reached], minlength=2100)
        weekday = (large.days + 3) % 7
        truth = [caught[weekday == w].mean() for w in range(7)]
        outside = np.zeros(7)
        for _ in range(replicates):
            came, q = split(queue(rng, 42, 300, factors, spread), 28)
            known = weekday_factors(np.arange(28), came)
            for w, found in enumerate(by_weekday(q, costs, THRESHOLD, known)):
                assert found.catches_low is not None
                assert found.catches_high is not None
                outside[w] += not found.catches_low <= truth[w] <= found.catches_high
        limit = 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / replicates)
        assert outside[:5].mean() / replicates <= limit
        assert outside[5:].mean() / replicates <= limit


def test_a_share_counts_clusters_and_days() -> None:
    q = queue(np.random.default_rng(6), 14, 200, np.ones(7), 0.0)
    value, low, high = share(q, q.known, q.bad)
    assert value == pytest.approx((q.known & q.bad).sum() / q.known.sum())
    assert low < value < high
    alone = dataclasses.replace(q, cluster=q.cluster // 30)
    assert np.diff(share(alone, q.known, q.bad)[1:]) >= 0.95 * (high - low)
    none = share(q, np.zeros(len(q.bad), dtype=bool), q.bad)
    assert all(math.isnan(x) for x in none)


class TestWaiting:
    def test_each_threshold_has_its_own_queue(self) -> None:
        rng = np.random.default_rng(7)
        days = np.arange(20_700, 20_714)
        at = rng.integers(days[0] * DAY_US, (days[-1] + 1) * DAY_US, 3000)
        risk = rng.random(3000)
        costs = Costs(2, 40, 25, 40)
        roles = {"chosen": 0.9, "next_best_1": 0.85, "next_best_2": 1.1}
        found = waiting(at, risk, days, roles, costs, (8, 17))
        assert list(found.columns) == list(WAIT_COLUMNS)
        assert found["role"].value_counts().to_dict() == dict.fromkeys(roles, 14)
        one = found[found["role"] == "chosen"]
        want = simulate(at[risk >= 0.9], days, 25, (8, 17))
        assert one["backlog"].tolist() == want.backlog.tolist()
        assert one["day"].iloc[0] == str(np.datetime64("1970-01-01") + days[0])
        worse = found[found["role"] == "next_best_1"]
        assert worse["backlog"].iloc[-1] > one["backlog"].iloc[-1]
        idle = found[found["role"] == "next_best_2"]
        assert idle["arrivals"].sum() == idle["backlog"].sum() == 0
        assert idle["wait_hours_p50"].isna().all()

    def test_no_threshold_has_none(self) -> None:
        none = waiting(np.zeros(0, int), np.zeros(0), np.arange(3), {}, Costs(2, 40, 5, 9))
        assert list(none.columns) == list(WAIT_COLUMNS)
        assert not len(none)
