"""Which model and which calibration are chosen, and that a service scores as the view does."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from scipy import special

from analysis.stats.isotonic import Isotonic
from analysis.views import triage_boosted, triage_logistic
from analysis.views.triage_columns import (
    FeatureColumn,
    implausible,
    past_columns,
    sources,
)
from analysis.views.triage_portable import portable
from analysis.views.triage_reasons import reasons
from analysis.views.triage_risk import (
    MAX_RISK,
    RiskModel,
    Sigmoid,
    _mean,
    _surely_less,
    calibrated,
    halves,
    rounded_risk,
)
from analysis.views.triage_users import UserPrior
from tests.views.apply_triage_policy import risk as applied

DAY = 86_400_000_000
COLUMNS = (
    FeatureColumn("flagged", "category"),
    FeatureColumn("latency", "number"),
    FeatureColumn("tokens", "number"),
    FeatureColumn("use", "category"),
    *past_columns(
        (
            "past_session_interactions",
            "past_session_gap_us",
            "past_user_labelled",
            "past_user_failures",
        ),
        UserPrior(0.1, 10.0),
    ),
)


def world(n: int, seed: int, bend: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Risks linear in a latency, and with `bend` not so."""
    rng = np.random.default_rng(seed)
    labelled = rng.integers(0, 30, n)
    frame = pd.DataFrame(
        {
            "flagged": rng.random(n) < 0.3,
            "latency": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "tokens": rng.integers(1, 4000, n),
            "use": pd.Series(rng.choice(["a", "b “quoted”", "=c"], n)),
            "past_session_interactions": rng.integers(0, 4, n),
            "past_session_gap_us": np.where(rng.random(n) < 0.5, np.nan, rng.integers(1, 10**9, n)),
            "past_user_labelled": labelled,
            "past_user_failures": rng.binomial(labelled, 0.1),
            "ts_us": 20_000 * DAY + np.sort(rng.random(n) * 28 * DAY).astype(np.int64),
            "cluster_id": [f"u{k // 3}" for k in range(n)],
        }
    )
    frame["use"] = frame["use"].where(rng.random(n) > 0.02, None)
    late = np.nan_to_num(frame["latency"].to_numpy())
    score = -2.0 + late + bend * np.where(np.abs(late) > 1, 2.0, -1.0)
    return frame, rng.random(n) < special.expit(score)


def learned(n: int = 12_000, seed: int = 1, bend: float = 0.0) -> tuple[RiskModel, list[Any]]:
    frame, y = world(n, seed, bend)
    fit = np.arange(n) < 2 * n // 3
    prior = UserPrior(float(y[fit].mean()), 10.0)
    rows = prior.added(frame[fit])
    scorers = (
        triage_logistic.fit(rows, y[fit], COLUMNS),
        triage_boosted.fit(rows, y[fit], COLUMNS, rows["cluster_id"]),
    )
    rest = frame[~fit].reset_index(drop=True)
    moments = rest["ts_us"].to_numpy()
    model, tried = calibrated(scorers, rest, y[~fit], moments, prior)
    return model, list(tried)


@dataclasses.dataclass(frozen=True)
class _Given:
    """A scorer whose scores are known."""

    scores: np.ndarray
    kind: Literal["logistic"] = "logistic"
    sources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def log_odds(self, frame: pd.DataFrame) -> np.ndarray:
        return self.scores

    def contributions(self, frame: pd.DataFrame) -> list[Any]:
        return []


class TestChoice:
    def test_the_least_log_loss_is_chosen_of_calibrations_that_stand(self) -> None:
        for bend in (0.0, 1.0):
            model, tried = learned(bend=bend)
            own = [t for t in tried if t.kind == model.scorer.kind]
            assert model.calibrated_by in {t.calibration for t in own}
            loss = next(t.log_loss for t in own if t.calibration == model.calibrated_by)
            others = {t.kind: t.log_loss for t in tried if t.calibration == "platt"}
            assert all(loss <= other for other in others.values())

    def test_the_sigmoid_stays_where_isotonic_is_not_surely_better(self) -> None:
        y = np.tile([True, False, False, False], 100)
        even = np.full(400, 0.5)
        hair = even - np.where(np.arange(400) % 2, 0.4, -0.399)
        assert _mean(hair) < _mean(even)
        assert not _surely_less(hair, even)
        assert _surely_less(even - 0.1 - 0.1 * y, even)
        assert not _surely_less(None, even)

    def test_a_score_that_no_sigmoid_fits_takes_isotonic(self) -> None:
        rng = np.random.default_rng(5)
        n = 12_000
        score = rng.normal(size=n)
        y = rng.random(n) < np.where(score > 1.0, 0.6, 0.05)
        frame = pd.DataFrame({"past_user_labelled": np.zeros(n), "past_user_failures": np.zeros(n)})
        ts = np.sort(rng.integers(0, 28 * DAY, n))
        model, _ = calibrated([_Given(score)], frame, y, ts, UserPrior(0.1, 10.0))
        assert model.calibrated_by == "isotonic"

    def test_a_bend_needs_the_boosted_model(self) -> None:
        assert learned(bend=1.5)[0].scorer.kind == "boosted"

    def test_what_is_linear_needs_no_more(self) -> None:
        kinds = [learned(n=6000, seed=seed)[0].scorer.kind for seed in range(6)]
        assert kinds.count("logistic") >= 4

    def test_risks_are_calibrated_on_fresh_rows(self) -> None:
        model, _ = learned(n=30_000, bend=1.0)
        frame, y = world(100_000, 9, bend=1.0)
        risk = model.risk(frame)
        bins = np.array_split(np.argsort(risk, kind="stable"), 10)
        gaps = [abs(risk[b].mean() - y[b].mean()) for b in bins]
        assert np.mean(gaps) < 0.01

    def test_halves_part_days_and_rows(self) -> None:
        rng = np.random.default_rng(3)
        ts = (rng.random(5000) * 10 * DAY).astype(np.int64)
        early, late = halves(ts)
        assert (early ^ late).all()
        assert set(ts[early] // DAY).isdisjoint(ts[late] // DAY)
        assert ts[early].max() < ts[late].min()
        assert 0.35 < early.mean() < 0.65

    def test_too_few_labels_leave_the_simple_model(self) -> None:
        frame, y = world(400, 4)
        prior = UserPrior(0.1, 10.0)
        scorers = (
            triage_logistic.fit(prior.added(frame), y, COLUMNS),
            triage_boosted.fit(prior.added(frame), y, COLUMNS, frame["cluster_id"]),
        )
        few = np.arange(400) < 30
        rows = frame[few]
        model, tried = calibrated(scorers, rows, y[few], rows["ts_us"].to_numpy(), prior)
        assert (model.scorer.kind, model.calibrated_by, tried) == ("logistic", "platt", ())


class TestRisk:
    def test_no_risk_reaches_one(self) -> None:
        found = rounded_risk(np.array([-0.1, 0.0, 0.12345678, 1.0, 2.0]))
        assert found.tolist() == [0.0, 0.0, 0.123457, MAX_RISK, MAX_RISK]

    def test_users_without_labels_have_the_rate_of_all(self) -> None:
        frame = pd.DataFrame(
            {"past_user_labelled": [0, 10, None], "past_user_failures": [0, 5, None]}
        )
        rates = UserPrior(0.1, 10.0).added(frame)["past_user_failure_rate"]
        assert rates.tolist() == pytest.approx([0.1, 0.3, 0.1])

    @pytest.mark.parametrize("seed", range(5))
    def test_where_users_do_not_differ_their_rates_are_left_out(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labelled = rng.integers(0, 60, 8000)
        frame = pd.DataFrame(
            {"past_user_labelled": labelled, "past_user_failures": rng.binomial(labelled, 0.1)}
        )
        prior = UserPrior.learn(frame, rng.random(8000) < 0.1)
        assert prior.rows is None
        assert prior.added(frame) is frame

    @pytest.mark.parametrize("rows", [5.0, 20.0])
    def test_how_much_users_differ_is_learnt(self, rows: float) -> None:
        rng = np.random.default_rng(1)
        labelled, own = rng.integers(0, 60, 20_000), rng.beta(0.1 * rows, 0.9 * rows, 20_000)
        frame = pd.DataFrame(
            {"past_user_labelled": labelled, "past_user_failures": rng.binomial(labelled, own)}
        )
        found = UserPrior.learn(frame, rng.random(20_000) < own).rows
        assert found is not None
        assert 0.4 * rows <= found <= 2.5 * rows

    def test_the_past_is_read_by_its_sources(self) -> None:
        assert sources([c.name for c in COLUMNS])[-4:] == [
            "past_session_interactions", "past_session_gap_us",
            "past_user_failures", "past_user_labelled",
        ]  # fmt: skip


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
@pytest.mark.parametrize("how", ["platt", "isotonic"])
def test_a_service_scores_alike_by_the_file_alone(kind: str, how: str) -> None:
    frame, y = world(6000, 5, bend=1.0)
    prior = UserPrior(float(y.mean()), 10.0)
    rows = prior.added(frame)
    scorer = (
        triage_logistic.fit(rows, y, COLUMNS)
        if kind == "logistic"
        else triage_boosted.fit(rows, y, COLUMNS, rows["cluster_id"])
    )
    calibration = (
        Sigmoid(0.9, -0.1) if how == "platt" else Isotonic((-4.0, -1.0, 2.0), (0.01, 0.2, 0.7))
    )
    model = RiskModel(scorer, calibration, prior)
    text = portable(
        model,
        label="is_failure",
        decide_at="response",
        mode="selective",
        threshold=0.1,
        release="r",
    )
    policy = json.loads(text)
    assert text.isascii()
    fresh, _ = world(300, 6)
    fresh.loc[:3, "use"] = ["never seen", None, "=c", "a"]
    ours = model.risk(fresh)
    for k, row in enumerate(fresh.to_dict("records")):
        plain = {
            str(name): None if value is None or value != value else value
            for name, value in row.items()
        }
        plain["ts_us"] = int(row["ts_us"])
        assert applied(policy, plain) == pytest.approx(ours[k], abs=1.01e-6)


class TestReasons:
    def test_they_name_what_raises_the_risk(self) -> None:
        model, _ = learned(bend=1.0)
        frame, _ = world(500, 8)
        frame["latency"] = 2.5
        told = reasons(model, frame)
        assert all(t.split(";")[0].startswith("latency 2.5") for t in told)
        frame["latency"] = -0.5
        first = [t.split(";")[0] for t in reasons(model, frame)]
        assert np.mean([t.startswith("latency -0.5") for t in first]) < 0.1

    def test_they_are_the_largest_contributions(self) -> None:
        model, _ = learned()
        frame, _ = world(50, 9)
        terms = model.contributions(frame)
        for row, text in enumerate(reasons(model, frame, most=2)):
            order = sorted(range(len(terms)), key=lambda k: -terms[k][1][row])
            expected = [k for k in order[:2] if round(terms[k][1][row], 6) > 0.01]
            assert len([t for t in text.split("; ") if t]) == len(expected)

    def test_no_row_no_reason(self) -> None:
        model, _ = learned(n=3000)
        frame, _ = world(5, 1)
        assert reasons(model, frame.head(0)) == []


class TestImplausible:
    @pytest.mark.parametrize("kind", ["number", "category"])
    def test_a_column_that_knows_the_label_is_told(self, kind: str) -> None:
        frame, y = world(4000, 2)
        rng = np.random.default_rng(0)
        knows = np.where(rng.random(4000) < 0.98, y, ~y)
        frame["leak"] = knows.astype(float) if kind == "number" else np.where(knows, "x", "y")
        clusters = np.arange(4000) // 3
        found = implausible(frame, y, clusters, (*COLUMNS[:4], FeatureColumn("leak", kind)))  # type: ignore[arg-type]
        assert [f.column for f in found] == ["leak"]
        assert found[0].roc_auc >= 0.95

    def test_neither_many_values_nor_honest_columns_are(self) -> None:
        frame, y = world(4000, 2, bend=2.0)
        frame["id"] = [f"v{k}" for k in range(4000)]
        clusters = np.arange(4000) // 3
        assert (
            implausible(frame, y, clusters, (*COLUMNS[:4], FeatureColumn("id", "category"))) == ()
        )

    def test_without_two_classes_there_is_nothing_to_tell(self) -> None:
        frame, _ = world(100, 2)
        assert implausible(frame, np.zeros(100, dtype=bool), np.arange(100), COLUMNS[:4]) == ()


def test_the_model_is_frozen() -> None:
    model, _ = learned(n=3000)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.prior = UserPrior(0.2, None)  # type: ignore[misc]
