"""How good the risks are: on the candidate's own labelled rows, and what reviewing by them is worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.check import Interval
from analysis.stats import calibration
from analysis.stats.brier_parts import brier_parts, uncertainty_of
from analysis.stats.linear import Estimate, Linear, Units, logit_interval, plain_interval
from analysis.stats.net_benefit import net_benefit
from analysis.stats.recalibration import in_the_large_of, logits, slope_of, with_limits
from analysis.views.triage_policy import Queue

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

N_THRESHOLDS = 60
LEAST_THRESHOLD, MOST_THRESHOLD = 1e-3, 0.999
NET_BENEFIT_COLUMNS = (
    "threshold",
    "break_even",
    "net_benefit",
    "net_benefit_low",
    "net_benefit_high",
    "net_benefit_of_all",
    "net_benefit_of_all_low",
    "net_benefit_of_all_high",
    "gain",
    "gain_low",
    "gain_high",
    "reviewed_share",
    "support",
)


@dataclass(frozen=True)
class Quality:
    """How well the risks rank and are calibrated, on the candidate's own labelled rows.

    brier_*: the parts of the Brier score over ten equal-count bins, bias-corrected: reliability − resolution +
    uncertainty is the Brier score of the binned risks. calibration_slope: 1 where risks are neither too
    extreme (below) nor too flat. calibration_intercept: in log-odds, with the slope held at 1; above 0
    where risks are too low.
    """

    roc_auc: Interval
    average_precision: Interval
    brier: Interval
    brier_skill: Interval
    calibration_error: Interval
    brier_reliability: Interval
    brier_resolution: Interval
    brier_uncertainty: Interval
    calibration_slope: Interval
    calibration_intercept: Interval

    @classmethod
    def unknown(cls) -> Quality:
        """Without a model."""
        none = Interval.unknown()
        return cls(none, none, none, none, none, none, none, none, none, none)


@dataclass(frozen=True)
class Influences:
    """The figures of `Quality` that are smooth functions of the rows, with what each row adds to them; None
    where there is none."""

    roc_auc: Linear | None
    average_precision: Linear | None
    brier: Linear | None
    brier_skill: Linear | None
    brier_uncertainty: Linear | None
    calibration_slope: Linear | None
    calibration_intercept: Linear | None


@dataclass(frozen=True)
class Measured:
    """The figures of some rows, and their influences."""

    quality: Quality
    influences: Influences


@dataclass(frozen=True)
class Labelled:
    """A queue's own rows with a known label, in rising order of risk, equal risks by id.

    y, p, day: (n,). units: their clusters. rows: their places in the queue.
    """

    y: Bools
    p: Floats
    day: Ints
    units: Units
    rows: Ints

    @classmethod
    def of(cls, queue: Queue | Labelled) -> Labelled:
        """Sorted once, for all that is measured on them; such rows are themselves."""
        if isinstance(queue, Labelled):
            return queue
        rows = np.flatnonzero(queue.known & queue.own & (queue.risk >= 0))
        key = (np.rint(queue.risk[rows] * calibration.MICRO).astype(np.int64) << 32) | rows
        key.sort()
        rows = key & 0xFFFFFFFF
        y = queue.bad[rows]
        units = Units.of(y, queue.cluster[rows])
        return cls(y, queue.risk[rows], queue.day[rows], units, rows)

    @cached_property
    def log_odds(self) -> Floats:
        """(n,): of the risks."""
        return logits(self.p)

    @cached_property
    def measured(self) -> Measured:
        """The figures of these rows."""
        return measured(self.y, self.p, self.log_odds, self.units)


def quality(window: Queue | Labelled) -> Quality:
    """The figures of the queue's own labelled rows."""
    return Labelled.of(window).measured.quality


def measured(y: Bools, p: Floats, log_odds: Floats, units: Units) -> Measured:
    """The figures of rows (n,), which are best given in rising order of risk. log_odds: of p."""

    def interval(estimate: Estimate) -> Interval:
        return Interval.of(estimate.value, estimate.low, estimate.high, len(y))

    found = Influences(
        calibration.roc_auc_of(y, p),
        calibration.average_precision_of(y, p),
        calibration.brier_of(y, p),
        calibration.brier_skill_of(y, p),
        uncertainty_of(y),
        slope_of(y, log_odds)[0],
        in_the_large_of(y, log_odds),
    )
    bins = calibration.reliability(y, p, units)
    parts = brier_parts(y, p, units, bins=bins)
    figures = Quality(
        interval(logit_interval(found.roc_auc, units)),
        interval(logit_interval(found.average_precision, units)),
        interval(plain_interval(found.brier, units, floor=0.0)),
        interval(plain_interval(found.brier_skill, units, ceiling=1.0)),
        interval(calibration.calibration_error(y, p, units, bins=bins)),
        interval(parts.reliability),
        interval(parts.resolution),
        interval(parts.uncertainty),
        interval(with_limits(found.calibration_slope, units)),
        interval(with_limits(found.calibration_intercept, units)),
    )
    return Measured(figures, found)


def net_benefit_table(window: Queue | Labelled, break_even: float) -> pd.DataFrame:
    """The decision curve of the queue's own labelled rows, in bad rows found per row.

    One row a threshold, from 0.1 % to the largest risk, and the costs' own: at `break_even` a review costs what
    it saves. gain: against the better of reviewing all and none, of which none is worth 0.
    """
    rows = Labelled.of(window)
    if not len(rows.y):
        return pd.DataFrame({name: [] for name in NET_BENEFIT_COLUMNS})
    top = min(max(float(rows.p[-1]), 2 * LEAST_THRESHOLD), MOST_THRESHOLD)
    own = min(break_even, MOST_THRESHOLD)
    thresholds = np.unique(np.append(np.geomspace(LEAST_THRESHOLD, top, N_THRESHOLDS), own))
    found = net_benefit(rows.y, rows.p, rows.units, thresholds)
    curves = [
        part
        for curve in (found.model, found.all_rows, found.gain)
        for part in (curve.value, curve.low, curve.high)
    ]
    columns = [thresholds, thresholds == own, *curves, found.reviewed, len(rows.y)]
    return pd.DataFrame(dict(zip(NET_BENEFIT_COLUMNS, columns, strict=True)))
