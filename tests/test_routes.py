"""The exports mean what was backtested: read back, and followed as LiteLLM follows them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UsageError
from analysis.policy_routing import Routing
from analysis.routes import MAX_CELLS, TODAY, as_litellm, as_yaml
from analysis.strict_yaml import Tree
from analysis.yaml_text import is_visible

FEW = settings(max_examples=60, deadline=None, derandomize=True)
A = {"model_provider": "openai", "model_name": "gpt-a"}
B = {"model_provider": "anthropic", "model_name": "claude-b"}
CODING = {"when": {"use_case": "coding"}, "use": A}


def candidate(*rules: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "name": "coding-to-a",
        "recommendation": "adopt",
        "reason": "it saves",
        "rules": list(rules),
        **values,
    }


def body(**values: Any) -> dict[str, Any]:
    """What the exports read of an artifact besides the candidate."""
    of_policy = values.pop("candidates", [])
    return {
        "release": {"id": "2026.11.2"},
        "evidence_digest": "sha256:0123",
        "policy": {"settings": {"routing": {"candidates": of_policy}}},
        **values,
    }


def comments(text: str) -> str:
    lines = [line.strip().lstrip("#").strip() for line in text.splitlines()]
    return " ".join(lines)


# ── plain YAML ───────────────────────────────────────────────────────────────────────────

NASTY = st.sampled_from(
    [
        "'); DROP TABLE x;--", 'a"b', "a: b", "- a", "# a", "\u202eevil", "a\u200bb", "no", "null", "1e3",
        "2026-01-01", "{a: [b", "&a *a !!python/object", "---", "x\r\ny", "x\n- name: evil", "a\x1b[31mb",
        "a\u2028b", "a\tb", "a\x00b", "\\u0041", "ключ", "𝒳", "", " a ", "12", "0x1f", "true", "~", "=",
    ]
)  # fmt: skip
TEXT = st.one_of(NASTY, st.text(st.characters(blacklist_categories=["Cs"]), max_size=80))
NUMBERS = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
SCALARS = st.one_of(TEXT, NUMBERS)
SHARES = st.sampled_from([None, 1.0, 0.5, 0.25, 0.1, 0.333333333333, 1e-05])
RULES = st.fixed_dictionaries(
    {
        "when": st.dictionaries(TEXT, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=3),
        "use": st.dictionaries(TEXT, SCALARS, min_size=1, max_size=3),
    },
    optional={"share": SHARES},
)  # fmt: skip


def told(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule without a share that says nothing."""
    return {k: v for k, v in rule.items() if not (k == "share" and v in (None, 1))}


@FEW
@given(rules=st.lists(RULES, min_size=1, max_size=4), words=TEXT)
def test_yaml_reads_back_as_the_rules_whatever_they_and_the_comments_hold(
    rules: list[dict[str, Any]], words: str
) -> None:
    text = as_yaml(candidate(*rules, reason=words), body(release={"id": words}))
    assert all(is_visible(c) or c == "\n" for c in text)
    expected = [{"name": "coding-to-a", "rules": [told(r) for r in rules]}]
    assert yaml.safe_load(text) == expected
    tree = Tree(text)
    assert (tree.data, tree.problems) == (expected, {})


def test_yaml_goes_into_a_policy_and_keeps_the_limit_it_was_judged_by() -> None:
    named = [{"name": "other"}, {"name": "coding-to-a", "max_failure_rate": 0.05, "learn": None}]
    text = as_yaml(candidate(CODING), body(candidates=named))
    (read,) = Routing.model_validate({"candidates": yaml.safe_load(text)}).candidates
    assert read.max_failure_rate == 0.05
    assert read.rules is not None
    assert [(r.when, r.use) for r in read.rules] == [(CODING["when"], CODING["use"])]


@pytest.mark.parametrize("form", [as_yaml, as_litellm])
def test_the_comment_says_what_the_text_rests_on(form: Any) -> None:
    text = comments(form(candidate(CODING), body()))
    assert "candidate coding-to-a: adopt: it saves." in text
    assert 'Release "2026.11.2", evidence sha256:0123.' in text


@pytest.mark.parametrize("form", [as_yaml, as_litellm])
@pytest.mark.parametrize("told", ["keep", "insufficient_evidence"])
def test_what_is_not_adopted_says_so_and_why(form: Any, told: str) -> None:
    text = form(candidate(CODING, recommendation=told, reason="it breaks more"), body())
    first = comments(text)[:90]
    assert f"NOT ADOPTED ({told.replace('_', ' ')}): it breaks more." in first


def test_learned_rules_say_so() -> None:
    named = [{"name": "coding-to-a", "learn": "share_split"}]
    text = as_yaml(candidate(CODING), body(candidates=named))
    assert "Learned on the baseline window (share_split)" in comments(text)


@pytest.mark.parametrize("form", [as_yaml, as_litellm])
def test_a_candidate_without_rules_is_one_error(form: Any) -> None:
    with pytest.raises(UsageError, match=r"cascade has no rules to export: bounds only"):
        form(candidate(name="cascade", reason="bounds only"), body())


@pytest.mark.parametrize("form", [as_yaml, as_litellm])
@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(form: Any, share: float) -> None:
    with pytest.raises(UsageError, match="a rule's share is"):
        form(candidate({**CODING, "share": share}), body())


# ── LiteLLM ──────────────────────────────────────────────────────────────────────────────


def drawn(config: Mapping[str, Any], tags: list[str]) -> dict[str, Fraction]:
    """The chance of each model, as LiteLLM draws it (`tag_filtering_match_any`, `simple-shuffle`)."""
    params = [d["litellm_params"] for d in config["model_list"]]
    pool = [p for p in params if set(p["tags"]) & set(tags)]
    pool = pool or [p for p in params if "default" in p["tags"]]
    total = sum(p["weight"] for p in pool)
    chances: dict[str, Fraction] = {}
    for p in pool:
        chances[p["model"]] = chances.get(p["model"], Fraction(0)) + Fraction(p["weight"], total)
    return chances


def backtested(rules: list[dict[str, Any]], request: Mapping[str, Any]) -> dict[str, Fraction]:
    """The chance of each model by the rules themselves: first match, falling through, today."""
    left, chances = Fraction(1), {}
    for rule in rules:
        wanted = {k: v if isinstance(v, list) else [v] for k, v in rule["when"].items()}
        if all(request.get(k) in v for k, v in wanted.items()) and left:
            model = "/".join(rule["use"].values())
            taken = left * Fraction(repr(rule.get("share") or 1))
            chances[model] = chances.get(model, Fraction(0)) + taken
            left -= taken
    return {**chances, **({TODAY: left} if left else {})}


def tag_of(rules: list[dict[str, Any]], request: Mapping[str, Any]) -> list[str]:
    """What the export's comment asks of a caller."""
    named: dict[str, list[Any]] = {}
    for rule in rules:
        for column, values in rule["when"].items():
            named.setdefault(column, []).extend(values if isinstance(values, list) else [values])
    pairs = [f"{c}:{request[c]}" for c, values in named.items() if request.get(c) in values]
    return [";".join(pairs)] if pairs else []


VALUES = {
    "use_case": ["coding", "chat", "yes", "no: 1"],
    "tier": ["free", "pro, or # more"],
    "n": [0, 1],
}
SMALL = st.fixed_dictionaries(
    {
        "when": st.fixed_dictionaries(
            {},
            optional={
                k: st.one_of(st.sampled_from(v), st.lists(st.sampled_from(v), unique=True))
                for k, v in VALUES.items()
            },
        ),
        "use": st.sampled_from([A, B]),
    },
    optional={"share": SHARES},
)
REQUESTS = st.fixed_dictionaries(
    {}, optional={k: st.sampled_from([*v, "unlisted"]) for k, v in VALUES.items()}
)


@settings(FEW, max_examples=150)
@given(
    rules=st.lists(SMALL, min_size=1, max_size=4),
    requests=st.lists(REQUESTS, min_size=5, max_size=9),
)
def test_litellm_draws_for_every_request_what_was_backtested(
    rules: list[dict[str, Any]], requests: list[dict[str, Any]]
) -> None:
    config = yaml.safe_load(as_litellm(candidate(*rules), body()))
    for request in [*requests, {}]:
        expected = backtested(rules, request)
        tags = tag_of(rules, request)
        assert drawn(config, tags) == expected
        # Tags of others, as for spend, change nothing.
        assert drawn(config, [*tags, "team-a"]) == expected
    weights = [d["litellm_params"]["weight"] for d in config["model_list"]]
    assert all(type(w) is int and w > 0 for w in weights)
    ids = [d["model_info"]["id"] for d in config["model_list"]]
    assert len(set(ids)) == len(ids)
    assert {d["model_name"] for d in config["model_list"]} == {"coding-to-a"}


def test_one_rule_is_one_deployment_beside_todays() -> None:
    rule = {"when": {"use_case": ["coding", "chat"]}, "use": A, "share": 0.25}
    text = as_litellm(candidate(rule), body())
    assert yaml.safe_load(text) == {
        "model_list": [
            {
                "model_name": "coding-to-a",
                "litellm_params": {
                    "model": "openai/gpt-a", "tags": ["use_case:coding", "use_case:chat"], "weight": 1,
                },
                "model_info": {"id": "coding-to-a.rule-1"},
            },
            {
                "model_name": "coding-to-a",
                "litellm_params": {"model": TODAY, "tags": ["default"], "weight": 1},
                "model_info": {"id": "coding-to-a.today"},
            },
            {
                "model_name": "coding-to-a",
                "litellm_params": {
                    "model": TODAY, "tags": ["use_case:coding", "use_case:chat"], "weight": 3,
                },
                "model_info": {"id": "coding-to-a.today.2"},
            },
        ],
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "enable_tag_filtering": True,
            "tag_filtering_match_any": True,
        },
    }  # fmt: skip
    said = comments(text)
    assert "use_case: coding, chat" in said
    assert said.count("NOT EXPRESSED") == 2
    assert "not the header" in said


def test_rules_that_take_all_traffic_leave_nothing_to_todays_choice() -> None:
    text = as_litellm(candidate({"when": {}, "use": A}, CODING), body())
    (only,) = yaml.safe_load(text)["model_list"]
    assert only["litellm_params"] == {"model": "openai/gpt-a", "tags": ["default"], "weight": 1}
    said = comments(text)
    assert "Rule 2: use_case is coding; nothing is left for it." in said
    assert "REPLACE" not in said
    assert said.count("NOT EXPRESSED") == 1


def test_a_model_without_a_provider_stands_alone() -> None:
    rule = {"when": {}, "use": {"model_name": "gpt-a"}}
    (only,) = yaml.safe_load(as_litellm(candidate(rule), body()))["model_list"]
    assert only["litellm_params"]["model"] == "gpt-a"


@FEW
@given(value=TEXT, words=TEXT)
def test_hostile_values_stay_values(value: str, words: str) -> None:
    rule = {"when": {"use_case": value}, "use": {"model_provider": "p", "model_name": value}}
    text = as_litellm(candidate(rule, reason=words), body(release={"id": words}))
    assert all(is_visible(c) or c == "\n" for c in text)
    config = yaml.safe_load(text)
    assert [d["litellm_params"]["model"] for d in config["model_list"]] == [f"p/{value}", TODAY]
    assert config["model_list"][0]["litellm_params"]["tags"] == [f"use_case:{value}"]


MANY = {f"c{i}": [str(j) for j in range(12)] for i in range(4)}
REFUSED = {
    "an action that LiteLLM does not know": (
        {"when": {}, "use": {"model_name": "a", "prompt_version": "v2"}}, "cannot set.*prompt_version",
    ),
    "an action without a model": ({"when": {}, "use": {"model_provider": "p"}}, "cannot set"),
    "a model that would be read from the environment": (
        {"when": {}, "use": {"model_provider": "os.environ", "model_name": "SECRET"}}, "as a command",
    ),
    "a tag that would exclude": ({"when": {"!use_case": "coding"}, "use": A}, "as a command"),
    "a tag that would be required": ({"when": {"&use_case": "coding"}, "use": A}, "as a command"),
    "more combinations than a person reads": ({"when": MANY, "use": A}, f"at most {MAX_CELLS:,}"),
    "two combinations with one tag": (
        {"when": {"a": ["1", "1;b:2"], "b": "2"}, "use": A}, "two combinations",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_what_litellm_would_route_otherwise_is_refused(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        as_litellm(candidate(rule), body())
    assert yaml.safe_load(as_yaml(candidate(rule), body()))[0]["rules"] == [rule]
