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
from scipy import special

from analysis import contract
from analysis.policy import Policy
from analysis.views.result import ViewResult
from analysis.views.triage import TriageSection, assess
from analysis.views.triage_columns import COMPUTED, feature_columns, guard
from tests.views.apply_triage_policy import risk as applied
from tests.views.world import DAY, START, at, check, dated, opened, policy, traffic

Edit = Callable[[pd.DataFrame], pd.DataFrame]
PAYS = {"review_cost_usd": 2, "missed_cost_usd": 40, "capacity_per_day": 12, "queue_p90_guard": 20}


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> ViewResult[TriageSection]:
    with opened(rows, folder, rules or policy(triage=PAYS), **more) as telemetry:
        result = assess(telemetry, telemetry.policy)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    assert not any("nan" in c.sentence for c in result.checks)
    return result


def risky(n_sessions: int = 3000, seed: int = 1, slope: float = 1.6) -> pd.DataFrame:
    """Failures that long completions foretell."""
    rows = traffic(n_sessions, seed=seed)
    rng = np.random.default_rng(seed + 100)
    size = (np.log(rows["completion_tokens"]) - 5.8) / 0.7
    rows["is_failure"] = rng.random(len(rows)) < special.expit(-3.6 + slope * size)
    return rows


def late(rows: pd.DataFrame, day: float = 42) -> pd.Series:
    return rows["timestamp_utc"] >= START + day * DAY


class TestTheLeakageGuard:
    COLUMNS = (
        "interaction_id", "session_id", "user_id", "timestamp_utc", "trace_id", "use_case", "domain",
        "scenario", "account_tier", "channel", "region", "country_code", "segment", "prompt_tokens",
        "max_tokens", "temperature", "top_p", "retry_index", "instruction_template",
        "prompt_version", "model_provider", "model_name", "release_id", "routing_propensity",
        "completion_tokens", "cached_prompt_tokens", "reasoning_tokens", "total_tokens",
        "latency_ms", "time_to_first_token_ms", "tokens_per_second", "cost_usd", "tool_calls_count",
        "is_failure", "failure_type", "tool_error_flag", "response_quality_score",
        "final_resolution_state", "repair_strategy", "label_available_utc", "user_feedback_score",
        "user_feedback_label", "user_reported_issue", "split", "something_of_ours",
        "session_total_cost_usd", "user_total_failures", "failed_requests",
    )  # fmt: skip
    REQUEST = frozenset({
        "use_case", "scenario", "account_tier", "channel", "region", "country_code", "segment",
        "prompt_tokens", "max_tokens", "temperature", "top_p", "retry_index",
        "instruction_template", "prompt_version", "model_provider", "model_name",
    })  # fmt: skip
    RESPONSE = frozenset({
        "completion_tokens", "cached_prompt_tokens", "reasoning_tokens", "total_tokens",
        "latency_ms", "time_to_first_token_ms", "tokens_per_second", "cost_usd",
        "tool_calls_count",
    })  # fmt: skip

    @pytest.mark.parametrize(
        ("decide_at", "expected"),
        [("request", REQUEST), ("response", REQUEST | RESPONSE), ("later", REQUEST | RESPONSE)],
    )
    @pytest.mark.parametrize("label", ["is_failure", "tool_error_flag", "user_reported_issue"])
    def test_only_what_is_known_in_time_is_modelled(
        self, decide_at: Any, expected: frozenset[str], label: str
    ) -> None:
        found = feature_columns(contract.load(), self.COLUMNS, decide_at, label)
        assert {c.name for c in found} == expected
        again = feature_columns(contract.load(), self.COLUMNS[::-1], decide_at, label)
        assert again == found

    def test_a_column_named_as_an_input_that_the_model_computes_is_left_out(
        self, tmp_path: Path
    ) -> None:
        own = tmp_path / "contract.yml"
        declared = "{type: string, role: context, known_at: request, description: own}"
        own.write_text(
            "tables:\n  llm_system_interactions:\n    columns:\n"
            + "".join(f"      {name}: {declared}\n" for name in sorted(COMPUTED))
        )
        rules = contract.load(own)
        columns = ("channel", *COMPUTED)
        told = guard(rules, columns, "request", "is_failure")
        assert [c.name for c in told.used] == ["channel"]
        assert {c.column for c in told.left_out} == COMPUTED
        assert len(feature_columns(rules, columns, "request", "is_failure")) == len(columns)

    def test_a_column_that_is_the_label_is_of_no_use_to_the_model(self, tmp_path: Path) -> None:
        rows = risky()
        for name in ("failure_type", "final_resolution_state", "user_feedback_label", "copy"):
            rows[name] = np.where(rows["is_failure"], "bad", "fine")
        rows["leak_flag"] = rows["is_failure"]
        rows["trace_id"] = rows["interaction_id"] + np.where(rows["is_failure"], "x", "y")
        with_leaks = assessed(rows, tmp_path / "a")
        without = assessed(risky(), tmp_path / "b")
        added = {c.column for c in with_leaks.section.model.left_out}
        added -= {c.column for c in without.section.model.left_out}
        assert added == {
            "failure_type", "final_resolution_state", "user_feedback_label", "leak_flag", "trace_id",
        }  # fmt: skip
        card = dataclasses.replace(
            with_leaks.section.model, left_out=without.section.model.left_out
        )
        assert dataclasses.replace(with_leaks.section, model=card) == without.section


class TestTime:
    @pytest.mark.parametrize("edit", ["later labels", "later rows"])
    def test_what_comes_from_the_window_on_changes_no_threshold(
        self, tmp_path: Path, edit: str
    ) -> None:
        rows = risky()
        changed = rows.copy()
        if edit == "later labels":
            changed.loc[late(rows), "is_failure"] = ~rows.loc[late(rows), "is_failure"]
        else:
            changed.loc[late(rows), "completion_tokens"] = 7
            changed["total_tokens"] = changed["prompt_tokens"] + changed["completion_tokens"]
        first, again = (assessed(r, tmp_path / n).section for r, n in ((rows, "a"), (changed, "b")))
        for name in ("threshold", "operating_mode", "n_fit", "n_calibrate", "n_choose", "rivals"):
            assert getattr(first, name) == getattr(again, name)
        assert first.quality != again.quality

    def test_labels_that_were_not_known_at_the_windows_start_teach_nothing(
        self, tmp_path: Path
    ) -> None:
        rows = risky()
        rows["label_available_utc"] = rows["timestamp_utc"] + 3 * DAY
        before = assessed(rows, tmp_path / "a").section
        unknown = ~late(rows) & (rows["label_available_utc"] >= START + 42 * DAY)
        assert unknown.sum() > 100
        rows.loc[unknown, "is_failure"] = ~rows.loc[unknown, "is_failure"]
        after = assessed(rows, tmp_path / "b").section
        for name in ("threshold", "operating_mode", "n_fit", "n_calibrate", "rivals", "model"):
            assert getattr(after, name) == getattr(before, name)

    def test_the_parts_run_forward_in_time(self, tmp_path: Path) -> None:
        section = assessed(risky(), tmp_path).section
        history = (~late(risky())).sum()
        assert section.n_fit + section.n_calibrate + section.n_choose == history
        assert section.n_fit / history == pytest.approx(0.5, abs=0.03)
        assert section.n_calibrate / history == pytest.approx(0.2, abs=0.03)

    def test_a_canary_learns_before_its_span(self, tmp_path: Path) -> None:
        rows = risky()
        rows["release_id"] = np.where(late(rows) & (rows.index % 2 == 0), "r2", "r1")
        windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        section = assessed(rows, tmp_path, policy(triage=PAYS, windows=windows)).section
        span = rows[rows["timestamp_utc"] >= rows.loc[late(rows), "timestamp_utc"].min().floor("h")]
        own = (span["release_id"] == "r2").sum()
        everything = next(p for p in section.policies if p.name == "review_none")
        assert section.n_fit > 1000
        # Quality tells of the canary's rows, the workload of all traffic of its span.
        assert section.quality.brier.support == own
        assert everything.cost_usd.support == len(span)

    def test_a_canary_from_the_first_day_on_has_nothing_to_learn_from(self, tmp_path: Path) -> None:
        rows = risky(1500)
        rows["release_id"] = np.where(rows.index % 2 == 0, "r2", "r1")
        windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        result = assessed(rows, tmp_path, policy(triage=PAYS, windows=windows))
        assert result.section.operating_mode is None
        assert check(result, "triage.queue").outcome == "inconclusive"
        assert check(result, "triage.queue").severity == "hold"


class TestModes:
    @pytest.mark.parametrize(
        ("why", "slope", "costs", "mode"),
        [
            ("a useful model, and room for some", 1.6, {}, "selective"),
            ("no model, and room and money for all", 0.0, {"review_cost_usd": 0.1,
             "capacity_per_day": 400, "queue_p90_guard": 500}, "review_all"),
            ("no model, and no room for all", 0.0, {"review_cost_usd": 0.1}, "review_none"),
            ("reviews dearer than failures", 1.6, {"review_cost_usd": 50}, "review_none"),
            ("failures that cost next to nothing", 1.6, {"missed_cost_usd": 3}, "review_none"),
        ],
    )  # fmt: skip
    def test_the_mode_follows_the_costs(
        self, tmp_path: Path, why: str, slope: float, costs: dict[str, float], mode: str
    ) -> None:
        rows = risky(slope=slope)
        section = assessed(rows, tmp_path, policy(triage={**PAYS, **costs})).section
        assert section.operating_mode == mode
        policies = {p.name: p for p in section.policies}
        assert list(policies) == [
            "selected", "review_all", "review_none", "random_at_capacity", "top_by_capacity",
        ]  # fmt: skip
        if mode != "selective":
            assert dataclasses.replace(policies["selected"], name=mode) == policies[mode]
            assert section.threshold == (0.0 if mode == "review_all" else 1.0)
        else:
            assert section.threshold is not None
            assert section.threshold >= 2 / 40
            assert all(r.low > 0 for r in section.rivals)
            assert {r.name for r in section.rivals} == {"review_none", "random_at_capacity"}

    def test_where_no_threshold_fits_that_is_the_reason(self, tmp_path: Path) -> None:
        rules = policy(triage={**PAYS, "capacity_per_day": 0.01, "queue_p90_guard": 0.01})
        result = assessed(risky(), tmp_path, rules)
        assert result.section.operating_mode == "review_none"
        assert result.section.rivals == ()
        assert "no threshold of the model fits" in check(result, "triage.mode").sentence

    def test_a_model_without_signal_is_not_used(self, tmp_path: Path) -> None:
        rows = traffic(3000, failure=0.05)
        section = assessed(rows, tmp_path).section
        assert section.operating_mode != "selective"
        auc = section.quality.roc_auc
        assert auc.low is not None
        assert auc.high is not None
        assert auc.low < 0.5 < auc.high

    @pytest.mark.parametrize("capacity", [1, 5, 30, 1000])
    def test_counts_and_costs_add_up(self, tmp_path: Path, capacity: int) -> None:
        rows = risky()
        rows["is_failure"] = rows["is_failure"].astype(object)
        rows.loc[rows.index % 40 == 0, "is_failure"] = None
        costs = {**PAYS, "capacity_per_day": capacity, "queue_p90_guard": 1000}
        section = assessed(rows, tmp_path, policy(triage=costs)).section
        known = rows[late(rows)]["is_failure"].dropna().astype(bool)
        for p in section.policies:
            assert None not in (p.tp, p.fp, p.fn, p.tn, p.reviewed)
            assert p.tp + p.fn == pytest.approx(known.sum())  # type: ignore[operator]
            assert p.fp + p.tn == pytest.approx((~known).sum())  # type: ignore[operator]
            assert p.reviewed == pytest.approx(p.tp + p.fp)  # type: ignore[operator]
            assert p.reviewed <= 14 * capacity + 1e-9  # type: ignore[operator]
            assert p.cost_usd.value == pytest.approx(2 * p.reviewed + 40 * p.fn)  # type: ignore[operator]
            if p.precision is not None:
                assert p.precision == pytest.approx(p.tp / p.reviewed)  # type: ignore[operator]
            assert p.recall == pytest.approx(p.tp / known.sum())  # type: ignore[operator]
        none = next(p for p in section.policies if p.name == "review_none")
        assert none.reviewed == 0
        assert none.cost_usd.value == 40 * known.sum()

    def test_risks_rank_and_are_calibrated(self, tmp_path: Path) -> None:
        quality = assessed(risky(6000), tmp_path).section.quality
        rows = risky(6000)
        size = (np.log(rows["completion_tokens"]) - 5.8) / 0.7
        best = pd.Series(size[late(rows)]).rank()
        bad = rows["is_failure"][late(rows)]
        n1, n0 = bad.sum(), (~bad).sum()
        ideal = (best[bad].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
        assert quality.roc_auc.value == pytest.approx(ideal, abs=0.02)
        assert quality.roc_auc.low is not None
        assert quality.roc_auc.low > 0.6
        assert quality.calibration_error.value is not None
        assert quality.calibration_error.value < 0.02
        assert quality.brier_skill.value is not None
        assert quality.brier_skill.value > 0.02

    def test_the_rule_of_the_policy_is_a_rival_where_it_is_known_in_time(
        self, tmp_path: Path
    ) -> None:
        rule = {"column": "completion_tokens", "above": 600}
        known = assessed(risky(), tmp_path / "a", policy(triage={**PAYS, "rule": rule}))
        assert "rule" in {r.name for r in known.section.rivals}
        told = known.section.rule
        assert told is not None
        assert told.reviewed == (told.tp or 0) + (told.fp or 0) > 0
        early = {**PAYS, "rule": rule, "decide_at": "request"}
        unknown = assessed(risky(), tmp_path / "b", policy(triage=early))
        assert "rule" not in {r.name for r in unknown.section.rivals}
        assert unknown.section.rule is None
        assert any("not known at request" in note for note in unknown.notes)


class TestTheQueue:
    def test_the_workload_is_that_of_the_threshold_before_capacity(self, tmp_path: Path) -> None:
        result = assessed(risky(), tmp_path)
        work, threshold = result.section.workload, result.section.threshold
        days = result.series["triage_days"]
        own = days[days["part"] == "candidate"]["demand"]
        assert len(own) == 14
        assert work.reviews_per_day_p50 == np.quantile(own, 0.5, method="inverted_cdf")
        assert work.reviews_per_day_p90 == np.quantile(own, 0.9, method="inverted_cdf")
        curve = result.tables["triage_threshold_curve.csv"]
        chosen = curve[(curve["part"] == "candidate") & curve["chosen"]]
        assert chosen["threshold"].tolist() == [threshold]
        assert chosen["demand_per_day"].iloc[0] == pytest.approx(own.mean())
        selected = next(p for p in result.section.policies if p.name == "selected")
        assert chosen["reviewed"].iloc[0] == selected.reviewed
        assert chosen["cost_usd"].iloc[0] == pytest.approx(selected.cost_usd.value)
        assert work.predicted_p50 is not None
        assert work.predicted_p90 is not None
        assert work.predicted_p50 < work.predicted_p90

    @pytest.mark.parametrize(
        ("why", "edit", "outcome"),
        [
            ("as before", lambda r: r, "pass"),
            ("every completion is long", lambda r: r.assign(
                completion_tokens=np.where(late(r), 790, r["completion_tokens"]),
                total_tokens=np.where(late(r), 790, r["completion_tokens"]) + r["prompt_tokens"]),
             "fail"),
        ],
    )  # fmt: skip
    def test_the_check_holds_the_days_of_the_window_against_the_guard(
        self, tmp_path: Path, why: str, edit: Edit, outcome: str
    ) -> None:
        rules = policy(triage={**PAYS, "queue_p90_guard": 30})
        found = check(assessed(edit(risky()), tmp_path, rules), "triage.queue")
        assert (found.outcome, found.severity, found.limit) == (outcome, "hold", 30.0)

    def test_actions_are_the_reviewed_rows_by_day_and_risk(self, tmp_path: Path) -> None:
        result = assessed(risky(), tmp_path)
        actions = result.tables["triage_actions.csv"]
        selected = next(p for p in result.section.policies if p.name == "selected")
        assert len(actions) == selected.reviewed
        assert (actions["risk"] >= result.section.threshold).all()
        assert actions.groupby("day").size().max() <= 12
        for _, day in actions.groupby("day"):
            assert day["place"].tolist() == list(range(1, len(day) + 1))
            order = day.sort_values(["risk", "interaction_id"], ascending=[False, True])
            assert order["interaction_id"].tolist() == day["interaction_id"].tolist()
        np.testing.assert_allclose(
            actions["expected_saving_usd"], (40 * actions["risk"] - 2).round(6), atol=1e-6
        )

    def test_the_order_of_rows_changes_nothing(self, tmp_path: Path) -> None:
        rows = risky(2000)
        first = assessed(rows, tmp_path / "a")
        again = assessed(rows.sample(frac=1.0, random_state=3), tmp_path / "b")
        assert first.section == again.section
        assert first.checks == again.checks
        for name, table in first.tables.items():
            pd.testing.assert_frame_equal(table, again.tables[name])


class TestWhatCannotBeTold:
    @pytest.mark.parametrize(
        ("why", "edit", "rules", "text"),
        [
            ("no label", lambda r: r, policy(triage={**PAYS, "label": "user_reported_issue"}),
             "user_reported_issue"),
            ("no history", lambda r: r[late(r)], policy(triage=PAYS, windows={
                "candidate": {"start": at(42), "end": at(56)}, "baseline": "none"}),
             "labelled history"),
            ("no failures", lambda r: r.assign(is_failure=False), policy(triage=PAYS),
             "0 of them positive"),
            ("few failures", lambda r: r.assign(is_failure=r.index % 300 == 0),
             policy(triage=PAYS), "positive"),
            ("only failures", lambda r: r.assign(is_failure=True), policy(triage=PAYS),
             "at least 10 positive"),
        ],
    )  # fmt: skip
    def test_the_checks_are_inconclusive_and_the_rest_is_told(
        self, tmp_path: Path, why: str, edit: Edit, rules: Policy, text: str
    ) -> None:
        result = assessed(edit(risky()), tmp_path, rules)
        assert result.section.operating_mode is None
        assert result.section.threshold is None
        for name in ("triage.queue", "triage.mode"):
            found = check(result, name)
            assert found.outcome == "inconclusive"
            assert text in (found.reason or "")
        if why != "no label":
            none = next(p for p in result.section.policies if p.name == "review_none")
            assert none.cost_usd.value is not None

    def test_a_window_of_hours_is_told_and_not_predicted(self, tmp_path: Path) -> None:
        result = assessed(risky(), tmp_path, policy(triage=PAYS, windows=dated(20, 55.25, 55.75)))
        assert result.section.operating_mode is not None
        if result.section.operating_mode == "selective":
            assert check(result, "triage.queue").outcome == "inconclusive"

    def test_too_many_unknown_labels_are_not_judged(self, tmp_path: Path) -> None:
        rows = risky()
        rows["is_failure"] = rows["is_failure"].astype(object)
        rows.loc[late(rows) & (rows.index % 5 == 0), "is_failure"] = None
        found = check(assessed(rows, tmp_path), "triage.queue")
        assert found.outcome == "inconclusive"
        assert "is_failure is missing" in (found.reason or "")


def test_no_interval_of_the_view_is_out_of_order(tmp_path: Path) -> None:
    section = assessed(risky(), tmp_path).section
    intervals = [getattr(section.quality, f.name) for f in dataclasses.fields(section.quality)]
    intervals += [p.cost_usd for p in section.policies]
    for i in intervals:
        if i.low is not None and i.high is not None:
            assert i.low <= i.value <= i.high
            assert not math.isclose(i.low, i.high) or i.value == 0


class TestWhatIsPublished:
    def test_the_file_scores_the_queue_as_the_table_does(self, tmp_path: Path) -> None:
        rows = risky(n_sessions=4000)
        result = assessed(rows, tmp_path)
        held = json.loads(result.files["triage_policy.json"])
        assert held["threshold"] == result.section.threshold
        assert held["operating_mode"] == result.section.operating_mode == "selective"
        actions = result.tables["triage_actions.csv"].set_index("interaction_id")["risk"]
        by_id = rows.set_index("interaction_id")
        assert len(actions) > 20
        past = known_past(rows)
        for interaction, risk in actions.items():
            row = {**by_id.loc[interaction].to_dict(), **past.loc[interaction].to_dict()}
            row["ts_us"] = int(row["timestamp_utc"].timestamp() * 1_000_000)
            plain = {k: None if v is pd.NaT or v != v else v for k, v in row.items()}
            assert applied(held, plain) == pytest.approx(risk, abs=1.01e-6)

    def test_without_a_model_the_file_says_why(self, tmp_path: Path) -> None:
        result = assessed(risky().assign(is_failure=False), tmp_path)
        held = json.loads(result.files["triage_policy.json"])
        assert held["model"] is None
        assert held["reason"] == result.section.reason

    @pytest.mark.parametrize("key", ["", "0123456789abcdef-of-the-team"])
    def test_ids_are_hashed_where_it_is_to_be_shared(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("RELEASE_REVIEW_ID_KEY", key)
        rows = risky()
        plain = assessed(rows, tmp_path / "a").tables["triage_actions.csv"]
        safe = assessed(rows, tmp_path / "b", policy(triage=PAYS, publish={"share_safe": True}))
        shown = safe.tables["triage_actions.csv"]
        assert shown["risk"].tolist() == plain["risk"].tolist()
        assert set(shown["interaction_id"].dropna()).isdisjoint(plain["interaction_id"])
        assert shown["interaction_id"].notna().all() == bool(key)
        assert shown["interaction_id"].dropna().nunique() == (len(plain) if key else 0)
        assert any("Share-safe" in note for note in safe.notes)

    def test_a_column_that_knows_too_much_is_told_and_judges_nothing(self, tmp_path: Path) -> None:
        rows = risky()
        rows["tool_calls_count"] = np.where(rows["is_failure"], 9, 1)
        result = assessed(rows, tmp_path)
        assert [i.column for i in result.section.model.implausible] == ["tool_calls_count"]
        assert any("tool_calls_count alone" in note for note in result.notes)
        assert check(result, "triage.mode").outcome == "inconclusive"

    def test_what_it_costs_to_miss_few_is_told_where_the_policy_asks(self, tmp_path: Path) -> None:
        rows = risky(6000)
        given = policy(triage={**PAYS, "risk_control": {"max_missed_share": 0.5}})
        held = assessed(rows, tmp_path, given).section.risk_control
        assert held is not None
        assert held.threshold is not None
        assert held.missed_share.value is not None
        assert held.missed_share.value < 0.5
        assert assessed(rows, tmp_path / "b").section.risk_control is None


def known_past(rows: pd.DataFrame) -> pd.DataFrame:
    """What was known of each interaction's session and user, by a loop; labels count a day later."""
    out = {}
    for _, session in rows.groupby("session_id"):
        for row in session.itertuples():
            before = session[session["timestamp_utc"] < row.timestamp_utc]
            labelled = before[before["timestamp_utc"] + DAY < row.timestamp_utc]
            gap = (row.timestamp_utc - before["timestamp_utc"].max()) / pd.Timedelta("1us")
            out[row.interaction_id] = {
                "past_session_interactions": len(before),
                "past_session_retries": int((before["retry_index"] > 0).sum()),
                "past_session_gap_us": gap if len(before) else None,
                "past_session_labelled": len(labelled),
                "past_session_failures": int(labelled["is_failure"].sum()),
            }
    for _, user in rows.groupby("user_id"):
        for row in user.itertuples():
            known = user[user["timestamp_utc"] + DAY < row.timestamp_utc]
            out[row.interaction_id]["past_user_labelled"] = len(known)
            out[row.interaction_id]["past_user_failures"] = int(known["is_failure"].sum())
    return pd.DataFrame.from_dict(out, orient="index")


def test_of_required_columns_alone_the_past_and_the_clock_are_modelled(tmp_path: Path) -> None:
    columns = ["interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure"]
    rows = risky()[columns]
    # Users differ: every third fails far more often than the others.
    rng = np.random.default_rng(7)
    often = rows["user_id"].str[1:].astype(int) % 3 == 0
    rows["is_failure"] = rng.random(len(rows)) < np.where(often, 0.25, 0.02)
    section = assessed(rows, tmp_path).section
    assert section.operating_mode is not None
    assert "past_user_failure_rate" in section.features
    assert section.quality.roc_auc.low is not None
    assert section.quality.roc_auc.low > 0.55
