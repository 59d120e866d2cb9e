"""Service level objectives of a policy."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from analysis.policy_types import Model, Name, OpenRate, Scalar, Slug


class Bad(Model):
    """When an interaction counts as bad: a true flag, or a number beyond a limit."""

    column: Name
    above: float | None = None
    below: float | None = None
    equals: Scalar | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(v is not None for v in (self.above, self.below, self.equals)) > 1:
            raise ValueError("give at most one of: above, below, equals")
        return self


class Slo(Model):
    name: Slug
    bad: Bad | Name
    target: OpenRate
    period_days: Annotated[int, Field(ge=1, le=366)] = 30

    @property
    def rule(self) -> Bad:
        """`bad` in its long form."""
        return self.bad if isinstance(self.bad, Bad) else Bad(column=self.bad)
