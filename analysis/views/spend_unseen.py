"""Spend that the log cannot see: interactions without a known cost, why, and what they may have cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from analysis.check import Range
from analysis.telemetry.spending import CAUSES, CEILING_KNOWN, TOKENS_KNOWN, Piece
from analysis.views.prices import PriceList, list_cost

NANO = 10**9

Amounts = tuple[Fraction | None, Fraction, Fraction | None]
"""value, low, high in nano-USD"""


@dataclass(frozen=True)
class UnseenCause:
    """Interactions of the candidate's span whose cost is unknown for one cause; share: of all.

    usd: what they cost in all. Bounds, and no interval: where tokens and their price are known, the
    list price; else from nothing to the list price of the longest answer that was allowed, or the
    policy's cap for each. high is null where neither is known, value where no cost is known at all.
    """

    cause: str
    n: int
    share: float
    usd: Range


def unseen_spend(
    pieces: Sequence[Piece], prices: PriceList, keys: Sequence[str], cap_usd: float | None
) -> tuple[UnseenCause, ...]:
    """Each cause that there is, in the order of `CAUSES`; every row counts under one.

    Unseen spend (USD): what interactions without a known cost may have cost: neither zero nor the mean, but
    bounds: the list price, the model's mean, or the policy's cap.
    """
    own = [p for p in pieces if p.window == 1]
    n_all = sum(p.n for p in own)
    means = _mean_costs(own)
    cap = None if cap_usd is None else Fraction(repr(cap_usd)) * NANO
    counts: dict[str, int] = defaultdict(int)
    held: dict[str, list[Amounts]] = defaultdict(list)
    for p in own:
        if p.cause != "seen":
            counts[p.cause] += p.n
            mean = means.get(p.model, means.get(None))
            held[p.cause].append(_amounts(p, prices, keys, mean, cap))
    return tuple(
        UnseenCause(cause, counts[cause], counts[cause] / n_all, _range(held[cause]))
        for cause in CAUSES[1:]
        if counts[cause]
    )


def together(causes: Sequence[UnseenCause]) -> Range:
    """All causes together; a part that is not known leaves the sum unknown."""

    def added(amounts: list[float | str | None]) -> float | None:
        known = [float(a) for a in amounts if a is not None]
        return sum(known) if len(known) == len(amounts) else None

    return Range(
        *(added([getattr(c.usd, field) for c in causes]) for field in ("value", "low", "high"))
    )


def _mean_costs(
    pieces: Sequence[Piece],
) -> dict[tuple[str | None, ...] | None, Fraction]:
    """Mean known nano-USD an attempt by model; of all of them under None."""
    costs: dict[tuple[str | None, ...] | None, int] = defaultdict(int)
    n: dict[tuple[str | None, ...] | None, int] = defaultdict(int)
    for p in pieces:
        if p.cause == "seen":
            for model in (p.model, None):
                costs[model] += p.nano_usd
                n[model] += p.n
    return {model: Fraction(costs[model], n[model]) for model in n}


def _amounts(
    p: Piece,
    prices: PriceList,
    keys: Sequence[str],
    mean: Fraction | None,
    cap: Fraction | None,
) -> Amounts:
    price = prices.in_force(dict(zip(keys, p.model, strict=True)), p.era)
    if price is not None and p.tokens_known == TOKENS_KNOWN:
        cost = sum(list_cost(price, p.prompt, p.cached, p.completion).values(), Fraction(0))
        return cost, cost, cost
    high = None if cap is None else cap * p.n
    if price is not None and p.tokens_known == CEILING_KNOWN:
        high = sum(list_cost(price, p.prompt, 0, p.ceiling).values(), Fraction(0))
    value = None if mean is None else mean * p.n
    if value is not None and high is not None:
        value = min(value, high)
    return value, Fraction(0), high


def _range(amounts: Sequence[Amounts]) -> Range:
    def usd(held: list[Fraction | None]) -> float | None:
        known = [a for a in held if a is not None]
        return float(sum(known, Fraction(0)) / NANO) if len(known) == len(held) else None

    return Range(*(usd([a[place] for a in amounts]) for place in range(3)))
