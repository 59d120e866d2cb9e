"""Services as they are in production, drawn at random: weekends, peaks, bursts, launches, probes.

All of it is valid telemetry. What is planted into it stands in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.contract import INTERACTIONS, SESSIONS, USERS
from tests.telemetry.worlds import World

USE_CASES = np.array(["coding", "support", "search", "summarisation"])
MODELS = np.array(["aurora-large", "aurora-small", "borealis-pro"])
COUNTRIES = np.array(["DE", "FR", "US", "NA", "JP", "BR", "IN", "GB", "ES"])


@dataclass(frozen=True)
class Service:
    """What a service is like.

    launch: (day, factor) of one day, or of all days from it on where `stays`. burst: share of rows
    that come from few sessions, within minutes. mature: days until all labels are known. feedback:
    share of rows with a score. probes: synthetic calls a day, always alike. batch: whether work
    comes in batches of short answers. quiet: rows a day on weekends, relative to others.
    """

    days: int = 28
    rows_a_day: float = 300
    first: str = "2026-09-07"
    quiet: float = 0.7
    peak: float = 0.75
    noise: float = 0.06
    growth: float = 1.0
    launch: tuple[int, float] | None = None
    stays: bool = False
    burst: float = 0.0
    mature: int = 0
    feedback: float = 0.03
    failure: float = 0.05
    bad_day: tuple[int, float] | None = None
    probes: int = 0
    batch: bool = False
    by_user: float = 0.2
    by_weekend: float = 0.0
    optional: bool = True
    words: tuple[str, ...] = field(default=())


def volumes(s: Service, rng: np.random.Generator) -> np.ndarray:
    """Rows of each day."""
    first = pd.Timestamp(s.first)
    weekday = (first.weekday() + np.arange(s.days)) % 7
    mean = s.rows_a_day * np.where(weekday >= 5, s.quiet, 1.0)
    mean = mean * s.growth ** (np.arange(s.days) / max(1, s.days - 1))
    mean = mean * np.exp(s.noise * rng.standard_normal(s.days))
    if s.launch is not None:
        day, factor = s.launch
        mean[day : None if s.stays else day + 1] *= factor
    return rng.poisson(mean)


def interactions(s: Service, rng: np.random.Generator) -> pd.DataFrame:
    """The interactions, in order of time, as typed columns."""
    hourly = 1 + s.peak * np.cos((np.arange(24) - 14) * 2 * np.pi / 24) ** (1 if s.peak < 1 else 9)
    hourly = np.maximum(hourly, 0.02) / np.maximum(hourly, 0.02).sum()
    rows = volumes(s, rng)
    lengths = rng.geometric(0.4, int(rows.sum()) + 1)
    day_of, start, session = [], [], []
    number = 0
    for day, n in enumerate(rows):
        left = int(n)
        while left > 0:
            length = min(left, int(lengths[number]))
            if s.burst and rng.random() < s.burst / 20:
                length = min(left, int(rng.integers(30, 200)))
            hour = rng.choice(24, p=hourly)
            at = 3600.0 * hour + 3600 * rng.random()
            gap = rng.exponential(2.0 if length >= 30 else 60.0, length)
            moments = np.minimum(at + np.cumsum(gap), 86_399.0)
            day_of += [day] * length
            start += list(moments)
            session += [number] * length
            number, left = number + 1, left - length
    day_, session_ = np.array(day_of, dtype=np.int64), np.array(session, dtype=np.int64)
    n = len(day_)
    users = max(3, number // 3)
    user = rng.integers(0, users, number + 1)[session_]
    prompt = np.rint(np.exp(rng.normal(6.5, 0.8, n))).astype(np.int64) + 20
    completion = np.rint(np.exp(rng.normal(5.5, 0.7, n))).astype(np.int64) + 1
    if s.batch:
        prompt = rng.integers(200, 260, n)
        completion = rng.integers(1, 4, n)
    rate = np.full(n, s.failure)
    if s.bad_day is not None:
        rate[day_ == s.bad_day[0]] = s.bad_day[1]
    failed = rng.random(n) < rate
    completion[failed & (rng.random(n) < 0.5)] = 0
    time = pd.Timestamp(s.first, tz="UTC") + pd.to_timedelta(
        np.rint((day_ * 86_400 + np.array(start)) * 1e3), unit="ms"
    )
    frame = pd.DataFrame({
        "interaction_id": [f"i{k:07d}" for k in range(n)],
        "session_id": [f"s{k:06d}" for k in session_],
        "user_id": [f"u{k:05d}" for k in user],
        "timestamp_utc": time,
        "is_failure": pd.array(failed, dtype="boolean"),
        "use_case": USE_CASES[rng.integers(0, 4, number + 1)[session_]],
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "latency_ms": np.rint(np.exp(rng.normal(6.6, 0.5, n))),
        "cost_usd": np.rint(prompt * 3 + completion * 12) / 1e6,
    })  # fmt: skip
    if s.optional:
        frame["model_name"] = MODELS[rng.integers(0, 3, n)]
        frame["country_code"] = np.where(
            rng.random(users)[user] < s.by_user, None, COUNTRIES[user % len(COUNTRIES)]
        )
        frame["region"] = np.where(
            (time.day_of_week >= 5) & (rng.random(n) < s.by_weekend), None, "emea"
        )
        frame["failure_type"] = np.where(
            failed, np.array(["timeout", "refusal"])[rng.integers(0, 2, n)], None
        )
        score = rng.integers(1, 6, n).astype(float)
        frame["user_feedback_score"] = np.where(rng.random(n) < s.feedback, score, np.nan)
        frame["cached_prompt_tokens"] = np.where(rng.random(n) < 0.4, prompt // 2, 0)
        frame["pii_flag"] = rng.random(n) < 0.003
        frame["temperature"] = 0.7
    if s.words:
        words = np.array(s.words)
        last = np.maximum(5, (len(words) * (day_ + 1)) // s.days)
        frame["instruction_template"] = words[(rng.random(n) * last).astype(int)]
    if s.mature:
        left = s.days - day_
        unknown = (left <= s.mature) & (rng.random(n) < 1 - (left - 1) / s.mature)
        frame.loc[unknown | (rng.random(n) < 0.01), "is_failure"] = pd.NA
    if s.probes:
        frame = pd.concat([frame, _probes(s, rng, frame)], ignore_index=True)
    frame = frame.sort_values("timestamp_utc", kind="stable").reset_index(drop=True)
    return frame


def _probes(s: Service, rng: np.random.Generator, like: pd.DataFrame) -> pd.DataFrame:
    """A monitor asks the same thing all day long."""
    n = s.probes * s.days
    seconds = np.repeat(np.arange(s.days), s.probes) * 86_400 + np.tile(
        np.arange(s.probes) * (86_400 // s.probes), s.days
    )
    out = like.iloc[rng.integers(0, len(like), n)].reset_index(drop=True)
    out["interaction_id"] = [f"p{k:07d}" for k in range(n)]
    out["session_id"] = [f"probe{k // s.probes}" for k in range(n)]
    out["user_id"] = "monitor"
    out["timestamp_utc"] = pd.Timestamp(s.first, tz="UTC") + pd.to_timedelta(seconds, unit="s")
    out["use_case"], out["is_failure"] = "support", pd.array([False] * n, dtype="boolean")
    out["prompt_tokens"], out["completion_tokens"], out["total_tokens"] = 12, 1, 13
    out["latency_ms"] = np.rint(rng.normal(210, 15, n))
    out["cost_usd"] = 48e-6
    for column, value in (("failure_type", None), ("cached_prompt_tokens", 0)):
        if column in out:
            out[column] = value
    return out


def summaries(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sessions and users that belong to interactions."""

    def totals(of: str, key: str) -> pd.DataFrame:
        rows = frame.assign(failed=frame["is_failure"].fillna(False).astype(int), one=1)
        out = rows.groupby(key, sort=True).agg(
            cost=("cost_usd", "sum"), tokens=("total_tokens", "sum"),
            requests=("one", "sum"), failures=("failed", "sum"),
        )  # fmt: skip
        out["cost"] = out["cost"].round(6)
        names = {"cost": "cost_usd"}
        return out.rename(columns=lambda c: f"{of}_total_{names.get(c, c)}").reset_index()

    times = frame.groupby("session_id", sort=True).agg(
        user_id=("user_id", "first"),
        start_timestamp_utc=("timestamp_utc", "min"),
        end_timestamp_utc=("timestamp_utc", "max"),
    )
    sessions = times.reset_index().merge(totals("session", "session_id"), on="session_id")
    return sessions, totals("user", "user_id")


def service(s: Service, seed: int, folder: Path) -> World:
    """A world of one service. Its cells are typed; `write` knows both formats."""
    return around(interactions(s, np.random.default_rng(seed)), folder)


def around(frame: pd.DataFrame, folder: Path) -> World:
    """The world of these interactions."""
    sessions, users = summaries(frame)
    return Typed({INTERACTIONS: frame, SESSIONS: sessions, USERS: users}, folder)


class Typed(World):
    """A world of typed columns."""

    def write(self, kind: str = "parquet") -> Path:
        """Writes the three tables as csv, csv.gz or parquet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            if kind == "parquet":
                table.to_parquet(self.folder / f"{name}.parquet", index=False)
            else:
                table = table.copy()
                for column in table.select_dtypes("datetimetz"):
                    stamps = table[column].dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
                    table[column] = (stamps + "Z").where(table[column].notna(), None)
                table.to_csv(self.folder / f"{name}.{kind}", index=False, compression="infer")
        return self.folder
