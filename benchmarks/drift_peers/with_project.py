"""This project's drift view over the three tables: reading, encoding, reducing, judging.

python -m benchmarks.drift_peers.with_project DIR…
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from analysis import contract
from analysis.check import RegressionTest
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.views import drift
from benchmarks.drift_peers.windows import Flagged


def judge(folder: Path) -> tuple[Flagged, float]:
    """What drifts by each verdict, and the seconds of the view alone.

    A check that fails is told as the columns that are medium or above; of the joint one, as those that
    give the windows away.
    """
    policy = Policy()
    telemetry = open_telemetry(folder, contract.load(), policy)
    try:
        start = time.perf_counter()
        result = drift.assess(telemetry, policy)
        spent = time.perf_counter() - start
    finally:
        telemetry.close()
    features = result.section.features
    severe = {f.feature for f in features if f.severity in ("medium", "high")}
    failed: set[str] = set()
    for check in result.checks:
        if isinstance(check, RegressionTest):  # as if it were the gate's only one
            check = check.judged(check.p_value, policy.gate.error_rate)
        if check.outcome == "fail":
            failed |= set(result.section.joint.giveaway) if check.id == "drift.joint" else severe
    return {
        "a severity": [f.feature for f in features if f.severity != "none"],
        "a q-value": [
            f.feature for f in features if f.q_value is not None and f.q_value <= policy.drift.fdr
        ],
        "a check": sorted(failed),
    }, spent


def main() -> None:
    """As the peers do."""
    told = [judge(Path(folder)) for folder in sys.argv[1:]]
    print(json.dumps([{"flagged": flagged, "seconds": spent} for flagged, spent in told]))


if __name__ == "__main__":
    main()
