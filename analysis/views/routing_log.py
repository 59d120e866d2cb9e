"""The routing view's log: logical requests with their outcomes, choices and propensities.

Only what was known when a request was routed enters: columns of role context, known at request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.policy import Policy, RoutingCandidate, RoutingRule, Scalar
from analysis.stats.crossfit import CrossFit, crossfit, fold_of
from analysis.stats.offpolicy import KEEP
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import Requests, logged_choices, logical_requests
from analysis.views.encoding import CategoryFeature, NumberFeature
from analysis.views.triage_model import feature_columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Action = tuple[str | None, ...]

UNIT_COST, FAILURE, COST = 0, 1, 2


@dataclass(frozen=True)
class Log:
    """The requests of the candidate window whose outcome, choice and propensity are known.

    frame: (n,) rows with the context columns, in key order. outcomes: (n, 3) unit cost in USD,
    failure (0 or 1), cost in USD. action: (n,) codes into `actions`. propensity: (n,) in (0, 1].
    cluster: (n,) codes. model: outcome regressions, each row predicted without its own cluster's.
    choices: logged counts by context and action over all requests. n_requests: all of the window,
    known or not.
    """

    frame: pd.DataFrame
    outcomes: Floats
    action: Ints
    propensity: Floats
    cluster: Ints
    actions: tuple[Action, ...]
    model: CrossFit
    choices: pd.DataFrame
    n_requests: int
    n_interactions: int
    sampled: bool


def missing_for_routing(telemetry: Telemetry, policy: Policy) -> str | None:
    """Why no routing policy can be backtested on this telemetry, or None."""
    routing = policy.routing
    needed = ["is_failure", "cost_usd", *routing.action]
    if routing.latency_breach_cost_usd > 0:
        slo = policy.latency_slo
        if slo is None:
            return "a latency breach has a cost, and the policy names no SLO called latency"
        needed.append(slo.rule.column)
    reason = telemetry.unusable(*dict.fromkeys(needed))
    if reason is not None:
        return reason
    if not telemetry.has("routing_propensity"):
        return (
            "the telemetry has no column routing_propensity, and estimating the logging policy is "
            "not there yet"
        )
    return telemetry.unusable("routing_propensity")


def read_log(telemetry: Telemetry, policy: Policy) -> Log:
    """The candidate window's requests. Call only where `missing_for_routing` is None."""
    routing = policy.routing
    context = _context_columns(telemetry)
    named = [c for c in _named(policy) if telemetry.has(c)]
    columns = [*context, *named, *routing.action, "routing_propensity"]
    requests = logical_requests(telemetry, columns)
    outcomes = _outcomes(requests, policy)
    propensity = requests.rows["routing_propensity"].to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(outcomes).all(axis=1) & (propensity > 0) & (propensity <= 1)
    frame = requests.rows if known.all() else requests.rows[known].reset_index(drop=True)
    action, actions = combinations(frame, routing.action)
    cluster, ids = pd.factorize(frame["cluster_id"])
    fold = np.array([fold_of(str(c)) for c in ids.tolist()], dtype=np.int64)[cluster]
    y = outcomes[known]
    return Log(
        frame=frame,
        outcomes=y,
        action=action,
        propensity=propensity[known],
        cluster=cluster.astype(np.int64),
        actions=actions,
        model=crossfit(_features(telemetry, frame), action, len(actions), y, fold),
        choices=logged_choices(telemetry, [c for c in routing.context if telemetry.has(c)],
                               routing.action),
        n_requests=requests.n_requests,
        n_interactions=requests.n_interactions,
        sampled=requests.sampled,
    )  # fmt: skip


def combinations(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Ints, tuple[Action, ...]]:
    """The values of `columns` as texts (None where null): each row's code, and what the codes mean.

    Codes follow the texts' order, null first.
    """
    joint = np.zeros(len(frame), dtype=np.int64)
    found: list[Action] = [()] if len(frame) else []
    for column in columns:
        codes, words = words_of(frame[column])
        seen, joint = np.unique(joint * (len(words) + 1) + codes + 1, return_inverse=True)
        pairs = [divmod(int(v), len(words) + 1) for v in seen]
        found = [(*found[left], words[right - 1] if right else None) for left, right in pairs]
    order = sorted(
        range(len(found)), key=lambda k: tuple((v is not None, v or "") for v in found[k])
    )
    place = np.empty(len(found), dtype=np.int64)
    place[order] = np.arange(len(found))
    return place[joint], tuple(found[k] for k in order)


def words_of(values: pd.Series) -> tuple[Ints, list[str]]:
    """Each value's code, −1 where null, and the codes' texts: true and false as SQL writes them."""
    codes, seen = pd.factorize(values, use_na_sentinel=True)
    words: dict[str, int] = {}
    for value in seen:
        words.setdefault(_word(value), len(words))
    table = np.array([*(words[_word(v)] for v in seen), -1], dtype=np.int64)
    return table[codes], list(words)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _context_columns(telemetry: Telemetry) -> list[str]:
    columns = feature_columns(telemetry.contract, telemetry.columns, "request", "is_failure")
    found = []
    for column in columns:
        declared = telemetry.contract.column(column.name)
        if declared is not None and declared.role == "context":
            found.append(column.name)
    return found


def _named(policy: Policy) -> list[str]:
    """Every column that the policy's routing names."""
    routing = policy.routing
    names = [*routing.context, *routing.protect]
    for candidate in routing.candidates:
        for rule in candidate.rules or ():
            names += rule.when
    return list(dict.fromkeys(names))


def _outcomes(requests: Requests, policy: Policy) -> Floats:
    """(n, 3), nan where not known."""
    rows, routing = requests.rows, policy.routing
    cost = rows["cost_nano"].to_numpy(dtype=float) / 1e9
    failure = rows["failure"].to_numpy(dtype=float)
    breach = rows["breach"].to_numpy(dtype=float)
    unit = cost + routing.failure_cost_usd * failure
    if routing.latency_breach_cost_usd > 0:
        unit = unit + routing.latency_breach_cost_usd * breach
    return np.column_stack([unit, failure, cost])


def _features(telemetry: Telemetry, frame: pd.DataFrame) -> Floats:
    """(n, p): the request-time context, encoded without looking at an outcome."""
    features: list[tuple[NumberFeature | CategoryFeature, pd.Series]] = []
    for column in feature_columns(
        telemetry.contract, _context_columns(telemetry), "request", "is_failure"
    ):
        values = frame[column.name]
        learned: NumberFeature | CategoryFeature | None = (
            NumberFeature.learn(column.name, values)
            if column.kind == "number"
            else CategoryFeature.learn(column.name, values)
        )
        if learned is not None:
            features.append((learned, values))
    x, start = np.empty((len(frame), sum(f.width for f, _ in features))), 0
    for feature, values in features:
        x[:, start : start + feature.width] = feature.design(values)
        start += feature.width
    return x


# ── what a candidate does ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Plan:
    """What a candidate would have chosen.

    target: (n,) codes into the log's actions, `KEEP` where the logged choice stays. rule: (n,)
    index of the rule that decides, −1 where none does. unsupported: (n,) changed requests in a
    cell of the policy's context in which the target was never logged; their target may have no
    code (it is then −2, an action that nobody took).
    """

    target: Ints
    rule: Ints
    unsupported: Bools

    @property
    def changed(self) -> Bools:
        return np.asarray(self.target != KEEP)


NEVER_LOGGED = -2


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
    """The first rule that matches decides; what none matches keeps its logged choice."""
    n = len(log.frame)
    target = np.full(n, KEEP, dtype=np.int64)
    which = np.full(n, -1, dtype=np.int64)
    codes: Mapping[Action, int] = {a: i for i, a in enumerate(log.actions)}
    for index, rule in enumerate(rules):
        here = matches(log.frame, rule) & (which < 0)
        wanted = tuple(_text(rule.use[c]) for c in policy.routing.action)
        target[here] = codes.get(wanted, NEVER_LOGGED)
        which[here] = index
    return Plan(target, which, _unsupported(log, policy, rules, target, which))


def _unsupported(
    log: Log, policy: Policy, rules: Sequence[RoutingRule], target: Ints, which: Ints
) -> Bools:
    context = [c for c in policy.routing.context if c in log.frame.columns]
    cell, cells = combinations(log.frame, context)
    _, logged = combinations(log.choices, [*context, *policy.routing.action])
    known = frozenset(logged)
    wanted = [tuple(_text(rule.use[c]) for c in policy.routing.action) for rule in rules]
    missing = np.array(
        [[(*here, *use) not in known for use in wanted] for here in cells], dtype=bool
    ).reshape(len(cells), len(wanted))
    found = np.zeros(len(target), dtype=bool)
    changed = np.flatnonzero(target != KEEP)
    found[changed] = missing[cell[changed], which[changed]]
    return found


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
        same = [str(v).lower() == _text(option) for v in seen]
    else:
        same = [v == option for v in seen]
    return np.array([*same, False], dtype=bool)[codes]


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
