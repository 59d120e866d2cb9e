from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.check import Range
from analysis.errors import ContractError
from analysis.policy import Policy
from analysis.telemetry.spending import CAUSES
from analysis.views.budget import BudgetSection, assess
from analysis.views.result import ViewResult
from analysis.views.spend import SpendSection
from analysis.views.spend_unseen import together
from tests.views.world import DAY, START, at, check, dated, evenly, events, opened, policy, traffic

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> ViewResult[BudgetSection]:
    with opened(rows, folder, rules, **more) as telemetry:
        result = assess(telemetry, telemetry.policy)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    assert not any("nan" in c.sentence for c in result.checks)
    return result


def spend_of(*given: Any, **more: Any) -> SpendSection:
    return assessed(*given, **more).section.spend


def late(rows: pd.DataFrame, day: float = 42) -> pd.Series:
    return rows["timestamp_utc"] >= START + day * DAY


def steady(cost: Callable[[int], float], n_days: int = 28, a_day: int = 24) -> pd.DataFrame:
    """Rows that cost `cost(day)` USD each, on `n_days` days."""
    rows = events(evenly(n_days, a_day), [False] * (n_days * a_day))
    rows["cost_usd"] = [cost(k // a_day) for k in range(len(rows))]
    return rows


FORTNIGHTS = dated(0, 14, 28)


PRICES = [
    {
        "model_name": "a",
        "start": at(-9),
        "prompt_usd_per_million": 1_000,
        "completion_usd_per_million": 2_000,
    }
]


def unseen_rows() -> pd.DataFrame:
    """0.1 USD each, but for two late rows of every cause without a known cost."""
    rows = steady(lambda d: 0.1).assign(
        model_name="a", prompt_tokens=100, completion_tokens=100, max_tokens=400,
        failure_type=None, repair_strategy=None,
    )  # fmt: skip
    for place, cause in enumerate(CAUSES[1:]):
        at_rows = [400 + 60 * place, 410 + 60 * place]
        rows.loc[at_rows, "cost_usd"] = None
        if cause != "unknown_price":
            rows.loc[at_rows, "completion_tokens"] = None
        if cause in ("timeout", "dropped_stream"):
            rows.loc[at_rows, "failure_type"] = cause
            rows.loc[at_rows, "is_failure"] = True
        else:
            rows.loc[at_rows, "max_tokens"] = None
        if cause == "fallback":
            rows.loc[at_rows, "repair_strategy"] = "fallback_answer"
    return rows


class TestSpend:
    def test_usd_a_day_is_the_total_by_the_length(self, tmp_path: Path) -> None:
        rows = traffic(900)
        spend = spend_of(rows, tmp_path, policy(spend={"budget_usd_per_day": 2.0}))
        new = rows[late(rows)]
        value = new["cost_usd"].sum() / 14
        assert spend.usd_per_day.value == pytest.approx(value)
        assert spend.usd_per_day.support == len(new)
        assert spend.burn_rate.value == pytest.approx(value / 2.0)
        assert spend.forecast_usd_per_day.value == pytest.approx(value)
        assert spend.unseen_usd == 0

    def test_its_interval_is_the_larger_of_days_and_clusters(self, tmp_path: Path) -> None:
        # High days follow low ones: nothing hangs together.
        wild = np.random.default_rng(4).gamma(2.0, 0.05, 28) + 0.1 * (np.arange(28) % 2)
        rows = steady(lambda d: round(float(wild[d]), 9), a_day=96)
        spend = spend_of(rows, tmp_path / "a", policy(windows=FORTNIGHTS))
        usd = np.round(wild[14:], 9) * 96
        half = stats.t.ppf(0.975, 13) * usd.std(ddof=1) / math.sqrt(14)
        assert spend.usd_per_day.low == pytest.approx(usd.mean() - half)
        assert spend.usd_per_day.high == pytest.approx(usd.mean() + half)
        # The same days in order hang together, and say less of the level.
        wild[14:], wild[:14] = np.sort(wild[14:]), np.sort(wild[:14])
        rows = steady(lambda d: round(float(wild[d]), 9), a_day=96)
        joined = spend_of(rows, tmp_path / "c", policy(windows=FORTNIGHTS))
        assert joined.usd_per_day.value == pytest.approx(usd.mean())
        assert float(joined.usd_per_day.high or 0) > usd.mean() + 1.5 * half
        # Days that are all alike leave the arrival of users: Σ y_c² of a compound Poisson total.
        calm = spend_of(steady(lambda d: 0.1), tmp_path / "b", policy(windows=FORTNIGHTS))
        half = stats.norm.ppf(0.975) * math.sqrt(14 * 24 * 0.1**2) / 14
        assert calm.usd_per_day.high == pytest.approx(2.4 + half)

    def test_weekdays_explain_variance_from_three_weeks_on(self, tmp_path: Path) -> None:
        rows = steady(lambda d: 0.9 if d % 7 < 5 else 0.1, n_days=56)
        few = spend_of(rows, tmp_path / "a", policy(windows=dated(46, 49, 56)))
        enough = spend_of(rows, tmp_path / "b", policy(windows=dated(35, 42, 56)))
        assert (few.history_days, few.weekdays) == (10, False)
        assert (enough.history_days, enough.weekdays) == (21, True)
        assert enough.forecast_usd_per_day.low == pytest.approx(enough.forecast_usd_per_day.value)
        assert few.forecast_usd_per_day.low is not None
        assert few.forecast_usd_per_day.low < 0.8 * float(few.forecast_usd_per_day.value or 0)

    def test_unknown_costs_stand_apart_at_the_mean_of_the_known(self, tmp_path: Path) -> None:
        rows = steady(lambda d: 0.1)
        rows.loc[rows.index % 30 == 3, "cost_usd"] = None
        spend = spend_of(rows, tmp_path, policy(windows=FORTNIGHTS))
        new = rows[late(rows, 14)]
        assert spend.unseen_usd == pytest.approx(0.1 * new["cost_usd"].isna().sum())
        assert spend.usd_per_day.value == pytest.approx(new["cost_usd"].sum() / 14)
        assert spend.usd_per_day.support == new["cost_usd"].notna().sum()

    def test_what_the_log_cannot_see_is_told_by_cause_with_bounds(self, tmp_path: Path) -> None:
        rows = unseen_rows()
        rules = policy(windows=FORTNIGHTS, spend={"prices": PRICES, "unseen_cap_usd": 0.5})
        held = {c.cause: c for c in spend_of(rows, tmp_path, rules).unseen}
        late_rows = rows[late(rows, 14)]
        mean = late_rows["cost_usd"].mean()
        assert {c: (u.n, u.share) for c, u in held.items()} == {
            c: (2, pytest.approx(2 / len(late_rows))) for c in CAUSES[1:]
        }
        # Tokens and price known: the list price, whatever the cause.
        assert held["unknown_price"].usd == Range(*[pytest.approx(2 * (0.1 + 0.2))] * 3)
        # A ceiling and the price: at most the prompt and the longest answer that was allowed.
        longest = 2 * (0.1 + 2e-3 * 400)
        for cause in ("timeout", "dropped_stream"):
            assert held[cause].usd == Range(pytest.approx(2 * mean), 0.0, pytest.approx(longest))
        # Neither: from nothing to the policy's cap for each.
        for cause in ("fallback", "other"):
            assert held[cause].usd == Range(pytest.approx(2 * mean), 0.0, pytest.approx(1.0))

    @pytest.mark.parametrize(
        ("spend", "high"),
        [({}, None), ({"unseen_cap_usd": 0.3}, 3.0), ({"prices": "list"}, None)],
        ids=["neither", "a cap", "prices alone"],
    )
    def test_what_nothing_bounds_has_no_upper_bound(
        self, tmp_path: Path, spend: dict[str, Any], high: float | None
    ) -> None:
        if "prices" in spend:
            spend = {"prices": PRICES}
        found = spend_of(unseen_rows(), tmp_path, policy(windows=FORTNIGHTS, spend=spend))
        assert together(found.unseen).high == (high if high is None else pytest.approx(high))
        assert together(found.unseen).value == found.unseen_usd

    @pytest.mark.parametrize(
        ("spend", "outcome", "reason"),
        [
            ({}, "inconclusive", "nothing bounds"),
            ({"unseen_cap_usd": 0.5}, "pass", ""),
            ({"unseen_cap_usd": 5.0}, "inconclusive", "at most 50.00 USD"),
            ({"budget_usd_per_day": 1.0}, "fail", ""),
        ],
    )
    def test_spend_does_not_pass_by_costs_that_are_missing(
        self, tmp_path: Path, spend: dict[str, Any], outcome: str, reason: str
    ) -> None:
        """Known spend is about 2.4 USD a day, 3.1 with its interval, of 4: 12.6 USD a fortnight left."""
        rules = policy(windows=FORTNIGHTS, spend={"budget_usd_per_day": 4.0, **spend})
        found = check(assessed(unseen_rows(), tmp_path, rules), "budget.spend")
        assert found.outcome == outcome
        assert reason in (found.reason or "")
        assert found.low is not None
        assert found.high is not None

    @pytest.mark.parametrize(("most", "outcome"), [(0.5, "pass"), (5.0, "inconclusive")])
    def test_bounds_of_a_cost_that_the_policy_gives_bound_what_is_missing(
        self, tmp_path: Path, most: float, outcome: str
    ) -> None:
        rules = policy(
            windows=FORTNIGHTS,
            spend={"budget_usd_per_day": 4.0},
            routing={"bounds": {"cost_usd": [0, most]}},
        )
        result = assessed(unseen_rows(), tmp_path, rules)
        assert check(result, "budget.spend").outcome == outcome
        assert together(result.section.spend.unseen).high == pytest.approx(10 * most)

    @pytest.mark.parametrize(
        ("budget", "outcome"), [(1.0, "fail"), (2.4, "inconclusive"), (4.0, "pass")]
    )
    def test_the_check_holds_the_interval_against_the_budget(
        self, tmp_path: Path, budget: float, outcome: str
    ) -> None:
        rules = policy(windows=FORTNIGHTS, spend={"budget_usd_per_day": budget})
        found = check(assessed(steady(lambda d: 0.1), tmp_path, rules), "budget.spend")
        assert (found.outcome, found.severity) == (outcome, "hold")

    def test_without_a_budget_or_costs_it_is_not_judged(self, tmp_path: Path) -> None:
        rows = steady(lambda d: 0.1)
        found = check(assessed(rows, tmp_path / "a", policy(windows=FORTNIGHTS)), "budget.spend")
        assert (found.outcome, found.severity) == ("inconclusive", "note")
        rules = policy(windows=FORTNIGHTS, spend={"budget_usd_per_day": 2})
        lacking = assessed(rows.drop(columns="cost_usd"), tmp_path / "b", rules)
        found = check(lacking, "budget.spend")
        assert (found.outcome, found.severity) == ("inconclusive", "hold")
        assert "cost_usd" in (found.reason or "")
        assert lacking.section.spend.usd_per_day.value is None
        assert lacking.section.drivers.change_usd_per_day is None

    def test_negative_costs_are_refused(self, tmp_path: Path) -> None:
        rows = steady(lambda d: 0.1)
        rows.loc[7, "cost_usd"] = -0.1
        with pytest.raises(ContractError, match="cost_usd"):
            assessed(rows, tmp_path)

    def test_free_traffic_costs_nothing(self, tmp_path: Path) -> None:
        result = assessed(steady(lambda d: 0.0), tmp_path, policy(windows=FORTNIGHTS))
        assert result.section.spend.usd_per_day.value == 0.0
        assert result.section.drivers.change_usd_per_day == 0.0

    @pytest.mark.parametrize("by_release", [False, True], ids=["dates", "canary"])
    def test_an_excluded_incident_costs_neither_money_nor_time(
        self, tmp_path: Path, by_release: bool
    ) -> None:
        rows = steady(lambda d: 100.0 if d == 20 else 0.1 + 0.01 * (d % 3))
        rows["release_id"] = np.where(late(rows, 14) & (rows.index % 4 == 0), "r2", "r1")
        exclude = [{"start": at(20), "end": at(21), "reason": "incident"}]
        chosen: dict[str, Any] = dict(FORTNIGHTS)
        if by_release:
            chosen = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        rules = policy(windows={**chosen, "exclude": exclude})
        result = assessed(rows, tmp_path, rules)
        spend, days = result.section.spend, result.series["spend_days"]
        usd = np.array([24 * (0.1 + 0.01 * (d % 3)) for d in range(14, 28) if d != 20])
        value, coverage = float(spend.usd_per_day.value or 0), days["coverage"].to_numpy()
        if by_release:  # the last hour of the span is the last in which the canary was seen
            value *= 13 - float(1 - coverage[-1])
            assert value == pytest.approx(usd.sum(), rel=0.02)
        else:
            assert value == pytest.approx(usd.mean())
            assert spend.usd_per_day.support == 13 * 24
        assert coverage[20 - 14] == 0.0
        assert spend.forecast_usd_per_day.high is not None
        assert spend.forecast_usd_per_day.high < 4.0

    def test_a_canary_is_judged_by_all_traffic_of_its_span(self, tmp_path: Path) -> None:
        rows = steady(lambda d: 0.1 if d < 14 else 0.2)
        rows["release_id"] = np.where(late(rows, 14) & (rows.index % 4 < 2), "r2", "r1")
        windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        result = assessed(rows, tmp_path, policy(windows=windows))
        assert result.section.spend.usd_per_day.value == pytest.approx(24 * 0.2, rel=0.01)
        assert result.section.drivers.change_usd_per_day is None
        assert "releases share the traffic" in (result.section.drivers.reason or "")

    def test_windows_of_hours_are_extrapolated_to_a_day(self, tmp_path: Path) -> None:
        spend = spend_of(
            steady(lambda d: 0.1, a_day=240), tmp_path, policy(windows=dated(26, 26.5, 26.75))
        )
        assert spend.usd_per_day.value == pytest.approx(24.0)
        assert spend.forecast_usd_per_day.low is None
