from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from analysis.check import Check, Interval, RegressionTest, finite, rounded


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (0, 0),
        (3, 3),
        (0.5, 0.5),
        (np.float64(0.5), 0.5),
    ],
)
def test_what_is_not_finite_is_missing(given: Any, expected: float | None) -> None:
    found = finite(given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.1 + 0.2, 0.3),
        (1 / 3, 0.333333333333),
        (123456789012345.0, 123456789012000.0),
        (1e-300 / 3, 3.33333333333e-301),
        (-0.0, 0.0),
        (math.inf, math.inf),
    ],
)
def test_comparisons_use_the_twelve_digits_that_the_artifact_shows(
    given: float, expected: float
) -> None:
    assert rounded(given) == expected
    assert math.copysign(1, rounded(given)) == math.copysign(1, expected)


def test_rounding_twice_is_rounding_once() -> None:
    for value in np.random.default_rng(1).normal(size=1000) * 10.0 ** np.arange(-500, 500).clip(
        -300, 300
    ):
        assert rounded(rounded(float(value))) == rounded(float(value))


def test_an_interval_without_a_value_claims_nothing_else() -> None:
    assert Interval.of(math.nan, 0.1, 0.2, 7) == Interval(None, None, None, 7)
    assert Interval.of(None, 0.1, 0.2, 7) == Interval.unknown(7)
    assert Interval.unknown() == Interval(None, None, None, 0)


def test_an_interval_may_be_open_on_one_side() -> None:
    assert Interval.of(0.1, 0.05, math.inf, 7) == Interval(0.1, 0.05, None, 7)
    shown = Interval.of(np.float64(0.1), np.float64(0.0), np.float64(0.2), np.int64(7))  # type: ignore[arg-type]
    assert [type(v) for v in dataclasses.astuple(shown)] == [float, float, float, int]


TEST = RegressionTest(
    id="health.failure_rate",
    view="health",
    severity="block",
    value=0.01,
    low=-0.005,
    high=0.025,
    limit=0.02,
    unit="rate",
    support=1000,
    p_value=0.01,
    material=True,
    passes=False,
    reason="the interval holds the limit",
    subject="The failure rate",
    sentences={"pass": "It passes.", "fail": "It fails.", "inconclusive": "It is open."},
    actions={"pass": "Go.", "fail": "Stop.", "inconclusive": "Wait."},
)

# case: (p_value, adjusted, material, passes) → outcome at an error rate of 0.05
JUDGED = {
    "significant and material fails": ((0.01, 0.03, True, False), "fail"),
    "failing comes before passing": ((0.01, 0.03, True, True), "fail"),
    "significant but immaterial is open": ((0.01, 0.03, False, False), "inconclusive"),
    "significant but immaterial passes where it is within the limit": (
        (0.01, 0.03, False, True),
        "pass",
    ),
    "material but not significant is open": ((0.01, 0.06, True, False), "inconclusive"),
    "material but not significant passes within the limit": ((0.01, 0.06, True, True), "pass"),
    "the adjusted p-value counts, not the raw one": ((0.049, 0.098, True, False), "inconclusive"),
    "the error rate itself does not fail": ((0.05, 0.05, True, False), "inconclusive"),
    "what is shown as the error rate does not fail": (
        (0.05, 0.05 - 1e-15, True, False),
        "inconclusive",
    ),
    "no p-value is open, whatever else is known": ((None, None, True, True), "inconclusive"),
    "a p-value that is not a number is open": ((math.nan, math.nan, True, True), "inconclusive"),
}


@pytest.mark.parametrize(("given", "outcome"), JUDGED.values(), ids=JUDGED.keys())
def test_a_regression_check_fails_passes_or_is_open(
    given: tuple[float | None, float | None, bool, bool], outcome: str
) -> None:
    p, adjusted, material, passes = given
    test = dataclasses.replace(TEST, p_value=p, material=material, passes=passes)
    check = test.judged(adjusted, 0.05)
    assert check.outcome == outcome
    assert check.sentence == TEST.sentences[check.outcome]
    assert check.action == TEST.actions[check.outcome]
    assert check.reason == (TEST.reason if outcome == "inconclusive" else None)
    assert check.p_value == (None if p is None or math.isnan(p) else p)


def test_a_judged_check_says_what_the_test_says() -> None:
    check = TEST.judged(0.03, 0.05)
    for name in ("id", "view", "severity", "value", "low", "high", "limit", "unit", "support"):
        assert getattr(check, name) == getattr(TEST, name), name
    assert (check.p_value, check.p_adjusted, check.comparison) == (0.01, 0.03, "at_most")


def test_no_number_of_a_judged_check_is_infinite() -> None:
    open_ended = dataclasses.replace(TEST, low=-math.inf, high=math.inf, value=math.nan)
    check = open_ended.judged(0.03, 0.05)
    assert (check.value, check.low, check.high) == (None, None, None)


def test_nothing_fails_where_no_error_may_be_spent() -> None:
    assert dataclasses.replace(TEST, p_value=0.0).judged(0.0, 0.0).outcome == "inconclusive"


def test_checks_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TEST.judged(0.03, 0.05).outcome = "pass"  # type: ignore[misc]
    assert dataclasses.is_dataclass(Check)
