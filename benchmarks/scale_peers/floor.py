"""The floor: the reductions of a whole review as hand-written DuckDB SQL and numpy.

    python -m benchmarks.scale_peers.floor DIR

What an expert would write who knows the columns, the policy and that nothing is wrong: two windows of
whole weeks, weights of 1, no missing cost or latency, users with few cells, no value that the baseline
lacks. One part after another over one table in memory; each ends with the numbers from which intervals
and tests would be computed, which themselves are left out, and so are texts, tables and pages. Sums of
money are of doubles here.

Prints `{"parts": {name: {"wall", "cpu"}}, "totals": …}` as JSON. `floor_*.py` have the parts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from threadpoolctl import threadpool_limits

from benchmarks.scale_peers import floor_drift, floor_models, floor_slices, floor_windows
from benchmarks.scale_peers.floor_read import read
from benchmarks.validation_peers import floor as validation

PARTS = ("validate", "read", "health", "budgets", "slices", "drift", "routing", "triage")


@dataclass(frozen=True)
class Part:
    """What one part found, and its seconds."""

    found: Any
    wall: float
    cpu: float


def reductions(data: Path) -> Mapping[str, Part]:
    """Every part over the tables in `data`."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = false")
    steps = {
        "validate": lambda: validation.counts(data),
        "read": lambda: read(con, data),
        "health": lambda: floor_windows.health(con),
        "budgets": lambda: floor_windows.budgets(con),
        "slices": lambda: floor_slices.slices(con),
        "drift": lambda: floor_drift.drift(con),
        "routing": lambda: floor_models.routing(con),
        "triage": lambda: floor_models.triage(con),
    }
    out = {}
    for name in PARTS:
        wall, cpu = time.perf_counter(), time.process_time()
        with threadpool_limits(1):  # matrices this small are slower in two threads
            found = steps[name]()
        out[name] = Part(found, time.perf_counter() - wall, time.process_time() - cpu)
    return out


def main() -> None:
    """Prints the parts' costs, and how much they found."""
    done = reductions(Path(sys.argv[1]))
    if done["validate"].found:
        raise SystemExit(f"the telemetry breaks its contract: {done['validate'].found}")
    slices = done["slices"].found
    totals = {
        "rows": done["read"].found,
        "slices": len(slices.codes),
        "drift columns": len(done["drift"].found),
        "requests": done["routing"].found.n_requests,
        "scored": done["triage"].found.n_scored,
    }
    parts = {name: {"wall": part.wall, "cpu": part.cpu} for name, part in done.items()}
    print(json.dumps({"parts": parts, "totals": totals}))


if __name__ == "__main__":
    main()
