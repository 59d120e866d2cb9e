"""Where the risks are not to be trusted: their quality by slice, and the slices that stand out.

A slice is one value of one dimension. It is measured from 200 labelled rows on, of ten clusters of either
label; of one with more than 20,000 about so many are read, in whole clusters: they tell a risk that is wrong by
an eighth. Two things are tested of each, all together by Benjamini & Hochberg (1995):

- calibration in the large: whether its risks are too low or too high altogether. The p-value is the larger of
  the sandwich's and of the exact binomial's at effective counts, with the correlation within clusters pooled
  over the window (STATISTICS section 1): a sandwich's tails cannot be had from few bad rows.
- ranking: whether its AUC is below that of the dimension's other slices, each within itself, weighted by
  their bad rows. The AUC of all other rows together would not do: it also holds what the dimension tells by
  itself, and every slice would fall behind. Rows of a cluster that is in several slices are paired.

Limits of what stands out keep the false coverage rate (Benjamini & Yekutieli 2005).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.intervals import one_sided_binomial_tail, t_tail
from analysis.stats.linear import MIN_CLASS_CLUSTERS, Estimate, Linear, Units, plain_interval
from analysis.stats.multiple import benjamini_hochberg
from analysis.views.triage_policy import Queue
from analysis.views.triage_quality import Labelled, measured
from analysis.views.triage_slice_table import (
    NOT_TESTED,
    Contest,
    Slice,
    SliceFinding,
    findings,
    table,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Codes = tuple[Ints, tuple[str, ...]]

MIN_SLICE_ROWS, MAX_SLICE_ROWS = 200, 20_000
MAX_VALUES = 50


@dataclass(frozen=True)
class SliceQuality:
    """What stands out, the most serious first, and the table of every slice that was measured."""

    n_slices: int
    found: tuple[SliceFinding, ...]
    table: pd.DataFrame


def slice_quality(window: Queue | Labelled, dimensions: Mapping[str, Codes]) -> SliceQuality:
    """The quality of the window's own labelled rows by slice.

    dimensions: for each its codes (n,) over the queue's rows, −1 where the value is missing, and what the codes
    stand for. At most the 50 most frequent values of a dimension are measured.
    """
    rows = Labelled.of(window)
    correlation = _correlation(rows)
    slices: list[Slice] = []
    for name, (codes, values) in dimensions.items():
        pairs = _measured(rows, codes[rows.rows], name, values, correlation)
        ranks = _ranked([area for _, area in pairs], rows.units.n)
        slices += [
            dataclasses.replace(s, rank=rank) for (s, _), rank in zip(pairs, ranks, strict=True)
        ]
    p_values = [test.p_value for s in slices for test in (s.level, s.rank)]
    levels, ranked = benjamini_hochberg(p_values).reshape(-1, 2).T
    tested = [
        dataclasses.replace(
            s,
            level=dataclasses.replace(s.level, q_value=float(level)),
            rank=dataclasses.replace(s.rank, q_value=float(rank)),
        )
        for s, level, rank in zip(slices, levels, ranked, strict=True)
    ]
    if not tested:
        return SliceQuality(0, (), table(()))
    whole = rows.measured.influences.calibration_intercept
    shift = 0.0 if whole is None else whole.value
    return SliceQuality(len(tested), findings(tested, shift), table(tested))


@dataclass(frozen=True)
class _Area:
    """A slice's AUC; what each of its clusters adds to it, (g,), and their codes in the window; the t
    distribution's degrees of freedom, and its bad rows."""

    auc: float
    influence: Floats
    cluster: Ints
    df: float
    n_bad: int


def _correlation(rows: Labelled) -> float:
    """The correlation of y − p between rows of a cluster, over the whole window, at least 0."""
    if not len(rows.y):
        return 0.0
    error = rows.y - rows.p
    error = error - error.mean()
    size = np.bincount(rows.units.code, minlength=rows.units.n).astype(float)
    by_row, by_cluster = float((error**2).sum()), float((rows.units.totals(error) ** 2).sum())
    pairs = float((size**2).sum()) / len(error) - 1.0
    if by_row <= 0 or pairs <= 0:
        return 0.0
    return min(1.0, max(0.0, (by_cluster / by_row - 1.0) / pairs))


def _measured(
    rows: Labelled,
    codes: Ints,
    dimension: str,
    values: Sequence[str],
    correlation: float,
) -> list[tuple[Slice, _Area]]:
    """The slices of one dimension that have enough rows, in the order of their values' names."""
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    bad = np.bincount(codes[rows.y & (codes >= 0)], minlength=len(values))
    enough = (counts >= MIN_SLICE_ROWS) & (np.minimum(bad, counts - bad) >= MIN_CLASS_CLUSTERS)
    often = sorted(np.flatnonzero(enough).tolist(), key=lambda v: (-int(counts[v]), values[v]))
    chosen = sorted(often[:MAX_VALUES], key=lambda v: values[v])
    place = np.full(len(values) + 1, len(chosen), dtype=np.int8)
    place[chosen] = np.arange(len(chosen))
    # A stable sort of small integers goes by counting, and leaves each slice in order of risk.
    order = np.argsort(place[codes], kind="stable")[: int(counts[chosen].sum())]
    draw = _draw(rows.units.n)
    out, begin = [], 0
    for value in chosen:
        own = order[begin : begin + int(counts[value])]
        begin += len(own)
        if len(own) > MAX_SLICE_ROWS:
            own = own[draw[rows.units.code[own]] < MAX_SLICE_ROWS / len(own)]
        y, p, code = rows.y[own], rows.p[own], rows.units.code[own]
        units = Units.of(y, code)
        if not units.known:
            continue
        found = measured(y, p, rows.log_odds[own], units)
        auc, level = found.influences.roc_auc, found.influences.calibration_intercept
        assert auc is not None
        assert level is not None
        area = _Area(
            auc.value,
            units.totals(auc.influence),
            np.flatnonzero(np.bincount(code)),
            units.fewest - 1.0,
            int(bad[value]),
        )
        told = Slice(
            dimension=dimension,
            value=values[value],
            quality=found.quality,
            auc=auc.value,
            means=(_mean(y.astype(float), units), _mean(p, units)),
            n=len(y),
            n_bad=int(y.sum()),
            n_clusters=units.n,
            of_all=(int(counts[value]), int(bad[value])),
            level=_level(level, y, p, units, correlation),
        )
        out.append((told, area))
    return out


def _draw(n_clusters: int) -> Floats:
    """(G,): a number in [0, 1) for each cluster, spread evenly over any run of them (Knuth 1998, section 6.4)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((np.arange(n_clusters, dtype=np.uint64) * golden) / 2.0**64)


def _mean(values: Floats, units: Units) -> Estimate:
    mean = float(values.mean())
    linear = Linear(mean, (values - mean) / len(values))
    return plain_interval(linear, units, floor=0.0, ceiling=1.0)


def _level(found: Linear, y: Bools, p: Floats, units: Units, correlation: float) -> Contest:
    """Calibration in the large. The intercept's own p-value, or the exact one where that is larger."""
    error, df = math.sqrt(units.variance(found.influence)), units.fewest - 1.0
    p_value = 2.0 * t_tail(abs(found.value) / error, df) if error > 0 else 1.0
    return Contest(found.value, error, df, max(p_value, _exact(y, p, units, correlation)))


def _exact(y: Bools, p: Floats, units: Units, correlation: float) -> float:
    """Two-sided, of as many bad rows by the mean risk: at the rows over the design effect."""
    n = float(len(y))
    size = np.bincount(units.code).astype(float)
    effect = max(1.0, 1.0 + (float((size**2).sum()) / n - 1.0) * correlation)
    bad, risk = float(y.sum()) / effect, float(p.mean())
    above = float(one_sided_binomial_tail(bad, n / effect, risk))
    below = 1.0 - float(one_sided_binomial_tail(bad + 1.0, n / effect, risk))
    return min(1.0, 2.0 * min(above, below))


def _ranked(areas: Sequence[_Area], n_clusters: int) -> list[Contest]:
    """Each AUC less the others' mean by their bad rows, against a slice that ranks as well or better. The p-value
    is twice the one-sided one, so that limits of what stands out leave 0 out.

    A cluster adds a T − b U to the difference: T to the slice's AUC, U to the mean over all slices, with b =
    1/(1 − w) and a = 1 + w b, w the slice's share of the bad rows.
    """
    if len(areas) < 2:
        return [NOT_TESTED for _ in areas]
    share = np.array([area.n_bad for area in areas], dtype=float)
    share = share / share.sum()
    whole = np.zeros(n_clusters)
    for w, area in zip(share.tolist(), areas, strict=True):
        whole[area.cluster] += w * area.influence
    mean = float(sum(w * area.auc for w, area in zip(share.tolist(), areas, strict=True)))
    squares = float((whole**2).sum())
    out = []
    for w, area in zip(share.tolist(), areas, strict=True):
        b = 1.0 / (1.0 - w)
        others = b * whole[area.cluster]
        own = (1.0 + w * b) * area.influence - others
        total = b * b * squares + float((own**2).sum()) - float((others**2).sum())
        estimate = area.auc - b * (mean - w * area.auc)
        error = math.sqrt(n_clusters / (n_clusters - 1.0) * max(total, 0.0))
        p_value = min(1.0, 2.0 * t_tail(-estimate / error, area.df)) if error > 0 else 1.0
        out.append(Contest(estimate, error, area.df, p_value))
    return out
