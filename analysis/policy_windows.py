"""The windows of a policy."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from analysis.policy_types import Model, Moment, Name


class Window(Model):
    """A window by whole days, by half-open UTC times, by release id, or, of a baseline, that of a recorded
    release (its id in the ledger, data/releases): exactly one of the four."""

    days: Annotated[int, Field(ge=1, le=3660)] | None = None
    start: Moment | None = None
    end: Moment | None = None
    release_id: Name | None = None
    recorded: Name | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        span = self.start is not None or self.end is not None
        named = [self.days, self.release_id, self.recorded]
        if sum([span, *(one is not None for one in named)]) != 1:
            raise ValueError("give exactly one of: days; start and end; release_id; recorded")
        if span:
            if self.start is None or self.end is None:
                raise ValueError("start and end go together")
            if self.start >= self.end:
                raise ValueError("start must be before end (windows are half-open: [start, end))")
        return self


class Exclusion(Model):
    start: Moment
    end: Moment
    reason: Annotated[str, Field(min_length=1, max_length=300)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start must be before end")
        return self


class Windows(Model):
    candidate: Window = Window(days=14)
    baseline: Window | Literal["none"] = Window(days=42)
    exclude: tuple[Exclusion, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        new, old = self.candidate, self.baseline
        if new.recorded is not None:
            raise ValueError(
                ".candidate.recorded: only a baseline may be that of a recorded release"
            )
        if old == "none":
            return self
        if new.release_id is not None and new.release_id == old.release_id:
            raise ValueError(".baseline.release_id: is the candidate's; give the earlier release")
        if (
            new.start is not None
            and new.end is not None
            and old.start is not None
            and old.end is not None
            and old.start < new.end
            and new.start < old.end
        ):
            raise ValueError(".baseline: overlaps the candidate; windows share no moment")
        return self
