"""Health by model: the figures of each, which are new and gone, and how wide its intervals are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.check import Interval
from analysis.stats.intervals import clopper_pearson
from analysis.stats.moments import design_effect, intraclass_correlation
from analysis.telemetry import Metric
from analysis.views.health import HealthSection, assess
from analysis.views.health_models import FIGURES, ModelHealth
from tests.views.world import DAY, START, opened, policy, traffic, window


def models(
    rows: pd.DataFrame, folder: Path, **changes: Any
) -> tuple[HealthSection, dict[str | None, ModelHealth], pd.DataFrame]:
    with opened(rows, folder, policy(**changes)) as telemetry:
        result = assess(telemetry, telemetry.policy)
    found = {m.model_name: m for m in result.section.by_model}
    return result.section, found, result.tables.get("health_by_model.csv", pd.DataFrame())


def test_each_model_has_its_own_figures(tmp_path: Path) -> None:
    rows = traffic(2500, failure=0.1)
    rows.loc[(rows["model_name"] == "large") & (rows["timestamp_utc"] >= START + 42 * DAY),
             ["latency_ms", "cost_usd"]] *= [2.0, 3.0]  # fmt: skip
    rows["latency_ms"] = rows["latency_ms"].round(1)
    _, found, table = models(rows, tmp_path)
    assert list(found) == ["small", "large"]  # by rows of the candidate
    for name, model in found.items():
        own = rows[rows["model_name"] == name]
        old, new = window(own, 0, 42), window(own, 42, 56)
        assert (model.n, model.n_baseline) == (len(new), len(old))
        assert model.share == len(new) / len(window(rows, 42, 56))
        assert model.status == "both"
        assert model.model_provider == "aurora"
        assert model.candidate.failure_rate.value == new["is_failure"].mean()
        assert model.change.failure_rate.value == pytest.approx(
            new["is_failure"].mean() - old["is_failure"].mean(), rel=1e-9
        )
        assert model.candidate.latency_breach_rate.value == (new["latency_ms"] > 2200).mean()
        assert model.change.cost_usd_per_interaction.value == pytest.approx(
            new["cost_usd"].mean() / old["cost_usd"].mean(), rel=1e-6
        )
        assert model.candidate.latency_ms_p95.value == pytest.approx(
            new["latency_ms"].quantile(0.95, interpolation="inverted_cdf"), rel=0.01
        )
        assert model.candidate.failure_rate.support == len(new)
    large = found["large"].change
    assert large.cost_usd_per_interaction.low is not None
    assert large.cost_usd_per_interaction.low > 2.5
    assert large.latency_ms_p95.low is not None
    assert large.latency_ms_p95.low > 1.5
    assert table["model_name"].tolist() == ["small", "large"]
    assert table["cost_usd_per_interaction_change"].tolist() == [
        found[n].change.cost_usd_per_interaction.value for n in ("small", "large")
    ]


def test_a_rate_takes_its_correlation_from_the_whole_window(tmp_path: Path) -> None:
    # Users fail as a whole, in the one model; the other has three failures, each its own user's.
    rows = traffic(1500, failure=0.0)
    user = rows["user_id"].str[1:].astype(int)
    rows["is_failure"] = (user % 10 == 0) & (rows["model_name"] == "small")
    few = rows[(rows["model_name"] == "large") & (rows["timestamp_utc"] >= START + 43 * DAY)].index
    rows.loc[few[[3, 90, 150]], "is_failure"] = True
    with opened(rows, tmp_path, policy(cluster="user")) as telemetry:
        found = {m.model_name: m for m in assess(telemetry, telemetry.policy).section.by_model}
        whole = telemetry.moments([Metric.rate("f", "failure")])["f"].candidate
        large = "CASE WHEN model_name = 'large' THEN failure END"
        own = telemetry.moments([Metric.rate("f", large)])["f"].candidate
    rho = intraclass_correlation(whole)
    assert rho > 0.3 > intraclass_correlation(own)
    low, high = clopper_pearson(own.y, own.n, design_effect(own.n, own.nn, rho))
    held = found["large"].candidate.failure_rate
    assert (held.low, held.high) == (pytest.approx(low), pytest.approx(high))


def test_new_and_gone_models_are_told_apart(tmp_path: Path) -> None:
    rows = traffic(1200)
    late = rows["timestamp_utc"] >= START + 42 * DAY
    new = late & (rows["model_name"] == "large")
    rows["model_name"] = rows["model_name"].mask(new, "larger")
    rows["model_name"] = rows["model_name"].where(rows.index % 50 > 0, None)
    section, found, _ = models(rows, tmp_path)
    assert {n: m.status for n, m in found.items()} == {
        "small": "both", "larger": "new", "large": "gone", None: "both",
    }  # fmt: skip
    larger, large = found["larger"], found["large"]
    assert larger.baseline.failure_rate.value is None
    assert larger.change.failure_rate.value is None
    assert larger.candidate.failure_rate.value is not None
    assert large.candidate.failure_rate.value is None
    assert large.baseline.failure_rate.value is not None
    assert large.n == 0
    assert sum(m.n for m in section.by_model) == len(window(rows, 42, 56))


def test_beyond_twenty_models_the_rest_is_one(tmp_path: Path) -> None:
    rows = traffic(2000)
    rng = np.random.default_rng(2)
    weights = np.array([1.0 / (k + 1) for k in range(26)])
    rows["model_name"] = [f"m{k:02d}" for k in rng.choice(26, len(rows), p=weights / weights.sum())]
    section, found, _ = models(rows, tmp_path)
    assert len(section.by_model) == 21
    others = section.by_model[-1]
    assert (others.status, others.model_name, others.n_models) == ("others", "(all others)", 6)
    kept = [n for n in found if n != "(all others)"]
    rest = window(rows, 42, 56)
    rest = rest[~rest["model_name"].isin(kept)]
    assert others.n == len(rest)
    assert others.candidate.failure_rate.value == rest["is_failure"].mean()


@pytest.mark.parametrize(
    ("dropped", "unknown"),
    [("latency_ms", {"latency_breach_rate", "latency_ms_p95"}),
     ("cost_usd", {"cost_usd_per_interaction"})],
)  # fmt: skip
def test_what_the_telemetry_lacks_is_unknown(
    tmp_path: Path, dropped: str, unknown: set[str]
) -> None:
    _, found, _ = models(traffic(1500).drop(columns=dropped), tmp_path)
    for name in FIGURES:
        held: Interval = getattr(found["small"].candidate, name)
        assert (held.value is None) == (name in unknown)


def test_without_a_model_there_is_no_table(tmp_path: Path) -> None:
    rows = traffic(300).drop(columns=["model_name", "model_provider"])
    section, _, table = models(rows, tmp_path)
    assert section.by_model == ()
    assert table.empty


def test_a_first_release_has_no_change(tmp_path: Path) -> None:
    windows = {"candidate": {"days": 14}, "baseline": "none"}
    _, found, _ = models(traffic(600), tmp_path, windows=windows)
    assert {m.status for m in found.values()} == {None}
    assert found["small"].change.failure_rate.value is None
    assert found["small"].candidate.failure_rate.low is not None


def test_few_clusters_leave_the_cost_without_limits_and_say_so(tmp_path: Path) -> None:
    rows = traffic(900)
    large = rows["model_name"] == "large"
    rows.loc[large, "session_id"] = "s" + (rows.index[large] % 5).astype(str)
    rows.loc[large, "user_id"] = "u" + (rows.index[large] % 5).astype(str)
    windows = {"candidate": {"release_id": "b"}, "baseline": {"release_id": "a"}}
    rows["release_id"] = np.where(rows["timestamp_utc"] >= START + 42 * DAY, "b", "a")
    _, found, _ = models(rows, tmp_path, cluster="user", windows=windows)
    held = found["large"]
    assert held.change.cost_usd_per_interaction.value is not None
    assert held.change.cost_usd_per_interaction.low is None
    assert "5 effective clusters (candidate)" in (held.reason or "")
    assert found["small"].reason is None
