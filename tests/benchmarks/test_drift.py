"""The drift benchmark: its contenders see the same columns and rows, and what they say is counted right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import contract
from analysis.policy import Policy
from analysis.telemetry import open_telemetry
from analysis.views.drift_features import drift_columns
from benchmarks import drift
from benchmarks.drift import NOTHING, PLANTED, Spent, Tally
from benchmarks.drift_peers import with_project
from benchmarks.drift_peers.windows import categories, numbers, windows
from benchmarks.measuring import Cost, Limits
from tests.views.drift_worlds import Plant, drawn, written

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"


def as_parquet(folder: Path) -> Path:
    """The shipped sample in the format that the peers read."""
    for path in SAMPLE.glob("*.csv.gz"):
        frame = pd.read_csv(path, low_memory=False)
        for column in frame.columns[frame.columns.str.endswith("_utc")]:
            frame[column] = pd.to_datetime(frame[column], utc=True)
        frame.to_parquet(folder / f"{path.name.removesuffix('.csv.gz')}.parquet", index=False)
    return folder


def test_peers_read_the_columns_and_windows_that_the_project_tests(tmp_path: Path) -> None:
    folder = as_parquet(tmp_path)
    baseline, candidate = windows(folder)
    telemetry = open_telemetry(folder, contract.load(), Policy())
    try:
        tested, _ = drift_columns(telemetry, Policy())
        rows = [
            w.n_interactions for w in (telemetry.baseline, telemetry.candidate) if w is not None
        ]
    finally:
        telemetry.close()
    assert sorted([*categories(baseline), *numbers(baseline)]) == tested
    assert [len(baseline), len(candidate)] == rows
    assert not baseline[categories(baseline)].isna().any().any()


def test_the_project_flags_what_is_planted_and_no_other(tmp_path: Path) -> None:
    rows = drawn(np.random.default_rng(5), 6_000, [Plant("use_case", 0.6)])
    flagged, seconds = with_project.judge(written(rows, tmp_path))
    assert {verdict: list(columns) for verdict, columns in flagged.items()} == {
        "a severity": ["use_case"],
        "a q-value": ["use_case"],
        "a check": ["use_case"],
    }
    assert seconds > 0


@pytest.mark.parametrize("name", drift.OWN)
def test_a_contender_is_a_process_that_tells_what_it_flags(name: str, tmp_path: Path) -> None:
    (said,), cost = drift.judged(name, [as_parquet(tmp_path)], Limits(300, 8_000))
    assert bool(said.flagged) == (name == "project")
    assert 0 < said.seconds < cost.wall


def test_a_world_has_its_size_and_its_plants(tmp_path: Path) -> None:
    assert drift.put(NOTHING, 0, tmp_path / "a") == ()
    moved = drift.put(PLANTED, 1, tmp_path / "b")
    assert moved == drift.MOVED[1]
    few, enough = (sum(map(len, windows(tmp_path / f))) for f in ("a", "b"))
    assert drift.SMALLEST * 0.8 < few < drift.MOST * 1.2
    assert enough == pytest.approx(drift.ENOUGH, rel=0.2)


def test_flags_are_false_alarms_or_found_plants() -> None:
    tally = Tally()
    for columns in ([], ["region"]):
        tally.add(NOTHING, columns, ())
    for columns in (["use_case", "region"], ["use_case", "cost_usd"], ["region"]):
        tally.add(PLANTED, columns, ("use_case", "cost_usd"))
    lines = drift.flags({("peer", "a column"): tally}, {NOTHING: 2, drift.LARGE: 0, PLANTED: 3})
    assert lines[-1] == (
        "| peer | a column | 50.0 % of 2 | – | 66.7 % of 3 | 33.3 % of 3 | 66.7 % of 3 |"
    )


def test_costs_are_held_against_the_floor() -> None:
    spent = {
        "floor": Spent(Cost(2.0, 4.0, 300.0), 0.5),
        "peer": Spent(Cost(30.0, 28.0, 2_000.0), 25.0),
        "slow": "above 600 s",
    }
    assert drift.costs(spent, 10**6)[-2:] == [
        "| peer | 1,000,000 | 30.0 | 28.0 | 2,000 | 25.0 | 15.0 | 7.0 |",
        "| slow | 1,000,000 | stopped: above 600 s | – | – | – | – | – |",
    ]
