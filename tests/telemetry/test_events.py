"""Events over time equal a plain count of the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.contract import INTERACTIONS
from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.events import (
    BUCKET,
    bucket_counts,
    count_events,
    exhaustion_moment,
    first_event,
)
from tests.telemetry.worlds import MONDAY, frame, random_rows, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 3}, "baseline": {"days": 5}}})
START = datetime(2026, 9, 7, tzinfo=UTC)


@pytest.fixture
def telemetry(tmp_path: Path) -> Any:
    world = world_of(random_rows(np.random.default_rng(1), n=200), tmp_path / "data")
    world.add(INTERACTIONS, "bucket", ["1"] * 200)
    rules = POLICY.model_copy(update={"dimensions": ("bucket",)})
    opened = world.opened(policy=rules)
    yield opened
    opened.close()


def within(telemetry: Telemetry, start: datetime, end: datetime, own: bool) -> pd.DataFrame:
    rows = frame(telemetry)
    ts = rows["ts"].dt.tz_localize("UTC")
    inside = (ts >= start) & (ts < end) & rows["failure"].notna()
    if own:
        inside &= rows["win"] == 1
    return rows[inside]


SPANS = [
    (0, 24 * 8),
    (24 * 5, 24 * 8),
    (10.5, 60.25),
    (24 * 20, 24 * 21),
]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("first", "last"), SPANS)
def test_counts_are_those_of_the_labelled_rows(
    telemetry: Telemetry, first: float, last: float, own: bool
) -> None:
    start, end = START + timedelta(hours=first), START + timedelta(hours=last)
    found = count_events(telemetry, "failure", start, end, own_rows=own)
    rows = within(telemetry, start, end, own)
    sizes = rows.groupby("cluster").size()
    assert (found.n, found.bad) == (len(rows), int(rows["failure"].sum()))
    assert found.cluster_squares == int((sizes**2).sum())


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("first", "last"), SPANS)
def test_buckets_of_five_minutes_add_up_to_the_counts(
    telemetry: Telemetry, first: float, last: float, own: bool
) -> None:
    start, end = START + timedelta(hours=first), START + timedelta(hours=last)
    n, y = bucket_counts(telemetry, "failure", start, end, own_rows=own)
    assert len(n) == len(y) == (end - start) / BUCKET
    rows = within(telemetry, start, end, own)
    place = ((rows["ts"].dt.tz_localize("UTC") - start) // BUCKET).to_numpy(dtype=int)
    np.testing.assert_array_equal(n, np.bincount(place, minlength=len(n)))
    bad = rows["failure"].to_numpy(dtype=bool)
    np.testing.assert_array_equal(y, np.bincount(place[bad], minlength=len(y)))


def test_a_span_is_half_open(tmp_path: Path) -> None:
    rows = [
        {"session": f"s{k}", "user": "u", "at": at, "is_failure": True}
        for k, at in enumerate([100, 101, 102, 103])
    ]
    rows.append({"session": "old", "user": "v", "at": 1})
    opened = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    start, end = START + timedelta(hours=101), START + timedelta(hours=103)
    assert count_events(opened, "failure", start, end, own_rows=False).n == 2
    n, _ = bucket_counts(opened, "failure", start, end, own_rows=False)
    opened.close()
    assert (n.sum(), n[0], n[12]) == (2, 1, 1)


@pytest.mark.parametrize("allowed", [0.5, 1, 2.5, 10, 20, 1000])
def test_a_budget_is_exhausted_at_the_event_that_reaches_it(
    telemetry: Telemetry, allowed: float
) -> None:
    start, end = START + timedelta(hours=12), START + timedelta(hours=180)
    rows = within(telemetry, start, end, own=False)
    bad = sorted(rows[rows["failure"].astype(bool)]["ts"])
    reached = [t for k, t in enumerate(bad, start=1) if k >= allowed]
    expected = reached[0].tz_localize("UTC").to_pydatetime() if reached else None
    assert exhaustion_moment(telemetry, "failure", start, end, allowed) == expected


def test_the_first_event_is_the_earliest_timestamp(telemetry: Telemetry) -> None:
    earliest = frame(telemetry)["ts"].min().tz_localize("UTC").to_pydatetime()
    assert first_event(telemetry) == earliest >= MONDAY.to_pydatetime()
