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
    ClusterWindows,
    exhaustion_moment,
    first_event,
    part_counts,
    timelines,
    window_counts,
)
from tests.telemetry.engines.test_dialects import check, recorded
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
    (found,) = window_counts(telemetry, "failure", end, [end - start], own_rows=own)
    rows = within(telemetry, start, end, own)
    sizes = rows.groupby("cluster").size()
    assert (found.n, found.bad) == (len(rows), int(rows["failure"].sum()))
    assert found.cluster_squares == int((sizes**2).sum())
    assert found.bad_clusters == rows[rows["failure"].astype(bool)]["cluster"].nunique()


def test_several_spans_that_end_together_are_counted_at_once(telemetry: Telemetry) -> None:
    end = START + timedelta(hours=24 * 8)
    spans = [timedelta(hours=h) for h in (1, 1 / 12, 30, 24 * 8)]
    found = window_counts(telemetry, "failure", end, spans, own_rows=False)
    alone = [window_counts(telemetry, "failure", end, [s], own_rows=False)[0] for s in spans]
    assert found == alone


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("first", "last"), SPANS)
def test_buckets_of_five_minutes_add_up_to_the_counts(
    telemetry: Telemetry, first: float, last: float, own: bool
) -> None:
    start, end = START + timedelta(hours=first), START + timedelta(hours=last)
    (found,) = timelines(telemetry, ["failure"], start, end, own_rows=own)
    n, y = found.n, found.y
    assert len(n) == len(y) == (end - start) / BUCKET
    rows = within(telemetry, start, end, own)
    place = ((rows["ts"].dt.tz_localize("UTC") - start) // BUCKET).to_numpy(dtype=int)
    np.testing.assert_array_equal(n, np.bincount(place, minlength=len(n)))
    bad = rows["failure"].to_numpy(dtype=bool)
    np.testing.assert_array_equal(y, np.bincount(place[bad], minlength=len(y)))
    assert found.last(end - start) == (len(rows), int(bad.sum()))
    assert (found.rows >= n).all()


def test_one_scan_counts_several_kinds_of_bad(telemetry: Telemetry) -> None:
    start, end = START, START + timedelta(hours=24 * 8)
    kinds = ["failure", "NOT failure", "latency_us > 1000000"]
    found = timelines(telemetry, kinds, start, end, own_rows=False)
    for one, bad in zip(found, kinds, strict=True):
        (alone,) = timelines(telemetry, [bad], start, end, own_rows=False)
        np.testing.assert_array_equal(one.n, alone.n)
        np.testing.assert_array_equal(one.y, alone.y)
        np.testing.assert_array_equal(one.rows, alone.rows)


def test_days_end_with_the_timeline_and_are_padded_with_nothing(telemetry: Telemetry) -> None:
    start, end = START + timedelta(hours=30), START + timedelta(hours=24 * 8)
    (found,) = timelines(telemetry, ["failure"], start, end, own_rows=False)
    n, y, seen = found.days(8)
    assert n[0] == y[0] == seen[0] == 0
    for k in range(1, 8):
        day = START + timedelta(days=k)
        rows = within(telemetry, max(day, start), day + timedelta(days=1), own=False)
        assert (n[k], y[k]) == (len(rows), int(rows["failure"].sum()))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("width", [1, 2, 12, 72, 288, 5000])
def test_clusters_of_every_trailing_window_are_those_counted_one_by_one(
    telemetry: Telemetry, width: int, own: bool
) -> None:
    end = START + timedelta(hours=24 * 8)
    k = 24 * 8 * 12
    windows = ClusterWindows(telemetry, "failure", end, k, own_rows=own)
    rows = within(telemetry, START, end, own)
    place = ((rows["ts"].dt.tz_localize("UTC") - START) // BUCKET).to_numpy(dtype=int)
    bad, squares = windows.bad(width), windows.squares(width, 100, k - 1)
    assert windows.largest() == rows.groupby("cluster").size().max()
    for i in [0, 1, width - 1, *range(100, k, 37), k - 1]:
        if not 0 <= i < k:
            continue
        inside = rows[(place <= i) & (place > i - width)]
        assert bad[i] == inside[inside["failure"].astype(bool)]["cluster"].nunique()
        if i >= 100:
            assert squares[i - 100] == (inside.groupby("cluster").size() ** 2).sum()


def test_a_span_is_half_open(tmp_path: Path) -> None:
    rows = [
        {"session": f"s{k}", "user": "u", "at": at, "is_failure": True}
        for k, at in enumerate([100, 101, 102, 103])
    ]
    rows.append({"session": "old", "user": "v", "at": 1})
    opened = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    start, end = START + timedelta(hours=101), START + timedelta(hours=103)
    (counted,) = window_counts(opened, "failure", end, [end - start], own_rows=False)
    (found,) = timelines(opened, ["failure"], start, end, own_rows=False)
    opened.close()
    assert counted.n == 2
    assert (found.n.sum(), found.n[0], found.n[12]) == (2, 1, 1)


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


def test_every_statement_is_house_sql_and_compiles(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reviews ask for clusters only where an alert hangs on them.
    statements = recorded(monkeypatch)
    end = START + timedelta(hours=24 * 8)
    windows = ClusterWindows(telemetry, "failure", end, 24 * 8 * 12, own_rows=True)
    windows.bad(12)
    windows.squares(12, 0, 100)
    windows.largest()
    timelines(telemetry, ["failure", "breach"], START, end, own_rows=True)
    window_counts(telemetry, "failure", end, [timedelta(hours=1)], own_rows=True)
    exhaustion_moment(telemetry, "failure", START, end, 3.0)
    first_event(telemetry)
    part_counts(telemetry, ["failure"], [START], end, ["use_case"])
    assert len(statements) >= 10
    check(statements)


def test_parts_are_those_of_the_rows_and_add_up_to_the_span(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    world = world_of(random_rows(rng, n=300), tmp_path / "data")
    world.add(
        INTERACTIONS, "release_id", [None if k % 7 == 0 else f"r{k * k % 11}" for k in range(300)]
    )
    opened = world.opened(policy=POLICY)
    end = START + timedelta(hours=24 * 8)
    starts = [START + timedelta(hours=50), START]
    kinds = ["failure", "NOT failure"]
    for most in (50, 3):
        found, months = part_counts(opened, kinds, starts, end, ["release_id"], most)
        for i, start in enumerate(starts):
            rows = within(opened, start, end, own=False)
            bad = rows["failure"].astype(bool) if i == 0 else ~rows["failure"].astype(bool)
            parts = found["release_id"][i]
            assert sum(p.n for p in parts) == sum(p.n for p in months[i]) == len(rows)
            assert sum(p.bad for p in parts) == sum(p.bad for p in months[i]) == bad.sum()
            assert [p.value for p in months[i]] == ["2026-09"]
            assert len({(p.value, p.others) for p in parts}) == len(parts) <= most + 2
            for p in parts:
                if p.others:
                    continue
                own = (
                    rows["release_id"].isna() if p.value is None else rows["release_id"] == p.value
                )
                assert (p.n, p.bad) == (own.sum(), (bad & own).sum())
            assert any(p.others for p in parts) == (most == 3)
    opened.close()


def test_months_are_those_of_the_calendar(tmp_path: Path) -> None:
    moments = [
        "2026-09-30T23:59:59Z",
        "2026-10-01T00:00:00Z",
        "2026-10-27T12:00:00Z",
        "2026-11-01T00:00:00Z",
    ]
    rows = [
        {"session": f"s{k}", "user": "u", "at": pd.Timestamp(at), "is_failure": k == 1}
        for k, at in enumerate(moments)
    ]
    opened = world_of(rows, tmp_path / "data").opened(
        policy=Policy.model_validate(
            {"windows": {"candidate": {"days": 3}, "baseline": {"days": 5}}}
        )
    )
    start, end = datetime(2026, 9, 15, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    _, ((*months,),) = part_counts(opened, ["failure"], [start], end, [])
    opened.close()
    assert [(p.value, p.n, p.bad) for p in months] == [
        ("2026-09", 1, 0), ("2026-10", 2, 1), ("2026-11", 1, 0),
    ]  # fmt: skip
