"""What changed in a column, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.check import rounded
from analysis.telemetry.bin_cuts import ABSENT
from analysis.telemetry.bins import BinnedColumn
from analysis.views.drift_features import Feature, short

MAX_NAMED = 3
# Below this a share that one window lacks, or that moved, is not worth a word.
LEAST_SHARE = 0.001


def told(
    features: Sequence[Feature], binned: dict[str, BinnedColumn], fdr: float
) -> tuple[Feature, ...]:
    """The features with their sentences. fdr: the q-value up to which a change is beyond chance."""
    return tuple(replace(f, sentence=_sentence(f, binned[f.feature], fdr)) for f in features)


def _sentence(feature: Feature, column: BinnedColumn, fdr: float) -> str:
    name = f"“{short(feature.feature)}”"
    if feature.p_value is None:
        return f"{name} is not tested: {feature.reason}."
    if feature.severity == "none" and rounded(feature.q_value or 0.0) > fdr:
        return f"{name} did not move beyond chance."
    if feature.wasserstein is not None:
        parts = [*_number(feature), *_gaps(feature, column)]
    else:
        named = _moved_most(column)
        parts = [*_categories(column, named), *_gaps(feature, column, named)]
    little = ", by less than the lowest band" if feature.severity == "none" else ""
    return (
        f"{name}{little}: {'; '.join(parts)}." if parts else f"{name} moved beyond chance{little}."
    )


def _number(feature: Feature) -> list[str]:
    """How far the values of a number went, and whether all to one side."""
    old, new, by = feature.mean_baseline, feature.mean_candidate, feature.wasserstein
    if old is None or new is None or not by:
        return []
    unit = f" {feature.unit}" if feature.unit else ""
    scaled = (
        f" ({feature.effect:.2g} standard deviations)"
        if feature.effect_unit == "wasserstein" and feature.effect is not None
        else ""
    )
    mean = f"the mean went from {_figure(old)} to {_figure(new)}{unit}"
    # The distance is never less than that of the means; where it is much more, values went both ways.
    if abs(new - old) >= 0.8 * by:
        return [f"values {'rose' if new > old else 'fell'} by {_figure(by)}{unit}{scaled}: {mean}"]
    return [f"values moved by {_figure(by)}{unit}{scaled}, up and down: {mean}"]


def _moved_most(column: BinnedColumn) -> list[int]:
    """The bins of the values whose shares moved most."""
    old, new = column.clusters.shares
    change = new - old
    order = np.lexsort((np.arange(len(change)), -np.abs(change)))
    least = max(LEAST_SHARE, float(np.abs(change).max()) / 5)
    named = [
        int(i)
        for i in order
        if abs(change[i]) >= least and i != column.missing_bin and column.labels[i] != ABSENT
    ]
    return named[:MAX_NAMED]


def _categories(column: BinnedColumn, named: Sequence[int]) -> list[str]:
    old, new = column.clusters.shares
    told = [
        f"“{short(column.labels[i])}” {'rose' if new[i] > old[i] else 'fell'} from "
        f"{_percent(old[i])} to {_percent(new[i])}"
        for i in named
    ]
    return [f"{', '.join(told)} of the interactions"] if told else []


def _gaps(feature: Feature, column: BinnedColumn, named: Sequence[int] = ()) -> list[str]:
    """Missing values, and values that one window lacks. named: bins that are told of already."""
    parts = []
    old, new = feature.missing_baseline or 0.0, feature.missing_candidate or 0.0
    if feature.statistic == "missing_rate" or abs(new - old) >= LEAST_SHARE:
        parts.append(f"missing in {_percent(old)} before, {_percent(new)} now")
    begun, gone = (_only_in(column, window, named) for window in (1, 0))
    if begun >= LEAST_SHARE or (begun > 0 and feature.statistic == "new_category"):
        parts.append(f"{_percent(begun)} hold values that the baseline lacks")
    if gone >= LEAST_SHARE or (gone > 0 and feature.statistic == "vanished_category"):
        parts.append(f"values that {_percent(gone)} of the baseline held are gone")
    return parts


def _only_in(column: BinnedColumn, window: int, named: Sequence[int]) -> float:
    """A window's share of values that the other one lacks, of those that are not named."""
    lacking = column.clusters.counts[1 - window] == 0
    told = {*named, column.missing_bin}
    shares = column.clusters.shares[window]
    return float(sum(shares[i] for i in np.flatnonzero(lacking) if int(i) not in told))


def _percent(share: float) -> str:
    shown = 100 * share
    return f"{shown:.1f} %" if shown == 0 or shown >= 0.1 else f"{shown:.1g} %"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if 100 <= abs(value) < 1e12 else f"{value:.3g}"
