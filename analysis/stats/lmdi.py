"""Exact additive decomposition of a cost change: log-mean Divisia index (LMDI-I).

Ang, B. W. (2004), Decomposition analysis for policymaking in energy; (2005), The LMDI approach to
decomposition analysis: a practical guide, eqs 4 to 9. Perfect in decomposition: no residual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DRIVERS = ("volume", "retries", "mix", "tokens", "price")


@dataclass(frozen=True)
class Cell:
    """One model in one window: attempts, first attempts, tokens, and cost in nano-USD."""

    attempts: int = 0
    first_attempts: int = 0
    tokens: int = 0
    cost: int = 0


@dataclass(frozen=True)
class Part:
    """A slice's contribution through one driver, in nano-USD × time × time (see `decompose`)."""

    name: str
    driver: str
    amount: int


def log_mean(a: float, b: float) -> float:
    """L(a, b) = (a − b) / (ln a − ln b), L(a, a) = a; for positive a and b."""
    if a == b:
        return a
    ratio = math.log(a / b)
    if abs(ratio) < 1e-8:
        return (a + b) / 2
    return (a - b) / ratio


def decompose(
    candidate: Mapping[str, Cell],
    baseline: Mapping[str, Cell],
    candidate_time: int,
    baseline_time: int,
    *,
    tokens_known: bool = True,
) -> tuple[int, tuple[Part, ...]]:
    """The change C₁·D₀ − C₀·D₁ and its parts by cell and driver, which sum to it exactly.

    candidate_time, baseline_time: D₁ and D₀, the lengths of the windows in one integer unit.
    Dividing an amount by D₀·D₁ gives nano-USD per unit of time. The cost of a cell is
    volume × retries × share × tokens per attempt × price per token; volume and retries are those
    of all traffic. A cell that is new, gone or free in one window goes to mix as a whole. Amounts
    are rounded to integers, the remainder to the largest part, ties by name. With `tokens_known`
    false, tokens and price cannot be told apart, and both stand under price.
    """
    names = sorted(set(candidate) | set(baseline))
    total1 = sum(c.cost for c in candidate.values())
    total0 = sum(c.cost for c in baseline.values())
    change = total1 * baseline_time - total0 * candidate_time
    logs = _overall_logs(candidate.values(), baseline.values(), candidate_time, baseline_time)
    attempts1 = sum(c.attempts for c in candidate.values())
    attempts0 = sum(c.attempts for c in baseline.values())
    amounts: dict[tuple[str, str], float] = {}
    for name in names:
        new, old = candidate.get(name, Cell()), baseline.get(name, Cell())
        c1, c0 = new.cost * baseline_time, old.cost * candidate_time
        if logs is None or not (new.cost and old.cost and new.attempts and old.attempts):
            amounts[name, "mix"] = float(c1 - c0)
            continue
        weight = log_mean(float(c1), float(c0))
        volume, retries = logs
        unit = math.log((new.cost / new.attempts) / (old.cost / old.attempts))
        tokens = 0.0
        if tokens_known and new.tokens and old.tokens:
            tokens = math.log((new.tokens / new.attempts) / (old.tokens / old.attempts))
        share = math.log((new.attempts / attempts1) / (old.attempts / attempts0))
        factors = {
            "volume": volume,
            "retries": retries,
            "mix": share,
            "tokens": tokens,
            "price": unit - tokens,
        }
        for driver, log_change in factors.items():
            amounts[name, driver] = weight * log_change
    return change, _integers(amounts, change)


def _overall_logs(
    candidate: Iterable[Cell], baseline: Iterable[Cell], time1: int, time0: int
) -> tuple[float, float] | None:
    """Log changes of first attempts per time and of attempts per first attempt; None without any."""
    cells1, cells0 = list(candidate), list(baseline)
    first1, first0 = sum(c.first_attempts for c in cells1), sum(c.first_attempts for c in cells0)
    all1, all0 = sum(c.attempts for c in cells1), sum(c.attempts for c in cells0)
    if not (all1 and all0):
        return None
    if not (first1 and first0):
        first1, first0 = all1, all0
    volume = math.log((first1 / time1) / (first0 / time0))
    retries = math.log((all1 / first1) / (all0 / first0))
    return volume, retries


def _integers(amounts: Mapping[tuple[str, str], float], change: int) -> tuple[Part, ...]:
    parts = {key: round(value) for key, value in sorted(amounts.items())}
    if parts:
        largest = min(parts, key=lambda key: (-abs(parts[key]), key))
        parts[largest] += change - sum(parts.values())
    return tuple(Part(name, driver, amount) for (name, driver), amount in parts.items())
