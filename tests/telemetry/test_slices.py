"""Slices and cells equal a pandas groupby over the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.stats.sandwich_covariance import cov_cluster

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.stats.clusters import difference_variance
from analysis.stats.moments import CrossMoments, WindowMoments
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.slice_sums import LIMB_BITS
from analysis.telemetry.slices import (
    CROSS,
    MAX_CATEGORIES,
    SUMS,
    CellTable,
    Crowded,
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
) -> tuple[SliceTable, CellTable, tuple[Crowded, ...]]:
    with slices(
        telemetry, dimensions, METRICS, max_depth=max_depth, min_support=min_support, **ways
    ) as found:
        return found.table, found.cells, found.crowded


def tidy(rows: pd.DataFrame, dimensions: tuple[str, ...] = DIMENSIONS) -> pd.DataFrame:
    """Rows within the windows, with each metric's weighted numerator and denominator."""
    own, names = rows[rows["win"].notna()].copy(), list(dimensions)
    own[names] = own[names].astype(object).where(own[names].notna(), None)
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
    table, _, crowded = reduced(telemetry)
    own = tidy(frame(telemetry))
    telemetry.close()
    assert crowded == ()
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


WAYS = {
    "all clusters by pairs": {"max_cells": 10**6},
    "a few by pairs": {"max_cells": 5},
    "none by pairs": {"max_cells": 0},
    "in parts": {"part_rows": 40},
    "a few by pairs, in parts": {"max_cells": 5, "part_rows": 40},
}


def same(a: SliceTable, b: SliceTable) -> None:
    np.testing.assert_array_equal(a.codes, b.codes)
    np.testing.assert_array_equal(a.rows, b.rows)
    for name in SUMS:
        np.testing.assert_array_equal(a.sums[name], b.sums[name])
    for name in CROSS:
        np.testing.assert_array_equal(a.cross[name], b.cross[name])


def giant(folder: Path, seed: int) -> World:
    """A world in which half of all rows are one user's."""
    rows = random_rows(np.random.default_rng(seed), n=240, days=17)
    for row in rows:
        if int(row["session"][1:]) % 2:
            row["user"] = "u0"
    return world_of(rows, folder / "data")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [made, giant])
def test_every_way_gives_the_same_integers(
    tmp_path: Path, make: Callable[[Path, int], World], way: str
) -> None:
    telemetry = make(tmp_path, 7).opened(policy=POLICY)
    usual, cells, _ = reduced(telemetry)
    other, again, _ = reduced(telemetry, **WAYS[way])
    telemetry.close()
    same(usual, other)
    np.testing.assert_array_equal(cells.codes, again.codes)
    np.testing.assert_array_equal(cells.y, again.y)


def test_many_combinations_are_searched_as_few_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = made(tmp_path, 8).opened(policy=POLICY)
    usual, _, _ = reduced(telemetry, min_support=4)
    for module in ("slices", "slice_sums"):
        monkeypatch.setattr(f"analysis.telemetry.{module}.DENSE", 5)
    other, _, _ = reduced(telemetry, min_support=4, max_cells=4)
    telemetry.close()
    same(usual, other)


@pytest.mark.parametrize("way", ["all clusters by pairs", "a few by pairs"])
@pytest.mark.parametrize(
    ("largest", "close"),
    [
        (10**3, 0.0),  # squares within 64 bits
        (10**12, 0.0),  # within two limbs
        (10**17, 1e-9),  # beyond: of amounts without their last bits
    ],
)
def test_squares_of_money_are_exact_however_large(
    tmp_path: Path, largest: int, close: float, way: str
) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    rng = np.random.default_rng(3)
    n = telemetry.con.execute("SELECT count(*) FROM fact").fetchall()[0][0]
    amounts = pd.DataFrame({"k": range(n), "amount": rng.integers(largest, size=n)})
    telemetry.engine.put("amounts", amounts)
    telemetry.engine.create(
        "with_amounts",
        "SELECT f.* REPLACE (amount AS cost_nano) FROM (SELECT *, row_number() OVER "
        "(ORDER BY interaction_id) - 1 AS k FROM fact_known) f JOIN amounts USING (k)",
    )
    telemetry.engine.view("fact", "SELECT * FROM with_amounts")
    table, _, _ = reduced(telemetry, max_depth=2, **WAYS[way])
    own = frame(telemetry)
    telemetry.close()
    own = own[own["win"].notna()]
    for k in range(len(table.codes)):
        rows = inside(own, table.label(k))
        totals: list[dict[int, tuple[int, int]]] = [{}, {}]
        for cluster, win, weight, y in zip(
            rows["cluster"], rows["win"], rows["weight"], rows["cost_nano"], strict=True
        ):
            before = totals[int(win)].get(cluster, (0, 0))
            now = (before[0] + int(weight), before[1] + int(weight) * int(y))
            totals[int(win)][cluster] = now
        for win in (0, 1):
            n_c, y_c = zip(*totals[win].values(), strict=True) if totals[win] else ((), ())
            y = float(sum(y_c))
            assert table.sums["y"][k, 1, win] == pytest.approx(y, rel=close, abs=0)
            yy = float(sum(y * y for y in y_c))
            ny = float(sum(a * b for a, b in zip(n_c, y_c, strict=True)))
            assert table.sums["yy"][k, 1, win] == pytest.approx(yy, rel=close, abs=0)
            assert table.sums["ny"][k, 1, win] == pytest.approx(ny, rel=close, abs=0)
        both = set(totals[0]) & set(totals[1])
        y1y0 = float(sum(totals[1][c][1] * totals[0][c][1] for c in both))
        assert table.cross["y1y0"][k, 1] == pytest.approx(y1y0, rel=close, abs=0)


def test_the_amounts_above_need_one_limb_two_and_fewer_bits() -> None:
    # 160 rows of which a cluster has a tenth: the bound is largest cluster × total.
    bounds = [(160 * a) * (16 * a) for a in (10**3, 10**12, 10**17)]
    assert [b < 1 << 62 for b in bounds] == [True, False, False]
    assert [b < 1 << (62 + LIMB_BITS) for b in bounds] == [True, True, False]


def test_many_dimensions_take_more_words_than_one(tmp_path: Path) -> None:
    world = made(tmp_path)
    rng = np.random.default_rng(5)
    names = tuple(f"d{k:02d}" for k in range(11))
    for name in names:
        world.add(INTERACTIONS, name, [f"v{int(v):02d}" for v in rng.integers(40, size=160)])
    rules = POLICY.model_copy(update={"dimensions": names})
    telemetry = world.opened(policy=rules)
    table, _, _ = reduced(telemetry, names, max_depth=2)
    one, _, _ = reduced(telemetry, names, max_depth=2, max_cells=0)
    own = tidy(frame(telemetry), names)
    telemetry.close()
    same(table, one)
    assert len({tuple(c) for c in table.codes.tolist()}) == len(table.codes)
    for k in rng.choice(len(table.codes), 40, replace=False).tolist():
        rows = inside(own, table.label(k))
        for win in (0, 1):
            want = expected(rows, 0, win)
            assert [table.sums[n][k, 0, win] for n in SUMS] == [want[n] for n in SUMS]


@pytest.mark.parametrize("ways", [{}, {"max_cells": 4, "part_rows": 40}])
def test_clusters_of_a_slice_are_counted_once_each(tmp_path: Path, ways: dict[str, int]) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    own = tidy(frame(telemetry))
    with slices(telemetry, DIMENSIONS, METRICS, max_depth=3, min_support=1, **ways) as found:
        which = list(range(len(found.table.codes)))
        for metric in (0, 1):
            n, bad = (found.clusters(which, metric, bad=b).tolist() for b in (False, True))
            for k in which:
                rows = inside(own, found.table.label(k))
                totals = rows[rows["win"] == 1].groupby("cluster")[[f"n{metric}", f"y{metric}"]]
                assert [n[k], bad[k]] == (totals.sum() > 0).sum().tolist()
    telemetry.close()


def test_nothing_is_left_in_the_engine(tmp_path: Path) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    before = set(telemetry.con.execute("SHOW TABLES").fetchall())
    reduced(telemetry, max_cells=4, part_rows=40)
    assert set(telemetry.con.execute("SHOW TABLES").fetchall()) == before
    telemetry.close()


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_standard_errors_are_those_of_the_row_level_sandwich(tmp_path: Path, seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), n=400, days=17)
    telemetry = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    table, _, _ = reduced(telemetry)
    own = tidy(frame(telemetry))
    telemetry.close()
    compared = 0
    for k in range(len(table.codes)):
        for m in range(2):
            part = inside(own, table.label(k))
            part = part[part[f"n{m}"] > 0]
            n_clusters = part["cluster"].nunique()
            if part["win"].nunique() < 2 or n_clusters < 2:
                continue
            compared += 1
            sums = {n: [int(table.sums[n][k, m, w]) for w in (0, 1)] for n in SUMS}
            one, zero = (
                WindowMoments(*(sums[n][w] for n in SUMS), clusters=0, largest=0, bad_clusters=0)
                for w in (1, 0)
            )
            cross = CrossMoments(
                *(int(table.cross[n][k, m]) for n in CROSS), clusters=int(n_clusters)
            )
            weight = part[f"n{m}"].astype(float)
            # A row of weight w and value y/w: the coefficient of the window is p₁ − p₀.
            value = part[f"y{m}"].astype(float) / weight
            fit = sm.WLS(value, sm.add_constant((part["win"] == 1).astype(float)), weight).fit()
            robust = cov_cluster(fit, part["cluster"].to_numpy(), use_correction=False)[1, 1]
            want = robust * n_clusters / (n_clusters - 1)
            found = difference_variance(one, zero, cross)
            scale = abs(value).max() ** 2 + 1e-300
            assert found / scale == pytest.approx(want / scale, rel=1e-9, abs=1e-15)
    assert compared > 50


def test_null_is_a_value_and_the_text_NA_another(tmp_path: Path) -> None:
    telemetry = made(tmp_path).opened(policy=POLICY)
    table, _, _ = reduced(telemetry, max_depth=1)
    telemetry.close()
    (dimension,) = [d for d in table.dimensions if d.name == "use_case"]
    assert dimension.values == ("NA", "coding", "support", None)


@pytest.mark.parametrize(
    ("n_values", "kept"), [(1, False), (2, True), (MAX_CATEGORIES, True), (81, False), (160, False)]
)
def test_a_dimension_needs_two_values_and_few_or_some_that_are_frequent(
    tmp_path: Path, n_values: int, kept: bool
) -> None:
    world = made(tmp_path)
    world.add(INTERACTIONS, "region", [f"v{k % n_values:02d}" for k in range(160)])
    telemetry = world.opened(policy=POLICY)
    table, _, crowded = reduced(telemetry, max_depth=1)
    telemetry.close()
    assert ("region" in [d.name for d in table.dimensions]) == kept
    if n_values <= MAX_CATEGORIES:
        assert crowded == ()
    else:
        (told,) = crowded
        assert (told.name, told.share, told.grouped) == ("region", None, False)


def many(world: World, n_rows: int, rare: int) -> list[str | None]:
    """Fifty values of four rows and more, rare ones, and nulls; places are mixed."""
    values: list[str | None] = [f"v{k % 50:02d}" for k in range(n_rows - 2 * rare)]
    values += [f"rare {k}" for k in range(rare)] * 2
    values[:4] = [None] * 4
    return [values[k] for k in np.random.default_rng(5).permutation(n_rows)]


def test_rare_values_are_one_and_nulls_stay_apart(tmp_path: Path) -> None:
    world = world_of(random_rows(np.random.default_rng(2), n=400, days=17), tmp_path / "data")
    world.add(INTERACTIONS, "region", many(world, 400, 30))
    telemetry = world.opened(policy=POLICY)
    table, cells, crowded = reduced(telemetry, max_depth=2)
    rows = frame(telemetry)
    telemetry.close()
    held = rows[rows["win"].notna()]["region"]
    n_values = held.nunique()
    frequent = [v for _, v in sorted((-n, v) for v, n in held.value_counts().items())][:50]
    rest = f"(other: {n_values - 50} values)"
    assert crowded == (Crowded("region", n_values, held.isin(frequent).sum() / held.count()),)
    (dimension,) = [d for d in table.dimensions if d.name == "region"]
    assert dimension.values == (*sorted(frequent), rest, None)
    region = rows["region"].astype(object)
    shown = region.where(region.isin(frequent), rest).where(region.notna(), None)
    compared(table, tidy(rows.assign(region=shown)))
    assert cells.rows.sum() == len(held)


def compared(table: SliceTable, own: pd.DataFrame) -> None:
    """Every slice has the rows and failures that the labels say."""
    for k in range(len(table.codes)):
        part = inside(own, table.label(k))
        for win in (0, 1):
            assert table.rows[k, win] == (part["win"] == win).sum()
            assert table.sums["y"][k, 0, win] == part[part["win"] == win]["y0"].sum()


def test_a_value_that_looks_like_the_rest_is_quoted(tmp_path: Path) -> None:
    world = world_of(random_rows(np.random.default_rng(2), n=400, days=17), tmp_path / "data")
    spoof = ["(other: 32 values)", '"(other: 32 values)"', "(other: 1,000 values) ", "(other"]
    values = many(world, 400, 30)
    values[10:90] = [spoof[k % 4] for k in range(80)]
    world.add(INTERACTIONS, "region", values)
    telemetry = world.opened(policy=POLICY)
    table, _, _ = reduced(telemetry, max_depth=1)
    rows = frame(telemetry)
    telemetry.close()
    (dimension,) = [d for d in table.dimensions if d.name == "region"]
    assert len(set(dimension.values)) == len(dimension.values) == 52
    assert {v for v in dimension.values[:-2] if v is not None and "(other" in v} == {
        '""(other: 32 values)""', '"(other: 32 values)"', "(other", "(other: 1,000 values) ",
    }  # fmt: skip
    place = table.dimensions.index(dimension)
    spoofed = dimension.values.index('"(other: 32 values)"')
    (at,) = np.flatnonzero(table.codes[:, place] == spoofed)
    real = rows[rows["win"].notna()]["region"] == "(other: 32 values)"
    assert table.rows[at].sum() == real.sum()


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
    same(after, before)
    np.testing.assert_array_equal(other.y, cells.y)


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
