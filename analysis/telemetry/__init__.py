"""Opens telemetry, validates it, and reduces it in the engine."""

from analysis.telemetry.moments import Metric, Moments
from analysis.telemetry.telemetry import (
    MissingRate,
    Telemetry,
    WindowCounts,
    open_telemetry,
    policy_columns,
)

__all__ = [
    "Metric",
    "MissingRate",
    "Moments",
    "Telemetry",
    "WindowCounts",
    "open_telemetry",
    "policy_columns",
]
