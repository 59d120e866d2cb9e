"""Small worlds for the tests of the views: telemetry whose every number can be counted by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import contract
from analysis.check import Check, RegressionTest
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.views.result import ViewResult

START = pd.Timestamp("2026-09-21T00:00:00Z")  # a Monday
DAY = pd.Timedelta(days=1)


def at(day: float, hours: float = 0.0) -> str:
    """A moment so long after the start of the world, as a policy writes it."""
    return (START + pd.Timedelta(days=day, hours=hours)).isoformat()


def traffic(
    n_sessions: int = 1500,
    *,
    seed: int = 1,
    days: int = 56,
    per_session: int = 2,
    sessions_per_user: int = 3,
    failure: float = 0.05,
) -> pd.DataFrame:
    """Interactions spread evenly over `days`; what happens in them is random, but seeded."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(n_sessions), per_session)
    place = np.tile(np.arange(per_session), n_sessions)
    day = (np.arange(n_sessions) * days // n_sessions)[session]
    second = day * 86_400 + rng.integers(0, 80_000, n_sessions)[session] + 9 * place
    user = rng.integers(0, max(n_sessions // sessions_per_user, 1), n_sessions)[session]
    n = len(session)
    prompt, completion = rng.integers(50, 2000, n), rng.integers(10, 800, n)
    model = rng.choice(["large", "small"], n, p=[0.4, 0.6])
    price = np.where(model == "large", 6_000, 1_500)
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:05d}" for k in session],
            "user_id": [f"u{k:05d}" for k in user],
            "timestamp_utc": START + pd.to_timedelta(second, unit="s"),
            "use_case": rng.choice(["coding", "support"], n_sessions)[session],
            "account_tier": np.array(["free", "pro"])[user % 2],
            "channel": rng.choice(["web", "api", "mobile"], n, p=[0.5, 0.3, 0.2]),
            "model_provider": "aurora",
            "model_name": model,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "retry_index": (rng.random(n) < 0.05).astype(int),
            "latency_ms": np.round(rng.lognormal(6.5, 0.5, n), 1),
            "cost_usd": (prompt + 2 * completion) * price / 1e9,
            "is_failure": rng.random(n) < failure,
        }
    )


def events(
    moments: Sequence[pd.Timestamp], failed: Sequence[bool | None], **columns: Any
) -> pd.DataFrame:
    """One interaction a session and a user, at exactly these moments."""
    n = len(moments)
    rows = pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:06d}" for k in range(n)],
            "user_id": [f"u{k:06d}" for k in range(n)],
            "timestamp_utc": list(moments),
            "is_failure": list(failed),
        }
    )
    return rows.assign(**columns)


def evenly(n_days: int, a_day: int, first_day: float = 0.0) -> list[pd.Timestamp]:
    """`a_day` moments on each of `n_days`, at equal distances from midnight on."""
    step = DAY / a_day
    return [START + (first_day + d) * DAY + k * step for d in range(n_days) for k in range(a_day)]


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The three tables of these interactions, by the ends of their names."""
    by_session = rows.groupby("session_id", sort=False)
    sessions = pd.DataFrame(
        {
            "user_id": by_session["user_id"].first(),
            "start_timestamp_utc": by_session["timestamp_utc"].min(),
        }
    ).reset_index()
    users = rows.groupby("user_id").size().rename("user_total_requests").reset_index()
    return {"interactions": rows, "sessions_summary": sessions, "users_summary": users}


def written(rows: pd.DataFrame, folder: Path) -> Path:
    """The three tables as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables(rows).items():
        frame = frame.copy()
        for column in frame.columns[frame.columns.str.endswith("_utc")]:
            frame[column] = frame[column].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        frame.to_csv(folder / f"llm_system_{name}.csv", index=False)
    return folder


def policy(**changes: Any) -> Policy:
    """The default policy with changes, over the dimensions that `traffic` has."""
    dimensions = ("use_case", "account_tier", "channel", "model_name")
    return Policy.model_validate({"dimensions": dimensions, **changes})


@contextmanager
def opened(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None, **more: Any
) -> Iterator[Telemetry]:
    """The telemetry of these rows, closed afterwards."""
    telemetry = open_telemetry(written(rows, folder), contract.load(), rules or policy(), **more)
    try:
        yield telemetry
    finally:
        telemetry.close()


def check(result: ViewResult[Any], check_id: str) -> Check:
    """A check with its outcome; a regression check as if it were the only one in its family."""
    found = next(c for c in result.checks if c.id == check_id)
    return found.judged(found.p_value, 0.05) if isinstance(found, RegressionTest) else found


def window(rows: pd.DataFrame, first_day: float, last_day: float) -> pd.DataFrame:
    """Rows whose session starts in [first_day, last_day)."""
    start = rows.groupby("session_id")["timestamp_utc"].transform("min")
    return rows[(start >= START + first_day * DAY) & (start < START + last_day * DAY)]


def dated(first: float, middle: float, last: float) -> Mapping[str, Any]:
    """Windows by dates: baseline [first, middle), candidate [middle, last), in days."""
    return {
        "baseline": {"start": at(first), "end": at(middle)},
        "candidate": {"start": at(middle), "end": at(last)},
    }
