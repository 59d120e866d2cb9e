"""Findings: what is said of a slice that was found, and the table of all that were tested."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.check import finite
from analysis.policy import Hotspots, Policy
from analysis.stats.intervals import mover_difference
from analysis.stats.multiple import benjamini_hochberg
from analysis.telemetry.slices import Slices
from analysis.views.hotspot_details import Detail
from analysis.views.hotspot_family import Family, effective_clusters
from analysis.views.hotspot_tests import (
    Kind,
    Unit,
    figure_limits,
    kind_p,
    level_p,
    like_its_own,
)

MAX_LISTED = 20
MAX_DRAWN = 3
PLAIN_LEVEL = 0.05
TABLE_COLUMNS = (
    "metric",
    "kind",
    "value",
    "reference",
    "ratio",
    "p_value",
    "q_value",
    "support",
    "baseline_support",
    "effective_clusters",
)


@dataclass(frozen=True)
class Found:
    """One slice. `value`, `reference` and `effect` are in `unit`: rates, USD per interaction for cost,
    or mean scores, of which less is worse and so the effect is negative.

    low, high: of the effect, at false-coverage-rate confidence. excess: effect × support, in bad
    interactions, USD, or points that scores are lower by; above 0 is worse. ratio: value / reference, of
    scores that of their distances from the best one. shrunk_ratio: the ratio after empirical-Bayes
    shrinkage, for ranking. ratio_given: to the rest of what lies in the same findings as its rows do,
    which is what was tested; None of what is listed. detail: None beyond the first 20 findings, and of
    what is listed.
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
    ratio_given: float | None
    unit: Unit
    detail: Detail | None = None


@dataclass(frozen=True)
class Chosen:
    """Members to be described: status None is told from the data; q of each member tested, and of
    findings the ratio given the others."""

    members: np.ndarray
    q: np.ndarray
    confidence: float
    status: str | None = None
    given: np.ndarray | None = None


def describe(
    policy: Policy, family: Family, slices: Slices, parts: Sequence[Chosen]
) -> list[tuple[Found, ...]]:
    """Findings of each part, ranked by the lower bound of shrunken excess.

    Hotspot: a slice that stands out beyond chance: worse than the rest of the candidate window (level), or
    worse than its own past moved as the rest moved (regression). The list is held to the policy's
    false-discovery rate.

    Reference: the rate or cost that a slice is compared with.

    Effect of a slice (pp or USD): the slice's value minus its reference, with an interval that holds over all
    findings together. Source: Benjamini and Yekutieli 2005.

    Ratio (×): the slice's value divided by its reference; of scores, that of their distances from the best
    one. Shrunk: what is left of it after the luck of being found.

    Excess: the effect times the slice's interactions: how many went wrong beyond the reference, or how many
    USD were spent beyond it.
    """
    members = np.concatenate([part.members for part in parts]).astype(int)
    n_clusters: dict[tuple[int, int], int] = {}
    rows = np.array([slices.denominator(m) for m in range(len(family.pooled))])
    for denominator in np.unique(rows[family.metric[members]]).tolist():
        of_these = rows[family.metric[members]] == denominator
        which = np.unique(family.slice[members[of_these]]).tolist()
        counted = slices.clusters(which, int(np.argmax(rows == denominator))).tolist()
        n_clusters |= {(s, denominator): n for s, n in zip(which, counted, strict=True)}
    priors = _prior_variances(family)
    out = []
    for part in parts:
        chosen = part.members.tolist()
        intervals = effect_intervals(family, chosen, part.confidence)
        statuses = _statuses(policy, family, chosen) if part.status is None else {}
        ranked = []
        for index in chosen:
            member = family.members[index]
            found, rank = _one(
                policy,
                family,
                index,
                q_value=float(part.q[index]),
                interval=intervals[index],
                prior=priors[member.metric, member.kind],
                status=part.status or statuses[index],
                given=None if part.given is None else float(part.given[index]),
                n_clusters=n_clusters[member.slice, slices.denominator(member.metric)],
            )
            ranked.append((rank, found))
        ranked.sort(key=lambda r: (-r[0], r[1].metric, r[1].kind, _sort_key(r[1].slice)))
        out.append(tuple(found for _, found in ranked))
    return out


def _by_kind(family: Family, chosen: Sequence[int]) -> dict[tuple[int, Kind], list[int]]:
    groups: dict[tuple[int, Kind], list[int]] = {}
    for index in chosen:
        member = family.members[index]
        groups.setdefault((member.metric, member.kind), []).append(index)
    return groups


def effect_intervals(
    family: Family, chosen: Sequence[int], confidence: float
) -> dict[int, tuple[float, float]]:
    """The interval of value − reference of each chosen member, recovered from both their limits."""
    out: dict[int, tuple[float, float]] = {}
    for (metric, kind), indices in _by_kind(family, chosen).items():
        figure, s = family.pooled[metric], family.sides[metric].at(family.slice[indices])
        own1, own0 = like_its_own(figure, s.own1, 1), like_its_own(figure, s.own0, 0)
        layout = [(s.rest1, 1)] if kind == "level" else [(own0, 1), (s.rest1, 1), (s.rest0, -1)]
        own_low, own_high = figure_limits(figure, [(own1, 1)], confidence)
        ref_low, ref_high = figure_limits(figure, layout, confidence)
        for k, index in enumerate(indices):
            out[index] = mover_difference(
                float(family.value[index]),
                float(own_low[k]),
                float(own_high[k]),
                float(family.reference[index]),
                float(ref_low[k]),
                float(ref_high[k]),
            )
    return out


def _sort_key(labels: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v or "") for k, v in labels.items())


def _one(
    policy: Policy,
    family: Family,
    index: int,
    *,
    q_value: float,
    interval: tuple[float, float],
    prior: float,
    status: str,
    given: float | None,
    n_clusters: int,
) -> tuple[Found, float]:
    member = family.members[index]
    value, reference = float(family.value[index]), float(family.reference[index])
    figure = family.pooled[member.metric]
    scale = float(figure.scale)
    # Tests are on what a score is short of; shown is the score.
    sign = 1.0 if figure.best is None else -1.0
    low, high = (sign * end / scale for end in interval[:: int(sign)])
    support = int(family.table.rows[member.slice, 1])
    effect = value - reference
    shrunk, lower = _shrunk(float(family.log_ratio[index]), float(family.variance[index]), prior)
    name = family.table.metrics[member.metric]
    usd = _usd_per_unit(policy, name)
    excess = effect * support / scale
    rank = reference * (math.exp(lower) - 1) * support / scale * (1.0 if usd is None else usd)
    found = Found(
        slice=family.table.label(member.slice),
        metric=name,
        kind=member.kind,
        status=status,
        value=finite(float(figure.shown(family.value[index]))),
        reference=finite(float(figure.shown(family.reference[index]))),
        effect=finite(sign * effect / scale),
        ratio=finite(value / reference) if reference > 0 else None,
        low=finite(low),
        high=finite(high),
        q_value=finite(q_value),
        support=support,
        n_clusters=n_clusters,
        excess=finite(excess),
        excess_usd=None if usd is None else finite(excess * usd),
        shrunk_ratio=finite(math.exp(shrunk)),
        ratio_given=None if given is None else finite(given),
        unit=figure.unit,
    )
    return found, rank if math.isfinite(rank) else -math.inf


def _usd_per_unit(policy: Policy, metric: str) -> float | None:
    """USD of one bad interaction; cost is in USD already."""
    return {
        "failure": policy.routing.failure_cost_usd,
        "latency_breach": policy.routing.latency_breach_cost_usd,
        "cost": 1.0,
    }.get(metric)


def _prior_variances(family: Family) -> dict[tuple[int, Kind], float]:
    """Between-slice variance of the true log ratios, by moments (DerSimonian & Laird 1986)."""
    out: dict[tuple[int, Kind], float] = {}
    kinds: tuple[Kind, ...] = ("level", "regression")
    for metric in range(len(family.pooled)):
        for kind in kinds:
            own = family.of(metric, kind)
            if not len(own):
                continue
            weights = 1 / family.variance[own]
            spread = float((weights * family.log_ratio[own] ** 2).sum()) - len(own)
            out[metric, kind] = max(spread / float(weights.sum()), 1e-6)
    return out


def _shrunk(log_ratio: float, variance: float, prior: float) -> tuple[float, float]:
    """Posterior mean of the log ratio, and its lower 95 % bound (normal–normal model)."""
    weight = prior / (prior + variance)
    mean = weight * log_ratio
    return mean, mean - 1.645 * math.sqrt(weight * variance)


def _statuses(policy: Policy, family: Family, chosen: Sequence[int]) -> dict[int, str]:
    """new, worsened or unchanged, from the slice's level in the baseline."""
    settings = policy.hotspots
    out: dict[int, str] = {}
    for (metric, kind), indices in _by_kind(family, chosen).items():
        figure, which = family.pooled[metric], family.slice[indices]
        s = family.sides[metric].at(which)
        with np.errstate(invalid="ignore"):
            hot = (family.table.rows[which, 0] >= settings.min_support) & (s.own0.n != 0)
            hot &= (s.rest0.n != 0) & (s.own0.mean >= settings.min_ratio * s.rest0.mean)
            if hot.any():
                hot &= level_p(figure, s.own0, s.rest0) < PLAIN_LEVEL
            worse = np.full(len(indices), kind == "regression")
            if kind == "level" and hot.any():
                worse = kind_p(figure, "regression", s) < PLAIN_LEVEL
        for k, index in enumerate(indices):
            out[index] = "new" if not hot[k] else "worsened" if worse[k] else "unchanged"
    return out


def listed(policy: Policy, family: Family, found: set[int]) -> list[Chosen]:
    """Resolved slices (hot in the baseline only), and slices better than the rest; no findings."""
    settings = policy.hotspots
    levels = np.array([i for i in np.flatnonzero(~family.regression) if i not in found], dtype=int)
    resolved_p, better_p = _resolved_and_better(family, levels, settings)
    ratio = family.ratio
    out = []
    for status, values in (("resolved", resolved_p), ("better", better_p)):
        q_own = benjamini_hochberg(values)
        q = np.full(len(family.members), np.nan)
        q[levels] = q_own
        chosen: list[int] = []
        for k in np.lexsort((levels, values)).tolist():
            index = int(levels[k])
            if q_own[k] > settings.fdr or len(chosen) >= MAX_LISTED:
                break
            ratio_ok = status == "resolved" or ratio[index] <= 1 / settings.min_ratio
            if ratio_ok and not any(_nested(family, index, other) for other in chosen):
                chosen.append(index)
        out.append(Chosen(np.array(chosen, dtype=int), q, 0.95, status))
    return out


def _resolved_and_better(
    family: Family, levels: np.ndarray, settings: Hotspots
) -> tuple[np.ndarray, np.ndarray]:
    """p-values of having been hot in the baseline and no longer, and of being better than the rest.

    1 where a slice is still hot, was not, or lacks a baseline.
    """
    resolved, better = np.ones(len(levels)), np.ones(len(levels))
    for metric, figure in enumerate(family.pooled):
        at = np.flatnonzero(family.metric[levels] == metric)
        where_ = family.slice[levels[at]]
        if not len(where_):
            continue
        s = family.sides[metric].at(where_)
        better[at] = np.nan_to_num(level_p(figure, s.rest1, s.own1), nan=1.0)
        p = family.p[levels[at]]
        with np.errstate(invalid="ignore"):
            calm = (p > PLAIN_LEVEL) & (s.own1.mean < settings.min_ratio * s.rest1.mean)
            hot = (family.table.rows[where_, 0] >= settings.min_support) & (s.rest0.n > 0)
            hot &= s.own0.mean >= settings.min_ratio * s.rest0.mean
        was_hot = np.flatnonzero(calm & hot)
        if len(was_hot):
            p0 = level_p(figure, s.own0.at(was_hot), s.rest0.at(was_hot))
            resolved[at[was_hot]] = np.nan_to_num(p0, nan=1.0)
    return resolved, better


def _nested(family: Family, a: int, b: int) -> bool:
    first, second = family.members[a], family.members[b]
    if first.metric != second.metric:
        return False
    x, y = family.table.codes[first.slice], family.table.codes[second.slice]
    both = (x >= 0) & (y >= 0)
    return bool((x[both] == y[both]).all())


# ── names, tables, series ────────────────────────────────────────────────────────────────


def where(found: Found) -> str:
    """A slice in words."""
    return ", ".join(f"{k} “{_short(v)}”" for k, v in found.slice.items())


def _short(value: str | None) -> str:
    text = "not known" if value is None else value
    return text if len(text) <= 60 else text[:59] + "…"


def full_table(family: Family, q: np.ndarray) -> pd.DataFrame:
    """Every tested slice, by p-value: one column a dimension, empty where it is free."""
    order = np.lexsort((np.arange(len(family.p)), family.p))
    at, metric = family.slice[order], family.metric[order]
    reference = family.reference[order]
    value, shown = np.zeros(len(order)), np.zeros(len(order))
    for place, figure in enumerate(family.pooled):
        own = metric == place
        value[own] = figure.shown(family.value[order[own]])
        shown[own] = figure.shown(reference[own])
    clusters = np.stack(
        [effective_clusters(family.table, m, 1) for m in range(len(family.pooled))], axis=1
    )
    columns: dict[str, object] = {}
    for place, dimension in enumerate(family.table.dimensions):
        # The last is for slices that leave it free.
        texts = np.array(["(null)" if v is None else v for v in dimension.values] + [None], object)
        columns[dimension.name] = texts[family.table.codes[at, place]].tolist()
    names = np.array(family.table.metrics, dtype=object)
    kinds = np.array(["level", "regression"], dtype=object)
    return pd.DataFrame(
        columns
        | {
            "metric": names[metric].tolist(),
            "kind": kinds[family.regression[order].astype(int)].tolist(),
            "value": value,
            "reference": shown,
            "ratio": np.where(reference > 0, family.ratio[order], np.nan),
            "p_value": family.p[order],
            "q_value": q[order],
            "support": family.table.rows[at, 1].astype(int),
            "baseline_support": family.table.rows[at, 0].astype(int),
            "effective_clusters": clusters[at, metric],
        }
    )


def forest(found: Sequence[Found]) -> pd.DataFrame:
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


def daily(found: Sequence[Found]) -> pd.DataFrame:
    """place (from 1), slice, metric, window (0, 1), day, value, since: the first 3 slices and metrics."""
    distinct: dict[tuple[object, ...], tuple[Found, Detail]] = {}
    for f in found:
        if f.detail is not None:
            distinct.setdefault((f.metric, *f.slice.items()), (f, f.detail))
    rows = [
        {
            "place": place,
            "slice": ", ".join(f"{k}={_short(v)}" for k, v in f.slice.items()),
            "metric": f.metric,
            "unit": f.unit,
            "window": int(day.window == "candidate"),
            "day": day.day_utc,
            "value": day.mean if day.bad is None else day.bad / day.n,
            "since": None if detail.since is None else detail.since.since_utc[:10],
        }
        for place, (f, detail) in enumerate(list(distinct.values())[:MAX_DRAWN], 1)
        for day in detail.days
    ]
    columns = ["place", "slice", "metric", "unit", "window", "day", "value", "since"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(day=pd.to_datetime(frame["day"]), since=pd.to_datetime(frame["since"]))
