"""Multi-window burn alerts (Site Reliability Workbook, chapter 5) that a handful of events cannot fire.

Counts are arrays over a grid of buckets, the newest last; a window that ends with bucket i holds the
last `width` buckets up to it, fewer at the beginning. Σ n_c² and bad clusters are over the clusters
of one window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from analysis.stats.intervals import one_sided_binomial_tail

ALERT_LEVEL = 0.01
PAGES_A_PERIOD = 0.05
MIN_BAD_CLUSTERS = 2
_SLACK = 1e-12  # alerts compare rounded burn rates; this is the same without rounding every one

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Clusters(Protocol):
    """What `firing` may ask of the clusters behind the counts, on the same grid."""

    def largest(self) -> int:
        """Rows of the largest cluster, over all buckets."""

    def bad(self, width: int) -> Counts:
        """Clusters with a bad row in each window, shape (k,)."""

    def squares(self, width: int, first: int, last: int) -> Counts:
        """Σ n_c² of the windows that end with buckets first to last, both included."""


@dataclass(frozen=True)
class Limit:
    """What an alert is held to.

    threshold: burn rate. error_budget: 1 − target. looks: for a page, the windows in a period, times
    the rows that may page; 0 for what wakes nobody.
    """

    threshold: float
    error_budget: float
    looks: float = 0.0

    @property
    def rate(self) -> float:
        """Share of bad events at the threshold."""
        return self.threshold * self.error_budget


@dataclass(frozen=True)
class Fired:
    """One alert on a grid, arrays of shape (k,). burn: that of the long window, 0 without events."""

    burn: npt.NDArray[np.float64]
    plain: Flags
    firing: Flags


def threshold(budget_share: float, period_days: float, long_hours: float) -> float:
    """Burn rate at which `budget_share` of the period's budget goes in the long window.

    Alert threshold (×): the burn rate at which the long window spends its share of the period's budget: share
    × period / long window.
    """
    return budget_share * period_days * 24 / long_hours


def detection_hours(threshold: float, target: float, error_rate: float, long_hours: float) -> float:
    """Hours from the start of an outage with this error rate until the long window's burn is at the
    threshold, nothing having failed before (Workbook, chapter 5: detection time); inf where it never is.

    Detection (hours): how long a full outage lasts until the long window's burn is at the threshold; below
    it, until the alert fires at this traffic.
    """
    share = threshold * (1 - target) / error_rate if error_rate > 0 else math.inf
    return share * long_hours if share <= 1 + _SLACK else math.inf


def min_events(limit: Limit) -> int | None:
    """Failing clusters at which an alert first can fire, where nothing succeeds; None where never."""
    if limit.rate >= 1:
        return None
    most = 5 * math.ceil(math.log(ALERT_LEVEL) / math.log(limit.rate)) + 20
    k = np.arange(1, most + 1)
    able = beyond_chance(k, k, k, k, 0.0, limit)
    return int(k[np.argmax(able)]) if able.any() else None


def outage_hours(limit: Limit, long_hours: float, events_per_hour: float) -> float | None:
    """Hours from the start of a full outage until an alert fires, at even traffic of clusters of one row;
    None where it never does.

    After t hours the long window holds max(L, t) hours of traffic, and t of them have failed.
    """
    fewest = min_events(limit)
    if fewest is None or not events_per_hour > 0:
        return None
    held = events_per_hour * long_hours
    if fewest > held:
        return None
    low, high = 0, math.ceil(held)  # fires never with `low` failures, and always with `high`
    while high - low > 1:
        y = (low + high) // 2
        enough = y >= limit.rate * held * (1 - _SLACK)
        able = enough and beyond_chance(y, max(held, y), max(held, y), y, 0.0, limit)
        low, high = (low, y) if able else (y, high)
    return high / events_per_hour


def alert_p(
    y: npt.ArrayLike,
    n: npt.ArrayLike,
    nn: npt.ArrayLike,
    bad_clusters: npt.ArrayLike,
    rho: float,
    rate: float,
) -> npt.NDArray[np.float64]:
    """P(X ≥ y/deff | n/deff, rate): how probable so many bad of n rows are at the alert's own rate.

    deff is the larger of section 1's, max(1, 1 + (Σ n_c²/n − 1)ρ), and y / bad_clusters. ρ comes of
    few bad rows, and says nothing of retry bursts that it has not seen; with the second no cluster
    counts for more than one event, however often it fails. Broadcasts; 1 where nothing is bad.
    """
    y_, n_ = np.asarray(y, dtype=float), np.asarray(n, dtype=float)
    deff = _deff(y, n, nn, bad_clusters, rho)
    p = one_sided_binomial_tail(y_ / deff, n_ / deff, min(1.0, rate))
    return np.asarray(np.where(n_ > 0, p, 1.0))


def beyond_chance(
    y: npt.ArrayLike,
    n: npt.ArrayLike,
    nn: npt.ArrayLike,
    bad_clusters: npt.ArrayLike,
    rho: float,
    limit: Limit,
) -> Flags:
    """Whether `alert_p` is at most 1 %, and more than one cluster fails: one is no outage.

    Where `limit` has looks, so many bad rows must be rare too among all windows of a period that just
    spends its budget. A window of the kind begins with any of its y events, so that p · y · looks of
    them are expected (the clumping heuristic of scan statistics: Aldous 1989, section A): 0.05 at most.
    """
    p = alert_p(y, n, nn, bad_clusters, rho, limit.rate)
    rare = (p <= ALERT_LEVEL) & (np.asarray(bad_clusters) >= MIN_BAD_CLUSTERS)
    if limit.looks:
        events = np.asarray(y, dtype=float) / _deff(y, n, nn, bad_clusters, rho)
        p = alert_p(y, n, nn, bad_clusters, rho, min(limit.error_budget, limit.rate))
        rare &= p * np.maximum(events, 1.0) * limit.looks <= PAGES_A_PERIOD
    return np.asarray(rare)


def firing(
    n: Counts,
    y: Counts,
    *,
    long: int,
    short: int,
    limit: Limit,
    rho: float,
    clusters: Clusters,
    first: int = 0,
) -> Fired:
    """One alert at the end of each bucket from `first` on.

    n, y: events and bad ones by bucket, shape (k,). long, short: windows in buckets. Clusters are
    asked only where the counts alone leave it open: for Σ n_c² where a window of one-row clusters
    would fire, and one with the largest cluster alone would not.
    """
    long_n, long_y = trailing(n, long), trailing(y, long)
    short_n, short_y = trailing(n, short), trailing(y, short)
    burn = _burn(long_y, long_n, limit.error_budget)
    enough = limit.threshold * (1 - _SLACK)
    plain = (burn >= enough) & (_burn(short_y, short_n, limit.error_budget) >= enough)
    plain &= long_y > 0
    plain[:first] = False
    fires = np.zeros(len(n), dtype=bool)
    hot = np.flatnonzero(plain)
    if hot.size:
        hot = hot[beyond_chance(long_y[hot], long_n[hot], long_n[hot], long_y[hot], 0.0, limit)]
    if hot.size:
        bad = clusters.bad(long)
        hot = hot[beyond_chance(long_y[hot], long_n[hot], long_n[hot], bad[hot], rho, limit)]
    if hot.size and rho > 0:
        most = long_n[hot] * np.minimum(long_n[hot], clusters.largest())
        sure = beyond_chance(long_y[hot], long_n[hot], most, bad[hot], rho, limit)
        fires[hot[sure]] = True
        hot = hot[~sure]
        if hot.size:
            nn = clusters.squares(long, int(hot[0]), int(hot[-1]))[hot - hot[0]]
            hot = hot[beyond_chance(long_y[hot], long_n[hot], nn, bad[hot], rho, limit)]
    fires[hot] = True
    return Fired(burn, plain, fires)


def trailing(counts: Counts, width: int) -> Counts:
    """The sum of the last `width` entries up to each, fewer at the beginning."""
    total = np.concatenate([[0], np.cumsum(counts)])
    ends = np.arange(1, len(total))
    return np.asarray(total[ends] - total[np.maximum(ends - width, 0)])


def _deff(
    y: npt.ArrayLike, n: npt.ArrayLike, nn: npt.ArrayLike, bad_clusters: npt.ArrayLike, rho: float
) -> npt.NDArray[np.float64]:
    y_, n_, nn_, bad_ = (np.asarray(v, dtype=float) for v in (y, n, nn, bad_clusters))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = 1.0 + (nn_ / n_ - 1.0) * rho
        return np.asarray(np.fmax(1.0, np.fmax(spread, y_ / np.maximum(bad_, 1.0))))


def _burn(y: Counts, n: Counts, error_budget: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.where(n > 0, y / np.maximum(n, 1) / error_budget, 0.0))
