"""Moments are exact sums over clusters and days, as a plain pandas computation gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.telemetry import Metric, Moments, Telemetry, moments
from analysis.telemetry.engine import DuckDB
from analysis.telemetry.moments import measure
from tests.telemetry.worlds import frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 8}, "baseline": {"days": 9}}})
METRICS = [
    Metric.rate("failure", "failure"),
    Metric.rate("breach", "breach"),
    Metric.mean("cost", "cost_nano", 10**9),
    Metric.rate("failure of coding", "CASE WHEN use_case = 'coding' THEN failure END"),
    Metric("cost of a failure", "coalesce(cost_nano, 0)", "CASE WHEN failure THEN 1 ELSE 0 END"),
]


def opened(folder: Path, seed: int, **options: Any) -> Telemetry:
    rows = random_rows(np.random.default_rng(seed), days=17)
    return world_of(rows, folder / "data").opened(policy=POLICY, **options)


def columns_of(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Each row's numerator y and denominator n, before weights, as Python integers."""
    failure, breach = (rows[c].astype("boolean") for c in ("failure", "breach"))
    cost = rows["cost_nano"]
    if name in ("failure", "breach", "failure of coding"):
        value = breach if name == "breach" else failure
        y, n = value.fillna(False), value.notna()
        if name == "failure of coding":
            inside = rows["use_case"] == "coding"
            y, n = y & inside, n & inside
    elif name == "cost":
        y, n = cost.fillna(0), cost.notna()
    else:
        y, n = cost.fillna(0), failure.fillna(False)
    return pd.DataFrame(
        {
            "y": [int(v) for v in y],
            "n": [int(v) for v in n],
            "win": rows["win"],
            "day": rows["day"],
            "cluster": rows["cluster"],
            "weight": rows["weight"],
        },
        dtype=object,
    )


def expected(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    own = columns_of(rows, name)
    own = own[own["win"].notna()]
    out: dict[str, Any] = {}
    totals: dict[int, dict[Any, tuple[int, int]]] = {0: {}, 1: {}}
    for win in (0, 1):
        part = own[own["win"] == win]
        for c, group in part.groupby("cluster"):
            n = sum(w * v for w, v in zip(group["weight"], group["n"], strict=True))
            y = sum(w * v for w, v in zip(group["weight"], group["y"], strict=True))
            totals[win][c] = (n, y)
        pairs = list(totals[win].values())
        out[f"window{win}"] = (
            sum(n for n, _ in pairs),
            sum(y for _, y in pairs),
            sum(n * n for n, _ in pairs),
            sum(y * y for _, y in pairs),
            sum(n * y for n, y in pairs),
            sum(n > 0 for n, _ in pairs),
            max((n for n, _ in pairs), default=0),
            sum(y > 0 for _, y in pairs),
        )
        out[f"support{win}"] = int(part["n"].sum())
        days = []
        for day, group in part.groupby("day"):
            n = sum(w * v for w, v in zip(group["weight"], group["n"], strict=True))
            y = sum(w * v for w, v in zip(group["weight"], group["y"], strict=True))
            if n:
                days.append((win, int(day), n, y))
        out[f"days{win}"] = tuple(days)
    pairs = [(totals[1].get(c, (0, 0)), totals[0].get(c, (0, 0))) for c in {*totals[0], *totals[1]}]
    out["cross"] = (
        sum(a[0] * b[0] for a, b in pairs),
        sum(a[1] * b[1] for a, b in pairs),
        sum(a[0] * b[1] for a, b in pairs),
        sum(a[1] * b[0] for a, b in pairs),
        sum(a[0] > 0 or b[0] > 0 for a, b in pairs),
    )
    return out


@pytest.mark.parametrize("seed", range(4))
def test_moments_equal_a_plain_computation(tmp_path: Path, seed: int) -> None:
    telemetry = opened(tmp_path, seed)
    found, rows = telemetry.moments(METRICS), frame(telemetry)
    telemetry.close()
    assert set(rows["weight"]) > {1}
    for metric in METRICS:
        own, want = found[metric.name], expected(rows, metric.name)
        assert own.metric == metric
        assert astuple(own.candidate) == want["window1"], metric.name
        assert astuple(own.baseline) == want["window0"], metric.name
        assert astuple(own.cross) == want["cross"], metric.name
        assert astuple(own.days)[0] == want["days0"] + want["days1"], metric.name
        assert (own.support_baseline, own.support_candidate) == (want["support0"], want["support1"])


def values(found: dict[str, Moments]) -> dict[str, Any]:
    return {name: astuple(m) for name, m in found.items()}


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("two threads", {"threads": 2}, "csv"),
        ("Parquet", {"threads": 1}, "parquet"),
        ("parts", {"threads": 2}, "parts"),
        ("shuffled", {"threads": 1}, "csv"),
    ],
)
def test_order_format_and_threads_do_not_change_them(
    tmp_path: Path, name: str, options: dict[str, Any], kind: str
) -> None:
    plain = opened(tmp_path / "plain", 5, threads=1)
    before = values(plain.moments(METRICS))
    plain.close()
    world = world_of(random_rows(np.random.default_rng(5), days=17), tmp_path / "data")
    if name == "shuffled":
        for table, rows in world.tables.items():
            world.tables[table] = rows.sample(frac=1, random_state=2).reset_index(drop=True)
    other = world.opened(kind, POLICY, **options)
    assert values(other.moments(METRICS)) == before
    other.close()


def test_they_add_over_clusters(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 6)
    parts = [
        telemetry.moments([Metric.rate("failure", f"CASE WHEN {where} THEN failure END")])
        for where in ("true", "cluster < 4", "cluster >= 4")
    ]
    telemetry.close()
    whole, one, other = (p["failure"] for p in parts)
    for place in (0, 1, 2, 3, 4, 5, 7):  # all but the largest cluster
        assert astuple(whole.candidate)[place] == (
            astuple(one.candidate)[place] + astuple(other.candidate)[place]
        )
    assert [sum(v) for v in zip(astuple(one.cross), astuple(other.cross), strict=True)] == list(
        astuple(whole.cross)
    )


def test_sums_of_squares_of_money_are_exact_integers(tmp_path: Path) -> None:
    rows = [{"session": "s", "user": "u", "at": 300, "cost_usd": "999999.999999"} for _ in range(9)]
    rows.append({"session": "t", "user": "v", "at": 1})
    world = world_of(rows, tmp_path / "data")
    telemetry = world.opened(policy=POLICY)
    found = telemetry.moments([Metric.mean("cost", "cost_nano", 10**9)])["cost"]
    telemetry.close()
    total = 9 * 999_999_999_999_000
    assert found.candidate.y == total
    assert found.candidate.yy == total**2


def test_no_metric_needs_no_scan(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 1)
    assert telemetry.moments([]) == {}
    telemetry.close()


def test_hostile_columns_do_not_meet_the_names_of_a_query(tmp_path: Path) -> None:
    plain = opened(tmp_path / "plain", 7)
    before = values(plain.moments(METRICS))
    plain.close()
    world = world_of(random_rows(np.random.default_rng(7), days=17), tmp_path / "data")
    for name in ("n1_0", "y0_0", "r0", "bucket", "v", "code", "d0", "reach", "chosen", "place"):
        world.add(INTERACTIONS, name, ["7"] * len(world.tables[INTERACTIONS]))
    rules = POLICY.model_copy(update={"dimensions": ("v", "code", "d0", "n1_0", "reach", "bucket")})
    telemetry = world.opened(policy=rules)
    assert values(telemetry.moments(METRICS)) == before
    telemetry.close()


def test_sums_beyond_128_bits_are_made_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = opened(tmp_path, 3)
    engine = telemetry.engine
    assert isinstance(engine, DuckDB)
    row, rows = engine.row, engine.rows

    def overflows(run: Callable[..., Any]) -> Callable[..., Any]:
        def limited(sql: str, *more: Any) -> Any:
            if "n_0 * n_0" in sql or "a.n_0 * b.n_0" in sql:
                raise duckdb.OutOfRangeException("Overflow in HUGEINT addition")
            return run(sql, *more)

        return limited

    try:
        exact = values(measure(engine, METRICS))
        monkeypatch.setattr(engine, "row", overflows(row))
        monkeypatch.setattr(engine, "rows", overflows(rows))
        assert values(measure(engine, METRICS)) == exact
        totals = "CAST(1 AS BIGINT) AS cluster, CAST(2 AS BIGINT) AS n_0"
        large = "CAST('10000000000000000000000' AS HUGEINT) AS y_0"
        engine.create(
            "cluster_totals",
            f"SELECT {totals}, 1 AS win, {large} UNION ALL SELECT {totals}, 0 AS win, {large}",
        )
        window = [2, 10**22, 4, 10**44, 2 * 10**22, 1, 2, 1]
        assert moments._without_limit(engine, 1) == {0: window, 1: window}
        assert moments._crossed(engine, 1) == [(4, 10**44, 2 * 10**22, 2 * 10**22, 1)]
    finally:
        telemetry.close()
