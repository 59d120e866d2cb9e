"""Arrivals by day and hour equal pandas', and only whole days count."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.arrivals import Arrivals, arrivals
from tests.telemetry.worlds import MONDAY, world_of

DAY, HOUR = pd.Timedelta(days=1), pd.Timedelta(hours=1)


def opened(folder: Path, out: list[tuple[Any, Any]], kind: str = "csv") -> Telemetry:
    """Sixteen days from the Monday on, by hour; the first begins at half past ten."""
    rng = np.random.default_rng(3)
    rows = []
    for k in range(400):
        at = MONDAY + pd.Timedelta(minutes=int(rng.integers(630, 16 * 1440)))
        rows.append({"session": f"s{k}", "user": f"u{k % 50}", "at": at})
    rows += [
        {"session": f"n{d}", "user": "n", "at": MONDAY + d * DAY} for d in range(1, 16) if d != 6
    ]
    windows = {
        "candidate": {"start": str(MONDAY + 12 * DAY), "end": str(MONDAY + 16 * DAY)},
        "baseline": {"start": str(MONDAY), "end": str(MONDAY + 12 * DAY)},
        "exclude": [{"start": str(a), "end": str(b), "reason": "outage"} for a, b in out],
    }
    rules = Policy.model_validate({"windows": windows})
    return world_of(rows, folder / "data").opened(kind, policy=rules)


def found(telemetry: Telemetry, before: Any) -> Arrivals:
    moment: datetime = pd.Timestamp(before).to_pydatetime()
    return arrivals(telemetry.engine, telemetry.windows, moment)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_are_counted_by_their_own_hour(tmp_path: Path, kind: str) -> None:
    telemetry = opened(tmp_path, [], kind)
    rows = telemetry.engine.frame("SELECT ts_us FROM fact")
    seen = found(telemetry, MONDAY + 12 * DAY)
    first = (MONDAY.tz_localize(None) - pd.Timestamp(0)).days
    assert seen.days.tolist() == list(range(first + 1, first + 12))  # it began during the first
    hour = rows["ts_us"].to_numpy() // 3_600_000_000
    for day, counts in zip(seen.days, seen.by_hour, strict=True):
        assert counts.tolist() == [(hour == day * 24 + h).sum() for h in range(24)]
    assert (seen.by_day == seen.by_hour.sum(axis=1)).all()
    telemetry.close()


def test_a_day_that_is_cut_short_is_no_whole_day(tmp_path: Path) -> None:
    out = [(MONDAY + 3 * DAY + 5 * HOUR, MONDAY + 4 * DAY), (MONDAY + 8 * DAY, MONDAY + 9.5 * DAY)]
    telemetry = opened(tmp_path, out)
    first = (MONDAY.tz_localize(None) - pd.Timestamp(0)).days
    seen = found(telemetry, MONDAY + 12 * DAY + 7 * HOUR)
    assert [int(d) - first for d in seen.days] == [1, 2, 4, 5, 6, 7, 10, 11]
    assert not len(found(telemetry, MONDAY).days)
    # Of two days, the second begins at midnight: nothing shows that the first is whole.
    assert [int(d) - first for d in found(telemetry, MONDAY + 2 * DAY).days] == [1]
    telemetry.close()


def test_days_count_from_the_last_silence_on(tmp_path: Path) -> None:
    # One stray row three weeks before all others.
    busy = [{"session": f"s{d}", "user": "u", "at": MONDAY + d * DAY} for d in range(21, 30)]
    rows = [{"session": "stray", "user": "u", "at": MONDAY}, *busy]
    rules = Policy.model_validate({"windows": {"candidate": {"days": 2}, "baseline": {"days": 6}}})
    telemetry = world_of(rows, tmp_path / "data").opened(policy=rules)
    first = (MONDAY.tz_localize(None) - pd.Timestamp(0)).days
    assert [int(d) - first for d in found(telemetry, MONDAY + 28 * DAY).days] == list(range(21, 28))
    telemetry.close()
