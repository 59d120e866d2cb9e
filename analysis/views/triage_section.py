"""What the artifact says of triage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.views.triage_advice import Lever
from analysis.views.triage_columns import Implausible, LeftOut
from analysis.views.triage_control import RiskControl
from analysis.views.triage_policy import Mode, PolicyResult
from analysis.views.triage_quality import Quality
from analysis.views.triage_risk import Tried
from analysis.views.triage_slices import SliceFinding
from analysis.views.triage_stability import Stability
from analysis.views.triage_workload import WeekdayWorkload


@dataclass(frozen=True)
class Workload:
    """Reviews a day that the mode asks for, before capacity.

    reviews_per_day_*: seen in the window. predicted_*, overflow_probability: a day to come, from
    the window's days. history_*: what the days before the window predicted, by which the mode was
    chosen. weekdays: Monday first; empty where the mode queues nothing.
    """

    reviews_per_day_p50: float | None
    reviews_per_day_p90: float | None
    capacity_per_day: float
    predicted_p50: float | None
    predicted_p90: float | None
    overflow_probability: float | None
    history_p50: float | None = None
    history_p90: float | None = None
    weekdays: tuple[WeekdayWorkload, ...] = ()


@dataclass(frozen=True)
class Rival:
    """A policy without a model, and what the model saved against it on the part that chose, with
    the one-sided 95 % lower bound."""

    name: str
    saving_usd: float
    low: float


@dataclass(frozen=True)
class ModelCard:
    """Which model and calibration were chosen among what was tried, and what may and may not be read."""

    kind: Literal["logistic", "boosted"] | None
    calibration: Literal["platt", "isotonic"] | None
    tried: tuple[Tried, ...]
    left_out: tuple[LeftOut, ...]
    implausible: tuple[Implausible, ...]


@dataclass(frozen=True)
class TriageSection:
    """`threshold`: rows at or above it are reviewed; 0 all, 1 none. `reason`: why it is null.

    rule: what the policy's own rule did, null where it names none. quality: of the candidate's own
    rows; slices: where it is surely off; stability: against the part of the history that chose.
    risk_control: null where the policy asks for none. levers: what would make reviewing pay more.
    """

    label: str
    decide_at: str
    threshold: float | None
    operating_mode: Mode | None
    quality: Quality
    workload: Workload
    policies: tuple[PolicyResult, ...]
    rule: PolicyResult | None
    features: tuple[str, ...]
    n_fit: int
    n_calibrate: int
    n_choose: int
    rivals: tuple[Rival, ...]
    model: ModelCard
    slices: tuple[SliceFinding, ...]
    stability: Stability | None
    risk_control: RiskControl | None
    levers: tuple[Lever, ...]
    reason: str | None
