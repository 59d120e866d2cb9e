"""A cascade: the cheap choice first, the strong one where that fails. A log of single choices does not
identify it: nobody saw both answers to one request. So it has bounds, and no estimate.

It escalates exactly what fails; a real trigger misses some, and costs more. With c, f, b the cost,
failure and breach of the cheap choice and f' the strong one's failure, means over requests,

    low   c + f·(least cost) + F·max(0, f + f' − 1) + B·b
    high  c + f·(largest cost) + F·min(f, f') + B·min(1, b + f)

F, B the policy's prices: Fréchet's bounds of failing twice (Manski 2003, section 2.5).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from analysis.policy import Policy, RoutingRule
from analysis.stats.clustered_mean import clustered_mean
from analysis.stats.partial_identification import imbens_manski
from analysis.views.routing_backtest import Scored, dearest, scored
from analysis.views.routing_log import BREACH, COST, FAILURE, UNIT_COST, Log
from analysis.views.routing_plan import plan

Floats = npt.NDArray[np.float64]


def all_to(log: Log, policy: Policy, action: tuple[str | None, ...]) -> Scored:
    """The scores of sending everything to one action."""
    use = {c: str(v) for c, v in zip(policy.routing.action, action, strict=True)}
    return scored(log, plan(log, policy, [RoutingRule(when={}, use=dict(use))]))


def bounds(log: Log, policy: Policy, cheap: Scored, strong: Scored) -> tuple[float, float] | None:
    """Of the saving, with the policy's confidence; None where a single cluster leaves no variance."""
    low_cost, high_cost = policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    least, most = dearest(policy)
    failing, slow = policy.routing.failure_cost_usd, policy.routing.latency_breach_cost_usd
    first, second = cheap.scores, strong.scores
    unknown = cheap.plan.lost > 0
    f, breach = first[:, FAILURE], first[:, BREACH] if log.breaches else np.zeros(len(first))
    twice = np.where(strong.plan.lost > 0, 1.0, second[:, FAILURE])
    both = f if f.mean() <= twice.mean() else twice
    never = f + twice - 1.0 if (f + twice - 1.0).mean() > 0 else np.zeros(len(f))
    late = breach + f if (breach + f).mean() < 1 else np.ones(len(f))
    low = first[:, COST] + f * low_cost + failing * never + slow * breach
    high = first[:, COST] + f * high_cost + failing * both + slow * late
    low = np.where(unknown, least, low)
    high = np.where(unknown, most + high_cost, high)
    y = log.outcomes[:, UNIT_COST]
    worst, best = clustered_mean(y - high, log.cluster), clustered_mean(y - low, log.cluster)
    found = imbens_manski(
        worst.value, worst.standard_error, best.value, best.standard_error,
        policy.routing.confidence,
    )  # fmt: skip
    return found if all(map(math.isfinite, found)) else None
