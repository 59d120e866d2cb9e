"""The decision page: what carries the decision, what to do, what would settle it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from analysis.ledger import Entry, Ledger
from analysis.policy import VIEWS
from analysis.present import decision, measures, summary
from analysis.review import Review


@pytest.fixture
def review(sample: Review) -> Review:
    return Review(copy.deepcopy(dict(sample.body)), sample.results, sample.warnings)


def told(review: Review, part: str) -> str:
    return "\n".join(getattr(decision.parts(review), part))


def decide(review: Review, **changes: Any) -> None:
    review.body["decision"].update(changes)


def test_the_answer_has_the_badge_the_headline_and_its_support(review: Review) -> None:
    text = told(review, "answer")
    assert '<span class="rr-outcome-block">Block</span>' in text
    assert "Do not ship: the failure rate went from" in text
    assert "19,821 interactions" in text


def test_the_evidence_says_what_else_the_windows_may_differ_by(review: Review) -> None:
    assert "Before and after: an outage of a provider" in told(review, "evidence")
    exclusion = {"start": "2026-11-03T00:00:00Z", "end": "2026-11-04T00:00:00Z", "reason": "outage"}
    review.body["windows"]["exclude"] = [exclusion]
    assert "1 known incident is left out" in told(review, "evidence")
    review.body["windows"]["comparison"] = "concurrent"
    assert "ran at the same time" in told(review, "evidence")
    review.body["windows"]["baseline"] = None
    assert 'rr-note">Candidate and baseline' not in told(review, "evidence")


def test_at_most_three_reasons_carry_it_and_the_rest_is_counted(review: Review) -> None:
    text = told(review, "answer").split('<div class="rr-columns">')[0]
    # The headline is the first reason; the last line counts those that are not told.
    assert text.count("<li>") == 3
    assert text.count("the failure rate went from") == 1
    decision = review.body["decision"]
    more = len(decision["blocking"]) + len(decision["holding"]) - 3
    assert more > 0
    assert f"<li>{more} more reasons in the table below.</li>" in text


def test_the_slice_that_broke_is_the_first_reason_after_the_headline(review: Review) -> None:
    text = told(review, "answer")
    assert "use_case “coding”, scenario “tool-use”" in text
    assert text.index("2 slices worsened") < text.index("Cost per interaction went from")


def test_the_first_screen_has_the_deciding_checks_with_value_interval_and_limit(
    review: Review,
) -> None:
    table = told(review, "answer").split('<div class="rr-compact">')[1]
    deciding = [c for c in review.body["checks"] if c["severity"] != "note"]
    body = table.split("<tbody")[1].split("</tbody>")[0]
    assert body.count("<tr>") == len(deciding) == 9
    for check in deciding:
        assert measures.linked(check) in table
    for told_as in ("+4.21 pp", "+2.88 to +5.61 pp", "≤ +1.60 pp", "19,821"):
        assert told_as in table
    assert "drift.<wbr>medium" not in table


def test_each_deciding_check_says_what_it_does_to_the_decision(review: Review) -> None:
    checks = {c["id"]: c for c in review.body["checks"]}
    checks["health.latency_breach_rate"]["outcome"] = "inconclusive"
    checks["budget.latency"]["outcome"] = "inconclusive"
    checks["budget.spend"]["outcome"] = "pass"
    waiver = {"check": "drift.high", "outcome": "fail", "owner": "a", "reason": "b",
              "expires_utc": "2027-01-01T00:00:00Z"}  # fmt: skip
    decide(
        review,
        outcome="block",
        blocking=["health.failure_rate"],
        holding=["health.latency_breach_rate"],
        waived=[waiver],
    )
    text = told(review, "answer").split('<div class="rr-compact">')[1]
    rows = text.split("<tr>")
    told_of = {
        name: next(row for row in rows if measures.linked(checks[name]) in row)
        for name in ("health.failure_rate", "health.latency_breach_rate", "drift.high",
                     "budget.latency", "budget.spend")
    }  # fmt: skip
    said = {name: row.split("</span>, ")[1].split("<")[0] for name, row in told_of.items()}
    assert said == {
        "health.failure_rate": "blocks",
        "health.latency_breach_rate": "holds",
        "drift.high": "waived",
        "budget.latency": "stops nothing",
        "budget.spend": "can hold",
    }


@pytest.mark.parametrize(
    ("owners", "who"),
    [
        ({}, "the release&#x27;s authors"),
        ({"health": "Team Search"}, "Team Search"),
        ({"health": "Team Search", "health.failure_rate": "Ada <b>"}, "Ada &lt;b&gt;"),
    ],
)
def test_what_to_do_next_names_who_does_it(
    review: Review, owners: dict[str, str], who: str
) -> None:
    review.body["policy"]["settings"]["gate"]["owners"] = owners
    first = told(review, "answer").split("<li>Do not ship.")[1].split("</li>")[0]
    assert f'<span class="rr-who">→ {who}</span>' in first
    assert f"{who})</li>" in told(review, "actions")


def test_three_steps_are_shown_and_the_others_counted(review: Review) -> None:
    text = told(review, "answer")
    assert "</strong> (3 of 6)</p>" in text


def test_nothing_open_is_said(review: Review) -> None:
    for check in review.body["checks"]:
        check["outcome"] = "pass"
    decide(review, outcome="ship", headline="Ship.", blocking=[], holding=[], watch=[])
    text = told(review, "answer")
    assert "Every check could be judged." in text
    assert 'Ship it. <span class="rr-who">→ release manager</span>' in text


def earlier(body: dict[str, Any], release_id: str, end: str, **outcomes: str) -> Entry:
    old = copy.deepcopy(body)
    old["release"]["id"] = release_id
    old["windows"]["candidate"]["end_utc"] = end
    old["decision"]["outcome"] = "ship"
    for check in old["checks"]:
        check["outcome"] = outcomes.get(check["id"].replace(".", "_"), "pass")
    return Entry(release_id, Path(release_id), old)


def test_what_turned_since_the_last_recorded_release_is_said(review: Review) -> None:
    body = dict(review.body)
    older = earlier(body, "older", "2026-10-01T00:00:00Z")
    newest = earlier(
        body, "<newest>", "2026-11-09T00:00:00Z",
        health_cost_usd="fail", budget_spend="fail", budget_latency="inconclusive",
    )  # fmt: skip
    later = earlier(body, "later", "2027-01-01T00:00:00Z")
    again = earlier(body, body["release"]["id"], "2026-11-10T00:00:00Z")
    text = "".join(decision.parts_of(body, Ledger((older, newest, again, later))).answer)
    since = text.split("Since the last release")[1].split('<div class="rr-column">')[0]
    assert "<p>&lt;newest&gt;: " in since
    assert "older" not in since
    failing = since.split("Fails now: ")[1].split("</li>")[0]
    assert "health.<wbr>failure_<wbr>rate" in failing
    assert "health.<wbr>cost_<wbr>usd" not in failing
    passing = since.split("Passes again: ")[1].split("</li>")[0]
    assert "budget.<wbr>spend" in passing
    assert "budget.<wbr>latency" in passing


def test_a_recorded_release_that_cannot_be_read_is_passed_over(review: Review) -> None:
    body = dict(review.body)
    broken = earlier(body, "broken", "2026-11-09T00:00:00Z")
    del broken.body["decision"]  # type: ignore[attr-defined]
    held = earlier(body, "held", "2026-10-01T00:00:00Z")
    assert "<p>held: " in "".join(decision.parts_of(body, Ledger((held, broken))).answer)
    alone = "".join(decision.parts_of(body, Ledger((broken,))).answer)
    assert "No earlier release is recorded." in alone
    assert "Since the last release" not in alone


def test_each_action_stands_once_with_links_to_its_evidence(review: Review) -> None:
    text = told(review, "actions")
    stand = {*review.body["decision"]["blocking"], *review.body["decision"]["holding"]}
    checks = [c for c in review.body["checks"] if c["id"] in stand]
    assert text.count("<li>") == len({c["action"] for c in checks})
    place = "health.html#figure-failures-and-latency-breaches-candidate-minus-baseline"
    assert f'<a href="{place}">health.failure_rate</a>' in text
    assert '<a href="drift.html#table-every-column-the-most-severe-first">drift.high</a>' in text


def test_a_ship_says_what_to_watch_and_where_to_roll_back(review: Review) -> None:
    watch = [
        {"what": "failure rate", "limit": 0.0479, "days": 14.0},
        {"what": "cost per interaction in USD", "limit": 0.1227, "days": 14.0},
    ]
    decide(review, outcome="ship", headline="Ship.", blocking=[], holding=[], watch=watch)
    text = told(review, "actions")
    assert "4.79 %" in text
    assert "0.1227 USD" in text
    assert "What lets it ship:" in told(review, "answer")


def hold_open(review: Review, interactions: int | None, days: float | None) -> str:
    check = next(c for c in review.body["checks"] if c["id"] == "health.failure_rate")
    check.update(outcome="inconclusive", reason="too little")
    needs = {"interactions": interactions, "days": days, "checks": []}
    decide(review, outcome="hold", blocking=[], holding=["health.failure_rate"], needs=needs)
    return told(review, "actions")


def test_a_hold_says_what_would_settle_it(review: Review) -> None:
    text = hold_open(review, 41_000, 28.3)
    assert "41,000 interactions" in text
    assert "28.3 days" in text


def test_a_hold_that_no_traffic_settles_says_so(review: Review) -> None:
    assert "cannot be said" in hold_open(review, None, None)


def test_what_could_not_be_judged_stands_with_its_reason(review: Review) -> None:
    text = told(review, "evidence")
    assert "What could not be judged" in text
    assert "The effective sample size is 136 clusters; at least 200 are needed." in text


def test_exclusions_and_warnings_are_on_the_first_page(review: Review) -> None:
    review.body["windows"]["exclude"] = [
        {"start": "2026-11-03T00:00:00Z", "end": "2026-11-04T06:00:00Z", "reason": "an outage"}
    ]
    review.body["windows"]["warnings"] = ["the windows are no whole weeks"]
    text = told(review, "evidence")
    assert "an outage" in text
    assert "2026-11-04 06:00" in text
    assert "The windows are no whole weeks." in text


@pytest.mark.parametrize(
    ("unit", "limit", "value", "share"),
    [
        ("rate", 0.016, 0.008, 0.5),
        ("rate", 0.016, -0.016, -1.0),
        ("ratio", 1.15, 1.0, 0.0),
        ("ratio", 1.15, 1.30, 2.0),
        ("burn rate", 1.0, 0.75, 0.75),
    ],
)
def test_a_check_is_drawn_as_a_share_of_its_limit(
    unit: str, limit: float, value: float, share: float
) -> None:
    assert decision.relative({"unit": unit, "limit": limit}, value) == pytest.approx(share)


def test_what_changed_stands_before_the_checks_and_names_the_slice(review: Review) -> None:
    text = told(review, "evidence")
    assert text.index("Candidate against baseline") < text.index("All checks")
    assert "Latency, 95th percentile" in text
    assert "2 slices worsened by more than the rest" in text


def test_a_first_release_says_that_nothing_is_compared(review: Review) -> None:
    review.body["windows"]["baseline"] = None
    assert "Nothing is compared" in told(review, "evidence")


def test_a_failure_stands_before_a_doubt_as_in_the_headline(review: Review) -> None:
    checks = {c["id"]: c for c in review.body["checks"]}
    checks["health.failure_rate"].update(outcome="inconclusive", reason="too little")
    decide(review, outcome="hold", blocking=[], holding=["health.failure_rate", "drift.high"])
    assert [c["id"] for c in summary.carrying(review.body)] == [
        "drift.high",
        "health.failure_rate",
    ]


def test_a_check_links_to_its_page_and_a_share_says_of_what(review: Review) -> None:
    text = told(review, "evidence")
    place = "contract.html#table-what-the-unknown-rows-could-hide"
    assert f'<a href="{place}">contract.<wbr>bounds</a>' in text
    assert '<span id="check-contract.bounds">' in text
    value = next(c["value"] for c in review.body["checks"] if c["id"] == "contract.bounds")
    assert f"{100 * value:.2f} % of rows" in text


def test_columns_that_are_not_there_make_one_warning(review: Review) -> None:
    review.body["windows"]["warnings"] = [
        "the windows are no whole weeks",
        *(f"the policy names the column '{c}', which the telemetry lacks: left out" for c in "abc"),
    ]
    text = told(review, "evidence")
    assert "The telemetry lacks 3 columns of the policy, which are left out: a, b, c." in text
    assert "The windows are no whole weeks." in text
    assert "which the telemetry lacks" not in text


def test_a_hold_for_a_missing_column_does_not_ask_for_traffic(review: Review) -> None:
    check = next(c for c in review.body["checks"] if c["id"] == "health.failure_rate")
    check.update(value=None, low=None, high=None)
    assert "what is missing must come first" in hold_open(review, None, None)


def test_the_checks_of_every_view_are_somebody_s_task() -> None:
    assert summary.OWNERS.keys() == VIEWS
