"""What gives two windows away: how much a classifier leans on a column, and which cells moved.

Everything is measured on rows that the classifier was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.stats.boosted_tables import BoostedTables, CodedColumn, Shape, fit_one_table
from analysis.stats.clustered_auc import placements
from analysis.stats.two_sample import Halves, rows_of, scores_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

N_SHUFFLES = 5
MAX_ROUNDS = 200
CLOSE = 1e-10


def permutation_importance(
    model: BoostedTables,
    columns: Sequence[CodedColumn],
    late: Bools,
    weight: Floats,
    rng: np.random.Generator,
) -> Floats:
    """(columns,): how far the AUC falls when a column is shuffled among the rows (Breiman 2001).

    columns, late, weight: of the scored rows. A column that matters only together with another
    counts in full, and so does the other, for the shuffle breaks what they say together: these
    falls do not add up. It is the mean of `N_SHUFFLES`; 0 where the model does not read the column.
    """
    given = tuple(columns)
    whole, _ = placements(scores_of(model, given), late, weight)
    read = {c for table in model.tables for c in table.shape.columns}
    falls = np.zeros(len(given))
    for c in sorted(read):
        for _ in range(N_SHUFFLES):
            order = rng.permutation(len(late))
            shuffled = CodedColumn(tuple(k[order] for k in given[c].codes), given[c].sizes)
            scores = scores_of(model, (*given[:c], shuffled, *given[c + 1 :]))
            falls[c] += (whole - placements(scores, late, weight)[0]) / N_SHUFFLES
    return falls


def alone(columns: Sequence[CodedColumn], late: Bools, halves: Halves) -> Floats:
    """(columns,): the AUC of each column by itself, fitted on one half and scored on the other.

    All of n rows, as `two_sample` takes them.
    """
    fitted, scored = np.flatnonzero(halves.fitted), np.flatnonzero(halves.scored)
    out = np.full(len(columns), 0.5)
    for c, column in enumerate(columns):
        own = rows_of((column,), fitted)
        shape = Shape(((0, 0),), column.sizes[:1])
        model = fit_one_table(own, late[fitted], halves.weight[fitted], shape)
        scores = scores_of(model, rows_of((column,), scored))
        out[c] = placements(scores, late[scored], halves.weight[scored])[0]
    return out


def cell_shares(cells: Ints, size: int, late: Bools, weight: Floats) -> Floats:
    """(2, size) weighted shares of the cells in each window, baseline first."""
    counts = np.stack(
        [np.bincount(cells[late == w], weights=weight[late == w], minlength=size) for w in (0, 1)]
    )
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300))


def from_margins(before: Floats, now: Floats) -> Floats:
    """What cells would hold now, had only lower-order margins moved; of their shape.

    before, now: shares with a dimension for each column. Iterative proportional fitting (Deming &
    Stephan 1940) of `before` to all margins of `now` that leave one column out: it keeps what the
    columns say together as it was. Of one column nothing is left to be kept: it is `before`.
    """
    if before.ndim < 2:
        return before
    fitted = before.astype(float)
    for _ in range(MAX_ROUNDS):
        last = fitted
        for axis in range(before.ndim):
            wanted, held = now.sum(axis=axis, keepdims=True), fitted.sum(axis=axis, keepdims=True)
            fitted = fitted * np.divide(wanted, held, out=np.zeros_like(wanted), where=held > 0)
        if float(np.abs(fitted - last).max()) < CLOSE:
            break
    return fitted
