"""NannyML: its univariate calculator as it comes, with the baseline as reference.

    python -m benchmarks.drift_peers.with_nannyml DIR…

Jensen-Shannon distances of ten chunks by time, against their mean and three standard deviations in ten chunks
of the reference; any alert counts. It is kept from sending what it is used for.
"""

from __future__ import annotations

import os

import pandas as pd

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
import nannyml

from benchmarks.drift_peers.windows import TIME, Flagged, categories, numbers, told


def judge(baseline: pd.DataFrame, candidate: pd.DataFrame) -> Flagged:
    """Columns with an alert in a chunk of the candidate."""
    names = [*categories(baseline), *numbers(baseline)]
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names,
        treat_as_categorical=categories(baseline),
        timestamp_column_name=TIME,
    )
    found = calculator.fit(baseline).calculate(candidate).filter(period="analysis").to_df()
    alerts = {c: bool(found[c]["jensen_shannon"]["alert"].any()) for c in names}
    return {"an alert": [c for c, alert in alerts.items() if alert]}


if __name__ == "__main__":
    told(judge)
