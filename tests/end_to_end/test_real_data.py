"""Reviews of telemetry that nobody here made. The data lie outside of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from analysis import artifact as artifacts
from analysis import review as reviews

PROJECT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RELEASE_REVIEW_SHARED_DATA", PROJECT.parent / "shared" / "data"))


def shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {SHARED}; set RELEASE_REVIEW_SHARED_DATA to where the data lie")
    return folder


def reviewed(data: Path, tmp_path: Path, policy: str) -> dict:
    path = tmp_path / "policy.yml"
    path.write_text(policy)
    return dict(reviews.compute(reviews.request(data=str(data), policy=path)).body)


LLMDRIFT = """
release: {id: "2023-06"}
cluster: session
windows: {candidate: {release_id: "2023-06"}, baseline: {release_id: "2023-03"}}
"""
AZURE = """
release: {id: azure}
windows:
  candidate: {start: 2023-11-16T18:45:00Z, end: 2023-11-16T19:30:00Z}
  baseline: {start: 2023-11-16T18:00:00Z, end: 2023-11-16T18:45:00Z}
"""


def check(body: dict, name: str) -> dict:
    return next(c for c in body["checks"] if c["id"] == name)


def test_llmdrift_june_against_march_has_the_published_rates_and_does_not_ship(
    tmp_path: Path,
) -> None:
    data = shared("llmdrift_happy_number")
    body = reviewed(data, tmp_path, LLMDRIFT)
    expected = json.loads((data / "expected.json").read_text())["by_model"]
    health = body["views"]["health"]
    march = (expected["gpt-3.5-turbo-0301"]["failures"] + expected["gpt-4-0314"]["failures"]) / 1000
    june = (expected["gpt-3.5-turbo-0613"]["failures"] + expected["gpt-4-0613"]["failures"]) / 1000
    assert health["baseline"]["failure_rate"]["value"] == pytest.approx(march)
    assert health["candidate"]["failure_rate"]["value"] == pytest.approx(june)
    assert body["decision"]["outcome"] != "ship"
    assert artifacts.verify(body) == []


def test_llmdrift_names_the_collapsed_model(tmp_path: Path) -> None:
    body = reviewed(shared("llmdrift_happy_number"), tmp_path, LLMDRIFT)
    levels = [
        f["slice"]
        for f in body["views"]["hotspots"]["found"]
        if f["metric"] == "failure" and f["kind"] == "level"
    ]
    assert {"model_name": "gpt-4-0613"} in levels


def test_azure_without_labels_latency_cost_or_models_holds_and_says_why(tmp_path: Path) -> None:
    body = reviewed(shared("azure_2023"), tmp_path, AZURE)
    assert body["decision"]["outcome"] == "hold"
    for name, column in [
        ("health.failure_rate", "is_failure"),
        ("health.latency_breach_rate", "latency_ms"),
        ("health.cost_usd", "cost_usd"),
    ]:
        found = check(body, name)
        assert found["outcome"] == "inconclusive"
        assert column in found["reason"]
        assert found["value"] is None
    assert body["views"]["health"]["baseline"]["failure_rate"]["value"] is None
    assert artifacts.verify(body) == []


def test_azure_by_days_has_no_baseline_and_says_what_the_data_span(tmp_path: Path) -> None:
    from analysis.errors import WindowError

    with pytest.raises(WindowError, match="2023-11-16"):
        reviewed(shared("azure_2023"), tmp_path, "release: {id: azure}")
