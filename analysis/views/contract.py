"""Contract: what the telemetry violates, what was set aside, and what that could hide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.check import Check, Interval
from analysis.contract import INTERACTIONS, RULES, TABLES, Contract
from analysis.telemetry import Telemetry
from analysis.telemetry.unknown import Unknown
from analysis.telemetry.violations import Violation

Outcome = Literal["ship", "hold", "block"]


@dataclass(frozen=True)
class ViolationInfo:
    """One violation; n_rows 0: of the table as a whole. cause: shared by rules that fail on the same
    rows."""

    rule: str
    table: str
    column: str | None
    severity: Literal["error", "warning"]
    n_rows: int
    share: float
    hint: str
    examples: tuple[str, ...]
    cause: int | None


@dataclass(frozen=True)
class RuleInfo:
    """One rule that was asked, and what it says."""

    rule: str
    severity: Literal["error", "warning"]
    description: str


@dataclass(frozen=True)
class QuarantineInfo:
    """Rows set aside for breaking the contract, by table. share: of the interactions, 0 to 1."""

    rows: dict[str, int]
    share: float


@dataclass(frozen=True)
class BoundInfo:
    """One headline figure and its worst-case bounds: not a confidence interval.

    low, high: the figure if every unknown row of the window had been good, or bad; of a change, if
    the windows differed in that. null where a side has no bound: a quantile's upper, and what the
    value is null for. A burn rate is that of its SLO; a budget is consumed by all of the period, so
    both windows count.
    """

    figure: str
    window: Literal["baseline", "candidate", "change"]
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class UnknownInfo:
    """Rows of one window whose outcome, latency or cost nobody knows.

    missing: by column, of the rows that are there. set_aside, lost: rows that are not; one that may
    have been in either window counts in both.
    """

    missing: dict[str, int]
    set_aside: int
    lost: int


@dataclass(frozen=True)
class BoundsInfo:
    """What the unknown rows could hide.

    n_interactions: those of both windows that lack anything or are not there, each once; n_absent:
    the latter alone. reviewed: the decision without the contract's own checks; best, worst: the same
    at either extreme, health and budgets judged anew (`analysis.bounds`).
    """

    n_interactions: int
    n_absent: int
    baseline: UnknownInfo
    candidate: UnknownInfo
    figures: tuple[BoundInfo, ...]
    reviewed: Outcome
    best: Outcome
    worst: Outcome


@dataclass(frozen=True)
class ContractInfo:
    n_rules: int
    n_errors: int
    n_warnings: int
    rules: tuple[RuleInfo, ...]
    violations: tuple[ViolationInfo, ...]
    below: tuple[ViolationInfo, ...]
    quarantine: QuarantineInfo | None
    bounds: BoundsInfo | None


def section(telemetry: Telemetry, bounds: BoundsInfo | None) -> ContractInfo:
    """The contract as the artifact holds it. bounds: None where every row is known."""
    report = telemetry.validation
    aside = telemetry.aside
    share = 0.0 if aside is None else aside[INTERACTIONS] / telemetry.source.rows(INTERACTIONS)
    return ContractInfo(
        report.n_rules,
        report.n_errors,
        report.n_warnings,
        tuple(_rules(telemetry.contract)),
        tuple(map(_info, report.violations)),
        tuple(map(_info, report.below)),
        None if aside is None else QuarantineInfo({t: aside[t] for t in TABLES}, share),
        bounds,
    )


def _rules(contract: Contract) -> list[RuleInfo]:
    """The contract's rules in their order, then a team's own."""
    built_in = [
        RuleInfo(rule, contract.severities[rule], contract.descriptions[rule]) for rule in RULES
    ]
    own = [RuleInfo(r.name, r.severity, r.hint or r.expression) for r in contract.rules]
    return [*built_in, *own]


def _info(v: Violation) -> ViolationInfo:
    return ViolationInfo(
        v.rule, v.table, v.column, v.severity, v.n_rows, v.share, v.hint, v.examples, v.cause
    )


def unknown_info(unknown: Unknown) -> UnknownInfo:
    """The counts as the artifact holds them."""
    return UnknownInfo(dict(unknown.missing), unknown.set_aside, unknown.lost)


def errors_check(telemetry: Telemetry) -> Check | None:
    """`contract.errors`: fails where rows were set aside; without quarantine there is no such check.

    contract.errors: whether rows break the contract. Errors stop a review, unless the policy sets such rows
    aside; then this check fails.
    """
    aside = telemetry.aside
    if aside is None:
        return None
    n, total = aside[INTERACTIONS], telemetry.source.rows(INTERACTIONS)
    others = sum(aside.values()) - n
    rows = f"{others:,} {'row' if others == 1 else 'rows'} of sessions and users"
    if not n:
        found = f"{rows} {_was(others)} set aside; every interaction was reviewed"
    else:
        more = f" and {rows}" if others else ""
        found = f"{n:,} of {total:,} interactions{more} {_was(n + others)} set aside; the rest was reviewed"
    return Check.of(
        "contract.errors",
        "contract",
        "fail",
        "block",
        Interval(float(n + others), None, None, total),
        limit=0.0,
        unit="rows",
        reason=None,
        sentence=f"The telemetry breaks its contract: {found}.",
        action="Repair the telemetry (the contract page lists what is wrong), and review again.",
    )


def bounds_check(bounds: BoundsInfo | None, telemetry: Telemetry) -> Check:
    """`contract.bounds`: whether the unknown rows could flip the decision.

    value: their share of all interactions of the windows, those that are not there included.

    contract.bounds: the share of interactions that nobody knows the outcome, latency or cost of; it fails
    where they could turn the decision.
    """
    sides = (telemetry.candidate, telemetry.baseline)
    n_there = sum(side.n_interactions for side in sides if side is not None)
    flips = bounds is not None and {bounds.best, bounds.worst} != {bounds.reviewed}
    n, total = (
        (0, n_there) if bounds is None else (bounds.n_interactions, n_there + bounds.n_absent)
    )
    return Check.of(
        "contract.bounds",
        "contract",
        "fail" if flips else "pass",
        "note",
        Interval(n / total, None, None, n_there),
        limit=None,
        unit="share of rows",
        reason=None,
        sentence=_story(bounds, flips=flips, telemetry=telemetry),
        action="Find out what the unknown rows are (the contract page counts them); if the decision must "
        "not rest on them, let this check hold (gate.severity in the policy)."
        if flips
        else "Nothing to do.",
    )


def _story(bounds: BoundsInfo | None, *, flips: bool, telemetry: Telemetry) -> str:
    if bounds is None:
        return "Every row is there, and every outcome, latency and cost is known."
    n = bounds.n_interactions
    lack = (
        "lacks an outcome, a latency or a cost"
        if n == 1
        else "lack an outcome, a latency or a cost"
    )
    gone = f", or {_was(n)} set aside or lost" if bounds.n_absent else ""
    named = f"{n:,} {'interaction' if n == 1 else 'interactions'} {lack}{gone}"
    first = telemetry.baseline is None
    worst, best = (
        ("bad", "good") if first else ("bad in the candidate and good in the baseline", None)
    )
    aside = "" if telemetry.aside is None else ", contract.errors left aside"
    if not flips:
        either = "bad or good" if first else f"{worst}, or the other way round"
        return f"{named}: taken as {either}, the decision stays {bounds.reviewed}{aside}."
    other = f"taken as {best}" if best else "the other way round"
    return (
        f"{named}: taken as {worst}, the decision would be {bounds.worst}; {other}, {bounds.best}; "
        f"as reviewed it is {bounds.reviewed}{aside}."
    )


def _was(n: int) -> str:
    return "was" if n == 1 else "were"
