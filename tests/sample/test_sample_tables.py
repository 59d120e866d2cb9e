"""The sample's three tables keep the contract, and hold what the scenario says."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from analysis import contract
from analysis.sample import SCENARIOS, World, generate, hostile
from analysis.sample.behaviour import propensity_table
from analysis.sample.ids import opaque_ids
from analysis.sample.scenarios import HEALTHY, REGRESSED

NAMES = tuple(SCENARIOS)


@functools.cache
def world(name: str, count: int | None = None, seed: int = 1) -> World:
    return generate(name, count, seed)


@functools.cache
def frames(
    name: str, count: int | None = None, seed: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    made = world(name, count, seed)
    return made.interactions.to_pandas(), made.sessions.to_pandas(), made.users.to_pandas()


@pytest.mark.parametrize(
    ("name", "count"), [("healthy", 20_000), ("regressed", 20_000), ("tiny", 300)]
)
def test_a_scenario_has_its_default_number_of_interactions(name: str, count: int) -> None:
    assert world(name).interactions.num_rows == count


@pytest.mark.parametrize("count", [1, 2, 3, 17, 1_000])
def test_any_number_of_interactions_is_met_exactly(count: int) -> None:
    rows, sessions, users = frames("regressed", count)
    assert len(rows) == count
    assert set(rows.session_id) == set(sessions.session_id)
    assert set(rows.user_id) == set(users.user_id)


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_unique_and_every_key_resolves_in_both_directions(name: str) -> None:
    rows, sessions, users = frames(name)
    assert rows.interaction_id.is_unique
    assert rows.trace_id.is_unique
    assert sessions.session_id.is_unique
    assert users.user_id.is_unique
    assert set(rows.session_id) == set(sessions.session_id)
    assert set(rows.user_id) == set(sessions.user_id) == set(users.user_id)
    owner = rows.session_id.map(sessions.set_index("session_id").user_id)
    assert (owner == rows.user_id).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", ["session", "user"])
def test_rollups_reconcile_exactly_and_money_to_the_micro_dollar(name: str, of: str) -> None:
    rows, sessions, users = frames(name)
    summary = (sessions if of == "session" else users).set_index(f"{of}_id").sort_index()
    micro = (rows.cost_usd * 1e6).round().astype("int64")
    assert (micro / 1e6 == rows.cost_usd).all()
    failed = rows.is_failure.eq(True).fillna(False).astype(int)
    facts = (
        pd.DataFrame(
            {of: rows[f"{of}_id"], "micro": micro, "tokens": rows.total_tokens, "failed": failed}
        )
        .groupby(of)
        .agg(
            micro=("micro", "sum"),
            tokens=("tokens", "sum"),
            failed=("failed", "sum"),
            requests=("failed", "size"),
        )
        .sort_index()
    )
    assert (facts.index == summary.index).all()
    assert (facts.requests == summary[f"{of}_total_requests"]).all()
    assert (facts.failed == summary[f"{of}_total_failures"]).all()
    assert (facts.tokens == summary[f"{of}_total_tokens"]).all()
    assert (facts.micro / 1e6 == summary[f"{of}_total_cost_usd"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_interactions_lie_within_their_session_and_its_order_is_strict(name: str) -> None:
    rows, sessions, _ = frames(name)
    joined = rows.merge(sessions, on="session_id", suffixes=("", "_of_session"))
    assert (joined.timestamp_utc >= joined.start_timestamp_utc).all()
    assert (joined.timestamp_utc <= joined.end_timestamp_utc).all()
    assert rows.timestamp_utc.is_monotonic_increasing
    gaps = rows.groupby("session_id").timestamp_utc.diff().dropna()
    assert (gaps >= pd.Timedelta(seconds=1)).all()
    assert rows.groupby("session_id").size().between(1, 9).all()


@pytest.mark.parametrize("name", NAMES)
def test_sessions_fill_whole_days_up_to_the_midnight_that_ends_the_candidate(name: str) -> None:
    _, sessions, _ = frames(name)
    end = pd.Timestamp("2026-11-16", tz="UTC")
    newest, oldest = sessions.start_timestamp_utc.max(), sessions.start_timestamp_utc.min()
    assert end - pd.Timedelta(days=1) <= newest < end
    assert oldest.floor("D") == end - pd.Timedelta(days=56)


@pytest.mark.parametrize("name", NAMES)
def test_token_sums_and_parts_hold(name: str) -> None:
    rows, _, _ = frames(name)
    assert (rows.total_tokens == rows.prompt_tokens + rows.completion_tokens).all()
    assert (rows.cached_prompt_tokens <= rows.prompt_tokens).all()
    assert (rows.reasoning_tokens <= rows.completion_tokens).all()
    assert (rows.completion_tokens <= rows.max_tokens).all()
    assert (rows.time_to_first_token_ms <= rows.latency_ms).all()


def test_every_column_is_declared_in_the_contract_within_its_range() -> None:
    declared = contract.load()
    for name, table in world("regressed").tables.items():
        for column in table.column_names:
            spec = declared.tables[name].column(column)
            assert spec is not None, (name, column)
            values = table.column(column).to_pandas().dropna()
            if spec.min is not None:
                assert (values >= spec.min).all(), column
            if spec.max is not None:
                assert (values <= spec.max).all(), column


def test_every_known_column_of_interactions_is_there_but_synonyms_and_carried_ones() -> None:
    known = set(contract.load().tables[contract.INTERACTIONS].columns)
    assert known - set(world("regressed").interactions.column_names) == {"domain", "split"}


def test_a_retry_follows_its_failure_on_the_same_model_and_context_within_seconds() -> None:
    rows, _, _ = frames("regressed")
    ordered = rows.sort_values(["session_id", "timestamp_utc"], kind="stable")
    before = ordered.shift(1)
    retries = ordered.retry_index > 0
    assert retries.sum() > 100
    for column in (
        "session_id",
        "model_name",
        "use_case",
        "scenario",
        "prompt_tokens",
        "routing_propensity",
    ):
        assert (ordered.loc[retries, column] == before.loc[retries, column]).all(), column
    assert (ordered.loc[retries, "retry_index"] == before.loc[retries, "retry_index"] + 1).all()
    assert not before.loc[retries, "is_failure"].eq(False).any()
    waited = (
        ordered.timestamp_utc - before.timestamp_utc - pd.to_timedelta(before.latency_ms, unit="ms")
    )
    assert waited[retries].between(pd.Timedelta(0), pd.Timedelta(seconds=5)).all()
    assert ordered.loc[retries, "is_failure"].eq(True).mean() < 0.35


def test_labels_are_unknown_for_about_one_percent_and_say_nothing_more() -> None:
    rows, _, _ = frames("healthy", 100_000)
    unknown = rows.is_failure.isna()
    # Binomial(100,000, 0.01): four standard errors are 0.0013.
    assert unknown.mean() == pytest.approx(0.01, abs=0.0013)
    assert rows.label_available_utc.isna().equals(unknown)
    assert rows.loc[unknown, "failure_type"].isna().all()
    known = rows[~unknown]
    assert (known.label_available_utc > known.timestamp_utc).all()
    assert (known.failure_type.notna() == known.is_failure.astype(bool)).all()


@pytest.mark.parametrize("scenario", [HEALTHY, REGRESSED], ids=lambda s: s.name)
def test_propensities_sum_to_one_in_each_context_and_keep_the_floor(scenario) -> None:  # type: ignore[no-untyped-def]
    steps = np.rint(propensity_table(scenario) * 10_000).astype(int)
    assert (steps.sum(axis=-1) == 10_000).all()
    assert steps.min() >= 300


def test_models_are_chosen_as_often_as_the_logged_propensity_says() -> None:
    """Horvitz-Thompson: E[1{a} / e(a)] is the number of requests, for each model."""
    rows, _, _ = frames("regressed", 100_000)
    first = rows[rows.retry_index == 0]
    for model, of_model in first.groupby("model_name", observed=True):
        weight = 1 / of_model.routing_propensity
        spread = np.sqrt((weight**2 - weight).sum())
        assert abs(weight.sum() - len(first)) < 4 * spread, model


def test_users_average_about_three_sessions() -> None:
    _, sessions, users = frames("regressed")
    assert 2.5 < len(sessions) / len(users) < 3.8


def test_failures_within_a_session_are_correlated_at_about_a_tenth() -> None:
    """One-way analysis-of-variance estimator of the intraclass correlation (Fleiss 1981)."""
    rows, _, _ = frames("healthy", 100_000)
    first = rows[(rows.retry_index == 0) & rows.is_failure.notna()]
    failed = first.is_failure.astype(float)
    groups = failed.groupby(first.session_id).agg(["sum", "count"])
    n, k, size = len(first), len(groups), groups["count"]
    mean = failed.mean()
    between = (size * (groups["sum"] / size - mean) ** 2).sum() / (k - 1)
    within = (groups["sum"] * (1 - groups["sum"] / size)).sum() / (n - k)
    typical = (n - (size**2).sum() / n) / (k - 1)
    correlation = (between - within) / (between + (typical - 1) * within)
    assert 0.06 < correlation < 0.15


@pytest.mark.parametrize("planted", hostile.HOSTILE, ids=lambda h: h.column)
def test_hostile_values_are_there_and_the_dimensions_among_them_have_support(planted) -> None:  # type: ignore[no-untyped-def]
    rows, _, _ = frames("regressed")
    count = int((rows[planted.column] == planted.value).sum())
    assert count >= {"scenario": 500, "segment": 100}.get(planted.column, 1)


def test_a_seed_fixes_every_value_and_another_seed_changes_them() -> None:
    one, again, other = (generate("tiny", 200, seed) for seed in (5, 5, 6))
    assert one.truth == again.truth
    for name, table in one.tables.items():
        assert table.equals(again.tables[name])
        assert not table.equals(other.tables[name])


@pytest.mark.parametrize(
    ("name", "count", "seed", "says"),
    [
        ("nope", None, 1, "healthy, regressed, tiny"),
        ("tiny", 0, 1, "expected 1 to"),
        ("tiny", -5, 1, "expected 1 to"),
        ("tiny", 10**12, 1, "expected 1 to"),
        ("tiny", None, -1, "from 0 on"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_what_can(
    name: str, count: int | None, seed: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        generate(name, count, seed)


@pytest.mark.parametrize("digits", [1, 2, 3, 8])
def test_ids_never_collide(digits: int) -> None:
    count = min(32**digits, 50_000)
    ids = opaque_ids("x", count, digits, seed=3)
    assert len(np.unique(ids)) == count
    assert {len(i) for i in ids.tolist()} == {digits + 1}


def test_more_ids_than_digits_can_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="more digits"):
        opaque_ids("x", 33, 1, seed=0)
