"""Rules in order: what each takes of a request, and where the log says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy, RoutingRule
from analysis.views.routing_log import combinations
from analysis.views.routing_plan import KEEP, NEVER_LOGGED, Plan, plan


def planned(rules: list[dict[str, Any]]) -> tuple[Plan, Any]:
    """Of four requests: two of chat (models a and b), two of code (both a)."""
    frame = pd.DataFrame({"use_case": ["chat", "chat", "code", "code"], "model_name": list("abaa")})
    action, actions = combinations(frame, ["model_name"])
    cell, cells = combinations(frame, ["use_case"])
    log: Any = SimpleNamespace(
        frame=frame, action=action, actions=actions, cell=cell, cells=cells,
        choices=frame.groupby(["use_case", "model_name"]).size()
        .rename("n").reset_index(),
    )  # fmt: skip
    policy = Policy.model_validate(
        {"routing": {"action": ["model_name"], "context": ["use_case"], "protect": []}}
    )
    return plan(log, policy, [RoutingRule.model_validate(r) for r in rules]), log


def to(model: str, share: float = 1.0, **when: str) -> dict[str, Any]:
    return {"when": when, "use": {"model_name": model}, "share": share}


def test_what_no_rule_matches_stays() -> None:
    found, log = planned([to("b", use_case="chat")])
    np.testing.assert_array_equal(found.stays, [0, 0, 1, 1])
    np.testing.assert_array_equal(found.moved_to(log.action), [0, 1, 0, 0])
    np.testing.assert_array_equal(found.lost, 0)


def test_a_rule_takes_its_share_of_what_earlier_ones_left() -> None:
    found, log = planned(
        [to("b", 0.25, use_case="chat"), to("a", 0.5), to("b", 1.0, use_case="code")]
    )
    np.testing.assert_allclose(found.stays, [0.375, 0.375, 0, 0])
    np.testing.assert_allclose(found.taken_by(0), [0.25, 0.25, 0, 0])
    np.testing.assert_allclose(found.taken_by(1), [0.375, 0.375, 0.5, 0.5])
    np.testing.assert_allclose(found.taken_by(2), [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(found.moved_to(log.action), [0.375, 0.25, 0.5, 0.5])
    # Code never went to b.
    np.testing.assert_allclose(found.lost, [0, 0, 0.5, 0.5])


def test_after_a_whole_share_nothing_is_left() -> None:
    found, _ = planned([to("b"), to("a")])
    np.testing.assert_array_equal(found.taken_by(1), 0)
    assert len(found.layers) == 1


def test_an_action_that_nobody_ever_took_has_no_code_and_no_support() -> None:
    found, log = planned([to("z", use_case="chat")])
    np.testing.assert_array_equal(found.layers[0].target, [NEVER_LOGGED, NEVER_LOGGED, KEEP, KEEP])
    np.testing.assert_array_equal(found.lost, [1, 1, 0, 0])
    np.testing.assert_array_equal(found.moved_to(log.action), 0)


def test_without_rules_everything_stays() -> None:
    found, _ = planned([])
    assert found.layers == ()
    assert not found.changed.any()


@pytest.mark.parametrize("share", [0.0, 1.2, -0.1])
def test_a_share_is_a_part(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        RoutingRule.model_validate(to("b", share))
