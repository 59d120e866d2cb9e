from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from analysis.stats.alerts import trailing
from analysis.stats.incidents import Stretch, find_incidents, log_likelihood_ratio

Ints = npt.NDArray[np.int64]
NEAR = 144


def found(n: Ints, y: Ints, *hot: tuple[int, int], **changes: object) -> list[tuple[int, int]]:
    """Incidents of rows that are a cluster each, unless `changes` say otherwise."""
    asked: dict[str, object] = {
        "near": NEAR,
        "alone": 2 * NEAR,
        "error_budget": 0.01,
        "bad_clusters": lambda width: trailing(y, width),
        **changes,
    }
    incidents = find_incidents(n, y, [Stretch(*h) for h in hot], **asked)  # type: ignore[arg-type]
    return [(i.first, i.stop) for i in incidents]


def planted(
    rng: np.random.Generator, k: int, a_bucket: float, outages: dict[tuple[int, int], float]
) -> tuple[Ints, Ints]:
    """Poisson traffic of which 0.2 % fails, and of the outages' buckets their own share."""
    rate = np.full(k, 0.002)
    for (first, stop), share in outages.items():
        rate[first:stop] = share
    n = rng.poisson(a_bucket, k)
    return n, rng.binomial(n, rate)


class TestTheLikelihoodRatio:
    def test_it_is_that_of_binomial_likelihoods_at_their_own_rates(self) -> None:
        rng = np.random.default_rng(1)
        for _ in range(200):
            n1, n0 = rng.integers(1, 60, 2)
            y1, y0 = rng.integers(0, n1 + 1), rng.integers(0, n0 + 1)
            p = (y1 + y0) / (n1 + n0)
            likely = [stats.binom.logpmf(y, n, y / n) - stats.binom.logpmf(y, n, p)
                      for y, n in ((y1, n1), (y0, n0))]  # fmt: skip
            expected = sum(likely) if y1 / n1 > y0 / n0 else 0.0
            held = float(log_likelihood_ratio(n1, y1, n1 + n0, y1 + y0))
            assert held == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize(
        ("why", "n", "y", "total_n", "total_y"),
        [("nothing inside", 0, 0, 9, 3), ("nothing outside", 9, 3, 9, 3),
         ("as bad outside", 3, 1, 9, 3), ("better inside", 3, 0, 9, 3)],
    )  # fmt: skip
    def test_it_is_zero_where_the_inside_is_no_worse(
        self, why: str, n: int, y: int, total_n: int, total_y: int
    ) -> None:
        assert log_likelihood_ratio(n, y, total_n, total_y) == 0.0


@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_intervals_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = int(rng.integers(5, 40))
    n, y = planted(rng, 70, 6.0, {(first, first + int(rng.integers(3, 20))): 0.7})
    scores = {
        (a, b): float(log_likelihood_ratio(n[a:b].sum(), y[a:b].sum(), int(n.sum()), int(y.sum())))
        for a, b in itertools.combinations(range(71), 2)
    }
    best = max(scores.values())
    (one,) = found(n, y, (0, 70))
    assert scores[one] == pytest.approx(best)
    # Of intervals that score the same, the one without empty ends.
    assert y[one[0]] > 0
    assert y[one[1] - 1] > 0


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_long_stretch_is_searched_coarsely_and_then_to_the_bucket(share: float) -> None:
    # Six days of 5,000 requests an hour: every bucket holds bad ones, too many to try all pairs.
    rng = np.random.default_rng(4)
    for _ in range(5):
        first = int(rng.integers(300, 1300))
        n, y = planted(rng, 1728, 417.0, {(first, first + 30): share})
        assert (y > 0).sum() > 512
        (one,) = found(n, y, (first, first + 400))
        assert max(abs(one[0] - first), abs(one[1] - first - 30)) <= 1


class TestSeveral:
    OUTAGES = ((100, 112), (130, 136), (300, 340))

    @pytest.mark.parametrize("share", [0.5, 1.0])
    def test_each_is_found_and_what_lies_between_is_none(self, share: float) -> None:
        rng = np.random.default_rng(5)
        for _ in range(10):
            n, y = planted(rng, 500, 30.0, dict.fromkeys(self.OUTAGES, share))
            incidents = found(n, y, (100, 360))
            assert len(incidents) == 3
            assert np.abs(np.array(incidents) - np.array(self.OUTAGES)).max() <= 1

    def test_a_lull_that_is_still_an_outage_does_not_cut_it(self) -> None:
        rng = np.random.default_rng(6)
        outages = {(100, 112): 0.9, (112, 124): 0.5, (124, 136): 0.9}
        n, y = planted(rng, 300, 30.0, outages)
        assert found(n, y, (100, 140)) == [(100, 136)]

    def test_neighbourhoods_that_meet_report_an_incident_once(self) -> None:
        n, y = planted(np.random.default_rng(7), 500, 30.0, {(200, 230): 1.0})
        assert found(n, y, (195, 215), (205, 240), (200, 212)) == [(200, 230)]


class TestNone:
    def test_where_a_rise_that_no_alert_saw_is_long_or_small(self) -> None:
        """Which is no outage: days differ, and releases regress."""
        rng = np.random.default_rng(8)
        n, y = planted(rng, 1_000, 30.0, {(200, 230): 0.3})
        assert found(n, y) == [(200, 230)]
        # Where the alert was for something else nearby, too.
        assert found(n, y, (100, 150)) == [(200, 230)]
        assert found(n, y, alone=29) == []
        n, y = planted(
            rng, 1_000, 3_000.0, {(0, 200): 0.030, (200, 400): 0.045, (400, 1_000): 0.030}
        )
        assert found(n, y) == []
        assert found(n, y, (200, 400)) == [(200, 400)]

    def test_where_the_rate_is_within_the_budget(self) -> None:
        n, y = planted(np.random.default_rng(8), 500, 30.0, {(200, 230): 0.3})
        assert found(n, y, (200, 230)) != []
        assert found(n, y, (200, 230), error_budget=0.5) == []

    @pytest.mark.parametrize(
        ("clusters", "known"), [(1, False), (2, False), (12, True), (30, True)]
    )
    def test_where_few_clusters_fail_again_and_again(self, clusters: int, known: bool) -> None:
        n = np.full(300, 5)
        y = np.zeros(300, np.int64)
        y[100:120] = 5

        def bad(width: int) -> Ints:
            return np.minimum(trailing(y, width), clusters)

        asked: Callable[[int], Ints] = bad
        assert found(n, y, (100, 120), bad_clusters=asked) == ([(100, 120)] if known else [])

    def test_one_clusters_burst_hides_no_incident_beside_it(self) -> None:
        n, y = planted(np.random.default_rng(9), 400, 10.0, {(250, 262): 0.6})
        y[100] = n[100] = 400
        burst = np.zeros(400, np.int64)
        burst[100] = 399

        def bad(width: int) -> Ints:
            return trailing(y - burst, width)

        ((first, stop),) = found(n, y, (90, 270), bad_clusters=bad)
        assert max(abs(first - 250), abs(stop - 262)) <= 1

    def test_where_there_is_nothing(self) -> None:
        nothing = np.zeros(40, np.int64)
        assert found(nothing, nothing, (10, 20)) == []
        assert found(nothing + 3, nothing, (10, 20)) == []
        # All is as bad: nothing stands out.
        assert found(nothing + 3, nothing + 3, (10, 20)) == []

    def test_chance_is_an_incident_in_one_search_of_a_hundred_at_most(self) -> None:
        # Evenly bad: an alert fires all the time, and no stretch is worse than the rest.
        rng, worlds = np.random.default_rng(10), 300
        false = 0
        for _ in range(worlds):
            n = rng.poisson(8.0, 300)
            false += bool(found(n, rng.binomial(n, 0.04), (0, 300)))
        # 1 % and three standard errors.
        assert false <= 8
