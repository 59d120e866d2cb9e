"""The project's triage: the risks and reviews of a window, and what the history promised.

    python -m benchmarks.triage_peers.with_project DIR POLICY

DIR: the three tables as Parquet or CSV. Prints JSON: `reviewed` (ids), `asked` (reviews a day, before capacity),
`promised_p90`, `mode`, `calibration_error`, `roc_auc`, `seconds` of the view alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from analysis import contract, policy
from analysis.telemetry import open_telemetry
from analysis.views.triage import assess


def main() -> None:
    """Opens, assesses, prints."""
    rules = policy.load(Path(sys.argv[2])).policy
    telemetry = open_telemetry(Path(sys.argv[1]), contract.load(), rules)
    wall, cpu = time.perf_counter(), time.process_time()
    result = assess(telemetry, rules)
    seconds = (time.perf_counter() - wall, time.process_time() - cpu)
    section, days = result.section, result.series.get("triage_days")
    asked = [] if days is None else days[days["part"] == "candidate"]["demand"].tolist()
    print(
        json.dumps(
            {
                "reviewed": result.tables["triage_actions.csv"]["interaction_id"].tolist(),
                "asked": asked,
                "promised_p90": section.workload.history_p90,
                "mode": section.operating_mode,
                "calibration_error": section.quality.calibration_error.value,
                "roc_auc": section.quality.roc_auc.value,
                "seconds": seconds,
            }
        )
    )
    telemetry.close()


if __name__ == "__main__":
    main()
