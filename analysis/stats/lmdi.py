"""Exact additive decomposition of a cost change: log-mean Divisia index (LMDI-I).

Ang, B. W. (2004), Decomposition analysis for policymaking in energy; (2005), The LMDI approach to
decomposition analysis: a practical guide, eqs 4 to 9. Perfect in decomposition: no residual. Zeros:
Ang, B. W. & Liu, N. (2007), Handling zero values in the logarithmic mean Divisia index decomposition
approach: the factor that is zero in one period takes the cell's whole change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DRIVERS = ("volume", "retries", "mix", "tokens", "price", "unseen")


@dataclass(frozen=True)
class Cell:
    """One model in one window: attempts and first attempts; of these attempts, those with a known
    cost, that cost in nano-USD, those of them with known tokens, and these tokens."""

    attempts: int = 0
    first_attempts: int = 0
    known: int = 0
    cost: int = 0
    tokened: int = 0
    tokens: int = 0

    def __add__(self, other: Cell) -> Cell:
        return Cell(
            self.attempts + other.attempts,
            self.first_attempts + other.first_attempts,
            self.known + other.known,
            self.cost + other.cost,
            self.tokened + other.tokened,
            self.tokens + other.tokens,
        )


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


def total(cells: Iterable[Cell]) -> Cell:
    """The sum of cells."""
    return sum(cells, Cell())


def decompose(
    candidate: Mapping[str, Cell],
    baseline: Mapping[str, Cell],
    candidate_time: int,
    baseline_time: int,
    *,
    tokens_known: bool = True,
    overall: tuple[Cell, Cell] | None = None,
) -> tuple[int, tuple[Part, ...]]:
    """The change C₁·D₀ − C₀·D₁ and its parts by cell and driver, which sum to it exactly.

    candidate_time, baseline_time: D₁ and D₀, the lengths of the windows in one integer unit.
    Dividing an amount by D₀·D₁ gives nano-USD per unit of time. The cost that the log has of a cell is
    volume × retries × share × known share × tokens per attempt × price per token: volume and retries
    are those of all traffic, `overall` (candidate, baseline) where the cells overlap; the known share
    is that of the attempts whose cost is known (driver `unseen`); tokens and price are means of these.
    A cell that is new or gone goes to mix as a whole, one whose cost is known in one window alone to
    unseen, and one that is free in one window to price, or to tokens where it has none there.
    Amounts are rounded to integers, the remainder to the largest part, ties by name. With
    `tokens_known` false, tokens and price cannot be told apart, and both stand under price.

    Driver (USD a day): what one cause adds to the change of spend: volume (first attempts a day), retries
    (attempts per first attempt), mix (which models serve), tokens (per attempt), price (USD per token) and
    unseen (share of attempts whose cost is known). The parts sum to the change exactly. Source: log-mean
    Divisia index, Ang 2005.
    """
    names = sorted(set(candidate) | set(baseline))
    change = (
        total(candidate.values()).cost * baseline_time
        - total(baseline.values()).cost * candidate_time
    )
    all1, all0 = overall or (total(candidate.values()), total(baseline.values()))
    logs = _overall_logs(all1, all0, candidate_time, baseline_time)
    amounts: dict[tuple[str, str], float] = {}
    for name in names:
        new, old = candidate.get(name, Cell()), baseline.get(name, Cell())
        c1, c0 = new.cost * baseline_time, old.cost * candidate_time
        whole = _zero_factor(new, old, tokens_known) if logs is not None else "mix"
        if whole is not None or logs is None:
            amounts[name, whole or "mix"] = float(c1 - c0)
            continue
        weight = log_mean(float(c1), float(c0))
        volume, retries = logs
        unit = math.log((new.cost / new.known) / (old.cost / old.known))
        tokens = 0.0
        if tokens_known and new.tokens and old.tokens and new.tokened and old.tokened:
            tokens = math.log((new.tokens / new.tokened) / (old.tokens / old.tokened))
        share = math.log((new.attempts / all1.attempts) / (old.attempts / all0.attempts))
        factors = {
            "volume": volume,
            "retries": retries,
            "mix": share,
            "tokens": tokens,
            "price": unit - tokens,
            "unseen": math.log((new.known / new.attempts) / (old.known / old.attempts)),
        }
        for driver, log_change in factors.items():
            amounts[name, driver] = weight * log_change
    return change, _integers(amounts, change)


def _zero_factor(new: Cell, old: Cell, tokens_known: bool) -> str | None:
    """The driver that takes a cell's whole change, because it is zero in one window; None for none."""
    if not (new.attempts and old.attempts):
        return "mix"
    if not (new.known and old.known):
        return "unseen"
    if new.cost and old.cost:
        return None
    gone = any(c.tokened and not c.tokens and not c.cost for c in (new, old))
    return "tokens" if tokens_known and gone else "price"


def _overall_logs(all1: Cell, all0: Cell, time1: int, time0: int) -> tuple[float, float] | None:
    """Log changes of first attempts per time and of attempts per first attempt; None without any."""
    first1, first0 = all1.first_attempts, all0.first_attempts
    if not (all1.attempts and all0.attempts):
        return None
    if not (first1 and first0):
        first1, first0 = all1.attempts, all0.attempts
    volume = math.log((first1 / time1) / (first0 / time0))
    retries = math.log((all1.attempts / first1) / (all0.attempts / first0))
    return volume, retries


def _integers(amounts: Mapping[tuple[str, str], float], change: int) -> tuple[Part, ...]:
    parts = {key: round(value) for key, value in sorted(amounts.items())}
    if parts:
        largest = min(parts, key=lambda key: (-abs(parts[key]), key))
        parts[largest] += change - sum(parts.values())
    return tuple(Part(name, driver, amount) for (name, driver), amount in parts.items())
