"""Heavy tails: who carries the cost, and which intervals rest on one cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from analysis.stats.clusters import mean_interval
from analysis.stats.moments import WindowMoments
from analysis.views.health import HealthSection, assess
from analysis.views.health_tails import DEAREST, LARGEST, SPEED
from tests.views.world import opened, policy, traffic, window


def section(rows: pd.DataFrame, folder: Path) -> tuple[HealthSection, tuple[str, ...]]:
    with opened(rows, folder, policy(cluster="user")) as telemetry:
        result = assess(telemetry, telemetry.policy)
    return result.section, result.notes


def top_share(cost: pd.Series) -> float:
    """The dearest 1 % of rows, the last of them in part."""
    dear = cost.sort_values(ascending=False).to_numpy()
    n = len(dear) / 100
    whole = int(n)
    return float((dear[:whole].sum() + (n - whole) * dear[whole]) / dear.sum())


@pytest.mark.parametrize(
    ("why", "sigma", "digits"),
    [("some", 0.5, 9), ("a heavy tail", 2.0, 9), ("ties", 1.0, 3), ("all the same", 0.0, 9)],
)
def test_the_share_of_the_dearest_is_exact(
    tmp_path: Path, why: str, sigma: float, digits: int
) -> None:
    rows = traffic(6800, days=56)
    draw = np.exp(np.random.default_rng(4).normal(-4, sigma, len(rows)))
    rows["cost_usd"] = np.maximum(draw.round(digits), 10.0**-digits)
    found, _ = section(rows, tmp_path)
    held = found.more[DEAREST]
    for win, part in (("baseline", window(rows, 0, 42)), ("candidate", window(rows, 42, 56))):
        one = getattr(held, win)
        assert one.value == pytest.approx(top_share(part["cost_usd"]), rel=1e-9)
        assert one.support == len(part)
        assert (one.low is None) == (len(part) < 10_000)
    assert held.change.value == pytest.approx(
        (held.candidate.value or 0) - (held.baseline.value or 0), abs=1e-12
    )


def test_its_interval_holds_the_truth_over_many_worlds() -> None:
    # One row a cluster, a hundred of them in the dearest 1 %, which tell of their own spread with an error:
    # 7 % at most, where 5 % is promised of many. Of a log-normal cost the share is Φ(σ − z).
    rng, missed, replicates, sigma = np.random.default_rng(9), 0, 400, 0.8
    truth = float(special.ndtr(sigma - special.ndtri(0.99)))
    for _ in range(replicates):
        cost = np.round(np.exp(rng.normal(0, sigma, 10_000)) * 1e6).astype(np.int64)
        q = int(np.sort(cost)[-(-99 * len(cost) // 100) - 1])
        y = [int(v) for v in 100 * np.maximum(cost - q, 0) + q]
        n = [int(v) for v in 100 * cost]
        m = WindowMoments(
            sum(n), sum(y), sum(v * v for v in n), sum(v * v for v in y),
            sum(a * b for a, b in zip(n, y, strict=True)), len(n), max(n), len(n),
        )  # fmt: skip
        _, low, high = mean_interval(m)
        missed += not low <= truth <= high
    assert missed / replicates <= 0.07 + 1.645 * (0.07 * 0.93 / replicates) ** 0.5


def test_the_largest_cluster_is_told_with_its_share(tmp_path: Path) -> None:
    rows = traffic(1500)
    found, notes = section(rows, tmp_path / "plain")
    new = window(rows, 42, 56)
    by_user = new.groupby("user_id")["cost_usd"].sum()
    assert found.more[LARGEST].candidate.value == pytest.approx(
        by_user.max() / by_user.sum(), rel=1e-6
    )
    assert found.more[LARGEST].candidate.low is None
    assert found.untrusted == ()
    assert not any("not to be trusted" in note for note in notes)


def test_an_interval_that_rests_on_one_cluster_is_not_to_be_trusted(tmp_path: Path) -> None:
    rows = traffic(1500)
    new = window(rows, 42, 56)
    one = new["user_id"].iloc[0]
    rows.loc[new.index[new["user_id"] == one], "cost_usd"] = 5.0
    found, notes = section(rows, tmp_path)
    cost = window(rows, 42, 56).groupby("user_id")["cost_usd"].agg(["sum", "size"])
    residual = (cost["sum"] - cost["sum"].sum() / cost["size"].sum() * cost["size"]) ** 2
    [held] = [u for u in found.untrusted if u.figure == "cost_usd_per_interaction"]
    assert held.window == "candidate"
    assert held.variance_share == pytest.approx(residual.max() / residual.sum(), rel=1e-6)
    assert held.variance_share > 0.9
    assert any(
        n.startswith("cost_usd_per_interaction: one cluster carries") and "candidate" in n
        for n in notes
    )


def test_tokens_a_second_are_a_ratio_of_totals_where_there_is_no_column(tmp_path: Path) -> None:
    rows = traffic(900)
    found, _ = section(rows, tmp_path / "a")
    new = window(rows, 42, 56)
    expected = new["completion_tokens"].sum() / (new["latency_ms"].sum() / 1e3)
    held = found.more[SPEED]
    assert held.candidate.value == pytest.approx(expected, rel=1e-9)
    assert held.candidate.support == len(new)
    assert held.change.low is not None
    given, _ = section(rows.assign(tokens_per_second=50.0), tmp_path / "b")
    assert given.more[SPEED].candidate.value == 50.0
    none, _ = section(rows.drop(columns="latency_ms"), tmp_path / "c")
    assert SPEED not in none.more


def test_too_few_rows_leave_the_share_unknown_and_say_so(tmp_path: Path) -> None:
    found, notes = section(traffic(300), tmp_path)
    assert found.more[DEAREST].candidate.value is None
    assert any("the dearest 1 % of the candidate window" in note for note in notes)
