"""What was known when a request was routed, as numbers: for outcome models and propensities.

Categories as indicators; numbers on a log scale, with a step at each of their deciles (routers have
thresholds); every cell of `routing.context` (routers decide by cells); the clock; and the window's
course (routers change).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.telemetry import Telemetry
from analysis.views.encoding import CategoryFeature, ClockFeature, NumberFeature
from analysis.views.triage_model import feature_columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_CELL_ROWS = 30
MAX_CELLS = 60
COURSE_KNOTS = (0.25, 0.5, 0.75)
STEPS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class Features:
    """values: (n, p). names: (p,) the column behind each, in words."""

    values: Floats
    names: tuple[str, ...]


def context_columns(telemetry: Telemetry) -> list[str]:
    """Columns that describe a request before it is routed."""
    found = []
    for column in feature_columns(telemetry.contract, telemetry.columns, "request", "is_failure"):
        declared = telemetry.contract.column(column.name)
        if declared is not None and declared.role == "context":
            found.append(column.name)
    return found


def request_features(telemetry: Telemetry, frame: pd.DataFrame, cell: Ints) -> Features:
    """Encoded without a look at an outcome. frame: `ts_us` and the context; cell: (n,) codes."""
    parts: list[Floats] = []
    names: list[str] = []
    columns = feature_columns(
        telemetry.contract, context_columns(telemetry), "request", "is_failure"
    )
    for column in columns:
        part = (
            _number(column.name, frame[column.name])
            if column.kind == "number"
            else _category(column.name, frame[column.name])
        )
        if part is not None:
            parts.append(part)
            names += [column.name] * part.shape[1]
    for name, part in (
        ("the cell of routing.context", _cells(cell)),
        ("the time of day and week", ClockFeature().design(frame["ts_us"])),
        ("the time", _course(frame["ts_us"])),
    ):
        varies = part[:, part.std(axis=0) > 1e-9] if len(part) else part
        parts.append(varies)
        names += [name] * varies.shape[1]
    return Features(np.column_stack(parts), tuple(names))


def _number(name: str, values: pd.Series) -> Floats | None:
    feature = NumberFeature.learn(name, values)
    if feature is None:
        return None
    design = feature.design(values)
    scaled = design[:, 0]
    knots = np.unique(np.quantile(scaled, STEPS, method="inverted_cdf"))
    steps = scaled[:, None] > knots[None, :]
    rare = steps.sum(axis=0)
    kept = (rare >= MIN_CELL_ROWS) & (len(scaled) - rare >= MIN_CELL_ROWS)
    return np.column_stack([design, steps[:, kept].astype(float)])


def _category(name: str, values: pd.Series) -> Floats | None:
    feature = CategoryFeature.learn(name, values)
    return None if feature is None else feature.design(values)


def _cells(cell: Ints) -> Floats:
    """Indicators of the frequent cells; of two or none their columns say it all."""
    counts = np.bincount(cell) if len(cell) else np.zeros(0, dtype=np.int64)
    often = np.flatnonzero(counts >= MIN_CELL_ROWS)
    if len(often) > MAX_CELLS:
        often = np.sort(often[np.argsort(-counts[often], kind="stable")[:MAX_CELLS]])
    if len(counts) <= 2:
        often = often[:0]
    return np.asarray(cell[:, None] == often[None, :], dtype=float)


def _course(ts_us: pd.Series) -> Floats:
    """The window's course from 0 to 1, bent at its quarters."""
    at = ts_us.to_numpy(dtype=float)
    span = float(at.max() - at.min()) if len(at) else 0.0
    course = (at - at.min()) / span if span > 0 else np.zeros(len(at))
    return np.column_stack([course, *(np.maximum(course - k, 0.0) for k in COURSE_KNOTS)])
