"""Routing policies that are learned: fitted on the baseline window, never on what judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize

from analysis.policy import Policy, RoutingCandidate, RoutingRule, Scalar
from analysis.stats.offpolicy import dr_scores, importance_weights
from analysis.views.routing_log import BREACH, COST, FAILURE, UNIT_COST, Action, Log, words_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_REQUESTS = 50
MAX_ACTIONS = 12
SHARE_STEP = 0.05


@dataclass(frozen=True)
class Values:
    """Doubly robust values of sending a whole cell to one action, on the baseline.

    n: (cells,) requests. tried: (cells, actions) logged often enough. mean: (cells, actions, 4) per
    request, and present: (cells, 4). error: (cells, actions, 4) standard errors of mean − present.
    actions: codes into the log's.
    """

    n: Ints
    tried: npt.NDArray[np.bool_]
    mean: Floats
    present: Floats
    error: Floats
    actions: Ints


def values(log: Log) -> Values:
    """Of every cell of `routing.context` and the `MAX_ACTIONS` most frequent actions."""
    counts = np.bincount(log.action, minlength=len(log.actions))
    often = np.argsort(-counts, kind="stable")[:MAX_ACTIONS]
    actions = np.sort(often[counts[often] >= MIN_REQUESTS]).astype(np.int64)
    cells, k = len(log.cells), len(actions)
    n = np.bincount(log.cell, minlength=cells).astype(np.int64)
    tried = np.zeros((cells, k), dtype=bool)
    mean, error = np.zeros((cells, k, 4)), np.full((cells, k, 4), np.inf)
    y, q_logged = log.outcomes, log.expected_as_logged
    stays = np.zeros(len(y))
    present = np.array([y[log.cell == c].mean(axis=0) for c in range(cells)]).reshape(cells, 4)
    # Clusters within cells: a cluster's rows may lie in several.
    width = int(log.cluster.max()) + 1
    pair, place = np.unique(log.cell * width + log.cluster, return_inverse=True)
    home = pair // width
    groups = np.bincount(home, minlength=cells)
    for j, action in enumerate(actions.tolist()):
        taken = np.bincount(log.cell[log.action == action], minlength=cells)
        tried[:, j] = taken >= MIN_REQUESTS
        weights = importance_weights((log.action == action).astype(float), log.chance(action))
        target = np.full(len(y), action, dtype=np.int64)
        phi = dr_scores(y, q_logged, log.expected(target), weights, stays)
        for outcome in (UNIT_COST, FAILURE, COST, *([BREACH] if log.breaches else [])):
            mean[:, j, outcome] = np.bincount(log.cell, phi[:, outcome], cells) / n
            change = phi[:, outcome] - y[:, outcome]
            off = change - (np.bincount(log.cell, change, cells) / n)[log.cell]
            sums = np.bincount(place, off, len(pair))
            squares = np.bincount(home, sums * sums, cells) * groups / np.maximum(groups - 1.0, 1.0)
            error[:, j, outcome] = np.where(groups > 1, np.sqrt(squares) / n, np.inf)
    return Values(n, tried, mean, present, error, actions)


def learn(
    log: Log, policy: Policy, candidate: RoutingCandidate
) -> tuple[tuple[RoutingRule, ...], str | None]:
    """The rules, and why there are none. log: of the baseline window.

    `cheapest_within_slo`: in each cell the action with the least cost whose failure and latency
    breach rates, a standard error added, are within their limits. `best_unit_cost`: in each cell the
    action with the least expected unit cost, where that is more than a standard error better than
    today. `share_split`: the shares by cell with the least cost in all whose overall rates are within
    the limits: a linear programme, shares in twentieths.
    """
    if not len(log.frame):
        return (), "no request of the baseline window has a known outcome, choice and propensity"
    found = values(log)
    if not found.tried.any():
        return (), "no choice was logged often enough in the baseline window to learn from"
    limits = _limits(policy, candidate, log)
    if candidate.learn == "share_split":
        shares = _split(found, limits)
    else:
        best = (
            _cheapest(found, limits)
            if candidate.learn == "cheapest_within_slo"
            else _least_unit_cost(found)
        )
        shares = np.zeros(found.tried.shape)
        for cell, j in best.items():
            shares[cell, j] = 1.0
    rules = _rules(log, policy, found, shares)
    if not rules:
        return (), "on the baseline window no choice beats the present ones within the limits"
    return rules, None


def cascade(log: Log) -> tuple[int, int] | str:
    """(cheap, strong) codes of the actions that a cascade tries first and falls back to, or why none.

    Cheap: of the actions in use the one with the least cost; strong: the one with the least failure
    rate among dearer ones. log: of the baseline window.
    """
    found = values(log) if len(log.frame) else None
    if found is None or len(found.actions) < 2:
        return "a cascade needs two choices that the baseline window logged often enough"
    n = found.n[:, None, None] * found.tried[:, :, None]
    totals = n.sum(axis=0)
    mean = np.where(totals > 0, (n * found.mean).sum(axis=0) / np.maximum(totals, 1), np.inf)
    cheap = int(np.argmin(mean[:, COST]))
    dearer = np.flatnonzero(np.isfinite(mean[:, COST]) & (mean[:, COST] > mean[cheap, COST]))
    if not dearer.size:
        return "no choice of the baseline window is dearer than the cheapest"
    strong = int(dearer[np.argmin(mean[dearer, FAILURE])])
    return int(found.actions[cheap]), int(found.actions[strong])


def _limits(policy: Policy, candidate: RoutingCandidate, log: Log) -> dict[int, float]:
    """The most that a rate may be, by outcome: the candidate's own, the SLOs', or today's."""
    failure = candidate.max_failure_rate
    if failure is None:
        own = [s for s in policy.slos if s.bad == "is_failure"]
        failure = 1 - own[0].target if own else float(log.outcomes[:, FAILURE].mean())
    limits = {FAILURE: failure}
    if log.breaches and policy.latency_slo is not None:
        limits[BREACH] = 1 - policy.latency_slo.target
    return limits


def _cheapest(found: Values, limits: Mapping[int, float]) -> dict[int, int]:
    """By cell, where it is not what all get already."""
    fits = found.tried.copy()
    for outcome, most in limits.items():
        fits &= found.mean[:, :, outcome] + found.error[:, :, outcome] <= most
    best = {}
    for cell in np.flatnonzero(fits.any(axis=1)).tolist():
        cost = np.where(fits[cell], found.mean[cell, :, COST], np.inf)
        j = int(np.argmin(cost))
        if cost[j] + found.error[cell, j, COST] < found.present[cell, COST]:
            best[cell] = j
    return best


def _least_unit_cost(found: Values) -> dict[int, int]:
    best = {}
    for cell in np.flatnonzero(found.tried.any(axis=1)).tolist():
        cost = np.where(found.tried[cell], found.mean[cell, :, UNIT_COST], np.inf)
        j = int(np.argmin(cost))
        if cost[j] + found.error[cell, j, UNIT_COST] < found.present[cell, UNIT_COST]:
            best[cell] = j
    return best


def _split(found: Values, limits: Mapping[int, float]) -> Floats:
    """(cells, actions) shares; what is left keeps its logged choice.

    Least Σ n s (cost − present) with s ≥ 0, Σ_a s ≤ 1 in each cell, and each rate's total within the
    larger of its limit and today's.
    """
    cells, k = found.tried.shape
    n = found.n[:, None] / found.n.sum()
    gain = n * (found.mean[:, :, COST] - found.present[:, None, COST])
    rows = np.kron(np.eye(cells), np.ones(k))
    most = [1.0] * cells
    for outcome, limit in limits.items():
        change = n * (
            found.mean[:, :, outcome]
            + np.where(found.tried, found.error[:, :, outcome], 0.0)
            - found.present[:, None, outcome]
        )
        today = float((found.n * found.present[:, outcome]).sum() / found.n.sum())
        rows = np.vstack([rows, change.ravel()])
        most.append(max(limit - today, 0.0))
    solved = optimize.linprog(
        gain.ravel(), A_ub=rows, b_ub=most,
        bounds=[(0.0, 1.0 if t else 0.0) for t in found.tried.ravel().tolist()], method="highs",
    )  # fmt: skip
    if solved.status != 0:
        return np.zeros((cells, k))
    shares = solved.x.reshape(cells, k)
    return np.floor(shares / SHARE_STEP + 1e-6) * SHARE_STEP


def _rules(log: Log, policy: Policy, found: Values, shares: Floats) -> tuple[RoutingRule, ...]:
    """One rule a cell and action, cells that share all but the last column put together."""
    context = [c for c in policy.routing.context if c in log.frame.columns]
    moves: dict[tuple[Action, Action, float, int], list[str]] = {}
    for cell, key in enumerate(log.cells):
        if any(v is None for v in key):
            continue  # a rule matches no missing value
        parts = [
            (log.actions[int(found.actions[j])], float(shares[cell, j]))
            for j in np.flatnonzero(shares[cell] > 0).tolist()
        ]
        left = 1.0
        for order, (use, share) in enumerate(parts):
            if any(v is None for v in use):
                continue
            taken = round(min(share / left, 1.0), 6)
            left = max(left - share, 1e-9)
            last = str(key[-1]) if key else ""
            moves.setdefault((key[:-1], use, taken, order), []).append(last)
    # A cell's second move is of what its first left: all first moves come first.
    ordered = sorted(moves.items(), key=lambda m: (m[0][3], m[0][0], m[1], m[0][1]))
    known = {c: _by_text(log.frame[c]) for c in (*context, *policy.routing.action)}
    return tuple(
        RoutingRule(
            when=_when(context, first, last, known),
            use={
                c: known[c].get(str(v), str(v))
                for c, v in zip(policy.routing.action, use, strict=True)
            },
            share=share,
        )
        for (first, use, share, _), last in ordered
    )


def _when(
    context: Sequence[str],
    first: Action,
    last: Sequence[str],
    known: Mapping[str, Mapping[str, Scalar]],
) -> dict[str, Scalar | tuple[Scalar, ...]]:
    when: dict[str, Scalar | tuple[Scalar, ...]] = {
        c: known[c][str(v)] for c, v in zip(context, first, strict=False)
    }
    if context:
        values = [known[context[-1]][v] for v in sorted(last)]
        when[context[-1]] = values[0] if len(values) == 1 else tuple(values)
    return when


def _by_text(column: pd.Series) -> dict[str, Scalar]:
    """A column's values by their texts, as a rule would name them."""
    codes, words = words_of(column)
    first = pd.Series(codes).drop_duplicates()
    found: dict[str, Scalar] = {}
    for row, code in first.items():
        if code >= 0:
            value = column.iloc[int(str(row))]
            plain = value.item() if isinstance(value, np.generic) else value
            found[words[code]] = plain if isinstance(plain, bool | int | float) else words[code]
    return found
