"""What a model of risk may read: the leak guard, and what was known of a session's and a user's past.

Only declared columns of role context, action or cost, known at the moment of the decision, are modelled;
never the label, an identifier, a time, an outcome, feedback, a rollup, the release, or the logging
propensity. Of the past, counts as of the moment of each interaction are (`telemetry.past`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.contract import Column, Contract, KnownAt
from analysis.stats.calibration import roc_auc
from analysis.views.encoding import CLOCK
from analysis.views.triage_users import FAILURES, LABELLED, USER_RATE, UserPrior

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MODELLED_ROLES = frozenset({"context", "action", "cost"})
NEVER = frozenset({"release_id", "routing_propensity"})
HOUR, WEEKDAY = "hour_utc", "weekday_utc"
COMPUTED = frozenset({HOUR, WEEKDAY, CLOCK, USER_RATE})
"""Inputs that the model makes itself: a column of the data by such a name would be taken for one."""

PAST_NUMBERS = (
    "past_session_interactions",
    "past_session_retries",
    "past_session_failures",
    "past_session_gap_us",
)
MAX_AUC = 0.95
"""No single honest column tells failures as surely as that; one that does most likely knows them."""
N_POWER_BINS = 40


@dataclass(frozen=True)
class FeatureColumn:
    """A column that may be modelled, and how."""

    name: str
    kind: Literal["number", "category"]


@dataclass(frozen=True)
class LeftOut:
    """A column that the telemetry has and the model does not read, and why."""

    column: str
    reason: str


@dataclass(frozen=True)
class Implausible:
    """A modelled column that by itself ranks the label too well to be known in time."""

    column: str
    roc_auc: float


@dataclass(frozen=True)
class Guarded:
    """The guard's decision over all columns, each sorted by name."""

    used: tuple[FeatureColumn, ...]
    left_out: tuple[LeftOut, ...]


def guard(
    contract: Contract,
    columns: Sequence[str],
    decide_at: KnownAt,
    label: str,
    computed: frozenset[str] = COMPUTED,
) -> Guarded:
    """What may be read at `decide_at`, and what may not. computed: names that the reader itself uses."""
    have = set(columns)
    used, left_out = [], []
    for name in sorted(have):
        column = contract.column(name)
        reason = _refused(name, column, contract, decide_at, label, have)
        if reason is not None:
            left_out.append(LeftOut(name, reason))
            continue
        if name in computed:
            left_out.append(
                LeftOut(name, "has the name of an input that the model computes itself")
            )
            continue
        assert column is not None
        kind: Literal["number", "category"] = (
            "number" if column.type in ("integer", "number") else "category"
        )
        used.append(FeatureColumn(name, kind))
    return Guarded(tuple(used), tuple(left_out))


def feature_columns(
    contract: Contract, columns: Sequence[str], decide_at: KnownAt, label: str
) -> tuple[FeatureColumn, ...]:
    """The columns that the guard lets through, sorted by name, for models with no inputs of their own."""
    return guard(contract, columns, decide_at, label, frozenset()).used


def _refused(
    name: str,
    column: Column | None,
    contract: Contract,
    decide_at: KnownAt,
    label: str,
    have: set[str],
) -> str | None:
    if name == label:
        return "is the label"
    if column is None:
        return "is not declared in the contract"
    if column.role in ("outcome", "feedback", "rollup"):
        return f"is known later ({column.role})"
    if name in NEVER:
        return "says which release or router served the call, and not what was asked"
    if column.role not in MODELLED_ROLES:
        return f"is of role {column.role}"
    if column.type == "timestamp":
        return "is a moment"
    if not contract.knowable(name, decide_at):
        return f"is known at {column.known_at}, after {decide_at}"
    if name == "domain" and "use_case" in have:
        return "says the same as use_case"
    return None


def past_columns(there: Sequence[str], prior: UserPrior) -> tuple[FeatureColumn, ...]:
    """What is modelled of the past, of what is there. At any decision it is known: it lies before the
    request."""
    names = [n for n in PAST_NUMBERS if n in there]
    names += [USER_RATE] if LABELLED in there and prior.rows is not None else []
    return tuple(FeatureColumn(n, "number") for n in names)


def sources(names: Sequence[str]) -> list[str]:
    """The columns of the telemetry behind these ones."""
    out: list[str] = []
    for name in names:
        out += [FAILURES, LABELLED] if name == USER_RATE else [name]
    return out


def implausible(
    frame: pd.DataFrame, y: Bools, cluster: Ints, columns: Sequence[FeatureColumn]
) -> tuple[Implausible, ...]:
    """Columns that rank the label with an area of `MAX_AUC` or more by themselves, the surest first.

    cluster: (n,) codes. A column's values are ranked by their rates in every second cluster, and judged
    on the others, so that no column looks powerful for the number of its values.
    """
    learn = cluster % 2 == 0
    if not (y[learn].any() and y[~learn].any()):
        return ()
    out = []
    for column in columns:
        codes, n = _binned(frame[column.name], column.kind, learn)
        bad = np.bincount(codes[learn], weights=y[learn], minlength=n)
        size = np.bincount(codes[learn], minlength=n)
        overall = float(y[learn].mean())
        rate = np.round((bad + overall) / (size + 1.0), 9)
        found = roc_auc(y[~learn], rate[codes[~learn]], cluster[~learn])
        if found.value >= MAX_AUC:
            out.append(Implausible(column.name, round(found.value, 4)))
    return tuple(sorted(out, key=lambda i: (-i.roc_auc, i.column)))


def _binned(values: pd.Series, kind: str, learn: Bools) -> tuple[Ints, int]:
    """(codes, how many): a number's quantiles among the rows to learn from, a category's values."""
    if kind == "category":
        codes, seen = pd.factorize(values, use_na_sentinel=True)
        return np.where(codes < 0, len(seen), codes).astype(np.int64), len(seen) + 1
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    known = numbers[learn & ~np.isnan(numbers)]
    levels = np.linspace(0.0, 1.0, N_POWER_BINS + 1)[1:-1]
    cuts = np.unique(np.quantile(known, levels, method="inverted_cdf")) if len(known) else known
    codes = np.searchsorted(cuts, numbers, side="left").astype(np.int64)
    return np.where(np.isnan(numbers), len(cuts) + 1, codes), len(cuts) + 2
