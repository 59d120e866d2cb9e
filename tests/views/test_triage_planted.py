"""Triage against worlds whose true risks are known: calibration, ranking, cost, silence, and leaks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from analysis.policy import Policy
from analysis.views import triage
from analysis.views.result import ViewResult
from analysis.views.triage import TriageSection, assess
from analysis.views.triage_policy import Costs
from tests.views.triage_worlds import (
    Floats,
    World,
    best_cost,
    best_threshold_cost,
    expected_cost,
    with_leaks,
    world,
)
from tests.views.world import DAY, START, dated, opened, policy

HISTORY = 42


def rules(days: int, **triage: Any) -> Policy:
    settings = {
        "review_cost_usd": 2,
        "missed_cost_usd": 40,
        "capacity_per_day": 60,
        "queue_p90_guard": 90,
    }
    return policy(triage={**settings, **triage}, windows=dated(0, HISTORY, HISTORY + days))


def assessed(drawn: World, folder: Path, given: Policy) -> ViewResult[TriageSection]:
    with opened(drawn.rows, folder, given) as telemetry:
        return assess(telemetry, telemetry.policy)


def with_risks(
    drawn: World, folder: Path, given: Policy
) -> tuple[ViewResult[TriageSection], Floats]:
    """The view's result, and the risks that it told of the window's rows, in key order."""
    held: list[Floats] = []
    told = triage._told

    def seen(inputs: Any, learned: Any, choice: Any, read: Any) -> Any:
        held.append(read.queue.risk)
        return told(inputs, learned, choice, read)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(triage, "_told", seen)
        return assessed(drawn, folder, given), held[0]


def judged(seed: int, kind: Any, days: int, folder: Path, **triage: Any) -> dict[str, float]:
    """A world of 40,000 interactions in 42 days, and the window of so many days after them."""
    a_day = 40_000 / HISTORY
    drawn = world(seed, kind, n_sessions=round(a_day * (HISTORY + days) / 2.5), days=HISTORY + days)
    given = rules(days, **triage)
    result, own = with_risks(drawn, folder, given)
    section = result.section
    inside = drawn.window(HISTORY)
    risk, rows = drawn.risk[inside], drawn.rows[inside]
    day = ((rows["timestamp_utc"] - START) // DAY).to_numpy()
    told = result.tables["triage_actions.csv"]
    reviewed = rows["interaction_id"].isin(told["interaction_id"]).to_numpy(dtype=float)
    costs = Costs(
        given.triage.review_cost_usd,
        given.triage.missed_cost_usd,
        given.triage.capacity_per_day,
        given.triage.queue_p90_guard,
    )
    # Ids are in the order of rows, so that the rows of the window are in key order.
    best = roc_auc_score(rows["is_failure"].astype(bool), risk)
    assert section.quality.roc_auc.value is not None
    assert section.quality.calibration_error.value is not None
    return {
        "selective": float(section.operating_mode == "selective"),
        "auc_short": best - section.quality.roc_auc.value,
        "calibration_error": section.quality.calibration_error.value,
        "threshold": expected_cost(risk, reviewed, costs)
        / best_threshold_cost(own, risk, day, costs),
        "cost": expected_cost(risk, reviewed, costs) / best_cost(risk, day, costs),
    }


WORLDS = [("additive", 1), ("steps", 2), ("pairs", 3)]


@pytest.mark.parametrize(("kind", "seed"), WORLDS)
def test_risks_are_near_the_best_there_are(kind: str, seed: int, tmp_path: Path) -> None:
    found = judged(seed, kind, 56, tmp_path)
    assert found["selective"]
    assert found["auc_short"] <= 0.02
    assert found["calibration_error"] <= 0.02
    assert found["threshold"] <= 1.05
    assert found["cost"] <= 1.07


@pytest.mark.simulate
@pytest.mark.parametrize("kind", ["additive", "steps", "pairs"])
@pytest.mark.parametrize("capacity", [25, 60, 400])
def test_risks_are_near_the_best_there_are_at_200_000(
    kind: str, capacity: int, tmp_path: Path
) -> None:
    shorts, errors, costs, thresholds = [], [], [], []
    for seed in range(100, 105):
        found = judged(
            seed, kind, 210, tmp_path / str(seed), capacity_per_day=capacity,
            queue_p90_guard=1.6 * capacity,
        )  # fmt: skip
        shorts.append(found["auc_short"])
        errors.append(found["calibration_error"])
        costs.append(found["cost"])
        thresholds.append(found["threshold"])
    assert np.max(errors) <= 0.02
    assert np.mean(shorts) <= 0.02
    assert np.max(thresholds) <= 1.05
    assert np.mean(costs) <= 1.05


def silent(seed: int, folder: Path, n_sessions: int = 2400) -> bool:
    """Whether a world without any signal is not selective."""
    drawn = world(seed, "nothing", n_sessions=n_sessions, days=56)
    result = assessed(drawn, folder, rules(14, capacity_per_day=12, queue_p90_guard=20))
    return result.section.operating_mode != "selective"


def test_without_a_signal_nothing_is_selective(tmp_path: Path) -> None:
    assert sum(silent(seed, tmp_path / str(seed)) for seed in range(8)) >= 7


@pytest.mark.simulate
def test_without_a_signal_nothing_is_selective_in_200(tmp_path: Path) -> None:
    quiet = sum(silent(1000 + seed, tmp_path / str(seed)) for seed in range(200))
    assert quiet >= 0.95 * 200


def test_planted_leaks_are_never_used(tmp_path: Path) -> None:
    drawn = world(5, "additive", n_sessions=6000, days=56)
    given = rules(14, capacity_per_day=20, queue_p90_guard=32)
    honest = assessed(drawn, tmp_path / "a", given).section
    leaky = assessed(dataclasses.replace(drawn, rows=with_leaks(drawn.rows)), tmp_path / "b", given)
    section = leaky.section
    named = {c.column for c in section.model.left_out}
    assert {
        "failure_type", "tool_error_flag", "final_resolution_state", "response_quality_score",
        "user_feedback_score", "user_feedback_label", "user_reported_issue",
    } <= named  # fmt: skip
    assert named.isdisjoint(section.features)
    for name in ("threshold", "operating_mode", "quality", "features", "policies"):
        assert getattr(section, name) == getattr(honest, name)
