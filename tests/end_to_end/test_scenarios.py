"""From telemetry to a decision: the three scenarios, and what must not change the evidence."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.__main__ import main
from analysis.errors import ContractError
from analysis.policy import load
from analysis.sample import generate, write

POLICY = Path(__file__).resolve().parents[2] / "report" / "policy.yml"


def reviewed(data: Path, **options: object) -> dict:
    wanted = reviews.request(data=str(data), policy=POLICY, **options)
    return dict(reviews.compute(wanted).body)


@pytest.fixture(scope="module")
def regressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        generate("regressed", None, 1), tmp_path_factory.mktemp("regressed") / "data", "csv"
    )


@pytest.fixture(scope="module")
def body(regressed: Path) -> dict:
    return reviewed(regressed, threads=2)


@pytest.fixture(scope="module")
def truth(regressed: Path) -> dict:
    return json.loads((regressed / "truth.json").read_text())


def check(body: dict, name: str) -> dict:
    return next(c for c in body["checks"] if c["id"] == name)


def test_a_healthy_release_ships(tmp_path: Path) -> None:
    body = reviewed(write(generate("healthy", None, 1), tmp_path / "data", "parquet"))
    assert body["decision"]["outcome"] == "ship", body["decision"]
    assert body["decision"]["watch"]


def test_a_regressed_release_is_blocked_by_its_failure_rate(body: dict) -> None:
    assert body["decision"]["outcome"] == "block"
    assert body["decision"]["blocking"] == ["health.failure_rate"]


def test_too_little_data_holds_and_says_what_is_needed(tmp_path: Path) -> None:
    body = reviewed(write(generate("tiny", None, 1), tmp_path / "data", "csv"))
    decision = body["decision"]
    assert decision["outcome"] == "hold"
    assert decision["needs"]["interactions"] > 300
    assert decision["needs"]["days"] > 14


def test_the_true_changes_lie_in_their_intervals(body: dict, truth: dict) -> None:
    change = body["views"]["health"]["change"]
    for ours, theirs in [
        ("failure_rate", "failure_rate"),
        ("latency_breach_rate", "latency_breach_rate"),
        ("cost_usd_per_interaction", "cost_usd_per_interaction"),
    ]:
        interval = change[ours]
        assert interval["low"] <= truth["change"][theirs] <= interval["high"], ours


def test_the_planted_hotspot_is_found_once_as_a_new_regression(body: dict) -> None:
    found = [
        f
        for f in body["views"]["hotspots"]["found"]
        if f["kind"] == "regression" and f["metric"] == "failure"
    ]
    assert [(f["slice"], f["status"]) for f in found] == [
        ({"use_case": "coding", "scenario": "tool-use"}, "new")
    ]
    assert check(body, "hotspots.regression")["outcome"] == "fail"


def test_the_burnt_budget_is_seen_and_the_other_is_not(body: dict) -> None:
    assert check(body, "budget.availability")["outcome"] == "fail"
    assert check(body, "budget.latency")["outcome"] == "pass"
    assert check(body, "budget.spend")["outcome"] == "pass"


def test_the_cost_rise_is_put_down_to_longer_outputs(body: dict) -> None:
    drivers = body["views"]["budget"]["drivers"]
    largest = max(drivers["effects"], key=lambda e: e["usd_per_day"])
    assert largest["driver"] == "tokens"
    assert drivers["by_slice"][0]["slice"]["model_name"] == "aurora-large"
    assert sum(e["nano_usd_days"] for e in drivers["effects"]) == drivers["change_nano_usd_days"]
    assert sum(e["nano_usd_days"] for e in drivers["by_slice"]) == drivers["change_nano_usd_days"]


def test_the_good_route_is_adopted_and_the_bad_one_is_not(body: dict, truth: dict) -> None:
    found = {c["name"]: c for c in body["views"]["routing"]["candidates"]}
    for candidate in truth["routing"]["candidates"]:
        saving = found[candidate["policy"]["name"]]["saving_usd"]
        assert saving["low"] <= candidate["saving_usd"] <= saving["high"]
    assert found["support-to-aurora-small"]["recommendation"] == "adopt"
    assert found["summarisation-to-cirrus-flash"]["recommendation"] != "adopt"


def test_the_shifted_channel_mix_is_high_drift_and_nothing_else_is(body: dict) -> None:
    high = {
        f["feature"]: f["counted"]
        for f in body["views"]["drift"]["features"]
        if f["severity"] == "high"
    }
    # The prompt version is what the release is: listed, and never counted.
    assert high == {"channel": True, "prompt_version": False}
    assert check(body, "drift.high")["outcome"] == "fail"


def test_the_risk_signal_is_real_and_modest(body: dict) -> None:
    auc = body["views"]["triage"]["quality"]["roc_auc"]
    assert 0.55 < auc["low"] < auc["high"] < 0.90


def test_the_artifact_holds_what_the_design_promises(body: dict) -> None:
    assert artifacts.verify(body) == []


def test_threads_do_not_change_a_byte(regressed: Path, body: dict) -> None:
    again = reviewed(regressed, threads=1)
    assert artifacts.file_bytes(again) == artifacts.file_bytes(body)


@pytest.mark.parametrize("form", ["parquet", "shuffled csv", "parquet parts"])
def test_format_and_row_order_do_not_change_the_evidence(
    regressed: Path, body: dict, tmp_path: Path, form: str
) -> None:
    data = tmp_path / "data"
    if form == "parquet":
        write(generate("regressed", None, 1), data, "parquet")
    elif form == "shuffled csv":
        data.mkdir()
        for path in regressed.glob("*.csv"):
            head, *rows = path.read_text().splitlines(keepends=True)
            random.Random(7).shuffle(rows)
            (data / path.name).write_text("".join([head, *rows]))
    else:
        write(generate("regressed", None, 1), data, "parquet")
        whole = data / "llm_system_interactions.parquet"
        frame = pd.read_parquet(whole)
        whole.unlink()
        parts = data / "llm_system_interactions"
        parts.mkdir()
        for index, start in enumerate(range(0, len(frame), 7_000)):
            frame.iloc[start : start + 7_000].to_parquet(parts / f"part-{index}.parquet")
    assert reviewed(data)["evidence_digest"] == body["evidence_digest"]


def test_broken_telemetry_stops_before_anything_is_written(
    regressed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(regressed, data)
    path = data / "llm_system_interactions.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[0, "latency_ms"] = "-1"
    frame.loc[1, "total_tokens"] = str(int(frame.loc[1, "total_tokens"]) + 1)
    frame.loc[2, "timestamp_utc"] = "2026-09-21T04:05:06+02:00"
    frame.loc[3, "interaction_id"] = frame.loc[4, "interaction_id"]
    frame.loc[5, "is_failure"] = "maybe"
    frame.to_csv(path, index=False)
    out = tmp_path / "out"
    code = main(["render", "--data", str(data), "--policy", str(POLICY), "--out", str(out)])
    told = capsys.readouterr()
    assert code == 1
    assert not out.exists()
    for rule in ("ranges", "token_sum", "timestamp_utc", "key_unique", "types"):
        assert rule in told.err, rule
    with pytest.raises(ContractError) as stopped:
        reviewed(data)
    assert len(stopped.value.violations) >= 5


def test_the_committed_sample_is_what_its_command_makes(tmp_path: Path) -> None:
    made = write(generate("regressed", None, 1), tmp_path / "data", "csv.gz")
    kept = POLICY.parents[1] / "data" / "sample"
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in kept.iterdir())
    for path in made.iterdir():
        assert path.read_bytes() == (kept / path.name).read_bytes(), path.name
    assert sum(p.stat().st_size for p in kept.iterdir()) < 4_000_000


def test_the_policy_of_the_report_names_the_sample() -> None:
    assert load(POLICY).policy.data == "data/sample"


def test_a_count_fails_where_it_is_above_its_limit_and_nowhere_else(body: dict) -> None:
    counted = [c for c in body["checks"] if c["unit"] in ("episodes", "slices", "features")]
    assert len(counted) >= 5
    for c in counted:
        assert (c["outcome"] == "fail") == (c["value"] > c["limit"]), c["id"]
