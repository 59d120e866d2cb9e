"""Where the risks are not to be trusted: their quality by slice, and the slices that stand out.

A slice is one value of one dimension. It is measured from 200 labelled rows on, of ten clusters of either
label. Two things are tested of each, all together by Benjamini & Hochberg (1995):

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
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.check import Interval
from analysis.stats.intervals import one_sided_binomial_tail, t_quantile, t_tail
from analysis.stats.linear import MIN_CLASS_CLUSTERS, Estimate, Linear, Units, plain_interval
from analysis.stats.multiple import benjamini_hochberg, fcr_level
from analysis.views.triage_policy import Queue
from analysis.views.triage_quality import Labelled, Quality, measured

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Codes = tuple[Ints, tuple[str, ...]]
Finding = Literal["risk_too_low", "risk_too_high", "ranks_worse"]

MIN_SLICE_ROWS = 200
MAX_VALUES = 50
MAX_FINDINGS = 10
FDR = 0.05
COLUMNS = (
    "dimension",
    "value",
    "measure",
    "estimate",
    "low",
    "high",
    "p_value",
    "q_value",
    "support",
    "n_bad",
    "n_clusters",
)


@dataclass(frozen=True)
class SliceFinding:
    """A slice whose risks stand out.

    measure: what was tested. estimate: the calibration intercept in log-odds (0 is right; above it the risks are
    too low), or the AUC less that of the dimension's other slices; low, high: its limits, at the false
    coverage rate of all that stands out. bad_rate, mean_risk: of its labelled rows. n_misplaced: at
    least so many bad rows were not expected by the risks (or were, and did not come), or rank where they would
    not with the AUC of the other slices; findings are listed by it.
    """

    dimension: str
    value: str
    finding: Finding
    measure: Literal["calibration_intercept", "roc_auc_difference"]
    estimate: float
    low: float
    high: float
    q_value: float
    roc_auc: float
    bad_rate: float
    mean_risk: float
    n_misplaced: float
    support: int
    n_bad: int
    n_clusters: int


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
    slices: list[_Slice] = []
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
    return SliceQuality(len(tested), _findings(tested), _table(tested))


@dataclass(frozen=True)
class _Tested:
    """A figure with its standard error, degrees of freedom and p-value; nan where it is not tested."""

    estimate: float
    error: float
    df: float
    p_value: float
    q_value: float = math.nan

    def limits(self, confidence: float) -> tuple[float, float]:
        half = t_quantile((1.0 + confidence) / 2.0, self.df) * self.error
        return self.estimate - half, self.estimate + half


NOT_TESTED = _Tested(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class _Slice:
    """A slice's figures and tests. level: calibration in the large; rank: its AUC less that of the others.

    means: its rate of bad rows and its mean risk, with their limits.
    """

    dimension: str
    value: str
    quality: Quality
    auc: float
    means: tuple[Estimate, Estimate]
    n: int
    n_bad: int
    n_clusters: int
    level: _Tested
    rank: _Tested = NOT_TESTED


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
) -> list[tuple[_Slice, _Area]]:
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
    y_all, p_all, odds = rows.y[order], rows.p[order], rows.log_odds[order]
    code_all = rows.units.code[order]
    out, begin = [], 0
    for value in chosen:
        own = slice(begin, begin + int(counts[value]))
        begin = own.stop
        y, p, code = y_all[own], p_all[own], code_all[own]
        units = Units.of(y, code)
        if not units.known:
            continue
        found = measured(y, p, odds[own], units)
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
        told = _Slice(
            dimension=dimension,
            value=values[value],
            quality=found.quality,
            auc=auc.value,
            means=(_mean(y.astype(float), units), _mean(p, units)),
            n=len(y),
            n_bad=area.n_bad,
            n_clusters=units.n,
            level=_level(level, y, p, units, correlation),
        )
        out.append((told, area))
    return out


def _mean(values: Floats, units: Units) -> Estimate:
    mean = float(values.mean())
    linear = Linear(mean, (values - mean) / len(values))
    return plain_interval(linear, units, floor=0.0, ceiling=1.0)


def _level(found: Linear, y: Bools, p: Floats, units: Units, correlation: float) -> _Tested:
    """Calibration in the large. The intercept's own p-value, or the exact one where that is larger."""
    error, df = math.sqrt(units.variance(found.influence)), units.fewest - 1.0
    p_value = 2.0 * t_tail(abs(found.value) / error, df) if error > 0 else 1.0
    return _Tested(found.value, error, df, max(p_value, _exact(y, p, units, correlation)))


def _exact(y: Bools, p: Floats, units: Units, correlation: float) -> float:
    """Two-sided, of as many bad rows by the mean risk: at the rows over the design effect."""
    n = float(len(y))
    size = np.bincount(units.code).astype(float)
    effect = max(1.0, 1.0 + (float((size**2).sum()) / n - 1.0) * correlation)
    bad, risk = float(y.sum()) / effect, float(p.mean())
    above = float(one_sided_binomial_tail(bad, n / effect, risk))
    below = 1.0 - float(one_sided_binomial_tail(bad + 1.0, n / effect, risk))
    return min(1.0, 2.0 * min(above, below))


def _ranked(areas: Sequence[_Area], n_clusters: int) -> list[_Tested]:
    """Each AUC less the others' mean by their bad rows; one-sided against a slice that ranks as well.

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
        p_value = t_tail(-estimate / error, area.df) if error > 0 else 1.0
        out.append(_Tested(estimate, error, area.df, p_value))
    return out


def _findings(slices: Sequence[_Slice]) -> tuple[SliceFinding, ...]:
    """The slices that stand out, those with the most misplaced bad rows first."""
    n_tested = sum(not math.isnan(t.p_value) for s in slices for t in (s.level, s.rank))
    level = [s for s in slices if s.level.q_value <= FDR]
    rank = [s for s in slices if s.rank.q_value <= FDR]
    confidence = fcr_level(len(level) + len(rank), n_tested, FDR)
    found = [_level_finding(s, *s.level.limits(confidence)) for s in level]
    found += [_rank_finding(s, *s.rank.limits(confidence)) for s in rank]
    found.sort(key=lambda f: (-f.n_misplaced, f.dimension, f.value, f.finding))
    return tuple(found[:MAX_FINDINGS])


def _level_finding(s: _Slice, low: float, high: float) -> SliceFinding:
    """Misplaced: bad rows less the expected ones, at the limit that is nearer to 0."""
    nearer = (max(0.0, low) + min(0.0, high)) / s.level.estimate
    misplaced = abs(s.means[0].value - s.means[1].value) * s.n * nearer
    kind: Finding = "risk_too_low" if s.level.estimate > 0 else "risk_too_high"
    return _finding(s, kind, s.level, low, high, misplaced)


def _rank_finding(s: _Slice, low: float, high: float) -> SliceFinding:
    return _finding(s, "ranks_worse", s.rank, low, high, max(0.0, -high) * s.n_bad)


def _finding(
    s: _Slice, kind: Finding, test: _Tested, low: float, high: float, misplaced: float
) -> SliceFinding:
    return SliceFinding(
        dimension=s.dimension,
        value=s.value,
        finding=kind,
        measure="roc_auc_difference" if kind == "ranks_worse" else "calibration_intercept",
        estimate=test.estimate,
        low=low,
        high=high,
        q_value=test.q_value,
        roc_auc=s.auc,
        bad_rate=s.means[0].value,
        mean_risk=s.means[1].value,
        n_misplaced=misplaced,
        support=s.n,
        n_bad=s.n_bad,
        n_clusters=s.n_clusters,
    )


def _table(slices: Sequence[_Slice]) -> pd.DataFrame:
    """Every figure of every slice, one a row; each with its own 95 % interval."""
    rows: list[tuple[object, ...]] = []
    for s in slices:
        told: list[tuple[str, float | None, float | None, float | None, _Tested | None]] = []
        for field in dataclasses.fields(s.quality):
            one: Interval = getattr(s.quality, field.name)
            test = s.level if field.name == "calibration_intercept" else None
            told.append((field.name, one.value, one.low, one.high, test))
        told.append(("roc_auc_difference", s.rank.estimate, *s.rank.limits(0.95), s.rank))
        for name, mean in zip(("bad_rate", "mean_risk"), s.means, strict=True):
            told.append((name, mean.value, mean.low, mean.high, None))
        for name, value, low, high, tested in told:
            p = (math.nan, math.nan) if tested is None else (tested.p_value, tested.q_value)
            rows.append(
                (s.dimension, s.value, name, value, low, high, *p, s.n, s.n_bad, s.n_clusters)
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))
