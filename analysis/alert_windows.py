"""The windows of the burn alerts, which are data: `alert_windows.yml`."""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from analysis import strict_yaml
from analysis.errors import PolicyError
from analysis.policy import Model
from analysis.policy_problems import Checked, refuse

DEFAULT_PATH = Path(__file__).resolve().parent / "alert_windows.yml"
GRID = timedelta(minutes=5)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Severity = Literal["page", "ticket"]
Length = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[mhd]$")]


class AlertWindow(Model):
    """One alert: fires while both windows burn `budget_share` of the period's budget a long window."""

    long: Length
    short: Length
    budget_share: Annotated[float, Field(gt=0, le=1)]
    severity: Severity

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        for key, span in (("long", self.long_span), ("short", self.short_span)):
            if span % GRID:
                refuse([f".{key}: expected a multiple of five minutes"])
        if self.short_span >= self.long_span:
            refuse([".short: expected a shorter window than the long one"])
        return self

    @property
    def long_span(self) -> timedelta:
        """The long window."""
        return _span(self.long)

    @property
    def short_span(self) -> timedelta:
        """The short window."""
        return _span(self.short)

    @property
    def long_hours(self) -> float:
        """The long window in hours."""
        return self.long_span / timedelta(hours=1)

    @property
    def short_hours(self) -> float:
        """The short window in hours."""
        return self.short_span / timedelta(hours=1)


class AlertWindows(Model):
    windows: Annotated[tuple[AlertWindow, ...], Field(min_length=1)]


@functools.lru_cache(maxsize=8)
def load(path: Path = DEFAULT_PATH) -> tuple[AlertWindow, ...]:
    """The alerts in the file at `path`. Raises UsageError, or PolicyError with every problem."""
    data, refused = strict_yaml.document(strict_yaml.read(path, "alerts"), str(path))
    checked = Checked(AlertWindows, data, refused, ())
    if checked.model is None:
        raise PolicyError(checked.problems, str(path))
    return checked.model.windows


def _span(length: str) -> timedelta:
    return timedelta(**{_UNITS[length[-1]]: int(length[:-1])})
