from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.stats.multiple import benjamini_hochberg
from analysis.views.drift import DriftSection, assess
from analysis.views.drift_references import MAX_WEEKS, Reference
from analysis.views.result import ViewResult
from tests.views.world import DAY, START, at, dated, opened, policy, traffic

CHANNELS = ["web", "api", "mobile"]


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> ViewResult[DriftSection]:
    rules = rules or policy()
    with opened(rows, folder, rules, **more) as telemetry:
        result = assess(telemetry, rules)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def references(result: ViewResult[DriftSection]) -> dict[str, Reference]:
    return {r.name: r for r in result.section.references}


def drifted(reference: Reference) -> dict[str, str]:
    return {d.feature: d.severity for d in reference.drifted}


def lines(result: ViewResult[DriftSection], reference: str) -> pd.DataFrame:
    table = result.tables["drift_references.csv"]
    return table[table["reference"] == reference].set_index("feature")


def day_of(rows: pd.DataFrame) -> pd.Series:
    start = rows.groupby("session_id")["timestamp_utc"].transform("min")
    return (start - START) // DAY


def channels(rows: pd.DataFrame, shares: Callable[[float], list[float]], seed: int = 3) -> None:
    """Each row's channel, with shares by the day of its session."""
    rng = np.random.default_rng(seed)
    draw = rng.random(len(rows))
    cumulative = np.array([np.cumsum(shares(float(d))) for d in range(int(day_of(rows).max()) + 1)])
    rows["channel"] = [
        CHANNELS[int(np.searchsorted(cumulative[d], u))]
        for d, u in zip(day_of(rows), draw, strict=True)
    ]


class TestWeeks:
    def test_every_whole_week_before_the_candidate_is_a_reference_newest_first(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(2000, days=56)
        found = assessed(rows, tmp_path, policy(windows=dated(28, 42, 56))).section.references
        weeks = [r for r in found if r.kind == "week"]
        assert [r.name for r in weeks] == [
            "last week", *(f"{k} weeks before" for k in range(2, 7))
        ]  # fmt: skip
        day = day_of(rows)
        for k, week in enumerate(weeks):
            assert week.start_utc == f"{(START + (35 - 7 * k) * DAY):%Y-%m-%dT%H:%M:%SZ}"
            held = (day >= 35 - 7 * k) & (day < 42 - 7 * k)
            assert week.n_interactions == held.sum()
            assert week.reason is None

    def test_counts_are_those_of_the_rows_within_and_outside_of_the_windows(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(2000, days=56)
        channels(rows, lambda d: [0.5, 0.3, 0.2] if d < 42 else [0.3, 0.3, 0.4])
        inside = assessed(rows, tmp_path / "a", policy(windows=dated(0, 42, 56)))
        outside = assessed(rows, tmp_path / "b", policy(windows=dated(35, 42, 56)))
        # The categories are the same, and so are the counts, whichever window holds the week.
        for k in range(1, 7):
            name = "last week" if k == 1 else f"{k} weeks before"
            for column in ("channel", "account_tier", "use_case"):
                a, b = lines(inside, name).loc[column], lines(outside, name).loc[column]
                assert a["n_reference"] == b["n_reference"]
                # What chance explains is told from other clusters.
                assert a["psi"] == pytest.approx(b["psi"], abs=6e-3)

    def test_a_change_before_the_candidate_shows_against_older_weeks_alone(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(4000, days=56)
        channels(rows, lambda d: [0.5, 0.3, 0.2] if d < 28 else [0.2, 0.3, 0.5])
        found = references(assessed(rows, tmp_path))
        for name in ("last week", "2 weeks before"):
            assert found[name].n_drifted == 0
        for name in ("3 weeks before", "4 weeks before", "6 weeks before"):
            assert drifted(found[name]) == {"channel": "high"}

    def test_q_values_are_over_the_columns_of_one_reference(self, tmp_path: Path) -> None:
        own = lines(assessed(traffic(1500), tmp_path), "last week")
        assert list(own["q_value"]) == pytest.approx(
            list(benjamini_hochberg(own["p_value"])), nan_ok=True
        )

    def test_weeks_are_bounded(self, tmp_path: Path) -> None:
        rows = traffic(3000, days=7 * (MAX_WEEKS + 6))
        found = assessed(rows, tmp_path).section.references
        assert sum(r.kind == "week" for r in found) == MAX_WEEKS

    def test_exclusions_are_left_out(self, tmp_path: Path) -> None:
        rows = traffic(2000)
        out = [{"start": at(35), "end": at(37), "reason": "an incident"}]
        rules = policy(windows={"exclude": out})
        day = day_of(rows)
        late = (rows["timestamp_utc"] >= START + 35 * DAY) & (
            rows["timestamp_utc"] < START + 37 * DAY
        )
        found = references(assessed(rows, tmp_path, rules))["last week"]
        assert found.n_interactions == ((day >= 35) & (day < 42) & ~late).sum()
        assert found.reason is None

    @pytest.mark.parametrize(
        ("case", "first", "end", "reason"),
        [
            ("days without traffic", 35, 38, "only 4 of its 7 days have interactions"),
            ("no day with traffic", 35, 42, "it holds no interactions"),
        ],
    )
    def test_a_week_with_too_little_data_says_so(
        self, tmp_path: Path, case: str, first: int, end: int, reason: str
    ) -> None:
        rows = traffic(2000)
        day = day_of(rows)
        rows = rows[~((day >= first) & (day < end))].reset_index(drop=True)
        result = assessed(rows, tmp_path)
        found = references(result)["last week"]
        assert (found.reason, found.n_tested) == (reason, 0)
        assert any("too little" in n for n in result.notes)

    def test_rows_from_as_of_on_are_not_there(self, tmp_path: Path) -> None:
        rows = traffic(2000, days=63)
        early = rows[rows["timestamp_utc"] < START + 56 * DAY].reset_index(drop=True)
        moment = (START + 56 * DAY).to_pydatetime()
        later = assessed(rows, tmp_path / "a", as_of=moment)
        plain = assessed(early, tmp_path / "b", as_of=moment)
        assert later.section.references == plain.section.references
        assert later.section.slow == plain.section.slow

    def test_a_first_release_has_no_reference(self, tmp_path: Path) -> None:
        result = assessed(traffic(400), tmp_path, policy(windows={"baseline": "none"}))
        assert result.section.references == ()
        assert result.section.distributions_sha256 is None
        assert result.tables["drift_references.csv"].empty

    def test_no_week_before_the_candidate_leaves_none(self, tmp_path: Path) -> None:
        result = assessed(traffic(800, days=10), tmp_path, policy(windows=dated(0, 5, 10)))
        assert not any(r.kind in ("week", "seasonal") for r in result.section.references)
        assert any("Slow drift is not tested" in n for n in result.notes)

    def test_row_order_format_and_threads_change_nothing(self, tmp_path: Path) -> None:
        rows = traffic(1500)
        channels(rows, lambda d: [0.5 - d / 200, 0.3, 0.2 + d / 200])
        named = [{"name": "old", "start": at(3), "end": at(12)}]
        rules = policy(windows=dated(21, 42, 56), drift={"references": named})
        plain = assessed(rows, tmp_path / "a", rules)
        mixed = rows.sample(frac=1, random_state=1).reset_index(drop=True)
        with opened(mixed, tmp_path / "b", rules) as telemetry:
            telemetry.con.execute("SET threads = 1")
            other = assess(telemetry, rules)
        assert plain.section == other.section
        for name, frame in plain.tables.items():
            pd.testing.assert_frame_equal(frame, other.tables[name], check_exact=True)


class TestSeasons:
    def test_it_is_the_same_weekdays_of_the_last_whole_weeks(self, tmp_path: Path) -> None:
        rows = traffic(2000)
        day = day_of(rows)
        cases = {3: (46, 49, "1 week"), 7: (42, 49, "1 week"), 10: (32, 42, "2 weeks")}
        for length, (first, end, ago) in cases.items():
            rules = policy(windows=dated(7, 56 - length, 56))
            first, end = 56 - length, 56
            shift = 7 * -(-length // 7)
            found = references(assessed(rows, tmp_path / str(length), rules))
            season = found[f"the same weekdays, {ago} earlier"]
            held = (day >= first - shift) & (day < end - shift)
            assert season.n_interactions == held.sum()

    def test_weekdays_that_differ_are_no_drift_against_it(self, tmp_path: Path) -> None:
        rows = traffic(6000)
        channels(rows, lambda d: [0.2, 0.3, 0.5] if d % 7 >= 5 else [0.6, 0.3, 0.1])
        # Saturday and Sunday alone.
        rules = policy(windows=dated(12, 54, 56))
        result = assessed(rows, tmp_path, rules)
        found = references(result)
        assert found["the same weekdays, 1 week earlier"].n_drifted == 0
        assert "channel" in drifted(found["last week"])
        assert any("not of whole weeks" in n for n in result.notes)


class TestNamed:
    def test_windows_and_releases_are_compared_and_the_candidate_is_in_neither(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(3000)
        day = day_of(rows)
        rows["release_id"] = np.where(day < 20, "r1", "r2")
        channels(rows, lambda d: [0.5, 0.3, 0.2] if d >= 20 else [0.2, 0.3, 0.5])
        named = [
            {"name": "the first days", "start": at(2), "end": at(9)},
            {"name": "up to the end", "start": at(40), "end": at(56)},
            {"name": "first", "release_id": "r1"},
            {"name": "this one before", "release_id": "r2"},
            {"name": "never seen", "release_id": "r9"},
            {"name": "long ago", "start": at(-40), "end": at(-30)},
        ]
        rules = policy(drift={"references": named})
        result = assessed(rows, tmp_path, rules)
        found = references(result)
        assert found["the first days"].n_interactions == ((day >= 2) & (day < 9)).sum()
        assert found["up to the end"].n_interactions == ((day >= 40) & (day < 42)).sum()
        assert found["first"].n_interactions == (day < 20).sum()
        assert found["this one before"].n_interactions == ((day >= 20) & (day < 42)).sum()
        assert "channel" in drifted(found["first"])
        assert "channel" in drifted(found["the first days"])
        assert "channel" not in drifted(found["this one before"])
        assert "r9" in (found["never seen"].reason or "")
        assert found["long ago"].reason == "it holds no interactions"
        assert any("never seen" in n for n in result.notes)
        kinds = [r.kind for r in result.section.references]
        assert kinds.count("window") == kinds.count("release") == 3

    def test_without_a_column_of_releases_a_release_is_not_found(self, tmp_path: Path) -> None:
        rules = policy(drift={"references": [{"name": "r1", "release_id": "r1"}]})
        found = references(assessed(traffic(400), tmp_path, rules))["r1"]
        assert "r1" in (found.reason or "")

    def test_a_canary_is_compared_with_all_traffic_of_the_weeks_before_it(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(4000)
        day = (rows["timestamp_utc"] - START) // DAY
        canary = (day >= 49) & (np.arange(len(rows)) % 4 < 2)
        rows["release_id"] = np.where(canary, "new", "old")
        rows.loc[canary, "channel"] = "mobile"
        windows = {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
        found = references(assessed(rows, tmp_path, policy(windows=windows)))
        assert found["last week"].n_interactions == ((day >= 42) & (day < 49)).sum()
        assert drifted(found["last week"])["channel"] == "high"

    def test_a_canary_of_hours_is_held_against_whole_days(self, tmp_path: Path) -> None:
        rows = traffic(4000)
        hours = (rows["timestamp_utc"] - START) / pd.Timedelta(hours=1)
        canary = (hours >= 24 * 55 + 2) & (np.arange(len(rows)) % 4 < 2)
        rows["release_id"] = np.where(canary, "new", "old")
        windows = {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
        found = references(assessed(rows, tmp_path, policy(windows=windows)))
        day = (rows["timestamp_utc"] - START) // DAY
        assert found["the same weekdays, 1 week earlier"].n_interactions == (day == 48).sum()
        assert found["last week"].n_interactions == ((day >= 48) & (day < 55)).sum()
        assert found["last week"].n_drifted == 0


def slowly(day: float) -> list[float]:
    """Shares that move by a PSI of about 0.5 over eight weeks."""
    moved = 0.3 * max(0.0, day - 3) / 49
    return [0.55 - moved, 0.25, 0.2 + moved]


class TestSlowDrift:
    def test_what_no_step_shows_is_found_and_said(self, tmp_path: Path) -> None:
        rows = traffic(10_000)
        channels(rows, slowly)
        # Against the last weeks alone it is small.
        result = assessed(rows, tmp_path, policy(windows=dated(35, 42, 56)))
        [found] = result.section.slow
        assert (found.feature, found.severity, found.n_weeks) == ("channel", "high", 8)
        assert found.psi > 0.25
        assert found.largest_step_psi < 0.05
        assert abs(found.step_psi) < 0.02
        assert found.q_value < 0.01
        judged = {f.feature: f.severity for f in result.section.features}
        assert judged["channel"] != "high"
        assert any("drifts slowly" in n and "channel" in n for n in result.notes)
        high = next(c for c in result.checks if c.id == "drift.high")
        assert "drifts slowly" not in str(high)

    def test_the_same_from_weeks_that_no_window_holds(self, tmp_path: Path) -> None:
        rows = traffic(10_000)
        channels(rows, slowly)
        a = assessed(rows, tmp_path / "a", policy(windows=dated(0, 42, 56))).section.slow
        b = assessed(rows, tmp_path / "b", policy(windows=dated(35, 42, 56))).section.slow
        assert [s.feature for s in a] == [s.feature for s in b] == ["channel"]
        assert a[0].psi == pytest.approx(b[0].psi, abs=0.02)

    def test_a_step_is_no_slow_drift(self, tmp_path: Path) -> None:
        rows = traffic(10_000)
        channels(rows, lambda d: [0.5, 0.3, 0.2] if d < 28 else [0.2, 0.3, 0.5])
        result = assessed(rows, tmp_path)
        assert result.section.slow == ()
        table = result.tables["drift_references.csv"]
        [line] = table[(table["kind"] == "trend") & (table["feature"] == "channel")].to_dict(
            "records"
        )
        assert line["largest_step_psi"] > 0.2

    def test_steady_traffic_does_not_drift(self, tmp_path: Path) -> None:
        assert assessed(traffic(3000), tmp_path).section.slow == ()

    def test_it_changes_no_check(self, tmp_path: Path) -> None:
        rows = traffic(6000)
        channels(rows, slowly)
        moved = assessed(rows, tmp_path / "a", policy(windows=dated(35, 42, 56)))
        # Without the earlier weeks there is no slow drift to see, and the checks say the same.
        late = rows[day_of(rows) >= 35].reset_index(drop=True)
        plain = assessed(late, tmp_path / "b", policy(windows=dated(35, 42, 56)))
        assert plain.section.slow == ()
        assert moved.section.slow
        assert moved.checks == plain.checks


class TestDistributions:
    def test_they_hold_the_counts_and_no_ids(self, tmp_path: Path) -> None:
        rows = traffic(2000)
        rows.loc[:3, "channel"] = "a rare one"
        result = assessed(rows, tmp_path)
        frame = result.tables["drift_distributions.csv"]
        late = day_of(rows) >= 42
        for name in ("channel", "latency_ms", "is_failure"):
            own = frame[frame["feature"] == name]
            assert own["baseline"].sum() == (~late).sum()
            assert own["candidate"].sum() == late.sum()
            assert own["candidate_effective"].sum() <= own["candidate"].sum()
        shown = set(frame["label"]) | set(frame["value"])
        assert "a rare one" not in shown
        assert not shown & {*rows["session_id"], *rows["user_id"], *rows["interaction_id"]}
        edges = frame[(frame["feature"] == "latency_ms") & (frame["edge"] != "")]["edge"]
        assert sorted(edges.map(float)) == list(edges.map(float))
        assert set(edges.map(float)) <= set(rows["latency_ms"])
