"""Budgets by group and by calendar: figures, which group decides, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.check import Check
from analysis.errors import PolicyError
from analysis.policy_slos import Slo
from analysis.stats.intervals import clopper_pearson
from analysis.stats.moments import design_effect, intraclass_correlation
from analysis.telemetry import Metric
from analysis.views.budget import SloBudget, assess
from analysis.views.budget_groups import OTHERS
from analysis.views.budget_periods import period_of
from tests.views.world import START, check, evenly, events, opened, policy, traffic, window


def rules(by: list[str], target: float = 0.95, **more: Any) -> Any:
    slo = {"name": "availability", "bad": "is_failure", "target": target, "by": by, **more}
    return policy(slos=[slo])


def assessed(rows: pd.DataFrame, folder: Path, wanted: Any) -> tuple[SloBudget, Check]:
    with opened(rows, folder, wanted) as telemetry:
        result = assess(telemetry, telemetry.policy)
    return result.section.slos[0], check(result, "budget.availability")


def tiers(rates: dict[str, float], n: int = 6000, seed: int = 1) -> pd.DataFrame:
    """Independent rows over 56 days, each tier with its own rate of failures, evenly spread."""
    rng = np.random.default_rng(seed)
    moments = evenly(56, n // 56)
    tier = rng.choice(list(rates), len(moments))
    failed = rng.random(len(moments)) < np.array([rates[t] for t in tier])
    return events(moments, list(failed), account_tier=tier)


def test_each_group_has_its_own_budget(tmp_path: Path) -> None:
    rows = traffic(3000, failure=0.04)
    rows["account_tier"] = rows["account_tier"].where(rows.index % 40 > 0, None)
    slo, _ = assessed(rows, tmp_path, rules(["account_tier"]))
    new = window(rows, 42, 56)
    month = rows[rows["timestamp_utc"] >= START + pd.Timedelta(days=26)]
    assert {g.slice["account_tier"] for g in slo.groups} == {"free", "pro", None}
    for group in slo.groups:
        tier = group.slice["account_tier"]
        own, spent = (
            f[f["account_tier"].isna() if tier is None else f["account_tier"] == tier]
            for f in (new, month)
        )
        assert (group.n, group.bad) == (len(own), int(own["is_failure"].sum()))
        assert group.burn_rate.value == pytest.approx(own["is_failure"].mean() / 0.05, rel=1e-9)
        assert group.budget_consumed == pytest.approx(spent["is_failure"].mean() / 0.05, rel=1e-9)
        assert group.budget_remaining == pytest.approx(1 - (group.budget_consumed or 0))
    assert sum(g.n for g in slo.groups) == slo.burn_rate.support


def test_intervals_take_the_whole_windows_correlation_and_hold_at_once(tmp_path: Path) -> None:
    rows = traffic(2500, failure=0.04)
    with opened(rows, tmp_path, rules(["account_tier", "use_case"])) as telemetry:
        slo = assess(telemetry, telemetry.policy).section.slos[0]
        whole = telemetry.moments([Metric.rate("f", "failure")])["f"].candidate
        where = "account_tier = 'pro' AND use_case = 'coding'"
        own = telemetry.moments([Metric.rate("f", f"CASE WHEN {where} THEN failure END")])[
            "f"
        ].candidate
    deff = design_effect(own.n, own.nn, intraclass_correlation(whole))
    group = next(g for g in slo.groups if g.slice == {"account_tier": "pro", "use_case": "coding"})
    low, high = clopper_pearson(own.y, own.n, deff)
    assert group.burn_rate.low == pytest.approx(low / 0.05)
    assert group.burn_rate.high == pytest.approx(high / 0.05)
    low, high = clopper_pearson(own.y, own.n, deff, confidence=1 - 0.05 / 4)
    assert (group.simultaneous_low, group.simultaneous_high) == (
        pytest.approx(low / 0.05), pytest.approx(high / 0.05),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("why", "rates", "outcome", "words"),
    [
        ("every tier lasts", {"free": 0.01, "pro": 0.01}, "pass", "the most: every budget lasts"),
        ("one burns, while all together last", {"free": 0.0, "pro": 0.0, "team": 0.0, "gold": 0.14},
         "fail", "account_tier “gold” burns"),
        ("two burn", {"free": 0.01, "pro": 0.2, "team": 0.2}, "fail", "and so do 1 others"),
        ("one is open", {"free": 0.01, "pro": 0.05}, "inconclusive", "its interval holds 1"),
    ],
)  # fmt: skip
def test_the_worst_group_decides(
    tmp_path: Path, why: str, rates: dict[str, float], outcome: str, words: str
) -> None:
    slo, found = assessed(tiers(rates), tmp_path, rules(["account_tier"]))
    assert found.outcome == outcome, found.sentence
    assert words in found.sentence
    if why.startswith("one burns"):
        assert (slo.burn_rate.high or 9) <= 1


def test_a_group_with_too_little_evidence_keeps_the_check_open(tmp_path: Path) -> None:
    rows = tiers({"free": 0.01, "pro": 0.01})
    late = rows.index[rows["timestamp_utc"] >= START + pd.Timedelta(days=43)]
    rows.loc[late[:20], "account_tier"] = "gold"
    slo, found = assessed(rows, tmp_path, rules(["account_tier"]))
    gold = next(g for g in slo.groups if g.slice["account_tier"] == "gold")
    assert gold.reason is not None
    assert "20 effective clusters" in gold.reason
    assert found.outcome == "inconclusive"
    assert "effective clusters" in (found.reason or "")


def test_beyond_twenty_groups_the_rest_is_one_and_counted(tmp_path: Path) -> None:
    rows = tiers({f"t{k:02d}": 0.01 for k in range(25)}, n=8000)
    slo, _ = assessed(rows, tmp_path, rules(["account_tier"]))
    assert len(slo.groups) == 21
    assert slo.groups[-1].slice == {"account_tier": OTHERS}
    assert slo.groups[-1].n_merged == 5
    assert sum(g.n for g in slo.groups) == slo.burn_rate.support


def test_what_burned_in_no_window_is_told_too(tmp_path: Path) -> None:
    rows = tiers({"free": 0.01, "pro": 0.01})
    gap = (rows["timestamp_utc"] >= START + pd.Timedelta(days=30)) & (
        rows["timestamp_utc"] < START + pd.Timedelta(days=32)
    )
    rows.loc[gap, "account_tier"] = "trial"
    rows.loc[gap, "is_failure"] = True
    dates = {"baseline": {"start": "2026-09-21", "end": "2026-10-19"}, "candidate": {"days": 14}}
    slo = {"name": "availability", "bad": "is_failure", "target": 0.95, "by": ["account_tier"]}
    found, _ = assessed(rows, tmp_path, policy(slos=[slo], windows=dates))
    assert [g.slice["account_tier"] for g in found.groups][-1] == OTHERS
    assert (found.groups[-1].n, found.groups[-1].budget_consumed) == (0, pytest.approx(20.0))


def test_a_column_that_the_data_lack_leaves_the_check_open(tmp_path: Path) -> None:
    rows = tiers({"free": 0.01}).drop(columns="account_tier")
    slo, found = assessed(rows, tmp_path, rules(["account_tier"]))
    assert slo.groups == ()
    assert found.outcome == "inconclusive"
    assert "no column account_tier" in (found.reason or "")


@pytest.mark.parametrize("by", ["is_failure", "account_teir", "trace_id", "latency_ms", "user_id"])
def test_groups_are_of_context_and_action_columns(tmp_path: Path, by: str) -> None:
    with (
        pytest.raises(PolicyError, match=r"slos\[0\]\.by\[0\]"),
        opened(tiers({"free": 0.0}, n=600), tmp_path, rules([by])),
    ):
        pass


def test_no_group_fails_by_chance_more_often_than_promised() -> None:
    # Five groups, each at burn 1 exactly, of users with a correlation: that any fails for sure is
    # promised in at most 2.5 % of worlds.
    rng, failed, replicates, m, error_budget = np.random.default_rng(5), 0, 400, 5, 0.05
    for _ in range(replicates):
        size = rng.geometric(0.2, 2000)
        group = rng.integers(0, m, 2000)
        y = rng.binomial(size, rng.beta(0.05 * 9, 0.95 * 9, 2000))
        rho = intraclass_correlation(_moments(size, y))
        lows = []
        for g in range(m):
            own = _moments(size[group == g], y[group == g])
            deff = design_effect(own.n, own.nn, rho)
            lows.append(clopper_pearson(own.y, own.n, deff, confidence=1 - 0.05 / m)[0])
        failed += max(lows) / error_budget > 1
    assert failed / replicates <= 0.025 + 1.645 * (0.025 * 0.975 / replicates) ** 0.5


def _moments(n: np.ndarray, y: np.ndarray) -> Any:
    from analysis.stats.moments import WindowMoments

    return WindowMoments(
        int(n.sum()), int(y.sum()), int((n * n).sum()), int((y * y).sum()), int((n * y).sum()),
        len(n), int(n.max()), int((y > 0).sum()),
    )  # fmt: skip


# ── periods ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("month", "2026-11-16", "2026-11-01", "2026-12-01"),
        ("month", "2026-11-01", "2026-10-01", "2026-11-01"),
        ("month", "2026-12-31", "2026-12-01", "2027-01-01"),
        ("quarter", "2026-11-16", "2026-10-01", "2027-01-01"),
        ("quarter", "2027-01-01", "2026-10-01", "2027-01-01"),
        ("quarter", "2028-02-29", "2028-01-01", "2028-04-01"),
        ("rolling", "2026-11-16", "2026-10-17", "2026-11-16"),
    ],
)
def test_a_period_is_the_one_that_the_window_ends_in(
    period: Any, at: str, start: str, end: str
) -> None:
    slo = Slo.model_validate({"name": "a", "bad": "b", "target": 0.9, "period": period})
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    found = period_of(slo, moment)
    assert [f"{t:%Y-%m-%d}" for t in (found.start, found.end)] == [start, end]
    assert found.elapsed == moment - found.start
    assert 0 < found.share <= 1


def test_a_calendar_budget_is_spent_so_far(tmp_path: Path) -> None:
    # 56 days from 21 September: the candidate ends on 16 November, half of the month gone by.
    moments = evenly(56, 40)
    rows = events(moments, [k % 25 == 0 for k in range(len(moments))], account_tier="free")
    slo, _ = assessed(rows, tmp_path, rules([], period="month"))
    assert (slo.period, slo.period_start_utc, slo.period_end_utc) == (
        "month", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z",
    )  # fmt: skip
    # 4 % of bad events against 5 % allowed, in 15 days of 30.
    assert slo.budget_consumed == pytest.approx(0.04 / 0.05 / 2, rel=1e-9)
    assert slo.budget_remaining == pytest.approx(0.6, rel=1e-9)
    assert slo.exhausts_utc.value is None  # not before the month ends
    assert slo.reason is None


def test_a_calendar_budget_that_runs_out_says_when(tmp_path: Path) -> None:
    moments = evenly(56, 40)
    rows = events(moments, [k % 16 == 0 for k in range(len(moments))], account_tier="free")
    slo, _ = assessed(rows, tmp_path, rules(["account_tier"], period="month"))
    assert slo.budget_consumed == pytest.approx(0.0625 / 0.05 / 2, rel=0.02)
    # What is left of the 30 days' budget, at 1.25 a day: 11.25 / 1.25 = 9 days.
    assert slo.exhausts_utc.value is not None
    assert abs(pd.Timestamp(str(slo.exhausts_utc.value)) - pd.Timestamp("2026-11-25", tz="UTC")) < (
        pd.Timedelta(hours=12)
    )
    assert slo.groups[0].budget_consumed == slo.budget_consumed


def test_a_quarter_that_began_before_the_telemetry_is_not_known(tmp_path: Path) -> None:
    rows = tiers({"free": 0.01})
    rows = rows[rows["timestamp_utc"] >= START + pd.Timedelta(days=13)]  # 4 October
    slo, _ = assessed(rows, tmp_path, rules(["account_tier"], period="quarter"))
    assert slo.budget_consumed is None
    assert "of the period's 46 days so far" in (slo.reason or "")
    assert slo.groups[0].budget_consumed is None
    assert slo.groups[0].burn_rate.value is not None
