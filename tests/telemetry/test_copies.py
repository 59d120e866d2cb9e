"""Interactions that stand twice under new ids: found to the row; what is only alike is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.telemetry.source import open_source
from analysis.telemetry.validate import validate
from analysis.telemetry.violations import ContractSection, Violation
from tests.telemetry.services import Service, around, interactions
from tests.telemetry.worlds import CONTRACT

SHAPES = {
    "2,000 rows": Service(days=10, rows_a_day=200),
    "sparse": Service(days=60, rows_a_day=35),
    "12,000 rows": Service(days=14, rows_a_day=900),
    "few columns": Service(days=20, rows_a_day=150, optional=False),
}
CHANGES = ("later by 2 s", "another stamp", "another latency", "another cost and label")


def copied(rows: pd.DataFrame, share: float, how: str, seed: int = 3) -> pd.DataFrame:
    """Some answered calls stand again behind all others, under new ids."""
    rng = np.random.default_rng(seed)
    fine = (rows["completion_tokens"] > 0) & ~rows["is_failure"].fillna(True)
    again = rows[fine & (rng.random(len(rows)) < share)].copy()
    again["interaction_id"] = "x" + again["interaction_id"]
    n = len(again)
    if how == "later by 2 s":
        again["timestamp_utc"] += pd.to_timedelta(rng.integers(200, 2000, n), unit="ms")
    elif how == "another stamp":
        again["timestamp_utc"] += pd.to_timedelta(rng.integers(600, 6000, n), unit="s")
    elif how == "another latency":
        again["timestamp_utc"] += pd.Timedelta(milliseconds=3)
        again["latency_ms"] = np.rint(again["latency_ms"] * (1 + 0.1 * rng.random(n))) + 2
    elif how == "another cost and label":
        again["timestamp_utc"] += pd.Timedelta(seconds=1)
        again["cost_usd"] = (again["cost_usd"] * 1.01).round(6)
        again["is_failure"] = pd.array([None] * n, "boolean")
    return pd.concat([rows, again], ignore_index=True)


def report(
    rows: pd.DataFrame, folder: Path, kind: str = "parquet", threads: int | None = None
) -> ContractSection:
    source = open_source(around(rows, folder).write(kind), CONTRACT, threads=threads)
    try:
        return validate(source, CONTRACT)
    finally:
        source.close()


def warnings(
    rows: pd.DataFrame, folder: Path, kind: str = "parquet", threads: int | None = None
) -> list[Violation]:
    return list(report(rows, folder, kind, threads).violations)


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_calls_that_were_logged_twice_are_one_warning_with_their_rows(
    tmp_path: Path, shape: str, how: str
) -> None:
    old = interactions(SHAPES[shape], np.random.default_rng(1))
    new = copied(old, 0.02, how)
    (found,) = warnings(new, tmp_path / "data")
    assert (found.rule, found.column, found.severity) == ("near_duplicates", None, "warning")
    planted = len(new) - len(old)
    # By chance a few originals are alike, too.
    assert planted <= found.n_rows <= planted + 0.001 * len(old)
    assert set(found.first_rows) <= set(range(1, len(new) + 1))
    assert "logged twice" in found.hint


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_that_are_the_same_but_for_their_id_are_duplicates_and_not_near_ones(
    tmp_path: Path, shape: str
) -> None:
    old = interactions(SHAPES[shape], np.random.default_rng(1))
    new = copied(old, 0.02, "nothing")
    (found,) = warnings(new, tmp_path / "data")
    assert (found.rule, found.n_rows) == ("duplicate_rows", len(new) - len(old))
    assert found.first_rows == tuple(range(len(old) + 1, len(old) + 6))


def test_they_are_the_same_in_any_order_format_and_number_of_threads(tmp_path: Path) -> None:
    rows = copied(interactions(SHAPES["2,000 rows"], np.random.default_rng(1)), 0.02, CHANGES[0])
    shuffled = rows.sample(frac=1, random_state=2).reset_index(drop=True)

    def told(found: list[Violation]) -> list[tuple[object, ...]]:
        return [(v.rule, v.n_rows, v.share, v.hint) for v in found]

    first = told(warnings(rows, tmp_path / "a", "parquet", 1))
    assert first
    assert told(warnings(rows, tmp_path / "b", "csv", 2)) == first
    assert told(warnings(shuffled, tmp_path / "c", "parquet", 2)) == first


def test_a_few_are_counted_and_no_warning(tmp_path: Path) -> None:
    old = interactions(SHAPES["12,000 rows"], np.random.default_rng(1))
    found = report(copied(old, 0.0005, CHANGES[0]), tmp_path / "data")
    assert found.violations == ()
    (below,) = [v for v in found.below if v.rule == "near_duplicates"]
    assert 0 < below.n_rows < 0.001 * len(old)


@pytest.mark.parametrize(
    "column", ["prompt_tokens", "completion_tokens", "session_id", "user_id", "timestamp_utc"]
)
def test_without_what_tells_calls_apart_nothing_is_said(tmp_path: Path, column: str) -> None:
    rows = copied(interactions(SHAPES["2,000 rows"], np.random.default_rng(1)), 0.02, CHANGES[0])
    world = around(rows, tmp_path / "data")
    world.drop("llm_system_interactions", column)
    rules = {v.rule for v in world.violations("parquet")}
    assert "near_duplicates" not in rules


BASE = Service(days=14, rows_a_day=300)
ALIKE = {
    "a probe every five minutes": replace(BASE, probes=288),
    "a probe every few seconds": replace(BASE, days=10, rows_a_day=100, probes=20_000),
    "batches of short answers": replace(BASE, batch=True, burst=3.0),
}


@pytest.mark.parametrize("name", ALIKE)
def test_calls_that_are_only_alike_are_no_warning(tmp_path: Path, name: str) -> None:
    for seed in (1, 2):
        rows = interactions(ALIKE[name], np.random.default_rng(seed))
        assert warnings(rows, tmp_path / str(seed)) == []


def retried(rows: pd.DataFrame, seed: int = 5) -> pd.DataFrame:
    """Each failure is tried again at once, with the same prompt; nobody recorded which attempt it is."""
    again = rows[rows["is_failure"].fillna(False)].copy()
    again["interaction_id"] = "x" + again["interaction_id"]
    again["timestamp_utc"] += pd.Timedelta(seconds=1)
    rng = np.random.default_rng(seed)
    again["latency_ms"] = np.rint(np.exp(rng.normal(6.6, 0.5, len(again))))
    return pd.concat([rows, again], ignore_index=True)


def asked_again(rows: pd.DataFrame, seed: int = 5) -> pd.DataFrame:
    """Users press the button again: another answer, now and then of the same length."""
    rng = np.random.default_rng(seed)
    again = rows[rng.random(len(rows)) < 0.05].copy()
    again["interaction_id"] = "x" + again["interaction_id"]
    again["timestamp_utc"] += pd.Timedelta(seconds=3)
    n = len(again)
    other = again["completion_tokens"] + np.where(rng.random(n) < 0.1, 0, rng.integers(1, 90, n))
    again["completion_tokens"], again["total_tokens"] = other, again["prompt_tokens"] + other
    again["latency_ms"] = np.rint(np.exp(rng.normal(6.6, 0.5, n)))
    again["cost_usd"] = np.rint(again["prompt_tokens"] * 3 + other * 12) / 1e6
    return pd.concat([rows, again], ignore_index=True)


@pytest.mark.parametrize("change", [retried, asked_again])
def test_what_is_asked_again_is_no_copy(tmp_path: Path, change: object) -> None:
    rows = interactions(SHAPES["12,000 rows"], np.random.default_rng(1))
    assert warnings(change(rows), tmp_path / "data") == []  # type: ignore[operator]
