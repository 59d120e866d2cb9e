from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.errors import PolicyError
from analysis.policy import parse
from analysis.views.budget import BudgetSection, assess
from analysis.views.result import ViewResult
from analysis.views.spend import SpendSection
from tests.views.world import DAY, START, at, dated, evenly, events, opened, policy

# The world starts on Monday, 21 September 2026: its 28th day is 19 October, and October's last
# remains 13 days ahead.
OCTOBER = (pd.Timestamp("2026-10-01", tz="UTC"), pd.Timestamp("2026-11-01", tz="UTC"))


def rows_of(cost: Callable[[int], float], n_days: int = 28, a_day: int = 24) -> pd.DataFrame:
    rows = events(evenly(n_days, a_day), [False] * (n_days * a_day))
    return rows.assign(cost_usd=[cost(k // a_day) for k in range(len(rows))])


def result_of(
    rows: pd.DataFrame, folder: Path, windows: Any = None, **spend: Any
) -> ViewResult[BudgetSection]:
    chosen = windows or dated(0, 14, 28)
    with opened(rows, folder, policy(windows=chosen, spend=spend)) as telemetry:
        return assess(telemetry, telemetry.policy)


def spend_of(*given: Any, **more: Any) -> SpendSection:
    return result_of(*given, **more).section.spend


def noisy(seed: int = 1) -> Callable[[int], float]:
    each = np.random.default_rng(seed).normal(0.1, 0.004, 400).round(9)
    return lambda d: float(each[d])


class TestPeriod:
    def test_the_month_is_what_was_spent_and_what_is_to_come(self, tmp_path: Path) -> None:
        rows = rows_of(noisy())
        spend = spend_of(rows, tmp_path, budget_usd_per_day=2.5)
        period = spend.period
        assert (period.start_utc, period.end_utc) == (
            "2026-10-01T00:00:00Z",
            "2026-11-01T00:00:00Z",
        )
        spent = rows["cost_usd"][rows["timestamp_utc"] >= OCTOBER[0]].sum()
        assert period.spent_usd == pytest.approx(spent)
        assert period.budget_usd == pytest.approx(31 * 2.5)
        value, low, high = (float(v or 0) for v in vars(period.forecast_usd).values())
        assert value == pytest.approx(spent + 13 * 2.4, rel=0.01)
        assert spent < low < value < high < 1.1 * value
        assert (spend.history_days, spend.weekdays, period.reason) == (28, True, None)
        assert period.exhausts_utc.value is None

    def test_a_period_of_days_begins_with_the_candidate(self, tmp_path: Path) -> None:
        rows = rows_of(lambda d: 0.1)
        period = spend_of(rows, tmp_path / "a", period={"days": 30}).period
        assert (period.start_utc, period.end_utc) == (
            (START + 14 * DAY).isoformat().replace("+00:00", "Z"),
            (START + 44 * DAY).isoformat().replace("+00:00", "Z"),
        )
        assert period.spent_usd == pytest.approx(14 * 2.4)
        assert period.forecast_usd.value == pytest.approx(30 * 2.4)
        # The second of two weeks is the period, and it is over.
        period = spend_of(rows, tmp_path / "b", period={"days": 7}).period
        assert (period.spent_usd, period.forecast_usd.low) == (pytest.approx(7 * 2.4),) * 2
        assert period.forecast_usd.high == pytest.approx(7 * 2.4)

    def test_the_forecast_is_at_the_candidates_level_and_goes_by_weekday(
        self, tmp_path: Path
    ) -> None:
        weekday = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25]
        rows = rows_of(lambda d: (0.1 if d < 21 else 0.2) * weekday[d % 7])
        spend = spend_of(rows, tmp_path, dated(0, 21, 28), period={"days": 9})
        # Two days remain, a Monday and a Tuesday.
        assert spend.period.forecast_usd.value == pytest.approx(24 * 0.2 * (5.75 + 2))
        assert spend.period.forecast_usd.high == pytest.approx(24 * 0.2 * 7.75)

    @pytest.mark.parametrize(
        ("budget", "value", "low", "high"),
        [
            (1.0, "2026-10-13T22:00:00Z", "2026-10-13T22:00:00Z", "2026-10-13T22:00:00Z"),
            (2.0, "2026-10-26T20:00:00Z", "2026-10-26", "2026-10-26"),
            (3.0, None, None, None),
        ],
        ids=["it is overspent", "it will be", "it lasts"],
    )
    def test_when_the_budget_is_gone(
        self, tmp_path: Path, budget: float, value: str | None, low: str | None, high: str | None
    ) -> None:
        """2.4 USD a day: 31 reach in 12.92 days, 62 in 25.83."""
        found = spend_of(rows_of(lambda d: 0.1), tmp_path, budget_usd_per_day=budget).period
        assert found.exhausts_utc.value == value
        for end, told in ((found.exhausts_utc.low, low), (found.exhausts_utc.high, high)):
            assert str(end).startswith(told) if told else end is None

    def test_a_budget_that_may_go_says_how_early(self, tmp_path: Path) -> None:
        rows = rows_of(noisy(), n_days=28)
        value = float(spend_of(rows, tmp_path / "a").period.forecast_usd.value or 0)
        just = spend_of(rows, tmp_path / "b", budget_usd_per_day=1.005 * value / 31).period
        assert just.exhausts_utc.value is None
        assert just.exhausts_utc.high is None
        assert just.exhausts_utc.low is not None
        assert "2026-10-28" < str(just.exhausts_utc.low) < "2026-11-01"

    @pytest.mark.parametrize(
        ("n_days", "windows", "history", "words"),
        [
            (28, dated(8, 18, 28), 20, "below 21 weekdays cannot be told apart"),
            (28, dated(24, 26, 28), 4, "4 whole days"),
            (28, dated(26, 27, 28), 2, "fewer than 3 whole days"),
            (28, dated(20, 27.5, 27.9), 7, "candidate window holds no whole day"),
        ],
    )
    def test_a_short_history_is_said(
        self, tmp_path: Path, n_days: int, windows: Any, history: int, words: str
    ) -> None:
        result = result_of(rows_of(noisy(), n_days), tmp_path, windows)
        spend = result.section.spend
        assert (spend.history_days, spend.weekdays) == (history, False)
        assert words in (spend.period.reason or "")
        assert any(words in note for note in result.notes)
        assert (spend.period.forecast_usd.value is None) == (
            words not in ("4 whole days", "below 21 weekdays cannot be told apart")
        )

    def test_telemetry_that_begins_within_the_period_tells_no_sum(self, tmp_path: Path) -> None:
        rows = rows_of(lambda d: 0.1)
        rows = rows[rows["timestamp_utc"] >= START + 14 * DAY]
        period = spend_of(
            rows, tmp_path, {"candidate": {"days": 7}, "baseline": {"days": 7}}
        ).period
        assert period.spent_usd is period.forecast_usd.value is None
        assert "begins after the period" in (period.reason or "")

    def test_an_incident_was_paid_and_says_nothing_of_the_days_to_come(
        self, tmp_path: Path
    ) -> None:
        rows = rows_of(lambda d: 5.0 if d == 20 else 0.1)
        windows = {
            **dated(0, 14, 28),
            "exclude": [{"start": at(20, 3), "end": at(20, 9), "reason": "x"}],
        }
        spend = spend_of(rows, tmp_path, windows)
        assert spend.history_days == 27
        assert spend.period.spent_usd == pytest.approx(17 * 2.4 + 120)
        ahead = float(spend.period.forecast_usd.value or 0) - float(spend.period.spent_usd or 0)
        assert ahead == pytest.approx(13 * 2.4)

    def test_a_first_day_that_may_be_cut_is_left_out(self, tmp_path: Path) -> None:
        rows = rows_of(lambda d: 0.1)
        rows = rows[rows["timestamp_utc"] >= START + 0.5 * DAY]
        assert spend_of(rows, tmp_path).history_days == 27

    def test_without_costs_nothing_is_told(self, tmp_path: Path) -> None:
        rows = rows_of(lambda d: 0.1)
        for name, lacking in (
            ("a", rows.drop(columns="cost_usd")),
            ("b", rows.assign(cost_usd=None)),
        ):
            spend = spend_of(lacking, tmp_path / name, budget_usd_per_day=2)
            assert spend.period.spent_usd is spend.period.forecast_usd.value is None
            assert "cost_usd" in (spend.period.reason or "")
            assert spend.period.budget_usd == 62

    def test_the_hours_sum_to_the_window(self, tmp_path: Path) -> None:
        rows = rows_of(noisy())
        rows.loc[rows.index % 40 == 7, "cost_usd"] = None
        hours = result_of(rows, tmp_path).tables["spend_by_hour.csv"]
        new = rows[rows["timestamp_utc"] >= START + 14 * DAY]
        assert len(hours) == 14 * 24
        assert hours["usd"].sum() == pytest.approx(new["cost_usd"].sum())
        assert hours["unknown"].sum() == new["cost_usd"].isna().sum()
        assert hours["interactions"].sum() == len(new)

    def test_the_path_leads_from_the_periods_start_to_the_forecast(self, tmp_path: Path) -> None:
        result = result_of(rows_of(noisy()), tmp_path)
        path, period = result.series["spend_period"], result.section.spend.period
        assert (path["day"].iloc[0], path["day"].iloc[-1]) == OCTOBER
        assert path["usd"].is_monotonic_increasing
        assert path["usd"].iloc[0] == 0
        now = path[~path["ahead"]].iloc[-1]
        assert now["usd"] == now["low"] == now["high"] == pytest.approx(period.spent_usd)
        last = path.iloc[-1]
        assert [last["usd"], last["low"], last["high"]] == [*vars(period.forecast_usd).values()]
        ahead = path[path["ahead"]]
        assert (ahead["low"] < ahead["low50"]).all()
        assert (ahead["low50"] < ahead["usd"]).all()
        assert (ahead["usd"] < ahead["high50"]).all()
        assert (ahead["high50"] < ahead["high"]).all()


@pytest.mark.parametrize(
    "period", ["week", "{days: 0}", "{days: 400}", "{weeks: 2}", "30"], ids=str
)
def test_other_periods_are_refused(period: str) -> None:
    with pytest.raises(PolicyError, match=r"spend\.period"):
        parse(f"spend: {{period: {period}}}".encode())
