"""Exact means over the contexts that were drawn: no sampling of outcomes enters any of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.sample.behaviour import Potential
from analysis.sample.scenarios import Scenario
from analysis.sample.traffic import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Expected:
    """Means of requests under each model, all attempts counted; shape (requests, models).

    attempts: interactions a logical request. failures: failed interactions. final_failure:
    probability that the last attempt fails. breaches: interactions over the latency limit.
    breach: probability that the last attempt is. cost_usd, completion_tokens: sums over attempts.
    """

    attempts: Floats
    failures: Floats
    final_failure: Floats
    breaches: Floats
    breach: Floats
    cost_usd: Floats
    completion_tokens: Floats

    def unit_cost_usd(self, s: Scenario) -> Floats:
        """Cost plus the price of failure and breach, by the last attempt (STATISTICS section 7)."""
        return (
            self.cost_usd
            + s.failure_cost_usd * self.final_failure
            + s.latency_breach_cost_usd * self.breach
        )


def expect(potential: Potential) -> Expected:
    """Sums over the chain of at most three attempts, whose costs and latencies do not depend on
    how the attempt before went."""
    p, retries = potential.failure, potential.retries
    f, again = retries.failure[:, None], retries.second[:, None]
    second = p * retries.first[:, None]
    third = second * f * again
    attempts = 1 + second + third
    return Expected(
        attempts=attempts,
        failures=p + second * f + third * f,
        final_failure=p * (1 - retries.first[:, None]) + second * f * (1 - again) + third * f,
        breaches=potential.breach * attempts,
        breach=potential.breach,
        cost_usd=potential.cost_usd * attempts,
        completion_tokens=potential.completion_tokens * attempts,
    )


@dataclass(frozen=True)
class Rates:
    """True figures an interaction, of one window or slice."""

    n_requests: int
    interactions: float
    failure_rate: float | None
    latency_breach_rate: float | None
    cost_usd_per_interaction: float | None
    retry_rate: float | None
    usd_per_day: float


def rates(expected: Expected, propensity: Floats, where: Bools, days: int) -> Rates:
    """Figures of the requests `where`, under the logging policy."""
    weight = propensity[where]

    def total(values: Floats) -> float:
        return float((weight * values[where]).sum())

    n_requests = int(where.sum())
    rows = total(expected.attempts)

    def share(amount: float) -> float | None:
        return amount / rows if rows > 0 else None

    cost = total(expected.cost_usd)
    return Rates(
        n_requests=n_requests,
        interactions=rows,
        failure_rate=share(total(expected.failures)),
        latency_breach_rate=share(total(expected.breaches)),
        cost_usd_per_interaction=share(cost),
        retry_rate=share(rows - n_requests),
        usd_per_day=cost / days,
    )


@dataclass(frozen=True)
class ModelTotals:
    """True totals a day by model, shape (models,), of one window."""

    first_attempts_per_day: float
    attempts: Floats
    tokens: Floats
    usd: Floats


def model_totals(
    expected: Expected, propensity: Floats, prompt: Floats, where: Bools, days: int
) -> ModelTotals:
    """Attempts, tokens (prompt and completion) and USD of each model."""
    weight = propensity[where]
    attempts = weight * expected.attempts[where]
    completion = (weight * expected.completion_tokens[where]).sum(axis=0)
    return ModelTotals(
        first_attempts_per_day=float(where.sum()) / days,
        attempts=attempts.sum(axis=0) / days,
        tokens=((attempts * prompt[where, None]).sum(axis=0) + completion) / days,
        usd=(weight * expected.cost_usd[where]).sum(axis=0) / days,
    )


def spend_drivers(before: ModelTotals, after: ModelTotals) -> dict[str, float] | None:
    """The change of USD a day by driver: log-mean Divisia index (Ang 2005, additive LMDI-I).

    USD = first attempts * attempts per first * sum over models m of
    share_m * tokens per attempt_m * price_m.
    None where a window or a cell is empty.
    """
    cells = np.r_[before.attempts, after.attempts, before.usd, after.usd]
    if not (cells > 0).all():
        return None
    weight = np.where(
        np.isclose(after.usd, before.usd, rtol=1e-12, atol=0),
        before.usd,
        (after.usd - before.usd) / np.log(after.usd / before.usd),
    )

    def effect(name_after: Floats, name_before: Floats) -> float:
        return float((weight * np.log(name_after / name_before)).sum())

    def parts(t: ModelTotals) -> dict[str, Floats]:
        everyone = np.ones_like(t.attempts)
        return {
            "volume": everyone * t.first_attempts_per_day,
            "retries": everyone * t.attempts.sum() / t.first_attempts_per_day,
            "mix": t.attempts / t.attempts.sum(),
            "tokens": t.tokens / t.attempts,
            "price": t.usd / t.tokens,
        }

    old, new = parts(before), parts(after)
    return {name: effect(new[name], old[name]) for name in old}


def population_stability_index(before: Floats, after: Floats) -> float:
    """PSI of two categorical distributions with the same, nonzero categories."""
    return float(((after - before) * np.log(after / before)).sum())


def auc_of_risk(risk: Floats) -> float | None:
    """The area under the ROC curve that the true probability itself reaches, in expectation.

    Each row is a positive with weight p and a negative with weight 1 - p; ties count one half.
    """
    if len(risk) == 0:
        return None
    values, place = np.unique(risk, return_inverse=True)
    positive = np.bincount(place, weights=risk)
    negative = np.bincount(place, weights=1 - risk)
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    if len(values) < 2 or pairs <= 0:
        return None
    return float((positive * (below + negative / 2)).sum() / pairs)
