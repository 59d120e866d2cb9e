"""DivExplorer: the patterns that diverge upwards, by its own t, pruned of redundant ones.

    python -m benchmarks.hotspot_peers.with_divexplorer FILE

FILE: Parquet with the dimensions and `is_failure` of the candidate window alone. Its t is turned into a
false discovery rate of 5 % over all patterns (Benjamini & Hochberg), and a pattern goes where leaving
out one of its items changes the divergence by less than a hundredth. Prints a list of {dimension: value}.
"""

from __future__ import annotations

import json
import sys
from statistics import NormalDist

import pandas as pd
from divexplorer import DivergenceExplorer, DivergencePatternProcessor

MIN_SUPPORT, MAX_DEPTH, FDR, REDUNDANT, RATIO = 60, 3, 0.05, 0.01, 1.25


def main() -> None:
    """Reads, searches, prints."""
    rows = pd.read_parquet(sys.argv[1])
    rows["is_failure"] = rows["is_failure"].astype(int)
    found = DivergenceExplorer(rows).get_pattern_divergence(
        min_support=MIN_SUPPORT / len(rows), boolean_outcomes=["is_failure"]
    )
    found = found[found["itemset"].map(len) <= MAX_DEPTH]
    kept = DivergencePatternProcessor(found, "is_failure").redundancy_pruning(REDUNDANT)
    tested = found[found["itemset"].map(len) > 0].copy()
    up = tested["is_failure_div"] > 0
    tested["p"] = (1 - tested["is_failure_t"].map(NormalDist().cdf)).where(up, 1.0)
    ordered = tested.sort_values("p", kind="stable").reset_index(drop=True)
    below = ordered["p"] <= FDR * (ordered.index + 1) / len(ordered)
    hot = set(ordered["itemset"][: (below[below].index.max() if below.any() else -1) + 1])
    large = kept["is_failure_div"] >= (RATIO - 1) * float(rows["is_failure"].mean())
    shown = kept[kept["itemset"].isin(hot) & large]["itemset"]
    print(json.dumps([dict(item.split("=", 1) for item in items) for items in shown]))


if __name__ == "__main__":
    main()
