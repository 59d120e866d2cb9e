"""Groups of rows: which are kept, and that their moments are those of their rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.stats.sketch import bin_of
from analysis.telemetry import Metric, Telemetry
from analysis.telemetry.engine import DuckDB
from analysis.telemetry.group_moments import BEYOND, group_moments
from analysis.telemetry.groups import Group, grouping
from analysis.telemetry.latency import beyond_us
from analysis.telemetry.moments import measure
from tests.telemetry.worlds import frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 8}, "baseline": {"days": 9}}})
COLUMNS = ("use_case", "region")
METRICS = [
    Metric.rate("failure", "failure"),
    Metric.mean("cost", "cost_nano", 10**9),
    Metric.rate("failure of a retry", "CASE WHEN retry_index > 0 THEN failure END"),
    Metric.of_totals("nano-USD a microsecond", "cost_nano", "latency_us"),
]


@pytest.fixture(params=[1, 2])
def telemetry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Telemetry]:
    rows = random_rows(np.random.default_rng(request.param), n=300, days=17)
    found = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    yield found
    found.close()


def sizes(telemetry: Telemetry) -> dict[tuple[str | None, ...], tuple[int, int]]:
    """(baseline, candidate) rows of each combination of values, by pandas."""
    rows = frame(telemetry)
    rows = rows[rows["win"].notna()]
    out: dict[tuple[str | None, ...], list[int]] = {}
    for values in rows[[*COLUMNS, "win"]].astype(object).itertuples(index=False, name=None):
        key = tuple(None if pd.isna(v) else v for v in values[:2])
        out.setdefault(key, [0, 0])[int(values[2])] += 1
    return {key: (n[0], n[1]) for key, n in out.items()}


def where(group: Group, kept: list[Group]) -> str:
    """A group's rows as SQL, written out: the independent way to say it."""
    if group.values is None:
        return " AND ".join(f"NOT ({where(k, kept)})" for k in kept)
    texts = []
    for column, value in zip(COLUMNS, group.values, strict=True):
        quoted = "" if value is None else value.replace("'", "''")
        texts.append(f"coalesce({column} = '{quoted}', false)" if value is not None
                     else f"({column} IS NULL)")  # fmt: skip
    return f"({' AND '.join(texts)})"


def within(metric: Metric, inside: str) -> Metric:
    """The metric over these rows alone."""

    def only(value: str) -> str:
        return f"CASE WHEN {inside} THEN {value} ELSE 0 END"

    return replace(
        metric,
        numerator=only(metric.numerator),
        denominator=only(metric.denominator),
        counted=None if metric.counted is None else only(metric.counted),
    )


@pytest.mark.parametrize("most", [3, 20])
def test_the_largest_are_kept_and_the_rest_is_one(telemetry: Telemetry, most: int) -> None:
    known = sizes(telemetry)
    with grouping(telemetry.engine, COLUMNS, most) as found:
        groups = found.groups
    kept = [g for g in groups if g.values is not None]
    assert len(kept) == min(most, len(known))
    assert all((g.n_baseline, g.n_candidate) == known[g.values] for g in kept if g.values)
    least = min(g.n_baseline + g.n_candidate for g in kept)
    left = {key: n for key, n in known.items() if key not in {g.values for g in kept}}
    assert all(sum(n) <= least for n in left.values())
    assert [g.n_candidate for g in kept] == sorted((g.n_candidate for g in kept), reverse=True)
    if left:
        assert groups[-1] == Group(
            None, sum(n[0] for n in left.values()), sum(n[1] for n in left.values()), len(left)
        )
    else:
        assert groups[-1].values is not None


@pytest.mark.parametrize("most", [3, 20])
def test_moments_of_a_group_are_those_of_its_rows(telemetry: Telemetry, most: int) -> None:
    with grouping(telemetry.engine, COLUMNS, most) as by:
        found = group_moments(telemetry.engine, by, METRICS, 0.9)
    kept = [g for g in by.groups if g.values is not None]
    rows = frame(telemetry)
    for group, own in zip(by.groups, found, strict=True):
        inside = where(group, kept)
        metrics = [within(m, inside) for m in METRICS]
        expected = measure(telemetry.engine, metrics)
        for metric in METRICS:
            want = replace(
                expected[metric.name], metric=metric, peak_candidate=None, peak_baseline=None
            )
            assert own.moments[metric.name] == want, (group, metric.name)
        ids = set(
            telemetry.engine.frame(f"SELECT interaction_id AS i FROM fact WHERE {inside}")["i"]
        )
        timed = rows[rows["interaction_id"].isin(ids) & rows["latency_us"].notna()]
        beyond = own.moments[BEYOND]
        for win, side in ((0, beyond.baseline), (1, beyond.candidate)):
            part = timed[timed["win"] == win]
            bins, weight = (
                bin_of(part["latency_us"].astype("int64")),
                part["weight"].astype("int64"),
            )
            counts = np.bincount(bins, weight, minlength=len(own.latencies[win]))
            assert own.latencies[win].tolist() == counts.tolist()
            assert side.n == int(weight.sum())
            if side.n:
                at = int(np.searchsorted(np.cumsum(counts), 0.9 * counts.sum()))
                far = part["latency_us"].astype("int64") >= beyond_us(at)
                assert side.y == int(weight[far].sum())
                assert side.bad_clusters == part.loc[far, "cluster"].nunique()


def test_without_any_latency_the_share_beyond_is_of_nothing(tmp_path: Path) -> None:
    rows = [{**r, "latency_ms": None} for r in random_rows(np.random.default_rng(3), days=17)]
    telemetry = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    with grouping(telemetry.engine, ["region"]) as by:
        found = group_moments(telemetry.engine, by, METRICS[:1], 0.95)
    telemetry.close()
    assert {m.moments[BEYOND].candidate.n for m in found} == {0}


def test_sums_beyond_128_bits_are_made_without_a_limit(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = telemetry.engine
    assert isinstance(engine, DuckDB)
    with grouping(engine, COLUMNS, 3) as by:
        exact = group_moments(engine, by, METRICS)
    rows = engine.rows

    def limited(run: Callable[..., Any]) -> Callable[..., Any]:
        def asked(sql: str, *more: Any) -> Any:
            if "GROUP BY g, win" in sql and "n_0 * n_0" in sql:
                raise duckdb.OutOfRangeException("Overflow in HUGEINT addition")
            return run(sql, *more)

        return asked

    monkeypatch.setattr(engine, "rows", limited(rows))
    with grouping(engine, COLUMNS, 3) as by:
        assert group_moments(engine, by, METRICS) == exact


def test_nothing_is_left_in_the_engine(telemetry: Telemetry) -> None:
    before = set(telemetry.con.execute("SHOW TABLES").fetchall())
    with grouping(telemetry.engine, COLUMNS) as by:
        group_moments(telemetry.engine, by, METRICS, 0.5)
    assert set(telemetry.con.execute("SHOW TABLES").fetchall()) == before
