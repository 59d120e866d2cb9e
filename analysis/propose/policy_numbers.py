"""How a number of a first policy follows from what was seen: pure functions of a `Level`."""

from __future__ import annotations

import math

from analysis.propose.evidence import Level
from analysis.yaml_text import figure, per_cent, rounded_up

TARGETS = (
    "0.999", "0.995", "0.99", "0.98", "0.97", "0.95", "0.9", "0.85", "0.8", "0.75", "0.7", "0.6",
    "0.5", "0.4", "0.3", "0.2", "0.1",
)  # fmt: skip
USUAL = "0.95"
MAX_BURN = 0.8
UNSEEN = 3.0
"""With no failure in n rows, the failure rate is below 3/n with 95 % confidence (rule of three)."""


def availability(level: Level, where: str) -> tuple[str, str]:
    """The highest round target that the rows keep with a burn rate of at most 0.8, and why."""
    if not level.n_known:
        return USUAL, (
            f"It is not known of any interaction {where} whether it failed: {USUAL} is a guess of "
            "ours, and the check stays inconclusive until is_failure is filled."
        )
    rate = level.n_failed / level.n_known
    cautious = max(rate, min(1.0, UNSEEN / level.n_known))
    seen = f"{per_cent(rate)} of {level.n_known:,} interactions with a known outcome {where} failed"
    for target in TARGETS:
        burn = cautious / (1 - float(target))
        if burn <= MAX_BURN + 1e-12:
            spent = figure(rate / (1 - float(target)), 2)
            return target, f"{seen}: {target} is the highest round target with room (burn {spent})."
    return USUAL, f"{seen}: the past keeps no target. {USUAL} is where to get to, and fails now."


def latency_limit(level: Level) -> float | None:
    """The limit in ms that 95 % keep with a tenth of room; None where no latency above 0 is known."""
    p95 = level.latency_p95
    return rounded_up(1.1 * p95) if p95 is not None and p95 > 0 else None


def daily(level: Level, days: float) -> float | None:
    """Failures a day; None where none is known."""
    return level.n_failed / days if level.n_failed else None


def whole(value: float) -> int:
    """A number as a whole one, rounded up."""
    return math.ceil(value)
