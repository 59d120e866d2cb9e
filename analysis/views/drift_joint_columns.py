"""Context columns as codes at several resolutions, learnt on some rows and used on all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.stats.boosted_tables import CodedColumn
from analysis.telemetry.bin_cuts import MISSING, OTHER, below_atoms, cut_numbers, quantiles
from analysis.views.encoding import as_text

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_LEVELS = (40, 10, 5)
"""Categories at each resolution, the other ones included."""
N_QUANTILES = (16, 8, 4)
"""Bins of a number with many values at each resolution."""
MAX_DISCRETE_VALUES = 10
MIN_LEVEL_ROWS = 5


@dataclass(frozen=True)
class ContextColumn:
    """A column of n rows. labels: by resolution, of each code. is_number: bins are quantiles."""

    name: str
    coded: CodedColumn
    labels: tuple[tuple[str, ...], ...]
    is_number: bool

    @property
    def varies(self) -> bool:
        return self.coded.sizes[0] > 1


def encode(name: str, values: pd.Series, fitted: Bools, *, as_number: bool) -> ContextColumn:
    """Codes of (n,) values by the quantiles or the frequent values of the fitted rows.

    Missing values are a value; values that the fitted rows hold rarely or never are the other ones.
    """
    if as_number:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        numbers = np.where(np.isfinite(numbers), numbers + 0.0, np.nan)
        known = np.sort(numbers[fitted & ~np.isnan(numbers)])
        if len(np.unique(known)) > MAX_DISCRETE_VALUES:
            return _quantiles(name, numbers, known)
        codes, found = _distinct(pd.Series(numbers))
        return _levels(name, codes, [f"{v:g}" for v in found], fitted)
    codes, found = _distinct(values)
    return _levels(name, codes, [as_text(v) for v in found], fitted)


def _distinct(values: pd.Series) -> tuple[Ints, list[object]]:
    """(each row's place among the distinct values, −1 where missing; the values)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return np.array(values.cat.codes, dtype=np.int64), list(values.cat.categories)
    places, found = pd.factorize(values, use_na_sentinel=True)
    return np.array(places, dtype=np.int64), list(found)


def _quantiles(name: str, numbers: Floats, known: Floats) -> ContextColumn:
    missing = np.isnan(numbers)
    codes, labels = [], []
    below = below_atoms(known)
    for bins in N_QUANTILES:
        edges = sorted({*quantiles(known, bins), *below} - {float(known[-1])})
        names = cut_numbers(edges, edges).labels if edges else ("(any)", MISSING)
        code = np.where(missing, len(edges) + 1, np.searchsorted(edges, numbers, side="left"))
        codes.append(code.astype(np.int64))
        labels.append(names if missing.any() else names[:-1])
    return _column(name, codes, labels, is_number=True)


def _levels(name: str, codes: Ints, found: list[str], fitted: Bools) -> ContextColumn:
    """codes: places in `found`, negative where missing."""
    texts = [*found, MISSING]
    ordered = sorted(set(texts))
    place = {text: i for i, text in enumerate(ordered)}
    value = np.array([place[text] for text in texts])[codes]
    rows = np.bincount(value[fitted], minlength=len(ordered))
    often = sorted(
        (i for i in range(len(ordered)) if rows[i] >= MIN_LEVEL_ROWS), key=lambda i: (-rows[i], i)
    )
    all_codes, labels = [], []
    for most in MAX_LEVELS:
        kept = often if len(often) <= most else often[: most - 1]
        table = np.full(len(ordered), len(kept))
        table[kept] = np.arange(len(kept))
        code = table[value]
        rest = (OTHER,) if bool((code == len(kept)).any()) else ()
        all_codes.append(code.astype(np.int64))
        labels.append((*(ordered[i] for i in kept), *rest))
    return _column(name, all_codes, labels, is_number=False)


def _column(
    name: str, codes: list[Ints], labels: list[tuple[str, ...]], *, is_number: bool
) -> ContextColumn:
    """A resolution that is no coarser than the one before is left out."""
    kept = [i for i in range(len(codes)) if i == 0 or len(labels[i]) < len(labels[i - 1])]
    coded = CodedColumn(tuple(codes[i] for i in kept), tuple(max(1, len(labels[i])) for i in kept))
    return ContextColumn(name, coded, tuple(labels[i] for i in kept), is_number)
