"""Hotspots: which slices break, for certain, and what it costs (STATISTICS section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.policy import Policy
from analysis.stats.multiple import benjamini_hochberg, fcr_level
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slices import Slices, slices
from analysis.views.hotspot_checks import checks, untested
from analysis.views.hotspot_details import Detail, details
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
class HotspotsSection:
    n_tested: int
    fdr: float
    coverage: float | None
    detectable_ratio: float | None
    listed: tuple[Found, ...]
    found: tuple[Found, ...]


def assess(telemetry: Telemetry, policy: Policy) -> ViewResult[HotspotsSection]:
    """Slices of every combination of dimensions, tested for level and for regression."""
    settings = policy.hotspots
    metrics, notes = metrics_of(telemetry, policy)
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
    with slices(
        telemetry,
        telemetry.dimensions,
        metrics,
        max_depth=settings.max_depth,
        min_support=settings.min_support,
    ) as reduced:
        notes += [
            f"the dimension {d!r} has too many values to be sliced: left out"
            for d in reduced.left_out
        ]
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
                telemetry, settings.fdr, "no slice has enough evidence to be tested", notes
            )
        return _judged(telemetry, policy, metrics, family, reduced, notes)


def _judged(
    telemetry: Telemetry,
    policy: Policy,
    metrics: Sequence[Metric],
    family: Family,
    reduced: Slices,
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
    own_q = np.full(len(q), np.nan)
    own_q[final] = [f.q for f in pursued]
    confidence = fcr_level(len(final), len(family.members), settings.fdr)
    found, *others = describe(
        policy,
        family,
        reduced,
        [Chosen(final, own_q, confidence), *listed(policy, family, set(final.tolist()))],
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
    )
    return ViewResult(
        section=section,
        checks=checks(telemetry, found, section.coverage, family),
        tables={"hotspots.csv": full_table(family, q)},
        series={"found": forest(found), "days": daily(found)},
        notes=tuple(notes),
    )


def _with(found: Found, detail: Detail) -> Found:
    return replace(found, detail=detail)


def _empty(
    telemetry: Telemetry, fdr: float, reason: str, notes: list[str]
) -> ViewResult[HotspotsSection]:
    """A view that could not test anything."""
    return ViewResult(
        section=HotspotsSection(0, fdr, None, None, (), ()),
        checks=untested(telemetry, reason),
        tables={"hotspots.csv": pd.DataFrame(columns=list(TABLE_COLUMNS))},
        series={"found": forest(()), "days": daily(())},
        notes=(*notes, reason),
    )


__all__ = ["Found", "HotspotsSection", "assess"]
