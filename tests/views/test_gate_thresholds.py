"""Thresholds of the policy: the figures are those of plain pandas, and the interval decides."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.check import Check
from analysis.views import health
from analysis.views.gate_thresholds import ThresholdFigure, checks
from tests.views.world import dated, opened, policy, traffic, window

WINDOWS = dated(0, 42, 56)


def rows(**given: Any) -> pd.DataFrame:
    made = traffic(2400, failure=0.08, **given)
    rng = np.random.default_rng(9)
    made["response_quality_score"] = np.round(rng.beta(8, 2, len(made)), 3)
    made["refusal_flag"] = rng.random(len(made)) < 0.1
    return made


def found(
    made: pd.DataFrame, folder: Path, *thresholds: dict[str, Any], **changes: Any
) -> tuple[list[ThresholdFigure], list[Check]]:
    given = policy(windows=WINDOWS, gate={"thresholds": list(thresholds)}, **changes)
    with opened(made, folder, given) as telemetry:
        figures, judged = checks(telemetry, telemetry.policy)
    return list(figures), list(judged)


def candidate(made: pd.DataFrame) -> pd.DataFrame:
    return window(made, 42, 56)


@pytest.mark.parametrize(
    ("metric", "column", "of"),
    [
        ("failure_rate", "is_failure", "mean"),
        ("refusal_flag", "refusal_flag", "mean"),
        ("cost_usd_per_interaction", "cost_usd", "mean"),
        ("response_quality_score", "response_quality_score", "mean"),
        ("latency_ms_p95", "latency_ms", "p95"),
    ],
)
@pytest.mark.parametrize(
    "when", [{}, {"use_case": "coding"}, {"use_case": "coding", "channel": "web"}]
)
def test_the_figure_is_that_of_plain_pandas(
    tmp_path: Path, metric: str, column: str, of: str, when: dict[str, str]
) -> None:
    made = rows()
    (figure,), (check,) = found(
        made, tmp_path, {"name": "t", "metric": metric, "max": 1e9, "when": when}
    )
    held = candidate(made)
    for name, value in when.items():
        held = held[held[name] == value]
    assert figure.reason is None
    assert figure.figure.support == len(held)
    assert figure.figure.value is not None
    if of == "mean":
        assert figure.figure.value == pytest.approx(held[column].mean(), rel=1e-6)
    else:
        exact = np.quantile(held[column], 0.95, method="inverted_cdf")
        assert figure.figure.value == pytest.approx(exact, rel=0.01)
    assert figure.figure.low is not None
    assert figure.figure.high is not None
    assert figure.figure.low < figure.figure.value < figure.figure.high
    assert (check.outcome, check.view) == ("pass", "gate")


def test_all_traffic_has_the_figures_and_limits_of_the_health_page(tmp_path: Path) -> None:
    made = rows()
    names = ("failure_rate", "latency_breach_rate", "cost_usd_per_interaction", "latency_ms_p99")
    given = policy(
        windows=WINDOWS,
        gate={"thresholds": [{"name": n, "metric": n, "max": 1e9} for n in names]},
    )
    with opened(made, tmp_path, given) as telemetry:
        section = health.assess(telemetry, given).section
        figures, _ = checks(telemetry, given)
    for figure in figures:
        assert figure.figure == getattr(section.candidate, figure.name)


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [({"max": 0.2}, "pass"), ({"max": 0.02}, "fail"), ({"max": 0.08}, "inconclusive"),
     ({"min": 0.02}, "pass"), ({"min": 0.2}, "fail"), ({"min": 0.08}, "inconclusive")],
)  # fmt: skip
def test_the_interval_decides(tmp_path: Path, limit: dict[str, float], outcome: str) -> None:
    _, (check,) = found(rows(), tmp_path, {"name": "t", "metric": "failure_rate", **limit})
    assert check.outcome == outcome
    assert check.id == "threshold.t"
    assert check.severity == "hold"
    assert (check.reason is None) == (outcome != "inconclusive")


@pytest.mark.parametrize(
    ("threshold", "reason"),
    [
        ({"metric": "nope"}, "no column nope"),
        ({"metric": "channel"}, "neither a number nor a flag"),
        ({"metric": "session_id"}, "neither a number nor a flag"),
        ({"metric": "failure_rate", "when": {"planet": "mars"}}, "no column planet"),
        ({"metric": "failure_rate", "when": {"channel": "mars"}}, "no interaction"),
        ({"metric": "latency_ms_p99", "when": {"channel": "mars"}}, "no interaction"),
        ({"metric": "failure_rate", "max": 0.001, "when": {"channel": "mobile"}}, None),
    ],
)
def test_what_cannot_be_told_says_why(
    tmp_path: Path, threshold: dict[str, Any], reason: str | None
) -> None:
    _, (check,) = found(rows(), tmp_path, {"name": "t", "max": 0.5, **threshold})
    if reason is None:
        assert check.outcome == "fail"
        return
    assert check.outcome == "inconclusive"
    assert reason in str(check.reason)
    assert check.value is None


def test_a_slice_too_small_to_hold_ten_failures_is_not_judged(tmp_path: Path) -> None:
    made = rows()
    made["channel"] = np.where(np.arange(len(made)) % 60 == 0, "rare", "web")
    _, (check,) = found(
        made, tmp_path,
        {"name": "t", "metric": "failure_rate", "max": 0.03, "when": {"channel": "rare"}},
    )  # fmt: skip
    assert check.outcome == "inconclusive"
    assert "clusters" in str(check.reason)


@pytest.mark.parametrize("value", ["{x}", "{}", "a 'quoted' one", "100 % {{", '"'])
def test_a_slice_may_be_called_anything(tmp_path: Path, value: str) -> None:
    made = rows()
    made["channel"] = np.where(made["channel"] == "web", value, made["channel"])
    metrics = ("failure_rate", "latency_ms_p95")
    figures, _ = found(
        made, tmp_path,
        *({"name": m, "metric": m, "max": 1e9, "when": {"channel": value}} for m in metrics),
    )  # fmt: skip
    held = candidate(made)["channel"] == value
    assert [f.figure.support for f in figures] == [held.sum()] * 2


def test_thresholds_of_rates_and_means_are_one_reduction(tmp_path: Path) -> None:
    given = policy(
        windows=WINDOWS,
        gate={"thresholds": [
            {"name": f"t{k}", "metric": m, "max": 1, "when": {"channel": c}}
            for k, (m, c) in enumerate([("failure_rate", "web"), ("failure_rate", "api"),
                                        ("refusal_flag", "web"), ("response_quality_score", "api")])
        ]},
    )  # fmt: skip
    with opened(rows(), tmp_path, given) as telemetry:
        asked: list[str] = []
        create = telemetry.engine.create

        def seen(name: str, statement: str, *more: Any, **options: Any) -> Any:
            asked.append(name)
            return create(name, statement, *more, **options)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(telemetry.engine, "create", seen)
            checks(telemetry, given)
    assert len(asked) == 1


def test_numbers_that_no_integer_holds_are_no_values(tmp_path: Path) -> None:
    made = rows()
    made["odd"] = np.where(np.arange(len(made)) % 2, 1e300, 0.5)
    (figure,), _ = found(
        made, tmp_path, {"name": "t", "metric": "odd", "max": 1.0},
        drift={"columns": ["odd"]},
    )  # fmt: skip
    assert figure.figure.value == pytest.approx(0.5)


def test_a_rate_at_its_limit_fails_and_passes_at_their_nominal_rates(tmp_path: Path) -> None:
    """2.5 % each way are promised; users are alike, so that rows alone would promise too much."""
    replicates, failed, passed = 60, 0, 0
    rng = np.random.default_rng(3)
    for k in range(replicates):
        made = traffic(900, seed=k, per_session=3)
        users = made["user_id"].unique()
        own = pd.Series(rng.beta(0.9, 8.1, len(users)), index=users)
        made["is_failure"] = rng.random(len(made)) < made["user_id"].map(own).to_numpy()
        _, (check,) = found(
            made, tmp_path / str(k), {"name": "t", "metric": "failure_rate", "max": 0.1}
        )
        failed += check.outcome == "fail"
        passed += check.outcome == "pass"
    most = 0.025 + 1.645 * math.sqrt(0.025 * 0.975 / replicates)
    assert failed / replicates <= most
    assert passed / replicates <= most


def test_what_is_named_by_a_threshold_is_read(tmp_path: Path) -> None:
    made = rows().rename(columns={"response_quality_score": "my_score"})
    (figure,), _ = found(made, tmp_path, {"name": "t", "metric": "my_score", "min": 0.1})
    assert figure.figure.value == pytest.approx(candidate(made)["my_score"].mean(), rel=1e-6)
    assert figure.columns == ("my_score",)
