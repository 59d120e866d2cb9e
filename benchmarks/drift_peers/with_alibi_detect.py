"""alibi-detect: its tabular detector as it comes.

    python -m benchmarks.drift_peers.with_alibi_detect DIR…

Kolmogorov-Smirnov and chi-squared tests of rows at 0.05, corrected by Bonferroni. It takes one array of
numbers without gaps: categories are coded, and missing numbers become the baseline's median.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from alibi_detect.cd import TabularDrift

from benchmarks.drift_peers.windows import Flagged, categories, numbers, told


def judge(baseline: pd.DataFrame, candidate: pd.DataFrame) -> Flagged:
    """Columns below its corrected threshold."""
    names = [*categories(baseline), *numbers(baseline)]
    arrays = [np.empty((len(rows), len(names))) for rows in (baseline, candidate)]
    sizes: dict[int, int | None] = {}
    for k, name in enumerate(names):
        if name in categories(baseline):
            both = pd.concat([baseline[name], candidate[name]])
            codes, held = pd.factorize(both, sort=True)
            sizes[k] = len(held)
            arrays[0][:, k], arrays[1][:, k] = codes[: len(baseline)], codes[len(baseline) :]
        else:
            middle = baseline[name].median()
            for array, rows in zip(arrays, (baseline, candidate), strict=True):
                array[:, k] = rows[name].fillna(middle)
    detector = TabularDrift(arrays[0], categories_per_feature=sizes)
    found = detector.predict(arrays[1], drift_type="batch")["data"]
    below = found["p_val"] < found["threshold"]
    assert bool(below.any()) == bool(found["is_drift"])
    return {"a column": [n for n, b in zip(names, below, strict=True) if b]}


if __name__ == "__main__":
    told(judge)
