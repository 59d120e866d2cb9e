"""The earlier windows and releases that a policy compares drift with."""

from __future__ import annotations

from datetime import time
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import Field, model_validator

from analysis.policy_types import Model, Moment, Name


class Reference(Model):
    """What the candidate is compared with besides the weeks before it: exactly one of a half-open window
    of whole UTC days, a release of the telemetry by its id, and a folder of a recorded release (its
    `decision_artifact.json` and `tables/`), relative to the project."""

    name: Name
    start: Moment | None = None
    end: Moment | None = None
    release_id: Name | None = None
    recorded: Annotated[str, Field(min_length=1, max_length=300)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        span = self.start is not None or self.end is not None
        if sum([span, self.release_id is not None, self.recorded is not None]) != 1:
            raise ValueError("give exactly one of: start and end; release_id; recorded")
        if span:
            if self.start is None or self.end is None:
                raise ValueError("start and end go together")
            if self.start >= self.end:
                raise ValueError("start must be before end (windows are half-open: [start, end))")
            if {self.start.time(), self.end.time()} != {time()}:
                raise ValueError("start and end must be UTC midnights: references count whole days")
        if self.recorded is not None and PurePosixPath(self.recorded).is_absolute():
            raise ValueError(".recorded: must be relative to the project")
        return self
