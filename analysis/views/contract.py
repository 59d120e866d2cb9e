"""Contract: what the telemetry violates, what was set aside, and what that could hide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.check import Check, finite
from analysis.contract import INTERACTIONS, TABLES
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
class QuarantineInfo:
    """Rows set aside for breaking the contract, by table. share: of the interactions, 0 to 1."""

    rows: dict[str, int]
    share: float


@dataclass(frozen=True)
class BoundInfo:
    """One headline figure and its worst-case bounds: not a confidence interval.

    low, high: the figure if every unknown row of the window had been good, or bad; null where a
    side has no bound.
    """

    figure: str
    window: Literal["baseline", "candidate", "change"]
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class UnknownInfo:
    """Rows of one window whose outcome, latency or cost nobody knows."""

    missing: dict[str, int]
    set_aside: int
    lost: int


@dataclass(frozen=True)
class BoundsInfo:
    """What the unknown rows could hide; best and worst: the decision at either extreme."""

    baseline: UnknownInfo
    candidate: UnknownInfo
    figures: tuple[BoundInfo, ...]
    best: Outcome
    worst: Outcome


@dataclass(frozen=True)
class ContractInfo:
    n_rules: int
    n_errors: int
    n_warnings: int
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
        tuple(map(_info, report.violations)),
        tuple(map(_info, report.below)),
        None if aside is None else QuarantineInfo({t: aside[t] for t in TABLES}, share),
        bounds,
    )


def _info(v: Violation) -> ViolationInfo:
    return ViolationInfo(
        v.rule, v.table, v.column, v.severity, v.n_rows, v.share, v.hint, v.examples, v.cause
    )


def unknown_info(unknown: Unknown) -> UnknownInfo:
    """The counts as the artifact holds them."""
    return UnknownInfo(dict(unknown.missing), unknown.set_aside, unknown.lost)


def errors_check(telemetry: Telemetry) -> Check | None:
    """`contract.errors`: fails where rows were set aside; without quarantine there is no such check."""
    aside = telemetry.aside
    if aside is None:
        return None
    n, total = aside[INTERACTIONS], telemetry.source.rows(INTERACTIONS)
    others = sum(aside.values()) - n
    more = f", and {others:,} rows of sessions and users" if others else ""
    return Check(
        id="contract.errors",
        view="contract",
        outcome="fail",
        severity="block",
        value=n / total,
        low=None,
        high=None,
        limit=0.0,
        comparison="at_most",
        unit="share of rows",
        support=total,
        p_value=None,
        p_adjusted=None,
        reason=None,
        sentence=f"The telemetry breaks its contract: {n:,} of {total:,} interactions{more} were set "
        "aside, and the rest was reviewed.",
        action="Repair the telemetry (the contract page lists what is wrong), and review again.",
    )


def bounds_check(outcome: Outcome, bounds: BoundsInfo | None, support: int) -> Check:
    """`contract.bounds`: whether the unknown rows could flip the decision."""
    n = 0 if bounds is None else _most(bounds)
    flips = (
        [
            f"{name} {taken}"
            for name, taken in (("best", bounds.best), ("worst", bounds.worst))
            if taken != outcome
        ]
        if bounds is not None
        else []
    )
    if bounds is None:
        story = "Every row is there, and every outcome, latency and cost is known."
    else:
        named = f"Up to {n:,} interactions lack an outcome, a latency or a cost, or were set aside or lost"
        story = (
            f"{named}: had they all been bad in the candidate and good in the baseline, the decision "
            f"would be {bounds.worst}; the other way round {bounds.best}"
            + ("." if flips else ", as it is without them.")
        )
    return Check(
        id="contract.bounds",
        view="contract",
        outcome="fail" if flips else "pass",
        severity="note",
        value=finite(n / support if support else None),
        low=None,
        high=None,
        limit=None,
        comparison="at_most",
        unit="share of rows",
        support=support,
        p_value=None,
        p_adjusted=None,
        reason=None,
        sentence=story,
        action="Find out what the unknown rows are (the contract page counts them); if the decision must "
        "not rest on them, let this check hold (gate.severity in the policy)."
        if flips
        else "Nothing to do.",
    )


def _most(bounds: BoundsInfo) -> int:
    """Rows of both windows that lack the figure which is missing most, or are not there."""
    sides = (bounds.baseline, bounds.candidate)
    columns: Mapping[str, int] = {
        c: sum(s.missing.get(c, 0) for s in sides) for s in sides for c in s.missing
    }
    return max(columns.values(), default=0) + sum(s.set_aside + s.lost for s in sides)
