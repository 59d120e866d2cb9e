"""What page one tells of the gate: every rule with its figure, and telemetry's and policy's text as text."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis import review as reviews
from analysis.present import decision
from analysis.review import Review

OWNER = "<b>ann</b> & co"


@pytest.fixture(scope="module")
def ruled(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Review:
    folder = tmp_path_factory.mktemp("ruled")
    path = folder / "policy.yml"
    policy = {
        "release": {"id": "r1"},
        "gate": {
            "thresholds": [
                {"name": "coding", "metric": "failure_rate", "max": 0.5, "when": {"use_case": "<i>x"}},
                {"name": "p95", "metric": "latency_ms_p95", "max": 100, "severity": "block"},
            ],
            "waivers": [{"check": "threshold.p95", "owner": OWNER, "reason": "<u>slow</u> today",
                         "expires": "2999-01-01"}],
            "baselines": {"allowed": {"failure_rate": 0.01}},
        },
    }  # fmt: skip
    path.write_text(yaml.safe_dump(policy))
    return reviews.compute(reviews.request(data=str(tiny_data), policy=path))


def shown(review: Review) -> str:
    parts = decision.parts(review)
    return "\n".join(
        str(block) for part in (parts.answer, parts.evidence, parts.actions) for block in part
    )


def changed(review: Review, **given: Any) -> Review:
    body: dict[str, Any] = copy.deepcopy(dict(review.body))
    body["decision"].update(given)
    return dataclasses.replace(review, body=body)


def test_the_error_rate_and_its_family_stand_on_page_one(ruled: Review) -> None:
    family = sum(c["p_adjusted"] is not None for c in ruled.body["checks"])
    plural = "check" if family == 1 else "checks"
    told = f"One error rate of 5 %, for {family} regression {plural} together"
    assert told in shown(ruled)


def test_looks_are_told_with_it(ruled: Review) -> None:
    body: dict[str, Any] = copy.deepcopy(dict(ruled.body))
    body["policy"]["settings"]["gate"]["looks"] = 14
    assert "spread over 14 daily looks" in shown(dataclasses.replace(ruled, body=body))


def test_a_waiver_is_told_with_who_why_and_until_when(ruled: Review) -> None:
    text = shown(ruled)
    assert "threshold.p95" in text
    assert (
        "&lt;b&gt;ann&lt;/b&gt; &amp; co, until 2999-01-01: &lt;u&gt;slow&lt;/u&gt; today" in text
    )
    assert "<b>ann" not in text
    assert "<u>slow" not in text


def test_thresholds_have_their_table(ruled: Review) -> None:
    text = shown(ruled)
    assert "Thresholds of the policy" in text
    assert "use_case “&lt;i&gt;x”" in text
    assert "<i>x" not in text


def test_recorded_releases_that_lack_are_told(ruled: Review) -> None:
    text = shown(ruled)
    assert "Against the last recorded releases" in text
    assert "0 recorded releases before the window" in text


def test_what_would_turn_the_decision_stands_with_what_to_do(ruled: Review) -> None:
    flips = ruled.body["decision"]["flips"]
    assert flips
    actions = "\n".join(str(block) for block in decision.parts(ruled).actions)
    assert "What would turn each of these checks" in actions
    for flip in flips:
        assert flip["data"].split(" in the place")[0] in re.sub(r"<[^>]*>", "", actions).replace(
            "&#x27;", "'"
        )


def test_a_release_that_ships_is_told_what_is_nearest_to_stop_it(ruled: Review) -> None:
    text = shown(changed(ruled, outcome="ship", blocking=[], holding=[]))
    assert "What is nearest to stop this release" in text


def test_what_each_open_check_needs_is_a_table(ruled: Review) -> None:
    needs = {
        "interactions": 1, "days": 1.0,
        "checks": [
            {"check": "health.failure_rate", "more_interactions": 12345, "more_days": 6.5, "label": None},
            {"check": "health.cost_usd", "more_interactions": None, "more_days": None, "label": "<x>"},
        ],
    }  # fmt: skip
    text = shown(changed(ruled, needs=needs))
    assert "12,345" in text
    assert "&lt;x&gt;" in text
    assert "What would settle the checks that hold" in text


def test_without_rules_nothing_of_them_is_shown(tiny_review: Review) -> None:
    text = shown(tiny_review)
    for title in ("Thresholds of the policy", "Against the last recorded", "Waived"):
        assert title not in text
