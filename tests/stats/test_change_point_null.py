from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.change_point_null import Law, Null

DAYS = np.arange(20003, 20003 + 42)


def test_the_tail_of_an_exponential_law_is_continued() -> None:
    draws = np.random.default_rng(1).exponential(2.0, 20_000)
    law = Law.of(draws)
    for value in (1.0, 5.0, 20.0, 60.0):
        assert law.log_survival(value) == pytest.approx(-value / 2, rel=0.06, abs=0.02)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.05, 0.001, 1e-6])
def test_quantiles_and_p_values_are_inverse(p: float) -> None:
    null = Null(DAYS, 5)
    for correlation in (0.0, 0.2, 0.45, 0.7):
        ratio = null.critical(p, correlation)
        assert null.p_value(ratio, correlation) == pytest.approx(p, rel=0.25)


def test_correlated_days_need_more() -> None:
    critical = [Null(DAYS, 5).critical(0.05, c) for c in (0.0, 0.3, 0.6)]
    assert critical == sorted(critical)


def test_two_steps_need_more_than_one() -> None:
    assert Null(DAYS, 5, pairs=True).critical(0.05, 0.0) > Null(DAYS, 5).critical(0.05, 0.0)
