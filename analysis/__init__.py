"""Release review for LLM systems: telemetry in, ship, hold or block out.

The names below are the public interface; they load on first use, so that a page that only shows a
finished review starts without the engine.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Check": "analysis.check",
    "Contract": "analysis.contract",
    "Decision": "analysis.gate",
    "DecisionArtifact": "analysis.artifact",
    "Interval": "analysis.check",
    "Policy": "analysis.policy",
    "RegressionTest": "analysis.check",
    "Review": "analysis.review",
    "ReviewError": "analysis.errors",
    "Telemetry": "analysis.telemetry",
    "compute": "analysis.review",
    "load_contract": "analysis.contract",
    "load_policy": "analysis.policy",
    "open_telemetry": "analysis.telemetry",
    "request": "analysis.review",
}
_RENAMED = {"load_contract": "load", "load_policy": "load"}

__all__ = [
    "Check",
    "Contract",
    "Decision",
    "DecisionArtifact",
    "Interval",
    "Policy",
    "RegressionTest",
    "Review",
    "ReviewError",
    "Telemetry",
    "compute",
    "load_contract",
    "load_policy",
    "open_telemetry",
    "request",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), _RENAMED.get(name, name))
