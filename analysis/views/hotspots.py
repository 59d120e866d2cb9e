"""Hotspots: which slices break, for certain, and what it costs (STATISTICS section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.policy import Policy
from analysis.share_safe import Shown, shown
from analysis.stats.multiple import benjamini_hochberg, fcr_level
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slice_bins import Bins, NoBins, Origin, bins
from analysis.telemetry.slices import MAX_CATEGORIES, Crowded, Slices, slices
from analysis.views.hotspot_checks import checks, untested
from analysis.views.hotspot_details import Told, details, examples
from analysis.views.hotspot_family import (
    Family,
    coverage,
    detectable_ratio,
    family_of,
)
from analysis.views.hotspot_findings import (
    TABLE_COLUMNS,
    Chosen,
    Found,
    daily,
    describe,
    forest,
    full_table,
    listed,
)
from analysis.views.hotspot_metrics import metrics_of
from analysis.views.hotspot_pursuit import pursue
from analysis.views.hotspot_tests import Kind
from analysis.views.result import ViewResult


@dataclass(frozen=True)
class BinsTold:
    """Where the bins of a column lie. edges: rising, each the first value of the bin above it. of: the
    policy gave them, or the window that they are quantiles of: the baseline, or in a first release the
    candidate."""

    column: str
    edges: tuple[float, ...]
    of: Origin


@dataclass(frozen=True)
class HotspotsSection:
    n_tested: int
    fdr: float
    coverage: float | None
    detectable_ratio: float | None
    listed: tuple[Found, ...]
    found: tuple[Found, ...]
    bins: tuple[BinsTold, ...] = ()


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[HotspotsSection]:
    """Slices of every combination of dimensions, tested for level and for regression.

    Slice: a combination of values of up to three of the policy's dimensions.
    """
    settings = policy.hotspots
    metrics, notes = metrics_of(telemetry, policy)
    binned, told = _binned(telemetry, policy)
    notes += told
    if not metrics or not (telemetry.dimensions or binned):
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
    with slices(
        telemetry,
        telemetry.dimensions,
        metrics,
        max_depth=settings.max_depth,
        min_support=settings.min_support,
        binned=[b.dimension for b in binned],
    ) as reduced:
        notes += map(_crowded, reduced.crowded)
        kinds: list[Kind] = ["level"] if telemetry.baseline is None else ["level", "regression"]
        family = family_of(
            metrics,
            moments,
            reduced,
            kinds=kinds,
            min_support=settings.min_support,
        )
        if not family.members:
            return _empty(
                telemetry, settings.fdr, "no slice has enough evidence to be tested", notes, binned
            )
        return _judged(telemetry, policy, metrics, family, reduced, binned, notes)


def _judged(
    telemetry: Telemetry,
    policy: Policy,
    metrics: Sequence[Metric],
    family: Family,
    reduced: Slices,
    binned: Sequence[Bins],
    notes: list[str],
) -> ViewResult[HotspotsSection]:
    settings = policy.hotspots
    q = benjamini_hochberg(family.p)
    pursued = pursue(
        family,
        fdr=settings.fdr,
        min_ratio=settings.min_ratio,
        min_support=settings.min_support,
    )
    final = np.array([f.member for f in pursued], dtype=int)
    own_q, given = np.full((2, len(q)), np.nan)
    own_q[final] = [f.q for f in pursued]
    given[final] = [f.ratio for f in pursued]
    confidence = fcr_level(len(final), len(family.members), settings.fdr)
    found, *others = describe(
        policy,
        family,
        reduced,
        [
            Chosen(final, own_q, confidence, given=given),
            *listed(policy, family, set(final.tolist())),
        ],
    )
    told = details(telemetry, metrics, family, [(f.slice, f.metric) for f in found])
    found = (*map(_with, found, told), *found[len(told) :])
    section = HotspotsSection(
        n_tested=len(family.members),
        fdr=settings.fdr,
        coverage=coverage(family),
        detectable_ratio=detectable_ratio(family, settings.fdr, len(final)),
        listed=tuple(f for part in others for f in part),
        found=found,
        bins=_told(binned),
    )
    return ViewResult(
        section=section,
        checks=checks(telemetry, found, section.coverage, family),
        tables={"hotspots.csv": full_table(family, q)},
        series={
            "found": forest(found),
            "days": daily(found),
            "examples": examples(told, shown(policy)),
        },
        notes=tuple(notes),
    )


def _with(found: Found, told: Told) -> Found:
    return replace(found, detail=told.detail)


def _binned(telemetry: Telemetry, policy: Policy) -> tuple[list[Bins], list[str]]:
    """The policy's bins that the telemetry can fill, and why the others are left out."""
    found = bins(telemetry, policy.hotspots.bins)
    notes = [
        f"hotspots leave out the bins of {b.column!r}: {b.reason}"
        for b in found
        if isinstance(b, NoBins)
    ]
    return [b for b in found if isinstance(b, Bins)], notes


def _told(binned: Sequence[Bins]) -> tuple[BinsTold, ...]:
    return tuple(BinsTold(b.column, b.edges, b.of) for b in binned)


def _crowded(column: Crowded) -> str:
    """What became of a dimension with many values."""
    many = f"the dimension {column.name!r} has {column.n_values:,} values"
    if column.grouped:
        assert column.share is not None
        return (
            f"{many}: the {MAX_CATEGORIES} with the most interactions, {100 * column.share:.1f} % of them, "
            "are told apart; the others count as one"
        )
    why = (
        "most of them unique"
        if column.share is None
        else f"of which the {MAX_CATEGORIES} most frequent hold {100 * column.share:.1f} % of the "
        "interactions"
    )
    return (
        f"{many}, {why}, too many to be sliced: left out; bin it (hotspots.bins), hash it into a few, or "
        "name a column with fewer values"
    )


def _empty(
    telemetry: Telemetry,
    fdr: float,
    reason: str,
    notes: list[str],
    binned: Sequence[Bins] = (),
) -> ViewResult[HotspotsSection]:
    """A view that could not test anything."""
    return ViewResult(
        section=HotspotsSection(0, fdr, None, None, (), (), _told(binned)),
        checks=untested(telemetry, reason),
        tables={"hotspots.csv": pd.DataFrame(columns=list(TABLE_COLUMNS))},
        series={
            "found": forest(()),
            "days": daily(()),
            "examples": examples((), Shown(True, None)),
        },
        notes=(*notes, reason),
    )


__all__ = ["BinsTold", "Found", "HotspotsSection", "assess"]
