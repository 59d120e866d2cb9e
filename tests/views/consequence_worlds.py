"""Worlds whose mix, routing and rates are known: users, sessions and days each have effects of mean 0."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from analysis.stats.decomposition import CellSums, Decomposition, decompose
from analysis.telemetry.engine import DuckDB

USES = ("a", "b", "c")
MODELS = ("large", "small")


@dataclass(frozen=True)
class Truth:
    """share: (2, contexts); routed: (2, contexts) to the first model; rate: (2, contexts, models)."""

    share: np.ndarray
    routed: np.ndarray
    rate: np.ndarray

    @property
    def parts(self) -> Decomposition:
        """The decomposition of the population."""
        q = np.stack([self.routed, 1 - self.routed], axis=2)
        n = (self.share[:, :, None] * q).reshape(2, -1)
        return decompose(CellSums(n, n * self.rate.reshape(2, -1), np.repeat(np.arange(3), 2)))


def planted(*, traffic: bool = True, routing: bool = True, within: bool = True) -> Truth:
    """A change in each part that is named."""
    share = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3] if traffic else [0.5, 0.3, 0.2]])
    routed = np.array([[0.6, 0.5, 0.3], [0.5, 0.3, 0.3] if routing else [0.6, 0.5, 0.3]])
    old = np.array([[0.06, 0.10], [0.08, 0.13], [0.14, 0.20]])
    new = old + (np.array([[0.04, 0.0], [0.02, 0.03], [0.05, 0.03]]) if within else 0.0)
    return Truth(share, routed, np.stack([old, new]))


def interactions(
    truth: Truth, seed: int, *, n_users: int = 2500, days: tuple[int, int] = (28, 14),
    concurrent: bool = False, day_effect: float = 0.02,
) -> pd.DataFrame:  # fmt: skip
    """Rows as of `fact`: users of 1 to 5 sessions of 1 to 4 rows, in either window.

    A session keeps its use. Users differ in what they ask and in how often it fails; days too.
    """
    rng = np.random.default_rng(seed)
    sessions = rng.integers(1, 6, n_users)
    user = np.repeat(np.arange(n_users), sessions)
    n = len(user)
    if concurrent:
        day = rng.integers(0, days[0], n)
        win = rng.integers(0, 2, n)
    else:
        day = rng.integers(0, sum(days), n)
        win = (day >= days[0]).astype(int)
    # Mixes of users and of days scatter around the window's, whose mean they have.
    tilt = np.array([[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]])
    of_user = 0.15 * tilt[rng.integers(0, 3, n_users)][user]
    of_day = day_effect * tilt[rng.integers(0, 3, sum(days))][day]
    share = truth.share[win] + of_user + of_day
    use = (rng.random(n)[:, None] > np.cumsum(share, axis=1)).sum(axis=1).clip(0, 2)
    rows = rng.integers(1, 5, n)
    session = np.repeat(np.arange(n), rows)
    win, day, use, user = win[session], day[session], use[session], user[session]
    model = (rng.random(len(session)) > truth.routed[win, use]).astype(int)
    failed = truth.rate[win, use, model]
    failed = failed + rng.choice([-0.03, 0.03], n_users)[user]
    failed = failed + rng.choice([-day_effect / 2, day_effect / 2], sum(days))[day]
    failed = failed + rng.choice([-0.005, 0.005], n)[session]
    bad = rng.random(len(session)) < failed
    cost = rng.lognormal(0.0, 0.6, len(session)) * 2e6 * (1 + use) * (2 - model)
    return pd.DataFrame(
        {
            "win": win,
            "day": day,
            "weight": 1,
            "cluster": user,
            "failure": bad,
            "cost_nano": cost.astype(np.int64),
            "use": np.array(USES)[use],
            "model": np.array(MODELS)[model],
        }
    )


def engine_of(fact: pd.DataFrame) -> DuckDB:
    """An engine with these rows as `fact`."""
    con = duckdb.connect()
    con.execute("SET threads = 1")
    con.register("fact_frame", fact)
    con.execute("CREATE TABLE fact AS SELECT * FROM fact_frame")
    con.execute(
        "CREATE TABLE cluster_ids AS SELECT DISTINCT cluster AS code, 'u' || cluster AS id FROM fact"
    )
    return DuckDB(con)
