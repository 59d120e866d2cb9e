"""The forecast of a sum of days: against another implementation, against simulation, and its rates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import statsmodels.api as sm

from analysis.stats.daily_forecast import DailyModel, fit, variance_of_day
from analysis.stats.intervals import t_quantile

WEEK = np.array([1.08, 1.12, 1.12, 1.10, 1.04, 0.78, 0.76])
MONDAY = 20_000 + (7 - (20_000 + 3) % 7)


def errors(rng: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    """AR(1) with variance one."""
    out = rng.standard_normal(n)
    for i in range(1, n):
        out[i] = correlation * out[i - 1] + math.sqrt(1 - correlation**2) * out[i]
    return out


def days_of(
    rng: np.random.Generator, n_old: int, n_new: int, ahead: int, correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Day numbers, spend with weekdays and a step of a fifth, and which days are old."""
    n = n_old + n_new + ahead
    days = MONDAY + rng.integers(0, 7) + np.arange(n)
    level = np.where(np.arange(n) < n_old, 50.0, 60.0)
    usd = level * WEEK[(days + 3) % 7] * np.exp(0.1 * errors(rng, n, correlation))
    return days, usd, np.arange(n) < n_old


def fitted(seed: int, n_old: int = 28, n_new: int = 14) -> tuple[DailyModel, np.ndarray]:
    days, usd, old = days_of(np.random.default_rng(seed), n_old, n_new, 0, 0.3)
    model = fit(days, usd, old)
    assert model is not None
    return model, usd


def test_without_correlation_it_is_ordinary_least_squares() -> None:
    """Coefficients, and the prediction errors of a day and of a sum, as statsmodels has them."""
    days, usd, _ = days_of(np.random.default_rng(3), 0, 35, 0, 0.0)
    model = fit(days, usd)
    assert model is not None
    other = sm.OLS(usd, model.design).fit()
    assert model.coefficients == pytest.approx(other.params)
    plain = dataclasses.replace(model, correlation=0.0, deviation=math.sqrt(other.scale))
    ahead = np.arange(days[-1] + 1, days[-1] + 12)
    mean, error = plain.sums(ahead)
    rows = np.array([[1.0, *[(k == (d + 3) % 7) - float((d + 3) % 7 == 6) for k in range(6)]]
                     for d in ahead])  # fmt: skip
    first = other.get_prediction(rows[:1])
    assert mean[0] == pytest.approx(first.predicted_mean[0])
    assert error[0] == pytest.approx(math.sqrt(first.var_pred_mean[0] + other.scale))
    total = rows.sum(axis=0)
    variance = other.scale * len(ahead) + total @ other.cov_params() @ total
    assert mean[-1] == pytest.approx((rows @ other.params).sum())
    assert error[-1] == pytest.approx(math.sqrt(variance))


def test_with_correlation_the_error_of_the_sum_is_that_of_many_worlds() -> None:
    """20,000 worlds of a known AR(1): the standard error of a standard deviation is half a percent."""
    rng = np.random.default_rng(8)
    model, _ = fitted(1, 0, 28)
    correlation, ahead = 0.6, 10
    known = dataclasses.replace(model, correlation=correlation, deviation=1.0)
    future = model.days[-1] + 1 + np.arange(ahead)
    _, error = known.sums(future)
    n, worlds = len(model.days), 20_000
    noise = rng.standard_normal((worlds, n + ahead))
    for i in range(1, n + ahead):
        noise[:, i] = correlation * noise[:, i - 1] + 0.8 * noise[:, i]
    x = np.array([[1.0, *[(k == (d + 3) % 7) - float((d + 3) % 7 == 6) for k in range(6)]]
                  for d in future])  # fmt: skip
    guessed = noise[:, :n] @ np.linalg.pinv(model.design).T @ x.T
    wrong = (noise[:, n:] - guessed).sum(axis=1)
    assert error[-1] == pytest.approx(wrong.std(), rel=0.02)


def test_a_part_of_a_day_counts_as_a_part() -> None:
    model, _ = fitted(2)
    day = int(model.days[-1]) + 1
    whole, half = model.sums([day]), model.sums([day], [0.5])
    assert half[0] == pytest.approx(whole[0] / 2)
    assert half[1] == pytest.approx(whole[1] / 2)


def test_the_level_is_that_of_the_newest_era_and_the_weekdays_are_those_of_all() -> None:
    days = MONDAY + np.arange(35)
    usd = np.where(days < MONDAY + 28, 100.0, 150.0) * WEEK[(days + 3) % 7]
    model = fit(days, usd, days < MONDAY + 28)
    assert model is not None
    mean, error = model.sums(days[-1] + 1 + np.arange(7))
    assert np.diff(mean, prepend=0) == pytest.approx(150 * WEEK)
    assert error == pytest.approx(np.zeros(7), abs=1e-6)
    assert model.coefficients[0] == pytest.approx(150.0)


@pytest.mark.parametrize(
    ("n_days", "weekdays"), [(20, False), (21, True)], ids=["below three weeks", "three weeks"]
)
def test_weekdays_are_told_apart_from_three_weeks_on(n_days: int, weekdays: bool) -> None:
    days = MONDAY + np.arange(n_days)
    model = fit(days, 100 * WEEK[(days + 3) % 7])
    assert model is not None
    assert model.weekdays is weekdays
    _, error = model.sums(days[-1] + 1 + np.arange(14))
    assert bool(error[-1] < 1e-6) is weekdays


@pytest.mark.parametrize(
    ("why", "days", "old"),
    [
        ("two days", [1, 2], None),
        ("no day of the newest era", [1, 2, 3, 4], [True] * 4),
        ("none", [], None),
    ],
)
def test_too_little_gives_no_model(why: str, days: list[int], old: list[bool] | None) -> None:
    assert fit(days, [1.0] * len(days), old) is None


def test_days_that_are_left_out_leave_a_gap_and_no_fault() -> None:
    days, usd, _ = days_of(np.random.default_rng(5), 0, 42, 0, 0.0)
    kept = (np.arange(42) < 10) | (np.arange(42) > 13)
    model = fit(days[kept], usd[kept])
    assert model is not None
    assert len(model.days) == 38
    assert np.isfinite(model.sums(days[-1] + 1 + np.arange(5))[1]).all()


def test_zeroes_are_forecast_as_zero() -> None:
    model = fit(MONDAY + np.arange(30), np.zeros(30))
    assert model is not None
    mean, error = model.sums(MONDAY + 30 + np.arange(5))
    assert mean == pytest.approx(np.zeros(5))
    assert error == pytest.approx(np.zeros(5))


def covered(worlds: int, correlation: float, n_old: int, n_new: int, ahead: int) -> float:
    rng = np.random.default_rng([n_old, n_new, ahead, round(10 * correlation)])
    hits = 0
    for _ in range(worlds):
        days, usd, old = days_of(rng, n_old, n_new, ahead, correlation)
        n = n_old + n_new
        model = fit(days[:n], usd[:n], old[:n])
        assert model is not None
        mean, error = model.sums(days[n:])
        hits += abs(usd[n:].sum() - mean[-1]) <= model.quantile(0.95) * error[-1]
    return hits / worlds


SHAPES = [(42, 14, 14), (0, 28, 10), (14, 7, 7), (42, 3, 14), (0, 10, 10)]


def enough(worlds: int) -> float:
    """The lowest share of periods covered that a true rate of 95 % shows in 19 of 20 runs."""
    return 0.95 - 1.645 * math.sqrt(0.05 * 0.95 / worlds)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_intervals_cover_the_sum_of_the_days_that_follow(correlation: float) -> None:
    assert covered(80, correlation, 42, 14, 14) >= enough(80)


@pytest.mark.simulate
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(("n_old", "n_new", "ahead"), SHAPES)
def test_intervals_cover_at_the_nominal_rate(
    n_old: int, n_new: int, ahead: int, correlation: float
) -> None:
    assert covered(400, correlation, n_old, n_new, ahead) >= enough(400)


def days_held(worlds: int, correlation: float, n: int) -> float:
    """How often the interval of a mean of n new days, after six old weeks, holds the level."""
    rng = np.random.default_rng(31)
    held = 0
    for _ in range(worlds):
        usd = 100 + 10 * errors(rng, 42 + n, correlation)
        days = MONDAY + np.arange(42 + n)
        model = fit(days, usd, np.arange(42 + n) < 42)
        assert model is not None
        variance, df = variance_of_day(days[42:], usd[42:], model.found)
        half = t_quantile(0.975, df) * math.sqrt(variance / n)
        held += abs(float(usd[42:].mean()) - 100) <= half
    return held / worlds


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_level_of_days_that_hang_together_lies_in_its_interval(correlation: float) -> None:
    """Taken as independent, fourteen days with a correlation of 0.6 hold it in 68 % of worlds."""
    assert 0.88 <= days_held(200, correlation, 14) <= 0.995


@pytest.mark.simulate
@pytest.mark.parametrize("n", [7, 14, 28])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_level_of_days_is_held_at_the_nominal_rate(correlation: float, n: int) -> None:
    assert 0.92 <= days_held(1_000, correlation, n) <= 0.99


def test_days_without_correlation_vary_as_usual() -> None:
    usd = np.random.default_rng(2).normal(50, 5, 14)
    variance, df = variance_of_day(np.arange(14), usd, 0.0)
    assert (variance, df) == (pytest.approx(usd.var(ddof=1)), 13)
    assert variance_of_day(np.arange(14), usd, 0.5)[0] > 2 * variance
