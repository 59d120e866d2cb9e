"""The routing view's log: logical requests with their outcomes, choices and propensities.

Only what was known when a request was routed enters: columns of role context, known at request, and
the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.policy import Policy
from analysis.stats.crossfit import CrossFit, crossfit, fold_of
from analysis.stats.propensity import crossfit_propensity
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import Requests, logged_choices, logical_requests
from analysis.telemetry.rows import MAX_SAMPLE_ROWS
from analysis.views.routing_features import (
    Features,
    context_columns,
    request_features,
    with_products,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Action = tuple[str | None, ...]

UNIT_COST, FAILURE, COST, BREACH = 0, 1, 2, 3
CERTAIN = 1e-9


@dataclass(frozen=True)
class Log:
    """The requests of one window whose outcome, choice and propensity are known.

    frame: (n,) rows with the context columns, in key order. outcomes: (n, 4) unit cost in USD,
    failure (0 or 1), cost in USD, latency breach (0 or 1; nan where no SLO defines it). action: (n,)
    codes into `actions`. cell: (n,) codes into `cells`, of `routing.context`. propensity: (n,) in
    (0, 1] as logged, None where it is estimated. certain: (n,) whether the log says that no other
    choice was possible. cluster, fold: (n,) codes. model: regressions of the outcomes, each row
    predicted without its own fold. choices: logged counts by context and action over all requests.
    n_requests: all of the window, known or not.
    """

    frame: pd.DataFrame
    outcomes: Floats
    action: Ints
    actions: tuple[Action, ...]
    cell: Ints
    cells: tuple[Action, ...]
    propensity: Floats | None
    certain: Bools
    cluster: Ints
    fold: Ints
    features: Features
    model: CrossFit
    choices: pd.DataFrame
    n_requests: int
    n_interactions: int
    sampled: bool
    _estimated: dict[int, Floats] = field(default_factory=dict, compare=False, repr=False)

    @property
    def breaches(self) -> bool:
        """Whether latency breaches are known."""
        return bool(len(self.outcomes)) and bool(np.isfinite(self.outcomes[0, BREACH]))

    @property
    def source(self) -> Literal["logged", "estimated"]:
        """Where the propensities come from."""
        return "estimated" if self.propensity is None else "logged"

    @cached_property
    def expected_as_logged(self) -> Floats:
        """(n, 4): q̂ of the logged actions."""
        return self.expected(self.action)

    @cached_property
    def previous(self) -> tuple[Ints, Ints]:
        """Requests that follow another one in their session, in the order of the rows; and those."""
        session = self.frame["session"].to_numpy()
        order = np.lexsort((self.frame["ts_us"].to_numpy(), session))
        follows = session[order[1:]] == session[order[:-1]]
        now, before = order[1:][follows], order[:-1][follows]
        # Codes of sessions mean nothing.
        place = np.argsort(now, kind="stable")
        return now[place], before[place]

    def chance(self, target: int) -> Floats:
        """(n,): e(target | x). Of logged propensities it is known where the log took the target."""
        if self.propensity is not None:
            return np.where(self.action == target, self.propensity, np.nan)
        if target not in self._estimated:
            self._estimated[target] = crossfit_propensity(
                self.features.design,
                self.action == target,
                self.fold,
                self.cell,
                self.features.of_requests,
            )
        return self._estimated[target]

    def expected(self, target: Ints) -> Floats:
        """(n, 4): q̂(x, target), 0 where the target has no code."""
        found = self.model.predict(target)
        return found if self.breaches else np.column_stack([found, np.full(len(found), np.nan)])


def missing_for_routing(telemetry: Telemetry, policy: Policy) -> str | None:
    """Why no routing policy can be backtested on this telemetry, or None."""
    routing = policy.routing
    needed = ["is_failure", "cost_usd", *routing.action]
    if routing.latency_breach_cost_usd > 0:
        slo = policy.latency_slo
        if slo is None:
            return "a latency breach has a cost, and the policy names no SLO called latency"
        needed.append(slo.rule.column)
    if routing.propensity == "logged":
        needed.append("routing_propensity")
    return telemetry.unusable(*dict.fromkeys(needed))


def reads_propensities(telemetry: Telemetry, policy: Policy) -> bool:
    """Whether the log's own propensities are used; else they are estimated."""
    if policy.routing.propensity != "auto":
        return policy.routing.propensity == "logged"
    return telemetry.unusable("routing_propensity") is None


def read_log(
    telemetry: Telemetry, policy: Policy, *, win: int = 1, max_rows: int = MAX_SAMPLE_ROWS
) -> Log:
    """A window's requests (1 the candidate, 0 the baseline). Only where `missing_for_routing` is None."""
    routing = policy.routing
    named = [c for c in _named(policy) if telemetry.has(c)]
    logged = ["routing_propensity"] if reads_propensities(telemetry, policy) else []
    columns = [
        *context_columns(telemetry), *named, *routing.action, "ts_us", "session", *logged,
    ]  # fmt: skip
    requests = logical_requests(telemetry, columns, win=win, max_rows=max_rows)
    cells = [c for c in routing.context if telemetry.has(c)]
    return log_of(
        requests, logged_choices(telemetry, cells, routing.action, win=win), telemetry, policy
    )


def log_of(requests: Requests, choices: pd.DataFrame, telemetry: Telemetry, policy: Policy) -> Log:
    """The log of `requests`, whose `rows` hold the context, the action, `ts_us` and `session`, and
    `routing_propensity` where it was logged."""
    routing, rows = policy.routing, requests.rows
    outcomes = _outcomes(requests, policy)
    known: Bools = np.asarray(np.isfinite(outcomes[:, :BREACH]).all(axis=1))
    propensity = None
    if "routing_propensity" in rows.columns:
        propensity = rows["routing_propensity"].to_numpy(dtype=float, na_value=np.nan)
        known &= (propensity > 0) & (propensity <= 1)
        propensity = propensity[known]
    frame = rows if known.all() else rows[known].reset_index(drop=True)
    y = outcomes[known]
    breaches = bool(np.isfinite(y[:, BREACH]).all())
    if not breaches:
        y[:, BREACH] = np.nan
    action, actions = combinations(frame, routing.action)
    cell, cells = combinations(frame, [c for c in routing.context if c in frame.columns])
    cluster, ids = pd.factorize(frame["cluster_id"])
    fold = np.array([fold_of(str(c)) for c in ids.tolist()], dtype=np.int64)[cluster]
    modelled = y if breaches else y[:, :BREACH]
    features = with_products(request_features(telemetry, frame, cell), action, modelled)
    certain = np.zeros(len(y), dtype=bool) if propensity is None else propensity >= 1 - CERTAIN
    return Log(
        frame=frame,
        outcomes=y,
        action=action,
        actions=actions,
        cell=cell,
        cells=cells,
        propensity=propensity,
        certain=certain,
        cluster=cluster.astype(np.int64),
        fold=fold,
        features=features,
        model=crossfit(features.design, action, len(actions), modelled, fold),
        choices=choices,
        n_requests=requests.n_requests,
        n_interactions=requests.n_interactions,
        sampled=requests.sampled,
    )


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


def _named(policy: Policy) -> list[str]:
    """Every column that the policy's routing names."""
    routing = policy.routing
    names = [*routing.context, *routing.protect]
    for candidate in routing.candidates:
        for rule in candidate.rules or ():
            names += rule.when
    return list(dict.fromkeys(names))


def _outcomes(requests: Requests, policy: Policy) -> Floats:
    """(n, 4), nan where not known."""
    rows, routing = requests.rows, policy.routing
    cost = rows["cost_nano"].to_numpy(dtype=float) / 1e9
    failure = rows["failure"].to_numpy(dtype=float)
    breach = rows["breach"].to_numpy(dtype=float)
    unit = cost + routing.failure_cost_usd * failure
    if routing.latency_breach_cost_usd > 0:
        unit = unit + routing.latency_breach_cost_usd * breach
    return np.column_stack([unit, failure, cost, breach])
