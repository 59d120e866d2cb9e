from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance

from analysis import contract
from analysis.check import Check, RegressionTest
from analysis.policy import Policy
from analysis.stats.divergence import compare_distributions, split_off
from analysis.stats.multiple import benjamini_hochberg
from analysis.telemetry import Telemetry, bin_moments, cluster_choice, open_telemetry
from analysis.telemetry.bins import DriftColumn, bin_columns
from analysis.views import drift
from analysis.views.drift import DriftSection, assess
from analysis.views.drift_features import Feature, binned_features, measure
from analysis.views.result import ViewResult

START = pd.Timestamp("2026-09-21T00:00:00Z")
Edit = Callable[[pd.DataFrame, np.random.Generator], None]


def world(n_sessions: int = 1500, seed: int = 1, days: int = 56) -> pd.DataFrame:
    """Interactions of `days` days, the last 14 candidate; 2 rows a session, 3 sessions a user."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n_sessions), 2)
    day = (np.arange(n_sessions) * days // n_sessions)[session]
    user = rng.integers(0, max(n_sessions // 3, 1), n_sessions)[session]
    n = len(session)
    second = day * 86400 + rng.integers(0, 80000, n_sessions)[session] + np.tile([0, 9], n_sessions)
    failed = rng.random(n) < 0.05
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:05d}" for k in session],
            "user_id": [f"u{k:05d}" for k in user],
            "timestamp_utc": START + pd.to_timedelta(second, unit="s"),
            "use_case": rng.choice(["coding", "support"], n),
            "account_tier": np.array(["free", "pro"])[user % 2],
            "channel": rng.choice(["web", "api", "mobile"], n, p=[0.5, 0.3, 0.2]),
            "model_provider": "aurora",
            "model_name": rng.choice(["large", "small"], n),
            "latency_ms": np.round(rng.lognormal(6.5, 0.5, n), 1),
            "retry_index": 0,
            "is_failure": failed,
            "failure_type": np.where(failed, "timeout", None),
        }
    )


def candidate(rows: pd.DataFrame) -> pd.Series:
    return rows["timestamp_utc"] >= START + pd.Timedelta(days=42)


def written(rows: pd.DataFrame, folder: Path, kind: str = "csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    by_session = rows.groupby("session_id", sort=False)["timestamp_utc"]
    sessions = pd.DataFrame(
        {
            "user_id": rows.groupby("session_id", sort=False)["user_id"].first(),
            "start_timestamp_utc": by_session.min(),
            "end_timestamp_utc": by_session.max(),
        }
    ).reset_index()
    users = rows.groupby("user_id").size().rename("user_total_requests").reset_index()
    for name, frame in (
        ("interactions", rows),
        ("sessions_summary", sessions),
        ("users_summary", users),
    ):
        frame = frame.copy()
        for column in frame.columns[frame.columns.str.endswith("_utc")]:
            frame[column] = frame[column].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        if kind == "csv":
            frame.to_csv(folder / f"llm_system_{name}.csv", index=False)
        else:
            frame.to_parquet(folder / f"llm_system_{name}.parquet", index=False)
    return folder


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(changes)


def opened(rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any) -> Telemetry:
    return open_telemetry(written(rows, folder), contract.load(), rules or Policy(), **more)


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


def features(result: ViewResult[DriftSection]) -> dict[str, Feature]:
    return {f.feature: f for f in result.section.features}


def outcome(result: ViewResult[DriftSection], check_id: str) -> str:
    check = next(c for c in result.checks if c.id == check_id)
    return check.outcome if isinstance(check, Check) else check.judged(check.p_value, 0.05).outcome


class TestWhatIsTested:
    def test_auto_takes_context_action_cost_and_outcome_columns_and_nothing_else(
        self, tmp_path: Path
    ) -> None:
        rows = world(300)
        rows["domain"] = rows["use_case"]
        rows["trace_id"] = rows["interaction_id"]
        rows["release_id"] = "r1"
        rows["routing_propensity"] = 0.5
        rows["user_feedback_score"] = 3
        rows["tool_error_flag"] = False
        rows["label_available_utc"] = rows["timestamp_utc"]
        rows["something_else"] = "x"
        assert set(features(assessed(rows, tmp_path))) == {
            "use_case", "account_tier", "channel", "model_provider", "model_name", "latency_ms",
            "retry_index", "is_failure", "failure_type", "tool_error_flag",
        }  # fmt: skip

    def test_use_case_stands_for_domain(self, tmp_path: Path) -> None:
        found = features(assessed(world(300).rename(columns={"use_case": "domain"}), tmp_path))
        assert "use_case" in found
        assert "domain" not in found

    def test_named_columns_are_tested_and_keys_and_absent_ones_are_not(
        self, tmp_path: Path
    ) -> None:
        rows = world(300)
        rows["team"] = "x"
        rules = policy(drift={"columns": ["channel", "team", "session_id", "nowhere"]})
        result = assessed(rows, tmp_path, rules)
        assert {f.feature: f.role for f in result.section.features} == {
            "channel": "context",
            "team": "carried",
        }
        text = " ".join(result.notes)
        assert "session_id" in text
        assert "nowhere" in text

    def test_models_and_prompts_are_listed_and_never_counted(self, tmp_path: Path) -> None:
        rows = world()
        rows["prompt_version"] = np.where(candidate(rows), "p8", "p7")
        rows.loc[candidate(rows), "model_name"] = "huge"
        result = assessed(rows, tmp_path)
        found = features(result)
        assert found["prompt_version"].severity == found["model_name"].severity == "high"
        assert found["model_name"].new_share == 1.0
        assert outcome(result, "drift.high") == outcome(result, "drift.medium") == "pass"


def spoil_scores(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    """A score that is 1 almost everywhere; of the candidate's, a third less is."""
    lower = np.where(candidate(rows), 0.4, 0.08)
    score = rng.random(len(rows)).round(3)
    rows["response_quality_score"] = np.where(rng.random(len(rows)) < lower, score, 1.0)


def shift_channel(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    late = candidate(rows)
    rows.loc[late, "channel"] = rng.choice(["web", "api", "mobile"], late.sum(), p=[0.2, 0.3, 0.5])


def slow_down(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[candidate(rows), "latency_ms"] *= 1.6


def lose_values(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[candidate(rows) & (rng.random(len(rows)) < 0.3), "latency_ms"] = None


def open_a_channel(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    rows.loc[candidate(rows) & (rng.random(len(rows)) < 0.02), "channel"] = "phone"


class TestPlantedDrift:
    @pytest.mark.parametrize(
        ("edit", "feature", "unit"),
        [
            (shift_channel, "channel", "total_variation"),
            (slow_down, "latency_ms", "wasserstein"),
            (lose_values, "latency_ms", "wasserstein"),
            (spoil_scores, "response_quality_score", "wasserstein"),
        ],
    )
    def test_large_drift_is_high_and_fails_the_check(
        self, tmp_path: Path, edit: Edit, feature: str, unit: str
    ) -> None:
        rows = world()
        edit(rows, np.random.default_rng(2))
        result = assessed(rows, tmp_path)
        found = features(result)
        assert result.section.features[0].feature == feature
        assert found[feature].severity == "high"
        assert found[feature].effect_unit == unit
        assert {f.feature for f in found.values() if f.severity != "none"} == {feature}
        assert outcome(result, "drift.high") == outcome(result, "drift.medium") == "fail"
        medium = next(c for c in result.checks if c.id == "drift.medium")
        assert isinstance(medium, Check)
        assert medium.action == (
            f"Compare “{feature}” before and after on the drift page, and say whether the change is meant."
        )
        check = next(c for c in result.checks if c.id == "drift.high")
        assert feature in (check.sentences["fail"] if isinstance(check, RegressionTest) else "")

    def test_an_index_below_zero_is_told_as_none(self, tmp_path: Path) -> None:
        result = assessed(world(1200), tmp_path, policy(drift={"columns": ["channel"]}))
        assert (features(result)["channel"].psi or 0.0) < -0.001
        (high,) = (c for c in result.checks if c.id == "drift.high")
        assert isinstance(high, RegressionTest)
        assert "the largest stability index is 0.000 (“channel”)" in high.sentences["pass"]

    def test_no_drift_passes(self, tmp_path: Path) -> None:
        result = assessed(world(), tmp_path)
        assert all(f.severity == "none" for f in result.section.features)
        assert outcome(result, "drift.high") == outcome(result, "drift.medium") == "pass"

    def test_a_rare_new_category_is_significant_by_its_own_test(self, tmp_path: Path) -> None:
        rows = world()
        open_a_channel(rows, np.random.default_rng(3))
        found = features(assessed(rows, tmp_path))["channel"]
        assert found.statistic == "new_category"
        assert found.p_value is not None
        assert found.p_value < 1e-3
        assert found.new_share == pytest.approx(0.02, abs=0.01)

    def test_missing_values_that_begin_are_a_new_category(self, tmp_path: Path) -> None:
        rows = world()
        lose_values(rows, np.random.default_rng(4))
        found = features(assessed(rows, tmp_path))["latency_ms"]
        assert found.missing_baseline == 0
        assert found.missing_candidate == pytest.approx(0.3, abs=0.05)
        assert found.new_share == found.missing_candidate

    def test_q_values_are_benjamini_hochberg_over_all_features(self, tmp_path: Path) -> None:
        tested = [f for f in assessed(world(), tmp_path).section.features if f.p_value is not None]
        q = benjamini_hochberg([f.p_value or 0.0 for f in tested])
        assert [f.q_value for f in tested] == pytest.approx(list(q))

    def test_an_open_vocabulary_of_mostly_unique_texts_does_not_drift(self, tmp_path: Path) -> None:
        rows = world()
        rng = np.random.default_rng(5)
        rows["ticket"] = [f"t{k}" for k in rng.integers(0, 10**6, len(rows))]
        rows["zipf"] = rng.zipf(1.5, len(rows)).clip(max=10**6).astype(str)
        rules = policy(drift={"columns": ["ticket", "zipf"]})
        found = features(assessed(rows, tmp_path, rules))
        assert {f.severity for f in found.values()} == {"none"}
        assert found["zipf"].n_bins <= 53

    def test_a_late_label_is_no_drift(self, tmp_path: Path) -> None:
        rows = world()
        late = rows["timestamp_utc"] >= START + pd.Timedelta(days=50)
        rows["is_failure"] = rows["is_failure"].astype(object)
        rows.loc[late, ["is_failure", "failure_type"]] = None
        rules = policy(missing={"max_rate": 0.9})
        found = features(assessed(rows, tmp_path, rules))
        assert found["is_failure"].severity == found["failure_type"].severity == "none"
        assert found["is_failure"].missing_candidate == 0


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches: 200 clusters, of which 20 are certain, and 1,000 rows."""
    for module in (cluster_choice, drift):
        monkeypatch.setattr(module, "MAX_CLUSTERS", 200)
        monkeypatch.setattr(module, "N_CERTAIN", 20)
        monkeypatch.setattr(module, "MAX_ROWS", 1000)
    monkeypatch.setattr(bin_moments, "MIN_HOLDERS", 20)


def lose_a_value(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    """One channel in twenty of the baseline is “fax”, and none of the candidate."""
    rows.loc[~candidate(rows) & (rng.random(len(rows)) < 0.03), "channel"] = "fax"


def miss_more(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    share = np.where(candidate(rows), 0.035, 0.01)
    rows.loc[rng.random(len(rows)) < share, "latency_ms"] = None


class TestGaps:
    def test_values_that_vanish_are_significant_by_their_own_test(self, tmp_path: Path) -> None:
        rows = world()
        lose_a_value(rows, np.random.default_rng(3))
        found = features(assessed(rows, tmp_path))["channel"]
        assert found.p_value is not None
        assert found.p_value < 1e-3
        assert found.severity != "none"
        assert found.vanished_share == pytest.approx(0.03, abs=0.01)
        assert found.new_share == 0
        # The value is named, with its fall to nothing: that it is gone is not said twice.
        assert re.search(r"“fax” fell from 3\.\d % to 0\.0 %", found.sentence)
        assert "are gone" not in found.sentence

    def test_a_rising_rate_of_missing_values_has_its_own_test(self, tmp_path: Path) -> None:
        rows = world(seed=0)
        miss_more(rows, np.random.default_rng(10))
        found = features(assessed(rows, tmp_path))["latency_ms"]
        assert found.statistic == "missing_rate"
        assert found.p_value is not None
        # The distribution as a whole tells nothing at 0.2.
        assert found.p_value < 0.1

    def test_each_test_that_a_column_has_costs_a_factor(self, tmp_path: Path) -> None:
        rows = world()
        miss_more(rows, np.random.default_rng(5))
        telemetry = opened(rows, tmp_path)
        try:
            column = binned_features(telemetry, ["latency_ms"])["latency_ms"]
            found = measure(telemetry, "latency_ms", column)
            at = column.labels.index("(missing)")
            own = compare_distributions(split_off(column.clusters, at), split_off(column.days, at))
            whole = compare_distributions(column.clusters, column.days)
        finally:
            telemetry.close()
        assert own is not None
        assert whole is not None
        assert found.p_value == pytest.approx(2 * min(own.p_value, whole.p_value))

    def test_a_text_that_reads_as_missing_is_not(self, tmp_path: Path) -> None:
        rows = world(seed=0)
        rng = np.random.default_rng(1)
        rows.loc[rng.random(len(rows)) < 0.5, "channel"] = "(missing)"
        rows.loc[rng.random(len(rows)) < np.where(candidate(rows), 0.08, 0.01), "channel"] = None
        found = features(assessed(rows, tmp_path))["channel"]
        assert found.p_value is not None
        assert found.p_value < 1e-3
        assert re.search(r"; missing in [01]\.\d % before, [78]\.\d % now\.$", found.sentence)
        assert "“(missing)” fell" in found.sentence


class TestWords:
    @pytest.mark.parametrize(
        ("edit", "feature", "says"),
        [
            (
                shift_channel,
                "channel",
                r"“channel”: “mobile” rose from 2\d\.\d % to [45]\d\.\d %, “web” fell ",
            ),
            (
                slow_down,
                "latency_ms",
                r"“latency_ms”: values rose by \d{3} ms \(1\.\d+ standard deviations\): ",
            ),
            (lose_values, "latency_ms", r"missing in 0\.0 % before, (2|3)\d\.\d % now\.$"),
            (open_a_channel, "channel", r"(1|2)\.\d % hold values that the baseline lacks\.$"),
        ],
    )
    def test_a_sentence_says_what_changed(
        self, tmp_path: Path, edit: Edit, feature: str, says: str
    ) -> None:
        rows = world()
        edit(rows, np.random.default_rng(2))
        assert re.search(says, features(assessed(rows, tmp_path))[feature].sentence)

    def test_values_that_are_gone_are_told_where_they_are_not_named(self, tmp_path: Path) -> None:
        rows = world()
        rng = np.random.default_rng(3)
        gone = ~candidate(rows) & (rng.random(len(rows)) < 0.3)
        rows.loc[gone, "channel"] = rng.choice([f"fax {k}" for k in range(9)], gone.sum())
        sentence = features(assessed(rows, tmp_path))["channel"].sentence
        assert re.search(r"; values that (2|3)\d\.\d % of the baseline held are gone\.$", sentence)

    def test_a_column_of_texts_that_hardly_repeat_is_not_said_to_hold_one(
        self, tmp_path: Path
    ) -> None:
        rows = world()
        rows["channel"] = [f"text {k}" for k in range(len(rows))]
        assert features(assessed(rows, tmp_path))["channel"].sentence == (
            "“channel” is not tested: its values are too rare to compare: "
            "none has 5 rows and 0.1 % of the baseline."
        )

    def test_a_column_of_the_text_other_is_said_to_hold_it(self, tmp_path: Path) -> None:
        rows = world()
        rows["channel"] = "(other)"
        assert features(assessed(rows, tmp_path))["channel"].sentence == (
            "“channel” is not tested: every row holds “(other)”."
        )

    def test_what_did_not_move_is_said_not_to(self, tmp_path: Path) -> None:
        found = features(assessed(world(), tmp_path))
        assert found["channel"].sentence == "“channel” did not move beyond chance."
        assert found["model_provider"].sentence == (
            "“model_provider” is not tested: every row holds “aurora”."
        )

    def test_a_number_has_its_distance_in_units(self, tmp_path: Path) -> None:
        rows = world()
        slow_down(rows, np.random.default_rng(2))
        found = features(assessed(rows, tmp_path))["latency_ms"]
        old, new = (rows.loc[candidate(rows) == w, "latency_ms"] for w in (False, True))
        assert found.unit == "ms"
        assert found.wasserstein == pytest.approx(wasserstein_distance(old, new))
        assert found.effect == pytest.approx(wasserstein_distance(old, new) / old.std(ddof=0))
        assert found.mean_baseline == pytest.approx(old.mean())
        assert found.mean_candidate == pytest.approx(new.mean())


class TestBoundedWork:
    @pytest.mark.usefixtures("small_bounds")
    def test_of_many_clusters_some_are_enough_to_find_drift_and_nothing_else(
        self, tmp_path: Path
    ) -> None:
        rows = world()
        slow_down(rows, np.random.default_rng(2))
        result = assessed(rows, tmp_path)
        found = features(result)
        assert found["latency_ms"].severity == "high"
        assert {f.feature for f in found.values() if f.severity != "none"} == {"latency_ms"}
        assert found["latency_ms"].support == len(rows)
        notes = [n for n in result.notes if "by md5 of their ids" in n]
        assert len(notes) == 2
        assert f"200 of {rows['user_id'].nunique():,} clusters" in notes[0]

    def test_of_few_clusters_all_are_taken_and_nothing_is_said(self, tmp_path: Path) -> None:
        assert not any("md5" in n for n in assessed(world(300), tmp_path).notes)


class TestOddData:
    @pytest.mark.parametrize(
        ("case", "values"),
        [
            ("constant number", lambda n, rng: np.full(n, 7.0)),
            ("constant text", lambda n, rng: np.full(n, "x")),
            ("no value at all", lambda n, rng: np.full(n, None)),
        ],
    )
    def test_what_cannot_drift_is_not_tested_and_says_why(
        self, tmp_path: Path, case: str, values: Callable[[int, np.random.Generator], np.ndarray]
    ) -> None:
        rows = world(300)
        rows["odd"] = values(len(rows), np.random.default_rng(6))
        found = features(assessed(rows, tmp_path, policy(drift={"columns": ["odd", "channel"]})))
        odd = found["odd"]
        assert (odd.statistic, odd.severity) == ("not_tested", "none")
        assert odd.psi is odd.p_value is odd.q_value is odd.effect is None
        assert odd.reason

    @pytest.mark.parametrize(
        ("case", "values"),
        [
            ("huge", lambda n, rng: rng.choice([1e300, -1e300, 1e-300, 5.0], n) * rng.random(n)),
            ("mostly zero", lambda n, rng: np.where(rng.random(n) < 0.93, 0.0, rng.random(n))),
            ("capped", lambda n, rng: np.minimum(rng.random(n), 0.7)),
            ("large integers", lambda n, rng: rng.integers(0, 2**53, n)),
            ("negative zero", lambda n, rng: rng.choice([0.0, -0.0, 1.0], n)),
            (
                "hostile text",
                lambda n, rng: rng.choice(["'; DROP TABLE fact; --", "(other)", ""], n),
            ),
        ],
    )
    def test_odd_values_without_drift_are_tested_and_do_not_drift(
        self, tmp_path: Path, case: str, values: Callable[[int, np.random.Generator], np.ndarray]
    ) -> None:
        rows = world()
        rows["odd"] = values(len(rows), np.random.default_rng(7))
        # At one in a thousand chance does not speak; at one in twenty it would for some seeds.
        rules = policy(drift={"columns": ["odd"], "fdr": 0.001})
        found = features(assessed(rows, tmp_path, rules))["odd"]
        assert found.p_value is not None
        assert found.severity == "none"

    @pytest.mark.parametrize(
        ("case", "edit"),
        [
            ("only the required columns", lambda r: r.loc[:, [*r.columns[:4], "is_failure"]]),
            ("one session in each window", lambda r: r[r["session_id"].isin(["s00000", "s00299"])]),
            ("no failure", lambda r: r.assign(is_failure=False)),
            ("only failures", lambda r: r.assign(is_failure=True)),
            ("no label", lambda r: r.assign(is_failure=None)),
            ("one user", lambda r: r.assign(user_id="u")),
        ],
    )
    def test_poor_telemetry_never_crashes(
        self, tmp_path: Path, case: str, edit: Callable[[pd.DataFrame], pd.DataFrame]
    ) -> None:
        result = assessed(edit(world(300)).reset_index(drop=True), tmp_path)
        assert {c.id for c in result.checks} == {"drift.high", "drift.medium", "drift.joint"}
        assert all(f.severity == "none" for f in result.section.features if f.p_value is None)

    def test_few_clusters_leave_the_checks_undecided(self, tmp_path: Path) -> None:
        rows = world(300)
        rows["user_id"] = "u" + (rows.index // 2 % 20).astype(str)
        result = assessed(rows, tmp_path)
        high = next(c for c in result.checks if c.id == "drift.high")
        assert isinstance(high, RegressionTest)
        assert high.p_value is None
        assert "effective clusters" in (high.reason or "")
        assert outcome(result, "drift.medium") == "inconclusive"

    def test_a_first_release_is_not_judged(self, tmp_path: Path) -> None:
        result = assessed(world(300), tmp_path, policy(windows={"baseline": "none"}))
        assert result.section.features == ()
        assert [(c.id, c.severity) for c in result.checks] == [
            ("drift.high", "note"), ("drift.medium", "note"), ("drift.joint", "note"),
        ]  # fmt: skip
        assert all(isinstance(c, Check) and c.outcome == "inconclusive" for c in result.checks)

    def test_a_canary_beside_its_baseline_is_compared_without_days(self, tmp_path: Path) -> None:
        rows = world(900, days=14)
        new = np.random.default_rng(8).random(len(rows)) < 0.5
        rows["release_id"] = np.where(new, "r2", "r1")
        rules = policy(
            windows={"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        )
        result = assessed(rows, tmp_path, rules)
        assert all(f.severity == "none" for f in result.section.features)
        rows.loc[new, "channel"] = "web"
        assert outcome(assessed(rows, tmp_path, rules), "drift.high") == "fail"

    def test_weekday_weights_do_not_make_drift(self, tmp_path: Path) -> None:
        rows = world()
        weekend = rows["timestamp_utc"].dt.day_of_week >= 5
        rows.loc[weekend, "channel"] = "mobile"
        rules = policy(windows={"candidate": {"days": 9}, "baseline": {"days": 28}})
        assert features(assessed(rows, tmp_path, rules))["channel"].severity == "none"


class TestOutcomeChange:
    def test_the_effects_add_up_and_name_the_system(self, tmp_path: Path) -> None:
        rows = world(3000)
        late = candidate(rows)
        rows.loc[late, "is_failure"] = np.random.default_rng(9).random(late.sum()) < 0.15
        change = assessed(rows, tmp_path).section.outcome_change
        known = rows.groupby(late)["is_failure"].mean()
        assert change.total == pytest.approx(known[True] - known[False], abs=1e-12)
        assert None not in (change.mix_context, change.mix_action, change.within)
        effects = (change.mix_context or 0) + (change.mix_action or 0) + (change.within or 0)
        assert effects == pytest.approx(change.total, abs=1e-13)
        assert change.within == pytest.approx(change.total, abs=0.01)

    def test_a_move_to_a_worse_model_is_routing(self, tmp_path: Path) -> None:
        rows = world(3000)
        rng = np.random.default_rng(10)
        rows.loc[candidate(rows), "model_name"] = "large"
        rows["is_failure"] = rng.random(len(rows)) < np.where(
            rows["model_name"] == "large", 0.4, 0.1
        )
        change = assessed(rows, tmp_path).section.outcome_change
        assert change.mix_action == pytest.approx(0.15, abs=0.03)
        assert change.within == pytest.approx(0, abs=0.03)

    @pytest.mark.parametrize("gone", ["is_failure", "action", "context"])
    def test_what_is_missing_is_named(self, tmp_path: Path, gone: str) -> None:
        columns = {
            "action": ["model_provider", "model_name"],
            "context": ["use_case", "account_tier"],
        }
        rows = world(300)
        if gone == "is_failure":
            rows["is_failure"] = None
        change = assessed(rows.drop(columns=columns.get(gone, [])), tmp_path).section.outcome_change
        assert change.mix is change.within is None
        assert gone in (change.reason or "")


class TestEngine:
    def test_moments_are_those_of_the_rows(self, tmp_path: Path) -> None:
        rows = world(400)
        telemetry = opened(rows, tmp_path)
        column = bin_columns(telemetry.engine, [DriftColumn("channel", "VARCHAR")])["channel"]
        telemetry.close()
        codes = rows["channel"].map({label: i for i, label in enumerate(column.labels)})
        cell = candidate(rows).astype(int) * 3 + codes
        for unit, moments in (
            (rows["user_id"], column.clusters),
            (rows["timestamp_utc"].dt.floor("D"), column.days),
        ):
            counts = pd.crosstab(unit, cell).reindex(columns=range(6), fill_value=0).to_numpy()
            assert (moments.counts.ravel() == counts.sum(axis=0)).all()
            assert (moments.second == counts.T @ counts).all()

    def test_deciles_come_from_the_baseline_and_hold_a_tenth_each(self, tmp_path: Path) -> None:
        rows = world(2000)
        telemetry = opened(rows, tmp_path)
        wanted = DriftColumn("latency_ms", telemetry.types["latency_ms"])
        column = bin_columns(telemetry.engine, [wanted])["latency_ms"]
        telemetry.close()
        assert len(column.labels) == 10
        assert column.clusters.shares[0] == pytest.approx(np.full(10, 0.1), abs=0.002)

    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([1.5 * k for k in range(40)], "numeric"),
            ([True, False, None], "categorical"),
            (["7", "12", "x"], "categorical"),
        ],
    )
    def test_an_undeclared_column_is_read_alike_from_both_formats(
        self, tmp_path: Path, values: list[object], kind: str
    ) -> None:
        rows = world(300)
        rows["odd"] = [values[k % len(values)] for k in range(len(rows))]
        rules = policy(drift={"columns": ["odd"]})
        found = []
        for form in ("csv", "parquet"):
            folder = written(rows, tmp_path / form, form)
            telemetry = open_telemetry(folder, contract.load(), rules)
            found.append(assess(telemetry, rules))
            telemetry.close()
        assert found[0].section == found[1].section
        assert found[0].section.features[0].kind == kind

    def test_row_order_format_and_threads_change_nothing(self, tmp_path: Path) -> None:
        rows = world(600)
        shift_channel(rows, np.random.default_rng(12))
        plain = assessed(rows, tmp_path / "a")
        mixed = rows.sample(frac=1, random_state=1).reset_index(drop=True)
        parquet = open_telemetry(
            written(mixed, tmp_path / "b", "parquet"), contract.load(), Policy()
        )
        parquet.con.execute("SET threads = 1")
        other = assess(parquet, Policy())
        parquet.close()
        assert plain.section == other.section
        assert plain.checks == other.checks
        pd.testing.assert_frame_equal(
            plain.tables["drift_report.csv"], other.tables["drift_report.csv"], check_exact=True
        )
        for name, frame in plain.series.items():
            pd.testing.assert_frame_equal(frame, other.series[name], check_exact=True)
