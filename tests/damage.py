"""Worlds in which everything is known, and ways to lose, hide and break what they know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from tests.telemetry.worlds import MONDAY, World, instant, world_of

SLOS = (
    {"name": "availability", "bad": "is_failure", "target": 0.9, "period_days": 2},
    {
        "name": "latency",
        "bad": {"column": "latency_ms", "above": 2200},
        "target": 0.9,
        "period_days": 2,
    },
    {
        "name": "slower",
        "bad": {"column": "latency_ms", "above": 5000},
        "target": 0.9,
        "period_days": 2,
    },
    {"name": "safety", "bad": "safety_flag", "target": 0.9, "period_days": 2},
    {"name": "quality", "bad": {"column": "response_quality_score", "below": 0.3}, "target": 0.8},
    {"name": "lost", "bad": {"column": "final_resolution_state", "equals": "lost"}, "target": 0.8},
)
LABELS = ("is_failure", "latency_ms", "cost_usd", "safety_flag", "response_quality_score",
          "final_resolution_state")  # fmt: skip


def complete(rng: np.random.Generator, folder: Path, n: int = 300, days: int = 14) -> World:
    """Every outcome known, sessions of up to an hour that may run over midnight, two releases."""
    rows: list[dict[str, Any]] = []
    session = 0
    while len(rows) < n:
        session += 1
        user = f"u{int(rng.integers(40))}"
        start = int(rng.integers(0, days * 24 * 60))
        if rng.random() < 0.2:
            start = int(rng.integers(1, days)) * 24 * 60 - int(rng.integers(0, 30))
        arm = "new" if rng.random() < 0.4 else "old"
        for k, minute in enumerate(sorted(rng.integers(0, 60, int(rng.integers(1, 6))))):
            at = MONDAY + pd.Timedelta(minutes=start + (int(minute) if k else 0))
            rows.append(
                {
                    "session": f"s{session}",
                    "user": user,
                    "at": at,
                    "is_failure": bool(rng.random() < 0.15),
                    "latency_ms": round(float(rng.lognormal(7, 1)), 2),
                    "cost_usd": f"{rng.random() ** 3 * 2:.6f}",
                    "safety_flag": bool(rng.random() < 0.1),
                    "response_quality_score": round(float(rng.random()), 3),
                    "final_resolution_state": str(rng.choice(["solved", "open", "lost"])),
                    "retry_index": int(rng.integers(0, 2)),
                    "release_id": arm if rng.random() < 0.9 else ("new" if arm == "old" else "old"),
                    "label_available_utc": instant(at + pd.Timedelta(hours=1)),
                }
            )
    return world_of(rows, folder)


@dataclass(frozen=True)
class Damage:
    """What happens to a world: to which share of its rows, and with which bias.

    bias: 1 touches good and bad rows alike, 0 only bad ones, and −1 only good ones.
    """

    rng: np.random.Generator
    share: float
    bias: int

    def some(self, world: World, column: str = "is_failure") -> np.ndarray:
        """Positions of the interactions that are touched; never the first or last of a release."""
        rows = world.tables[INTERACTIONS]
        hit = self.rng.random(len(rows)) < self.share
        bad = (rows["is_failure"] == "true").to_numpy()
        if column == "latency_ms":
            bad = pd.to_numeric(rows[column]).fillna(0).to_numpy() > 2200
        if self.bias < 1:
            hit &= bad if self.bias == 0 else ~bad
        stamps = pd.to_datetime(rows["timestamp_utc"], errors="coerce", utc=True, format="ISO8601")
        for _, own in stamps.groupby(rows["release_id"]):
            hit[rows.index.get_indexer([own.idxmin(), own.idxmax()])] = False
        return np.flatnonzero(hit)


Way = Callable[[World, Damage], None]


def hide(world: World, damage: Damage) -> None:
    """Takes outcomes, latencies and costs away."""
    for column in LABELS:
        world.tables[INTERACTIONS].loc[damage.some(world, column), column] = None


def drop(world: World, damage: Damage) -> None:
    """Loses interactions; their sessions' and users' totals still count them."""
    rows = world.tables[INTERACTIONS]
    world.tables[INTERACTIONS] = rows.drop(rows.index[damage.some(world)]).reset_index(drop=True)


def drop_sessions(world: World, damage: Damage) -> None:
    """Loses every interaction of a session, and for some the session too: users' totals remain."""
    rows = world.tables[INTERACTIONS]
    kept = _ends(rows)
    gone = set(rows["session_id"].iloc[damage.some(world)].dropna()) - set(
        rows["session_id"].iloc[kept]
    )
    world.tables[INTERACTIONS] = rows[~rows["session_id"].isin(gone)].reset_index(drop=True)
    sessions = world.tables[SESSIONS]
    half = [s for s in sorted(gone) if damage.rng.random() < 0.5]
    world.tables[SESSIONS] = sessions[~sessions["session_id"].isin(half)].reset_index(drop=True)


def break_cells(world: World, damage: Damage) -> None:
    """Cells of interactions that break rules of every kind."""
    rows = world.tables[INTERACTIONS]
    kinds = [
        ("latency_ms", "-1"),
        ("cost_usd", "much"),
        ("total_tokens", "1"),
        ("timestamp_utc", "yesterday"),
        ("timestamp_utc", "2026-09-10T10:00:00+02:00"),
        ("timestamp_utc", None),
        ("timestamp_utc", "2026-09-01T10:00:00Z"),
        ("session_id", "of nobody"),
        ("session_id", None),
        ("user_id", "of nobody"),
        ("user_id", None),
        ("interaction_id", None),
    ]
    for row in damage.some(world):
        column, value = kinds[int(damage.rng.integers(len(kinds)))]
        rows.loc[row, column] = value


def lose_names(world: World, damage: Damage) -> None:
    """Rows that lose their session and their time."""
    for row in damage.some(world):
        world.tables[INTERACTIONS].loc[row, ["session_id", "timestamp_utc"]] = ["of nobody", "soon"]


def repeat(world: World, damage: Damage) -> None:
    """Rows that stand twice."""
    rows = world.tables[INTERACTIONS]
    world.tables[INTERACTIONS] = pd.concat([rows, rows.iloc[damage.some(world)]], ignore_index=True)


def break_summaries(world: World, damage: Damage) -> None:
    """Sessions and users that stand twice, end before they start, or have no time."""
    rows = world.tables[INTERACTIONS]
    hit = damage.some(world)[::2]
    kept = set(rows["session_id"].iloc[_ends(rows)])
    users_kept = set(rows["user_id"].iloc[_ends(rows)])
    for session in sorted(set(rows["session_id"].iloc[hit].dropna()) - kept):
        place = int(np.flatnonzero(world.tables[SESSIONS]["session_id"] == session)[0])
        kind = int(damage.rng.integers(4))
        if kind == 0:
            moved = instant(MONDAY + pd.Timedelta(days=200))
            world.append(SESSIONS, place + 1, start_timestamp_utc=moved, end_timestamp_utc=moved)
        elif kind == 1:
            world.set(SESSIONS, "start_timestamp_utc", place + 1, "2027-01-01T00:00:00Z")
        elif kind == 2:
            world.set(SESSIONS, "start_timestamp_utc", place + 1, "never")
        else:
            world.set(SESSIONS, "user_id", place + 1, "of nobody")
    for user in sorted(set(rows["user_id"].iloc[hit[:1]].dropna()) - users_kept):
        place = int(np.flatnonzero(world.tables[USERS]["user_id"] == user)[0])
        world.append(USERS, place + 1)


def learn_late(world: World, damage: Damage) -> None:
    """Labels that nobody knew at the end of the telemetry."""
    late = instant(MONDAY + pd.Timedelta(days=100))
    world.tables[INTERACTIONS].loc[damage.some(world), "label_available_utc"] = late


def _ends(rows: pd.DataFrame) -> list[int]:
    """Positions of the first and last interaction of each release."""
    stamps = pd.to_datetime(rows["timestamp_utc"], errors="coerce", utc=True, format="ISO8601")
    ends = [
        e for _, own in stamps.groupby(rows["release_id"]) for e in (own.idxmin(), own.idxmax())
    ]
    return [int(i) for i in rows.index.get_indexer(ends)]


WAYS: Mapping[str, Way] = {
    "hide": hide,
    "drop": drop,
    "drop sessions": drop_sessions,
    "break cells": break_cells,
    "lose names": lose_names,
    "repeat": repeat,
    "break summaries": break_summaries,
    "learn late": learn_late,
}
