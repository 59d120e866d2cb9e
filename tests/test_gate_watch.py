"""After shipping: each figure that the gate held to a limit is watched at that limit."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.check import Check, Interval, Outcome
from analysis.gate_watch import watch_list
from tests.test_gate import SEVERITIES, check


def results(spend: float | None = 60.0) -> Any:
    baseline = SimpleNamespace(
        failure_rate=Interval(0.04, 0.03, 0.05, 100),
        latency_breach_rate=Interval(None, None, None, 0),
        cost_usd_per_interaction=Interval(0.1, 0.09, 0.11, 100),
    )
    return {
        "health": SimpleNamespace(section=SimpleNamespace(baseline=baseline)),
        "budget": SimpleNamespace(
            section=SimpleNamespace(spend=SimpleNamespace(budget_usd_per_day=spend))
        ),
    }


def limited(name: str, limit: float | None, outcome: Outcome = "pass", **more: Any) -> Check:
    return dataclasses.replace(check(name, outcome), limit=limit, **more)


def watched(*checks: Check, days: float = 14.0, spend: float | None = 60.0) -> list[Any]:
    return [(w.what, w.limit, w.days) for w in watch_list(results(spend), checks, days)]


def test_rates_and_costs_are_watched_at_the_baseline_s_level_and_what_was_accepted() -> None:
    assert watched(
        limited("health.failure_rate", 0.02), limited("health.cost_usd", 1.15, unit="ratio")
    ) == [
        ("failure rate", pytest.approx(0.06), 14.0),
        ("cost per interaction in USD", pytest.approx(0.115), 14.0),
    ]


def test_budgets_spend_and_queue_are_watched_at_the_policy_s_limit() -> None:
    assert watched(
        limited("budget.availability", 1.0),
        limited("budget.spend", 1.0),
        limited("triage.queue", 40.0),
    ) == [
        ("burn of the error budget of SLO availability", 1.0, 14.0),
        ("spend per day in USD", 60.0, 14.0),
        ("reviews asked for on a day", 40.0, 14.0),
    ]


def test_what_was_left_open_is_watched_twice_as_long() -> None:
    assert watched(limited("budget.availability", 1.0, "inconclusive"))[0][2] == 28.0


def test_a_short_window_is_watched_for_a_week() -> None:
    assert watched(limited("budget.availability", 1.0), days=2.0)[0][2] == 7.0


def test_notes_and_what_has_no_figure_are_not_watched() -> None:
    assert watched(limited("health.latency_breach_rate", 0.02)) == []
    assert watched(limited("health.failure_rate", 0.02, value=None)) == []
    assert watched(limited("health.failure_rate", None)) == []
    assert watched(limited("budget.spend", 1.0), spend=None) == []
    assert watched(limited("budget.latency.alerts", 0.0)) == []
    assert SEVERITIES["budget.latency.alerts"] == "note"
