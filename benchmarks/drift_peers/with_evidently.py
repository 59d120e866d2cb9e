"""Evidently: its data drift preset as it comes.

    python -m benchmarks.drift_peers.with_evidently DIR…

Above a thousand rows of reference it holds the Wasserstein distance in standard deviations and the
Jensen-Shannon distance against 0.1; below, p-values of rows against 0.05. Its verdict on the whole is that
half of the columns drift.
"""

from __future__ import annotations

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from benchmarks.drift_peers.windows import Flagged, categories, numbers, told


def judge(baseline: pd.DataFrame, candidate: pd.DataFrame) -> Flagged:
    """What fails of the tests that come with the preset."""
    names = [*categories(baseline), *numbers(baseline)]
    definition = DataDefinition(
        numerical_columns=numbers(baseline), categorical_columns=categories(baseline)
    )
    reference, current = (
        Dataset.from_pandas(rows[names], data_definition=definition)
        for rows in (baseline, candidate)
    )
    tests = Report([DataDriftPreset()], include_tests=True).run(current, reference).dict()["tests"]
    failed = [t["metric_config"]["params"].get("column") for t in tests if t["status"] == "FAIL"]
    columns = [c for c in failed if c is not None]
    return {"a column": columns, "half of the columns": columns if None in failed else []}


if __name__ == "__main__":
    told(judge)
