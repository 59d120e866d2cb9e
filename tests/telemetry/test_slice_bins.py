"""Bins of numbers equal pandas' over the same rows, whatever their order, format and threads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS
from analysis.policy import Policy, Quantiles
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slice_bins import Bins, NoBins, bins
from analysis.telemetry.slices import SliceTable, slices
from tests.telemetry.worlds import World, frame, random_rows, world_of

WINDOWS = {"candidate": {"days": 8}, "baseline": {"days": 9}}
METRICS = [Metric.rate("failure", "failure")]


def rules(**wanted: Any) -> Policy:
    return Policy.model_validate(
        {"windows": WINDOWS, "dimensions": ["use_case"], "hotspots": {"metrics": ["failure"], "bins": wanted}}
    )  # fmt: skip


def made(folder: Path, seed: int = 1, n: int = 200, **columns: list[Any]) -> World:
    world = world_of(random_rows(np.random.default_rng(seed), n=n, days=17), folder / "data")
    for name, values in columns.items():
        world.add(INTERACTIONS, name, values)
    return world


def cut(telemetry: Telemetry) -> tuple[Bins | NoBins, ...]:
    return bins(telemetry, telemetry.policy.hotspots.bins)


def one(telemetry: Telemetry) -> Bins:
    (found,) = cut(telemetry)
    assert isinstance(found, Bins)
    return found


def sliced(telemetry: Telemetry) -> SliceTable:
    found = [b.dimension for b in cut(telemetry) if isinstance(b, Bins)]
    with slices(
        telemetry, ["use_case"], METRICS, max_depth=3, min_support=1, binned=found
    ) as reduced:
        return reduced.table


def texts(values: np.ndarray) -> list[str | None]:
    return [None if isinstance(v, float) and math.isnan(v) else str(v) for v in values]


def test_every_slice_has_the_rows_of_its_bins(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    tokens = [None if k % 9 == 0 else str(t) for k, t in enumerate(rng.integers(0, 3000, 200))]
    telemetry = made(tmp_path, max_tokens=tokens).opened(
        policy=rules(max_tokens=[500, 2000], hour=[6, 12, 18])
    )
    table, rows = sliced(telemetry), frame(telemetry)
    telemetry.close()
    hour = (rows["ts_us"] // 3_600_000_000) % 24
    shown = pd.DataFrame(
        {
            "use_case": rows["use_case"],
            "max_tokens": pd.cut(
                rows["max_tokens"].astype(float), [-np.inf, 500, 2000, np.inf], right=False,
                labels=["< 500", "500 to 1,999", "≥ 2,000"],
            ),
            "hour": pd.cut(
                hour, [-1, 6, 12, 18, 24], right=False,
                labels=["< 6", "6 to 11", "12 to 17", "≥ 18"],
            ),
        }
    ).astype(object)  # fmt: skip
    shown = shown.where(shown.notna(), None)
    assert [d.name for d in table.dimensions] == ["use_case", "max_tokens", "hour"]
    names = {d.name: d.values for d in table.dimensions}
    assert names["max_tokens"] == ("< 500", "500 to 1,999", "≥ 2,000", None)
    assert names["hour"] == ("< 6", "6 to 11", "12 to 17", "≥ 18")
    assert len(table.codes) > 30
    for k in range(len(table.codes)):
        own = pd.Series(True, index=rows.index)
        for name, value in table.label(k).items():
            own &= shown[name].isna() if value is None else shown[name] == value
        counts = [int((own & (rows["win"] == win)).sum()) for win in (0, 1)]
        assert table.rows[k].tolist() == counts


@pytest.mark.parametrize("n", [2, 3, 4, 10])
@pytest.mark.parametrize("high", [2, 5, 40, 5000])
def test_quantiles_are_order_statistics_of_the_baseline(tmp_path: Path, n: int, high: int) -> None:
    tokens = [str(int(t)) for t in np.random.default_rng(n * high).integers(0, high, 200)]
    telemetry = made(tmp_path, max_tokens=tokens).opened(policy=rules(max_tokens={"quantiles": n}))
    found, rows = one(telemetry), frame(telemetry)
    telemetry.close()
    ordered = np.sort(rows[rows["win"] == 0]["max_tokens"].to_numpy(dtype=float))
    edges = set()
    for k in range(1, n):
        # The values above the inverted CDF's quantile begin where k/n of the rows lie below.
        able = [v for v in ordered if int((ordered < v).sum()) * n >= len(ordered) * k]
        edges.add(min(able) if able else max(ordered))
    assert found.edges == tuple(sorted(e for e in edges if e > ordered[0]))
    assert found.of == "baseline"
    held = np.bincount(np.searchsorted(found.edges, ordered, side="right"))
    assert (held > 0).all()


@pytest.mark.parametrize(
    ("values", "edges", "labels"),
    [
        (["1", "2", "9"], [2, 3, 9], ("< 2", "2", "3 to 8", "≥ 9")),
        (["1", "2", "9"], [1.5, 1.7, 8.2], ("< 2", "2 to 8", "≥ 9")),
        (["0.25", "2", "9"], [0.5, 2], ("< 0.5", "0.5 to < 2", "≥ 2")),
        (["-5", "-1200", "3"], [-1000, 0], ("< -1,000", "-1,000 to -1", "≥ 0")),
        (["1e18", "2", "3"], [1e17], ("< 1e+17", "≥ 1e+17")),
    ],
)
def test_bins_are_named_as_their_values_are_written(
    tmp_path: Path, values: list[str], edges: list[float], labels: tuple[str, ...]
) -> None:
    world = made(tmp_path, score=[values[k % len(values)] for k in range(200)])
    telemetry = world.opened(policy=rules(score=edges))
    assert one(telemetry).dimension.values == labels
    telemetry.close()


def test_what_is_no_finite_number_is_not_known(tmp_path: Path) -> None:
    values = ["nan", "inf", "-inf", "1", "5", None]
    world = made(tmp_path, score=[values[k % len(values)] for k in range(200)])
    telemetry = world.opened(policy=rules(score=[2]))
    table, rows = sliced(telemetry), frame(telemetry)
    telemetry.close()
    within = rows[rows["win"].notna()]["score"]
    (place,) = [i for i, d in enumerate(table.dimensions) if d.name == "score"]
    assert table.dimensions[place].values == ("< 2", "≥ 2", None)
    alone = np.flatnonzero((table.codes >= 0).sum(axis=1) == 1)
    counts = {
        table.dimensions[place].values[table.codes[k, place]]: table.rows[k].sum()
        for k in alone
        if table.codes[k, place] >= 0
    }
    assert counts["< 2"] == (within == "1").sum()
    assert counts["≥ 2"] == (within == "5").sum()


def test_a_column_named_hour_is_not_the_hour(tmp_path: Path) -> None:
    telemetry = made(tmp_path, hour=["99"] * 200).opened(policy=rules(hour=[6]))
    assert one(telemetry).dimension.values == ("< 6", "≥ 6")
    assert sliced(telemetry).rows.shape[0] > 3
    telemetry.close()


def test_quantiles_of_a_constant_baseline_have_no_edge(tmp_path: Path) -> None:
    world = made(tmp_path, max_tokens=["7"] * 200)
    telemetry = world.opened(policy=rules(max_tokens=Quantiles(quantiles=4).model_dump()))
    assert cut(telemetry) == (NoBins("max_tokens", "all its values are in one bin"),)
    telemetry.close()


@pytest.mark.parametrize(("kind", "threads"), [("csv", 2), ("parquet", 1), ("parts", 2)])
def test_order_format_and_threads_do_not_change_them(
    tmp_path: Path, kind: str, threads: int
) -> None:
    rng = np.random.default_rng(9)
    world = made(
        tmp_path,
        max_tokens=texts(rng.integers(0, 90, 200)),
        score=texts(np.where(rng.random(200) < 0.1, np.nan, rng.random(200).round(3))),
    )
    policy = rules(max_tokens={"quantiles": 5}, score={"quantiles": 3}, hour={"quantiles": 4})
    telemetry = world.opened(policy=policy, threads=1)
    before, table = cut(telemetry), sliced(telemetry)
    telemetry.close()
    assert len(before) == 3
    world.folder = tmp_path / "other"
    for name, rows in world.tables.items():
        world.tables[name] = rows.sample(frac=1, random_state=4).reset_index(drop=True)
    telemetry = world.opened(kind, policy, threads=threads)
    assert cut(telemetry) == before
    again = sliced(telemetry)
    telemetry.close()
    np.testing.assert_array_equal(again.codes, table.codes)
    np.testing.assert_array_equal(again.rows, table.rows)
    np.testing.assert_array_equal(again.sums["yy"], table.sums["yy"])
