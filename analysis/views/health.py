"""Health: rates, latency and cost, candidate against baseline (STATISTICS sections 1 to 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.check import Check, Interval, Outcome, RegressionTest, rounded
from analysis.policy import Policy
from analysis.stats.clusters import (
    WindowMoments,
    compare_means,
    compare_rates,
    compare_ratios,
    intraclass_correlation,
    mean_interval,
)
from analysis.stats.intervals import (
    clopper_pearson,
    design_effect,
    mover_ratio,
    t_quantile,
    woodruff,
)
from analysis.stats.sketch import N_BINS, bin_value, quantile
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.latency import beyond_us
from analysis.telemetry.sql import identifier
from analysis.views.looks import pass_confidence
from analysis.views.result import ViewResult

MATERIAL_RATIO = 0.25
MATERIAL_DELTA = 0.003
PASS_RATIO = 1.5
PASS_DELTA = {"failure_rate": 0.010, "latency_breach_rate": 0.015}
COST_MATERIAL = 1.05
COST_LIMIT = 1.15
MIN_EFFECTIVE_CLUSTERS = 30
MAX_CLUSTER_SHARE = 0.20
MIN_BAD_CLUSTERS = 10
MIN_TAIL_CLUSTERS = 10
MAX_WINDOWS = 10
QUANTILES = {"latency_ms_p50": 0.50, "latency_ms_p95": 0.95, "latency_ms_p99": 0.99}


@dataclass(frozen=True)
class Figures:
    """Headline figures of one window, or of their change."""

    failure_rate: Interval
    latency_breach_rate: Interval
    cost_usd_per_interaction: Interval
    latency_ms_p50: Interval
    latency_ms_p95: Interval
    latency_ms_p99: Interval


@dataclass(frozen=True)
class Compared:
    """One further figure: differences of rates and scores, ratios of tokens, times and speeds."""

    baseline: Interval
    candidate: Interval
    change: Interval


@dataclass(frozen=True)
class MissingShare:
    baseline: float | None
    candidate: float | None


@dataclass(frozen=True)
class HealthSection:
    baseline: Figures
    candidate: Figures
    change: Figures
    more: dict[str, Compared]
    missing: dict[str, MissingShare]


def assess(
    telemetry: Telemetry, policy: Policy, *, headlines_only: bool = False
) -> ViewResult[HealthSection]:
    """Headline rates, cost and latency of both windows, their change, and its three checks.

    headlines_only: rates, cost and their checks; no quantiles, no further figures, no series.
    """
    metrics = headline_metrics(telemetry)
    more_metrics = [] if headlines_only else _more_metrics(telemetry)
    moments = telemetry.moments([*metrics.values(), *(m for m, _ in more_metrics)])
    figures = {name: _compared(telemetry, moments[name], _KINDS[name]) for name in metrics}
    wanted = telemetry.has("latency_ms") and not headlines_only
    histograms = telemetry.latency_histograms() if wanted else {}
    figures |= _latency_quantiles(telemetry, histograms)
    unknown = Compared(Interval.unknown(), Interval.unknown(), Interval.unknown())

    def part(window: str) -> Figures:
        return Figures(
            **{n: getattr(figures.get(n, unknown), window) for n in Figures.__annotations__}
        )

    section = HealthSection(
        baseline=part("baseline"),
        candidate=part("candidate"),
        change=part("change"),
        more={m.name: _compared(telemetry, moments[m.name], kind) for m, kind in more_metrics},
        missing={
            column: MissingShare(rates.baseline, rates.candidate)
            for column, rates in sorted(telemetry.missing.items())
        },
    )
    checks = (
        _rate_check(telemetry, policy, "failure_rate", "is_failure", moments.get("failure_rate")),
        _rate_check(
            telemetry,
            policy,
            "latency_breach_rate",
            policy.latency_slo.rule.column if policy.latency_slo else None,
            moments.get("latency_breach_rate"),
        ),
        _cost_check(telemetry, policy, moments.get("cost_usd_per_interaction")),
    )
    return ViewResult(
        section=section,
        checks=checks,
        series={}
        if headlines_only
        else {"days": _days(moments), "latency": _latency_series(histograms)},
        notes=tuple(
            reason
            for column in ("latency_ms", "cost_usd")
            if (reason := telemetry.unusable(column)) is not None
        ),
    )


_KINDS = {
    "failure_rate": "rate",
    "latency_breach_rate": "rate",
    "cost_usd_per_interaction": "ratio",
}


def headline_metrics(telemetry: Telemetry, column: Callable[[str], str] = str) -> dict[str, Metric]:
    """Rates and cost, by the name of their figure. column: what a column of `fact` goes by."""
    metrics = {"failure_rate": Metric.rate("failure_rate", column("failure"))}
    slo = telemetry.policy.latency_slo
    if slo is not None and telemetry.has(slo.rule.column):
        metrics["latency_breach_rate"] = Metric.rate("latency_breach_rate", column("breach"))
    if telemetry.has("cost_usd"):
        name = "cost_usd_per_interaction"
        metrics[name] = Metric.mean(name, column("cost_nano"), 10**9)
    return metrics


def _more_metrics(telemetry: Telemetry) -> list[tuple[Metric, str]]:
    """Every further figure that the columns allow, in the order of the columns."""
    found: list[tuple[Metric, str]] = []
    for column in telemetry.columns:
        declared = telemetry.contract.column(column)
        if declared is None or column == "is_failure":
            continue
        name = identifier(column)
        if declared.type == "boolean" and declared.role in ("outcome", "feedback"):
            found.append((Metric.rate(column, name), "rate"))
        elif column in ("response_quality_score", "user_feedback_score"):
            value = f"CAST(floor({name} * 1e6 + 0.5) AS BIGINT)"
            found.append((Metric.mean(column, value, 10**6), "difference"))
        elif column in _RATIO_COLUMNS:
            value = f"CAST(floor({name} * 1e3 + 0.5) AS BIGINT)"
            found.append((Metric.mean(column, value, 10**3), "ratio"))
    if telemetry.has("retry_index"):
        found.append((Metric.rate("retry_rate", "(retry_index > 0)"), "rate"))
    return found


_RATIO_COLUMNS = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "cached_prompt_tokens",
        "reasoning_tokens",
        "total_tokens",
        "time_to_first_token_ms",
        "tokens_per_second",
        "tool_calls_count",
    }
)


def _compared(telemetry: Telemetry, m: Moments, kind: str) -> Compared:
    """Both windows and the change of one metric."""
    days = m.days if telemetry.by_days else None
    support = m.support_candidate + m.support_baseline
    if kind == "rate":
        old = _rate(m.baseline, m.support_baseline, m.candidate)
        new = _rate(m.candidate, m.support_candidate, m.baseline)
    else:
        old = _mean(telemetry, m, 0)
        new = _mean(telemetry, m, 1)
    if telemetry.baseline is None or not m.baseline.n or not m.candidate.n:
        return Compared(old, new, Interval.unknown(support))
    if kind == "rate":
        c = compare_rates(m.candidate, m.baseline, m.cross, days)
        change = Interval.of(c.delta, c.low, c.high, support)
    elif kind == "ratio":
        r = compare_ratios(m.candidate, m.baseline, m.cross, days)
        change = Interval.of(r.ratio, r.low, r.high, support)
    else:
        d = compare_means(m.candidate, m.baseline, m.cross, days)
        scale = m.metric.scale
        change = Interval.of(d.delta / scale, d.low / scale, d.high / scale, support)
    return Compared(old, new, change)


def _rate(m: WindowMoments, support: int, other: WindowMoments) -> Interval:
    """One rate, Clopper–Pearson at effective counts (Korn & Graubard 1998).

    A window without a bad row (or without a good one) tells nothing of its own correlation: the
    other window's is taken.
    """
    if not m.n:
        return Interval.unknown(support)
    low, high = clopper_pearson(m.y, m.n, _rate_design_effect(m, support, other))
    return Interval.of(m.y / m.n, low, high, support)


def _rate_design_effect(m: WindowMoments, support: int, other: WindowMoments | None) -> float:
    """Design effect of one window's rate; weighted rows count as copies, which ρ already knows."""
    if 0 < m.y < m.n:
        return design_effect(m.n, m.nn, intraclass_correlation(m))
    rho = intraclass_correlation(other) if other is not None else 0.0
    return design_effect(m.n, m.nn, rho) * m.n / support


def _mean(telemetry: Telemetry, m: Moments, win: int) -> Interval:
    moments = m.candidate if win else m.baseline
    support = m.support_candidate if win else m.support_baseline
    if not moments.n:
        return Interval.unknown(support)
    value, low, high = mean_interval(moments, m.days if telemetry.by_days else None, win)
    scale = m.metric.scale
    return Interval.of(value / scale, low / scale, high / scale, support)


def _latency_quantiles(
    telemetry: Telemetry, counts: Mapping[int, np.ndarray]
) -> dict[str, Compared]:
    """Quantiles on the sketch, with Woodruff (1952) intervals from the clustered tail share."""
    if not counts:
        return {}
    marks: list[Metric] = []
    for name, q in QUANTILES.items():
        beyond = []
        for win in (0, 1):
            total = counts[win].sum()
            at = int(np.searchsorted(np.cumsum(counts[win]), q * total)) if total else N_BINS
            beyond.append(beyond_us(at))
        # Each window by its own quantile, both in one reduction.
        mark = f"CASE WHEN win = 0 THEN {beyond[0]} ELSE {beyond[1]} END"
        marks.append(Metric.rate(name, f"(latency_us >= {mark})"))
    moments = telemetry.moments(marks)
    out = {}
    for name, q in QUANTILES.items():
        sides = []
        for win in (0, 1):
            m = moments[name]
            if not counts[win].sum():
                sides.append(Interval.unknown())
                continue
            window = m.candidate if win else m.baseline
            support = m.support_candidate if win else m.support_baseline
            sides.append(_quantile(telemetry, counts[win], q, m, window, win, support))
        old, new = sides
        change = Interval.unknown(old.support + new.support)
        if old.value and new.value:
            low, high = math.nan, math.nan
            if (
                old.low is not None
                and old.high is not None
                and new.low is not None
                and new.high is not None
            ):
                low, high = mover_ratio(new.value, new.low, new.high, old.value, old.low, old.high)
            change = Interval.of(new.value / old.value, low, high, old.support + new.support)
        out[name] = Compared(old, new, change)
    return out


def _quantile(
    telemetry: Telemetry,
    counts: np.ndarray,
    q: float,
    m: Moments,
    window: WindowMoments,
    win: int,
    support: int,
) -> Interval:
    value = quantile(counts, q) / 1e3
    deff = _rate_design_effect(window, support, None)
    if telemetry.by_days:
        deff = max(deff, _day_design_effect(m, win, window))
    low, high = woodruff(counts, q, deff, tail_clusters=window.bad_clusters)
    if window.bad_clusters < MIN_TAIL_CLUSTERS:
        return Interval(None, None, None, support)
    return Interval.of(value, low / 1e3, high / 1e3, support)


def _day_design_effect(m: Moments, win: int, window: WindowMoments) -> float:
    """Variance of the tail share between days, relative to independent rows.

    Times (t/z)², for so few days say little of their own variance (Korn & Graubard 1998, eq. 3).
    """
    days = [(n, y) for w, _, n, y in m.days.days if w == win]
    share = window.y / window.n if window.n else 0.0
    if len(days) < 2 or not 0 < share < 1:
        return 1.0
    spread = sum((y - share * n) ** 2 for n, y in days) * len(days) / (len(days) - 1)
    few = t_quantile(0.975, len(days) - 1) / t_quantile(0.975, math.inf)
    return few**2 * spread / (window.n * share * (1 - share))


# ── checks ───────────────────────────────────────────────────────────────────────────────


def below_floors(m: Moments, limit_rate: float | None) -> str | None:
    """Why a comparison has too little evidence to be judged (STATISTICS section 1), or None.

    limit_rate: for rates, the rate at the pass limit, at which ten bad clusters must be expected.
    """
    for name, window in (("baseline", m.baseline), ("candidate", m.candidate)):
        if not window.n:
            return f"the {name} window has no known value"
        effective = window.n**2 / window.nn
        if effective < MIN_EFFECTIVE_CLUSTERS:
            return (
                f"the {name} window has {effective:.0f} effective clusters; "
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


def _rate_check(
    telemetry: Telemetry, policy: Policy, name: str, column: str | None, m: Moments | None
) -> RegressionTest | Check:
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
    material = rounded(c.delta) >= rounded(max(MATERIAL_RATIO * p0, MATERIAL_DELTA))
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
    )


def _cost_check(telemetry: Telemetry, policy: Policy, m: Moments | None) -> RegressionTest | Check:
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
        passes=r.upper(pass_confidence(policy, telemetry.windows)) < limit,
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
    )


FIRST_RELEASE = "this is a first release: there is no baseline to compare with"
_SUBJECTS = {"failure_rate": "The failure rate", "latency_breach_rate": "The latency breach rate"}


def _closed(
    telemetry: Telemetry,
    check_id: str,
    subject: str,
    reason: str,
    m: Moments | None,
    severity: str = "block",
) -> Check:
    """An inconclusive check: a missing column, or a first release (then a note)."""
    first = telemetry.baseline is None
    return Check(
        id=check_id,
        view="health",
        outcome="inconclusive",
        severity="note" if first else ("block" if severity == "block" else "hold"),
        value=None,
        low=None,
        high=None,
        limit=None,
        comparison="at_most",
        unit="ratio" if check_id == "health.cost_usd" else "rate",
        support=0 if m is None else m.support_candidate + m.support_baseline,
        p_value=None,
        p_adjusted=None,
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
        _rate_design_effect(m.candidate, m.support_candidate, m.baseline)
        * (m.support_candidate / m.candidate.n),
        _rate_design_effect(m.baseline, m.support_baseline, m.candidate)
        * (m.support_baseline / m.baseline.n),
        1.0,
    )
    spread = p1 * (1 - p1) / share1 + p0 * (1 - p0) / (1 - share1)
    needed = (1.645 + 0.84) ** 2 * deff * spread / distance**2
    if floored:
        for window in (m.candidate, m.baseline):
            if window.largest > MAX_CLUSTER_SHARE * window.n:
                return None
            effective = window.n**2 / window.nn
            bad = expected_bad_clusters(m, window, p_limit)
            short = max(MIN_EFFECTIVE_CLUSTERS / effective, MIN_BAD_CLUSTERS / bad if bad else 1.0)
            needed = max(needed, total * short)
    if not math.isfinite(needed) or (needed > MAX_WINDOWS * total and not floored):
        return None
    per_day = m.support_candidate / telemetry.candidate_days
    return math.ceil(needed), math.ceil(10 * needed * share1 / per_day) / 10


# ── series ───────────────────────────────────────────────────────────────────────────────


def _days(moments: dict[str, Moments]) -> pd.DataFrame:
    """window, day (UTC midnight), metric, n, value: the daily rates and cost."""
    rows: list[tuple[int, pd.Timestamp, str, int, float]] = []
    for name in ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction"):
        m = moments.get(name)
        if m is None:
            continue
        for win, day, n, y in m.days.days:
            rows.append(
                (win, pd.Timestamp(day, unit="D", tz="UTC"), name, n, y / n / m.metric.scale)
            )
    return pd.DataFrame(rows, columns=["window", "day", "metric", "n", "value"])


def _latency_series(histograms: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """window, latency_ms, share: the cumulative distribution of latency on the sketch."""
    frames = []
    for win, counts in sorted(histograms.items()):
        if not counts.sum():
            continue
        used = np.flatnonzero(counts)
        frames.append(
            pd.DataFrame(
                {
                    "window": win,
                    "latency_ms": [bin_value(int(b)) / 1e3 for b in used],
                    "share": np.cumsum(counts)[used] / counts.sum(),
                }
            )
        )
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame({"window": [], "latency_ms": [], "share": []})
    )
