"""The gate's own rules: thresholds of the policy, and the last recorded releases."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.views.gate_baselines import BaselineFigure, compare
from analysis.views.gate_thresholds import ThresholdFigure, checks
from analysis.views.health import Figures
from analysis.views.result import ViewResult


@dataclass(frozen=True)
class GateSection:
    thresholds: tuple[ThresholdFigure, ...]
    baselines: tuple[BaselineFigure, ...]


def assess(telemetry: Telemetry, policy: Policy, candidate: Figures) -> ViewResult[GateSection]:
    """What the policy's own rules find. candidate: the health of the candidate window."""
    thresholds, judged = checks(telemetry, policy)
    baselines, tests = compare(telemetry, policy, candidate)
    return ViewResult(section=GateSection(thresholds, baselines), checks=(*tests, *judged))
