"""Service level objectives of a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from analysis.policy_problems import hint_for, refuse, twice
from analysis.policy_types import Model, Name, OpenRate, Scalar, Slug

if TYPE_CHECKING:
    from analysis.contract_model import Column

Period = Literal["rolling", "month", "quarter"]
NOMINAL_DAYS = {"month": 30, "quarter": 90}
"""Days of a calendar period, where only its length counts: thresholds of alerts."""


class Bad(Model):
    """When an interaction counts as bad: a true flag, or a number beyond a limit."""

    column: Name
    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    equals: Scalar | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = (self.above, self.below, self.at_least, self.at_most, self.equals)
        if sum(v is not None for v in given) > 1:
            raise ValueError("give at most one of: above, below, at_least, at_most, equals")
        return self


class Slo(Model):
    """period: rolling are the `period_days` that end with the candidate; month and quarter are those of
    the calendar, in UTC, in which it ends. by: the columns whose values each have a budget of their own,
    such as account_tier; the objective holds where it holds for each."""

    name: Slug
    bad: Bad | Name
    target: OpenRate
    period_days: Annotated[int, Field(ge=1, le=366)] = 30
    period: Period = "rolling"
    by: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        refuse(twice("by", self.by))
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        days = NOMINAL_DAYS.get(self.period, self.period_days)
        if "period_days" not in self.model_fields_set:
            object.__setattr__(self, "period_days", days)  # the default of this period
        if self.period_days != days:
            raise ValueError(
                f".period_days: goes with period: rolling; leave it out, or write {days} for a {self.period}"
            )
        return self

    @property
    def rule(self) -> Bad:
        """`bad` in its long form."""
        return self.bad if isinstance(self.bad, Bad) else Bad(column=self.bad)


def by_problems(
    slos: Sequence[Slo], declared: Iterable[str], column: Callable[[str], Column | None]
) -> list[str]:
    """Each `by` that names no context or action column of the contract: an outcome makes no group.

    declared: the columns of the interactions table. column: the declaration of one.
    """
    fit = [name for name in declared if _groups(column(name))]
    return [
        f"slos[{i}].by[{j}]: {name!r} is no context or action column of the contract{hint_for(name, fit)}"
        for i, slo in enumerate(slos)
        for j, name in enumerate(slo.by)
        if not _groups(column(name))
    ]


def _groups(column: Column | None) -> bool:
    return column is not None and column.role in ("context", "action")
