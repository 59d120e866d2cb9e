"""A first policy is one that loads, and one under which the very same data can be reviewed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import artifact as artifacts
from analysis import policy as policies
from analysis import review as reviews
from analysis.contract import INTERACTIONS, SESSIONS, USERS
from analysis.errors import ContractError, PolicyError, UsageError
from analysis.policy import Policy
from analysis.propose import contract_text, policy_text
from analysis.sample import generate, write
from tests.end_to_end.promises import broken
from tests.propose.drafts import checked, required, telemetry
from tests.telemetry.worlds import MONDAY, tiny, world_of

PROJECT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RELEASE_REVIEW_SHARED_DATA", PROJECT.parent / "shared" / "data"))


def shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {SHARED}; set RELEASE_REVIEW_SHARED_DATA to where the data lie")
    return folder


def loaded(text: str, folder: Path) -> Policy:
    path = folder / "policy.yml"
    path.write_text(text, encoding="utf-8")
    return policies.load(path).policy


def reviewed(data: Path, text: str, folder: Path) -> dict[str, Any]:
    """The artifact's body of a review under the proposed policy, which keeps its promises."""
    loaded(text, folder)
    wanted = reviews.request(data=str(data), policy=folder / "policy.yml")
    review = reviews.compute(wanted)
    assert broken(review.body) == []
    return dict(review.body)


def flat(text: str) -> str:
    """The text with its comments on one line each, for phrases that are wrapped."""
    return " ".join(line.strip().removeprefix("# ") for line in text.splitlines())


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8,000 interactions of a healthy release."""
    return write(generate("healthy", 8_000, 1), tmp_path_factory.mktemp("healthy") / "data", "csv")


# ── on whole telemetry ───────────────────────────────────────────────────────────────────


def test_a_healthy_release_ships_under_its_first_policy(healthy: Path, tmp_path: Path) -> None:
    body = reviewed(healthy, policy_text(healthy), tmp_path)
    assert body["decision"]["outcome"] == "ship"
    burns = {s["name"]: s["burn_rate"]["value"] for s in body["views"]["budget"]["slos"]}
    assert set(burns) == {"availability", "latency"}
    assert all(burn < 1 for burn in burns.values())
    assert next(c for c in body["checks"] if c["id"] == "contract.bounds")["outcome"] == "pass"


def test_the_sample_has_all_dimensions_and_both_releases(healthy: Path, tmp_path: Path) -> None:
    text = policy_text(healthy)
    policy = loaded(text, tmp_path)
    assert set(Policy().dimensions) <= set(policy.dimensions)
    assert len(policy.dimensions) == 10
    assert policy.windows.candidate.release_id == policy.release.id
    assert policy.routing.action == ("model_provider", "model_name")
    assert policy.routing.context == ("use_case", "account_tier")
    assert "routing_propensity is logged for 100 %" in flat(text)
    assert "release_id (it tells the windows apart)" in flat(text)


def test_every_key_of_a_policy_is_there_with_a_comment(healthy: Path) -> None:
    lines = policy_text(healthy).splitlines()
    keys = [k for k in Policy.model_fields if k != "data"]
    for key in keys:
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[place - 1].startswith("# "), key


def test_the_same_data_give_the_same_text(healthy: Path) -> None:
    assert policy_text(healthy) == policy_text(healthy)


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "parts"])
def test_the_format_of_the_files_changes_nothing(kind: str, tmp_path: Path) -> None:
    other = tiny(tmp_path / "other").write(kind)
    assert policy_text(tiny(tmp_path / "csv").write()) == policy_text(other)


def test_llmdrift_compares_its_releases_by_session(tmp_path: Path) -> None:
    data = shared("llmdrift_happy_number")
    text = policy_text(data)
    policy = loaded(text, tmp_path)
    assert policy.cluster == "session"
    assert policy.windows.candidate.release_id == "2023-06"
    assert policy.windows.baseline.release_id == "2023-03"
    assert policy.slos[0].target == 0.4
    assert "42.9 % of 1,000 interactions" in flat(text)
    assert "The two overlap in time" in flat(text)
    body = reviewed(data, text, tmp_path)
    assert body["decision"]["outcome"] != "ship"
    assert checked(contract_text(data)) == {"tables": {}}


def test_azure_of_one_hour_says_what_it_lacks(tmp_path: Path) -> None:
    data = shared("azure_2023")
    text = policy_text(data)
    policy = loaded(text, tmp_path)
    assert policy.windows.baseline == "none"
    assert [slo.name for slo in policy.slos] == ["availability"]
    assert policy.hotspots.metrics == ("failure",)
    assert policy.spend.budget_usd_per_day is None
    assert "is_failure 100 %" in flat(text)
    assert reviewed(data, text, tmp_path)["decision"]["outcome"] == "hold"
    # The halves that stand in the comment are windows too.
    for line in text.splitlines():
        if line.startswith("  # candidate:") or line.startswith("  # baseline:"):
            key = line.split()[1]
            kept = [k for k in text.splitlines() if not k.startswith(f"  {key}")]
            text = "\n".join(kept).replace(line, line.replace("# ", ""))
    body = reviewed(data, text, tmp_path)
    assert body["windows"]["baseline"]["n_interactions"] > 1_000


def test_only_required_columns_are_enough(tmp_path: Path) -> None:
    n = 600
    rows = required(n)
    rows["timestamp_utc"] = [f"2026-09-{1 + k // 20:02d}T00:00:00Z" for k in range(n)]
    rows["is_failure"] = ["true" if k % 20 == 0 else "false" for k in range(n)]
    rows["session_id"] = [f"s{k // 2}" for k in range(n)]
    data = telemetry(tmp_path / "data", rows)
    pd.DataFrame({"session_id": sorted(set(rows["session_id"]))}).to_csv(
        data / f"{SESSIONS}.csv", index=False
    )
    text = policy_text(data)
    policy = loaded(text, tmp_path)
    assert policy.dimensions == ()
    assert (policy.routing.context, policy.routing.protect) == ((), ())
    assert "nothing is backtested" in flat(text)
    assert "No latency_ms is known" in flat(text)
    body = reviewed(data, text, tmp_path)
    assert body["windows"]["baseline"]["n_interactions"] > 0


def test_one_day_is_a_first_release(tmp_path: Path) -> None:
    rows = [
        {"session": f"s{k}", "user": f"u{k % 40}", "at": MONDAY + pd.Timedelta(minutes=5 * k)}
        for k in range(200)
    ]
    data = world_of(rows, tmp_path / "data").write()
    text = policy_text(data)
    assert loaded(text, tmp_path).windows.baseline == "none"
    assert "too short for two windows of days" in flat(text)
    assert reviewed(data, text, tmp_path)["windows"]["baseline"] is None


def test_one_row_is_enough_for_a_policy(tmp_path: Path) -> None:
    data = world_of([{"session": "s", "user": "u", "at": 1}], tmp_path / "data").write()
    loaded(policy_text(data), tmp_path)


# ── key by key ───────────────────────────────────────────────────────────────────────────


def many(n: int = 280, **cells: Sequence[Any]) -> list[dict[str, Any]]:
    """Ten interactions on each of n / 10 days, with these cells."""
    rows = []
    for k in range(n):
        own = {name: values[k % len(values)] for name, values in cells.items()}
        at = MONDAY + pd.Timedelta(days=k // 10, minutes=k % 10)
        rows.append({"session": f"s{k}", "user": f"u{k % 50}", "at": at, **own})
    return rows


def test_dimensions_have_from_two_to_two_hundred_values(tmp_path: Path) -> None:
    rows = many(
        n=600,
        use_case=["a", "b"],
        scenario=["one"],
        channel=[f"c{k}" for k in range(201)],
        region=[f"r{k}" for k in range(200)],
        segment=[None],
    )
    text = policy_text(world_of(rows, tmp_path / "data").write())
    assert loaded(text, tmp_path).dimensions == ("use_case", "region")
    for said in ("scenario (one value)", "channel (201 values)", "segment (empty)"):
        assert said in flat(text)


def test_spend_is_a_fifth_above_the_mean_of_the_baselines_days(tmp_path: Path) -> None:
    data = world_of(many(cost_usd=["0.5"]), tmp_path / "data").write()
    text = policy_text(data)
    assert loaded(text, tmp_path).spend.budget_usd_per_day == 6.0
    assert "5 USD a day over 21 days" in flat(text)


def test_no_money_is_no_budget(tmp_path: Path) -> None:
    data = world_of(many(cost_usd=["0"]), tmp_path / "data").write()
    policy = loaded(policy_text(data), tmp_path)
    assert policy.spend.budget_usd_per_day is None
    assert policy.routing.bounds["cost_usd"] == (0, 1)


def test_bounds_cover_a_request_with_its_retries(tmp_path: Path) -> None:
    rows = [
        {"session": "s", "user": "u", "at": k, "retry_index": k % 3, "cost_usd": "0.4"}
        for k in range(9)
    ]
    data = world_of(rows, tmp_path / "data").write()
    assert loaded(policy_text(data), tmp_path).routing.bounds["cost_usd"] == (0, 2)


def test_triage_can_take_the_failures_of_a_day(tmp_path: Path) -> None:
    data = world_of(many(is_failure=[True, True, False, False, False]), tmp_path / "data").write()
    policy = loaded(policy_text(data), tmp_path)
    assert (policy.triage.capacity_per_day, policy.triage.queue_p90_guard) == (4, 7)
    assert policy.slos[0].target == 0.5


def test_what_is_often_missing_is_named(tmp_path: Path) -> None:
    rows = many(use_case=["a", "b", None], latency_ms=[100, None])
    text = policy_text(world_of(rows, tmp_path / "data").write())
    assert "Above it in all data: use_case 33.2 %, latency_ms 50 %." in flat(text)


def test_costs_beyond_any_count_do_not_stop_it(tmp_path: Path) -> None:
    data = world_of(many(cost_usd=["1e300", "0.5"]), tmp_path / "data").write()
    loaded(policy_text(data), tmp_path)


# ── telemetry that breaks its contract ───────────────────────────────────────────────────


def test_cells_that_do_not_fit_are_left_out_and_told(tmp_path: Path) -> None:
    world = tiny(tmp_path / "data").set(INTERACTIONS, "latency_ms", 1, "slow")
    text = policy_text(world.write())
    assert "violates its contract in 1 way or more" in flat(text)
    loaded(text, tmp_path)


@pytest.mark.parametrize("column", [*required(1)])
def test_a_required_column_that_is_missing_leads_to_a_first_contract(
    column: str, tmp_path: Path
) -> None:
    world = tiny(tmp_path / "data")
    world.tables[INTERACTIONS] = world.tables[INTERACTIONS].rename(columns={column: "other"})
    with pytest.raises(ContractError, match="schema contract --propose --data DIR") as caught:
        policy_text(world.write())
    assert column in str(caught.value)


def test_a_table_that_is_missing_is_told(tmp_path: Path) -> None:
    data = tiny(tmp_path / "data").write()
    (data / f"{USERS}.csv").unlink()
    with pytest.raises(ContractError, match=USERS):
        policy_text(data)


def test_no_readable_time_at_all_is_told(tmp_path: Path) -> None:
    world = tiny(tmp_path / "data")
    world.tables[INTERACTIONS]["timestamp_utc"] = "yesterday"
    with pytest.raises(ContractError, match="no row has a readable timestamp_utc"):
        policy_text(world.write())


def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        policy_text(tmp_path / "nowhere")
    (tmp_path / "contract.yml").write_text("tables: 1")
    with pytest.raises(PolicyError):
        policy_text(tiny(tmp_path / "data").write(), tmp_path / "contract.yml")


# ── the whole way in ─────────────────────────────────────────────────────────────────────


def test_names_of_ones_own_lead_to_a_review(healthy: Path, tmp_path: Path) -> None:
    """Columns renamed as the drafted contract says, then a policy, then a review."""
    own = {
        INTERACTIONS: {
            "interaction_id": "request_id",
            "session_id": "conversation_id",
            "user_id": "uid",
            "timestamp_utc": "created_at",
            "is_failure": "error",
            "latency_ms": "duration_ms",
            "cost_usd": "total_cost",
            "model_name": "model",
        },
        SESSIONS: {"session_id": "id", "user_id": "uid"},
        USERS: {"user_id": "id"},
    }
    data, back = tmp_path / "own", tmp_path / "data"
    data.mkdir()
    back.mkdir()
    for table, names in own.items():
        frame = pd.read_csv(healthy / f"{table}.csv", dtype=str, keep_default_na=False)
        frame[:3_000].rename(columns=names).to_csv(data / f"{table}.csv", index=False)
    said = checked(contract_text(data))
    assert {table: parts["names"] for table, parts in said["tables"].items()} == own
    for table, parts in said["tables"].items():
        frame = pd.read_csv(data / f"{table}.csv", dtype=str, keep_default_na=False)
        names = {theirs: declared for declared, theirs in parts["names"].items()}
        frame.rename(columns=names).to_csv(back / f"{table}.csv", index=False)
    policy = loaded(policy_text(back), tmp_path)
    assert policy.latency_slo is not None


def test_the_artifact_of_a_first_policy_verifies(tmp_path: Path) -> None:
    data = world_of(many(), tmp_path / "data").write()
    assert artifacts.verify(reviewed(data, policy_text(data), tmp_path)) == []
