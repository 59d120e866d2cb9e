from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.views.result import ViewResult
from analysis.views.routing import assess
from analysis.views.routing_backtest import backtest
from analysis.views.routing_decision import recommend
from analysis.views.routing_log import read_log
from analysis.views.routing_plan import plan
from analysis.views.routing_section import Candidate, RoutingSection

START = pd.Timestamp("2026-09-21T00:00:00Z")
FAILURES = {
    ("coding", "a"): 0.10,
    ("coding", "b"): 0.02,
    ("support", "a"): 0.05,
    ("support", "b"): 0.20,
}


def world(n: int = 12_000, seed: int = 1, try_b: float = 0.4) -> pd.DataFrame:
    """Requests of 28 days, the last 14 candidate, two a session; b is tried with `try_b`.

    b fails less than a in coding and more in support; a costs 0.10 USD, b 0.04.
    """
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n // 2), 2)
    second = (np.arange(n // 2) * 28 * 86_400 // (n // 2))[session] + np.tile([0, 9], n // 2)
    use_case = rng.choice(["coding", "support"], n)
    model = np.where(rng.random(n) < try_b, "b", "a")
    risk = np.array([FAILURES[u, m] for u, m in zip(use_case, model, strict=True)])
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:05d}" for k in session],
            "user_id": [f"u{k % (n // 6):05d}" for k in session],
            "timestamp_utc": START + pd.to_timedelta(second, unit="s"),
            "use_case": use_case,
            "account_tier": rng.choice(["free", "pro"], n),
            "prompt_tokens": rng.integers(50, 5000, n),
            "retry_index": 0,
            "model_provider": "p",
            "model_name": model,
            "routing_propensity": np.where(model == "b", try_b, 1 - try_b),
            "latency_ms": 900.0,
            "cost_usd": np.where(model == "b", 0.04, 0.10),
            "is_failure": rng.random(n) < risk,
        }
    )


def written(rows: pd.DataFrame, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sessions = rows.groupby("session_id", sort=False)["user_id"].first().reset_index()
    users = pd.DataFrame({"user_id": rows["user_id"].unique(), "note": 1})
    frame = rows.assign(timestamp_utc=rows["timestamp_utc"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    for name, table in (
        ("interactions", frame),
        ("sessions_summary", sessions),
        ("users_summary", users),
    ):
        table.to_csv(folder / f"llm_system_{name}.csv", index=False)
    return folder


def rules(name: str, model: str, when: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    use = {"model_provider": "p", "model_name": model}
    return {"name": name, "rules": [{"when": when or {}, "use": use}], **more}


def assessed(
    rows: pd.DataFrame, folder: Path, *candidates: dict[str, Any], **changes: Any
) -> ViewResult[RoutingSection]:
    routing = {
        "context": ["use_case"],
        "candidates": list(candidates),
        **changes.pop("routing", {}),
    }
    windows = {"candidate": {"days": 14}, "baseline": {"days": 14}}
    policy = Policy.model_validate({"routing": routing, "windows": windows, **changes})
    telemetry = open_telemetry(written(rows, folder), contract.load(), policy)
    try:
        result = assess(telemetry, policy)
    finally:
        telemetry.close()
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def only(result: ViewResult[RoutingSection]) -> Candidate:
    (candidate,) = result.section.candidates
    return candidate


CODING_TO_B = rules("coding-to-b", "b", {"use_case": "coding"})
SUPPORT_TO_B = rules("support-to-b", "b", {"use_case": "support"})


class TestRecommendations:
    def test_a_policy_that_saves_and_breaks_less_is_adopted(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, CODING_TO_B))
        # Half of the traffic; of it 60 % moves from a to b: 0.3 · (40 · 0.08 + 0.06) USD.
        truth = 0.3 * (40 * 0.08 + 0.06)
        assert found.saving_usd.low is not None
        assert found.saving_usd.high is not None
        assert found.saving_usd.low < truth < found.saving_usd.high
        assert found.recommendation == "adopt"
        assert found.estimator == "dr"
        assert found.changed_share == pytest.approx(0.5, abs=0.02)
        assert found.max_weight == pytest.approx(2.5)
        assert found.overlap == 1.0
        assert found.bounds is None

    def test_a_policy_that_breaks_more_is_not(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, SUPPORT_TO_B))
        assert found.saving_usd.high is not None
        assert found.saving_usd.high < 0
        assert found.recommendation == "keep"

    def test_a_policy_that_saves_on_failures_it_may_not_cause_is_not_adopted(
        self, tmp_path: Path
    ) -> None:
        # A cheap failure: moving support to b pays, and breaks 15 points more of it.
        found = only(assessed(world(), tmp_path, SUPPORT_TO_B, routing={"failure_cost_usd": 0.01}))
        assert found.saving_usd.low is not None
        assert found.saving_usd.low > 0
        assert found.recommendation == "keep"
        assert "failures rise by more than" in found.reason

    def test_a_limit_on_the_failure_rate_is_held(self, tmp_path: Path) -> None:
        loose = rules("loose", "b", {"use_case": "coding"}, max_failure_rate=0.09)
        tight = rules("tight", "b", {"use_case": "coding"}, max_failure_rate=0.05)
        found = {c.name: c for c in assessed(world(), tmp_path, loose, tight).section.candidates}
        assert found["loose"].recommendation == "adopt"
        assert found["tight"].recommendation == "keep"
        assert "5.0 %" in found["tight"].reason

    def test_a_gain_on_the_whole_does_not_pay_for_harm_to_a_protected_slice(
        self, tmp_path: Path
    ) -> None:
        rows, rng = world(20_000), np.random.default_rng(5)
        rows["account_tier"] = np.where(rng.random(len(rows)) < 0.8, "free", "pro")
        moved = (rows["model_name"] == "b") & (rows["use_case"] == "coding")
        harmed = moved & (rows["account_tier"] == "pro")
        rows.loc[moved, "is_failure"] = False
        rows.loc[harmed, "is_failure"] = rng.random(int(harmed.sum())) < 0.35
        found = only(assessed(rows, tmp_path, CODING_TO_B))
        assert found.saving_usd.low is not None
        assert found.saving_usd.low > 0
        assert found.recommendation == "keep"
        assert "account_tier “pro”" in found.reason
        unprotected = only(assessed(rows, tmp_path / "free", CODING_TO_B, routing={"protect": []}))
        assert unprotected.recommendation == "adopt"

    def test_slices_that_are_too_many_to_be_protected_are_not_passed_over(
        self, tmp_path: Path
    ) -> None:
        rows = world()
        rows["account_tier"] = [f"tier {k % 201}" for k in range(len(rows))]
        found = only(assessed(rows, tmp_path, CODING_TO_B))
        assert found.saving_usd.low is not None
        assert found.recommendation == "insufficient_evidence"
        assert "account_tier has 201 values" in found.reason

    @pytest.mark.parametrize(
        ("edit", "reason"),
        [
            ({"n": 600}, "effective sample size"),
            ({"try_b": 0.02}, "effective sample size"),
        ],
    )
    def test_too_little_evidence_is_said(
        self, tmp_path: Path, edit: dict[str, Any], reason: str
    ) -> None:
        found = only(assessed(world(**edit), tmp_path, CODING_TO_B))
        assert found.recommendation == "insufficient_evidence"
        assert reason in found.reason

    def test_few_failures_under_its_choices_are_too_little(self, tmp_path: Path) -> None:
        rows = world()
        rows["is_failure"] &= np.random.default_rng(2).random(len(rows)) < 0.08
        found = only(assessed(rows, tmp_path, rules("all-to-b", "b")))
        assert found.matched_failures is not None
        assert found.matched_failures < 50
        assert found.recommendation == "insufficient_evidence"
        assert "failures were logged" in found.reason

    def test_no_gain_among_equals_is_not_adopted(self, tmp_path: Path) -> None:
        rows = world()
        rows["is_failure"] = np.random.default_rng(3).random(len(rows)) < 0.05
        rows["cost_usd"] = 0.07
        assert only(assessed(rows, tmp_path, CODING_TO_B)).recommendation != "adopt"

    def test_rules_that_match_nothing_change_nothing(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, rules("none", "b", {"use_case": "poetry"})))
        assert found.recommendation == "keep"
        assert found.saving_usd.value == 0
        assert found.changed_share == 0

    def test_propensities_that_contradict_the_log_are_found_out(self, tmp_path: Path) -> None:
        rows = world()
        rows["routing_propensity"] = 0.9
        found = only(assessed(rows, tmp_path, CODING_TO_B))
        assert found.recommendation == "insufficient_evidence"
        assert "contradict the log" in found.reason


class TestNoSupport:
    def test_a_choice_that_was_never_logged_gets_bounds_that_hold_the_truth(
        self, tmp_path: Path
    ) -> None:
        rows = world(try_b=0.4)
        rows = rows[(rows["use_case"] == "coding") | (rows["model_name"] == "a")]
        rows["routing_propensity"] = np.where(
            rows["use_case"] == "coding", rows["routing_propensity"], 1.0
        )
        found = only(assessed(rows, tmp_path, rules("all-to-b", "b")))
        assert found.recommendation == "insufficient_evidence"
        assert "never logged" in found.reason
        assert "A/B test" in found.reason
        assert found.saving_usd.value is None
        assert found.unit_cost_usd.value is None
        assert found.overlap is not None
        assert 0.4 < found.overlap < 0.8
        share = float((rows["use_case"] == "coding").mean())
        truth = share * 0.6 * (40 * 0.08 + 0.06) + (1 - share) * (-40 * 0.15 + 0.06)
        assert found.bounds is not None
        assert found.bounds.low < truth < found.bounds.high

    def test_a_model_that_nobody_ever_called_has_no_overlap(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, rules("to-z", "z", {"use_case": "coding"})))
        assert found.overlap == 0
        assert found.recommendation == "insufficient_evidence"
        assert found.bounds is not None

    def test_a_router_that_wrote_down_certainty_had_no_other_choice(self, tmp_path: Path) -> None:
        rows = world()
        rows["routing_propensity"] = 1.0
        found = only(assessed(rows, tmp_path, CODING_TO_B))
        assert found.recommendation == "insufficient_evidence"
        assert "never logged" in found.reason
        assert found.bounds is not None

    def test_a_few_certain_choices_are_rounding(self, tmp_path: Path) -> None:
        rows = world()
        rare = np.random.default_rng(8).random(len(rows)) < 0.004
        rows.loc[rare, "model_name"] = "a"
        rows.loc[rare, "routing_propensity"] = 1.0
        found = only(assessed(rows, tmp_path, CODING_TO_B))
        assert found.recommendation == "adopt"
        assert found.overlap == 1.0

    def test_a_window_without_a_known_outcome_is_told(self, tmp_path: Path) -> None:
        rows = world(2_000)
        early = rows["timestamp_utc"] < START + pd.Timedelta(days=14)
        rows["cost_usd"] = rows["cost_usd"].where(rows["use_case"] != "x")
        learned = {"name": "best", "learn": "best_unit_cost"}
        rows.loc[early, "routing_propensity"] = None
        found = only(assessed(rows, tmp_path, learned, missing={"max_rate": 1.0}))
        assert found.recommendation == "insufficient_evidence"
        assert "no request of the baseline window" in found.reason


class TestRules:
    def test_the_first_match_wins(self, tmp_path: Path) -> None:
        both = CODING_TO_B["rules"] + rules("", "a", {})["rules"]
        found = assessed(world(), tmp_path, {"name": "two", "rules": both})
        table = found.tables["routing_policy.csv"]
        assert table["requests"].sum() == found.section.n_requests
        assert table["requests"].tolist()[0] == pytest.approx(
            found.section.n_requests / 2, rel=0.05
        )

    @pytest.mark.parametrize(
        ("when", "share"),
        [
            ({"use_case": ["coding", "support"]}, 1.0),
            ({"use_case": "coding", "account_tier": "free"}, 0.25),
            ({"channel": True}, 0.5),
            ({"max_tokens": 3}, 0.25),
        ],
    )
    def test_conditions_match_texts_lists_booleans_and_numbers(
        self, tmp_path: Path, when: dict[str, Any], share: float
    ) -> None:
        rows, k = world(4_000), np.arange(4_000)
        rows["account_tier"] = np.where(k % 2, "pro", "free")
        rows["use_case"] = np.where(k // 2 % 2, "coding", "support")
        rows["channel"] = np.where(k % 2, "true", "false")
        rows["max_tokens"] = k % 4
        found = only(assessed(rows, tmp_path, rules("some", "b", when)))
        assert found.changed_share == pytest.approx(share, abs=0.02)

    @pytest.mark.parametrize(
        ("when", "reason"),
        [
            ({"latency_ms": 900}, "not known when a request is routed"),
            ({"is_failure": True}, "not known when a request is routed"),
            ({"model_name": "a"}, "which it sets"),
            ({"tenant": "x"}, "which the telemetry lacks"),
        ],
    )
    def test_rules_that_could_not_be_applied_are_refused(
        self, tmp_path: Path, when: dict[str, Any], reason: str
    ) -> None:
        found = only(assessed(world(2_000), tmp_path, rules("odd", "b", when)))
        assert found.recommendation == "insufficient_evidence"
        assert reason in found.reason
        assert found.saving_usd.value is None


class TestEstimatedPropensities:
    def test_a_log_that_did_not_write_them_down_is_backtested_and_says_so(
        self, tmp_path: Path
    ) -> None:
        rows = world().drop(columns="routing_propensity")
        result = assessed(rows, tmp_path, CODING_TO_B)
        found = only(result)
        assert result.section.propensity == "estimated"
        assert any("no unmeasured confounding" in note for note in result.notes)
        truth = 0.3 * (40 * 0.08 + 0.06)
        assert found.saving_usd.low is not None
        assert found.saving_usd.high is not None
        assert found.saving_usd.low < truth < found.saving_usd.high
        assert found.recommendation == "adopt"
        assert found.gamma_flip is not None
        assert found.gamma_flip > 1
        assert "could undo the saving" in str(found.gamma_words)

    def test_the_policy_may_ask_for_them(self, tmp_path: Path) -> None:
        result = assessed(world(), tmp_path, CODING_TO_B, routing={"propensity": "estimated"})
        assert result.section.propensity == "estimated"

    def test_or_insist_on_logged_ones(self, tmp_path: Path) -> None:
        rows = world(2_000).drop(columns="routing_propensity")
        result = assessed(rows, tmp_path, CODING_TO_B, routing={"propensity": "logged"})
        assert result.section.propensity is None
        assert "routing_propensity" in str(result.section.reason)


class TestLearned:
    def best(self, **more: Any) -> dict[str, Any]:
        return {"name": "best", "learn": "best_unit_cost", **more}

    def test_it_is_learned_on_the_baseline_and_judged_on_the_candidate(
        self, tmp_path: Path
    ) -> None:
        found = only(assessed(world(), tmp_path, self.best()))
        assert found.recommendation == "adopt"
        told = {str(r.when): r.use["model_name"] for r in found.rules}
        assert told == {"{'use_case': 'coding'}": "b", "{'use_case': 'support'}": "a"}

    def test_what_the_candidate_window_turned_round_is_not_adopted(self, tmp_path: Path) -> None:
        rows = world()
        late = rows["timestamp_utc"] >= START + pd.Timedelta(days=14)
        turned = late & (rows["model_name"] == "b") & (rows["use_case"] == "coding")
        rows.loc[turned, "is_failure"] = np.random.default_rng(1).random(int(turned.sum())) < 0.2
        found = only(assessed(rows, tmp_path, self.best()))
        assert found.recommendation != "adopt"
        assert found.saving_usd.low is not None
        assert found.saving_usd.low < 0

    def test_a_first_release_has_nothing_to_learn_from(self, tmp_path: Path) -> None:
        windows = {"candidate": {"days": 14}, "baseline": "none"}
        found = only(assessed(world(2_000), tmp_path, self.best(), windows=windows))
        assert found.recommendation == "insufficient_evidence"
        assert "this release has none" in found.reason

    def test_a_cascade_has_bounds_alone(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, {"name": "both", "learn": "cascade"}))
        assert found.recommendation == "insufficient_evidence"
        assert found.saving_usd.value is None
        assert found.bounds is not None
        assert found.bounds.low < found.bounds.high
        assert "p / b, then p / a" in found.reason
        assert found.rules == ()


class TestSplits:
    def test_a_share_saves_its_part(self, tmp_path: Path) -> None:
        part = {"name": "part", "rules": [{**CODING_TO_B["rules"][0], "share": 0.3}]}
        result = assessed(world(), tmp_path, CODING_TO_B, part)
        whole, some = result.section.candidates
        assert whole.saving_usd.value is not None
        assert some.saving_usd.value == pytest.approx(0.3 * whole.saving_usd.value, rel=1e-6)
        assert some.changed_share == pytest.approx(0.3 * (whole.changed_share or 0), rel=1e-9)
        assert [r.share for r in some.rules] == [0.3]
        assert result.tables["routing_policy.csv"]["take"].tolist() == [1.0, 0.3]


class TestWhatWouldSettleIt:
    def test_too_few_clusters_ask_for_more_of_the_same(self, tmp_path: Path) -> None:
        found = only(assessed(world(1_200), tmp_path, CODING_TO_B))
        assert found.recommendation == "insufficient_evidence"
        assert found.effective_sample_size is not None
        assert found.needs is not None
        assert found.needs.requests is not None
        # 600 requests in 14 days; the floor is 200 clusters and 50 failures.
        assert found.matched_failures is not None
        factor = max(200 / found.effective_sample_size, 50 / found.matched_failures)
        assert found.needs.requests == pytest.approx(600 * (factor - 1), abs=1)
        assert found.needs.days == pytest.approx(14 * (factor - 1), abs=0.1)

    def test_more_of_it_settles_it(self, tmp_path: Path) -> None:
        rows = world(12_000)
        rng = np.random.default_rng(6)
        rows["is_failure"] = rng.random(len(rows)) < np.where(rows["model_name"] == "b", 0.097, 0.1)
        rows["cost_usd"] = 0.07
        first = only(assessed(rows, tmp_path / "a", rules("all", "b")))
        assert first.recommendation == "insufficient_evidence"
        assert first.needs is not None
        assert first.needs.requests is not None
        assert first.needs.requests > 1_000

    def test_no_support_asks_for_a_trial_with_its_price(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, rules("to-z", "z", {"use_case": "coding"})))
        assert found.needs is not None
        assert found.needs.requests is None
        trial = found.exploration
        assert trial is not None
        assert trial.share is not None
        assert 0 < trial.share < 0.5
        assert trial.days == 14
        assert trial.usd_per_day_low is not None
        assert trial.usd_per_day_high is not None
        assert trial.usd_per_day_low < 0 < trial.usd_per_day_high
        (check,) = assessed(
            world(), tmp_path / "check", rules("to-z", "z", {"use_case": "coding"})
        ).checks
        assert f"Send {100 * trial.share:.0f} % of the requests" in check.action  # type: ignore[union-attr]

    def test_what_is_settled_needs_nothing(self, tmp_path: Path) -> None:
        found = only(assessed(world(), tmp_path, CODING_TO_B))
        assert found.needs is None
        assert found.exploration is None


class TestWhoWins:
    def test_cells_are_told_from_the_best_to_the_worst(self, tmp_path: Path) -> None:
        result = assessed(world(), tmp_path, rules("all-to-b", "b"))
        first, last = only(result).slices
        assert (first.slice, last.slice) == ("use_case “coding”", "use_case “support”")
        assert first.saving_usd.low is not None
        assert first.saving_usd.low > 0
        assert last.saving_usd.high is not None
        assert last.saving_usd.high < 0
        assert last.failure_change.low is not None
        assert last.failure_change.low > 0
        table = result.tables["routing_slices.csv"]
        assert table["requests"].sum() == result.section.n_requests
        whole = only(result).saving_usd.value
        weighted = (table["saving_usd"] * table["requests"]).sum() / table["requests"].sum()
        assert weighted == pytest.approx(whole, rel=1e-9)

    def test_the_effective_sample_size_of_a_cell_counts_clusters_too(self, tmp_path: Path) -> None:
        result = assessed(world(), tmp_path, CODING_TO_B)
        (cell,) = result.tables["routing_slices.csv"]["effective_sample_size"]
        assert cell == pytest.approx(only(result).effective_sample_size, rel=1e-12)

    def test_the_frontier_is_what_nothing_beats(self, tmp_path: Path) -> None:
        result = assessed(
            world(), tmp_path, CODING_TO_B, SUPPORT_TO_B, rules("to-a", "a"), rules("to-z", "z")
        )
        on = {c.name: c.frontier for c in result.section.candidates}
        # Coding to b is cheaper and fails less than today; support to b is cheaper and fails more.
        assert on == {"coding-to-b": True, "support-to-b": True, "to-a": False, "to-z": None}
        drawn = result.series["routing_frontier"]
        assert drawn["name"].tolist() == ["", "coding-to-b", "support-to-b", "to-a"]


class TestMissing:
    @pytest.mark.parametrize(
        ("column", "told"),
        [
            ("cost_usd", "cost_usd"),
            ("latency_ms", "latency_ms"),
            ("model_name", "model_name"),
        ],
    )
    def test_without_a_column_the_view_says_which(
        self, tmp_path: Path, column: str, told: str
    ) -> None:
        result = assessed(world(2_000).drop(columns=column), tmp_path, CODING_TO_B)
        assert result.section.propensity is None
        assert told in str(result.section.reason)
        assert result.checks[0].outcome == "inconclusive"  # type: ignore[union-attr]
        assert only(result).saving_usd.value is None

    def test_a_breach_that_costs_nothing_needs_no_latency(self, tmp_path: Path) -> None:
        result = assessed(
            world().drop(columns="latency_ms"), tmp_path, CODING_TO_B,
            routing={"latency_breach_cost_usd": 0},
        )  # fmt: skip
        assert only(result).recommendation == "adopt"

    def test_unknown_outcomes_count_nowhere(self, tmp_path: Path) -> None:
        rows = world()
        rows["is_failure"] = rows["is_failure"].astype(object)
        gone = np.random.default_rng(4).random(len(rows)) < 0.03
        rows.loc[gone, "is_failure"] = None
        result = assessed(rows, tmp_path, CODING_TO_B)
        assert any("count nowhere" in note for note in result.notes)
        assert result.section.on_policy.failure_rate.support < result.section.n_requests


def test_a_request_is_its_attempts_together(tmp_path: Path) -> None:
    rows = world(2_000)
    # The second row of every session retries the first one.
    retry = np.arange(2_000) % 2 == 1
    rows.loc[retry, "retry_index"] = 1
    rows["is_failure"] = False
    rows.loc[~retry, "is_failure"] = True
    result = assessed(rows, tmp_path, CODING_TO_B)
    mine = rows[rows["timestamp_utc"] >= START + pd.Timedelta(days=14)]
    assert result.section.n_requests == len(mine) // 2
    assert result.section.on_policy.failure_rate.value == 0
    assert result.section.on_policy.failure_rate.high is not None
    assert result.section.on_policy.failure_rate.high > 0
    assert result.section.on_policy.cost_usd.value == pytest.approx(
        mine["cost_usd"].sum() / (len(mine) / 2)
    )


@pytest.mark.parametrize(
    ("adjusted", "recommended"), [(0.02, "adopt"), (0.04, "insufficient_evidence")]
)
def test_a_saving_must_hold_after_holm_over_the_candidates(
    tmp_path: Path, adjusted: float, recommended: str
) -> None:
    policy = Policy.model_validate(
        {"routing": {"context": ["use_case"], "candidates": [CODING_TO_B]},
         "windows": {"candidate": {"days": 14}, "baseline": {"days": 14}}}
    )  # fmt: skip
    telemetry = open_telemetry(written(world(), tmp_path), contract.load(), policy)
    try:
        log = read_log(telemetry, policy)
    finally:
        telemetry.close()
    (candidate,) = policy.routing.candidates
    result = backtest(log, policy, plan(log, policy, candidate.rules or ()))
    assert recommend(policy, candidate, result, adjusted).recommendation == recommended


def test_a_canary_has_no_usd_a_day(tmp_path: Path) -> None:
    rows = world()
    rows["release_id"] = np.where(np.arange(len(rows)) % 4 < 2, "old", "new")
    windows = {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
    found = only(assessed(rows, tmp_path, CODING_TO_B, windows=windows))
    assert found.saving_usd.value is not None
    assert found.saving_usd_per_day is None


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    rows = world(4_000)
    mixed = rows.sample(frac=1, random_state=1)
    first = assessed(rows, tmp_path / "a", CODING_TO_B, SUPPORT_TO_B)
    second = assessed(mixed, tmp_path / "b", CODING_TO_B, SUPPORT_TO_B)
    assert first.section == second.section
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])


@pytest.mark.parametrize(("bounds", "noted"), [([0, 1], 0), ([0, 0.05], 1), ([0.05, 1], 1)])
def test_costs_outside_of_the_policys_bounds_are_noted(
    tmp_path: Path, bounds: list[float], noted: int
) -> None:
    result = assessed(world(2_000), tmp_path, CODING_TO_B, routing={"bounds": {"cost_usd": bounds}})
    assert len([n for n in result.notes if "routing.bounds.cost_usd" in n]) == noted


def test_costs_that_are_not_known_lie_beyond_no_bounds(tmp_path: Path) -> None:
    result = assessed(world(2_000).drop(columns="cost_usd"), tmp_path, CODING_TO_B)
    assert not [n for n in result.notes if "routing.bounds" in n]
