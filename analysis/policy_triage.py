"""What a team reviews by hand: its costs, its day, and what a model may know when it decides."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from analysis.policy_slos import Bad
from analysis.policy_types import Model, Name, NonNegative, OpenRate, Positive


class Hours(Model):
    """The hours of the day in which people review, UTC; half-open, 0 to 24."""

    start: Annotated[int, Field(ge=0, le=23)] = 0
    end: Annotated[int, Field(ge=1, le=24)] = 24

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start must be before end")
        return self


class RiskControl(Model):
    """max_missed_share: the share of failures that may stay below the threshold, at most, at this
    confidence."""

    max_missed_share: OpenRate
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class Triage(Model):
    """label_delay_hours: how long after an interaction its label counts as known, where the telemetry
    does not say it (label_available_utc)."""

    label: Name = "is_failure"
    decide_at: Literal["request", "response", "later"] = "response"
    review_cost_usd: Positive = 2.0
    missed_cost_usd: Positive = 40.0
    capacity_per_day: Positive = 25.0
    queue_p90_guard: Positive = 40.0
    rule: Name | Bad | None = None
    label_delay_hours: Annotated[NonNegative, Field(le=24 * 366)] = 24.0
    review_hours_utc: Hours = Hours()
    risk_control: RiskControl | None = None
