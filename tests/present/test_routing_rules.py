"""The rules of candidates and the text that can be pasted into a router."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import yaml

from analysis.present.routing_rules import MAX_EXPORTED, MAX_LETTERS, rules
from analysis.review import Review
from analysis.routes import as_litellm, as_yaml

from .test_routing import ATTACK, candidate, of, text, unknown
from .test_routing import rows as table_rows

TITLE = "The rules of each candidate"
USE = {"model_name": "small", "model_provider": "aurora"}


def drawn(review: Review) -> str:
    return "".join(rules(review.body, review.body["views"]["routing"]))


def exports(markup: str) -> list[str]:
    return [
        html.unescape(m) for m in re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", markup, re.S)
    ]


def test_rules_stand_in_their_order_with_choice_as_the_policy_orders_it(sample: Review) -> None:
    ruled = candidate(
        "a",
        rules=[
            {"when": {"use_case": ["support", "search"]}, "use": USE, "share": 0.3},
            {"when": {}, "use": USE, "share": 1.0},
        ],
    )
    told = table_rows(
        drawn(of(sample, ruled, unknown("b", bounds={"low": 0.0, "high": 1.0}))), TITLE
    )
    assert told[:3] == [
        ["a", "1", "use_case = support or search", "aurora / small", "30 %"],
        ["a", "2", "all traffic", "aurora / small", "100 %"],
        ["b", "–", "bounds only, no rules", "–", "–"],
    ]


def test_a_learned_candidate_says_how_it_was_learned(sample: Review) -> None:
    review = of(sample, candidate("a"))
    settings = review.body["policy"]["settings"]
    named = {
        "routing": {**settings["routing"], "candidates": [{"name": "a", "learn": "best_unit_cost"}]}
    }
    body = {**review.body, "policy": {**review.body["policy"], "settings": {**settings, **named}}}
    told = "".join(rules(body, body["views"]["routing"]))
    assert table_rows(told, TITLE)[0][0] == "a learned: best_unit_cost"


@pytest.mark.parametrize("value", ["support", ATTACK, "a\nb: {c}", "日本\u202e", "x" * 700])
def test_what_is_copied_is_the_export_letter_by_letter(sample: Review, value: str) -> None:
    one = candidate("a", rules=[{"when": {"use_case": value}, "use": USE, "share": 0.3}])
    review = of(sample, one)
    page = drawn(review)
    assert exports(page) == [as_yaml(one, review.body), as_litellm(one, review.body)]
    (policy,) = yaml.safe_load(exports(page)[0])
    assert policy["rules"][0]["when"] == {"use_case": value}
    assert "<script" not in page
    assert not set("{}`") & set(page)


def test_what_a_router_cannot_follow_is_said_in_place_of_the_export(sample: Review) -> None:
    one = candidate("a", rules=[{"when": {}, "use": {"tool": "x"}, "share": 1.0}])
    page = drawn(of(sample, one))
    assert len(exports(page)) == 1
    assert "LiteLLM cannot set tool" in text(page)


def test_an_export_too_long_for_a_page_leads_to_the_command(sample: Review) -> None:
    values = [f"value-{k:05}" for k in range(MAX_LETTERS // 10)]
    one = candidate("a", rules=[{"when": {"use_case": values}, "use": USE, "share": 1.0}])
    page = drawn(of(sample, one))
    assert exports(page) == []
    assert "too long for a page" in page


def test_of_many_candidates_the_first_are_exported_and_the_rest_counted(sample: Review) -> None:
    page = drawn(of(sample, *(candidate(f"c{k}") for k in range(MAX_EXPORTED + 2))))
    assert len(exports(page)) == 2 * MAX_EXPORTED
    assert "2 more by the command" in page


@pytest.mark.parametrize("candidates", [(), (unknown("b"),)])
def test_without_rules_there_is_nothing_to_copy(
    sample: Review, candidates: tuple[Any, ...]
) -> None:
    assert "<details" not in drawn(of(sample, *candidates))
