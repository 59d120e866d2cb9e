"""Planted changes go to the part that they are planted in, within intervals of nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.stats.decomposition import CellSums as Sums
from analysis.stats.decomposition import decompose
from analysis.telemetry.cell_sums import CellSums, Partition
from analysis.telemetry.moments import Metric
from analysis.views.drift_outcome import Asked, ask_split
from analysis.views.drift_price import Pricing, ask_price
from tests.views.consequence_worlds import Truth, engine_of, interactions, planted

PARTS = ("mix", "mix_context", "mix_action", "within")


def intervals(fact: pd.DataFrame, *, by_days: bool) -> dict[str, tuple[float, float, float]]:
    """(value, low, high) of each part of the failure rate's change."""
    engine = engine_of(fact)
    asked = Asked()
    with CellSums(
        engine, [Partition(("use", "model"), 1)], [Metric.rate("failure", "failure")],
        "f.failure IS NOT NULL", 50, by_days,
    ) as sums:  # fmt: skip
        cells = sums.cells()
        split = ask_split(asked, cells[0], 0, 1)
        spreads = sums.spreads(cells, asked.columns, asked.wanted)
    engine.close()
    assert split is not None
    out = {}
    for name, place in split.spreads.items():
        value, reach = getattr(split.found, name).value, spreads[place].reach()
        out[name] = (value, value - reach, value + reach)
    total = out["mix_context"][0] + out["mix_action"][0] + out["within"][0]
    assert total == pytest.approx(split.found.total.value, abs=1e-14)
    return out


def coverage(truth: Truth, runs: int, *, concurrent: bool, seed: int) -> dict[str, float]:
    """Share of runs in which each part's interval holds the population's."""
    hits = dict.fromkeys(PARTS, 0)
    for run in range(runs):
        fact = interactions(truth, seed + run, concurrent=concurrent)
        for name, (_, low, high) in intervals(fact, by_days=not concurrent).items():
            hits[name] += low <= getattr(truth.parts, name).value <= high
    return {name: hit / runs for name, hit in hits.items()}


@pytest.mark.parametrize("concurrent", [False, True])
def test_planted_changes_are_found_in_their_own_part(concurrent: bool) -> None:
    for part, truth in (
        ("mix_context", planted(routing=False, within=False)),
        ("mix_action", planted(traffic=False, within=False)),
        ("within", planted(traffic=False, routing=False)),
    ):
        fact = interactions(truth, 11, concurrent=concurrent, n_users=6000)
        for name, (_, low, high) in intervals(fact, by_days=not concurrent).items():
            if name in ("mix_context", "mix_action", "within"):
                assert (low > 0) == (name == part), (part, name, low, high)
            assert low <= getattr(truth.parts, name).value <= high


@pytest.mark.parametrize("concurrent", [False, True])
def test_intervals_cover_on_a_few_worlds(concurrent: bool) -> None:
    """25 runs: fewer than 20 hits have a chance of 0.1 % at 95 %."""
    found = coverage(planted(), 25, concurrent=concurrent, seed=500)
    assert min(found.values()) >= 20 / 25, found


@pytest.mark.simulate
@pytest.mark.parametrize("concurrent", [False, True])
def test_intervals_cover_at_their_nominal_rate(concurrent: bool) -> None:
    """93 % to 97 % and 1.645 Monte Carlo errors; before/after may cover more, as V is the larger one."""
    runs = 1000
    error = 1.645 * math.sqrt(0.95 * 0.05 / runs)
    found = coverage(planted(), runs, concurrent=concurrent, seed=10_000)
    print(found)
    assert min(found.values()) >= 0.93 - error, found
    assert max(found.values()) <= (0.97 if concurrent else 0.99) + error, found


def test_days_count_as_clusters_where_windows_follow_each_other() -> None:
    fact = interactions(planted(), 5, day_effect=0.06)
    plain, daily = intervals(fact, by_days=False), intervals(fact, by_days=True)
    wide = {n: (daily[n][2] - daily[n][1]) / (plain[n][2] - plain[n][1]) for n in PARTS}
    assert wide["within"] > 1.3
    assert wide["mix_context"] > 1.1


def test_sums_are_checked_against_those_of_the_frame() -> None:
    fact = interactions(planted(), 6)
    held = fact.groupby(["use", "model", "win"])["failure"].agg(["size", "sum"]).unstack("win")
    own = Sums(held["size"].to_numpy().T.astype(float), held["sum"].to_numpy().T.astype(float),
               np.repeat(np.arange(3), 2))  # fmt: skip
    found = intervals(fact, by_days=False)
    for name in PARTS:
        assert found[name][0] == pytest.approx(getattr(decompose(own), name).value, abs=1e-14)


# ── prices ───────────────────────────────────────────────────────────────────────────────


def prices(fact: pd.DataFrame, *, by_days: bool) -> list[tuple[float, float, float]]:
    """(value, low, high) of what traffic, and traffic and routing, add to the rate."""
    engine = engine_of(fact)
    asked = Asked()
    failure = Metric.rate("failure", "failure")
    with CellSums(
        engine, [Partition(("use", "model"), 1)], [failure], "f.failure IS NOT NULL", 50, by_days
    ) as sums:
        cells = sums.cells()
        nothing = Pricing("slo", "burn", failure, 1.0, 1.0, None, None, None)
        asked_for = ask_price(asked, nothing, cells[0], 0, 1)
        spreads = sums.spreads(cells, asked.columns, asked.wanted)
    engine.close()
    out = []
    for part in (asked_for.traffic, asked_for.mix):
        assert part is not None
        assert part.found.unknown.value == 0.0
        value = part.found.known.value - part.base.value
        reach = spreads[part.low].reach()
        out.append((value, value - reach, value + reach))
    return out


def true_prices(truth: Truth) -> list[float]:
    q = np.stack([truth.routed, 1 - truth.routed], axis=2)
    in_context = (q[0] * truth.rate[0]).sum(axis=1)
    base = float(truth.share[0] @ in_context)
    both = float((truth.share[1][:, None] * q[1] * truth.rate[0]).sum())
    return [float(truth.share[1] @ in_context) - base, both - base]


def price_hits(runs: int, *, concurrent: bool, seed: int) -> np.ndarray:
    truth = planted()
    hits = np.zeros(2)
    for run in range(runs):
        found = prices(
            interactions(truth, seed + run, concurrent=concurrent), by_days=not concurrent
        )
        hits += [
            low <= t <= high for (_, low, high), t in zip(found, true_prices(truth), strict=True)
        ]
    return hits


def test_prices_cover_on_a_few_worlds() -> None:
    """25 runs: fewer than 20 hits have a chance of 0.1 % at 95 %."""
    assert price_hits(25, concurrent=False, seed=900).min() >= 20


@pytest.mark.simulate
@pytest.mark.parametrize("concurrent", [False, True])
def test_prices_cover_at_their_nominal_rate(concurrent: bool) -> None:
    runs = 600
    error = 1.645 * math.sqrt(0.95 * 0.05 / runs)
    share = price_hits(runs, concurrent=concurrent, seed=40_000) / runs
    print(share)
    assert share.min() >= 0.93 - error
    assert share.max() <= (0.97 if concurrent else 0.99) + error
