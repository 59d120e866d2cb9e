from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.telemetry.bins import DriftColumn, bin_columns
from analysis.views.drift import DriftSection, assess
from analysis.views.drift_time import SeriesChange
from analysis.views.result import ViewResult

from .test_drift import START, opened, policy, world, written

Edit = Callable[[pd.DataFrame, np.random.Generator], None]
DAYS = 56
RELEASE = "2026-11-02T00:00:00Z"


def on(day: int) -> str:
    """The midnight of a day of the world, as the artifact writes it."""
    return (START + pd.Timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def since(rows: pd.DataFrame, day: int) -> pd.Series:
    return rows["timestamp_utc"] >= START + pd.Timedelta(days=day)


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> ViewResult[DriftSection]:
    telemetry = opened(rows, folder, rules, **more)
    try:
        result = assess(telemetry, rules or Policy())
    finally:
        telemetry.close()
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def found(result: ViewResult[DriftSection]) -> dict[tuple[str, str], SeriesChange]:
    return {(c.name, c.kind): c for c in result.section.changes}


def fail_more(day: int) -> Edit:
    def edit(rows: pd.DataFrame, rng: np.random.Generator) -> None:
        rows["is_failure"] |= since(rows, day) & (rng.random(len(rows)) < 0.12)
        rows["failure_type"] = np.where(rows["is_failure"], "timeout", None)

    return edit


def fail_gradually(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    day = (rows["timestamp_utc"] - START) / pd.Timedelta(days=1)
    rows["is_failure"] |= rng.random(len(rows)) < 0.25 * ((day - 14) / 42).clip(0, 1)


def shift_channel(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    late = since(rows, 42)
    rows.loc[late, "channel"] = rng.choice(["web", "api", "mobile"], late.sum(), p=[0.2, 0.3, 0.5])


def slow_down(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[since(rows, 42), "latency_ms"] *= 1.6


def lose_values(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[since(rows, 42) & (rng.random(len(rows)) < 0.3), "latency_ms"] = None


def planted(edit: Edit, seed: int = 1, n_sessions: int = 4000) -> pd.DataFrame:
    rows = world(n_sessions, seed=seed)
    edit(rows, np.random.default_rng(seed + 100))
    return rows


class TestSinceWhen:
    @pytest.mark.parametrize(
        ("day", "relation"), [(42, "at_release"), (28, "before_release"), (49, "within_candidate")]
    )
    def test_a_step_of_failures_is_dated_and_set_against_the_release(
        self, tmp_path: Path, day: int, relation: str
    ) -> None:
        change = found(assessed(planted(fail_more(day)), tmp_path))["failure_rate", "failure_rate"]
        low, high = (pd.Timestamp(v) for v in (change.low_utc, change.high_utc))
        assert abs(pd.Timestamp(change.since_utc) - pd.Timestamp(on(day))) <= pd.Timedelta(days=1)
        assert low <= pd.Timestamp(on(day)) <= high
        assert change.relation == relation
        assert change.before == pytest.approx(0.05, abs=0.012)
        assert change.after == pytest.approx(0.164, abs=0.03)
        assert change.unit == "share"
        assert change.others == ()

    def test_two_steps_are_told_the_last_one_first(self, tmp_path: Path) -> None:
        def up_and_down(rows: pd.DataFrame, rng: np.random.Generator) -> None:
            failing = since(rows, 14) & ~since(rows, 45)
            rows["is_failure"] |= failing & (rng.random(len(rows)) < 0.2)

        change = found(assessed(planted(up_and_down), tmp_path))["failure_rate", "failure_rate"]
        assert change.after < change.before
        assert change.relation == "within_candidate"
        (earlier,) = change.others
        assert earlier.relation == "before_release"
        assert earlier.after == pytest.approx(change.before)

    def test_what_rises_steadily_is_no_step_of_a_precise_day(self, tmp_path: Path) -> None:
        change = found(assessed(planted(fail_gradually), tmp_path))["failure_rate", "failure_rate"]
        assert change.shape == "gradual"
        assert pd.Timestamp(change.complete_utc) - pd.Timestamp(change.since_utc) >= pd.Timedelta(
            days=14
        )

    def test_an_outage_of_a_day_is_set_aside(self, tmp_path: Path) -> None:
        def outage(rows: pd.DataFrame, rng: np.random.Generator) -> None:
            rows["is_failure"] |= since(rows, 45) & ~since(rows, 46)
            fail_more(30)(rows, rng)

        change = found(assessed(planted(outage), tmp_path))["failure_rate", "failure_rate"]
        assert on(45) in change.spikes_utc
        assert change.relation == "before_release"

    def test_volume_is_dated_beside_its_weekends(self, tmp_path: Path) -> None:
        rows = world(6000, seed=3)
        rng = np.random.default_rng(4)
        day = ((rows["timestamp_utc"] - START) // pd.Timedelta(days=1)).astype(int)
        share = np.where(day % 7 >= 5, 0.3, 0.8) * np.where(day >= 37, 0.7, 1.0)
        kept = rng.random(rows["session_id"].nunique()) < share[::2]
        result = assessed(rows[np.repeat(kept, 2)].reset_index(drop=True), tmp_path)
        change = found(result)["volume", "volume"]
        assert abs(pd.Timestamp(change.since_utc) - pd.Timestamp(on(37))) <= pd.Timedelta(days=1)
        assert change.after / change.before == pytest.approx(0.7, abs=0.06)
        assert change.unit == "interactions_per_day"


class TestColumns:
    @pytest.mark.parametrize(
        ("edit", "name", "kind", "unit"),
        [
            (shift_channel, "channel", "share", "share"),
            (slow_down, "latency_ms", "share", "share"),
            (lose_values, "latency_ms", "missing_rate", "share"),
        ],
    )
    def test_what_moved_most_is_dated(
        self, tmp_path: Path, edit: Edit, name: str, kind: str, unit: str
    ) -> None:
        change = found(assessed(planted(edit), tmp_path))[name, kind]
        assert change.since_utc == on(42) == RELEASE
        assert change.relation == "at_release"
        assert change.unit == unit

    def test_a_rare_new_value_is_dated_beside_large_ones_that_vary_by_day(
        self, tmp_path: Path
    ) -> None:
        rows, rng = world(4000), np.random.default_rng(5)
        day = (rows["timestamp_utc"] - START) // pd.Timedelta(days=1)
        share = 0.5 + np.where(np.arange(DAYS) % 2, 0.15, -0.15)
        share[45:] += 0.06
        rows["region"] = np.where(rng.random(len(rows)) < share[day], "eu", "us")
        rows.loc[since(rows, 45) & (rng.random(len(rows)) < 0.03), "region"] = "latam"
        result = assessed(rows, tmp_path)
        region = next(f for f in result.section.features if f.feature == "region")
        assert region.statistic == "new_category"
        change = found(result)["region", "share"]
        assert change.tracked == "(not in the baseline)"
        assert change.since_utc == on(45)
        assert change.before < 0.005 < 0.02 < change.after

    def test_the_series_is_the_share_of_its_bins(self, tmp_path: Path) -> None:
        rows = planted(shift_channel)
        result = assessed(rows, tmp_path)
        change = found(result)["channel", "share"]
        rank = result.section.changes.index(change)
        days = result.series["drift_days"]
        shown = days[days["rank"] == rank]["value"].to_numpy()
        day = (rows["timestamp_utc"] - START) // pd.Timedelta(days=1)
        expected = (rows["channel"] == change.tracked).groupby(day).mean().to_numpy()
        assert shown == pytest.approx(expected)

    def test_a_column_that_mirrors_failures_is_not_told_again(self, tmp_path: Path) -> None:
        names = {c.name for c in assessed(planted(fail_more(42)), tmp_path).section.changes}
        assert "failure_rate" in names
        assert not names & {"is_failure", "failure_type"}

    def test_counts_by_day_are_those_of_the_rows(self, tmp_path: Path) -> None:
        rows = world(600)
        telemetry = opened(rows, tmp_path)
        column = bin_columns(telemetry.engine, [DriftColumn("channel", "VARCHAR")])["channel"]
        telemetry.close()
        held = column.by_day
        day = (rows["timestamp_utc"].dt.floor("D") - pd.Timestamp("1970-01-01T00:00:00Z")).dt.days
        counts = pd.crosstab(day, rows["channel"])[list(column.labels)]
        assert held.days.tolist() == counts.index.tolist()
        assert (held.rows == counts.to_numpy()).all()
        assert held.windows.tolist() == [0] * 42 + [1] * 14


class TestNothing:
    def test_without_a_change_hardly_any_review_tells_one(self, tmp_path: Path) -> None:
        told = [
            bool(assessed(world(1500, seed=s), tmp_path / str(s)).section.changes)
            for s in range(20, 32)
        ]
        # 5 % of 12 reviews: three or more come in 2 of 100.
        assert sum(told) <= 2

    def test_few_days_are_not_asked(self, tmp_path: Path) -> None:
        rules = policy(windows={"candidate": {"days": 7}, "baseline": {"days": 7}})
        section = assessed(world(600), tmp_path, rules).section
        assert section.changes == ()
        assert section.changes_reason == "the windows hold 14 whole days; 21 are needed"

    def test_weekdays_that_the_candidate_lacks_are_no_days_without_traffic(
        self, tmp_path: Path
    ) -> None:
        rules = policy(windows={"candidate": {"days": 5}, "baseline": {"days": 42}})
        result = assessed(planted(fail_more(30)), tmp_path, rules)
        told = found(result)
        assert ("volume", "volume") not in told
        assert told["failure_rate", "failure_rate"].relation == "before_release"

    def test_a_first_release_is_not_asked(self, tmp_path: Path) -> None:
        rules = policy(windows={"candidate": {"days": 14}, "baseline": "none"})
        result = assessed(world(600), tmp_path, rules)
        assert result.section.changes_reason
        assert result.series["drift_days"].empty

    def test_excluded_days_are_left_out(self, tmp_path: Path) -> None:
        start, end = (START + pd.Timedelta(days=d, hours=6) for d in (20, 22))
        aside = [{"start": start.isoformat(), "end": end.isoformat(), "reason": "outage"}]
        rules = policy(windows={"exclude": aside})
        result = assessed(planted(fail_more(42)), tmp_path, rules)
        days = result.series["drift_days"]["day"]
        assert not days.isin([START + pd.Timedelta(days=d) for d in (20, 21, 22)]).any()
        assert found(result)["failure_rate", "failure_rate"].n_days == DAYS - 3


class TestConcurrentArms:
    @staticmethod
    def arms(rows: pd.DataFrame) -> pd.DataFrame:
        session = rows["session_id"].str[1:].astype(int)
        rows["release_id"] = np.where(session % 2 == 0, "r1", "r2")
        return rows

    def test_the_candidate_alone_is_looked_at_and_that_is_said(self, tmp_path: Path) -> None:
        rows = self.arms(world(6000))
        late = since(rows, 30) & (rows["release_id"] == "r2")
        rows["is_failure"] |= late & (np.random.default_rng(5).random(len(rows)) < 0.2)
        rules = policy(
            windows={"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        )
        result = assessed(rows, tmp_path, rules)
        told = found(result)
        assert set(told) == {("failure_rate", "failure_rate")}
        change = told["failure_rate", "failure_rate"]
        assert change.relation == "within_candidate"
        assert abs(pd.Timestamp(change.since_utc) - pd.Timestamp(on(30))) <= pd.Timedelta(days=1)
        assert any("side by side" in note for note in result.notes)


def test_row_order_and_format_change_nothing(tmp_path: Path) -> None:
    rows = planted(fail_more(42), n_sessions=1500)
    mixed = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    telemetry = open_telemetry(written(mixed, tmp_path / "b", "parquet"), contract.load(), Policy())
    other = assess(telemetry, Policy())
    telemetry.close()
    plain = assessed(rows, tmp_path / "a")
    assert plain.section.changes == other.section.changes
    assert plain.section.changes
    pd.testing.assert_frame_equal(
        plain.series["drift_days"], other.series["drift_days"], check_exact=True
    )
