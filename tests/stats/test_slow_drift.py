from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, linregress

from analysis.stats.divergence import BinMoments, compare_distributions, occupied, psi
from analysis.stats.reference import (
    Sample,
    Spread,
    allowance,
    compare_counts,
    of_days,
    spread_of,
    total_design_effect,
)
from analysis.stats.slow_drift import MIN_WEEKS, Trend, trend

BOUND = 1.645
DAYS = (42, 14)


def no_days(size: int, effect: float = 1.0) -> Spread:
    """Rows alone, or rows in clusters."""
    return Spread(((1.0, effect),), 1.0, 1e6, np.zeros((size, size)), np.zeros((size, size)), 0.0)


def multinomials(rng: np.random.Generator, n: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(m, B) draws of n rows each with shares p (m, B)."""
    out, left, rest = np.zeros(p.shape), n.copy(), np.ones(len(n))
    for b in range(p.shape[1] - 1):
        chance = np.clip(p[:, b] / np.maximum(rest, 1e-12), 0, 1)
        drawn = rng.binomial(left, chance)
        out[:, b], left, rest = drawn, left - drawn, rest - p[:, b]
    out[:, -1] = left
    return out


def world(
    rng: np.random.Generator,
    weeks: int,
    n_week: int,
    *,
    bins: int = 10,
    by_day: float = 0.0,
    by_session: float = 0.0,
    by_weekday: float = 0.0,
    correlation: float = 0.3,
    ordered: bool = True,
    drift: float = 0.0,
    candidate: int = 2,
) -> tuple[np.ndarray, BinMoments]:
    """(D, B) rows by day, and moments of the last `candidate` weeks and those before over sessions.

    Days move along the bins' order (or each bin by itself), and resemble the day before; sessions have
    2.7 rows. drift: how far the scores have moved along the order at the end.
    """
    days, scores = 7 * weeks, np.linspace(-1.7, 1.7, bins)
    noise = rng.normal(size=(days, 1 if ordered else bins))
    for d in range(1, days):
        noise[d] = correlation * noise[d - 1] + math.sqrt(1 - correlation**2) * noise[d]
    level = by_day * noise * (scores if ordered else 1.0)
    level = level + by_weekday * rng.normal(size=(7, bins))[np.arange(days) % 7]
    level = level + drift * np.arange(days)[:, None] / (days - 7) * scores
    counts, sessions = np.zeros((days, bins)), []
    for d in range(days):
        n = max(1, int(rng.poisson(n_week / 7 * (0.7 if d % 7 >= 5 else 1.0)) / 2.7))
        own = np.exp(level[d] + by_session * rng.normal(size=(n, bins)))
        held = multinomials(rng, 1 + rng.poisson(1.7, n), own / own.sum(1, keepdims=True))
        counts[d] = held.sum(axis=0)
        sessions.append(held)
    cut = days - 7 * candidate
    old, new = np.concatenate(sessions[:cut]), np.concatenate(sessions[cut:])
    second = np.zeros((2 * bins, 2 * bins))
    second[:bins, :bins], second[bins:, bins:] = old.T @ old, new.T @ new
    totals = np.stack([old.sum(0), new.sum(0)])
    moments = BinMoments(totals, second, (len(old), len(new), len(old) + len(new)))
    return counts, occupied(moments)


def compared(
    counts: np.ndarray, clusters: BinMoments, candidate: int = 2
) -> tuple[float, float, Trend]:
    """p and PSI of the last weeks against the week before them, and the trend over all."""
    weeks = counts.reshape(-1, 7, counts.shape[1])
    spread = spread_of(clusters, list(weeks[:-candidate]), counts.shape[1], DAYS)
    found = compare_counts(
        of_days(weeks[-candidate - 1]), of_days(counts[-7 * candidate :]), spread
    )
    moved = trend([of_days(w) for w in weeks], np.arange(len(weeks)), spread)
    assert found is not None
    assert moved is not None
    return found.p_value, found.psi, moved


WORLDS = [
    ("rows alone", {}),
    ("sessions", {"by_session": 1.0}),
    ("two values, sessions and days", {"bins": 2, "by_session": 0.5, "by_day": 0.4}),
    ("small days and weekdays", {"by_session": 0.5, "by_day": 0.15, "by_weekday": 0.3}),
    ("large days", {"by_session": 0.5, "by_day": 0.4}),
    ("days of every kind", {"bins": 5, "by_session": 0.5, "by_day": 0.4, "ordered": False}),
]


class TestReference:
    def test_of_rows_alone_it_is_the_test_of_pearson(self) -> None:
        old, new = np.array([400.0, 300.0, 300.0]), np.array([350.0, 320.0, 330.0])
        found = compare_counts(Sample(old, 0.0), Sample(new, 0.0), no_days(3))
        pooled = (old + new) / 2000
        statistic = float(np.sum((new / 1000 - old / 1000) ** 2 / pooled)) / (2 / 1000)
        assert found is not None
        assert found.p_value == pytest.approx(chi2.sf(statistic, 2), rel=1e-3)
        assert found.raw_psi == psi(np.stack([old, new]))
        assert found.raw_psi - found.psi == pytest.approx(2 * 2 / 1000)

    def test_where_clusters_and_days_are_known_of_both_it_agrees_with_their_own_test(self) -> None:
        rng = np.random.default_rng(3)
        ours, theirs = [], []
        for _ in range(40):
            counts, clusters = world(rng, 6, 1000, bins=4, by_session=0.6, candidate=3)
            weeks = counts.reshape(-1, 7, 4)
            spread = spread_of(clusters, list(weeks), 4, DAYS)
            found = compare_counts(of_days(counts[:21]), of_days(counts[21:]), spread)
            known = compare_distributions(clusters)
            assert found is not None
            assert known is not None
            ours.append(found.p_value)
            theirs.append(known.p_value)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.97
        assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.08)

    def test_the_allowance_is_that_of_simulated_days(self) -> None:
        rng = np.random.default_rng(4)
        x = rng.normal(size=(20_000, 56))
        for d in range(1, 56):
            x[:, d] = 0.3 * x[:, d - 1] + math.sqrt(1 - 0.09) * x[:, d]
        within = x.reshape(-1, 8, 7).var(axis=2, ddof=1).mean()
        assert 56 * x.mean(axis=1).var() / within == pytest.approx(allowance(), rel=0.04)
        assert allowance(0.0) == pytest.approx(1.0)

    def test_weekdays_that_come_back_every_week_are_no_scatter(self) -> None:
        rng = np.random.default_rng(5)
        counts, clusters = world(rng, 8, 3000, bins=3, by_weekday=0.8)
        weeks = list(counts.reshape(-1, 7, 3))
        known = spread_of(clusters, weeks, 3, DAYS).per_day.trace()
        # One block has no second week to tell them from.
        unknown = spread_of(clusters, [counts], 3, DAYS).per_day.trace()
        assert known < 0.05 * unknown

    def test_a_design_effect_holds_what_clusters_and_days_add(self) -> None:
        rng = np.random.default_rng(6)
        plain, clusters = world(rng, 8, 3000)
        assert total_design_effect(
            of_days(plain), spread_of(clusters, list(plain.reshape(-1, 7, 10)), 10, DAYS)
        ) == pytest.approx(1.0, abs=0.3)
        days, clusters = world(rng, 8, 3000, by_day=0.4)
        assert (
            total_design_effect(
                of_days(days), spread_of(clusters, list(days.reshape(-1, 7, 10)), 10, DAYS)
            )
            > 3
        )

    @pytest.mark.parametrize(
        ("case", "old", "new"),
        [
            ("an empty window", [0, 0], [5, 5]),
            ("one value", [7, 0], [9, 0]),
            ("no row at all", [0, 0], [0, 0]),
        ],
    )
    def test_what_cannot_be_compared_is_not(
        self, case: str, old: list[float], new: list[float]
    ) -> None:
        assert compare_counts(Sample(np.array(old, float), 0), Sample(np.array(new, float), 0),
                              no_days(2)) is None  # fmt: skip


class TestTrend:
    def test_of_two_values_it_is_the_regression_of_shares_on_weeks(self) -> None:
        rng = np.random.default_rng(7)
        # Weeks that differ by far more than rows explain: the weeks' own scatter decides.
        share = 0.5 + 0.02 * np.arange(8) + 0.05 * rng.normal(size=8)
        weeks = [Sample(np.array([s, 1 - s]) * 1e6, 1 / 7) for s in share]
        found = trend(weeks, np.arange(8), no_days(2))
        # The slope's variance is raised by what correlated days hide.
        plain = linregress(np.arange(8), share)
        assert found is not None
        assert plain.pvalue < found.p_value < 1.3 * plain.pvalue

    def test_fewer_than_five_weeks_say_nothing(self) -> None:
        weeks = [Sample(np.array([5.0, 5.0]) * (k + 1), 0.1) for k in range(MIN_WEEKS - 1)]
        assert trend(weeks, np.arange(MIN_WEEKS - 1), no_days(2)) is None

    def test_the_order_of_bins_and_a_later_first_week_change_nothing(self) -> None:
        rng = np.random.default_rng(8)
        counts, clusters = world(rng, 8, 1000, drift=0.2)
        weeks = counts.reshape(-1, 7, 10)
        spread = spread_of(clusters, list(weeks[:-2]), 10, DAYS)
        order = rng.permutation(10)
        mixed = Spread(spread.effects, spread.evenness, spread.cluster_df,
                       spread.per_day[np.ix_(order, order)],
                       spread.scatter[np.ix_(order, order)], spread.day_df)  # fmt: skip
        first = trend([of_days(w) for w in weeks], np.arange(8), spread)
        second = trend([of_days(w[:, order]) for w in weeks], 100 + np.arange(8), mixed)
        assert first is not None
        assert second is not None
        assert second.p_value == pytest.approx(first.p_value, rel=1e-6)
        assert second.first_to_last == pytest.approx(first.first_to_last)

    def test_steps_of_slow_drift_are_small_and_the_whole_is_large(self) -> None:
        counts, clusters = world(np.random.default_rng(9), 8, 2500, drift=0.4)
        _, _, found = compared(counts, clusters)
        assert found.p_value < 1e-4
        assert found.first_to_last > 0.1
        assert max(step.psi for step in found.steps) < 0.02
        assert len(found.steps) == 7


def test_of_two_arms_as_long_the_one_with_the_larger_users_tells_the_design_effect() -> None:
    none = np.zeros((2, 2))
    spread = Spread(((14.0, 2.0), (14.0, 9.0), (42.0, 5.0)), 1.0, 1e6, none, none, 0.0)
    week, month, quarter = (of_days(np.tile([30.0, 70.0], (days, 1))) for days in (7, 28, 90))
    assert [spread.effect_of(sample) for sample in (week, month, quarter)] == [9.0, 5.0, 9.0]


def rates(runs: int, weeks: int, n_week: int, seed: int, **effects: Any) -> tuple[float, float]:
    """How often each test is below 5 % without drift."""
    rng = np.random.default_rng(seed)
    found = [compared(*world(rng, weeks, n_week, **effects)) for _ in range(runs)]
    return (
        float(np.mean([p <= 0.05 for p, _, _ in found])),
        float(np.mean([t.p_value <= 0.05 for _, _, t in found])),
    )


def most(runs: int, bound: float = BOUND) -> float:
    return 0.05 + bound * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("case", "effects"), [WORLDS[3], WORLDS[4]])
def test_without_drift_both_tests_keep_their_level(case: str, effects: dict[str, object]) -> None:
    against, moved = rates(120, 8, 700, 11, **effects)
    assert against <= most(120)
    assert moved <= most(120)


@pytest.mark.simulate
@pytest.mark.parametrize(("case", "effects"), WORLDS)
@pytest.mark.parametrize("weeks", [5, 8, 26])
@pytest.mark.parametrize("n_week", [300, 2500])
def test_levels_over_many_worlds(
    case: str, effects: dict[str, object], weeks: int, n_week: int
) -> None:
    against, moved = rates(500, weeks, n_week, 12, **effects)
    # Both tests in 36 worlds: at 1.645 errors each, three or four would fail by chance alone.
    assert against <= most(500, 3.2)
    assert moved <= most(500, 3.2)


@pytest.mark.simulate
@pytest.mark.parametrize(
    ("bins", "drift", "by_day"), [(2, 0.215, 0.025), (5, 0.285, 0.05), (10, 0.305, 0.05)]
)
def test_drift_to_a_tenth_over_eight_weeks_is_found_at_20_000_interactions(
    bins: int, drift: float, by_day: float
) -> None:
    """Days move two values by 2 points of share, and ten along their order by 5 % of a deviation."""
    rng = np.random.default_rng(13)
    effects: dict[str, Any] = {"by_session": 0.5, "by_day": by_day, "drift": drift}
    found = [compared(*world(rng, 8, 2500, bins=bins, **effects))[2] for _ in range(120)]
    assert 0.085 < np.mean([t.first_to_last for t in found]) < 0.115
    # One of twenty columns that moves has to pass at 0.05/20.
    assert np.mean([t.p_value <= 0.05 / 20 for t in found]) >= 0.9
