"""The three regression checks of health, their floors, and what would settle them (STATISTICS 1, 2)."""

from __future__ import annotations

import math

from analysis.check import Check, Interval, Outcome, RegressionTest, Severity, rounded
from analysis.policy import Policy
from analysis.stats.clusters import (
    RateComparison,
    WindowMoments,
    compare_rates,
    compare_ratios,
)
from analysis.telemetry import Moments, Telemetry
from analysis.views.health_compared import rate_design_effect
from analysis.views.looks import pass_confidence

MATERIAL_RATIO = 0.25
MATERIAL_DELTA = 0.003
PASS_RATIO = 1.5
PASS_DELTA = {"failure_rate": 0.010, "latency_breach_rate": 0.015}
COST_MATERIAL = 1.05
COST_LIMIT = 1.15
MIN_EFFECTIVE_CLUSTERS = 30
MAX_CLUSTER_SHARE = 0.20
MIN_BAD_CLUSTERS = 10
MAX_WINDOWS = 10
FIRST_RELEASE = "this is a first release: there is no baseline to compare with"
_SUBJECTS = {"failure_rate": "The failure rate", "latency_breach_rate": "The latency breach rate"}


def rate_check(
    telemetry: Telemetry, policy: Policy, name: str, column: str | None, m: Moments | None
) -> RegressionTest | Check:
    """Whether a rate rose (STATISTICS section 2): a difference of rates, at most its limit.

    name: failure_rate or latency_breach_rate. column: what it rests on, None where the policy names
    no such SLO. m: its moments, None where they cannot be had.

    health.failure_rate: the change of the failure rate. It fails where the rise is beyond chance and at least
    a quarter of the baseline's rate (0.3 points at the least), and passes where a rise beyond its limit is
    ruled out.

    health.latency_breach_rate: the change of the latency breach rate, judged as that of the failure rate.
    """
    check_id = f"health.{name}"
    subject = _SUBJECTS[name]
    reason = telemetry.unusable(column) if column else "the policy names no SLO called latency"
    if m is None or reason is not None:
        return _closed(telemetry, check_id, subject, reason or "it cannot be computed", m)
    if telemetry.baseline is None:
        return _closed(telemetry, check_id, subject, FIRST_RELEASE, m)
    days = m.days if telemetry.by_days else None
    p0 = m.baseline.y / m.baseline.n if m.baseline.n else 0.0
    own = policy.gate.limits.get(check_id)
    limit = own if own is not None else max((PASS_RATIO - 1) * p0, PASS_DELTA[name])
    floor = below_floors(m, p0 + limit)
    support = m.support_candidate + m.support_baseline
    if not (m.baseline.n and m.candidate.n):
        return _closed(telemetry, check_id, subject, floor or "a window has no labels", m)
    level = pass_confidence(policy, telemetry.windows)
    c = compare_rates(m.candidate, m.baseline, m.cross, days)
    steep = compare_rates(m.candidate, m.baseline, m.cross, days, weight=PASS_RATIO)
    if own is not None:
        passes = c.upper(level) < limit
    else:
        passes = steep.upper(level) < 0 or c.upper(level) < PASS_DELTA[name]
    least = max(MATERIAL_RATIO * p0, MATERIAL_DELTA)
    material = rounded(c.delta) >= rounded(least)
    bound = c.upper(level)
    room = [_passes_at(c, PASS_DELTA[name] if own is None else own, bound - c.delta)]
    if own is None:
        half = steep.upper(level) - steep.delta
        room.append(_passes_at(steep, (PASS_RATIO - 1) * p0, half))
    p1 = m.candidate.y / m.candidate.n
    needs = _needed(telemetry, m, limit, c.delta, floored=floor is not None)
    story = (
        f"{subject} went from {100 * p0:.2f} % to {100 * p1:.2f} % "
        f"({100 * c.delta:+.2f} points, 95 % interval {100 * c.low:+.2f} to {100 * c.high:+.2f})"
    )
    if floor is not None:
        hopeless = ", and more of the same traffic cannot decide it"
        unresolved = floor if needs is not None else floor + hopeless
    elif needs is not None:
        unresolved = f"the interval reaches beyond the limit of {100 * limit:+.2f} points"
    else:
        unresolved = (
            f"the change lies so near the limit of {100 * limit:+.2f} points that it cannot be "
            f"decided within {MAX_WINDOWS} windows"
        )
    sentences: dict[Outcome, str] = {
        "pass": f"{story}: within the limit of {100 * limit:+.2f} points.",
        "fail": f"{story}: a regression.",
        "inconclusive": f"{story}: not decided, because {unresolved}.",
    }
    actions: dict[Outcome, str] = {
        "pass": "Nothing to do.",
        "fail": "Do not ship. Find the slice on the hotspots page and what moved on the drift page; fix the "
        "cause, and review again.",
        "inconclusive": "Wait for more traffic, then review again.",
    }
    return RegressionTest(
        id=check_id,
        view="health",
        severity="block",
        value=c.delta,
        low=c.low,
        high=c.high,
        limit=limit,
        unit="rate",
        support=support,
        p_value=None if floor else c.p_greater,
        material=material,
        passes=passes,
        reason=unresolved,
        subject=subject,
        sentences=sentences,
        actions=actions,
        needs_interactions=needs[0] if needs else None,
        needs_days=needs[1] if needs else None,
        material_at=least,
        passes_at=max(room),
        bound=bound,
    )


def cost_check(telemetry: Telemetry, policy: Policy, m: Moments | None) -> RegressionTest | Check:
    """Whether the cost of an interaction rose: a ratio of means, at most its limit.

    health.cost_usd: cost per interaction, candidate by baseline. It fails where the rise is beyond chance and
    at least 5 %, and passes where a rise beyond its limit is ruled out.
    """
    check_id, subject = "health.cost_usd", "Cost per interaction"
    reason = telemetry.unusable("cost_usd")
    if m is None or reason is not None:
        return _closed(telemetry, check_id, subject, reason or "it cannot be computed", m, "hold")
    if telemetry.baseline is None:
        return _closed(telemetry, check_id, subject, FIRST_RELEASE, m, "hold")
    floor = below_floors(m, None)
    if not (m.baseline.y and m.candidate.y):
        return _closed(telemetry, check_id, subject, floor or "a window has no cost", m, "hold")
    days = m.days if telemetry.by_days else None
    r = compare_ratios(m.candidate, m.baseline, m.cross, days)
    limit = policy.gate.limits.get(check_id, COST_LIMIT)
    old, new = m.baseline.y / m.baseline.n / 1e9, m.candidate.y / m.candidate.n / 1e9
    limits = (
        f", 95 % interval {100 * (r.low - 1):+,.1f} to {100 * (r.high - 1):+,.1f} %"
        if math.isfinite(r.low) and math.isfinite(r.high)
        else ""
    )
    story = (
        f"{subject} went from {old:.4g} to {new:.4g} USD ({100 * (r.ratio - 1):+,.1f} %{limits})"
    )
    unresolved = floor or f"the interval reaches beyond the limit of {100 * (limit - 1):+.0f} %"
    bound = r.upper(pass_confidence(policy, telemetry.windows))
    return RegressionTest(
        id=check_id,
        view="health",
        severity="hold",
        value=r.ratio,
        low=r.low,
        high=r.high,
        limit=limit,
        unit="ratio",
        support=m.support_candidate + m.support_baseline,
        p_value=None if floor else r.p_greater(1.0),
        material=rounded(r.ratio) >= COST_MATERIAL,
        passes=bound < limit,
        reason=unresolved,
        subject=subject,
        sentences={
            "pass": f"{story}: within the limit of {100 * (limit - 1):+.0f} %.",
            "fail": f"{story}: a cost regression.",
            "inconclusive": f"{story}: not decided, because {unresolved}.",
        },
        actions={
            "pass": "Nothing to do.",
            "fail": "Read what moved the spend on the budgets page, then cut it, or accept the rise in writing.",
            "inconclusive": "Watch the cost per interaction; wait for more traffic, then review again.",
        },
        material_at=COST_MATERIAL,
        passes_at=limit * r.ratio / bound,
        bound=bound,
    )


def _passes_at(c: RateComparison, limit: float, half: float) -> float:
    """The change of a rate from which on its upper bound, `half` above it now, is beyond `limit`.

    The candidate's part of the variance goes with p(1 − p) of its rate, the baseline's stays.
    """
    own = c.rate1 * (1 - c.rate1) / c.effective1
    other = c.weight**2 * c.rate0 * (1 - c.rate0) / c.effective0
    if own <= 0 or not math.isfinite(half):
        return limit - half
    at = limit - half
    for _ in range(20):
        rate = min(max(c.rate0 + at, 0.0), 1.0)
        spread = rate * (1 - rate) / c.effective1 + other
        at = limit - half * math.sqrt(spread / (own + other))
    return at


def below_floors(m: Moments, limit_rate: float | None) -> str | None:
    """Why a comparison has too little evidence to be judged (STATISTICS section 1), or None.

    limit_rate: for rates, the rate at the pass limit, at which ten bad clusters must be expected.
    """
    for name, window in (("baseline", m.baseline), ("candidate", m.candidate)):
        if not window.n:
            return f"the {name} window has no known value"
        if window.effective_clusters < MIN_EFFECTIVE_CLUSTERS:
            return (
                f"the {name} window has {window.effective_clusters:.0f} effective clusters; "
                f"at least {MIN_EFFECTIVE_CLUSTERS} are needed"
            )
        share = window.largest / window.n
        if share > MAX_CLUSTER_SHARE:
            return (
                f"one cluster holds {100 * share:.0f} % of the {name} window; "
                f"at most {100 * MAX_CLUSTER_SHARE:.0f} % is accepted"
            )
        if limit_rate is not None:
            expected = expected_bad_clusters(m, window, limit_rate)
            if expected < MIN_BAD_CLUSTERS:
                return (
                    f"at the limit the {name} window would hold {expected:.1f} clusters with a bad "
                    f"interaction; at least {MIN_BAD_CLUSTERS} are needed"
                )
    return None


def expected_bad_clusters(m: Moments, window: WindowMoments, rate: float) -> float:
    """Clusters with a bad row that `window` would hold at `rate`.

    Bad rows in clusters are counted as in both windows together; without any, every cluster's
    rows are taken as independent. Weights balance weekdays, and make no row more than one.
    """
    sides = ((m.baseline, m.support_baseline), (m.candidate, m.support_candidate))
    y = sum(w.y / w.n * rows for w, rows in sides if w.n)
    support = m.support_candidate if window is m.candidate else m.support_baseline
    if y:
        per_row = (m.baseline.bad_clusters + m.candidate.bad_clusters) / y
        return rate * support * min(per_row, 1.0)
    mean = window.nn / window.n * support / window.n
    return support / mean * (1 - (1 - min(rate, 1.0)) ** mean)


def _closed(
    telemetry: Telemetry,
    check_id: str,
    subject: str,
    reason: str,
    m: Moments | None,
    severity: Severity = "block",
) -> Check:
    """An inconclusive check: a missing column, or a first release (then a note)."""
    first = telemetry.baseline is None
    return Check.of(
        check_id,
        "health",
        "inconclusive",
        "note" if first else severity,
        Interval.unknown(0 if m is None else m.support_candidate + m.support_baseline),
        limit=None,
        unit="ratio" if check_id == "health.cost_usd" else "rate",
        reason=reason,
        sentence=f"{subject} cannot be compared, because {reason}.",
        action="Nothing to do." if first else "Provide what is missing, then review again.",
    )


def _needed(
    telemetry: Telemetry, m: Moments, limit: float, delta: float, *, floored: bool
) -> tuple[int, float] | None:
    """Interactions over both windows, and candidate days at current traffic, that would settle it.

    n = (1.645 + 0.84)² deff (p₁q₁/s₁ + p₀q₀/s₀) / distance² (STATISTICS section 2); None beyond ten
    windows. Below the floors the planning value is no change at all, the floors count too, and ten
    windows are no end, for small traffic is far from them. A giant cluster's share does not shrink
    with more of the same traffic: None.
    """
    total = m.support_candidate + m.support_baseline
    share1 = m.support_candidate / total
    p1, p0 = m.candidate.rate, m.baseline.rate
    p_limit = p0 + limit
    if floored:
        p1 = p0 = share1 * p1 + (1 - share1) * p0
        delta = 0.0
    distance = abs(limit - delta)
    if distance <= 0:
        return None
    deff = max(
        rate_design_effect(m.candidate, m.support_candidate, m.baseline)
        * (m.support_candidate / m.candidate.n),
        rate_design_effect(m.baseline, m.support_baseline, m.candidate)
        * (m.support_baseline / m.baseline.n),
        1.0,
    )
    spread = p1 * (1 - p1) / share1 + p0 * (1 - p0) / (1 - share1)
    needed = (1.645 + 0.84) ** 2 * deff * spread / distance**2
    if floored:
        for window in (m.candidate, m.baseline):
            if window.largest > MAX_CLUSTER_SHARE * window.n:
                return None
            bad = expected_bad_clusters(m, window, p_limit)
            short = max(
                MIN_EFFECTIVE_CLUSTERS / window.effective_clusters,
                MIN_BAD_CLUSTERS / bad if bad else 1.0,
            )
            needed = max(needed, total * short)
    if not math.isfinite(needed) or (needed > MAX_WINDOWS * total and not floored):
        return None
    per_day = m.support_candidate / telemetry.candidate_days
    return math.ceil(needed), math.ceil(10 * needed * share1 / per_day) / 10
