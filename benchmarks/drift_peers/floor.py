"""The floor: every column's bins by hand-written SQL, with their moments over users (`scale_peers/`).

    python -m benchmarks.drift_peers.floor DIR

It reads the tables and bins; nothing is tested or judged, so nothing is ever flagged.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb
from threadpoolctl import threadpool_limits

from benchmarks.scale_peers.floor_drift import drift
from benchmarks.scale_peers.floor_read import read


def main() -> None:
    """Prints how long binning took."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = false")
    read(con, Path(sys.argv[1]))
    start = time.perf_counter()
    with threadpool_limits(1):
        drift(con)
    spent = time.perf_counter() - start
    print(json.dumps([{"flagged": {}, "seconds": spent}]))


if __name__ == "__main__":
    main()
