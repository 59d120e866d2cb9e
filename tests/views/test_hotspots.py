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
from statsmodels.stats.multitest import multipletests

from analysis.check import Check, RegressionTest
from analysis.policy import Policy
from analysis.stats.multiple import simes
from analysis.views.hotspots import Found, HotspotsSection, assess
from analysis.views.result import ViewResult
from tests.views.world import DAY, START, check, evenly, events, opened, policy, traffic

FAILURES = {"metrics": ["failure"], "max_depth": 2}
Plant = Callable[[pd.DataFrame, np.random.Generator], None]


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> ViewResult[HotspotsSection]:
    with opened(rows, folder, rules or policy(hotspots=FAILURES), **more) as telemetry:
        result = assess(telemetry, telemetry.policy)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def late(rows: pd.DataFrame) -> pd.Series:
    return rows["timestamp_utc"] >= START + 42 * DAY


def slices(found: tuple[Found, ...], kind: str) -> list[tuple[str, dict[str, str | None], str]]:
    return [(f.metric, f.slice, f.status) for f in found if f.kind == kind]


def independent(seed: int = 1, a_day: int = 60) -> pd.DataFrame:
    """One row a user: 56 days, two dimensions, 6 % failures."""
    rng = np.random.default_rng(seed)
    moments = evenly(56, a_day)
    n = len(moments)
    return events(
        moments,
        (rng.random(n) < 0.06).tolist(),
        use_case=rng.choice(["coding", "support", "search"], n, p=[0.5, 0.3, 0.2]),
        channel=rng.choice(["web", "api"], n, p=[0.6, 0.4]),
        cost_usd=rng.gamma(2.0, 0.005, n).round(9),
    )


def hot(
    rows: pd.DataFrame, rng: np.random.Generator, where: pd.Series, rate: float
) -> pd.DataFrame:
    return rows.assign(is_failure=rows["is_failure"] | (where & (rng.random(len(rows)) < rate)))


class TestNumbers:
    def test_levels_of_independent_rows_are_fishers_exact_test(self, tmp_path: Path) -> None:
        rows = independent(a_day=180)
        result = assessed(rows, tmp_path)
        table = result.tables["hotspots.csv"]
        new = rows[late(rows)]
        levels = table[table["kind"] == "level"]
        assert len(levels) == 3 + 2 + 6
        for row in levels.to_dict("records"):
            own = pd.Series(True, index=new.index)
            for name in ("use_case", "channel"):
                if isinstance(row[name], str):
                    own &= new[name] == row[name]
            inside, rest = new[own]["is_failure"], new[~own]["is_failure"]
            counts = [
                [int(inside.sum()), int((~inside).sum())],
                [int(rest.sum()), int((~rest).sum())],
            ]
            expected = stats.fisher_exact(counts, alternative="greater").pvalue
            assert row["p_value"] == pytest.approx(expected, rel=0.01)
            assert row["value"] == pytest.approx(inside.mean())
            assert row["reference"] == pytest.approx(rest.mean())
            assert row["support"] == len(inside)

    def test_the_reference_of_a_regression_is_the_slice_moved_as_the_rest(
        self, tmp_path: Path
    ) -> None:
        rows = independent()
        table = assessed(rows, tmp_path).tables["hotspots.csv"]
        row = table[
            (table["kind"] == "regression")
            & (table["use_case"] == "coding")
            & table["channel"].isna()
        ].iloc[0]
        rate = rows.groupby([late(rows), rows["use_case"] == "coding"])["is_failure"].mean()
        reference = rate[False, True] * rate[True, False] / rate[False, False]
        assert row["value"] == pytest.approx(rate[True, True])
        assert row["reference"] == pytest.approx(reference)
        assert row["ratio"] == pytest.approx(rate[True, True] / reference)

    def test_a_regressions_p_value_is_that_of_its_four_rates(self, tmp_path: Path) -> None:
        # P(p₁s p₀r ≤ p₀s p₁r), each rate drawn on its unfavourable Clopper–Pearson side.
        rows = independent()
        rows = hot(rows, np.random.default_rng(5), late(rows) & (rows["channel"] == "api"), 0.02)
        table = assessed(rows, tmp_path).tables["hotspots.csv"]
        row = table[
            (table["kind"] == "regression") & (table["channel"] == "api") & table["use_case"].isna()
        ].iloc[0]
        groups = rows.groupby([late(rows), rows["channel"] == "api"])["is_failure"]
        y, n, rng = groups.sum(), groups.count(), np.random.default_rng(6)

        def low(key: tuple[bool, bool]) -> np.ndarray:
            return rng.beta(y[key], n[key] - y[key] + 1, 400_000)

        def high(key: tuple[bool, bool]) -> np.ndarray:
            return rng.beta(y[key] + 1, n[key] - y[key], 400_000)

        below = low((True, True)) * low((False, False)) <= high((False, True)) * high((True, False))
        assert row["p_value"] == pytest.approx(below.mean(), abs=4 * 0.5 / math.sqrt(400_000))

    def test_costs_are_compared_too(self, tmp_path: Path) -> None:
        rows = independent()
        planted = late(rows) & (rows["use_case"] == "search")
        rows["cost_usd"] = (rows["cost_usd"] * np.where(planted, 2.0, 1.0)).round(9)
        result = assessed(rows, tmp_path, policy(hotspots={"metrics": ["cost"], "max_depth": 2}))
        (found,) = [f for f in result.section.found if f.kind == "regression"]
        assert (found.metric, found.slice) == ("cost", {"use_case": "search"})
        new = rows[planted]["cost_usd"]
        assert found.value == pytest.approx(new.mean(), rel=1e-6)
        assert found.excess == pytest.approx(found.excess_usd)
        assert found.effect is not None
        assert found.excess == pytest.approx(found.effect * len(new))
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.effect < found.high

    def test_q_values_and_the_gates_p_value_are_of_the_whole_family(self, tmp_path: Path) -> None:
        result = assessed(
            independent(), tmp_path, policy(hotspots={"metrics": ["failure", "cost"]})
        )
        table = result.tables["hotspots.csv"]
        expected = multipletests(table["p_value"], method="fdr_bh")[1]
        np.testing.assert_allclose(table["q_value"], expected, rtol=1e-9)
        assert result.section.n_tested == len(table)
        found = check(result, "hotspots.regression")
        assert found.p_value == pytest.approx(
            simes(table.loc[table["kind"] == "regression", "p_value"])
        )

    def test_findings_carry_false_coverage_rate_intervals(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        rows = independent()
        rows = hot(rows, rng, late(rows) & (rows["use_case"] == "coding"), 0.15)
        section = assessed(rows, tmp_path).section
        found = next(f for f in section.found if f.kind == "level")
        confidence = 1 - section.fdr * len(section.found) / section.n_tested
        tail = (1 - confidence) / 2
        new = rows[late(rows)]
        sides = [new[(new["use_case"] == "coding") == own]["is_failure"] for own in (True, False)]
        limits = []
        for side in sides:
            y, n = int(side.sum()), len(side)
            low, high = stats.beta.ppf(tail, y, n - y + 1), stats.beta.isf(tail, y + 1, n - y)
            limits.append((side.mean(), low, high))
        (p1, l1, u1), (p0, l0, u0) = limits
        assert found.effect == pytest.approx(p1 - p0)
        assert found.low == pytest.approx(p1 - p0 - math.hypot(p1 - l1, u0 - p0), rel=1e-4)
        assert found.high == pytest.approx(p1 - p0 + math.hypot(u1 - p1, p0 - l0), rel=1e-4)
        assert found.excess == pytest.approx((p1 - p0) * len(sides[0]))
        assert found.excess_usd == pytest.approx(40.0 * (p1 - p0) * len(sides[0]))
        assert found.n_clusters == len(sides[0])

    def test_the_table_tells_how_many_equal_clusters_a_slice_is_worth(self, tmp_path: Path) -> None:
        rows = traffic(3000, per_session=3)
        rules = policy(cluster="user", hotspots={"metrics": ["failure"], "max_depth": 2})
        table = assessed(rows, tmp_path, rules).tables["hotspots.csv"]
        new = rows[late(rows)]
        names = ["use_case", "account_tier", "channel", "model_name"]
        for row in table.to_dict("records"):
            own = pd.Series(True, index=new.index)
            for name in names:
                if isinstance(row[name], str):
                    own &= new[name] == row[name]
            n = new[own].groupby("user_id").size().astype(float)
            assert row["effective_clusters"] == pytest.approx(n.sum() ** 2 / (n**2).sum())

    @pytest.mark.parametrize(("n_bad_users", "tested"), [(9, False), (10, True)])
    def test_bad_clusters_are_counted_where_a_few_hold_most_bad_rows(
        self, tmp_path: Path, n_bad_users: int, tested: bool
    ) -> None:
        # No bad row elsewhere, so none is expected; one user has 40 of the bad rows.
        moments = evenly(56, 60)
        rows = events(moments, [False] * len(moments), use_case="all", channel="web")
        at = np.flatnonzero(late(rows).to_numpy())[:150]
        rows.loc[at, "channel"] = "rare"
        bad = at[: 40 + n_bad_users - 1]
        rows.loc[bad, "is_failure"] = True
        rows.loc[at[:40], "user_id"] = rows.loc[at[0], "user_id"]
        rules = policy(cluster="user", dimensions=["channel"], hotspots=FAILURES)
        table = assessed(rows, tmp_path, rules).tables["hotspots.csv"]
        assert (len(table) > 0 and "rare" in set(table["channel"])) == tested

    def test_coverage_is_the_share_of_traffic_in_tested_slices(self, tmp_path: Path) -> None:
        rows = independent(a_day=120)
        rng = np.random.default_rng(8)
        # Half of the traffic in values too rare to be tested.
        rare = rng.random(len(rows)) < 0.5
        rows["use_case"] = np.where(
            rare, "rare-" + pd.Series(rng.integers(0, 45, len(rows)).astype(str)), "coding"
        )
        rules = policy(dimensions=["use_case"], hotspots=FAILURES)
        result = assessed(rows.drop(columns="channel"), tmp_path, rules)
        new = rows[late(rows)]
        assert result.section.coverage == pytest.approx((new["use_case"] == "coding").mean())
        found = check(result, "hotspots.regression")
        assert found.outcome == "inconclusive"
        assert "80 % are needed" in (found.reason or "")

    def test_more_traffic_detects_smaller_ratios(self, tmp_path: Path) -> None:
        few = assessed(independent(a_day=60), tmp_path / "a").section.detectable_ratio
        many = assessed(independent(a_day=240), tmp_path / "b").section.detectable_ratio
        assert few is not None
        assert many is not None
        assert 1 < many < few

    def test_the_order_of_rows_changes_nothing(self, tmp_path: Path) -> None:
        rows = traffic(900)
        rows = hot(rows, np.random.default_rng(3), late(rows) & (rows["channel"] == "api"), 0.2)
        first = assessed(rows, tmp_path / "a")
        again = assessed(rows.sample(frac=1.0, random_state=2), tmp_path / "b")
        assert first.section == again.section
        assert first.checks == again.checks


def coding_by_api(rows: pd.DataFrame) -> pd.Series:
    return (rows["use_case"] == "coding") & (rows["channel"] == "api")


class TestWhatIsFound:
    def test_a_planted_slice_is_found_once_after_folding(self, tmp_path: Path) -> None:
        rows = traffic(4000)
        rows = hot(rows, np.random.default_rng(3), late(rows) & coding_by_api(rows), 0.25)
        result = assessed(rows, tmp_path, policy(hotspots={"metrics": ["failure"]}))
        planted = {"use_case": "coding", "channel": "api"}
        assert slices(result.section.found, "regression") == [("failure", planted, "new")]
        assert slices(result.section.found, "level") == [("failure", planted, "new")]
        found = check(result, "hotspots.regression")
        assert (found.outcome, found.severity, found.value) == ("fail", "hold", 1.0)
        assert check(result, "hotspots.level").outcome == "fail"

    def test_two_names_of_the_same_rows_are_found_once(self, tmp_path: Path) -> None:
        rows = traffic(3000)
        rows["region"] = rows["channel"].map({"web": "eu", "api": "us", "mobile": "ap"})
        rows = hot(rows, np.random.default_rng(3), late(rows) & (rows["channel"] == "api"), 0.2)
        rules = policy(dimensions=["use_case", "channel", "region"], hotspots=FAILURES)
        found = slices(assessed(rows, tmp_path, rules).section.found, "regression")
        assert found == [("failure", {"channel": "api"}, "new")]

    def test_two_planted_slices_are_both_found(self, tmp_path: Path) -> None:
        rows = traffic(4000)
        rng = np.random.default_rng(4)
        rows = hot(rows, rng, late(rows) & (rows["channel"] == "api"), 0.2)
        rows = hot(rows, rng, late(rows) & (rows["channel"] == "mobile"), 0.3)
        found = slices(assessed(rows, tmp_path).section.found, "regression")
        assert [f[1] for f in found] == [{"channel": "mobile"}, {"channel": "api"}]

    @pytest.mark.parametrize("rate", [0.03, 0.10, 0.40])
    def test_a_uniform_worsening_blames_no_slice(self, tmp_path: Path, rate: float) -> None:
        rows = traffic(3000)
        rows = hot(rows, np.random.default_rng(3), late(rows), rate)
        result = assessed(rows, tmp_path)
        assert slices(result.section.found, "regression") == []
        assert check(result, "hotspots.regression").outcome == "pass"

    @pytest.mark.parametrize(
        ("why", "before", "after", "level", "regressed"),
        [
            ("there before and still", 0.20, 0.20, "unchanged", False),
            ("worse than it was", 0.10, 0.40, "worsened", True),
            ("new", 0.0, 0.30, "new", True),
            # Nor has the rest of the traffic worsened because this slice healed.
            ("gone", 0.30, 0.0, None, False),
        ],
    )
    def test_status_tells_old_from_new(
        self,
        tmp_path: Path,
        why: str,
        before: float,
        after: float,
        level: str | None,
        regressed: bool,
    ) -> None:
        rows = traffic(4000)
        rng = np.random.default_rng(6)
        rows = hot(rows, rng, ~late(rows) & (rows["channel"] == "api"), before)
        rows = hot(rows, rng, late(rows) & (rows["channel"] == "api"), after)
        result = assessed(rows, tmp_path)
        api: dict[str, str | None] = {"channel": "api"}
        levels = [
            status for _, where, status in slices(result.section.found, "level") if where == api
        ]
        assert levels == ([] if level is None else [level])
        regressions = slices(result.section.found, "regression")
        assert [w for _, w, _ in regressions if w == api] == ([api] if regressed else [])
        assert (check(result, "hotspots.regression").outcome == "fail") == regressed
        resolved = [f.slice for f in result.section.listed if f.status == "resolved"]
        assert (api in resolved) == (level is None)
        assert all(f.status != "resolved" for f in result.section.found)

    def test_a_slice_without_baseline_is_new_and_no_regression(self, tmp_path: Path) -> None:
        rows = traffic(3000)
        opened_late = late(rows) & (rows.index % 5 == 0)
        rows.loc[opened_late, "channel"] = "phone"
        rows = hot(rows, np.random.default_rng(3), opened_late, 0.25)
        result = assessed(rows, tmp_path)
        assert ("failure", {"channel": "phone"}, "new") in slices(result.section.found, "level")
        assert slices(result.section.found, "regression") == []

    def test_slices_better_than_the_rest_are_listed_and_no_findings(self, tmp_path: Path) -> None:
        rows = traffic(3000, failure=0.0)
        rows = hot(rows, np.random.default_rng(3), rows["channel"] != "web", 0.20)
        section = assessed(rows, tmp_path).section
        better = [f.slice for f in section.listed if f.status == "better"]
        assert {"channel": "web"} in better
        assert all(f.slice != {"channel": "web"} for f in section.found)

    def test_a_small_ratio_is_filtered(self, tmp_path: Path) -> None:
        rows = traffic(6000, failure=0.20)
        rows = hot(rows, np.random.default_rng(3), rows["channel"] == "api", 0.06)
        strict = policy(hotspots={**FAILURES, "min_ratio": 1.6})
        assert assessed(rows, tmp_path / "a", strict).section.found == ()
        loose = policy(hotspots={**FAILURES, "min_ratio": 1.05})
        assert assessed(rows, tmp_path / "b", loose).section.found != ()

    def test_unknown_values_of_a_dimension_are_a_slice(self, tmp_path: Path) -> None:
        rows = traffic(3000)
        rows.loc[rows["channel"] == "api", "channel"] = None
        rows = hot(rows, np.random.default_rng(3), late(rows) & rows["channel"].isna(), 0.25)
        result = assessed(rows, tmp_path)
        assert slices(result.section.found, "regression") == [("failure", {"channel": None}, "new")]
        assert "not known" in check(result, "hotspots.regression").sentence
        assert "(null)" in set(result.tables["hotspots.csv"]["channel"].dropna())

    def test_bad_rows_of_one_user_are_no_hotspot(self, tmp_path: Path) -> None:
        # Half of the users' rows hang together: 60 bad rows of 6 users are not 60 pieces of evidence.
        rng = np.random.default_rng(9)
        users = pd.Series([f"u{k:05d}" for k in range(500)])
        doomed = set(users[rng.random(500) < 0.06])
        rows = traffic(1500, per_session=4, failure=0.0)
        rows["is_failure"] = rows["user_id"].isin(doomed)
        rows["channel"] = np.where(rows["user_id"].str[-1].isin(list("012")), "api", "web")
        result = assessed(rows, tmp_path)
        assert slices(result.section.found, "regression") == []
        assert slices(result.section.found, "level") == []


class TestWhatCannotBeTold:
    def test_a_first_release_has_levels_only(self, tmp_path: Path) -> None:
        rows = traffic(3000)
        rows = hot(rows, np.random.default_rng(3), late(rows) & (rows["channel"] == "api"), 0.25)
        rules = policy(hotspots=FAILURES, windows={"candidate": {"days": 14}, "baseline": "none"})
        result = assessed(rows, tmp_path, rules)
        assert {f.kind for f in result.section.found} == {"level"}
        found = check(result, "hotspots.regression")
        assert (found.outcome, found.severity) == ("inconclusive", "note")

    @pytest.mark.parametrize(
        ("why", "edit", "rules", "reason"),
        [
            ("no dimension", lambda r: r.drop(columns=["use_case", "channel"]), policy(),
             "none of the policy's dimensions"),
            ("no metric", lambda r: r.drop(columns="cost_usd"),
             policy(hotspots={"metrics": ["cost"]}), "none of the policy's hotspot metrics"),
            ("no failures", lambda r: r.assign(is_failure=False), policy(hotspots=FAILURES),
             "no slice has enough evidence"),
            ("one value each", lambda r: r.assign(use_case="a", channel="b"),
             policy(hotspots=FAILURES), "no slice has enough evidence"),
            ("little traffic", lambda r: r[r.index % 20 == 0], policy(hotspots=FAILURES),
             "no slice has enough evidence"),
        ],
    )  # fmt: skip
    def test_the_check_is_inconclusive_and_says_why(
        self, tmp_path: Path, why: str, edit: Any, rules: Policy, reason: str
    ) -> None:
        result = assessed(edit(independent()), tmp_path, rules)
        found = check(result, "hotspots.regression")
        assert isinstance(next(iter(result.checks)), Check)
        assert (found.outcome, found.severity) == ("inconclusive", "hold")
        assert reason in (found.reason or "")
        assert result.section.n_tested == 0
        assert len(result.tables["hotspots.csv"]) == 0

    def test_metrics_that_the_telemetry_lacks_are_left_out_and_said(self, tmp_path: Path) -> None:
        result = assessed(independent(), tmp_path, policy())
        assert set(result.tables["hotspots.csv"]["metric"]) == {"failure", "cost"}
        assert any("latency_breach" in note for note in result.notes)

    def test_all_failures_differ_nowhere(self, tmp_path: Path) -> None:
        result = assessed(independent().assign(is_failure=True), tmp_path)
        assert result.section.found == ()
        assert check(result, "hotspots.regression").outcome == "pass"

    def test_the_regression_check_is_judged_with_its_family(self, tmp_path: Path) -> None:
        found = assessed(independent(), tmp_path).checks[0]
        assert isinstance(found, RegressionTest)
        assert found.passes
        assert not found.material
        assert found.limit == 0.0


def drawn(rows: pd.DataFrame, seed: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, len(rows))


class TestBins:
    RULES = policy(
        hotspots={
            "metrics": ["failure"],
            "max_depth": 2,
            "bins": {"prompt_tokens": [500, 2000], "hour": [6, 12, 18]},
        }
    )

    def test_failures_of_long_prompts_alone_are_found_under_their_bin(self, tmp_path: Path) -> None:
        rows = independent(a_day=120)
        rows["prompt_tokens"] = drawn(rows, 7, 1, 2500)
        long = late(rows) & (rows["prompt_tokens"] >= 2000)
        rows = hot(rows, np.random.default_rng(3), long, 0.3)
        result = assessed(rows, tmp_path, self.RULES)
        assert slices(result.section.found, "regression") == [
            ("failure", {"prompt_tokens": "≥ 2,000"}, "new")
        ]
        (found,) = [f for f in result.section.found if f.kind == "regression"]
        assert found.support == int(long.sum())
        assert found.value == pytest.approx(rows[long]["is_failure"].mean())

    def test_failures_at_night_alone_are_found_under_their_hours(self, tmp_path: Path) -> None:
        rows = independent(a_day=120)
        night = late(rows) & (rows["timestamp_utc"].dt.hour >= 18)
        result = assessed(hot(rows, np.random.default_rng(3), night, 0.3), tmp_path, self.RULES)
        assert slices(result.section.found, "regression") == [("failure", {"hour": "≥ 18"}, "new")]
        # The prompts' lengths are not there.
        assert [b.column for b in result.section.bins] == ["hour"]

    def test_edges_from_the_baseline_do_not_move_with_the_candidate(self, tmp_path: Path) -> None:
        rows = independent()
        rows["prompt_tokens"] = drawn(rows, 7, 1, 1001)
        rules = policy(
            hotspots={"metrics": ["failure"], "bins": {"prompt_tokens": {"quantiles": 4}}}
        )
        first = assessed(rows, tmp_path / "a", rules).section.bins
        rows.loc[late(rows), "prompt_tokens"] *= 9
        again = assessed(rows, tmp_path / "b", rules)
        assert again.section.bins == first
        (told,) = first
        assert (told.column, told.of) == ("prompt_tokens", "baseline")
        labels = set(again.tables["hotspots.csv"]["prompt_tokens"].dropna())
        edges = [int(e) for e in told.edges]
        assert f"≥ {edges[-1]:,}" in labels
        ordered = np.sort(rows.loc[~late(rows), "prompt_tokens"].to_numpy())
        ranks = [-(-len(ordered) * k // 4) for k in (1, 2, 3)]
        assert [np.searchsorted(ordered, e) >= r for e, r in zip(edges, ranks, strict=True)] == [
            True, True, True,
        ]  # fmt: skip

    def test_a_first_release_cuts_its_own_window(self, tmp_path: Path) -> None:
        rules = policy(
            windows={"candidate": {"days": 14}, "baseline": "none"},
            hotspots={"metrics": ["failure"], "bins": {"hour": {"quantiles": 4}}},
        )
        (told,) = assessed(independent(a_day=24), tmp_path, rules).section.bins
        assert (told.edges, told.of) == ((6.0, 12.0, 18.0), "candidate")

    def test_unknown_numbers_are_a_slice_of_their_own(self, tmp_path: Path) -> None:
        rows = independent(a_day=120)
        known = drawn(rows, 7, 0, 10) > 2
        rows["prompt_tokens"] = pd.Series(drawn(rows, 8, 1, 2500)).where(known).astype("Int64")
        rows = hot(rows, np.random.default_rng(3), late(rows) & ~pd.Series(known), 0.3)
        found = slices(assessed(rows, tmp_path, self.RULES).section.found, "regression")
        assert found == [("failure", {"prompt_tokens": None}, "new")]

    @pytest.mark.parametrize(
        ("column", "edit", "reason"),
        [
            ("channel", lambda r: r, "it holds no numbers"),
            ("timestamp_utc", lambda r: r, "it holds times; its hour of the day is 'hour'"),
            ("prompt_tokens", lambda r: r.assign(prompt_tokens=7), "all its values are in one bin"),
            ("prompt_tokens", lambda r: r.assign(prompt_tokens=None), "no value of it is known"),
        ],
    )
    def test_what_cannot_be_cut_is_left_out_and_said(
        self, tmp_path: Path, column: str, edit: Any, reason: str
    ) -> None:
        rules = policy(
            dimensions=["use_case"],
            hotspots={"metrics": ["failure"], "bins": {column: {"quantiles": 3}}},
        )
        result = assessed(edit(independent()), tmp_path, rules)
        assert f"hotspots leave out the bins of {column!r}: {reason}" in result.notes
        assert result.section.bins == ()
        assert result.section.n_tested > 0

    def test_a_column_that_the_telemetry_lacks_is_warned_of(self, tmp_path: Path) -> None:
        rules = policy(hotspots={"metrics": ["failure"], "bins": {"tool_calls_count": [1]}})
        with opened(independent(), tmp_path, rules) as telemetry:
            assert any("'tool_calls_count'" in warning for warning in telemetry.warnings)
            assert assess(telemetry, rules).section.bins == ()

    def test_bins_are_enough_where_no_dimension_is_there(self, tmp_path: Path) -> None:
        rules = policy(dimensions=[], hotspots={"metrics": ["failure"], "bins": {"hour": [12]}})
        table = assessed(independent(), tmp_path, rules).tables["hotspots.csv"]
        assert set(table["hour"]) == {"< 12", "≥ 12"}


class TestManyValues:
    RULES = policy(dimensions=["scenario", "channel"], hotspots=FAILURES)

    def test_free_text_is_refused_with_a_hint(self, tmp_path: Path) -> None:
        rows = independent(a_day=180)
        rows["scenario"] = [f"please do {k}" for k in drawn(rows, 7, 0, 5000)]
        n_values = rows["scenario"].nunique()
        result = assessed(rows, tmp_path, self.RULES)
        (note,) = [n for n in result.notes if "'scenario'" in n]
        assert f"has {n_values:,} values" in note
        assert "bin it (hotspots.bins), hash it into a few, or name a column with fewer" in note
        assert "please" not in note
        assert "scenario" not in result.tables["hotspots.csv"]

    def test_ids_are_refused_however_few(self, tmp_path: Path) -> None:
        rows = independent(a_day=60)
        rows["scenario"] = np.where(rows.index % 56 == 0, rows["interaction_id"], None)
        (note,) = [n for n in assessed(rows, tmp_path, self.RULES).notes if "'scenario'" in n]
        assert "has 60 values, most of them unique" in note

    def test_rare_values_are_grouped_where_the_frequent_ones_cover_most(
        self, tmp_path: Path
    ) -> None:
        rows = independent(a_day=240)
        often, rare = drawn(rows, 7, 0, 50), drawn(rows, 8, 50, 200)
        rows["scenario"] = [f"s{k:03d}" for k in np.where(drawn(rows, 9, 0, 10) < 8, often, rare)]
        few = late(rows) & (rows["scenario"] >= "s050")
        rows = hot(rows, np.random.default_rng(3), few, 0.3)
        result = assessed(rows, tmp_path, self.RULES)
        assert slices(result.section.found, "regression") == [
            ("failure", {"scenario": "(other: 150 values)"}, "new")
        ]
        (found,) = [f for f in result.section.found if f.kind == "regression"]
        assert found.support == int(few.sum())
        (note,) = [n for n in result.notes if "'scenario'" in n]
        assert "has 200 values: the 50 with the most interactions" in note
