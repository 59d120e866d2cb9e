"""The types that the sections of a policy are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from analysis.strict_yaml import DATE


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; a time without an offset is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(value: Any) -> Any:
    """A date or time of YAML (`strict_yaml`), or ISO 8601 text, as a datetime."""
    if isinstance(value, dict) and set(value) == {DATE}:
        value = value[DATE]
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, datetime):
        return value
    raise ValueError("expected a date or a time such as 2026-11-16T00:00:00Z")


def _in_reach(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 2999:
        raise ValueError("expected a year from 1970 to 2999")
    return utc(moment)


Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_in_reach)]
Rate = Annotated[float, Field(ge=0, le=1)]
OpenRate = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Slug = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")]
Scalar = str | bool | int | float


class Model(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
