"""Telemetry whose every interaction's true risk is known: what a model of risk could reach at best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from analysis.views.triage_policy import Costs
from tests.views.world import DAY, START

Kind = Literal["additive", "steps", "pairs", "nothing"]
Floats = npt.NDArray[np.float64]

LEVELS = {
    "use_case": 6,
    "account_tier": 3,
    "channel": 3,
    "region": 4,
    "segment": 5,
    "model_name": 4,
}
NUMBERS = ("prompt_tokens", "completion_tokens", "latency_ms")


@dataclass(frozen=True)
class World:
    """rows: interactions; risk: (n,) of each its true probability to fail, in the order of `rows`."""

    rows: pd.DataFrame
    risk: Floats

    def window(self, first_day: float) -> npt.NDArray[np.bool_]:
        """Rows of sessions from a day on."""
        start = self.rows.groupby("session_id")["timestamp_utc"].transform("min")
        return np.asarray(start >= START + first_day * DAY)


def world(
    seed: int,
    kind: Kind,
    *,
    n_sessions: int,
    days: int,
    rate: float = 0.06,
    weekend: float = 1.0,
) -> World:
    """Sessions of one to four interactions, of users who come back; the law itself is drawn by the seed.

    weekend: how much of a weekday's traffic a Saturday or Sunday has.
    """
    rng = np.random.default_rng(seed)
    law = np.random.default_rng([seed, 1])
    weights = np.where(np.arange(days) % 7 >= 5, weekend, 1.0)
    day = np.sort(rng.choice(days, n_sessions, p=weights / weights.sum()))
    user = rng.integers(0, max(n_sessions // 4, 1), n_sessions)
    size = rng.integers(1, 5, n_sessions)
    session = np.repeat(np.arange(n_sessions), size)
    n = len(session)
    place = np.arange(n) - np.repeat(np.cumsum(size) - size, size)
    second = day[session] * 86_400 + rng.integers(0, 80_000, n_sessions)[session] + 40 * place
    frame = pd.DataFrame(
        {
            "interaction_id": [f"i{k:07d}" for k in range(n)],
            "session_id": [f"s{k:06d}" for k in session],
            "user_id": [f"u{k:06d}" for k in user[session]],
            "timestamp_utc": START + pd.to_timedelta(second, unit="s"),
            "model_provider": "aurora",
        }
    )
    codes = {}
    for name, levels in LEVELS.items():
        shares = law.dirichlet(np.full(levels, 3.0))
        if name in ("account_tier", "segment", "region"):
            of_user = rng.choice(levels, user.max() + 1, p=shares)
            codes[name] = of_user[user[session]]
        else:
            codes[name] = rng.choice(levels, n, p=shares)
        frame[name] = np.array([f"{name[:2]}{k}" for k in range(levels)])[codes[name]]
    z = {name: rng.normal(size=n) for name in NUMBERS}
    frame["prompt_tokens"] = np.exp(6.5 + 0.8 * z["prompt_tokens"]).astype(int) + 1
    frame["completion_tokens"] = np.exp(5.5 + 0.9 * z["completion_tokens"]).astype(int) + 1
    frame["total_tokens"] = frame["prompt_tokens"] + frame["completion_tokens"]
    frame["latency_ms"] = np.round(np.exp(6.5 + 0.6 * z["latency_ms"]), 1)
    frame["retry_index"] = (rng.random(n) < 0.05).astype(int)
    frame["cost_usd"] = np.round(frame["total_tokens"] * 2e-6, 9)
    score = np.zeros(n)
    if kind != "nothing":
        for name, levels in LEVELS.items():
            score += law.normal(0.0, 0.45, levels)[codes[name]]
        for name in NUMBERS:
            score += law.normal(0.0, 0.5) * z[name]
        score += law.normal(0.5, 0.3) * (frame["retry_index"].to_numpy() > 0)
    if kind == "steps":
        score += 1.5 * (z["latency_ms"] > law.normal(0.8, 0.3)) + 0.8 * np.abs(z["prompt_tokens"])
    if kind == "pairs":
        score += law.normal(0.0, 0.7, (6, 4))[codes["use_case"], codes["model_name"]]
        score += 0.8 * z["latency_ms"] * np.where(codes["channel"] == 0, 1.0, -1.0)
    level = optimize.brentq(lambda b: special.expit(score + b).mean() - rate, -15.0, 5.0)
    risk = special.expit(score + level)
    frame["is_failure"] = rng.random(n) < risk
    return World(frame, risk)


def with_leaks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with columns that know the label, as telemetry has them: outcomes, flags, feedback."""
    bad = rows["is_failure"].astype(bool)
    return rows.assign(
        failure_type=np.where(bad, "timeout", None),
        tool_error_flag=bad,
        final_resolution_state=np.where(bad, "open", "done"),
        response_quality_score=np.where(bad, 0.1, 0.9),
        user_feedback_score=np.where(bad, 1.0, 5.0),
        user_feedback_label=np.where(bad, "bad", "good"),
        user_reported_issue=bad,
    )


def best_cost(risk: Floats, day: npt.NDArray[np.int64], costs: Costs) -> float:
    """Expected USD of the best threshold on the true risks, each day worked from the riskiest down.

    The day's capacity holds; of what it reaches, what pays is reviewed.
    """
    order = np.lexsort((-risk, day))
    place = np.arange(len(risk)) - np.searchsorted(day[order], day[order])
    reached = np.zeros(len(risk), dtype=bool)
    reached[order] = place < costs.capacity_per_day
    reviewed = reached & (risk >= costs.break_even)
    return expected_cost(risk, reviewed.astype(float), costs)


def best_threshold_cost(
    own: Floats, risk: Floats, day: npt.NDArray[np.int64], costs: Costs
) -> float:
    """Expected USD of the best threshold in hindsight on risks of one's own, under the same capacity.

    own, risk: (n,) what the model says and what is true. A day is worked from the riskiest down.
    """
    order = np.lexsort((np.arange(len(own)), -own, day))
    place = np.arange(len(own)) - np.searchsorted(day[order], day[order])
    reached = np.zeros(len(own), dtype=bool)
    reached[order] = place < costs.capacity_per_day
    gain = np.where(reached, costs.missed_usd * risk - costs.review_usd, 0.0)
    falling = np.argsort(-own, kind="stable")
    saved = np.concatenate([[0.0], np.cumsum(gain[falling])])
    return expected_cost(risk, np.zeros(len(risk)), costs) - float(saved.max())


def expected_cost(risk: Floats, reviewed: Floats, costs: Costs) -> float:
    """Expected USD of reviewing these rows."""
    missed = costs.missed_usd * risk * (1.0 - reviewed)
    return float((costs.review_usd * reviewed + missed).sum())
