"""The policy file as frozen typed models (DESIGN section 5).

`load` reads YAML strictly and refuses unknown keys, wrong types and contradictions, all at once,
each with its path and a hint. A policy without a key gets the default that stands here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from analysis import strict_yaml
from analysis.errors import PolicyError, UsageError
from analysis.policy_problems import Checked, again, hint_for, listed, refuse, twice
from analysis.policy_slos import Bad, Slo
from analysis.policy_types import (
    Model,
    Moment,
    Name,
    NonNegative,
    OpenRate,
    Positive,
    Rate,
    Scalar,
    Slug,
)
from analysis.policy_types import utc as utc

MAX_POLICY_BYTES = strict_yaml.MAX_BYTES


class Release(Model):
    id: Name = "unnamed"
    title: Annotated[str, Field(max_length=200)] = ""


class Window(Model):
    """A window by whole days, by half-open UTC times, or by release id: exactly one of the three."""

    days: Annotated[int, Field(ge=1, le=3660)] | None = None
    start: Moment | None = None
    end: Moment | None = None
    release_id: Name | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        span = self.start is not None or self.end is not None
        if sum([self.days is not None, span, self.release_id is not None]) != 1:
            raise ValueError("give exactly one of: days; start and end; release_id")
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


class Price(Model):
    """USD per million tokens of one model from a UTC date on."""

    model_provider: Name | None = None
    model_name: Name
    start: Moment
    prompt_usd_per_million: NonNegative
    completion_usd_per_million: NonNegative
    cached_usd_per_million: NonNegative | None = None


class Spend(Model):
    budget_usd_per_day: Positive | None = None
    prices: tuple[Price, ...] | None = None

    @model_validator(mode="after")
    def _one_price_at_a_time(self) -> Self:
        keys = [(p.model_provider, p.model_name, p.start) for p in self.prices or ()]
        refuse(f".prices[{i}]: the model has another price from this date on" for i in again(keys))
        return self


class Missing(Model):
    max_rate: Rate = 0.05


class Quarantine(Model):
    """Whether rows that break the contract may be set aside, and what share of interactions at most."""

    allow: bool = False
    max_share: Rate = 0.05


class Hotspots(Model):
    metrics: tuple[Name, ...] = ("failure", "latency_breach", "cost")
    max_depth: Annotated[int, Field(ge=1, le=4)] = 3
    min_support: Annotated[int, Field(ge=1)] = 60
    fdr: OpenRate = 0.05
    min_ratio: Annotated[float, Field(ge=1)] = 1.25

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        refuse(twice("metrics", self.metrics))
        return self


class RoutingRule(Model):
    when: dict[Name, Scalar | tuple[Scalar, ...]]
    use: dict[Name, Scalar]


class RoutingCandidate(Model):
    """A policy to backtest: explicit rules, or one learned on the baseline window."""

    name: Slug
    rules: tuple[RoutingRule, ...] | None = None
    learn: Literal["cheapest_within_slo", "best_unit_cost", "cascade", "share_split"] | None = None
    max_failure_rate: Rate | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.rules is None) == (self.learn is None):
            raise ValueError("give exactly one of: rules, learn")
        if self.rules is not None and not self.rules:
            raise ValueError("rules is empty")
        return self


class Routing(Model):
    action: Annotated[tuple[Name, ...], Field(min_length=1)] = ("model_provider", "model_name")
    context: tuple[Name, ...] = ("use_case", "account_tier")
    failure_cost_usd: NonNegative = 40.0
    latency_breach_cost_usd: NonNegative = 5.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    protect: tuple[Name, ...] = ("account_tier",)
    bounds: dict[Literal["cost_usd"], tuple[float, float]] = Field(default={"cost_usd": (0.0, 1.0)})
    candidates: tuple[RoutingCandidate, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            *twice("action", self.action),
            *twice("context", self.context),
            *twice("protect", self.protect),
        ]
        problems += [
            f".context: {name!r} is a column of action too; keep it in one of them"
            for name in sorted(set(self.action) & set(self.context))
        ]
        names = [candidate.name for candidate in self.candidates]
        problems += [
            f".candidates[{i}].name: {names[i]!r} is another candidate's name" for i in again(names)
        ]
        for i, candidate in enumerate(self.candidates):
            for j, rule in enumerate(candidate.rules or ()):
                if set(rule.use) != set(self.action):
                    problems.append(
                        f".candidates[{i}].rules[{j}].use: names {listed(sorted(rule.use))}; "
                        f"expected every column of action, and no other: {listed(self.action)}"
                    )
        low, high = self.bounds.get("cost_usd", (0.0, 1.0))
        if not low < high:
            problems.append(".bounds.cost_usd: the first number must be below the second")
        refuse(problems)
        return self


class Band(Model):
    psi: Positive


class Drift(Model):
    fdr: OpenRate = 0.05
    low: Band = Band(psi=0.02)
    medium: Band = Band(psi=0.10)
    high: Band = Band(psi=0.25)
    columns: Literal["auto"] | tuple[Name, ...] = "auto"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low.psi < self.medium.psi < self.high.psi:
            raise ValueError("bands must rise: low.psi < medium.psi < high.psi")
        if isinstance(self.columns, tuple):
            refuse(twice("columns", self.columns))
        return self


class Triage(Model):
    label: Name = "is_failure"
    decide_at: Literal["request", "response", "later"] = "response"
    review_cost_usd: Positive = 2.0
    missed_cost_usd: Positive = 40.0
    capacity_per_day: Positive = 25.0
    queue_p90_guard: Positive = 40.0
    rule: Name | Bad | None = None


class Gate(Model):
    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    looks: Annotated[int, Field(ge=1, le=366)] | None = None
    severity: dict[Name, Literal["block", "hold", "note"]] = Field(default={})
    limits: dict[Name, float] = Field(default={})


class Policy(Model):
    """Everything that a team decides before it looks at a release."""

    release: Release = Release()
    data: Annotated[str, Field(min_length=1)] | None = None
    cluster: Literal["auto", "user", "session"] = "auto"
    windows: Windows = Windows()
    dimensions: tuple[Name, ...] = (
        "use_case",
        "scenario",
        "model_provider",
        "model_name",
        "account_tier",
        "channel",
        "region",
        "segment",
    )
    slos: tuple[Slo, ...] = (
        Slo(name="availability", bad="is_failure", target=0.95),
        Slo(name="latency", bad=Bad(column="latency_ms", above=2200), target=0.95),
    )
    spend: Spend = Spend()
    missing: Missing = Missing()
    quarantine: Quarantine = Quarantine()
    hotspots: Hotspots = Hotspots()
    routing: Routing = Routing()
    drift: Drift = Drift()
    triage: Triage = Triage()
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [slo.name for slo in self.slos]
        problems = [f".slos[{i}].name: {names[i]!r} is another SLO's name" for i in again(names)]
        problems += [
            f".slos[{i}].name: 'spend' is taken by the check budget.spend; give another name"
            for i, name in enumerate(names)
            if name == "spend"
        ]
        problems += twice("dimensions", self.dimensions)
        known = known_check_ids(self)
        for key, chosen in (("severity", self.gate.severity), ("limits", self.gate.limits)):
            problems += [
                f".gate.{key}.{name}: no such check{hint_for(name, known)}"
                for name in chosen
                if name not in known
            ]
        for name, limit in self.gate.limits.items():
            if name in known and name not in LIMITS:
                problems.append(
                    f".gate.limits.{name}: this check has no limit to set; "
                    f"those that have one: {listed(sorted(LIMITS))}"
                )
            elif name in LIMITS and not LIMITS[name][0] < limit < LIMITS[name][1]:
                problems.append(
                    f".gate.limits.{name}: expected {LIMITS[name][2]} (found {limit:g})"
                )
        days = self.windows.candidate.days
        if self.gate.looks is not None and days is not None and days > self.gate.looks:
            problems.append(
                f".gate.looks: the last look is on day {self.gate.looks}, and a candidate window of "
                f"{days} days is looked at on day {days}; give as many looks as days"
            )
        refuse(problems)
        return self

    @property
    def latency_slo(self) -> Slo | None:
        """The SLO named `latency`, which defines a latency breach everywhere."""
        return next((slo for slo in self.slos if slo.name == "latency"), None)

    def settings(self) -> dict[str, Any]:
        """The whole policy, defaults included, as JSON values."""
        return self.model_dump(mode="json")


# What `gate.limits` may set: the pass limit of candidate − baseline, or of candidate / baseline.
LIMITS: dict[str, tuple[float, float, str]] = {
    "health.failure_rate": (0, 1, "a difference of rates above 0 and below 1, such as 0.01"),
    "health.latency_breach_rate": (0, 1, "a difference of rates above 0 and below 1, such as 0.01"),
    "health.cost_usd": (1, math.inf, "a ratio above 1, such as 1.15"),
}


def known_check_ids(policy: Policy) -> set[str]:
    """The ids of all checks that this policy gives rise to."""
    ids = {
        "contract.errors",
        "contract.bounds",
        "health.failure_rate",
        "health.latency_breach_rate",
        "health.cost_usd",
        "budget.spend",
        "hotspots.regression",
        "hotspots.level",
        "drift.high",
        "drift.medium",
        "drift.joint",
        "triage.queue",
        "triage.mode",
    }
    for slo in policy.slos:
        ids |= {f"budget.{slo.name}", f"budget.{slo.name}.alerts"}
    ids |= {f"routing.{candidate.name}" for candidate in policy.routing.candidates}
    return ids


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with the digest of the bytes that it was read from."""

    policy: Policy
    sha256: str
    path: Path


def load(path: Path, *, release_id: str | None = None) -> LoadedPolicy:
    """The policy at `path`; `release_id` replaces `release.id`.

    Raises UsageError where the file cannot be read, PolicyError with every problem otherwise.
    """
    raw = strict_yaml.read(path, "policy")
    policy = parse(raw, source=str(path), release_id=release_id)
    return LoadedPolicy(policy, hashlib.sha256(raw).hexdigest(), path)


def parse(raw: bytes, *, source: str = "policy", release_id: str | None = None) -> Policy:
    """The policy in YAML bytes. Raises PolicyError with every problem."""
    if release_id is not None and any("\ud800" <= c <= "\udfff" for c in release_id):
        raise UsageError("--release: the id is not UTF-8")
    data, refused = strict_yaml.document(raw, source)
    if release_id is not None and isinstance(data.get("release", {}), dict):
        data["release"] = {**data.get("release", {}), "id": release_id}
    checked = Checked(Policy, data, refused, _DEPENDENT)
    if checked.model is None:
        raise PolicyError(checked.problems, source)
    return checked.model


# Names of checks that exist only as long as their SLOs and candidates do.
_DEPENDENT = tuple(
    f"gate.{key}.{view}." for key in ("severity", "limits") for view in ("budget", "routing")
)
