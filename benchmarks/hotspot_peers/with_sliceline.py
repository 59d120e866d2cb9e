"""SliceLine: the ten slices with the highest score.

    python -m benchmarks.hotspot_peers.with_sliceline FILE

FILE: Parquet with the dimensions and `is_failure` of the candidate window alone. With an alpha of 0.95 or
less it finds none of the planted slices, which are small. It says which slices are
worst, not how many are bad: ten are asked for. Prints a list of {dimension: value}.
"""

from __future__ import annotations

import json
import sys

import pandas as pd
from sliceline.slicefinder import Slicefinder

MIN_SUPPORT, MAX_DEPTH, TOP, ALPHA = 60, 3, 10, 0.99


def main() -> None:
    """Reads, searches, prints."""
    rows = pd.read_parquet(sys.argv[1])
    names = [c for c in rows.columns if c != "is_failure"]
    finder = Slicefinder(alpha=ALPHA, k=TOP, max_l=MAX_DEPTH, min_sup=MIN_SUPPORT, verbose=False)
    finder.fit(rows[names], rows["is_failure"].to_numpy(dtype=float))
    found = [
        {n: v for n, v in zip(names, values, strict=True) if v is not None}
        for values in finder.top_slices_
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
