"""Rates of the drift view in worlds in which rows hang together by session, user and day.

False alarms are judged as observed ≤ 5 % + 1.645 √(0.05 · 0.95/R). Where a stability index is planted,
its band comes out in nine of ten worlds: 0.15 lies 1.5-fold above *medium*, 0.35 1.4-fold above *high*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from analysis.check import RegressionTest
from analysis.policy import Policy
from analysis.views.drift import assess
from analysis.views.drift_features import RANK, DriftSeverity
from tests.views.drift_worlds import (
    CATEGORIES,
    COLUMNS,
    Effects,
    Plant,
    drawn,
    index,
    missing,
    opened,
    places,
    shift,
    tilted,
)

ENOUGH = 20_000
PLANTED = (
    ("use_case", "values"),
    ("latency_ms", "values"),
    ("time_to_first_token_ms", "values"),
    ("response_quality_score", "missing"),
)


@dataclass(frozen=True)
class Seen:
    """Of one world: severity and q-value by column, and the checks that fail."""

    severity: dict[str, DriftSeverity]
    q: dict[str, float]
    failed: frozenset[str]


def seen(seed: Sequence[int], n_rows: int, plants: Sequence[Plant] = ()) -> Seen:
    rules = Policy()
    rows = drawn(np.random.default_rng(list(seed)), n_rows, plants)
    with TemporaryDirectory() as folder, opened(rows, Path(folder), rules) as telemetry:
        result = assess(telemetry, rules)
    # As if a check were the only one in the gate's family: no other one takes of its error rate.
    checks = [
        c.judged(c.p_value, rules.gate.error_rate) if isinstance(c, RegressionTest) else c
        for c in result.checks
    ]
    features = result.section.features
    return Seen(
        {f.feature: f.severity for f in features},
        {f.feature: f.q_value for f in features if f.q_value is not None},
        frozenset(c.id for c in checks if c.outcome == "fail"),
    )


def bound(worlds: int) -> float:
    return 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / worlds)


def between(k: int, low: int, high: int) -> int:
    """Sizes of worlds, evenly on a log scale."""
    return round(low * (high / low) ** ((k % 10) / 9))


@pytest.mark.parametrize(
    ("worlds", "low", "high"),
    [
        pytest.param(40, 3_000, 6_000, id="short"),
        pytest.param(500, 5_000, 20_000, id="long", marks=pytest.mark.simulate),
    ],
)
def test_where_nothing_drifts_few_windows_are_flagged(worlds: int, low: int, high: int) -> None:
    found = [seen((11, k), between(k, low, high)) for k in range(worlds)]
    assert all(set(f.q) == set(COLUMNS) for f in found)
    alarms = {
        "a severity": [any(s != "none" for s in f.severity.values()) for f in found],
        "a q-value": [any(q <= Policy().drift.fdr for q in f.q.values()) for f in found],
        **{
            check: [check in f.failed for f in found]
            for check in ("drift.high", "drift.medium", "drift.joint")
        },
    }
    alarms["a severity or a check"] = [
        any(flags[k] for name, flags in alarms.items() if name != "a q-value")
        for k in range(worlds)
    ]
    rates = {name: float(np.mean(flags)) for name, flags in alarms.items()}
    assert max(rates.values()) <= bound(worlds), rates


@pytest.mark.parametrize(("psi", "least"), [(0.15, "medium"), (0.35, "high")])
@pytest.mark.parametrize(
    "worlds",
    [
        pytest.param(12, id="short"),
        pytest.param(100, id="long", marks=pytest.mark.simulate),
    ],
)
def test_planted_drift_comes_out_in_its_band(worlds: int, psi: float, least: DriftSeverity) -> None:
    plants = [Plant(column, psi, moves) for column, moves in PLANTED]
    found = [seen((12, k), ENOUGH, plants) for k in range(worlds)]
    rates = {
        p.column: float(np.mean([RANK[f.severity[p.column]] >= RANK[least] for f in found]))
        for p in plants
    }
    assert min(rates.values()) >= 0.9, rates
    check = "drift.high" if least == "high" else "drift.medium"
    assert np.mean([check in f.failed for f in found]) >= 0.9


class TestWorlds:
    """What is planted is there: the rates above are worth what these are."""

    @pytest.mark.parametrize("psi", [0.0, 0.15, 0.35, 1.0])
    def test_an_index_is_planted_exactly(self, psi: float) -> None:
        shares = np.array(CATEGORIES["use_case"])
        moved = tilted(shares, psi, np.random.default_rng(1).standard_normal(len(shares)))
        assert moved.sum() == pytest.approx(1)
        assert index(shares, moved) == pytest.approx(psi, abs=1e-9)
        gone = missing(0.2, psi)
        rest = np.full(10, 0.08)
        assert index(
            np.append(rest, 0.2), np.append(rest * (1 - gone) / 0.8, gone)
        ) == pytest.approx(psi, abs=1e-9)
        z = np.random.default_rng(2).standard_normal(400_000)
        deciles = np.quantile(z, np.arange(1, 10) / 10)
        counts = np.bincount(np.searchsorted(deciles, z + shift(psi)), minlength=10) / len(z)
        assert index(np.full(10, 0.1), counts) == pytest.approx(psi, abs=0.01)

    def test_columns_have_their_shares_and_a_plant_its_index(self) -> None:
        rows = drawn(np.random.default_rng(3), 300_000, [Plant("region", 0.35)])
        late = rows["timestamp_utc"] >= rows["timestamp_utc"].min().floor("D") + np.timedelta64(
            42, "D"
        )
        for name in ("use_case", "region"):
            before, after = (
                rows.loc[w, name].value_counts(normalize=True).sort_index().to_numpy()
                for w in (~late, late)
            )
            assert before == pytest.approx(CATEGORIES[name], abs=0.03)
            assert index(before, after) == pytest.approx(0.35 if name == "region" else 0, abs=0.06)
        assert rows["is_failure"].mean() == pytest.approx(0.06, abs=0.01)
        assert rows["response_quality_score"].isna().mean() == pytest.approx(0.4, abs=0.03)

    def test_rows_of_a_session_a_user_and_a_day_are_alike(self) -> None:
        rng = np.random.default_rng(4)
        where = places(rng, 50_000)
        assert len(where.session) == pytest.approx(50_000, rel=0.15)
        z = where.normals(rng, Effects(session=0.3, user=0.2, day=0.1), 1)[:, 0]
        assert z.std() == pytest.approx(1, abs=0.1)
        user, day = where.user_of[where.session], where.day_of[where.session]
        alike = [
            _correlation(z, np.stack(keys).T)
            for keys in ((where.session,), (user, day), (user,), (day,))
        ]
        # A user's sessions of one day share both; pairs of one session are among those of a user.
        assert alike[0] == pytest.approx(0.6, abs=0.06)
        assert alike[3] == pytest.approx(0.1, abs=0.06)
        assert alike[0] > alike[1] > alike[2] > alike[3]


def _correlation(values: np.ndarray, keys: np.ndarray) -> float:
    """Mean product of two rows with the same key: how alike they are."""
    group = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    n, total = np.bincount(group), np.bincount(group, values)
    squares = np.bincount(group, values**2)
    return float((total**2 - squares).sum() / (n * (n - 1)).sum() / values.var())
