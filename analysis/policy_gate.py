"""What the gate of a policy holds a release to, besides what each view asks."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from analysis.policy_problems import again, refuse, twice
from analysis.policy_types import Model, Moment, Name, Scalar, Slug

Severity = Literal["block", "hold", "note"]
Figure = Literal[
    "failure_rate",
    "latency_breach_rate",
    "cost_usd_per_interaction",
    "latency_ms_p50",
    "latency_ms_p95",
    "latency_ms_p99",
]
FIGURES: tuple[Figure, ...] = get_args(Figure)
"""Headline figures of health."""
RATES: tuple[Figure, ...] = ("failure_rate", "latency_breach_rate")
"""Those of which a change is a difference; of the others it is a ratio."""


class Waiver(Model):
    """A check whose failure, or doubt, somebody answers for until a time.

    expires: until when, in UTC, held against the candidate window's end. Once that is past, the check
    counts again, and the waiver itself fails `gate.waivers`.
    """

    check: Name
    owner: Name
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    expires: Moment


class Threshold(Model):
    """A level that a figure of the candidate window keeps: of all traffic, or of the slice `when`.

    metric: a headline figure of health (`failure_rate`, `latency_ms_p95`, …), the name of an SLO (its
    share of bad interactions), or a column (a flag's share, a number's mean).
    """

    name: Slug
    metric: Name
    max: float | None = None
    min: float | None = None
    when: dict[Name, Scalar] = Field(default={})
    severity: Severity = "hold"

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.max is None) == (self.min is None):
            raise ValueError("give one of: max, min")
        return self

    @property
    def limit(self) -> float:
        """What the figure is held to."""
        limit = self.max if self.max is not None else self.min
        assert limit is not None
        return limit


class Baselines(Model):
    """The last recorded releases, and how much worse than their mean the candidate may be.

    last: how many; three at least, for their own spread is the yardstick. releases: a shell pattern of
    release ids, such as `weekly-*`. allowed: figure → the allowed regression, a difference of rates
    (0.01 is one point) or a ratio (1.10 is a tenth more).
    """

    last: Annotated[int, Field(ge=3, le=52)] = 4
    releases: Name = "*"
    allowed: dict[Figure, float]

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        refuse(
            f".allowed.{name}: expected "
            + ("a difference of rates above 0 and below 1, such as 0.01" if name in RATES
               else "a ratio above 1, such as 1.10")
            + f" (found {allowed:g})"
            for name, allowed in self.allowed.items()
            if not (0 < allowed < 1 if name in RATES else allowed > 1)
        )  # fmt: skip
        if not self.allowed:
            raise ValueError(".allowed: name at least one figure")
        return self


class Gate(Model):
    """error_rate: of all regression checks together. looks: how often the candidate may be looked at.

    severity, limits: of single checks. critical: checks that block. muted: checks whose figures are
    shown and never judged; they leave the family that shares the error rate. must_have_data: checks
    that count as failed where what they need is not there. owners: view or check → whose task it is; page
    one names them beside what to do. registration: whether the policy has to be registered before the
    candidate window ends.
    """

    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    looks: Annotated[int, Field(ge=1, le=366)] | None = None
    severity: dict[Name, Severity] = Field(default={})
    limits: dict[Name, float] = Field(default={})
    critical: tuple[Name, ...] = ()
    muted: tuple[Name, ...] = ()
    must_have_data: tuple[Name, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    baselines: Baselines | None = None
    waivers: tuple[Waiver, ...] = ()
    owners: dict[Name, Name] = Field(default={})
    registration: Literal["optional", "required"] = "optional"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *twice("critical", self.critical),
            *twice("muted", self.muted),
            *twice("must_have_data", self.must_have_data),
        ]
        names = [t.name for t in self.thresholds]
        problems += [
            f".thresholds[{i}].name: {names[i]!r} is another threshold's name" for i in again(names)
        ]
        waived = [w.check for w in self.waivers]
        problems += [
            f".waivers[{i}].check: {waived[i]!r} has another waiver" for i in again(waived)
        ]
        problems += [
            f".muted[{i}]: {name!r} is {what} too; a muted check decides nothing"
            for i, name in enumerate(self.muted)
            for what, others in (
                ("critical", self.critical),
                ("must_have_data", self.must_have_data),
                ("waived", waived),
                ("given a severity", self.severity),
            )
            if name in others
        ]
        problems += [
            f".critical[{i}]: {name!r} has the severity {self.severity[name]!r} too; give one of them"
            for i, name in enumerate(self.critical)
            if name in self.severity
        ]
        refuse(problems)
        return self

    def named_checks(self) -> list[tuple[str, str]]:
        """(path, check id) of every check that is named here."""
        return [
            *((f"severity.{name}", name) for name in self.severity),
            *((f"limits.{name}", name) for name in self.limits),
            *((f"critical[{i}]", name) for i, name in enumerate(self.critical)),
            *((f"muted[{i}]", name) for i, name in enumerate(self.muted)),
            *((f"must_have_data[{i}]", name) for i, name in enumerate(self.must_have_data)),
            *((f"waivers[{i}].check", w.check) for i, w in enumerate(self.waivers)),
        ]

    def own_checks(self) -> set[str]:
        """The ids of the checks that these rules give rise to."""
        allowed = () if self.baselines is None else self.baselines.allowed
        return {
            *(f"threshold.{t.name}" for t in self.thresholds),
            *(f"baseline.{name}" for name in allowed),
            "gate.waivers",
            "gate.registration",
        }
