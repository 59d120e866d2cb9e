from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypandoc
import pytest

from analysis import artifact as artifacts
from analysis.difference import Comparison, compare
from analysis.difference_report import as_json, as_markdown, as_text
from analysis.migration import readable
from analysis.review import Review
from tests.test_gate_report import HOSTILE

Body = dict[str, Any]
FIRST = Path(__file__).resolve().parent / "revisions" / "decision-artifact-1.1.json"


@pytest.fixture
def before(tiny_review: Review) -> Body:
    return copy.deepcopy(dict(tiny_review.body))


@pytest.fixture
def after(before: Body) -> Body:
    """The next release, two weeks later, in which nothing has changed."""
    body = copy.deepcopy(before)
    body["release"]["id"] = "r2"
    body["windows"]["candidate"].update(
        start_utc=body["windows"]["candidate"]["end_utc"], end_utc="2026-11-30T00:00:00Z"
    )
    return body


def check(body: Body, name: str) -> Body:
    return next(c for c in body["checks"] if c["id"] == name)


def changed(before: Body, after: Body, change: Callable[[Body], Any]) -> Comparison:
    change(after)
    return compare(artifacts.sealed(before), artifacts.sealed(after))


def blocked(body: Body) -> None:
    """Its failure rate has doubled beyond doubt."""
    one = check(body, "health.failure_rate")
    one.update(outcome="fail", severity="block", sentence="The failure rate doubled.")
    body["decision"].update(
        outcome="block", headline="Do not ship: it fails.", blocking=[one["id"]], holding=[]
    )
    for place in (body["views"]["health"]["candidate"], body["views"]["health"]["change"]):
        place["failure_rate"].update(value=0.5, low=0.499, high=0.501)


def finding(name: str | None, metric: str = "failure", effect: float = 0.1) -> Body:
    return {"slice": {"region": name}, "metric": metric, "kind": "level", "effect": effect}


# ── what is found ────────────────────────────────────────────────────────────────────────


def test_an_artifact_and_itself_are_the_same(before: Body) -> None:
    found = compare(before, before)
    assert found.same_evidence
    assert (found.checks, found.settings, found.hotspots, found.inputs) == ((), (), (), ())
    assert (found.windows, found.drift, found.routing) == ((), (), ())
    assert all(one.verdict == "not_judged" for one in found.figures)
    assert as_text(found).splitlines()[2] == "The two are the same artifact."


def test_another_form_of_the_same_evidence_is_told_as_such(before: Body) -> None:
    other = copy.deepcopy(before)
    other["inputs"][0].update(sha256="0" * 64)
    found = changed(before, other, lambda b: None)
    assert "The evidence is the same" in as_text(found)
    assert [i.file for i in found.inputs] == [before["inputs"][0]["file"]]


def test_the_decision_is_explained_by_the_checks_that_turned(before: Body, after: Body) -> None:
    found = changed(before, after, blocked)
    assert [c.id for c in found.deciding] == ["health.failure_rate"]
    text = as_text(found)
    assert text.startswith("HOLD → BLOCK: release ")
    assert "The decision changed from hold to block." in text
    assert "What decides and turned: health.failure_rate." in text
    assert "- health.failure_rate: inconclusive → fail (block). The failure rate doubled." in text


def test_a_check_of_a_figure_says_whether_the_figure_moved_beyond_noise(
    before: Body, after: Body
) -> None:
    for body in (before, after):
        figures = body["views"]["health"]
        for window in ("baseline", "candidate"):
            figures[window]["failure_rate"] = {
                "value": 0.1,
                "low": 0.09,
                "high": 0.11,
                "support": 1,
            }
        figures["change"]["failure_rate"] = {"value": 0.0, "low": -0.01, "high": 0.01, "support": 1}
    check(after, "health.failure_rate").update(outcome="fail")
    quiet = as_text(changed(before, copy.deepcopy(after), lambda b: None))
    assert "The figure itself moved within noise." in quiet
    assert "No headline figure moved beyond noise." in quiet
    loud = as_text(changed(before, after, blocked))
    assert "The figure itself moved beyond noise." in loud
    assert re.search(r"Beyond noise: failure rate[.,]", loud)


def test_windows_that_overlap_are_said_and_nothing_is_claimed(before: Body, after: Body) -> None:
    after["windows"]["candidate"].update(before["windows"]["candidate"])
    text = as_text(changed(before, after, blocked))
    assert "Nothing is claimed: the candidate windows overlap in time" in text
    assert "beyond noise" not in text.lower()
    assert "within noise" not in text


def test_checks_that_are_new_or_gone_or_weigh_otherwise_are_told(before: Body, after: Body) -> None:
    carried = before["decision"]["holding"][0]
    before["checks"].append({**check(before, "triage.queue"), "id": "budget.old"})

    def change(body: Body) -> None:
        body["checks"].append({**check(body, "triage.queue"), "id": "budget.new"})
        check(body, carried).update(severity="note")

    found = changed(before, after, change)
    assert [(c.id, c.decides) for c in found.checks] == [
        (carried, True),
        ("budget.new", False),
        ("budget.old", False),
    ]
    text = as_text(found)
    assert f"- {carried}: still inconclusive, but block → note" in text
    assert "- budget.new: is new, and " in text
    assert "- budget.old: is gone; it was " in text


def test_settings_are_told_by_their_path_and_items_by_their_name(before: Body, after: Body) -> None:
    def change(body: Body) -> None:
        settings = body["policy"]["settings"]
        settings["data"] = "elsewhere"
        settings["release"]["id"] = "r2"
        settings["spend"]["budget_usd_per_day"] = 61
        settings["slos"][1]["target"] = 0.9
        settings["slos"].insert(0, {"name": "added", "target": 0.5})
        settings["dimensions"].pop()
        settings["later"] = {"key": True}
        del settings["triage"]

    found = changed(before, after, change)
    assert {s.path for s in found.settings} == {
        *["dimensions", "later", "slos[added]", "slos[latency].target", "spend.budget_usd_per_day"],
        "triage",
    }
    assert "- slos[latency].target: 0.95 → 0.9" in as_text(found)
    assert '- later: not set → {"key": true}' in as_text(found)


def test_hotspots_are_new_gone_or_common(before: Body, after: Body) -> None:
    before["views"]["hotspots"]["found"] = [finding("eu"), finding("us"), finding(None)]
    after["views"]["hotspots"]["found"] = [finding("eu", effect=0.2), finding("us", "cost")]
    found = changed(before, after, lambda b: None)
    told = [(h.state, h.slice["region"], h.metric, h.before, h.after) for h in found.hotspots]
    assert told == [
        ("new", "us", "cost", None, 0.1),
        ("gone", "us", "failure", 0.1, None),
        ("gone", None, "failure", 0.1, None),
        ("common", "eu", "failure", 0.1, 0.2),
    ]
    assert "- common: region = eu; failure, level; effect 0.1 → 0.2" in as_text(found)
    assert "- gone: region = null; " in as_text(found)


def test_drift_routing_windows_and_inputs_that_changed_are_told(before: Body, after: Body) -> None:
    def change(body: Body) -> None:
        body["views"]["drift"]["features"][0].update(severity="high")
        body["views"]["drift"]["features"].pop()
        body["views"]["routing"]["candidates"][0].update(recommendation="adopt", reason="It saves.")
        body["windows"]["baseline"] = None
        body["inputs"].pop()

    features = before["views"]["drift"]["features"]
    features[0].update(severity="none")
    route = before["views"]["routing"]["candidates"][0]
    route.update(recommendation="insufficient_evidence")
    found = changed(before, after, change)
    assert [(d.name, d.after) for d in found.drift] == [
        (features[0]["feature"], "high"),
        (features[-1]["feature"], None),
    ]
    text = as_text(found)
    assert f"- {route['name']}: insufficient evidence → adopt (It saves.)" in text
    assert re.search(r"- baseline: .* interactions → none", text)
    assert f"- {before['inputs'][-1]['file']}: only in the first" in text


def test_an_older_artifact_is_compared_as_well(tiny_review: Review) -> None:
    found = compare(readable(artifacts.read(FIRST)), tiny_review.body)
    for form in (as_text, as_markdown, as_json):
        assert form(found)


# ── how it is told ───────────────────────────────────────────────────────────────────────


def test_the_json_holds_all_of_it(before: Body, after: Body) -> None:
    told = json.loads(as_json(changed(before, after, blocked)))
    assert told["before"]["outcome"] == "hold"
    assert told["after"]["outcome"] == "block"
    assert told["checks"][0]["figure"]["name"] == "failure_rate"
    assert {"settings", "figures", "hotspots", "drift", "routing", "windows", "inputs"} <= set(told)


def test_markdown_holds_one_table_of_figures_and_lists(before: Body, after: Body) -> None:
    found = changed(before, after, blocked)
    html = pypandoc.convert_text(as_markdown(found), "html", format="gfm")
    assert html.count("<table") == 1
    assert html.count("<h3") >= 3
    moved = [f for f in found.figures if f.verdict != "not_judged" or f.before != f.after]
    assert html.count("<tr>") == 1 + len(moved)
    assert html.count("<td") == 6 * len(moved)
    assert "HOLD → BLOCK" in html


def test_very_many_changes_are_counted(before: Body, after: Body) -> None:
    after["views"]["hotspots"]["found"] = [finding(f"r{i}") for i in range(45)]
    found = changed(before, after, lambda b: None)
    assert len(found.hotspots) == 45
    for text in (as_text(found), as_markdown(found)):
        assert "- and 25 more" in text
        assert text.count("- new: ") == 20


def hostile(body: Body, text: str) -> None:
    """Everywhere that telemetry, a policy or whoever made the artifact may have put a text."""
    blocked(body)
    body["release"].update(id=text, title=text)
    body["decision"].update(headline=text, holding=[text])
    body["checks"].append({**check(body, "triage.queue"), "id": text, "sentence": text})
    body["policy"]["settings"][text] = {text: text}
    body["views"]["hotspots"]["found"] = [
        {"slice": {text: text}, "metric": text, "kind": text, "effect": 1.0}
    ]
    body["views"]["drift"]["features"][0].update(feature=text)
    body["views"]["routing"]["candidates"][0].update(name=text, recommendation=text, reason=text)
    body["windows"]["candidate"].update(n_interactions=7)
    body["inputs"][0].update(file=text, sha256=text)
    body["views"]["budget"]["slos"][0].update(name=text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(before: Body, after: Body, text: str) -> None:
    found = changed(before, after, lambda b: hostile(b, text))
    for raw in (as_text(found), as_json(found), as_markdown(found)):
        assert all(line.isprintable() for line in raw.split("\n"))
        assert "##[" not in raw
        assert not any(line.lstrip().startswith("::") for line in raw.split("\n"))
    html = pypandoc.convert_text(as_markdown(found), "html", format="gfm")
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {*["h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"],
                    *["colgroup", "col"]}  # fmt: skip
    assert html.count("<table") == 1
