from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.policy import Policy
from analysis.views.budget import BudgetSection, assess
from analysis.views.result import ViewResult
from analysis.views.spend_drivers import MAX_MODELS, OTHERS, DriversSection
from tests.views.world import DAY, START, at, dated, evenly, events, opened, policy, traffic

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def assessed(
    rows: pd.DataFrame, folder: Path, rules: Policy | None = None
) -> ViewResult[BudgetSection]:
    with opened(rows, folder, rules) as telemetry:
        result = assess(telemetry, telemetry.policy)
    json.dumps(dataclasses.asdict(result.section), allow_nan=False)
    return result


def drivers_of(*given: Any, **more: Any) -> DriversSection:
    return assessed(*given, **more).section.drivers


def late(rows: pd.DataFrame, day: float = 42) -> pd.Series:
    return rows["timestamp_utc"] >= START + day * DAY


def cheaper_mix(rows: pd.DataFrame) -> pd.DataFrame:
    moved = late(rows) & (rows["model_name"] == "large") & (rows.index % 2 == 0)
    rows.loc[moved, "model_name"] = "small"
    rows.loc[moved, "cost_usd"] = (
        (rows["prompt_tokens"] + 2 * rows["completion_tokens"]) * 1_500 / 1e9
    )[moved]
    return rows


def longer_outputs(rows: pd.DataFrame) -> pd.DataFrame:
    extra = np.where(late(rows), 900, 0)
    price = np.where(rows["model_name"] == "large", 6_000, 1_500)
    return rows.assign(
        completion_tokens=rows["completion_tokens"] + extra,
        total_tokens=rows["total_tokens"] + extra,
        cost_usd=rows["cost_usd"] + 2 * extra * price / 1e9,
    )


def dearer(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(cost_usd=(rows["cost_usd"] * np.where(late(rows), 2, 1)).round(9))


def retried(rows: pd.DataFrame) -> pd.DataFrame:
    again = rows[late(rows)].copy()
    again["interaction_id"] = again["interaction_id"] + "r"
    again["retry_index"] = 1
    return pd.concat([rows.assign(retry_index=0), again], ignore_index=True)


def busier(rows: pd.DataFrame) -> pd.DataFrame:
    more = rows[late(rows)].copy()
    for column in ("interaction_id", "session_id"):
        more[column] = more[column] + "b"
    return pd.concat([rows, more], ignore_index=True)


class TestDrivers:
    @pytest.mark.parametrize(
        ("edit", "driver"),
        [(cheaper_mix, "mix"), (longer_outputs, "tokens"), (dearer, "price"),
         (retried, "retries"), (busier, "volume")],
    )  # fmt: skip
    def test_the_planted_cause_is_the_largest_driver(
        self, tmp_path: Path, edit: Edit, driver: str
    ) -> None:
        drivers = drivers_of(edit(traffic()), tmp_path)
        assert max(drivers.effects, key=lambda e: abs(e.usd_per_day)).driver == driver

    @pytest.mark.parametrize(
        ("why", "windows"),
        [("weeks", dated(0, 42, 56)), ("odd lengths", dated(5, 36, 46)),
         ("hours", dated(40, 50.25, 55.5)),
         ("an exclusion", {**dated(0, 42, 56),
                           "exclude": [{"start": at(3), "end": at(4, 5), "reason": "x"}]})],
    )  # fmt: skip
    def test_effects_and_slices_sum_to_the_change_exactly(
        self, tmp_path: Path, why: str, windows: dict[str, Any]
    ) -> None:
        result = assessed(longer_outputs(traffic()), tmp_path, policy(windows=windows))
        drivers = result.section.drivers
        change = drivers.change_nano_usd_days
        assert change is not None
        assert sum(e.nano_usd_days for e in drivers.effects) == change
        assert sum(e.nano_usd_days for e in drivers.by_slice) == change
        assert result.tables["spend_drivers.csv"]["nano_usd_days"].sum() == change
        assert sum(e.usd_per_day for e in drivers.effects) == pytest.approx(
            drivers.change_usd_per_day
        )

    def test_the_change_is_that_of_usd_a_day(self, tmp_path: Path) -> None:
        rows = dearer(traffic())
        new = rows[late(rows)]["cost_usd"].sum() / 14
        old = rows[~late(rows)]["cost_usd"].sum() / 42
        assert drivers_of(rows, tmp_path).change_usd_per_day == pytest.approx(new - old)

    def test_an_odd_baseline_is_weighted_by_weekday_and_its_exclusions_shorten_it(
        self, tmp_path: Path
    ) -> None:
        # The same cost on every day: whatever is left out, nothing changed.
        rows = events(evenly(56, 24), [False] * (56 * 24), cost_usd=0.1)
        exclude = [{"start": at(10), "end": at(11, 6), "reason": "incident"}]
        rules = policy(windows={**dated(5, 36, 46), "exclude": exclude})
        drivers = drivers_of(rows, tmp_path, rules)
        assert drivers.change_usd_per_day == pytest.approx(0.0, abs=1e-9)

    def test_a_new_model_is_mix(self, tmp_path: Path) -> None:
        rows = traffic()
        rows.loc[late(rows) & (rows["model_name"] == "large"), "model_name"] = "huge"
        drivers = drivers_of(rows, tmp_path)
        own = {
            (s.slice["model_name"], s.driver)
            for s in drivers.by_slice
            if s.slice["model_name"] in ("large", "huge")
        }
        assert own == {("large", "mix"), ("huge", "mix")}

    @pytest.mark.parametrize("column", ["cost_usd", "total_tokens"])
    def test_what_goes_missing_moves_no_other_driver(self, tmp_path: Path, column: str) -> None:
        rows = traffic()
        if column == "total_tokens":
            rows = rows.drop(columns=["prompt_tokens", "completion_tokens"])
        holes = rows.copy()
        gone = late(rows) & (np.random.default_rng(5).random(len(rows)) < 0.045)
        holes.loc[gone, column] = None
        before = drivers_of(rows, tmp_path / "a")
        after = drivers_of(holes, tmp_path / "b")
        old, new = ({e.driver: e.usd_per_day for e in d.effects} for d in (before, after))
        moved = {d: new[d] - old[d] for d in new}
        lost = rows["cost_usd"][gone].sum() / 14 if column == "cost_usd" else 0.0
        day = rows["cost_usd"][late(rows)].sum() / 14
        # Which rows go missing is chance: the mean of those that stay is known within its error.
        assert moved["unseen"] == pytest.approx(-lost, abs=0.004 * day)
        assert all(abs(v) < 0.008 * day for d, v in moved.items() if d != "unseen")
        assert sum(e.nano_usd_days for e in after.effects) == after.change_nano_usd_days

    def test_each_use_case_has_its_own_volume(self, tmp_path: Path) -> None:
        rows = traffic()
        more = rows[late(rows) & (rows["use_case"] == "coding")].copy()
        for column in ("interaction_id", "session_id"):
            more[column] = more[column] + "b"
        drivers = drivers_of(pd.concat([rows, more], ignore_index=True), tmp_path)
        effects = {(e.slice["use_case"], e.driver): e.usd_per_day for e in drivers.by_use_case}
        assert effects["coding", "volume"] > 5 * max(
            abs(v) for at, v in effects.items() if at != ("coding", "volume")
        )
        assert sum(e.nano_usd_days for e in drivers.by_use_case) == drivers.change_nano_usd_days

    def test_what_is_new_or_gone_is_named(self, tmp_path: Path) -> None:
        rows = traffic()
        rows.loc[late(rows) & (rows["model_name"] == "large"), "model_name"] = "huge"
        rows.loc[late(rows) & (rows.index % 10 == 0), "use_case"] = "agents"
        drivers = drivers_of(rows, tmp_path)
        cost = rows["cost_usd"][late(rows)]
        huge = cost[rows["model_name"] == "huge"].sum() / 14
        agents = cost[rows["use_case"] == "agents"].sum() / 14
        assert [(a.slice, a.usd_per_day) for a in drivers.new] == [
            ({"model_provider": "aurora", "model_name": "huge"}, pytest.approx(huge)),
            ({"use_case": "agents"}, pytest.approx(agents)),
        ]
        assert drivers.new[1].attempts == (late(rows) & (rows["use_case"] == "agents")).sum()
        (gone,) = drivers.gone
        old = rows["cost_usd"][~late(rows) & (rows["model_name"] == "large")].sum() / 42
        assert (gone.slice["model_name"], gone.usd_per_day) == ("large", pytest.approx(old))
        assert (drivers.n_new, drivers.n_gone) == (2, 1)

    def test_without_tokens_they_stand_under_price(self, tmp_path: Path) -> None:
        rows = longer_outputs(traffic()).drop(
            columns=["prompt_tokens", "completion_tokens", "total_tokens"]
        )
        drivers = drivers_of(rows, tmp_path)
        effects = {e.driver: e.usd_per_day for e in drivers.effects}
        assert effects["tokens"] == 0.0
        assert max(effects, key=lambda d: effects[d]) == "price"
        assert "no tokens" in (drivers.reason or "")

    def test_a_first_release_has_no_drivers(self, tmp_path: Path) -> None:
        rules = policy(windows={"candidate": {"days": 14}, "baseline": "none"})
        drivers = drivers_of(traffic(600), tmp_path, rules)
        assert drivers.effects == drivers.by_slice == ()
        assert "first release" in (drivers.reason or "")

    def test_models_without_a_name_are_one_slice(self, tmp_path: Path) -> None:
        rows = traffic(600)
        rows.loc[rows.index % 5 == 0, "model_name"] = None
        names = {s.slice["model_name"] for s in drivers_of(rows, tmp_path).by_slice}
        assert names == {"large", "small", None}

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("p", None), ("p", "\x00")),
            (("a\x1fb", "c"), ("a", "b\x1fc")),
            (("p", "x"), ("p", '"x"')),
        ],
        ids=["none and NUL", "a separator", "quotes"],
    )
    def test_no_model_passes_for_another_by_its_name(
        self, tmp_path: Path, one: tuple[str, str | None], other: tuple[str, str | None]
    ) -> None:
        rows = traffic(600)
        for k, column in enumerate(("model_provider", "model_name")):
            rows[column] = [(one, other)[n % 2][k] for n in range(len(rows))]
        drivers = drivers_of(rows, tmp_path)
        models = {(s.slice["model_provider"], s.slice["model_name"]) for s in drivers.by_slice}
        assert models == {one, other}
        change = rows["cost_usd"][late(rows)].sum() / 14 - rows["cost_usd"][~late(rows)].sum() / 42
        assert drivers.change_usd_per_day == pytest.approx(change)

    def test_beyond_the_limit_the_cheaper_models_are_taken_together(self, tmp_path: Path) -> None:
        rows = longer_outputs(traffic())
        rows["model_name"] = [f"model {k % 500}" for k in range(len(rows))]
        result = assessed(rows, tmp_path)
        drivers = result.section.drivers
        names = {s.slice["model_name"] for s in drivers.by_slice}
        assert len(names) == MAX_MODELS + 1
        assert OTHERS in names
        assert sum(e.nano_usd_days for e in drivers.by_slice) == drivers.change_nano_usd_days
        costs = rows.groupby("model_name")["cost_usd"].sum().sort_values(ascending=False)
        assert set(costs.index[: MAX_MODELS - 5]) <= names
        assert any("the other 300 are taken together" in note for note in result.notes)

    def test_the_order_of_rows_changes_nothing(self, tmp_path: Path) -> None:
        rows = traffic(600)
        first = assessed(rows, tmp_path / "a").section
        again = assessed(rows.sample(frac=1.0, random_state=2), tmp_path / "b").section
        assert first == again


def prices(change: float = 1.0, cached: float | None = 2.0) -> list[dict[str, Any]]:
    """List prices of both models; `large` costs `change` times as much from day 42 on."""

    def price(name: str, day: float, usd: float, **more: Any) -> dict[str, Any]:
        return {"model_name": name, "start": at(day), "prompt_usd_per_million": usd,
                "completion_usd_per_million": 2 * usd, "cached_usd_per_million": cached, **more}  # fmt: skip

    held = [price("large", -90, 6_000), price("small", -90, 1_500)]
    if change != 1.0:
        held.append(price("large", 42, 6_000 * change, model_provider="aurora"))
    return held


def at_list(rows: pd.DataFrame, change: float = 1.0, cached: float = 2.0) -> pd.DataFrame:
    """The rows at the cost that `prices` give."""
    usd = np.where(rows["model_name"] == "large", 6_000 * np.where(late(rows), change, 1), 1_500)
    kept = rows.get("cached_prompt_tokens", 0)
    nano = usd * (rows["prompt_tokens"] - kept + 2 * rows["completion_tokens"]) + cached * kept
    return rows.assign(cost_usd=(nano / 1e6 / 1e3).round(9))


class TestTokens:
    """Prompt, cached and completion tokens apart, with dated prices."""

    def by_token(self, drivers: DriversSection) -> dict[tuple[str, str], float]:
        held = {(e.token, e.driver): e.usd_per_day for e in drivers.by_token}
        assert sum(e.nano_usd_days for e in drivers.by_token) == drivers.change_nano_usd_days
        return held

    def test_longer_outputs_are_completion_tokens_and_no_price(self, tmp_path: Path) -> None:
        rows = longer_outputs(traffic())
        drivers = drivers_of(at_list(rows), tmp_path, policy(spend={"prices": prices()}))
        held = self.by_token(drivers)
        largest = max(held, key=lambda k: abs(held[k]))
        assert largest == ("completion", "tokens")
        assert all(abs(v) < 1e-9 * held[largest] for (_, d), v in held.items() if d == "price")
        # Without kinds of tokens, dearer ones pass for a price.
        price = next(e for e in drivers.effects if e.driver == "price").usd_per_day
        assert price > 0.05 * held[largest]
        assert drivers.unpriced == ()
        assert [(p.model_name, p.prompt_usd_per_million) for p in drivers.prices] == [
            ("large", 6_000),
            ("small", 1_500),
        ]

    def test_a_dearer_model_is_price_and_no_mix(self, tmp_path: Path) -> None:
        rows = at_list(traffic(), change=1.5)
        drivers = drivers_of(rows, tmp_path, policy(spend={"prices": prices(1.5)}))
        held = self.by_token(drivers)
        price = sum(v for (_, d), v in held.items() if d == "price")
        # Less than a third of the dearer model's new spend, for the log-mean lies between both.
        large = rows["cost_usd"][late(rows) & (rows["model_name"] == "large")].sum() / 14
        assert 0.2 * large < price < large / 3 + 0.15 * large
        assert price > 5 * abs(sum(v for (_, d), v in held.items() if d == "mix"))
        assert [p.start_utc for p in drivers.prices] == sorted(p.start_utc for p in drivers.prices)
        assert len(drivers.prices) == 3

    def test_caching_moves_tokens_from_one_price_to_another(self, tmp_path: Path) -> None:
        rows = traffic()
        rows["cached_prompt_tokens"] = np.where(late(rows), rows["prompt_tokens"] // 2, 0)
        drivers = drivers_of(at_list(rows), tmp_path, policy(spend={"prices": prices()}))
        held = self.by_token(drivers)
        assert held["prompt", "tokens"] < 0 < held["cached", "tokens"]
        assert abs(held["cached", "tokens"]) < 0.01 * abs(held["prompt", "tokens"])

    def test_a_model_without_a_price_is_listed_and_stays_whole(self, tmp_path: Path) -> None:
        rows = at_list(longer_outputs(traffic()))
        rules = policy(spend={"prices": [p for p in prices() if p["model_name"] == "large"]})
        drivers = drivers_of(rows, tmp_path, rules)
        assert [s["model_name"] for s in drivers.unpriced] == ["small"]
        assert {t for t, _ in self.by_token(drivers)} == {"prompt", "completion", "cached", "all"}
        later = [{**p, "start": at(20)} for p in prices()]
        drivers = drivers_of(rows, tmp_path / "b", policy(spend={"prices": later}))
        assert [s["model_name"] for s in drivers.unpriced] == ["large", "small"]
        assert {t for t, _ in self.by_token(drivers)} == {"all"}

    def test_without_prices_nothing_is_split(self, tmp_path: Path) -> None:
        drivers = drivers_of(traffic(600), tmp_path)
        assert drivers.by_token == drivers.prices == drivers.unpriced == ()

    @pytest.mark.parametrize("seed", range(6))
    def test_every_sum_is_exact_in_odd_worlds(self, tmp_path: Path, seed: int) -> None:
        """Nulls, free, new and gone models and use cases, a model whose cost is not known any more."""
        rng = np.random.default_rng(seed)
        rows = traffic(300, seed=seed)
        n = len(rows)
        rows["model_name"] = rng.choice(["large", "small", "free", None, "odd"], n)
        rows["use_case"] = rng.choice(["a", "b", None], n)
        rows.loc[late(rows) & (rows["model_name"] == "odd"), "model_name"] = "newer"
        rows.loc[~late(rows) & (rows["use_case"] == "b"), "use_case"] = "a"
        rows["cached_prompt_tokens"] = rows["prompt_tokens"] // rng.integers(1, 5, n)
        rows.loc[rows["model_name"] == "free", "cost_usd"] = 0.0
        for column in ("cost_usd", "prompt_tokens", "completion_tokens", "total_tokens",
                       "cached_prompt_tokens"):  # fmt: skip
            rows.loc[rng.random(n) < 0.1, column] = None
        rows.loc[late(rows) & (rows["model_name"] == "small"), "cost_usd"] = None
        rules = policy(missing={"max_rate": 0.9}, spend={"prices": prices(1.3)})
        drivers = drivers_of(rows, tmp_path, rules)
        change = drivers.change_nano_usd_days
        assert change is not None
        for parts in (drivers.effects, drivers.by_slice, drivers.by_use_case, drivers.by_token):
            assert sum(p.nano_usd_days for p in parts) == change
        own = {e.driver for e in drivers.by_slice if e.slice["model_name"] == "small"}
        assert own == {"unseen"}
