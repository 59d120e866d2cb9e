from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.change_point_daily import Change, Levels, date_changes
from analysis.stats.change_point_daily import change_p_value as p_of
from analysis.stats.change_point_parts import MIN_DAYS, Series
from analysis.stats.change_point_profile import CORRELATIONS, Design, steps_of, weekdays

DAYS = 56
MONDAY = 20003
WEEK = np.array([0.0, 0.5, 0.0, -0.5, 0.0, -6.0, -8.0])
LEVEL = 0.05


def days_of(n: int = DAYS) -> np.ndarray:
    return MONDAY + np.arange(n)


def errors(rng: np.random.Generator, n: int = DAYS, correlation: float = 0.0) -> np.ndarray:
    """AR(1) with a standard deviation of 1."""
    out = rng.normal(size=n)
    for t in range(1, n):
        out[t] = correlation * out[t - 1] + np.sqrt(1 - correlation**2) * out[t]
    return out


def step(first: int, size: float, n: int = DAYS) -> np.ndarray:
    return size * (np.arange(n) >= first)


def season(n: int = DAYS) -> np.ndarray:
    return WEEK[(days_of(n) + 3) % 7]


def series(values: np.ndarray) -> Series:
    found = Series.of(days_of(len(values)).tolist(), values)
    assert found is not None
    return found


def dated(values: np.ndarray) -> Levels:
    return date_changes(series(values), LEVEL)


def firsts(values: np.ndarray) -> list[int]:
    return [c.first for c in dated(values).changes]


class TestLikelihood:
    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_it_is_the_restricted_likelihood_of_the_whole_covariance(self, place: int) -> None:
        rng = np.random.default_rng(1)
        days = np.delete(days_of(30), [4, 11, 12])
        weights = rng.uniform(0.5, 2.0, len(days))
        y, columns = rng.normal(size=(len(days), 1)), steps_of(len(days), 5)
        design = Design(days, weights, np.zeros((len(days), 0)), columns)
        fitted = design.fit(y)
        correlation = CORRELATIONS[place]
        reach = np.abs(days[:, None] - days[None, :]).astype(float)
        root = np.sqrt(weights / weights.mean())
        cov = (correlation**reach if place else np.eye(len(days))) / np.outer(root, root)
        inverse = np.linalg.inv(cov)

        def restricted(k: int, correlation_inverse: np.ndarray) -> tuple[float, float, float]:
            x = np.column_stack([weekdays(days), columns[:, k]])
            inner = x.T @ correlation_inverse @ x
            beta = np.linalg.solve(inner, x.T @ correlation_inverse @ y[:, 0])
            left = y[:, 0] - x @ beta
            squares = float(left @ correlation_inverse @ left)
            return squares, float(np.linalg.slogdet(inner)[1]), float(beta[-1])

        held = [restricted(k, inverse) for k in range(columns.shape[1])]
        free = len(days) - 8
        expected = [-free / 2 * np.log(s) - 0.5 * d for s, d, _ in held]
        # Between columns their own lengths do not count, which are those without correlation.
        plain = np.diag(root**2)
        lengths = [restricted(k, plain)[1] / 2 for k in range(columns.shape[1])]
        shown = fitted.with_one[place, :, 0] - np.array(lengths)
        assert np.diff(shown) == pytest.approx(np.diff(expected), abs=1e-8)

    def test_between_correlations_it_compares_as_the_whole_likelihood_does(self) -> None:
        rng = np.random.default_rng(2)
        days, y = days_of(35), errors(rng, 35, 0.4)[:, None]
        design = Design(days, np.ones(35), np.zeros((35, 0)), steps_of(35, 5))
        shown = design.fit(y).with_one[:, 7, 0]
        x = np.column_stack([weekdays(days), design.columns[:, 7]])
        expected = []
        for correlation in CORRELATIONS:
            reach = np.abs(days[:, None] - days[None, :]).astype(float)
            cov = correlation**reach if correlation else np.eye(35)
            inverse = np.linalg.inv(cov)
            inner = x.T @ inverse @ x
            left = y[:, 0] - x @ np.linalg.solve(inner, x.T @ inverse @ y[:, 0])
            expected.append(
                -(35 - 8) / 2 * np.log(left @ inverse @ left)
                - 0.5 * np.linalg.slogdet(inner)[1]
                - 0.5 * np.linalg.slogdet(cov)[1]
            )
        assert np.diff(shown) == pytest.approx(np.diff(expected), abs=1e-8)

    def test_a_pair_gains_what_both_columns_gain_together(self) -> None:
        rng = np.random.default_rng(3)
        days, y = days_of(42), rng.normal(size=(42, 1))
        columns = steps_of(42, 5)
        design = Design(days, np.ones(42), np.zeros((42, 0)), columns)
        pair = design.fit_pairs(y, np.array([[3, 20]]))
        x = np.column_stack([weekdays(days), columns[:, [3, 20]]])
        squares = np.linalg.lstsq(x, y[:, 0])[1][0]
        assert pair.total[0, 0] - pair.scores[0, 0, 0] ** 2 == pytest.approx(squares)


class TestLaws:
    def test_weekdays_scale_and_origin_change_nothing(self) -> None:
        y = errors(np.random.default_rng(4)) + step(30, 2.0)
        plain, other = dated(y), dated(1000 + 7 * (y + season()))
        assert p_of(series(1000 + 7 * (y + season()))) == pytest.approx(p_of(series(y)))
        assert [(c.first, c.low, c.high, c.shape) for c in plain.changes] == [
            (c.first, c.low, c.high, c.shape) for c in other.changes
        ]
        assert other.changes[0].size == pytest.approx(7 * plain.changes[0].size)

    def test_the_same_series_gives_the_same_bits(self) -> None:
        y = errors(np.random.default_rng(5)) + step(20, 2.5)
        assert dated(y).changes == dated(y.copy()).changes

    def test_a_fall_is_a_rise_upside_down(self) -> None:
        y = errors(np.random.default_rng(6)) + step(30, 3.0)
        (up,), (down,) = dated(y).changes, dated(-y).changes
        assert (up.first, up.low, up.high) == (down.first, down.low, down.high)
        assert up.size == pytest.approx(-down.size)

    @pytest.mark.parametrize(
        ("why", "values"),
        [
            ("few days", np.arange(MIN_DAYS - 1.0)),
            ("one value", np.full(DAYS, 0.05)),
        ],
    )
    def test_nothing_is_asked_of(self, why: str, values: np.ndarray) -> None:
        assert Series.of(days_of(len(values)).tolist(), values) is None


class TestKnownAnswers:
    def test_a_step_without_noise_is_dated_to_its_day_beside_its_weekdays(self) -> None:
        y = step(33, 5.0) + season() + 1e-6 * errors(np.random.default_rng(7))
        (found,) = dated(y).changes
        assert (found.first, found.low, found.high, found.shape) == (33, 33, 33, "step")
        assert found.size == pytest.approx(5.0, abs=1e-4)

    def test_days_that_are_missing_keep_the_places_of_the_others(self) -> None:
        y = errors(np.random.default_rng(8)) + season() + step(40, 5.0)
        kept = np.delete(np.arange(DAYS), [9, 10, 11, 30])
        found = Series.of(days_of()[kept].tolist(), y[kept])
        assert found is not None
        (change,) = date_changes(found, LEVEL).changes
        assert kept[change.first] == 40

    @pytest.mark.parametrize(
        ("what", "signal", "expected"),
        [
            ("up and down again", step(20, 5) - step(30, 5), [20, 30]),
            ("up twice", step(15, 5) + step(42, 5), [15, 42]),
            ("up, and half of it down", step(15, 6) - step(42, 4), [15, 42]),
            ("three", step(12, 6) - step(30, 6) + step(45, 7), [12, 30, 45]),
        ],
    )
    def test_several_changes_are_all_dated(
        self, what: str, signal: np.ndarray, expected: list[int]
    ) -> None:
        y = errors(np.random.default_rng(9)) + season() + signal
        found = firsts(y)
        assert len(found) == len(expected)
        assert np.abs(np.array(found) - expected).max() <= 1

    @pytest.mark.parametrize(
        ("what", "signal", "alone"),
        [
            ("a day", 15.0 * (np.arange(DAYS) == 30), [30]),
            ("two days", -9.0 * np.isin(np.arange(DAYS), [50, 51]), [50, 51]),
            ("the last two days", 12.0 * (np.arange(DAYS) >= 54), [54, 55]),
            ("three outages", 12.0 * np.isin(np.arange(DAYS), [8, 27, 46]), [8, 27, 46]),
        ],
    )
    def test_an_outage_is_no_change_of_level(
        self, what: str, signal: np.ndarray, alone: list[int]
    ) -> None:
        rng, told, seen = np.random.default_rng(10), 0, 0
        for _ in range(40):
            found = series(errors(rng) + season() + signal)
            told += p_of(found) <= LEVEL
            seen += set(alone) <= set(found.spikes)
        assert told <= 5  # 5 % and 1.9 Monte Carlo errors
        assert seen >= 38

    def test_a_step_beside_an_outage_is_dated(self) -> None:
        signal = 15.0 * np.isin(np.arange(DAYS), [44, 45]) + step(30, 4.0)
        found = dated(errors(np.random.default_rng(12)) + season() + signal)
        assert [abs(c.first - 30) <= 1 for c in found.changes] == [True]
        assert found.spikes == (44, 45)


def runs(
    n_runs: int, seed: int, signal: np.ndarray, correlation: float = 0.0, seasonal: bool = True
) -> list[Levels | None]:
    """The dated series of so many draws; None where no change is told."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(n_runs):
        own = series(
            errors(rng, len(signal), correlation) + signal + seasonal * season(len(signal))
        )
        out.append(date_changes(own, LEVEL) if p_of(own) <= LEVEL else None)
    return out


def nearest(found: Levels, first: int) -> Change:
    return min(found.changes, key=lambda c: abs(c.first - first))


class TestRates:
    """Seeded. A rate is judged as at most its nominal one and 1.645 Monte Carlo errors."""

    @pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5])
    def test_without_a_change_at_most_one_in_twenty_tells_one(self, correlation: float) -> None:
        rng, n = np.random.default_rng(12), 150
        told = sum(
            p_of(series(errors(rng, DAYS, correlation) + season())) <= LEVEL for _ in range(n)
        )
        assert told / n <= LEVEL + 1.645 * np.sqrt(LEVEL * (1 - LEVEL) / n)

    @pytest.mark.parametrize(("first", "seasonal"), [(5, True), (28, False), (51, True)])
    def test_at_three_standard_deviations_the_day_is_right_within_one(
        self, first: int, seasonal: bool
    ) -> None:
        # The likelihood's best day is within one of the true one in 96 of 100, were all else known.
        found = runs(40, 13, step(first, 3.0), seasonal=seasonal)
        told = [f for f in found if f is not None]
        assert len(told) >= 37
        assert np.mean([abs(nearest(f, first).first - first) <= 1 for f in told]) >= 0.85

    @pytest.mark.parametrize(("size", "first"), [(1.0, 28), (2.0, 42)])
    def test_the_set_holds_the_true_day_where_a_change_is_told(
        self, size: float, first: int
    ) -> None:
        told = [f for f in runs(60, 14, step(first, size)) if f is not None]
        held = [c.low <= first <= c.high for c in (nearest(f, first) for f in told)]
        assert len(told) >= 30
        assert np.mean(held) >= 0.85  # 0.95 less two Monte Carlo errors and a half at 30

    @pytest.mark.parametrize("size", [3.0, 5.0])
    def test_a_trend_is_no_step_of_a_precise_day(self, size: float) -> None:
        told = [f for f in runs(40, 15, size * np.arange(DAYS) / DAYS) if f is not None]
        precise = [any(c.shape == "step" and c.high - c.low < 7 for c in f.changes) for f in told]
        assert len(told) >= 30
        assert np.mean(precise) <= 0.15


@pytest.mark.simulate
class TestSimulated:
    @pytest.mark.parametrize("seasonal", [True, False])
    @pytest.mark.parametrize("correlation", [0.0, 0.3])
    def test_without_a_change(self, correlation: float, seasonal: bool) -> None:
        told = [f is not None for f in runs(2000, 16, np.zeros(DAYS), correlation, seasonal)]
        assert np.mean(told) <= LEVEL + 1.645 * np.sqrt(LEVEL * (1 - LEVEL) / 2000)

    @pytest.mark.parametrize("first", [5, 9, 14, 28, 42, 47, 51])
    @pytest.mark.parametrize("seasonal", [True, False])
    def test_within_a_day_at_three(self, first: int, seasonal: bool) -> None:
        told = [f for f in runs(400, 17, step(first, 3.0), 0.0, seasonal) if f is not None]
        assert len(told) >= 0.95 * 400
        assert np.mean([abs(nearest(f, first).first - first) <= 1 for f in told]) >= 0.9

    @pytest.mark.parametrize("correlation", [0.0, 0.3])
    @pytest.mark.parametrize("first", [5, 28, 42])
    @pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
    def test_the_set_holds_the_day(self, size: float, first: int, correlation: float) -> None:
        told = [
            f for f in runs(2500 if size < 1 else 600, 18, step(first, size), correlation)
            if f is not None
        ]  # fmt: skip
        held = [c.low <= first <= c.high for c in (nearest(f, first) for f in told)]
        assert np.mean(held) >= 0.93 - 1.645 * np.sqrt(0.93 * 0.07 / len(told))
