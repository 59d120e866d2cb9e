"""Odd but valid telemetry for every engine, with the policies that make it odder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis import review as reviews
from analysis.sample import generate, write
from tests.end_to_end.test_odd_worlds import policy_file, tables
from tests.telemetry.engines.servers import of_frames

HOSTILE = (
    "it's", 'a "quoted" one', "back\\slash\\'", "{{< env HOME >}}", "$1 $name ${env:HOME} :p %s ?", "-- no",
    "Ünïcödé", "unicode", "Zebra", "apple", "ähre", "😀👩‍👩‍👧", "a\nb\tc",
    " lead", "a b", "a_b", "A B", "'); DROP TABLE fact;--",
)  # fmt: skip
"""Texts that a statement must not obey, and that sort differently in English and by bytes."""


@dataclass(frozen=True)
class Odd:
    """Telemetry, and how it is reviewed."""

    name: str
    change: Callable[[pd.DataFrame], pd.DataFrame]
    policy: dict[str, Any] = field(default_factory=dict)
    as_of: datetime | None = None
    n: int = 1500

    def __str__(self) -> str:
        return self.name

    def tables(self, folder: Path) -> dict[str, pa.Table]:
        """The three tables."""
        data = write(generate("healthy", self.n, 3), folder / "base", "parquet")
        rows = pd.read_parquet(data / "llm_system_interactions.parquet")
        for column in ("timestamp_utc", "label_available_utc"):
            rows[column] = pd.to_datetime(rows[column], utc=True)
        changed = tables(self.change(rows))
        return of_frames({f"llm_system_{name}": frame for name, frame in changed.items()})

    def review(self, data: str, folder: Path) -> dict[str, Any]:
        """The artifact of a review of these tables at `data`."""
        policy = folder / "policy.yml"
        if not policy.exists():
            policy_file(self.policy, folder)
        wanted = reviews.request(data=data, policy=policy, as_of=self.as_of, threads=2)
        return dict(reviews.compute(wanted).body)


def hostile(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts of every kind, nulls everywhere, a giant user, retries, and columns of its own."""
    rng = np.random.default_rng(7)
    n = len(rows)
    texts = np.array(HOSTILE, dtype=object)
    giant = rng.random(n) < 0.35
    sessions = rows["session_id"].mask(giant, "g" + rows["timestamp_utc"].dt.strftime("%Y%m%d%H"))
    users = rows["user_id"].mask(giant, "Ω\\'giant\"")
    out = rows.assign(
        session_id=sessions,
        user_id=users,
        use_case=texts[rng.integers(0, len(texts), n)],
        region=np.where(rng.random(n) < 0.03, None, texts[rng.integers(0, 5, n)]),
        retry_index=rng.integers(0, 3, n),
        is_failure=rows["is_failure"].astype(object).mask(rng.random(n) < 0.02),
        latency_ms=rows["latency_ms"].mask(rng.random(n) < 0.01),
        label_available_utc=rows["timestamp_utc"] + pd.Timedelta(days=3),
        mood=np.array(["1", "7.5", " 4 ", "-2e1", "nan", "high", "", "1e3x"])[
            rng.integers(0, 8, n)
        ],
        grade=rng.integers(-3, 9, n),
        day=rng.integers(0, 3, n),
        # Most in fifty of a hundred and some, with many ties; the rest is grouped.
        segment=[f"{texts[j % 7]} {j}" for j in (k % 45 if k % 3 else k % 113 for k in range(n))],
        **{'odd "name"\\': texts[rng.integers(0, 4, n)]},
    )
    # A session has one user, whoever it was.
    first = out.groupby("session_id")["user_id"].transform("first")
    return out.assign(user_id=first).drop(columns=["cost_usd"])


def released(rows: pd.DataFrame) -> pd.DataFrame:
    """Two releases side by side."""
    codes = pd.factorize(rows["session_id"])[0]
    names = np.where(codes % 100 < 40, "it's new", "old")
    return rows.assign(release_id=names, prompt_version=None)


HOSTILE_WORLD = Odd(
    "hostile texts, a giant user, late labels, odd windows, and no cost",
    hostile,
    {
        "windows": {
            "candidate": {"days": 9},
            "baseline": {"days": 24},
            "exclude": [
                {"start": "2026-10-20T06:00:00Z", "end": "2026-10-21", "reason": "it's out"}
            ],
        },
        "dimensions": ["use_case", "region", "account_tier", 'odd "name"\\', "grade", "segment"],
        "slos": [
            {"name": "availability", "bad": "is_failure", "target": 0.95},
            {"name": "latency", "bad": {"column": "latency_ms", "above": 2200}, "target": 0.95},
            {"name": "moody", "bad": {"column": "mood", "above": 3}, "target": 0.5},
            {
                "name": "worded",
                "bad": {"column": "use_case", "equals": "back\\slash\\'"},
                "target": 0.5,
            },
            {"name": "graded", "bad": "grade", "target": 0.5},
        ],
        "missing": {"max_rate": 0.5},
        "hotspots": {
            "min_support": 20,
            "bins": {
                "prompt_tokens": [200.5, 900],
                "hour": {"quantiles": 3},
                "time_to_first_token_ms": {"quantiles": 4},
                "scenario": [1],
                "mood": [1],
            },
        },
    },
    datetime(2026, 11, 13, 7, tzinfo=UTC),
)
RELEASES = Odd(
    "two releases side by side",
    released,
    {"windows": {"candidate": {"release_id": "it's new"}, "baseline": {"release_id": "old"}}},
)
FIRST = Odd(
    "a first release of few columns",
    lambda rows: rows[
        ["interaction_id", "session_id", "user_id", "timestamp_utc", "is_failure", "latency_ms", "use_case"]
    ],
    {"windows": {"baseline": "none"}},
    n=600,
)  # fmt: skip
WORLDS = (HOSTILE_WORLD, RELEASES, FIRST)
