"""Who is reached within a day's capacity equals a slow reference, ties and all."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.views.triage_policy import Costs, Queue, slots, within_capacity


def queue(seed: int, n: int, n_days: int, levels: int) -> Queue:
    """Few distinct risks and moments, so that ties are everywhere."""
    rng = np.random.default_rng(seed)
    risk = np.round(rng.integers(0, levels, n) / max(levels, 1), 6)
    return Queue(
        risk=risk,
        day=rng.integers(0, n_days, n),
        days=np.arange(n_days) + 20_000,
        coverage=rng.choice([1.0, 1.0, 0.4, 0.0], n_days),
        known=rng.random(n) < 0.9,
        bad=rng.random(n) < 0.2,
        cluster=rng.integers(0, 9, n),
        ts_us=rng.integers(-3, 5, n),
        rule=None,
        own=np.ones(n, dtype=bool),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from([0.5, 1.0, 4.0, 1_000.0]),
    st.booleans(),
)
def test_reviews_go_to_the_first_in_each_days_line(
    seed: int, n: int, n_days: int, levels: int, capacity: float, by_risk: bool
) -> None:
    lined, costs = queue(seed, n, n_days, levels), Costs(2, 40, capacity, 2 * capacity)
    rows = np.random.default_rng(seed).random(n) < 0.7
    want = set()
    for day, room in enumerate(slots(lined, costs)):
        line = [k for k in range(n) if rows[k] and lined.day[k] == day]
        line.sort(key=lambda k: (-lined.risk[k] if by_risk else lined.ts_us[k], k))
        want |= set(line[:room])
    found = within_capacity(lined, costs, rows, by_risk=by_risk)
    assert set(np.flatnonzero(found).tolist()) == want
