"""The policy's rules of the gate: muted, critical and must-have checks, waivers, and their refusals."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analysis.check import Check
from analysis.errors import PolicyError
from analysis.gate import Decision, decide, judge, waivers_check
from analysis.policy import Policy, parse
from tests.test_gate import SEVERITIES, check, regression

NOW = datetime(2026, 11, 16, tzinfo=UTC)


def rules(**gate: Any) -> Policy:
    return Policy.model_validate({"gate": gate})


def waiver(name: str, days: float = 30, **more: Any) -> dict[str, Any]:
    expires = (NOW + timedelta(days=days)).isoformat()
    return {"check": name, "owner": "ann", "reason": "it is wanted", "expires": expires, **more}


def judged(policy: Policy, failing: dict[str, float], *open_: str) -> tuple[list[Check], Decision]:
    """Checks of a release where these regressions fail, these are open, and all else passes."""
    tests = [
        regression(name, failing.get(name, 0.5), passes=name not in {*failing, *open_})
        if name.startswith(("health", "drift.high", "hotspots.reg"))
        else check(name, "inconclusive" if name in open_ else "pass")
        for name in SEVERITIES
    ]
    checks = judge(tests, policy, policy.gate.error_rate)
    decision = decide(checks, tests, first_release=False, rules=policy.gate, now=NOW)
    return list(checks), decision


class TestMuted:
    def test_a_muted_check_is_shown_and_not_judged(self) -> None:
        checks, decision = judged(rules(muted=["health.failure_rate"]), {"health.failure_rate": 0})
        found = next(c for c in checks if c.id == "health.failure_rate")
        assert (found.outcome, found.severity, found.p_adjusted) == ("inconclusive", "note", None)
        assert found.value == 0.0
        assert decision.outcome == "ship"

    def test_it_leaves_the_family_of_the_error_rate(self) -> None:
        p = {"health.failure_rate": 0.011, "health.latency_breach_rate": 0.5}
        everything = {c.id: c.p_adjusted for c in judged(rules(), p)[0]}
        fewer = {
            c.id: c.p_adjusted for c in judged(rules(muted=["health.cost_usd", "drift.high"]), p)[0]
        }
        assert everything["health.failure_rate"] == pytest.approx(5 * 0.011)
        assert fewer["health.failure_rate"] == pytest.approx(3 * 0.011)


class TestCritical:
    def test_a_critical_check_blocks(self) -> None:
        failing = {"health.cost_usd": 1e-6}
        assert judged(rules(), failing)[1].outcome == "hold"
        decision = judged(rules(critical=["health.cost_usd"]), failing)[1]
        assert (decision.outcome, decision.blocking) == ("block", ("health.cost_usd",))

    def test_an_open_critical_check_holds(self) -> None:
        decision = judged(rules(critical=["budget.spend"]), {}, "budget.spend")[1]
        assert (decision.outcome, decision.holding) == ("hold", ("budget.spend",))


class TestMustHaveData:
    def decided(self, name: str, severity: str, **more: Any) -> Decision:
        policy = rules(must_have_data=[name], **more)
        empty = dataclasses.replace(
            check(name, "inconclusive", severity),  # type: ignore[arg-type]
            value=None,
        )
        return decide([empty], [empty], first_release=False, rules=policy.gate, now=NOW)

    def test_without_data_a_hold_check_holds(self) -> None:
        assert self.decided("budget.spend", "hold").holding == ("budget.spend",)

    def test_without_data_a_block_check_blocks(self) -> None:
        assert self.decided("health.failure_rate", "block").blocking == ("health.failure_rate",)

    def test_a_note_holds(self) -> None:
        assert self.decided("triage.mode", "note").holding == ("triage.mode",)

    def test_with_data_it_is_a_check_like_others(self) -> None:
        policy = rules(must_have_data=["budget.spend"])
        open_ = check("budget.spend", "inconclusive")
        decision = decide([open_], [open_], first_release=False, rules=policy.gate, now=NOW)
        assert decision.outcome == "ship"

    def test_below_the_floors_a_regression_has_no_data(self) -> None:
        policy = rules(must_have_data=["health.cost_usd"])
        test = regression("health.cost_usd", None)
        checks = judge([test], policy, 0.05)
        assert decide(checks, [test], first_release=False, rules=policy.gate).outcome == "hold"
        assert decide(checks, [test], first_release=True, rules=policy.gate).outcome == "ship"


class TestWaivers:
    def test_what_is_waived_decides_nothing_and_is_told(self) -> None:
        policy = rules(waivers=[waiver("health.failure_rate")])
        _, decision = judged(policy, {"health.failure_rate": 1e-6})
        assert (decision.outcome, decision.blocking) == ("ship", ())
        (held,) = decision.waived
        assert (held.check, held.outcome, held.owner) == ("health.failure_rate", "fail", "ann")
        assert held.expires_utc == "2026-12-16T00:00:00Z"
        assert "waived: health.failure_rate, by ann until 2026-12-16" in decision.headline

    def test_a_doubt_can_be_waived_too(self) -> None:
        policy = rules(waivers=[waiver("health.failure_rate")])
        _, decision = judged(policy, {}, "health.failure_rate")
        assert decision.outcome == "ship"
        assert decision.waived[0].outcome == "inconclusive"

    @pytest.mark.parametrize("days", [0, -1, -100])
    def test_an_expired_waiver_waives_nothing_and_fails(self, days: float) -> None:
        policy = rules(waivers=[waiver("health.failure_rate", days)])
        _, decision = judged(policy, {"health.failure_rate": 1e-6})
        assert decision.outcome == "block"
        assert decision.waived == ()
        found = waivers_check(policy.gate, NOW)
        assert found is not None
        assert (found.outcome, found.severity, found.value) == ("fail", "hold", 1.0)
        assert "health.failure_rate of ann" in found.sentence

    def test_a_waiver_of_a_check_that_passes_changes_nothing(self) -> None:
        policy = rules(waivers=[waiver("drift.high")])
        _, decision = judged(policy, {})
        assert (decision.outcome, decision.waived) == ("ship", ())
        assert decision.headline.startswith("Ship: no regression")

    def test_others_still_block(self) -> None:
        policy = rules(waivers=[waiver("health.cost_usd")])
        _, decision = judged(policy, {"health.failure_rate": 1e-6, "health.cost_usd": 1e-6})
        assert decision.blocking == ("health.failure_rate",)
        assert [w.check for w in decision.waived] == ["health.cost_usd"]

    def test_without_waivers_there_is_no_check(self) -> None:
        assert waivers_check(rules().gate, NOW) is None


GOOD = "expires: 2026-12-01"


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("muted: [drift.hihg]", "gate.muted[0]: no such check; did you mean 'drift.high'?"),
        ("critical: [nothing]", "gate.critical[0]: no such check"),
        ("must_have_data: [x]", "gate.must_have_data[0]: no such check"),
        ("muted: [drift.high, drift.high]", "gate.muted[1]: 'drift.high' stands twice"),
        ("muted: [drift.high], critical: [drift.high]", "gate.muted[0]: 'drift.high' is critical too"),
        ("severity: {drift.high: note}, critical: [drift.high]", "gate.critical[0]: 'drift.high' has the"),
        (f"waivers: [{{check: x, owner: a, reason: b, {GOOD}}}]", "gate.waivers[0].check: no such check"),
        (f"waivers: [{{check: drift.high, owner: a, {GOOD}}}]", "gate.waivers[0].reason"),
        ("waivers: [{check: drift.high, owner: a, reason: b}]", "gate.waivers[0].expires"),
        (f"waivers: [{{check: drift.high, owner: '', reason: b, {GOOD}}}]", "gate.waivers[0].owner"),
        ("waivers: [{check: drift.high, owner: a, reason: b, expires: soon}]", "gate.waivers[0].expires"),
        (f"waivers: [{{check: gate.waivers, owner: a, reason: b, {GOOD}}}]", "cannot waive that waivers"),
        ("thresholds: [{name: a, metric: m}]", "give one of: max, min"),
        ("thresholds: [{name: a, metric: m, max: 1, min: 0}]", "give one of: max, min"),
        ("thresholds: [{name: a, metric: m, max: 1}, {name: a, metric: m, max: 1}]", "another threshold's"),
        ("baselines: {allowed: {failure_rate: 1.1}}", "gate.baselines.allowed.failure_rate: expected a diff"),
        ("baselines: {allowed: {cost_usd_per_interaction: 0.1}}", "expected a ratio above 1"),
        ("baselines: {allowed: {}}", "name at least one figure"),
        ("baselines: {last: 2, allowed: {failure_rate: 0.1}}", "gate.baselines.last"),
        ("baselines: {allowed: {tokens: 1.1}}", "gate.baselines.allowed"),
        ("registration: never", "gate.registration"),
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_with_its_path(gate: str, told: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse(f"gate: {{{gate}}}".encode())
    assert told in str(refused.value)


def test_rules_may_name_the_checks_that_rules_make() -> None:
    policy = parse(
        b"gate:\n  thresholds: [{name: coding, metric: failure_rate, max: 0.1}]\n"
        b"  baselines: {allowed: {failure_rate: 0.01}}\n"
        b"  critical: [threshold.coding, baseline.failure_rate]\n"
        b"  severity: {gate.waivers: block, gate.registration: hold}\n"
    )
    assert policy.gate.critical == ("threshold.coding", "baseline.failure_rate")


def test_a_check_that_is_gone_with_its_slo_is_not_told_twice() -> None:
    with pytest.raises(PolicyError) as refused:
        parse(b"slos: [{name: quality, bad: b, target: 2}]\ngate: {critical: [budget.quality]}")
    assert len(refused.value.problems) == 1
