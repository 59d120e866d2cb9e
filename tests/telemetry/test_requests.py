"""Logical requests equal a slow reference in plain Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import logged_choices, logical_requests
from tests.telemetry.worlds import MONDAY, frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 3}, "baseline": {"days": 5}}})


def none_if_nan(value: Any) -> Any:
    return None if value is None or value is pd.NA or (value != value) else value


def reference(rows: pd.DataFrame, key: str, win: int, retries: bool) -> dict[str, dict[str, Any]]:
    """Walks each session in time; a first attempt begins a request, a retry joins it."""
    out: dict[str, dict[str, Any]] = {}
    for _, session in rows.groupby("session_id"):
        ordered = sorted(
            session.to_dict("records"),
            key=lambda r: (
                r["ts"],
                (none_if_nan(r.get("retry_index")) or 0) if retries else 0,
                r["interaction_id"],
            ),
        )
        groups: list[list[dict[str, Any]]] = []
        for row in ordered:
            begins = not retries or not none_if_nan(row["retry_index"])
            if begins or not groups:
                groups.append([])
            groups[-1].append(row)
        for group in groups:
            first, last = group[0], group[-1]
            if none_if_nan(first["win"]) != win:
                continue
            costs = [none_if_nan(r["cost_nano"]) for r in group]
            out[first["interaction_id"]] = {
                "cluster_id": first[key],
                "attempts": len(group),
                "cost_nano": None if None in costs else float(sum(costs)),
                "failure": none_if_nan(last["failure"]),
                "breach": none_if_nan(last["breach"]),
                "use_case": none_if_nan(first["use_case"]),
                "headless": retries and bool(none_if_nan(first["retry_index"])),
            }
    return out


def check(telemetry: Telemetry, win: int, retries: bool = True) -> None:
    found = logical_requests(telemetry, ["use_case"], win=win)
    rows = frame(telemetry)
    key = "user_id" if telemetry.cluster == "user" else "session_id"
    want = reference(rows, key, win, retries)
    assert found.rows["interaction_id"].tolist() == sorted(want)
    assert found.n_requests == len(want)
    assert found.n_headless == sum(r["headless"] for r in want.values())
    assert found.n_interactions == sum(r["attempts"] for r in want.values())
    assert not found.sampled
    for row in found.rows.to_dict("records"):
        expected = want[row["interaction_id"]]
        for name in ("cluster_id", "attempts", "use_case"):
            assert none_if_nan(row[name]) == expected[name]
        for name in ("cost_nano", "failure", "breach"):
            value = none_if_nan(row[name])
            assert value == expected[name], (name, row)


@pytest.mark.parametrize("win", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_requests_equal_the_reference(tmp_path: Path, seed: int, win: int) -> None:
    world = world_of(random_rows(np.random.default_rng(seed)), tmp_path / "data")
    telemetry = world.opened(policy=POLICY)
    check(telemetry, win)
    telemetry.close()


def test_without_retries_each_row_is_a_request(tmp_path: Path) -> None:
    world = world_of(random_rows(np.random.default_rng(3)), tmp_path / "data")
    telemetry = world.drop(INTERACTIONS, "retry_index").opened(policy=POLICY)
    check(telemetry, 1, retries=False)
    telemetry.close()


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "session": st.sampled_from(["s1", "s2"]),
                "at": st.sampled_from([100.0, 100.5, 101.0]),
                "retry_index": st.sampled_from([None, 0, 0, 1, 2]),
                "is_failure": st.sampled_from([None, True, False]),
                "cost_usd": st.sampled_from([None, "0.5", "0.25"]),
            }
        ),
        min_size=1,
        max_size=10,
    )
)
def test_any_sequence_of_attempts_equals_the_reference(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    own = [{**r, "user": f"u{r['session']}"} for r in rows]
    own.append({"session": "old", "user": "old", "at": 1})
    telemetry = world_of(own, tmp_path_factory.mktemp("w") / "data").opened(policy=POLICY)
    check(telemetry, 1)
    telemetry.close()


def test_a_retry_in_another_release_stays_with_its_first_attempt(tmp_path: Path) -> None:
    rows = [
        {"session": "s", "user": "u", "at": 1, "release_id": "r1", "retry_index": 0},
        {"session": "s", "user": "u", "at": 2, "release_id": "r2", "retry_index": 1},
        {"session": "s", "user": "u", "at": 3, "release_id": "r2", "retry_index": 0},
    ]
    windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
    rules = Policy.model_validate({"windows": windows})
    telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
    old, new = logical_requests(telemetry, [], win=0), logical_requests(telemetry, [], win=1)
    telemetry.close()
    assert old.rows[["interaction_id", "attempts"]].values.tolist() == [["i00001", 2]]
    assert new.rows[["interaction_id", "attempts"]].values.tolist() == [["i00003", 1]]


def test_a_sample_holds_whole_clusters_the_same_for_any_order(tmp_path: Path) -> None:
    world = world_of(random_rows(np.random.default_rng(4), n=300), tmp_path / "data")
    telemetry = world.opened(policy=POLICY)
    whole, part = logical_requests(telemetry, []), logical_requests(telemetry, [], max_rows=40)
    telemetry.close()
    assert part.sampled
    assert 0 < len(part.rows) <= 40
    assert part.n_requests == whole.n_requests
    chosen = set(part.rows["cluster_id"])
    assert len(whole.rows[whole.rows["cluster_id"].isin(chosen)]) == len(part.rows)
    world.folder = tmp_path / "shuffled"
    for name, rows in world.tables.items():
        world.tables[name] = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    other = world.opened("parquet", POLICY, threads=2)
    pd.testing.assert_frame_equal(logical_requests(other, [], max_rows=40).rows, part.rows)
    other.close()


def test_logged_choices_are_counted_over_first_attempts(tmp_path: Path) -> None:
    rows = [
        {
            **r,
            "model_name": "ab"[k % 2],
            "routing_propensity": None if k % 5 == 0 else 0.25 + k % 2 / 2,
        }
        for k, r in enumerate(random_rows(np.random.default_rng(8)))
    ]
    telemetry = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    found = logged_choices(telemetry, ["use_case"], ["model_name"])
    facts = frame(telemetry)
    telemetry.close()
    own = facts[(facts["win"] == 1) & facts["first_attempt"]]
    groups = own.groupby(["use_case", "model_name"], dropna=False)
    assert len(found) == groups.ngroups
    for (use_case, model), group in groups:
        match = found["model_name"] == model
        match &= (
            found["use_case"].isna()
            if none_if_nan(use_case) is None
            else found["use_case"] == use_case
        )
        (row,) = found[match].to_dict("records")
        assert row["n"] == len(group)
        mean = group["routing_propensity"].mean()
        assert row["propensity"] == pytest.approx(mean) or (
            math.isnan(mean) and row["propensity"] != row["propensity"]
        )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "session": st.sampled_from(["s1", "s2"]),
                "at": st.sampled_from([100.0, 100.5, 101.0, 101.5]),
                "retry_index": st.sampled_from([None, 0, 0, 1, 2]),
                "release_id": st.sampled_from(["r1", "r2"]),
                "is_failure": st.sampled_from([None, True, False]),
                "cost_usd": st.sampled_from([None, "0.5", "0.25"]),
            }
        ),
        min_size=1,
        max_size=10,
    ),
    st.booleans(),
)
def test_requests_that_cross_releases_or_an_exclusion_equal_the_reference(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], excluded: bool
) -> None:
    own = [{**r, "user": f"u{r['session']}"} for r in rows]
    own += [
        {"session": f"old{r}", "user": "old", "at": 99.0, "release_id": r} for r in ("r1", "r2")
    ]
    start, end = (str(MONDAY + pd.Timedelta(hours=h)) for h in (101, 101.25))
    out = [{"start": start, "end": end, "reason": "outage"}]
    windows: dict[str, Any] = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
    rules = Policy.model_validate({"windows": windows | ({"exclude": out} if excluded else {})})
    telemetry = world_of(own, tmp_path_factory.mktemp("w") / "data").opened(policy=rules)
    check(telemetry, 1)
    check(telemetry, 0)
    telemetry.close()
