from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.share_safe import KEY_VARIABLE
from analysis.views.hotspot_details import Detail, hashed
from analysis.views.hotspots import Found, HotspotsSection, assess
from analysis.views.result import ViewResult
from tests.views.world import DAY, START, opened, policy, traffic, window

RULES: dict[str, Any] = {"metrics": ["failure"], "max_depth": 2}
CHANGED = (
    49  # the day of the world on which the slice breaks: within the candidate, which starts at 42
)


def broken(n_sessions: int = 6000, rate: float = 0.25) -> pd.DataFrame:
    """Failures of the API rise from day 49 on: time-outs, two in three of them of the large model."""
    rng = np.random.default_rng(3)
    rows = traffic(n_sessions)
    late = rows["timestamp_utc"] >= START + CHANGED * DAY
    often = np.where(rows["model_name"] == "large", 1.5, 0.5) * rate
    planted = late & (rows["channel"] == "api") & (rng.random(len(rows)) < often)
    kinds = rng.choice(["refusal", "tool_error"], len(rows))
    rows["is_failure"] |= planted
    rows["failure_type"] = np.where(planted, "timeout", kinds)
    rows.loc[~rows["is_failure"], "failure_type"] = None
    return rows


def judged(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None
) -> ViewResult[HotspotsSection]:
    with opened(rows, folder, rules or policy(hotspots=RULES)) as telemetry:
        result = assess(telemetry, telemetry.policy)
    published = json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    for i in result.series["examples"]["id"]:
        assert i not in published, "an artifact names no row"
    assert all(f.detail is None for f in result.section.listed)
    return result


def found(rows: pd.DataFrame, folder: Path, rules: Policy | None = None) -> tuple[Found, ...]:
    return judged(rows, folder, rules).section.found


def examples(result: ViewResult[HotspotsSection], place: int) -> tuple[str, ...]:
    shown = result.series["examples"]
    return tuple(shown["id"][shown["place"] == place])


def of_api(result: ViewResult[HotspotsSection]) -> tuple[str, ...]:
    (place, *_) = [k for k, f in enumerate(result.section.found) if f.slice == {"channel": "api"}]
    return examples(result, place)


def api(of: tuple[Found, ...]) -> Detail:
    detail = next(f.detail for f in of if f.slice == {"channel": "api"})
    assert detail is not None
    return detail


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return broken()


@pytest.fixture(scope="module")
def detail(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Detail:
    return api(found(rows, tmp_path_factory.mktemp("details")))


@pytest.fixture(scope="module")
def bad(rows: pd.DataFrame) -> pd.DataFrame:
    """Bad rows of the candidate."""
    new = window(rows, 42, 56)
    return new[new["is_failure"]]


def test_days_are_those_of_the_slice_in_both_windows(rows: pd.DataFrame, detail: Detail) -> None:
    own = window(rows, 0, 56)
    own = own[own["channel"] == "api"]
    start = own.groupby("session_id")["timestamp_utc"].transform("min").dt.floor("D")
    by_day = own.groupby(start)["is_failure"].agg(["count", "sum"])
    first = next(d for d in detail.days if d.window == "candidate")
    assert first.day_utc == (START + 42 * DAY).date().isoformat()
    assert [(d.day_utc, d.n, d.bad) for d in detail.days] == [
        (day.date().isoformat(), n, y) for day, n, y in by_day.itertuples()
    ]
    assert all(d.mean is None for d in detail.days)
    assert {d.window for d in detail.days} == {"baseline", "candidate"}


def test_since_is_the_day_on_which_the_slice_broke(detail: Detail) -> None:
    since = detail.since
    assert since is not None
    broke = (START + CHANGED * DAY).strftime("%Y-%m-%dT00:00:00Z")
    assert since.low <= broke <= since.high
    assert abs(pd.Timestamp(since.since_utc) - pd.Timestamp(broke)) <= 2 * DAY
    assert since.before < 0.08 < 0.2 < since.after
    assert since.p_value < 0.01


def test_failure_types_are_counted_beside_the_rest(bad: pd.DataFrame, detail: Detail) -> None:
    own = bad["channel"] == "api"
    counts = bad[own]["failure_type"].value_counts()
    rest = bad[~own]["failure_type"].value_counts(normalize=True)
    assert detail.failure_types[0].failure_type == "timeout"
    assert {t.failure_type: t.n for t in detail.failure_types} == counts.to_dict()
    for kind in detail.failure_types:
        assert kind.share == pytest.approx(kind.n / own.sum())
        assert kind.share_of_rest == pytest.approx(rest.get(kind.failure_type, 0.0))


def test_what_is_over_represented_where_it_is_bad_contributes(
    rows: pd.DataFrame, detail: Detail
) -> None:
    own = window(rows, 42, 56)
    own = own[own["channel"] == "api"]
    large = own.groupby("is_failure")["model_name"].agg(lambda m: (m == "large").mean())
    (contributor,) = detail.contributors
    assert (contributor.dimension, contributor.value) == ("model_name", "large")
    assert contributor.share == pytest.approx(large[True])
    assert contributor.reference_share == pytest.approx(large[False])
    assert contributor.excess == pytest.approx(large[True] - large[False])
    assert contributor.p_value <= 0.01


@pytest.mark.parametrize(
    ("publish", "key", "shown"),
    [
        ({}, None, lambda i: hashlib.sha256(i.encode()).hexdigest()[:16]),
        (
            {"share_safe": True},
            "k" * 16,
            lambda i: hmac.digest(b"k" * 16, i.encode(), "sha256").hex()[:24],
        ),
        ({"share_safe": True}, None, None),
    ],
    ids=["hashed", "hashed with the team's key", "left out without a key"],
)
def test_examples_are_bad_rows_by_md5_and_hashed(
    rows: pd.DataFrame,
    bad: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    publish: dict[str, Any],
    key: str | None,
    shown: Callable[[str], str] | None,
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY_VARIABLE, key)
    ids = bad[bad["channel"] == "api"]["interaction_id"]
    first = sorted(ids, key=lambda i: hashlib.md5(i.encode()).hexdigest())[:5]
    rules = policy(hotspots=RULES, publish=publish)
    expected = () if shown is None else tuple(map(shown, first))
    assert of_api(judged(rows, tmp_path, rules)) == expected


def test_ids_that_are_no_text_are_hashed_too() -> None:
    assert len({hashed(i) for i in ("a", "\ud800", "😀", "")}) == 4


def test_of_costs_the_dearest_are_examples_and_days_are_means(tmp_path: Path) -> None:
    rows = broken(3000)
    late = rows["timestamp_utc"] >= START + CHANGED * DAY
    dear = late & (rows["channel"] == "api")
    rows["cost_usd"] = (rows["cost_usd"] * np.where(dear, 3.0, 1.0)).round(9)
    result = judged(rows, tmp_path, policy(hotspots={**RULES, "metrics": ["cost"]}))
    detail = api(result.section.found)
    new = window(rows, 42, 56)
    own = new[new["channel"] == "api"].sort_values("cost_usd", ascending=False)
    assert of_api(result) == tuple(map(hashed, own["interaction_id"][:5]))
    assert detail.failure_types == ()
    day = detail.days[-1]
    last = own.groupby("session_id")["timestamp_utc"].transform("min").dt.date.astype(str)
    assert day.mean == pytest.approx(own[last == day.day_utc]["cost_usd"].mean())
    assert day.bad is None
    assert detail.since is not None
    assert detail.since.low <= (START + CHANGED * DAY).strftime("%Y-%m-%dT00:00:00Z")
    assert detail.since.high >= (START + CHANGED * DAY).strftime("%Y-%m-%dT00:00:00Z")
    assert detail.since.after == pytest.approx(3 * detail.since.before, rel=0.2)
    # Calls of the large model cost four times as much: they hold more of the USD than of the calls.
    assert ("model_name", "large") in {(c.dimension, c.value) for c in detail.contributors}


def test_a_slice_that_was_always_so_has_no_since(tmp_path: Path) -> None:
    rows = traffic(4000)
    rng = np.random.default_rng(6)
    rows["is_failure"] |= (rows["channel"] == "api") & (rng.random(len(rows)) < 0.2)
    result = judged(rows, tmp_path)
    detail = api(result.section.found)
    assert detail.since is None
    assert detail.contributors == ()
    assert detail.failure_types == ()  # the telemetry has no such column
    assert len(of_api(result)) == 5


def test_unknown_values_and_types_and_hostile_texts_are_told_as_they_are(tmp_path: Path) -> None:
    rows = broken(4000)
    rows["channel"] = rows["channel"].replace("api", None)
    rows["model_name"] = rows["model_name"].replace("large", "'); DROP TABLE fact;--")
    rows["failure_type"] = rows["failure_type"].replace(
        {"timeout": None, "refusal": "{{< env HOME >}}'\""}
    )
    of = found(rows, tmp_path)
    detail = next(f.detail for f in of if f.slice == {"channel": None})
    assert detail is not None
    kinds = {t.failure_type for t in detail.failure_types}
    assert kinds == {None, "{{< env HOME >}}'\"", "tool_error"}
    assert detail.failure_types[0].failure_type is None
    assert [c.value for c in detail.contributors] == ["'); DROP TABLE fact;--"]


def test_several_metrics_and_slices_have_details_of_their_own(tmp_path: Path) -> None:
    rows = broken(4000)
    rng = np.random.default_rng(8)
    slow = (rows["timestamp_utc"] >= START + 42 * DAY) & (rows["use_case"] == "coding")
    rows["slow_flag"] = rng.random(len(rows)) < np.where(slow, 0.3, 0.05)
    rules = policy(hotspots={"metrics": ["failure", "slow_flag", "cost"], "max_depth": 2})
    result = judged(rows, tmp_path, rules)
    of = result.section.found
    alone = found(rows, tmp_path / "alone", policy(hotspots=RULES))
    assert {f.metric for f in of} >= {"failure", "slow_flag"}
    assert api(tuple(f for f in of if f.metric == "failure")) == api(alone)
    new = window(rows, 42, 56)
    for place, f in enumerate(of):
        own = new
        for name, value in f.slice.items():
            own = own[own[name] == value]
        assert f.detail is not None
        assert sum(d.n for d in f.detail.days if d.window == "candidate") == f.support == len(own)
        if f.metric == "slow_flag":
            bad = own[own["slow_flag"]]
            assert sum(t.n for t in f.detail.failure_types) == len(bad)
            assert set(examples(result, place)) <= set(map(hashed, bad["interaction_id"]))


def test_the_order_of_rows_changes_nothing(
    rows: pd.DataFrame, detail: Detail, tmp_path: Path
) -> None:
    assert api(found(rows.sample(frac=1.0, random_state=2), tmp_path)) == detail


def test_a_first_release_has_details_of_the_candidate(tmp_path: Path) -> None:
    windows = {"candidate": {"days": 14}, "baseline": "none"}
    detail = api(found(broken(), tmp_path, policy(hotspots=RULES, windows=windows)))
    assert {d.window for d in detail.days} == {"candidate"}
    assert len(detail.days) == 14
    assert detail.since is not None


def test_of_releases_that_run_at_once_the_candidate_alone_says_since_when(tmp_path: Path) -> None:
    rows = broken(8000)
    rng = np.random.default_rng(9)
    rows["release_id"] = np.where(rng.random(len(rows)) < 0.5, "old", "new")
    fixed = (rows["release_id"] == "old") & (rows["failure_type"] == "timeout")
    rows.loc[fixed, "is_failure"], rows.loc[fixed, "failure_type"] = False, None
    windows = {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
    detail = api(found(rows, tmp_path, policy(hotspots=RULES, windows=windows)))
    own = rows[(rows["channel"] == "api") & (rows["release_id"] == "new")]
    early = own["timestamp_utc"] < START + CHANGED * DAY
    assert detail.since is not None
    assert detail.since.before == pytest.approx(own[early]["is_failure"].mean(), rel=0.1)
    assert {d.window for d in detail.days} == {"baseline", "candidate"}


def test_rows_of_bins_and_of_grouped_values_are_those_of_the_slice(tmp_path: Path) -> None:
    """Long prompts break, and all of a column's rare values."""
    rng = np.random.default_rng(8)
    rows = traffic(9000)
    late = rows["timestamp_utc"] >= START + 42 * DAY
    frequent = rng.integers(0, 55, len(rows))
    rare = rng.random(len(rows)) < 0.2
    rows["plan"] = np.where(rare, "rare-" + pd.Series(rng.integers(0, 400, len(rows))).astype(str),
                            "plan-" + pd.Series(frequent).astype(str))  # fmt: skip
    long = rows["prompt_tokens"] >= 1500
    rows["is_failure"] |= late & long & (rng.random(len(rows)) < 0.2)
    rows["is_failure"] |= late & rare & ~long & (rng.random(len(rows)) < 0.2)
    rules = policy(
        dimensions=["channel", "plan"],
        hotspots={**RULES, "bins": {"prompt_tokens": [500, 1500]}, "max_depth": 1},
    )
    result = judged(rows, tmp_path, rules)
    told = {next(iter(f.slice.items())): k for k, f in enumerate(result.section.found)}
    new = window(rows, 42, 56)
    for (column, value), place in told.items():
        f = result.section.found[place]
        assert f.detail is not None
        assert sum(d.n for d in f.detail.days if d.window == "candidate") == f.support
        if column == "prompt_tokens":
            assert value == "≥ 1,500"
            bad = new[(new["prompt_tokens"] >= 1500) & new["is_failure"]]
            assert set(examples(result, place)) <= {hashed(i) for i in bad["interaction_id"]}
        else:
            assert column == "plan"
            assert str(value).startswith("(other")
    assert {column for column, _ in told} == {"prompt_tokens", "plan"}
