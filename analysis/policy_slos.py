"""Service level objectives of a policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from analysis.policy_types import Model, Name, OpenRate, Scalar, Slug

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
    the calendar, in UTC, in which it ends."""

    name: Slug
    bad: Bad | Name
    target: OpenRate
    period_days: Annotated[int, Field(ge=1, le=366)] = 30
    period: Period = "rolling"

    @model_validator(mode="before")
    @classmethod
    def _nominal(cls, given: Any) -> Any:
        if isinstance(given, dict) and "period_days" not in given:
            days = NOMINAL_DAYS.get(str(given.get("period")))
            return given if days is None else {**given, "period_days": days}
        return given

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        days = NOMINAL_DAYS.get(self.period, self.period_days)
        if self.period_days != days:
            raise ValueError(
                f".period_days: goes with period: rolling; leave it out, or write {days} for a {self.period}"
            )
        return self

    @property
    def rule(self) -> Bad:
        """`bad` in its long form."""
        return self.bad if isinstance(self.bad, Bad) else Bad(column=self.bad)
