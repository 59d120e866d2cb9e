"""The tables and figure series behind the triage view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.share_safe import Shown
from analysis.stats.calibration import reliability
from analysis.stats.queue_simulation import HOUR_US
from analysis.telemetry.key_order import Ids
from analysis.views import triage_slice_table
from analysis.views.triage_curve import CURVE_COLUMNS, threshold_curve
from analysis.views.triage_data import Reader, day_text
from analysis.views.triage_policy import Costs, Queue
from analysis.views.triage_quality import NET_BENEFIT_COLUMNS, Labelled
from analysis.views.triage_reasons import reasons
from analysis.views.triage_risk import RiskModel
from analysis.views.triage_workload import WAIT_COLUMNS

__all__ = [
    "ACTION_COLUMNS",
    "CURVE_COLUMNS",
    "actions",
    "by_hour",
    "daily_queue",
    "empty",
    "empty_tables",
    "reliability_bins",
    "threshold_curve",
]

ACTION_COLUMNS = ("day", "place", "interaction_id", "risk", "expected_saving_usd", "reasons")


def actions(
    reader: Reader,
    model: RiskModel,
    queue: Queue,
    ids: Ids,
    reviewed: npt.NDArray[np.float64],
    costs: Costs,
    shown: Shown,
) -> pd.DataFrame:
    """The window's queue under the chosen mode: each day's most valuable reviews first."""
    rows = np.flatnonzero(reviewed > 0)
    if not len(rows):
        return empty(ACTION_COLUMNS)
    wanted = ids.at(rows)
    frame = reader.rows_of(model, wanted)
    day, risk = queue.day[rows], queue.risk[rows]
    out = (
        pd.DataFrame(
            {
                "day": [day_text(queue.days[d]) for d in day],
                "place": 0,
                "interaction_id": shown.ids(wanted),
                "risk": risk,
                "expected_saving_usd": np.round(costs.missed_usd * risk - costs.review_usd, 6),
                "reasons": reasons(model, frame),
            },
            columns=list(ACTION_COLUMNS),
        )
        .iloc[np.lexsort((rows, -risk, day))]
        .reset_index(drop=True)
    )
    out["place"] = out.groupby("day").cumcount() + 1
    return out


def reliability_bins(rows: Labelled) -> pd.DataFrame:
    """Equal-count bins of the candidate's own labelled rows: mean risk and rate, with limits."""
    bins = reliability(rows.y, rows.p, rows.units)
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


def by_hour(queue: Queue, wanted: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Reviews that come due in each hour of a mean day, UTC."""
    days = max(float(queue.coverage.sum()), 1e-9)
    hour = queue.ts_us[wanted] // HOUR_US % 24
    return pd.DataFrame({"hour": np.arange(24), "due": np.bincount(hour, minlength=24) / days})


def empty_tables() -> dict[str, pd.DataFrame]:
    """The tables of the view where there is no model."""
    return {
        "triage_threshold_curve.csv": empty(CURVE_COLUMNS),
        "triage_quality.csv": empty(triage_slice_table.COLUMNS),
        "triage_net_benefit.csv": empty(NET_BENEFIT_COLUMNS),
        "triage_queue.csv": empty(WAIT_COLUMNS),
        "triage_actions.csv": empty(ACTION_COLUMNS),
    }


def empty(columns: Sequence[str]) -> pd.DataFrame:
    """A table of these columns without rows."""
    return pd.DataFrame({c: [] for c in columns})
