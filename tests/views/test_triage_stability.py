from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from analysis.views.triage_policy import Queue
from analysis.views.triage_quality import Labelled, Quality, quality
from analysis.views.triage_stability import Stability, stability
from tests.stats.risk_worlds import limit
from tests.views.risk_queue import Planted, turned

NAMES = [field.name for field in dataclasses.fields(Quality)]


def both(world: Planted, seed: int, **window: float) -> tuple[Queue, Queue]:
    """The 13 days that chose, and a window of 14; `window` changes what the window's risks say."""
    before = dataclasses.replace(world, n_days=13).queue(seed + 10**6)
    return before, dataclasses.replace(world, **window).queue(seed)


def changes(found: Stability) -> dict[str, tuple[float, float, float]]:
    return {
        one.measure: (one.change.value, one.change.low, one.change.high)  # type: ignore[misc]
        for one in found.figures
    }


def test_figures_of_both_parts_and_their_differences() -> None:
    before, window = both(Planted(), 1)
    found = stability(before, window)
    assert [one.measure for one in found.figures] == NAMES
    for one in found.figures:
        assert one.history == getattr(quality(before), one.measure)
        assert one.window == getattr(quality(window), one.measure)
        assert one.change.value == pytest.approx(one.window.value - one.history.value)
        assert one.change.low <= one.change.value <= one.change.high  # type: ignore[operator]
        assert one.change.support == 12_000
    json.dumps(dataclasses.asdict(found), allow_nan=False)


@pytest.mark.parametrize("world", [Planted(), Planted(daily=0.3), Planted(slope=0.7, shift=0.4)])
def test_nothing_changes_where_both_parts_are_alike(world: Planted) -> None:
    # 5 % promised for each of ten figures, over days that differ too; 150 replicates.
    alike(world, 150)


@pytest.mark.simulate
@pytest.mark.parametrize(
    "world", [Planted(), Planted(daily=0.3), Planted(n=20_000, daily=0.3), Planted(base=-1.0)]
)
def test_nothing_changes_in_many_parts_that_are_alike(world: Planted) -> None:
    alike(world, 800)


def alike(world: Planted, replicates: int) -> None:
    missed = dict.fromkeys(NAMES, 0)
    moved = 0
    for seed in range(replicates):
        found = stability(*both(world, seed))
        for name, (_, low, high) in changes(found).items():
            missed[name] += not low <= 0 <= high
        assert found.risk_p_value is not None
        moved += found.risk_p_value < 0.05
    bound = limit(0.05, replicates, comparisons=11 * 4)
    assert {n: m / replicates for n, m in missed.items() if m / replicates > bound} == {}
    assert moved / replicates <= bound


def test_days_that_differ_make_changes_less_sure() -> None:
    # Clusters alone would call the calibration changed in a third of such windows.
    missed = alone = 0
    for seed in range(60):
        before, window = both(Planted(daily=0.5), seed)
        _, low, high = changes(stability(before, window))["calibration_intercept"]
        missed += not low <= 0 <= high
        old, new = (quality(part).calibration_intercept for part in (before, window))
        width = [(one.high - one.low) / 2 for one in (old, new)]  # type: ignore[operator]
        alone += abs(new.value - old.value) > math.hypot(*width)  # type: ignore[operator]
    assert missed <= 7
    assert alone >= 12


@pytest.mark.parametrize(
    ("name", "window", "change"),
    [
        ("calibration_intercept", {"shift": 0.6}, 0.6),
        ("calibration_slope", {"slope": 0.5, "shift": -1.3}, -0.5),
    ],
)
def test_a_planted_change_is_within_its_interval_and_told_from_none(
    name: str, window: dict[str, float], change: float
) -> None:
    held = told = 0
    for seed in range(60):
        _, low, high = changes(stability(*both(Planted(daily=0.1), seed, **window)))[name]
        held += low <= change <= high
        told += not low <= 0 <= high
    assert held >= 53
    assert told >= 55


def test_the_risks_themselves_may_move() -> None:
    before, window = both(Planted(), 2)
    same = stability(before, window)
    moved = stability(before, dataclasses.replace(window, risk=np.round(window.risk * 0.8, 6)))
    assert same.risk_psi == pytest.approx(0.0, abs=0.005)
    assert same.risk_p_value is not None
    assert same.risk_p_value > 0.01
    assert moved.risk_psi is not None
    assert moved.risk_psi > 0.02
    assert moved.risk_p_value is not None
    assert moved.risk_p_value < 1e-4


def test_users_who_are_in_both_parts_are_paired_where_codes_are_shared() -> None:
    # The window repeats the history's rows: nothing can have changed, and pairing knows it.
    before = Planted().queue(3)
    code = before.cluster
    paired = stability(before, before, shared=(code, code))
    apart = stability(before, before)
    for name in ("roc_auc", "brier", "calibration_intercept"):
        _, low, high = changes(apart)[name]
        assert high - low > 0
        # Days still count as if they were others.
        assert changes(paired)[name][2] <= high + 1e-12
    assert paired.risk_p_value is not None
    assert apart.risk_p_value is not None
    assert paired.risk_p_value == pytest.approx(apart.risk_p_value, abs=1e-6) or (
        paired.risk_p_value >= 0.5
    )


def test_rows_may_be_sorted_beforehand_and_come_in_any_order() -> None:
    before, window = both(Planted(), 4)
    first = stability(before, window)
    assert stability(Labelled.of(before), Labelled.of(window)) == first
    order = np.random.default_rng(4).permutation(len(window.risk))
    again = stability(before, turned(window, order))
    smooth = [n for n in NAMES if "error" not in n and "re" not in n]
    for name in smooth:
        np.testing.assert_allclose(changes(again)[name], changes(first)[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("why", "edit"),
    [
        ("no row has a label", lambda q: dataclasses.replace(q, known=np.zeros(len(q.risk), dtype=bool))),
        ("no bad row", lambda q: dataclasses.replace(q, bad=np.zeros(len(q.risk), dtype=bool))),
        ("one day", lambda q: dataclasses.replace(q, day=np.zeros(len(q.risk), dtype=np.int64))),
        ("one cluster", lambda q: dataclasses.replace(q, cluster=np.zeros(len(q.risk), dtype=np.int64))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", ["history", "window"])
def test_what_cannot_be_told_is_left_open(why: str, edit: object, which: str) -> None:
    before, window = both(Planted(), 5)
    if which == "history":
        before = edit(before)  # type: ignore[operator]
    else:
        window = edit(window)  # type: ignore[operator]
    found = stability(before, window)
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    told = [name for name, (_, low, _) in changes(found).items() if low is not None]
    if why == "one day":
        # It borrows the other part's variance from day to day.
        assert "brier" in told
        assert "calibration_error" not in told
    elif why == "no bad row":
        assert "roc_auc" not in told
    else:
        assert told == []
