"""From judged checks to one decision: ship, hold or block (STATISTICS section 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.check import Check, RegressionTest, rounded
from analysis.policy import Policy
from analysis.stats.multiple import holm

DecisionOutcome = Literal["ship", "hold", "block"]
EXIT_CODES: dict[DecisionOutcome, int] = {"ship": 0, "block": 1, "hold": 3}


@dataclass(frozen=True)
class Needs:
    """What would settle the checks that hold: interactions over both windows, candidate days."""

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
    tests: Sequence[Check | RegressionTest], policy: Policy, error_rate: float
) -> tuple[Check, ...]:
    """All checks with their outcomes, in the given order.

    Holm (1979) over the p-values of the regression checks bounds, at `error_rate`, the chance that
    any of them falsely fails. The policy's severities are applied here.
    """
    family = [t for t in tests if isinstance(t, RegressionTest) and t.p_value is not None]
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
        or (first_release and _must_pass_first(c) and c.outcome != "pass")
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


def _must_pass_first(check: Check) -> bool:
    absolute = check.view == "budget" or check.id == "triage.queue"
    return absolute and check.severity != "note"


def _needs(
    checks: Sequence[Check], tests: Sequence[Check | RegressionTest], holding: Sequence[str]
) -> Needs:
    open_ids = {c.id for c in checks if c.id in holding and c.outcome == "inconclusive"}
    needs = [t for t in tests if isinstance(t, RegressionTest) and t.id in open_ids]
    interactions = [t.needs_interactions for t in needs]
    days = [t.needs_days for t in needs]
    if not needs or len(needs) < len(open_ids) or None in interactions or None in days:
        return Needs(None, None)
    return Needs(
        max(n for n in interactions if n is not None), max(d for d in days if d is not None)
    )


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
    if first_release:
        return "Ship: a first release; every budget check and the review queue pass."
    return "Ship: no regression was found, and the blocking checks show that none beyond the limits is there."


def _lower(sentence: str) -> str:
    """The sentence as it reads after a colon; acronyms keep their capitals."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]
