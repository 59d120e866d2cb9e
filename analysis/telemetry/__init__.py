"""Opens telemetry, validates it, and reduces it in the engine."""

from analysis.telemetry.fact import WindowCounts
from analysis.telemetry.moments import Metric, Moments
from analysis.telemetry.opening import open_telemetry, policy_columns
from analysis.telemetry.telemetry import MissingRate, Telemetry

__all__ = [
    "Metric",
    "MissingRate",
    "Moments",
    "Telemetry",
    "WindowCounts",
    "open_telemetry",
    "policy_columns",
]
