"""The estimate under label delay over many worlds: labels are missing where the risk is high."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analysis.views.drift_cbpe import Estimated, estimate
from tests.views import test_drift_consequence as worlds
from tests.views.test_drift import candidate, opened, policy


def late(folder: Path, seed: int, worse: float = 0.0) -> tuple[Estimated, float, float]:
    """The estimate, and the rates of the candidate and of its unlabelled rows once all labels are there.

    About 30 % of the labels are missing: 7 times as often in the use case that fails 5 times as often.
    """
    rows, truth = worlds.TestLabelDelay().late(0.32, seed=seed, worse=worse)
    telemetry = opened(rows, folder, policy())
    try:
        found = estimate(telemetry)
    finally:
        telemetry.close()
    new = candidate(rows)
    missing = new & rows["is_failure"].isna()
    return found, float(truth[new].mean()), float(truth[missing].mean())


def inside(low: float | None, truth: float, high: float | None) -> bool:
    return low is not None and high is not None and low <= truth <= high


@pytest.mark.simulate
def test_with_traffic_alone_changed_the_interval_covers_and_the_naive_rate_does_not(
    tmp_path: Path,
) -> None:
    runs = 200
    hits = np.zeros(4)
    for seed in range(runs):
        found, whole, unlabelled = late(tmp_path / str(seed), 700 + seed)
        assert found.check is not None
        hits += (
            inside(found.whole.low, whole, found.whole.high),
            inside(found.unlabelled.low, unlabelled, found.unlabelled.high),
            inside(found.labelled.low, whole, found.labelled.high),
            not found.check.holds,
        )
    share = hits / runs
    print(share)
    error = 1.645 * math.sqrt(0.05 * 0.95 / runs)
    assert share[0] >= 0.93
    assert share[1] >= 0.93 - error
    assert share[2] < 0.2
    assert share[3] <= 0.05 + error


@pytest.mark.simulate
def test_a_change_within_is_flagged_and_traffic_alone_is_not(tmp_path: Path) -> None:
    flagged = 0
    for seed in range(40):
        found, *_ = late(tmp_path / str(seed), 2000 + seed, worse=0.06)
        assert found.check is not None
        flagged += not found.check.holds
    assert flagged >= 36
