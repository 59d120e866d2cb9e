"""The checks of drifting columns: strong drift, and medium drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.check import Check, Interval, RegressionTest, rounded
from analysis.policy import Policy
from analysis.stats.multiple import simes
from analysis.telemetry import Metric, Telemetry
from analysis.views.drift_features import RANK, Feature, or_least, short
from analysis.views.health_checks import MAX_CLUSTER_SHARE, MIN_EFFECTIVE_CLUSTERS

NOTHING_TESTED = "no column could be tested for drift"
FIRST_RELEASE = "there is no baseline: this is declared as a first release"


def high_check(
    telemetry: Telemetry, policy: Policy, features: Sequence[Feature], floor: str | None
) -> RegressionTest | Check:
    """Whether a counted feature is high. floor: why the windows are too small to tell, or None.

    drift.high: the number of columns that drift highly. It fails where one does beyond chance; prompts and
    models are listed, and not counted.
    """
    counted = [f for f in features if f.counted and f.p_value is not None]
    if not counted or telemetry.baseline is None:
        return unjudged("drift.high", NOTHING_TESTED)
    high = [f for f in counted if f.severity == "high"]
    edge = policy.drift.high.psi
    tested = _tested(counted)
    worst = max(counted, key=lambda f: (rounded(or_least(f.psi)), f.feature))
    story = (
        f"{len(high)} of {tested} drift{'s' if len(high) == 1 else ''} strongly, "
        f"with a stability index of {edge:g} or more: {_named(high)}"
        if high
        else f"{_none_drifts(counted)} strongly; the largest stability index is "
        f"{max(or_least(worst.psi), 0.0):.3f} (“{short(worst.feature)}”), "
        + (
            f"beyond {edge:g}, but within what chance explains"
            if rounded(or_least(worst.psi)) >= edge
            else f"and {edge:g} or more would count"
        )
    )
    doubt = "it is not beyond chance at the gate's error rate" if high else None
    unresolved = floor or doubt
    return RegressionTest(
        id="drift.high",
        view="drift",
        severity="hold",
        value=float(len(high)),
        low=None,
        high=None,
        limit=0.0,
        unit="features",
        support=telemetry.candidate.n_interactions + telemetry.baseline.n_interactions,
        p_value=None if floor else float(simes([f.p_value or 0.0 for f in counted])),
        material=bool(high),
        passes=not high,
        reason=unresolved,
        subject="Strong drift",
        sentences={
            "pass": f"{story}.",
            "fail": f"{story}.",
            "inconclusive": f"{story}; not decided, because {unresolved}.",
        },
        actions={
            "pass": "Nothing to do.",
            "fail": f"Find out why {_named(high, bare=True)} moved. If it is meant, move the baseline; if "
            "not, fix the traffic, the routing or what feeds it.",
            "inconclusive": "Wait for more traffic, then review again.",
        },
    )


def below_floors(telemetry: Telemetry) -> str | None:
    """Why the windows are too small for a verdict on drift, or None."""
    moments = telemetry.moments([Metric("rows", "1", "1")])["rows"]
    for name, window in (("baseline", moments.baseline), ("candidate", moments.candidate)):
        effective = window.n**2 / window.nn if window.nn else 0.0
        if effective < MIN_EFFECTIVE_CLUSTERS:
            return (
                f"the {name} window has {effective:.0f} effective clusters; "
                f"at least {MIN_EFFECTIVE_CLUSTERS} are needed"
            )
        if window.largest > MAX_CLUSTER_SHARE * window.n:
            share = 100 * window.largest / window.n
            return f"one cluster holds {share:.0f} % of the {name} window"
    return None


def medium_check(policy: Policy, features: Sequence[Feature], floor: str | None) -> Check:
    """Whether a counted feature is medium or high.

    drift.medium: the number of columns whose drift is medium or high.
    """
    counted = [f for f in features if f.counted and f.p_value is not None]
    if not counted or floor:
        return unjudged("drift.medium", floor or NOTHING_TESTED)
    found = [f for f in counted if RANK[f.severity] >= RANK["medium"]]
    edge = f"stability index of {policy.drift.medium.psi:g} or more"
    tested = _tested(counted)
    verb = "drifts" if len(found) == 1 else "drift"
    return replace(
        unjudged("drift.medium", ""),
        outcome="fail" if found else "pass",
        value=float(len(found)),
        support=max(f.support for f in counted),
        reason=None,
        sentence=(
            f"{len(found)} of {tested} {verb} at medium or above ({edge}): {_named(found)}."
            if found
            else f"{_none_drifts(counted)} at medium or above ({edge})."
        ),
        action=f"Compare {_named(found, bare=True)} before and after on the drift page, and say whether "
        f"{'the' if len(found) == 1 else 'each'} change is meant."
        if found
        else "Nothing to do.",
    )


_SUBJECTS = {"drift.high": "Strong drift", "drift.medium": "Medium drift"}


def unjudged(check_id: str, reason: str) -> Check:
    """A check of columns that cannot be judged, and why."""
    return Check.of(
        check_id,
        "drift",
        "inconclusive",
        "hold" if check_id == "drift.high" and reason != FIRST_RELEASE else "note",
        Interval.unknown(),
        limit=0.0,
        unit="features",
        reason=reason,
        sentence=f"{_SUBJECTS[check_id]} is not judged: {reason}.",
        action="Nothing to do."
        if reason == FIRST_RELEASE
        else "Provide what is missing, or wait for more traffic, then review again.",
    )


def _tested(counted: Sequence[Feature]) -> str:
    return "1 tested column" if len(counted) == 1 else f"{len(counted)} tested columns"


def _none_drifts(counted: Sequence[Feature]) -> str:
    if len(counted) == 1:
        return "The one tested column does not drift"
    return f"None of {_tested(counted)} drifts"


def _named(features: Sequence[Feature], *, bare: bool = False) -> str:
    shown = [f"“{short(f.feature)}”" + ("" if bare else f" ({f.psi:.3f})") for f in features[:5]]
    more = f" and {len(features) - 5} more" if len(features) > 5 else ""
    return ", ".join(shown) + more
