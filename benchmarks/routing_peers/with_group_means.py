"""A table of group means: of the requests that a candidate moves, those that got its model against all.

Welch's interval with requests as units. Adopted where its lower bound is above 0.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.routing_peers.case import Case, Word

Z = 1.959963984540054


def judge(case: Case) -> dict[str, Word]:
    """Each target's group against all requests that would move to it."""
    model = case.frame["model_name"].to_numpy(dtype=str)
    saving = variance = 0.0
    for target in np.unique(case.target[case.moved]).tolist():
        here = case.target == target
        now, then = case.unit_cost[here], case.unit_cost[here & (model == target)]
        if len(then) < 2:
            return {"group means": Word(False)}
        share = len(now) / len(case.unit_cost)
        saving += share * float(now.mean() - then.mean())
        variance += share**2 * float(now.var(ddof=1) / len(now) + then.var(ddof=1) / len(then))
    reach = Z * math.sqrt(variance)
    return {"group means": Word(saving - reach > 0, saving, saving - reach, saving + reach)}
