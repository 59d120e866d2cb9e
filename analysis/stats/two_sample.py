"""Do two windows differ in several columns together? A classifier two-sample test, out of sample.

A classifier learns on one half of the clusters which window a row is from, and its AUC is measured on the
other half, where ½ is chance (Friedman 2003; Lopez-Paz & Oquab 2017; Kim, Ramdas, Singh & Wasserman
2021). One half is fitted on and the other scored; nothing is pooled, for the errors of pooled
cross-fitting depend on one another, and bias the AUC.

In before/after comparisons a classifier also learns the days it saw, and other clusters of the same
days would then be told apart without any drift. So days are split as well: no cluster and no day is in
both halves. Days that are neighbours are alike, so whole weeks alternate where both windows have two;
else the candidate's first days are one half and its last the other. In each half every weekday has the
same weight in both windows, so that the week's own rhythm is nothing to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.stats.boosted_tables import BoostedTables, CodedColumn, fit_tables
from analysis.stats.clustered_auc import ClusteredAuc, clustered_auc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WEEK = 7
MIN_DAYS_IN_A_WEEK = 4
SCORE_DIGITS = 6


@dataclass(frozen=True)
class Halves:
    """The rows to fit on and the rows to score, (n,) each, and every row's weight; some are in neither."""

    fitted: Bools
    scored: Bools
    weight: Floats


def halves_of_clusters(cluster_half: Ints) -> Halves:
    """Concurrent arms share their days: clusters alone are split. cluster_half: (n,), 0 or 1."""
    return Halves(cluster_half == 1, cluster_half == 0, np.ones(len(cluster_half)))


def halves_of_days(
    late: Bools, day: Ints, cluster: Ints, cluster_half: Ints | None, *, whole_days: bool
) -> Halves:
    """Days are split, and clusters too. All (n,); late: the candidate's rows; day: since 1970-01-01.

    cluster_half: the half of each row's cluster, and a row counts where its day is in the same. None
    where a cluster is a visit of a day or two: it goes where its days are, and the few that
    have rows in both halves are left out. whole_days: whether windows begin and end with days, so
    that weekdays are weighted by days; else by rows, for a part of a day is no day.
    """
    day_half = _day_halves(late, day)
    if cluster_half is None:
        size = int(cluster.max(initial=-1)) + 1
        rows = np.bincount(2 * cluster + day_half, minlength=2 * size).reshape(size, 2)
        kept = (rows.min(axis=1) == 0)[cluster]
    else:
        kept = day_half == cluster_half
    weight = np.zeros(len(day))
    for half in (0, 1):
        inside = np.flatnonzero(kept & (day_half == half))
        weight[inside] = _weekday_weights(late[inside], day[inside], whole_days)
    kept = weight > 0
    return Halves(kept & (day_half == 1), kept & (day_half == 0), weight)


def _day_halves(late: Bools, day: Ints) -> Ints:
    """(n,): the half of each row's day, 0 (to score) or 1."""
    start = int(day[late].min())
    week = (day - start) // WEEK % 2
    n_days = [len(np.unique(day[(late == side) & (week == h)])) for side in (0, 1) for h in (0, 1)]
    if min(n_days) >= MIN_DAYS_IN_A_WEEK:
        return np.asarray(week)
    new_days = np.unique(day[late])
    early = new_days[: -(-len(new_days) // 2)]
    # A day of the baseline goes where the candidate has its weekday; where that is in both, in turn.
    seen = np.array(
        [
            [np.any(part % WEEK == w) for w in range(WEEK)]
            for part in (early, new_days[len(early) :])
        ]
    )
    of_weekday = np.where(seen.sum(axis=0) == 1, seen[1], -1)[day % WEEK]
    own = np.where(of_weekday < 0, week, of_weekday)
    return np.where(np.isin(day, new_days), ~np.isin(day, early), own).astype(np.int64)


def _weekday_weights(late: Bools, day: Ints, whole_days: bool) -> Floats:
    """(n,): of candidate rows 1, of the baseline's what makes weekdays as frequent; 0 without a match."""
    counted = np.zeros((2, WEEK))
    for side in (0, 1):
        own = day[late == side]
        counted[side] = np.bincount((np.unique(own) if whole_days else own) % WEEK, minlength=WEEK)
    matched = counted.min(axis=0) > 0
    ratio = np.where(matched, counted[1] / np.maximum(counted[0], 1.0), 0.0)
    if matched.any():
        # One where all ratios are alike, to the last bit.
        ratio = ratio / ratio.max()
    return np.where(late, matched[day % WEEK].astype(float), ratio[day % WEEK])


@dataclass(frozen=True)
class TwoSample:
    """The AUC on the scored half (None where it has too few clusters or days), and the classifier."""

    auc: ClusteredAuc | None
    model: BoostedTables


def two_sample(
    columns: tuple[CodedColumn, ...],
    late: Bools,
    cluster: Ints,
    day: Ints,
    fold: Ints,
    halves: Halves,
    *,
    by_days: bool,
) -> TwoSample:
    """Fits on one half, and scores the other.

    columns: of n rows, coded by what the fitted half holds. late, cluster, day: (n,). fold: (n,), parts of
    the fitted half between which the classifier is tuned; parts that differ in clusters or days.

    AUC of the windows: how well a classifier, learnt on half of the users or sessions, tells candidate from
    baseline on the others by the context columns. 0.5 is chance.
    """
    fitted = np.flatnonzero(halves.fitted)
    places = np.unique(fold[fitted], return_inverse=True)[1]
    model = fit_tables(
        rows_of(columns, fitted), late[fitted], halves.weight[fitted], places.astype(np.int64)
    )
    scored = np.flatnonzero(halves.scored)
    scores = scores_of(model, rows_of(columns, scored))
    auc = clustered_auc(
        scores,
        late[scored],
        halves.weight[scored],
        cluster[scored],
        day[scored] if by_days else None,
    )
    return TwoSample(auc, model)


def scores_of(model: BoostedTables, columns: tuple[CodedColumn, ...]) -> Floats:
    """(n,) probabilities of the candidate, rounded so that the last bits of a sum decide no tie."""
    return np.round(np.asarray(special.expit(model.log_odds(columns))), SCORE_DIGITS)


def rows_of(columns: tuple[CodedColumn, ...], rows: Ints) -> tuple[CodedColumn, ...]:
    """The columns at some rows."""
    return tuple(CodedColumn(tuple(c[rows] for c in k.codes), k.sizes) for k in columns)
