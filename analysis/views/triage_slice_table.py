"""What is told of the triage view's slices: those that stand out, and the table of all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.check import Interval
from analysis.stats.intervals import t_quantile
from analysis.stats.linear import Estimate
from analysis.stats.multiple import fcr_level
from analysis.views.triage_quality import Quality

Finding = Literal["risk_too_low", "risk_too_high", "ranks_worse"]

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
    not with the AUC of the other slices. n_own: of them those that are the slice's own, and not what the shift
    of the whole window makes of it; findings are listed by it.
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
    n_own: float
    support: int
    n_bad: int
    n_clusters: int


@dataclass(frozen=True)
class Contest:
    """A figure with its standard error, degrees of freedom and p-value; nan where it is not tested."""

    estimate: float
    error: float
    df: float
    p_value: float
    q_value: float = math.nan

    def limits(self, confidence: float) -> tuple[float, float]:
        half = t_quantile((1.0 + confidence) / 2.0, self.df) * self.error
        return self.estimate - half, self.estimate + half


NOT_TESTED = Contest(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Slice:
    """A slice's figures and tests. level: calibration in the large; rank: its AUC less that of the others.

    means: its rate of bad rows and its mean risk, with their limits. of_all: its labelled rows and bad ones, those
    that were not read too.
    """

    dimension: str
    value: str
    quality: Quality
    auc: float
    means: tuple[Estimate, Estimate]
    n: int
    n_bad: int
    n_clusters: int
    of_all: tuple[int, int]
    level: Contest
    rank: Contest = NOT_TESTED


def findings(slices: Sequence[Slice], window: float) -> tuple[SliceFinding, ...]:
    """The slices that stand out, the most serious first. window: its own calibration intercept.

    How far risks are off: in a slice, the calibration in the large, or by how much its ranking is worse than
    elsewhere, with an interval that counts how many slices were looked at.

    Failed (%): share of a slice's interactions that have the policy's label.
    """
    n_tested = sum(not math.isnan(t.p_value) for s in slices for t in (s.level, s.rank))
    level = [s for s in slices if s.level.q_value <= FDR]
    rank = [s for s in slices if s.rank.q_value <= FDR]
    confidence = fcr_level(len(level) + len(rank), n_tested, FDR)
    found = [_level_finding(s, *s.level.limits(confidence), window) for s in level]
    found += [_rank_finding(s, *s.rank.limits(confidence)) for s in rank]
    found.sort(key=lambda f: (-f.n_own, -f.n_misplaced, f.dimension, f.value, f.finding))
    return tuple(found[:MAX_FINDINGS])


def _level_finding(s: Slice, low: float, high: float, window: float) -> SliceFinding:
    """Misplaced: bad rows less the expected ones, at the limit that is nearer to 0; the slice's own, by how far
    that limit lies beyond the window's intercept."""
    nearer = (max(0.0, low) + min(0.0, high)) / s.level.estimate
    beyond = max(0.0, low - max(0.0, window)) + max(0.0, min(0.0, window) - high)
    gap = abs(s.means[0].value - s.means[1].value) * s.of_all[0]
    own = min(nearer, beyond / abs(s.level.estimate))
    kind: Finding = "risk_too_low" if s.level.estimate > 0 else "risk_too_high"
    return _finding(s, kind, s.level, low, high, gap * nearer, gap * own)


def _rank_finding(s: Slice, low: float, high: float) -> SliceFinding:
    misplaced = max(0.0, -high) * s.of_all[1]
    return _finding(s, "ranks_worse", s.rank, low, high, misplaced, misplaced)


def _finding(
    s: Slice, kind: Finding, test: Contest, low: float, high: float, misplaced: float, own: float
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
        n_own=own,
        support=s.n,
        n_bad=s.n_bad,
        n_clusters=s.n_clusters,
    )


def table(slices: Sequence[Slice]) -> pd.DataFrame:
    """Every figure of every slice, one a row; each with its own 95 % interval."""
    rows: list[tuple[object, ...]] = []
    for s in slices:
        told: list[tuple[str, float | None, float | None, float | None, Contest | None]] = []
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
