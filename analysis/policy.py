"""The policy file as frozen typed models (DESIGN section 5).

`load` reads YAML strictly and refuses unknown keys, wrong types and contradictions, all at once,
each with its path and a hint. A policy without a key gets the default that stands here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.errors import PolicyError, UsageError

MAX_POLICY_BYTES = 1_000_000

Rate = Annotated[float, Field(ge=0, le=1)]
OpenRate = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Slug = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")]
Scalar = str | bool | int | float


class Model(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Release(Model):
    id: Name = "unnamed"
    title: Annotated[str, Field(max_length=200)] = ""


class Window(Model):
    """A window by whole days, by half-open UTC times, or by release id: exactly one of the three."""

    days: Annotated[int, Field(ge=1, le=3660)] | None = None
    start: datetime | None = None
    end: datetime | None = None
    release_id: Name | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        span = self.start is not None or self.end is not None
        if sum([self.days is not None, span, self.release_id is not None]) != 1:
            raise ValueError("give exactly one of: days; start and end; release_id")
        if span:
            if self.start is None or self.end is None:
                raise ValueError("start and end go together")
            if utc(self.start) >= utc(self.end):
                raise ValueError("start must be before end (windows are half-open: [start, end))")
        return self


class Exclusion(Model):
    start: datetime
    end: datetime
    reason: Annotated[str, Field(min_length=1, max_length=300)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if utc(self.start) >= utc(self.end):
            raise ValueError("start must be before end")
        return self


class Windows(Model):
    candidate: Window = Window(days=14)
    baseline: Window | Literal["none"] = Window(days=42)
    exclude: tuple[Exclusion, ...] = ()


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


class Price(Model):
    """USD per million tokens of one model from a UTC date on."""

    model_provider: Name | None = None
    model_name: Name
    start: datetime
    prompt_usd_per_million: NonNegative
    completion_usd_per_million: NonNegative
    cached_usd_per_million: NonNegative | None = None


class Spend(Model):
    budget_usd_per_day: Positive | None = None
    prices: tuple[Price, ...] | None = None


class Missing(Model):
    max_rate: Rate = 0.05


class Hotspots(Model):
    metrics: tuple[Name, ...] = ("failure", "latency_breach", "cost")
    max_depth: Annotated[int, Field(ge=1, le=4)] = 3
    min_support: Annotated[int, Field(ge=1)] = 60
    fdr: OpenRate = 0.05
    min_ratio: Annotated[float, Field(ge=1)] = 1.25


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
    action: tuple[Name, ...] = ("model_provider", "model_name")
    context: tuple[Name, ...] = ("use_case", "account_tier")
    failure_cost_usd: NonNegative = 40.0
    latency_breach_cost_usd: NonNegative = 5.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    protect: tuple[Name, ...] = ("account_tier",)
    bounds: dict[Literal["cost_usd"], tuple[float, float]] = {"cost_usd": (0.0, 1.0)}
    candidates: tuple[RoutingCandidate, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = set(self.action) & set(self.context)
        if both:
            raise ValueError(f"columns are both action and context: {', '.join(sorted(both))}")
        names = [c.name for c in self.candidates]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"candidates share a name: {', '.join(twice)}")
        for candidate in self.candidates:
            for rule in candidate.rules or ():
                wrong = sorted(set(rule.use) - set(self.action))
                if wrong:
                    raise ValueError(
                        f"candidate {candidate.name!r} sets {', '.join(wrong)}, which is not in action"
                    )
                if set(rule.use) != set(self.action):
                    raise ValueError(
                        f"candidate {candidate.name!r}: `use` must name every column of action "
                        f"({', '.join(self.action)})"
                    )
        low, high = self.bounds.get("cost_usd", (0.0, 1.0))
        if not low < high:
            raise ValueError("bounds.cost_usd: the first number must be below the second")
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
    severity: dict[Name, Literal["block", "hold", "note"]] = {}
    limits: dict[Name, float] = {}


class Policy(Model):
    """Everything that a team decides before it looks at a release."""

    release: Release = Release()
    data: str | None = None
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
    hotspots: Hotspots = Hotspots()
    routing: Routing = Routing()
    drift: Drift = Drift()
    triage: Triage = Triage()
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [slo.name for slo in self.slos]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"slos share a name: {', '.join(twice)}")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise ValueError("dimensions holds a column twice")
        known = known_check_ids(self)
        wrong = sorted((set(self.gate.severity) | set(self.gate.limits)) - known)
        if wrong:
            hints = [hint_for(name, known) for name in wrong]
            raise ValueError(
                "gate names no check: "
                + "; ".join(f"{n!r}{h}" for n, h in zip(wrong, hints, strict=True))
            )
        unlimited = sorted(set(self.gate.limits) - LIMITED_CHECKS)
        if unlimited:
            raise ValueError(
                f"gate.limits: {', '.join(unlimited)} has no limit to set; "
                f"those that have one: {', '.join(sorted(LIMITED_CHECKS))}"
            )
        return self

    @property
    def latency_slo(self) -> Slo | None:
        """The SLO named `latency`, which defines a latency breach everywhere."""
        return next((slo for slo in self.slos if slo.name == "latency"), None)

    def settings(self) -> dict[str, Any]:
        """The whole policy, defaults included, as JSON values."""
        return self.model_dump(mode="json")


LIMITED_CHECKS = frozenset({"health.failure_rate", "health.latency_breach_rate", "health.cost_usd"})


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


def utc(moment: datetime) -> datetime:
    """`moment` in UTC; a time without an offset is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def load(path: Path, *, release_id: str | None = None) -> LoadedPolicy:
    """The policy at `path`; `release_id` replaces `release.id`.

    Raises UsageError where the file cannot be read, PolicyError with every problem otherwise.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise UsageError(f"policy {path}: {reason}; give another file with --policy") from None
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError(
            [f"the file has {len(raw)} bytes; expected at most {MAX_POLICY_BYTES}"], str(path)
        )
    policy = parse(raw, source=str(path), release_id=release_id)
    return LoadedPolicy(policy, hashlib.sha256(raw).hexdigest(), path)


def parse(raw: bytes, *, source: str = "policy", release_id: str | None = None) -> Policy:
    """The policy in YAML bytes. Raises PolicyError with every problem."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PolicyError(
            [f"byte {error.start} is not UTF-8; save the file as UTF-8"], source
        ) from None
    loader = _StrictLoader(text)
    try:
        data = loader.get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "nested too deeply or not YAML"
        raise PolicyError([*loader.problems, f"{where}{what}"], source) from None
    finally:
        loader.dispose()
    problems = list(loader.problems)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise PolicyError(
            [*problems, f"expected keys and values, found {type(data).__name__}"], source
        )
    if release_id is not None and isinstance(data.get("release", {}), dict):
        data["release"] = {**(data.get("release") or {}), "id": release_id}
    problems += _unserialisable(data)
    if problems:
        raise PolicyError(problems, source)
    try:
        return Policy.model_validate_json(json.dumps(data, default=_iso), strict=True)
    except ValidationError as error:
        raise PolicyError(_readable(error), source) from None


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases, tags or duplicate keys: each is a surprise in a policy."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[str] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases (*name) are not accepted; write the value out",
                event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(getattr(key_node, "value", key_node))
            if key in seen:
                line = key_node.start_mark.line + 1
                self.problems.append(f"{key}: stands twice (again in line {line}); keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _unserialisable(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        found = []
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                found.append(f"{where}: the key is {type(key).__name__}; expected text, quote it")
            found += _unserialisable(item, where)
        return found
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _unserialisable(item, f"{path}[{i}]")]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{path}: {value} is not a finite number"]
    if value is None or isinstance(value, str | bool | int | float | datetime | date):
        return []
    return [
        f"{path}: {type(value).__name__} is not accepted; expected text, a number or true/false"
    ]


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return utc(value).isoformat()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()
    raise TypeError(type(value).__name__)


def _readable(error: ValidationError) -> list[str]:
    problems: dict[str, str] = {}
    for item in error.errors():
        path = _path(item["loc"])
        if item["type"] == "extra_forbidden":
            fields = _fields_at(item["loc"][:-1])
            text = f"unknown key{hint_for(str(item['loc'][-1]), fields)}"
        else:
            given = json.dumps(item.get("input"), default=str)
            given = given if len(given) <= 80 else given[:77] + "…"
            message = item["msg"].removeprefix("Value error, ")
            text = f"{message} (found {given})" if item["type"] != "value_error" else message
        problems.setdefault(f"{path}: {text}" if path else text, "")
    return list(problems)


def _path(loc: tuple[int | str, ...]) -> str:
    out = ""
    for part in loc:
        if isinstance(part, int):
            out += f"[{part}]"
        elif part in _UNION_LABELS or str(part).startswith(
            ("constrained-", "function-", "literal[")
        ):
            continue
        else:
            out += f".{part}" if out else str(part)
    return out


_UNION_LABELS = {
    "Window",
    "Bad",
    "str",
    "bool",
    "int",
    "float",
    "tuple[union[str,bool,int,float],...]",
    "tuple[constrained-str, ...]",
    "[key]",
}


def _fields_at(loc: tuple[int | str, ...]) -> set[str]:
    model: Any = Policy
    for part in loc:
        for candidate in (
            _models_in(model.model_fields[part].annotation)
            if (isinstance(part, str) and part in getattr(model, "model_fields", {}))
            else ()
        ):
            model = candidate
    return set(model.model_fields)


def _models_in(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def hint_for(name: str, known: set[str]) -> str:
    """A hint that names the closest known key, or all of them."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}"
