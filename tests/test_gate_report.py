from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pypandoc
import pytest

from analysis import gate_report
from analysis.errors import UsageError
from analysis.review import Review

Body = dict[str, Any]

# What somebody may have put into a model's name, a release id or a title.
HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
    "\x9b2J",
    "\x00\x07\x08",
    "a\rSHIP",
    "a\nSHIP  release r1",
    "a\n::error::forged",
    "::stop-commands::x",
    "x ##[stop-commands]x ###vso[task.setvariable variable=x]y",
    "100%25 %0A::error::x",
    "]]></failure><testcase name='x'/>",
    "<script>alert(1)</script> & <b>",
    "&lt;i&gt; &#60;",
    "| a | b |\n| --- | --- |",
    "`code` *bold* _it_ ~~gone~~ ![x](http://evil) [y](javascript:z)",
    "@octocat #123 www.evil.example https://evil.example mail@evil.example",
    "$x^2$ \\( \\[",
    "\u202egnorw\u2066\u200b\ufeff",
    "\ufffe\uffff\ufdd0",
    "\ud800",
    "\u2028\u2029",
    "{{< env HOME >}}",
]


@pytest.fixture
def body(tiny_review: Review) -> Body:
    return copy.deepcopy(dict(tiny_review.body))


def made(body: Body, outcomes: dict[str, str], outcome: str) -> Body:
    """The artifact with these outcomes of checks, and the decision that they imply."""
    decision = body["decision"]
    decision.update(outcome=outcome, blocking=[], holding=[], watch=[], waived=[], flips=[])
    decision["needs"]["checks"] = []
    for check in body["checks"]:
        check["outcome"] = outcomes.get(check["id"], "pass")
        check["reason"] = "too little" if check["outcome"] == "inconclusive" else None
        if check["severity"] == "block" and check["outcome"] == "fail":
            decision["blocking"].append(check["id"])
        elif (check["severity"], check["outcome"]) in (("hold", "fail"), ("block", "inconclusive")):
            decision["holding"].append(check["id"])
    return body


def hostile(body: Body, text: str) -> Body:
    """An artifact with `text` in every place that holds free text."""
    made(body, {"health.failure_rate": "fail", "health.cost_usd": "fail"}, "block")
    body["release"].update(id=text, title=text)
    body["decision"]["headline"] = f"Do not ship: {text}"
    body["decision"]["watch"] = [{"what": text, "limit": 0.1, "days": 7.0}]
    for check in body["checks"]:
        check.update(sentence=f"It says {text}", action=f"Do {text}", unit=text)
        if check["reason"]:
            check["reason"] = text
    body["checks"].append({**body["checks"][0], "id": f"routing.{text}", "severity": "note"})
    body["windows"]["candidate"]["start_utc"] = text
    one = {"check": "health.cost_usd", "outcome": "fail", "owner": text, "reason": text}
    body["decision"]["waived"] = [{**one, "expires_utc": text}]
    needs = {"check": text, "more_interactions": 10, "more_days": 1.5, "label": None}
    body["decision"]["needs"]["checks"] = [needs, {**needs, "label": text}]
    flip = {"check": "health.failure_rate", "data": text, "policy": text, "becomes": "pass"}
    body["decision"]["flips"] = [
        {**flip, "value": 1.0, "setting": text, "current": text, "needed": text}
    ]
    return body


def annotations(text: str) -> list[tuple[str, str, str]]:
    found = [re.fullmatch(r"::(\w+) title=([^:,]*)::(.*)", line) for line in text.split("\n")]
    assert all(found), text
    return [(m.group(1), m.group(2), m.group(3)) for m in found if m]


# ── what is said ─────────────────────────────────────────────────────────────────────────


def test_the_summary_says_the_decision_first_then_what_carries_it(body: Body) -> None:
    made(body, {"health.failure_rate": "fail", "budget.spend": "fail"}, "block")
    lines = gate_report.summary(body).splitlines()
    assert lines[0].startswith("BLOCK  release ")
    assert lines[1] == body["decision"]["headline"]
    assert [line.split()[1] for line in lines if line.startswith("  ✗")] == [
        "health.failure_rate:",
        "budget.spend:",
    ]


def test_the_summary_says_what_is_needed_and_what_to_watch(body: Body) -> None:
    open_ = {"check": "health.failure_rate", "more_interactions": 4000, "more_days": 7.5}
    late = {"check": "health.latency_breach_rate", "more_interactions": None, "more_days": None}
    checks = [{**open_, "label": None}, {**late, "label": "latency_ms"}, {**late, "label": None}]
    body["decision"]["needs"] = {"interactions": 16000, "days": 28.5, "checks": checks}
    body["decision"]["watch"] = [{"what": "failure rate", "limit": 0.0512345, "days": 14.0}]
    text = gate_report.summary(body)
    assert "about 16,000 interactions over both windows" in text
    assert "28.5 days" in text
    assert "health.failure_rate needs about 4,000 more interactions, 7.5 more days" in text
    assert "health.latency_breach_rate needs values of latency_ms" in text
    assert "health.latency_breach_rate needs what its reason says" in text
    assert "watch failure rate: roll back above 5.12 %, for 14 days" in text
    body["decision"].update(needs={"interactions": None, "days": None, "checks": []}, watch=[])
    assert "To settle" not in gate_report.summary(body)


def test_the_text_has_every_check_in_one_line(body: Body) -> None:
    made(body, {"drift.high": "inconclusive", "health.cost_usd": "fail"}, "hold")
    lines = gate_report.as_text(body).splitlines()[-len(body["checks"]) :]
    for line, check in zip(lines, body["checks"], strict=True):
        mark, name, severity, _ = line.split(maxsplit=3)
        expected = {"pass": "✓", "fail": "✗", "inconclusive": "?"}[check["outcome"]]
        assert (mark, name, severity) == (expected, check["id"], check["severity"])


def test_the_json_is_the_artifact_s_own(body: Body) -> None:
    parts = json.loads(gate_report.as_json(body))
    assert parts == {
        k: body[k] for k in ("release", "decision", "checks", "evidence_digest", "digest")
    }


def test_junit_fails_what_decides_and_only_that(body: Body) -> None:
    made(
        body,
        {
            "health.failure_rate": "fail",
            "health.latency_breach_rate": "inconclusive",
            "budget.spend": "fail",
            "drift.high": "inconclusive",
            "hotspots.level": "fail",
            "drift.joint": "inconclusive",
        },
        "block",
    )
    root = ET.fromstring(gate_report.as_junit(body))
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert list(cases) == [c["id"] for c in body["checks"]]
    told = {name: [child.tag for child in case] for name, case in cases.items() if len(case)}
    assert told == {
        "health.failure_rate": ["failure"],
        "health.latency_breach_rate": ["error"],
        "budget.spend": ["failure"],
        "drift.high": ["skipped"],
        "drift.joint": ["skipped"],
    }
    suite = root.find("testsuite")
    assert suite is not None
    counts = {k: suite.attrib[k] for k in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": str(len(cases)), "failures": "2", "errors": "1", "skipped": "2"}


@pytest.mark.parametrize(
    ("outcomes", "outcome", "levels"),
    [
        ({}, "ship", ["notice"]),
        ({"budget.spend": "fail"}, "hold", ["warning", "warning"]),
        (
            {"health.failure_rate": "fail", "budget.spend": "fail"},
            "block",
            ["error", "error", "warning"],
        ),
    ],
)
def test_github_gets_one_annotation_a_deciding_check(
    body: Body, outcomes: dict[str, str], outcome: str, levels: list[str]
) -> None:
    found = annotations(gate_report.as_github(made(body, outcomes, outcome)))
    assert [level for level, _, _ in found] == levels
    assert found[0][1] == outcome.upper()
    assert [title for _, title, _ in found[1:]] == list(outcomes)


def test_markdown_is_one_table_with_a_row_a_check(body: Body) -> None:
    made(body, {"health.failure_rate": "fail"}, "block")
    html = pypandoc.convert_text(gate_report.as_markdown(body), "html", format="gfm")
    assert html.count("<tr>") == 1 + len(body["checks"])
    assert html.count("<td") == 7 * len(body["checks"])
    assert "BLOCK" in html
    assert body["evidence_digest"] in html


def test_every_format_is_listed() -> None:
    assert set(gate_report.FORMATS) == {"text", "json", "junit", "github", "markdown"}


def test_an_artifact_without_checks_is_still_told(body: Body) -> None:
    body.update(checks=[])
    body["decision"].update(blocking=[], holding=[])
    for render in gate_report.FORMATS.values():
        assert render(body)


# ── explain ──────────────────────────────────────────────────────────────────────────────


def test_a_check_is_explained_by_its_numbers(body: Body) -> None:
    check = next(c for c in body["checks"] if c["id"] == "health.failure_rate")
    check.update(
        value=0.0412345,
        low=0.03,
        high=0.05,
        limit=0.02,
        unit="rate",
        support=12345,
        p_value=0.001234,
        p_adjusted=0.00617,
        reason=None,
    )
    text = gate_report.explain(body, "health.failure_rate")
    for line in (
        "value       0.04123 rate",
        "interval    0.03 to 0.05 (95 %)",
        "limit       at most 0.02",
        "distance    0.02123 rate from the limit",
        "support     12,345 interactions",
        "p-value     0.001234 one-sided; 0.00617 after Holm",
        "clustered by",
        "baseline",
        "candidate",
    ):
        assert line in text


def test_an_explanation_says_from_what_and_what_would_turn_it(body: Body) -> None:
    made(body, {"health.failure_rate": "fail", "budget.latency": "fail"}, "block")
    flip = {"check": "health.failure_rate", "data": "At less it would pass.", "policy": "a: 1"}
    body["decision"]["flips"] = [flip, {**flip, "check": "budget.latency", "policy": None}]
    body["windows"]["exclude"] = [{"start": "s", "end": "e", "reason": "an outage"}]
    text = gate_report.explain(body, "health.failure_rate")
    assert "from        is_failure of the interactions" in text
    assert "counts as   blocks the release" in text
    assert "turns       At less it would pass." in text
    assert "or policy   a: 1" in text
    assert "left out    s to e: an outage" in text
    other = gate_report.explain(body, "budget.latency")
    assert "from        latency_ms of the interactions" in other
    assert "counts as   holds the release" in other
    assert "or policy" not in other


@pytest.mark.parametrize(
    ("outcome", "severity", "counts"),
    [("pass", "block", "lets the release ship"), ("inconclusive", "hold", "an open hold check"),
     ("fail", "note", "a note")],
)  # fmt: skip
def test_what_a_check_counts_as_is_told(
    body: Body, outcome: str, severity: str, counts: str
) -> None:
    made(body, {}, "ship")
    next(c for c in body["checks"] if c["id"] == "budget.latency").update(
        outcome=outcome, severity=severity
    )
    assert counts in gate_report.explain(body, "budget.latency")


def test_a_waived_check_says_who_waived_it(body: Body) -> None:
    made(body, {}, "ship")
    body["decision"]["waived"] = [
        {"check": "health.cost_usd", "outcome": "fail", "owner": "ann", "reason": "wanted",
         "expires_utc": "2026-12-01T00:00:00Z"}
    ]  # fmt: skip
    text = gate_report.explain(body, "health.cost_usd")
    assert "counts as   waived" in text
    assert "waived      by ann until 2026-12-01T00:00:00Z: wanted" in text
    assert "waived" not in gate_report.explain(body, "budget.spend")
    assert "waived health.cost_usd (fail): ann" in gate_report.summary(body)
    assert "Waived: health" in gate_report.as_markdown(body)


def test_every_check_can_be_explained_also_without_numbers_or_baseline(body: Body) -> None:
    body["windows"]["baseline"] = None
    for check in body["checks"]:
        check.update(value=None, low=None, high=None, limit=None, p_value=None)
        text = gate_report.explain(body, check["id"])
        assert "value       –" in text
        assert "distance" not in text
        assert not any(line.startswith("baseline") for line in text.splitlines())


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("health.failure", "did you mean health.failure_rate?"),
        ("drift.hihg", "did you mean drift.high?"),
        ("zzz", "known: contract.bounds, health.failure_rate, "),
    ],
)
def test_a_check_that_is_not_there_is_answered_with_the_closest(
    body: Body, asked: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(hint)) as refused:
        gate_report.explain(body, asked)
    assert asked in str(refused.value)


# ── hostile text ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_line_and_no_control_to_a_terminal(body: Body, text: str) -> None:
    plain = hostile(copy.deepcopy(body), "plain")
    hostile(body, text)
    for render in (gate_report.summary, gate_report.as_text):
        shown = render(body)
        assert shown.count("\n") == render(plain).count("\n")
        assert all(c.isprintable() or c == "\n" for c in shown)
        shown.encode()
    for check in body["checks"]:
        told = gate_report.explain(body, check["id"])
        assert all(c.isprintable() or c == "\n" for c in told)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_command_in_the_log_of_a_runner(body: Body, text: str) -> None:
    # GitHub's runner looks for ##[…] anywhere in a line of any output, Azure's for ##vso[…].
    hostile(body, text)
    for form, render in gate_report.FORMATS.items():
        told = re.sub("^## ", "", render(body)) if form == "markdown" else render(body)
        assert "##" not in told, form
    assert all("##" not in gate_report.explain(body, c["id"]) for c in body["checks"])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_junit(body: Body, text: str) -> None:
    hostile(body, text)
    raw = gate_report.as_junit(body)
    root = ET.fromstring(raw.encode())
    assert len(list(root.iter("testcase"))) == len(body["checks"])
    # XML 1.0 knows these characters, and no other.
    assert re.fullmatch("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*", raw)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_makes_no_command_of_github_s(body: Body, text: str) -> None:
    hostile(body, text)
    found = annotations(gate_report.as_github(body))
    assert len(found) == 1 + len(body["decision"]["blocking"]) + len(body["decision"]["holding"])
    assert all(re.fullmatch(r"(?:[^%\r\n]|%25)*", message) for _, _, message in found)
    assert all(re.fullmatch(r"(?:[^%\r\n:,]|%25|%3A|%2C)*", title) for _, title, _ in found)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_markdown(body: Body, text: str) -> None:
    hostile(body, text)
    raw = gate_report.as_markdown(body)
    html = pypandoc.convert_text(raw, "html", format="gfm")
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "colgroup",
        "col",
        "ul",
        "li",
    }
    # What is waived, two needs, and a flip.
    assert html.count("<li>") == 4
    assert html.count("<tr>") == 1 + len(body["checks"])
    assert html.count("<td") == 7 * len(body["checks"])
    assert html.count("<code>") == 1
    # GitHub looks for names and numbers again in the finished text.
    assert not re.search(r"@\w|#\d|www\.\w", re.sub(r"<[^>]*>", "", html))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_survives_json(body: Body, text: str) -> None:
    hostile(body, text)
    raw = gate_report.as_json(body)
    assert raw.isascii()
    assert all(c.isprintable() or c == "\n" for c in raw)
    assert json.loads(raw)["release"]["title"] == text
