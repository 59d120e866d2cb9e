"""The rows whose outcome nobody knows, taken as all good or all bad: worst cases, not estimates.

Unknown are null outcomes, latencies and costs of rows that are there, rows that were set aside for
breaking the contract, and interactions that totals count and the telemetry lacks. The bounds that
follow hold whatever these are (Manski 1989; Horowitz & Manski 2000); `telemetry.absent` says what
nothing tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from analysis.telemetry.absent import find_absent
from analysis.telemetry.fact import restore
from analysis.telemetry.sql import identifier
from analysis.telemetry.telemetry import MissingRate, Telemetry

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


@contextmanager
def taken_as(telemetry: Telemetry, bad_in: BadIn) -> Iterator[Telemetry]:
    """The telemetry with every unknown row in it, and known: bad where `bad_in` says, else good.

    Bad is a failure, a breach of every SLO, a latency beyond every other, and the largest cost that
    the policy's `routing.bounds` allow or that is seen; good the opposite. A row that is not there
    may be no row at all (a duplicate): it costs nothing where good. Needs what `count_unknown` makes.
    No column is missing any more, however much was.
    """
    engine, bad = telemetry.engine, _BAD[bad_in]
    low, high = _cost_bounds(telemetry)
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
    known = {"is_failure", "latency_ms", "cost_usd"}
    known |= {objective.rule.column for objective in telemetry.policy.slos}
    none = MissingRate(0.0, 0.0)

    def listed(values: Mapping[str, str]) -> str:
        return ", ".join(
            f"{values.get(name, identifier(name))} AS {identifier(name)}"
            for name in telemetry.types
        )

    try:
        engine.view(
            "fact",
            f"SELECT {listed(there)} FROM fact_known UNION ALL SELECT {listed(filled)} FROM absent",
        )
        yield dataclasses.replace(
            telemetry,
            taken_as=bad,
            missing={c: none if c in known else r for c, r in telemetry.missing.items()},
            _measured={},
        )
    finally:
        restore(engine)


def _bigint(value: int) -> str:
    return f"CAST({value} AS BIGINT)"


def _cost_bounds(telemetry: Telemetry) -> tuple[int, int]:
    """Nano-USD that an interaction costs at least and at most: the policy's, or what is seen."""
    low, high = telemetry.policy.routing.bounds.get("cost_usd", (0.0, 1.0))
    seen = telemetry.engine.row("SELECT min(cost_nano), max(cost_nano) FROM fact_known")
    lows, highs = [round(max(low, 0.0) * 1e9)], [round(max(high, 0.0) * 1e9)]
    if seen[0] is not None:
        lows, highs = [*lows, int(seen[0])], [*highs, int(seen[1])]
    return min(lows), max(highs)


__all__ = ["BadIn", "Unknown", "Unknowns", "count_unknown", "taken_as"]
