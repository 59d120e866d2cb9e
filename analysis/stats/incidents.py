"""When incidents began and ended, to the bucket: around alerts, and short ones anywhere.

An incident is the interval of buckets that maximises the binomial likelihood ratio of its rate
against that of all other buckets nearby: the spatial scan statistic of Kulldorff (1997, "A spatial
scan statistic", eq. for the Bernoulli model) in one dimension, which is also the pair of change
points of circular binary segmentation (Olshen, Venkatraman, Lucito & Wigler 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from analysis.stats.alerts import MIN_BAD_CLUSTERS

LEVEL = 0.01
RATIO = 2.0
MOST_ROUNDS = 20
_EXACT = 512  # buckets with a bad event, of which every pair is tried
_DIGITS = 9  # scores that are equal but for rounding errors tie, and the earliest wins

Counts = npt.NDArray[np.int64]
BadClusters = Callable[[int], Counts]
"""Width → clusters with a bad event in the window of that many buckets up to each, shape (k,)."""


@dataclass(frozen=True, order=True)
class Stretch:
    """Buckets first to stop − 1."""

    first: int
    stop: int

    def meets(self, other: Stretch) -> bool:
        """Whether they share a bucket."""
        return self.first < other.stop and other.first < self.stop


def find_incidents(
    n: Counts,
    y: Counts,
    hot: Sequence[Stretch],
    *,
    near: int,
    alone: int,
    error_budget: float,
    bad_clusters: BadClusters,
) -> tuple[Stretch, ...]:
    """The incidents that share a bucket with one of `hot`, and short ones that do not, in order.

    n, y: events and bad ones by bucket, shape (k,). hot: where an alert fired and what its window
    held; stretches whose neighbourhoods, `near` buckets on both sides, meet are searched as one. Rates
    above `error_budget` alone are incidents, and only those that chance does not explain: with P pairs
    of change points the logarithm of the likelihood ratio must reach log(P/0.01), for each pair alone
    exceeds c with a probability of at most exp(−c) (Chernoff). It is divided by the bad events of a bad
    cluster in the interval, so that no cluster counts for more than one. The alert that fired has
    passed section 1's design effect itself.

    An outage that is over before enough fails for an alert is found among all buckets. There it stands
    out from the whole grid at `RATIO` times the rate of the rest or more, for days of much traffic
    differ beyond chance, and lasts no longer than `alone` buckets: what rises for longer is no outage, and is
    what the alerts over days are for.
    """
    found: list[Stretch] = []
    for around in _neighbourhoods(hot, near, len(n)):
        search = _Search(n, y, around, error_budget, bad_clusters)
        found += [one for one in search.incidents() if any(one.meets(h) for h in hot)]
    everywhere = _Search(n, y, Stretch(0, len(n)), error_budget, bad_clusters)
    found += [
        one
        for one in everywhere.incidents(besides=found)
        if one.stop - one.first <= alone
        and not any(one.meets(h) for h in hot)
        and _ratio(n, y, one, found) >= RATIO
    ]
    return tuple(sorted(found))


def _ratio(n: Counts, y: Counts, one: Stretch, besides: Sequence[Stretch]) -> float:
    """The rate in the stretch by that of all buckets in neither it nor any of `besides`."""
    rest = np.ones(len(n), bool)
    for taken in (one, *besides):
        rest[taken.first : taken.stop] = False
    inside = slice(one.first, one.stop)
    here, bad = int(y[inside].sum()) * int(n[rest].sum()), int(y[rest].sum()) * int(n[inside].sum())
    return here / bad if bad else math.inf


class _Search:
    """The search of one neighbourhood; positions are those of the whole grid."""

    def __init__(
        self,
        n: Counts,
        y: Counts,
        around: Stretch,
        error_budget: float,
        bad_clusters: BadClusters,
    ) -> None:
        self._n = np.concatenate([[0], np.cumsum(n)])
        self._y = np.concatenate([[0], np.cumsum(y)])
        self._bad = np.flatnonzero(y[around.first : around.stop]) + around.first
        self._around, self._error_budget, self._clusters = around, error_budget, bad_clusters
        k = around.stop - around.first
        self._needed = math.log(k * (k + 1) / 2 / LEVEL)

    def incidents(self, besides: Sequence[Stretch] = ()) -> list[Stretch]:
        """One after another, the strongest first; each leaves the rest as what others stand out from.

        What is too much the doing of one cluster is left out too, but is no incident. besides: those
        that are known.
        """
        taken = list(besides)
        kept: list[Stretch] = []
        for _ in range(MOST_ROUNDS):
            found = max(
                (self._best(piece, taken) for piece in self._free(taken)),
                key=lambda pair: (pair[0], -pair[1].first),
                default=(0.0, Stretch(0, 0)),
            )
            if found[0] < self._needed:
                break
            for part in self._parts(found[1], taken):
                taken.append(part)
                if self._is_incident(part, taken):
                    kept.append(part)
        return [one for one in self._again(kept, taken) if self._is_incident(one, taken)]

    def _free(self, taken: Sequence[Stretch]) -> list[Stretch]:
        """What lies between the stretches that are taken."""
        edges = sorted(taken)
        firsts = [self._around.first, *(t.stop for t in edges)]
        stops = [*(t.first for t in edges), self._around.stop]
        return [Stretch(a, b) for a, b in zip(firsts, stops, strict=True) if a < b]

    def _rest(self, taken: Sequence[Stretch]) -> tuple[int, int]:
        """Events and bad ones that are in no stretch taken."""
        free = self._free(taken)
        return sum(self._held(f)[0] for f in free), sum(self._held(f)[1] for f in free)

    def _held(self, one: Stretch) -> tuple[int, int]:
        return (
            int(self._n[one.stop] - self._n[one.first]),
            int(self._y[one.stop] - self._y[one.first]),
        )

    def _best(self, piece: Stretch, taken: Sequence[Stretch]) -> tuple[float, Stretch]:
        """The interval of `piece` with the largest score.

        It begins and ends with a bad bucket, for any other scores less. Of very many, some are tried
        as either end, and then all that are near the best two.
        """
        bad = self._bad[(self._bad >= piece.first) & (self._bad < piece.stop)]
        if not bad.size:
            return 0.0, piece
        step = -(-bad.size // _EXACT)
        first = np.arange(0, bad.size, step)
        last = np.minimum(first + step - 1, bad.size - 1)
        rest = self._rest(taken)
        score, i, j = self._largest(bad, first, last, rest)
        if step > 1:
            reach = np.arange(-step, step + 1)
            first, last = (np.unique(np.clip(at + reach, 0, bad.size - 1)) for at in (i, j))
            score, i, j = self._largest(bad, first, last, rest)
        return score, Stretch(int(bad[i]), int(bad[j]) + 1)

    def _largest(
        self, bad: Counts, first: Counts, last: Counts, rest: tuple[int, int]
    ) -> tuple[float, int, int]:
        """Score and ends, as places in `bad`, of the best interval from any of `first` to any of `last`."""
        starts, stops = bad[first], bad[last] + 1
        n = self._n[stops][None, :] - self._n[starts][:, None]
        y = self._y[stops][None, :] - self._y[starts][:, None]
        scores = log_likelihood_ratio(np.where(n > 0, n, 0), np.where(n > 0, y, 0), *rest)
        i, j = np.unravel_index(int(np.argmax(np.round(scores, _DIGITS))), scores.shape)
        return float(scores[i, j]), int(first[i]), int(last[j])

    def _parts(self, whole: Stretch, taken: Sequence[Stretch]) -> list[Stretch]:
        """The incidents that `whole` runs together: it is cut where the rate between them is back at
        what it is outside, by as much evidence as an incident needs."""
        n, y = self._held(whole)
        rest_n, rest_y = self._rest([*taken, whole])
        if not rest_n:
            return [whole]
        inside = min(y / n, 1 - 0.5 / n)  # an observed 0 or 1 rules nothing out
        outside = max(rest_y / rest_n, 0.5 / rest_n)
        if outside >= inside:
            return [whole]
        at = slice(whole.first, whole.stop + 1)
        bad, all_ = np.diff(self._y[at]), np.diff(self._n[at])
        gains = bad * math.log(outside / inside) + (all_ - bad) * math.log(
            (1 - outside) / (1 - inside)
        )
        total = np.concatenate([[0.0], np.cumsum(gains)])
        lowest = np.minimum.accumulate(total)
        stop = int(np.argmax(np.round(total - lowest, _DIGITS)))
        if total[stop] - lowest[stop] < self._needed:
            return [whole]
        first = int(np.argmin(total[: stop + 1]))
        sides = (
            Stretch(whole.first, whole.first + first),
            Stretch(whole.first + stop, whole.stop),
        )
        return [
            part for side in sides if side.first < side.stop for part in self._parts(side, taken)
        ]

    def _again(self, kept: Sequence[Stretch], taken: Sequence[Stretch]) -> list[Stretch]:
        """Each once more between its neighbours, now that all others are known and left out."""
        found, others = [], list(taken)
        for one in sorted(kept):
            others.remove(one)
            piece = next(f for f in self._free(others) if f.meets(one))
            found.append(self._best(piece, others)[1])
            others.append(found[-1])
        return found

    def _is_incident(self, one: Stretch, taken: Sequence[Stretch]) -> bool:
        n, y = self._held(one)
        if not y or y <= self._error_budget * n:
            return False
        rest_n, rest_y = self._rest([t for t in taken if not t.meets(one)])
        failing = int(self._clusters(one.stop - one.first)[one.stop - 1])
        score = float(log_likelihood_ratio(n, y, rest_n, rest_y))
        return failing >= MIN_BAD_CLUSTERS and score * min(failing / y, 1.0) >= self._needed


def log_likelihood_ratio(
    n: npt.ArrayLike, y: npt.ArrayLike, total_n: int, total_y: int
) -> npt.NDArray[np.float64]:
    """Log of the likelihood ratio of two rates, inside and outside, to one; 0 where the rate inside is
    not the larger (Kulldorff 1997). n, y: events and bad ones inside; total: in- and outside. Broadcasts.
    """
    n_, y_ = np.asarray(n, dtype=float), np.asarray(y, dtype=float)
    higher = (n_ > 0) & (n_ < total_n) & (y_ * (total_n - n_) > (total_y - y_) * n_)
    score = (
        _fitted(n_, y_)
        + _fitted(total_n - n_, total_y - y_)
        - _fitted(np.float64(total_n), np.float64(total_y))
    )
    return np.asarray(np.where(higher, score, 0.0))


def _fitted(
    n: npt.NDArray[np.float64] | np.float64, y: npt.NDArray[np.float64] | np.float64
) -> Any:
    """The log-likelihood of y of n at its own rate: xlogy is 0 at 0."""
    return xlogy(y, y) + xlogy(n - y, n - y) - xlogy(n, n)


def _neighbourhoods(hot: Sequence[Stretch], near: int, k: int) -> list[Stretch]:
    """The stretches widened by `near`, those that meet as one."""
    out: list[Stretch] = []
    for one in sorted(hot):
        wide = Stretch(max(one.first - near, 0), min(one.stop + near, k))
        if out and wide.first <= out[-1].stop:
            wide = Stretch(out[-1].first, max(out.pop().stop, wide.stop))
        out.append(wide)
    return out
