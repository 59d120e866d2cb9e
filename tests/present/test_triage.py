"""The triage page: every mode, with what is known of it."""

from __future__ import annotations

import copy
import html
import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from analysis.present import triage
from analysis.review import Review

ATTACK = '<script>alert(1)</script>{{< env HOME >}}`"'


def of(review: Review, series: dict[str, pd.DataFrame] | None = None, **section: Any) -> Review:
    """The review with another triage section, and other frames."""
    body = copy.deepcopy(dict(review.body))
    body["views"]["triage"].update(section)
    result = review.results["triage"]
    held = {**result.series, **(series or {})}
    return replace(
        review, body=body, results={**review.results, "triage": replace(result, series=held)}
    )


def page(review: Review) -> str:
    drawn = triage.parts(review)
    return "".join(map(str, (*drawn.answer, *drawn.evidence, *drawn.actions)))


def words(review: Review) -> str:
    """The page's text, without what an image holds."""
    plain = re.sub(r'src="data:[^"]*"', "", page(review))
    return html.unescape(re.sub(r"<[^>]+>", " ", plain))


def alts(review: Review) -> list[str]:
    return [html.unescape(a) for a in re.findall(r' alt="([^"]*)"', page(review))]


def test_every_question_has_its_figure_with_numbers(sample: Review) -> None:
    told = alts(sample)
    beginnings = (
        "Cost over the review threshold", "Precision and recall", "Daily review queue",
        "Predicted reviews by weekday", "Reviews due by hour", "Backlog by day", "Reliability in",
        "Decision curve",
    )  # fmt: skip
    assert len(told) == len(beginnings)
    for begin, alt in zip(beginnings, told, strict=True):
        assert alt.startswith(begin)
        assert re.search(r"\d", alt)
        assert "nan" not in alt


def test_the_tables_tell_the_artifacts_numbers(sample: Review) -> None:
    section = sample.body["views"]["triage"]
    text = words(sample)
    for title in (
        "What each way of reviewing would have cost", "Why this mode", "A weekday's queue",
        "How good the model is", "Before the window, and in it", "Where the risks are off",
        "Which model was chosen", "What the model may not read",
    ):  # fmt: skip
        assert title in text
    assert f"{section['quality']['roc_auc']['value']:.3f}" in text
    assert "hallucination_flag" in text
    assert "triage_policy.json" in text
    assert "Learn-then-Test" in text
    for lever in section["levers"]:
        assert lever["sentence"].split(",")[0].split(".")[0] in text


def test_a_mode_that_reviews_nothing_has_no_queue(sample: Review) -> None:
    shown = of(sample, operating_mode="review_none", threshold=1.0)
    text = words(shown)
    assert "review nothing" in text
    assert "no daily queue to show" in text
    assert "A weekday's queue" not in text
    begun = [a.split(",")[0] for a in alts(shown)]
    assert not any(a.startswith(("Daily review queue", "Reviews due by hour")) for a in begun)
    assert "The model was not surely better" in text


def test_without_a_model_the_page_says_why(sample: Review) -> None:
    quality = {k: {"value": None, "low": None, "high": None, "support": 0}
               for k in sample.body["views"]["triage"]["quality"]}  # fmt: skip
    shown = of(
        sample,
        dict.fromkeys(sample.results["triage"].series, pd.DataFrame()),
        operating_mode=None, threshold=None, reason="there are 0 failures", quality=quality,
        rivals=[], levers=[], slices=[], stability=None, risk_control=None,
        model={"kind": None, "calibration": None, "tried": [], "left_out": [], "implausible": []},
        workload={**sample.body["views"]["triage"]["workload"], "weekdays": []},
    )  # fmt: skip
    assert "No mode is chosen" in words(shown)
    assert alts(shown) == []


def test_where_no_slice_is_off_the_page_says_so(sample: Review) -> None:
    assert "In no slice are the risks surely off" in words(of(sample, slices=[]))


def test_a_promise_that_cannot_be_made_is_told(sample: Review) -> None:
    held = {**sample.body["views"]["triage"]["risk_control"], "threshold": None,
            "reason": "12 known failures are too few"}  # fmt: skip
    text = words(of(sample, risk_control=held))
    assert "this cannot be promised. 12 known failures are too few." in text


@pytest.mark.parametrize("place", ["slice", "left_out", "lever"])
def test_hostile_text_is_text(sample: Review, place: str) -> None:
    section = copy.deepcopy(sample.body["views"]["triage"])
    if place == "slice":
        section["slices"][0]["value"] = ATTACK
    elif place == "left_out":
        section["model"]["left_out"][0]["column"] = ATTACK
    else:
        section["levers"][0]["sentence"] = ATTACK
    shown = page(of(sample, **section))
    assert "<script" not in shown
    assert "{{<" not in shown
