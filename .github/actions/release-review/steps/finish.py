"""The exit code of the gate, last, when all else is written."""

from __future__ import annotations

import sys

from runner import load, setting, tell

FAILS = {"hold": {"hold", "block"}, "block": {"block"}, "never": set()}
"""By `fail-on`, the decisions that fail the job. No decision always fails it."""


def main() -> int:
    """0; 1 block; 3 hold; where there is no decision, the code of what stopped it."""
    result = load()
    if result is None:
        tell("error", "the review did not come to its end: see the steps before")
        return 1
    if result.decision is None:
        return result.exit_code or 1
    rule = setting("FAIL_ON", "hold")
    if rule not in FAILS:
        tell("error", f"fail-on: {rule}: expected hold, block or never")
        return 2
    if result.decision in FAILS[rule]:
        return result.exit_code
    if result.exit_code:
        tell("notice", f"{result.decision}: fail-on is {rule}, so the job does not fail")
    return 0


if __name__ == "__main__":
    sys.exit(main())
