"""The routing benchmark: its contenders say what they would say by themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from skdr_eval import core

from benchmarks.routing import case_of
from benchmarks.routing_peers import with_group_means, with_project, with_skdr_eval
from tests.views import test_routing_planted as planted


@pytest.fixture(scope="module")
def seen() -> planted.Run:
    return planted.flattering(3, known=True, n=5_000)


def test_the_project_says_what_its_view_says(seen: planted.Run) -> None:
    word = with_project.judge(case_of(seen))["project"]
    assert word.adopted == (seen.verdict.recommendation == "adopt")
    assert seen.result.saving is not None
    assert (word.saving, word.low, word.high) == (
        seen.result.saving.value,
        seen.result.saving.lower(0.975),
        seen.result.saving.upper(0.975),
    )


def test_group_means_are_those_of_the_view(seen: planted.Run) -> None:
    word = with_group_means.judge(case_of(seen))["group means"]
    assert word.saving == pytest.approx(seen.result.estimates["naive"].saving.value)
    assert word.low is not None
    assert word.adopted == (word.low > 0)


def test_skdr_eval_with_logged_propensities_is_its_evaluator_given_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = case_of(planted.better(3, known=True, n=1_500))
    order = np.argsort(case.frame["ts_us"].to_numpy(), kind="stable")
    own = case.frame["routing_propensity"].to_numpy()[order]

    def logged(x: Any, action: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        e = np.repeat(((1 - own) / 2)[:, None], 3, axis=1)
        e[np.arange(len(own)), action] = own
        return e, None

    monkeypatch.setattr(core, "fit_propensity_timecal", logged)
    bare = dataclasses.replace(case, frame=case.frame.drop(columns="routing_propensity"))
    theirs, ours = with_skdr_eval.judge(bare), with_skdr_eval.judge(case)
    for name, word in ours.items():
        assert word.saving is not None
        assert (word.saving, word.low, word.high) == pytest.approx(
            (theirs[name].saving, theirs[name].low, theirs[name].high)
        )
