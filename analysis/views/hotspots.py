"""Hotspots: which slices break, for certain, and what it costs (STATISTICS section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.check import Check, RegressionTest, finite
from analysis.policy import Hotspots, Policy
from analysis.stats.intervals import mover_difference
from analysis.stats.moments import intraclass_correlation
from analysis.stats.multiple import benjamini_hochberg, fcr_level, focused_bh, simes
from analysis.telemetry import Metric, Moments, Telemetry
from analysis.telemetry.slices import CellTable, SliceTable, reduce_slices
from analysis.telemetry.sql import identifier
from analysis.views.health import FIRST_RELEASE
from analysis.views.hotspot_tests import (
    Folder,
    Kind,
    Member,
    Pooled,
    Side,
    figure_limits,
    level_p,
    pooled,
    regression_p,
    slice_sides,
)
from analysis.views.result import ViewResult

MIN_BAD_CLUSTERS = 10
MIN_EFFECTIVE_CLUSTERS = 30
MIN_COVERAGE = 0.80
MAX_LISTED = 20
CONDITIONAL_SHARE = 0.01
PLAIN_LEVEL = 0.05


@dataclass(frozen=True)
class Found:
    """One slice. `value`, `reference` and `effect` are rates, or USD per interaction for cost.

    low, high: of the effect, at false-coverage-rate confidence. excess: effect × support, in bad
    interactions or USD. shrunk_ratio: the ratio after empirical-Bayes shrinkage, for ranking.
    """

    slice: dict[str, str | None]
    metric: str
    kind: str
    status: str
    value: float | None
    reference: float | None
    effect: float | None
    ratio: float | None
    low: float | None
    high: float | None
    q_value: float | None
    support: int
    n_clusters: int
    excess: float | None
    excess_usd: float | None
    shrunk_ratio: float | None


@dataclass(frozen=True)
class HotspotsSection:
    n_tested: int
    fdr: float
    coverage: float | None
    detectable_ratio: float | None
    listed: tuple[Found, ...]
    found: tuple[Found, ...]


@dataclass(frozen=True)
class _Family:
    """All tested members with their p-values, and everything needed to describe one."""

    table: SliceTable
    cells: CellTable
    pooled: tuple[Pooled, ...]
    sides: tuple[tuple[Side, Side, Side, Side], ...]
    members: tuple[Member, ...]
    p: np.ndarray


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[HotspotsSection]:
    """Slices of every combination of dimensions, tested for level and for regression."""
    settings = policy.hotspots
    metrics, notes = _metrics(telemetry, policy)
    if not metrics or not telemetry.dimensions:
        what, names = (
            ("dimensions", policy.dimensions) if metrics else ("hotspot metrics", settings.metrics)
        )
        reason = (
            f"the telemetry has none of the policy's {what} ({', '.join(names)})"
            if names
            else f"the policy names no {what}"
        )
        return _empty(telemetry, settings.fdr, reason, notes)
    moments = telemetry.moments(metrics)
    table, cells, left_out = reduce_slices(
        telemetry,
        telemetry.dimensions,
        metrics,
        max_depth=settings.max_depth,
        min_support=settings.min_support,
    )
    notes += [f"the dimension {d!r} has too many values to be sliced: left out" for d in left_out]
    family = _family(telemetry, policy, metrics, moments, table, cells)
    if not family.members:
        return _empty(telemetry, settings.fdr, "no slice has enough evidence to be tested", notes)
    q = benjamini_hochberg(family.p)
    folder = Folder(
        table,
        cells,
        family.pooled,
        family.members,
        family.p,
        settings.fdr * CONDITIONAL_SHARE,
        settings.min_support,
    )
    eligible = _worth_listing(family, settings.min_ratio)
    rejected = np.flatnonzero((q <= settings.fdr) & eligible)
    survivors = set(folder.keep(rejected).tolist())

    def keep(indices: np.ndarray) -> np.ndarray:
        return np.array([i for i in indices if i in survivors], dtype=np.intp)

    kept, threshold = focused_bh(family.p, keep, settings.fdr)
    kept = _own_family(family, kept, keep, settings.fdr)
    below = rejected[family.p[rejected] <= threshold]
    final = folder.settle(kept, below)
    found = _describe(
        telemetry,
        policy,
        family,
        final,
        q,
        fcr_level(len(final), len(family.members), settings.fdr),
    )
    listed = _listed(telemetry, policy, family, set(final.tolist()))
    coverage = _coverage(family)
    section = HotspotsSection(
        n_tested=len(family.members),
        fdr=settings.fdr,
        coverage=coverage,
        detectable_ratio=_detectable_ratio(family, settings.fdr, len(final)),
        listed=listed,
        found=found,
    )
    return ViewResult(
        section=section,
        checks=_checks(telemetry, section, family),
        tables={"hotspots.csv": _full_table(telemetry, policy, family, q)},
        series={"found": _forest(found)},
        notes=tuple(notes),
    )


def _metrics(telemetry: Telemetry, policy: Policy) -> tuple[list[Metric], list[str]]:
    """The policy's metrics that the telemetry can tell, and why the others are left out."""
    slos = {slo.name: slo for slo in policy.slos}
    metrics: list[Metric] = []
    notes: list[str] = []
    for name in policy.hotspots.metrics:
        made: Metric | None = None
        column = {"failure": "is_failure", "cost": "cost_usd"}.get(name, name)
        if name == "latency_breach":
            column = policy.latency_slo.rule.column if policy.latency_slo else "latency_ms"
        elif name in slos:
            column = slos[name].rule.column
        reason = telemetry.unusable(column)
        if reason is None and name == "latency_breach" and policy.latency_slo is None:
            reason = "the policy names no SLO called latency"
        if reason is None:
            if name == "failure":
                made = Metric.rate(name, "failure")
            elif name == "latency_breach":
                made = Metric.rate(name, "breach")
            elif name == "cost":
                made = Metric.mean(name, "cost_nano", 10**9)
            elif name in slos:
                made = Metric.rate(name, telemetry.bad(slos[name].rule))
            elif telemetry.types[column] == "BOOLEAN":
                made = Metric.rate(name, identifier(column))
            else:
                reason = f"the metric {name!r} is no rate: expected a true/false column or an SLO"
        if made is None:
            notes.append(f"hotspots leave out {name!r}: {reason}")
        else:
            metrics.append(made)
    return metrics, notes


def _family(
    telemetry: Telemetry,
    policy: Policy,
    metrics: Sequence[Metric],
    moments: Mapping[str, Moments],
    table: SliceTable,
    cells: CellTable,
) -> _Family:
    """Every slice × metric × kind with support and the floors of STATISTICS section 1."""
    figures, all_sides, members, p = [], [], [], []
    distinct = _distinct(table, cells)
    for index, metric in enumerate(metrics):
        m = moments[metric.name]
        is_rate = metric.scale == 1
        rho = (intraclass_correlation(m.baseline), intraclass_correlation(m.candidate))
        figure = pooled(m, is_rate, rho)
        own1, rest1 = slice_sides(table, figure, index, 1)
        own0, rest0 = slice_sides(table, figure, index, 0)
        sides = (own1, own0, rest1, rest0)
        figures.append(figure)
        all_sides.append(sides)
        kinds: list[Kind] = ["level"] if telemetry.baseline is None else ["level", "regression"]
        for kind in kinds:
            tested = distinct & _floors(
                table, figure, index, kind, sides, policy.hotspots.min_support
            )
            which = np.flatnonzero(tested)
            if not len(which):
                continue
            picked = [_pick(s, which) for s in sides]
            if kind == "level":
                values = level_p(figure, picked[0], picked[2])
            else:
                values = regression_p(figure, *picked)
            known = ~np.isnan(values)
            members += [Member(int(s), index, kind) for s in which[known]]
            p.append(values[known])
    return _Family(
        table,
        cells,
        tuple(figures),
        tuple(all_sides),
        tuple(members),
        np.concatenate(p) if p else np.zeros(0),
    )


def _distinct(table: SliceTable, cells: CellTable) -> np.ndarray:
    """Slices that are not the same rows as a parent, nor all rows."""
    totals = cells.rows.sum(axis=0)
    by_codes = {codes.tobytes(): i for i, codes in enumerate(table.codes)}
    keep = np.ones(len(table.codes), dtype=bool)
    for i, codes in enumerate(table.codes):
        if (table.rows[i] == totals).all():
            keep[i] = False
            continue
        fixed = np.flatnonzero(codes >= 0)
        if len(fixed) < 2:
            continue
        for free in fixed:
            up = codes.copy()
            up[free] = -1
            parent = by_codes.get(up.tobytes())
            if parent is not None and (table.rows[parent] == table.rows[i]).all():
                keep[i] = False
                break
    return keep


def _floors(
    table: SliceTable,
    figure: Pooled,
    metric: int,
    kind: Kind,
    sides: tuple[Side, Side, Side, Side],
    min_support: int,
) -> np.ndarray:
    """Where a slice has the support, and ten bad clusters expected at its reference or observed."""
    own1, own0, rest1, rest0 = sides
    ok = (table.rows[:, 1] >= min_support) & (own1.n >= min_support) & (rest1.n > 0)
    if kind == "regression":
        ok &= (table.rows[:, 0] >= min_support) & (own0.n > 0) & (rest0.n > 0)
    if not figure.is_rate:
        for win in (0, 1) if kind == "regression" else (1,):
            nn = table.sums["nn"][:, metric, win]
            n = table.sums["n"][:, metric, win]
            with np.errstate(invalid="ignore", divide="ignore"):
                ok &= np.nan_to_num(n * n / nn) >= MIN_EFFECTIVE_CLUSTERS
        return ok
    reference = rest1.mean
    if kind == "regression":
        reference = _regression_reference(own0, rest1, rest0)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(reference * own1.n * figure.bad_per_row)
    observed = table.sums["bad_clusters"][:, metric, 1]
    return ok & ((expected >= MIN_BAD_CLUSTERS) | (observed >= MIN_BAD_CLUSTERS))


def _regression_reference(own0: Side, rest1: Side, rest0: Side) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return own0.mean * rest1.mean / rest0.mean


def _reference(member: Member, sides: tuple[Side, Side, Side, Side]) -> float:
    _, own0, rest1, rest0 = (_pick(s, np.array([member.slice])) for s in sides)
    if member.kind == "level":
        return float(rest1.mean[0])
    return float(_regression_reference(own0, rest1, rest0)[0])


def _pick(side: Side, which: np.ndarray) -> Side:
    return Side(side.y[which], side.n[which], side.deff[which], side.cv2[which])


def _own_family(
    family: _Family,
    kept: np.ndarray,
    keep: Callable[[np.ndarray], np.ndarray],
    fdr: float,
) -> np.ndarray:
    """Kept members whose regression also stands among the regressions alone.

    Some slices always differ in level, and many of those would make the whole family's threshold
    too lenient for the few regressions.
    """
    regressions = np.array([m.kind == "regression" for m in family.members])
    alone, _ = focused_bh(np.where(regressions, family.p, np.nan), keep, fdr)
    return np.array([i for i in kept if not regressions[i] or i in alone], dtype=np.intp)


def _worth_listing(family: _Family, min_ratio: float) -> np.ndarray:
    """Members whose ratio reaches `min_ratio`: a filter of findings, not the null."""
    out = np.zeros(len(family.members), dtype=bool)
    for i, member in enumerate(family.members):
        sides = family.sides[member.metric]
        value, reference = float(sides[0].mean[member.slice]), _reference(member, sides)
        out[i] = value > reference * min_ratio or (value > 0 and not reference > 0)
    return out


# ── describing what was found ────────────────────────────────────────────────────────────


def _describe(
    telemetry: Telemetry,
    policy: Policy,
    family: _Family,
    chosen: np.ndarray,
    q: np.ndarray,
    confidence: float,
    status: str | None = None,
) -> tuple[Found, ...]:
    """Findings, ranked by the lower bound of shrunken excess."""
    if not len(chosen):
        return ()
    spreads = _prior_variances(family)
    intervals = _effect_intervals(family, chosen.tolist(), confidence)
    ranked = []
    for index in chosen.tolist():
        member = family.members[index]
        prior = spreads[member.metric, member.kind]
        found, rank = _one(policy, family, index, q, intervals[index], prior, status)
        ranked.append((rank, found))
    ranked.sort(key=lambda r: (-r[0], r[1].metric, r[1].kind, _sort_key(r[1].slice)))
    return tuple(found for _, found in ranked)


def _effect_intervals(
    family: _Family, chosen: Sequence[int], confidence: float
) -> dict[int, tuple[float, float]]:
    """The interval of value − reference of each chosen member, recovered from both their limits."""
    out: dict[int, tuple[float, float]] = {}
    groups: dict[tuple[int, Kind], list[int]] = {}
    for index in chosen:
        member = family.members[index]
        groups.setdefault((member.metric, member.kind), []).append(index)
    for (metric, kind), indices in groups.items():
        where = np.array([family.members[i].slice for i in indices])
        own1, own0, rest1, rest0 = (_pick(s, where) for s in family.sides[metric])
        layout = [(rest1, 1)] if kind == "level" else [(own0, 1), (rest1, 1), (rest0, -1)]
        own_low, own_high = figure_limits(family.pooled[metric], [(own1, 1)], confidence)
        ref_low, ref_high = figure_limits(family.pooled[metric], layout, confidence)
        for k, index in enumerate(indices):
            out[index] = mover_difference(
                float(own1.mean[k]),
                float(own_low[k]),
                float(own_high[k]),
                _reference(family.members[index], family.sides[metric]),
                float(ref_low[k]),
                float(ref_high[k]),
            )
    return out


def _sort_key(labels: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v or "") for k, v in labels.items())


def _one(
    policy: Policy,
    family: _Family,
    index: int,
    q: np.ndarray,
    interval: tuple[float, float],
    prior: float,
    status: str | None,
) -> tuple[Found, float]:
    member = family.members[index]
    figure = family.pooled[member.metric]
    value = float(family.sides[member.metric][0].mean[member.slice])
    reference = _reference(member, family.sides[member.metric])
    low, high = interval
    scale = 1.0 if figure.is_rate else 1e9
    support = int(family.table.rows[member.slice, 1])
    effect = value - reference
    shrunk, lower = _shrunk(family, member, prior)
    usd = _usd_per_unit(policy, family.table.metrics[member.metric])
    excess = effect * support / scale
    rank = reference * (math.exp(lower) - 1) * support / scale * (1.0 if usd is None else usd)
    name = family.table.metrics[member.metric]
    found = Found(
        slice=family.table.label(member.slice),
        metric=name,
        kind=member.kind,
        status=status or _status(policy, family, member),
        value=finite(value / scale),
        reference=finite(reference / scale),
        effect=finite(effect / scale),
        ratio=finite(value / reference) if reference > 0 else None,
        low=finite(low / scale),
        high=finite(high / scale),
        q_value=finite(float(q[index])),
        support=support,
        n_clusters=int(family.table.sums["clusters"][member.slice, member.metric, 1]),
        excess=finite(excess),
        excess_usd=None if usd is None else finite(excess * usd),
        shrunk_ratio=finite(math.exp(shrunk)),
    )
    return found, rank if math.isfinite(rank) else -math.inf


def _usd_per_unit(policy: Policy, metric: str) -> float | None:
    """USD of one bad interaction; cost is in USD already."""
    return {
        "failure": policy.routing.failure_cost_usd,
        "latency_breach": policy.routing.latency_breach_cost_usd,
        "cost": 1.0,
    }.get(metric)


def _log_ratio(family: _Family, member: Member) -> tuple[float, float]:
    """Log ratio of a member and its approximate variance (delta method, effective counts)."""
    figure = family.pooled[member.metric]
    own1, own0, rest1, rest0 = family.sides[member.metric]
    used = (own1, rest1) if member.kind == "level" else (own1, own0, rest1, rest0)
    i = member.slice
    variance = 0.0
    for side in used:
        if figure.is_rate:
            variance += float(side.deff[i]) / max(float(side.y[i]), 0.5)
        else:
            variance += float(side.cv2[i]) / max(float(side.n[i]), 1.0)
    value, reference = float(own1.mean[i]), _reference(member, family.sides[member.metric])
    # Without a bad event in the rest's baseline, a regression's reference is infinite.
    value, reference = (min(x, 1e16) if x > 1e-12 else 1e-12 for x in (value, reference))
    return math.log(value / reference), variance


def _prior_variances(family: _Family) -> dict[tuple[int, str], float]:
    """Between-slice variance of the true log ratios, by moments (DerSimonian & Laird 1986)."""
    groups: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for member in family.members:
        groups.setdefault((member.metric, member.kind), []).append(_log_ratio(family, member))
    out = {}
    for key, values in groups.items():
        weights = np.array([1 / v for _, v in values])
        logs = np.array([x for x, _ in values])
        spread = float((weights * logs**2).sum()) - len(values)
        out[key] = max(spread / float(weights.sum()), 1e-6)
    return out


def _shrunk(family: _Family, member: Member, prior: float) -> tuple[float, float]:
    """Posterior mean of the log ratio, and its lower 95 % bound (normal–normal model)."""
    log_ratio, variance = _log_ratio(family, member)
    weight = prior / (prior + variance)
    mean = weight * log_ratio
    return mean, mean - 1.645 * math.sqrt(weight * variance)


def _status(policy: Policy, family: _Family, member: Member) -> str:
    """new, worsened or unchanged, from the slice's level in the baseline."""
    figure = family.pooled[member.metric]
    where = np.array([member.slice])
    own1, own0, rest1, rest0 = (_pick(s, where) for s in family.sides[member.metric])
    few = family.table.rows[member.slice, 0] < policy.hotspots.min_support
    if few or not own0.n[0] or not rest0.n[0]:
        return "new"
    hot = bool(level_p(figure, own0, rest0)[0] < PLAIN_LEVEL) and bool(
        own0.mean[0] >= policy.hotspots.min_ratio * rest0.mean[0]
    )
    if not hot:
        return "new"
    worse = member.kind == "regression" or bool(
        regression_p(figure, own1, own0, rest1, rest0)[0] < PLAIN_LEVEL
    )
    return "worsened" if worse else "unchanged"


def _listed(
    telemetry: Telemetry, policy: Policy, family: _Family, found: set[int]
) -> tuple[Found, ...]:
    """Resolved slices (hot in the baseline only), and slices better than the rest; no findings."""
    settings = policy.hotspots
    levels = [i for i, m in enumerate(family.members) if m.kind == "level" and i not in found]
    resolved_p, better_p = _resolved_and_better(family, levels, settings)
    out: list[Found] = []
    for status, values in (("resolved", resolved_p), ("better", better_p)):
        q_own = benjamini_hochberg(values)
        q = np.full(len(family.members), np.nan)
        q[levels] = q_own
        order = sorted(range(len(levels)), key=lambda k: (values[k], levels[k]))
        chosen: list[int] = []
        for k in order:
            index = levels[k]
            if q_own[k] > settings.fdr or len(chosen) >= MAX_LISTED:
                break
            ratio_ok = status == "resolved" or _ratio(family, index) <= 1 / settings.min_ratio
            if ratio_ok and not any(_nested(family, index, other) for other in chosen):
                chosen.append(index)
        out += _describe(telemetry, policy, family, np.array(chosen, dtype=int), q, 0.95, status)
    return tuple(out)


def _resolved_and_better(
    family: _Family, levels: Sequence[int], settings: Hotspots
) -> tuple[np.ndarray, np.ndarray]:
    """p-values of having been hot in the baseline and no longer, and of being better than the rest.

    1 where a slice is still hot, was not, or lacks a baseline.
    """
    resolved, better = np.ones(len(levels)), np.ones(len(levels))
    for metric, figure in enumerate(family.pooled):
        at = [k for k, i in enumerate(levels) if family.members[i].metric == metric]
        where = np.array([family.members[levels[k]].slice for k in at], dtype=int)
        if not len(where):
            continue
        own1, own0, rest1, rest0 = (_pick(s, where) for s in family.sides[metric])
        better[at] = np.nan_to_num(level_p(figure, rest1, own1), nan=1.0)
        p = family.p[[levels[k] for k in at]]
        with np.errstate(invalid="ignore"):
            calm = (p > PLAIN_LEVEL) & (own1.mean < settings.min_ratio * rest1.mean)
            hot = (family.table.rows[where, 0] >= settings.min_support) & (rest0.n > 0)
            hot &= own0.mean >= settings.min_ratio * rest0.mean
        if (calm & hot).any():
            was = np.nan_to_num(level_p(figure, own0, rest0), nan=1.0)
            resolved[at] = np.where(calm & hot, was, 1.0)
    return resolved, better


def _ratio(family: _Family, index: int) -> float:
    member = family.members[index]
    sides = family.sides[member.metric]
    reference = _reference(member, sides)
    return float(sides[0].mean[member.slice]) / reference if reference > 0 else math.inf


def _nested(family: _Family, a: int, b: int) -> bool:
    first, second = family.members[a], family.members[b]
    if first.metric != second.metric:
        return False
    x, y = family.table.codes[first.slice], family.table.codes[second.slice]
    both = (x >= 0) & (y >= 0)
    return bool((x[both] == y[both]).all())


def _coverage(family: _Family) -> float | None:
    """Share of the candidate's traffic that lies in a slice tested for regression (else level)."""
    kinds = {m.kind for m in family.members}
    kind = "regression" if "regression" in kinds else "level"
    total = family.cells.rows[:, 1].sum()
    covered = np.zeros(len(family.cells.rows), dtype=bool)
    for index in sorted({m.slice for m in family.members if m.kind == kind}):
        if not covered.all():
            covered |= family.cells.mask(family.table.codes[index])
    return float(family.cells.rows[covered, 1].sum() / total) if total else None


def _detectable_ratio(family: _Family, fdr: float, n_found: int) -> float | None:
    """Smallest ratio of failure levels found with power 0.8 in a slice of median support."""
    rates = [i for i, f in enumerate(family.pooled) if f.is_rate]
    own = [m for m in family.members if m.kind == "level" and rates and m.metric == rates[0]]
    if not own:
        return None
    side = family.sides[rates[0]][0]
    figure = family.pooled[rates[0]]
    n = float(np.median([side.n[m.slice] / side.deff[m.slice] for m in own]))
    rate = figure.totals_y[1] / figure.totals_n[1] if figure.totals_n[1] else 0.0
    if not 0 < rate < 1:
        return None
    z = float(norm.isf(fdr * max(n_found, 1) / len(family.members)))

    def power_reached(ratio: float) -> bool:
        p = min(ratio * rate, 1.0)
        shift = (p - rate) * math.sqrt(n)
        return shift >= z * math.sqrt(rate * (1 - rate)) + 0.8416 * math.sqrt(p * (1 - p))

    low, high = 1.0, 1 / rate
    if not power_reached(high):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power_reached(middle) else (middle, high)
    return high


# ── checks, tables, series ───────────────────────────────────────────────────────────────


def _checks(
    telemetry: Telemetry, section: HotspotsSection, family: _Family
) -> tuple[Check | RegressionTest, ...]:
    regressions = [f for f in section.found if f.kind == "regression"]
    levels = [f for f in section.found if f.kind == "level"]
    support = telemetry.candidate.n_interactions
    return (
        _regression_check(telemetry, section, family, regressions, support),
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
    section: HotspotsSection,
    family: _Family,
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
    p = simes(family.p[[i for i, m in enumerate(family.members) if m.kind == "regression"]])
    coverage = section.coverage or 0.0
    tested = sum(m.kind == "regression" for m in family.members)
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
    named = _where(regressions[0]) if regressions else "the slice"
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
    ratio = "" if found.ratio is None else f", {found.ratio:.1f} times its reference"
    return f"{found.metric} in {_where(found)}{ratio}"


def _where(found: Found) -> str:
    return ", ".join(f"{k} “{_short(v)}”" for k, v in found.slice.items())


def _short(value: str | None) -> str:
    text = "not known" if value is None else value
    return text if len(text) <= 60 else text[:59] + "…"


def _note(
    check_id: str,
    outcome: str,
    value: float | None,
    support: int,
    sentence: str,
    action: str,
    reason: str | None = None,
    severity: str = "note",
) -> Check:
    return Check(
        id=check_id,
        view="hotspots",
        outcome=outcome,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        value=value,
        low=None,
        high=None,
        limit=0.0,
        comparison="at_most",
        unit="slices",
        support=support,
        p_value=None,
        p_adjusted=None,
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


def _empty(
    telemetry: Telemetry, fdr: float, reason: str, notes: list[str]
) -> ViewResult[HotspotsSection]:
    """A view that could not test anything."""
    support = telemetry.candidate.n_interactions
    return ViewResult(
        section=HotspotsSection(0, fdr, None, None, (), ()),
        checks=(
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
        ),
        tables={"hotspots.csv": pd.DataFrame(columns=_TABLE_COLUMNS)},
        series={"found": _forest(())},
        notes=(*notes, reason),
    )


_TABLE_COLUMNS = [
    "metric",
    "kind",
    "value",
    "reference",
    "ratio",
    "p_value",
    "q_value",
    "support",
    "baseline_support",
    "n_clusters",
]


def _full_table(
    telemetry: Telemetry, policy: Policy, family: _Family, q: np.ndarray
) -> pd.DataFrame:
    """Every tested slice, by p-value: one column a dimension, empty where it is free."""
    rows = []
    for index in np.lexsort((np.arange(len(family.p)), family.p)):
        member = family.members[index]
        sides = family.sides[member.metric]
        scale = 1.0 if family.pooled[member.metric].is_rate else 1e9
        labels = family.table.label(member.slice)
        value, reference = float(sides[0].mean[member.slice]), _reference(member, sides)
        rows.append(
            {
                **{d.name: _cell(labels, d.name) for d in family.table.dimensions},
                "metric": family.table.metrics[member.metric],
                "kind": member.kind,
                "value": value / scale,
                "reference": reference / scale,
                "ratio": value / reference if reference > 0 else None,
                "p_value": float(family.p[index]),
                "q_value": float(q[index]),
                "support": int(family.table.rows[member.slice, 1]),
                "baseline_support": int(family.table.rows[member.slice, 0]),
                "n_clusters": int(family.table.sums["clusters"][member.slice, member.metric, 1]),
            }
        )
    return pd.DataFrame(rows)


def _cell(labels: Mapping[str, str | None], name: str) -> str | None:
    if name not in labels:
        return None
    return "(null)" if labels[name] is None else labels[name]


def _forest(found: Sequence[Found]) -> pd.DataFrame:
    """slice, metric, kind, status, value, reference, low, high (of the value), support: top 20."""
    rows = [
        {
            "slice": ", ".join(f"{k}={_short(v)}" for k, v in f.slice.items()),
            "metric": f.metric,
            "kind": f.kind,
            "status": f.status,
            "value": f.value,
            "reference": f.reference,
            "low": None if f.low is None or f.reference is None else f.reference + f.low,
            "high": None if f.high is None or f.reference is None else f.reference + f.high,
            "support": f.support,
        }
        for f in found[:20]
    ]
    columns = ["slice", "metric", "kind", "status", "value", "reference", "low", "high", "support"]
    return pd.DataFrame(rows, columns=columns)
