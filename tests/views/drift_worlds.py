"""Worlds of traffic in which nothing drifts, or a column does by a known stability index.

Every column hangs together by session, user and day: its values come from standard normals with shared
parts (a Gaussian copula), so that what is drawn at random has exactly the planted shares, and only the
hanging together makes windows differ. Users come in bursts, so that the windows have partly other users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from tests.views.world import START, tables

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAYS, CANDIDATE_FROM = 56, 42
ROWS, SESSIONS = 5.0, 4.0  # of a session, of a user
BURST_DAYS = 12.0  # standard deviation of a user's days
WEEKEND = 0.6  # of a weekday's traffic
DAY_VOLUME = 0.15  # standard deviation of the log of a day's traffic
CATEGORIES: Mapping[str, tuple[float, ...]] = {
    "use_case": (0.28, 0.22, 0.18, 0.14, 0.10, 0.08),
    "channel": (0.55, 0.30, 0.15),
    "region": (0.40, 0.25, 0.15, 0.12, 0.08),
    "country_code": tuple(float(w) for w in np.arange(1, 21) ** -0.8 / sum(np.arange(1, 21) ** -0.8)),
    "model_name": (0.45, 0.30, 0.17, 0.08),
    "is_failure": (0.94, 0.06),
    "tool_error_flag": (0.97, 0.03),
}  # fmt: skip
OF_USERS: Mapping[str, tuple[float, ...]] = {
    "account_tier": (0.60, 0.30, 0.10),
    "segment": (0.40, 0.30, 0.20, 0.10),
}
NUMBERS: Mapping[str, Callable[[Floats], Floats]] = {
    "prompt_tokens": lambda z: np.rint(np.exp(6.5 + 0.9 * z)),
    "completion_tokens": lambda z: np.rint(np.exp(5.5 + 0.7 * z)),
    "latency_ms": lambda z: np.round(np.exp(7.0 + 0.5 * z), 1),
    "time_to_first_token_ms": lambda z: np.round(np.exp(5.5 + 0.6 * z), 1),
    "cost_usd": lambda z: np.round(np.exp(-4.5 + 0.8 * z), 6),
    "response_quality_score": lambda z: np.round(special.ndtr(z), 3),
}
MISSING: Mapping[str, float] = {"time_to_first_token_ms": 0.2, "response_quality_score": 0.4}
COLUMNS = (*CATEGORIES, *OF_USERS, *NUMBERS)


@dataclass(frozen=True)
class Effects:
    """Parts of the variance that rows of one session, user and day share (intraclass correlations)."""

    session: float
    user: float
    day: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Effects:
        return cls(rng.uniform(0.05, 0.3), rng.uniform(0.02, 0.15), rng.uniform(0.0, 0.005))


@dataclass(frozen=True)
class Plant:
    """A column whose candidate's true stability index is `psi`: its values move, or the share that is missing."""

    column: str
    psi: float
    moves: Literal["values", "missing"] = "values"


@dataclass(frozen=True)
class Places:
    """Row → session, session → user and day. n: sessions, users."""

    session: Ints
    user_of: Ints
    day_of: Ints
    n: tuple[int, int]

    @property
    def late(self) -> npt.NDArray[np.bool_]:
        """(rows,) whether in the candidate window."""
        return np.asarray(self.day_of[self.session] >= CANDIDATE_FROM)

    def normals(self, rng: np.random.Generator, effects: Effects, k: int) -> Floats:
        """(rows, k) standard normals with these parts in common."""
        n_sessions, n_users = self.n
        shared = (
            np.sqrt(effects.session) * rng.standard_normal((n_sessions, k))
            + np.sqrt(effects.user) * rng.standard_normal((n_users, k))[self.user_of]
            + np.sqrt(effects.day) * rng.standard_normal((DAYS, k))[self.day_of]
        )
        own = np.sqrt(1 - effects.session - effects.user - effects.day)
        return shared[self.session] + own * rng.standard_normal((len(self.session), k))


def places(rng: np.random.Generator, n_rows: int) -> Places:
    """About so many rows. Days differ in traffic, and users in how much they do and when."""
    weekday = np.where(np.arange(DAYS) % 7 < 5, 1.0, WEEKEND)
    volume = weekday * np.exp(DAY_VOLUME * rng.standard_normal(DAYS))
    kept = volume / volume.max()
    n_asked = round(n_rows / ROWS / kept.mean())
    n_users = max(round(n_rows / ROWS / SESSIONS), 1)
    activity = rng.gamma(2.0, 1.0, n_users) + 0.1
    user = rng.choice(n_users, n_asked, p=activity / activity.sum())
    middle = rng.uniform(0, DAYS, n_users)[user]
    day = np.floor(middle + BURST_DAYS * rng.standard_normal(n_asked)).astype(np.int64) % DAYS
    there = np.flatnonzero(rng.random(n_asked) < kept[day])
    order = there[np.argsort(day[there], kind="stable")]
    session = np.repeat(np.arange(len(order)), rng.geometric(1 / ROWS, len(order)))
    return Places(session, user[order], day[order], (len(order), n_users))


def drawn(rng: np.random.Generator, n_rows: int, plants: Sequence[Plant] = ()) -> pd.DataFrame:
    """Interactions of eight weeks, the last two the candidate."""
    where = places(rng, n_rows)
    moved = {(p.column, p.moves): p.psi for p in plants}
    session, n = where.session, len(where.session)
    place = np.arange(n) - np.searchsorted(session, session)
    second = 86_400 * where.day_of + rng.integers(0, 80_000, where.n[0])
    frame: dict[str, object] = {
        "interaction_id": _names("i", np.arange(n)),
        "session_id": _names("s", np.arange(where.n[0]))[session],
        "user_id": _names("u", np.arange(where.n[1]))[where.user_of[session]],
        "timestamp_utc": START + pd.to_timedelta(second[session] + 9 * place, unit="s"),
    }
    for name, shares in CATEGORIES.items():
        code = _category(rng, where, np.array(shares), moved.get((name, "values"), 0.0))
        flag = len(shares) == 2
        frame[name] = code == 1 if flag else _names(f"{name}-", np.arange(len(shares)))[code]
    for name, shares in OF_USERS.items():
        code = rng.choice(len(shares), where.n[1], p=shares)[where.user_of[session]]
        frame[name] = _names(f"{name}-", np.arange(len(shares)))[code]
    for name, of in NUMBERS.items():
        share = MISSING.get(name, 0.0)
        z = where.normals(rng, Effects.drawn(rng), 1)[:, 0]
        z = z + where.late * rng.choice([-1, 1]) * shift(moved.get((name, "values"), 0.0), share)
        values = of(z)
        if share:
            gone = missing(share, moved.get((name, "missing"), 0.0))
            hidden = special.ndtr(where.normals(rng, Effects.drawn(rng), 1)[:, 0])
            values[hidden < np.where(where.late, gone, share)] = np.nan
        frame[name] = values.astype(np.int64) if name.endswith("_tokens") else values
    return pd.DataFrame(frame)


def _names(start: str, codes: Ints) -> npt.NDArray[np.object_]:
    return np.array([f"{start}{k:06d}" for k in codes.tolist()], dtype=object)


def _category(rng: np.random.Generator, where: Places, shares: Floats, psi: float) -> Ints:
    """(rows,) codes: the largest of log share + Gumbel noise has exactly these shares (Gumbel 1954)."""
    noise = where.normals(rng, Effects.drawn(rng), len(shares))
    noise = -np.log(-special.log_ndtr(noise))
    late = tilted(shares, psi, rng.standard_normal(len(shares)))
    by_window = np.log(np.stack([shares, late]))[where.late.astype(np.int64)]
    return np.asarray((by_window + noise).argmax(axis=1))


# ── what a stability index plants ────────────────────────────────────────────────────────


def index(shares0: Floats, shares1: Floats) -> float:
    """The population stability index of two lists of shares."""
    return float(np.sum((shares1 - shares0) * np.log(shares1 / shares0)))


def tilted(shares: Floats, psi: float, direction: Floats) -> Floats:
    """Shares at this index from `shares`: p exp(t · direction), scaled to 1."""

    def at(t: float) -> Floats:
        return np.asarray(special.softmax(np.log(shares) + t * direction))

    t = optimize.brentq(lambda t: index(shares, at(t)) - psi, 0.0, 50.0) if psi else 0.0
    return at(t)


def shift(psi: float, missing_share: float = 0.0) -> float:
    """By how many standard deviations a normal moves at this index of its deciles and its missing values."""
    edges = special.ndtri(np.arange(1, 10) / 10)

    def over(t: float) -> float:
        moved = np.diff(special.ndtr(np.concatenate([[-np.inf], edges - t, [np.inf]])))
        return (1 - missing_share) * index(np.full(10, 0.1), moved) - psi

    return float(optimize.brentq(over, 0.0, 3.0)) if psi else 0.0


def missing(share: float, psi: float) -> float:
    """The larger share of missing values at this index, the rest of the distribution as it was."""

    def over(t: float) -> float:
        return index(np.array([share, 1 - share]), np.array([t, 1 - t])) - psi

    return float(optimize.brentq(over, share, 0.999)) if psi else share


# ── telemetry ────────────────────────────────────────────────────────────────────────────


def written(rows: pd.DataFrame, folder: Path) -> Path:
    """The three tables as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables(rows).items():
        frame.to_parquet(folder / f"llm_system_{name}.parquet", index=False)
    return folder


@contextmanager
def opened(rows: pd.DataFrame, folder: Path, rules: Policy | None = None) -> Iterator[Telemetry]:
    """Its telemetry, closed afterwards."""
    telemetry = open_telemetry(written(rows, folder), contract.load(), rules or Policy())
    try:
        yield telemetry
    finally:
        telemetry.close()
