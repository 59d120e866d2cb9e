"""From judged checks to one decision: ship, hold or block (STATISTICS section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from analysis.check import Check, Interval, RegressionTest, finite, rounded
from analysis.policy import Gate, Policy
from analysis.policy_gate import Waiver
from analysis.stats.multiple import holm
from analysis.telemetry.windows import iso

DecisionOutcome = Literal["ship", "hold", "block"]
EXIT_CODES: dict[DecisionOutcome, int] = {"ship": 0, "block": 1, "hold": 3}


@dataclass(frozen=True)
class CheckNeeds:
    """What would settle one open check: further interactions and days of the candidate window at current
    traffic, None where no traffic that can be waited for does, and the column whose values are missing."""

    check: str
    more_interactions: int | None
    more_days: float | None
    label: str | None


@dataclass(frozen=True)
class Needs:
    """What settles the open checks that hold, so far as traffic can: None where it cannot.

    interactions: over both windows. days: of the candidate window, at current traffic. The reason
    of a check that stays open all the same says so. checks: each open check that holds, alone.
    """

    interactions: int | None
    days: float | None
    checks: tuple[CheckNeeds, ...] = ()


@dataclass(frozen=True)
class Watch:
    """What to alert on after shipping, the limit at which to roll back, and for how many days."""

    what: str
    limit: float
    days: float


@dataclass(frozen=True)
class Waived:
    """A check that would block or hold, had nobody answered for it."""

    check: str
    outcome: Literal["fail", "inconclusive"]
    owner: str
    reason: str
    expires_utc: str


@dataclass(frozen=True)
class Flip:
    """What would turn one check, in data and in policy.

    becomes: the outcome that it would have. value: the figure at which it turns, its interval as wide
    as it is; data: the same in words. setting: the policy's key that turns it, from `current` to
    `needed`, all else as it is; policy: in words. None where nothing of the kind does.
    """

    check: str
    becomes: str
    value: float | None
    data: str
    setting: str | None
    current: float | str | None
    needed: float | str | None
    policy: str | None


@dataclass(frozen=True)
class Decision:
    """flips: of every check that blocks or holds; where it ships, of what is nearest to stop it."""

    outcome: DecisionOutcome
    headline: str
    blocking: tuple[str, ...]
    holding: tuple[str, ...]
    needs: Needs
    watch: tuple[Watch, ...]
    waived: tuple[Waived, ...] = ()
    flips: tuple[Flip, ...] = ()


def judge(
    tests: Sequence[Check | RegressionTest],
    policy: Policy,
    error_rate: float,
    *,
    first_release: bool = False,
) -> tuple[Check, ...]:
    """All checks with their outcomes, in the given order.

    Holm (1979) over the p-values of the regression checks bounds, at `error_rate`, the chance that
    any of them falsely fails. The policy's severities are applied here; in a first release there is
    nothing to regress from, and regression checks stay notes. A muted check is not judged, and leaves
    the family.

    Outcome: pass, fail or inconclusive. Inconclusive means that the telemetry does not settle the check; it
    is no quiet pass.

    Passes at: the limit that the value must surely keep. Where the value keeps it and its interval does not,
    the check is inconclusive.
    """
    rules = policy.gate
    family = [
        t
        for t in tests
        if isinstance(t, RegressionTest)
        and finite(t.p_value) is not None
        and t.id not in rules.muted
    ]
    adjusted = holm([t.p_value for t in family if t.p_value is not None])
    by_id = {t.id: float(rounded(p)) for t, p in zip(family, adjusted, strict=True)}
    checks = []
    for test in tests:
        check = (
            test.judged(by_id.get(test.id), error_rate)
            if isinstance(test, RegressionTest)
            else test
        )
        if check.id in rules.muted:
            checks.append(_muted(check))
            continue
        severity = (
            "block" if check.id in rules.critical else rules.severity.get(check.id, check.severity)
        )
        if first_release and is_regression(check):
            severity = "note"
        checks.append(dataclasses.replace(check, severity=severity))
    return tuple(checks)


def _muted(check: Check) -> Check:
    return dataclasses.replace(
        check,
        outcome="inconclusive",
        severity="note",
        p_adjusted=None,
        reason="the policy mutes it",
        sentence="The policy mutes this check: its figures are shown, and not judged.",
        action="Nothing to do.",
    )


def decide(
    checks: Sequence[Check],
    tests: Sequence[Check | RegressionTest],
    *,
    first_release: bool,
    watch: Sequence[Watch] = (),
    rules: Gate | None = None,
    now: datetime | None = None,
) -> Decision:
    """The decision that the checks imply.

    A block check that fails blocks. A hold check that fails, or a block check that is
    inconclusive, holds. In a first release every budget check and the triage queue must pass. A check
    that must have data, and has none, counts as failed. What a waiver in force names counts for
    nothing, and is told apart.

    now: what waivers are held against: the end of the candidate window; none is in force without it.

    Severity: what a check can do. Block: a failure blocks the release, and an inconclusive one holds it.
    Hold: a failure holds it. Note: it is shown, and changes nothing.
    """
    rules = rules or Gate()
    empty = _without_data(tests, rules, first_release)
    failed = {c.id for c in checks if c.outcome == "fail" or c.id in empty}
    blocking = [c.id for c in checks if c.severity == "block" and c.id in failed]
    holding = [
        c.id
        for c in checks
        if c.id not in blocking
        and (
            (c.severity == "hold" and c.id in failed)
            or (c.severity == "block" and c.outcome == "inconclusive")
            or c.id in empty
            or (first_release and _must_pass_first(c) and c.outcome != "pass")
        )
    ]
    waived = _waived(checks, (*blocking, *holding), rules, now)
    excused = {w.check for w in waived}
    blocking = [i for i in blocking if i not in excused]
    holding = [i for i in holding if i not in excused]
    outcome: DecisionOutcome = "block" if blocking else "hold" if holding else "ship"
    return Decision(
        outcome=outcome,
        headline=_headline(outcome, checks, blocking, holding, first_release, waived),
        blocking=tuple(blocking),
        holding=tuple(holding),
        needs=_needs(checks, tests, holding),
        watch=tuple(watch) if outcome == "ship" else (),
        waived=waived,
    )


def _without_data(
    tests: Sequence[Check | RegressionTest], rules: Gate, first_release: bool
) -> set[str]:
    """The checks that must have data, and have none."""
    out = set()
    for test in tests:
        if test.id not in rules.must_have_data:
            continue
        if isinstance(test, RegressionTest):
            lacking = finite(test.p_value) is None
        else:
            lacking = test.outcome == "inconclusive" and test.value is None
        if lacking and not (first_release and is_regression(test)):
            out.add(test.id)
    return out


def in_force(waiver: Waiver, now: datetime | None) -> bool:
    """Whether a waiver counts at a time."""
    return now is not None and now < waiver.expires


def _waived(
    checks: Sequence[Check], deciding: Sequence[str], rules: Gate, now: datetime | None
) -> tuple[Waived, ...]:
    by_id = {w.check: w for w in rules.waivers if in_force(w, now)}
    return tuple(
        Waived(
            c.id,
            "fail" if c.outcome == "fail" else "inconclusive",
            by_id[c.id].owner,
            by_id[c.id].reason,
            iso(by_id[c.id].expires),
        )
        for c in checks
        if c.id in deciding and c.id in by_id
    )


def waivers_check(rules: Gate, now: datetime) -> Check | None:
    """Whether every waiver of the policy is still in force; None where there is none.

    gate.waivers: whether every waiver of the policy is still in force at the end of the candidate window; one
    that has expired makes its check count again.
    """
    if not rules.waivers:
        return None
    past = [w for w in rules.waivers if not in_force(w, now)]
    told = "; ".join(f"{w.check} of {w.owner}, until {iso(w.expires)}" for w in past)
    n = len(rules.waivers)
    return Check.of(
        "gate.waivers",
        "gate",
        "fail" if past else "pass",
        "hold",
        Interval(float(len(past)), None, None, 0),
        limit=0.0,
        unit="waivers",
        reason=None,
        sentence=f"Expired waivers: {told}."
        if past
        else f"{n} {'waiver is' if n == 1 else 'waivers are'} in force.",
        action="Take the waiver out of the policy, or have its owner renew it with a reason."
        if past
        else "Nothing to do.",
    )


def is_regression(check: Check | RegressionTest) -> bool:
    """Whether a check compares the candidate with the baseline at the gate's one error rate."""
    return (
        check.view == "health"
        or check.id.startswith("baseline.")
        or check.id in ("hotspots.regression", "drift.high")
    )


def _must_pass_first(check: Check) -> bool:
    absolute = check.view == "budget" or check.id == "triage.queue"
    return absolute and check.severity != "note"


def _needs(
    checks: Sequence[Check], tests: Sequence[Check | RegressionTest], holding: Sequence[str]
) -> Needs:
    """The largest need of the open checks that hold; what no traffic settles gives no number."""
    open_ids = {c.id for c in checks if c.id in holding and c.outcome == "inconclusive"}
    needs = [
        (t.needs_interactions, t.needs_days)
        for t in tests
        if isinstance(t, RegressionTest) and t.id in open_ids
    ]
    known = [(n, d) for n, d in needs if n is not None and d is not None]
    if not known:
        return Needs(None, None)
    return Needs(max(n for n, _ in known), max(d for _, d in known))


def _headline(
    outcome: DecisionOutcome,
    checks: Sequence[Check],
    blocking: Sequence[str],
    holding: Sequence[str],
    first_release: bool,
    waived: Sequence[Waived] = (),
) -> str:
    by_id = {c.id: c for c in checks}
    if outcome == "block":
        more = f" ({len(blocking) - 1} more below)" if len(blocking) > 1 else ""
        return f"Do not ship: {_lower(by_id[blocking[0]].sentence)}{more}"
    if outcome == "hold":
        failed = [i for i in holding if by_id[i].outcome == "fail"]
        first = by_id[(failed or list(holding))[0]]
        more = f" ({len(holding) - 1} more below)" if len(holding) > 1 else ""
        lead = "Hold" if failed else "Hold, the evidence does not suffice"
        return f"{lead}: {_lower(first.sentence)}{more}"
    if waived:
        told = "; ".join(f"{w.check}, by {w.owner} until {w.expires_utc}" for w in waived)
        return f"Ship, because what would have stopped it is waived: {told}."
    noted = [c.id for c in checks if is_regression(c) and c.outcome == "fail"]
    if noted:
        return f"Ship: the policy only notes the regression that was found ({', '.join(noted)})."
    if first_release:
        return "Ship: a first release; every budget check and the review queue pass."
    if not any(c.severity == "block" for c in checks):
        return "Ship: no regression was found; the policy lets no check block."
    return (
        "Ship: no regression was found, and the blocking checks rule out one beyond their limits."
    )


def _lower(sentence: str) -> str:
    """The sentence as it reads after a colon; acronyms keep their capitals."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]
