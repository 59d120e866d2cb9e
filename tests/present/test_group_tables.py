"""The tables of health by model and of budgets by group."""

from __future__ import annotations

import re
from typing import Any

from analysis.present.budget_groups import groups, period
from analysis.present.health_models import by_model

HOSTILE = "<b>{0}</b>"
WINDOW = {
    "start_utc": "2026-11-02T00:00:00Z", "end_utc": "2026-11-16T00:00:00Z", "n_interactions": 100,
    "release_id": None,
}  # fmt: skip
FIGURES = ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction", "latency_ms_p95")


def interval(value: float | None, low: float | None = None, high: float | None = None) -> Any:
    return {"value": value, "low": low, "high": high, "support": 50}


def model(name: str | None, status: str, **changes: Any) -> dict[str, Any]:
    known = {f: interval(0.05, 0.04, 0.06) for f in FIGURES}
    unknown = {f: interval(None) for f in FIGURES}
    return {
        "model_provider": None if status == "others" else "aurora", "model_name": name,
        "status": status, "n_models": 1, "n": 50, "share": 0.5, "n_baseline": 50,
        "share_baseline": 0.5, "reason": None,
        "baseline": unknown if status == "new" else known,
        "candidate": unknown if status == "gone" else known,
        "change": known if status == "both" else unknown, **changes,
    }  # fmt: skip


def body(**views: Any) -> dict[str, Any]:
    return {"windows": {"candidate": WINDOW, "baseline": WINDOW}, "views": views}


def words(parts: tuple[str, ...]) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", " ".join(parts)))


def test_new_and_gone_models_are_named_before_the_table() -> None:
    models = [
        model("a", "both"), model("b", "new"), model("c", "gone", n=0, share=0.0),
        model(None, "both", reason="no interval of cost: 5 effective clusters (candidate)"),
        model("(all others)", "others", n_models=7),
    ]  # fmt: skip
    told = words(by_model(body(health={"by_model": models})))
    assert "New in the candidate window: aurora · b. Gone since the baseline: aurora · c." in told
    assert "was 5.00 %" in told
    assert "(all others) 7 models" in told
    assert "5 effective clusters (candidate)" in told
    assert "not corrected for the number of models" in told


def test_without_a_model_there_is_nothing() -> None:
    assert by_model(body(health={"by_model": []})) == ()


def group(name: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "slice": {"account_tier": name}, "n_merged": 1, "n": 500, "bad": 20,
        "burn_rate": interval(0.8, 0.6, 1.1), "simultaneous_low": 0.5, "simultaneous_high": 1.2,
        "budget_consumed": 0.7, "budget_remaining": 0.3, "reason": None, **changes,
    }  # fmt: skip


def test_each_objective_with_groups_has_a_table() -> None:
    held = [group("free"), group(None), group("(all others)", n_merged=4, burn_rate=interval(None))]
    slos = [{"name": "plain", "groups": []}, {"name": "availability", "groups": held}]
    parts = groups(body(budget={"slos": slos}))
    assert len(parts) == 1
    told = words(parts)
    assert "Budget of availability by account_tier" in told
    assert "free 0.80 0.60 to 1.10 0.50 to 1.20 30.0 % 20 500" in told
    assert "not known" in told
    assert "(all others) 4 groups" in told
    assert "all 2 groups at once" in told


def test_names_are_escaped() -> None:
    slos = [{"name": HOSTILE, "groups": [group(HOSTILE)]}]
    shown = " ".join(groups(body(budget={"slos": slos})))
    shown += " ".join(by_model(body(health={"by_model": [model(HOSTILE, "new")]})))
    assert "<b>" not in shown
    assert "{0}" not in shown


def test_a_period_is_told_in_words() -> None:
    assert period({"period": "rolling", "period_days": 28}) == "28 days"
    told = period(
        {"period": "month", "period_days": 30, "period_start_utc": "2026-11-01T00:00:00Z",
         "period_end_utc": "2026-12-01T00:00:00Z"}
    )  # fmt: skip
    assert told.startswith("the month 2026-11-01 to 2026-12-01")
