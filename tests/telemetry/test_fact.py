"""The one table of rows: windows, clusters and derived columns, against plain Python."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS, SESSIONS
from analysis.errors import WindowError
from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.fact import DERIVED
from tests.telemetry.worlds import MONDAY, World, world_of

HOUR = pd.Timedelta(hours=1)


def policy(**settings: Any) -> Policy:
    return Policy.model_validate(settings)


def days(candidate: int = 2, baseline: int = 2, **more: Any) -> Policy:
    return policy(
        windows={"candidate": {"days": candidate}, "baseline": {"days": baseline}, **more}
    )


def facts(telemetry: Telemetry, *columns: str) -> list[Any]:
    """Rows of `fact` in the order of their ids; single values where there is one column."""
    rows = telemetry.engine.rows(f"SELECT {', '.join(columns)} FROM fact ORDER BY interaction_id")
    telemetry.close()
    return [r[0] for r in rows] if len(columns) == 1 else rows


def hourly(folder: Path, hours: list[float], **more: Any) -> World:
    """One session and user an interaction, at these hours since Monday."""
    return world_of(
        [{"session": f"s{k}", "user": f"u{k}", "at": at, **more} for k, at in enumerate(hours)],
        folder / "data",
    )


class TestWindows:
    def test_date_windows_are_half_open_by_the_start_of_the_session(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [23.5, 24, 47.99, 71.9, 72, 95, 119.99])
        assert facts(world.opened(policy=days()), "win") == [None, 0, 0, 0, 1, 1, 1]

    def test_a_session_belongs_to_the_window_in_which_it_starts(self, tmp_path: Path) -> None:
        rows = [
            {"session": "s1", "user": "u1", "at": 70},
            {"session": "s1", "user": "u1", "at": 75},
            {"session": "s2", "user": "u2", "at": 80},
            {"session": "s2", "user": "u2", "at": 97},
        ]
        world = world_of(rows, tmp_path / "data")
        found = facts(world.opened(policy=days(1, 1)), "win", "day")
        first = 20703
        assert found == [(0, first + 2), (0, first + 2), (1, first + 3), (1, first + 3)]

    def test_the_declared_start_counts_before_the_first_interaction(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [30, 73, 90])
        world.set(SESSIONS, "start_timestamp_utc", 2, "2026-09-09T23:59:00Z")
        assert facts(world.opened(policy=days(1, 2)), "win") == [0, 0, 1]

    def test_without_a_declared_start_the_first_interaction_counts(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [30, 73, 90]).drop(SESSIONS, "start_timestamp_utc")
        assert facts(world.opened(policy=days(1, 2)), "win") == [0, 1, 1]

    def test_release_windows_take_each_interaction_by_its_own_release(self, tmp_path: Path) -> None:
        rows = [
            {"session": "s1", "user": "u1", "at": 1, "release_id": "r1"},
            {"session": "s1", "user": "u1", "at": 2, "release_id": "r2"},
            {"session": "s1", "user": "u1", "at": 26, "release_id": "r2"},
            {"session": "s2", "user": "u2", "at": 27, "release_id": None},
            {"session": "s2", "user": "u2", "at": 28, "release_id": "r3"},
        ]
        rules = policy(
            windows={"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        )
        telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
        found = facts(telemetry, "win", "day")
        assert [w for w, _ in found] == [0, 1, 1, None, None]
        assert [d - 20703 for _, d in found] == [0, 0, 1, 1, 1]

    def test_a_candidate_release_against_days_before_it(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [1, 20, 40, 50, 60])
        world.add(INTERACTIONS, "release_id", ["a", "a", "a", "b", "b"])
        rules = policy(windows={"candidate": {"release_id": "b"}, "baseline": {"days": 1}})
        telemetry = world.opened(policy=rules)
        assert telemetry.windows.comparison == "before_after"
        assert facts(telemetry, "win") == [None, None, 0, 1, 1]

    def test_excluded_times_are_in_neither_window(self, tmp_path: Path) -> None:
        out = [
            {"start": "2026-09-08T06:00:00Z", "end": "2026-09-08T07:00:00Z", "reason": "outage"},
            {"start": "2026-09-10T00:00:00Z", "end": "2026-09-10T01:00:00Z", "reason": "outage"},
        ]
        world = hourly(tmp_path, [29.99, 30, 30.99, 31, 72, 73, 119])
        telemetry = world.opened(policy=days(exclude=out))
        assert telemetry.candidate_days == 2 - 1 / 24
        assert telemetry.baseline_days == 2 - 1 / 24
        assert facts(telemetry, "win") == [0, None, None, 0, None, 1, 1]

    def test_a_first_release_has_a_candidate_only(self, tmp_path: Path) -> None:
        rules = policy(windows={"candidate": {"days": 1}, "baseline": "none"})
        telemetry = hourly(tmp_path, [1, 30, 31]).opened(policy=rules)
        assert telemetry.baseline is None
        assert telemetry.baseline_days == 0
        assert facts(telemetry, "win") == [None, 1, 1]

    def test_rows_from_as_of_on_are_left_out(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [1, 30, 48, 60, 61])
        telemetry = world.opened(
            policy=days(1, 1), as_of=datetime(2026, 9, 9, 13, tzinfo=UTC)
        )  # 61 h
        assert telemetry.windows.now == datetime(2026, 9, 9, tzinfo=UTC)
        assert facts(telemetry, "win") == [0, 1, None, None]

    @pytest.mark.parametrize(
        ("name", "rules", "as_of", "empty"),
        [
            (
                "before the data",
                days(),
                datetime(2026, 1, 1, tzinfo=UTC),
                ["candidate", "baseline"],
            ),
            ("after the data", days(), datetime(2027, 1, 1, tzinfo=UTC), ["candidate", "baseline"]),
            ("a baseline before the data", days(30, 5), None, ["baseline"]),
            (
                "a candidate that is all excluded",
                days(
                    exclude=[{"start": "2026-09-09", "end": "2026-09-20", "reason": "everything"}]
                ),
                None,
                ["candidate"],
            ),
        ],
    )
    def test_an_empty_window_is_refused_with_the_range_of_the_data(
        self, tmp_path: Path, name: str, rules: Policy, as_of: datetime | None, empty: list[str]
    ) -> None:
        world = hourly(tmp_path, [1, 30, 70, 90])
        with pytest.raises(WindowError) as refused:
            world.opened(policy=rules, as_of=as_of)
        assert refused.value.exit_code == 2
        found = [p for p in refused.value.problems if "no interaction lies in" in p]
        assert [p.split(":")[0] for p in found] == [f"windows.{w}" for w in empty]
        assert "from 2026-09-07T01:00:00Z to 2026-09-10T18:00:00Z" in str(refused.value)


class TestComparison:
    @pytest.mark.parametrize(
        ("both", "one", "expected"),
        [
            (8, 2, "concurrent"),
            (4, 1, "concurrent"),
            (7, 2, "before_after"),
            (79, 20, "before_after"),
            (1, 0, "concurrent"),
            (0, 9, "before_after"),
        ],
    )
    def test_arms_are_concurrent_from_80_percent_of_shared_hours_on(
        self, tmp_path: Path, both: int, one: int, expected: str
    ) -> None:
        rows = [{"at": k, "release_id": r} for k in range(both) for r in ("r1", "r2")]
        rows += [{"at": both + k, "release_id": f"r{1 + k % 2}"} for k in range(one)]
        if not both:
            rows.append({"at": one, "release_id": "r2"})
        named = [{**r, "session": f"s{k}", "user": f"u{k}"} for k, r in enumerate(rows)]
        rules = policy(
            windows={"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        )
        telemetry = world_of(named, tmp_path / "data").opened(policy=rules)
        telemetry.close()
        assert telemetry.windows.comparison == expected
        assert telemetry.by_days == (expected == "before_after")

    def test_windows_by_days_are_never_concurrent(self, tmp_path: Path) -> None:
        telemetry = hourly(tmp_path, [1, 30, 50, 80]).opened(policy=days())
        telemetry.close()
        assert telemetry.windows.comparison == "before_after"


class TestCluster:
    @pytest.mark.parametrize(
        ("setting", "users", "expected"),
        [
            ("auto", ["u1", "u1", "u2"], "user"),
            ("auto", ["u1", "u2", "u3"], "session"),
            ("user", ["u1", "u2", "u3"], "user"),
            ("session", ["u1", "u1", "u2"], "session"),
        ],
    )
    def test_users_are_clusters_where_they_average_more_than_one_session(
        self, tmp_path: Path, setting: str, users: list[str], expected: str
    ) -> None:
        rows = [
            {"session": f"s{k}", "user": user, "at": 30 * k + shift}
            for k, user in enumerate(users)
            for shift in (0, 1)
        ]
        rules = policy(cluster=setting, windows={"candidate": {"days": 2}, "baseline": {"days": 2}})
        telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
        assert telemetry.cluster == expected
        ids = dict(telemetry.engine.rows("SELECT code, id FROM cluster_ids"))
        found = [ids[cluster] for cluster in facts(telemetry, "cluster")]
        own = users if expected == "user" else [f"s{k}" for k in range(len(users))]
        assert found == [key for key in own for _ in (0, 1)]


class TestDerivedColumns:
    def test_they_are_what_plain_python_computes(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        latencies = [0, 0.0004, 0.0005, 0.001, 1, 2199.9994, 2200, 2200.001, 1e9, None]
        latencies += list(np.round(rng.lognormal(6, 2, 90), 3))
        costs = [0, 1e-9, 0.1, 0.000001, 999_999.999999, None] + list(np.round(rng.random(94), 9))
        retries = [0, 1, None, 2] * 25
        labels = [True, False, None, False] * 25
        rows = [
            {
                "session": f"s{k}",
                "user": f"u{k}",
                "at": k,
                "latency_ms": latencies[k],
                "cost_usd": None if costs[k] is None else f"{costs[k]:.9f}",
                "retry_index": retries[k],
                "is_failure": labels[k],
            }
            for k in range(100)
        ]
        telemetry = world_of(rows, tmp_path / "data").opened(policy=days())
        found = facts(
            telemetry,
            *("cost_nano", "latency_us", "failure", "breach", "first_attempt"),
        )
        for k, (cost, latency, failure, breach, first) in enumerate(found):
            assert cost == (None if costs[k] is None else round(costs[k] * 1e9)), k
            micros = None if latencies[k] is None else int(np.floor(latencies[k] * 1e3 + 0.5))
            assert latency == micros, k
            assert failure is labels[k]
            assert breach == (None if latencies[k] is None else latencies[k] > 2200)
            assert first is (not retries[k])

    @pytest.mark.parametrize(
        ("column", "derived"),
        [("cost_usd", "cost_nano"), ("latency_ms", "latency_us"), ("latency_ms", "breach")],
    )
    def test_an_absent_column_leaves_nulls(self, tmp_path: Path, column: str, derived: str) -> None:
        world = hourly(tmp_path, [1, 30, 50, 80]).drop(INTERACTIONS, column)
        telemetry = world.opened(policy=days())
        assert not telemetry.has(column)
        assert facts(telemetry, derived) == [None] * 4

    def test_without_retries_every_row_is_a_first_attempt(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [1, 30, 50, 80]).drop(INTERACTIONS, "retry_index")
        assert facts(world.opened(policy=days()), "first_attempt") == [True] * 4

    def test_domain_stands_in_for_use_case(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [1, 30, 50, 80]).drop(INTERACTIONS, "use_case")
        world.add(INTERACTIONS, "domain", list("abcd"))
        telemetry = world.opened(policy=days())
        assert telemetry.has("use_case", "domain")
        assert "use_case" in telemetry.dimensions
        assert facts(telemetry, "use_case") == list("abcd")

    def test_weights_balance_the_weekdays_of_the_baseline(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [24 * k + 5 for k in range(21)])
        telemetry = world.opened(policy=days(8, 7))
        assert telemetry.windows.weekday_weights == (1, 1, 1, 1, 1, 1, 2)
        found = facts(telemetry, "win", "weight")
        assert found[-8:] == [(1, 1)] * 8
        assert found[-15:-8] == [(0, 2 if k == 0 else 1) for k in range(7)]


class TestLateLabels:
    def rows(self) -> list[dict[str, Any]]:
        late = MONDAY + 100 * HOUR
        return [
            {
                "session": f"s{k}",
                "user": f"u{k}",
                "at": at,
                "is_failure": True,
                "failure_type": "timeout",
                "refusal_flag": True,
                "label_available_utc": label and label.isoformat().replace("+00:00", "Z"),
            }
            for k, (at, label) in enumerate(
                [(1, MONDAY + 2 * HOUR), (30, late), (31, None), (50, MONDAY + 72 * HOUR)]
            )
        ]

    def test_labels_that_came_after_as_of_are_unknown(self, tmp_path: Path) -> None:
        world = world_of(self.rows(), tmp_path / "data")
        as_of = (MONDAY + 72 * HOUR).to_pydatetime()
        telemetry = world.opened(policy=days(2, 1), as_of=as_of)
        missing = telemetry.missing["is_failure"]
        assert (missing.baseline, missing.candidate) == (0.0, 1 / 3)
        found = facts(telemetry, "failure", "is_failure", "failure_type", "refusal_flag")
        known, unknown = (True, True, "timeout", True), (None, None, None, None)
        assert found == [known, unknown, known, known]

    def test_without_as_of_all_labels_count(self, tmp_path: Path) -> None:
        world = world_of(self.rows(), tmp_path / "data")
        assert facts(world.opened(policy=days(2, 1)), "failure") == [True] * 4


class TestColumns:
    def test_only_declared_columns_and_those_of_the_policy_are_there(self, tmp_path: Path) -> None:
        world = hourly(tmp_path, [1, 30, 50, 80], mood="calm", plan="a", bad="x")
        rules = policy(
            windows={"candidate": {"days": 2}, "baseline": {"days": 2}},
            dimensions=["plan", "use_case", "absent"],
        )
        telemetry = world.opened(policy=rules)
        assert telemetry.has("plan", "use_case", "country_code")
        assert not telemetry.has("mood")
        assert not telemetry.has("bad")
        assert telemetry.dimensions == ("plan", "use_case")
        assert any("'absent'" in w and "lacks" in w for w in telemetry.warnings)
        telemetry.close()

    def test_columns_named_like_derived_ones_change_nothing(self, tmp_path: Path) -> None:
        rules = policy(
            windows={"candidate": {"days": 2}, "baseline": {"days": 2}},
            dimensions=[*DERIVED, "use_case"],
        )
        plain = hourly(tmp_path / "plain", [1, 30, 50, 80]).opened(policy=rules)
        made = [name for name in DERIVED if name in plain.types]
        assert {"day", "win", "cluster", "failure"} < set(made)
        expected = facts(plain, *made)
        world = hourly(tmp_path, [1, 30, 50, 80])
        for name in DERIVED:
            world.add(INTERACTIONS, name, ["9"] * 4)
        telemetry = world.opened(policy=rules)
        assert telemetry.dimensions == ("use_case",)
        for name in DERIVED:
            assert not telemetry.has(name)
            assert any(f"'{name}'" in w and "keeps for itself" in w for w in telemetry.warnings)
        assert facts(telemetry, *made) == expected
