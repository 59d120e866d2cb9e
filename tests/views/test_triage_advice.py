"""What would help: each lever's figure is what a longer way round gives too."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from analysis.views.triage_advice import WITHOUT_MODEL, Contest, Lever, _told, levers
from analysis.views.triage_policy import Costs, Mode, Queue, reviewed_by, row_costs

COSTS = Costs(2.0, 40.0, 10.0, 16.0)
LATE = ("latency_ms",)


def queue(seed: int, a_day: int = 100, days: int = 14, power: float = 1.0) -> Queue:
    rng = np.random.default_rng(seed)
    n = a_day * days
    score = rng.normal(-3.0, power, n)
    true = 1.0 / (1.0 + np.exp(-score))
    return Queue(
        risk=np.round(true, 6),
        day=np.repeat(np.arange(days), a_day),
        days=np.arange(days) + 20_000,
        coverage=np.ones(days),
        known=np.ones(n, dtype=bool),
        bad=rng.random(n) < true,
        cluster=np.arange(n) // 2,
        ts_us=np.arange(n),
        rule=None,
        own=np.ones(n, dtype=bool),
    )


def told(
    given: Queue, mode: str = "selective", threshold: float = 0.2, **more: object
) -> dict[str, Lever]:
    tested = more.get("tested")
    assert tested is None or isinstance(tested, Contest)
    costs = more.get("costs", COSTS)
    assert isinstance(costs, Costs)
    mode_of: Mode = mode  # type: ignore[assignment]
    found = levers(
        given, costs, mode_of, threshold, tested, LATE, str(more.get("decide_at", "response"))
    )
    return {lever.kind: lever for lever in found}


def test_more_room_saves_what_its_reviews_find() -> None:
    given = queue(1)
    lever = told(given)["capacity"]
    now = reviewed_by(given, COSTS, "selected", 0.2)
    wide = dataclasses.replace(COSTS, capacity_per_day=20.0)
    then = reviewed_by(given, wide, "selected", COSTS.break_even)
    saved = row_costs(given, COSTS, now).sum() - row_costs(given, COSTS, then).sum()
    assert lever.saving_usd_per_day == pytest.approx(saved / 14)
    assert lever.low is not None
    assert lever.high is not None
    assert lever.low < saved / 14 < lever.high
    assert "room for 20 reviews" in lever.sentence


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((3.0, 1.0, 5.0), "3.00 USD a day more would have been saved"),
        ((-3.0, -5.0, -1.0), "cost 3.00 USD a day more"),
        ((0.9, -20.0, 22.0), "it is not sure"),
        ((-0.9, -22.0, 20.0), "it is not sure"),
    ],
)
def test_no_more_is_said_of_a_saving_than_its_interval_bears(
    figures: tuple[float, float, float], words: str
) -> None:
    assert words in _told(*figures)


def test_with_room_for_all_that_pays_none_is_asked_for() -> None:
    assert "capacity" not in told(queue(1), costs=dataclasses.replace(COSTS, capacity_per_day=99.0))


@pytest.mark.parametrize(
    ("missed", "words"), [(40.0, "They pay as long"), (4.0, "They would pay if")]
)
def test_costs_say_from_where_reviews_pay(missed: float, words: str) -> None:
    given = queue(2)
    costs = dataclasses.replace(COSTS, missed_usd=missed)
    lever = told(given, costs=costs)["costs"]
    reached = reviewed_by(given, costs, "top_by_capacity", None) > 0
    rate = given.bad[reached].mean()
    assert words in lever.sentence
    amounts = [float(a) for a in re.findall(r"than ([\d.]+) USD", lever.sentence)]
    assert amounts == [round(rate * missed, 2), round(2.0 / rate, 2)]


def test_a_model_that_is_not_used_says_how_well_it_ranks_and_what_comes_later() -> None:
    found = told(queue(3), mode="review_none", threshold=1.0, decide_at="request")
    assert "Deciding at response would add latency_ms" in found["features"].sentence
    assert "failure_type" not in found["features"].sentence
    assert "features" not in told(queue(3))


def test_days_that_would_make_it_sure() -> None:
    given = queue(4, a_day=12, days=10, power=1.0)
    tested = Contest(0.1, "review_none")
    found = told(given, mode="review_none", threshold=1.0, tested=tested)
    now = reviewed_by(given, COSTS, "review_none", None)
    then = reviewed_by(given, COSTS, "selected", 0.1)
    saved = row_costs(given, COSTS, now).sum() - row_costs(given, COSTS, then).sum()
    assert saved > 0
    lever = found["labels"]
    assert f"against {WITHOUT_MODEL['review_none']}, which is not sure" in lever.sentence
    assert lever.saving_usd_per_day == pytest.approx(saved / 10, abs=1e-6)
    assert int(re.findall(r"with ([\d,]+) days", lever.sentence)[0]) > 10


def test_where_nothing_was_saved_no_number_of_days_helps() -> None:
    given = dataclasses.replace(queue(5), bad=np.zeros(1400, dtype=bool))
    found = told(given, mode="review_none", threshold=1.0, tested=Contest(0.1, "review_none"))
    assert "labels" not in found
    assert "at no cost" in found["costs"].sentence
