from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from analysis.stats.boosted_tables import CodedColumn
from analysis.stats.giveaway import alone, cell_shares, from_margins, permutation_importance
from analysis.stats.two_sample import (
    Halves,
    TwoSample,
    halves_of_clusters,
    halves_of_days,
    rows_of,
    two_sample,
)

START = 20_723  # days since 1970


def days_of(halves: Halves, late: np.ndarray, day: np.ndarray) -> dict[tuple[str, bool], set[int]]:
    return {
        (name, side): set(day[part & (late == side)].tolist())
        for name, part in (("fitted", halves.fitted), ("scored", halves.scored))
        for side in (False, True)
    }


def traffic(before: int, after: int, per_day: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(late, day): so many days of each, one after the other."""
    day = np.repeat(np.arange(before + after), per_day) + START
    return day >= START + before, day


@pytest.mark.parametrize(
    ("before", "after"), [(42, 14), (28, 28), (42, 7), (40, 10), (14, 14), (6, 4)]
)
def test_no_day_and_no_cluster_is_in_both_halves(before: int, after: int) -> None:
    late, day = traffic(before, after)
    cluster = np.arange(len(day)) % 50
    half = (cluster * 7919 % 50) % 2
    halves = halves_of_days(late, day, cluster, half, whole_days=True)
    found = days_of(halves, late, day)
    assert all(found.values())
    for side in (False, True):
        assert not found["fitted", side] & found["scored", side]
    assert not set(cluster[halves.fitted]) & set(cluster[halves.scored])


@pytest.mark.parametrize(("before", "after"), [(42, 14), (42, 7), (40, 10), (30, 9), (45, 20)])
@pytest.mark.parametrize("whole_days", [True, False])
def test_weekdays_weigh_the_same_in_both_windows_of_a_half(
    before: int, after: int, whole_days: bool
) -> None:
    late, day = traffic(before, after)
    halves = halves_of_days(late, day, np.arange(len(day)), None, whole_days=whole_days)
    for part in (halves.fitted, halves.scored):
        shares = []
        for side in (False, True):
            inside = part & (late == side)
            weekday = np.bincount(day[inside] % 7, weights=halves.weight[inside], minlength=7)
            shares.append(weekday / weekday.sum())
        assert shares[0] == pytest.approx(shares[1], abs=1e-12)


def test_whole_weeks_alternate_and_weigh_one() -> None:
    late, day = traffic(42, 14)
    halves = halves_of_days(late, day, np.arange(len(day)), None, whole_days=True)
    assert (halves.weight == 1).all()
    week = (day - START) // 7
    assert set(week[halves.scored].tolist()) == {0, 2, 4, 6}
    assert set(week[halves.fitted].tolist()) == {1, 3, 5, 7}


def test_a_visit_over_a_border_of_the_halves_is_left_out() -> None:
    late, day = traffic(42, 14, per_day=2)
    cluster = np.arange(len(day))
    border = np.flatnonzero(day == START + 6)[-1]
    cluster[border + 1] = cluster[border]
    halves = halves_of_days(late, day, cluster, None, whole_days=True)
    neither = ~(halves.fitted | halves.scored)
    assert np.flatnonzero(neither).tolist() == [border, border + 1]


def test_a_weekday_that_one_window_lacks_is_left_out() -> None:
    late, day = traffic(42, 14)
    kept = ~late | (day % 7 != 3)
    late, day = late[kept], day[kept]
    halves = halves_of_days(late, day, np.arange(len(day)), None, whole_days=True)
    assert not (halves.fitted | halves.scored)[day % 7 == 3].any()


# ── worlds ───────────────────────────────────────────────────────────────────────────────

Kind = Literal["user", "session", "arms"]


def world(
    rng: np.random.Generator,
    kind: Kind,
    joint: float = 0.0,
    n_sessions: int = 2000,
    day_sd: float = 0.3,
) -> tuple[tuple[CodedColumn, ...], np.ndarray, np.ndarray, np.ndarray]:
    """(columns, late, cluster, day): 56 days, the last 14 late; arms by user over all of them.

    Five columns of four values, which lean by user, by session, by day and by weekday. joint: with that
    chance, column 0 equals column 1 in the candidate, whatever their margins.
    """
    n_users = n_sessions // 4
    user = rng.integers(0, n_users, n_sessions)
    visit = np.repeat(np.arange(n_sessions), 2)
    day = rng.integers(0, 56, n_sessions)
    late = (rng.random(n_users) < 0.4)[user] if kind == "arms" else day >= 42
    u, d, n = user[visit], day[visit], len(visit)
    columns = []
    for _ in range(5):
        lean = (
            rng.normal(size=(n_users, 4))[u]
            + 0.7 * rng.normal(size=(n_sessions, 4))[visit]
            + day_sd * rng.normal(size=(56, 4))[d]
            + (d % 7 >= 5)[:, None] * rng.normal(size=4) * 0.7
        )
        columns.append((lean + rng.gumbel(size=(n, 4))).argmax(axis=1))
    moved = late[visit] & (rng.random(n) < joint)
    columns[0] = np.where(moved, columns[1], columns[0])
    if joint:
        # The margins of column 0 are those of column 1 in any case: each mixture holds them.
        columns[0] = np.where(~moved, rng.permutation(columns[1]), columns[0])
    coded = tuple(CodedColumn((c.astype(np.int64),), (4,)) for c in columns)
    return coded, late[visit], visit if kind == "session" else u, d


def compared(seed: int, kind: Kind, **how: float) -> tuple[TwoSample, tuple[object, ...]]:
    rng = np.random.default_rng([seed, 9])
    columns, late, cluster, day = world(rng, kind, **how)  # type: ignore[arg-type]
    size = int(cluster.max()) + 1
    half, fold = rng.integers(0, 2, size)[cluster], rng.integers(0, 7, size)[cluster]
    if kind == "arms":
        halves = halves_of_clusters(half)
    else:
        own = None if kind == "session" else half
        halves = halves_of_days(late, day, cluster, own, whole_days=True)
    by_days = kind != "arms"
    return two_sample(columns, late, cluster, day, fold, halves, by_days=by_days), (
        columns, late, halves,
    )  # fmt: skip


def flagged(kind: Kind, runs: range, **how: float) -> float:
    found = 0
    for seed in runs:
        auc = compared(seed, kind, **how)[0].auc
        assert auc is not None
        found += auc.p_greater < 0.05
    return found / len(runs)


@pytest.mark.parametrize("kind", ["user", "session", "arms"])
def test_without_drift_few_windows_are_told_apart(kind: Kind) -> None:
    """60 worlds each, nominal 5 %: at most 5 % + 1.645 √(0.05 · 0.95/60) = 9.6 %."""
    assert flagged(kind, range(60), n_sessions=1200) <= 0.05 + 1.645 * (0.0475 / 60) ** 0.5


@pytest.mark.simulate
@pytest.mark.parametrize("kind", ["user", "session", "arms"])
@pytest.mark.parametrize("day_sd", [0.0, 0.3, 0.8])
def test_without_drift_at_most_the_nominal_rate_is_told_apart(kind: Kind, day_sd: float) -> None:
    """500 worlds each: at most 5 % + 1.645 √(0.05 · 0.95/500) = 6.6 %."""
    rate = flagged(kind, range(500), day_sd=day_sd)
    assert rate <= 0.05 + 1.645 * (0.0475 / 500) ** 0.5


def test_scoring_the_days_that_were_learnt_would_tell_equal_windows_apart() -> None:
    """Why days are split: with clusters alone split, days of some weight look like drift."""
    rates = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 10])
        columns, late, cluster, day = world(rng, "session", day_sd=0.8)
        half = rng.integers(0, 2, int(cluster.max()) + 1)[cluster]
        fold = day % 7
        found = two_sample(
            columns, late, cluster, day, fold, halves_of_clusters(half), by_days=False
        ).auc
        assert found is not None
        rates.append(found.p_greater < 0.05)
    assert np.mean(rates) > 0.5


@pytest.mark.parametrize("kind", ["user", "session", "arms"])
def test_columns_that_move_only_together_are_found_and_named(kind: Kind) -> None:
    for seed in range(3):
        test, (columns, late, halves) = compared(seed, kind, joint=0.45, n_sessions=3000)
        assert test.auc is not None
        assert test.auc.p_greater < 0.01
        assert test.model.tables[0].shape.columns == (0, 1)
        assert isinstance(halves, Halves)
        scored = np.flatnonzero(halves.scored)
        falls = permutation_importance(
            test.model, rows_of(columns, scored), late[scored], halves.weight[scored],  # type: ignore
            np.random.default_rng(0),
        )  # fmt: skip
        assert set(np.argsort(-falls)[:2].tolist()) == {0, 1}
        assert falls[:2] == pytest.approx([test.auc.value - 0.5] * 2, abs=0.035)
        assert np.abs(falls[2:]).max() < 0.02
        single = alone(columns, late, halves)  # type: ignore[arg-type]
        assert np.abs(single - 0.5).max() < 0.06


def joint_only(rng: np.random.Generator, kind: Kind, n_signs: int) -> tuple[
    tuple[CodedColumn, ...], np.ndarray, np.ndarray, np.ndarray
]:  # fmt: skip
    """5,000 sessions of two requests, 3 a user; 8 columns of four values, the first of the user.

    The candidate's density is 1 + 0.4 h times the baseline's, h the product of a sign of each of the
    first `n_signs` columns: no margin of fewer columns moves, and the best AUC is ½ + 0.4/4 = 0.60.
    """
    n_users = 5000 // 3
    user = rng.integers(0, n_users, 5000)
    day = rng.integers(0, 56, 5000)
    late = (rng.random(n_users) < 0.5)[user] if kind == "arms" else day >= 42
    visit = np.repeat(np.arange(5000), 2)
    u, moved = user[visit], late[visit]
    x = rng.integers(0, 4, (8, 10_000))
    x[0] = rng.integers(0, 4, n_users)[u]
    sign = np.where(x[:n_signs] % 2 == 0, 1, -1).prod(axis=0)
    # With chance 0.4 where the sign is wrong, the last of the columns takes the other sign.
    turned = moved & (sign < 0) & (rng.random(10_000) < 0.4)
    x[n_signs - 1] = np.where(turned, x[n_signs - 1] ^ 1, x[n_signs - 1])
    columns = tuple(CodedColumn((c,), (4,)) for c in x)
    return columns, moved, visit if kind == "session" else u, day[visit]


def found_rate(kind: Kind, n_signs: int, runs: range) -> float:
    found = 0
    for seed in runs:
        rng = np.random.default_rng([seed, 11])
        columns, late, cluster, day = joint_only(rng, kind, n_signs)
        size = int(cluster.max()) + 1
        half, fold = rng.integers(0, 2, size)[cluster], rng.integers(0, 10, size)[cluster]
        halves = (
            halves_of_clusters(half)
            if kind == "arms"
            else halves_of_days(
                late, day, cluster, None if kind == "session" else half, whole_days=True
            )
        )
        auc = two_sample(columns, late, cluster, day, fold, halves, by_days=kind != "arms").auc
        assert auc is not None
        # As the check: at half of `drift.fdr`, and in the band.
        found += auc.p_greater < 0.025 and auc.value >= 0.53
    return found / len(runs)


@pytest.mark.parametrize("kind", ["user", "session", "arms"])
def test_a_joint_shift_of_auc_060_is_found_at_5000_sessions(kind: Kind) -> None:
    """12 worlds each: fewer than 9 found has a chance of 0.2 % at a rate of 0.95."""
    assert found_rate(kind, 2, range(12)) >= 0.75


@pytest.mark.simulate
@pytest.mark.parametrize(
    ("kind", "n_signs"),
    [("user", 2), ("session", 2), ("arms", 2), ("session", 3), ("arms", 3)],
)
def test_most_joint_shifts_of_auc_060_are_found_at_5000_sessions(kind: Kind, n_signs: int) -> None:
    """100 worlds each: at least 80 %."""
    assert found_rate(kind, n_signs, range(100)) >= 0.80


# ── cells ────────────────────────────────────────────────────────────────────────────────


def test_shares_are_weighted_and_sum_to_one() -> None:
    late = np.array([False, False, True, True])
    shares = cell_shares(np.array([0, 1, 1, 1]), 3, late, np.array([1.0, 3.0, 1.0, 1.0]))
    assert shares.tolist() == [[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]]


def test_what_margins_explain_keeps_odds_ratios_and_has_the_new_margins() -> None:
    before, now = np.array([[0.4, 0.1], [0.2, 0.3]]), np.array([[0.1, 0.3], [0.5, 0.1]])
    found = from_margins(before, now)
    assert found.sum(axis=0) == pytest.approx(now.sum(axis=0), abs=1e-9)
    assert found.sum(axis=1) == pytest.approx(now.sum(axis=1), abs=1e-9)
    odds = [t[0, 0] * t[1, 1] / (t[0, 1] * t[1, 0]) for t in (before, found)]
    assert odds[0] == pytest.approx(odds[1])


def test_columns_that_moved_one_by_one_are_explained_by_their_margins() -> None:
    a, b = np.array([0.2, 0.8]), np.array([0.5, 0.3, 0.2])
    now = np.outer([0.6, 0.4], [0.1, 0.1, 0.8])
    assert from_margins(np.outer(a, b), now) == pytest.approx(now, abs=1e-9)


def test_of_three_columns_pairs_are_kept() -> None:
    rng = np.random.default_rng(0)
    before, now = (rng.dirichlet(np.ones(12)).reshape(2, 3, 2) for _ in range(2))
    found = from_margins(before, now)
    for axis in range(3):
        assert found.sum(axis=axis) == pytest.approx(now.sum(axis=axis), abs=1e-6)


def test_a_single_column_has_nothing_to_keep() -> None:
    assert from_margins(np.array([0.3, 0.7]), np.array([0.5, 0.5])).tolist() == [0.3, 0.7]
