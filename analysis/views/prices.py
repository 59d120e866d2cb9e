"""Dated list prices of models (`spend.prices`): which one is in force when, and what tokens cost by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from analysis.policy import Policy, Price
from analysis.telemetry.windows import iso

TOKENS = ("prompt", "cached", "completion")
_NANO_PER_TOKEN = 1000
"""Nano-USD a token of one USD a million tokens."""


@dataclass(frozen=True)
class PriceInfo:
    """A price that a model of the telemetry met, as the artifact keeps it: USD a million tokens."""

    model_provider: str | None
    model_name: str
    start_utc: str
    prompt_usd_per_million: float
    cached_usd_per_million: float | None
    completion_usd_per_million: float


@dataclass(frozen=True)
class PriceList:
    """The policy's prices, and the moments at which any of them begins, ascending."""

    prices: tuple[Price, ...]
    moments: tuple[datetime, ...]

    def in_force(self, model: Mapping[str, str | None], era: int) -> Price | None:
        """The price of a model after so many of the moments; None where it has none by then.

        A price that names the provider goes before one that does not.
        """
        if not era:
            return None
        now = self.moments[era - 1]
        held = [
            p
            for p in self.prices
            if p.start <= now
            and p.model_name == model.get("model_name")
            and p.model_provider in (None, model.get("model_provider"))
        ]
        return max(held, key=lambda p: (p.model_provider is not None, p.start), default=None)


def price_list(policy: Policy) -> PriceList:
    """The policy's dated prices; none where it has none."""
    prices = policy.spend.prices or ()
    return PriceList(prices, tuple(sorted({p.start for p in prices})))


def list_cost(price: Price, prompt: int, cached: int, completion: int) -> dict[str, Fraction]:
    """Nano-USD by kind of token, exactly; cached tokens, a part of the prompt's, may have no price of
    their own."""
    own = price.cached_usd_per_million
    each = {
        "prompt": (prompt - cached, price.prompt_usd_per_million),
        "cached": (cached, price.prompt_usd_per_million if own is None else own),
        "completion": (completion, price.completion_usd_per_million),
    }
    return {
        kind: Fraction(repr(usd)) * _NANO_PER_TOKEN * tokens for kind, (tokens, usd) in each.items()
    }


def frozen(price: Price) -> PriceInfo:
    """A price as the artifact keeps it."""
    return PriceInfo(
        price.model_provider,
        price.model_name,
        iso(price.start),
        price.prompt_usd_per_million,
        price.cached_usd_per_million,
        price.completion_usd_per_million,
    )
