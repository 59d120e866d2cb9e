"""Worlds whose failing slices are known: sessions, users and days hang together, and slices are planted.

A plant multiplies the failure rate of a slice: of both windows (a *level*), or of the candidate window
alone (a *regression*). Its size is that at which a test that knows where to look finds it with power 0.9
among thousands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.views.hotspot_findings import Found
from tests.views.world import START, policy, tables

BASE = 0.08
DAYS, CANDIDATE_FROM = 56, 42
SESSION, USER, ROW = "session", "user", "row"
DIMENSIONS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "use_case": (SESSION, (0.28, 0.22, 0.18, 0.14, 0.10, 0.08)),
    "scenario": (ROW, (0.22, 0.18, 0.15, 0.13, 0.10, 0.09, 0.07, 0.06)),
    "model_name": (ROW, (0.35, 0.25, 0.20, 0.12, 0.08)),
    "channel": (SESSION, (0.55, 0.30, 0.15)),
    "segment": (USER, (0.40, 0.30, 0.20, 0.10)),
    "account_tier": (USER, (0.60, 0.30, 0.10)),
}
LEVELS = ((3.0, 150), (2.0, 600), (1.6, 1_900))
REGRESSIONS = ((3.0, 300), (2.0, 1_200), (1.6, 3_800))
"""(rate by the rest's, least number of interactions in the candidate window)."""


@dataclass(frozen=True)
class Plant:
    """A slice whose failure rate is `ratio` times what it would be."""

    slice: Mapping[str, str]
    kind: str
    ratio: float

    def rows(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Where it is, in all windows."""
        inside = np.ones(len(frame), dtype=bool)
        for name, value in self.slice.items():
            inside &= (frame[name] == value).to_numpy()
        return inside


@dataclass(frozen=True)
class World:
    """Rows with a column `candidate`, and what is planted in them."""

    rows: pd.DataFrame
    plants: tuple[Plant, ...]


def rules(**changes: object) -> Policy:
    """The default policy over all dimensions, failures alone."""
    hotspots = {"metrics": ["failure"], **changes}
    return policy(cluster="user", dimensions=list(DIMENSIONS), hotspots=hotspots)


def skeleton(rng: np.random.Generator, n_rows: int) -> pd.DataFrame:
    """Traffic without outcomes: sessions of two rows on average, users of uneven activity."""
    n_sessions = n_rows // 2
    n_users = max(n_sessions // 3, 1)
    activity = rng.gamma(1.0, 1.0, n_users) + 0.05
    user_of = rng.choice(n_users, n_sessions, p=activity / activity.sum())
    session = np.repeat(np.arange(n_sessions), rng.geometric(0.5, n_sessions))
    n = len(session)
    drawn = {SESSION: n_sessions, USER: n_users, ROW: n}
    place = {SESSION: session, USER: user_of[session], ROW: np.arange(n)}
    columns = {}
    for name, (kind, shares) in DIMENSIONS.items():
        values = np.array([f"{name}-{k}" for k in range(len(shares))])
        columns[name] = values[rng.choice(len(shares), drawn[kind], p=shares)[place[kind]]]
    day = rng.integers(0, DAYS, n_sessions)[session]
    at = np.arange(n) - np.searchsorted(session, session)
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:06d}" for k in session],
            "user_id": [f"u{k:05d}" for k in user_of[session]],
            "timestamp_utc": START + pd.to_timedelta(86_400 * day + 9 * at, unit="s"),
            **columns,
            "candidate": day >= CANDIDATE_FROM,
        }
    )


def failing(
    rng: np.random.Generator, rows: pd.DataFrame, plants: Sequence[Plant] = ()
) -> pd.DataFrame:
    """The rows with `is_failure`: users, sessions and days differ, and so do the plants."""
    rate = np.full(len(rows), BASE)
    for name, spread in (("user_id", 0.25), ("session_id", 0.25)):
        codes, held = pd.factorize(rows[name])
        rate *= rng.gamma(1 / spread, spread, len(held))[codes]
    day = (rows["timestamp_utc"] - START).dt.days.to_numpy()
    rate *= np.exp(rng.normal(0.0, 0.08, DAYS))[day]
    for plant in plants:
        inside = plant.rows(rows)
        if plant.kind == "regression":
            inside &= rows["candidate"].to_numpy()
        rate[inside] *= plant.ratio
    return rows.assign(is_failure=rng.random(len(rows)) < np.minimum(rate, 0.95))


def expected(world: World, plant: Plant, kind: str) -> float:
    """The true effect of a plant's slice in these rows: rate − reference, by STATISTICS section 6."""
    rows, candidate = world.rows, world.rows["candidate"].to_numpy()
    rate = np.full(len(rows), BASE)
    for other in world.plants:
        hit = other.rows(rows) & (candidate | (other.kind == "level"))
        rate[hit] *= other.ratio
    inside = plant.rows(rows)
    reference = rate[~inside & candidate].mean()
    if kind == "regression":
        reference *= rate[inside & ~candidate].mean() / rate[~inside & ~candidate].mean()
    return float(rate[inside & candidate].mean() - reference)


def planted(
    rng: np.random.Generator,
    n_rows: int = 100_000,
    levels: Sequence[tuple[float, int]] = (*LEVELS, (2.0, 600)),
    regressions: Sequence[tuple[float, int]] = REGRESSIONS,
) -> World:
    """A world with a slice for each of `levels` and `regressions`, of depth 1 to 3.

    Slices are drawn among those that are large enough, and at most three times that; a slice is no
    part of another, and shares at most a tenth of the smaller with any.
    """
    rows = skeleton(rng, n_rows)
    candidate = rows["candidate"].to_numpy()
    codes = {name: pd.factorize(rows[name], sort=True) for name in DIMENSIONS}
    wanted = [("level", *w) for w in levels] + [("regression", *w) for w in regressions]
    plants: list[Plant] = []
    taken: list[npt.NDArray[np.bool_]] = []
    # The largest first: they are the hardest to place.
    for kind, ratio, least in sorted(wanted, key=lambda w: -w[2]):
        for _ in range(2_000):
            depth = int(rng.integers(1, 4))
            names = rng.choice(list(DIMENSIONS), depth, replace=False)
            labels = {str(n): str(codes[n][1][rng.integers(len(codes[n][1]))]) for n in names}
            plant = Plant(labels, kind, ratio)
            inside = plant.rows(rows) & candidate
            size = int(inside.sum())
            shared = [
                int((inside & t).sum()) / min(size, int(t.sum())) if size else 1.0 for t in taken
            ]
            if least <= size <= 3 * least and all(s <= 0.1 for s in shared):
                plants.append(plant)
                taken.append(inside)
                break
        else:
            return planted(rng, n_rows, levels, regressions)  # no place is left: once more
    return World(failing(rng, rows, plants), tuple(plants))


def nothing(rng: np.random.Generator, n_rows: int = 40_000) -> World:
    """A world in which no slice differs from any other."""
    return World(failing(rng, skeleton(rng, n_rows)), ())


def disguised(rng: np.random.Generator, world: World) -> World:
    """The same world: rows in another order, values under other names."""
    rows = world.rows.sample(frac=1.0, random_state=int(rng.integers(1 << 31)))
    names: dict[str, dict[str, str]] = {}
    for name, (_, shares) in DIMENSIONS.items():
        order = rng.permutation(len(shares))
        names[name] = {f"{name}-{k}": f"z{order[k]} {k * 7 % 5}" for k in range(len(shares))}
    renamed = rows.assign(**{n: rows[n].map(held) for n, held in names.items()})
    plants = [
        Plant({n: names[n][v] for n, v in p.slice.items()}, p.kind, p.ratio) for p in world.plants
    ]
    return World(renamed.reset_index(drop=True), tuple(plants))


def written(world: World, folder: Path) -> Path:
    """The three tables as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables(world.rows.drop(columns="candidate")).items():
        frame.to_parquet(folder / f"llm_system_{name}.parquet", index=False)
    return folder


@contextmanager
def opened(world: World, folder: Path, asked: Policy | None = None) -> Iterator[Telemetry]:
    """Its telemetry, closed afterwards."""
    telemetry = open_telemetry(written(world, folder), contract.load(), asked or rules())
    try:
        yield telemetry
    finally:
        telemetry.close()


@dataclass(frozen=True)
class Score:
    """Plants found by an own description, and findings that are none of them, or one again."""

    n_plants: int
    recovered: int
    n_findings: int
    false: int

    @property
    def recall(self) -> float:
        return self.recovered / self.n_plants if self.n_plants else 1.0

    @property
    def precision(self) -> float:
        return 1 - self.false / self.n_findings if self.n_findings else 1.0


def matched(
    world: World,
    found: Sequence[Mapping[str, str | None]],
    fits: Sequence[Sequence[int]] | None = None,
    alike: float = 0.8,
) -> tuple[set[int], int]:
    """The plants that are described by one of `found`, and how many of these describe none, or one again.

    A description fits a plant with which it shares the candidate window's rows, intersection by union
    `alike` or more. fits: the plants that each may describe, all by default.
    """
    rows = world.rows[world.rows["candidate"]]
    masks = [p.rows(rows) for p in world.plants]
    told: set[int] = set()
    false = 0
    for place, labels in enumerate(found):
        own = Plant({k: str(v) for k, v in labels.items()}, "", 1.0).rows(rows)
        shares = [float((own & m).sum() / (own | m).sum()) for m in masks]
        allowed = range(len(masks)) if fits is None else fits[place]
        at = max(allowed, key=lambda k: shares[k], default=-1)
        if at < 0 or shares[at] < alike or at in told:
            false += 1
        else:
            told.add(at)
    return told, false


def score(world: World, found: Sequence[Found]) -> Score:
    """What was found of a world, levels and regressions apart.

    A regression is a level too, for the slice is worse than the rest.
    """
    levels = [f.slice for f in found if f.kind == "level"]
    regressions = [f.slice for f in found if f.kind == "regression"]
    own = [k for k, p in enumerate(world.plants) if p.kind == "regression"]
    hit, false = matched(world, levels)
    worse, more = matched(world, regressions, [own] * len(regressions))
    recovered = sum(
        k in (worse if p.kind == "regression" else hit) for k, p in enumerate(world.plants)
    )
    return Score(len(world.plants), recovered, len(found), false + more)
