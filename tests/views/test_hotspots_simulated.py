"""Error rates of the hotspots in worlds with planted truth.

Whole reductions in the engine take about half a second a world; the replicates are few, and the
bounds, observed ≤ nominal + 1.645 √(a(1 − a)/R), as wide as that makes them.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.views.hotspots import Found, assess
from tests.views.world import START, opened, policy

REPLICATES = 20
RULES = policy(
    cluster="user",
    dimensions=["use_case", "channel", "account_tier"],
    hotspots={"metrics": ["failure"], "max_depth": 2},
)


def world(rng: np.random.Generator, plant: float = 1.0) -> pd.DataFrame:
    """Users of uneven activity whose failures hang together; `plant` times in one slice."""
    n_sessions = 3000
    activity = rng.gamma(1.0, 1.0, 1000) + 0.05
    users = rng.choice(1000, n_sessions, p=activity / activity.sum())
    session = np.repeat(np.arange(n_sessions), rng.geometric(0.5, n_sessions))
    user, n = users[session], len(session)
    day = rng.integers(0, 56, n_sessions)[session]
    use_case = rng.choice(["coding", "support", "search"], n_sessions)[session]
    channel = rng.choice(["web", "api"], n_sessions)[session]
    own = rng.beta(0.45, 8.55, 1000)[user]
    inside = (use_case == "coding") & (channel == "api") & (day >= 42)
    rate = own * np.where(use_case == "search", 0.7, 1.15) * np.where(inside, plant, 1.0)
    place = np.arange(n) - np.searchsorted(session, session)
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:05d}" for k in session],
            "user_id": [f"u{k:05d}" for k in user],
            "timestamp_utc": START + pd.to_timedelta(86_400 * day + 9 * place, unit="s"),
            "use_case": use_case,
            "channel": channel,
            "account_tier": np.array(["free", "pro", "team"])[user % 3],
            "is_failure": rng.random(n) < np.minimum(rate, 0.95),
        }
    )


def regressions(rows: pd.DataFrame, folder: Path) -> list[Found]:
    with opened(rows, folder, RULES) as telemetry:
        found = assess(telemetry, telemetry.policy).section.found
    return [f for f in found if f.kind == "regression"]


def test_without_a_regression_none_is_found(tmp_path: Path) -> None:
    # 5 % promised for any finding.
    rng = np.random.default_rng(1)
    n = sum(bool(regressions(world(rng), tmp_path / str(k))) for k in range(REPLICATES))
    assert n / REPLICATES <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / REPLICATES)


@pytest.mark.parametrize("plant", [4.0])
def test_one_true_slice_is_found_and_few_others_are(tmp_path: Path, plant: float) -> None:
    # fdr 5 %: the mean share of findings that do not overlap the planted slice's own dimensions.
    rng, false, hit = np.random.default_rng(2), 0.0, 0
    for k in range(REPLICATES):
        found = regressions(world(rng, plant), tmp_path / str(k))
        true = [
            f
            for f in found
            if f.slice.get("use_case", "coding") == "coding"
            and f.slice.get("channel", "api") == "api"
            and set(f.slice) & {"use_case", "channel"}
        ]
        false += (len(found) - len(true)) / max(len(found), 1)
        hit += bool(true)
    assert false / REPLICATES <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / REPLICATES)
    assert hit / REPLICATES >= 0.5
