"""Bins, counts and moments of drift: what the engine reduces, against numpy over rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.divergence import Holders
from analysis.telemetry import bin_moments, bins, cluster_choice
from analysis.telemetry.bin_cuts import below_atoms, cut_categories, twentieths
from analysis.telemetry.bins import BinnedColumn, DriftColumn, bin_columns
from analysis.telemetry.cluster_choice import CLUSTERS, choose, window_sample
from analysis.telemetry.engine import DuckDB, Parameters


class Counting(DuckDB):
    """DuckDB that counts statements."""

    n = 0

    def _run(self, sql: str, parameters: Parameters | None) -> duckdb.DuckDBPyConnection:
        self.n += 1
        return super()._run(sql, parameters)


def engine_of(fact: pd.DataFrame) -> Counting:
    engine = Counting(duckdb.connect())
    engine.put("fact", fact)
    put_ids(engine, fact)
    return engine


def put_ids(engine: DuckDB, fact: pd.DataFrame) -> None:
    ids = fact[["cluster", "user_id"]].drop_duplicates()
    engine.put("cluster_ids", ids.set_axis(["code", "id"], axis=1))


def world(n: int, n_clusters: int, seed: int = 1, giant: float = 0.0) -> pd.DataFrame:
    """A `fact` of n rows over 28 days, the last 7 candidate, some rows in neither window."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, n_clusters, n)
    cluster[rng.random(n) < giant] = 0
    day = rng.integers(100, 128, n)
    win = pd.array(np.where(day >= 121, 1, 0), dtype="Int8")
    win[rng.random(n) < 0.05] = pd.NA
    outcome = rng.random(n)
    failure = pd.array(outcome < 0.1, dtype="boolean")
    failure[outcome > 0.95] = pd.NA
    own = rng.random(n_clusters)[cluster]
    return pd.DataFrame(
        {
            "interaction_id": [f"i{k}" for k in range(n)],
            "user_id": [f"u{k}" for k in cluster],
            "cluster": cluster,
            "day": day,
            "win": win,
            "weight": np.where(day % 7 == 0, 0, 1 + day % 3),
            "failure": failure,
            "number": np.where(rng.random(n) < 0.02, np.nan, np.round(own + rng.random(n), 3)),
            "few": pd.array(rng.integers(0, 4, n), dtype="Int64"),
            "channel": rng.choice(["web", "api", None], n, p=[0.6, 0.3, 0.1]),
            "rare": np.where(rng.random(n) < 0.004, "rare", "usual"),
        }
    )


COLUMNS = (
    DriftColumn("number", "DOUBLE"),
    DriftColumn("few", "BIGINT"),
    DriftColumn("channel", "VARCHAR"),
    DriftColumn("rare", "VARCHAR"),
    DriftColumn("failure", "BOOLEAN", known_outcome=True),
)


def binned(
    fact: pd.DataFrame, columns: tuple[DriftColumn, ...] = COLUMNS
) -> dict[str, BinnedColumn]:
    return bin_columns(engine_of(fact), columns)


def by_hand(fact: pd.DataFrame, column: BinnedColumn) -> tuple[np.ndarray, np.ndarray]:
    """(2, B) weighted counts and Σ k kᵀ over clusters of a column, from its rows."""
    rows = fact[fact["win"].notna() & (fact["weight"] > 0)]
    if column.name == "failure":
        rows = rows[rows["failure"].notna()]
    values = rows[column.name]
    if column.kind == "numeric":
        base = np.sort(values[rows["win"] == 0].dropna())
        edges = sorted({base[-(-len(base) * i // 10) - 1] for i in range(1, 10)})
        code = np.where(values.isna(), len(edges) + 1, np.searchsorted(edges, values))
        code = np.unique(code, return_inverse=True)[1]
    else:
        text = values.astype(str).str.lower().where(values.notna(), "(missing)")
        code = text.map({label: i for i, label in enumerate(column.labels)}).to_numpy()
    size = len(column.labels)
    unit = np.unique(rows["cluster"], return_inverse=True)[1]
    cells = np.zeros((unit.max() + 1, 2 * size), np.int64)
    np.add.at(cells, (unit, rows["win"].astype(int) * size + code), rows["weight"])
    return cells.sum(axis=0).reshape(2, size), cells.T @ cells


class TestAllClusters:
    @pytest.mark.parametrize("seed", range(3))
    def test_counts_and_moments_are_those_of_the_rows(self, seed: int) -> None:
        fact = world(3000, 200, seed, giant=0.2)
        for column in binned(fact).values():
            counts, second = by_hand(fact, column)
            assert (column.clusters.counts == counts).all()
            assert (column.clusters.second == second).all()

    def test_units_are_clusters_with_rows_in_a_window(self) -> None:
        fact = world(600, 300)
        rows = fact[fact["win"].notna() & (fact["weight"] > 0)]
        for name, of in (("few", rows), ("failure", rows[rows["failure"].notna()])):
            in_window = [set(of.loc[of["win"] == w, "cluster"]) for w in (0, 1)]
            expected = (*map(len, in_window), len(in_window[0] | in_window[1]))
            assert binned(fact)[name].clusters.units == expected

    def test_a_cluster_too_heavy_for_64_bits_is_counted(self) -> None:
        fact = world(3000, 2)
        fact["weight"] = 2**31 - 1
        column = binned(fact, (DriftColumn("few", "BIGINT"),))["few"]
        assert column.clusters.second.sum() > 2.0**80

    def test_the_order_of_rows_and_the_codes_of_clusters_change_nothing(self) -> None:
        fact = world(2000, 500)
        other = fact.sample(frac=1, random_state=1).assign(
            cluster=lambda f: 7919 * f["cluster"] % 10007
        )
        same_results(binned(fact), binned(other))


def same_results(one: dict[str, BinnedColumn], two: dict[str, BinnedColumn]) -> None:
    for name, column in one.items():
        other = two[name]
        assert column.labels == other.labels
        assert column.holders == other.holders
        for a, b in ((column.clusters, other.clusters), (column.days, other.days)):
            assert a.units == b.units
            assert (a.counts == b.counts).all()
            assert (a.second == b.second).all()


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches: 1,000 clusters, of which 100 are certain, and 3,000 rows."""
    monkeypatch.setattr(cluster_choice, "MAX_CLUSTERS", 1000)
    monkeypatch.setattr(cluster_choice, "N_CERTAIN", 100)
    monkeypatch.setattr(cluster_choice, "MAX_ROWS", 3000)
    monkeypatch.setattr(bin_moments, "MIN_HOLDERS", 50)


@pytest.mark.usefixtures("small_bounds")
class TestManyClusters:
    def test_the_largest_clusters_are_certain_and_others_are_drawn(self) -> None:
        fact = world(20_000, 5000, giant=0.1)
        engine = engine_of(fact)
        choice = choose(engine)
        chosen = engine.frame(f"SELECT cluster, drawn FROM {CLUSTERS}").set_index("cluster")[
            "drawn"
        ]
        sizes = fact[fact["win"].notna() & (fact["weight"] > 0)].groupby("cluster").size()
        certain = chosen.index[chosen == 0]
        assert (choice.n_certain, choice.n_rest, choice.n_drawn) == (100, len(sizes) - 100, 900)
        assert len(chosen) == len(set(chosen.index)) == 1000
        assert (chosen == 1).sum() == 900
        assert sizes[certain].min() >= sizes.drop(certain).max()
        assert 0 in certain

    def test_the_choice_does_not_depend_on_the_codes_or_the_order(self) -> None:
        fact = world(20_000, 5000)
        other = fact.sample(frac=1, random_state=1).assign(
            cluster=lambda f: 7919 * f["cluster"] % 10007
        )
        same_results(binned(fact), binned(other))

    def test_counts_are_exact_and_moments_near_for_one_giant_cluster_among_many(self) -> None:
        fact = world(40_000, 5000, giant=0.15)
        engine = engine_of(fact)
        for column in bin_columns(engine, COLUMNS[1:]).values():
            counts, second = by_hand(fact, column)
            assert (column.clusters.counts == counts).all()
            diagonal = np.diag(column.clusters.second) / np.diag(second)
            # 900 of 4,900 clusters: their second moments vary by 3 % or so.
            assert diagonal == pytest.approx(np.ones(len(diagonal)), abs=0.10)

    def test_a_bin_that_few_clusters_hold_has_its_exact_moment(self) -> None:
        fact = world(40_000, 5000)
        column = binned(fact)["rare"]
        _, second = by_hand(fact, column)
        at = column.labels.index("rare")
        assert (fact["rare"] == "rare").sum() < 5000 * 50 / 900
        for place in (at, at + 2):
            assert column.clusters.second[place, place] == second[place, place]

    def test_each_row_of_the_baseline_has_the_same_chance_to_place_edges(self) -> None:
        fact = world(40_000, 5000, giant=0.3)
        engine = engine_of(fact)
        source, parameters = window_sample(choose(engine), 0)
        sample = engine.frame(f"SELECT f.cluster, f.number {source}", parameters)
        usable = fact[(fact["win"] == 0) & (fact["weight"] > 0)]
        assert 2500 < len(sample) <= 3000
        # ±4 standard errors of a share in 2,500 rows.
        assert (sample["cluster"] == 0).mean() == pytest.approx(0.3, abs=0.037)
        assert sample["number"].median() == pytest.approx(usable["number"].median(), abs=0.05)

    def test_deciles_of_a_sample_hold_about_a_tenth_each(self) -> None:
        column = binned(world(40_000, 5000))["number"]
        assert len(column.labels) == 11
        # The missing bin holds 0.02; others 0.098 ± 4 standard errors, 900 clusters behind them.
        assert column.clusters.shares[0][:10] == pytest.approx(np.full(10, 0.098), abs=0.03)

    def test_a_number_whose_rare_values_no_sample_sees_is_still_a_number(self) -> None:
        fact = world(40_000, 5000)
        fact["number"] = 0.0
        spread = fact.index[:300]
        fact.loc[spread, "number"] = np.arange(300) // 20 + 1.0
        column = binned(fact, (DriftColumn("number", "DOUBLE"),))["number"]
        assert column.kind == "numeric"
        assert column.labels == ("≤ 0", "> 0")


class TestStatements:
    def test_more_columns_take_no_more_statements(self) -> None:
        counts = []
        for width in (1, 30):
            fact = world(500, 100)
            columns = []
            for k in range(width):
                fact[f"n{k}"], fact[f"t{k}"] = fact["number"] + k, fact["channel"]
                columns += [DriftColumn(f"n{k}", "DOUBLE"), DriftColumn(f"t{k}", "VARCHAR")]
            engine = engine_of(fact)
            bin_columns(engine, columns)
            counts.append(engine.n)
        # Sixty columns are more than one statement holds (`MAX_PARTS`).
        assert counts == [9, 10]

    @pytest.mark.usefixtures("small_bounds")
    def test_thin_bins_of_however_many_columns_take_three_more(self) -> None:
        fact = world(20_000, 5000)
        columns = []
        for k in range(6):
            fact[f"rare{k}"] = fact["rare"]
            columns.append(DriftColumn(f"rare{k}", "VARCHAR"))
        engine = engine_of(fact)
        bin_columns(engine, columns)
        assert engine.n == 6 + 3

    @pytest.mark.usefixtures("small_bounds")
    def test_nothing_is_left_behind(self) -> None:
        engine = engine_of(world(20_000, 5000))
        bin_columns(engine, COLUMNS)
        assert engine.rows("SELECT table_name FROM information_schema.tables ORDER BY 1") == [
            ("cluster_ids",),
            ("fact",),
        ]


def with_values(values: Callable[[np.random.Generator, int], Any]) -> pd.DataFrame:
    fact = world(4000, 300)
    return fact.assign(odd=values(np.random.default_rng(3), len(fact)))


class TestValues:
    @given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60))
    @settings(max_examples=60, deadline=None)
    def test_twentieths_are_the_discrete_quantiles_of_the_engine(self, values: list[float]) -> None:
        ordered = np.sort(np.asarray(values) + 0.0)
        shares = [i / 20 for i in range(1, 20)]
        frame = pd.DataFrame({"x": ordered})
        con = duckdb.connect()
        con.register("frame", frame)
        row = con.execute(f"SELECT quantile_disc(x, {shares!r}) FROM frame").fetchall()[0]
        edges, points = twentieths(ordered)
        assert points == sorted(set(row[0]))
        assert edges == sorted(set(row[0][1::2]))

    def test_what_lies_below_a_frequent_value_has_a_bin_of_its_own(self) -> None:
        scores = np.array([0.2, 0.4, 0.4, 0.7] + [1.0] * 46)
        assert below_atoms(np.sort(scores)) == [0.7]
        fact = with_values(lambda rng, n: np.where(rng.random(n) < 0.05, rng.random(n), 1.0))
        fact.loc[fact["win"] == 1, "odd"] = 0.5
        column = binned(fact, (DriftColumn("odd", "DOUBLE"),))["odd"]
        assert len(column.labels) == 2
        assert 0.02 < column.clusters.shares[0, 0] < 0.08
        assert column.clusters.shares[1, 0] == 1.0

    def test_nothing_lies_below_a_frequent_least_value_and_ties_of_one_decile_stay(self) -> None:
        assert below_atoms(np.array([0.0] * 60 + list(range(1, 41)))) == []
        assert below_atoms(np.array([1.0, 2, 3] + [4.0] * 10 + list(range(5, 92)))) == []
        assert below_atoms(np.array([])) == []

    def test_what_is_not_finite_is_missing_and_zero_has_no_sign(self) -> None:
        fact = with_values(
            lambda rng, n: rng.choice([0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 2.5], n)
        )
        column = binned(fact, (DriftColumn("odd", "DOUBLE"),))["odd"]
        assert column.labels == ("0", "1", "2.5", "(missing)")

    def test_a_text_read_as_a_number_is_one(self) -> None:
        fact = with_values(lambda rng, n: rng.choice(["1e400", "007", " 7", "nan", "x"], n))
        column = binned(fact, (DriftColumn("odd", "DOUBLE"),))["odd"]
        assert column.labels == ("7", "(missing)")

    def test_categories_beyond_fifty_are_other_ones_and_new_values_too(self) -> None:
        def mostly_seventy(rng: np.random.Generator, n: int) -> np.ndarray:
            seventy = rng.integers(0, 70, n).astype(str)
            return np.where(rng.random(n) < 0.3, [f"only {k}" for k in range(n)], seventy)

        fact = with_values(mostly_seventy)
        column = binned(fact, (DriftColumn("odd", "VARCHAR"),))["odd"]
        usable = fact.loc[(fact["win"] == 0) & (fact["weight"] > 0), "odd"].value_counts()
        by_frequency = sorted(usable.index, key=lambda c: (-usable[c], c))
        assert list(column.labels) == [*by_frequency[:50], "(other)"]
        assert any(h.absent for h in column.holders)

    def test_few_categories_tell_rare_ones_from_new_ones(self) -> None:
        fact = with_values(lambda rng, n: np.full(n, "usual"))
        usable = fact["weight"] > 0
        fact.loc[fact.index[usable & (fact["win"] == 0).fillna(False)][:3], "odd"] = "seldom"
        fact.loc[fact.index[usable & (fact["win"] == 1).fillna(False)][:40], "odd"] = "new"
        column = binned(fact, (DriftColumn("odd", "VARCHAR"),))["odd"]
        assert column.labels == ("usual", "(other)", "(not in the baseline)")
        (new,) = (h for h in column.holders if h.absent)
        rows = fact[fact["odd"] == "new"]
        assert new == Holders(rows["cluster"].nunique(), rows["day"].nunique(), True, 1)

    def test_ties_at_the_fiftieth_category_go_by_name(self) -> None:
        names = [f"c{k:02d}" for k in range(60)]
        cut = cut_categories(dict.fromkeys(reversed(names), 10), 60, 600)
        assert list(cut.labels[:50]) == names[:50]

    def test_a_statement_holds_no_value_of_the_telemetry(self) -> None:
        said: list[str] = []

        class Listening(DuckDB):
            def _run(self, sql: str, parameters: Parameters | None) -> duckdb.DuckDBPyConnection:
                said.append(sql)
                return super()._run(sql, parameters)

        engine = Listening(duckdb.connect())
        fact = with_values(lambda rng, n: rng.choice(["'; DROP", "$e0_0", "{}"], n))
        engine.put("fact", fact)
        put_ids(engine, fact)
        column = bin_columns(engine, [DriftColumn("odd", "VARCHAR")])["odd"]
        assert set(column.labels) == {"'; DROP", "$e0_0", "{}"}
        assert not any("DROP'" in sql or "{}" in sql or "'; DROP" in sql for sql in said)


def test_natural_types_are_what_every_value_reads_as() -> None:
    fact = world(50, 10).assign(
        number_text=["1.5", " 2", None, "1e3", "-7"] * 10,
        truth=["true", "FALSE", None, "True", "false"] * 10,
        moment=["2026-01-02 03:04:05"] * 50,
        mixed=["1", "x"] * 25,
        empty=pd.array([None] * 50, dtype="string"),
    )
    engine = engine_of(fact)
    engine.n = 0
    found = bins.natural_types(
        engine, ["number_text", "truth", "moment", "mixed", "empty", "few", "failure"]
    )
    assert list(found.values()) == [
        "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR", "VARCHAR", "BIGINT", "BOOLEAN",
    ]  # fmt: skip
    assert engine.n == 1
