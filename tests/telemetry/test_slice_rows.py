"""What rows of slices hold, against pandas."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.telemetry import Metric
from analysis.telemetry.slice_codes import read_dimensions
from analysis.telemetry.slice_rows import Asked, slice_rows
from tests.views.world import opened, policy, traffic, window

NAMES = ("use_case", "channel", "model_name")
FAILURE, COST = Metric.rate("failure", "failure"), Metric.mean("cost", "cost_nano", 10**9)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    made = traffic(1500)
    made.loc[rng.random(len(made)) < 0.2, "channel"] = None
    made["failure_type"] = rng.choice(["a", "b", "c", "d", "e", "f", "g"], len(made))
    made.loc[rng.random(len(made)) < 0.2, "failure_type"] = None
    made["cost_usd"] = rng.choice([0.001, 0.002], len(made))
    made.loc[rng.random(len(made)) < 0.1, "cost_usd"] = None
    return made


def own(rows: pd.DataFrame, where: dict[str, str | None]) -> pd.DataFrame:
    for name, value in where.items():
        rows = rows[rows[name].isna() if value is None else rows[name] == value]
    return rows


def drawn(ids: pd.Series) -> list[str]:
    return sorted(ids, key=lambda i: hashlib.md5(i.encode()).hexdigest())


def test_many_slices_at_once_hold_what_each_holds_alone(rows: pd.DataFrame, tmp_path: Path) -> None:
    wanted: list[tuple[dict[str, str | None], Metric]] = [
        ({"channel": "api"}, FAILURE),
        ({"channel": None}, FAILURE),
        ({"use_case": "coding", "model_name": "large"}, FAILURE),
        ({"channel": None, "use_case": "coding"}, COST),
        ({"channel": "api"}, COST),
        ({}, FAILURE),
    ]
    with opened(rows, tmp_path, policy(dimensions=NAMES)) as telemetry:
        dimensions, _ = read_dimensions(telemetry.engine, NAMES)
        asked = [
            Asked(
                np.array([d.values.index(w[d.name]) if d.name in w else -1 for d in dimensions]), m
            )
            for w, m in wanted
        ]
        together = slice_rows(telemetry.engine, dimensions, asked, "failure_type")
        alone = [slice_rows(telemetry.engine, dimensions, [a], "failure_type")[0] for a in asked]
        assert list(together) == alone
        assert slice_rows(telemetry.engine, dimensions, [], "failure_type") == ()
        untyped = slice_rows(telemetry.engine, dimensions, asked, None)
        assert all(r.texts == () for r in untyped)
        assert [r.examples for r in untyped] == [r.examples for r in together]
    new = window(rows, 42, 56)
    for (where, metric), found in zip(wanted, together, strict=True):
        held = own(new, where)
        if metric is COST:
            known = held.dropna(subset=["cost_usd"])
            assert sum(n for win, _, n, _ in found.days if win == 1) == len(known)
            total = sum(y for win, _, _, y in found.days if win == 1)
            assert total == pytest.approx(1e9 * known["cost_usd"].sum())
            dearest = known[known["cost_usd"] == known["cost_usd"].max()]["interaction_id"]
            assert list(found.examples) == drawn(dearest)[:5]
            assert (found.texts, found.n_bad) == ((), 0)
            continue
        bad = held[held["is_failure"]]
        assert sum(y for win, _, _, y in found.days if win == 1) == len(bad) == found.n_bad
        assert found.n_bad_window == new["is_failure"].sum()
        assert list(found.examples) == drawn(bad["interaction_id"])[:5]
        counts = bad["failure_type"].value_counts(dropna=False)
        assert [t.n_slice for t in found.texts] == counts.tolist()[:5]
        every = new[new["is_failure"]]["failure_type"]
        for t in found.texts:
            same = every.isna() if t.text is None else every == t.text
            assert t.n_window == same.sum()


def test_tables_are_removed(rows: pd.DataFrame, tmp_path: Path) -> None:
    with opened(rows, tmp_path, policy(dimensions=NAMES)) as telemetry:
        dimensions, _ = read_dimensions(telemetry.engine, NAMES)
        before = telemetry.engine.rows("SHOW TABLES")
        codes = np.array([0] + [-1] * (len(dimensions) - 1))
        slice_rows(telemetry.engine, dimensions, [Asked(codes, FAILURE)], "failure_type")
        assert telemetry.engine.rows("SHOW TABLES") == before
