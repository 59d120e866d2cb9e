"""From judged checks to one decision: ship, hold or block (STATISTICS section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.check import Check, RegressionTest, finite, rounded
from analysis.policy import Policy
from analysis.stats.multiple import holm

DecisionOutcome = Literal["ship", "hold", "block"]
EXIT_CODES: dict[DecisionOutcome, int] = {"ship": 0, "block": 1, "hold": 3}


@dataclass(frozen=True)
class Needs:
    """What settles the open checks that hold, so far as traffic can: None where it cannot.

    interactions: over both windows. days: of the candidate window, at current traffic. The reason
    of a check that stays open all the same says so.
    """

    interactions: int | None
    days: float | None


@dataclass(frozen=True)
class Watch:
    """What to alert on after shipping, the limit at which to roll back, and for how many days."""

    what: str
    limit: float
    days: float


@dataclass(frozen=True)
class Decision:
    outcome: DecisionOutcome
    headline: str
    blocking: tuple[str, ...]
    holding: tuple[str, ...]
    needs: Needs
    watch: tuple[Watch, ...]


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
    nothing to regress from, and regression checks stay notes.
    """
    family = [t for t in tests if isinstance(t, RegressionTest) and finite(t.p_value) is not None]
    adjusted = holm([t.p_value for t in family if t.p_value is not None])
    by_id = {t.id: float(rounded(p)) for t, p in zip(family, adjusted, strict=True)}
    checks = []
    for test in tests:
        check = (
            test.judged(by_id.get(test.id), error_rate)
            if isinstance(test, RegressionTest)
            else test
        )
        severity = policy.gate.severity.get(check.id, check.severity)
        if first_release and is_regression(check):
            severity = "note"
        checks.append(dataclasses.replace(check, severity=severity))
    return tuple(checks)


def decide(
    checks: Sequence[Check],
    tests: Sequence[Check | RegressionTest],
    *,
    first_release: bool,
    watch: Sequence[Watch] = (),
) -> Decision:
    """The decision that the checks imply.

    A block check that fails blocks. A hold check that fails, or a block check that is
    inconclusive, holds. In a first release every budget check and the triage queue must pass.
    """
    blocking = tuple(c.id for c in checks if c.severity == "block" and c.outcome == "fail")
    holding = tuple(
        c.id
        for c in checks
        if (c.severity == "hold" and c.outcome == "fail")
        or (c.severity == "block" and c.outcome == "inconclusive")
        or (first_release and _must_pass_first(c) and c.outcome != "pass" and c.id not in blocking)
    )
    outcome: DecisionOutcome = "block" if blocking else "hold" if holding else "ship"
    return Decision(
        outcome=outcome,
        headline=_headline(outcome, checks, blocking, holding, first_release),
        blocking=blocking,
        holding=holding,
        needs=_needs(checks, tests, holding),
        watch=tuple(watch) if outcome == "ship" else (),
    )


def is_regression(check: Check) -> bool:
    """Whether a check compares the candidate with the baseline at the gate's one error rate."""
    return check.view == "health" or check.id in ("hotspots.regression", "drift.high")


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
