"""Could the unknown rows flip the decision? The gate's own checks at both extremes.

Health is computed anew with every unknown row bad in the candidate and good in the baseline (worst),
and the other way round (best); budgets, which are absolute, with every unknown row bad or good.
Both also bound every headline figure. An extreme counts unknown rows as known: a check that too many
nulls leave open is judged there. `contract.errors` is left aside: that rows break the contract does
not depend on what they hold.

Hotspots, routing, drift and triage stay as they are, for nobody knows the slices of rows that are
not there: an extreme is that of the figures, and no bound of what these views would find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import gate
from analysis.check import Check, Interval, RegressionTest
from analysis.policy import Policy
from analysis.stats.sketch import N_BINS, bin_value, quantile
from analysis.telemetry import Telemetry
from analysis.telemetry.latency import with_unknown
from analysis.telemetry.unknown import (
    Asked,
    BadIn,
    Unknowns,
    count_unknown,
    measure_as,
    taken_as,
)
from analysis.views import budget, health
from analysis.views.contract import BoundInfo, BoundsInfo, unknown_info
from analysis.views.health import Figures
from analysis.views.health_quantiles import QUANTILES
from analysis.views.looks import gate_error
from analysis.views.result import ViewResult

Results = Mapping[str, ViewResult[Any]]
Level = tuple[float | None, float | None, float | None]
"""value, low, high"""

_EXTREMES: Mapping[str, tuple[BadIn, BadIn]] = {
    "best": ("baseline", "none"),
    "worst": ("candidate", "all"),
}
_UNBOUNDED: Level = (None, None, None)


@dataclass(frozen=True)
class Extremes:
    """What health and budgets are at both extremes, and latencies by bin there."""

    unknown: Unknowns
    found: Mapping[str, Results]
    ranks: Mapping[str, Mapping[int, np.ndarray]]


def assess(telemetry: Telemetry, policy: Policy, results: Results) -> BoundsInfo | None:
    """Bounds of the headline figures, and both decisions; None where every row is known.

    results: what the views found.
    """
    return judge(extremes(telemetry, policy), telemetry, policy, results)


def extremes(telemetry: Telemetry, policy: Policy) -> Extremes | None:
    """Health and budgets with all that is unknown taken as good or bad; None where nothing is."""
    unknown = count_unknown(telemetry)
    if not unknown.n_interactions:
        return None
    found: dict[str, Results] = {}
    ranks: dict[str, Mapping[int, np.ndarray]] = {}
    if telemetry.has("latency_ms"):
        known = telemetry.latency_histograms()
        for extreme, (compared, _) in _EXTREMES.items():
            bad = {1: compared == "candidate", 0: compared == "baseline"}
            ranks[extreme] = with_unknown(telemetry.engine, known, bad)
    asked: dict[BadIn, Asked] = {}
    for compared, absolute in _EXTREMES.values():
        asked[compared] = lambda of, column: tuple(health.headline_metrics(of, column).values())
        asked[absolute] = lambda of, _: tuple(budget.metrics(of).values())
    measured = measure_as(telemetry, asked)
    for extreme, (compared, absolute) in _EXTREMES.items():
        with taken_as(telemetry, compared, measured[compared]) as taken:
            found[extreme] = {"health": health.assess(taken, policy, headlines_only=True)}
        with taken_as(telemetry, absolute, measured[absolute]) as taken:
            found[extreme] = {
                **found[extreme],
                "budget": budget.assess(taken, policy, headlines_only=True),
            }
    return Extremes(unknown, found, ranks)


def judge(
    at: Extremes | None, telemetry: Telemetry, policy: Policy, results: Results
) -> BoundsInfo | None:
    """The bounds and decisions that follow of the extremes and of what the views found.

    Worst case: what a figure would be if every row whose outcome is unknown, or that was set aside or lost,
    had been good, or bad. Bounds, not chance: they hold whatever the truth is. Source: Manski 1989.
    """
    if at is None:
        return None
    outcomes = {
        name: decision(telemetry, policy, {**results, **found}).outcome
        for name, found in at.found.items()
    }
    return BoundsInfo(
        n_interactions=at.unknown.n_interactions,
        n_absent=at.unknown.n_absent,
        baseline=unknown_info(at.unknown.baseline),
        candidate=unknown_info(at.unknown.candidate),
        figures=tuple(_figures(results, at.found["best"], at.found["worst"], at.ranks)),
        reviewed=decision(telemetry, policy, results).outcome,
        best=outcomes["best"],
        worst=outcomes["worst"],
    )


def decision(telemetry: Telemetry, policy: Policy, results: Results) -> gate.Decision:
    """What the gate decides on these results, the checks of the contract left aside."""
    first = telemetry.baseline is None
    tests: list[Check | RegressionTest] = [c for r in results.values() for c in r.checks]
    checks = gate.judge(tests, policy, gate_error(policy, telemetry.windows), first_release=first)
    return gate.decide(
        checks, tests, first_release=first, rules=policy.gate, now=telemetry.windows.now
    )


def _figures(
    base: Results, best: Results, worst: Results, ranks: Mapping[str, Mapping[int, np.ndarray]]
) -> list[BoundInfo]:
    out = []
    for name in Figures.__annotations__:
        old, new = (
            _quantile(base, ranks, window, name)
            if name in QUANTILES
            else _mean(base, best, worst, window, name)
            for window in ("baseline", "candidate")
        )
        change = _change(name, _health(base, "change", name).value, old, new)
        out += [
            BoundInfo(name, "baseline", *old),
            BoundInfo(name, "candidate", *new),
            BoundInfo(name, "change", *change),
        ]
    budgets: Sequence[budget.BudgetSection] = [r["budget"].section for r in (base, best, worst)]
    for slo, least, most in zip(*(b.slos for b in budgets), strict=True):
        for name, held in (
            ("burn_rate", [s.burn_rate.value for s in (slo, least, most)]),
            ("budget_consumed", [s.budget_consumed for s in (slo, least, most)]),
        ):
            out.append(BoundInfo(f"{slo.name}_{name}", "candidate", *_ordered(*held)))
    spend = [b.spend.usd_per_day.value for b in budgets]
    out.append(BoundInfo("usd_per_day", "candidate", *_ordered(*spend)))
    return out


def _mean(base: Results, best: Results, worst: Results, window: str, name: str) -> Level:
    """A rate or a mean; in the worst case the baseline is good."""
    value, low, high = (_health(found, window, name).value for found in (base, best, worst))
    return _ordered(value, high, low) if window == "baseline" else _ordered(value, low, high)


def _quantile(
    base: Results, ranks: Mapping[str, Mapping[int, np.ndarray]], window: str, name: str
) -> Level:
    """A quantile with the unknown below, and beyond, all others: then it may have no upper bound."""
    value = _health(base, window, name).value
    if value is None:
        return _UNBOUNDED  # too few tail clusters, or none: there is nothing to bound
    win, low, high = (1, "best", "worst") if window == "candidate" else (0, "worst", "best")
    q = QUANTILES[name]
    least, most = (quantile(ranks[extreme][win], q) for extreme in (low, high))
    return _ordered(value, least / 1e3, None if most >= bin_value(N_BINS - 1) else most / 1e3)


def _change(name: str, value: float | None, old: Level, new: Level) -> Level:
    """The bounds that those of both windows imply: a difference of rates, else a ratio."""
    if old[0] == old[1] == old[2] and new[0] == new[1] == new[2]:
        return value, value, value
    (_, low0, high0), (_, low1, high1) = old, new
    if name.endswith("rate"):
        low = None if low1 is None or high0 is None else low1 - high0
        high = None if high1 is None or low0 is None else high1 - low0
        return _ordered(value, low, high)
    if old == _UNBOUNDED or new == _UNBOUNDED:
        return _UNBOUNDED
    # An old value without an upper bound leaves the ratio without a lower one, but for 0.
    low = None if low1 is None else 0.0 if high0 is None else low1 / high0 if high0 else None
    high = None if high1 is None or not low0 else high1 / low0
    return _ordered(value, low, high)


def _ordered(value: float | None, low: float | None, high: float | None) -> Level:
    """Rounding of the last digit must not put a figure outside of its own bounds."""
    if value is None:
        return None, low, high
    return (
        value,
        None if low is None else min(low, value),
        None if high is None else max(high, value),
    )


def _health(results: Results, window: str, name: str) -> Interval:
    figure: Interval = getattr(getattr(results["health"].section, window), name)
    return figure
