"""The routing candidates of a policy, and what they are judged by."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from analysis.policy_problems import again, listed, refuse, twice
from analysis.policy_types import Model, Name, NonNegative, Rate, Scalar, Slug


class RoutingRule(Model):
    """Of what it matches and no earlier rule took, `share` goes to `use`; the rest goes on."""

    when: dict[Name, Scalar | tuple[Scalar, ...]]
    use: dict[Name, Scalar]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0


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
    propensity: Literal["auto", "logged", "estimated"] = "auto"
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
