from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.alert_windows import load
from analysis.policy import Policy
from analysis.stats.alerts import threshold
from analysis.stats.intervals import clopper_pearson
from analysis.views.budget import BudgetSection, SloBudget, assess
from analysis.views.result import ViewResult
from tests.views.world import DAY, START, check, dated, evenly, events, opened, policy, traffic

HOUR = pd.Timedelta(hours=1)


def rules(target: float = 0.95, period_days: int = 30, **changes: Any) -> Policy:
    slo = {
        "name": "availability",
        "bad": "is_failure",
        "target": target,
        "period_days": period_days,
    }
    return policy(slos=[slo], **changes)


def assessed(
    rows: pd.DataFrame, folder: Path, wanted: Policy | None = None, **more: Any
) -> ViewResult[BudgetSection]:
    with opened(rows, folder, wanted or rules(), **more) as telemetry:
        result = assess(telemetry, telemetry.policy)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    assert not any("nan" in c.sentence for c in result.checks)
    return result


def only(result: ViewResult[BudgetSection]) -> SloBudget:
    (slo,) = result.section.slos
    return slo


def moment(text: object) -> pd.Timestamp:
    return pd.Timestamp(str(text))


def steady(n_days: int, a_day: int, bad_every: int) -> pd.DataFrame:
    """Every `bad_every`th row fails."""
    moments = evenly(n_days, a_day)
    return events(moments, [k % bad_every == 0 for k in range(len(moments))])


class TestBurnAndBudget:
    @pytest.mark.parametrize(("target", "period"), [(0.95, 30), (0.90, 7), (0.99, 28), (0.5, 30)])
    def test_burn_consumed_and_remaining_are_ratios_of_counts(
        self, tmp_path: Path, target: float, period: int
    ) -> None:
        rows = traffic(1200, failure=0.04)
        slo = only(assessed(rows, tmp_path, rules(target, period)))
        end = START + 56 * DAY
        new = rows[rows["timestamp_utc"] >= end - 14 * DAY]
        last = rows[rows["timestamp_utc"] >= end - period * DAY]
        budget = 1 - target
        assert slo.error_budget == pytest.approx(budget)
        assert slo.burn_rate.value == pytest.approx(new["is_failure"].mean() / budget)
        consumed = last["is_failure"].sum() / (budget * len(last))
        assert slo.budget_consumed == pytest.approx(consumed)
        assert slo.budget_remaining == pytest.approx(1 - consumed)
        assert slo.reason is None

    def test_an_overspent_budget_remains_negative(self, tmp_path: Path) -> None:
        slo = only(assessed(steady(42, 40, 10), tmp_path))  # 10 % bad, 5 % allowed
        assert slo.budget_consumed == pytest.approx(2.0)
        assert slo.budget_remaining == pytest.approx(-1.0)
        assert slo.burn_rate.value == pytest.approx(2.0)

    def test_unknown_labels_are_no_events(self, tmp_path: Path) -> None:
        rows = steady(56, 40, 25)
        rows["is_failure"] = rows["is_failure"].astype(object)
        rows.loc[rows.index % 30 == 7, "is_failure"] = None
        slo = only(assessed(rows, tmp_path))
        last = rows[rows["timestamp_utc"] >= START + 26 * DAY]["is_failure"].dropna().astype(bool)
        assert slo.budget_consumed == pytest.approx(last.mean() / 0.05)

    def test_telemetry_shorter_than_the_period_leaves_null_and_says_why(
        self, tmp_path: Path
    ) -> None:
        windows = {"candidate": {"days": 7}, "baseline": {"days": 14}}
        result = assessed(steady(29, 40, 25), tmp_path, rules(windows=windows))
        slo = only(result)
        assert slo.budget_consumed is slo.budget_remaining is slo.exhausts_utc.value is None
        assert slo.reason == "budget availability: the telemetry covers 29 of the period's 30 days"
        assert slo.reason in result.notes
        assert slo.burn_rate.value == pytest.approx(0.8, rel=0.02)
        whole = only(assessed(steady(30, 40, 25), tmp_path / "b", rules(windows=windows)))
        assert whole.budget_consumed == pytest.approx(0.8)

    @pytest.mark.parametrize(
        ("why", "bad_every", "outcome"),
        [("half of the budget's pace", 40, "pass"), ("twice the pace", 10, "fail"),
         ("near the pace", 20, "inconclusive"), ("nothing burns", 10**9, "pass")],
    )  # fmt: skip
    def test_the_burn_check_holds_the_interval_against_one(
        self, tmp_path: Path, why: str, bad_every: int, outcome: str
    ) -> None:
        found = check(assessed(steady(56, 100, bad_every), tmp_path), "budget.availability")
        assert (found.outcome, found.severity, found.limit) == (outcome, "hold", 1.0)
        assert found.low is not None
        assert found.high is not None
        expected = "fail" if found.low > 1 else "pass" if found.high <= 1 else "inconclusive"
        assert outcome == expected

    def test_few_clusters_are_not_judged(self, tmp_path: Path) -> None:
        rows = steady(56, 100, 10)
        rows["user_id"] = "u" + (rows.index // 7 % 20).astype(str)
        result = assessed(rows, tmp_path)
        found = check(result, "budget.availability")
        assert found.outcome == "inconclusive"
        assert "20 effective clusters" in (found.reason or "")
        # Half as much again makes thirty of them: 700 of 1,400 interactions, at 100 a day.
        assert (only(result).needs.interactions, only(result).needs.days) == (700, 7.0)
        assert "about 700 more interactions (7 days at current traffic)" in found.sentence

    def test_a_decided_burn_needs_nothing_and_an_open_one_says_how_much(
        self, tmp_path: Path
    ) -> None:
        decided = only(assessed(steady(56, 100, 40), tmp_path / "a")).needs
        assert (decided.interactions, decided.days) == (0, 0.0)
        result = assessed(steady(56, 100, 17), tmp_path / "b")
        needs, m = only(result).needs, only(result).burn_rate
        assert m.value is not None
        rate = m.value * 0.05
        spread = 1.959963984540054 * math.sqrt(0.05 * 0.95) + 0.84 * math.sqrt(rate * (1 - rate))
        whole = (spread / (rate - 0.05)) ** 2
        assert needs.interactions == math.ceil(whole - 1400)
        assert needs.days == math.ceil(needs.interactions / 10) / 10
        assert (
            f"{needs.interactions:,} more interactions"
            in check(result, "budget.availability").sentence
        )

    def test_a_burn_at_the_limit_is_not_decided_by_traffic(self, tmp_path: Path) -> None:
        result = assessed(steady(56, 100, 20), tmp_path)
        assert (only(result).needs.interactions, only(result).needs.days) == (None, None)
        assert "cannot decide it" in check(result, "budget.availability").sentence

    def test_without_a_failure_the_needed_traffic_is_exact(self, tmp_path: Path) -> None:
        rows = steady(56, 100, 10**9).assign(is_failure=False)
        needs = only(assessed(rows, tmp_path, rules(0.999))).needs
        assert needs.interactions == 3688 - 1400
        assert needs.days == 22.9

    def test_a_giant_cluster_is_not_outgrown(self, tmp_path: Path) -> None:
        rows = steady(56, 100, 10)
        rows.loc[rows.index % 3 == 0, "user_id"] = "giant"
        needs = only(assessed(rows, tmp_path, rules(cluster="user"))).needs
        assert needs.interactions is needs.days is None

    def test_days_whose_labels_are_not_final_say_so(self, tmp_path: Path) -> None:
        rows = steady(56, 40, 25)
        rows["is_failure"] = rows["is_failure"].astype(object)
        late = rows["timestamp_utc"] >= START + 55 * DAY
        rows.loc[late & (rows.index % 2 == 0), "is_failure"] = None
        rows.loc[rows.index == 55 * 40 - 1, "is_failure"] = None  # one of a day is no open day
        result = assessed(rows, tmp_path)
        pending = only(result).pending
        assert (pending.interactions, pending.days) == (21, ("2026-11-15",))
        (note,) = [n for n in result.notes if "known outcome yet" in n]
        assert "21 interactions" in note
        assert "the burn of 1 day is not final (2026-11-15)" in note

    def test_headlines_alone_are_the_same_without_alerts(self, tmp_path: Path) -> None:
        for number, severity in enumerate(({}, {"budget.availability.alerts": "hold"})):
            wanted = rules(gate={"severity": severity})
            with opened(traffic(900), tmp_path / str(number), wanted) as telemetry:
                whole = assess(telemetry, wanted)
                few = assess(telemetry, wanted, headlines_only=True)
            a, b = only(whole), only(few)
            assert (a.burn_rate, a.budget_consumed) == (b.burn_rate, b.budget_consumed)
            left = [c for c in whole.checks if severity or not c.id.endswith(".alerts")]
            assert list(few.checks) == left

    def test_an_absent_column_is_said(self, tmp_path: Path) -> None:
        slow = {"name": "latency", "bad": {"column": "latency_ms", "above": 2200}, "target": 0.95}
        result = assessed(steady(56, 40, 25), tmp_path, policy(slos=[slow]))
        assert only(result).burn_rate.value is None
        for name in ("budget.latency", "budget.latency.alerts"):
            found = check(result, name)
            assert found.outcome == "inconclusive"
            assert "latency_ms" in (found.reason or "")

    def test_a_canary_burns_by_its_own_rows_and_consumes_by_all(self, tmp_path: Path) -> None:
        rows = steady(56, 60, 40)
        late = rows["timestamp_utc"] >= START + 46 * DAY
        rows["release_id"] = np.where(late & (rows.index % 3 == 0), "r2", "r1")
        rows.loc[rows["release_id"].eq("r2") & (rows.index % 9 == 0), "is_failure"] = True
        windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        slo = only(assessed(rows, tmp_path, rules(windows=windows)))
        own = rows[rows["release_id"] == "r2"]
        last = rows[rows["timestamp_utc"] >= START + 26 * DAY]
        assert slo.burn_rate.value == pytest.approx(own["is_failure"].mean() / 0.05)
        assert slo.budget_consumed == pytest.approx(last["is_failure"].mean() / 0.05)


def test_an_excluded_incident_is_spent_and_alerted_on_but_does_not_burn(tmp_path: Path) -> None:
    rows = outage(0, 0.0, a_day=576)
    begin, finish = START + 40 * DAY + 3 * HOUR, START + 40 * DAY + 5 * HOUR
    inside = (rows["timestamp_utc"] >= begin) & (rows["timestamp_utc"] < finish)
    rows.loc[inside, "is_failure"] = True
    known = {"start": begin.isoformat(), "end": finish.isoformat(), "reason": "provider"}
    windows = {"candidate": {"days": 14}, "baseline": {"days": 28}}
    plain = assessed(rows, tmp_path / "a", rules(windows=windows))
    result = assessed(rows, tmp_path / "b", rules(windows={**windows, "exclude": [known]}))
    slo, other = only(result), only(plain)
    assert slo.burn_rate.value is not None
    assert other.burn_rate.value is not None
    assert slo.burn_rate.value < other.burn_rate.value
    assert slo.budget_consumed == other.budget_consumed
    assert slo.episodes == other.episodes != ()
    assert any("windows.exclude" in note for note in result.notes)
    assert not any("windows.exclude" in note for note in plain.notes)


class TestParts:
    def test_parts_burn_what_their_rows_did_and_add_up_to_the_whole(self, tmp_path: Path) -> None:
        rows = traffic(1500, failure=0.04)
        rows["release_id"] = np.where(rows.index < 2300, "=r1", "r2")
        rows.loc[rows.index % 10 == 0, "release_id"] = None
        rows["prompt_version"] = "p" + (rows.index % 4).astype(str)
        result = assessed(rows, tmp_path)
        slo = only(result)
        last = rows[rows["timestamp_utc"] >= START + 26 * DAY]
        assert {p.value for p in slo.by_release if p.column == "release_id"} == {"=r1", "r2", None}
        for column in ("release_id", "prompt_version"):
            parts = [p for p in slo.by_release if p.column == column]
            assert sum(p.bad for p in parts) == last["is_failure"].sum()
            assert sum(p.interactions for p in parts) == len(last)
            total = sum(p.budget_consumed or 0.0 for p in parts)
            assert total == pytest.approx(slo.budget_consumed, rel=1e-11)
            for p in parts:
                own = last[last[column].isna() if p.value is None else last[column] == p.value]
                assert (p.interactions, p.bad) == (len(own), own["is_failure"].sum())
                assert p.burn_rate == pytest.approx(own["is_failure"].mean() / 0.05)
        months = last["timestamp_utc"].dt.strftime("%Y-%m")
        assert [m.month for m in slo.by_month] == sorted(set(months))
        for m in slo.by_month:
            own = last[months == m.month]
            assert (m.interactions, m.bad) == (len(own), own["is_failure"].sum())
        assert sum(m.budget_consumed or 0.0 for m in slo.by_month) == pytest.approx(
            slo.budget_consumed, rel=1e-11
        )
        table = result.tables["slo_by_release.csv"]
        assert table.groupby("by")["bad"].sum().nunique() == 1
        assert len(table) == len(slo.by_release) + len(slo.by_month)

    def test_a_period_that_is_not_covered_has_parts_without_shares(self, tmp_path: Path) -> None:
        windows = {"candidate": {"days": 7}, "baseline": {"days": 14}}
        slo = only(assessed(steady(29, 40, 25), tmp_path, rules(windows=windows)))
        assert slo.by_release == ()
        assert [m.budget_consumed for m in slo.by_month] == [None] * len(slo.by_month)
        assert sum(m.interactions for m in slo.by_month) == 29 * 40


class TestExhaustion:
    def test_a_spent_budget_ran_out_at_its_last_bad_event(self, tmp_path: Path) -> None:
        slo = only(assessed(steady(42, 40, 10), tmp_path))
        # 30 days · 40 rows · 5 % = 60 bad events; days 12 to 42 hold one in ten rows.
        bad = [t for k, t in enumerate(evenly(42, 40)) if k % 10 == 0 and t >= START + 12 * DAY]
        assert moment(slo.exhausts_utc.value) == bad[59]
        assert slo.exhausts_utc.low == slo.exhausts_utc.high == slo.exhausts_utc.value

    def test_a_budget_that_is_just_spent_has_run_out(self, tmp_path: Path) -> None:
        slo = only(assessed(steady(42, 40, 20), tmp_path))
        assert slo.budget_consumed == 1.0
        assert moment(slo.exhausts_utc.value) < START + 42 * DAY

    def test_what_remains_lasts_at_the_candidates_pace(self, tmp_path: Path) -> None:
        rows = traffic(2000, failure=0.03)
        slo = only(assessed(rows, tmp_path))
        assert slo.budget_remaining is not None
        assert slo.burn_rate.value
        days = 30 * slo.budget_remaining / slo.burn_rate.value
        end = START + 56 * DAY
        value, low = moment(slo.exhausts_utc.value), moment(slo.exhausts_utc.low)
        assert abs(value - (end + pd.Timedelta(days=days))) <= pd.Timedelta(seconds=1)
        assert end < low < value
        if slo.exhausts_utc.high is not None:
            assert value < moment(slo.exhausts_utc.high) <= end + 30 * DAY

    def test_nothing_burnt_never_ends(self, tmp_path: Path) -> None:
        slo = only(assessed(steady(56, 40, 10**9).assign(is_failure=False), tmp_path))
        assert slo.budget_remaining == 1.0
        assert slo.exhausts_utc.value is None


def by_hand(
    rows: pd.DataFrame,
    end: pd.Timestamp,
    long: float,
    short: float,
    threshold: float,
    budget: float,
) -> tuple[bool, bool]:
    """(firing_plain, firing) of one alert, of independent rows."""
    times = rows["timestamp_utc"].dt.tz_localize(None).to_numpy()
    bad = np.concatenate([[0], np.cumsum(rows["is_failure"].to_numpy(dtype=int))])
    ends = [(end - hours * HOUR).tz_localize(None).to_datetime64() for hours in (long, short, 0)]
    *first, last = (int(np.searchsorted(times, t)) for t in ends)
    n, y = [last - f for f in first], [bad[last] - bad[f] for f in first]
    if not all(n):
        return False, False
    plain = all(round(b / a / budget, 9) >= threshold for a, b in zip(n, y, strict=True))
    rare = stats.binom.sf(y[0] - 1, n[0], min(1.0, threshold * budget)) <= 0.01
    return plain, bool(plain and rare)


WORKBOOK = [(1, 1 / 12, 14.4), (6, 0.5, 6.0), (24, 2, 3.0), (72, 6, 1.0)]


def outage(hours: float, share: float, a_day: int = 288, quiet_every: int = 50) -> pd.DataFrame:
    """Rows of 44 days; a share of those in the last hours fails, evenly spread."""
    moments = evenly(44, a_day)
    begin = START + 44 * DAY - hours * HOUR
    failed, owed = [], 0.0
    for k, when in enumerate(moments):
        owed += share if when >= begin else 0.0
        bad = owed >= 1 - 1e-9
        owed -= bad
        failed.append(bad or (when < begin and k % quiet_every == 0))
    return events(moments, failed)


class TestAlerts:
    @pytest.mark.parametrize(
        ("period", "thresholds"),
        [(30, [14.4, 6, 3, 1]), (7, [3.36, 1.4, 0.7, 0.7 / 3]), (28, [13.44, 5.6, 2.8, 28 / 30])],
    )
    def test_thresholds_are_the_workbooks(self, period: int, thresholds: list[float]) -> None:
        found = [threshold(w.budget_share, period, w.long_hours) for w in load()]
        assert found == pytest.approx(thresholds)
        assert [(w.long_hours, w.short_hours, w.budget_share) for w in load()] == [
            (1, 1 / 12, 0.02), (6, 0.5, 0.05), (24, 2, 0.10), (72, 6, 0.10),
        ]  # fmt: skip
        assert [w.severity for w in load()] == ["page", "page", "ticket", "ticket"]

    @pytest.mark.parametrize(
        ("target", "feasible"),
        [(0.999, [True] * 4), (0.95, [True] * 4), (0.92, [False, True, True, True]),
         (0.8, [False, False, True, True]), (0.5, [False, False, False, True])],
    )  # fmt: skip
    def test_a_threshold_beyond_a_full_outage_is_not_feasible(
        self, tmp_path: Path, target: float, feasible: list[bool]
    ) -> None:
        rows = outage(80, 1.0)
        result = assessed(rows, tmp_path, rules(target))
        alerts = only(result).alerts
        assert [a.feasible for a in alerts] == feasible
        # In a full outage every alert that can fire does.
        assert [a.firing_plain for a in alerts] == feasible
        found = check(result, "budget.availability.alerts")
        assert (found.severity, found.outcome) == ("note", "fail")
        assert ("can never fire" in found.sentence) == (not all(feasible))
        # 288 a day. 0.92: three failures in the 6 h row would do for the burn; it needs more.
        outages = {0.999: "pages after", 0.95: "pages after", 0.92: "pages after", 0.8: "No row can page",
                   0.5: "No row can page"}  # fmt: skip
        assert outages[target] in found.sentence
        for a in alerts:
            expected = a.threshold * (1 - target) * a.long_hours if a.feasible else None
            assert a.outage_detection_hours == pytest.approx(expected)
            assert (a.min_events is None) == (not a.feasible)

    @pytest.mark.parametrize(
        ("why", "hours", "share"),
        [("no outage", 0, 0.0), ("a full hour", 1, 1.0), ("six hours of a third", 6, 0.34),
         ("a day of a sixth", 24, 0.17), ("three days just above", 72, 0.06),
         ("three days at exactly the threshold", 72, 0.05), ("an hour below", 1, 0.6),
         ("ten minutes", 1 / 6, 1.0)],
    )  # fmt: skip
    def test_alerts_are_those_counted_by_hand(
        self, tmp_path: Path, why: str, hours: float, share: float
    ) -> None:
        rows = outage(hours, share)
        end = START + 44 * DAY
        found = only(assessed(rows, tmp_path)).alerts
        expected = [by_hand(rows, end, *rule, 0.05) for rule in WORKBOOK]
        assert [(a.firing_plain, a.firing) for a in found] == expected

    def test_at_so_little_traffic_that_nothing_can_fire_it_is_said(self, tmp_path: Path) -> None:
        result = assessed(outage(80, 1.0, a_day=1), tmp_path, rules(0.6))
        assert not any(a.outage_firing_hours for a in only(result).alerts)
        found = check(result, "budget.availability.alerts")
        assert "No alert can fire, even in a full outage" in found.sentence

    @pytest.mark.parametrize("a_day", [24, 288])
    @pytest.mark.parametrize("target", [0.95, 0.999])
    def test_a_full_outage_fires_when_it_is_said_to(
        self, tmp_path: Path, a_day: int, target: float
    ) -> None:
        moments = evenly(44, a_day)
        begin = START + 40 * DAY
        rows = events(moments, [t >= begin for t in moments])
        slo = only(assessed(rows, tmp_path, rules(target)))
        for a in slo.alerts:
            own = [e for e in slo.episodes if e.long_hours == a.long_hours]
            assert bool(own) == (a.outage_firing_hours is not None)
            if own:
                took = (moment(own[0].start_utc) - begin) / HOUR
                # To the next event and bucket; the short window may have had none until then.
                slack = 24 / a_day + 1 / 12
                assert a.outage_firing_hours - slack <= took <= a.outage_firing_hours + slack

    def test_intervals_of_both_windows_are_section_1s(self, tmp_path: Path) -> None:
        rows = outage(24, 0.2)
        for a in only(assessed(rows, tmp_path)).alerts:
            for hours, held in (
                (a.long_hours, a.burn_long_interval),
                (a.short_hours, a.burn_short_interval),
            ):
                last = rows[rows["timestamp_utc"] >= START + 44 * DAY - hours * HOUR]
                low, high = clopper_pearson(last["is_failure"].sum(), len(last))
                assert held.support == len(last)
                assert (held.low, held.high) == pytest.approx((low / 0.05, high / 0.05))

    def test_one_bad_event_in_an_empty_hour_is_no_alert(self, tmp_path: Path) -> None:
        rows = outage(0, 0.0, a_day=24).iloc[:-1]
        last = events([START + 44 * DAY - pd.Timedelta(minutes=2)], [True])
        last[["interaction_id", "session_id", "user_id"]] = "z"
        alert = only(assessed(pd.concat([rows, last], ignore_index=True), tmp_path)).alerts[0]
        assert alert.burn_long == alert.burn_short == 20.0
        assert alert.firing_plain
        assert not alert.firing

    def test_rows_of_one_user_count_as_fewer(self, tmp_path: Path) -> None:
        # The same counts: the last hour's bad rows are of many users, or of one.
        rows = outage(1, 0.9)
        every = only(assessed(rows, tmp_path / "a")).alerts[0]
        groups = rows.index // 12
        rows["user_id"] = "u" + groups.astype(str)
        rows["is_failure"] = rows["is_failure"] & (rows["timestamp_utc"] >= START + 43.9 * DAY)
        one = only(assessed(rows, tmp_path / "b")).alerts[0]
        assert every.burn_long == one.burn_long
        assert one.firing_plain
        assert not one.firing

    def test_windows_without_events_do_not_fire(self, tmp_path: Path) -> None:
        rows = outage(3, 1.0)
        rows = rows[rows["timestamp_utc"] < START + 44 * DAY - 2 * HOUR]
        alert = only(assessed(rows, tmp_path)).alerts[0]
        assert alert.burn_long is alert.burn_short is None
        assert not alert.firing_plain

    def test_episodes_are_where_the_alerts_fired(self, tmp_path: Path) -> None:
        rows = outage(0, 0.0)
        begin, finish = START + 40 * DAY + 3 * HOUR, START + 40 * DAY + 5 * HOUR
        inside = (rows["timestamp_utc"] >= begin) & (rows["timestamp_utc"] < finish)
        rows.loc[inside, "is_failure"] = True
        episodes = only(assessed(rows, tmp_path)).episodes
        for long, short, level in WORKBOOK:
            grid = [begin + k * pd.Timedelta(minutes=5) for k in range(0, 12 * 60)]
            fired = [t for t in grid if by_hand(rows, t, long, short, level, 0.05)[1]]
            own = [e for e in episodes if e.long_hours == long]
            assert len(own) == bool(fired)
            if fired:
                assert moment(own[0].start_utc) == fired[0]
                assert moment(own[0].end_utc) == fired[-1] + pd.Timedelta(minutes=5)

    def test_an_episode_at_the_end_agrees_with_the_alert_and_ends_with_the_window(
        self, tmp_path: Path
    ) -> None:
        # 18 of 25 rows in the last hour are bad: exactly 14.4 times the sustainable rate.
        moments = evenly(44, 600)
        begin = START + 44 * DAY - HOUR
        failed = [t >= begin and k % 25 < 18 for k, t in enumerate(moments)]
        slo = only(assessed(events(moments, failed), tmp_path, rules(period_days=30)))
        assert slo.alerts[0].burn_long == slo.alerts[0].threshold == 14.4
        ends = [moment(e.end_utc) for e in slo.episodes]
        assert max(ends, default=START) <= START + 44 * DAY


class TestTablesAndSeries:
    def test_the_series_ends_at_what_remains(self, tmp_path: Path) -> None:
        result = assessed(traffic(1200, failure=0.03), tmp_path)
        line = result.series["burn"]
        assert len(line) == 30
        assert line["remaining"].iloc[-1] == pytest.approx(only(result).budget_remaining)
        assert (line["remaining"].diff().dropna() <= 1e-12).all()

    def test_the_table_has_one_row_an_alert(self, tmp_path: Path) -> None:
        table = assessed(traffic(900), tmp_path, policy()).tables["slo_burn.csv"]
        assert table.groupby("slo").size().to_dict() == {"availability": 4, "latency": 4}

    def test_windows_of_hours_are_evaluated_at_their_own_end(self, tmp_path: Path) -> None:
        rows = outage(24, 0.5)
        windows = dated(40, 43.25, 43.75)
        slo = only(assessed(rows, tmp_path, rules(windows=windows)))
        end = START + 43.75 * DAY
        expected = [by_hand(rows, end, *rule, 0.05) for rule in WORKBOOK]
        assert [(a.firing_plain, a.firing) for a in slo.alerts] == expected

    def test_as_of_ignores_what_came_later(self, tmp_path: Path) -> None:
        rows = outage(24, 0.5)
        early = only(
            assessed(rows, tmp_path, as_of=datetime(2026, 9, 21, tzinfo=UTC) + timedelta(days=43))
        )
        assert not any(a.firing for a in early.alerts)
