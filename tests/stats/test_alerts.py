"""Burn alerts: the Workbook's table, and what a handful of events cannot fire."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.alert_windows import load
from analysis.stats.alerts import (
    Limit,
    alert_p,
    beyond_chance,
    detection_hours,
    firing,
    min_events,
    threshold,
    trailing,
)
from analysis.views.budget_alerts import limit_of
from tests.stats.alert_worlds import Retries, Sessions, alert, traffic


class TestWorkbook:
    # Chapter 5 for a period of 30 days: share of the budget, long window, burn rate.
    @pytest.mark.parametrize(
        ("share", "hours", "burn"), [(0.02, 1, 14.4), (0.05, 6, 6), (0.10, 24, 3), (0.10, 72, 1)]
    )
    def test_thresholds_of_a_period_of_thirty_days(
        self, share: float, hours: float, burn: float
    ) -> None:
        assert threshold(share, 30, hours) == pytest.approx(burn)

    # Chapter 5, "Incident response time": error rate → detection time of an alert on 10 × over 1 h
    # with a target of 99.9 %; and what 14.4, 6, 3 and 1 give by the same formula.
    @pytest.mark.parametrize(
        ("burn", "hours", "error_rate", "expected"),
        [
            (10, 1, 1.0, 0.01), (10, 1, 0.10, 0.1), (10, 1, 0.01, 1.0), (10, 1, 0.001, math.inf),
            (14.4, 1, 1.0, 0.0144), (6, 6, 1.0, 0.036), (3, 24, 1.0, 0.072), (1, 72, 1.0, 0.072),
            (14.4, 1, 0.0144, 1.0), (1, 72, 0.002, 36.0), (1, 72, 0.0009, math.inf), (1, 72, 0, math.inf),
        ],
    )  # fmt: skip
    def test_detection_times_are_threshold_by_error_rate_by_window(
        self, burn: float, hours: float, error_rate: float, expected: float
    ) -> None:
        assert detection_hours(burn, 0.999, error_rate, hours) == pytest.approx(expected)

    @pytest.mark.parametrize("error_rate", [1.0, 0.5, 0.2, 0.1])
    def test_the_plain_alert_fires_after_the_detection_time(self, error_rate: float) -> None:
        # 20 events a bucket; the outage starts with bucket 1,000, at the rate of the table.
        n = np.full(2000, 20)
        y = np.where(np.arange(2000) >= 1000, int(20 * error_rate), 0)
        for window in load():
            burn = threshold(window.budget_share, 30, window.long_hours)
            fired = firing(
                n, y, long=window.long_span.seconds // 300 + 288 * window.long_span.days,
                short=window.short_span.seconds // 300, limit=Limit(burn, 0.01), rho=0.0,
                clusters=_Rows(y),
            )  # fmt: skip
            hours = detection_hours(burn, 0.99, error_rate, window.long_hours)
            ends = np.flatnonzero(fired.plain)
            if math.isinf(hours):
                assert not ends.size
                continue
            after = (ends[0] + 1 - 1000) / 12
            # To the bucket: by the long window, or by the short one where that is slower.
            slower = max(hours, detection_hours(burn, 0.99, error_rate, window.short_hours))
            assert slower <= after + 1e-9 < slower + 1 / 12 + 1e-9


class _Rows:
    """Clusters of one row each."""

    def __init__(self, y: np.ndarray) -> None:
        self._y = y

    def largest(self) -> int:
        return 1

    def bad(self, width: int) -> np.ndarray:
        return trailing(self._y, width)

    def squares(self, width: int, first: int, last: int) -> np.ndarray:
        raise AssertionError("clusters of one row need no squares")


class TestEvidence:
    def test_independent_rows_get_the_binomial_tail(self) -> None:
        for y, n, rate in ((1, 10, 0.0144), (3, 40, 0.006), (30, 30, 0.72)):
            expected = stats.binom.sf(y - 1, n, rate)
            assert alert_p(y, n, n, y, 0.3, rate) == pytest.approx(expected)

    def test_rows_of_one_cluster_count_as_one_event(self) -> None:
        # Four failures of one session among 40 rows are one of ten.
        assert alert_p(4, 40, 52, 1, 0.0, 0.0144) == pytest.approx(stats.binom.sf(0, 10, 0.0144))

    def test_clusters_inflate_by_the_design_effect_where_that_is_more(self) -> None:
        deff = 1 + (200 / 40 - 1) * 0.5
        expected = alert_p(6 / deff, 40 / deff, 40 / deff, 6 / deff, 0.0, 0.05)
        assert alert_p(6, 40, 200, 5, 0.5, 0.05) == pytest.approx(float(expected))

    def test_one_failing_cluster_is_no_outage(self) -> None:
        assert alert_p(1, 1, 1, 1, 0.0, 0.006) <= 0.01
        assert not beyond_chance(1, 1, 1, 1, 0.0, Limit(6.0, 0.001))
        assert beyond_chance(2, 2, 2, 2, 0.0, Limit(6.0, 0.001))

    def test_no_event_is_no_evidence(self) -> None:
        assert alert_p(0, 0, 0, 0, 0.2, 0.1) == alert_p(0, 9, 9, 0, 0.2, 0.1) == 1.0

    @given(
        n=st.integers(2, 5000), share=st.floats(0.001, 1.0), rate=st.floats(0.0005, 0.9),
        deff=st.floats(1.0, 50.0), more=st.floats(1.0, 5.0), looks=st.sampled_from([0.0, 240.0, 1440.0]),
    )  # fmt: skip
    def test_a_larger_design_effect_never_makes_it_fire(
        self, n: int, share: float, rate: float, deff: float, more: float, looks: float
    ) -> None:
        # On this the shortcuts of `firing` rest: what fires at the largest deff fires at all.
        y = max(1, math.ceil(share * n))
        if y / n < rate:
            return
        rho, limit = 0.5, Limit(3.0, rate / 3.0, looks)
        squares = [n * (1 + (d - 1) / rho) for d in (deff, deff * more)]
        less, most = (beyond_chance(y, n, nn, y, rho, limit) for nn in squares)
        assert less or not most

    @pytest.mark.parametrize(
        ("burn", "target", "events"),
        [(14.4, 0.999, 2), (6, 0.999, 2), (14.4, 0.95, 15), (6, 0.95, 4), (3, 0.95, 3), (20, 0.95, None),
         (1, 0.95, 2), (1.9, 0.5, 90)],
    )  # fmt: skip
    def test_so_many_failing_events_can_fire_and_one_less_cannot(
        self, burn: float, target: float, events: int | None
    ) -> None:
        for looks in (0.0, 240.0) if burn > 3 or target < 0.9 else (0.0,):
            limit = Limit(burn, 1 - target, looks)
            assert min_events(limit) == events
            if events is not None:
                assert beyond_chance(events, events, events, events, 0.0, limit)
                fewer = events - 1
                assert not beyond_chance(fewer, fewer, fewer, fewer, 0.0, limit)

    def test_a_page_must_be_rare_among_all_windows_of_its_period(self) -> None:
        # Two failures among ten requests of an hour: rare in that hour, but not in any of a month.
        assert beyond_chance(2, 10, 10, 2, 0.0, Limit(14.4, 0.001))
        page = Limit(14.4, 0.001, 1440.0)
        assert stats.binom.sf(1, 10, 0.001) * 2 * 1440 > 0.05
        assert not beyond_chance(2, 10, 10, 2, 0.0, page)
        assert stats.binom.sf(2, 10, 0.001) * 3 * 1440 < 0.05
        assert beyond_chance(3, 10, 10, 3, 0.0, page)


@pytest.mark.parametrize("seed", range(6))
def test_the_shortcuts_decide_as_counting_every_window_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = traffic(
        rng, days=6, per_hour=15.0, rate=0.06, retries=Retries(0.7, 0.6), per_session=4.0
    )
    n, y, sessions, target = found.n(), found.y(), Sessions(found), 0.98
    for rho in (0.0, 0.15, 0.6):
        for window in load():
            width = window.long_span.seconds // 300 + 288 * window.long_span.days
            fired = alert(found, window, target, rho)
            every = beyond_chance(
                trailing(y, width), trailing(n, width), sessions.squares(width, 0, found.k - 1),
                sessions.bad(width), rho, limit_of(window, 30, 1 - target),
            )  # fmt: skip
            np.testing.assert_array_equal(fired.firing, fired.plain & every)
