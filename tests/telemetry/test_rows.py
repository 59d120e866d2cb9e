"""Samples of whole clusters, and what becomes of clusters that are too large to be drawn as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.telemetry import Telemetry
from analysis.telemetry.requests import logical_requests
from analysis.telemetry.rows import ahead, cluster_limit, rows_of
from tests.telemetry.worlds import MONDAY, frame, world_of

POLICY = Policy.model_validate({"windows": {"candidate": {"days": 3}, "baseline": {"days": 5}}})
LIMIT = 300


def lopsided(share: float, n: int = 2_400, seed: int = 1) -> list[dict[str, Any]]:
    """Sessions of one to five rows, `share` of the rows those of one user, others of sixty."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    session = 0
    while len(rows) < n:
        session += 1
        user = "giant" if rng.random() < share else f"u{int(rng.integers(60))}"
        minute = int(rng.integers(6 * 1440, 8 * 1440))
        rows += [
            {
                "session": f"s{session}",
                "user": user,
                "at": MONDAY + pd.Timedelta(minutes=minute + k),
                "retry_index": int(k > 0 and rng.random() < 0.2),
                "is_failure": bool(rng.random() < 0.1),
            }
            for k in range(int(rng.integers(1, 6)))
        ]
    rows.append({"session": "old", "user": "old", "at": MONDAY})
    return rows


def opened(folder: Path, share: float, cluster: str = "user", **more: Any) -> Telemetry:
    rules = POLICY.model_copy(update={"cluster": cluster})
    return world_of(lopsided(share), folder / "data").opened(policy=rules, **more)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.95])
@pytest.mark.parametrize("requests", [False, True])
def test_a_giant_tenant_has_its_share_of_a_sample_and_leaves_the_others_theirs(
    tmp_path: Path, share: float, requests: bool
) -> None:
    telemetry = opened(tmp_path, share)
    rows = frame(telemetry)
    rows = rows[rows["win"] == 1]
    true = (rows["user_id"] == "giant").mean()
    shares = []
    for seed in range(20):
        found = (
            logical_requests(telemetry, [], max_rows=LIMIT, seed=str(seed)).rows
            if requests
            else telemetry.sample([], "win = 1", max_rows=LIMIT, seed=str(seed))
        )
        assert 0.8 * LIMIT <= len(found) <= LIMIT
        giant = found["cluster_id"] == "giant"
        shares.append(giant.mean())
        if requests:
            continue
        for key, own in (("user_id", found[~giant]), ("session_id", found[giant])):
            counts = own["cluster_id" if key == "user_id" else key].value_counts()
            assert (counts == rows.groupby(key).size()[counts.index]).all()
    telemetry.close()
    # Twenty samples of about sixty units each: five standard errors are below 8 points.
    assert np.mean(shares) == pytest.approx(true, abs=0.08)


def test_a_cluster_below_the_limit_is_never_split(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 0.08)
    largest = frame(telemetry).query("win == 1").groupby("user_id").size()
    assert largest["giant"] < cluster_limit(LIMIT)
    for seed in range(10):
        found = telemetry.sample([], "win = 1", max_rows=LIMIT, seed=str(seed))
        counts = found["cluster_id"].value_counts()
        assert (counts == largest[counts.index]).all()
    telemetry.close()


def test_a_session_that_is_too_large_comes_last_and_empties_nothing(tmp_path: Path) -> None:
    rows = lopsided(0.1, n=400)
    rows += [
        {"session": "endless", "user": "bot", "at": MONDAY + pd.Timedelta(minutes=9_000 + k)}
        for k in range(500)
    ]
    telemetry = world_of(rows, tmp_path / "data").opened(policy=POLICY)
    for seed in range(10):
        found = telemetry.sample([], "win = 1", max_rows=LIMIT, seed=str(seed))
        assert 0.8 * LIMIT <= len(found) <= LIMIT
        assert "bot" not in set(found["cluster_id"])
    telemetry.close()


def test_what_fits_is_taken_as_it_is_whatever_its_shape(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 0.6)
    rows = frame(telemetry)
    whole = telemetry.sample([], "win = 1", max_rows=10_000)
    telemetry.close()
    assert whole["interaction_id"].tolist() == sorted(rows[rows["win"] == 1]["interaction_id"])


@pytest.mark.parametrize(
    ("max_rows", "expected"),
    [(1, 1), (40, 40), (1_000, 1_000), (20_000, 1_000), (60_000, 3_000), (200_000, 10_000)],
)
def test_the_largest_cluster_that_is_drawn_as_one(max_rows: int, expected: int) -> None:
    assert cluster_limit(max_rows) == expected


def test_a_split_sample_is_the_same_for_any_order_and_format(tmp_path: Path) -> None:
    world = world_of(lopsided(0.5), tmp_path / "data")
    telemetry = world.opened(policy=POLICY, threads=1)
    before = telemetry.sample(["is_failure"], "win = 1", max_rows=LIMIT)
    telemetry.close()
    world.folder = tmp_path / "other"
    for name, rows in world.tables.items():
        world.tables[name] = rows.sample(frac=1, random_state=9).reset_index(drop=True)
    telemetry = world.opened("parquet", POLICY, threads=2)
    pd.testing.assert_frame_equal(
        telemetry.sample(["is_failure"], "win = 1", max_rows=LIMIT), before
    )
    telemetry.close()


def test_rows_by_id_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 0.2)
    rows = frame(telemetry)
    wanted = [*rows["interaction_id"].iloc[[40, 7, 300]], "no such row", "'); DROP TABLE fact;--"]
    found = rows_of(telemetry.engine, ["interaction_id", "ts_us"], wanted)
    nothing = rows_of(telemetry.engine, ["interaction_id", "ts_us"], [])
    telemetry.close()
    assert found["interaction_id"].tolist() == sorted(wanted[:3])
    assert list(nothing) == ["interaction_id", "ts_us"]
    assert len(nothing) == 0


def test_a_scan_holds_every_row_once(tmp_path: Path) -> None:
    telemetry = opened(tmp_path, 0.2)
    rows = frame(telemetry)
    parts = pd.concat(list(telemetry.scan(["interaction_id"], "win = $win", {"win": 1})))
    telemetry.close()
    assert sorted(parts["interaction_id"]) == sorted(rows[rows["win"] == 1]["interaction_id"])


def test_reading_ahead_changes_no_batch_and_hides_no_error() -> None:
    def batches(broken: bool) -> Iterator[pd.DataFrame]:
        for k in range(5):
            yield pd.DataFrame({"k": [k]})
        if broken:
            raise ValueError("the engine is gone")

    assert [int(b["k"].iloc[0]) for b in ahead(batches(False))] == list(range(5))
    with pytest.raises(ValueError, match="gone"):
        list(ahead(batches(True)))
    assert list(ahead(iter([]))) == []
