"""What a world is made of, as data: a scenario is a small override of the healthy one.

Effects on failure are on the logit scale, on latency and tokens on the natural-log scale. Prices
are USD per million tokens. Every name is invented.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from analysis.sample import hostile

Decision = Literal["ship", "hold", "block"]


@dataclass(frozen=True)
class Mix:
    """A categorical distribution: (value, weight) pairs; weights are normalised when used."""

    parts: tuple[tuple[str, float], ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The categories, in their order."""
        return tuple(value for value, _ in self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """The probabilities, in the same order; they sum to one."""
        total = sum(weight for _, weight in self.parts)
        return tuple(weight / total for _, weight in self.parts)


@dataclass(frozen=True)
class UseCase:
    """A kind of work: how often, how long, how risky, how slow, and which models serve it.

    prompt_tokens, completion_tokens: medians. failure: logit offset. latency: log offset.
    size_slope: added logit of failure per e-fold of the prompt over its median.
    router: one logit a model, in the order of `Scenario.models`.
    model_failure: added logit of failure a model, in that order.
    """

    name: str
    weight: float
    prompt_tokens: float
    completion_tokens: float
    failure: float
    latency: float
    size_slope: float
    max_tokens: int
    temperature: float
    top_p: float
    router: tuple[float, ...]
    model_failure: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Model:
    """A model of a provider. size_preference: router logit added per size class of the prompt."""

    provider: str
    name: str
    prompt_usd_per_million: float
    cached_usd_per_million: float
    completion_usd_per_million: float
    failure: float
    latency: float
    completion: float
    reasoning_share: float
    size_preference: float


@dataclass(frozen=True)
class Dependence:
    """How outcomes hang together.

    session_rho, user_rho: shares of the latent normal variance of a failure that a session and a
    user share (a Gaussian copula, so marginal probabilities stay exact). latency_session_rho: the
    same for log latency. day_*_sd: standard deviations of day effects.
    """

    session_rho: float = 0.30
    user_rho: float = 0.05
    latency_session_rho: float = 0.12
    latency_completion_rho: float = 0.16
    day_failure_sd: float = 0.03
    day_latency_sd: float = 0.004
    day_volume_sd: float = 0.04


@dataclass(frozen=True)
class Retries:
    """A failed attempt is retried with probability `first`, then `second`; at most two retries.

    A retry fails with probability `failure`, on the same model.
    """

    first: float = 0.35
    second: float = 0.5
    failure: float = 0.2


@dataclass(frozen=True)
class Hotspot:
    """Failures that appear with the candidate in one slice: `logit` is added there."""

    use_case: str
    scenario: str
    logit: float


@dataclass(frozen=True)
class LongerOutputs:
    """One model's completion tokens times `factor`, from the candidate on."""

    model_name: str
    factor: float


@dataclass(frozen=True)
class Favoured:
    """A model that the router prefers from the candidate on: `logit` is added to its own."""

    model_name: str
    logit: float


@dataclass(frozen=True)
class Repriced:
    """All prices of one model times `factor`, from the candidate on."""

    model_name: str
    factor: float


@dataclass(frozen=True)
class Change:
    """Everything that the candidate does differently; nothing by default. volume: times the sessions
    a day of the baseline."""

    hotspot: Hotspot | None = None
    longer_outputs: LongerOutputs | None = None
    channels: Mix | None = None
    prompt_version: str | None = None
    volume: float = 1.0
    favoured: Favoured | None = None
    repriced: Repriced | None = None
    retries: Retries | None = None


@dataclass(frozen=True)
class RoutingRule:
    """In the terms of `routing.candidates`: requests of `use_case` go to one model."""

    use_case: str
    model_provider: str
    model_name: str


@dataclass(frozen=True)
class RoutingCandidate:
    """A routing policy whose true value is computed; `role`: good or bad."""

    name: str
    role: Literal["good", "bad"]
    rules: tuple[RoutingRule, ...]


@dataclass(frozen=True)
class Scenario:
    """A whole world, but for its size and seed."""

    name: str
    title: str
    expected: Decision
    interactions: int
    models: tuple[Model, ...]
    use_cases: tuple[UseCase, ...]
    baseline_days: int = 42
    candidate_days: int = 14
    end_utc: datetime = datetime(2026, 11, 16, tzinfo=UTC)
    baseline_release: str = "2026.10.1"
    candidate_release: str = "2026.11.2"
    prompt_version: str = "p7"
    sessions_per_user: float = 3.0
    requests_per_session: tuple[float, ...] = (0.34, 0.24, 0.16, 0.11, 0.07, 0.05, 0.03)
    weekday_volume: tuple[float, ...] = (1.08, 1.12, 1.12, 1.10, 1.04, 0.78, 0.76)
    failure_intercept: float = -3.63
    latency_intercept: float = 6.63
    latency_sd: float = 0.50
    latency_tail: float = 0.30
    latency_size_slope: float = 0.22
    prompt_sd: float = 0.70
    completion_sd: float = 0.55
    unknown_label_rate: float = 0.01
    router_floor: float = 0.03
    tier_router: tuple[tuple[float, ...], ...] = (
        (-0.5, 0.2, -0.2, 0.2, 0.3),
        (0.0, 0.0, 0.0, 0.0, 0.0),
        (0.6, 0.0, 0.3, -0.2, -0.4),
    )
    slo_failure_target: float = 0.95
    slo_latency_target: float = 0.95
    latency_limit_ms: float = 2200.0
    failure_cost_usd: float = 40.0
    latency_breach_cost_usd: float = 5.0
    budget_usd_per_day: float = 60.0
    dependence: Dependence = Dependence()
    retries: Retries = Retries()
    change: Change = Change()
    routing_candidates: tuple[RoutingCandidate, ...] = ()
    scenarios: Mix = Mix(
        (
            ("new-request", 0.26),
            ("follow-up", 0.18),
            ("tool-use", 0.36),
            ("long-context", 0.08),
            ("bulk-job", 0.08),
            (hostile.SCRIPT_SCENARIO, 0.04),
        )
    )
    scenario_failure: tuple[float, ...] = (-0.10, -0.15, 0.15, 0.25, 0.00, 0.05)
    tiers: Mix = Mix((("free", 0.48), ("pro", 0.36), ("enterprise", 0.16)))
    channels: Mix = Mix((("web", 0.50), ("api", 0.30), ("mobile", 0.20)))
    segments: Mix = Mix(
        (
            ("consumer", 0.40),
            ("small-business", 0.30),
            ("mid-market", 0.15),
            ("public-sector", 0.10),
            (hostile.SHORTCODE, 0.035),
            (hostile.FORMULA, 0.015),
        )
    )
    regions: Mix = Mix((("emea", 0.40), ("amer", 0.34), ("apac", 0.20), ("latam", 0.06)))
    countries: tuple[Mix, ...] = field(
        default=(
            Mix((("DE", 0.30), ("FR", 0.25), ("GB", 0.30), ("ZA", 0.11), (hostile.NAMIBIA, 0.04))),
            Mix((("US", 0.85), ("CA", 0.15))),
            Mix((("JP", 0.40), ("IN", 0.35), ("AU", 0.25))),
            Mix((("BR", 0.60), ("MX", 0.40))),
        )
    )


MODELS = (
    Model("aurora", "aurora-large", 37.5, 18.75, 75.0, -0.20, 0.20, 0.10, 0.35, 0.30),
    Model("aurora", "aurora-small", 18.0, 9.0, 36.0, 0.00, -0.05, 0.00, 0.00, 0.00),
    Model("borealis", "borealis-pro", 27.5, 13.75, 55.0, -0.10, 0.10, 0.05, 0.30, 0.20),
    Model("borealis", "borealis-mini", 12.5, 6.25, 25.0, 0.10, -0.10, -0.05, 0.00, 0.00),
    Model("cirrus", "cirrus-flash", 6.0, 3.0, 12.0, 0.25, -0.20, -0.10, 0.00, -0.50),
)

USE_CASES = (
    UseCase(
        "coding", 0.30, 2000, 2200, 0.15, 0.15, 0.60, 16384, 0.2, 1.0, (1.6, 0.4, 0.8, -0.4, -0.9)
    ),
    UseCase(
        "support", 0.27, 800, 700, 0.00, -0.10, 0.60, 8192, 0.7, 0.95, (0.2, 0.9, 0.0, 1.0, 0.0)
    ),
    UseCase(
        "search", 0.13, 1100, 600, -0.25, -0.05, 0.60, 8192, 0.0, 1.0, (0.6, 0.5, 0.4, 0.4, 0.4)
    ),
    UseCase(
        "summarisation",
        0.20,
        2000,
        1100,
        0.10,
        0.05,
        0.60,
        8192,
        0.3,
        1.0,
        (1.0, 0.4, 0.6, 0.2, 0.5),
    ),
    UseCase(
        "extraction", 0.10, 1200, 900, 0.00, 0.00, 0.60, 8192, 0.0, 1.0, (0.8, 0.4, 0.6, 0.3, 0.0)
    ),
)

HEALTHY = Scenario(
    name="healthy",
    title="The candidate behaves as the baseline did",
    expected="ship",
    interactions=20_000,
    models=MODELS,
    use_cases=USE_CASES,
)

REGRESSED = replace(
    HEALTHY,
    name="regressed",
    title="A failure hotspot, longer outputs of one model and a shifted channel mix",
    expected="block",
    # Support: one model fails far less, and the router tries it often: the good routing candidate.
    # Summarisation: short prompts are easy, and go to the model that does worst: the bad one.
    use_cases=(
        replace(USE_CASES[0], size_slope=0.15),
        replace(
            USE_CASES[1],
            size_slope=0.15,
            failure=0.10,
            router=(-0.6, 1.7, -0.6, 1.7, -0.6),
            model_failure=(0.0, -1.1, 0.0, 1.15, 0.0),
        ),
        replace(USE_CASES[2], size_slope=0.15),
        replace(
            USE_CASES[3],
            weight=0.22,
            failure=0.02,
            size_slope=1.60,
            router=(0.8, 0.4, 0.4, 0.2, 1.0),
            model_failure=(0.0, 0.0, 0.0, 0.0, 0.70),
        ),
        replace(USE_CASES[4], size_slope=0.15),
    ),
    models=(*MODELS[:4], replace(MODELS[4], size_preference=-1.8)),
    failure_intercept=-3.80,
    change=Change(
        hotspot=Hotspot("coding", "tool-use", 2.95),
        longer_outputs=LongerOutputs("aurora-large", 1.6),
        channels=Mix((("web", 0.245), ("api", 0.325), ("mobile", 0.43))),
        prompt_version="p8",
    ),
    routing_candidates=(
        RoutingCandidate(
            "support-to-aurora-small", "good", (RoutingRule("support", "aurora", "aurora-small"),)
        ),
        RoutingCandidate(
            "summarisation-to-cirrus-flash",
            "bad",
            (RoutingRule("summarisation", "cirrus", "cirrus-flash"),),
        ),
    ),
)

TINY = replace(
    HEALTHY, name="tiny", title="Too little traffic to decide", expected="hold", interactions=300
)

SCENARIOS: dict[str, Scenario] = {s.name: s for s in (HEALTHY, REGRESSED, TINY)}


def scenario_named(name: str) -> Scenario:
    """The scenario of this name. Raises ValueError that lists the known ones."""
    if name not in SCENARIOS:
        raise ValueError(f"no scenario {name!r}; expected one of: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
