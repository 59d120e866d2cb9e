from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.change_point_spikes import spikes

N = 56
DAYS = np.arange(20003, 20003 + N)
WEEK = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -20.0, -25.0])[(DAYS + 3) % 7]


def quiet(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=N) + WEEK


def places(values: np.ndarray) -> list[int]:
    return np.flatnonzero(spikes(DAYS, values)).tolist()


@pytest.mark.parametrize("at", [[0], [1, 2], [20], [33, 34], [55], [54, 55]])
@pytest.mark.parametrize("size", [12.0, -12.0])
def test_a_day_or_two_that_stand_alone_are_found(at: list[int], size: float) -> None:
    values = quiet()
    values[at] += size
    assert set(at) <= set(places(values))


@pytest.mark.parametrize("first", [5, 6, 20, 30, 50, 51])
@pytest.mark.parametrize("size", [3.0, 8.0, 40.0])
def test_a_step_is_none_wherever_it_lies(first: int, size: float) -> None:
    found = places(quiet() + size * (np.arange(N) >= first))
    assert not {first - 2, first - 1, first, first + 1} & set(found)


def test_a_trend_a_weekend_and_what_lasts_are_none() -> None:
    assert places(quiet() + 0.5 * np.arange(N)) == []
    assert places(quiet() + 12.0 * np.isin(np.arange(N), [20, 21, 22, 23, 24])) == []


def test_of_normal_days_hardly_any_is_a_spike() -> None:
    found = [len(places(quiet(seed))) for seed in range(100)]
    assert np.mean(found) <= 0.15


def test_days_that_are_equal_have_none() -> None:
    values = np.zeros(N)
    values[30] = 1.0
    assert places(values) == []
