"""What the triage page says of modes, and that it says no more than the figures bear."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.present import triage

RIVAL = {"name": "review_none", "saving_usd": 1.0, "low": -1.0}
LEVER = {"sentence": "Something would help."}


@pytest.mark.parametrize(
    ("mode", "rivals", "words"),
    [
        ("selective", [RIVAL], "What would make it pay more"),
        ("review_none", [RIVAL], "The model was not surely better than working without it."),
        ("review_none", [], "No threshold of the model fits capacity and guard."),
    ],
)
def test_why_the_model_is_not_used(mode: str, rivals: list[dict[str, Any]], words: str) -> None:
    section = {"operating_mode": mode, "rivals": rivals, "levers": [LEVER]}
    assert words in str(triage._levers(section)[0])


def test_a_reason_is_given_once() -> None:
    told = triage._mode({"operating_mode": None, "reason": "there is no label"})
    assert "no label" not in str(told[0])


@pytest.mark.parametrize(("release", "told"), [(None, False), ("r2", True)])
def test_a_canarys_reviews_are_those_of_all_traffic(release: str | None, told: bool) -> None:
    body = {"windows": {"candidate": {"release_id": release}}}
    assert ("all traffic" in triage._covered(body)) is told


@pytest.mark.parametrize(
    ("share", "shown"), [(8.2e-7, "0 %"), (0.004, "0 %"), (0.496, "50 %"), (None, "–")]
)
def test_a_probability_that_chance_outweighs_is_none(share: float | None, shown: str) -> None:
    assert triage._whole_percent(share) == shown
