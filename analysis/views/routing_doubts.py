"""What speaks against believing a backtest: weights, balance, and what was known before the choice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.stats.clustered_mean import clustered_mean, without_gaps
from analysis.stats.overlap import Imbalance, balance
from analysis.stats.ridge import ridge_residuals
from analysis.views.routing_backtest import Backtest
from analysis.views.routing_features import indicators
from analysis.views.routing_log import COST, FAILURE, Log

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FAULT_LEVEL = 0.001
"""Level of each kind of doubt: sound logs raise one in a few hundred."""
MOST_IMBALANCE = 0.10
MOST_PARETO_K = 0.7
MOST_OFF = {"logged": 0.02, "estimated": 0.05}
"""Weights may be off by so much on the whole: the outcome model answers for that."""
MIN_BEFORE = 200
MAX_CHOICES, RIDGE = 20, 1.0


@dataclass(frozen=True)
class Control:
    """The negative control: an outcome of the request *before*, which no choice can have moved.

    effect: how much higher it is, per moved request, where the log took the candidate's choice.
    n: requests with one before them in their session.
    """

    outcome: str
    effect: float
    low: float
    high: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Doubts:
    """worst: the feature that is least balanced after weighting, with its name. controls: of the
    previous request's failure and cost. fault: the first reason not to believe the estimate, or None."""

    worst: tuple[str, Imbalance] | None
    controls: tuple[Control, ...]
    fault: str | None


def doubts(log: Log, result: Backtest) -> Doubts:
    """All of a backtest's diagnostics; call where something moves, with support.

    Negative control: what the request before, in the same session, had more of where the log took the
    candidate's choice. Nothing can have caused it: an interval without 0 says that the propensities hide
    something.
    """
    moved = 1.0 - result.plan.stays
    rows = moved > 0
    cluster = without_gaps(log.cluster[rows])
    found = balance(
        log.features.design.rows(np.flatnonzero(rows)), result.weights[rows], moved[rows], cluster
    )
    worst = max(found, key=lambda f: abs(f.difference), default=None)
    uneven = [
        f
        for f in found
        if abs(f.difference) > MOST_IMBALANCE and f.p_value < FAULT_LEVEL / len(found)
    ]
    controls = _controls(log, result.weights, moved)
    return Doubts(
        None if worst is None else (log.features.names[worst.feature], worst),
        controls,
        _mean_weight(log, result, moved)
        or _by_cell(log, result, moved)
        or _tail(result)
        or _uneven(log, uneven)
        or _moved_before(controls),
    )


def _mean_weight(log: Log, result: Backtest, moved: Floats) -> str | None:
    """Whether the weights contradict the log: of true propensities they average what moves."""
    average, p = _average(log, result, moved, moved > 0)
    if p >= FAULT_LEVEL or abs(average - 1) <= MOST_OFF[log.source]:
        return None
    return (
        f"the {log.source} propensities contradict the log: the weights of what it changes average "
        f"{average:.2f}, and 1 was due"
    )


def _by_cell(log: Log, result: Backtest, moved: Floats) -> str | None:
    """The same in each cell of routing.context: weights must add up there too."""
    cells = np.unique(log.cell[moved > 0]).tolist()
    for cell in cells:
        average, p = _average(log, result, moved, (log.cell == cell) & (moved > 0))
        if p < FAULT_LEVEL / len(cells) and abs(average - 1) > MOST_IMBALANCE:
            where = ", ".join(v if v is not None else "(none)" for v in log.cells[cell])
            return (
                f"the {log.source} propensities contradict the log: among “{where[:80]}” the weights "
                f"average {average:.2f}, and 1 was due"
            )
    return None


def _average(log: Log, result: Backtest, moved: Floats, rows: Bools) -> tuple[float, float]:
    """The weights of rows beside what moves of them, 1 is due; and the p-value of their difference."""
    weights, due = result.weights[rows], moved[rows]
    off = clustered_mean(weights - due, without_gaps(log.cluster[rows]))
    return float(weights.sum() / due.sum()), off.p_two_sided


def _tail(result: Backtest) -> str | None:
    if math.isfinite(result.pareto_k) and round(result.pareto_k, 2) > MOST_PARETO_K:
        return (
            f"a few requests carry the estimate: the Pareto shape of the weights is "
            f"{result.pareto_k:.2f}; at most {MOST_PARETO_K} is accepted"
        )
    return None


def _uneven(log: Log, found: list[Imbalance]) -> str | None:
    if not found:
        return None
    worst = max(found, key=lambda f: abs(f.difference))
    return (
        f"weighted, the requests that got its choice still differ from those that it would change: "
        f"{log.features.names[worst.feature]} is {abs(worst.difference):.2f} standard deviations off"
    )


def _moved_before(controls: tuple[Control, ...]) -> str | None:
    for control in controls:
        if control.p_value < FAULT_LEVEL / len(controls):
            return (
                "the choice hangs on something that nobody logged: where the log took it, the request "
                f"before had {'more' if control.effect > 0 else 'less'} {control.outcome}, "
                "which no routing can have caused"
            )
    return None


def _controls(log: Log, weights: Floats, moved: Floats) -> tuple[Control, ...]:
    """E[(w − moved) r] must be 0 for all that was known before the choice.

    r: what the request before it in its session did, less what the context and *its* choice lead one
    to expect: so a session that stays with one model does not look confounded (Lipsitch, Tchetgen
    Tchetgen & Cohen 2010 on negative controls; Robinson 1988 on partialling out).
    """
    now, before = log.previous
    here = moved[now] > 0
    now, before = now[here], before[here]
    if len(now) < MIN_BEFORE:
        return ()
    choices = indicators(log.action[before], MAX_CHOICES)
    x = log.features.design.rows(now).with_more(choices)
    off, total = weights[now] - moved[now], float(moved[now].sum())
    cluster = without_gaps(log.cluster[now])
    out = []
    y = log.outcomes[before][:, (FAILURE, COST)]
    rest = ridge_residuals(x, y, np.full(1 + x.width, RIDGE))
    for name, before_it, left in zip(("failures", "cost"), y.T, rest.T, strict=True):
        if float(before_it.std()) <= 1e-12:
            continue
        found = clustered_mean(off * left, cluster)
        scale = len(now) / total
        out.append(
            Control(
                name, found.value * scale, found.lower(0.975) * scale,
                found.upper(0.975) * scale, found.p_two_sided, len(now),
            )
        )  # fmt: skip
    return tuple(out)
