"""The candidate beside the last recorded releases: which of them count, and what is judged."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis.check import Interval
from analysis.policy import Policy
from analysis.policy_gate import FIGURES, RATES, Baselines
from analysis.telemetry.files import InputFile
from analysis.telemetry.recorded import RecordedFigures
from analysis.telemetry.windows import iso
from analysis.views.gate_baselines import chosen, compare
from analysis.views.health import Figures

START = datetime(2026, 11, 2, tzinfo=UTC)
LATENCY = {"column": "latency_ms", "above": 2200.0}


def interval(value: float, share: float = 0.1) -> Interval:
    return Interval(value, value * (1 - share), value * (1 + share), 5000)


def release(weeks_before: float, value: float = 0.04, **changes: Any) -> RecordedFigures:
    """A week that ended so many weeks before the candidate starts."""
    end = START - timedelta(weeks=weeks_before)
    made = RecordedFigures(
        release_id=f"weekly-{weeks_before:g}",
        start_utc=iso(end - timedelta(weeks=1)),
        end_utc=iso(end),
        outcome="ship",
        figures=dict.fromkeys(FIGURES, interval(value)),
        latency_rule=LATENCY,
        input=InputFile("gate.baselines", "f", "json", 1, 1, "0" * 64),
    )
    return dataclasses.replace(made, **changes)


def rules(**changes: Any) -> Policy:
    allowed = {name: 0.01 if name in RATES else 1.1 for name in FIGURES}
    return Policy.model_validate({"gate": {"baselines": {"allowed": allowed, **changes}}})


def compared(earlier: list[RecordedFigures], own: Interval, policy: Policy | None = None) -> Any:
    policy = policy or rules()
    telemetry: Any = SimpleNamespace(
        earlier=tuple(sorted(earlier, key=lambda r: (r.end_utc, r.release_id))),
        windows=SimpleNamespace(candidate=SimpleNamespace(start=START)),
    )
    figures, tests = compare(telemetry, policy, Figures(*[own] * len(FIGURES)))
    return {f.figure: f for f in figures}, {t.id.removeprefix("baseline."): t for t in tests}


def names(earlier: list[RecordedFigures], figure: str = "failure_rate", **more: Any) -> Any:
    latency = Policy().latency_slo
    assert latency is not None
    kept, out = chosen(
        tuple(sorted(earlier, key=lambda r: r.end_utc)), START,
        Baselines(allowed={"failure_rate": 0.01}, **more), figure, latency.rule,
    )  # fmt: skip
    return [r.release_id for r in kept], {one.release: one.reason for one in out}


class TestChosen:
    def test_the_last_ones_count_the_newest_first(self) -> None:
        kept, out = names([release(w) for w in (0, 1, 2, 3, 4, 5)], last=4)
        assert kept == ["weekly-0", "weekly-1", "weekly-2", "weekly-3"]
        assert out == {}

    def test_windows_that_share_time_count_once(self) -> None:
        kept, out = names([release(w) for w in (-0.5, 0, 0.5, 1)])
        assert kept == ["weekly-0", "weekly-1"]
        assert set(out) == {"weekly-0.5"}

    def test_a_blocked_release_is_no_baseline(self) -> None:
        kept, out = names([release(0), release(1, outcome="block"), release(2, outcome="hold")])
        assert kept == ["weekly-0", "weekly-2"]
        assert out == {"weekly-1": "it was blocked"}

    def test_other_limits_of_latency_are_not_compared(self) -> None:
        other = release(0, latency_rule={"column": "latency_ms", "above": 900.0})
        assert names([other], "latency_breach_rate")[0] == []
        assert names([release(0, latency_rule=None)], "latency_breach_rate")[0] == []
        assert names([other])[0] == ["weekly-0"]
        null = {**LATENCY, "below": None}
        assert names([release(0, latency_rule=null)], "latency_breach_rate")[0] == ["weekly-0"]

    def test_a_figure_that_is_not_known_there_is_left_out(self) -> None:
        empty = release(0, figures=dict.fromkeys(FIGURES, Interval.unknown()))
        assert names([empty])[1] == {"weekly-0": "the figure is not known there"}


class TestJudged:
    def test_a_rate_like_the_others_passes(self) -> None:
        earlier = [release(k, v) for k, v in enumerate((0.040, 0.041, 0.039, 0.040))]
        found, tests = compared(earlier, interval(0.040, 0.05))
        assert tests["failure_rate"].passes
        assert found["failure_rate"].mean == pytest.approx(0.04)
        assert found["failure_rate"].change.value == pytest.approx(0.0, abs=1e-12)
        assert tests["latency_ms_p95"].value == pytest.approx(1.0, rel=1e-3)

    def test_a_rise_fails_and_is_told(self) -> None:
        earlier = [release(k, v) for k, v in enumerate((0.040, 0.041, 0.039, 0.040))]
        _, tests = compared(earlier, interval(0.08, 0.05))
        judged = tests["failure_rate"].judged(tests["failure_rate"].p_value, 0.05)
        assert (judged.outcome, judged.severity) == ("fail", "hold")
        assert "+4.00 points" in judged.sentence
        assert "+1.00 points allowed" in judged.sentence
        ratio = tests["cost_usd_per_interaction"]
        assert ratio.value == pytest.approx(2.0, rel=1e-3)
        assert ratio.judged(ratio.p_value, 0.05).outcome == "fail"

    def test_a_rise_within_what_is_allowed_does_not_fail(self) -> None:
        earlier = [release(k, 0.04) for k in range(4)]
        _, tests = compared(earlier, interval(0.049, 0.01))
        assert tests["failure_rate"].judged(1e-6, 0.05).outcome != "fail"

    def test_releases_that_differ_much_decide_nothing(self) -> None:
        earlier = [release(k, v) for k, v in enumerate((0.02, 0.06, 0.03, 0.07))]
        _, tests = compared(earlier, interval(0.05, 0.05))
        judged = tests["failure_rate"].judged(tests["failure_rate"].p_value, 0.05)
        assert judged.outcome == "inconclusive"
        assert "reaches beyond" in str(judged.reason)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_three_are_needed(self, n: int) -> None:
        found, tests = compared([release(k) for k in range(n)], interval(0.04))
        assert tests["failure_rate"].p_value is None
        assert f"{n} recorded releases" in str(found["failure_rate"].reason)
        assert tests["failure_rate"].judged(None, 0.05).outcome == "inconclusive"

    def test_a_figure_without_a_value_is_not_judged(self) -> None:
        found, tests = compared([release(k) for k in range(4)], Interval.unknown())
        assert found["failure_rate"].reason == "the candidate's figure is not known"
        assert tests["failure_rate"].p_value is None

    def test_without_the_rule_there_is_no_check(self) -> None:
        assert compared([release(0)], interval(0.04), Policy()) == ({}, {})

    def test_it_turns_where_its_flip_says(self) -> None:
        earlier = [release(k, v) for k, v in enumerate((0.040, 0.043, 0.038, 0.041))]
        _, tests = compared(earlier, interval(0.045, 0.05))
        test = tests["failure_rate"]
        mean = 0.045 - test.value
        for step, passes in ((-2e-4, True), (2e-4, False)):
            moved = Interval(
                *(mean + test.passes_at + step + d for d in (0, -0.00225, 0.00225)), 5000
            )
            assert compared(earlier, moved)[1]["failure_rate"].passes == passes
        assert mean == pytest.approx(0.0405)


@pytest.mark.parametrize("between", [0.0, 0.15])
def test_a_release_like_the_last_ones_rarely_fails(between: float) -> None:
    """Rates whose logs differ between weeks by so much, each known to a twentieth."""
    rng = np.random.default_rng(7)
    runs, failed = 1500, 0
    for _ in range(runs):
        true = 0.04 * np.exp(rng.normal(0, between, 5))
        seen = true * (1 + 0.05 * rng.normal(size=5))
        earlier = [release(k, float(v)) for k, v in enumerate(seen[1:])]
        own = Interval(float(seen[0]), float(seen[0]) - 0.00392, float(seen[0]) + 0.00392, 5000)
        policy = Policy.model_validate(
            {"gate": {"baselines": {"allowed": {"failure_rate": 0.001}}}}
        )
        test = compared(earlier, own, policy)[1]["failure_rate"]
        failed += test.judged(test.p_value, 0.05).outcome == "fail"
    assert failed / runs <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / runs)
