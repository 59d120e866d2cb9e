"""What would turn a decision: told figures turn it, on this side of them it turns, on that it does not."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from analysis import gate
from analysis import review as reviews
from analysis.check import Check, RegressionTest
from analysis.gate_flips import Evidence, flips, outward, turning_value
from analysis.gate_needs import check_needs, columns_of
from analysis.policy import Policy
from analysis.sample import generate, write
from analysis.stats.clusters import WindowMoments
from analysis.telemetry import Moments
from analysis.views import health_checks
from tests.test_gate import check, regression
from tests.views.test_health_simulated import World, drawn, moments

POLICY = Path(__file__).resolve().parents[1] / "report" / "policy.yml"
EVIDENCE = Evidence(4000, 0.05, 0.31)


# ── in data ──────────────────────────────────────────────────────────────────────────────


class Place:
    """What a health check asks of the telemetry."""

    baseline = object()
    by_days = False
    windows = None
    candidate_days = 14.0

    def unusable(self, *_: str) -> None:
        return None


def judged_alone(m: Moments) -> RegressionTest:
    place: Any = Place()
    test = health_checks.rate_check(place, Policy(), "failure_rate", "is_failure", m)
    assert isinstance(test, RegressionTest)
    return test


def world(ratio: float, seed: int, rows: int = 16_000) -> Moments:
    found = drawn(World(rows=rows, ratio=ratio, concurrent=True), np.random.default_rng(seed))
    return moments(found, found.failed)


def with_bad(m: Moments, change: float) -> Moments:
    """The same with so much more of a rate in the candidate, clusters as alike as they were."""
    one = m.candidate
    y = max(round(one.y + change * one.n), 1)
    times = y / one.y
    scaled = WindowMoments(
        one.n, y, one.nn, round(one.yy * times), round(one.ny * times), one.clusters, one.largest,
        round(one.bad_clusters * min(times, 1.0)),
    )  # fmt: skip
    cross = dataclasses.replace(
        m.cross, y1y0=round(m.cross.y1y0 * times), y1n0=round(m.cross.y1n0 * times)
    )
    return dataclasses.replace(m, candidate=scaled, cross=cross)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", [1.0, 2.5])
def test_a_rate_passes_where_its_flip_says(ratio: float, seed: int) -> None:
    """A first-order figure: a tenth of the way from what it is now is what it may be wrong by."""
    m = world(ratio, seed)
    test = judged_alone(m)
    now = test.judged(test.p_value, 0.05)
    assert test.passes_at is not None
    assert test.value is not None
    away = test.passes_at - test.value
    slack = 0.15 * abs(away) + 3e-4
    for step, passes in ((away - slack, True), (away + slack, False)):
        there = judged_alone(with_bad(m, step))
        assert there.passes == passes, (test.value, test.passes_at, there.value)
    assert now.outcome == ("fail" if ratio > 2 else "pass")


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_that_passes_fails_where_its_flip_says(seed: int) -> None:
    m = world(1.0, seed)
    test = judged_alone(m)
    now = test.judged(test.p_value, 0.05)
    at = turning_value(now, test, "fail", 0.05)
    assert at is not None
    assert test.value is not None
    away = at - test.value
    slack = 0.2 * abs(away) + 3e-4
    for step, fails in ((away - slack, False), (away + slack, True)):
        there = judged_alone(with_bad(m, step))
        assert (there.judged(there.p_value, 0.05).outcome == "fail") == fails


def burn(value: float, low: float, high: float, outcome: Any) -> Check:
    return dataclasses.replace(
        check("budget.availability", outcome), value=value, low=low, high=high, limit=1.0,
        unit="burn rate",
    )  # fmt: skip


def test_a_budget_turns_where_the_end_of_its_interval_meets_the_limit() -> None:
    held = burn(1.5, 1.2, 1.8, "fail")
    assert turning_value(held, None, "inconclusive", 0.05) == pytest.approx(1.5 / 1.2)
    assert turning_value(held, None, "pass", 0.05) == pytest.approx(1.5 / 1.8)
    calm = burn(0.8, 0.7, 0.9, "pass")
    assert turning_value(calm, None, "fail", 0.05) == pytest.approx(0.8 / 0.7)


def test_what_may_be_below_zero_is_moved_and_not_stretched() -> None:
    held = dataclasses.replace(
        check("budget.spend", "fail"), value=2.0, low=-1.0, high=5.0, limit=1.0
    )
    assert turning_value(held, None, "pass", 0.05) == pytest.approx(-2.0)


def test_a_minimum_is_met_from_above() -> None:
    held = dataclasses.replace(
        check("budget.spend", "fail"),
        value=0.6,
        low=0.5,
        high=0.7,
        limit=0.8,
        comparison="at_least",
    )
    assert turning_value(held, None, "inconclusive", 0.05) == pytest.approx(0.8 * 0.6 / 0.7)
    assert turning_value(held, None, "pass", 0.05) == pytest.approx(0.8 * 0.6 / 0.5)


def test_a_check_without_a_figure_turns_by_nothing() -> None:
    empty = dataclasses.replace(check("budget.spend", "fail"), value=None)
    assert turning_value(empty, None, "pass", 0.05) is None


@pytest.mark.parametrize(
    ("value", "up", "expected"),
    [(0.41234, True, 0.413), (0.41234, False, 0.412), (0.412, True, 0.413), (0.412, False, 0.411),
     (-0.41234, True, -0.412), (1234.5, True, 1240), (0.0, True, 0.0)],
)  # fmt: skip
def test_a_setting_is_rounded_beyond_what_it_has_to_pass(
    value: float, up: bool, expected: float
) -> None:
    assert outward(value, up=up) == pytest.approx(expected)


# ── of a decision ────────────────────────────────────────────────────────────────────────


def told(tests: list[Check | RegressionTest], policy: Policy) -> tuple[gate.Flip, ...]:
    checks = gate.judge(tests, policy, 0.05)
    decision = gate.decide(checks, tests, first_release=False)
    return flips(decision, checks, tests, policy, EVIDENCE)


def test_every_deciding_check_has_one() -> None:
    tests = [
        regression("health.failure_rate", 1e-9, material_at=0.005, passes_at=0.002, value=0.04,
                   low=0.03, high=0.05),
        burn(1.5, 1.2, 1.8, "fail"),
        regression("drift.high", 1e-9, value=2.0, low=None, high=None, unit="features"),
        check("triage.queue"),
    ]  # fmt: skip
    found = {f.check: f for f in told(tests, Policy())}
    assert list(found) == ["health.failure_rate", "budget.availability", "drift.high"]
    assert found["health.failure_rate"].becomes == "pass"
    assert found["health.failure_rate"].value == 0.002
    assert "fewer bad ones of 4,000 interactions" in found["health.failure_rate"].data
    assert found["budget.availability"].becomes == "inconclusive"
    assert found["budget.availability"].setting == "slos.availability.target"
    assert found["drift.high"].needed == pytest.approx(0.311)


def test_a_release_that_ships_is_told_what_is_nearest_to_stop_it() -> None:
    near = regression("health.failure_rate", 0.4, passes=True, passes_at=0.001, value=0.0005,
                      low=-0.01, high=0.011, bound=0.009)  # fmt: skip
    far = regression("health.latency_breach_rate", 0.4, passes=True, passes_at=0.03, value=0.0,
                     low=-0.01, high=0.01, bound=0.008)  # fmt: skip
    found = told([far, near, burn(0.5, 0.4, 0.6, "pass")], Policy())
    assert [f.check for f in found] == [
        "health.failure_rate", "health.latency_breach_rate", "budget.availability",
    ]  # fmt: skip
    assert (found[0].becomes, found[0].value) == ("inconclusive", 0.001)
    assert "or more" in found[0].data
    assert found[0].setting == "gate.limits.health.failure_rate"
    assert found[0].needed == pytest.approx(0.00899)


# ── in the policy: each setting that is told, tried ──────────────────────────────────────


def changed(settings: dict[str, Any], key: str, value: Any) -> None:
    """Sets a key as a flip names it."""
    at: Any = settings
    parts = key.split(".")
    if parts[:2] in (["gate", "severity"], ["gate", "limits"]):
        settings["gate"].setdefault(parts[1], {})[".".join(parts[2:])] = value
        return
    for part in parts[:-1]:
        at = next(o for o in at if o["name"] == part) if isinstance(at, list) else at[part]
    at[parts[-1]] = value


@pytest.fixture(scope="module")
def regressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        generate("regressed", 12_000, 1), tmp_path_factory.mktemp("flips") / "data", "parquet"
    )


def reviewed(data: Path, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "policy.yml"
    path.write_text(yaml.safe_dump(settings))
    return dict(reviews.compute(reviews.request(data=str(data), policy=path)).body)


def test_the_settings_that_are_told_turn_the_decision(regressed: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(POLICY.read_text())
    settings["gate"]["thresholds"] = [
        {"name": "coding", "metric": "failure_rate", "max": 0.05, "when": {"use_case": "coding"}},
        {"name": "quality", "metric": "response_quality_score", "min": 0.95},
    ]
    settings["triage"]["queue_p90_guard"] = 400
    before = reviewed(regressed, settings, tmp_path)
    decision = before["decision"]
    assert decision["outcome"] == "block"
    deciding = {*decision["blocking"], *decision["holding"]}
    assert {"threshold.coding", "threshold.quality", "budget.availability"} <= deciding
    assert {f["check"] for f in decision["flips"]} == deciding
    after = copy.deepcopy(settings)
    for flip in decision["flips"]:
        assert flip["setting"] is not None
        changed(after, flip["setting"], flip["needed"])
    found = reviewed(regressed, after, tmp_path)
    assert found["decision"]["outcome"] == "ship", found["decision"]
    # Each was needed: without any one of them the release does not ship.
    for flip in decision["flips"][:2]:
        one = copy.deepcopy(after)
        changed(one, flip["setting"], flip["current"])
        left = reviewed(regressed, one, tmp_path)["decision"]
        assert {*left["blocking"], *left["holding"]} == {flip["check"]}


# ── what would settle it ─────────────────────────────────────────────────────────────────


def needed(tests: list[Check | RegressionTest], holding: list[str], **more: Any) -> Any:
    checks = gate.judge(tests, Policy(), 0.05)
    given: dict[str, Any] = {"days": 14.0, "rows": 5000, "known": {}, "unusable": lambda _: None}
    return check_needs(holding, checks, tests, Policy(), **{**given, **more})


def test_more_traffic_is_told_beyond_what_is_there() -> None:
    test = regression("health.failure_rate", 0.2, needs_interactions=900, needs_days=20.5)
    (found,) = needed([test], ["health.failure_rate"])
    assert (found.more_interactions, found.more_days, found.label) == (800, 6.5, None)


def test_an_interval_has_to_shrink_until_it_leaves_the_limit_out() -> None:
    (found,) = needed([burn(0.9, 0.75, 1.05, "inconclusive")], ["budget.availability"])
    windows = (0.15 / 0.1 * (1 + 0.84 / 1.959964)) ** 2
    assert found.more_interactions == pytest.approx((windows - 1) * 5000, abs=1)
    assert found.more_days == pytest.approx((windows - 1) * 14, abs=0.11)


def test_beyond_ten_windows_nothing_is_promised() -> None:
    (found,) = needed([burn(0.99, 0.75, 1.25, "inconclusive")], ["budget.availability"])
    assert (found.more_interactions, found.more_days) == (None, None)


def test_what_a_view_has_worked_out_is_taken() -> None:
    (found,) = needed(
        [burn(0.9, 0.75, 1.05, "inconclusive")], ["budget.availability"],
        known={"budget.availability": (123, 4.5)},
    )  # fmt: skip
    assert (found.more_interactions, found.more_days) == (123, 4.5)


def test_missing_labels_are_named_before_traffic() -> None:
    test = regression("health.failure_rate", None, needs_interactions=900, needs_days=20.5)
    (found,) = needed(
        [test], ["health.failure_rate"],
        unusable=lambda c: "missing" if c == "is_failure" else None,
    )  # fmt: skip
    assert (found.label, found.more_interactions) == ("is_failure", None)


def test_what_failed_needs_no_traffic() -> None:
    assert needed([burn(1.5, 1.2, 1.8, "fail")], ["budget.availability"]) == ()


@pytest.mark.parametrize(
    ("name", "columns"),
    [("health.failure_rate", ("is_failure",)), ("health.latency_breach_rate", ("latency_ms",)),
     ("health.cost_usd", ("cost_usd",)), ("budget.latency", ("latency_ms",)),
     ("budget.latency.alerts", ("latency_ms",)), ("budget.spend", ("cost_usd",)),
     ("triage.queue", ("is_failure",)), ("threshold.coding", ("is_failure", "use_case")),
     ("baseline.latency_ms_p95", ("latency_ms",)), ("drift.high", ())],
)  # fmt: skip
def test_a_check_s_columns_are_known(name: str, columns: tuple[str, ...]) -> None:
    policy = Policy.model_validate(
        {"gate": {"thresholds": [{"name": "coding", "metric": "failure_rate", "max": 0.1,
                                  "when": {"use_case": "coding"}}]}}
    )  # fmt: skip
    assert columns_of(name, policy) == columns
