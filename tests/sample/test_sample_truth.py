"""`truth.json` is right: against closed forms, other implementations, and the tables themselves."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from analysis import policy
from analysis.sample import World, generate, simulate
from analysis.sample.expectation import (
    ModelTotals,
    auc_of_risk,
    expect,
    population_stability_index,
    spend_drivers,
)
from analysis.sample.outcomes import draw_attempts
from analysis.sample.scenarios import HEALTHY, REGRESSED, Change
from analysis.sample.world import draw

CANDIDATE = pd.Timestamp("2026-11-02", tz="UTC")


@functools.cache
def world(name: str, count: int, seed: int) -> World:
    return generate(name, count, seed)


@functools.cache
def rows(name: str, count: int, seed: int) -> pd.DataFrame:
    made = world(name, count, seed)
    table = made.interactions.to_pandas()
    start = table.session_id.map(
        made.sessions.to_pandas().set_index("session_id").start_timestamp_utc
    )
    table["candidate"] = start >= CANDIDATE
    return table


def clustered(value: pd.Series, by: pd.Series) -> tuple[float, float]:
    """Mean and its standard error over clusters (ratio estimator)."""
    mean = value.mean()
    sums = (value - mean).groupby(by).sum()
    return mean, float(np.sqrt((sums**2).sum()) / len(value))


@pytest.mark.parametrize("name", ["healthy", "regressed"])
@pytest.mark.parametrize("window", ["baseline", "candidate"])
@pytest.mark.parametrize(
    "figure", ["failure_rate", "latency_breach_rate", "cost_usd_per_interaction"]
)
def test_the_tables_realise_the_true_rates(name: str, window: str, figure: str) -> None:
    """Within four clustered standard errors: 12 cases, so a false alarm once in 1,300 seeds."""
    table = rows(name, 100_000, 11)
    table = table[table.candidate == (window == "candidate")]
    table = table[table.is_failure.notna()]
    value = {
        "failure_rate": table.is_failure.astype(float),
        "latency_breach_rate": (table.latency_ms > 2200).astype(float),
        "cost_usd_per_interaction": table.cost_usd,
    }[figure]
    mean, error = clustered(value, table.user_id)
    assert abs(mean - world(name, 100_000, 11).truth["rates"][window][figure]) < 4 * error


def test_healthy_changes_nothing_and_stays_within_every_limit() -> None:
    truth = world("healthy", 100_000, 11).truth
    assert truth["expected"] == {"decision": "ship"}
    assert abs(truth["change"]["failure_rate"]) < 0.0015
    assert abs(truth["change"]["latency_breach_rate"]) < 0.0015
    assert truth["change"]["cost_usd_per_interaction"] == pytest.approx(1, abs=0.03)
    assert all(slo["burn_rate"]["candidate"] < 0.85 for slo in truth["slos"])
    assert truth["rates"]["candidate"]["usd_per_day"] / 5 < 50  # a fifth of it: 20,000 rows
    assert truth["hotspots"] == truth["drift"] == []


def test_tiny_is_expected_to_hold() -> None:
    assert world("tiny", 300, 1).truth["expected"] == {"decision": "hold"}


def test_regressed_blocks_by_a_material_rise_of_failure_and_not_of_latency() -> None:
    truth = world("regressed", 20_000, 1).truth
    before = truth["rates"]["baseline"]["failure_rate"]
    assert truth["expected"] == {"decision": "block"}
    assert truth["change"]["failure_rate"] > 3 * max(0.25 * before, 0.003)
    burns = {slo["name"]: slo["burn_rate"]["candidate"] for slo in truth["slos"]}
    assert burns["availability"] > 1.2
    assert burns["latency"] < 0.9


def test_the_hotspot_is_realised_where_the_truth_says_and_nowhere_else() -> None:
    (spot,) = world("regressed", 100_000, 11).truth["hotspots"]
    assert spot["slice"] == {"use_case": "coding", "scenario": "tool-use"}
    assert spot["ratio"] > 4
    table = rows("regressed", 100_000, 11)
    table = table[table.is_failure.notna()]
    here = (table.use_case == "coding") & (table.scenario == "tool-use")
    for part, figure in (
        (here & table.candidate, "value"),
        (here & ~table.candidate, "baseline_value"),
        (~here & table.candidate, "rest"),
    ):
        mean, error = clustered(table.is_failure[part].astype(float), table.user_id[part])
        assert abs(mean - spot[figure]) < 4 * error, figure
    share = (here & table.candidate).sum() / table.candidate.sum()
    assert share == pytest.approx(spot["traffic_share"], abs=0.01)


def test_the_cost_rise_comes_from_the_tokens_of_one_model() -> None:
    truth = world("regressed", 20_000, 1).truth
    assert 1.15 < truth["change"]["cost_usd_per_interaction"] < 1.25
    drivers = truth["spend"]["drivers_usd_per_day"]
    effects = drivers["effects"]
    assert sum(effects.values()) == pytest.approx(drivers["change"], rel=1e-6)
    others = [abs(v) for k, v in effects.items() if k != "tokens"]
    assert effects["tokens"] > 1.5 * max(others)
    rises = {m: v["candidate"] - v["baseline"] for m, v in drivers["by_model"].items()}
    assert rises["aurora-large"] > 0.8 * drivers["change"]
    table = rows("regressed", 100_000, 11)
    large = table[(table.model_name == "aurora-large")]
    logs = (
        np.log(large.completion_tokens)
        .groupby([large.use_case, large.candidate], observed=True)
        .mean()
        .unstack()
    )
    assert (logs[True] - logs[False]).mean() == pytest.approx(np.log(1.6), abs=0.03)


def test_the_channel_mix_drifts_by_the_stated_index() -> None:
    (drift,) = world("regressed", 100_000, 11).truth["drift"]
    assert 0.35 <= drift["psi"] <= 0.40
    table = rows("regressed", 100_000, 11)
    shares = table.groupby("candidate").channel.value_counts(normalize=True).unstack()
    before, after = shares.loc[False].to_numpy(), shares.loc[True].to_numpy()
    realised = float(((after - before) * np.log(after / before)).sum())
    assert realised == pytest.approx(drift["psi"], abs=0.05)


def test_routing_truth_agrees_with_running_the_policy_itself() -> None:
    """Serving the ruled traffic by the rule's model, on the same contexts, many times over.

    Random effects are drawn anew each run. A unit cost has a standard deviation below 11 USD: the
    bound is four standard errors of a mean over about 49,000 requests and eight runs.
    """
    s, seed, count = REGRESSED, 21, 200_000
    drawn = draw(s, count, seed)
    truth = world("regressed", count, seed).truth["routing"]
    requests, sessions = drawn.requests, drawn.sessions
    made = np.zeros(len(requests.session), dtype=bool)
    made[drawn.attempts.request] = True
    where = made & drawn.days.in_candidate[sessions.day[requests.session]]
    use_case = np.array([u.name for u in s.use_cases])[sessions.use_case[requests.session]]
    models = [m.name for m in s.models]
    for candidate in truth["candidates"]:
        (rule,) = candidate["policy"]["rules"]
        forced = drawn.propensity.copy()
        forced[use_case == rule["when"]["use_case"]] = np.eye(len(models))[
            models.index(rule["use"]["model_name"])
        ]
        values = []
        for run in range(8):
            rng = np.random.Generator(np.random.PCG64(run))
            users = replace(drawn.users, frailty=rng.standard_normal(len(drawn.users.frailty)))
            again = replace(sessions, frailty=rng.standard_normal(len(sessions.frailty)))
            ran = draw_attempts(
                s, users, again, requests, forced, drawn.potential, 10**9, 1000 + run
            )
            n = len(requests.session)
            cost = np.bincount(ran.request, weights=ran.cost_micro_usd / 1e6, minlength=n)
            last = np.r_[ran.request[1:] != ran.request[:-1], True]
            unit = cost
            unit[ran.request[last]] += 40 * ran.failure[last] + 5 * (
                ran.latency_tenths_ms[last] > 22_000
            )
            values.append(unit[where].mean())
        bound = 4 * 11.0 / np.sqrt(len(values) * where.sum())
        assert bound < 0.5 * abs(candidate["saving_usd"])
        assert abs(np.mean(values) - candidate["unit_cost_usd"]) < bound


def test_one_routing_candidate_is_truly_good_and_the_other_only_looks_good() -> None:
    good, bad = world("regressed", 20_000, 1).truth["routing"]["candidates"]
    assert (good["role"], bad["role"]) == ("good", "bad")
    assert good["saving_usd"] > 0.15
    assert good["propensity_of_target"]["min"] > 0.2
    assert bad["saving_usd"] < -0.1
    assert bad["naive_saving_usd"] > 0
    assert bad["cost_usd"] < world("regressed", 20_000, 1).truth["routing"]["on_policy"]["cost_usd"]


def test_the_candidates_are_written_as_the_policy_file_takes_them() -> None:
    stated = [c["policy"] for c in world("regressed", 20_000, 1).truth["routing"]["candidates"]]
    routing = policy.Routing.model_validate({"candidates": stated})
    assert [c.name for c in routing.candidates] == [p["name"] for p in stated]


@pytest.mark.parametrize(
    ("name", "low", "high"), [("healthy", 0.62, 0.70), ("regressed", 0.65, 0.74)]
)
def test_the_risk_signal_is_real_and_modest(name: str, low: float, high: float) -> None:
    auc = world(name, 20_000, 1).truth["risk"]["known_at_request"]["baseline_roc_auc"]
    assert low < auc < high


def test_the_area_of_a_known_risk_agrees_with_scikit_learn() -> None:
    risk = np.round(np.random.Generator(np.random.PCG64(4)).beta(1, 12, 500), 2)
    labels = np.r_[np.ones(500), np.zeros(500)]
    expected = roc_auc_score(labels, np.r_[risk, risk], sample_weight=np.r_[risk, 1 - risk])
    assert auc_of_risk(risk) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("risk", [[], [0.3], [0.2, 0.2], [0.0, 0.0]])
def test_a_risk_that_does_not_vary_has_no_area(risk: list[float]) -> None:
    assert auc_of_risk(np.array(risk)) is None


def test_the_stability_index_of_a_worked_example() -> None:
    before, after = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert population_stability_index(before, after) == pytest.approx(0.25 * np.log(3))


def totals(
    first: float, attempts: list[float], tokens: list[float], usd: list[float]
) -> ModelTotals:
    return ModelTotals(first, *(np.array(part, dtype=float) for part in (attempts, tokens, usd)))


@pytest.mark.parametrize(
    ("driver", "after"),
    [
        ("volume", totals(20, [10, 12], [200, 120], [2, 6])),
        ("tokens", totals(10, [5, 6], [200, 120], [2, 6])),
        ("price", totals(10, [5, 6], [100, 60], [2, 6])),
        ("retries", totals(5, [5, 6], [100, 60], [1, 3])),
    ],
    ids=["volume", "tokens", "price", "retries"],
)
def test_a_change_of_one_driver_is_laid_to_that_driver_alone(
    driver: str, after: ModelTotals
) -> None:
    before = totals(10, [5, 6], [100, 60], [1, 3])
    if driver == "retries":
        before = totals(5, [2.5, 3], [50, 30], [0.5, 1.5])
    effects = spend_drivers(before, after)
    assert effects is not None
    assert effects[driver] == pytest.approx(float(after.usd.sum() - before.usd.sum()))
    assert sum(abs(v) for k, v in effects.items() if k != driver) == pytest.approx(0, abs=1e-12)


def test_a_window_without_traffic_of_a_model_has_no_drivers() -> None:
    some = ModelTotals(1.0, np.array([1.0]), np.array([1.0]), np.array([1.0]))
    none = ModelTotals(0.0, np.array([0.0]), np.array([0.0]), np.array([0.0]))
    assert spend_drivers(some, none) is None


def test_chains_of_retries_have_their_closed_form() -> None:
    drawn = draw(HEALTHY, 50, 1)
    sure = replace(drawn.potential, failure=np.ones_like(drawn.potential.failure))
    r, f = HEALTHY.retries, HEALTHY.retries.failure
    e = expect(sure)
    assert np.allclose(e.attempts, 1 + r.first + r.first * f * r.second)
    recovered = r.first * (1 - f) + r.first * f * r.second * (1 - f)
    assert np.allclose(e.final_failure, 1 - recovered)
    assert np.allclose(e.failures, e.attempts - recovered)


def test_a_scenario_of_ones_own_is_a_small_override() -> None:
    drifted = replace(HEALTHY, name="drift-only", change=Change(channels=REGRESSED.change.channels))
    truth = simulate(drifted, 500, 2).truth
    assert [d["feature"] for d in truth["drift"]] == ["channel"]
    assert [p["kind"] for p in truth["planted"]] == ["drift", "risk_signal"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_world_of_a_few_rows_has_a_truth_with_nulls_where_nothing_is_known(count: int) -> None:
    truth = generate("regressed", count, 1).truth
    total = sum(w["n_interactions"] for w in truth["windows"].values())
    assert total == count
    if count == 1:
        assert truth["rates"]["baseline"]["failure_rate"] is None
