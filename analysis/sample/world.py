"""A simulated world: its tables, and the truth about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from analysis.sample import truth
from analysis.sample.behaviour import Potential, potential_outcomes, propensities
from analysis.sample.columns import tables
from analysis.sample.outcomes import Attempts, draw_attempts
from analysis.sample.scenarios import Scenario, scenario_named
from analysis.sample.traffic import (
    Days,
    Floats,
    Requests,
    Sessions,
    Users,
    draw_days,
    draw_requests,
    draw_sessions,
    draw_users,
)

# About 1.3 GB of memory a million interactions.
MAX_INTERACTIONS = 10_000_000


@dataclass(frozen=True)
class World:
    """The three tables of the contract as Arrow tables, and the truth as JSON values."""

    scenario: Scenario
    seed: int
    interactions: pa.Table
    sessions: pa.Table
    users: pa.Table
    truth: dict[str, Any]

    @property
    def tables(self) -> dict[str, pa.Table]:
        """The tables by the names of the contract."""
        return {
            "llm_system_interactions": self.interactions,
            "llm_system_sessions_summary": self.sessions,
            "llm_system_users_summary": self.users,
        }


@dataclass(frozen=True)
class Simulation:
    """All that was drawn, before it becomes tables; `requests` holds a few that were never made."""

    days: Days
    users: Users
    sessions: Sessions
    requests: Requests
    propensity: Floats
    potential: Potential
    attempts: Attempts


def generate(scenario: str, n_interactions: int | None = None, seed: int = 1) -> World:
    """The world of a named scenario, with `n_interactions` rows (the scenario's own by default).

    The same scenario, size and seed give the same world. Raises ValueError for an unknown name, a
    size below one, or a negative seed.
    """
    return simulate(scenario_named(scenario), n_interactions, seed)


def simulate(s: Scenario, n_interactions: int | None = None, seed: int = 1) -> World:
    """As `generate`, for any scenario, also one of your own."""
    count = s.interactions if n_interactions is None else n_interactions
    if not 1 <= count <= MAX_INTERACTIONS:
        raise ValueError(f"interactions: {count}; expected 1 to {MAX_INTERACTIONS}")
    if seed < 0:
        raise ValueError(f"seed: {seed}; expected a whole number from 0 on")
    drawn = draw(s, count, seed)
    interactions, sessions, users = tables(
        s, drawn.days, drawn.users, drawn.sessions, drawn.requests, drawn.attempts, seed
    )
    known = truth.describe(
        s,
        seed,
        drawn.days,
        drawn.users,
        drawn.sessions,
        drawn.requests,
        drawn.propensity,
        drawn.potential,
        drawn.attempts,
    )
    return World(s, seed, interactions, sessions, users, known)


def draw(s: Scenario, n_interactions: int, seed: int) -> Simulation:
    """Everything that happens in a world of `n_interactions` interactions."""
    mean_length = sum((i + 1) * p for i, p in enumerate(s.requests_per_session)) / sum(
        s.requests_per_session
    )
    expected = n_interactions / mean_length
    # Six standard errors of slack: a session's length has a coefficient of variation below one.
    n_sessions = math.ceil(expected + 6 * math.sqrt(expected) + 6)
    n_users = max(1, round(expected / s.sessions_per_user))
    days = draw_days(s, seed)
    users = draw_users(s, n_users, seed)
    sessions = draw_sessions(s, days, n_users, n_sessions, seed)
    requests = draw_requests(s, sessions, seed)
    propensity = propensities(s, days, users, sessions, requests)
    potential = potential_outcomes(s, days, sessions, requests)
    attempts = draw_attempts(
        s, users, sessions, requests, propensity, potential, n_interactions, seed
    )
    return Simulation(days, users, sessions, requests, propensity, potential, attempts)
