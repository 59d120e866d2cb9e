"""What a candidate's rules do with each request of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.policy import Policy, RoutingCandidate, RoutingRule, Scalar
from analysis.telemetry import Telemetry
from analysis.views.routing_log import Action, Log, combinations

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

KEEP = -1
NEVER_LOGGED = -2
FEW_CHOICES, FEW_SHARE = 5, 0.01


@dataclass(frozen=True)
class Layer:
    """At most one move a request. share: (n,), in [0, 1]. target: (n,) codes into the log's
    actions, `KEEP` where share is 0, `NEVER_LOGGED` for an action that has no code. rule: (n,) the
    rule that moves it, −1 where none does. unsupported: (n,) whether the log never takes the target
    in the request's cell."""

    share: Floats
    target: Ints
    rule: Ints
    unsupported: Bools


@dataclass(frozen=True)
class Plan:
    """What a candidate would have chosen: each request's moves, by layers."""

    layers: tuple[Layer, ...]
    n: int

    @cached_property
    def stays(self) -> Floats:
        """(n,): the part that keeps its logged choice."""
        moved = np.zeros(self.n)
        for layer in self.layers:
            moved = moved + layer.share
        return np.maximum(1.0 - moved, 0.0)

    @cached_property
    def changed(self) -> Bools:
        """(n,): requests of which a part moves."""
        return np.asarray(self.stays < 1.0)

    @cached_property
    def lost(self) -> Floats:
        """(n,): the part that moves to where the log says nothing."""
        out = np.zeros(self.n)
        for layer in self.layers:
            out = out + np.where(layer.unsupported, layer.share, 0.0)
        return out

    @property
    def targets(self) -> list[int]:
        """The codes of actions that requests move to, in order."""
        found = {int(t) for layer in self.layers for t in np.unique(layer.target).tolist()}
        return sorted(t for t in found if t >= 0)

    def moved_to(self, action: Ints | int) -> Floats:
        """(n,): the probability with which the plan moves a request to an action, one for all or each
        its own. action: codes."""
        out = np.zeros(self.n)
        for layer in self.layers:
            out = out + np.where(layer.target == action, layer.share, 0.0)
        return out

    def taken_by(self, rule: int) -> Floats:
        """(n,): the part of each request that a rule moves."""
        out = np.zeros(self.n)
        for layer in self.layers:
            out = out + np.where(layer.rule == rule, layer.share, 0.0)
        return out


def refuse_rules(telemetry: Telemetry, policy: Policy, candidate: RoutingCandidate) -> str | None:
    """Why these rules cannot be applied when a request is routed, or None."""
    for rule in candidate.rules or ():
        for column in rule.when:
            if column in policy.routing.action:
                return f"a rule looks at {column}, which it sets"
            if not telemetry.has(column):
                return f"a rule looks at {column}, which the telemetry lacks"
            if not telemetry.contract.knowable(column, "request"):
                return f"a rule looks at {column}, which is not known when a request is routed"
    return None


def plan(log: Log, policy: Policy, rules: Sequence[RoutingRule]) -> Plan:
    """Rules in order: each takes its `share` of what it matches and no earlier rule took.

    What none takes keeps its logged choice.

    Requests changed (%): share of logical requests that the candidate's rules would have sent elsewhere; a
    rule's share sends that part of what it matches, at random.
    """
    n = len(log.frame)
    left = np.ones(n)
    depth = np.zeros(n, dtype=np.int64)
    shares: list[Floats] = []
    targets: list[Ints] = []
    takers: list[Ints] = []
    codes: Mapping[Action, int] = {a: i for i, a in enumerate(log.actions)}
    for index, rule in enumerate(rules):
        here = matches(log.frame, rule) & (left > 0)
        code = codes.get(_wanted(policy, rule), NEVER_LOGGED)
        for d in np.unique(depth[here]).tolist():
            if d == len(shares):
                shares.append(np.zeros(n))
                targets.append(np.full(n, KEEP, dtype=np.int64))
                takers.append(np.full(n, -1, dtype=np.int64))
            rows = here & (depth == d)
            shares[d][rows] = left[rows] * rule.share
            targets[d][rows] = code
            takers[d][rows] = index
        left[here] *= 1.0 - rule.share
        depth[here] += 1
    lost = _unsupported(log, policy, rules)
    return Plan(
        tuple(
            Layer(share, target, taker, _lost(log, lost, target, taker))
            for share, target, taker in zip(shares, targets, takers, strict=True)
        ),
        n,
    )


def _wanted(policy: Policy, rule: RoutingRule) -> Action:
    return tuple(text(rule.use[c]) for c in policy.routing.action)


def _lost(log: Log, lost: Bools, target: Ints, rule: Ints) -> Bools:
    """Where the request's cell never saw the target."""
    moved = target != KEEP
    found = np.zeros(len(target), dtype=bool)
    found[moved] = lost[log.cell[moved], rule[moved]]
    return found


def _unsupported(log: Log, policy: Policy, rules: Sequence[RoutingRule]) -> Bools:
    """(cells, rules): whether a rule's choice was never, or next to never, logged in a cell."""
    context = [c for c in policy.routing.context if c in log.frame.columns]
    place, logged = combinations(log.choices, [*context, *policy.routing.action])
    counts: dict[Action, int] = {}
    for code, n in zip(place.tolist(), log.choices["n"].tolist(), strict=True):
        counts[logged[code]] = counts.get(logged[code], 0) + int(n)
    totals: dict[Action, int] = {}
    for key, n in counts.items():
        cell = key[: len(context)]
        totals[cell] = totals.get(cell, 0) + n
    wanted = [_wanted(policy, rule) for rule in rules]

    def missing(cell: Action, use: Action) -> bool:
        n = counts.get((*cell, *use), 0)
        return n == 0 or (n < FEW_CHOICES and n < FEW_SHARE * totals[cell])

    return np.array(
        [[missing(cell, use) for use in wanted] for cell in log.cells], dtype=bool
    ).reshape(len(log.cells), len(wanted))


def matches(frame: pd.DataFrame, rule: RoutingRule) -> Bools:
    """Rows for which every condition of a rule holds; a missing value matches nothing."""
    found = np.ones(len(frame), dtype=bool)
    for column, wanted in rule.when.items():
        options = wanted if isinstance(wanted, tuple) else (wanted,)
        values = frame[column]
        here = np.zeros(len(frame), dtype=bool)
        for option in options:
            here |= _equal(values, option)
        found &= here
    return found


def _equal(values: pd.Series, option: Scalar) -> Bools:
    if isinstance(option, int | float) and not isinstance(option, bool):
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        return np.asarray(numbers == float(option))
    codes, seen = pd.factorize(values, use_na_sentinel=True)
    if isinstance(option, bool):
        same = [str(v).lower() == text(option) for v in seen]
    else:
        same = [v == option for v in seen]
    return np.array([*same, False], dtype=bool)[codes]


def text(value: Scalar) -> str:
    """A value as SQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
