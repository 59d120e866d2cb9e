"""The family of hotspot tests: which slices are tested, against what, and what is worth listing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.stats.moments import intraclass_correlation
from analysis.telemetry import Metric, Moments
from analysis.telemetry.slices import CellTable, Slices, SliceTable
from analysis.views.hotspot_tests import (
    Kind,
    Pooled,
    Sides,
    kind_p,
    log_variance,
    pooled,
    slice_sides,
)

MIN_BAD_CLUSTERS = 10
MIN_EFFECTIVE_CLUSTERS = 30


@dataclass(frozen=True)
class Member:
    """One member of the family: a slice, a metric, a kind."""

    slice: int
    metric: int
    kind: Kind


@dataclass(frozen=True)
class Family:
    """All tested members with their p-values, and everything needed to describe one.

    slice, metric: of each member, (m,); regression: its kind. value, reference: rates or means.
    log_ratio, variance: the log of their ratio, and its approximate variance.
    """

    table: SliceTable
    cells: CellTable
    pooled: tuple[Pooled, ...]
    sides: tuple[Sides, ...]
    members: tuple[Member, ...]
    p: np.ndarray
    slice: np.ndarray
    metric: np.ndarray
    regression: np.ndarray
    value: np.ndarray
    reference: np.ndarray
    log_ratio: np.ndarray
    variance: np.ndarray

    def of(self, metric: int, kind: Kind) -> np.ndarray:
        """Members of one metric and kind, ascending."""
        return np.flatnonzero((self.metric == metric) & (self.regression == (kind == "regression")))

    @property
    def ratio(self) -> np.ndarray:
        """value / reference, ∞ where the reference is no positive number."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.reference > 0, self.value / self.reference, math.inf)


def family_of(
    metrics: Sequence[Metric],
    moments: Mapping[str, Moments],
    slices: Slices,
    *,
    kinds: Sequence[Kind],
    min_support: int,
) -> Family:
    """Every slice × metric × kind with support and the floors of STATISTICS section 1."""
    table = slices.table
    figures, all_sides = [], []
    members: list[Member] = []
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("p", "slice", "value", "reference", "log_ratio", "variance")
    }
    distinct = _distinct(table, slices.cells)
    for index, metric in enumerate(metrics):
        m = moments[metric.name]
        is_rate = metric.scale == 1
        rho = (intraclass_correlation(m.baseline), intraclass_correlation(m.candidate))
        figure = pooled(m, is_rate, rho)
        sides = slice_sides(table, figure, index)
        figures.append(figure)
        all_sides.append(sides)
        for kind in kinds:
            which = np.flatnonzero(
                distinct & _floors(slices, figure, index, kind, sides, distinct, min_support)
            )
            if not len(which):
                continue
            picked = sides.at(which)
            values = kind_p(figure, kind, picked)
            known = ~np.isnan(values)
            log_ratio, variance = _log_ratio(figure, kind, picked)
            members += [Member(int(s), index, kind) for s in which[known]]
            for name, column in (
                ("p", values),
                ("slice", which),
                ("value", picked.own1.mean),
                ("reference", picked.reference(kind)),
                ("log_ratio", log_ratio),
                ("variance", variance),
            ):
                columns[name].append(column[known])
    joined = {name: np.concatenate(c) if c else np.zeros(0) for name, c in columns.items()}
    return Family(
        table=table,
        cells=slices.cells,
        pooled=tuple(figures),
        sides=tuple(all_sides),
        members=tuple(members),
        metric=np.array([m.metric for m in members], dtype=int),
        regression=np.array([m.kind == "regression" for m in members], dtype=bool),
        slice=joined.pop("slice").astype(int),
        **joined,
    )


def _distinct(table: SliceTable, cells: CellTable) -> np.ndarray:
    """Slices that are not the same rows as a parent, nor all rows."""
    size = len(table.codes)
    keep: np.ndarray = ~(table.rows == cells.rows.sum(axis=0)).all(axis=1)
    if not size:
        return keep
    deep = (table.codes >= 0).sum(axis=1) >= 2
    stacked = [table.codes]
    children = []
    for free in range(table.codes.shape[1]):
        which = np.flatnonzero(deep & (table.codes[:, free] >= 0))
        parents = table.codes[which].copy()
        parents[:, free] = -1
        stacked.append(parents)
        children.append(which)
    codes = np.ascontiguousarray(np.concatenate(stacked))
    _, number = np.unique(codes.view(f"V{codes.shape[1] * codes.itemsize}"), return_inverse=True)
    number = number.ravel()
    place = np.full(int(number.max()) + 1, -1, dtype=np.int64)
    place[number[:size]] = np.arange(size)
    child, parent = np.concatenate(children), place[number[size:]]
    there = parent >= 0
    child, parent = child[there], parent[there]
    keep[child[(table.rows[child] == table.rows[parent]).all(axis=1)]] = False
    return keep


def _floors(
    slices: Slices,
    figure: Pooled,
    metric: int,
    kind: Kind,
    sides: Sides,
    asked: np.ndarray,
    min_support: int,
) -> np.ndarray:
    """Where a slice has the support, and ten bad clusters expected at its reference or observed.

    asked: slices about which it matters.
    """
    table, own1 = slices.table, sides.own1
    ok = (table.rows[:, 1] >= min_support) & (own1.n >= min_support) & (sides.rest1.n > 0)
    if kind == "regression":
        ok &= (table.rows[:, 0] >= min_support) & (sides.own0.n > 0) & (sides.rest0.n > 0)
    if not figure.is_rate:
        for win in (0, 1) if kind == "regression" else (1,):
            ok &= effective_clusters(table, metric, win) >= MIN_EFFECTIVE_CLUSTERS
        return ok
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(sides.reference(kind) * own1.n * figure.bad_per_row)
    enough = expected >= MIN_BAD_CLUSTERS
    y, yy = table.sums["y"][:, metric, 1], table.sums["yy"][:, metric, 1]
    # (Σ y)² ≤ clusters × Σ y² (Cauchy–Schwarz): only where that is too little must they be counted.
    enough |= (y > 0) & (y * y >= MIN_BAD_CLUSTERS * yy)
    unclear = np.flatnonzero(ok & asked & ~enough & (y >= MIN_BAD_CLUSTERS))
    if len(unclear):
        counted = slices.clusters(unclear.tolist(), metric, bad=True)
        enough[unclear] = counted >= MIN_BAD_CLUSTERS
    return ok & enough


def effective_clusters(table: SliceTable, metric: int, win: int) -> np.ndarray:
    """(Σ n_c)² / Σ n_c² of each slice (Kish 1965), 0 without rows."""
    n, nn = table.sums["n"][:, metric, win], table.sums["nn"][:, metric, win]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(n * n / nn)


def _log_ratio(figure: Pooled, kind: Kind, sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """Log ratios and their approximate variances (delta method, effective counts)."""
    used = [sides.own1, sides.rest1]
    if kind == "regression":
        used = [sides.own1, sides.own0, sides.rest1, sides.rest0]
    variance = np.sum([log_variance(figure, side) for side in used], axis=0)
    # Without a bad event in the rest's baseline, a regression's reference is infinite.
    value, reference = (
        np.where(x > 1e-12, np.minimum(x, 1e16), 1e-12)
        for x in (sides.own1.mean, sides.reference(kind))
    )
    return np.log(value / reference), variance


def coverage(family: Family) -> float | None:
    """Share of the candidate's traffic that lies in a slice tested for regression (else level)."""
    tested = family.slice[family.regression] if family.regression.any() else family.slice
    total = family.cells.rows[:, 1].sum()
    if not total:
        return None
    codes = family.table.codes[np.unique(tested)]
    covered = np.zeros(len(family.cells.rows), dtype=bool)
    for fixed in np.unique(codes >= 0, axis=0):
        own = codes[((codes >= 0) == fixed).all(axis=1)]
        keys = family.table.keys(own, fixed)
        covered |= np.isin(family.table.keys(family.cells.codes, fixed), keys)
    return float(family.cells.rows[covered, 1].sum() / total)


def detectable_ratio(family: Family, fdr: float, n_found: int) -> float | None:
    """Smallest ratio of failure levels found with power 0.8 in a slice of median support."""
    rates = [i for i, f in enumerate(family.pooled) if f.is_rate]
    own = family.slice[family.of(rates[0], "level")] if rates else np.zeros(0)
    if not len(own):
        return None
    side = family.sides[rates[0]].own1.at(own)
    figure = family.pooled[rates[0]]
    n = float(np.median(side.n / side.deff))
    rate = figure.totals_y[1] / figure.totals_n[1] if figure.totals_n[1] else 0.0
    if not 0 < rate < 1:
        return None
    z = float(-special.ndtri(fdr * max(n_found, 1) / len(family.members)))

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
