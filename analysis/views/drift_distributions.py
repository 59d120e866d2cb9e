"""The table `drift_distributions.csv`: what a later review needs to compare with this one.

Counts by bin, where the bins lie, and what the counts are worth, so that a later review cuts its own rows
alike. It holds no ids and no value that few rows have: rare categories are one bin, and a category's text
beyond its label is an md5 sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.stats.reference import Sample, Spread, total_design_effect
from analysis.telemetry.bin_cuts import ABSENT, MISSING, OTHER, Cut
from analysis.telemetry.bins import Counted

FILE = "drift_distributions.csv"
COLUMNS = ("feature", "kind", "reads", "bin", "label", "edge", "value", "baseline", "candidate",
           "baseline_effective", "candidate_effective")  # fmt: skip
NUMBER, TEXT = "number", "text"
REST = OTHER
"""The bin of values that have none: other ones, and those that the baseline lacks."""


def distributions(
    columns: Mapping[str, tuple[Counted, tuple[Sample, Sample], Spread]],
) -> pd.DataFrame:
    """One row a feature and bin.

    columns: how each was cut, its baseline and candidate, (B,) of all bins, and its spread.
    """
    lines: list[list[object]] = []
    for name, (counted, windows, spread) in sorted(columns.items()):
        cut = counted.cut
        merged = [_merged(window.counts, cut) for window in windows]
        effects = [total_design_effect(window, spread) for window in windows]
        for place, label in enumerate(_labels(cut)):
            counts = [float(held[place]) for held in merged]
            lines.append(
                [name, "categorical" if cut.is_categorical else "numeric",
                 NUMBER if counted.reading.is_number else TEXT, place, label,
                 repr(cut.edges[place]) if place < len(cut.edges) else "",
                 _value(cut, place), *map(int, counts),
                 *(n / effect for n, effect in zip(counts, effects, strict=True))]
            )  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS))


def digest(table: bytes) -> str:
    """The digest of the table's file, as the artifact names it."""
    return f"sha256:{hashlib.sha256(table).hexdigest()}"


def _labels(cut: Cut) -> list[str]:
    """Without the bin of what the baseline lacks, which is of the rest."""
    if not cut.is_categorical:
        return list(cut.labels)
    return [*cut.frequent, REST, MISSING]


def _merged(counts: np.ndarray, cut: Cut) -> np.ndarray:
    if not cut.is_categorical:
        return counts
    assert cut.labels[-3:] == (OTHER, ABSENT, MISSING)
    return np.concatenate([counts[:-3], [counts[-3] + counts[-2], counts[-1]]])


def _value(cut: Cut, place: int) -> str:
    """What a category's bin stands for; nothing of bins of many values."""
    if place >= len(cut.frequent):
        return ""
    value = next(value for value, index in cut.bins.items() if index == place)
    if isinstance(value, str):
        return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()
    return repr(value)
