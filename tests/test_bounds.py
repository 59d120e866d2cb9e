"""Worst-case bounds: the truth lies within them, whatever is hidden, lost or broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import bounds
from analysis import review as reviews
from analysis.contract import INTERACTIONS
from analysis.errors import ContractError, WindowError
from analysis.policy import Policy
from analysis.telemetry import Telemetry, open_telemetry
from analysis.telemetry.unknown import count_unknown, taken_as
from analysis.views import budget, health
from analysis.views.contract import BoundsInfo, UnknownInfo, bounds_check
from analysis.views.health import Figures
from analysis.views.health_quantiles import QUANTILES
from analysis.views.result import ViewResult
from tests.damage import LABELS, SLOS, WAYS, Damage, complete, hide
from tests.end_to_end.promises import broken as broken_promises
from tests.telemetry.worlds import CONTRACT, MONDAY, World
from tests.views.world import opened as traffic_opened
from tests.views.world import policy as traffic_policy
from tests.views.world import traffic, written

Truth = Mapping[tuple[str, str], float | None]


def day(number: float) -> str:
    return (MONDAY + pd.Timedelta(days=number)).isoformat()


def dated(first: float, middle: float, last: float) -> dict[str, Any]:
    return {
        "baseline": {"start": day(first), "end": day(middle)},
        "candidate": {"start": day(middle), "end": day(last)},
    }


POLICIES: Mapping[str, dict[str, Any]] = {
    "whole days": dated(1, 7, 13),
    "weighted by weekday": dated(1, 10, 13),
    "within days": dated(1.3, 8.7, 12.9),
    "releases": {"baseline": {"release_id": "old"}, "candidate": {"release_id": "new"}},
    "a release and days": {
        "baseline": {"start": day(1), "end": day(5)},
        "candidate": {"release_id": "new"},
    },
    "first release": {"baseline": "none", "candidate": {"start": day(6), "end": day(13)}},
    "exclusions": {
        **dated(1, 7, 13),
        "exclude": [
            {"start": day(2.4), "end": day(3.2), "reason": "a"},
            {"start": day(8.9), "end": day(10.1), "reason": "b"},
        ],
    },
}


def policy(windows: Mapping[str, Any], **more: Any) -> Policy:
    return Policy.model_validate(
        {
            "windows": windows,
            "slos": SLOS,
            "spend": {"budget_usd_per_day": 10},
            "routing": {"bounds": {"cost_usd": (0, 2)}},
            "quarantine": {"allow": True, "max_share": 1},
            "missing": {"max_rate": 1},
            **more,
        }
    )


def opened(world: World, folder: Path, wanted: Policy, **options: Any) -> Telemetry:
    world.folder = folder
    return open_telemetry(world.write(), CONTRACT, wanted, threads=1, **options)


def assessed(telemetry: Telemetry) -> dict[str, ViewResult[Any]]:
    wanted = telemetry.policy
    return {
        "health": health.assess(telemetry, wanted),
        "budget": budget.assess(telemetry, wanted),
    }


def truth_of(telemetry: Telemetry) -> Truth:
    """Every headline figure, by name and window."""
    results = assessed(telemetry)
    section = results["health"].section
    out: dict[tuple[str, str], float | None] = {
        (name, window): getattr(getattr(section, window), name).value
        for name in Figures.__annotations__
        for window in ("baseline", "candidate", "change")
    }
    for slo in results["budget"].section.slos:
        out[f"{slo.name}_burn_rate", "candidate"] = slo.burn_rate.value
        out[f"{slo.name}_budget_consumed", "candidate"] = slo.budget_consumed
    out["usd_per_day", "candidate"] = results["budget"].section.spend.usd_per_day.value
    return out


def outside(truth: Truth, held: BoundsInfo, *, but: tuple[str, ...] = ()) -> list[str]:
    """Figures of the truth that their bounds do not hold."""
    out = []
    for one in held.figures:
        true = truth[one.figure, one.window]
        if true is None or one.figure.endswith(but):
            continue
        slack = 1e-9 * max(1.0, abs(true))
        if one.figure in QUANTILES and one.value is None:
            assert one.low is None
            assert one.high is None
        elif (one.low is None) != (one.high is None):
            assert one.figure in QUANTILES or one.value is None, one
        if one.low is not None and true < one.low - slack:
            out.append(f"{one}: {true}")
        if one.high is not None and true > one.high + slack:
            out.append(f"{one}: {true}")
    return out


def damaged(world: World, rng: np.random.Generator, ways: tuple[str, ...]) -> World:
    """The world after each of the ways, with shares and biases of their own."""
    broken = copy.deepcopy(world)
    for way in ways:
        share, bias = float(rng.choice([0.02, 0.1, 0.4])), int(rng.integers(-1, 2))
        WAYS[way](broken, Damage(rng, share if bias else 3 * share, bias))
    return broken


def check_one(seed: int, name: str, folder: Path, n_damages: int) -> int:
    """One world of which several damages are reviewed; how many of them were in the windows."""
    rng = np.random.default_rng(seed)
    world = complete(rng, folder)
    late = {"as_of": (MONDAY + pd.Timedelta(days=13)).to_pydatetime()} if seed % 2 else {}
    wanted = policy(POLICIES[name])
    telemetry = opened(copy.deepcopy(world), folder / "truth", wanted, **late)
    try:
        truth, spans = (
            truth_of(telemetry),
            (telemetry.windows.baseline, telemetry.windows.candidate),
        )
    finally:
        telemetry.close()
    compared = 0
    for number in range(n_damages):
        ways = tuple(rng.choice(list(WAYS), int(rng.integers(1, 4)), replace=False))
        broken = damaged(world, rng, ways)
        try:
            telemetry = opened(broken, folder / str(number), wanted, **late)
        except (ContractError, WindowError):  # nothing is left, of all or of a window
            continue
        try:
            held = bounds.assess(telemetry, wanted, assessed(telemetry))
            same = spans == (telemetry.windows.baseline, telemetry.windows.candidate)
        finally:
            telemetry.close()
        if held is None or not same:
            continue
        compared += 1
        # A budget goes by the rows' own times, which lost rows and broken times do not tell.
        timeless = {"drop", "drop sessions", "break cells", "break summaries", "lose names"}
        but = ("budget_consumed",) if timeless & set(ways) else ()
        wrong = outside(truth, held, but=but)
        assert not wrong, (seed, name, ways, wrong)
    return compared


@pytest.mark.parametrize("name", POLICIES)
def test_the_truth_lies_within_the_bounds(name: str, tmp_path: Path) -> None:
    assert check_one(sum(map(ord, name)), name, tmp_path, 2) > 0


@pytest.mark.simulate
@pytest.mark.parametrize("name", POLICIES)
def test_the_truth_lies_within_the_bounds_of_hundreds_of_worlds(name: str, tmp_path: Path) -> None:
    compared = sum(check_one(seed, name, tmp_path / str(seed), 4) for seed in range(1000, 1015))
    assert compared >= 40


def test_more_that_is_unknown_makes_no_bound_narrower(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    world, wanted = complete(rng, tmp_path), policy(POLICIES["weighted by weekday"])
    order = rng.permutation(300)
    before: BoundsInfo | None = None
    for step, share in enumerate((0.02, 0.1, 0.4)):
        some = copy.deepcopy(world)
        for column in LABELS:
            some.tables[INTERACTIONS].loc[order[: int(300 * share)], column] = None
        telemetry = opened(some, tmp_path / str(step), wanted)
        try:
            held = bounds.assess(telemetry, wanted, assessed(telemetry))
        finally:
            telemetry.close()
        assert held is not None
        if before is not None:
            assert held.n_interactions > before.n_interactions
            for old, new in zip(before.figures, held.figures, strict=True):
                if old.value is None or new.value is None:
                    continue
                assert new.low is None or old.low is None or new.low <= old.low + 1e-12, (old, new)
                assert new.high is None or (old.high is not None and new.high >= old.high - 1e-12)
        before = held


FILLS: Mapping[str, tuple[str, str]] = {
    "is_failure": ("true", "false"),
    "latency_ms": ("80000000", "0"),
    "cost_usd": ("2", "0"),
    "safety_flag": ("true", "false"),
    "response_quality_score": ("0", "1"),
    "final_resolution_state": ("lost", "solved"),
}


@pytest.mark.parametrize("name", ["weighted by weekday", "releases", "first release"])
@pytest.mark.parametrize("extreme", ["best", "worst"])
def test_an_extreme_is_the_review_of_a_world_in_which_the_unknown_were_so(
    name: str, extreme: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    world, wanted = complete(rng, tmp_path), policy(POLICIES[name], missing={"max_rate": 0.05})
    hide(world, Damage(rng, 0.2, 1))
    rows = world.tables[INTERACTIONS]
    # So that neither of both views leaves its extreme to what lies between the policy and the data.
    rows.loc[0, "cost_usd"], rows.loc[1, "cost_usd"] = "0", "2"
    telemetry = opened(world, tmp_path / "hidden", wanted)
    try:
        results = assessed(telemetry)
        held = bounds.assess(telemetry, wanted, results)
        count_unknown(telemetry)
        with taken_as(telemetry, "candidate" if extreme == "worst" else "baseline") as taken:
            there = health.assess(taken, wanted).checks
        with taken_as(telemetry, "all" if extreme == "worst" else "none") as taken:
            there += budget.assess(taken, wanted).checks
        windows = telemetry.engine.frame("SELECT interaction_id, win FROM fact").set_index(
            "interaction_id"
        )
    finally:
        telemetry.close()
    win = windows["win"].reindex(rows["interaction_id"]).astype("float64")
    bad = ((win == 1) if extreme == "worst" else (win == 0)).to_numpy()
    for column, (worse, better) in FILLS.items():
        unknown = rows[column].isna().to_numpy()
        rows.loc[unknown, column] = np.where(bad, worse, better)[unknown]
    telemetry = opened(world, tmp_path / "filled", wanted)
    try:
        found = assessed(telemetry)
        decided = bounds.decision(telemetry, wanted, {**results, **found}).outcome
    finally:
        telemetry.close()
    ours = {c.id: c for c in there if not c.id.endswith(".alerts")}
    theirs = {c.id: c for r in found.values() for c in r.checks if not c.id.endswith(".alerts")}
    if name == "releases":  # the span's spend is the baseline's too: each check at its own extreme
        del ours["budget.spend"], theirs["budget.spend"]
    assert ours == theirs
    assert held is not None
    assert getattr(held, extreme) == decided


# ── the check ────────────────────────────────────────────────────────────────────────────


def story(
    n: int, reviewed: str, best: str, worst: str, *, first: bool = False, absent: int = 0
) -> Any:
    side = UnknownInfo({"is_failure": n - absent}, absent, 0)
    held = BoundsInfo(n, absent, side, side, (), reviewed, best, worst)  # type: ignore[arg-type]
    window = SimpleNamespace(n_interactions=100)
    aside = {INTERACTIONS: absent} if absent else None
    telemetry = SimpleNamespace(candidate=window, baseline=None if first else window, aside=aside)
    return bounds_check(held, telemetry)  # type: ignore[arg-type]


STORIES = {
    "it stays": (
        story(2, "ship", "ship", "ship"),
        "pass",
        2 / 200,
        "2 interactions lack an outcome, a latency or a cost: taken as bad in the candidate and good in "
        "the baseline, or the other way round, the decision stays ship.",
    ),
    "one row flips it": (
        story(1, "ship", "ship", "hold"),
        "fail",
        1 / 200,
        "1 interaction lacks an outcome, a latency or a cost: taken as bad in the candidate and good in "
        "the baseline, the decision would be hold; the other way round, ship; as reviewed it is ship.",
    ),
    "a first release": (
        story(3, "hold", "ship", "hold", first=True),
        "fail",
        3 / 100,
        "3 interactions lack an outcome, a latency or a cost: taken as bad, the decision would be hold; "
        "taken as good, ship; as reviewed it is hold.",
    ),
    "a first release that stays": (
        story(1, "hold", "hold", "hold", first=True),
        "pass",
        1 / 100,
        "1 interaction lacks an outcome, a latency or a cost: taken as bad or good, the decision stays "
        "hold.",
    ),
    "with quarantine": (
        story(5, "block", "block", "block", absent=1),
        "pass",
        5 / 201,
        "5 interactions lack an outcome, a latency or a cost, or were set aside or lost: taken as bad in "
        "the candidate and good in the baseline, or the other way round, the decision stays block, "
        "contract.errors left aside.",
    ),
}


@pytest.mark.parametrize(
    ("check", "outcome", "value", "told"), STORIES.values(), ids=STORIES.keys()
)
def test_the_check_tells_what_the_extremes_would_be(
    check: Any, outcome: str, value: float, told: str
) -> None:
    assert check.sentence == told
    assert (check.outcome, check.severity) == (outcome, "note")
    assert check.value == pytest.approx(value)


def test_without_unknown_rows_the_check_passes(tmp_path: Path) -> None:
    with traffic_opened(traffic(300), tmp_path) as telemetry:
        assert bounds.assess(telemetry, telemetry.policy, assessed(telemetry)) is None
        check = bounds_check(None, telemetry)
    assert (check.outcome, check.value) == ("pass", 0)
    assert check.sentence == "Every row is there, and every outcome, latency and cost is known."


@pytest.mark.parametrize(
    ("share", "flips"), [(0.0005, False), (0.2, True)], ids=["too few to matter", "many"]
)
def test_many_unknown_rows_could_flip_a_decision_and_few_could_not(
    share: float, flips: bool, tmp_path: Path
) -> None:
    rows = traffic(2500).astype({"is_failure": object})
    hidden = np.random.default_rng(1).random(len(rows)) < share
    rows.loc[hidden, "is_failure"] = None
    with traffic_opened(rows, tmp_path) as telemetry:
        held = bounds.assess(telemetry, telemetry.policy, assessed(telemetry))
        assert held is not None
        check = bounds_check(held, telemetry)
    assert held.n_interactions == hidden.sum()
    assert (check.outcome == "fail") == flips
    if flips:
        assert held.worst == "block"


def test_the_policy_may_let_the_check_hold(tmp_path: Path) -> None:
    rows = traffic(600).astype({"is_failure": object})
    rows.loc[np.random.default_rng(1).random(len(rows)) < 0.3, "is_failure"] = None
    data = written(rows, tmp_path / "data")
    settings = traffic_policy().model_dump(mode="json", exclude_defaults=True)
    bodies = {}
    for severity in ("note", "hold", "block"):
        path = tmp_path / f"{severity}.yml"
        path.write_text(
            json.dumps({**settings, "gate": {"severity": {"contract.bounds": severity}}})
        )
        wanted = reviews.request(data=str(data), policy=path, threads=1)
        bodies[severity] = body = dict(reviews.compute(wanted).body)
        assert broken_promises(body) == []
        check = next(c for c in body["checks"] if c["id"] == "contract.bounds")
        assert (check["outcome"], check["severity"]) == ("fail", severity)
    held = bodies["note"]["views"]["contract"]["bounds"]
    assert all(b["views"]["contract"]["bounds"] == held for b in bodies.values())
    assert "contract.bounds" in bodies["hold"]["decision"]["holding"]
    assert bodies["block"]["decision"]["blocking"] == ["contract.bounds"]
