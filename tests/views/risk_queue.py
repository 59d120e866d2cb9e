"""Queues whose risks are known to be right, or wrong in a planted way."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.views.triage_policy import Queue


@dataclass(frozen=True)
class Planted:
    """How a queue comes about.

    shift, slope: of the true log-odds on the stated ones. daily: deviation of a day's own shift, in log-odds.
    shared: correlation of the luck of a cluster's rows.
    """

    n: int = 6000
    n_days: int = 14
    base: float = -2.6
    shift: float = 0.0
    slope: float = 1.0
    daily: float = 0.0
    shared: float = 0.3

    def queue(self, seed: int, extra: np.ndarray | None = None) -> Queue:
        """A queue; extra: (n,) further shifts of the rows' true log-odds."""
        rng = np.random.default_rng(seed)
        n, n_clusters = self.n, self.n // 3
        cluster = rng.integers(0, n_clusters, n)
        stated = self.base + 0.5 * rng.normal(size=n_clusters)[cluster] + 0.8 * rng.normal(size=n)
        day = rng.integers(0, self.n_days, n)
        true = self.shift + self.slope * stated + self.daily * rng.normal(size=self.n_days)[day]
        true = true if extra is None else true + extra
        luck = np.sqrt(self.shared) * rng.normal(size=n_clusters)[cluster]
        luck += np.sqrt(1 - self.shared) * rng.normal(size=n)
        return Queue(
            risk=np.round(special.expit(stated), 6),
            day=day,
            days=np.arange(self.n_days) + 20_000,
            coverage=np.ones(self.n_days),
            known=np.ones(n, dtype=bool),
            bad=special.ndtr(luck) < special.expit(true),
            cluster=cluster,
            ts_us=np.arange(n),
            rule=None,
            own=np.ones(n, dtype=bool),
        )


def turned(queue: Queue, order: np.ndarray) -> Queue:
    """The same rows in another order."""
    rows = ("risk", "day", "known", "bad", "cluster", "ts_us", "own")
    return dataclasses.replace(queue, **{name: getattr(queue, name)[order] for name in rows})
