"""The history is cut into parts that run forward in time, each session in one of them or in none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.history import forget, split, split_by_days, split_by_sessions, window_rows
from tests.telemetry.worlds import MONDAY, frame, random_rows, world_of

SHARES = (0.5, 0.7)
DAY = pd.Timedelta(days=1)


def ids(telemetry: Telemetry, where: str) -> list[str]:
    found = telemetry.engine.rows(f"SELECT interaction_id FROM fact WHERE {where} ORDER BY 1")
    return [row[0] for row in found]


def reference(
    rows: pd.DataFrame, start: pd.Timestamp, out: list[tuple[Any, Any]]
) -> list[list[str]]:
    """By session in pandas: those that end before the window, by the day of their first row."""
    left = ~np.logical_or.reduce([np.zeros(len(rows), bool)] + [
        ((rows["ts"] >= a) & (rows["ts"] < b)).to_numpy() for a, b in out
    ])  # fmt: skip
    by = rows.groupby("session")
    whole = (by["ts"].transform("max") < start) & ~by["win"].transform(lambda w: (w == 1).any())
    own = rows[whole & left]
    day = by["day"].transform("min")[own.index]
    counts = day.value_counts().sort_index()
    middle = (counts.cumsum() - counts / 2) / len(own)
    part = day.map((middle >= SHARES[0]).astype(int) + (middle >= SHARES[1]))
    return [sorted(own[part == k]["interaction_id"]) for k in range(3)]


def straddling(seed: int) -> list[dict[str, Any]]:
    """Sessions of up to two days, so that many reach into the next day or into the window."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n=300, days=12)
    for row in rows:
        row["at"] += pd.Timedelta(hours=int(rng.choice([0, 0, 0, 20, 45])))
        row["release_id"] = "r2" if row["at"] >= MONDAY + 8 * DAY and rng.random() < 0.5 else "r1"
    return rows


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("start", ["00:00", "09:30"])
@pytest.mark.parametrize("seed", range(3))
def test_parts_equal_the_reference_however_they_are_cut(
    tmp_path: Path, seed: int, start: str, excluded: bool
) -> None:
    begin = MONDAY + 8 * DAY + pd.Timedelta(f"{start}:00")
    out = [(MONDAY + 2 * DAY, MONDAY + 3.5 * DAY)] if excluded else []
    windows = {
        "candidate": {"start": str(begin), "end": str(MONDAY + 13 * DAY)},
        "baseline": {"start": str(MONDAY), "end": str(begin)},
        "exclude": [{"start": str(a), "end": str(b), "reason": "outage"} for a, b in out],
    }
    rules = Policy.model_validate({"windows": windows})
    telemetry = world_of(straddling(seed), tmp_path / "data").opened(policy=rules)
    want = reference(
        frame(telemetry),
        begin.tz_localize(None),
        [(a.tz_localize(None), b.tz_localize(None)) for a, b in out],
    )
    assert want[0]
    assert want[2]
    for cut in (split, split_by_days, split_by_sessions):
        parts = cut(telemetry.engine, telemetry.windows, SHARES)
        assert parts.n_rows == tuple(map(len, want))
        assert [ids(telemetry, where) for where in parts.where] == want
        forget(telemetry.engine)
    telemetry.close()


@pytest.mark.parametrize("seed", range(2))
def test_a_canarys_history_ends_before_its_span(tmp_path: Path, seed: int) -> None:
    windows = {"candidate": {"release_id": "r2"}, "baseline": {"release_id": "r1"}}
    rules = Policy.model_validate({"windows": windows})
    telemetry = world_of(straddling(seed), tmp_path / "data").opened(policy=rules)
    rows = frame(telemetry)
    start = pd.Timestamp(telemetry.windows.candidate.start).tz_localize(None)
    rows["win"] = ids_in(rows, ids(telemetry, window_rows(telemetry.windows)))
    want = reference(rows, start, [])
    parts = split(telemetry.engine, telemetry.windows, SHARES)
    assert [ids(telemetry, where) for where in parts.where] == want
    forget(telemetry.engine)
    telemetry.close()


def ids_in(rows: pd.DataFrame, names: list[str]) -> pd.Series:
    return rows["interaction_id"].isin(names).astype(int)


def test_no_history_has_empty_parts(tmp_path: Path) -> None:
    rules = Policy.model_validate({"windows": {"candidate": {"days": 30}, "baseline": "none"}})
    telemetry = world_of(straddling(1), tmp_path / "data").opened(policy=rules)
    for cut in (split_by_days, split_by_sessions):
        parts = cut(telemetry.engine, telemetry.windows, SHARES)
        assert not parts.complete
        assert parts.first_days == (None, None, None)
        assert [ids(telemetry, where) for where in parts.where] == [[], [], []]
        forget(telemetry.engine)
    telemetry.close()
