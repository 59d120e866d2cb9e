"""A cautious guess at what an undeclared column is: its type, role, and when it is known.

The guess is *later* unless the column is text of few values, which is what the context of a request
looks like. A role that a model may use is always marked to be checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.contract import INTERACTIONS, ColumnType, KnownAt, Role
from analysis.propose.matching import evidence
from analysis.propose.profile import ColumnProfile, inferred
from analysis.propose.synonyms import normalised

MAX_CONTEXT_VALUES = 50
MAX_ALLOWED = 12
MAX_VALUE = 40
IDENTIFIER_VALUES = 1_000
IDENTIFIER_SHARE = 0.5
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)

_FLAG = re.compile(r"^(is|has|was|did|had)[_A-Z]|_flag$|^flag_")
_LATER = re.compile(
    r"outcome|result|status|error|fail|reason|verdict|state|label|resol|complet|escalat|refus"
)
_FEEDBACK = re.compile(r"feedback|rating|thumb|csat|nps|survey|complain")
_COST = re.compile(r"cost|price|usd|token|latency|duration|elapsed|seconds|_ms$|_s$")
_PERSONAL = re.compile(r"mail|phone|name$|address|prompttext|messag|query|question|answer|content")


@dataclass(frozen=True)
class Guess:
    """A column as a first contract declares it, and the sentences that say why."""

    type: ColumnType
    role: Role
    known_at: KnownAt
    max_missing: float | None
    why: tuple[str, ...]
    may_list: bool


def guess(table: str, column: ColumnProfile) -> Guess | None:
    """None where a type cannot be read off the cells."""
    kind = inferred(column, flag=_FLAG.search(column.name) is not None)
    if kind is None:
        return None
    role, known_at, reasons = _role(table, column, kind)
    why = [f"{evidence(column, kind, exact=False)}.", *reasons]
    if kind == "integer" and column.only_zero_and_one:
        why.append("Only 0 and 1: make it boolean if they mean no and yes.")
    few = kind == "string" and column.n_distinct <= MAX_ALLOWED
    short = column.longest <= MAX_VALUE and not _PERSONAL.search(normalised(column.name))
    return Guess(kind, role, known_at, _room(column.missing), tuple(why), few and short)


def listable(values: Sequence[tuple[str, int]]) -> bool:
    """Whether values may be shown: few, and none that a single row has made up."""
    return 0 < len(values) <= MAX_ALLOWED and all(n > 1 for _, n in values)


def _role(
    table: str, column: ColumnProfile, kind: ColumnType
) -> tuple[Role, KnownAt, tuple[str, ...]]:
    if table != INTERACTIONS:
        return "carried", "later", ("Carried, and not used: only interactions are modelled.",)
    if _is_identifier(column, kind):
        return "identifier", "later", ("Identifier-like: never modelled, tested or shown.",)
    name = normalised(column.name)
    if _FEEDBACK.search(name):
        return "feedback", "later", ("By its name it is feedback, which comes later.",)
    if kind == "boolean":
        return "outcome", "later", ("A flag: taken as one that is set after the response.",)
    if kind == "string":
        return _of_text(column, name)
    if kind in ("integer", "number") and _COST.search(column.name.casefold()):
        text = "By its name it is a cost; known_at: response if it is there with the answer."
        return "cost", "later", (text,)
    return "carried", "later", ("Carried, and not used until a person gives it a role.",)


def _of_text(column: ColumnProfile, name: str) -> tuple[Role, KnownAt, tuple[str, ...]]:
    if _LATER.search(name):
        return "outcome", "later", ("By its name it says how the request went.",)
    if column.n_distinct > MAX_CONTEXT_VALUES:
        return "carried", "later", ("Too many values for a context of the request.",)
    return (
        "context",
        "request",
        (
            "Text of few values: guessed to be known with the request.",
            "CHECK: a model that decides at request time may use this column. If it is known only "
            "after the answer, write known_at: later.",
        ),
    )


def _is_identifier(column: ColumnProfile, kind: ColumnType) -> bool:
    """Text that has another value in most rows, or numbers of which the name says so."""
    by_name = re.search(r"(^|[_\s.-])(id|uuid|guid|hash|key)$", column.name.casefold()) is not None
    by_name = by_name or column.name.endswith(("Id", "ID"))
    many = column.n_distinct > IDENTIFIER_VALUES or (
        column.n_distinct > MAX_CONTEXT_VALUES
        and column.n_distinct > IDENTIFIER_SHARE * column.n_filled
    )
    return many if kind == "string" else by_name and kind == "integer"


def _room(missing: float) -> float | None:
    """The share that may be missing: as observed, with some room; None where that is all."""
    step = next(s for s in _STEPS if s >= min(1.0, 1.25 * missing))
    return step if step < 1 else None
