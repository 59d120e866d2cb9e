"""The error rate of this look (STATISTICS section 2, *Looking every day*)."""

from __future__ import annotations

import math

from analysis.policy import Policy
from analysis.stats.looks import look_alpha
from analysis.telemetry.windows import DAY, ResolvedWindows

PASS_ERROR = 0.05


def look_number(windows: ResolvedWindows) -> int:
    """Whole UTC days from the candidate's start to as-of (without it, to the candidate's end)."""
    end = windows.as_of if windows.as_of is not None else windows.candidate.end
    return math.floor((end - windows.candidate.start) / DAY)


def gate_error(policy: Policy, windows: ResolvedWindows) -> float:
    """The error rate at which regression checks may fail at this look."""
    if policy.gate.looks is None:
        return policy.gate.error_rate
    return look_alpha(policy.gate.error_rate, look_number(windows), policy.gate.looks)


def pass_confidence(policy: Policy, windows: ResolvedWindows) -> float:
    """The one-sided confidence of the bounds that let a check pass at this look."""
    if policy.gate.looks is None:
        return 1 - PASS_ERROR
    return 1 - look_alpha(PASS_ERROR, look_number(windows), policy.gate.looks)
