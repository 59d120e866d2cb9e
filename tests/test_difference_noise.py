from __future__ import annotations

import dataclasses
import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import contract as contracts
from analysis.difference_noise import ERROR_RATE, FigureChange, figure_changes
from analysis.policy import Policy, parse
from analysis.review import _windows
from analysis.sample import generate, write
from analysis.stats.intervals import clopper_pearson
from analysis.telemetry import open_telemetry
from analysis.views import budget, health

Body = dict[str, Any]
Span = tuple[str, str]
FIRST: Span = ("2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z")
SECOND: Span = ("2026-10-15T00:00:00Z", "2026-10-29T00:00:00Z")


def interval(value: float | None, half: float = 0.0, scale: str = "linear") -> Body:
    if value is None:
        return {"value": None, "low": None, "high": None, "support": 0}
    if scale == "log":
        return {"value": value, "low": value / math.exp(half), "high": value * math.exp(half)}
    return {"value": value, "low": value - half, "high": value + half, "support": 1}


def made(
    span: Span = FIRST,
    *,
    rate: Body | None = None,
    cost: Body | None = None,
    spend: Body | None = None,
    change: Body | None = None,
    comparison: str = "before_after",
    target: float = 0.95,
) -> Body:
    """An artifact as far as its headline figures go: one rate, its burn, one cost, the spend."""
    rate = interval(0.05, 0.01) if rate is None else rate
    cost = interval(0.1, 0.05, "log") if cost is None else cost
    spend = interval(50.0, 5.0) if spend is None else spend
    change = interval(0.0, math.sqrt(2) * 0.01) if change is None else change
    burn = {key: None if v is None else v / (1 - target) for key, v in rate.items()}
    slo = {"name": "availability", "bad": "is_failure", "target": target}
    return {
        "windows": {
            "comparison": comparison,
            "candidate": {"start_utc": span[0], "end_utc": span[1]},
        },
        "policy": {"settings": {"slos": [slo]}},
        "views": {
            "health": {
                "baseline": {
                    "failure_rate": interval(0.05, 0.01),
                    "cost_usd_per_interaction": cost,
                },
                "candidate": {"failure_rate": rate, "cost_usd_per_interaction": cost},
                "change": {"failure_rate": change, "cost_usd_per_interaction": cost},
            },
            "budget": {"slos": [{**slo, "burn_rate": burn}], "spend": {"usd_per_day": spend}},
        },
    }


def named(before: Body, after: Body) -> dict[str, FigureChange]:
    return {one.name: one for one in figure_changes(before, after)}


# ── known answers ────────────────────────────────────────────────────────────────────────


def test_a_difference_has_the_variance_of_both_figures() -> None:
    one = named(made(), made(SECOND, rate=interval(0.08, 0.02)))["failure_rate"]
    half = math.hypot(0.01, 0.02)
    assert one.change == pytest.approx(0.03)
    assert (one.low, one.high) == pytest.approx((0.03 - half, 0.03 + half))
    z = 0.03 / half * 1.959964
    assert one.p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-4)


def test_costs_are_compared_as_ratios() -> None:
    after = made(SECOND, cost=interval(0.12, 0.02, "log"))
    one = named(made(), after)["cost_usd_per_interaction"]
    half = math.hypot(0.05, 0.02)
    assert one.change == pytest.approx(1.2)
    assert (one.low, one.high) == pytest.approx((1.2 / math.exp(half), 1.2 * math.exp(half)))
    assert one.verdict == "beyond_noise"


def test_each_side_of_an_interval_counts_towards_the_other_figure() -> None:
    uneven = {"value": 0.05, "low": 0.04, "high": 0.10, "support": 1}
    up = named(made(rate=uneven), made(SECOND, rate=interval(0.09, 0.0)))["failure_rate"]
    down = named(made(rate=uneven), made(SECOND, rate=interval(0.01, 0.0)))["failure_rate"]
    assert up.p_value is not None
    assert down.p_value is not None
    assert up.p_value > 0.1 > 0.001 > down.p_value


def test_what_days_add_to_the_artifact_s_own_change_is_added_to_its_rates() -> None:
    plain = named(made(), made(SECOND, rate=interval(0.08, 0.01)))
    days = interval(0.0, 3 * math.sqrt(2) * 0.01)
    wide = named(made(change=days), made(SECOND, rate=interval(0.08, 0.01), change=days))
    for name in ("failure_rate", "burn_rate.availability"):
        assert plain[name].verdict == "beyond_noise"
        assert wide[name].verdict == "within_noise"
    low, high = wide["failure_rate"].low, wide["failure_rate"].high
    assert (low, high) == pytest.approx(
        (0.03 - 3 * 0.01 * math.sqrt(2), 0.03 + 3 * 0.01 * math.sqrt(2))
    )


def test_all_figures_together_are_held_to_one_error_rate() -> None:
    after = made(SECOND, rate=interval(0.0655, 0.01))
    changes = figure_changes(made(), after)
    judged = [one for one in changes if one.p_value is not None]
    smallest = min(judged, key=lambda one: one.p_value or 0)
    # The burn rate asks what the failure rate asks, and is no question more.
    assert len(judged) == 4
    assert smallest.p_value is not None
    assert smallest.p_value < ERROR_RATE
    assert smallest.p_adjusted == pytest.approx(3 * smallest.p_value)
    assert {one.verdict for one in judged} == {"within_noise"}


def test_a_burn_rate_of_the_same_events_is_judged_with_their_rate() -> None:
    found = named(made(), made(SECOND, rate=interval(0.08, 0.01)))
    burn, rate = found["burn_rate.availability"], found["failure_rate"]
    assert (burn.p_value, burn.p_adjusted, burn.verdict) == (
        *(rate.p_value, rate.p_adjusted, rate.verdict),
    )
    assert burn.change == pytest.approx(0.03 / 0.05)


# ── nothing is claimed ───────────────────────────────────────────────────────────────────

SILENT: dict[str, tuple[Body, Body, str, str]] = {
    "windows that overlap": (
        made(),
        made(("2026-10-14T00:00:00Z", "2026-10-28T00:00:00Z"), rate=interval(0.5, 0.001)),
        "failure_rate",
        "overlap in time",
    ),
    "the same window": (made(), made(rate=interval(0.5, 0.001)), "failure_rate", "overlap in time"),
    "arms that ran at the same time": (
        made(comparison="concurrent"),
        made(SECOND, rate=interval(0.5, 0.001)),
        "failure_rate",
        "how much days differ",
    ),
    "a first release": (
        made(change=interval(None)),
        made(SECOND, rate=interval(0.5, 0.001)),
        "burn_rate.availability",
        "how much days differ",
    ),
    "another objective": (
        made(),
        made(SECOND, target=0.99),
        "burn_rate.availability",
        "the two policies define it otherwise",
    ),
    "no value": (
        made(),
        made(SECOND, rate=interval(None)),
        "failure_rate",
        "not known in both",
    ),
    "no interval": (
        made(),
        made(SECOND, cost={"value": 0.2, "low": None, "high": None}),
        "cost_usd_per_interaction",
        "without an interval in both",
    ),
    "a cost of nothing": (
        made(),
        made(SECOND, cost={"value": 0.0, "low": 0.0, "high": 0.1}),
        "cost_usd_per_interaction",
        "not positive in both",
    ),
}


@pytest.mark.parametrize(("before", "after", "name", "why"), SILENT.values(), ids=SILENT.keys())
def test_where_it_cannot_be_known_nothing_is_claimed(
    before: Body, after: Body, name: str, why: str
) -> None:
    one = named(before, after)[name]
    assert (one.verdict, one.p_value, one.low) == ("not_judged", None, None)
    assert why in (one.reason or "")


def test_windows_that_touch_are_independent_also_to_the_fraction_of_a_second() -> None:
    before = made(("2026-10-01T00:00:00Z", "2026-10-15T00:00:00Z"))
    touching = made(("2026-10-15T00:00:00Z", "2026-10-15T00:00:00.5Z"))
    later = made(("2026-10-15T00:00:00.25Z", "2026-10-16T00:00:00Z"))
    assert named(before, touching)["failure_rate"].verdict != "not_judged"
    assert named(touching, later)["failure_rate"].verdict == "not_judged"


# ── rates ────────────────────────────────────────────────────────────────────────────────


def drawn(rng: np.random.Generator, span: Span, true_rate: float = 0.05) -> Body:
    """An artifact of one world: 2,000 interactions a window, costs and days log-normal."""

    def rate(p: float) -> Body:
        y = int(rng.binomial(2_000, p))
        low, high = clopper_pearson(y, 2_000, 1.0)
        return {"value": y / 2_000, "low": low, "high": high}

    old, new = rate(0.05), rate(true_rate)
    half = 1.96 * math.sqrt(2 * 0.05 * 0.95 / 2_000)
    costs = rng.lognormal(-3, 1, 2_000)
    spread = 1.96 * costs.std(ddof=1) / costs.mean() / math.sqrt(2_000)
    days = rng.lognormal(4, 0.3, 14)
    return made(
        span,
        rate=new,
        cost=interval(float(costs.mean()), float(spread), "log"),
        spend=interval(float(days.mean()), 2.16 * float(days.std(ddof=1)) / math.sqrt(14)),
        change=interval(new["value"] - old["value"], half),
    )


def test_two_artifacts_of_one_world_seldom_differ_beyond_noise() -> None:
    """2,000 pairs: at most 5 % + 1.645 √(0.05 · 0.95 / 2,000) = 5.8 % (STATISTICS section 1)."""
    rng = np.random.default_rng(20261116)
    runs = 2_000
    false = sum(
        any(
            c.verdict == "beyond_noise"
            for c in figure_changes(drawn(rng, FIRST), drawn(rng, SECOND))
        )
        for _ in range(runs)
    )
    assert false / runs <= ERROR_RATE + 1.645 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) / runs)
    # And not because nothing is ever said.
    assert false / runs >= 0.005


def test_a_rate_that_is_half_as_high_again_is_beyond_noise() -> None:
    """5 % against 8 % in 2,000 each: z = 3.9, so nearly always."""
    rng = np.random.default_rng(20261117)
    found = [
        named(drawn(rng, FIRST), drawn(rng, SECOND, 0.08))["failure_rate"].verdict
        for _ in range(100)
    ]
    assert found.count("beyond_noise") >= 80


POLICY: Policy = parse(b"windows: {candidate: {days: 14}, baseline: {days: 14}}\n")


def reviewed(data: Path, as_of: datetime) -> Body:
    """What the headline figures of an artifact are made of, from real telemetry."""
    telemetry = open_telemetry(data, contracts.load(), POLICY, as_of=as_of, threads=1)
    try:
        sections = {"health": health.assess, "budget": budget.assess}
        views = {
            name: dataclasses.asdict(assess(telemetry, POLICY).section)
            for name, assess in sections.items()
        }
        windows = dataclasses.asdict(_windows(telemetry))
    finally:
        telemetry.close()
    return {"windows": windows, "views": views, "policy": {"settings": POLICY.settings()}}


def one_world(seed: int) -> tuple[Body, Body]:
    """Two weeks of a healthy world, and the two weeks after."""
    with tempfile.TemporaryDirectory() as folder:
        data = write(generate("healthy", 6_000, seed), Path(folder) / "data", "parquet")
        moments = (datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC))
        before, after = (reviewed(data, moment) for moment in moments)
    return before, after


def test_the_weeks_of_a_healthy_world_are_judged_and_do_not_differ() -> None:
    changes = figure_changes(*one_world(7))
    assert len(changes) == 9
    assert {one.verdict for one in changes} == {"within_noise"}


@pytest.mark.simulate
def test_the_weeks_of_healthy_worlds_seldom_differ_beyond_noise() -> None:
    """150 worlds: at most 5 % + 1.645 √(0.05 · 0.95 / 150) = 7.9 %."""
    runs = 150
    false = sum(
        any(c.verdict == "beyond_noise" for c in figure_changes(*one_world(1_000 + seed)))
        for seed in range(runs)
    )
    assert false / runs <= ERROR_RATE + 1.645 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) / runs)
