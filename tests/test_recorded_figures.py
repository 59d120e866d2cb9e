"""The ledger's releases as baselines: what is read, what is refused, and what a review makes of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import artifact as artifacts
from analysis import review as reviews
from analysis.errors import PolicyError
from analysis.policy import Policy
from analysis.recorded_figures import recorded_figures
from analysis.review import Review

ALLOWED = {"failure_rate": 0.01, "cost_usd_per_interaction": 1.1}
WEEKS = ("2026-09-01", "2026-09-08", "2026-09-15", "2026-09-22", "2026-09-29")


def rules(**more: Any) -> dict[str, Any]:
    return {"gate": {"baselines": {"allowed": ALLOWED, **more}}}


@pytest.fixture
def project(tiny_review: Review, tmp_path: Path) -> Path:
    """A ledger of four weeks, each of which is the small review at another time."""
    for name, start, end in zip("abcd", WEEKS, WEEKS[1:], strict=False):
        keep(tmp_path, tiny_review, f"weekly-{name}", start, end)
    (tmp_path / "report").mkdir()
    return tmp_path


def keep(root: Path, review: Review, name: str, start: str, end: str) -> Path:
    body: dict[str, Any] = copy.deepcopy(dict(review.body))
    body["release"]["id"] = name
    window = body["windows"]["candidate"]
    window["start_utc"], window["end_utc"] = f"{start}T00:00:00Z", f"{end}T00:00:00Z"
    body["evidence_digest"] = artifacts.evidence_digest(body)
    body["digest"] = artifacts.digest(body)
    folder = root / "data" / "releases" / name
    artifacts.write(body, folder / artifacts.FILE_NAME)
    return folder


def found(project: Path, **more: Any) -> list[str]:
    policy = Policy.model_validate(rules(**more))
    return [r.release_id for r in recorded_figures(policy, project, "policy")]


def test_all_that_match_are_read_in_the_order_of_time(project: Path) -> None:
    assert found(project) == ["weekly-a", "weekly-b", "weekly-c", "weekly-d"]
    assert found(project, releases="weekly-[ab]") == ["weekly-a", "weekly-b"]
    assert found(project, releases="2026.*") == []


def test_without_the_rule_nothing_is_read(project: Path) -> None:
    (project / "data" / "releases" / "weekly-a" / artifacts.FILE_NAME).write_text("{}")
    assert recorded_figures(Policy(), project, "policy") == ()


def test_figures_are_those_of_the_artifact(project: Path, tiny_review: Review) -> None:
    (first, *_) = recorded_figures(Policy.model_validate(rules()), project, "policy")
    health = tiny_review.body["views"]["health"]["candidate"]
    assert first.figures["failure_rate"].value == health["failure_rate"]["value"]
    assert first.latency_rule is not None
    assert first.latency_rule["above"] == 2200
    assert first.input.file == "data/releases/weekly-a/decision_artifact.json"


def test_every_entry_that_was_changed_is_refused_at_once(project: Path) -> None:
    for name in ("weekly-a", "weekly-c"):
        path = project / "data" / "releases" / name / artifacts.FILE_NAME
        body = json.loads(path.read_text())
        body["views"]["health"]["candidate"]["failure_rate"]["value"] = 0.9
        path.write_text(json.dumps(body))
    with pytest.raises(PolicyError) as refused:
        found(project)
    assert [p.split(":")[1].strip() for p in refused.value.problems] == [
        "data/releases/weekly-a", "data/releases/weekly-c",
    ]  # fmt: skip
    assert "does not agree with its digests" in refused.value.problems[0]


def test_a_review_judges_against_them_and_names_what_it_read(
    project: Path, tiny_data: Path, tiny_review: Review
) -> None:
    policy = project / "report" / "policy.yml"
    policy.write_text(yaml.safe_dump({"release": {"id": "now"}, **rules()}))
    wanted = reviews.request(data=str(tiny_data), project=project)
    body = reviews.compute(wanted).body
    held = {f["figure"]: f for f in body["views"]["gate"]["baselines"]}
    assert held["failure_rate"]["releases"] == ["weekly-d", "weekly-c", "weekly-b", "weekly-a"]
    checks = {c["id"]: c for c in body["checks"]}
    own = checks["baseline.failure_rate"]
    assert own["value"] == pytest.approx(0.0, abs=1e-9)
    assert own["p_adjusted"] is not None
    read = [i["file"] for i in body["inputs"] if i["table"] == "gate.baselines"]
    assert read == [f"data/releases/weekly-{n}/decision_artifact.json" for n in "abcd"]
    # Another week in the ledger is another review.
    key = reviews.cache_key(wanted)
    keep(project, tiny_review, "weekly-e", "2026-09-29", "2026-10-06")
    assert reviews.cache_key(reviews.request(data=str(tiny_data), project=project)) != key
