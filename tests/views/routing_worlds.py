"""Logs of routed requests whose potential outcomes are known, for simulations.

A world draws its own contexts, router and models; nothing in it is that of the sample generator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry.requests import Requests
from analysis.views.routing_log import Log, log_of

Floats = npt.NDArray[np.float64]

USES = ("chat", "code", "extract", "search")
TIERS = ("free", "pro", "team")
MODELS = ("a", "b", "c")
FAILURE_USD, BREACH_USD = 40.0, 5.0
COLUMNS = ("use_case", "account_tier", "region", "prompt_tokens")


@dataclass(frozen=True)
class World:
    """Parameters. failure, cost: (uses, models); router: (uses, tiers, models) log-odds.

    prompts: how much long prompts raise failures, by model; sends: and how much they move the router.
    step: a threshold of the router on long prompts. hidden: what nobody logs, on both.
    """

    failure: Floats
    cost: Floats
    router: Floats
    prompts: Floats
    sends: Floats
    step: Floats
    floor: float = 0.02
    user_sd: float = 0.6
    hidden: float = 0.0
    tier_harm: Floats = field(default_factory=lambda: np.zeros((3, 3)))

    @classmethod
    def drawn(cls, rng: np.random.Generator, **changes: Any) -> World:
        k = len(MODELS)
        drawn = {
            "failure": np.log(0.06) + rng.normal(0, 0.4, (len(USES), k)),
            "cost": np.array([0.02, 0.05, 0.12]) * np.exp(rng.normal(0, 0.2, (len(USES), k))),
            "router": rng.normal(0, 0.7, (len(USES), len(TIERS), k)),
            "prompts": rng.uniform(0, 0.4, k),
            "sends": rng.normal(0, 0.5, k),
            "step": rng.normal(0, 0.5, k),
        }
        return cls(**{**drawn, **changes})


def contexts(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """n requests: users of about four, in sessions of about two."""
    user = np.sort(rng.integers(0, max(n // 4, 1), n))
    tier = rng.choice(3, size=n // 4 + 1, p=[0.5, 0.3, 0.2])[user]
    use = (user + (rng.random(n) < 0.4) * rng.integers(0, 4, n)) % 4
    size = rng.normal(0, 1, n) + 0.3 * (use == 1)
    second = user * 2 + (rng.random(n) < 0.5)
    return {"user": user, "tier": tier, "use": use, "size": size, "session": second,
            "region": rng.integers(0, 3, n)}  # fmt: skip


def chances(world: World, x: dict[str, Any], hidden: Floats) -> Floats:
    """(n, models): the router's."""
    logits = (
        world.router[x["use"], x["tier"]]
        + x["size"][:, None] * world.sends
        + (x["size"] > 0.7)[:, None] * world.step
        + world.hidden * hidden[:, None] * np.linspace(-1, 1, len(MODELS))
    )
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return np.asarray(world.floor + (1 - len(MODELS) * world.floor) * e)


def failing(world: World, x: dict[str, Any], user: Floats, hidden: Floats) -> Floats:
    """(n, models): probability of a failure."""
    logits = (
        world.failure[x["use"]]
        + x["size"][:, None] * world.prompts
        + (world.user_sd * user - world.user_sd**2 / 2)[:, None]
        + world.tier_harm[x["tier"]]
        + 0.8 * world.hidden * hidden[:, None]
    )
    return np.asarray(1 / (1 + np.exp(-logits)))


def late(x: dict[str, Any]) -> Floats:
    """(n, models): probability of a latency breach."""
    return np.asarray(0.02 + 0.02 * (x["size"][:, None] > 1) + np.array([0.0, 0.01, 0.03]))


def truth(world: World, moves: dict[int, int], n: int = 200_000) -> tuple[float, float]:
    """(saving in unit cost, change of the failure rate) per request, of moving each use in `moves`
    to a model, over a large population."""
    rng = np.random.default_rng(12_345)
    x = contexts(rng, n)
    user = rng.normal(size=x["user"].max() + 1)[x["user"]]
    hidden = rng.normal(size=x["user"].max() + 1)[x["user"]]
    e, f, b = chances(world, x, hidden), failing(world, x, user, hidden), late(x)
    unit = world.cost[x["use"]] + FAILURE_USD * f + BREACH_USD * b
    saving, rise = np.zeros(n), np.zeros(n)
    for use, model in moves.items():
        here = x["use"] == use
        saving[here] = (e * unit).sum(axis=1)[here] - unit[here, model]
        rise[here] = f[here, model] - (e * f).sum(axis=1)[here]
    return float(saving.mean()), float(rise.mean())


def policy(moves: dict[int, int], **routing: Any) -> Policy:
    rules = [
        {"when": {"use_case": USES[u]}, "use": {"model_name": MODELS[m]}} for u, m in moves.items()
    ]
    given = {
        "action": ["model_name"],
        "context": ["use_case", "account_tier"],
        "failure_cost_usd": FAILURE_USD,
        "latency_breach_cost_usd": BREACH_USD,
        "candidates": [{"name": "c", "rules": rules}],
        **routing,
    }
    return Policy.model_validate({"routing": given})


def logged(
    world: World, rng: np.random.Generator, n: int, of: Policy, *, known: bool, chosen: Any = None
) -> Log:
    """A log of n requests. known: whether propensities are logged. chosen: (x) → model codes, for a
    router that does not draw."""
    x = contexts(rng, n)
    user = rng.normal(size=x["user"].max() + 1)[x["user"]]
    hidden = rng.normal(size=x["user"].max() + 1)[x["user"]]
    e = chances(world, x, hidden)
    if chosen is None:
        action = (rng.random(n)[:, None] > np.cumsum(e, axis=1)).sum(axis=1).clip(0, 2)
        propensity = e[np.arange(n), action]
    else:
        action = chosen(x)
        propensity = np.ones(n)
    rows, f, b = np.arange(n), failing(world, x, user, hidden), late(x)
    cost = world.cost[x["use"], action] * np.exp(rng.normal(-0.02, 0.2, n))
    frame = pd.DataFrame(
        {
            "interaction_id": [f"i{k:07d}" for k in rows],
            "cluster_id": [f"u{k}" for k in x["user"]],
            "attempts": 1,
            "cost_nano": np.round(cost * 1e9),
            "failure": (rng.random(n) < f[rows, action]).astype(float),
            "breach": (rng.random(n) < b[rows, action]).astype(float),
            "use_case": np.array(USES)[x["use"]],
            "account_tier": np.array(TIERS)[x["tier"]],
            "region": np.array(["r0", "r1", "r2"])[x["region"]],
            "prompt_tokens": np.round(np.exp(6 + 0.8 * x["size"])),
            "model_name": np.array(MODELS)[action],
            "ts_us": rng.integers(0, 14 * 86_400_000_000, n),
            "session": x["session"],
        }
    )
    if known:
        frame["routing_propensity"] = propensity
    keys = ["use_case", "account_tier", "model_name"]
    choices = frame.groupby(keys).size().rename("n").reset_index()
    telemetry: Any = SimpleNamespace(contract=contract.load(), columns=tuple(frame.columns))
    return log_of(Requests(frame, n, n, 0), choices, telemetry, of)
