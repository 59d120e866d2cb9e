"""The full table of drift, and the frames that its page draws."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.telemetry.bins import BinnedColumn
from analysis.views.drift_features import Feature

MAX_SHOWN = 12

_REPORT = ("feature", "role", "kind", "statistic", "effect", "effect_unit", "psi", "p_value",
           "q_value", "severity", "counted", "n_bins", "new_share", "missing_baseline",
           "missing_candidate", "support", "reason", "total_variation", "wasserstein", "unit",
           "mean_baseline", "mean_candidate", "vanished_share", "sentence")  # fmt: skip


def report(features: Sequence[Feature]) -> pd.DataFrame:
    """`drift_report.csv`: every feature."""
    return pd.DataFrame([[getattr(f, c) for c in _REPORT] for f in features], columns=list(_REPORT))


def ranking(features: Sequence[Feature]) -> pd.DataFrame:
    """Every tested feature, the most severe first."""
    columns = ["rank", "feature", "role", "psi", "severity", "q_value", "counted", "effect",
               "effect_unit", "sentence"]  # fmt: skip
    tested = [f for f in features if f.p_value is not None]
    rows = [[i + 1, *(getattr(f, c) for c in columns[1:])] for i, f in enumerate(tested)]
    return pd.DataFrame(rows, columns=columns)


def distributions(features: Sequence[Feature], binned: dict[str, BinnedColumn]) -> pd.DataFrame:
    """Shares by bin of the `MAX_SHOWN` features that moved most."""
    rows = []
    tested = [f for f in features if f.p_value is not None][:MAX_SHOWN]
    for rank, feature in enumerate(tested, start=1):
        column = binned[feature.feature]
        shares = column.clusters.shares
        for index, label in enumerate(column.labels):
            rows.append([rank, feature.feature, feature.severity, column.kind, index, label,
                         float(shares[0][index]), float(shares[1][index])])  # fmt: skip
    return pd.DataFrame(
        rows,
        columns=["rank", "feature", "severity", "kind", "bin", "label", "baseline", "candidate"],
    )
