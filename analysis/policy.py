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

from analysis import openslo, strict_yaml
from analysis.disclosure import MIN_CELL
from analysis.errors import PolicyError, UsageError
from analysis.policy_drift import Reference
from analysis.policy_gate import Gate as Gate
from analysis.policy_hotspots import QUANTILES, Hotspots, bin_problems
from analysis.policy_hotspots import Quantiles as Quantiles
from analysis.policy_problems import Checked, again, hint_for, listed, refuse, twice
from analysis.policy_routing import Routing
from analysis.policy_routing import RoutingCandidate as RoutingCandidate
from analysis.policy_routing import RoutingRule as RoutingRule
from analysis.policy_slos import Bad, Slo
from analysis.policy_triage import Triage
from analysis.policy_types import (
    Model,
    Moment,
    Name,
    NonNegative,
    OpenRate,
    Positive,
    Rate,
)
from analysis.policy_types import Scalar as Scalar
from analysis.policy_types import utc as utc
from analysis.policy_windows import Exclusion as Exclusion
from analysis.policy_windows import Window as Window
from analysis.policy_windows import Windows

MAX_POLICY_BYTES = strict_yaml.MAX_BYTES


class Release(Model):
    id: Name = "unnamed"
    title: Annotated[str, Field(max_length=200)] = ""


class Price(Model):
    """USD per million tokens of one model from a UTC date on."""

    model_provider: Name | None = None
    model_name: Name
    start: Moment
    prompt_usd_per_million: NonNegative
    completion_usd_per_million: NonNegative
    cached_usd_per_million: NonNegative | None = None


PRICE_LIBRARY: Literal["genai-prices"] = "genai-prices"
"""In the place of a list of prices: those of this library, as it is installed."""


class Days(Model):
    days: Annotated[int, Field(ge=1, le=366)]


class Spend(Model):
    """prices: a list, or `genai-prices` for those that this library knows (`pip install ".[prices]"`).
    period: what the forecast reaches to the end of: the calendar month (UTC), or so many days from
    the candidate's start on. unseen_cap_usd: the most that an interaction of unknown cost can cost;
    where it is not given, the upper end of `routing.bounds.cost_usd` where that is."""

    budget_usd_per_day: Positive | None = None
    prices: Literal["genai-prices"] | tuple[Price, ...] | None = None
    period: Literal["month"] | Days = "month"
    unseen_cap_usd: Positive | None = None

    @model_validator(mode="after")
    def _one_price_at_a_time(self) -> Self:
        listed = self.prices if isinstance(self.prices, tuple) else ()
        keys = [(p.model_provider, p.model_name, p.start) for p in listed]
        refuse(f".prices[{i}]: the model has another price from this date on" for i in again(keys))
        return self


class Missing(Model):
    max_rate: Rate = 0.05


class Quarantine(Model):
    """Whether rows that break the contract may be set aside, and what share of interactions at most."""

    allow: bool = False
    max_share: Rate = 0.05


class Band(Model):
    psi: Positive


class JointBand(Model):
    """auc: from which AUC on the context columns together count as drifted, if it is beyond chance.
    A classifier learnt on half of the clusters or less reaches less than the best one would: of a
    shift that the best one tells with 0.60, one of 5,000 sessions tells 0.54 to 0.60."""

    auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.53


class Drift(Model):
    fdr: OpenRate = 0.05
    low: Band = Band(psi=0.02)
    medium: Band = Band(psi=0.10)
    high: Band = Band(psi=0.25)
    joint: JointBand = JointBand()
    columns: Literal["auto"] | tuple[Name, ...] = "auto"
    references: tuple[Reference, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low.psi < self.medium.psi < self.high.psi:
            raise ValueError("bands must rise: low.psi < medium.psi < high.psi")
        names = [one.name for one in self.references]
        refuse(
            f".references[{i}].name: {names[i]!r} is another reference's name" for i in again(names)
        )
        if isinstance(self.columns, tuple):
            refuse(twice("columns", self.columns))
        return self


class Publish(Model):
    """share_safe: ids are hashed with the team's key, or left out (`analysis.share_safe`), names that give
    somebody away are masked, and small counts are hidden (`analysis.publication`). min_cell: what a count
    has to reach to be shown; 10 as in ACRO, of which OpenSAFELY's 7 is the lower neighbour."""

    share_safe: bool = False
    min_cell: Annotated[int, Field(ge=2, le=1000)] = MIN_CELL


class Retain(Model):
    """days: how long rows are kept, counted back from the newest; `forget --expired` removes older ones, and
    caches that were not used for as long go with the next review. None keeps all."""

    days: Annotated[int, Field(ge=1, le=36600)] | None = None


def _or_openslo(schema: dict[str, Any]) -> None:
    """The other form that a policy's file may give its objectives in."""
    listed = {key: schema.pop(key) for key in ("items", "type") if key in schema}
    named = {
        "type": "object",
        "description": "A file of OpenSLO documents, relative to the policy's.",
        "properties": {"openslo": {"type": "string", "minLength": 1}},
        "required": ["openslo"],
        "additionalProperties": False,
    }
    schema["anyOf"] = [listed, named]


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
    slos: Annotated[tuple[Slo, ...], Field(json_schema_extra=_or_openslo)] = (
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
    publish: Publish = Publish()
    retain: Retain = Retain()
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
        problems += bin_problems(self.hotspots, self.dimensions, self._measured())
        known = known_check_ids(self)
        problems += [
            f".gate.{path}: no such check{hint_for(name, known)}"
            for path, name in self.gate.named_checks()
            if name not in known
        ]
        problems += [
            f".gate.owners.{name}: no such view and no such check{hint_for(name, VIEWS | known)}"
            for name in self.gate.owners
            if name not in VIEWS | known
        ]
        problems += [
            f".gate.waivers[{i}].check: a waiver cannot waive that waivers expire"
            for i, waiver in enumerate(self.gate.waivers)
            if waiver.check == "gate.waivers"
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
        problems += self._retained()
        days = self.windows.candidate.days
        if self.gate.looks is not None and days is not None and days > self.gate.looks:
            problems.append(
                f".gate.looks: the last look is on day {self.gate.looks}, and a candidate window of "
                f"{days} days is looked at on day {days}; give as many looks as days"
            )
        refuse(problems)
        return self

    def _retained(self) -> list[str]:
        """Windows by days that reach back further than rows are kept."""
        new, old, kept = self.windows.candidate, self.windows.baseline, self.retain.days
        reach = (new.days or 0) + (0 if old == "none" else old.days or 0)
        if kept is None or reach <= kept:
            return []
        return [
            f".retain.days: rows are kept for {kept} days, and the windows reach back {reach}; "
            f"keep {reach} at least"
        ]

    @property
    def latency_slo(self) -> Slo | None:
        """The SLO named `latency`, which defines a latency breach everywhere."""
        return next((slo for slo in self.slos if slo.name == "latency"), None)

    def _measured(self) -> list[tuple[str, str]]:
        """Each metric of the hotspots with the column that it is made of."""
        slos = {slo.name: slo.rule.column for slo in self.slos}
        own = {"failure": "is_failure", "cost": "cost_usd"}
        own["latency_breach"] = slos.get("latency", "latency_ms")
        own |= dict.fromkeys(QUANTILES, "latency_ms")
        measured = [(name, slos.get(name, own.get(name, name))) for name in self.hotspots.metrics]
        if "slos" in self.hotspots.metrics and "slos" not in slos:
            measured += [("slos", column) for column in slos.values()]
        return measured

    def settings(self) -> dict[str, Any]:
        """The whole policy, defaults included, as JSON values."""
        return self.model_dump(mode="json")


# What `gate.limits` may set: the pass limit of candidate − baseline, or of candidate / baseline.
LIMITS: dict[str, tuple[float, float, str]] = {
    "health.failure_rate": (0, 1, "a difference of rates above 0 and below 1, such as 0.01"),
    "health.latency_breach_rate": (0, 1, "a difference of rates above 0 and below 1, such as 0.01"),
    "health.cost_usd": (1, math.inf, "a ratio above 1, such as 1.15"),
}


VIEWS = frozenset(
    ("contract", "health", "budget", "hotspots", "routing", "drift", "triage", "gate")
)
"""What checks belong to."""


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
    return ids | policy.gate.own_checks()


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with the digest of the bytes that it was read from: of its file, and after a zero byte of
    the OpenSLO file that it names."""

    policy: Policy
    sha256: str
    path: Path


def load(path: Path, *, release_id: str | None = None) -> LoadedPolicy:
    """The policy at `path`; `release_id` replaces `release.id`.

    Raises UsageError where the file cannot be read, PolicyError with every problem otherwise.
    """
    raw = strict_yaml.read(path, "policy")
    policy, also = _parsed(raw, str(path), release_id, path.parent)
    digest = hashlib.sha256(raw)
    if also is not None:
        digest.update(b"\0" + also)
    return LoadedPolicy(policy, digest.hexdigest(), path)


def parse(
    raw: bytes, *, source: str = "policy", release_id: str | None = None, folder: Path = Path()
) -> Policy:
    """The policy in YAML bytes. folder: where the files lie that it names.

    Raises PolicyError with every problem.
    """
    return _parsed(raw, source, release_id, folder)[0]


def _parsed(
    raw: bytes, source: str, release_id: str | None, folder: Path
) -> tuple[Policy, bytes | None]:
    """The policy, and the bytes of the OpenSLO file that it names."""
    if release_id is not None and any("\ud800" <= c <= "\udfff" for c in release_id):
        raise UsageError("--release: the id is not UTF-8")
    data, refused = strict_yaml.document(raw, source)
    if release_id is not None and isinstance(data.get("release", {}), dict):
        data["release"] = {**data.get("release", {}), "id": release_id}
    also, slos, problems = _elsewhere(data.get("slos"), folder)
    if slos is not None:
        data = {**data, "slos": [slo.model_dump(mode="json", exclude_none=True) for slo in slos]}
    elif problems:
        data = {key: value for key, value in data.items() if key != "slos"}
        refused = refused | {
            f"slos.openslo[{i}]": f"slos.openslo: {p}" for i, p in enumerate(problems)
        }
    checked = Checked(Policy, data, refused, _DEPENDENT)
    if checked.model is None:
        raise PolicyError(checked.problems, source)
    return checked.model, also


def _elsewhere(given: Any, folder: Path) -> tuple[bytes | None, tuple[Slo, ...] | None, list[str]]:
    """Of `slos: {openslo: file}`: the file's bytes, its objectives, and every problem.

    All of it nothing where `slos` is given in another form.
    """
    if not isinstance(given, dict):
        return None, None, []
    name = given.get("openslo")
    if set(given) != {"openslo"} or not isinstance(name, str) or not name:
        return None, None, ["expected a list, or {openslo: file} with the path of an OpenSLO file"]
    try:
        raw = openslo.content(folder / name)
        slos, problems = openslo.parse(raw, name)
    except PolicyError as error:
        return None, None, [f"{name}: {problem}" for problem in error.problems]
    except UsageError as error:
        return None, None, [str(error)]
    if problems:
        return None, None, [f"{name}: {problem}" for problem in problems]
    return raw, slos, []


# Names of checks that exist only as long as their SLOs, candidates, thresholds and figures do.
_DEPENDENT = (
    *(
        f"gate.{key}.{view}."
        for key in ("severity", "limits")
        for view in ("budget", "routing", "threshold", "baseline")
    ),
    *(f"gate.{key}[" for key in ("critical", "muted", "must_have_data", "waivers")),
)
