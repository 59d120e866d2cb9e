from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.check import Check
from analysis.policy import Policy
from analysis.stats.clustered_auc import ClusteredAuc
from analysis.views.drift_joint import Joint, judged
from analysis.views.drift_joint_columns import encode
from tests.views.test_drift import assessed, candidate, features, policy, world, written

Edit = Callable[[pd.DataFrame, np.random.Generator], None]
USES, REGIONS = np.array(["chat", "code", "draft"]), np.array(["eu", "us", "apac"])


def busy(n_sessions: int = 4000, seed: int = 1, days: int = 56) -> pd.DataFrame:
    """`world` with regions of users, and what is asked for in each request."""
    rows = world(n_sessions, seed, days)
    rng = np.random.default_rng(seed + 100)
    user = rows["user_id"].str[1:].astype(int).to_numpy()
    rows["region"] = REGIONS[user % 3]
    rows["use_case"] = USES[rng.integers(0, 3, len(rows))]
    rows["prompt_tokens"] = rng.lognormal(6, 1, len(rows)).astype(int)
    rows["max_tokens"] = rng.lognormal(6, 1, len(rows)).astype(int)
    return rows


def ask_for_code_in_the_eu(
    rows: pd.DataFrame, rng: np.random.Generator, share: float = 0.6
) -> None:
    """Of some requests the use follows the region, one to one: no margin moves."""
    moved = candidate(rows).to_numpy() & (rng.random(len(rows)) < share)
    own = {"eu": "code", "us": "chat", "apac": "draft"}
    rows.loc[moved, "use_case"] = rows.loc[moved, "region"].map(own)


def lengthen_together(rows: pd.DataFrame, rng: np.random.Generator) -> None:
    """Two numbers that become alike, each as it was."""
    late = candidate(rows).to_numpy()
    moved = np.flatnonzero(late)[rng.random(late.sum()) < 0.7]
    order = np.sort(rows["max_tokens"].to_numpy()[moved])
    rank = rows["prompt_tokens"].to_numpy()[moved].argsort(kind="stable").argsort(kind="stable")
    rows.loc[rows.index[moved], "max_tokens"] = order[rank]


def found(rows: pd.DataFrame, folder: Path, rules: Policy | None = None) -> tuple[Joint, Check]:
    result = assessed(rows, folder, rules)
    check = next(c for c in result.checks if c.id == "drift.joint")
    assert isinstance(check, Check)
    assert (check.severity, check.comparison, check.unit) == ("note", "at_most", "AUC")
    joint = result.section.joint
    assert (check.value, check.low, check.high) == (joint.auc, joint.low, joint.high)
    assert check.p_value == joint.p_value
    return joint, check


class TestJointDrift:
    def test_equal_windows_pass(self, tmp_path: Path) -> None:
        joint, check = found(busy(), tmp_path)
        assert check.outcome == "pass"
        assert "together hardly tell the windows apart: an AUC of " in check.sentence
        assert joint.low is not None
        assert joint.high is not None
        assert joint.low < 0.5 < joint.high < 0.6
        assert joint.columns == joint.cells == joint.giveaway == ()
        assert check.support == joint.n_baseline + joint.n_candidate

    def test_what_moves_only_together_is_found_and_told_cell_by_cell(self, tmp_path: Path) -> None:
        rows = busy()
        ask_for_code_in_the_eu(rows, np.random.default_rng(2))
        result = assessed(rows, tmp_path)
        assert {f.severity for f in features(result).values()} == {"none"}
        joint, check = found(rows, tmp_path / "again")
        assert check.outcome == "fail"
        assert joint.giveaway == ("region", "use_case")
        assert {c.name for c in joint.columns[:2]} == {"region", "use_case"}
        assert all(abs(c.alone - 0.5) < 0.06 for c in joint.columns)
        assert joint.columns[1].importance > 0.05 > abs(joint.columns[2].importance)
        cells = {c.values: c for c in joint.cells}
        told = cells[("eu", "code")]
        assert told.baseline == pytest.approx(1 / 9, abs=0.03)
        assert told.candidate == pytest.approx(0.4 / 9 + 0.6 / 3, abs=0.04)
        assert told.expected == pytest.approx(1 / 9, abs=0.03)
        assert "“region” with “use_case”" in check.sentence
        assert "“region” with “use_case”" in check.action

    def test_numbers_that_become_alike_are_found(self, tmp_path: Path) -> None:
        rows = busy()
        lengthen_together(rows, np.random.default_rng(3))
        joint, check = found(rows, tmp_path)
        assert check.outcome == "fail"
        assert joint.giveaway == ("max_tokens", "prompt_tokens")
        assert (
            "≤" in joint.cells[0].values[0] + joint.cells[-1].values[0] + joint.cells[1].values[0]
        )

    def test_a_column_that_moves_by_itself_is_named_alone(self, tmp_path: Path) -> None:
        rows = busy()
        late = candidate(rows).to_numpy()
        rng = np.random.default_rng(4)
        rows.loc[late, "channel"] = rng.choice(["web", "api"], late.sum(), p=[0.2, 0.8])
        joint, check = found(rows, tmp_path)
        assert check.outcome == "fail"
        assert joint.giveaway == ("channel",)
        assert joint.columns[0].alone > 0.6

    def test_missing_values_are_values(self, tmp_path: Path) -> None:
        rows = busy()
        late = candidate(rows).to_numpy()
        lost = late & (np.random.default_rng(5).random(len(rows)) < 0.4)
        rows.loc[lost & (rows["region"] == "eu"), "channel"] = None
        rules = policy(missing={"max_rate": 0.9})
        joint, check = found(rows, tmp_path, rules)
        assert check.outcome == "fail"
        assert any("(missing)" in c.values for c in joint.cells)

    def test_what_a_release_may_mean_to_change_is_left_out(self, tmp_path: Path) -> None:
        rows = busy()
        rows["prompt_version"] = np.where(candidate(rows), "p8", "p7")
        rows["model_name"] = np.where(candidate(rows), "huge", "small")
        rows["latency_ms"] *= np.where(candidate(rows), 3.0, 1.0)
        joint, check = found(rows, tmp_path)
        assert check.outcome == "pass"
        assert joint.names == (
            "account_tier", "channel", "max_tokens", "prompt_tokens", "region", "retry_index", "use_case",
        )  # fmt: skip

    def test_below_the_policys_band_it_passes_though_beyond_chance(self, tmp_path: Path) -> None:
        rows = busy()
        ask_for_code_in_the_eu(rows, np.random.default_rng(2))
        rules = policy(drift={"joint": {"auc": 0.75}})
        joint, check = found(rows, tmp_path, rules)
        assert joint.p_value is not None
        assert joint.p_value < 0.01
        assert check.limit == 0.75
        assert check.outcome == "pass"
        assert "together tell the windows apart with an AUC of " in check.sentence

    def test_concurrent_arms_are_compared_by_clusters_alone(self, tmp_path: Path) -> None:
        rows = busy(3000, days=7)
        user = rows["user_id"].str[1:].astype(int)
        rows["release_id"] = np.where(user // 6 % 2 == 0, "r1", "r2")
        rules = policy(
            windows={"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
        )
        joint, check = found(rows, tmp_path, rules)
        assert check.outcome == "pass"
        # Half of the users, and all of their rows.
        assert joint.n_fitted + joint.n_baseline + joint.n_candidate == len(rows)


class TestWhatCannotBeTold:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"baseline": "none"}, "first release"),
            ({"candidate": {"days": 3}}, "has 3 days"),
        ],
    )
    def test_windows(self, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
        joint, check = found(busy(2000), tmp_path, policy(windows=change))
        assert check.outcome == "inconclusive"
        assert joint.auc is None
        assert reason in (check.reason or "")
        assert joint.reason == check.reason

    @pytest.mark.parametrize(
        ("kept", "reason"),
        [([], "no context column"), (["channel"], "single context column, “channel”")],
    )
    def test_columns(self, tmp_path: Path, kept: list[str], reason: str) -> None:
        rules = policy(drift={"columns": [*kept, "latency_ms"]})
        joint, check = found(busy(600), tmp_path, rules)
        assert check.outcome == "inconclusive"
        assert reason in (check.reason or "")
        assert list(joint.names) == kept

    def test_too_few_clusters(self, tmp_path: Path) -> None:
        _, check = found(busy(250), tmp_path)
        assert check.outcome == "inconclusive"
        assert "effective clusters" in (check.reason or "")


@pytest.mark.parametrize(
    ("auc", "error", "limit", "outcome"),
    [
        (0.60, 0.02, 0.54, "fail"),  # far beyond both
        (0.56, 0.06, 0.54, "inconclusive"),  # in the band, and chance explains it
        (0.53, 0.01, 0.54, "pass"),  # beyond chance, and too small to count
        (0.50, 0.02, 0.54, "pass"),
        (0.50, 0.08, 0.54, "inconclusive"),  # nothing seen, and little could have been
        (0.62, 0.02, 0.65, "pass"),  # the policy's own band
        (0.62, 0.07, 0.65, "inconclusive"),
        (0.66, 0.02, 0.65, "fail"),
    ],
)
def test_a_verdict_needs_size_and_evidence(
    auc: float, error: float, limit: float, outcome: str
) -> None:
    figure = ClusteredAuc(auc, error**2, 40.0, error**2, float("nan"))
    low, high = figure.interval()
    joint = Joint(auc, low, high, figure.p_greater, None, ("a", "b"), giveaway=("a", "b"))
    check = judged(joint, figure, policy(drift={"joint": {"auc": limit}}))
    assert check.outcome == outcome
    assert (check.reason is None) == (outcome != "inconclusive")


class TestLaws:
    def test_the_order_and_the_format_of_the_rows_do_not_matter(self, tmp_path: Path) -> None:
        from analysis import contract
        from analysis.telemetry import open_telemetry
        from analysis.views.drift import assess

        rows = busy(1500)
        ask_for_code_in_the_eu(rows, np.random.default_rng(2))
        rows.loc[rows.index[:40], ["channel", "max_tokens"]] = None
        mixed = rows.sample(frac=1, random_state=1)
        out = []
        for name, frame, kind in (("a", rows, "csv"), ("b", mixed, "csv"), ("c", mixed, "parquet")):
            data = written(frame, tmp_path / name, kind)
            with_rules = policy(missing={"max_rate": 0.9})
            telemetry = open_telemetry(data, contract.load(), with_rules)
            try:
                out.append(assess(telemetry, with_rules).section.joint)
            finally:
                telemetry.close()
        assert out[0] == out[1] == out[2]
        assert out[0].auc is not None

    def test_a_larger_telemetry_is_sampled_by_whole_clusters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from analysis.views import drift_joint_rows

        rows = busy(3000)
        ask_for_code_in_the_eu(rows, np.random.default_rng(2))
        monkeypatch.setattr(drift_joint_rows, "MAX_JOINT_ROWS", 4000)
        joint, _ = found(rows, tmp_path)
        assert 0 < joint.n_fitted + joint.n_baseline + joint.n_candidate < 4000
        assert joint.giveaway == ("region", "use_case")


class TestEncoding:
    def test_numbers_of_few_values_are_values_and_of_many_are_quantiles(self) -> None:
        fitted = np.ones(1000, dtype=bool)
        few = encode("retry", pd.Series(np.arange(1000) % 3.0), fitted, as_number=True)
        assert not few.is_number
        assert set(few.labels[0]) == {"0", "1", "2"}
        many = encode("tokens", pd.Series(np.arange(1000.0)), fitted, as_number=True)
        assert many.is_number
        assert [len(x) for x in many.labels] == [16, 8, 4]
        assert np.bincount(many.coded.codes[2]).tolist() == [250, 250, 250, 250]

    def test_a_number_that_is_mostly_its_largest_value_varies(self) -> None:
        values = pd.Series([*np.arange(40) / 40, *np.ones(960)])
        column = encode("top_p", values, np.ones(1000, dtype=bool), as_number=True)
        assert column.varies
        assert np.bincount(column.coded.codes[0]).tolist() == [40, 960]

    def test_bins_come_from_the_fitted_rows_alone(self) -> None:
        fitted = np.arange(1000) < 500
        a = encode("x", pd.Series(np.arange(1000.0)), fitted, as_number=True)
        b = encode("x", pd.Series(np.where(fitted, np.arange(1000.0), 1e9)), fitted, as_number=True)
        assert a.labels == b.labels

    def test_values_that_the_fitted_rows_lack_are_the_other_ones(self) -> None:
        values = pd.Series(["a"] * 50 + ["b"] * 50 + ["new"] * 10 + [None] * 10)
        fitted = np.arange(120) < 100
        column = encode("x", values, fitted, as_number=False)
        assert column.labels[0] == ("a", "b", "(other)")
        assert column.coded.codes[0][100:].tolist() == [2] * 20

    def test_missing_values_are_a_level_of_their_own(self) -> None:
        values = pd.Series(["a"] * 60 + [None] * 40)
        column = encode("x", values, np.ones(100, dtype=bool), as_number=False)
        assert column.labels[0] == ("a", "(missing)")

    def test_many_categories_are_kept_by_frequency_at_each_resolution(self) -> None:
        values = pd.Series(np.repeat([f"c{i:02d}" for i in range(60)], np.arange(70, 10, -1)))
        column = encode("x", values, np.ones(len(values), dtype=bool), as_number=False)
        assert column.coded.sizes == (40, 10, 5)
        assert column.labels[2] == ("c00", "c01", "c02", "c03", "(other)")

    @pytest.mark.parametrize("kind", ["object", "category", "bool"])
    def test_the_type_that_holds_a_value_does_not_matter(self, kind: str) -> None:
        values = pd.Series([True, False, True, True] * 20)
        if kind != "bool":
            values = values.map({True: "true", False: "false"}).astype(kind)
        column = encode("x", values, np.ones(80, dtype=bool), as_number=False)
        assert column.labels[0] == ("true", "false")
