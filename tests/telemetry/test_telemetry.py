"""What a view may ask of the telemetry: bounded, deterministic, and the same for equal data."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS
from analysis.errors import ContractError, UsageError
from analysis.policy import Bad, Policy
from analysis.telemetry import Telemetry, policy_columns
from analysis.telemetry.rows import cluster_limit
from tests.telemetry.worlds import World, frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 3}, "baseline": {"days": 5}}})


def made(folder: Path, seed: int = 1) -> World:
    return world_of(random_rows(np.random.default_rng(seed), n=300), folder / "data")


class TestOpening:
    def test_errors_stop_it_with_every_violation(self, tmp_path: Path) -> None:
        world = made(tmp_path).set(INTERACTIONS, "latency_ms", 1, "-1")
        world.set(INTERACTIONS, "is_failure", 2, "perhaps")
        with pytest.raises(ContractError) as refused:
            world.opened(policy=POLICY)
        assert refused.value.exit_code == 1
        assert [v.rule for v in refused.value.violations if v.severity == "error"] == [  # type: ignore[attr-defined]
            "types",
            "ranges",
        ]
        assert "latency_ms" in str(refused.value)

    def test_warnings_do_not(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        telemetry.close()
        found = {(v.rule, v.column) for v in telemetry.validation.violations}
        assert ("missing_rate", "is_failure") in found
        assert telemetry.validation.n_errors == 0

    def test_too_little_memory_for_a_reduction_is_told_as_such(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--memory-limit"):
            made(tmp_path).opened(policy=POLICY, memory_limit="3MB")

    def test_windows_count_what_they_hold(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        rows = frame(telemetry)
        telemetry.close()
        for counts, win in ((telemetry.candidate, 1), (telemetry.baseline, 0)):
            own = rows[rows["win"] == win]
            assert counts is not None
            assert counts.n_interactions == len(own)
            assert counts.n_sessions == own["session_id"].nunique()
            assert counts.n_users == own["user_id"].nunique()

    def test_missing_shares_are_those_of_each_window(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        rows = frame(telemetry)
        telemetry.close()
        for column in ("is_failure", "latency_ms", "cost_usd", "use_case", "retry_index"):
            rates = telemetry.missing[column]
            for rate, win in ((rates.baseline, 0), (rates.candidate, 1)):
                assert rate == pytest.approx(rows[rows["win"] == win][column].isna().mean())


class TestUnusable:
    @pytest.mark.parametrize(
        ("missing_from", "limit", "words"),
        [
            (None, 0.05, None),
            ("candidate", 0.5, None),
            ("candidate", 0.05, "latency_ms is missing in 100.0 % of the candidate window"),
            ("baseline", 0.05, "latency_ms is missing in 100.0 % of the baseline window"),
        ],
    )
    def test_a_column_that_is_missing_too_often_in_either_window(
        self, tmp_path: Path, missing_from: str | None, limit: float, words: str | None
    ) -> None:
        rows = [
            {"session": f"s{k}", "user": f"u{k}", "at": at}
            for k, at in enumerate([1, 2, 3, 4, 190, 191])
        ]
        for row in rows:
            window = "candidate" if row["at"] > 120 else "baseline"
            if window == missing_from and not (limit == 0.5 and row["at"] == 190):
                row["latency_ms"] = None
        rules = POLICY.model_copy(
            update={"missing": Policy.model_validate({"missing": {"max_rate": limit}}).missing}
        )
        telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
        telemetry.close()
        reason = telemetry.unusable("latency_ms")
        assert (reason is None) if words is None else (reason is not None and words in reason)

    def test_a_column_that_is_absent(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        telemetry.close()
        assert telemetry.unusable("segment", "cost_usd", "channel") == (
            "the telemetry has no column segment, channel"
        )


BAD = [
    ({"column": "is_failure"}, [True, False, None, True]),
    ({"column": "latency_ms", "above": 2}, [False, True, None, True]),
    ({"column": "latency_ms", "below": 2}, [True, False, None, False]),
    ({"column": "latency_ms", "at_least": 2.5}, [False, True, None, True]),
    ({"column": "latency_ms", "at_most": 2.5}, [True, True, None, False]),
    ({"column": "latency_ms", "equals": 1}, [True, False, None, False]),
    ({"column": "retry_index", "equals": 1.0}, [False, True, False, False]),
    ({"column": "is_failure", "equals": False}, [False, True, None, False]),
    ({"column": "is_failure", "equals": True}, [True, False, None, True]),
    ({"column": "score", "above": 1.5}, [False, True, None, None]),
    ({"column": "score", "equals": 1}, [True, False, None, None]),
    ({"column": "score", "equals": "it's"}, [False, False, None, True]),
    ({"column": "escalated"}, [True, False, None, None]),
    ({"column": "escalated", "equals": True}, [True, False, None, None]),
]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_rule_is_true_false_or_unknown(tmp_path: Path, kind: str) -> None:
    columns = {
        "at": [1, 2, 3, 190],
        "is_failure": [True, False, None, True],
        "latency_ms": [1, 2.5, None, 3],
        "retry_index": [0, 1, 0, 0],
        "score": ["1.0", "2", None, "it's"],
        "escalated": ["True", "0", None, "x"],
    }
    rows = [
        {"session": f"s{k}", "user": f"u{k}", **{c: v[k] for c, v in columns.items()}}
        for k in range(4)
    ]
    slos = [{"name": f"slo{k}", "bad": rule, "target": 0.9} for k, (rule, _) in enumerate(BAD)]
    windows = {"candidate": {"days": 3}, "baseline": {"days": 5}}
    rules = Policy.model_validate({"windows": windows, "slos": slos})
    telemetry = world_of(rows, tmp_path / "data").opened(kind, rules)
    for rule, expected in BAD:
        found = telemetry.engine.rows(
            f"SELECT {telemetry.bad(Bad.model_validate(rule))} FROM fact ORDER BY interaction_id"
        )
        assert [r[0] for r in found] == expected, rule
    telemetry.close()


class TestRows:
    def reference(self, rows: pd.DataFrame, key: str, limit: int, seed: str) -> list[str]:
        """All rows where they fit; else units by md5 while they fit: clusters, of those that are too
        large their sessions, and last the sessions that are too large themselves, by size."""
        if len(rows) <= limit:
            return sorted(rows["interaction_id"])
        size = rows.groupby(key)["interaction_id"].transform("size")
        unit = rows[key].where(size <= cluster_limit(limit), rows["session_id"])
        sizes = unit.groupby(unit).size()

        def place(name: str) -> tuple[int, str]:
            late = sizes[name] if sizes[name] > cluster_limit(limit) else 0
            return int(late), hashlib.md5((seed + name).encode()).hexdigest()

        taken, reach = [], 0
        for name in sorted(sizes.index, key=place):
            reach += int(sizes[name])
            if reach <= limit:
                taken.append(name)
        return sorted(rows[unit.isin(taken)]["interaction_id"])

    @pytest.mark.parametrize("limit", [1, 40, 100, 10_000])
    @pytest.mark.parametrize("cluster", ["user", "session"])
    def test_a_sample_takes_whole_clusters_by_md5(
        self, tmp_path: Path, cluster: str, limit: int
    ) -> None:
        rules = POLICY.model_copy(update={"cluster": cluster})
        telemetry = made(tmp_path).opened(policy=rules)
        found = telemetry.sample(["latency_ms", "session_id"], "win = 1", max_rows=limit, seed="x")
        rows = frame(telemetry)
        telemetry.close()
        key = "user_id" if cluster == "user" else "session_id"
        assert list(found) == ["interaction_id", "session_id", "cluster_id", "latency_ms"]
        expected = self.reference(rows[rows["win"] == 1], key, limit, "x")
        assert found["interaction_id"].tolist() == expected
        assert len(found) <= limit

    def test_batches_hold_every_row_once_in_the_order_of_the_keys(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        parts = list(telemetry.batches(["latency_ms"], "win IS NOT NULL", size=37))
        rows = frame(telemetry)
        telemetry.close()
        assert all(len(p) == 37 for p in parts[:-1])
        whole = pd.concat(parts)["interaction_id"].tolist()
        assert whole == sorted(rows[rows["win"].notna()]["interaction_id"])

    def test_examples_are_chosen_by_md5(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        found = telemetry.examples("failure AND use_case = $case", {"case": "coding"}, n=4)
        rows = frame(telemetry)
        telemetry.close()
        own = rows[
            (rows["failure"].astype("boolean").fillna(False)) & (rows["use_case"] == "coding")
        ]
        assert (
            found
            == sorted(own["interaction_id"], key=lambda i: hashlib.md5(i.encode()).hexdigest())[:4]
        )

    def test_values_are_parameters_and_never_part_of_a_statement(self, tmp_path: Path) -> None:
        telemetry = made(tmp_path).opened(policy=POLICY)
        hostile = "'); DROP TABLE fact;--"
        found = telemetry.examples("region = $region", {"region": hostile}, n=1000)
        rows = frame(telemetry)
        telemetry.close()
        assert len(found) == (rows["region"] == hostile).sum() > 0

    @pytest.mark.parametrize("name", ["reach", "chosen", "draw", "n"])
    def test_a_column_may_have_the_name_of_one_of_a_query(self, tmp_path: Path, name: str) -> None:
        world = made(tmp_path)
        before = self.sampled(world.opened(policy=POLICY))
        world.folder = tmp_path / "other"
        world.add(INTERACTIONS, name, ["1"] * 300)
        rules = POLICY.model_copy(update={"dimensions": (name,)})
        pd.testing.assert_frame_equal(self.sampled(world.opened(policy=rules)), before)

    def sampled(self, telemetry: Telemetry) -> pd.DataFrame:
        try:
            return telemetry.sample(["latency_ms"], "win = 1", max_rows=50)
        finally:
            telemetry.close()


@pytest.mark.parametrize(("kind", "threads"), [("csv", 2), ("parquet", 1), ("parts", 2)])
def test_order_format_and_threads_change_no_row(tmp_path: Path, kind: str, threads: int) -> None:
    codes = ["session", "usr", "cluster"]  # meaningless but for grouping
    world = made(tmp_path)
    telemetry = world.opened(policy=POLICY, threads=1)
    before, sample = frame(telemetry).drop(columns=codes), telemetry.sample(["cost_nano"], "true")
    telemetry.close()
    world.folder = tmp_path / "other"
    for name, rows in world.tables.items():
        world.tables[name] = rows.sample(frac=1, random_state=9).reset_index(drop=True)
    telemetry = world.opened(kind, POLICY, threads=threads)
    after = frame(telemetry).drop(columns=codes)
    pd.testing.assert_frame_equal(after[list(before)], before)
    pd.testing.assert_frame_equal(telemetry.sample(["cost_nano"], "true"), sample)
    telemetry.close()


def test_the_columns_of_a_policy_are_all_that_it_names() -> None:
    rules = Policy.model_validate(
        {
            "dimensions": ["plan"],
            "slos": [{"name": "own", "bad": {"column": "wait", "above": 3}, "target": 0.9}],
            "hotspots": {"metrics": ["failure", "own", "tool_error"]},
            "routing": {
                "action": ["model_name"],
                "context": ["use_case"],
                "protect": ["tier"],
                "candidates": [
                    {
                        "name": "a",
                        "rules": [{"when": {"locale": "de"}, "use": {"model_name": "m"}}],
                    }
                ],
            },
            "drift": {"columns": ["channel"]},
            "triage": {"label": "is_failure", "rule": {"column": "risk", "above": 0.5}},
        }
    )
    assert policy_columns(rules) == {
        *("plan", "wait", "tool_error", "model_name", "use_case", "tier", "locale", "channel"),
        *("is_failure", "risk"),
    }


def test_as_of_makes_a_review_of_the_past_the_same_as_one_made_then(tmp_path: Path) -> None:
    """Rows and sessions that came later change nothing."""
    as_of = datetime(2026, 9, 13, tzinfo=UTC)
    world = made(tmp_path)
    telemetry = world.opened(policy=POLICY.model_copy(update={"cluster": "session"}), as_of=as_of)
    later = frame(telemetry).drop(columns=["session", "usr", "cluster"])
    telemetry.close()
    rows = world.tables[INTERACTIONS]
    starts = rows.groupby("session_id")["timestamp_utc"].transform("max")
    then = rows[starts < "2026-09-13"].reset_index(drop=True)
    early = world_of(then, tmp_path / "then")
    telemetry = early.opened(policy=POLICY.model_copy(update={"cluster": "session"}), as_of=as_of)
    known = frame(telemetry).drop(columns=["session", "usr", "cluster"])
    telemetry.close()
    same = later[later["interaction_id"].isin(known["interaction_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, known)
