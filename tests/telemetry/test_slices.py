"""Slices and cells equal a pandas groupby over the same rows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slices import (
    CROSS,
    MAX_CATEGORIES,
    SUMS,
    CellTable,
    SliceTable,
    slices,
)
from tests.telemetry.worlds import World, frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 8}, "baseline": {"days": 9}}})
DIMENSIONS = ("use_case", "country_code", "region")
METRICS = [Metric.rate("failure", "failure"), Metric.mean("cost", "cost_nano", 10**9)]


def made(folder: Path, seed: int = 1) -> World:
    return world_of(random_rows(np.random.default_rng(seed), n=160, days=17), folder / "data")


def reduced(
    telemetry: Telemetry,
    dimensions: tuple[str, ...] = DIMENSIONS,
    *,
    max_depth: int = 3,
    min_support: int = 1,
    **ways: int,
) -> tuple[SliceTable, CellTable, tuple[str, ...]]:
    with slices(
        telemetry, dimensions, METRICS, max_depth=max_depth, min_support=min_support, **ways
    ) as found:
        return found.table, found.cells, found.left_out


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows within the windows, with each metric's weighted numerator and denominator."""
    own = rows[rows["win"].notna()].copy()
    own[list(DIMENSIONS)] = (
        own[list(DIMENSIONS)].astype(object).where(own[list(DIMENSIONS)].notna(), None)
    )
    failure = own["failure"].astype("boolean")
    own["n0"], own["y0"] = failure.notna() * own["weight"], failure.fillna(False) * own["weight"]
    cost = own["cost_nano"]
    own["n1"], own["y1"] = cost.notna() * own["weight"], cost.fillna(0) * own["weight"]
    return own


def expected(own: pd.DataFrame, metric: int, win: int) -> dict[str, float]:
    part = own[own["win"] == win]
    c = part.groupby("cluster")[[f"n{metric}", f"y{metric}"]].sum().astype(float)
    n, y = c[f"n{metric}"], c[f"y{metric}"]
    return {
        "n": n.sum(),
        "y": y.sum(),
        "nn": (n * n).sum(),
        "yy": (y * y).sum(),
        "ny": (n * y).sum(),
    }


def expected_cross(own: pd.DataFrame, metric: int) -> dict[str, float]:
    columns = [f"n{metric}", f"y{metric}"]
    totals = own.groupby(["cluster", "win"])[columns].sum().astype(float).unstack(fill_value=0.0)
    totals = totals.reindex(columns=pd.MultiIndex.from_product([columns, [0, 1]]), fill_value=0.0)
    (n0, n1), (y0, y1) = ((totals[c, 0], totals[c, 1]) for c in columns)
    return {
        "n1n0": (n1 * n0).sum(),
        "y1y0": (y1 * y0).sum(),
        "n1y0": (n1 * y0).sum(),
        "y1n0": (y1 * n0).sum(),
    }


def inside(own: pd.DataFrame, label: dict[str, str | None]) -> pd.DataFrame:
    for name, value in label.items():
        own = own[own[name].isna()] if value is None else own[own[name] == value]
    return own


def test_every_slice_has_the_sums_of_its_rows(tmp_path: Path) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    table, _, left_out = reduced(telemetry)
    own = tidy(frame(telemetry))
    telemetry.close()
    assert left_out == ()
    labels = [tuple(sorted(table.label(k).items())) for k in range(len(table.codes))]
    assert len(set(labels)) == len(labels)
    groups = [
        own.groupby(list(group), dropna=False).ngroups
        for depth in (1, 2, 3)
        for group in itertools.combinations(DIMENSIONS, depth)
    ]
    assert len(labels) == sum(groups)
    for k in range(len(labels)):
        rows = inside(own, table.label(k))
        assert table.rows[k].tolist() == [(rows["win"] == w).sum() for w in (0, 1)]
        for m in range(2):
            for win in (0, 1):
                want = expected(rows, m, win)
                for name in SUMS:
                    assert table.sums[name][k, m, win] == pytest.approx(want[name], rel=1e-12)
            between = expected_cross(rows, m)
            for name in CROSS:
                assert table.cross[name][k, m] == pytest.approx(between[name], rel=1e-12)


def test_cells_add_up_to_every_slice(tmp_path: Path) -> None:
    telemetry = made(tmp_path, 2).opened(policy=POLICY)
    table, cells, _ = reduced(telemetry)
    telemetry.close()
    for k in range(len(table.codes)):
        mask = cells.mask(table.codes[k])
        assert cells.rows[mask].sum(axis=0).tolist() == table.rows[k].tolist()
        np.testing.assert_array_equal(cells.n[mask].sum(axis=0), table.sums["n"][k])
        np.testing.assert_array_equal(cells.y[mask].sum(axis=0), table.sums["y"][k])


@pytest.mark.parametrize(("depth", "support"), [(1, 1), (2, 20), (3, 30), (1, 10_000)])
def test_only_slices_with_support_to_the_depth_are_listed(
    tmp_path: Path, depth: int, support: int
) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    table, _, _ = reduced(telemetry, max_depth=depth, min_support=support)
    every, _, _ = reduced(telemetry, max_depth=depth)
    telemetry.close()
    enough = (every.rows >= support).any(axis=1)
    assert table.codes.tolist() == every.codes[enough].tolist()
    assert ((table.codes >= 0).sum(axis=1) <= depth).all()


def test_null_is_a_value_and_the_text_NA_another(tmp_path: Path) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    table, _, _ = reduced(telemetry, max_depth=1)
    telemetry.close()
    (dimension,) = [d for d in table.dimensions if d.name == "use_case"]
    assert dimension.values == ("NA", "coding", "support", None)


@pytest.mark.parametrize(
    ("n_values", "kept"),
    [(1, False), (2, True), (MAX_CATEGORIES, True), (MAX_CATEGORIES + 1, False)],
)
def test_a_dimension_needs_two_values_and_at_most_fifty(
    tmp_path: Path, n_values: int, kept: bool
) -> None:
    world = made(tmp_path)
    world.add(INTERACTIONS, "region", [f"v{k % n_values:02d}" for k in range(160)])
    telemetry = world.opened(policy=POLICY)
    table, _, left_out = reduced(telemetry, max_depth=1)
    telemetry.close()
    assert ("region" in [d.name for d in table.dimensions]) == kept
    assert left_out == (("region",) if n_values > MAX_CATEGORIES else ())


def test_without_dimensions_there_is_one_cell_and_no_slice(tmp_path: Path) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    table, cells, _ = reduced(telemetry, ())
    n = int((frame(telemetry)["win"].notna()).sum())
    telemetry.close()
    assert table.codes.shape == (0, 0)
    assert cells.rows.sum() == n


@pytest.mark.parametrize(("kind", "threads"), [("csv", 2), ("parquet", 1), ("parts", 2)])
def test_order_format_and_threads_do_not_change_them(
    tmp_path: Path, kind: str, threads: int
) -> None:
    world = made(tmp_path, 3)
    telemetry = world.opened(policy=POLICY, threads=1)
    before, cells, _ = reduced(telemetry)
    telemetry.close()
    world.folder = tmp_path / "other"
    for name, rows in world.tables.items():
        world.tables[name] = rows.sample(frac=1, random_state=4).reset_index(drop=True)
    telemetry = world.opened(kind, POLICY, threads=threads)
    after, other, _ = reduced(telemetry)
    telemetry.close()
    assert after.dimensions == before.dimensions
    np.testing.assert_array_equal(after.codes, before.codes)
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(other.y, cells.y)
    for name in SUMS:
        np.testing.assert_array_equal(after.sums[name], before.sums[name])


@pytest.mark.parametrize("name", ["v", "code", "d0", "n0_0", "r1", 'a"b', "select", "ü x"])
def test_a_dimension_may_have_any_name(tmp_path: Path, name: str) -> None:
    world = made(tmp_path)
    world.add(INTERACTIONS, name, world.tables[INTERACTIONS]["country_code"])
    rules = POLICY.model_copy(update={"dimensions": (name, "country_code")})
    telemetry = world.opened(policy=rules)
    table, _, _ = reduced(telemetry, (name, "country_code"), max_depth=1)
    telemetry.close()
    half = len(table.codes) // 2
    np.testing.assert_array_equal(table.rows[:half], table.rows[half:])
    assert [table.label(k) for k in range(3)] == [{name: v} for v in ("DE", "FR", "NA")]
