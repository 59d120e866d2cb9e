from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.check import Interval
from analysis.views.drift import assess
from analysis.views.drift_consequence import (
    MIN_CELL_ROWS,
    Consequence,
    consequence,
    consequence_table,
)
from analysis.views.drift_outcome import MetricChange
from analysis.views.drift_price import Priced
from tests.stats.kitagawa import RateChange, decompose_rate_change
from tests.telemetry.test_cell_sums import by_hand
from tests.views.test_drift import assessed, candidate, opened, policy, world

NO_BASELINE = {"windows": {"candidate": {"days": 14}, "baseline": "none"}}


def found_in(rows: pd.DataFrame, folder: Path, rules: Any = None, **more: Any) -> Consequence:
    telemetry = opened(rows, folder, rules or policy(), **more)
    try:
        found = consequence(telemetry, rules or policy(), None)
    finally:
        telemetry.close()
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    return found


def metric(found: Consequence, name: str) -> MetricChange:
    return next(m for m in found.metrics if m.metric == name)


def priced(found: Consequence, name: str) -> Priced:
    return next(p for p in found.priced if p.name == name)


def drifted(n_sessions: int = 3000, seed: int = 3) -> pd.DataFrame:
    """More coding (which fails more) in the candidate, other routing, cost, and a worse `large`."""
    rows = world(n_sessions, seed)
    rng = np.random.default_rng(seed + 1)
    new, n = candidate(rows).to_numpy(), len(rows)
    rows["use_case"] = np.where(rng.random(n) < np.where(new, 0.6, 0.4), "coding", "support")
    rows["model_name"] = np.where(rng.random(n) < np.where(new, 0.4, 0.6), "large", "small")
    coding, large = rows["use_case"] == "coding", rows["model_name"] == "large"
    p = 0.04 + 0.08 * coding + 0.12 * ~large + 0.06 * (large & new)
    rows["is_failure"] = rng.random(n) < p
    rows["failure_type"] = np.where(rows["is_failure"], "timeout", None)
    rows["cost_usd"] = np.round(rng.lognormal(-4, 0.5, n) * (1 + 2 * coding) * (1 + large), 6)
    return rows


def plain_split(rows: pd.DataFrame, folder: Path) -> RateChange:
    """The change of the failure rate from the single rows, without any of the engine's sums."""
    telemetry = opened(rows, folder, policy())
    try:
        fact = telemetry.engine.frame("SELECT * FROM fact")
    finally:
        telemetry.close()
    routing = policy().routing
    context, action = ([c for c in of if c in fact] for of in (routing.context, routing.action))
    found = decompose_rate_change(by_hand(fact, context, action), MIN_CELL_ROWS)
    assert found is not None
    return found


class TestMetrics:
    def test_parts_sum_to_the_change_of_every_metric(self, tmp_path: Path) -> None:
        found = found_in(drifted(), tmp_path)
        assert [m.metric for m in found.metrics] == ["failure", "latency_breach", "cost"]
        for m in found.metrics:
            parts = (m.mix_context.value, m.mix_action.value, m.within.value)
            assert m.reason is None
            assert sum(p or 0.0 for p in parts) == pytest.approx(m.total.value, abs=1e-13)
            for own in (m.total, m.mix, m.mix_context, m.mix_action, m.within):
                assert own.low is not None
                assert own.high is not None
                assert own.low <= (own.value or 0.0) <= own.high

    def test_values_are_those_of_the_plain_decomposition(self, tmp_path: Path) -> None:
        section = assessed(drifted(), tmp_path).section
        own, given = metric(section.consequence, "failure"), section.outcome_change
        plain = plain_split(drifted(), tmp_path / "b")
        assert own.n_cells == given.n_cells == plain.n_cells
        for name in ("total", "mix", "mix_context", "mix_action", "within"):
            assert getattr(own, name).value == pytest.approx(getattr(plain, name), abs=1e-14)
            assert getattr(given, name) == pytest.approx(getattr(plain, name), abs=1e-14)

    def test_planted_changes_are_seen(self, tmp_path: Path) -> None:
        own = metric(found_in(drifted(6000), tmp_path), "failure")
        assert (own.mix_context.low or 0) > 0
        assert (own.mix_action.low or 0) > 0  # the cheaper model fails more
        assert (own.within.low or 0) > 0

    def test_what_cannot_be_told_says_why(self, tmp_path: Path) -> None:
        rows = world(600).drop(columns="latency_ms")
        found = found_in(rows, tmp_path)
        assert metric(found, "latency_breach").reason == "the telemetry has no column latency_ms"
        assert metric(found, "cost").total == Interval.unknown()
        lacking = found_in(rows.drop(columns=["use_case", "account_tier"]), tmp_path / "b")
        own = metric(lacking, "failure")
        assert own.total.value is not None
        assert own.within.value is None
        assert "routing.context" in str(own.reason)
        assert priced(lacking, "availability").reason == own.reason

    def test_few_failures_leave_no_limits(self, tmp_path: Path) -> None:
        rows = world(600)
        rows["is_failure"] = rows.index < 3
        rows["failure_type"] = np.where(rows["is_failure"], "timeout", None)
        own = metric(found_in(rows, tmp_path), "failure")
        assert own.within.value is not None
        assert own.within.low is own.within.high is None
        assert "fewer than 10 clusters" in str(own.reason)

    def test_small_windows_leave_no_limits(self, tmp_path: Path) -> None:
        section = assessed(world(40), tmp_path).section
        own = metric(section.consequence, "failure")
        assert "effective clusters" in str(own.reason)
        assert own.total.low is None
        assert all(d.mix.low is None for d in section.consequence.dimensions)

    def test_a_first_release_has_none(self, tmp_path: Path) -> None:
        result = assessed(world(300), tmp_path, policy(**NO_BASELINE))
        assert result.section.consequence == Consequence()
        assert result.tables["drift_consequence.csv"].empty


class TestDimensions:
    def test_values_sum_to_the_whole_change_exactly(self, tmp_path: Path) -> None:
        rows = drifted()
        rng = np.random.default_rng(9)
        rows["region"] = rng.choice([f"r{i:02d}" for i in range(15)], len(rows))
        rows.loc[rng.random(len(rows)) < 0.05, "region"] = None
        found = found_in(rows, tmp_path)
        region = [d for d in found.dimensions if d.dimension == "region"]
        assert {d.metric for d in region} == {"failure", "latency_breach", "cost"}
        assert all(len(d.by_value) == 9 and d.by_value[-1].others for d in region)
        assert all(d.n_values == 16 for d in region)
        for d in found.dimensions:
            assert math.fsum(v.mix for v in d.by_value) == pytest.approx(d.mix.value, abs=1e-13)
            assert math.fsum(v.within for v in d.by_value) == pytest.approx(
                d.within.value, abs=1e-13
            )
            total = metric(found, d.metric).total.value
            assert d.total == pytest.approx(total, abs=1e-13)
            assert (d.mix.value or 0) + (d.within.value or 0) == pytest.approx(total, abs=1e-13)
            assert math.fsum(v.share_candidate for v in d.by_value) == pytest.approx(1.0)

    def test_the_cells_of_the_routing_are_one_more(self, tmp_path: Path) -> None:
        found = found_in(drifted(), tmp_path)
        cells, use_case = (d for d in found.dimensions[:4] if d.metric == "failure")
        assert cells.dimension == "use_case × account_tier × model_provider × model_name"
        assert use_case.dimension == "use_case"
        own = metric(found, "failure")
        for name in ("value", "low", "high"):
            assert getattr(cells.mix, name) == pytest.approx(getattr(own.mix, name), abs=1e-12)
        assert cells.within.value == pytest.approx(own.within.value, abs=1e-14)
        assert cells.n_values == own.n_cells
        assert {"coding", "free", "aurora", "large"} <= {
            part for v in cells.by_value if v.value for part in v.value.split(" · ")
        }

    def test_the_value_that_did_it_comes_first(self, tmp_path: Path) -> None:
        rows = drifted()
        api = candidate(rows) & (rows["channel"] == "api")
        rows.loc[api, "is_failure"] = np.random.default_rng(2).random(int(api.sum())) < 0.5
        rows["failure_type"] = np.where(rows["is_failure"], "timeout", None)
        found = found_in(rows, tmp_path)
        [channel] = [d for d in found.dimensions
                     if (d.dimension, d.metric) == ("channel", "failure")]  # fmt: skip
        first = channel.by_value[0]
        assert first.value == "api"
        assert first.within > 0.5 * (channel.within.value or 0.0)


class TestPrice:
    def test_old_rates_in_the_new_mix_by_hand(self, tmp_path: Path) -> None:
        rows = drifted()
        own = priced(found_in(rows, tmp_path), "availability")
        new = candidate(rows)
        context, cell = ["use_case", "account_tier"], ["use_case", "account_tier", "model_name"]
        for keys, part in ((context, own.traffic), (cell, own.mix)):
            old_rate = rows[~new].groupby(keys)["is_failure"].mean()
            share = rows[new].groupby(keys).size() / new.sum()
            expected = float((old_rate * share).sum()) / 0.05
            base = rows[~new]["is_failure"].mean() / 0.05
            assert part is not None
            assert part.unknown_share == 0.0
            assert part.value.value == pytest.approx(expected, abs=1e-12)
            assert part.added.value == pytest.approx(expected - base, abs=1e-12)
            assert (part.added.low or 0.0) < expected - base < (part.added.high or 0.0)
        assert own.candidate == pytest.approx(rows[new]["is_failure"].mean() / 0.05)

    def test_cells_that_the_baseline_lacks_are_unknown_and_limits_say_so(
        self, tmp_path: Path
    ) -> None:
        rows = drifted()
        new = candidate(rows)
        fresh = new & (np.random.default_rng(4).random(len(rows)) < 0.3)
        rows.loc[fresh, "use_case"] = "translation"
        found = found_in(rows, tmp_path)
        own = priced(found, "availability")
        assert own.traffic is not None
        lost = float(fresh.sum() / new.sum())
        assert own.traffic.unknown_share == pytest.approx(lost)
        value = own.traffic.value
        known = (value.value or 0.0) * (1 - lost)
        assert (value.low or 0.0) < known
        assert (value.high or 0.0) > known + lost / 0.05
        cost = priced(found, "cost")
        assert cost.mix is not None
        assert cost.mix.value.high is None
        capped = found_in(rows, tmp_path / "b", policy(spend={"unseen_cap_usd": 2.0}))
        mix = priced(capped, "cost").mix
        assert mix is not None
        assert (mix.value.high or 0.0) > 2.0 * lost

    def test_the_cost_a_day_is_that_of_the_candidates_volume_but_not_in_a_canary(
        self, tmp_path: Path
    ) -> None:
        rows = drifted()
        own = priced(found_in(rows, tmp_path), "cost")
        assert own.change_usd_per_day is not None
        assert own.mix is not None
        volume = candidate(rows).sum() / 14
        assert own.change_usd_per_day.value == pytest.approx((own.mix.added.value or 0.0) * volume)
        rows["release_id"] = np.where(candidate(rows), "new", "old")
        canary = policy(
            windows={"candidate": {"release_id": "new"}, "baseline": {"release_id": "old"}}
        )
        assert priced(found_in(rows, tmp_path / "b", canary), "cost").change_usd_per_day is None

    def test_an_slo_of_its_own_is_priced_too(self, tmp_path: Path) -> None:
        rules = policy(slos=[{"name": "slow", "bad": {"column": "latency_ms", "above": 900},
                              "target": 0.8},
                             {"name": "nowhere", "bad": "tool_error_flag", "target": 0.9}])  # fmt: skip
        found = found_in(world(600), tmp_path, rules)
        assert [p.name for p in found.priced] == ["slow"]
        assert found.priced[0].mix is not None
        assert metric(found, "latency_breach").reason == "the policy has no SLO named latency"


class TestLabelDelay:
    def late(
        self, hide: float, seed: int = 5, worse: float = 0.0
    ) -> tuple[pd.DataFrame, pd.Series]:
        """Labels of the candidate are late where the risk is high; all labels, for comparison."""
        rows = drifted(4000, seed)
        rng = np.random.default_rng(seed)
        new = candidate(rows)
        coding = rows["use_case"] == "coding"
        p = 0.04 + 0.16 * coding + worse * new
        rows["is_failure"] = rng.random(len(rows)) < p
        truth = rows["is_failure"].copy()
        hidden = new & (rng.random(len(rows)) < hide * np.where(coding, 1.5, 0.2))
        rows["is_failure"] = rows["is_failure"].astype(object).where(~hidden, None)
        rows["failure_type"] = None
        return rows, truth

    def test_the_estimate_covers_and_the_labelled_rate_alone_does_not(self, tmp_path: Path) -> None:
        rows, truth = self.late(0.3)
        own = found_in(rows, tmp_path).estimated
        assert own is not None
        new = candidate(rows)
        missing = new & rows["is_failure"].isna()
        assert (own.n_labelled, own.n_unlabelled) == (
            int((new & ~missing).sum()),
            int(missing.sum()),
        )
        assert own.labelled.value == pytest.approx(truth[new & ~missing].mean())
        assert own.whole.low is not None
        assert own.whole.high is not None
        assert own.whole.low < truth[new].mean() < own.whole.high
        assert (own.unlabelled.low or 0) < truth[missing].mean() < (own.unlabelled.high or 1)
        assert (own.labelled.value or 0) < own.whole.low
        assert own.check is not None
        assert own.check.holds
        assert own.reason is None
        assert own.new_share == 0.0

    def test_columns_that_outcomes_make_are_never_read(self, tmp_path: Path) -> None:
        rows, truth = self.late(0.3)
        rows["tool_error_flag"] = truth
        rows["user_feedback_score"] = np.where(truth, 1, 5)
        rows["label_available_utc"] = rows["timestamp_utc"]
        own = found_in(rows, tmp_path).estimated
        assert own is not None
        assert own.columns
        assert not {"is_failure", "failure_type", "tool_error_flag", "user_feedback_score",
                    "label_available_utc"} & set(own.columns)  # fmt: skip

    def test_a_change_within_fails_the_self_check(self, tmp_path: Path) -> None:
        own = found_in(self.late(0.3, worse=0.08)[0], tmp_path).estimated
        assert own is not None
        assert own.check is not None
        assert not own.check.holds
        assert (own.check.off.low or 0) > 0

    def test_with_every_label_there_only_the_check_is_left(self, tmp_path: Path) -> None:
        own = found_in(self.late(0.0)[0], tmp_path).estimated
        assert own is not None
        assert own.n_unlabelled == 0
        assert own.unlabelled.value is None
        assert own.whole.value is None
        assert own.check is not None
        assert own.reason is None

    def test_labels_that_come_after_as_of_are_missing(self, tmp_path: Path) -> None:
        rows, _ = self.late(0.0)
        rows["label_available_utc"] = rows["timestamp_utc"] + pd.Timedelta(days=3)
        as_of = rows["timestamp_utc"].max().ceil("D").to_pydatetime()
        own = found_in(rows, tmp_path, as_of=as_of).estimated
        assert own is not None
        assert own.n_unlabelled > 0
        assert own.unlabelled.value is not None

    def test_values_that_the_baseline_lacks_are_said(self, tmp_path: Path) -> None:
        rows, _ = self.late(0.3)
        missing = candidate(rows) & rows["is_failure"].isna()
        rows.loc[missing & (rows.index % 2 == 0), "channel"] = "fax"
        own = found_in(rows, tmp_path).estimated
        assert own is not None
        share = float((missing & (rows.index % 2 == 0)).sum() / missing.sum())
        assert own.new_share == pytest.approx(share)

    def test_a_baseline_without_failures_says_why_there_is_no_estimate(
        self, tmp_path: Path
    ) -> None:
        rows = world(600)
        rows["is_failure"] = False
        rows["failure_type"] = None
        own = found_in(rows, tmp_path).estimated
        assert own is not None
        assert "a risk model needs" in str(own.reason)


def test_neither_format_nor_order_of_rows_changes_a_digit(tmp_path: Path) -> None:
    rows = drifted(1500)
    plain = found_in(rows, tmp_path / "a")
    shuffled = found_in(rows.sample(frac=1.0, random_state=1), tmp_path / "b")
    assert dataclasses.asdict(plain) == dataclasses.asdict(shuffled)


def test_the_table_has_every_part(tmp_path: Path) -> None:
    found = found_in(drifted(1500), tmp_path)
    table = consequence_table(found)
    assert set(table["part"]) == {
        "total", "mix", "mix_context", "mix_action", "within", "mix_of_value", "within_value",
        "price_of_traffic", "price_of_traffic_and_routing",
    }  # fmt: skip
    whole = table[(table["metric"] == "failure") & table["dimension"].isna()]
    parts = whole.set_index("part")["effect"]
    assert parts["mix"] + parts["within"] == pytest.approx(parts["total"])


def test_nothing_of_it_gates(tmp_path: Path) -> None:
    telemetry = opened(drifted(1500), tmp_path)
    try:
        checks = assess(telemetry, policy()).checks
    finally:
        telemetry.close()
    assert {c.id for c in checks} == {"drift.high", "drift.medium", "drift.joint"}
