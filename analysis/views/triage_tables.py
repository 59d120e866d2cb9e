"""The tables and figure series behind the triage view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.calibration import reliability
from analysis.telemetry import Telemetry
from analysis.telemetry.key_order import Ids
from analysis.telemetry.rows import rows_of
from analysis.views.encoding import source
from analysis.views.triage_data import day_text
from analysis.views.triage_model import RiskModel
from analysis.views.triage_policy import Costs, Queue, within_capacity

CURVE_COLUMNS = (
    "part",
    "threshold",
    "chosen",
    "demand_per_day",
    "reviewed_per_day",
    "reviewed",
    "tp",
    "fp",
    "fn",
    "tn",
    "precision",
    "recall",
    "cost_usd",
    "cost_usd_per_day",
)
ACTION_COLUMNS = ("day", "place", "interaction_id", "risk", "expected_saving_usd", "reasons")
N_THRESHOLDS = 60


def threshold_curve(
    queues: dict[str, Queue], grid_from: Queue, chosen: float | None, costs: Costs
) -> pd.DataFrame:
    """What each threshold would have done in each part, under the day's capacity.

    A day's queue is worked by risk, so the rows that a threshold reaches are those of
    `top_by_capacity` at or above it. Thresholds are quantiles of the part that chose.
    """
    tail = np.geomspace(1.0, 1e-3, N_THRESHOLDS)
    risks = grid_from.risk[grid_from.risk >= 0]
    grid = {0.0, 1.0, costs.break_even} | ({chosen} if chosen is not None else set())
    if len(risks):
        grid |= {float(v) for v in np.quantile(risks, 1.0 - tail, method="inverted_cdf")}
    thresholds = np.array(sorted(grid))
    frames = [_curve(part, queue, thresholds, chosen, costs) for part, queue in queues.items()]
    return pd.concat(frames, ignore_index=True) if frames else empty(CURVE_COLUMNS)


def _curve(
    part: str, queue: Queue, thresholds: npt.NDArray[np.float64], chosen: float | None, costs: Costs
) -> pd.DataFrame:
    every = np.ones(len(queue.risk), dtype=bool)
    reached = within_capacity(queue, costs, every, by_risk=True)
    days = max(float(queue.coverage.sum()), 1e-9)
    support, positives = int(queue.known.sum()), int((queue.known & queue.bad).sum())

    def at_least(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        risks = np.sort(queue.risk[rows])
        return np.asarray(len(risks) - np.searchsorted(risks, thresholds, side="left"))

    tp = at_least(reached & queue.known & queue.bad)
    reviewed = at_least(reached & queue.known)
    fp, fn = reviewed - tp, positives - tp
    cost = costs.review_usd * reviewed + costs.missed_usd * fn
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(reviewed > 0, tp / np.maximum(reviewed, 1), np.nan)
        recall = tp / positives if positives else np.full(len(tp), np.nan)
    return pd.DataFrame(
        {
            "part": part,
            "threshold": thresholds,
            "chosen": [chosen is not None and t == chosen for t in thresholds.tolist()],
            "demand_per_day": at_least(every) / days,
            "reviewed_per_day": at_least(reached) / days,
            "reviewed": reviewed,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": support - positives - fp,
            "precision": precision,
            "recall": recall,
            "cost_usd": cost,
            "cost_usd_per_day": cost / days,
        },
        columns=list(CURVE_COLUMNS),
    )


def actions(
    telemetry: Telemetry,
    model: RiskModel,
    queue: Queue,
    ids: Ids,
    reviewed: npt.NDArray[np.float64],
    costs: Costs,
) -> pd.DataFrame:
    """The window's queue under the chosen mode: each day's most valuable reviews first."""
    rows = np.flatnonzero(reviewed > 0)
    if not len(rows):
        return empty(ACTION_COLUMNS)
    wanted = ids.at(rows)
    frame = rows_of(telemetry.engine, [source(f) for f in model.features], wanted)
    day, risk = queue.day[rows], queue.risk[rows]
    out = (
        pd.DataFrame(
            {
                "day": [day_text(queue.days[d]) for d in day],
                "place": 0,
                "interaction_id": wanted,
                "risk": risk,
                "expected_saving_usd": np.round(costs.missed_usd * risk - costs.review_usd, 6),
                "reasons": model.reasons(frame),
            },
            columns=list(ACTION_COLUMNS),
        )
        .iloc[np.lexsort((rows, -risk, day))]
        .reset_index(drop=True)
    )
    out["place"] = out.groupby("day").cumcount() + 1
    return out


def reliability_bins(queue: Queue) -> pd.DataFrame:
    """Equal-count bins of the candidate's own labelled rows: mean risk and rate, with limits."""
    rows = queue.known & queue.own & (queue.risk >= 0)
    bins = reliability(queue.bad[rows], queue.risk[rows], queue.cluster[rows])
    return pd.DataFrame(
        {
            "bin": np.arange(1, len(bins.n) + 1),
            "n": bins.n,
            "risk": bins.risk,
            "rate": bins.rate,
            "low": np.clip(bins.rate - 1.96 * bins.error, 0.0, 1.0),
            "high": np.clip(bins.rate + 1.96 * bins.error, 0.0, 1.0),
        }
    )


def daily_queue(
    parts: dict[str, tuple[Queue, npt.NDArray[np.bool_]]], costs: Costs
) -> pd.DataFrame:
    """Reviews that the mode asks for on each day, beside capacity and guard."""
    rows = [
        (part, day_text(day), float(asked), float(share))
        for part, (queue, wanted) in parts.items()
        for day, asked, share in zip(
            queue.days,
            np.bincount(queue.day[wanted], minlength=queue.n_days),
            queue.coverage,
            strict=True,
        )
    ]
    frame = pd.DataFrame(rows, columns=["part", "day", "demand", "coverage"])
    return frame.assign(capacity=costs.capacity_per_day, guard=costs.guard_p90)


def empty(columns: Sequence[str]) -> pd.DataFrame:
    """A table of these columns without rows."""
    return pd.DataFrame({c: [] for c in columns})
