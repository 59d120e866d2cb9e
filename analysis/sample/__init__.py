"""Share-safe synthetic telemetry with known answers: no value in it comes from a real system."""

from analysis.sample.scenarios import SCENARIOS, Scenario, scenario_named
from analysis.sample.world import World, generate, simulate
from analysis.sample.writing import FORMATS, write

__all__ = [
    "FORMATS",
    "SCENARIOS",
    "Scenario",
    "World",
    "generate",
    "scenario_named",
    "simulate",
    "write",
]
