"""Thirty days of traffic in sessions that retry what fails, and an alert's grid over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.alert_windows import AlertWindow
from analysis.stats.alerts import Fired, firing
from analysis.stats.clusters import WindowMoments, intraclass_correlation
from analysis.telemetry.events import BUCKET
from analysis.views.budget_alerts import limit_of

A_DAY = 24 * 60 // 5
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Retries:
    """How likely a failed attempt is retried, and a retry fails."""

    retried: float
    fails: float

    @property
    def attempts(self) -> float:
        """Failed attempts for each first attempt that fails, of at most three retries."""
        return sum((self.retried * self.fails) ** k for k in range(4))


@dataclass(frozen=True)
class Outage:
    """A stretch of buckets in which attempts fail at `rate`."""

    start: int
    length: int
    rate: float


@dataclass(frozen=True)
class Traffic:
    """One row an attempt: its bucket, its session, whether it failed; k buckets in all."""

    bucket: Ints
    session: Ints
    failed: npt.NDArray[np.bool_]
    k: int

    def n(self) -> Ints:
        return np.bincount(self.bucket, minlength=self.k)

    def y(self) -> Ints:
        return np.bincount(self.bucket[self.failed], minlength=self.k)

    def rho(self, days: int = 14) -> float:
        """The intraclass correlation of the sessions of the last `days`."""
        late = self.bucket >= self.k - days * A_DAY
        n = np.bincount(self.session[late])
        y = np.bincount(self.session[late], self.failed[late]).astype(np.int64)[n > 0]
        n = n[n > 0]
        sums = [int(v) for v in (n.sum(), y.sum(), n @ n, y @ y, n @ y)]
        bad = int((y > 0).sum())
        return intraclass_correlation(WindowMoments(*sums, len(n), int(n.max()), bad))


class Sessions:
    """The clusters of a traffic, counted one window at a time."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def largest(self) -> int:
        return int(np.bincount(self._traffic.session).max())

    def bad(self, width: int) -> Ints:
        t = self._traffic
        change = np.zeros(t.k + width + 1, np.int64)
        pairs = np.unique(np.stack([t.session[t.failed], t.bucket[t.failed]], axis=1), axis=0)
        for at, (session, bucket) in enumerate(pairs):
            again = at + 1 < len(pairs) and pairs[at + 1, 0] == session
            change[bucket] += 1
            change[min(bucket + width, pairs[at + 1, 1]) if again else bucket + width] -= 1
        return np.cumsum(change)[: t.k]

    def squares(self, width: int, first: int, last: int) -> Ints:
        """A window's Σ n_c² grows by n² + 2n · (the cluster's others in it) with what enters, and
        shrinks by as much with what leaves."""
        t = self._traffic
        keys, n = np.unique(t.session * t.k + t.bucket, return_counts=True)
        session, bucket = keys // t.k, keys % t.k
        before = np.concatenate([[0], np.cumsum(n)])
        places = np.arange(len(keys))
        since = np.searchsorted(keys, session * t.k + np.maximum(bucket - width + 1, 0))
        until = np.searchsorted(
            keys, session * t.k + np.minimum(bucket + width - 1, t.k - 1), side="right"
        )
        enters = n * n + 2 * n * (before[places] - before[since])
        leaves = n * n + 2 * n * (before[until] - before[places + 1])
        into = np.cumsum(np.bincount(bucket, enters, t.k).astype(np.int64))
        out = np.cumsum(np.bincount(bucket, leaves, t.k).astype(np.int64))
        ends = np.arange(first, last + 1)
        gone = np.where(ends >= width, out[np.maximum(ends - width, 0)], 0)
        return np.asarray(into[ends] - gone)


def traffic(
    rng: np.random.Generator,
    *,
    days: int,
    per_hour: float,
    rate: float,
    retries: Retries,
    per_session: float = 3.0,
    outage: Outage | None = None,
) -> Traffic:
    """Sessions at random moments, geometric in size; first attempts a few minutes apart.

    per_hour: first attempts. rate: share of all attempts that fail (outages apart), retries included.
    """
    n_sessions = rng.poisson(per_hour / per_session * 24 * days)
    size = rng.geometric(1 / per_session, n_sessions)
    session = np.repeat(np.arange(n_sessions), size)
    gaps = rng.exponential(4.0, len(session))
    since = np.cumsum(gaps) - np.repeat((np.cumsum(gaps) - gaps)[np.cumsum(size) - size], size)
    minute = np.repeat(rng.uniform(0, days * 1440, n_sessions), size) + since - gaps
    k = days * A_DAY

    def fails(at: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
        chance = np.full(len(at), share)
        if outage is not None:
            inside = (at >= outage.start * 5) & (at < (outage.start + outage.length) * 5)
            chance[inside] = outage.rate
        return rng.random(len(at)) < chance

    # F of n attempts fail, of which F − f are retries of the f first attempts that fail.
    first = rate / (retries.attempts - rate * retries.retried * retries.attempts)
    rows = [(minute, session, fails(minute, first))]
    for _ in range(3):
        at, who, failed = rows[-1]
        again = failed & (rng.random(len(at)) < retries.retried)
        at, who = at[again] + 0.5, who[again]
        rows.append((at, who, fails(at, retries.fails)))
    at, who, failed = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    bucket = (at // 5).astype(np.int64)
    inside = (bucket >= 0) & (bucket < k)
    return Traffic(bucket[inside], who[inside], failed[inside], k)


def alert(found: Traffic, window: AlertWindow, target: float, rho: float) -> Fired:
    """One alert of a 30 days' budget over the whole of a traffic."""
    return firing(
        found.n(),
        found.y(),
        long=window.long_span // BUCKET,
        short=window.short_span // BUCKET,
        limit=limit_of(window, 30, 1 - target),
        rho=rho,
        clusters=Sessions(found),
    )
