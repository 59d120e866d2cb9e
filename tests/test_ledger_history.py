"""Releases over time: what counts as worse, and against what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import ledger
from analysis.ledger import Ledger
from analysis.ledger_history import ERROR_RATE, Figure, Kind, Line, _regressions, history
from analysis.review import Review
from tests import ledgers

Z = NormalDist().inv_cdf(0.975)


def figure(
    value: float | None, half: float = 0.01, kind: Kind = "failure_rate", meaning: str = ""
) -> Figure:
    if value is None:
        return Figure(kind, None, None, None, None, meaning)
    return Figure(kind, None, value, value - half, value + half, meaning)


def line(place: int, *figures: Figure, weeks: int = 1) -> Line:
    """A release whose window of so many weeks ends `place` weeks after the first of January 2026."""
    end, start = (ledgers.weeks_after("2026-01-05", k) for k in (place, place - weeks))
    return Line(
        f"r{place}", "", f"r{place}", f"sha256:{place}", "ship", "", f"{start}T00:00:00Z",
        f"{end}T00:00:00Z", "", 1000, figures, (), None,
    )  # fmt: skip


def worse(new: Line, *before: Line) -> list[tuple[str, str]]:
    return [(one.against, one.reference) for one in _regressions(new, before)]


def test_a_rise_beyond_both_intervals_is_a_regression_with_its_limits() -> None:
    (one,) = _regressions(line(1, figure(0.10)), [line(0, figure(0.05))])
    assert (one.against, one.reference, one.value, one.before) == ("previous", "r0", 0.10, 0.05)
    # One comparison: limits of 95 %, the root of the squares of both halves (Zou and Donner 2008).
    assert one.change == pytest.approx(0.05)
    assert one.low == pytest.approx(0.05 - math.hypot(0.01, 0.01))
    assert one.high == pytest.approx(0.05 + math.hypot(0.01, 0.01))


def test_costs_are_compared_as_ratios() -> None:
    new = Figure("cost_usd", None, 0.2, 0.18, 0.22, "")
    old = Figure("cost_usd", None, 0.1, 0.09, 0.11, "")
    (one,) = _regressions(line(1, new), [line(0, old)])
    assert one.change == pytest.approx(2.0)
    assert one.low == pytest.approx(
        math.exp(math.log(2) - math.hypot(math.log(0.2 / 0.18), math.log(1.1)))
    )


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (line(1, figure(0.06)), line(0, figure(0.05))),
        (line(1, figure(0.02)), line(0, figure(0.05))),
        (line(1, figure(None)), line(0, figure(0.05))),
        (line(1, figure(0.10)), line(0, figure(None))),
        (line(1, figure(0.10, meaning="above 2 s")), line(0, figure(0.05, meaning="above 1 s"))),
        (line(1, figure(0.10), weeks=2), line(0, figure(0.05))),
        (line(0, figure(0.10)), line(0, figure(0.05))),
        (line(1, figure(1.0, kind="cost_usd")), line(0, figure(0.0, kind="cost_usd"))),
        (line(1, figure(1.0, kind="cost_usd")), line(0)),
    ],
    ids=["within noise", "better", "not known now", "not known then", "another meaning",
         "overlapping windows", "the same window", "from nothing", "no such figure"],
)  # fmt: skip
def test_nothing_else_is_claimed(new: Line, old: Line) -> None:
    assert worse(new, old) == []


def test_the_release_before_is_the_last_that_is_comparable() -> None:
    first, overlapping = line(0, figure(0.05)), line(2, figure(0.05), weeks=3)
    assert worse(line(2, figure(0.10), weeks=2), first, overlapping) == [("previous", "r0")]


def test_the_median_is_the_middle_one_of_an_odd_number_of_the_last_five() -> None:
    values = [0.001, 0.002, 0.05, 0.03, 0.07, 0.04, 0.20]
    before = [line(k, figure(v, 0.001)) for k, v in enumerate(values)]
    new = line(7, figure(0.11, 0.001))
    assert worse(new, *before) == [("median", "r2")]  # of 0.05, 0.03, 0.07, 0.04, 0.20
    assert worse(line(4, figure(0.11, 0.001)), *before[:4]) == [
        ("previous", "r3"),
        ("median", "r3"),
    ]
    assert worse(line(2, figure(0.11, 0.001)), *before[:2]) == [("previous", "r1")]


def test_days_widen_what_they_add_to_and_a_figure_without_them_is_not_compared() -> None:
    old, new = figure(0.05), figure(0.10)
    (plain,) = _regressions(line(1, new), [line(0, old)])
    wider = [replace(f, days=2.0) for f in (old, new)]
    (one,) = _regressions(line(1, wider[1]), [line(0, wider[0])])
    assert one.low == pytest.approx(0.05 - 2 * (0.05 - plain.low))
    assert worse(line(1, replace(new, days=4.0)), line(0, replace(old, days=4.0))) == []
    assert worse(line(1, replace(new, days=None)), line(0, old)) == []
    assert worse(line(1, new), line(0, replace(old, days=None))) == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.001, 0.2),
    st.floats(0.001, 0.2),
    st.floats(0, 0.2),
)
def test_a_higher_value_is_no_less_a_regression(
    new: float, old: float, half: float, other: float, more: float
) -> None:
    before = line(0, figure(old, other))
    if worse(line(1, figure(new, half)), before):
        assert worse(line(1, figure(new + more, half)), before)


def test_chance_alone_marks_at_most_one_release_in_forty() -> None:
    """A/A: 2,000 releases of six figures, each with an exact 95 % interval, after five others."""
    rng = np.random.default_rng(11)
    n, marked = 2000, 0
    kinds: list[Kind] = ["failure_rate", "latency_breach_rate", "cost_usd", "usd_per_day"]
    keys: list[tuple[Kind, str | None]] = [(k, None) for k in kinds]
    keys += [("burn_rate", "a"), ("burn_rate", "b")]

    def drawn(place: int) -> Line:
        own = []
        for kind, slo in keys:
            error = rng.uniform(0.01, 0.05)
            log = kind in ("cost_usd", "usd_per_day")
            at = rng.normal(0.0, error)
            low, high = at - Z * error, at + Z * error
            shown = [math.exp(x) if log else 0.5 + x for x in (at, low, high)]
            own.append(Figure(kind, slo, *shown, ""))
        return line(place, *own)

    for _ in range(n):
        before = [drawn(k) for k in range(5)]
        marked += bool(_regressions(drawn(5), before))
    assert marked / n <= ERROR_RATE + 1.645 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) / n)


# ── from artifacts ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def body(tiny_review: Review) -> Mapping[str, Any]:
    return tiny_review.body


def read(*bodies: Mapping[str, Any]) -> Ledger:
    entries = [ledger.Entry(str(b["release"]["id"]), Path("x"), b) for b in bodies]
    return Ledger(tuple(entries))


def test_a_line_has_the_artifact_s_own_figures(body: Mapping[str, Any]) -> None:
    (own,) = history(read(body)).lines
    health = body["views"]["health"]["candidate"]
    held = own.figure("failure_rate")
    assert held is not None
    assert (held.value, held.low, held.high) == tuple(
        health["failure_rate"][k] for k in ("value", "low", "high")
    )
    burns = {f.slo: f.value for f in own.figures if f.kind == "burn_rate"}
    assert burns == {s["name"]: s["burn_rate"]["value"] for s in body["views"]["budget"]["slos"]}
    day = own.figure("usd_per_day")
    assert day is not None
    assert day.value == body["views"]["budget"]["spend"]["usd_per_day"]["value"]
    assert len(own.hotspots) == len(body["views"]["hotspots"]["found"])
    assert own.drift is not None
    counted = [f["severity"] for f in body["views"]["drift"]["features"] if f["counted"]]
    assert (own.drift.high, own.drift.medium) == (counted.count("high"), counted.count("medium"))


def test_days_count_as_where_two_artifacts_are_compared(body: Mapping[str, Any]) -> None:
    """What the artifact's own change showed days to add; of arms side by side it shows nothing."""

    def noisy_days(held: dict[str, Any]) -> None:
        change = held["views"]["health"]["change"]["failure_rate"]
        change.update(value=0.0, low=-0.5, high=0.5)

    def side_by_side(held: dict[str, Any]) -> None:
        held["windows"]["comparison"] = "concurrent"

    (own,) = history(read(ledgers.artifact(body, "r1", change=noisy_days))).lines
    rate, cost = own.figure("failure_rate"), own.figure("cost_usd")
    assert rate is not None
    assert cost is not None
    assert rate.days is not None
    assert rate.days > 5
    assert cost.days == 1
    (own,) = history(read(ledgers.artifact(body, "r1", change=side_by_side))).lines
    rate = own.figure("failure_rate")
    assert rate is not None
    assert rate.days is None
    assert rate.compared is None


@pytest.mark.parametrize(
    ("end", "week"),
    [("2026-11-16", "2026-W46"), ("2026-01-01", "2026-W01"), ("2027-01-04", "2026-W53")],
)
def test_a_week_is_that_of_the_last_day(body: Mapping[str, Any], end: str, week: str) -> None:
    (own,) = history(read(ledgers.artifact(body, "r1", end))).lines
    assert own.week == week


def test_the_review_at_hand_stands_among_the_recorded_ones_once(body: Mapping[str, Any]) -> None:
    one, two = (
        ledgers.artifact(body, "r1", "2026-01-05"),
        ledgers.artifact(body, "r2", "2026-03-02"),
    )
    both = history(read(one), two)
    assert [(x.release_id, x.folder) for x in both.lines] == [("r1", "r1"), ("r2", None)]
    again = history(read(one, two), two)
    assert [(x.release_id, x.folder) for x in again.lines] == [("r1", "r1"), ("r2", "r2")]
    # Another artifact under a recorded id is another line.
    other = ledgers.artifact(body, "r2", "2026-03-02", lambda b: b["release"].update(title="x"))
    assert [x.folder for x in history(read(one, two), other).lines] == ["r1", "r2", None]


def test_an_artifact_that_lacks_what_is_shown_is_a_fault(body: Mapping[str, Any]) -> None:
    def harm(held: dict[str, Any]) -> None:
        del held["views"]["health"]["candidate"]["failure_rate"]

    found = history(read(ledgers.artifact(body, "r1"), ledgers.artifact(body, "r2", change=harm)))
    assert [x.release_id for x in found.lines] == ["r1"]
    assert [f.folder for f in found.faults] == ["r2"]


def test_another_objective_is_another_figure(body: Mapping[str, Any]) -> None:
    def slower(held: dict[str, Any]) -> None:
        for slo in held["policy"]["settings"]["slos"]:
            slo["target"] = 0.9
        for slo in held["views"]["budget"]["slos"]:
            slo["burn_rate"].update(value=9.0, low=8.0, high=10.0)

    before = ledgers.artifact(body, "r1", "2026-01-05")
    after = ledgers.artifact(body, "r2", "2026-03-02", slower)
    assert history(read(before, after)).lines[1].regressions == ()
