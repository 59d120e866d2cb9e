"""What the names of `hotspots.metrics` stand for, and whether what they measure is found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import contract
from analysis.policy import Hotspots, Policy
from analysis.stats.sketch import EDGES_US
from analysis.telemetry import open_telemetry, policy_columns
from analysis.views import hotspot_metrics
from analysis.views.hotspots import Found, HotspotsSection, assess
from analysis.views.result import ViewResult
from tests.views.world import DAY, START, check, policy, traffic, written

QUALITY = "response_quality_score"
FEEDBACK = "user_feedback_score"
RANGES = """\
tables:
  llm_system_interactions:
    columns:
      response_quality_score: {type: number, min: 0, max: 1, role: outcome, known_at: later}
"""


def assessed(
    rows: pd.DataFrame,
    folder: Path,
    metrics: list[str],
    own: str | None = None,
    **changes: Any,
) -> ViewResult[HotspotsSection]:
    held = contract.DEFAULT_PATH
    if own is not None:
        held = folder / "contract.yml"
        held.parent.mkdir(parents=True, exist_ok=True)
        held.write_text(own)
    rules = policy(hotspots={"metrics": metrics, "max_depth": 2}, **changes)
    telemetry = open_telemetry(written(rows, folder / "data"), contract.load(held), rules)
    try:
        result = assess(telemetry, rules)
    finally:
        telemetry.close()
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def late(rows: pd.DataFrame) -> pd.Series:
    return rows["timestamp_utc"] >= START + 42 * DAY


def scored(rows: pd.DataFrame, seed: int = 5) -> pd.DataFrame:
    """Every answer is graded, by 0.8 on average."""
    rng = np.random.default_rng(seed)
    return rows.assign(**{QUALITY: rng.beta(8.0, 2.0, len(rows)).round(3)})


def only(found: tuple[Found, ...], kind: str) -> Found:
    (one,) = [f for f in found if f.kind == kind]
    return one


def metrics_tested(result: ViewResult[HotspotsSection]) -> set[str]:
    return set(result.tables["hotspots.csv"]["metric"])


class TestScores:
    def test_low_quality_is_found_and_high_quality_is_not(self, tmp_path: Path) -> None:
        rows = scored(traffic(3000))
        api, web = (late(rows) & (rows["channel"] == c) for c in ("api", "web"))
        rows.loc[api, QUALITY] = (rows.loc[api, QUALITY] - 0.2).clip(0.0).round(3)
        rows.loc[web, QUALITY] = (rows.loc[web, QUALITY] + 0.1).clip(upper=1.0).round(3)
        result = assessed(rows, tmp_path, [QUALITY], RANGES)
        found = only(result.section.found, "regression")
        assert (found.metric, found.slice, found.unit) == (QUALITY, {"channel": "api"}, "score")
        assert {"channel": "web"} not in [f.slice for f in result.section.found]
        assert {"channel": "web"} in [
            f.slice for f in result.section.listed if f.status == "better"
        ]
        assert "as far from the best score as its reference" in (
            check(result, "hotspots.regression").sentence
        )

    def test_a_finding_tells_scores_and_its_excess_is_points_lost(self, tmp_path: Path) -> None:
        rows = scored(traffic(3000))
        api = late(rows) & (rows["channel"] == "api")
        rows.loc[api, QUALITY] = (rows.loc[api, QUALITY] - 0.2).clip(0.0).round(3)
        result = assessed(rows, tmp_path, [QUALITY], RANGES)
        found = only(result.section.found, "level")
        new = rows[late(rows)]
        own, rest = (
            new.loc[(new["channel"] == "api") == is_own, QUALITY] for is_own in (True, False)
        )
        effect = own.mean() - rest.mean()
        assert found.value == pytest.approx(own.mean(), abs=1e-6)
        assert found.reference == pytest.approx(rest.mean(), abs=1e-6)
        assert found.effect == pytest.approx(effect, abs=1e-6)
        assert found.effect is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.effect < found.high < 0
        assert found.ratio == pytest.approx((1 - own.mean()) / (1 - rest.mean()), rel=1e-4)
        assert found.excess == pytest.approx(-effect * len(own), abs=1e-3)
        assert found.excess_usd is None
        table = result.tables["hotspots.csv"]
        row = table[(table["channel"] == "api") & (table["kind"] == "level")
                    & table["use_case"].isna() & table["account_tier"].isna()
                    & table["model_name"].isna()].iloc[0]  # fmt: skip
        assert row["value"] == pytest.approx(own.mean(), abs=1e-6)
        assert row["ratio"] == pytest.approx(found.ratio)

    def test_without_a_range_the_highest_score_seen_counts_as_the_best(
        self, tmp_path: Path
    ) -> None:
        rows = scored(traffic(3000))
        rows[QUALITY] = (4 * rows[QUALITY]).round(3)
        api = late(rows) & (rows["channel"] == "api")
        rows.loc[api, QUALITY] = (rows.loc[api, QUALITY] - 0.8).clip(0.0).round(3)
        result = assessed(rows, tmp_path, [QUALITY])
        assert only(result.section.found, "regression").slice == {"channel": "api"}
        (note,) = [n for n in result.notes if n.startswith(QUALITY)]
        assert f"taken as {rows[QUALITY].max():g}, the highest seen" in note

    def test_scores_that_differ_by_chance_alone_are_no_hotspot(self, tmp_path: Path) -> None:
        result = assessed(scored(traffic(3000)), tmp_path, [QUALITY], RANGES)
        assert result.section.n_tested > 20
        assert result.section.found == ()

    def test_scores_out_of_range_count_in_nothing(self, tmp_path: Path) -> None:
        rows = scored(traffic(1500))
        wrong = rows.copy()
        wrong.loc[wrong.index % 97 == 0, QUALITY] = 1e300
        tolerant = RANGES + "severities: {ranges: warning}\n"
        empty = rows.copy()
        empty.loc[empty.index % 97 == 0, QUALITY] = None
        first = assessed(wrong, tmp_path / "a", [QUALITY], tolerant)
        again = assessed(empty, tmp_path / "b", [QUALITY], tolerant)
        pd.testing.assert_frame_equal(first.tables["hotspots.csv"], again.tables["hotspots.csv"])

    def test_a_score_without_bounds_is_left_out_and_said(self, tmp_path: Path) -> None:
        rows = scored(traffic(600))
        rows.loc[0, QUALITY] = 1e11
        result = assessed(rows, tmp_path, [QUALITY])
        assert any("not within" in note for note in result.notes)
        assert result.section.n_tested == 0

    def test_feedback_is_compared_where_there_is_some(self, tmp_path: Path) -> None:
        rows = traffic(4000)
        rng = np.random.default_rng(7)
        rows[FEEDBACK] = rng.integers(3, 6, len(rows)).astype(float)
        rows.loc[late(rows) & (rows["channel"] == "api"), FEEDBACK] -= 2
        rows.loc[rng.random(len(rows)) < 0.6, FEEDBACK] = None
        result = assessed(rows, tmp_path, [FEEDBACK])
        assert only(result.section.found, "regression").slice == {"channel": "api"}
        (note,) = [n for n in result.notes if n.startswith(FEEDBACK)]
        assert "slices are compared by the scores that there are" in note

    @pytest.mark.parametrize(("own", "tested"), [("", False), (", max_missing: 0.9", True)])
    def test_sparse_grades_count_where_the_contract_expects_them_to_be(
        self, tmp_path: Path, own: str, tested: bool
    ) -> None:
        rows = scored(traffic(3000))
        rows.loc[rows.index % 2 == 0, QUALITY] = None
        result = assessed(rows, tmp_path, [QUALITY], RANGES.replace(", role", f"{own}, role"))
        assert (QUALITY in metrics_tested(result)) == tested
        assert any("is missing in 50.0 %" in note for note in result.notes)


class TestLatencyQuantiles:
    def test_a_tail_in_one_slice_is_found_where_the_overall_share_is_unchanged(
        self, tmp_path: Path
    ) -> None:
        rows = traffic(4000)
        rng = np.random.default_rng(3)
        rows["latency_ms"] = rng.lognormal(6.0, 0.3, len(rows)).round(1)
        # Cut off at a limit: no latency lies beyond the 95th percentile.
        mobile = late(rows) & (rows["channel"] == "mobile")
        for own, window in ((~late(rows), ~late(rows)), (mobile, late(rows))):
            slow = rng.choice(rows.index[own], round(0.06 * window.sum()), replace=False)
            rows.loc[slow, "latency_ms"] = 9_000.0
        result = assessed(rows, tmp_path, ["latency_p95"])
        found = only(result.section.found, "regression")
        assert (found.metric, found.slice) == ("latency_p95", {"channel": "mobile"})
        shares = rows["latency_ms"].ge(9_000).groupby(late(rows)).mean()
        assert shares[True] == pytest.approx(shares[False], abs=1e-3)

    @pytest.mark.parametrize("name", ["latency_p50", "latency_p90", "latency_p95"])
    @pytest.mark.parametrize("first", [False, True])
    def test_the_share_is_from_the_edge_below_the_quantile_of_the_baseline_on(
        self, tmp_path: Path, name: str, first: bool
    ) -> None:
        rows = traffic(3000)
        none = {"windows": {"candidate": {"days": 14}, "baseline": "none"}}
        result = assessed(rows, tmp_path, [name], **(none if first else {}))
        base = rows[late(rows) == first]["latency_ms"]
        exact = base.quantile(int(name[-2:]) / 100, interpolation="inverted_cdf") * 1e3
        edge = int(EDGES_US[np.searchsorted(EDGES_US, exact, side="right") - 1])
        window = "candidate" if first else "baseline"
        (note,) = [n for n in result.notes if n.startswith(f"{name}:")]
        assert f"{edge / 1e3:.6g} ms or longer" in note
        assert f"of the {window} window" in note
        table = result.tables["hotspots.csv"]
        row = table[(table["channel"] == "web") & (table["kind"] == "level")
                    & table[["use_case", "account_tier", "model_name"]].isna().all(axis=1)]  # fmt: skip
        new = rows[late(rows) & (rows["channel"] == "web")]["latency_ms"]
        assert row["value"].iloc[0] == pytest.approx((new * 1e3 >= edge).mean())

    def test_latencies_of_nothing_have_no_tail(self, tmp_path: Path) -> None:
        rows = traffic(900, failure=0.2).assign(latency_ms=0.0)
        result = assessed(rows, tmp_path, ["failure", "latency_p95"])
        assert metrics_tested(result) == {"failure"}
        assert any("the quantile of the baseline window is 0 ms" in note for note in result.notes)


class TestShorthands:
    def test_flags_stand_for_every_flag_that_is_there(self, tmp_path: Path) -> None:
        rows = traffic(3000)
        rng = np.random.default_rng(4)
        for name in ("tool_error_flag", "pii_flag", "user_reported_issue"):
            rows[name] = rng.random(len(rows)) < 0.1
        own = RANGES + "      cached: {type: boolean, role: context, known_at: request}\n"
        rows["cached"] = rng.random(len(rows)) < 0.5
        rows["undeclared"] = rng.random(len(rows)) < 0.5
        rows.loc[late(rows) & (rows["channel"] == "api"), "pii_flag"] |= (
            rng.random(int((late(rows) & (rows["channel"] == "api")).sum())) < 0.2
        )
        result = assessed(rows, tmp_path, ["pii_flag", "flags"], own)
        assert metrics_tested(result) == {"tool_error_flag", "pii_flag", "user_reported_issue"}
        found = only(result.section.found, "regression")
        assert (found.metric, found.slice, found.unit) == ("pii_flag", {"channel": "api"}, "rate")

    def test_too_many_flags_are_cut_and_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hotspot_metrics, "MAX_FLAGS", 2)
        rows = traffic(900)
        rng = np.random.default_rng(4)
        for name in ("c_flag", "a_flag", "b_flag"):
            rows[name] = rng.random(len(rows)) < 0.3
        result = assessed(rows, tmp_path, ["flags"])
        assert metrics_tested(result) == {"a_flag", "b_flag"}
        assert "of 3 flags the first 2 by name are hotspot metrics" in result.notes

    @pytest.mark.parametrize(
        ("why", "metrics", "tested"),
        [
            ("both are there by other names", ["failure", "latency_breach", "slos"],
             {"failure", "latency_breach", "tools"}),
            ("wherever these stand", ["slos", "failure"], {"failure", "latency", "tools"}),
            ("an SLO that is listed counts once", ["tools", "slos"],
             {"tools", "availability", "latency"}),
            ("a flag that is an SLO's counts once", ["slos", "flags"],
             {"tools", "availability", "latency"}),
            ("and under the name that is given", ["flags", "slos", "tool_error_flag"],
             {"tool_error_flag", "availability", "latency"}),
        ],
    )  # fmt: skip
    def test_what_is_measured_twice_counts_once(
        self, tmp_path: Path, why: str, metrics: list[str], tested: set[str]
    ) -> None:
        rows = traffic(1200, failure=0.2)
        rows["tool_error_flag"] = np.random.default_rng(4).random(len(rows)) < 0.2
        slos = [
            {"name": "availability", "bad": "is_failure", "target": 0.95},
            {"name": "latency", "bad": {"column": "latency_ms", "above": 1000}, "target": 0.95},
            {"name": "tools", "bad": "tool_error_flag", "target": 0.95},
        ]
        assert metrics_tested(assessed(rows, tmp_path, metrics, slos=slos)) == tested

    def test_an_slo_named_as_a_shorthand_is_that_slo(self, tmp_path: Path) -> None:
        slos = [{"name": "flags", "bad": "is_failure", "target": 0.95}]
        rows = traffic(900, failure=0.2)
        rows["pii_flag"] = np.random.default_rng(4).random(len(rows)) < 0.2
        assert metrics_tested(assessed(rows, tmp_path, ["flags"], slos=slos)) == {"flags"}

    def test_an_slo_by_the_name_of_a_metric_is_left_out_and_said(self, tmp_path: Path) -> None:
        slos = [{"name": "cost", "bad": "is_failure", "target": 0.95}]
        result = assessed(traffic(900, failure=0.2), tmp_path, ["failure", "slos"], slos=slos)
        assert metrics_tested(result) == {"failure"}
        assert any("the SLO 'cost'" in note for note in result.notes)


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (QUALITY, f"the telemetry has no column {QUALITY}"),
        (FEEDBACK, f"the telemetry has no column {FEEDBACK}"),
        ("latency_p95", "the telemetry has no column latency_ms"),
        ("flags", "the telemetry has no true/false column"),
        ("slos", "the policy has none"),
        ("prompt_tokens", "expected a true/false column, a score or an SLO"),
    ],
)
def test_a_metric_that_cannot_be_told_is_left_out_and_said(
    tmp_path: Path, metric: str, reason: str
) -> None:
    rows = traffic(900, failure=0.2).drop(columns="latency_ms")
    result = assessed(rows, tmp_path, ["failure", metric], slos=[])
    assert metrics_tested(result) == {"failure"}
    (note,) = [n for n in result.notes if n.startswith("hotspots leave out")]
    assert repr(metric) in note
    assert reason in note


def test_names_that_are_no_columns_are_asked_of_no_table() -> None:
    names = ("failure", "latency_breach", "flags", "slos", "latency_p95", "mine", QUALITY)
    rules = Policy(hotspots=Hotspots(metrics=names))
    plain = Policy(hotspots=Hotspots(metrics=("failure",)))
    assert policy_columns(rules) - policy_columns(plain) == {"mine", QUALITY}
    assert "latency_ms" in rules.hotspots.columns([])
