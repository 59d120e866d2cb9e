from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from analysis.stats.looks import cumulative_alpha, look_alpha

STANDARD = NormalDist()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("looks", [1, 2, 7, 14, 30])
def test_what_all_looks_spend_is_alpha(alpha: float, looks: int) -> None:
    spent = [look_alpha(alpha, k, looks) for k in range(1, looks + 1)]
    assert sum(spent) == pytest.approx(alpha, rel=1e-12)
    assert all(0 < a < alpha + 1e-15 for a in spent)


@pytest.mark.parametrize("k", range(1, 15))
def test_a_look_spends_the_closed_form(k: int) -> None:
    """α(t) = 2 − 2Φ(z_{α/2}/√t), with z by another library; double the lower tail keeps its digits."""
    z = STANDARD.inv_cdf(0.025)

    def spent(look: int) -> float:
        return 2 * STANDARD.cdf(z / (look / 14) ** 0.5) if look else 0.0

    assert look_alpha(0.05, k, 14) == pytest.approx(spent(k) - spent(k - 1), rel=1e-6)


def test_the_first_of_five_looks_spend_next_to_nothing() -> None:
    """Lan & DeMets (1983), the O'Brien–Fleming-like function at fifths of the information."""
    assert cumulative_alpha(0.05, 0.2) == pytest.approx(1.17e-5, rel=0.01)
    assert cumulative_alpha(0.05, 0.4) == pytest.approx(0.00194, rel=0.01)
    assert cumulative_alpha(0.05, 0.6) == pytest.approx(0.01140, rel=0.01)
    assert cumulative_alpha(0.05, 0.8) == pytest.approx(0.02844, rel=0.01)
    assert cumulative_alpha(0.05, 1.0) == 0.05


def test_the_first_of_many_looks_keeps_its_digits() -> None:
    """2 − 2Φ(7.3) is a difference of ones, and has three digits; the tail has all of them."""
    exact = 2 * STANDARD.cdf(STANDARD.inv_cdf(0.025) * 14**0.5)
    assert 0 < exact < 1e-12
    assert look_alpha(0.05, 1, 14) == pytest.approx(exact, rel=1e-6)


def test_spending_rises_and_ends_at_alpha() -> None:
    times = np.linspace(0, 1, 101)
    spent = [cumulative_alpha(0.05, float(t)) for t in times]
    assert spent[0] == 0
    assert spent[-1] == 0.05
    assert all(np.diff(spent) >= 0)
    assert cumulative_alpha(0.05, -1) == 0
    assert cumulative_alpha(0.05, 2) == 0.05


def test_a_skipped_look_is_forfeited_and_after_the_last_nothing_is_left() -> None:
    seen = [k for k in range(1, 15) if k != 13]
    assert sum(look_alpha(0.05, k, 14) for k in seen) < 0.05
    for look in (-1, 0, 15, 100):
        assert look_alpha(0.05, look, 14) == 0


def test_one_look_spends_all_of_it() -> None:
    assert look_alpha(0.05, 1, 1) == pytest.approx(0.05)
