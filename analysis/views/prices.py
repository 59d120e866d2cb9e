"""Dated list prices of models (`spend.prices`): which one is in force when, and what tokens cost by it."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction

from analysis.policy import Policy
from analysis.telemetry.windows import iso

TOKENS = ("prompt", "cached", "completion")
_NANO_PER_TOKEN = 1000
"""Nano-USD a token of one USD a million tokens."""


POLICY = "policy"


@dataclass(frozen=True)
class ListPrice:
    """USD a million tokens of one model from a UTC moment on; start None: always, as far as is known.

    source: where the price is from, `POLICY` or the name of a library; of a library also its version,
    and which of its models this is.
    """

    model_provider: str | None
    model_name: str
    start: datetime | None
    prompt_usd_per_million: float
    cached_usd_per_million: float | None
    completion_usd_per_million: float
    source: str = POLICY
    source_version: str | None = None
    source_model: str | None = None


@dataclass(frozen=True)
class PriceInfo:
    """A price that a model of the telemetry met, as the artifact keeps it: USD a million tokens.

    start_utc: null where a library knows no other price of the model before it. source, source_version,
    source_model: as in `ListPrice`.
    """

    model_provider: str | None
    model_name: str
    start_utc: str | None
    prompt_usd_per_million: float
    cached_usd_per_million: float | None
    completion_usd_per_million: float
    source: str
    source_version: str | None
    source_model: str | None


@dataclass(frozen=True)
class PriceList:
    """Prices, and the moments at which any of them begins, ascending.

    without: why a model of the telemetry (values of its keys) has no price, where that is known.
    """

    prices: tuple[ListPrice, ...]
    moments: tuple[datetime, ...]
    without: Mapping[tuple[str | None, ...], str] = field(default_factory=dict)

    def in_force(self, model: Mapping[str, str | None], era: int) -> ListPrice | None:
        """The price of a model after so many of the moments; None where it has none by then.

        A price that names the provider goes before one that does not.
        """
        if not era:
            return None
        now = self.moments[era - 1]
        held = [
            p
            for p in self._by_name.get(model.get("model_name"), ())
            if (p.start is None or p.start <= now)
            and p.model_provider in (None, model.get("model_provider"))
        ]
        return max(
            held, key=lambda p: (p.model_provider is not None, p.start or _FIRST), default=None
        )

    @functools.cached_property
    def _by_name(self) -> Mapping[str | None, list[ListPrice]]:
        named: dict[str | None, list[ListPrice]] = defaultdict(list)
        for price in self.prices:
            named[price.model_name].append(price)
        return dict(named)


_FIRST = datetime.min.replace(tzinfo=UTC)


def price_list(policy: Policy) -> PriceList:
    """The policy's own dated prices; none where it has none."""
    given = policy.spend.prices
    prices = tuple(
        ListPrice(
            p.model_provider,
            p.model_name,
            p.start,
            p.prompt_usd_per_million,
            p.cached_usd_per_million,
            p.completion_usd_per_million,
        )
        for p in (given if isinstance(given, tuple) else ())
    )
    return PriceList(prices, tuple(sorted({p.start for p in prices if p.start is not None})))


def list_cost(price: ListPrice, prompt: int, cached: int, completion: int) -> dict[str, Fraction]:
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


def frozen(price: ListPrice) -> PriceInfo:
    """A price as the artifact keeps it."""
    return PriceInfo(
        price.model_provider,
        price.model_name,
        None if price.start is None else iso(price.start),
        price.prompt_usd_per_million,
        price.cached_usd_per_million,
        price.completion_usd_per_million,
        price.source,
        price.source_version,
        price.source_model,
    )
