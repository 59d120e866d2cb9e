"""What the gate makes of the hotspots."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.check import Check, Interval, Outcome, RegressionTest, Severity
from analysis.stats.multiple import simes
from analysis.telemetry import Telemetry
from analysis.views.health_checks import FIRST_RELEASE
from analysis.views.hotspot_family import Family
from analysis.views.hotspot_findings import Found, where

MIN_COVERAGE = 0.80


def checks(
    telemetry: Telemetry, found: Sequence[Found], coverage: float | None, family: Family
) -> tuple[Check | RegressionTest, ...]:
    """Regressions hold a release, levels are noted.

    hotspots.regression: the number of slices that worsened by more than the rest. It fails where one did
    beyond chance, and passes where none is found and the tested slices cover enough of the traffic.

    hotspots.level: the number of slices that are worse than the rest of the candidate window.
    """
    regressions = [f for f in found if f.kind == "regression"]
    levels = [f for f in found if f.kind == "level"]
    support = telemetry.candidate.n_interactions
    return (
        _regression_check(telemetry, coverage or 0.0, family, regressions, support),
        _note(
            "hotspots.level",
            "pass" if not levels else "fail",
            float(len(levels)),
            support,
            f"Slices worse than the rest of the traffic: {len(levels)}; "
            f"the first: {_name(levels[0])}."
            if levels
            else "No slice is clearly worse than the rest of the traffic.",
            "Fix the slices whose status is new or worsened first; this release did not make the unchanged ones."
            if levels
            else "Nothing to do.",
        ),
    )


def _regression_check(
    telemetry: Telemetry,
    coverage: float,
    family: Family,
    regressions: Sequence[Found],
    support: int,
) -> Check | RegressionTest:
    if telemetry.baseline is None:
        return _note(
            "hotspots.regression",
            "inconclusive",
            None,
            support,
            f"No slice can be compared: {FIRST_RELEASE}.",
            "Nothing to do.",
            FIRST_RELEASE,
        )
    p = simes(family.p[family.regression])
    tested = int(family.regression.sum())
    if not tested:
        return _closed(telemetry, "no slice has enough evidence in both windows", support)
    reason = (
        f"the tested slices cover {100 * coverage:.0f} % of the traffic; "
        f"{100 * MIN_COVERAGE:.0f} % are needed"
        if coverage < MIN_COVERAGE
        else "the evidence does not hold at the gate's error rate"
    )
    first = _name(regressions[0]) if regressions else ""
    worst = f"; the first: {first}" if regressions else ""
    named = where(regressions[0]) if regressions else "the slice"
    plural = "slice" if len(regressions) == 1 else "slices"
    count = f"{len(regressions)} {plural} worsened by more than the rest{worst}"
    return RegressionTest(
        id="hotspots.regression",
        view="hotspots",
        severity="hold",
        value=float(len(regressions)),
        low=None,
        high=None,
        limit=0.0,
        unit="slices",
        support=support,
        p_value=p,
        material=bool(regressions),
        passes=not regressions and coverage >= MIN_COVERAGE,
        reason=reason,
        subject="Slices that regressed",
        sentences={
            "pass": f"No slice worsened by more than the rest ({tested:,} tests, covering "
            f"{100 * coverage:.0f} % of the traffic).",
            "fail": f"{count}.",
            "inconclusive": f"{count}: not decided, because {reason}.",
        },
        actions={
            "pass": "Nothing to do.",
            "fail": f"Read what went wrong in {named}, and fix or roll back what the release changed there.",
            "inconclusive": "Wait for more traffic, or fold rare values of the dimensions.",
        },
    )


def _name(found: Found) -> str:
    times = "times as far from the best score as" if found.unit == "score" else "times"
    ratio = "" if found.ratio is None else f", {found.ratio:.1f} {times} its reference"
    return f"{found.metric} in {where(found)}{ratio}"


def _note(
    check_id: str,
    outcome: Outcome,
    value: float | None,
    support: int,
    sentence: str,
    action: str,
    reason: str | None = None,
    severity: Severity = "note",
) -> Check:
    return Check.of(
        check_id,
        "hotspots",
        outcome,
        severity,
        Interval(value, None, None, support),
        limit=0.0,
        unit="slices",
        reason=reason,
        sentence=sentence,
        action=action,
    )


def _closed(telemetry: Telemetry, reason: str, support: int) -> Check:
    first = telemetry.baseline is None
    return _note(
        "hotspots.regression",
        "inconclusive",
        None,
        support,
        f"Slices cannot be compared: {FIRST_RELEASE if first else reason}.",
        "Nothing to do." if first else "Provide what is missing, or wait for more traffic.",
        FIRST_RELEASE if first else reason,
        "note" if first else "hold",
    )


def untested(telemetry: Telemetry, reason: str) -> tuple[Check, ...]:
    """The checks of a view that could not test anything."""
    support = telemetry.candidate.n_interactions
    return (
        _closed(telemetry, reason, support),
        _note(
            "hotspots.level",
            "inconclusive",
            None,
            support,
            f"Slices cannot be tested: {reason}.",
            "Provide what is missing.",
            reason,
        ),
    )
