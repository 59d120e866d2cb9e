"""Releases like their baseline, or half as bad again, as telemetry that a whole review can read.

Sessions of users who differ, days that differ a little, use cases, models and channels of unlike risk, and
latencies and costs with heavy tails: nothing in it is even but what is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import bounds, contract
from analysis.gate import Decision
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.views import budget, gate_rules, health, hotspots, triage
from analysis.views.drift_checks import below_floors, high_check
from analysis.views.drift_features import binned_features, drift_columns, judge, measure
from analysis.views.result import ViewResult
from tests.views.world import START, dated, policy, tables

USE_CASES = {"coding": 1.6, "support": 1.0, "summarise": 0.6, "search": 0.8}
MODELS = {"large": 0.7, "small": 1.2, "mini": 1.5}
CHANNELS = {"web": 1.0, "api": 1.1, "mobile": 0.9}


@dataclass(frozen=True)
class Release:
    """ratio: failures of the candidate over those of the baseline. canary: two arms of the same two
    weeks, by session; else 42 days before and 14 after."""

    ratio: float = 1.0
    canary: bool = False
    interactions: int = 20_000
    failure: float = 0.04
    user_sd: float = 0.4
    session_sd: float = 0.4
    day_sd: float = 0.05


def rows(world: Release, seed: int) -> pd.DataFrame:
    """The interactions of one such release."""
    rng = np.random.default_rng([seed, int(world.canary)])
    per_session = 1.6
    n_sessions = round(world.interactions / per_session)
    n_users = n_sessions // 3
    days = 14 if world.canary else 56
    activity = rng.gamma(1.5, 1.0, n_users) + 0.05
    user = rng.choice(n_users, n_sessions, p=activity / activity.sum())
    weekly = np.array([1.1, 1.15, 1.15, 1.1, 1.0, 0.75, 0.75])[np.arange(days) % 7]
    day = rng.choice(days, n_sessions, p=weekly / weekly.sum())
    arm = rng.random(n_sessions) < 0.5 if world.canary else day >= 42
    length = rng.geometric(1 / per_session, n_sessions)
    session = np.repeat(np.arange(n_sessions), length)
    place = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    second = day * 86_400 + rng.integers(0, 70_000, n_sessions)
    n = len(session)

    def drawn(risks: dict[str, float], size: int) -> tuple[np.ndarray, np.ndarray]:
        picked = rng.integers(0, len(risks), size)
        return np.array(list(risks))[picked], np.array(list(risks.values()))[picked]

    use_case, by_use = drawn(USE_CASES, n_sessions)
    channel, by_channel = drawn(CHANNELS, n_sessions)
    model, by_model = drawn(MODELS, n)
    risk = (by_use * by_channel)[session] * by_model
    risk *= np.exp(rng.normal(0, world.user_sd, n_users))[user][session]
    risk *= np.exp(rng.normal(0, world.session_sd, n_sessions))[session]
    risk *= world.failure / risk.mean()
    risk *= np.exp(rng.normal(0, world.day_sd, days))[day][session]
    risk *= np.where(arm, world.ratio, 1.0)[session]
    slow = np.exp(rng.normal(0, 0.3, n_users))[user][session]
    latency = (
        np.exp(rng.normal(6.2, 0.6, n))
        * slow
        * np.exp(rng.normal(0, world.day_sd, days))[day][session]
    )
    prompt, completion = (
        rng.integers(50, 2000, n),
        np.round(rng.lognormal(5, 0.8, n)).astype(int) + 1,
    )
    made = pd.DataFrame(
        {
            "interaction_id": [f"i{k:06d}" for k in range(n)],
            "session_id": [f"s{k:06d}" for k in session],
            "user_id": [f"u{k:06d}" for k in user[session]],
            "timestamp_utc": START + pd.to_timedelta(second[session] + 20 * place, unit="s"),
            "release_id": np.where(arm, "new", "old")[session],
            "use_case": use_case[session],
            "channel": channel[session],
            "account_tier": np.array(["free", "pro"])[user % 2][session],
            "model_provider": "aurora",
            "model_name": model,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "latency_ms": np.round(latency, 1),
            "cost_usd": np.round((prompt + 3 * completion) * 4e-6, 9),
            "is_failure": rng.random(n) < risk,
        }
    )  # fmt: skip
    return made.sort_values("interaction_id", kind="stable").reset_index(drop=True)


def rules(world: Release, made: pd.DataFrame, **changes: Any) -> Policy:
    """The default policy; the latency that four in a hundred exceed is what counts as slow."""
    limit = float(np.quantile(made["latency_ms"], 0.96))
    windows: Any = (
        {"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
        if world.canary
        else dated(0, 42, 56)
    )
    slos = [
        {"name": "availability", "bad": "is_failure", "target": 0.95},
        {"name": "latency", "bad": {"column": "latency_ms", "above": limit}, "target": 0.95},
    ]
    return policy(windows=windows, slos=slos, spend={"budget_usd_per_day": 10_000}, **changes)


def decided(made: pd.DataFrame, given: Policy, folder: Path) -> Decision:
    """What the gate decides, by the views whose checks can stop a release."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables(made).items():
        frame.to_parquet(folder / f"llm_system_{name}.parquet", index=False)
    telemetry = open_telemetry(folder, contract.load(), given)
    try:
        found: dict[str, ViewResult[Any]] = {
            "health": health.assess(telemetry, given, headlines_only=True),
            "budget": budget.assess(telemetry, given, headlines_only=True),
            "hotspots": hotspots.assess(telemetry, given),
            "drift": _drift(telemetry, given),
            "triage": triage.assess(telemetry, given),
        }
        found["gate"] = gate_rules.assess(telemetry, given, found["health"].section.candidate)
        return bounds.decision(telemetry, given, found)
    finally:
        telemetry.close()


def _drift(telemetry: Telemetry, given: Policy) -> ViewResult[Any]:
    """Only what can stop a release."""
    names, _ = drift_columns(telemetry, given)
    binned = binned_features(telemetry, names)
    features = judge([measure(telemetry, name, binned[name]) for name in names], given)
    return ViewResult(
        section=None, checks=(high_check(telemetry, given, features, below_floors(telemetry)),)
    )
