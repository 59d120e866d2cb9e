"""The rows whose outcome nobody knows, taken as all good or all bad: worst cases, not estimates.

Unknown are null outcomes, latencies and costs of rows that are there, rows that were set aside for
breaking the contract, and interactions that totals count and the telemetry lacks. The bounds that
follow hold whatever these are (Manski 1989; Horowitz & Manski 2000); `telemetry.absent` says what
nothing tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from analysis.telemetry.absent import find_absent
from analysis.telemetry.fact import restore
from analysis.telemetry.moments import Metric, measure
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import Measured, MissingRate, Telemetry

BadIn = Literal["candidate", "baseline", "all", "none"]
_BEYOND_US = 10**12
_BAD: Mapping[BadIn, str] = {
    "candidate": "coalesce(win = 1, false)",
    "baseline": "coalesce(win = 0, false)",
    "all": "true",
    "none": "false",
}


@dataclass(frozen=True)
class Unknown:
    """Rows of one window without a known outcome, latency or cost.

    missing: column → rows that are there, and have no value of it, or none that its SLO can judge.
    set_aside: rows that broke the contract. lost: interactions that totals count, and that are not
    there. A row that may have been in either window counts in both.
    """

    missing: Mapping[str, int]
    set_aside: int
    lost: int


@dataclass(frozen=True)
class Unknowns:
    """Both windows; n_interactions: those that lack anything, and all that are not there, each once.
    n_absent: the latter alone."""

    baseline: Unknown
    candidate: Unknown
    n_interactions: int
    n_absent: int


def count_unknown(telemetry: Telemetry) -> Unknowns:
    """The unknown rows of each window. Makes `absent` (see `telemetry.absent`)."""
    find_absent(telemetry)
    engine = telemetry.engine
    columns = _judged(telemetry)
    lacking = " OR ".join(f"({unknown})" for unknown in columns.values())
    counts = ", ".join(
        f"count(*) FILTER (WHERE {unknown})" for unknown in (lacking, *columns.values())
    )
    rows = engine.rows(f"SELECT win, {counts} FROM fact WHERE win IS NOT NULL GROUP BY win")
    there = {int(row[0]): [int(n) for n in row[1:]] for row in rows}
    gone = engine.rows(
        "SELECT win, coalesce(sum(n) FILTER (WHERE NOT lost), 0), "
        "coalesce(sum(n) FILTER (WHERE lost), 0) "
        "FROM absent_counts WHERE win IS NOT NULL GROUP BY win"
    )
    absent = {int(win): (int(aside), int(lost)) for win, aside, lost in gone}
    n_absent = engine.row(
        "SELECT coalesce(sum(n), 0) FROM (SELECT lost, unit, min(n) AS n FROM absent_counts "
        "WHERE win IS NOT NULL GROUP BY lost, unit) units"
    )[0]

    def window(win: int) -> Unknown:
        known = there.get(win, [0] * (1 + len(columns)))[1:]
        return Unknown(dict(zip(columns, known, strict=True)), *absent.get(win, (0, 0)))

    n_lacking = sum(counted[0] for counted in there.values())
    return Unknowns(window(0), window(1), n_lacking + int(n_absent), int(n_absent))


def _judged(telemetry: Telemetry) -> dict[str, str]:
    """Column that a headline figure or an SLO rests on → when a row of `fact` lacks it."""
    columns = {"is_failure": ["failure IS NULL"]}
    for slo in telemetry.policy.slos:
        if telemetry.has(slo.rule.column):
            held = columns.setdefault(slo.rule.column, [])
            held.append(f"({telemetry.bad(slo.rule)}) IS NULL")
    if telemetry.has("latency_ms"):
        columns.setdefault("latency_ms", []).append("latency_us IS NULL")
    if telemetry.has("cost_usd"):
        columns.setdefault("cost_usd", []).append("cost_nano IS NULL")
    return {column: " OR ".join(dict.fromkeys(lacks)) for column, lacks in columns.items()}


@dataclass(frozen=True)
class Assumption:
    """What every unknown value of one reading is, as SQL over `fact`, by the column's name.

    there: of rows that are there; absent: of those that are not.
    """

    bad: str
    there: Mapping[str, str]
    absent: Mapping[str, str]


@contextmanager
def taken_as(
    telemetry: Telemetry, bad_in: BadIn, measured: Measured | None = None
) -> Iterator[Telemetry]:
    """The telemetry with every unknown row in it, and known: bad where `bad_in` says, else good.

    Bad is a failure, a breach of every SLO, a latency beyond every other, and the largest cost that
    the policy's `routing.bounds` allow or that is seen; good the opposite. A row that is not there
    may be no row at all (a duplicate): it costs nothing where good. Needs what `count_unknown` makes.
    No column is missing any more, however much was. measured: what `measure_as` found.
    """
    own = _assumed(telemetry, bad_in, _cost_bounds(telemetry))
    known = {"is_failure", "latency_ms", "cost_usd"}
    known |= {objective.rule.column for objective in telemetry.policy.slos}
    none = MissingRate(0.0, 0.0)

    def listed(values: Mapping[str, str]) -> str:
        return ", ".join(
            f"{values.get(name, identifier(name))} AS {identifier(name)}"
            for name in telemetry.types
        )

    try:
        telemetry.engine.view(
            "fact",
            f"SELECT {listed(own.there)} FROM fact_known "
            f"UNION ALL SELECT {listed(own.absent)} FROM absent",
        )
        yield dataclasses.replace(
            telemetry,
            taken_as=own.bad,
            missing={c: none if c in known else r for c, r in telemetry.missing.items()},
            _measured=dict(measured or {}),
            _latencies={},
        )
    finally:
        restore(telemetry.engine)


Asked = Callable[[Telemetry, Callable[[str], str]], Sequence[Metric]]
"""Makes metrics, of the telemetry and of what the columns of `fact` go by."""


def measure_as(telemetry: Telemetry, asked: Mapping[BadIn, Asked]) -> dict[BadIn, Measured]:
    """The moments of some metrics as each reading has them, from one reduction of them all."""
    costs = _cost_bounds(telemetry)
    there, absent = ["*"], ["*"]
    metrics: list[Metric] = []
    stands: dict[str, tuple[BadIn, Metric]] = {}
    for place, (bad_in, make) in enumerate(asked.items()):
        own = _assumed(telemetry, bad_in, costs)
        there += [f"{value} AS {name}_{place}" for name, value in own.there.items()]
        absent += [f"{value} AS {name}_{place}" for name, value in own.absent.items()]
        reading = dataclasses.replace(telemetry, taken_as=own.bad)
        by_name = make(reading, str)
        by_place = make(reading, f"{{}}_{place}".format)
        for plain, moved in zip(by_name, by_place, strict=True):
            name = f"{place}.{plain.name}"
            metrics.append(dataclasses.replace(moved, name=name))
            stands[name] = bad_in, plain
    found: dict[BadIn, Measured] = {bad_in: {} for bad_in in asked}
    try:
        telemetry.engine.view(
            "fact",
            f"SELECT {', '.join(there)} FROM fact_known UNION ALL SELECT {', '.join(absent)} FROM absent",
        )
        for name, moments in measure(telemetry.engine, metrics).items():
            bad_in, plain = stands[name]
            found[bad_in][plain.measures] = dataclasses.replace(moments, metric=plain)
    finally:
        restore(telemetry.engine)
    return found


def _assumed(telemetry: Telemetry, bad_in: BadIn, costs: tuple[int, int]) -> Assumption:
    bad = _BAD[bad_in]
    low, high = costs
    slo = telemetry.policy.latency_slo
    worst = {"failure": ("true", "false")}
    if telemetry.has("cost_usd"):
        worst["cost_nano"] = (_bigint(high), _bigint(low))
    if telemetry.has("latency_ms"):
        worst["latency_us"] = (_bigint(_BEYOND_US), _bigint(0))
    if slo is not None and telemetry.has(slo.rule.column):
        worst["breach"] = ("true", "false")
    filled = {name: f"CASE WHEN {bad} THEN {b} ELSE {g} END" for name, (b, g) in worst.items()}
    there = {name: f"coalesce({name}, {value})" for name, value in filled.items()}
    if "cost_nano" in filled:
        filled["cost_nano"] = (
            f"CASE WHEN {bad} THEN {_bigint(high)} ELSE {_bigint(min(low, 0))} END"
        )
    return Assumption(bad, there, filled)


def _bigint(value: int) -> str:
    return f"CAST({value} AS BIGINT)"


def _cost_bounds(telemetry: Telemetry) -> tuple[int, int]:
    """Nano-USD that an interaction costs at least and at most: the policy's, or what is seen."""
    low, high = telemetry.policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    seen = telemetry.costs_seen()
    return min((round(max(low, 0.0) * 1e9), *seen)), max((round(max(high, 0.0) * 1e9), *seen))


__all__ = ["BadIn", "Unknown", "Unknowns", "count_unknown", "measure_as", "taken_as"]
