from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from analysis.check import Check, Outcome, RegressionTest, Severity
from analysis.gate import EXIT_CODES, Decision, Needs, Watch, decide, judge
from analysis.policy import Gate, Policy

SEVERITIES: dict[str, Severity] = {
    "health.failure_rate": "block",
    "health.latency_breach_rate": "block",
    "health.cost_usd": "hold",
    "budget.availability": "hold",
    "budget.availability.alerts": "note",
    "budget.latency": "hold",
    "budget.latency.alerts": "note",
    "budget.spend": "hold",
    "hotspots.regression": "hold",
    "hotspots.level": "note",
    "contract.bounds": "note",
    "drift.high": "hold",
    "drift.medium": "note",
    "drift.joint": "note",
    "triage.queue": "hold",
    "triage.mode": "note",
}
REGRESSIONS = (
    "health.failure_rate",
    "health.latency_breach_rate",
    "health.cost_usd",
    "hotspots.regression",
    "drift.high",
)


def check(name: str, outcome: Outcome = "pass", severity: Severity | None = None) -> Check:
    return Check(
        id=name,
        view=name.partition(".")[0],  # type: ignore[arg-type]
        outcome=outcome,
        severity=severity or SEVERITIES[name],
        value=0.0,
        low=-1.0,
        high=1.0,
        limit=0.01,
        comparison="at_most",
        unit="rate",
        support=100,
        p_value=None,
        p_adjusted=None,
        reason="there is too little" if outcome == "inconclusive" else None,
        sentence=f"The check {name} is {outcome}.",
        action="Act.",
    )


def regression(name: str, p: float | None, **changes: Any) -> RegressionTest:
    made = RegressionTest(
        id=name,
        view=name.partition(".")[0],  # type: ignore[arg-type]
        severity=SEVERITIES[name],
        value=0.0,
        low=-1.0,
        high=1.0,
        limit=0.01,
        unit="rate",
        support=100,
        p_value=p,
        material=True,
        passes=False,
        reason="there is too little",
        subject=name,
        sentences={
            "pass": f"The check {name} is pass.",
            "fail": f"The check {name} is fail.",
            "inconclusive": f"The check {name} is inconclusive.",
        },
        actions={"pass": "a", "fail": "b", "inconclusive": "c"},
    )
    return dataclasses.replace(made, **changes)


def decided(
    changes: dict[str, Outcome],
) -> Decision:
    checks = [check(name, changes.get(name, "pass")) for name in SEVERITIES]
    return decide(checks, checks, first_release=False, watch=[Watch("failures", 0.05, 14)])


# case: what differs from a release where all passes → (outcome, blocking, holding)
DECISIONS: dict[str, tuple[dict[str, Outcome], str, list[str], list[str]]] = {
    "all passes": ({}, "ship", [], []),
    "a block check fails": (
        {"health.failure_rate": "fail"},
        "block",
        ["health.failure_rate"],
        [],
    ),
    "a block check is inconclusive": (
        {"health.latency_breach_rate": "inconclusive"},
        "hold",
        [],
        ["health.latency_breach_rate"],
    ),
    "a hold check fails": ({"budget.spend": "fail"}, "hold", [], ["budget.spend"]),
    "every hold check is inconclusive": (
        {name: "inconclusive" for name, severity in SEVERITIES.items() if severity == "hold"},
        "ship",
        [],
        [],
    ),
    "every note fails": (
        {name: "fail" for name, severity in SEVERITIES.items() if severity == "note"},
        "ship",
        [],
        [],
    ),
    "every note is inconclusive": (
        {name: "inconclusive" for name, severity in SEVERITIES.items() if severity == "note"},
        "ship",
        [],
        [],
    ),
    "a block check fails, and others hold": (
        {
            "health.failure_rate": "fail",
            "health.latency_breach_rate": "inconclusive",
            "drift.high": "fail",
            "triage.queue": "inconclusive",
        },
        "block",
        ["health.failure_rate"],
        ["health.latency_breach_rate", "drift.high"],
    ),
    "both block checks fail": (
        {"health.failure_rate": "fail", "health.latency_breach_rate": "fail"},
        "block",
        ["health.failure_rate", "health.latency_breach_rate"],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "outcome", "blocking", "holding"), DECISIONS.values(), ids=DECISIONS.keys()
)
def test_severity_and_outcome_make_the_decision(
    changes: dict[str, Outcome], outcome: str, blocking: list[str], holding: list[str]
) -> None:
    decision = decided(changes)
    assert decision.outcome == outcome
    assert list(decision.blocking) == blocking
    assert list(decision.holding) == holding


# A first release has no regressions; case: what differs → (outcome, blocking, holding)
FIRST: dict[str, tuple[dict[str, Outcome], str, list[str]]] = {
    "all absolute checks pass": ({}, "ship", []),
    "a budget check is inconclusive": (
        {"budget.availability": "inconclusive"},
        "hold",
        ["budget.availability"],
    ),
    "the spend is inconclusive": ({"budget.spend": "inconclusive"}, "hold", ["budget.spend"]),
    "the queue is inconclusive": ({"triage.queue": "inconclusive"}, "hold", ["triage.queue"]),
    "a budget check fails": ({"budget.latency": "fail"}, "hold", ["budget.latency"]),
    "alerts fire, which is a note": ({"budget.latency.alerts": "fail"}, "ship", []),
    "the mode of triage is open, which is a note": ({"triage.mode": "inconclusive"}, "ship", []),
    "slices are worse than the rest, which is a note": ({"hotspots.level": "fail"}, "ship", []),
}


@pytest.mark.parametrize(("changes", "outcome", "holding"), FIRST.values(), ids=FIRST.keys())
def test_a_first_release_ships_only_where_budgets_and_queue_pass(
    changes: dict[str, Outcome], outcome: str, holding: list[str]
) -> None:
    absent = [check(name, "inconclusive", "note") for name in REGRESSIONS]
    others = [check(n, changes.get(n, "pass")) for n in SEVERITIES if n not in REGRESSIONS]
    decision = decide([*absent, *others], [], first_release=True)
    assert (decision.outcome, list(decision.holding)) == (outcome, holding)
    assert decision.blocking == ()


def test_regression_checks_stay_notes_in_a_first_release_whatever_the_policy_says() -> None:
    policy = Policy(gate=Gate(severity=dict.fromkeys(REGRESSIONS, "block")))
    absent = [check(name, "inconclusive", "note") for name in REGRESSIONS]
    checks = judge(absent, policy, 0.05, first_release=True)
    assert {c.severity for c in checks} == {"note"}
    assert decide(checks, absent, first_release=True).outcome == "ship"
    assert {c.severity for c in judge(absent, policy, 0.05)} == {"block"}


def test_a_check_that_blocks_is_not_listed_as_holding_too() -> None:
    checks = [check("budget.spend", "fail", "block"), check("triage.queue")]
    decision = decide(checks, checks, first_release=True)
    assert (decision.outcome, decision.blocking, decision.holding) == (
        "block",
        ("budget.spend",),
        (),
    )


@pytest.mark.parametrize(
    ("severity", "outcome", "expected"),
    [
        ("block", "fail", "block"),
        ("block", "inconclusive", "hold"),
        ("hold", "fail", "hold"),
        ("hold", "inconclusive", "ship"),
        ("note", "fail", "ship"),
    ],
)
@pytest.mark.parametrize("name", ["health.failure_rate", "budget.spend", "hotspots.level"])
def test_the_policy_s_severity_replaces_the_check_s(
    name: str, severity: Severity, outcome: Outcome, expected: str
) -> None:
    policy = Policy(gate=Gate(severity={name: severity}))
    checks = judge([check(name, outcome)], policy, 0.05)
    assert checks[0].severity == severity
    assert decide(checks, checks, first_release=False).outcome == expected


def test_exit_codes_are_those_of_the_design() -> None:
    assert EXIT_CODES == {"ship": 0, "block": 1, "hold": 3}


# ── one error rate ───────────────────────────────────────────────────────────────────────

# case: raw p-values → Holm's adjusted (ascending: 5p₁, 4p₂, …, never falling), which fail at 0.05
HOLM = {
    "one strong, the others null": ([0.001, 0.5, 0.5, 0.5, 0.5], [0.005, 1, 1, 1, 1]),
    "enough alone, not among five": ([0.02, 0.5, 0.5, 0.5, 0.5], [0.1, 1, 1, 1, 1]),
    "step-down lets the second be tested among four": (
        [0.001, 0.012, 0.5, 0.5, 0.5],
        [0.005, 0.048, 1, 1, 1],
    ),
    "an adjusted p-value never falls": (
        [0.04, 0.03, 0.02, 0.01, 0.001],
        [0.06, 0.06, 0.06, 0.04, 0.005],
    ),
    "those without a p-value are no tests": (
        [0.02, None, None, 0.03, None],
        [0.04, None, None, 0.04, None],
    ),
    "those that are not numbers are no tests": (
        [0.02, math.nan, None, 0.03, None],
        [0.04, None, None, 0.04, None],
    ),
}


@pytest.mark.parametrize(("raw", "adjusted"), HOLM.values(), ids=HOLM.keys())
def test_regression_checks_share_one_error_rate(
    raw: list[float | None], adjusted: list[float | None]
) -> None:
    tests: list[Check | RegressionTest] = [
        regression(name, p) for name, p in zip(REGRESSIONS, raw, strict=True)
    ]
    tests.insert(2, check("budget.spend", "fail"))
    checks = judge(tests, Policy(), 0.05)
    assert [c.id for c in checks] == [t.id for t in tests]
    of = {c.id: c for c in checks}
    assert of["budget.spend"].p_adjusted is None
    for name, expected in zip(REGRESSIONS, adjusted, strict=True):
        found = of[name]
        if expected is None:
            assert (found.p_adjusted, found.outcome) == (None, "inconclusive")
        else:
            assert found.p_adjusted == pytest.approx(expected, rel=1e-9)
            assert found.outcome == ("fail" if expected < 0.05 else "inconclusive")


def test_a_demoted_check_still_pays_for_being_looked_at() -> None:
    """The family is what is tested, not what decides: a severity cannot buy significance."""
    tests = [regression(name, p) for name, p in zip(REGRESSIONS, [0.02] * 5, strict=True)]
    noted = Policy(gate=Gate(severity=dict.fromkeys(REGRESSIONS[1:], "note")))
    assert judge(tests, noted, 0.05)[0].p_adjusted == pytest.approx(0.1)


def test_a_smaller_error_rate_lets_less_fail() -> None:
    tests = [regression("health.failure_rate", 0.01)]
    assert judge(tests, Policy(), 0.05)[0].outcome == "fail"
    assert judge(tests, Policy(), 0.01)[0].outcome == "inconclusive"
    assert judge(tests, Policy(), 0.0)[0].outcome == "inconclusive"


def test_what_is_significant_but_immaterial_does_not_fail() -> None:
    tests = [
        regression("health.failure_rate", 1e-9, material=False, passes=True),
        regression("health.cost_usd", 1e-9, material=False),
    ]
    assert [c.outcome for c in judge(tests, Policy(), 0.05)] == ["pass", "inconclusive"]


def test_under_the_null_any_regression_check_falsely_fails_in_five_per_cent() -> None:
    """Five independent uniform p-values, all differences material: the family-wise rate is 5 %."""
    repeats = 4000
    p = np.random.default_rng(20261101).uniform(size=(repeats, 5))
    failed = sum(
        any(
            c.outcome == "fail"
            for c in judge(
                [regression(n, float(v)) for n, v in zip(REGRESSIONS, row, strict=True)],
                Policy(),
                0.05,
            )
        )
        for row in p
    )
    assert failed / repeats <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / repeats)
    assert failed / repeats > 0.03


# ── needs, watch, headline ───────────────────────────────────────────────────────────────

OPEN = "health.failure_rate", "health.latency_breach_rate"

# case: (interactions, days) of each open block check → needs
NEEDS = {
    "the larger of both": ([(5000, 20.0), (8000, 32.0)], Needs(8000, 32.0)),
    "of those that traffic settles": ([(5000, 20.0), (None, None)], Needs(5000, 20.0)),
    "unknown where it settles none": ([(None, None), (None, None)], Needs(None, None)),
}


@pytest.mark.parametrize(("given", "expected"), NEEDS.values(), ids=NEEDS.keys())
def test_needs_are_what_settles_the_open_checks_that_hold(
    given: list[tuple[int | None, float | None]], expected: Needs
) -> None:
    tests = [
        regression(name, 0.5, needs_interactions=n, needs_days=d)
        for name, (n, d) in zip(OPEN, given, strict=True)
    ]
    # Open, but it does not hold: nobody needs to settle it.
    tests.append(regression("health.cost_usd", 0.5, needs_interactions=10**6, needs_days=900.0))
    checks = judge(tests, Policy(), 0.05)
    assert decide(checks, tests, first_release=False).needs == expected


def test_nothing_is_needed_where_nothing_is_open() -> None:
    assert decided({}).needs == Needs(None, None)
    assert decided({"budget.spend": "fail"}).needs == Needs(None, None)


def test_more_traffic_is_not_promised_to_settle_what_lacks_a_column() -> None:
    tests: list[Check | RegressionTest] = [check(name, "inconclusive") for name in OPEN]
    checks = judge(tests, Policy(), 0.05)
    assert decide(checks, tests, first_release=False).needs == Needs(None, None)


def test_only_a_release_that_ships_is_watched() -> None:
    assert decided({}).watch == (Watch("failures", 0.05, 14),)
    assert decided({"budget.spend": "fail"}).watch == ()
    assert decided({"health.failure_rate": "fail"}).watch == ()


# case: (what differs, first release) → headline
HEADLINES: dict[str, tuple[dict[str, Outcome], str]] = {
    "ship": (
        {},
        "Ship: no regression was found, and the blocking checks rule out one beyond their limits.",
    ),
    "block": (
        {"health.failure_rate": "fail"},
        "Do not ship: the check health.failure_rate is fail.",
    ),
    "block by two": (
        {"health.failure_rate": "fail", "health.latency_breach_rate": "fail", "drift.high": "fail"},
        "Do not ship: the check health.failure_rate is fail. (1 more below)",
    ),
    "hold by a failure": (
        {"budget.spend": "fail"},
        "Hold: the check budget.spend is fail.",
    ),
    "hold by missing evidence": (
        {"health.failure_rate": "inconclusive"},
        "Hold, the evidence does not suffice: the check health.failure_rate is inconclusive.",
    ),
    "a failure is said before missing evidence": (
        {"health.failure_rate": "inconclusive", "budget.spend": "fail"},
        "Hold: the check budget.spend is fail. (1 more below)",
    ),
}


@pytest.mark.parametrize(("changes", "headline"), HEADLINES.values(), ids=HEADLINES.keys())
def test_the_headline_is_a_sentence_that_can_be_repeated(
    changes: dict[str, Outcome], headline: str
) -> None:
    assert decided(changes).headline == headline


def test_the_headline_of_a_first_release_claims_no_comparison() -> None:
    checks = [check("budget.spend"), check("triage.queue")]
    headline = decide(checks, checks, first_release=True).headline
    assert headline == "Ship: a first release; every budget check and the review queue pass."


def test_the_headline_does_not_deny_a_regression_that_the_policy_only_notes() -> None:
    checks = [check("health.failure_rate"), check("health.cost_usd", "fail", "note")]
    decision = decide(checks, checks, first_release=False)
    assert decision.outcome == "ship"
    assert "no regression" not in decision.headline
    assert "health.cost_usd" in decision.headline


def test_the_headline_does_not_vouch_by_checks_that_the_policy_took_away() -> None:
    checks = [check("health.failure_rate", "inconclusive", "note")]
    headline = decide(checks, checks, first_release=False).headline
    assert "blocking checks show" not in headline


@pytest.mark.parametrize(
    ("sentence", "start"),
    [("The rate rose.", "the rate"), ("SLO burns.", "SLO burns"), ("P95 rose.", "p95"), ("", "")],
)
def test_a_sentence_reads_on_after_the_colon(sentence: str, start: str) -> None:
    failed = dataclasses.replace(check("health.failure_rate", "fail"), sentence=sentence)
    assert decide([failed], [failed], first_release=False).headline.startswith(
        f"Do not ship: {start}"
    )
