"""This project's hotspots over the three tables: reading, encoding, reducing, finding.

    python -m benchmarks.hotspot_peers.with_project DIR

Prints the levels found, as the peers do; regressions are found on the way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.views import hotspots

DIMENSIONS = ("use_case", "scenario", "model_name", "channel", "segment", "account_tier")


def main() -> None:
    """Opens, searches, prints."""
    policy = Policy.model_validate(
        {"cluster": "user", "dimensions": DIMENSIONS, "hotspots": {"metrics": ["failure"]}}
    )
    telemetry = open_telemetry(Path(sys.argv[1]), contract.load(), policy)
    try:
        found = hotspots.assess(telemetry, policy).section.found
    finally:
        telemetry.close()
    print(json.dumps([f.slice for f in found if f.kind == "level"]))


if __name__ == "__main__":
    main()
